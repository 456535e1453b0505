//! The records of `__consumer_offsets`, in Kafka's own schemas: a key that says what, and the new value or nothing.

mod coding;
#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;

use super::{GroupId, MemberId};
use crate::types::{LeaderEpoch, Offset, PartitionIndex, TimestampMs, TopicId};

/// A record; a value of `None` (a tombstone) takes back what the key names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Record {
    /// A committed offset.
    Offset(GroupId, Arc<str>, PartitionIndex, Option<CommittedOffset>),
    /// A classic group with its members and assignments.
    Classic(GroupId, Option<ClassicGroupValue>),
    /// A consumer group's epoch.
    ConsumerEpoch(GroupId, Option<ConsumerEpoch>),
    /// What Kafka before 4.1 knew of a group's topics: only ever taken back.
    PartitionMetadataGone(GroupId),
    /// A member of a consumer group: what it asks for.
    Member(GroupId, MemberId, Option<MemberValue>),
    /// The epoch of a consumer group's target assignment.
    TargetEpoch(GroupId, Option<TargetEpoch>),
    /// What a member is to own.
    Target(GroupId, MemberId, Option<Partitions>),
    /// What a member owns, and is to give up.
    Current(GroupId, MemberId, Option<CurrentAssignment>),
    /// The topics that a regular expression stands for.
    Regex(GroupId, Arc<str>, Option<ResolvedRegex>),
}

impl Record {
    /// Whether it takes back what its key names.
    pub const fn is_tombstone(&self) -> bool {
        match self {
            Self::Offset(.., value) => value.is_none(),
            Self::Classic(_, value) => value.is_none(),
            Self::ConsumerEpoch(_, value) => value.is_none(),
            Self::PartitionMetadataGone(_) => true,
            Self::Member(.., value) => value.is_none(),
            Self::TargetEpoch(_, value) => value.is_none(),
            Self::Target(.., value) => value.is_none(),
            Self::Current(.., value) => value.is_none(),
            Self::Regex(.., value) => value.is_none(),
        }
    }
}

/// Partitions by their topics' ids, in ascending order.
pub type Partitions = BTreeMap<TopicId, Vec<PartitionIndex>>;

/// A committed offset.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommittedOffset {
    /// The next record to process.
    pub offset: Offset,
    /// The leader epoch of the last record that was processed; -1 where the client does not know it.
    pub leader_epoch: LeaderEpoch,
    /// What the client wants to keep with it.
    pub metadata: Arc<str>,
    /// When it was committed.
    pub commit_timestamp: TimestampMs,
    /// When it expires, where an old client (OffsetCommit below v5) said so; -1 otherwise.
    pub expire_timestamp: TimestampMs,
    /// The topic's id; zero where it is not known.
    pub topic_id: TopicId,
}

/// A classic group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassicGroupValue {
    /// What kind of members it has: `consumer`, `connect`.
    pub protocol_type: String,
    /// Which rebalance this is the result of.
    pub generation: i32,
    /// The protocol that was chosen: the name of a client-side assignor.
    pub protocol: Option<String>,
    /// The member that assigned.
    pub leader: Option<String>,
    /// Since when the group is in its state; -1 where that is not known.
    pub state_timestamp: i64,
    /// The members.
    pub members: Vec<ClassicMemberValue>,
}

/// A member of a classic group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassicMemberValue {
    /// Its name.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// How long a rebalance waits for it; milliseconds.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent; milliseconds.
    pub session_timeout_ms: i32,
    /// What it told about itself under the chosen protocol.
    pub subscription: Bytes,
    /// What the leader gave it.
    pub assignment: Bytes,
}

/// A consumer group's epoch.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConsumerEpoch {
    /// How often the group's members or topics changed.
    pub epoch: i32,
    /// A hash over the topics that the group reads (KIP-1101).
    pub metadata_hash: i64,
}

/// A member of a consumer group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MemberValue {
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// `client.rack`.
    pub rack_id: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// The topics that it subscribes to, in ascending order.
    pub topic_names: Vec<String>,
    /// The regular expression that it subscribes to.
    pub topic_regex: Option<String>,
    /// How long it may take to give partitions up; milliseconds.
    pub rebalance_timeout_ms: i32,
    /// The server-side assignor that it asks for.
    pub server_assignor: Option<String>,
    /// What it told in JoinGroup, where it speaks the classic protocol.
    pub classic: Option<ClassicMember>,
}

/// What a member of a consumer group that speaks the classic protocol told in JoinGroup.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ClassicMember {
    /// How long it may be silent; milliseconds.
    pub session_timeout_ms: i32,
    /// The protocols that it supports, with what it tells about itself under each.
    pub protocols: Vec<(String, Bytes)>,
}

/// The epoch of a target assignment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TargetEpoch {
    /// The group epoch that it was made for.
    pub epoch: i32,
    /// When it was made; 0 where that is not known (KIP-1263).
    pub timestamp: i64,
}

/// A member's state, with Kafka's numbers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(i8)]
pub enum MemberState {
    /// It owns what it is to own.
    #[default]
    Stable = 0,
    /// It is to give partitions up.
    UnrevokedPartitions = 1,
    /// It waits for others to give partitions up.
    UnreleasedPartitions = 2,
    /// A state of a later version.
    Unknown = 127,
}

/// What a member owns.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CurrentAssignment {
    /// The epoch that its next heartbeat carries.
    pub epoch: i32,
    /// The one before, should the answer have been lost.
    pub previous_epoch: i32,
    /// Where it is on its way to its target.
    pub state: MemberState,
    /// What it owns, each with the epoch at which it was given it.
    pub assigned: BTreeMap<TopicId, BTreeMap<PartitionIndex, i32>>,
    /// What it is to give up, likewise.
    pub pending_revocation: BTreeMap<TopicId, BTreeMap<PartitionIndex, i32>>,
}

/// The topics that a regular expression stands for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ResolvedRegex {
    /// Their names, in ascending order.
    pub topics: Vec<String>,
    /// The version of the metadata that it was resolved with.
    pub version: i64,
    /// When it was resolved.
    pub timestamp: i64,
}
