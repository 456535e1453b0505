//! Transactions under test: librdkafka's transactional producer, and what readers of either isolation level get.

use std::io;
use std::time::{Duration, Instant};

use kafka_protocol::messages::OffsetFetchRequest;
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use rdkafka::consumer::{BaseConsumer, Consumer as _, ConsumerGroupMetadata};
use rdkafka::error::{KafkaError, KafkaResult};
use rdkafka::producer::Producer as _;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Message as _, Offset, TopicPartitionList};

use crate::group::{group_id, wanted_offsets};
use crate::harness::{Delivery, PATIENCE, Producer, Reader, Record, client};
use crate::wire::Connection;

/// To one who asks for stable offsets while a transaction has some that are not.
pub const UNSTABLE_OFFSET_COMMIT: i16 = 88;

/// Long enough for a broker to be killed and to come back, even Apache Kafka.
const OUTAGE: Duration = Duration::from_mins(1);

/// `isolation.level`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Isolation {
    Committed,
    Uncommitted,
}

impl Isolation {
    pub fn name(self) -> &'static str {
        match self {
            Self::Committed => "read_committed",
            Self::Uncommitted => "read_uncommitted",
        }
    }
}

/// What librdkafka says to do about a failed call of a transactional producer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Failure {
    /// Abort the transaction and begin again.
    Abort(RDKafkaErrorCode),
    /// Make a new producer.
    Fatal(RDKafkaErrorCode),
    Other(RDKafkaErrorCode),
}

/// A producer with a transactional id.
pub struct Transactional(pub Producer);

impl Transactional {
    /// One that holds the id from now on.
    pub fn new(bootstrap: &str, id: &str, settings: &[(&str, &str)]) -> Self {
        let producer = Self::unasked(bootstrap, id, settings);
        producer.init().expect("init_transactions");
        producer
    }

    /// One that the broker does not know of yet.
    pub fn unasked(bootstrap: &str, id: &str, settings: &[(&str, &str)]) -> Self {
        let mut all = vec![("transactional.id", id)];
        all.extend(settings);
        Self(Producer::new(bootstrap, &all))
    }

    pub fn init(&self) -> Result<(), Failure> {
        repeat(|| self.0.client().init_transactions(OUTAGE))
    }

    pub fn begin(&self) {
        self.0.client().begin_transaction().expect("begin_transaction");
    }

    /// Sends one record and waits for its report.
    pub fn deliver(&self, topic: &str, partition: i32, value: &str) -> Delivery {
        self.0.deliver(topic, partition, &Record::value(value))
    }

    /// Puts offsets of a group into the transaction, as the member that this is.
    pub fn send_offsets(&self, group: &ConsumerGroupMetadata, offsets: &[(&str, i32, i64)]) -> Result<(), Failure> {
        let mut list = TopicPartitionList::new();
        for (topic, partition, offset) in offsets {
            list.add_partition_offset(topic, *partition, Offset::Offset(*offset)).unwrap();
        }
        repeat(|| self.0.client().send_offsets_to_transaction(&list, group, OUTAGE))
    }

    pub fn commit(&self) -> Result<(), Failure> {
        repeat(|| self.0.client().commit_transaction(OUTAGE))
    }

    /// Aborts what has been delivered.
    pub fn abort(&self) -> Result<(), Failure> {
        // librdkafka waits for reports that nobody else fetches.
        self.0.flush();
        repeat(|| self.0.client().abort_transaction(OUTAGE))
    }

    /// A whole transaction.
    pub fn transact(&self, topic: &str, values: &[(i32, &str)], commits: bool) {
        self.begin();
        for (partition, value) in values {
            self.0.send(topic, *partition, &Record::value(value));
        }
        assert!(self.0.flush().iter().all(Result::is_ok), "{:?}", self.0.flush());
        let ended = if commits { self.commit() } else { self.abort() };
        ended.expect("the transaction does not end");
    }
}

/// Calls until the outcome is not to call again, as librdkafka wants it.
fn repeat(call: impl Fn() -> KafkaResult<()>) -> Result<(), Failure> {
    let started = Instant::now();
    loop {
        let error = match call() {
            Ok(()) => return Ok(()),
            Err(KafkaError::Transaction(error)) => error,
            Err(error) => panic!("{error}"),
        };
        if error.is_fatal() {
            return Err(Failure::Fatal(error.code()));
        }
        if error.txn_requires_abort() {
            return Err(Failure::Abort(error.code()));
        }
        if !error.is_retriable() {
            return Err(Failure::Other(error.code()));
        }
        assert!(started.elapsed() < OUTAGE, "{error}");
    }
}

/// A reader of one partition that is told where the end is.
pub fn reader(bootstrap: &str, topic: &str, partition: i32, from: Offset, isolation: Isolation) -> Reader {
    let settings =
        [("isolation.level", isolation.name()), ("enable.partition.eof", "true"), ("fetch.wait.max.ms", "20")];
    Reader::with(bootstrap, topic, &[partition], from, &settings)
}

/// The values of a partition up to where such a reader has to stop.
pub fn values(bootstrap: &str, topic: &str, partition: i32, isolation: Isolation) -> Vec<String> {
    let records = reader(bootstrap, topic, partition, Offset::Beginning, isolation).to_end();
    records.into_iter().map(|(_, record)| value_of(record)).collect()
}

pub fn value_of(record: Record) -> String {
    String::from_utf8(record.value.expect("a record without a value")).unwrap()
}

/// A member of a group that is alone in it and has been given this many records of the topic.
pub fn member(bootstrap: &str, group: &str, topic: &str, records: usize) -> BaseConsumer {
    let mut config = client(bootstrap);
    config.set("group.id", group).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
    config.set("fetch.wait.max.ms", "20");
    let consumer: BaseConsumer = config.create().unwrap();
    consumer.subscribe(&[topic]).unwrap();
    let (started, mut seen) = (Instant::now(), 0);
    while seen < records {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                assert_eq!(message.topic(), topic);
                seen += 1;
            }
            Some(Err(error)) => panic!("{error}"),
            None => assert!(started.elapsed() < PATIENCE, "{seen} of {records} records within {PATIENCE:?}"),
        }
    }
    consumer
}

/// What a group has committed for a partition, to one who waits for open transactions, or the code.
pub fn stable_offset(
    connection: &mut Connection,
    group: &str,
    (topic, partition): (&str, i32),
) -> io::Result<Result<i64, i16>> {
    let wanted = OffsetFetchRequestGroup::default()
        .with_group_id(group_id(group))
        .with_topics(Some(wanted_offsets(topic, &[partition])));
    let request = OffsetFetchRequest::default().with_groups(vec![wanted]).with_require_stable(true);
    let found = &connection.try_call(8, &request)?.groups[0];
    if found.error_code != 0 {
        return Ok(Err(found.error_code));
    }
    let found = &found.topics[0].partitions[0];
    Ok(if found.error_code == 0 { Ok(found.committed_offset) } else { Err(found.error_code) })
}
