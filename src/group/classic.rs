//! A group of the classic protocol: members join, one of them leads and assigns, all of them sync.
//!
//! A rebalance goes `PreparingRebalance` (members are waited for in JoinGroup) - `CompletingRebalance` (the leader's
//! assignment is waited for in SyncGroup) - `Stable`. Only its end is in the log, as one record with all members and
//! assignments; what is between two records is forgotten by a restart, and members begin again.
//!
//! A turn's answers leave only once its records are durable. So a group is `Stable` in the turn in which its leader
//! assigns, where Kafka waits for the append and answers REBALANCE_IN_PROGRESS to commits that come meanwhile.

mod describe;
mod join;
mod leave;
mod member;
mod membership;
mod rebalance;
mod replies;
mod sync;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;

pub use describe::describe_missing;
pub use join::{check_join, creates_group, join_missing};
use kafka_protocol::messages::HeartbeatRequest;
pub use leave::{leave_error, leave_missing, leave_with};
pub use member::{Member, Waiting, protocols};
pub use membership::CONSUMER;
pub use sync::check_sync;

use super::offsets::ExpiresFrom;
use super::records::{ClassicGroupValue, ClassicMemberValue, Record};
use super::turn::{Now, Turn};
use super::{GroupId, MemberId};
use crate::types::TimestampMs;
use crate::wire::ErrorCode;

/// Where a group is in its rebalance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClassicState {
    /// It has no members (perhaps pending ones), only offsets.
    Empty,
    /// Members are waited for in JoinGroup.
    PreparingRebalance,
    /// The leader's assignment is waited for in SyncGroup.
    CompletingRebalance,
    /// Every member has what the leader gave it, or may fetch it.
    Stable,
}

impl ClassicState {
    /// As tools print it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::PreparingRebalance => "PreparingRebalance",
            Self::CompletingRebalance => "CompletingRebalance",
            Self::Stable => "Stable",
        }
    }
}

impl std::fmt::Display for ClassicState {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name())
    }
}

/// The wait before the first rebalance of an empty group (KIP-134). Milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct InitialDelay {
    /// How long the timer that runs was set for.
    delay_ms: i32,
    /// How much may follow after it.
    remaining_ms: i32,
}

/// A group of the classic protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClassicGroup {
    id: GroupId,
    state: ClassicState,
    previous: ClassicState,
    state_timestamp: Option<TimestampMs>,
    protocol_type: Option<String>,
    protocol: Option<String>,
    generation: i32,
    leader: Option<MemberId>,
    members: BTreeMap<MemberId, Member>,
    /// Static members by their instance.
    statics: BTreeMap<String, MemberId>,
    /// Were given a name and are to come back with it.
    pending: BTreeSet<MemberId>,
    /// Have joined this generation and not asked for their assignment yet.
    pending_sync: BTreeSet<MemberId>,
    /// How many members wait in a join.
    awaiting_join: usize,
    /// How many members support each protocol.
    supported: BTreeMap<String, usize>,
    /// The topics that the members of this generation subscribe to, where that can be known.
    subscribed: Option<BTreeSet<String>>,
    /// A member came during the initial delay.
    member_added: bool,
    initial: Option<InitialDelay>,
    /// The log says something of this group.
    written: bool,
}

impl ClassicGroup {
    /// A group for the first member's join, which will write it to the log.
    pub fn new(id: GroupId, now: Now) -> Self {
        Self {
            id,
            state: ClassicState::Empty,
            previous: ClassicState::Empty,
            state_timestamp: Some(now.wall),
            protocol_type: None,
            protocol: None,
            generation: 0,
            leader: None,
            members: BTreeMap::new(),
            statics: BTreeMap::new(),
            pending: BTreeSet::new(),
            pending_sync: BTreeSet::new(),
            awaiting_join: 0,
            supported: BTreeMap::new(),
            subscribed: None,
            member_added: false,
            initial: None,
            written: false,
        }
    }

