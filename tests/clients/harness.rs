//! Brokers for tests, and librdkafka's producers, consumers and administrators in the shape that the cases want.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use ottla_compat::{Broker, Kafka, Program, Settings};
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, DeliveryResult, Header, Headers, OwnedHeaders, Timestamp};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientConfig, ClientContext, Message, Offset, TopicPartitionList};

/// How long a client waits for what must happen at once.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// The broker that is judged.
pub enum Judged {
    /// Started by the test.
    Own(Box<Broker>),
    /// Named by `OTTLA_TEST_BOOTSTRAP`.
    Running(String),
}

impl Judged {
    pub fn bootstrap(&self) -> String {
        match self {
            Self::Own(broker) => broker.bootstrap(),
            Self::Running(bootstrap) => bootstrap.clone(),
        }
    }
}

/// A broker with its default settings.
pub fn broker() -> Judged {
    match std::env::var("OTTLA_TEST_BOOTSTRAP") {
        Ok(bootstrap) => Judged::Running(bootstrap),
        Err(_) => Judged::Own(Box::new(own_broker(Settings::default()))),
    }
}

/// A broker that the test may kill, or that needs settings of its own.
pub fn own_broker(settings: Settings) -> Broker {
    Broker::start(program(), settings).expect("the broker does not start")
}

/// The broker's executable.
pub fn ottla() -> PathBuf {
    PathBuf::from(env!("CARGO_BIN_EXE_ottla"))
}

/// Whether Apache Kafka stands in for Ottla.
pub fn against_kafka() -> bool {
    std::env::var("OTTLA_TEST_AGAINST").is_ok_and(|name| name == "kafka")
}

fn program() -> Program {
    if against_kafka() { Program::Kafka(Kafka::find_or_download().unwrap()) } else { Program::Ottla(ottla()) }
}

/// A topic name that no other test uses, even on a broker that outlives the tests.
pub fn fresh(name: &str) -> String {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    format!("{name}-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

/// SplitMix64: small, seeded, the same everywhere.
pub struct Random(u64);

impl Random {
    /// The seed of `OTTLA_TEST_SEED`, or a new one; printed either way.
    pub fn from_environment(test: &str) -> Self {
        let given =
            std::env::var("OTTLA_TEST_SEED").ok().map(|seed| seed.parse().expect("OTTLA_TEST_SEED is a number"));
        let seed = given.unwrap_or_else(|| u64::from(std::process::id()) << 32 | u64::from(subsecond_nanos()));
        println!("{test}: OTTLA_TEST_SEED={seed}");
        Self(seed)
    }

    /// The one of this seed.
    pub fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    /// Another one from a number that this one drew.
    pub fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }
}

fn subsecond_nanos() -> u32 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_nanos()
}

/// Sets its flag when dropped, also by a failed assertion.
pub struct Raise<'a>(pub &'a AtomicBool);

impl Drop for Raise<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// A record as a test writes and reads it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    pub key: Option<Vec<u8>>,
    pub value: Option<Vec<u8>>,
    pub headers: Vec<(String, Option<Vec<u8>>)>,
    /// On the way in: to be set. On the way out: as read.
    pub timestamp: Option<i64>,
}

impl Record {
    pub fn value(value: impl AsRef<[u8]>) -> Self {
        Self { value: Some(value.as_ref().to_vec()), ..Self::default() }
    }

    pub fn keyed(key: impl AsRef<[u8]>, value: impl AsRef<[u8]>) -> Self {
        Self { key: Some(key.as_ref().to_vec()), ..Self::value(value) }
    }

    pub fn at(mut self, timestamp: i64) -> Self {
        self.timestamp = Some(timestamp);
        self
    }
}

/// Where a record went, or why it did not.
pub type Delivery = Result<(i32, i64), RDKafkaErrorCode>;

/// Collects delivery reports in the order of sending.
#[derive(Clone, Default)]
pub struct Deliveries(Arc<Mutex<Vec<Option<Delivery>>>>);

impl ClientContext for Deliveries {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, _: KafkaError, _: &str) {}
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Box<usize>;

    fn delivery(&self, result: &DeliveryResult<'_>, index: Box<usize>) {
        let delivery = match result {
            Ok(message) => Ok((message.partition(), message.offset())),
            Err((error, _)) => Err(error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown)),
        };
        self.0.lock().unwrap()[*index] = Some(delivery);
    }
}

/// A producer that remembers what became of each record.
pub struct Producer {
    inner: BaseProducer<Deliveries>,
    deliveries: Deliveries,
}

impl Producer {
    pub fn new(bootstrap: &str, settings: &[(&str, &str)]) -> Self {
        let deliveries = Deliveries::default();
        let mut config = client(bootstrap);
        config.set("linger.ms", "1").set("message.timeout.ms", "30000");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        Self { inner: config.create_with_context(deliveries.clone()).unwrap(), deliveries }
    }

    /// librdkafka's own.
    pub fn client(&self) -> &BaseProducer<Deliveries> {
        &self.inner
    }

