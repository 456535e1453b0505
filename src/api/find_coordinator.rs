//! FindCoordinator (v0-v6): who coordinates a group or a transactional id. On one node that is this one.
//!
//! v1 key types, v4 several keys (KIP-699), v6 share groups (KIP-932).
//!
//! There are no transactions yet: TRANSACTIONAL_ID_AUTHORIZATION_FAILED is what makes every client give up at once
//! instead of asking until its time is up; the message, which librdkafka shows, says what it is about.

use std::sync::Arc;

use kafka_protocol::messages::find_coordinator_response::Coordinator;
use kafka_protocol::messages::{ApiKey, BrokerId, FindCoordinatorRequest, FindCoordinatorResponse};
use kafka_protocol::protocol::StrBytes;

use super::reply::{address, now, sentence};
use super::{Peer, Refused, Reply, Request};
use crate::broker::Broker;
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::FindCoordinator;
const GROUP: i8 = 0;
const TRANSACTION: i8 = 1;
const SHARE: i8 = 2;
/// The first version with several keys.
const BATCHED: i16 = 4;

/// What a client is told that asks for transactions.
pub const NO_TRANSACTIONS: &str = "This version of Ottla has no transactions: use a producer without transactional.id";

/// Answers at once.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: FindCoordinatorRequest = decode_request(API, header.api_version, request.body.freeze())?;
    if body.key_type == TRANSACTION {
        tracing::warn!("{} asked for transactions: {NO_TRANSACTIONS}", request.peer.remote);
    }
    let response = if header.api_version < BATCHED {
        single(find(broker, &request.peer, body.key_type, StrBytes::new()), header.api_version)
    } else {
        let keys = body.coordinator_keys.into_iter();
        let coordinators = keys.map(|key| find(broker, &request.peer, body.key_type, key)).collect();
        // The fields of the older form hold what Kafka leaves in them.
        FindCoordinatorResponse::default().with_coordinators(coordinators)
    };
    now(API, &header, &response)
}

fn find(broker: &Broker, peer: &Peer, key_type: i8, key: StrBytes) -> Coordinator {
    let answer = Coordinator::default().with_key(key);
    let refused = |code: ErrorCode, message: String| {
        let answer = answer.clone().with_node_id(BrokerId(-1)).with_port(-1).with_error_code(code.0);
        answer.with_error_message(Some(sentence(message)))
    };
    match key_type {
        GROUP => {
            let (host, port) = address(broker, peer);
            let node = BrokerId(broker.config.node_id.0);
            answer.with_node_id(node).with_host(host).with_port(port).with_error_message(Some(StrBytes::new()))
        }
        TRANSACTION => refused(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, NO_TRANSACTIONS.to_owned()),
        SHARE => refused(ErrorCode::INVALID_REQUEST, "This version of Ottla has no share groups".to_owned()),
        other => refused(ErrorCode::INVALID_REQUEST, format!("Unknown coordinator key type {other}")),
    }
}

/// The form before several keys.
fn single(found: Coordinator, version: i16) -> FindCoordinatorResponse {
    let response = FindCoordinatorResponse::default()
        .with_error_code(found.error_code)
        .with_node_id(found.node_id)
        .with_host(found.host)
        .with_port(found.port);
    match version {
        0 => response,
        // Kafka's word for "no error".
        _ if found.error_code == ErrorCode::NONE.0 => response.with_error_message(Some(sentence("NONE".to_owned()))),
        _ => response.with_error_message(found.error_message),
    }
}