    /// A group that exists because offsets were committed for it, by a client that assigns to itself: the offsets
    /// are all that the log says of it.
    pub fn simple(id: GroupId, now: Now) -> Self {
        Self { written: true, ..Self::new(id, now) }
    }

    /// As its record in the log says. [`Self::loaded`] is to follow once the whole log is read.
    pub fn from_record(id: GroupId, value: &ClassicGroupValue) -> Self {
        let mut group = Self::simple(id, Now::default());
        group.generation = value.generation;
        group.protocol_type = Some(value.protocol_type.clone()).filter(|name| !name.is_empty());
        group.protocol.clone_from(&value.protocol);
        group.leader = value.leader.as_deref().map(Into::into);
        group.state_timestamp = (value.state_timestamp != -1).then_some(TimestampMs(value.state_timestamp));
        if !value.members.is_empty() {
            group.state = ClassicState::Stable;
        }
        for member in &value.members {
            let protocol = value.protocol.as_deref().unwrap_or_default();
            let id = member.member_id.as_str().into();
            group.add(&id, Member::from_record(member, protocol), &value.protocol_type);
        }
        group.subscribed = group.subscribed_topics();
        group
    }

    /// A stable group of consumers, made of the members of a consumer group whose last member of the new protocol
    /// left (KIP-848). The protocol is chosen here, and with it the version in which the caller writes assignments
    /// ([`Self::set_assignment`]). The caller then writes [`Self::to_record`] and calls [`Self::loaded`] and, where
    /// no join follows that does it, [`Self::rebalance`].
    pub fn from_members(id: GroupId, generation: i32, members: Vec<(MemberId, Member)>, now: Now) -> Self {
        let mut group = Self::simple(id, now);
        group.state = if members.is_empty() { ClassicState::Empty } else { ClassicState::Stable };
        group.generation = generation;
        group.protocol_type = Some(CONSUMER.to_owned());
        for (id, member) in members {
            group.add(&id, member, CONSUMER);
        }
        group.protocol = group.select_protocol();
        group.subscribed = group.subscribed_topics();
        group
    }

    /// What a member that came over from a consumer group owns.
    pub fn set_assignment(&mut self, id: &str, assignment: Bytes) {
        if let Some(member) = self.members.get_mut(id) {
            member.assignment = assignment;
        }
    }

