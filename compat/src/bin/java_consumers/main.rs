//! `java_consumers OTTLA-BINARY [ROUNDS]`: Kafka's own VerifiableConsumer in groups of every kind, while consumers and the
//! broker are killed with -9. Nothing may be skipped, and no acknowledged commit may be lost.
//!
//! A consumer commits what it has processed and tells both as lines of JSON. So whoever takes a partition over must begin
//! at or after the last commit that was acknowledged for it, and what all of them consumed must cover every offset.

mod events;

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use ottla_compat::{Broker, Kafka, Process, Program, Settings, topics};
use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};

use events::{Partitions, Progress};

const PARTITIONS: i32 = 4;
const RECORDS_A_ROUND: i64 = 4000;
const PATIENCE: Duration = Duration::from_mins(2);
const ASSIGNORS: &str = "org.apache.kafka.clients.consumer.";

/// A group's kind: its name, and what VerifiableConsumer is told.
const KINDS: [(&str, &[&str]); 4] = [
    ("range", &["--group-protocol", "classic", "--session-timeout", "6000"]),
    (
        "round-robin",
        &["--group-protocol", "classic", "--session-timeout", "6000", "--assignment-strategy", "RoundRobin"],
    ),
    (
        "cooperative-sticky",
        &["--group-protocol", "classic", "--session-timeout", "6000", "--assignment-strategy", "CooperativeSticky"],
    ),
    ("consumer", &["--group-protocol", "consumer"]),
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some(binary) = arguments.first() else {
        eprintln!("usage: java_consumers OTTLA-BINARY [ROUNDS]");
        return ExitCode::from(2);
    };
    let rounds = arguments.get(1).and_then(|rounds| rounds.parse().ok()).unwrap_or(1);
    for (name, options) in KINDS {
        if let Err(error) = crash(Path::new(binary), name, options, rounds) {
            eprintln!("{name}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

/// One group through kills of its consumers and of the broker.
fn crash(binary: &Path, name: &str, options: &[&str], rounds: i64) -> io::Result<()> {
    let kafka = Kafka::find_or_download()?;
    // Dead members of the consumer protocol are to be missed soon.
    let settings = Settings::default()
        .set("group.consumer.min.session.timeout.ms", "6000")
        .set("group.consumer.session.timeout.ms", "6000")
        .set("group.consumer.min.heartbeat.interval.ms", "1000")
        .set("group.consumer.heartbeat.interval.ms", "1000");
    let mut broker = Broker::start(Program::Ottla(binary.to_owned()), settings)?;
    topics::create(&broker.bootstrap(), &[name], PARTITIONS)?;
    let folder = tempfile::tempdir()?;
    let mut group = Group { kafka, options, name, folder: folder.path().to_owned(), consumers: Vec::new() };
    group.add(&broker.bootstrap())?;
    group.add(&broker.bootstrap())?;
    let producer: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", broker.bootstrap())
        .set("enable.idempotence", "true")
        .create()
        .map_err(io::Error::other)?;
    for round in 1..=rounds {
        let target = round * RECORDS_A_ROUND;
        let (before, half) = (target - RECORDS_A_ROUND, target - RECORDS_A_ROUND / 2);
        produce(&producer, name, before..half)?;
        group.wait_for("some of the records", |progress| progress.consumed() > before)?;
        // Under load, and again while the group closes ranks.
        produce(&producer, name, half..target)?;
        broker.kill()?;
        broker.restart()?;
        group.kill_first()?;
        group.add(&broker.bootstrap())?;
        broker.kill()?;
        broker.restart()?;
        producer.flush(PATIENCE).map_err(io::Error::other)?;
        let ends: Partitions = (0..PARTITIONS).map(|index| (index, target / i64::from(PARTITIONS))).collect();
        group.wait_for("all records, committed", |progress| progress.has_committed(&ends))?;
    }
    let progress = group.progress()?;
    let ends = (0..PARTITIONS).map(|index| (index, rounds * RECORDS_A_ROUND / i64::from(PARTITIONS)));
    progress.check_covers(&ends.collect())?;
    println!("ok: {name}: {} records of {}, nothing skipped", progress.consumed(), rounds * RECORDS_A_ROUND);
    Ok(())
}

/// The consumers of a group, the living and the dead.
struct Group<'a> {
    kafka: Kafka,
    options: &'a [&'a str],
    name: &'a str,
    folder: PathBuf,
    consumers: Vec<Process>,
}

impl Group<'_> {
    fn add(&mut self, bootstrap: &str) -> io::Result<()> {
        let mut command = self.kafka.java("128M", "org.apache.kafka.tools.VerifiableConsumer");
        command.args(["--bootstrap-server", bootstrap, "--topic", self.name, "--group-id", self.name]);
        for option in self.options {
            match *option {
                assignor @ ("RoundRobin" | "CooperativeSticky") => {
                    command.arg(format!("{ASSIGNORS}{assignor}Assignor"));
                }
                option => {
                    command.arg(option);
                }
            }
        }
        let log = self.folder.join(format!("consumer-{}.log", self.consumers.len()));
        self.consumers.push(Process::spawn(&mut command, &log)?);
        Ok(())
    }

    /// Kills the one that has lived longest.
    fn kill_first(&mut self) -> io::Result<()> {
        for consumer in &mut self.consumers {
            if consumer.exited()?.is_none() {
                return consumer.kill();
            }
        }
        Err(io::Error::other("no consumer is left"))
    }

    fn progress(&self) -> io::Result<Progress> {
        let outputs: Vec<String> = self.consumers.iter().map(Process::output).collect();
        Progress::of(&outputs)
    }

    fn wait_for(&mut self, what: &str, is_reached: impl Fn(&Progress) -> bool) -> io::Result<()> {
        let started = Instant::now();
        loop {
            let progress = self.progress()?;
            if is_reached(&progress) {
                return Ok(());
            }
            if started.elapsed() > PATIENCE {
                let outputs: BTreeMap<usize, String> = self
                    .consumers
                    .iter()
                    .enumerate()
                    .map(|(number, consumer)| {
                        let output = consumer.output();
                        let tail = output.len().saturating_sub(2000);
                        (number, output.get(tail..).unwrap_or_default().to_owned())
                    })
                    .collect();
                return Err(io::Error::other(format!("{what}: not within {PATIENCE:?}; consumers said {outputs:#?}")));
            }
            // tidy: may sleep: nothing tells when another process has written to a file
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

/// Hands numbered records to a producer, the same number to each partition, and does not wait for them.
fn produce(producer: &BaseProducer, topic: &str, numbers: Range<i64>) -> io::Result<()> {
    for number in numbers {
        let text = number.to_string();
        let partition = i32::try_from(number % i64::from(PARTITIONS)).unwrap_or(0);
        let record = BaseRecord::<(), String>::to(topic).payload(&text).partition(partition);
        producer.send(record).map_err(|(error, _)| io::Error::other(error))?;
    }
    Ok(())
}
