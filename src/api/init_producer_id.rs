//! InitProducerId (v0-v5): an id for an idempotent producer, new each time.
//!
//! v3 takes the id and epoch that the producer had; without a transactional id Kafka gives it a new one all the same.

use std::sync::Arc;

use kafka_protocol::messages::{ApiKey, InitProducerIdRequest, InitProducerIdResponse, ProducerId};

use super::find_coordinator::NO_TRANSACTIONS;
use super::reply::{later, not_written, now};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::InitProducerId;

/// Takes an id; answers once the block that it is from is durable.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: InitProducerIdRequest = decode_request(API, header.api_version, request.body.freeze())?;
    if let Some(code) = refusal(&body) {
        if code == ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED {
            tracing::warn!("{} asked for transactions: {NO_TRANSACTIONS}", request.peer.remote);
        }
        return now(API, &header, &refused(code));
    }
    match broker.metadata.next_producer_id() {
        Ok((id, durable)) => Ok(later(API, &header, durable, move |flushed| match flushed {
            Ok(()) => InitProducerIdResponse::default().with_producer_id(ProducerId(id.0)).with_producer_epoch(0),
            Err(error) => refused(not_written(&error).0),
        })),
        Err(error) => now(API, &header, &refused(not_written(&error).0)),
    }
}

fn refusal(body: &InitProducerIdRequest) -> Option<ErrorCode> {
    let known = (body.producer_id.0 >= 0, body.producer_epoch >= 0);
    match &body.transactional_id {
        Some(id) if id.is_empty() => Some(ErrorCode::INVALID_REQUEST),
        _ if known.0 != known.1 => Some(ErrorCode::INVALID_REQUEST),
        Some(_) => Some(ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED),
        None => None,
    }
}

fn refused(code: ErrorCode) -> InitProducerIdResponse {
    InitProducerIdResponse::default().with_error_code(code.0).with_producer_id(ProducerId(-1)).with_producer_epoch(-1)
}
