//! AddOffsetsToTxn (v0-v4): offsets of a group will be committed within a transaction.
//!
//! v2 has PRODUCER_FENCED; v4 may answer TRANSACTION_ABORTABLE (KIP-890). Clients of KIP-890's protocol do without it.

use std::sync::Arc;

use kafka_protocol::messages::{AddOffsetsToTxnRequest, AddOffsetsToTxnResponse, ApiKey};

use super::reply::{coordinated, producer_error};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::txn::TransactionalId;
use crate::txn::transaction::TransactionVersion;
use crate::types::{ProducerEpoch, ProducerId};
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::AddOffsetsToTxn;
/// The first version whose clients know PRODUCER_FENCED.
const KNOWS_FENCED: i16 = 2;

/// Adds the partition of the group; answers once that is durable.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let version = header.api_version;
    let body: AddOffsetsToTxnRequest = decode_request(API, version, request.body.freeze())?;
    let id: TransactionalId = body.transactional_id.as_str().into();
    let producer = (ProducerId(body.producer_id.0), ProducerEpoch(body.producer_epoch));
    let partitions: Vec<_> = broker.groups.partition(&body.group_id).into_iter().collect();
    let outcome = broker.transactions.run_after(&body.transactional_id, move |shard, turn| {
        shard.add_partitions(turn, &id, producer, &partitions, TransactionVersion::CLASSIC)
    });
    coordinated(API, &header, outcome, move |result| {
        let code = result.flatten().err().unwrap_or(ErrorCode::NONE);
        AddOffsetsToTxnResponse::default().with_error_code(producer_error(code, version >= KNOWS_FENCED).0)
    })
}
