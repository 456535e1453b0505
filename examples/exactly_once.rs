//! Exactly once, from topic to topic: the results and the consumer's offsets are committed in one transaction, so that a
//! crash in between takes back both.
//!
//!     cargo run --example exactly_once -- 127.0.0.1:9092

mod support;

use std::error::Error;

use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::message::{BorrowedMessage, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _};
use rdkafka::{Offset, TopicPartitionList};
use support::{CRASHES_AT, PATIENCE, Processed, Quiet, Scene};

fn main() -> Result<(), Box<dyn Error>> {
    show(&support::address())
}

/// Works with a crash, goes on with a second worker, and says what that comes to.
pub fn show(bootstrap: &str) -> Result<(), Box<dyn Error>> {
    let scene = Scene::set_up(bootstrap, "exactly-once")?;
    let results = format!("{}-results", scene.name);
    scene.create_topic(&results)?;
    // The worker is gone after this line, with its transaction open: that is what a crash comes to.
    work(&scene, &results, Some(CRASHES_AT))?;
    println!("the first worker crashed: the result of record {CRASHES_AT} is written, and not committed");
    work(&scene, &results, None)?;
    read(&scene, &results, "read_uncommitted")?.must_be(2)?;
    println!("That is what the topic of results holds. To those who read committed records:");
    read(&scene, &results, "read_committed")?.must_be(1)?;
    println!(
        "Exactly once: record {CRASHES_AT} was processed twice, and its first result does not count. The second worker \
         began at the committed offset, which was still before it, and the transaction of the first was aborted."
    );
    Ok(())
}

/// Writes a result for each record, up to the end of the partition or to the crash.
fn work(scene: &Scene, results: &str, crashes_at: Option<usize>) -> Result<(), Box<dyn Error>> {
    let mut config = scene.client();
    // The same after a restart: whoever had the id before is shut out, and what it left open is aborted.
    let producer: BaseProducer<Quiet> = config.set("transactional.id", &scene.name).create_with_context(Quiet)?;
    producer.init_transactions(PATIENCE)?;
    let consumer = scene.consumer()?;
    while let Some((number, message)) = support::next(&consumer)? {
        producer.begin_transaction()?;
        // Where a step fails, a program that wants to live on begins again with a new producer and a new consumer, as
        // this one does after its crash.
        process(&producer, &consumer, &message, results)?;
        if crashes_at == Some(number) {
            return Ok(());
        }
        // Result and offset are on the broker's disk when this returns, and both count from now on.
        producer.commit_transaction(PATIENCE)?;
    }
    Ok(())
}

/// Puts the result of a record and the offset after it into the transaction.
fn process(
    producer: &BaseProducer<Quiet>,
    consumer: &BaseConsumer<Quiet>,
    message: &BorrowedMessage<'_>,
    results: &str,
) -> Result<(), Box<dyn Error>> {
    let result = message.payload().unwrap_or_default();
    producer.send(BaseRecord::<(), [u8]>::to(results).payload(result)).map_err(|(error, _)| error)?;
    // A transaction can hold many records; here each has its own, and is written before the crash comes.
    producer.flush(PATIENCE)?;
    let mut offsets = TopicPartitionList::new();
    offsets.add_partition_offset(message.topic(), message.partition(), Offset::Offset(message.offset() + 1))?;
    // With its membership, so that a consumer that has lost the partition cannot commit for it.
    let group = consumer.group_metadata().ok_or("the consumer has no group")?;
    Ok(producer.send_offsets_to_transaction(&offsets, &group, PATIENCE)?)
}

/// How often each record has a result.
fn read(scene: &Scene, results: &str, isolation: &str) -> Result<Processed, Box<dyn Error>> {
    let mut config = scene.client();
    // It is assigned its partition and commits nothing; librdkafka wants the name of a group anyway.
    config.set("group.id", results).set("enable.partition.eof", "true").set("isolation.level", isolation);
    let consumer: BaseConsumer<Quiet> = config.create_with_context(Quiet)?;
    let mut beginning = TopicPartitionList::new();
    beginning.add_partition_offset(results, 0, Offset::Beginning)?;
    consumer.assign(&beginning)?;
    let mut processed = Processed::default();
    while let Some((number, _)) = support::next(&consumer)? {
        processed.process(number)?;
    }
    Ok(processed)
}
