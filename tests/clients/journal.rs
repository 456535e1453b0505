//! What was acknowledged, record by record, to be compared with what is read.

use std::collections::BTreeMap;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::KafkaError;
use rdkafka::message::{DeliveryResult, Message};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;

use crate::harness::{client, read_all};

/// Long enough for a broker to be killed and to come back, even Apache Kafka.
const OUTAGE: Duration = Duration::from_mins(2);

type Content = (Option<Vec<u8>>, Option<Vec<u8>>);

#[derive(Default)]
struct State {
    /// Per partition and offset: key and value.
    acknowledged: BTreeMap<i32, BTreeMap<i64, Content>>,
    count: usize,
    wrong: Vec<String>,
}

/// The acknowledged records of several producers.
#[derive(Clone, Default)]
pub struct Journal(Arc<(Mutex<State>, Condvar)>);

impl ClientContext for Journal {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Journal {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        let mut state = self.0.0.lock().unwrap();
        match result {
            Ok(message) => {
                let content = (message.key().map(<[u8]>::to_vec), message.payload().map(<[u8]>::to_vec));
                let partition = state.acknowledged.entry(message.partition()).or_default();
                if partition.insert(message.offset(), content).is_some() {
                    state.wrong.push(format!("two records were acknowledged with offset {}", message.offset()));
                }
                state.count += 1;
            }
            Err((error, _)) => state.wrong.push(format!("a record was refused: {error}")),
        }
        self.0.1.notify_all();
    }
}

impl Journal {
    /// An idempotent producer whose acknowledgements are written here.
    pub fn producer(&self, bootstrap: &str, settings: &[(&str, &str)]) -> JournalledProducer {
        let mut config = client(bootstrap);
        config.set("enable.idempotence", "true").set("acks", "all").set("message.timeout.ms", "120000");
        config.set("linger.ms", "0");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        JournalledProducer(config.create_with_context(self.clone()).unwrap())
    }

    /// Waits until this many records are acknowledged.
    pub fn wait_for(&self, count: usize) {
        let (state, changed) = &*self.0;
        let done = |state: &mut State| state.count < count && state.wrong.is_empty();
        let (state, timeout) = changed.wait_timeout_while(state.lock().unwrap(), OUTAGE, done).unwrap();
        assert!(state.wrong.is_empty(), "{:?}", state.wrong);
        assert!(!timeout.timed_out(), "only {} of {count} records acknowledged within {OUTAGE:?}", state.count);
    }

    /// How many records are acknowledged.
    pub fn count(&self) -> usize {
        self.0.0.lock().unwrap().count
    }

    /// The offset after the last acknowledged record of a partition.
    pub fn end(&self, partition: i32) -> i64 {
        let state = self.0.0.lock().unwrap();
        state.acknowledged.get(&partition).and_then(BTreeMap::last_key_value).map_or(0, |(offset, _)| offset + 1)
    }

    /// Reads the partitions whole; every acknowledged record must be where it was acknowledged, byte for byte.
    pub fn compare_with_the_log(&self, bootstrap: &str, topic: &str, partitions: i32) -> Vec<Vec<Content>> {
        let state = self.0.0.lock().unwrap();
        assert!(state.wrong.is_empty(), "{:?}", state.wrong);
        (0..partitions)
            .map(|partition| {
                let read: BTreeMap<i64, Content> = read_all(bootstrap, topic, partition)
                    .into_iter()
                    .map(|(offset, record)| (offset, (record.key, record.value)))
                    .collect();
                for (offset, content) in state.acknowledged.get(&partition).into_iter().flatten() {
                    let found = read.get(offset);
                    assert!(found.is_some(), "partition {partition}: acknowledged offset {offset} is lost");
                    assert_eq!(found, Some(content), "partition {partition}, offset {offset}");
                }
                read.into_values().collect()
            })
            .collect()
    }
}

/// A producer that stands a broker's death.
pub struct JournalledProducer(BaseProducer<Journal>);

impl JournalledProducer {
    /// Hands a record to librdkafka, waiting for room in its queue.
    pub fn send(&self, topic: &str, partition: i32, key: &[u8], value: &[u8]) {
        let mut next = BaseRecord::to(topic).partition(partition).key(key).payload(value);
        while let Err((error, back)) = self.0.send(next) {
            assert_eq!(error.rdkafka_error_code(), Some(RDKafkaErrorCode::QueueFull), "{error}");
            self.0.poll(Duration::from_millis(10));
            next = back;
        }
        self.0.poll(Duration::ZERO);
    }

    /// Waits until every record is acknowledged or given up.
    pub fn flush(&self) {
        self.0.flush(OUTAGE).expect("records are left unacknowledged");
    }
}
