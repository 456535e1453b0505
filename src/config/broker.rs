//! The broker settings that mean something in Ottla: Kafka's under Kafka's names, Ottla's own under `ottla.`.
//!
//! Where Ottla differs from Kafka's default, the documentation says so: it listens on this machine only, keeps its data
//! in the current folder, needs no node id, and bounds what Kafka leaves unbounded.

use super::def::{Effect, Rule, Setting, Type, Update};
use super::known;
use super::topic::{CLEANUP_POLICIES, COMPRESSION_TYPES, TIMESTAMP_TYPES};

/// What `ottla.durability` can be.
pub const DURABILITIES: &[&str] = &["fsync", "os", "memory"];
/// What `ottla.log.level` can be.
pub const LOG_LEVELS: &[&str] = &["off", "error", "warn", "info", "debug", "trace"];
/// What `group.consumer.migration.policy` can be, in any case.
pub const MIGRATION_POLICIES: &[&str] = &["disabled", "downgrade", "upgrade", "bidirectional"];
const ROLES: &[&str] = &["broker", "controller"];
const PROTOCOLS: &[&str] = &["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"];

macro_rules! broker_settings {
    ($($name:literal $kind:ident $(= $default:literal)?, $rule:expr, $update:ident, $effect:ident, $doc:literal;)*) => {
        &[$(Setting::new($name, Type::$kind, broker_settings!(@default $($default)?), $rule)
            .update(Update::$update).effect(Effect::$effect).doc($doc)),*]
    };
    (@default) => { None };
    (@default $default:literal) => { Some($default) };
}

