//! Topics as the driver sees them, by librdkafka: read, and compared with what a group has committed.

use std::collections::BTreeSet;
use std::io;
use std::time::{Duration, Instant};

use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::{ClientConfig, Message, Offset, TopicPartitionList};

use crate::application::{Record, Records};

/// Partitions of every topic of an application.
pub const PARTITIONS: i32 = 4;

/// How long anything may take before it counts as failed.
pub const PATIENCE: Duration = Duration::from_mins(2);

/// How long a question to a broker that is up may take.
const ANSWER: Duration = Duration::from_secs(10);

/// What a reader may see of transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    /// All.
    Uncommitted,
    /// What is committed.
    Committed,
}

impl Isolation {
    fn name(self) -> &'static str {
        match self {
            Self::Uncommitted => "read_uncommitted",
            Self::Committed => "read_committed",
        }
    }
}

/// Reads a topic from its beginning and keeps what it has read.
pub struct Reader {
    consumer: BaseConsumer,
    topic: &'static str,
    records: Records,
    /// The partitions that have been read to their ends at least once.
    ended: BTreeSet<i32>,
}

impl Reader {
    /// Of all partitions of this topic.
    pub fn new(bootstrap: &str, topic: &'static str, isolation: Isolation) -> io::Result<Self> {
        let consumer = consumer(bootstrap, "reader", isolation)?;
        let mut partitions = TopicPartitionList::new();
        let mut records = Records::new();
        for partition in 0..PARTITIONS {
            partitions.add_partition_offset(topic, partition, Offset::Beginning).map_err(io::Error::other)?;
            records.insert((topic, partition), Vec::new());
        }
        consumer.assign(&partitions).map_err(io::Error::other)?;
        Ok(Self { consumer, topic, records, ended: BTreeSet::new() })
    }

    /// What it has read.
    pub fn records(&self) -> &Records {
        &self.records
    }

    /// How much it has read of each partition.
    pub fn counts(&self) -> Vec<usize> {
        self.records.values().map(Vec::len).collect()
    }

    /// Reads what there is; where there is nothing, waits a tenth of a second for something.
    pub fn read_on(&mut self) -> io::Result<()> {
        let mut wait = Duration::from_millis(100);
        while let Some(event) = self.consumer.poll(wait) {
            wait = Duration::ZERO;
            match event {
                Ok(message) => {
                    let text = |bytes: Option<&[u8]>| String::from_utf8_lossy(bytes.unwrap_or_default()).into_owned();
                    let record =
                        Record { offset: message.offset(), key: text(message.key()), value: text(message.payload()) };
                    self.records.entry((self.topic, message.partition())).or_default().push(record);
                }
                Err(KafkaError::PartitionEOF(partition)) => drop(self.ended.insert(partition)),
                // The broker is away, and will be asked again.
                Err(error) if error.rdkafka_error_code().is_some_and(is_transient) => {}
                Err(error) => return Err(io::Error::other(error)),
            }
        }
        Ok(())
    }
}

fn is_transient(code: RDKafkaErrorCode) -> bool {
    matches!(code, RDKafkaErrorCode::BrokerTransportFailure | RDKafkaErrorCode::AllBrokersDown)
}

/// Reads all of some topics.
pub fn read_all(bootstrap: &str, topics: &[&'static str], isolation: Isolation) -> io::Result<Records> {
    let mut records = Records::new();
    for topic in topics {
        let mut reader = Reader::new(bootstrap, topic, isolation)?;
        let asked = Instant::now();
        while reader.ended.len() < reader.records.len() {
            reader.read_on()?;
            if asked.elapsed() > PATIENCE {
                return Err(io::Error::other(format!("{topic} has no end: {:?} are read", reader.counts())));
            }
        }
        records.append(&mut reader.records);
    }
    Ok(records)
}

/// What a group has not committed of these topics: one line for each partition.
pub fn not_committed(bootstrap: &str, group: &str, topics: &[&str]) -> io::Result<Vec<String>> {
    let consumer = consumer(bootstrap, group, Isolation::Committed)?;
    let mut asked = TopicPartitionList::new();
    for topic in topics {
        asked.add_partition_range(topic, 0, PARTITIONS - 1);
    }
    let committed = consumer.committed_offsets(asked, ANSWER).map_err(io::Error::other)?;
    let mut differences = Vec::new();
    for element in committed.elements() {
        let (topic, partition) = (element.topic(), element.partition());
        let (_, end) = consumer.fetch_watermarks(topic, partition, ANSWER).map_err(io::Error::other)?;
        if element.offset() != Offset::Offset(end) {
            differences.push(format!("{topic}-{partition} ends at {end}, committed is {:?}", element.offset()));
        }
    }
    Ok(differences)
}

/// The partitions of all topics, internal ones too, that have a transaction open: one line for each.
pub fn open_transactions(bootstrap: &str) -> io::Result<Vec<String>> {
    let committed = consumer(bootstrap, "reader", Isolation::Committed)?;
    let all = consumer(bootstrap, "reader", Isolation::Uncommitted)?;
    let metadata = all.fetch_metadata(None, ANSWER).map_err(io::Error::other)?;
    let mut differences = Vec::new();
    for topic in metadata.topics() {
        for partition in topic.partitions() {
            let end = |consumer: &BaseConsumer| consumer.fetch_watermarks(topic.name(), partition.id(), ANSWER);
            let (_, stable) = end(&committed).map_err(io::Error::other)?;
            let (_, last) = end(&all).map_err(io::Error::other)?;
            if stable != last {
                differences.push(format!("{}-{} is stable up to {stable} of {last}", topic.name(), partition.id()));
            }
        }
    }
    Ok(differences)
}

/// Asks until there is nothing left to tell.
pub fn wait_until_none(what: &str, mut ask: impl FnMut() -> io::Result<Vec<String>>) -> io::Result<()> {
    let started = Instant::now();
    loop {
        let left = ask()?;
        if left.is_empty() {
            return Ok(());
        }
        if started.elapsed() > PATIENCE {
            return Err(io::Error::other(format!("{what}: {left:#?}")));
        }
        // tidy: may sleep: nobody tells when an offset is committed or a transaction ends.
        std::thread::sleep(Duration::from_millis(100));
    }
}

fn consumer(bootstrap: &str, group: &str, isolation: Isolation) -> io::Result<BaseConsumer> {
    let mut settings = client(bootstrap);
    settings.set("group.id", group).set("enable.auto.commit", "false").set("isolation.level", isolation.name());
    // An offset that is no longer there has been lost.
    settings.set("enable.partition.eof", "true").set("auto.offset.reset", "error");
    settings.create().map_err(io::Error::other)
}

/// A client that is soon back when the broker is.
pub fn client(bootstrap: &str) -> ClientConfig {
    let mut settings = ClientConfig::new();
    settings.set("bootstrap.servers", bootstrap).set("reconnect.backoff.max.ms", "200");
    settings
}
