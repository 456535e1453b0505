//! What an application under test is: the records it is given, its instances, and what exactly it has to write.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;

use ottla_compat::Kafka;

/// A record as the driver writes and reads it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Where it lies in its partition; of no meaning before it is written.
    pub offset: i64,
    /// What decides about its partition.
    pub key: String,
    /// Its number among all that are written, and what the application needs, with spaces between.
    pub value: String,
}

/// Records in the order of their offsets, by topic and partition.
pub type Records = BTreeMap<(&'static str, i32), Vec<Record>>;

/// What differs from what is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fault {
    /// All is right so far, and not yet all there.
    Missing(String),
    /// Something is there that nothing can make right any more.
    Wrong(String),
}

/// Where and how the instances run.
#[derive(Clone, Copy, Debug)]
pub struct Place<'a> {
    /// The jars and the compiled members.
    pub kafka: &'a Kafka,
    /// The broker.
    pub bootstrap: &'a str,
    /// The instance's own folder.
    pub folder: &'a Path,
    /// Whether the application leaves out what makes it exact, to show that its check can fail.
    pub is_weakened: bool,
}

/// An application that reads topics and writes another, each record's effect exactly once.
pub trait Application: Sync {
    /// Its name, which is that of its group too.
    fn name(&self) -> &'static str;

    /// The topics it reads.
    fn inputs(&self) -> &'static [&'static str];

    /// The topic it writes.
    fn output(&self) -> &'static str;

    /// One of its instances.
    fn instance(&self, number: usize, place: Place<'_>) -> Command;

    /// The input record with this number, and its topic.
    fn record(&self, number: u64, random: &mut fastrand::Rng) -> (&'static str, Record);

    /// Compares all output with all input.
    fn check(&self, input: &Records, output: &Records) -> Result<(), Fault>;
}

/// An instance of Kafka Streams, with this name of an application.
pub fn streams(name: &str, place: Place<'_>) -> Command {
    let mut command = place.kafka.short_lived("128M", "Streams");
    let guarantee = if place.is_weakened { "at_least_once" } else { "exactly_once_v2" };
    command.args([name, place.bootstrap]).arg(place.folder).arg(guarantee);
    command
}

/// Every record's number is there exactly once, from 0 on.
pub fn check_numbers(input: &Records) -> Result<(), Fault> {
    let mut numbers: Vec<u64> = Vec::new();
    for record in input.values().flatten() {
        let number = record.value.split(' ').next().and_then(|number| number.parse().ok());
        numbers.push(number.ok_or_else(|| Fault::Wrong(format!("the input has the value {:?}", record.value)))?);
    }
    numbers.sort_unstable();
    match numbers.iter().zip(0..).find(|(found, expected)| **found != *expected) {
        Some((found, expected)) => Err(Fault::Wrong(format!("the input has {found} where {expected} is to be"))),
        None => Ok(()),
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Records of partition 0 with these keys and values.
    pub fn records(topic: &'static str, values: &[(&str, &str)]) -> Records {
        let record = |(offset, (key, value)): (i64, &(&str, &str))| Record {
            offset,
            key: (*key).to_owned(),
            value: (*value).to_owned(),
        };
        Records::from([((topic, 0), (0..).zip(values).map(record).collect())])
    }

    /// Whether something is not yet there.
    pub fn missing(result: &Result<(), Fault>) -> bool {
        matches!(result, Err(Fault::Missing(_)))
    }

    /// Whether something can never be right.
    pub fn wrong(result: &Result<(), Fault>) -> bool {
        matches!(result, Err(Fault::Wrong(_)))
    }

    #[test]
    fn every_number_is_there_once() {
        assert_eq!(check_numbers(&records("t", &[("", "1 a"), ("", "0 b")])), Ok(()));
        assert!(wrong(&check_numbers(&records("t", &[("", "0 a"), ("", "0 b")]))));
        assert!(wrong(&check_numbers(&records("t", &[("", "0 a"), ("", "2 b")]))));
        assert!(wrong(&check_numbers(&records("t", &[("", "a")]))));
    }
}