    /// Hands a record to librdkafka, waiting for room in its queue.
    pub fn send(&self, topic: &str, partition: i32, record: &Record) {
        let index = {
            let mut deliveries = self.deliveries.0.lock().unwrap();
            deliveries.push(None);
            deliveries.len() - 1
        };
        let mut next = BaseRecord::with_opaque_to(topic, Box::new(index)).partition(partition);
        next.key = record.key.as_deref();
        next.payload = record.value.as_deref();
        next.timestamp = record.timestamp;
        if !record.headers.is_empty() {
            let headers = record.headers.iter().fold(OwnedHeaders::new(), |headers, (key, value)| {
                headers.insert(Header { key, value: value.as_deref() })
            });
            next = next.headers(headers);
        }
        while let Err((error, back)) = self.inner.send::<[u8], [u8]>(next) {
            if error.rdkafka_error_code() != Some(RDKafkaErrorCode::QueueFull) {
                self.deliveries.0.lock().unwrap()[index] = error.rdkafka_error_code().map(Err);
                return;
            }
            self.inner.poll(Duration::from_millis(10));
            next = back;
        }
        self.inner.poll(Duration::ZERO);
    }

    /// Waits until every record sent so far has its report, and returns them all in the order of sending.
    pub fn flush(&self) -> Vec<Delivery> {
        self.inner.flush(PATIENCE * 2).expect("flush");
        self.deliveries.0.lock().unwrap().iter().map(|report| report.expect("no delivery report")).collect()
    }

    /// Sends one record and waits for its report.
    pub fn deliver(&self, topic: &str, partition: i32, record: &Record) -> Delivery {
        self.send(topic, partition, record);
        let started = Instant::now();
        loop {
            // A flush would look for the report ten times a second.
            self.inner.poll(Duration::from_millis(1));
            if let Some(report) = *self.deliveries.0.lock().unwrap().last().unwrap() {
                return report;
            }
            assert!(started.elapsed() < PATIENCE * 2, "no delivery report");
        }
    }
}

/// Produces records to a partition with default settings; their offsets.
pub fn produce(bootstrap: &str, topic: &str, partition: i32, records: &[Record]) -> Vec<i64> {
    let producer = Producer::new(bootstrap, &[]);
    for record in records {
        producer.send(topic, partition, record);
    }
    producer.flush().into_iter().map(|report| report.expect("refused").1).collect()
}

/// A consumer of given partitions, without a group.
pub struct Reader(pub BaseConsumer);

impl Reader {
    pub fn new(bootstrap: &str, topic: &str, partition: i32, from: Offset) -> Self {
        Self::with(bootstrap, topic, &[partition], from, &[])
    }

    pub fn with(bootstrap: &str, topic: &str, partitions: &[i32], from: Offset, settings: &[(&str, &str)]) -> Self {
        let mut config = client(bootstrap);
        // librdkafka wants a name for a group, and uses none: partitions are assigned, nothing is committed.
        config.set("group.id", "none").set("enable.auto.commit", "false").set("enable.auto.offset.store", "false");
        config.set("auto.offset.reset", "error").set("fetch.wait.max.ms", "500").set("check.crcs", "true");
        for (name, value) in settings {
            config.set(*name, *value);
        }
        let reader = Self(config.create().unwrap());
        reader.assign(topic, partitions, from);
        reader
    }

    /// Reads on somewhere else.
    pub fn assign(&self, topic: &str, partitions: &[i32], from: Offset) {
        let mut assignment = TopicPartitionList::new();
        for partition in partitions {
            assignment.add_partition_offset(topic, *partition, from).unwrap();
        }
        self.0.assign(&assignment).unwrap();
    }

    /// The next record with its partition and offset.
    pub fn next(&self) -> (i32, i64, Record) {
        let started = Instant::now();
        loop {
            match self.0.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => return (message.partition(), message.offset(), read(&message)),
                // A broker that restarts is no error to who waits.
                Some(Err(KafkaError::MessageConsumption(code))) if is_transport(code) => {}
                // The end of the partition, to one who asked to be told: more may come.
                Some(Err(KafkaError::PartitionEOF(_))) => {}
                Some(Err(error)) => panic!("{error}"),
                None => assert!(started.elapsed() < PATIENCE, "no record within {PATIENCE:?}"),
            }
        }
    }

    /// The next records, which must follow each other without a gap in offsets.
    pub fn take(&self, count: usize) -> Vec<Record> {
        let mut next_offset = None;
        (0..count)
            .map(|_| {
                let (_, offset, record) = self.next();
                assert_eq!(offset, next_offset.unwrap_or(offset), "a gap in offsets");
                next_offset = Some(offset + 1);
                record
            })
            .collect()
    }

    /// All records with their offsets up to where the broker has no more for it; with `enable.partition.eof`.
    pub fn to_end(&self) -> Vec<(i64, Record)> {
        let started = Instant::now();
        let mut records = Vec::new();
        while started.elapsed() < PATIENCE {
            match self.0.poll(Duration::from_millis(100)) {
                Some(Ok(message)) => records.push((message.offset(), read(&message))),
                Some(Err(KafkaError::PartitionEOF(_))) => return records,
                Some(Err(KafkaError::MessageConsumption(code))) if is_transport(code) => {}
                Some(Err(error)) => panic!("{error}"),
                None => {}
            }
        }
        panic!("not at the end within {PATIENCE:?}")
    }

    /// The error of the next poll that has one.
    pub fn next_error(&self) -> RDKafkaErrorCode {
        let started = Instant::now();
        while started.elapsed() < PATIENCE {
            match self.0.poll(Duration::from_millis(100)) {
                Some(Err(KafkaError::PartitionEOF(_))) => return RDKafkaErrorCode::PartitionEOF,
                Some(Err(error)) => return error.rdkafka_error_code().unwrap(),
                Some(Ok(message)) => panic!("a record at offset {} instead of an error", message.offset()),
                None => {}
            }
        }
        panic!("no error within {PATIENCE:?}")
    }
}

