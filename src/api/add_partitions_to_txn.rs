//! AddPartitionsToTxn (v0-v5): partitions that a transaction is going to write to.
//!
//! v2 has PRODUCER_FENCED. v4 and v5 (KIP-890) are what Kafka's brokers say to each other: several transactions, and
//! whether partitions are in them instead of adding them; v5 may answer TRANSACTION_ABORTABLE.

use std::sync::Arc;

use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::add_partitions_to_txn_response::{
    AddPartitionsToTxnPartitionResult, AddPartitionsToTxnResult, AddPartitionsToTxnTopicResult,
};
use kafka_protocol::messages::{AddPartitionsToTxnRequest, AddPartitionsToTxnResponse, ApiKey, TransactionalId};

use super::reply::{coordinated, producer_error};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::coordinator::Outcome;
use crate::metadata::topic_name::is_internal;
use crate::txn::shard::Producer;
use crate::txn::transaction::TransactionVersion;
use crate::types::{PartitionIndex, ProducerEpoch, ProducerId, TopicPartition};
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::AddPartitionsToTxn;
/// The first version whose clients know PRODUCER_FENCED.
const KNOWS_FENCED: i16 = 2;
/// The first version with several transactions.
const BATCHED: i16 = 4;

/// One transaction of a request.
struct Asked {
    id: TransactionalId,
    producer: Producer,
    verify_only: bool,
    topics: Vec<AddPartitionsToTxnTopic>,
}

/// A code for each partition, in the order of the request.
type Codes = Vec<ErrorCode>;

/// One turn for each transaction; answers once everything is durable.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let version = header.api_version;
    let body: AddPartitionsToTxnRequest = decode_request(API, version, request.body.freeze())?;
    let asked = asked(body, version);
    let outcomes = asked.iter().map(|asked| outcome(broker, version, asked)).collect();
    coordinated(API, &header, Outcome::all(outcomes), move |results| {
        let results = results.unwrap_or_default().into_iter().map(Result::flatten);
        let answers = asked.iter().zip(results).map(|(asked, result)| {
            let codes = result.unwrap_or_else(|code| vec![code; partitions(asked).count()]);
            let mut codes = codes.into_iter().map(|code| producer_error(code, version >= KNOWS_FENCED));
            topics(asked, &mut codes)
        });
        answer(version, &asked, answers.collect())
    })
}

fn asked(body: AddPartitionsToTxnRequest, version: i16) -> Vec<Asked> {
    if version < BATCHED {
        return vec![Asked {
            id: body.v3_and_below_transactional_id,
            producer: (ProducerId(body.v3_and_below_producer_id.0), ProducerEpoch(body.v3_and_below_producer_epoch)),
            verify_only: false,
            topics: body.v3_and_below_topics,
        }];
    }
    let transactions = body.transactions.into_iter();
    let asked = transactions.map(|transaction| Asked {
        id: transaction.transactional_id,
        producer: (ProducerId(transaction.producer_id.0), ProducerEpoch(transaction.producer_epoch)),
        verify_only: transaction.verify_only,
        topics: transaction.topics,
    });
    asked.collect()
}

fn partitions(asked: &Asked) -> impl Iterator<Item = (&str, PartitionIndex)> {
    let topics = asked.topics.iter();
    topics.flat_map(|topic| topic.partitions.iter().map(|index| (topic.name.as_str(), PartitionIndex(*index))))
}

fn outcome(broker: &Broker, version: i16, asked: &Asked) -> Outcome<Result<Codes, ErrorCode>> {
    if let Some(codes) = missing(broker, version, asked) {
        return Outcome::Now(Ok(Ok(codes)));
    }
    let id: crate::txn::TransactionalId = asked.id.as_str().into();
    let producer = asked.producer;
    let wanted: Vec<_> = partitions(asked).map(|(topic, index)| TopicPartition::new(topic, index)).collect();
    if asked.verify_only {
        return broker.transactions.run(&asked.id, move |shard, _| shard.verify(&id, producer, &wanted));
    }
    let client = if version < BATCHED { TransactionVersion::CLASSIC } else { TransactionVersion::KIP_890 };
    broker.transactions.run_after(&asked.id, move |shard, turn| {
        shard.add_partitions(turn, &id, producer, &wanted, client)?;
        Ok(vec![ErrorCode::NONE; wanted.len()])
    })
}

/// A code for each partition where one cannot be added: then none is.
fn missing(broker: &Broker, version: i16, asked: &Asked) -> Option<Codes> {
    let image = broker.metadata.image();
    let code = |(topic, index): (&str, PartitionIndex)| {
        // What the broker keeps in its own topics is not a client's to write; brokers add groups' partitions.
        if version < BATCHED && is_internal(topic) {
            return ErrorCode::TOPIC_AUTHORIZATION_FAILED;
        }
        match image.topic(topic) {
            Some(known) if known.partitions.contains_key(&index) => ErrorCode::OPERATION_NOT_ATTEMPTED,
            _ => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        }
    };
    let codes: Codes = partitions(asked).map(code).collect();
    codes.iter().any(|code| *code != ErrorCode::OPERATION_NOT_ATTEMPTED).then_some(codes)
}

fn topics(asked: &Asked, codes: &mut impl Iterator<Item = ErrorCode>) -> Vec<AddPartitionsToTxnTopicResult> {
    let topics = asked.topics.iter().map(|topic| {
        let results = topic.partitions.iter().map(|index| {
            let code = codes.next().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR);
            let result = AddPartitionsToTxnPartitionResult::default().with_partition_index(*index);
            result.with_partition_error_code(code.0)
        });
        let result = AddPartitionsToTxnTopicResult::default().with_name(topic.name.clone());
        result.with_results_by_partition(results.collect())
    });
    topics.collect()
}

fn answer(
    version: i16,
    asked: &[Asked],
    mut results: Vec<Vec<AddPartitionsToTxnTopicResult>>,
) -> AddPartitionsToTxnResponse {
    let response = AddPartitionsToTxnResponse::default();
    if version < BATCHED {
        return response.with_results_by_topic_v3_and_below(results.pop().unwrap_or_default());
    }
    let results = asked.iter().zip(results).map(|(asked, topics)| {
        let result = AddPartitionsToTxnResult::default().with_transactional_id(asked.id.clone());
        result.with_topic_results(topics)
    });
    response.with_results_by_transaction(results.collect())
}
