//! ConsumerGroupHeartbeat (v0-v1): everything that a member of a consumer group says, and is told (KIP-848).
//!
//! v1 regular expressions (KIP-1108), and the member makes its own id.

use std::sync::Arc;

use kafka_protocol::messages::{ApiKey, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};

use super::reply::{client, coordinated, sentence};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::coordinator::Outcome;
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::ConsumerGroupHeartbeat;

/// One turn of the group.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let client = client(&request);
    let header = request.header;
    let body: ConsumerGroupHeartbeatRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let group = body.group_id.to_string();
    let outcome = if broker.has_consumer_protocol() {
        broker.groups.run(&group, move |shard, turn| shard.consumer_heartbeat(turn, &client, &body))
    } else {
        Outcome::Now(Err(ErrorCode::UNSUPPORTED_VERSION))
    };
    coordinated(API, &header, outcome, |result| match result {
        Ok(Ok(response)) => response,
        Ok(Err(refusal)) => ConsumerGroupHeartbeatResponse::default()
            .with_error_code(refusal.code.0)
            .with_error_message(refusal.message.map(sentence)),
        Err(code) => ConsumerGroupHeartbeatResponse::default().with_error_code(code.0),
    })
}
