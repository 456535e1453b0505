//! The records of `__cluster_metadata`, in the bytes that KRaft writes: frame version, kind, version, body.
//!
//! The kinds that a single node needs are read and written; the others are carried as they are, so that a log
//! which another version wrote can be replayed and nothing in it is lost. [`MetadataRecord::support`] says which
//! kinds change nothing here, which are kept without acting, and which must not be ignored.

mod body;
pub mod control;

use bytes::{Bytes, BytesMut};
use uuid::Uuid;

use crate::types::{LeaderEpoch, NodeId, PartitionIndex, TopicId};
use crate::wire::WireError;
use crate::wire::field_writer::Writer;
use crate::wire::reader::Reader;

/// The only frame version that exists.
const FRAME_VERSION: u32 = 1;

/// One metadata record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MetadataRecord {
    /// A broker joined (kind 0).
    RegisterBroker(RegisterBroker),
    /// A broker left for good (1).
    UnregisterBroker {
        /// Which.
        broker: NodeId,
        /// The registration's epoch.
        epoch: i64,
    },
    /// A topic was created (2).
    Topic {
        /// Its name.
        name: String,
        /// Its id.
        id: TopicId,
    },
    /// A partition was created (3).
    Partition(PartitionRecord),
    /// A setting of a resource changed (4).
    Config {
        /// The resource's type, as in AlterConfigs.
        resource_type: i8,
        /// The resource's name; empty for the default.
        resource_name: String,
        /// The setting.
        name: String,
        /// Its value; `None` removes it.
        value: Option<String>,
    },
    /// A partition's leader, replicas or folders changed (5).
    PartitionChange(PartitionChange),
    /// A topic was deleted with its partitions and settings (9).
    RemoveTopic {
        /// Which.
        id: TopicId,
    },
    /// A feature was finalized at a level (12).
    FeatureLevel {
        /// The feature's name.
        name: String,
        /// Its level; 0 removes it.
        level: i16,
    },
    /// A block of producer ids was given out (15).
    ProducerIds {
        /// To which broker.
        broker: NodeId,
        /// That broker's epoch.
        broker_epoch: i64,
        /// First id of the next block.
        next: i64,
    },
    /// A broker's state changed (17).
    BrokerRegistrationChange(BrokerRegistrationChange),
    /// A heartbeat of the log (20).
    NoOp,
    /// The records up to the end belong together (23).
    BeginTransaction {
        /// What they are for.
        name: Option<String>,
    },
    /// They are complete (24).
    EndTransaction,
    /// They never happened (25).
    AbortTransaction {
        /// Why.
        reason: Option<String>,
    },
    /// A kind that this broker does not interpret, as it was read.
    Other(OpaqueRecord),
}

/// A record that is carried without being understood.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OpaqueRecord {
    /// Its kind.
    pub kind: u32,
    /// The version of its schema.
    pub version: u32,
    /// Its body.
    pub body: Bytes,
}

/// Whether a record may be replayed without being acted upon.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Support {
    /// It is interpreted, or means nothing to a single node.
    Full,
    /// It is kept, and what it asks for does not happen: the name of the feature.
    Kept(&'static str),
    /// Unknown here: what it changes cannot be guessed.
    Unknown,
}

/// Kind 0: a broker's registration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RegisterBroker {
    /// The broker's number.
    pub broker: NodeId,
    /// Tells one run of the broker from the next.
    pub incarnation: Uuid,
    /// The registration's epoch: the offset of this record.
    pub epoch: i64,
    /// Where clients reach it.
    pub endpoints: Vec<Endpoint>,
    /// The feature levels that it knows.
    pub features: Vec<FeatureRange>,
    /// Its rack.
    pub rack: Option<String>,
    /// Whether it may not lead yet.
    pub fenced: bool,
    /// Whether it is shutting down.
    pub in_controlled_shutdown: bool,
    /// The ids of its data folders.
    pub log_dirs: Vec<Uuid>,
    /// Data folders that take no new partitions; `None` until the broker said so.
    pub cordoned_log_dirs: Option<Vec<Uuid>>,
}

/// One listener of a broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Endpoint {
    /// The listener's name.
    pub name: String,
    /// Advertised host.
    pub host: String,
    /// Advertised port.
    pub port: u16,
    /// Security protocol: 0 PLAINTEXT, 1 SSL, 2 SASL_PLAINTEXT, 3 SASL_SSL.
    pub security_protocol: i16,
}

/// The levels of one feature that a broker knows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeatureRange {
    /// The feature's name.
    pub name: String,
    /// Lowest level.
    pub min: i16,
    /// Highest level.
    pub max: i16,
}

/// Kind 3: a new partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionRecord {
    /// Its number.
    pub partition: PartitionIndex,
    /// Its topic.
    pub topic: TopicId,
    /// Its replicas, the preferred leader first.
    pub replicas: Vec<NodeId>,
    /// The replicas in sync.
    pub isr: Vec<NodeId>,
    /// Replicas that a reassignment removes.
    pub removing: Vec<NodeId>,
    /// Replicas that a reassignment adds.
    pub adding: Vec<NodeId>,
    /// The leader; -1 for none.
    pub leader: NodeId,
    /// 1 while it recovers from an unclean election.
    pub leader_recovery_state: i8,
    /// How often the leader changed.
    pub leader_epoch: LeaderEpoch,
    /// How often anything changed.
    pub partition_epoch: i32,
    /// The data folder of each replica.
    pub directories: Vec<Uuid>,
    /// Replicas that may lead though not in sync (KIP-966).
    pub eligible_leaders: Option<Vec<NodeId>>,
    /// The last of these that was known.
    pub last_known_eligible: Option<Vec<NodeId>>,
}

