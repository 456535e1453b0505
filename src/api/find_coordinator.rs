//! FindCoordinator (v0-v6): who coordinates a group or a transactional id. On one node that is this one.
//!
//! v1 key types, v4 several keys (KIP-699), v6 share groups (KIP-932).

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

/// Answers at once.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: FindCoordinatorRequest = decode_request(API, header.api_version, request.body.freeze())?;
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
        GROUP | TRANSACTION => {
            let (host, port) = address(broker, peer);
            let node = BrokerId(broker.config.node_id.0);
            answer.with_node_id(node).with_host(host).with_port(port).with_error_message(Some(StrBytes::new()))
        }
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
