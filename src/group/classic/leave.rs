//! LeaveGroup: members go, by themselves or removed by an administrator (KIP-345).

use std::borrow::Cow;

use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::leave_group_response::MemberResponse;
use kafka_protocol::messages::{LeaveGroupRequest, LeaveGroupResponse};

use super::super::turn::{Client, Turn};
use super::{ClassicGroup, ClassicState};
use crate::wire::ErrorCode;

/// From this version on several members may leave with one request.
const FIRST_BATCHED: i16 = 3;

/// The answer to a LeaveGroup that is refused as a whole: INVALID_GROUP_ID for an empty group id.
pub fn leave_error(code: ErrorCode) -> LeaveGroupResponse {
    LeaveGroupResponse::default().with_error_code(code.0)
}

/// The answer to a LeaveGroup for a group that is not there: nobody in it is known.
pub fn leave_missing(client: &Client, request: &LeaveGroupRequest) -> LeaveGroupResponse {
    leave_with(client, request, |_| ErrorCode::UNKNOWN_MEMBER_ID)
}

/// The answer to a LeaveGroup of which another has the say, with a code for each that leaves.
pub fn leave_with(
    client: &Client,
    request: &LeaveGroupRequest,
    mut code: impl FnMut(&MemberIdentity) -> ErrorCode,
) -> LeaveGroupResponse {
    let members = leaving(client, request);
    let responses = members.iter().map(|member| response(member, code(member)));
    for_version(client, responses.collect())
}

impl ClassicGroup {
    /// Members leave. The group rebalances without them, or becomes empty.
    pub fn leave(&mut self, turn: &mut Turn<'_>, client: &Client, request: &LeaveGroupRequest) -> LeaveGroupResponse {
        let members = leaving(client, request);
        let mut responses = Vec::with_capacity(members.len());
        let mut left = false;
        for member in members.iter() {
            let code = self.leave_one(turn, member).err().unwrap_or(ErrorCode::NONE);
            left |= code == ErrorCode::NONE;
            responses.push(response(member, code));
        }
        if left {
            match self.state {
                ClassicState::Stable | ClassicState::CompletingRebalance => self.prepare_rebalance(turn),
                _ => self.maybe_complete_join(turn),
            }
        }
        for_version(client, responses)
    }

    fn leave_one(&mut self, turn: &mut Turn<'_>, member: &MemberIdentity) -> Result<(), ErrorCode> {
        let instance = member.group_instance_id.as_deref();
        let id = member.member_id.as_str();
        if id.is_empty() {
            // An administrator names the instance only.
            let known = instance.and_then(|instance| self.statics.get(instance)).cloned();
            self.remove(turn, &known.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?);
            return Ok(());
        }
        if !self.pending.contains(id) {
            self.validate_member(id, instance)?;
        }
        self.remove(turn, id);
        Ok(())
    }
}

/// Who leaves: before batches the one that the request names.
fn leaving<'a>(client: &Client, request: &'a LeaveGroupRequest) -> Cow<'a, [MemberIdentity]> {
    if client.api_version >= FIRST_BATCHED {
        return Cow::Borrowed(&request.members);
    }
    Cow::Owned(vec![MemberIdentity::default().with_member_id(request.member_id.clone())])
}

fn response(member: &MemberIdentity, code: ErrorCode) -> MemberResponse {
    MemberResponse::default()
        .with_member_id(member.member_id.clone())
        .with_group_instance_id(member.group_instance_id.clone())
        .with_error_code(code.0)
}

/// Before batches the one member's code is the answer's.
fn for_version(client: &Client, responses: Vec<MemberResponse>) -> LeaveGroupResponse {
    if client.api_version >= FIRST_BATCHED {
        return LeaveGroupResponse::default().with_members(responses);
    }
    let code = responses.first().map_or(0, |response| response.error_code);
    LeaveGroupResponse::default().with_error_code(code)
}
