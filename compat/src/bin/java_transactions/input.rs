//! The input: numbered records from an idempotent producer, while everything else happens.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use rdkafka::ClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};
use rdkafka::producer::{BaseProducer, BaseRecord, DeliveryResult, Producer, ProducerContext};

use crate::application::Application;
use crate::topics::{PATIENCE, client};

/// Records that are handed over at once, and the pause after them: about 400 records a second.
const BURST: u64 = 8;
const PAUSE: Duration = Duration::from_millis(20);

/// Produces an application's input until it is told to stop.
#[derive(Debug, Default)]
pub struct Input {
    has_enough: AtomicBool,
}

impl Input {
    /// Tells [`Self::produce`] that this was all.
    pub fn stop(&self) {
        self.has_enough.store(true, Ordering::Relaxed);
    }

    /// Produces, and returns how many records once all of them are acknowledged.
    pub fn produce(&self, bootstrap: &str, application: &dyn Application, seed: u64) -> io::Result<usize> {
        let mut random = fastrand::Rng::with_seed(seed);
        let producer: BaseProducer<Deliveries> = client(bootstrap)
            .set("enable.idempotence", "true")
            .create_with_context(Deliveries::default())
            .map_err(io::Error::other)?;
        let mut number = 0;
        while !self.has_enough.load(Ordering::Relaxed) {
            for _ in 0..BURST {
                let (topic, record) = application.record(number, &mut random);
                let mut sent = BaseRecord::to(topic).key(&record.key).payload(&record.value);
                while let Err((error, same)) = producer.send(sent) {
                    if error != KafkaError::MessageProduction(RDKafkaErrorCode::QueueFull) {
                        return Err(io::Error::other(error));
                    }
                    producer.poll(PAUSE);
                    sent = same;
                }
                number += 1;
            }
            producer.poll(PAUSE);
        }
        producer.flush(PATIENCE).map_err(io::Error::other)?;
        producer.context().delivered()
    }
}

/// Counts what is acknowledged, and keeps the first failure.
#[derive(Default)]
struct Deliveries {
    count: AtomicUsize,
    failure: Mutex<Option<String>>,
}

impl Deliveries {
    fn delivered(&self) -> io::Result<usize> {
        match &*self.failure.lock().unwrap_or_else(PoisonError::into_inner) {
            Some(failure) => Err(io::Error::other(format!("the input was not taken: {failure}"))),
            None => Ok(self.count.load(Ordering::Relaxed)),
        }
    }
}

impl ClientContext for Deliveries {}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = ();

    fn delivery(&self, result: &DeliveryResult<'_>, (): ()) {
        match result {
            Ok(_) => drop(self.count.fetch_add(1, Ordering::Relaxed)),
            Err((error, _)) => {
                let mut failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner);
                failure.get_or_insert_with(|| error.to_string());
            }
        }
    }
}
