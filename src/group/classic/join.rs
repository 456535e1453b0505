//! JoinGroup: who is let in, and whether the group rebalances for it.

use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupRequest, JoinGroupResponse};

use super::super::MemberId;
use super::super::config::GroupsConfig;
use super::super::records::ClassicGroupValue;
use super::super::timers::Timer;
use super::super::turn::{Client, Released, Turn};
use super::member::Offer;
use super::membership::member_id;
use super::replies::{self, join_error, text};
use super::{ClassicGroup, ClassicState};
use crate::wire::ErrorCode;

/// How long a new member's first join may wait before the member has to ask again. Milliseconds; Kafka's default of
/// a setting that is not public.
const NEW_MEMBER_JOIN_TIMEOUT_MS: i64 = 5 * 60 * 1000;

/// From this version on a dynamic member joins with a name that it was given before (KIP-394).
const FIRST_REQUIRING_MEMBER_ID: i16 = 4;

/// From this version on a static leader that comes back is told that it leads, and not to assign (KIP-814).
const FIRST_SKIPPING_ASSIGNMENT: i16 = 9;

/// How many members may have been given a name and not come back with it. Kafka has no such limit, but everything
/// that a client can make grow must have one.
pub(super) const MAX_PENDING: usize = 10_000;

/// What can be said of a JoinGroup request without its group.
///
/// # Errors
///
/// INVALID_GROUP_ID, INVALID_SESSION_TIMEOUT.
pub fn check_join(config: &GroupsConfig, request: &JoinGroupRequest) -> Result<(), ErrorCode> {
    if request.group_id.is_empty() {
        return Err(ErrorCode::INVALID_GROUP_ID);
    }
    let allowed = config.min_session_timeout_ms..=config.max_session_timeout_ms;
    if allowed.contains(&request.session_timeout_ms) { Ok(()) } else { Err(ErrorCode::INVALID_SESSION_TIMEOUT) }
}

/// Whether a join makes a group that is not there: only that of a member without a name does. Any other is answered
/// with [`join_missing`].
pub fn creates_group(request: &JoinGroupRequest) -> bool {
    request.member_id.is_empty()
}

/// The answer to a join that is refused without its group: with UNKNOWN_MEMBER_ID where that is not there.
pub fn join_missing(client: &Client, request: &JoinGroupRequest, code: ErrorCode) -> JoinGroupResponse {
    replies::for_version(join_error(&request.member_id, code), client.api_version)
}

impl ClassicGroup {
    /// A join; `None` where the answer comes later, in [`Turn::released`] of this turn's ticket.
    pub fn join(
        &mut self,
        turn: &mut Turn<'_>,
        client: &Client,
        request: &JoinGroupRequest,
    ) -> Option<JoinGroupResponse> {
        let answer = self.decide_join(turn, client, request);
        if !self.written {
            // So that a group whose first member did not get far is there after a restart, as in Kafka.
            let state_timestamp = self.state_timestamp.map_or(-1, |at| at.0);
            self.write(turn, ClassicGroupValue { state_timestamp, ..ClassicGroupValue::default() });
        }
        if let Some(answer) = answer {
            return Some(replies::for_version(answer, client.api_version));
        }
        match replies::take_own(turn)? {
            Released::Join(answer) => Some(answer),
            Released::Sync(_) => None,
        }
    }

