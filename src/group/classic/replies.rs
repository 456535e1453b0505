//! The answers that a group gives, and how they reach those who wait.

use bytes::Bytes;
use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::super::turn::{Released, Ticket, Turn};
use super::member::Waiting;
use crate::wire::ErrorCode;
pub(super) use crate::wire::message::text;

/// JoinGroup is refused.
pub(super) fn join_error(member_id: &str, code: ErrorCode) -> JoinGroupResponse {
    JoinGroupResponse::default().with_member_id(text(member_id)).with_error_code(code.0)
}

/// Kafka says null for the protocol of a member that is not who it says.
pub(super) fn without_protocol(response: JoinGroupResponse) -> JoinGroupResponse {
    response.with_protocol_name(None)
}

/// SyncGroup is refused.
pub(super) fn sync_error(code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(code.0)
}

/// SyncGroup's answer for a member.
pub(super) fn synced(protocol_type: Option<&str>, protocol: Option<&str>, assignment: Bytes) -> SyncGroupResponse {
    SyncGroupResponse::default()
        .with_protocol_type(protocol_type.map(text))
        .with_protocol_name(protocol.map(text))
        .with_assignment(assignment)
}

/// "No protocol" is null from version 7 on and empty before that.
pub(super) fn for_version(mut response: JoinGroupResponse, api_version: i16) -> JoinGroupResponse {
    let none = response.protocol_name.as_ref().is_none_or(|name| name.is_empty());
    if none {
        response.protocol_name = (api_version < 7).then(StrBytes::default);
    }
    response
}

/// Answers a join that waits, if one does.
pub(super) fn release_join(turn: &mut Turn<'_>, waiting: Option<Waiting>, response: JoinGroupResponse) {
    if let Some(waiting) = waiting {
        let response = for_version(response, waiting.api_version);
        turn.released.push((waiting.ticket, Released::Join(response)));
    }
}

/// Answers a sync that waits, if one does.
pub(super) fn release_sync(turn: &mut Turn<'_>, waiting: Option<Waiting>, response: SyncGroupResponse) {
    if let Some(waiting) = waiting {
        turn.released.push((waiting.ticket, Released::Sync(response)));
    }
}

/// Takes the answer to this turn's own request out of the released ones: it needs no detour.
pub(super) fn take_own(turn: &mut Turn<'_>) -> Option<Released> {
    let own: Ticket = turn.ticket;
    let at = turn.released.iter().position(|(ticket, _)| *ticket == own)?;
    Some(turn.released.remove(at).1)
}
