//! The topic settings of Apache Kafka 4.3, and the broker settings that give each its default.
//!
//! A topic setting without an override takes the value of the first of its broker settings that is given
//! (`retention.ms` from `log.retention.ms`, `log.retention.minutes`, `log.retention.hours`).

use super::def::{Effect, Rule, Setting, Type, Update};

/// A broker setting from which a topic setting takes its default.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Synonym {
    /// The broker setting.
    pub name: &'static str,
    /// What its number is multiplied by to give the topic setting's.
    pub factor: i64,
}

/// A topic setting and where its default comes from.
#[derive(Clone, Copy, Debug)]
pub struct TopicSetting {
    /// The setting itself.
    pub setting: Setting,
    /// Broker settings, the strongest first; none for settings that only topics have.
    pub synonyms: &'static [Synonym],
}

const HOURS: i64 = 60 * 60 * 1000;
const MINUTES: i64 = 60 * 1000;

/// What `compression.type` can be.
pub const COMPRESSION_TYPES: &[&str] = &["uncompressed", "zstd", "lz4", "snappy", "gzip", "producer"];
/// What `message.timestamp.type` can be.
pub const TIMESTAMP_TYPES: &[&str] = &["CreateTime", "LogAppendTime"];
/// What `cleanup.policy` can hold.
pub const CLEANUP_POLICIES: &[&str] = &["compact", "delete"];

/// Kafka's own switch for tests: a segment size below the smallest that `segment.bytes` takes. It is described only
/// where a topic has it.
pub static INTERNAL_SEGMENT_BYTES: TopicSetting =
    TopicSetting { setting: setting("internal.segment.bytes", Type::Int, None, Rule::Any), synonyms: &[] };

const fn same(name: &'static str) -> Synonym {
    Synonym { name, factor: 1 }
}

const fn setting(name: &'static str, kind: Type, default: Option<&'static str>, rule: Rule) -> Setting {
    Setting::new(name, kind, default, rule).update(Update::ClusterWide)
}

macro_rules! topic_settings {
    ($($name:literal $kind:ident = $default:literal, $rule:expr, $effect:ident, [$($synonym:expr),*], $doc:literal;)*) => {
        &[$(TopicSetting {
            setting: setting($name, Type::$kind, Some($default), $rule).effect(Effect::$effect).doc($doc),
            synonyms: &[$($synonym),*],
        }),*]
    };
}

