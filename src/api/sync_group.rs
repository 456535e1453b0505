//! SyncGroup (v0-v5): the leader of a classic group hands the assignment in, the others fetch theirs.
//!
//! v3 static members (KIP-345); v5 protocol type and name.

use std::sync::Arc;

use kafka_protocol::messages::{ApiKey, SyncGroupRequest, SyncGroupResponse};

use super::reply::{client, coordinated_waiting};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::group::turn::Released;
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::SyncGroup;
/// The first version with the protocol's type and name.
const PROTOCOL: i16 = 5;

/// Answers when the assignment is there and durable.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let client = client(&request);
    let header = request.header;
    let version = header.api_version;
    let body: SyncGroupRequest = decode_request(API, version, request.body.freeze())?;
    let group = body.group_id.to_string();
    let outcome =
        broker.groups.run_waiting(&group, move |shard, turn| shard.sync(turn, &client, &body).map(Released::Sync));
    coordinated_waiting(API, &header, outcome, move |result| {
        let mut response = match result {
            Ok(Released::Sync(response)) => response,
            Ok(Released::Join(_)) => refused(ErrorCode::UNKNOWN_SERVER_ERROR),
            Err(code) => refused(code),
        };
        if version < PROTOCOL {
            (response.protocol_type, response.protocol_name) = (None, None);
        }
        response
    })
}

fn refused(code: ErrorCode) -> SyncGroupResponse {
    SyncGroupResponse::default().with_error_code(code.0)
}
