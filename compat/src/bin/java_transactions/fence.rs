//! A second producer with the same transactional id, and what the first is told then.

use std::io;

use ottla_compat::{Broker, Kafka, kafka};

use crate::topics::{self, Isolation, read_all};

/// What `Fence.java` prints with version 2 of the protocol, up to the message of each error.
const EXPECTED: &str = "\
open-send before: ok
open-send write: ok
open-send send: InvalidProducerEpochException
open-send commit: InvalidProducerEpochException
open-send abort: ProducerFencedException
open-send after: ok
open-commit before: ok
open-commit write: ok
open-commit commit: ProducerFencedException
open-commit after: ok
open-abort before: ok
open-abort write: ok
open-abort abort: ProducerFencedException
open-abort begin: ProducerFencedException
open-abort after: ok
open-offsets before: ok
open-offsets write: ok
open-offsets offsets: ProducerFencedException
open-offsets commit: ProducerFencedException
open-offsets after: ok
idle-send before: ok
idle-send write: ok
idle-send begin: ok
idle-send send: InvalidProducerEpochException
idle-send commit: InvalidProducerEpochException
idle-send end: ok
idle-send after: ok
idle-offsets before: ok
idle-offsets write: ok
idle-offsets begin: ok
idle-offsets offsets: ProducerFencedException
idle-offsets commit: ProducerFencedException
idle-offsets end: ok
idle-offsets after: ok
";

/// What version 1 tells otherwise: a partition is added by a request of its own, to the coordinator of transactions, and
/// not by the write itself, to the partition.
const EXPECTED_OF_VERSION_1: [(&str, &str); 2] = [
    ("idle-send send: InvalidProducerEpochException", "idle-send send: ProducerFencedException"),
    ("idle-send commit: InvalidProducerEpochException", "idle-send commit: ProducerFencedException"),
];

/// Runs it and compares what it printed, and what it left in its topic.
pub fn run(kafka: &Kafka, broker: &Broker, version: u8, is_weakened: bool) -> io::Result<String> {
    let bootstrap = broker.bootstrap();
    ottla_compat::topics::create(&bootstrap, &["fenced"], topics::PARTITIONS)?;
    let second = if is_weakened { "other" } else { "same" };
    let told = kafka::run(kafka.short_lived("96M", "Fence").args([&bootstrap, second]))?;
    let told: Vec<&str> = told.lines().filter(|line| line.starts_with("open-") || line.starts_with("idle-")).collect();
    let found: Vec<&str> = told.iter().map(|line| line.split(" (").next().unwrap_or_default()).collect();
    let expected: Vec<&str> = EXPECTED.lines().map(|line| of_version(version, line)).collect();
    if found != expected {
        return Err(io::Error::other(format!("the first was told {told:#?} and not {expected:#?}")));
    }
    let records = read_all(&bootstrap, &["fenced"], Isolation::Committed)?;
    let values: Vec<&str> = records.values().flatten().map(|record| &*record.value).collect();
    let committed = expected_values();
    if values != committed {
        return Err(io::Error::other(format!("committed is {values:#?} instead of {committed:#?}")));
    }
    Ok(format!("{} calls answered as Kafka does, {} records committed", found.len(), values.len()))
}

/// What was said of a call, as this version says it.
fn of_version(version: u8, line: &'static str) -> &'static str {
    let otherwise = EXPECTED_OF_VERSION_1.iter().find(|(told, _)| version == 1 && *told == line);
    otherwise.map_or(line, |(_, otherwise)| otherwise)
}

/// What the first committed before it was fenced, and all that the second wrote.
fn expected_values() -> Vec<String> {
    let mut values = Vec::new();
    for case in ["open-send", "open-commit", "open-abort", "open-offsets"] {
        values.extend([format!("{case} before"), format!("{case} after")]);
    }
    for case in ["idle-send", "idle-offsets"] {
        values.extend([format!("{case} before"), format!("{case} between"), format!("{case} after")]);
    }
    values
}
