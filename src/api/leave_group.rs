//! LeaveGroup (v0-v5): members of a classic group go, without waiting for their sessions to end.
//!
//! v3 several members, static ones by their instance id (KIP-345); v5 reason (KIP-800).

use std::sync::Arc;

use kafka_protocol::messages::{ApiKey, LeaveGroupRequest, LeaveGroupResponse};

use super::reply::{client, coordinated};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::LeaveGroup;
/// The first version that answers for each member.
const BATCHED: i16 = 3;

/// One turn of the group.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let client = client(&request);
    let header = request.header;
    let version = header.api_version;
    let body: LeaveGroupRequest = decode_request(API, version, request.body.freeze())?;
    let group = body.group_id.to_string();
    let outcome = broker.groups.run(&group, move |shard, turn| shard.leave(turn, &client, &body));
    coordinated(API, &header, outcome, move |result| {
        let mut response = result.unwrap_or_else(|code| LeaveGroupResponse::default().with_error_code(code.0));
        if version < BATCHED {
            // The one member's code is the answer's.
            let only = response.members.pop().map_or(0, |member| member.error_code);
            response.members.clear();
            if response.error_code == 0 {
                response.error_code = only;
            }
        }
        response
    })
}
