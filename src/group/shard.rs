//! The state of one partition of `__consumer_offsets`: its groups and their offsets.
//!
//! A group is what it is by the protocol of its members; one without members takes the protocol of whoever comes
//! next. A group that only has offsets, because a client commits without being a member, is an empty classic one.

mod kinds;
mod listing;
mod offsets;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, HeartbeatRequest, JoinGroupRequest,
    JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};

pub use listing::Listed;
pub use offsets::{FetchedTopic, OffsetDeletion, OffsetReader, WantedTopic};

use super::GroupId;
use super::classic::{self, ClassicGroup};
use super::consumer::{self, ConsumerGroup};
use super::offsets::Offsets;
use super::records::Record;
use super::timers::Timer;
use super::turn::{Client, Now, Turn};
use crate::types::{ProducerId, TopicId};
use crate::wire::{ErrorCode, Refusal};

/// Groups and offsets of one partition.
#[derive(Debug, Default)]
pub struct Shard {
    groups: BTreeMap<GroupId, Group>,
    offsets: Offsets,
    /// Classic groups that, as far as the log was read, owe their members a rebalance.
    owing: BTreeSet<GroupId>,
}

/// A group, by the protocol of its members.
#[derive(Debug)]
enum Group {
    Classic(ClassicGroup),
    Consumer(ConsumerGroup),
}

impl Group {
    fn is_empty(&self) -> bool {
        match self {
            Self::Classic(group) => group.is_empty(),
            Self::Consumer(group) => group.is_empty(),
        }
    }

    fn is_subscribed_to(&self, topic: &str) -> bool {
        match self {
            Self::Classic(group) => group.is_subscribed_to(topic),
            Self::Consumer(group) => group.is_subscribed_to(topic),
        }
    }

    /// Records that say that the group is gone, and an end to its timers.
    fn bury(&self, turn: &mut Turn<'_>) {
        match self {
            Self::Classic(group) => {
                // Those of the members of another protocol stay: they have taken the group over.
                let is_classic = |timer: &Timer| matches!(timer, Timer::PendingJoin(_) | Timer::Join | Timer::Sync);
                turn.timers.cancel_where(group.id(), is_classic);
                turn.records.push(Record::Classic(Arc::clone(group.id()), None));
            }
            Self::Consumer(group) => group.tombstones(turn),
        }
    }
}

