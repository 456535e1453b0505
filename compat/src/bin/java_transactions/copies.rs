//! Reads, writes and commits offsets in one transaction: the output is the input, partition by partition.

use std::process::Command;

use crate::application::{Application, Fault, Place, Record, Records};

/// The program `Copy.java`, whose instances have a transactional id each.
#[derive(Debug)]
pub struct Copies {
    /// The protocol of their group: `classic` or `consumer`.
    pub group_protocol: &'static str,
}

impl Application for Copies {
    fn name(&self) -> &'static str {
        "copy"
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["in"]
    }

    fn output(&self) -> &'static str {
        "out"
    }

    fn instance(&self, number: usize, place: Place<'_>) -> Command {
        let mut command = place.kafka.short_lived("96M", "Copy");
        let offsets = if place.is_weakened { "outside" } else { "inside" };
        command.args([place.bootstrap, &format!("copy-{number}"), self.group_protocol, offsets]);
        command
    }

    fn record(&self, number: u64, random: &mut fastrand::Rng) -> (&'static str, Record) {
        ("in", Record { offset: -1, key: number.to_string(), value: format!("{number} {}", random.u64(..)) })
    }

    fn check(&self, input: &Records, output: &Records) -> Result<(), Fault> {
        let none = Vec::new();
        for ((_, partition), expected) in input {
            let copies = output.get(&("out", *partition)).unwrap_or(&none);
            for (index, Record { offset, value, .. }) in copies.iter().enumerate() {
                let follows = expected.get(index).map(|record| &record.value);
                if Some(value) != follows {
                    let place = format!("partition {partition}, offset {offset}");
                    return Err(Fault::Wrong(format!("{place}: {value:?} where {follows:?} follows")));
                }
            }
            if copies.len() < expected.len() {
                let (are, of) = (copies.len(), expected.len());
                return Err(Fault::Missing(format!("partition {partition}: {are} of {of} records are copied")));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::tests::{missing, records, wrong};

    fn check(copies: &[&str]) -> Result<(), Fault> {
        let input = records("in", &[("0", "0 a"), ("1", "1 b")]);
        let output: Vec<(&str, &str)> = copies.iter().map(|value| ("", *value)).collect();
        Copies { group_protocol: "classic" }.check(&input, &records("out", &output))
    }

    #[test]
    fn takes_each_record_once_and_in_order() {
        assert_eq!(check(&["0 a", "1 b"]), Ok(()));
        assert!(missing(&check(&["0 a"])));
        assert!(missing(&check(&[])));
        assert!(wrong(&check(&["0 a", "0 a"])));
        assert!(wrong(&check(&["1 b"])));
        assert!(wrong(&check(&["0 a", "1 b", "1 b"])));
    }
}