    /// What the log is to say of it.
    pub fn to_record(&self) -> ClassicGroupValue {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| ClassicMemberValue {
            member_id: id.as_ref().to_owned(),
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            session_timeout_ms: member.session_timeout_ms,
            subscription: member.metadata(protocol),
            assignment: member.assignment.clone(),
        });
        ClassicGroupValue {
            protocol_type: self.protocol_type.clone().unwrap_or_default(),
            generation: self.generation,
            protocol: self.protocol.clone(),
            leader: self.leader.as_deref().map(str::to_owned),
            state_timestamp: self.state_timestamp.map_or(-1, |at| at.0),
            members: members.collect(),
        }
    }

    fn write(&mut self, turn: &mut Turn<'_>, value: ClassicGroupValue) {
        self.written = true;
        turn.records.push(Record::Classic(self.id.clone(), Some(value)));
    }

    /// Its name.
    pub const fn id(&self) -> &GroupId {
        &self.id
    }

    /// Where it is in its rebalance.
    pub const fn state(&self) -> ClassicState {
        self.state
    }

    /// Which rebalance the members have come through.
    pub const fn generation(&self) -> i32 {
        self.generation
    }

    /// What kind of members it has; `None` where no member ever joined.
    pub fn protocol_type(&self) -> Option<&str> {
        self.protocol_type.as_deref()
    }

    /// The protocol that was chosen for this generation.
    pub fn protocol(&self) -> Option<&str> {
        self.protocol.as_deref()
    }

    /// Its members, by name.
    pub const fn members(&self) -> &BTreeMap<MemberId, Member> {
        &self.members
    }

    /// The name of a static member.
    pub fn static_member(&self, instance: &str) -> Option<&MemberId> {
        self.statics.get(instance)
    }

    /// Whether it has no members (it may have pending ones).
    pub const fn is_empty(&self) -> bool {
        matches!(self.state, ClassicState::Empty)
    }

    /// Whether its members are consumers.
    pub fn has_consumers(&self) -> bool {
        self.protocol_type.as_deref() == Some(CONSUMER)
    }

    /// Whether its members read a topic. Consumers whose subscription cannot be read may read any.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed.as_ref().map_or_else(|| self.has_consumers(), |topics| topics.contains(topic))
    }

    /// From when on the retention of its offsets counts.
    pub fn offset_expiry(&self) -> ExpiresFrom {
        if self.protocol_type.is_none() {
            return ExpiresFrom::Commit;
        }
        match self.state {
            ClassicState::Empty => {
                self.state_timestamp.map_or(ExpiresFrom::Commit, |at| ExpiresFrom::EmptySince(Some(at)))
            }
            ClassicState::Stable if self.has_consumers() && self.subscribed.is_some() => ExpiresFrom::Commit,
            _ => ExpiresFrom::Never,
        }
    }

    /// Whether a commit may be taken. A transactional one is held to the generation only if it names one, and not to
    /// the group's state.
    ///
    /// # Errors
    ///
    /// UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION, REBALANCE_IN_PROGRESS.
    pub fn validate_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        generation: i32,
        is_transactional: bool,
    ) -> Result<(), ErrorCode> {
        if generation < 0 && self.is_empty() {
            return Ok(());
        }
        if generation >= 0 || !member_id.is_empty() || instance_id.is_some() {
            self.validate_member(member_id, instance_id)?;
            if generation != self.generation {
                return Err(ErrorCode::ILLEGAL_GENERATION);
            }
        } else if !is_transactional && !self.is_empty() {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        if !is_transactional && self.state == ClassicState::CompletingRebalance {
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        Ok(())
    }

    /// A commit that is not transactional was taken: it keeps the member's session as a heartbeat does, but not while
    /// the leader's assignment is waited for.
    pub fn committed(&self, turn: &mut Turn<'_>, member_id: &str) {
        if matches!(self.state, ClassicState::Stable | ClassicState::PreparingRebalance) {
            self.heard_of(turn, &member_id.into());
        }
    }

    /// Whether the group may be deleted.
    ///
    /// # Errors
    ///
    /// NON_EMPTY_GROUP.
    pub const fn validate_delete(&self) -> Result<(), ErrorCode> {
        match self.state {
            ClassicState::Empty => Ok(()),
            _ => Err(ErrorCode::NON_EMPTY_GROUP),
        }
    }

    /// Whether offsets of the group may be deleted: those of topics that its consumers do not read always may.
    ///
    /// # Errors
    ///
    /// NON_EMPTY_GROUP.
    pub fn validate_offset_delete(&self) -> Result<(), ErrorCode> {
        match self.validate_delete() {
            Err(ErrorCode::NON_EMPTY_GROUP) if self.has_consumers() => Ok(()),
            other => other,
        }
    }

    /// A heartbeat: NONE, or why the member has to do something.
    pub fn heartbeat(&mut self, turn: &mut Turn<'_>, request: &HeartbeatRequest) -> ErrorCode {
        if let Err(code) = self.validate_member(&request.member_id, request.group_instance_id.as_deref()) {
            return code;
        }
        if request.generation_id != self.generation {
            return ErrorCode::ILLEGAL_GENERATION;
        }
        self.heard_of(turn, &request.member_id.as_str().into());
        match self.state {
            ClassicState::PreparingRebalance => ErrorCode::REBALANCE_IN_PROGRESS,
            _ => ErrorCode::NONE,
        }
    }

    fn transition(&mut self, now: Now, state: ClassicState) {
        self.previous = self.state;
        self.state = state;
        self.state_timestamp = Some(now.wall);
    }
}
