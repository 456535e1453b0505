//! What the tests of this room share: a world with topics and a clock that the test moves.

#![allow(clippy::unwrap_used)]

use uuid::Uuid;

use super::config::GroupsConfig;
use super::timers::Timers;
use super::turn::{Now, Steady, Ticket, Turn};
use crate::metadata::image::Image;
use crate::metadata::image::tests::partition as partition_record;
use crate::metadata::records::MetadataRecord;
use crate::types::{TimestampMs, TopicId};

/// Everything that a turn borrows.
#[derive(Debug)]
pub struct World {
    pub now: Now,
    pub image: Image,
    pub config: GroupsConfig,
    pub timers: Timers,
    drawn: u128,
}

impl World {
    pub fn new() -> Self {
        let now = Now { wall: TimestampMs(1_700_000_000_000), steady: Steady(1000) };
        let config = GroupsConfig { initial_rebalance_delay_ms: 0, ..GroupsConfig::default() };
        Self { now, image: Image::default(), config, timers: Timers::default(), drawn: 0 }
    }

    /// A topic whose id is its number in the order of creation, from 1.
    pub fn topic(&mut self, name: &str, partitions: i32) -> TopicId {
        let id = TopicId(Uuid::from_u128(self.image.topic_count() as u128 + 1));
        self.image.apply(&MetadataRecord::Topic { name: name.to_owned(), id }).unwrap();
        self.partitions(id, 0..partitions);
        id
    }

    /// More partitions for a topic.
    pub fn partitions(&mut self, id: TopicId, partitions: std::ops::Range<i32>) {
        for partition in partitions {
            self.image.apply(&partition_record(id, partition)).unwrap();
        }
    }

    pub fn advance(&mut self, ms: i64) {
        self.now.wall.0 += ms;
        self.now.steady = self.now.steady.plus_ms(ms);
    }

    /// The next turn, with a ticket and a random id of its own.
    pub fn turn(&mut self) -> Turn<'_> {
        self.drawn += 1;
        Turn {
            now: self.now,
            image: &self.image,
            config: &self.config,
            fresh: Uuid::from_u128(self.drawn << 64 | 0xabc),
            ticket: Ticket(self.drawn as u64),
            timers: &mut self.timers,
            records: Vec::new(),
            transaction: None,
            released: Vec::new(),
        }
    }
}
