//! DescribeTransactions (v0): what is known of transactional ids (KIP-664).

use std::sync::Arc;

use kafka_protocol::messages::describe_transactions_response::{TopicData, TransactionState};
use kafka_protocol::messages::{
    ApiKey, DescribeTransactionsRequest, DescribeTransactionsResponse, TopicName, TransactionalId,
};

use super::reply::{coordinated, text};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::coordinator::Outcome;
use crate::txn::transaction::Transaction;
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::DescribeTransactions;

/// One turn for each id.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: DescribeTransactionsRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let outcomes = body.transactional_ids.iter().map(|id| describe(broker, id)).collect();
    coordinated(API, &header, Outcome::all(outcomes), move |results| {
        let results = results.unwrap_or_default().into_iter().map(Result::flatten);
        let states = body.transactional_ids.into_iter().zip(results).map(|(id, result)| state(id, result));
        DescribeTransactionsResponse::default().with_transaction_states(states.collect())
    })
}

fn describe(broker: &Broker, id: &str) -> Outcome<Result<Transaction, ErrorCode>> {
    if id.is_empty() {
        return Outcome::Now(Ok(Err(ErrorCode::INVALID_REQUEST)));
    }
    let wanted = id.to_owned();
    broker
        .transactions
        .run(id, move |shard, _| shard.get(&wanted).cloned().ok_or(ErrorCode::TRANSACTIONAL_ID_NOT_FOUND))
}

fn state(id: TransactionalId, result: Result<Transaction, ErrorCode>) -> TransactionState {
    let state = TransactionState::default().with_transactional_id(id);
    let transaction = match result {
        Ok(transaction) => transaction,
        Err(code) => return state.with_error_code(code.0),
    };
    let mut topics: Vec<TopicData> = Vec::new();
    for partition in &transaction.partitions {
        let index = partition.partition.0;
        match topics.last_mut() {
            Some(last) if last.topic.as_str() == &*partition.topic => last.partitions.push(index),
            _ => topics
                .push(TopicData::default().with_topic(TopicName(text(&partition.topic))).with_partitions(vec![index])),
        }
    }
    state
        .with_transaction_state(text(transaction.state.name()))
        .with_transaction_timeout_ms(transaction.timeout_ms)
        .with_transaction_start_time_ms(transaction.start.0)
        .with_producer_id(transaction.producer.0.into())
        .with_producer_epoch(transaction.epoch.0)
        .with_topics(topics)
}
