//! What the examples of delivery have in common: ten numbered records in a topic of its own, consumers of one group,
//! and a count of how often each record was processed.

use std::error::Error;
use std::time::{Duration, Instant};

use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use rdkafka::consumer::{BaseConsumer, Consumer as _};
use rdkafka::error::KafkaError;
use rdkafka::message::{BorrowedMessage, DeliveryResult, Message as _};
use rdkafka::producer::{BaseProducer, BaseRecord, Producer as _, ProducerContext};
use rdkafka::{ClientConfig, ClientContext, consumer::ConsumerContext};
use uuid::Uuid;

/// How many records there are.
pub const RECORDS: usize = 10;
/// The first consumer crashes with this record in hand.
pub const CRASHES_AT: usize = 5;

/// How long anything may take.
pub const PATIENCE: Duration = Duration::from_secs(30);

/// Where the broker is: the first argument, or the default address.
pub fn address() -> String {
    std::env::args().nth(1).unwrap_or_else(|| "127.0.0.1:9092".to_owned())
}

/// A topic with ten records, and a group that nobody used before.
pub struct Scene {
    bootstrap: String,
    /// The topic, and the group of the same name.
    pub name: String,
}

impl Scene {
    /// Creates the topic, with one partition, and produces the records 0 to 9.
    pub fn set_up(bootstrap: &str, name: &str) -> Result<Self, Box<dyn Error>> {
        let name = format!("{name}-{}", Uuid::new_v4());
        let scene = Self { bootstrap: bootstrap.to_owned(), name };
        scene.create_topic(&scene.name)?;
        scene.produce()?;
        println!("{RECORDS} records are in the topic {}", scene.name);
        Ok(scene)
    }

    /// Creates a topic with one partition.
    pub fn create_topic(&self, name: &str) -> Result<(), Box<dyn Error>> {
        let admin: AdminClient<DefaultClientContext> = self.client().create()?;
        let topic = NewTopic::new(name, 1, TopicReplication::Fixed(1));
        let options = AdminOptions::new().operation_timeout(Some(PATIENCE));
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        for result in runtime.block_on(admin.create_topics([&topic], &options))? {
            result.map_err(|(topic, code)| format!("{topic} was not created: {code}"))?;
        }
        Ok(())
    }

    /// With idempotence, so that a record that had to be sent again is there once. acks=all comes with it.
    fn produce(&self) -> Result<(), Box<dyn Error>> {
        let producer: BaseProducer = self.client().set("enable.idempotence", "true").create()?;
        for number in 0..RECORDS {
            let value = number.to_string();
            producer.send(BaseRecord::<(), str>::to(&self.name).payload(&value)).map_err(|(error, _)| error)?;
        }
        Ok(producer.flush(PATIENCE)?)
    }

    /// A consumer of the group, which commits nothing by itself.
    pub fn consumer(&self) -> Result<BaseConsumer<Quiet>, Box<dyn Error>> {
        let mut config = self.client();
        config.set("group.id", &self.name).set("enable.auto.commit", "false");
        // Where the group has not committed anything, from the beginning.
        config.set("auto.offset.reset", "earliest").set("enable.partition.eof", "true");
        let consumer: BaseConsumer<Quiet> = config.create_with_context(Quiet)?;
        consumer.subscribe(&[&self.name])?;
        Ok(consumer)
    }

    /// What every client needs to be told.
    pub fn client(&self) -> ClientConfig {
        let mut config = ClientConfig::new();
        config.set("bootstrap.servers", &self.bootstrap);
        config
    }
}

/// Keeps librdkafka's own log lines out of the output.
pub struct Quiet;

impl ClientContext for Quiet {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}
}

impl ConsumerContext for Quiet {}

impl ProducerContext for Quiet {
    type DeliveryOpaque = ();

    // A record that is refused makes the commit of its transaction fail.
    fn delivery(&self, _: &DeliveryResult<'_>, (): ()) {}
}

/// The next record and its number; nothing at the end of the partition.
pub fn next(consumer: &BaseConsumer<Quiet>) -> Result<Option<(usize, BorrowedMessage<'_>)>, Box<dyn Error>> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        match consumer.poll(Duration::from_millis(100)) {
            Some(Ok(message)) => {
                let number = std::str::from_utf8(message.payload().unwrap_or_default())?.parse()?;
                return Ok(Some((number, message)));
            }
            Some(Err(KafkaError::PartitionEOF(_))) => return Ok(None),
            Some(Err(error)) => return Err(error.into()),
            None => {}
        }
    }
    Err(format!("no record within {PATIENCE:?}").into())
}

/// Stands for what processing changes in the world, such as rows in a database: it outlives the consumer.
#[derive(Default)]
pub struct Processed([usize; RECORDS]);

impl Processed {
    /// Processes a record.
    pub fn process(&mut self, number: usize) -> Result<(), Box<dyn Error>> {
        *self.0.get_mut(number).ok_or("a record that nobody produced")? += 1;
        Ok(())
    }

    /// Prints how often each record was processed; an error unless it is `times` for the one in flight at the crash
    /// and once for every other.
    pub fn must_be(&self, times: usize) -> Result<(), Box<dyn Error>> {
        for (number, count) in self.0.iter().enumerate() {
            println!("record {number} was processed {count} time{}", if *count == 1 { "" } else { "s" });
        }
        let mut expected = [1; RECORDS];
        expected[CRASHES_AT] = times;
        if self.0 == expected { Ok(()) } else { Err(format!("expected {expected:?}").into()) }
    }
}
