//! What VerifiableConsumer tells: one JSON object a line.

use std::collections::BTreeMap;
use std::io;

/// A number for each partition.
pub type Partitions = BTreeMap<i32, i64>;

/// What all consumers of a group have done.
#[derive(Debug, Default)]
pub struct Progress {
    /// First and last offset of every batch that was consumed.
    batches: Vec<(i32, i64, i64)>,
    /// The last commit that was acknowledged.
    committed: Partitions,
    count: i64,
}

impl Progress {
    /// From what the consumers printed.
    pub fn of(outputs: &[String]) -> io::Result<Self> {
        let mut progress = Self::default();
        for line in outputs.iter().flat_map(|output| output.lines()) {
            progress.line(line);
        }
        for output in outputs {
            check_continuity(output)?;
        }
        Ok(progress)
    }

    fn line(&mut self, line: &str) {
        if line.contains("\"name\":\"records_consumed\"") {
            for (partition, min, max) in batches(line) {
                self.batches.push((partition, min, max));
                self.count += max - min + 1;
            }
        }
        for (partition, offset) in commits(line) {
            let known = self.committed.entry(partition).or_insert(offset);
            *known = offset.max(*known);
        }
    }

    /// How many records were consumed, those that were consumed twice counted twice.
    pub fn consumed(&self) -> i64 {
        self.count
    }

    /// Whether every partition is committed up to its end.
    pub fn has_committed(&self, ends: &Partitions) -> bool {
        ends.iter().all(|(partition, end)| self.committed.get(partition) == Some(end))
    }

    /// Every offset up to the end was consumed by somebody.
    pub fn check_covers(&self, ends: &Partitions) -> io::Result<()> {
        for (partition, end) in ends {
            let mut batches: Vec<_> = self.batches.iter().filter(|(of, ..)| of == partition).collect();
            batches.sort_unstable();
            let mut next = 0;
            for (_, min, max) in batches {
                if *min > next {
                    return Err(io::Error::other(format!(
                        "partition {partition}: offsets {next} to {min} were skipped"
                    )));
                }
                next = next.max(max + 1);
            }
            if next != *end {
                return Err(io::Error::other(format!("partition {partition} was consumed up to {next}, not {end}")));
            }
        }
        Ok(())
    }
}

/// A consumer reads each partition on from where it was, or from the committed offset where it was given it anew: never
/// from before a commit of its own.
fn check_continuity(output: &str) -> io::Result<()> {
    let mut committed = Partitions::new();
    for line in output.lines() {
        if line.contains("\"name\":\"records_consumed\"") {
            for (partition, min, _) in batches(line) {
                let own = committed.get(&partition).copied().unwrap_or(0);
                if min < own {
                    return Err(io::Error::other(format!(
                        "partition {partition} was read again from {min}, though {own} was committed"
                    )));
                }
            }
        }
        committed.extend(commits(line));
    }
    Ok(())
}

/// The batches of a line about consumed records.
fn batches(line: &str) -> impl Iterator<Item = (i32, i64, i64)> {
    let objects = line.split('{').skip(2);
    objects.filter_map(|object| {
        let partition = i32::try_from(number(object, "partition")?).ok()?;
        Some((partition, number(object, "minOffset")?, number(object, "maxOffset")?))
    })
}

/// The offsets of a line about a commit that went well.
fn commits(line: &str) -> impl Iterator<Item = (i32, i64)> {
    let is_commit = line.contains("\"name\":\"offsets_committed\"") && line.contains("\"success\":true");
    let objects = line.split('{').skip(2).filter(move |_| is_commit);
    objects.filter_map(|object| Some((i32::try_from(number(object, "partition")?).ok()?, number(object, "offset")?)))
}

fn number(object: &str, name: &str) -> Option<i64> {
    let (_, rest) = object.split_once(&format!("\"{name}\":"))?;
    let end = rest.find(|next: char| next != '-' && !next.is_ascii_digit()).unwrap_or(rest.len());
    rest.get(..end)?.parse().ok()
}