/// By name.
pub const SETTINGS: &[Setting] = broker_settings! {
    "add.partitions.to.txn.retry.backoff.max.ms" Int = "100", Rule::Min(0), ReadOnly, Acts,
        "How long a request for the next transaction waits in the broker for the end of the one before, instead of being \
         told to come again.";
    "advertised.listeners" List, Rule::Any, ReadOnly, Acts,
        "The addresses that clients are told to connect to, as NAME://host:port, where they differ from those listened \
         on. A listener that is not named here is advertised under the address that the client dialled.";
    "auto.create.topics.enable" Boolean = "true", Rule::Any, ReadOnly, Acts,
        "Whether asking for the metadata of a topic that does not exist creates it, if the client allows it.";
    "broker.id" Int = "1", Rule::Any, ReadOnly, Acts,
        "The older name of node.id.";
    "broker.rack" String, Rule::Any, ReadOnly, Acts,
        "Where this broker stands, as clients are told it.";
    "compression.gzip.level" Int = "-1", Rule::GzipLevel, ClusterWide, Acts,
        "The default of the topic setting compression.gzip.level.";
    "compression.lz4.level" Int = "9", Rule::Between(1, 17), ClusterWide, Acts,
        "The default of the topic setting compression.lz4.level.";
    "compression.type" String = "producer", Rule::OneOf(COMPRESSION_TYPES), ClusterWide, Acts,
        "The default of the topic setting compression.type.";
    "compression.zstd.level" Int = "3", Rule::Between(-131_072, 22), ClusterWide, Acts,
        "The default of the topic setting compression.zstd.level.";
    "connections.max.idle.ms" Long = "600000", Rule::Any, ReadOnly, Acts,
        "A connection that was silent for so long is closed; a negative value keeps it open.";
    "controller.listener.names" List = "", Rule::Any, ReadOnly, Acts,
        "Listeners that Kafka keeps for its controllers. Ottla needs none: those named here are accepted and not opened.";
    "controller.quorum.bootstrap.servers" List = "", Rule::Any, ReadOnly, Acts,
        "Where Kafka's controllers are found. Ottla is its own controller: one address at most is accepted.";
    "controller.quorum.voters" List = "", Rule::Any, ReadOnly, Acts,
        "Kafka's controllers as id@host:port. Ottla is its own controller: only this node itself is accepted.";
    "default.replication.factor" Int = "1", Rule::Any, ReadOnly, Acts,
        "The replication factor of topics that are created without one. One broker can hold one replica.";
    "delete.topic.enable" Boolean = "true", Rule::Any, ReadOnly, Acts,
        "Whether topics can be deleted.";
    "fetch.max.bytes" Int = "57671680", Rule::Min(1024), ReadOnly, Acts,
        "The most that one fetch response carries, whatever the client asks for.";
    "group.consumer.assignment.interval.ms" Int = "1000", Rule::Min(0), ClusterWide, Acts,
        "The least time between two assignments of a group of the consumer protocol, where the group's own \
         consumer.assignment.interval.ms is not set (KIP-1263).";
    "group.consumer.assignors" List = "uniform,range", Rule::Distinct, ReadOnly, Acts,
        "The server-side assignors that consumers may choose from; the first is for those that choose none. Ottla \
         has uniform and range and cannot run Java classes.";
    "group.consumer.heartbeat.interval.ms" Int = "5000", Rule::Min(1), ReadOnly, Acts,
        "How often members of the consumer protocol are told to be heard of, where the group's own \
         consumer.heartbeat.interval.ms is not set.";
    "group.consumer.max.assignment.interval.ms" Int = "15000", Rule::Min(0), ReadOnly, Acts,
        "The most that consumer.assignment.interval.ms of a group may be.";
    "group.consumer.max.heartbeat.interval.ms" Int = "15000", Rule::Min(1), ReadOnly, Acts,
        "The most that consumer.heartbeat.interval.ms of a group may be.";
    "group.consumer.max.session.timeout.ms" Int = "60000", Rule::Min(1), ReadOnly, Acts,
        "The most that consumer.session.timeout.ms of a group may be.";
    "group.consumer.max.size" Int = "2147483647", Rule::Min(1), ReadOnly, Acts,
        "The most members of one group of the consumer protocol; for the classic protocol it is group.max.size.";
    "group.consumer.migration.policy" String = "bidirectional", Rule::OneOfAnyCase(MIGRATION_POLICIES), ReadOnly, Acts,
        "Whether a group with members changes its protocol: upgrade, a classic group of consumers becomes a \
         consumer group when the first member of that protocol joins; downgrade, a consumer group becomes a classic \
         group when the last such member leaves; bidirectional, both; disabled, neither. An empty group may always \
         change.";
    "group.consumer.min.assignment.interval.ms" Int = "0", Rule::Min(0), ReadOnly, Acts,
        "The least that consumer.assignment.interval.ms of a group may be.";
    "group.consumer.min.heartbeat.interval.ms" Int = "5000", Rule::Min(1), ReadOnly, Acts,
        "The least that consumer.heartbeat.interval.ms of a group may be.";
    "group.consumer.min.session.timeout.ms" Int = "45000", Rule::Min(1), ReadOnly, Acts,
        "The least that consumer.session.timeout.ms of a group may be.";
    "group.consumer.session.timeout.ms" Int = "45000", Rule::Min(1), ReadOnly, Acts,
        "A member of the consumer protocol that was not heard of for so long is dropped, where the group's own \
         consumer.session.timeout.ms is not set.";
    "group.initial.rebalance.delay.ms" Int = "0", Rule::Any, ReadOnly, Acts,
        "How long the first rebalance of a new classic group waits for more members; each that comes prolongs it, \
         up to the rebalance timeout. Kafka's default, 3000, holds where a properties file is given (--config); \
         without one a group starts at once.";
    "group.max.session.timeout.ms" Int = "1800000", Rule::Any, ReadOnly, Acts,
        "The longest session.timeout.ms that a member of the classic protocol may ask for.";
    "group.max.size" Int = "2147483647", Rule::Min(1), ReadOnly, Acts,
        "The most members of one classic group.";
    "group.min.session.timeout.ms" Int = "6000", Rule::Any, ReadOnly, Acts,
        "The shortest session.timeout.ms that a member of the classic protocol may ask for.";
    "inter.broker.listener.name" String, Rule::Any, ReadOnly, Acts,
        "The listener over which Kafka's brokers talk to each other. It must be one of the listeners; Ottla is one \
         broker and has nobody to talk to.";
    "listener.security.protocol.map" String =
        "SASL_SSL:SASL_SSL,PLAINTEXT:PLAINTEXT,SSL:SSL,SASL_PLAINTEXT:SASL_PLAINTEXT", Rule::Any, ReadOnly, Acts,
        "The security protocol of each listener name. Only PLAINTEXT can be served now.";
    "listeners" List = "PLAINTEXT://127.0.0.1:9092", Rule::Distinct, ReadOnly, Acts,
        "The addresses to listen on, as NAME://host:port; no host means every interface, port 0 a free port. Kafka's \
         default is every interface, Ottla's is this machine only.";
    "log.cleaner.backoff.ms" Long = "15000", Rule::Min(0), ClusterWide, Acts,
        "How long the cleaner waits, once a compacted topic has something new to compact, before it looks at it.";
    "log.cleaner.dedupe.buffer.size" Long = "134217728", Rule::Any, ClusterWide, Acts,
        "The most memory for the keys of the log that is being compacted. It is taken while a log is compacted, and only \
         as much as its records need; a log with more keys is compacted in several passes.";
    "log.cleaner.delete.retention.ms" Long = "86400000", Rule::Min(0), ClusterWide, Acts,
        "The default of the topic setting delete.retention.ms.";
    "log.cleaner.enable" Boolean = "true", Rule::Any, ReadOnly, Acts,
        "Whether compacted topics are compacted. One thread does it, which runs only while there is work.";
    "log.cleaner.io.max.bytes.per.second" Double = "1.7976931348623157E308", Rule::Any, ClusterWide, Acts,
        "How many bytes a second the cleaner reads and writes at most, on average over a pass.";
    "log.cleaner.max.compaction.lag.ms" Long = "9223372036854775807", Rule::Min(1), ClusterWide, Acts,
        "The default of the topic setting max.compaction.lag.ms.";
    "log.cleaner.min.cleanable.ratio" Double = "0.5", Rule::Fraction, ClusterWide, Acts,
        "The default of the topic setting min.cleanable.dirty.ratio.";
    "log.cleaner.min.compaction.lag.ms" Long = "0", Rule::Min(0), ClusterWide, Acts,
        "The default of the topic setting min.compaction.lag.ms.";
    "log.cleanup.policy" List = "delete", Rule::DistinctOf(CLEANUP_POLICIES), ClusterWide, Acts,
        "The default of the topic setting cleanup.policy.";
    "log.dir" List = "./ottla-data", Rule::Distinct, ReadOnly, Acts,
        "The data folder, where log.dirs does not name it. Kafka's default is /tmp/kafka-logs.";
    "log.dirs" List, Rule::Distinct, ReadOnly, Acts,
        "The data folder. Kafka spreads partitions over several; Ottla takes one.";
    "log.flush.interval.messages" Long = "9223372036854775807", Rule::Min(1), ClusterWide, Acts,
        "The default of the topic setting flush.messages.";
    "log.flush.interval.ms" Long, Rule::Any, ClusterWide, Acts,
        "The default of the topic setting flush.ms.";
    "log.flush.scheduler.interval.ms" Long = "9223372036854775807", Rule::Any, ReadOnly, Acts,
        "The default of the topic setting flush.ms, where log.flush.interval.ms is not given.";
    "log.index.interval.bytes" Int = "4096", Rule::Min(0), ClusterWide, Acts,
        "The default of the topic setting index.interval.bytes.";
    "log.index.size.max.bytes" Int = "10485760", Rule::Min(4), ClusterWide, Acts,
        "The default of the topic setting segment.index.bytes.";
    "log.local.retention.bytes" Long = "-2", Rule::Min(-2), ClusterWide, Nothing,
        "The default of the topic setting local.retention.bytes. Ottla has no tiered storage.";
    "log.local.retention.ms" Long = "-2", Rule::Min(-2), ClusterWide, Nothing,
        "The default of the topic setting local.retention.ms. Ottla has no tiered storage.";
    "log.message.timestamp.after.max.ms" Long = "3600000", Rule::Min(0), ClusterWide, Acts,
        "The default of the topic setting message.timestamp.after.max.ms.";
    "log.message.timestamp.before.max.ms" Long = "9223372036854775807", Rule::Min(0), ClusterWide, Acts,
        "The default of the topic setting message.timestamp.before.max.ms.";
    "log.message.timestamp.type" String = "CreateTime", Rule::OneOf(TIMESTAMP_TYPES), ClusterWide, Acts,
        "The default of the topic setting message.timestamp.type.";
    "log.preallocate" Boolean = "false", Rule::Any, ClusterWide, Stored,
        "The default of the topic setting preallocate.";
    "log.retention.bytes" Long = "-1", Rule::Any, ClusterWide, Stored,
        "The default of the topic setting retention.bytes.";
    "log.retention.hours" Int = "168", Rule::Any, ReadOnly, Stored,
        "The default of the topic setting retention.ms in hours, where neither log.retention.ms nor \
         log.retention.minutes is given.";
    "log.retention.minutes" Int, Rule::Any, ReadOnly, Stored,
        "The default of the topic setting retention.ms in minutes, where log.retention.ms is not given.";
    "log.retention.ms" Long, Rule::Any, ClusterWide, Stored,
        "The default of the topic setting retention.ms.";
    "log.roll.hours" Int = "168", Rule::Min(1), ReadOnly, Acts,
        "The default of the topic setting segment.ms in hours, where log.roll.ms is not given.";
    "log.roll.jitter.hours" Int = "0", Rule::Min(0), ReadOnly, Acts,
        "The default of the topic setting segment.jitter.ms in hours, where log.roll.jitter.ms is not given.";
    "log.roll.jitter.ms" Long, Rule::Any, ClusterWide, Acts,
        "The default of the topic setting segment.jitter.ms.";
    "log.roll.ms" Long, Rule::Any, ClusterWide, Acts,
        "The default of the topic setting segment.ms.";
    "log.segment.bytes" Int = "1073741824", Rule::Min(1_048_576), ClusterWide, Acts,
        "The default of the topic setting segment.bytes.";
    "log.segment.delete.delay.ms" Long = "60000", Rule::Min(0), ClusterWide, Acts,
        "The default of the topic setting file.delete.delay.ms.";
    "max.connections" Int = "2147483647", Rule::Min(0), ReadOnly, Acts,
        "The most connections at one time. Whatever is given, a quarter of the files that the process may have open is \
         kept for data.";
    "max.connections.per.ip" Int = "2147483647", Rule::Min(0), ReadOnly, Acts,
        "The most connections from one address at one time; 0 lets only those of max.connections.per.ip.overrides in.";
    "max.connections.per.ip.overrides" String = "", Rule::Any, ReadOnly, Acts,
        "Addresses with a limit of their own, as address:count separated by commas (an IPv6 address in brackets).";
    "max.incremental.fetch.session.cache.slots" Int = "1000", Rule::Min(0), ReadOnly, Acts,
        "How many incremental fetch sessions are remembered; a client without one names all its partitions each time.";
    "max.request.partition.size.limit" Int = "2000", Rule::Min(1), ReadOnly, Acts,
        "The most partitions that one DescribeTopicPartitions response describes.";
    "message.max.bytes" Int = "1048588", Rule::Min(0), ClusterWide, Acts,
        "The default of the topic setting max.message.bytes.";
    "min.insync.replicas" Int = "1", Rule::Min(1), ClusterWide, Nothing,
        "The default of the topic setting min.insync.replicas. With one broker it is always one.";
    "node.id" Int = "1", Rule::Min(0), ReadOnly, Acts,
        "This broker's number, as clients are told it. Kafka has no default.";
    "num.partitions" Int = "1", Rule::Min(1), ReadOnly, Acts,
        "The number of partitions of topics that are created without one.";
    "offset.metadata.max.bytes" Int = "4096", Rule::Min(0), ReadOnly, Acts,
        "The longest text that may be committed with an offset.";
    "offsets.commit.timeout.ms" Int = "5000", Rule::Min(1), ReadOnly, Acts,
        "How long a request waits for its group to be read back after a start before it is answered with \
         COORDINATOR_LOAD_IN_PROGRESS.";
    "offsets.retention.check.interval.ms" Long = "600000", Rule::Min(1), ReadOnly, Acts,
        "How often committed offsets are looked through for those that have expired.";
    "offsets.retention.minutes" Int = "10080", Rule::Min(1), ReadOnly, Acts,
        "How long committed offsets are kept once their group is empty or no longer subscribes to the topic; those \
         of consumers outside groups, from the commit on.";
    "offsets.topic.compression.codec" Int = "0", Rule::Between(0, 4), ReadOnly, Acts,
        "How batches of __consumer_offsets are compressed: 0 not at all, 1 gzip, 2 snappy, 3 lz4, 4 zstd.";
    "offsets.topic.num.partitions" Int = "50", Rule::Min(1), ReadOnly, Acts,
        "The number of partitions that __consumer_offsets is created with. A group belongs to one by the hash of \
         its name, so that the topic keeps its number for ever.";
    "offsets.topic.replication.factor" Short = "1", Rule::Min(1), ReadOnly, Acts,
        "The replication factor of __consumer_offsets. One broker can hold one replica: a larger number, such as \
         Kafka's default of 3, is a warning at start and the topic has one.";
    "offsets.topic.segment.bytes" Int = "104857600", Rule::Min(1), ReadOnly, Acts,
        "segment.bytes of __consumer_offsets when it is created.";
    "ottla.cluster.id" String, Rule::NonEmpty, ReadOnly, Acts,
        "The cluster's id for a new data folder (a random one where it is not given); an existing folder keeps its own.";
    "ottla.durability" String = "fsync", Rule::OneOf(DURABILITIES), ReadOnly, Acts,
        "What an acknowledged acks=all record survives: fsync, loss of power (it is answered after fdatasync); os, a \
         crash of the broker (it is answered from the page cache, as Kafka does by default); memory, nothing (no files \
         are written).";
    "ottla.log.level" String = "warn", Rule::OneOf(LOG_LEVELS), ReadOnly, Acts,
        "How much is logged to the standard error: off, error, warn, info, debug or trace.";
    "process.roles" List = "broker,controller", Rule::DistinctOf(ROLES), ReadOnly, Acts,
        "Kafka's roles of a node. Ottla is always both; a node that is to be a controller alone is refused.";
    "producer.id.expiration.ms" Int = "86400000", Rule::Min(1), ReadOnly, Acts,
        "How long an idle producer's sequence numbers are remembered.";
    "queued.max.request.bytes" Long = "268435456", Rule::Any, ReadOnly, Acts,
        "The bytes of requests that may wait or be worked on at one time; reading pauses beyond it. -1 sets no limit, \
         which is Kafka's default.";
    "security.inter.broker.protocol" String = "PLAINTEXT", Rule::OneOf(PROTOCOLS), ReadOnly, Acts,
        "The protocol between Kafka's brokers. Ottla is one broker and has nobody to talk to.";
    "socket.listen.backlog.size" Int = "50", Rule::Min(1), ReadOnly, Acts,
        "How many connections may wait to be accepted.";
    "socket.receive.buffer.bytes" Int = "-1", Rule::Any, ReadOnly, Acts,
        "The receive buffer of a connection (SO_RCVBUF); -1 leaves it to the operating system, \
         which adapts it; Kafka's default is 102400.";
    "socket.request.max.bytes" Int = "104857600", Rule::Min(1), ReadOnly, Acts,
        "The largest request; a connection that announces a larger one is closed.";
    "socket.send.buffer.bytes" Int = "-1", Rule::Any, ReadOnly, Acts,
        "The send buffer of a connection (SO_SNDBUF); -1 leaves it to the operating system, \
         which adapts it; Kafka's default is 102400.";
    "transaction.abort.timed.out.transaction.cleanup.interval.ms" Int = "10000", Rule::Min(1), ReadOnly, Acts,
        "How often transactions are looked for that are open for longer than their producer's transaction.timeout.ms; \
         they are aborted, and the producer is fenced.";
    "transaction.max.timeout.ms" Int = "900000", Rule::Min(1), ReadOnly, Acts,
        "The longest transaction.timeout.ms that a producer may ask for.";
    "transaction.partition.verification.enable" Boolean = "true", Rule::Any, ClusterWide, Acts,
        "Whether a producer's first write into a transaction is checked with the transaction's coordinator, so that a late \
         one does not open a transaction that nobody ends (KIP-890). It acts on producers that add partitions by a request \
         of their own; newer ones add them by writing.";
    "transaction.remove.expired.transaction.cleanup.interval.ms" Int = "3600000", Rule::Min(1), ReadOnly, Acts,
        "How often transactional ids are looked for that have expired.";
    "transaction.state.log.num.partitions" Int = "50", Rule::Min(1), ReadOnly, Acts,
        "How many partitions __transaction_state gets when it is created, at the first start. Later it cannot be changed: \
         ids would be looked for in other partitions.";
    "transaction.state.log.replication.factor" Short = "1", Rule::Min(1), ReadOnly, Acts,
        "The replication factor of __transaction_state. One broker can hold one replica: a larger number, such as Kafka's \
         default 3, is warned of and counts as 1.";
    "transaction.state.log.segment.bytes" Int = "104857600", Rule::Min(1), ReadOnly, Acts,
        "The segment.bytes that __transaction_state is created with.";
    "transactional.id.expiration.ms" Int = "604800000", Rule::Min(1), ReadOnly, Acts,
        "How long a transactional id is remembered that nobody uses; a producer that comes back later begins anew.";
    "unclean.leader.election.enable" Boolean = "false", Rule::Any, ClusterWide, Nothing,
        "The default of the topic setting unclean.leader.election.enable.";
};

