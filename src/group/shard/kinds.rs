//! Members of the classic protocol in consumer groups, and groups that change their kind.

#[cfg(test)]
mod tests;

use std::sync::Arc;

use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, JoinGroupRequest, JoinGroupResponse,
};

use super::{Group, Shard};
use crate::group::classic::ClassicGroup;
use crate::group::consumer::ConsumerGroup;
use crate::group::migration;
use crate::group::records::{ClassicGroupValue, Record};
use crate::group::turn::{Client, Turn};
use crate::group::{GroupId, MemberId};
use crate::wire::Refusal;

impl Shard {
    /// Makes a consumer group of a classic one with members, for the member that comes with this heartbeat. A refusal
    /// leaves the group as it was.
    pub(super) fn upgrade(
        turn: &mut Turn<'_>,
        classic: &mut ClassicGroup,
        client: &Client,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<(ConsumerGroup, ConsumerGroupHeartbeatResponse), Refusal> {
        let mut upgraded = migration::upgrade(turn, classic)?;
        let before = turn.records.len();
        turn.records.append(&mut upgraded.records);
        let answer = upgraded.group.heartbeat(turn, client, request);
        if answer.is_err() {
            turn.records.truncate(before);
        }
        let answer = answer?;
        migration::hand_over(turn, classic, &upgraded.group);
        Ok((upgraded.group, answer))
    }

    /// A member of the classic protocol joins a consumer group with members. Where it takes the place of the last one
    /// of the consumer protocol, the group becomes a classic one.
    pub(super) fn join_consumers(
        &mut self,
        turn: &mut Turn<'_>,
        client: &Client,
        request: &JoinGroupRequest,
    ) -> Option<JoinGroupResponse> {
        let Some(Group::Consumer(group)) = self.groups.get_mut(request.group_id.as_str()) else { return None };
        let join = match group.check_classic_join(turn, client, request) {
            Ok(join) => join,
            Err(refused) => return Some(refused.answer(client, request)),
        };
        if !migration::replaces_last_consumer(turn.config, group, request.group_instance_id.as_deref()) {
            return Some(group.classic_join(turn, &join));
        }
        let generation = group.epoch();
        let (answer, stale) = group.classic_replace(turn, &join);
        match migration::to_classic(turn, group, &[], generation) {
            Some(classic) => self.downgrade(turn, classic, stale),
            None => group.wait_for_sync(turn, &join),
        }
        Some(answer)
    }

    /// Drops members of a consumer group, which becomes a classic one if they are the last of the consumer protocol.
    pub(super) fn fence(&mut self, turn: &mut Turn<'_>, id: &GroupId, leaving: &[MemberId]) {
        let Some(Group::Consumer(group)) = self.groups.get_mut(id) else { return };
        if leaving.is_empty() {
            return;
        }
        match migration::downgrade(turn, group, leaving) {
            Some(classic) => self.downgrade(turn, classic, true),
            None => group.fence_members(turn, leaving),
        }
    }

    /// Puts a classic group in the place of the consumer group that it was made of.
    fn downgrade(&mut self, turn: &mut Turn<'_>, mut classic: ClassicGroup, rebalance: bool) {
        let id = Arc::clone(classic.id());
        if let Some(old) = self.groups.remove(&id) {
            old.bury(turn);
        }
        let mut value = classic.to_record();
        if rebalance {
            value.leader = None;
        }
        turn.records.push(Record::Classic(Arc::clone(&id), Some(value)));
        classic.loaded(turn);
        if rebalance {
            classic.rebalance(turn);
        }
        self.groups.insert(id, Group::Classic(classic));
    }

    /// Notes whether a classic group owes its members a rebalance, should its log end here.
    pub(super) fn note_rebalance(&mut self, id: &GroupId, value: &ClassicGroupValue) {
        if owes_rebalance(value) {
            self.owing.insert(Arc::clone(id));
        } else {
            self.owing.remove(id);
        }
    }
}

/// Whether a group was made of a consumer group whose last consumer left, and has not rebalanced since: what that one
/// owned is nobody's until it does. Kafka forgets that with a restart. It is in the record as a missing leader, which
/// Kafka takes for the first of the members.
fn owes_rebalance(value: &ClassicGroupValue) -> bool {
    value.leader.is_none() && !value.members.is_empty()
}