/// Kind 5: what changed in a partition; `None` for what did not.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionChange {
    /// Its number.
    pub partition: PartitionIndex,
    /// Its topic.
    pub topic: TopicId,
    /// The replicas in sync.
    pub isr: Option<Vec<NodeId>>,
    /// The leader; -1 for none.
    pub leader: Option<NodeId>,
    /// Its replicas.
    pub replicas: Option<Vec<NodeId>>,
    /// Replicas that a reassignment removes.
    pub removing: Option<Vec<NodeId>>,
    /// Replicas that a reassignment adds.
    pub adding: Option<Vec<NodeId>>,
    /// 1 while it recovers from an unclean election.
    pub leader_recovery_state: Option<i8>,
    /// The data folder of each replica.
    pub directories: Option<Vec<Uuid>>,
    /// Replicas that may lead though not in sync.
    pub eligible_leaders: Option<Vec<NodeId>>,
    /// The last of these that was known.
    pub last_known_eligible: Option<Vec<NodeId>>,
}

/// Kind 17: what changed in a broker's registration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrokerRegistrationChange {
    /// Which broker.
    pub broker: NodeId,
    /// The registration's epoch.
    pub epoch: i64,
    /// Whether it is fenced from now on.
    pub fenced: Option<bool>,
    /// Whether it is shutting down from now on.
    pub in_controlled_shutdown: Option<bool>,
    /// The ids of its data folders.
    pub log_dirs: Vec<Uuid>,
    /// Data folders that take no new partitions.
    pub cordoned_log_dirs: Option<Vec<Uuid>>,
}

/// Why a metadata record cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RecordError {
    /// Its frame is of a version that does not exist yet.
    #[error("a metadata record has frame version {0}; this version of Ottla reads 1")]
    Frame(u32),
    /// Its schema is newer than any this broker knows.
    #[error("a metadata record of kind {kind} has version {version}; this version of Ottla reads up to {max}")]
    Version {
        /// The kind.
        kind: u32,
        /// The version found.
        version: u32,
        /// The newest known.
        max: u32,
    },
    /// Bytes are left after its last field.
    #[error("a metadata record of kind {kind} has {left} bytes after its end")]
    Trailing {
        /// The kind.
        kind: u32,
        /// How many.
        left: usize,
    },
    /// Its bytes do not follow its schema.
    #[error("a metadata record of kind {kind} is damaged: {source}")]
    Malformed {
        /// The kind, as far as it was read.
        kind: u32,
        /// What is wrong.
        source: WireError,
    },
}

impl MetadataRecord {
    /// Appends the record's bytes.
    pub fn encode(&self, out: &mut BytesMut) {
        let mut writer = Writer::new(out);
        writer.unsigned_varint(FRAME_VERSION);
        let (kind, version) = self.kind_and_version();
        writer.unsigned_varint(kind);
        writer.unsigned_varint(version);
        self.encode_body(version, &mut writer);
    }

    /// The record's bytes.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = BytesMut::new();
        self.encode(&mut out);
        out.freeze()
    }

    /// Reads one whole record.
    pub fn decode(bytes: &[u8]) -> Result<Self, RecordError> {
        let mut reader = Reader::new(bytes);
        let mut kind = 0;
        let mut header = || {
            let frame = reader.unsigned_varint()?;
            kind = reader.unsigned_varint()?;
            Ok((frame, reader.unsigned_varint()?))
        };
        let (frame, version) = header().map_err(|source| RecordError::Malformed { kind, source })?;
        if frame != FRAME_VERSION {
            return Err(RecordError::Frame(frame));
        }
        if let Some(max) = Self::newest_version(kind)
            && version > max
        {
            return Err(RecordError::Version { kind, version, max });
        }
        let record =
            Self::decode_body(kind, version, &mut reader).map_err(|source| RecordError::Malformed { kind, source })?;
        match reader.remaining() {
            0 => Ok(record),
            left => Err(RecordError::Trailing { kind, left }),
        }
    }

    /// Whether replaying the record without acting upon it is right.
    pub fn support(&self) -> Support {
        let Self::Other(record) = self else { return Support::Full };
        match record.kind {
            // Fencing of older versions, ZooKeeper migration, controller registrations, cleared ELRs:
            // nothing of it concerns a cluster of one.
            7 | 8 | 21 | 27 | 28 => Support::Full,
            10 | 26 => Support::Kept("delegation tokens"),
            11 | 22 => Support::Kept("SCRAM credentials"),
            14 => Support::Kept("client quotas"),
            18 | 19 => Support::Kept("ACLs"),
            _ => Support::Unknown,
        }
    }
}

#[cfg(test)]
mod tests;
