//! SyncGroup: the leader brings assignments, everybody fetches its own.

use std::collections::HashMap;

use bytes::Bytes;
use kafka_protocol::messages::{SyncGroupRequest, SyncGroupResponse};

use super::super::MemberId;
use super::super::timers::Timer;
use super::super::turn::{Client, Released, Turn};
use super::member::Waiting;
use super::rebalance::fits;
use super::replies::{self, sync_error, synced};
use super::{ClassicGroup, ClassicState};
use crate::wire::ErrorCode;

/// From this version on a member says which protocol it takes the group to have (KIP-559).
const FIRST_WITH_PROTOCOL: i16 = 5;

/// What can be said of a SyncGroup request without its group. A group that is not there is UNKNOWN_MEMBER_ID.
///
/// # Errors
///
/// INCONSISTENT_GROUP_PROTOCOL, INVALID_GROUP_ID.
pub fn check_sync(client: &Client, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
    let named = request.protocol_type.is_some() && request.protocol_name.is_some();
    if client.api_version >= FIRST_WITH_PROTOCOL && !named {
        return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    }
    if request.group_id.is_empty() { Err(ErrorCode::INVALID_GROUP_ID) } else { Ok(()) }
}

impl ClassicGroup {
    /// A sync; `None` where the answer comes later, in [`Turn::released`] of this turn's ticket.
    pub fn sync(
        &mut self,
        turn: &mut Turn<'_>,
        client: &Client,
        request: &SyncGroupRequest,
    ) -> Option<SyncGroupResponse> {
        if let Err(code) = self.validate_sync(request) {
            return Some(sync_error(code));
        }
        let id: MemberId = request.member_id.as_str().into();
        match self.state {
            ClassicState::CompletingRebalance => {
                self.wait_for_assignment(turn, client, &id);
                if self.is_leader(&id) {
                    self.assign(turn, request);
                }
                match replies::take_own(turn)? {
                    Released::Sync(answer) => Some(answer),
                    Released::Join(_) => None,
                }
            }
            ClassicState::Stable => {
                self.has_synced(turn, &id);
                Some(self.assigned(&id))
            }
            _ => Some(sync_error(ErrorCode::REBALANCE_IN_PROGRESS)),
        }
    }

    fn validate_sync(&self, request: &SyncGroupRequest) -> Result<(), ErrorCode> {
        if self.state == ClassicState::Empty {
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.validate_member(&request.member_id, request.group_instance_id.as_deref())?;
        if request.generation_id != self.generation {
            return Err(ErrorCode::ILLEGAL_GENERATION);
        }
        let differs = |said: Option<&str>, known: Option<&str>| matches!((said, known), (Some(a), Some(b)) if a != b);
        if differs(request.protocol_type.as_deref(), self.protocol_type())
            || differs(request.protocol_name.as_deref(), self.protocol())
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        Ok(())
    }

    fn wait_for_assignment(&mut self, turn: &mut Turn<'_>, client: &Client, id: &MemberId) {
        let waiting = Waiting { ticket: turn.ticket, api_version: client.api_version };
        let older = self.members.get_mut(id).and_then(|member| member.sync.replace(waiting));
        // Kafka forgets the older one; a client that still listens is to ask again.
        replies::release_sync(turn, older, sync_error(ErrorCode::REBALANCE_IN_PROGRESS));
        self.has_synced(turn, id);
    }

    /// The member is not waited for any more.
    fn has_synced(&mut self, turn: &mut Turn<'_>, id: &MemberId) {
        self.pending_sync.remove(id);
        if self.pending_sync.is_empty() {
            turn.timers.cancel(&self.id, Timer::Sync);
        }
    }

    /// The leader assigns. Whom it forgot gets nothing.
    fn assign(&mut self, turn: &mut Turn<'_>, request: &SyncGroupRequest) {
        let given = request.assignments.iter().map(|given| (given.member_id.as_str(), &given.assignment));
        let given: HashMap<&str, &Bytes> = given.collect();
        for (id, member) in &mut self.members {
            let bytes = given.get(id.as_ref()).map_or(&[][..], |bytes| bytes);
            member.assignment = Bytes::copy_from_slice(bytes);
        }
        let value = self.to_record();
        if !fits(&self.id, &value, turn.config) {
            self.reset_assignments(turn, ErrorCode::UNKNOWN_SERVER_ERROR);
            self.prepare_rebalance(turn);
            return;
        }
        // The record is of the state before: its timestamp says since when the group had been completing.
        self.write(turn, value);
        self.transition(turn.now, ClassicState::Stable);
        self.answer_syncs(turn);
    }

    fn answer_syncs(&mut self, turn: &mut Turn<'_>) {
        let waiting = self.members.iter().filter(|(_, member)| member.sync.is_some());
        let waiting: Vec<MemberId> = waiting.map(|(id, _)| id.clone()).collect();
        for id in waiting {
            let answer = self.assigned(&id);
            let waiting = self.members.get_mut(&id).and_then(|member| member.sync.take());
            replies::release_sync(turn, waiting, answer);
            // Its session may have ended unnoticed while it waited.
            self.heard_of(turn, &id);
        }
    }

    fn assigned(&self, id: &str) -> SyncGroupResponse {
        let assignment = self.members.get(id).map(|member| member.assignment.clone()).unwrap_or_default();
        synced(self.protocol_type(), self.protocol(), assignment)
    }
}
