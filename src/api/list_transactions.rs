//! ListTransactions (v0-v2): the transactional ids, filtered (KIP-664).
//!
//! v1 how long a transaction is open (KIP-994); v2 a pattern for the ids (KIP-1152).

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::list_transactions_response::TransactionState;
use kafka_protocol::messages::{ApiKey, ListTransactionsRequest, ListTransactionsResponse, TransactionalId};

use super::reply::{coordinated, now, text};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::coordinator::Outcome;
use crate::group::regex;
use crate::txn::shard::Filter;
use crate::txn::transaction::State;
use crate::types::ProducerId;
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::ListTransactions;

/// One turn of every shard.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: ListTransactionsRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let pattern = body.transactional_id_pattern.filter(|pattern| !pattern.is_empty());
    if pattern.as_deref().is_some_and(|pattern| regex::check(pattern).is_err()) {
        let code = ErrorCode::INVALID_REGULAR_EXPRESSION;
        return now(API, &header, &ListTransactionsResponse::default().with_error_code(code.0));
    }
    let states = body.state_filters.into_iter();
    let (known, unknown): (BTreeSet<_>, BTreeSet<_>) = states.partition(|name| State::is_known(name));
    let is_filtered = !(known.is_empty() && unknown.is_empty());
    let filter = Filter {
        producers: body.producer_id_filters.iter().map(|id| ProducerId(id.0)).collect(),
        states: is_filtered.then(|| known.iter().map(ToString::to_string).collect()),
        longer_than_ms: if header.api_version >= 1 { body.duration_filter } else { -1 },
    };
    let outcomes = broker.transactions.run_all(move |shard, turn| shard.list(turn, &filter));
    coordinated(API, &header, Outcome::all(outcomes), move |results| {
        let (mut listed, mut code) = (Vec::new(), ErrorCode::NONE);
        for result in results.unwrap_or_default() {
            match result {
                Ok(transactions) => listed.extend(transactions),
                Err(refused) => code = refused,
            }
        }
        if let Some(pattern) = &pattern {
            let matching = regex::resolve(pattern, listed.iter().map(|(id, ..)| &**id)).unwrap_or_default();
            listed.retain(|(id, ..)| matching.binary_search_by(|name| name.as_str().cmp(id)).is_ok());
        }
        let states = listed.iter().map(|(id, producer, state)| {
            let listed = TransactionState::default().with_transactional_id(TransactionalId(text(id)));
            listed.with_producer_id(producer.0.into()).with_transaction_state(text(state.name()))
        });
        ListTransactionsResponse::default()
            .with_error_code(code.0)
            .with_unknown_state_filters(unknown.into_iter().collect())
            .with_transaction_states(states.collect())
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::api::test_support::TestBroker;

    #[tokio::test]
    async fn a_state_that_is_not_known_is_told_once() {
        let broker = TestBroker::new();
        let states = ["Bogus", "Ongoing", "x", "Bogus", "Dead"].map(text);
        let request = ListTransactionsRequest::default().with_state_filters(states.to_vec());
        for version in 0..=2 {
            let answer = broker.call(version, &request).await;
            assert_eq!(answer.unknown_state_filters, ["Bogus", "x"].map(text));
        }
    }
}
