//! TxnOffsetCommit (v0-v5): how far a group has come, once the producer's transaction is committed. v2 leader epochs
//! (KIP-320); v3 members and generations (KIP-447); v4 TRANSACTION_ABORTABLE and v5 no AddOffsetsToTxn before it
//! (KIP-890).

use std::sync::Arc;

use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::txn_offset_commit_response::{
    TxnOffsetCommitResponsePartition, TxnOffsetCommitResponseTopic,
};
use kafka_protocol::messages::{ApiKey, TopicName, TxnOffsetCommitRequest, TxnOffsetCommitResponse};

use super::offset_commit::{Found, answer, commit};
use super::reply::{append_error, coordinated, now};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::coordinator::Outcome;
use crate::coordinator::markers::NotWritten;
use crate::group::offsets::TxnCommit;
use crate::log::{AppendError, VerificationGuard};
use crate::types::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId};
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;
use crate::wire::offset_commit::{CommitPartition, CommitTopic, OffsetCommitRequest, OffsetCommitResponse, crate_name};
use crate::wire::produce::TopicRef;

const API: ApiKey = ApiKey::TxnOffsetCommit;

/// The first version whose sender knows that a coordinator may still load.
const KNOWS_LOADING: i16 = 2;
/// The first version whose sender knows of errors after which it can abort.
const KNOWS_ABORTABLE: i16 = 4;
/// The first version that adds the group's partition by writing to it.
const ADDS_PARTITION: i16 = 5;

/// One turn of the group; answers once the offsets are durable.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let version = header.api_version;
    let body: TxnOffsetCommitRequest = decode_request(API, version, request.body.freeze())?;
    let offsets = offsets(&body);
    let topics = Found::all(&broker.metadata.image(), &offsets);
    let txn = TxnCommit {
        commit: commit(&offsets, &topics),
        producer_id: ProducerId(body.producer_id.0),
        producer_epoch: ProducerEpoch(body.producer_epoch),
    };
    if txn.commit.partitions.is_empty() {
        return now(API, &header, &response(answer(&offsets, &topics, &Ok(Vec::new()))));
    }
    if offsets.group.is_empty() {
        return now(API, &header, &response(answer(&offsets, &topics, &Err(ErrorCode::INVALID_GROUP_ID))));
    }
    coordinated(API, &header, txn_commit(broker, version, &body.transactional_id, txn), move |result| {
        response(answer(&offsets, &topics, &result.flatten().map_err(|code| told(version, code))))
    })
}

/// A code for each partition, or one for all.
type Codes = Result<Vec<ErrorCode>, ErrorCode>;

/// The transaction's coordinator first, unless the transaction is open in the group's log; then the group.
fn txn_commit(broker: &Arc<Broker>, version: i16, id: &str, txn: TxnCommit) -> Outcome<Codes> {
    let adds = version >= ADDS_PARTITION;
    if !broker.transactions.has_to_be_asked(adds) {
        return write(broker, txn, VerificationGuard::WAIVED);
    }
    let guard = match broker.groups.begin_verification(&txn, adds) {
        Ok(guard) => guard,
        Err(error) => return Outcome::Now(Ok(Err(not_written(&error)))),
    };
    let Some(guard) = guard else { return write(broker, txn, VerificationGuard::NONE) };
    let partition = broker.groups.partition(&txn.commit.group).into_iter().collect();
    let producer = (txn.producer_id, txn.producer_epoch);
    match broker.transactions.take_part(id, producer, partition, adds) {
        Outcome::Now(answer) => match refusal(answer.flatten()) {
            Some(code) => Outcome::Now(Ok(Err(code))),
            None => write(broker, txn, guard),
        },
        Outcome::Later(answer) => {
            let broker = Arc::clone(broker);
            Outcome::Later(Box::pin(async move {
                match refusal(answer.await.flatten()) {
                    Some(code) => Ok(Err(code)),
                    None => write(&broker, txn, guard).wait().await,
                }
            }))
        }
    }
}