impl Shard {
    /// Takes over what a record of the log says.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::Offset(group, topic, partition, value) => {
                self.offsets.apply(group, topic, *partition, value.as_ref());
                if value.is_some() {
                    self.ensure_group(group);
                }
            }
            Record::Classic(group, Some(value)) => {
                self.note_rebalance(group, value);
                let classic = ClassicGroup::from_record(Arc::clone(group), value);
                self.groups.insert(Arc::clone(group), Group::Classic(classic));
            }
            Record::Classic(group, None) => {
                self.owing.remove(group);
                if let Some(Group::Classic(_)) = self.groups.get(group) {
                    self.groups.remove(group);
                }
            }
            Record::ConsumerEpoch(group, None) => {
                if let Some(Group::Consumer(_)) = self.groups.get(group) {
                    self.groups.remove(group);
                }
            }
            Record::PartitionMetadataGone(_) => {}
            Record::ConsumerEpoch(group, Some(_))
            | Record::Member(group, ..)
            | Record::TargetEpoch(group, _)
            | Record::Target(group, ..)
            | Record::Current(group, ..)
            | Record::Regex(group, ..) => self.apply_to_consumer(group, record),
        }
    }

    /// Takes over what a record of a producer's transaction says. An offset is pending until the transaction ends; its
    /// group is there at once.
    pub fn apply_pending(&mut self, producer: ProducerId, record: &Record) {
        match record {
            Record::Offset(group, topic, partition, Some(value)) => {
                self.offsets.apply_pending(producer, group, topic, *partition, value);
                self.ensure_group(group);
            }
            _ => self.apply(record),
        }
    }

    /// Takes over that a producer's transaction has ended: what it has committed counts or is forgotten (rule 19).
    pub fn end_transaction(&mut self, producer: ProducerId, commit: bool) {
        self.offsets.end_transaction(producer, commit);
    }

    /// A group of which nothing but offsets is known is a simple one.
    fn ensure_group(&mut self, id: &GroupId) {
        if !self.groups.contains_key(id) {
            let simple = ClassicGroup::simple(Arc::clone(id), Now::default());
            self.groups.insert(Arc::clone(id), Group::Classic(simple));
        }
    }

    /// A compacted log may tell of a member before its group, and of a group's end before what is left of it.
    fn apply_to_consumer(&mut self, id: &GroupId, record: &Record) {
        match self.groups.get_mut(id) {
            Some(Group::Consumer(group)) => group.apply(record),
            // A group of which only offsets were known so far.
            Some(Group::Classic(group)) if !group.is_empty() => {}
            _ if record.is_tombstone() => {}
            _ => {
                let mut group = ConsumerGroup::new(Arc::clone(id));
                group.apply(record);
                self.groups.insert(Arc::clone(id), Group::Consumer(group));
            }
        }
    }

    /// The log was replayed: what a restart interrupted goes on.
    pub fn loaded(&mut self, turn: &mut Turn<'_>) {
        let owing = std::mem::take(&mut self.owing);
        for (id, group) in &mut self.groups {
            match group {
                Group::Classic(group) => {
                    group.loaded(turn);
                    if owing.contains(id) {
                        group.rebalance(turn);
                    }
                }
                Group::Consumer(group) => group.loaded(turn),
            }
        }
    }

    /// Fires the timers that are due.
    pub fn tick(&mut self, turn: &mut Turn<'_>) {
        while let Some((group, timer)) = turn.timers.pop(turn.now.steady) {
            self.fire(turn, &group, &timer);
        }
    }

    fn fire(&mut self, turn: &mut Turn<'_>, id: &GroupId, timer: &Timer) {
        match self.groups.get_mut(id) {
            Some(Group::Classic(group)) => group.on_timer(turn, timer),
            Some(Group::Consumer(group)) => {
                if let Some(expired) = group.expired_by(timer) {
                    self.fence(turn, id, std::slice::from_ref(expired));
                }
            }
            None => {}
        }
    }

    /// Offsets of topics that are gone go too.
    pub fn topics_deleted(&mut self, turn: &mut Turn<'_>, topics: &[(Arc<str>, TopicId)]) {
        let records = self.offsets.of_deleted(topics);
        self.emit(turn, records);
    }

    /// Makes changes of offsets durable, and makes them.
    fn emit(&mut self, turn: &mut Turn<'_>, records: Vec<Record>) {
        for record in &records {
            self.apply(record);
        }
        turn.records.extend(records);
    }

    /// JoinGroup; `None` where the answer comes later.
    pub fn join(
        &mut self,
        turn: &mut Turn<'_>,
        client: &Client,
        request: &JoinGroupRequest,
    ) -> Option<JoinGroupResponse> {
        let refused = |code| Some(classic::join_missing(client, request, code));
        if let Err(code) = classic::check_join(turn.config, request) {
            return refused(code);
        }
        let id: GroupId = request.group_id.as_str().into();
        match self.groups.get_mut(&id) {
            Some(Group::Classic(group)) => return group.join(turn, client, request),
            Some(Group::Consumer(group)) if !group.is_empty() => return self.join_consumers(turn, client, request),
            _ if !classic::creates_group(request) => return refused(ErrorCode::UNKNOWN_MEMBER_ID),
            Some(empty) => empty.bury(turn),
            None => {}
        }
        let mut group = ClassicGroup::new(Arc::clone(&id), turn.now);
        let answer = group.join(turn, client, request);
        self.groups.insert(id, Group::Classic(group));
        answer
    }

    /// SyncGroup; `None` where the answer comes later.
    pub fn sync(
        &mut self,
        turn: &mut Turn<'_>,
        client: &Client,
        request: &SyncGroupRequest,
    ) -> Option<SyncGroupResponse> {
        let refused = |code: ErrorCode| Some(SyncGroupResponse::default().with_error_code(code.0));
        if let Err(code) = classic::check_sync(client, request) {
            return refused(code);
        }
        match self.groups.get_mut(request.group_id.as_str()) {
            Some(Group::Classic(group)) => group.sync(turn, client, request),
            Some(Group::Consumer(group)) => group.classic_sync(turn, request).map_or_else(refused, Some),
            None => refused(ErrorCode::UNKNOWN_MEMBER_ID),
        }
    }

    /// Heartbeat: NONE, or why the member has to do something.
    pub fn heartbeat(&mut self, turn: &mut Turn<'_>, request: &HeartbeatRequest) -> ErrorCode {
        if request.group_id.is_empty() {
            return ErrorCode::INVALID_GROUP_ID;
        }
        match self.groups.get_mut(request.group_id.as_str()) {
            Some(Group::Classic(group)) => group.heartbeat(turn, request),
            Some(Group::Consumer(group)) => group.classic_heartbeat(turn, request),
            None => ErrorCode::UNKNOWN_MEMBER_ID,
        }
    }

    /// LeaveGroup.
    pub fn leave(&mut self, turn: &mut Turn<'_>, client: &Client, request: &LeaveGroupRequest) -> LeaveGroupResponse {
        if request.group_id.is_empty() {
            return classic::leave_error(ErrorCode::INVALID_GROUP_ID);
        }
        match self.groups.get_mut(request.group_id.as_str()) {
            Some(Group::Classic(group)) => group.leave(turn, client, request),
            Some(Group::Consumer(group)) => {
                let (answer, leaving) = group.classic_leave(client, request);
                let id = Arc::clone(group.id());
                self.fence(turn, &id, &leaving);
                answer
            }
            None => classic::leave_missing(client, request),
        }
    }

    /// ConsumerGroupHeartbeat.
    pub fn consumer_heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        client: &Client,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        consumer::check_heartbeat(turn.config, client.api_version, request)?;
        let id: GroupId = request.group_id.as_str().into();
        match self.groups.get_mut(&id) {
            Some(Group::Consumer(group)) => {
                let Some(leaver) = group.leaver(request) else { return group.heartbeat(turn, client, request) };
                self.fence(turn, &id, &[leaver]);
                return Ok(consumer::left(request));
            }
            Some(Group::Classic(group)) if consumer::creates_group(request) && !group.is_empty() => {
                let (group, answer) = Self::upgrade(turn, group, client, request)?;
                self.groups.insert(id, Group::Consumer(group));
                return Ok(answer);
            }
            Some(Group::Classic(_)) if !consumer::creates_group(request) => {
                return Err(Refusal::new(
                    ErrorCode::GROUP_ID_NOT_FOUND,
                    format!("Group {id} is not a consumer group."),
                ));
            }
            None if !consumer::creates_group(request) => return Err(consumer::group_not_found(&id, request)),
            Some(_) | None => {}
        }
        let mut group = ConsumerGroup::new(Arc::clone(&id));
        // A refusal leaves no group behind, and the one that was there as it was.
        let answer = group.heartbeat(turn, client, request)?;
        if let Some(empty) = self.groups.insert(id, Group::Consumer(group)) {
            empty.bury(turn);
        }
        Ok(answer)
    }

    /// DeleteGroups: a group without members goes, with its offsets.
    pub fn delete(&mut self, turn: &mut Turn<'_>, id: &str) -> Result<(), ErrorCode> {
        let (id, group) = self.groups.get_key_value(id).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        let id = Arc::clone(id);
        match group {
            Group::Classic(group) => group.validate_delete()?,
            Group::Consumer(group) => group.validate_delete()?,
        }
        let offsets = self.offsets.tombstones(&id);
        self.emit(turn, offsets);
        self.remove(turn, &id);
        Ok(())
    }

    fn remove(&mut self, turn: &mut Turn<'_>, id: &GroupId) {
        if let Some(group) = self.groups.remove(id) {
            group.bury(turn);
        }
    }
}
