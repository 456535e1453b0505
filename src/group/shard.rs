//! The state of one partition of `__consumer_offsets`: its groups and their offsets.

use std::sync::Arc;

use super::offsets::Offsets;
use super::records::Record;
use super::turn::Turn;
use crate::types::TopicId;

/// Groups and offsets of one partition.
#[derive(Debug, Default)]
pub struct Shard {
    offsets: Offsets,
}

impl Shard {
    /// Takes over what a record of the log says.
    pub fn apply(&mut self, record: &Record) {
        if let Record::Offset(group, topic, partition, value) = record {
            self.offsets.apply(group, topic, *partition, value.as_ref());
        }
    }

    /// The log was replayed: what a restart interrupted goes on.
    pub fn loaded(&mut self, _turn: &mut Turn<'_>) {}

    /// Fires the timers that are due.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        while let Some((_group, _timer)) = turn.timers.pop(turn.now.steady) {}
    }

    /// Takes back offsets that have expired, and groups that nothing is left of.
    pub fn expire_offsets(&mut self, _turn: &mut Turn<'_>) {}

    /// Offsets of topics that are gone go too.
    pub fn topics_deleted(&mut self, turn: &mut Turn<'_>, topics: &[(Arc<str>, TopicId)]) {
        let records = self.offsets.of_deleted(topics);
        records.iter().for_each(|record| self.apply(record));
        turn.records.extend(records);
    }
}
