//! Heartbeat (v0-v4): a member of a classic group is alive, and learns of rebalances. v3 static members (KIP-345).

use std::sync::Arc;

use kafka_protocol::messages::{ApiKey, HeartbeatRequest, HeartbeatResponse};

use super::reply::coordinated;
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::Heartbeat;

/// One turn of the group.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: HeartbeatRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let group = body.group_id.to_string();
    let outcome = broker.groups.run(&group, move |shard, turn| shard.heartbeat(turn, &body));
    coordinated(API, &header, outcome, |result| {
        let code = match result {
            // Members are not sent away while their group is read; Kafka does not either.
            Err(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS) => ErrorCode::NONE,
            Ok(code) | Err(code) => code,
        };
        HeartbeatResponse::default().with_error_code(code.0)
    })
}
