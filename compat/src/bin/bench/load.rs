//! The load, as librdkafka puts it on: producers, consumers without a group, and records that carry their own clock.

use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use hdrhistogram::Histogram;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext, Message, Offset, TopicPartitionList};

/// How long a client may wait for anything.
const PATIENCE: Duration = Duration::from_mins(3);

/// Counts what was refused; what was accepted is not reported one by one.
#[derive(Default)]
struct Refusals(AtomicU64);

impl ClientContext for Refusals {}

impl ProducerContext for Refusals {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        if result.is_err() {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("broker.address.family", "v4");
    config
}

fn other(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> io::Error {
    io::Error::other(error)
}

/// Creates a topic.
pub fn create_topic(bootstrap: &str, name: &str, partitions: i32) -> io::Result<()> {
    let admin: AdminClient<DefaultClientContext> = client(bootstrap).create().map_err(other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    let results = runtime.block_on(admin.create_topics([&topic], &options)).map_err(other)?;
    match results.into_iter().next() {
        Some(Err((name, code))) => Err(other(format!("{name}: {code}"))),
        _ => Ok(()),
    }
}

/// Sends `count` records with acks=all, spread over the partitions; the time until the last was acknowledged.
pub fn produce(bootstrap: &str, topic: &str, partitions: i32, size: usize, count: u64) -> io::Result<Duration> {
    let mut config = client(bootstrap);
    config.set("acks", "all").set("linger.ms", "5").set("batch.size", "1000000").set("batch.num.messages", "100000");
    config.set("queue.buffering.max.messages", "500000").set("queue.buffering.max.kbytes", "1000000");
    // A report for every record would cost the client more than the record itself; only refusals are reported.
    config.set("delivery.report.only.error", "true");
    let producer: BaseProducer<Refusals> = config.create_with_context(Refusals::default()).map_err(other)?;
    // Known topic and open connection first: a client pays for that once.
    producer.client().fetch_metadata(Some(topic), PATIENCE).map_err(other)?;
    let payload: Vec<u8> = (0..size).map(|index| (index * 131 % 251) as u8).collect();
    let started = Instant::now();
    for number in 0..count {
        // Runs of records go to one partition after the other, as a sticky partitioner's would.
        let partition = i32::try_from(number / 500 % u64::from(partitions.unsigned_abs())).unwrap_or(0);
        let mut record = BaseRecord::<(), [u8]>::to(topic).partition(partition).payload(&payload);
        while let Err((error, back)) = producer.send(record) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                return Err(other(error));
            }
            producer.poll(Duration::from_millis(1));
            record = back;
        }
    }
    producer.flush(PATIENCE).map_err(other)?;
    let took = started.elapsed();
    match producer.context().0.load(Ordering::Relaxed) {
        0 => Ok(took),
        refused => Err(other(format!("{refused} of {count} records were refused"))),
    }
}

fn consumer(bootstrap: &str, topic: &str, partitions: i32, from: Offset) -> io::Result<BaseConsumer> {
    let mut config = client(bootstrap);
    config.set("group.id", "none").set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
    config.set("fetch.message.max.bytes", "4000000").set("fetch.max.bytes", "50000000");
    config.set("queued.min.messages", "1000000").set("queued.max.messages.kbytes", "300000");
    let consumer: BaseConsumer = config.create().map_err(other)?;
    let mut assignment = TopicPartitionList::new();
    for partition in 0..partitions {
        assignment.add_partition_offset(topic, partition, from).map_err(other)?;
    }
    consumer.assign(&assignment).map_err(other)?;
    Ok(consumer)
}

/// Reads `count` records from the beginning; the time from the first poll to the last record.
pub fn consume(bootstrap: &str, topic: &str, partitions: i32, count: u64) -> io::Result<Duration> {
    let consumer = consumer(bootstrap, topic, partitions, Offset::Beginning)?;
    let started = Instant::now();
    let mut read = 0;
    while read < count {
        match consumer.poll(Duration::from_secs(1)) {
            Some(message) => {
                message.map_err(other)?;
                read += 1;
            }
            None if started.elapsed() > PATIENCE => return Err(other(format!("only {read} of {count} records came"))),
            None => {}
        }
    }
    Ok(started.elapsed())
}

/// Microseconds from handing a record to the producer to having it from the consumer.
pub fn latency(bootstrap: &str, topic: &str, rate: u64, during: Duration) -> io::Result<Histogram<u64>> {
    let clock = Instant::now();
    let consumer = consumer(bootstrap, topic, 1, Offset::Beginning)?;
    let mut config = client(bootstrap);
    config.set("acks", "all").set("linger.ms", "0").set("delivery.report.only.error", "true");
    let producer: BaseProducer<Refusals> = config.create_with_context(Refusals::default()).map_err(other)?;
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

fn send_stamped(producer: &BaseProducer<Refusals>, topic: &str, nanos: u64) -> io::Result<()> {
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