/// Reads a whole partition from its first offset to its high watermark.
pub fn read_all(bootstrap: &str, topic: &str, partition: i32) -> Vec<(i64, Record)> {
    let reader = Reader::new(bootstrap, topic, partition, Offset::Beginning);
    let (low, high) = watermarks(&reader.0, topic, partition);
    (low..high)
        .map(|expected| {
            let (_, offset, record) = reader.next();
            assert_eq!(offset, expected, "a gap in offsets");
            (offset, record)
        })
        .collect()
}

/// The first offset and the high watermark, asked again while the broker comes up.
pub fn watermarks(consumer: &BaseConsumer, topic: &str, partition: i32) -> (i64, i64) {
    let started = Instant::now();
    loop {
        match consumer.fetch_watermarks(topic, partition, Duration::from_secs(5)) {
            Ok(watermarks) => return watermarks,
            Err(error) => assert!(started.elapsed() < PATIENCE, "{error}"),
        }
    }
}

/// What clients say while a broker is away.
pub fn is_transport(code: RDKafkaErrorCode) -> bool {
    use RDKafkaErrorCode::{AllBrokersDown, BrokerTransportFailure, OperationTimedOut, Resolve};
    matches!(code, AllBrokersDown | BrokerTransportFailure | OperationTimedOut | Resolve)
}

fn read(message: &BorrowedMessage<'_>) -> Record {
    let headers = message.headers().map_or_else(Vec::new, |headers| {
        headers.iter().map(|header| (header.key.to_owned(), header.value.map(<[u8]>::to_vec))).collect()
    });
    Record {
        key: message.key().map(<[u8]>::to_vec),
        value: message.payload().map(<[u8]>::to_vec),
        headers,
        timestamp: match message.timestamp() {
            Timestamp::CreateTime(time) | Timestamp::LogAppendTime(time) => Some(time),
            Timestamp::NotAvailable => None,
        },
    }
}

/// Topics, configurations and partitions, one call at a time.
pub struct Admin {
    pub client: AdminClient<DefaultClientContext>,
    runtime: tokio::runtime::Runtime,
}

impl Admin {
    pub fn new(bootstrap: &str) -> Self {
        let client = client(bootstrap).create().unwrap();
        Self { client, runtime: tokio::runtime::Builder::new_current_thread().build().unwrap() }
    }

    pub fn wait<T>(&self, operation: impl Future<Output = T>) -> T {
        self.runtime.block_on(operation)
    }

    pub fn options() -> AdminOptions {
        AdminOptions::new().request_timeout(Some(PATIENCE)).operation_timeout(Some(PATIENCE))
    }

    /// Creates a topic; the error that the broker gave for it.
    pub fn create(&self, name: &str, partitions: i32, configs: &[(&str, &str)]) -> Result<(), RDKafkaErrorCode> {
        let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
        topic.config.extend_from_slice(configs);
        let results = self.wait(self.client.create_topics([&topic], &Self::options())).unwrap();
        results.into_iter().next().unwrap().map(drop).map_err(|(_, code)| code)
    }
}

/// Creates a topic with a name of its own, and returns the name.
pub fn topic(bootstrap: &str, name: &str, partitions: i32, configs: &[(&str, &str)]) -> String {
    let name = fresh(name);
    Admin::new(bootstrap).create(&name, partitions, configs).expect("the topic is not created");
    name
}

/// What every client of these tests has in common.
pub fn client(bootstrap: &str) -> ClientConfig {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", bootstrap).set("broker.address.family", "v4");
    config.set("reconnect.backoff.ms", "10").set("reconnect.backoff.max.ms", "100");
    config.set("retry.backoff.ms", "10").set("retry.backoff.max.ms", "100");
    config.set("allow.auto.create.topics", "true");
    // Kills and bad input are the point here; what clients say about them is noise.
    config.set("log_level", "0").set("log.connection.close", "false");
    config
}