/// Every topic setting, by name.
pub const SETTINGS: &[TopicSetting] = topic_settings! {
    "cleanup.policy" List = "delete", Rule::ListOf(CLEANUP_POLICIES), Acts, [same("log.cleanup.policy")],
        "How old data leaves the topic: delete drops whole segments by age and size, compact keeps the latest record of \
         each key; both together do both, an empty list keeps everything. Records of a compacted topic must have a key.";
    "compression.gzip.level" Int = "-1", Rule::GzipLevel, Acts, [same("compression.gzip.level")],
        "The gzip level that the broker recompresses with where compression.type is gzip; -1 is the codec's own default.";
    "compression.lz4.level" Int = "9", Rule::Between(1, 17), Acts, [same("compression.lz4.level")],
        "The lz4 level that the broker recompresses with where compression.type is lz4.";
    "compression.type" String = "producer", Rule::OneOf(COMPRESSION_TYPES), Acts, [same("compression.type")],
        "The codec that records are stored with: producer keeps what the producer chose, any other value makes the \
         broker recompress what arrives otherwise.";
    "compression.zstd.level" Int = "3", Rule::Between(-131_072, 22), Acts, [same("compression.zstd.level")],
        "The zstd level that the broker recompresses with where compression.type is zstd.";
    "delete.retention.ms" Long = "86400000", Rule::Min(0), Acts, [same("log.cleaner.delete.retention.ms")],
        "How long a compacted topic keeps a deletion marker after it was cleaned, so that a reader that starts from the \
         beginning within this time sees the deletion.";
    "file.delete.delay.ms" Long = "60000", Rule::Min(0), Acts, [same("log.segment.delete.delay.ms")],
        "How long a file stays on the disk after it left the log.";
    "flush.messages" Long = "9223372036854775807", Rule::Min(1), Acts, [same("log.flush.interval.messages")],
        "Flush to the disk after so many records, where ottla.durability is os; where it is fsync, an acknowledged \
         acks=all record is flushed in any case.";
    "flush.ms" Long = "9223372036854775807", Rule::Min(0), Acts,
        [same("log.flush.interval.ms"), same("log.flush.scheduler.interval.ms")],
        "Flush to the disk at the latest after so many milliseconds. Durability is better set with ottla.durability, \
         which flushes before it answers.";
    "follower.replication.throttled.replicas" List = "", Rule::ThrottledReplicas, Nothing, [],
        "Replicas whose replication is throttled on the follower's side. Ottla does not replicate.";
    "index.interval.bytes" Int = "4096", Rule::Min(0), Acts, [same("log.index.interval.bytes")],
        "About how many bytes of records lie between two entries of the offset index.";
    "leader.replication.throttled.replicas" List = "", Rule::ThrottledReplicas, Nothing, [],
        "Replicas whose replication is throttled on the leader's side. Ottla does not replicate.";
    "local.retention.bytes" Long = "-2", Rule::Min(-2), Nothing, [same("log.local.retention.bytes")],
        "How many bytes stay on the local disk of a topic in tiered storage; -2 means retention.bytes. Ottla has no \
         tiered storage.";
    "local.retention.ms" Long = "-2", Rule::Min(-2), Nothing, [same("log.local.retention.ms")],
        "How long segments stay on the local disk of a topic in tiered storage; -2 means retention.ms. Ottla has no \
         tiered storage.";
    "max.compaction.lag.ms" Long = "9223372036854775807", Rule::Min(1), Acts,
        [same("log.cleaner.max.compaction.lag.ms")],
        "The longest that a record of a compacted topic may wait for its compaction.";
    "max.message.bytes" Int = "1048588", Rule::Min(0), Acts, [same("message.max.bytes")],
        "The largest record batch that is taken, as it arrives (compressed, where it is).";
    "message.timestamp.after.max.ms" Long = "3600000", Rule::Min(0), Acts, [same("log.message.timestamp.after.max.ms")],
        "How far a record's timestamp may lie ahead of the broker's clock, where message.timestamp.type is CreateTime.";
    "message.timestamp.before.max.ms" Long = "9223372036854775807", Rule::Min(0), Acts,
        [same("log.message.timestamp.before.max.ms")],
        "How far a record's timestamp may lie behind the broker's clock, where message.timestamp.type is CreateTime.";
    "message.timestamp.type" String = "CreateTime", Rule::OneOf(TIMESTAMP_TYPES), Acts,
        [same("log.message.timestamp.type")],
        "Whose clock stamps a record: the producer's (CreateTime) or the broker's when it appends (LogAppendTime).";
    "min.cleanable.dirty.ratio" Double = "0.5", Rule::Fraction, Acts, [same("log.cleaner.min.cleanable.ratio")],
        "The share of a compacted log that must be uncleaned before it is compacted again.";
    "min.compaction.lag.ms" Long = "0", Rule::Min(0), Acts, [same("log.cleaner.min.compaction.lag.ms")],
        "The shortest that a record of a compacted topic stays uncompacted.";
    "min.insync.replicas" Int = "1", Rule::Min(1), Nothing, [same("min.insync.replicas")],
        "How many replicas must have a record before acks=all is answered. With one broker it is always one, as Kafka \
         never asks for more replicas than a partition has.";
    "preallocate" Boolean = "false", Rule::Any, Stored, [same("log.preallocate")],
        "Whether a new segment's file gets its full size at once.";
    "remote.log.copy.disable" Boolean = "false", Rule::Any, Nothing, [],
        "Whether a topic in tiered storage stops copying segments away. Ottla has no tiered storage.";
    "remote.log.delete.on.disable" Boolean = "false", Rule::Any, Nothing, [],
        "Whether switching tiered storage off deletes what lies there. Ottla has no tiered storage.";
    "remote.storage.enable" Boolean = "false", Rule::Any, Nothing, [],
        "Whether the topic uses tiered storage. Ottla has none, so that true is refused.";
    "retention.bytes" Long = "-1", Rule::Any, Stored, [same("log.retention.bytes")],
        "How large a partition may grow before its oldest segments are deleted; -1 sets no limit.";
    "retention.ms" Long = "604800000", Rule::Min(-1), Stored,
        [same("log.retention.ms"), Synonym { name: "log.retention.minutes", factor: MINUTES },
         Synonym { name: "log.retention.hours", factor: HOURS }],
        "How long records are kept before their segment is deleted; -1 keeps them for ever.";
    "segment.bytes" Int = "1073741824", Rule::Min(1_048_576), Acts, [same("log.segment.bytes")],
        "The size at which a new segment is begun.";
    "segment.index.bytes" Int = "10485760", Rule::Min(4), Acts, [same("log.index.size.max.bytes")],
        "The largest that a segment's index may grow; a full index begins a new segment.";
    "segment.jitter.ms" Long = "0", Rule::Min(0), Acts,
        [same("log.roll.jitter.ms"), Synonym { name: "log.roll.jitter.hours", factor: HOURS }],
        "A random time up to this is taken off segment.ms, so that not all partitions begin a segment at once.";
    "segment.ms" Long = "604800000", Rule::Min(1), Acts,
        [same("log.roll.ms"), Synonym { name: "log.roll.hours", factor: HOURS }],
        "The age of its first record at which a segment is closed even when it is not full.";
    "unclean.leader.election.enable" Boolean = "false", Rule::Any, Nothing, [same("unclean.leader.election.enable")],
        "Whether a replica that lags may become leader. Ottla has one replica of each partition, which never lags.";
};

/// The topic setting of a name, among those that are described.
pub fn find(name: &str) -> Option<&'static TopicSetting> {
    SETTINGS.binary_search_by(|entry| entry.setting.name.cmp(name)).ok().and_then(|index| SETTINGS.get(index))
}

/// The definition of a name that topics take, with those that are not described.
pub fn definition(name: &str) -> Option<&'static Setting> {
    if name == INTERNAL_SEGMENT_BYTES.setting.name {
        return Some(&INTERNAL_SEGMENT_BYTES.setting);
    }
    find(name).map(|entry| &entry.setting)
}