    fn decide_join(
        &mut self,
        turn: &mut Turn<'_>,
        client: &Client,
        request: &JoinGroupRequest,
    ) -> Option<JoinGroupResponse> {
        let id = request.member_id.as_str();
        if !self.accepts(id, turn.config.max_size) {
            self.remove(turn, id);
            return Some(join_error("", ErrorCode::GROUP_MAX_SIZE_REACHED));
        }
        if !self.supports(&request.protocol_type, request.protocols.iter().map(|protocol| protocol.name.as_str())) {
            return Some(join_error(id, ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
        }
        if id.is_empty() { self.join_unnamed(turn, client, request) } else { self.join_named(turn, client, request) }
    }

    /// Whether there is room. During a rebalance those who wait are counted: the last to come are left out, be they
    /// new or not. Otherwise members are.
    fn accepts(&self, id: &str, max_size: usize) -> bool {
        match self.state {
            ClassicState::Empty => true,
            ClassicState::PreparingRebalance => {
                self.members.get(id).is_some_and(|member| member.join.is_some()) || self.awaiting_join < max_size
            }
            ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.members.contains_key(id) || self.members.len() < max_size
            }
        }
    }

    /// A join without a member id.
    fn join_unnamed(
        &mut self,
        turn: &mut Turn<'_>,
        client: &Client,
        request: &JoinGroupRequest,
    ) -> Option<JoinGroupResponse> {
        let instance = request.group_instance_id.as_deref();
        let id = member_id(turn, &client.id, instance);
        if let Some(instance) = instance {
            return match self.statics.get(instance).cloned() {
                Some(old) => self.rejoin_static(turn, client, request, &old, &id),
                None => self.join_new(turn, client, request, &id),
            };
        }
        if client.api_version < FIRST_REQUIRING_MEMBER_ID {
            return self.join_new(turn, client, request, &id);
        }
        if self.pending.len() >= MAX_PENDING {
            return Some(join_error("", ErrorCode::GROUP_MAX_SIZE_REACHED));
        }
        self.pending.insert(id.clone());
        let end = turn.now.steady.plus_ms(request.session_timeout_ms.into());
        turn.timers.set(&self.id, Timer::PendingJoin(id.clone()), end);
        Some(join_error(&id, ErrorCode::MEMBER_ID_REQUIRED))
    }

    /// A join with a member id.
    fn join_named(
        &mut self,
        turn: &mut Turn<'_>,
        client: &Client,
        request: &JoinGroupRequest,
    ) -> Option<JoinGroupResponse> {
        let id: MemberId = request.member_id.as_str().into();
        let instance = request.group_instance_id.as_deref();
        if self.pending.contains(&id) {
            if instance.is_some() {
                // Only dynamic members are pending; Kafka breaks an invariant of its own here.
                return Some(join_error("", ErrorCode::UNKNOWN_SERVER_ERROR));
            }
            return self.join_new(turn, client, request, &id);
        }
        if let Err(code) = self.validate_member(&id, instance) {
            return Some(replies::without_protocol(join_error(&id, code)));
        }
        let offer = Offer::new(turn, client, request);
        let same = self.members.get(&id).is_some_and(|member| member.protocols == offer.protocols);
        let rebalances = match self.state {
            ClassicState::PreparingRebalance => true,
            ClassicState::CompletingRebalance => !same,
            // A leader that joins again wants to assign again, perhaps because topics have changed.
            ClassicState::Stable => !same || self.is_leader(&id),
            ClassicState::Empty => return Some(join_error(&id, ErrorCode::UNKNOWN_MEMBER_ID)),
        };
        if !rebalances {
            // It may have missed the answer to its join of this generation.
            return Some(self.joined(&id));
        }
        self.update(turn, &id, offer);
        self.rebalance_or_complete(turn);
        None
    }

    /// A member that is not in the group yet.
    fn join_new(
        &mut self,
        turn: &mut Turn<'_>,
        client: &Client,
        request: &JoinGroupRequest,
        id: &MemberId,
    ) -> Option<JoinGroupResponse> {
        if self.state == ClassicState::PreparingRebalance && self.previous == ClassicState::Empty {
            self.member_added = true;
        }
        let member = Offer::new(turn, client, request).into_member(client);
        self.add(id, member, &request.protocol_type);
        turn.timers.cancel(&self.id, Timer::PendingJoin(id.clone()));
        // It sends no heartbeats before it knows its name; should it go away and come back under another one, the
        // first is not to stay for good.
        let end = turn.now.steady.plus_ms(NEW_MEMBER_JOIN_TIMEOUT_MS);
        turn.timers.set(&self.id, Timer::Session(id.clone()), end);
        self.rebalance_or_complete(turn);
        None
    }

    /// A static member that lost its name: it takes its own place over. Only if the group would choose another
    /// protocol with it, or is waiting for an assignment to the old name, does the group rebalance.
    fn rejoin_static(
        &mut self,
        turn: &mut Turn<'_>,
        client: &Client,
        request: &JoinGroupRequest,
        old: &MemberId,
        new: &MemberId,
    ) -> Option<JoinGroupResponse> {
        let leader_before = self.leader.clone();
        let before = self.members.get(old).cloned();
        let instance = request.group_instance_id.as_deref().unwrap_or_default();
        self.replace_static(turn, instance, old, new);
        self.update(turn, new, Offer::new(turn, client, request));
        match self.state {
            ClassicState::Stable if self.select_protocol() == self.protocol => {}
            ClassicState::Stable | ClassicState::CompletingRebalance => {
                self.prepare_rebalance(turn);
                return None;
            }
            ClassicState::PreparingRebalance | ClassicState::Empty => {
                self.maybe_complete_join(turn);
                return None;
            }
        }
        self.stop_waiting(new);
        let value = self.to_record();
        if !super::rebalance::fits(&self.id, &value, turn.config) {
            if let Some(before) = before {
                self.take_back(turn, instance, before, old, new);
            }
            return Some(self.answer("", leader_before.as_deref(), ErrorCode::UNKNOWN_SERVER_ERROR));
        }
        self.write(turn, value);
        if client.api_version < FIRST_SKIPPING_ASSIGNMENT {
            // A leader that finds another's name here takes itself for a follower, and does not assign anew.
            return Some(self.answer(new, leader_before.as_deref(), ErrorCode::NONE));
        }
        Some(self.joined(new).with_skip_assignment(self.is_leader(new)))
    }

    /// Puts a static member back as it was: its replacement cannot be written.
    fn take_back(
        &mut self,
        turn: &mut Turn<'_>,
        instance: &str,
        before: super::Member,
        old: &MemberId,
        new: &MemberId,
    ) {
        self.replace_static(turn, instance, new, old);
        if let Some(member) = self.members.remove(old) {
            self.count(&member, false);
        }
        let before = super::Member { join: None, sync: None, ..before };
        self.count(&before, true);
        self.members.insert(old.clone(), before);
        self.heard_of(turn, old);
    }

    /// The answer of this generation for a member; the leader is told who is to be assigned to.
    pub(super) fn joined(&self, id: &str) -> JoinGroupResponse {
        let members = if self.is_leader(id) { self.join_members() } else { Vec::new() };
        self.answer(id, self.leader.as_deref(), ErrorCode::NONE).with_members(members)
    }

    fn answer(&self, id: &str, leader: Option<&str>, code: ErrorCode) -> JoinGroupResponse {
        join_error(id, code)
            .with_generation_id(self.generation)
            .with_protocol_name(self.protocol.as_deref().map(text))
            .with_protocol_type(self.protocol_type.as_deref().map(text))
            .with_leader(text(leader.unwrap_or_default()))
    }

    fn join_members(&self) -> Vec<JoinGroupResponseMember> {
        let protocol = self.protocol.as_deref().unwrap_or_default();
        let members = self.members.iter().map(|(id, member)| {
            JoinGroupResponseMember::default()
                .with_member_id(text(id))
                .with_group_instance_id(member.instance_id.as_deref().map(text))
                .with_metadata(member.metadata(protocol))
        });
        members.collect()
    }
}
