//! The settings that one group can have over the broker's, as of Apache Kafka 4.3 (KIP-848, KIP-932, KIP-1071).
//!
//! A group without a value of its own takes that of the broker setting, where there is one. What a group sets must lie
//! within bounds that are broker settings too.

use super::def::{Effect, Rule, Setting, Type, Update};

/// A setting of groups, and what it has to do with the broker's.
#[derive(Clone, Copy, Debug)]
pub struct GroupSetting {
    /// The setting itself.
    pub setting: Setting,
    /// The broker setting that counts where the group has no value; `None` for settings that only groups have.
    pub broker: Option<&'static str>,
    /// The broker setting that holds the least.
    pub min: Option<&'static str>,
    /// The broker setting that holds the most.
    pub max: Option<&'static str>,
}

/// Where share groups begin to read transactions.
const ISOLATION_LEVELS: &[&str] = &["read_committed", "read_uncommitted"];

macro_rules! group_settings {
    ($($name:literal $kind:ident = $default:literal, $rule:expr, $effect:ident, [$($broker:literal $(, $bound:ident = $limit:literal)*)?],
        $doc:literal;)*) => {
        &[$(group_settings!(@entry
            Setting::new($name, Type::$kind, Some($default), $rule)
                .update(Update::ClusterWide).effect(Effect::$effect).doc($doc),
            $($broker $(, $bound = $limit)*)?)),*]
    };
    (@entry $setting:expr, ) => { GroupSetting { setting: $setting, broker: None, min: None, max: None } };
    (@entry $setting:expr, $broker:literal $(, $bound:ident = $limit:literal)*) => {
        GroupSetting { broker: Some($broker), $($bound: Some($limit),)* ..group_settings!(@entry $setting, ) }
    };
}

/// Every setting of groups, by name.
pub const SETTINGS: &[GroupSetting] = group_settings! {
    "consumer.assignment.interval.ms" Int = "1000", Rule::Min(0), Acts,
        ["group.consumer.assignment.interval.ms",
         min = "group.consumer.min.assignment.interval.ms", max = "group.consumer.max.assignment.interval.ms"],
        "The least time between two assignments of a group of the consumer protocol.";
    "consumer.heartbeat.interval.ms" Int = "5000", Rule::Min(1), Acts,
        ["group.consumer.heartbeat.interval.ms",
         min = "group.consumer.min.heartbeat.interval.ms", max = "group.consumer.max.heartbeat.interval.ms"],
        "How often members of the consumer protocol are told to be heard of.";
    "consumer.session.timeout.ms" Int = "45000", Rule::Min(1), Acts,
        ["group.consumer.session.timeout.ms",
         min = "group.consumer.min.session.timeout.ms", max = "group.consumer.max.session.timeout.ms"],
        "A member of the consumer protocol that was not heard of for so long is dropped. It must be longer than \
         consumer.heartbeat.interval.ms.";
    "share.assignment.interval.ms" Int = "1000", Rule::Min(0), Stored,
        ["group.share.assignment.interval.ms",
         min = "group.share.min.assignment.interval.ms", max = "group.share.max.assignment.interval.ms"],
        "The least time between two assignments of a share group. Ottla has no share groups yet.";
    "share.auto.offset.reset" String = "latest", Rule::ShareOffsetReset, Stored, [],
        "Where a share group begins to read: earliest, latest, or by_duration: and how far back, in ISO 8601. Ottla has \
         no share groups yet.";
    "share.delivery.count.limit" Int = "5", Rule::Min(2), Stored,
        ["group.share.delivery.count.limit",
         min = "group.share.min.delivery.count.limit", max = "group.share.max.delivery.count.limit"],
        "How often a record is delivered to a share group at most. Ottla has no share groups yet.";
    "share.heartbeat.interval.ms" Int = "5000", Rule::Min(1), Stored,
        ["group.share.heartbeat.interval.ms",
         min = "group.share.min.heartbeat.interval.ms", max = "group.share.max.heartbeat.interval.ms"],
        "How often members of a share group are told to be heard of. Ottla has no share groups yet.";
    "share.isolation.level" String = "read_uncommitted", Rule::OneOf(ISOLATION_LEVELS), Stored, [],
        "Whether a share group gets only what was committed of transactions, or all. Ottla has no share groups yet.";
    "share.partition.max.record.locks" Int = "2000", Rule::Min(100), Stored,
        ["group.share.partition.max.record.locks",
         min = "group.share.min.partition.max.record.locks", max = "group.share.max.partition.max.record.locks"],
        "How many records of one partition a share group may hold at one time. Ottla has no share groups yet.";
    "share.record.lock.duration.ms" Int = "30000", Rule::Min(1000), Stored,
        ["group.share.record.lock.duration.ms",
         min = "group.share.min.record.lock.duration.ms", max = "group.share.max.record.lock.duration.ms"],
        "How long a member of a share group may hold a record before it is given to another. Ottla has no share groups \
         yet.";
    "share.renew.acknowledge.enable" Boolean = "true", Rule::Any, Stored, [],
        "Whether members of a share group may hold a record for longer. Ottla has no share groups yet.";
    "share.session.timeout.ms" Int = "45000", Rule::Min(1), Stored,
        ["group.share.session.timeout.ms",
         min = "group.share.min.session.timeout.ms", max = "group.share.max.session.timeout.ms"],
        "A member of a share group that was not heard of for so long is dropped. Ottla has no share groups yet.";
    "streams.assignment.interval.ms" Int = "1000", Rule::Min(0), Stored,
        ["group.streams.assignment.interval.ms",
         min = "group.streams.min.assignment.interval.ms", max = "group.streams.max.assignment.interval.ms"],
        "The least time between two assignments of a streams group. Ottla has no streams groups yet.";
    "streams.heartbeat.interval.ms" Int = "5000", Rule::Min(1), Stored,
        ["group.streams.heartbeat.interval.ms",
         min = "group.streams.min.heartbeat.interval.ms", max = "group.streams.max.heartbeat.interval.ms"],
        "How often members of a streams group are told to be heard of. Ottla has no streams groups yet.";
    "streams.initial.rebalance.delay.ms" Int = "3000", Rule::Min(0), Stored,
        ["group.streams.initial.rebalance.delay.ms"],
        "How long the first rebalance of a new streams group waits for more members. Ottla has no streams groups yet.";
    "streams.num.standby.replicas" Int = "0", Rule::Min(0), Stored,
        ["group.streams.num.standby.replicas", max = "group.streams.max.standby.replicas"],
        "How many standby replicas each task of a streams group has. Ottla has no streams groups yet.";
    "streams.session.timeout.ms" Int = "45000", Rule::Min(1), Stored,
        ["group.streams.session.timeout.ms",
         min = "group.streams.min.session.timeout.ms", max = "group.streams.max.session.timeout.ms"],
        "A member of a streams group that was not heard of for so long is dropped. Ottla has no streams groups yet.";
};

/// A session must be longer than the interval in which its member is heard of: the session's setting, the interval's.
pub const SESSIONS: &[(&str, &str)] = &[
    ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"),
    ("share.session.timeout.ms", "share.heartbeat.interval.ms"),
    ("streams.session.timeout.ms", "streams.heartbeat.interval.ms"),
];

/// The setting of groups of a name.
pub fn find(name: &str) -> Option<&'static GroupSetting> {
    SETTINGS.binary_search_by(|entry| entry.setting.name.cmp(name)).ok().and_then(|index| SETTINGS.get(index))
}
