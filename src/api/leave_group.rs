//! LeaveGroup (v0-v5): members of a classic group go, without waiting for their sessions to end.
//!
//! v3 several members, static ones by their instance id (KIP-345); v5 reason (KIP-800).

use std::sync::Arc;

use kafka_protocol::messages::{ApiKey, LeaveGroupRequest};

use super::reply::{client, coordinated};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::group::classic::leave_error;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::LeaveGroup;

/// One turn of the group.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let client = client(&request);
    let header = request.header;
    let body: LeaveGroupRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let group = body.group_id.to_string();
    let outcome = broker.groups.run(&group, move |shard, turn| shard.leave(turn, &client, &body));
    coordinated(API, &header, outcome, |result| result.unwrap_or_else(leave_error))
}
