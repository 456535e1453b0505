//! JoinGroup (v0-v9): a member of a classic group wants to take part in the next generation.
//!
//! v1 rebalance timeout; v4 a member is given its id before it joins (KIP-394); v5 static members (KIP-345);
//! v7 protocol type; v8 reason (KIP-800); v9 the leader of a static group may skip the assignment (KIP-814).

use std::sync::Arc;

use kafka_protocol::messages::{ApiKey, JoinGroupRequest, JoinGroupResponse};
use kafka_protocol::protocol::StrBytes;

use super::reply::{client, coordinated_waiting};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::group::turn::Released;
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::JoinGroup;
/// The first version that may leave the protocol's name out, and has its type.
const PROTOCOL_TYPE: i16 = 7;
/// The first version with static members.
const STATIC: i16 = 5;
/// The first version in which the leader may be told to keep the assignment.
const SKIP_ASSIGNMENT: i16 = 9;

/// Joins; answers when all members have, or have been waited for long enough.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let client = client(&request);
    let header = request.header;
    let version = header.api_version;
    let mut body: JoinGroupRequest = decode_request(API, version, request.body.freeze())?;
    if version == 0 {
        // A rebalance waited as long as a session lasts.
        body.rebalance_timeout_ms = body.session_timeout_ms;
    }
    let (group, member_id) = (body.group_id.to_string(), body.member_id.clone());
    let outcome =
        broker.groups.run_waiting(&group, move |shard, turn| shard.join(turn, &client, &body).map(Released::Join));
    coordinated_waiting(API, &header, outcome, move |result| match result {
        Ok(Released::Join(response)) => for_version(response, version),
        Ok(Released::Sync(_)) => for_version(refused(ErrorCode::UNKNOWN_SERVER_ERROR, member_id), version),
        Err(code) => for_version(refused(code, member_id), version),
    })
}

/// An answer to a member that does not take part.
fn refused(code: ErrorCode, member_id: StrBytes) -> JoinGroupResponse {
    JoinGroupResponse::default()
        .with_error_code(code.0)
        .with_generation_id(-1)
        .with_protocol_name(None)
        .with_member_id(member_id)
}

/// What older versions cannot say is left out.
fn for_version(mut response: JoinGroupResponse, version: i16) -> JoinGroupResponse {
    if version < PROTOCOL_TYPE {
        response.protocol_type = None;
        response.protocol_name.get_or_insert_default();
    }
    if version < STATIC {
        response.members.iter_mut().for_each(|member| member.group_instance_id = None);
    }
    response.skip_assignment &= version >= SKIP_ASSIGNMENT;
    response
}
