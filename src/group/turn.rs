//! One turn of a shard: what comes in beside the request, and what goes out beside the answer.

use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};
use uuid::Uuid;

use super::config::GroupsConfig;
use super::records::Record;
use super::timers::Timers;
use crate::metadata::image::Image;
use crate::types::{ProducerEpoch, ProducerId, TimestampMs};

/// Milliseconds of a clock that never jumps; timers are set by it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Steady(pub u64);

impl Steady {
    /// So much later; a negative time is none.
    #[must_use]
    pub fn plus_ms(self, ms: i64) -> Self {
        Self(self.0.saturating_add(u64::try_from(ms).unwrap_or(0)))
    }
}

/// The time of a turn, by both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// What records are stamped with.
    pub wall: TimestampMs,
    /// What timers go by.
    pub steady: Steady,
}

/// Names a request whose answer may come later.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// Who asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Client {
    /// `client.id`; empty where the client gave none.
    pub id: String,
    /// Its address as Kafka writes it: `/127.0.0.1`.
    pub host: String,
    /// The version of the request.
    pub api_version: i16,
}

/// The answer to a request that waited.
#[derive(Clone, Debug, PartialEq)]
pub enum Released {
    /// To JoinGroup.
    Join(JoinGroupResponse),
    /// To SyncGroup.
    Sync(SyncGroupResponse),
}

/// One turn of a shard.
#[derive(Debug)]
pub struct Turn<'a> {
    /// When it is.
    pub now: Now,
    /// Topics, partitions, settings of groups.
    pub image: &'a Image,
    /// The broker's settings.
    pub config: &'a GroupsConfig,
    /// A random id, for the one member or request of this turn that needs one.
    pub fresh: Uuid,
    /// Names the request of this turn.
    pub ticket: Ticket,
    /// When something is to happen by itself.
    pub timers: &'a mut Timers,
    /// To be appended, all or none, before anything of this turn is told.
    pub records: Vec<Record>,
    /// The producer whose transaction the records belong to, where they belong to one.
    pub transaction: Option<(ProducerId, ProducerEpoch)>,
    /// Answers to requests that waited.
    pub released: Vec<(Ticket, Released)>,
}
