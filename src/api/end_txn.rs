//! EndTxn (v0-v5): a transaction is committed or aborted (rule 16).
//!
//! v2 has PRODUCER_FENCED; v5 ends the producer's epoch with the transaction and answers the next one (KIP-890).

use std::sync::Arc;

use kafka_protocol::messages::{ApiKey, EndTxnRequest, EndTxnResponse};

use super::reply::{coordinated, producer_error};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::txn::shard::End;
use crate::txn::transaction::TransactionVersion;
use crate::types::{ProducerEpoch, ProducerId};
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::EndTxn;
/// The first version whose clients know PRODUCER_FENCED.
const KNOWS_FENCED: i16 = 2;
/// The first version of KIP-890's protocol.
const BUMPS_EPOCH: i16 = 5;

/// One turn of the transactional id; answers once the decision is durable: markers follow.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let api_version = header.api_version;
    let body: EndTxnRequest = decode_request(API, api_version, request.body.freeze())?;
    let end = End {
        id: body.transactional_id.as_str().into(),
        producer: (ProducerId(body.producer_id.0), ProducerEpoch(body.producer_epoch)),
        commit: body.committed,
        version: if api_version >= BUMPS_EPOCH { TransactionVersion::KIP_890 } else { TransactionVersion::CLASSIC },
    };
    let outcome = broker.transactions.run(&body.transactional_id, move |shard, turn| shard.end(turn, &end));
    coordinated(API, &header, outcome, move |result| match result.flatten() {
        Ok((id, epoch)) if api_version >= BUMPS_EPOCH => {
            EndTxnResponse::default().with_producer_id(id.0.into()).with_producer_epoch(epoch.0)
        }
        Ok(_) => EndTxnResponse::default(),
        Err(code) => EndTxnResponse::default().with_error_code(producer_error(code, api_version >= KNOWS_FENCED).0),
    })
}