fn refusal(answer: Codes) -> Option<ErrorCode> {
    match answer {
        Ok(codes) => codes.into_iter().find(|code| *code != ErrorCode::NONE),
        Err(code) => Some(code),
    }
}

fn write(broker: &Broker, txn: TxnCommit, guard: VerificationGuard) -> Outcome<Codes> {
    broker.groups.txn_commit(txn, guard).map(|written| written.unwrap_or_else(|error| Err(not_written(&error))))
}

fn not_written(error: &NotWritten) -> ErrorCode {
    match error {
        NotWritten::Gone | NotWritten::Log(AppendError::Storage(_) | AppendError::Deleted) => {
            ErrorCode::COORDINATOR_NOT_AVAILABLE
        }
        NotWritten::Log(error) => append_error(error),
        NotWritten::Groups(code) => *code,
    }
}

/// A refusal of the whole commit, as the version of the request knows it.
const fn told(version: i16, code: ErrorCode) -> ErrorCode {
    match code {
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS if version < KNOWS_LOADING => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        ErrorCode::TRANSACTION_ABORTABLE if version < KNOWS_ABORTABLE => ErrorCode::INVALID_TXN_STATE,
        // In every version; what a transaction's coordinator says to a producer itself is another matter.
        ErrorCode::PRODUCER_FENCED => ErrorCode::INVALID_PRODUCER_EPOCH,
        code => code,
    }
}

/// The commit as OffsetCommit would ask for it.
fn offsets(body: &TxnOffsetCommitRequest) -> OffsetCommitRequest {
    let partition = |asked: &TxnOffsetCommitRequestPartition| CommitPartition {
        index: PartitionIndex(asked.partition_index),
        offset: Offset(asked.committed_offset),
        leader_epoch: LeaderEpoch(asked.committed_leader_epoch),
        metadata: asked.committed_metadata.as_deref().unwrap_or_default().into(),
    };
    let topic = |asked: &TxnOffsetCommitRequestTopic| CommitTopic {
        topic: TopicRef::Name(asked.name.as_str().into()),
        partitions: asked.partitions.iter().map(partition).collect(),
    };
    OffsetCommitRequest {
        group: body.group_id.as_str().into(),
        generation: body.generation_id,
        member_id: body.member_id.to_string(),
        instance_id: body.group_instance_id.as_ref().map(ToString::to_string),
        retention_ms: None,
        topics: body.topics.iter().map(topic).collect(),
    }
}

