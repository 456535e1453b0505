//! The settings of groups: the broker's, and those of one group over them.

use crate::metadata::image::{Image, Overrides, Resource, ResourceType};
use crate::wire::batch::Compression;

/// A server-side assignor.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Assignor {
    /// Spreads all partitions evenly, keeping as many as possible where they are.
    Uniform,
    /// Gives each member a range of each topic, the same range of topics with as many partitions.
    Range,
}

impl Assignor {
    /// By its name in requests and settings.
    pub fn of(name: &str) -> Option<Self> {
        match name {
            "uniform" => Some(Self::Uniform),
            "range" => Some(Self::Range),
            _ => None,
        }
    }

    /// Its name.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Uniform => "uniform",
            Self::Range => "range",
        }
    }
}

/// `group.consumer.migration.policy`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// A group keeps its protocol.
    Disabled,
    /// Classic groups become consumer groups when a consumer joins.
    Upgrade,
    /// Consumer groups become classic groups when the last consumer leaves.
    Downgrade,
    /// Both.
    Bidirectional,
}

impl MigrationPolicy {
    /// Whether a classic group may become a consumer group.
    pub const fn may_upgrade(self) -> bool {
        matches!(self, Self::Upgrade | Self::Bidirectional)
    }

    /// Whether a consumer group may become a classic group.
    pub const fn may_downgrade(self) -> bool {
        matches!(self, Self::Downgrade | Self::Bidirectional)
    }
}

/// A duration that a group may set, within what the broker allows. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounded {
    /// Where the group sets none.
    pub default: i32,
    /// The least.
    pub min: i32,
    /// The most.
    pub max: i32,
}

/// The broker's settings for groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupsConfig {
    /// `group.min.session.timeout.ms` (classic).
    pub min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms` (classic).
    pub max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms` (classic).
    pub initial_rebalance_delay_ms: i32,
    /// `group.max.size` (classic), members.
    pub max_size: usize,
    /// `group.consumer.max.size`, members.
    pub consumer_max_size: usize,
    /// `group.consumer.assignors`; the first is the default.
    pub assignors: Vec<Assignor>,
    /// `group.consumer.migration.policy`.
    pub migration: MigrationPolicy,
    /// `group.consumer.session.timeout.ms`, and `min.` and `max.` of it.
    pub session_timeout: Bounded,
    /// `group.consumer.heartbeat.interval.ms`, and `min.` and `max.` of it.
    pub heartbeat_interval: Bounded,
    /// `group.consumer.assignment.interval.ms`, and `min.` and `max.` of it (KIP-1263).
    pub assignment_interval: Bounded,
    /// `group.consumer.regex.refresh.interval.ms`.
    pub regex_refresh_interval_ms: i32,
    /// `message.max.bytes`: the largest record that a group may come to.
    pub max_record_bytes: usize,
    /// `offset.metadata.max.bytes`.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`, in milliseconds.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`.
    pub offsets_retention_check_ms: i64,
    /// `offsets.commit.timeout.ms`.
    pub commit_timeout_ms: i32,
    /// `offsets.topic.num.partitions`: how many `__consumer_offsets` is created with.
    pub topic_partitions: i32,
    /// `offsets.topic.segment.bytes`: `segment.bytes` of `__consumer_offsets` when it is created.
    pub topic_segment_bytes: i32,
    /// `offsets.topic.compression.codec`: how batches of `__consumer_offsets` are compressed.
    pub topic_compression: Compression,
}

/// Kafka's defaults.
impl Default for GroupsConfig {
    fn default() -> Self {
        Self {
            min_session_timeout_ms: 6000,
            max_session_timeout_ms: 1_800_000,
            initial_rebalance_delay_ms: 3000,
            max_size: i32::MAX as usize,
            consumer_max_size: i32::MAX as usize,
            assignors: vec![Assignor::Uniform, Assignor::Range],
            migration: MigrationPolicy::Bidirectional,
            session_timeout: Bounded { default: 45_000, min: 45_000, max: 60_000 },
            heartbeat_interval: Bounded { default: 5000, min: 5000, max: 15_000 },
            assignment_interval: Bounded { default: 1000, min: 0, max: 15_000 },
            regex_refresh_interval_ms: 600_000,
            max_record_bytes: 1_048_588,
            offset_metadata_max_bytes: 4096,
            offsets_retention_ms: 7 * 24 * 60 * 60 * 1000,
            offsets_retention_check_ms: 600_000,
            commit_timeout_ms: 5000,
            topic_partitions: 50,
            topic_segment_bytes: 104_857_600,
            topic_compression: Compression::None,
        }
    }
}

/// What holds for one group of the consumer protocol. Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConsumerSettings {
    /// A member that was not heard of for so long is dropped.
    pub session_timeout_ms: i32,
    /// How often members are to be heard of.
    pub heartbeat_interval_ms: i32,
    /// The least time between two assignments.
    pub assignment_interval_ms: i32,
}

impl GroupsConfig {
    /// What holds for one group: what was set for it, within what the broker allows.
    pub fn consumer(&self, image: &Image, group: &str) -> ConsumerSettings {
        let own = image.overrides(&Resource::new(ResourceType::GROUP, group));
        let value = |name: &str, bounded: Bounded| {
            let own = own.and_then(|own: &Overrides| own.get(name)).and_then(|text| text.trim().parse().ok());
            own.map_or(bounded.default, |own: i32| own.min(bounded.max).max(bounded.min))
        };
        ConsumerSettings {
            session_timeout_ms: value("consumer.session.timeout.ms", self.session_timeout),
            heartbeat_interval_ms: value("consumer.heartbeat.interval.ms", self.heartbeat_interval),
            assignment_interval_ms: value("consumer.assignment.interval.ms", self.assignment_interval),
        }
    }
}
