//! InitProducerId (v0-v5): an identity for an idempotent producer, new each time, or for the one that holds a
//! transactional id from now on (rule 17).
//!
//! v3 takes the identity that the producer had (KIP-360): without a transactional id it gets a new one all the same; v4 has
//! PRODUCER_FENCED; v5 may answer TRANSACTION_ABORTABLE (KIP-890).

use std::sync::Arc;

use kafka_protocol::messages::{ApiKey, InitProducerIdRequest, InitProducerIdResponse};

use super::reply::{coordinated, later, not_written, now, producer_error};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::txn::shard::{Init, Producer};
use crate::types::{ProducerEpoch, ProducerId};
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::InitProducerId;
/// The first version whose clients know PRODUCER_FENCED.
const KNOWS_FENCED: i16 = 4;

/// Takes an id, or one turn of the transactional id; answers once that is durable.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: InitProducerIdRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let expected = match (body.producer_id.0, body.producer_epoch) {
        (-1, -1) => None,
        (-1, _) | (_, -1) => return now(API, &header, &answer(Err(ErrorCode::INVALID_REQUEST))),
        (id, epoch) => Some((ProducerId(id), ProducerEpoch(epoch))),
    };
    let Some(id) = body.transactional_id else { return idempotent(broker, &header) };
    let init = Init { id: id.as_str().into(), timeout_ms: body.transaction_timeout_ms, expected };
    let version = header.api_version;
    let outcome = broker.transactions.run_after(&id, move |shard, turn| shard.init(turn, &init));
    coordinated(API, &header, outcome, move |result| {
        answer(result.flatten().map_err(|code| producer_error(code, version >= KNOWS_FENCED)))
    })
}

/// Without a transactional id every request gets a producer id of its own.
fn idempotent(broker: &Broker, header: &crate::wire::header::RequestHeader) -> Result<Reply, Refused> {
    match broker.metadata.next_producer_id() {
        Ok((id, durable)) => Ok(later(API, header, durable, move |flushed| match flushed {
            Ok(()) => answer(Ok((id, ProducerEpoch(0)))),
            Err(error) => answer(Err(not_written(&error).0)),
        })),
        Err(error) => now(API, header, &answer(Err(not_written(&error).0))),
    }
}

fn answer(result: Result<Producer, ErrorCode>) -> InitProducerIdResponse {
    let code = result.err().unwrap_or(ErrorCode::NONE);
    let (id, epoch) = result.unwrap_or((ProducerId::NONE, ProducerEpoch::NONE));
    InitProducerIdResponse::default().with_error_code(code.0).with_producer_id(id.0.into()).with_producer_epoch(epoch.0)
}