fn response(answer: OffsetCommitResponse) -> TxnOffsetCommitResponse {
    let partition = |(index, code): (PartitionIndex, ErrorCode)| {
        TxnOffsetCommitResponsePartition::default().with_partition_index(index.0).with_error_code(code.0)
    };
    let topics = answer.topics.into_iter().map(|topic| {
        TxnOffsetCommitResponseTopic::default()
            .with_name(TopicName(crate_name(&topic.topic).0))
            .with_partitions(topic.partitions.into_iter().map(partition).collect())
    });
    TxnOffsetCommitResponse::default().with_throttle_time_ms(answer.throttle_time_ms).with_topics(topics.collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kafka_protocol::messages::{AddOffsetsToTxnRequest, GroupId, InitProducerIdRequest, TransactionalId};

    use super::*;
    use crate::api::reply::text;
    use crate::api::test_support::TestBroker;

    fn request(group: &str, topics: &[(&str, &[i32])]) -> TxnOffsetCommitRequest {
        let partition = |index: &i32| {
            TxnOffsetCommitRequestPartition::default().with_partition_index(*index).with_committed_offset(5)
        };
        let topic = |(name, partitions): &(&str, &[i32])| {
            TxnOffsetCommitRequestTopic::default()
                .with_name(TopicName(text(name)))
                .with_partitions(partitions.iter().map(partition).collect())
        };
        TxnOffsetCommitRequest::default()
            .with_transactional_id(TransactionalId(text("id")))
            .with_group_id(GroupId(text(group)))
            .with_topics(topics.iter().map(topic).collect())
    }

    /// A transaction begins that commits offsets of a group.
    async fn begin(broker: &TestBroker, group: &str) -> kafka_protocol::messages::ProducerId {
        let id = TransactionalId(text("id"));
        let init = InitProducerIdRequest::default().with_transactional_id(Some(id.clone()));
        let producer = broker.call(2, &init.with_transaction_timeout_ms(1000)).await.producer_id;
        let add = AddOffsetsToTxnRequest::default().with_transactional_id(id).with_producer_id(producer);
        assert_eq!(broker.call(3, &add.with_group_id(GroupId(text(group)))).await.error_code, 0);
        producer
    }

    async fn call(broker: &TestBroker, version: i16, request: &TxnOffsetCommitRequest) -> Vec<(String, Vec<i16>)> {
        let answer = broker.call(version, request).await;
        let codes = |topic: TxnOffsetCommitResponseTopic| {
            let codes = topic.partitions.iter().map(|partition| partition.error_code).collect();
            (topic.name.to_string(), codes)
        };
        answer.topics.into_iter().map(codes).collect()
    }

    #[tokio::test]
    async fn only_partitions_that_are_there_are_committed() {
        let broker = TestBroker::new();
        broker.create("t", 2).await;
        let missing = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
        let asked = request("g", &[("gone", &[0]), ("t", &[1, 2]), ("u", &[])]);
        let asked = asked.with_producer_id(begin(&broker, "g").await);
        let expected = |code| vec![("gone".to_owned(), vec![missing]), ("t".to_owned(), vec![code, missing])];
        for version in 0..=5 {
            assert_eq!(call(&broker, version, &asked).await, expected(0), "v{version}");
        }
        let mut nameless = asked.clone();
        nameless.group_id = GroupId(text(""));
        assert_eq!(call(&broker, 5, &nameless).await, expected(ErrorCode::INVALID_GROUP_ID.0));
        let nothing = request("", &[("gone", &[0])]);
        assert_eq!(call(&broker, 5, &nothing).await, [("gone".to_owned(), vec![missing])], "no group is asked");
    }

    #[test]
    fn everything_of_a_request_is_committed() {
        let mut body = request("g", &[("t", &[3])]).with_generation_id(4).with_member_id(text("m"));
        body.group_instance_id = Some(text("i"));
        body.topics[0].partitions[0].committed_leader_epoch = 6;
        body.topics[0].partitions[0].committed_metadata = Some(text("x"));
        let partition = CommitPartition {
            index: PartitionIndex(3),
            offset: Offset(5),
            leader_epoch: LeaderEpoch(6),
            metadata: "x".into(),
        };
        let expected = OffsetCommitRequest {
            group: "g".into(),
            generation: 4,
            member_id: "m".to_owned(),
            instance_id: Some("i".to_owned()),
            retention_ms: None,
            topics: vec![CommitTopic { topic: TopicRef::Name("t".into()), partitions: vec![partition] }],
        };
        assert_eq!(offsets(&body), expected);
        // Versions that do not know of members leave them out.
        let old = offsets(&request("g", &[]));
        assert_eq!((old.generation, old.member_id.as_str(), old.instance_id), (-1, "", None));
    }

    #[test]
    fn old_versions_are_told_what_they_know() {
        let cases = [
            (ErrorCode::COORDINATOR_LOAD_IN_PROGRESS, 2, ErrorCode::COORDINATOR_NOT_AVAILABLE),
            (ErrorCode::TRANSACTION_ABORTABLE, 4, ErrorCode::INVALID_TXN_STATE),
            (ErrorCode::PRODUCER_FENCED, i16::MAX, ErrorCode::INVALID_PRODUCER_EPOCH),
            (ErrorCode::CONCURRENT_TRANSACTIONS, 0, ErrorCode::NONE),
            (ErrorCode::FENCED_INSTANCE_ID, 0, ErrorCode::NONE),
        ];
        for (code, known_from, instead) in cases {
            for version in 0..=5 {
                let expected = if version < known_from { instead } else { code };
                assert_eq!(told(version, code), expected, "{} in v{version}", code.name());
            }
        }
    }
}