/// Settings of Kafka that act and that DescribeConfigs does not tell, by name.
pub const INTERNAL: &[Setting] = broker_settings! {
    "group.consumer.regex.refresh.interval.ms" Int = "600000", Rule::Min(10_000), ReadOnly, Acts,
        "How often the topics are looked for anew that match the regular expressions of consumers.";
};

/// Broker settings that are several names for one thing: the first that is given counts.
const FAMILIES: &[&[&str]] = &[
    &["log.roll.ms", "log.roll.hours"],
    &["log.roll.jitter.ms", "log.roll.jitter.hours"],
    &["log.retention.ms", "log.retention.minutes", "log.retention.hours"],
];

/// The names that Kafka describes together with this one, the strongest first.
pub fn family(name: &str) -> Option<&'static [&'static str]> {
    // Asked for log.flush.interval.ms Kafka names the scheduler's interval too, but not the other way round.
    if name == "log.flush.interval.ms" {
        return Some(&["log.flush.interval.ms", "log.flush.scheduler.interval.ms"]);
    }
    FAMILIES.iter().find(|family| family.contains(&name)).copied()
}

/// The names whose alteration at run time hides what this one was given at start.
pub fn hidden_by(name: &str) -> Option<&'static [&'static str]> {
    if name == "log.flush.scheduler.interval.ms" { family("log.flush.interval.ms") } else { family(name) }
}

/// The broker setting of a name, of those that act and of those that do not.
pub fn find(name: &str) -> Option<&'static Setting> {
    SETTINGS
        .binary_search_by(|setting| setting.name.cmp(name))
        .ok()
        .and_then(|index| SETTINGS.get(index))
        .or_else(|| INTERNAL.iter().find(|setting| setting.name == name))
        .or_else(|| known::find(name))
}

/// All broker settings that are described, those that act first.
pub fn all() -> impl Iterator<Item = &'static Setting> {
    SETTINGS.iter().chain(known::SETTINGS)
}
