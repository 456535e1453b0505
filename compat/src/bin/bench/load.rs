//! Topics for the load, and records that carry their own clock from a producer to a consumer.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::producer::{BaseProducer, BaseRecord, FutureProducer, FutureRecord, Producer};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

/// How long a client may wait for anything.
const PATIENCE: Duration = Duration::from_mins(3);

fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("broker.address.family", "v4");
    config
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(error)
}

/// Of all partitions, from their beginnings.
fn consumer(mut config: ClientConfig, topic: &str, partitions: i32) -> io::Result<BaseConsumer> {
    config.set("group.id", "none").set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    let consumer: BaseConsumer = config.create().map_err(other)?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, Offset::Beginning).map_err(other)?;
    }
    consumer.assign(&assignment).map_err(other)?;
    Ok(consumer)
}

/// Microseconds from handing a record to the producer to having it from the consumer.
pub fn latency(bootstrap: &str, topic: &str, rate: u64, during: Duration) -> io::Result<Histogram<u64>> {
    let clock = Instant::now();
    let consumer = consumer(client(bootstrap), topic, 1)?;
    let mut config = client(bootstrap);
    config.set("acks", "all").set("linger.ms", "0").set("delivery.report.only.error", "true");
    let producer: BaseProducer = config.create().map_err(other)?;
    // One record through both ends first, so that no connection is opened while the clock runs.
    send_stamped(&producer, topic, 0)?;
    receive(&consumer, clock)?;

    let warm_up = rate;
    let count = warm_up + rate * during.as_secs().max(1);
    std::thread::scope(|scope| {
        let receiver = scope.spawn(|| {
            let mut times = Histogram::new(3).map_err(other)?;
            for number in 0..count {
                let micros = receive(&consumer, clock)?;
                if number >= warm_up {
                    times.record(micros).map_err(other)?;
                }
            }
            Ok(times)
        });
        let started = Instant::now();
        for number in 0..count {
            let due = Duration::from_nanos(1_000_000_000 / rate * number);
            if let Some(early) = due.checked_sub(started.elapsed()) {
                // tidy: may sleep: the load is paced; a spinning client would take a core from the broker.
                std::thread::sleep(early);
            }
            send_stamped(&producer, topic, clock.elapsed().as_nanos() as u64)?;
        }
        producer.flush(PATIENCE).map_err(other)?;
        receiver.join().map_err(|_| other("the consuming thread panicked"))?
    })
}

fn send_stamped(producer: &BaseProducer, topic: &str, nanos: u64) -> io::Result<()> {
    let mut payload = [0_u8; 100];
    payload[..8].copy_from_slice(&nanos.to_be_bytes());
    let sent = producer.send(BaseRecord::<(), [u8]>::to(topic).partition(0).payload(&payload));
    sent.map_err(|(error, _): (KafkaError, _)| other(error))
}

fn receive(consumer: &BaseConsumer, clock: Instant) -> io::Result<u64> {
    let message = consumer.poll(PATIENCE).ok_or_else(|| other("no record came"))?.map_err(other)?;
    let now = clock.elapsed();
    let stamp = message.payload().and_then(|payload| payload.first_chunk::<8>());
    let sent = Duration::from_nanos(u64::from_be_bytes(*stamp.ok_or_else(|| other("a record without a time"))?));
    Ok(now.saturating_sub(sent).as_micros() as u64)
}

/// Produces one record, acknowledged.
pub fn produce_one(bootstrap: &str, topic: &str) -> io::Result<()> {
    let producer: BaseProducer = client(bootstrap).set("acks", "all").create().map_err(other)?;
    producer.send(BaseRecord::<(), str>::to(topic).payload("first")).map_err(|(error, _)| other(error))?;
    producer.flush(PATIENCE).map_err(other)
}

/// Milliseconds from making a consumer of a group that nobody knows yet until it has its first record.
pub fn first_record(bootstrap: &str, topic: &str, group: &str, protocol: &str) -> io::Result<f64> {
    let started = Instant::now();
    let mut config = client(bootstrap);
    config.set("group.id", group).set("group.protocol", protocol).set("auto.offset.reset", "earliest");
    let consumer: BaseConsumer = config.create().map_err(other)?;
    consumer.subscribe(&[topic]).map_err(other)?;
    while started.elapsed() < PATIENCE {
        if let Some(Ok(_)) = consumer.poll(Duration::from_millis(100)) {
            return Ok(started.elapsed().as_secs_f64() * 1e3);
        }
    }
    Err(other(format!("group {group}: no record within {PATIENCE:?}")))
}

/// How many records of committed transactions can be read from the beginning to the end.
pub fn count_committed(bootstrap: &str, topic: &str, partitions: i32) -> io::Result<u64> {
    let mut config = client(bootstrap);
    config.set("isolation.level", "read_committed").set("enable.partition.eof", "true");
    let consumer = consumer(config, topic, partitions)?;
    let (mut count, mut ended) = (0, BTreeSet::new());
    while i32::try_from(ended.len()).is_ok_and(|ended| ended < partitions) {
        match consumer.poll(PATIENCE).ok_or_else(|| other(format!("{topic}: no end comes")))? {
            Ok(_) => count += 1,
            Err(KafkaError::PartitionEOF(partition)) => {
                ended.insert(partition);
            }
            Err(error) => return Err(other(error)),
        }
    }
    Ok(count)
}

/// Transactions of one record of 100 bytes, one after the other: how many within the time, and how many before it and in
/// it, in a while that is not measured.
pub fn transactions(bootstrap: &str, topic: &str, during: Duration) -> io::Result<(u64, u64)> {
    let mut config = client(bootstrap);
    // Nothing is waited for that could be sent.
    config.set("transactional.id", topic).set("linger.ms", "0");
    let producer: FutureProducer = config.create().map_err(other)?;
    producer.init_transactions(PATIENCE).map_err(other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let (mut measured, mut committed) = (0, 0);
    let begins = Instant::now() + during / 2;
    let ends = begins + during;
    while Instant::now() < ends {
        producer.begin_transaction().map_err(other)?;
        let record = FutureRecord::<(), [u8]>::to(topic).partition(0).payload(&[b'x'; 100]);
        runtime.block_on(producer.send(record, PATIENCE)).map_err(|(error, _)| other(error))?;
        producer.commit_transaction(PATIENCE).map_err(other)?;
        committed += 1;
        measured += u64::from((begins..ends).contains(&Instant::now()));
    }
    // Answered once the last transaction is over.
    let successor: BaseProducer = config.create().map_err(other)?;
    successor.init_transactions(PATIENCE).map_err(other)?;
    Ok((measured, committed))
}
