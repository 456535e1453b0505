//! The word count: every word is counted 1, 2, 3 and so on to how often it occurs, and no count comes twice.

use std::collections::BTreeMap;
use std::iter;
use std::process::Command;

use crate::application::{Application, Fault, Place, Record, Records, streams};

const WORDS: usize = 40;
const WORDS_A_LINE: usize = 5;

/// The application `words` of `Streams.java`.
#[derive(Debug)]
pub struct WordCount;

impl Application for WordCount {
    fn name(&self) -> &'static str {
        "words"
    }

    fn inputs(&self) -> &'static [&'static str] {
        &["lines"]
    }

    fn output(&self) -> &'static str {
        "counts"
    }

    fn instance(&self, _: usize, place: Place<'_>) -> Command {
        streams(self.name(), place)
    }

    fn record(&self, number: u64, random: &mut fastrand::Rng) -> (&'static str, Record) {
        let words = (0..WORDS_A_LINE).map(|_| format!("word{}", random.usize(..WORDS)));
        let parts: Vec<String> = iter::once(number.to_string()).chain(words).collect();
        ("lines", Record { offset: -1, key: number.to_string(), value: parts.join(" ") })
    }

    fn check(&self, input: &Records, output: &Records) -> Result<(), Fault> {
        let mut counted: BTreeMap<&str, u64> = BTreeMap::new();
        for ((_, partition), records) in output {
            for Record { offset, key, value } in records {
                let count = counted.entry(key).or_default();
                *count += 1;
                if *value != count.to_string() {
                    let place = format!("partition {partition}, offset {offset}");
                    return Err(Fault::Wrong(format!("{place}: {key} is counted {value} where {count} follows")));
                }
            }
        }
        let mut expected: BTreeMap<&str, u64> = BTreeMap::new();
        for word in input.values().flatten().flat_map(|record| record.value.split(' ').skip(1)) {
            *expected.entry(word).or_default() += 1;
        }
        for (word, count) in &counted {
            let occurs = expected.get(word).copied().unwrap_or(0);
            if *count > occurs {
                return Err(Fault::Wrong(format!("{word} occurs {occurs} times and is counted {count} times")));
            }
        }
        match expected.iter().find(|(word, occurs)| counted.get(*word) != Some(occurs)) {
            Some((word, occurs)) => {
                let count = counted.get(word).copied().unwrap_or(0);
                Err(Fault::Missing(format!("{word} occurs {occurs} times and is counted {count} times")))
            }
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::application::tests::{missing, records, wrong};

    fn check(counts: &[(&str, &str)]) -> Result<(), Fault> {
        let input = records("lines", &[("0", "0 a b a"), ("1", "1 a")]);
        WordCount.check(&input, &records("counts", counts))
    }

    #[test]
    fn takes_each_count_once_and_in_order() {
        assert_eq!(check(&[("a", "1"), ("b", "1"), ("a", "2"), ("a", "3")]), Ok(()));
        assert!(missing(&check(&[("a", "1"), ("b", "1"), ("a", "2")])));
        assert!(missing(&check(&[])));
        assert!(wrong(&check(&[("a", "1"), ("a", "3")])));
        assert!(wrong(&check(&[("a", "1"), ("a", "1")])));
        assert!(wrong(&check(&[("a", "1"), ("a", "2"), ("a", "3"), ("a", "4")])));
        assert!(wrong(&check(&[("c", "1")])));
    }
}
