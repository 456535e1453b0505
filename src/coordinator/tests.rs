#![allow(clippy::unwrap_used, clippy::panic)]

use std::task::Poll;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{
    DescribeGroupsRequest, GroupId, JoinGroupRequest, OffsetCommitRequest, OffsetFetchRequest, TopicName,
};

use super::shards::partition_of;
use super::*;
use crate::api::Reply;
use crate::api::test_support::{TestBroker, decode, poll, text};
use crate::clock;
use crate::group::offsets::CommitPartition;
use crate::metadata::topic_name::CONSUMER_OFFSETS;
use crate::storage::Durability;
use crate::storage::faulty_disk::FaultyDisk;
use crate::storage::partition_log::Origin;
use crate::types::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TimestampMs, TopicId};
use crate::wire::batch::Compression;
use crate::wire::records::BatchBuilder;

fn commit(offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default()
        .with_partition_index(0)
        .with_committed_offset(offset)
        .with_committed_metadata(Some(text("m")));
    let topic = OffsetCommitRequestTopic::default().with_name(TopicName(text("t"))).with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}

fn fetch() -> OffsetFetchRequest {
    let topic = OffsetFetchRequestTopics::default().with_name(TopicName(text("t"))).with_partition_indexes(vec![0]);
    let group = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(text("g")))
        .with_member_epoch(-1)
        .with_topics(Some(vec![topic]));
    OffsetFetchRequest::default().with_groups(vec![group])
}

async fn commits(broker: &TestBroker, offset: i64) -> i16 {
    broker.call(9, &commit(offset)).await.topics[0].partitions[0].error_code
}

async fn committed(broker: &TestBroker) -> i64 {
    let response = broker.call(9, &fetch()).await;
    assert_eq!(response.groups[0].error_code, 0);
    response.groups[0].topics[0].partitions[0].committed_offset
}

fn join(member: &str) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default().with_name(text("range")).with_metadata(Bytes::from_static(b"m"));
    JoinGroupRequest::default()
        .with_group_id(GroupId(text("g")))
        .with_session_timeout_ms(6000)
        .with_rebalance_timeout_ms(60_000)
        .with_member_id(text(member))
        .with_protocol_type(text("consumer"))
        .with_protocols(vec![protocol])
}

/// Joins as a member of its own; the version does not ask for an id first.
async fn joined(broker: &TestBroker) -> String {
    let response = broker.call(3, &join("")).await;
    assert_eq!(response.error_code, 0);
    response.member_id.to_string()
}

async fn state(broker: &TestBroker) -> String {
    let request = DescribeGroupsRequest::default().with_groups(vec![GroupId(text("g"))]);
    broker.call(5, &request).await.groups[0].group_state.to_string()
}

#[tokio::test]
async fn offsets_are_found_again_after_a_restart() {
    let broker = TestBroker::new();
    broker.create("t", 1).await;
    assert_eq!(committed(&broker).await, -1);
    assert_eq!(commits(&broker, 5).await, 0);
    assert_eq!(commits(&broker, 7).await, 0);
    assert_eq!(committed(&broker).await, 7);
    let broker = TestBroker::open(broker.disk.restart(), Durability::Os);
    assert_eq!(committed(&broker).await, 7);
}

#[tokio::test]
async fn nobody_is_told_of_a_commit_that_is_not_on_the_disk() {
    let broker = TestBroker::open(FaultyDisk::new(), Durability::Fsync);
    broker.create("t", 1).await;
    assert_eq!(commits(&broker, 5).await, 0);
    let busy = broker.disk.hold_syncs("");
    let Reply::Later(mut commit) = broker.start(9, &commit(6)) else { panic!("told at once") };
    let Reply::Later(mut fetch) = broker.start(9, &fetch()) else { panic!("told at once") };
    assert!(matches!(poll(&mut commit), Poll::Pending));
    assert!(matches!(poll(&mut fetch), Poll::Pending));
    drop(busy);
    let response = decode::<OffsetCommitRequest>(9, commit.await.unwrap());
    assert_eq!(response.topics[0].partitions[0].error_code, 0);
    let response = decode::<OffsetFetchRequest>(9, fetch.await.unwrap());
    assert_eq!(response.groups[0].topics[0].partitions[0].committed_offset, 6);
}

#[tokio::test]
async fn a_commit_whose_flush_fails_is_refused_and_nothing_after_it_is_told() {
    let broker = TestBroker::open(FaultyDisk::new(), Durability::Fsync);
    broker.create("t", 1).await;
    assert_eq!(commits(&broker, 5).await, 0);
    broker.disk.fail_syncs(Some("__consumer_offsets"));
    assert_eq!(commits(&broker, 6).await, ErrorCode::COORDINATOR_NOT_AVAILABLE.0);
    broker.disk.fail_syncs(None);
    let response = broker.call(9, &fetch()).await;
    assert_eq!(response.groups[0].error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE.0);
}

#[tokio::test(start_paused = true)]
async fn a_shard_whose_append_fails_knows_what_its_log_says_and_no_more() {
    let broker = TestBroker::new();
    broker.create("t", 1).await;
    assert_eq!(commits(&broker, 5).await, 0);
    broker.disk.limit_capacity(Some(0));
    assert_eq!(commits(&broker, 6).await, ErrorCode::COORDINATOR_NOT_AVAILABLE.0);
    // It is left alone for a while, rather than read again for every request.
    let refused = broker.call(9, &fetch()).await;
    assert_eq!(refused.groups[0].error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE.0);
    broker.disk.limit_capacity(None);
    tokio::time::advance(std::time::Duration::from_secs(2)).await;
    assert_eq!(committed(&broker).await, 5);
    assert_eq!(commits(&broker, 7).await, 0);
    assert_eq!(committed(&broker).await, 7);
}

#[tokio::test(start_paused = true)]
async fn a_member_that_is_silent_is_dropped_when_its_session_ends() {
    let broker = TestBroker::new();
    joined(&broker).await;
    assert_eq!(state(&broker).await, "CompletingRebalance");
    while state(&broker).await != "Empty" {
        tokio::time::advance(std::time::Duration::from_secs(1)).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn a_member_that_waits_for_others_is_let_go_when_the_broker_stops() {
    let broker = TestBroker::new();
    let first = joined(&broker).await;
    // The second waits for the first to join again.
    let (Reply::Parked(mut waiting, _) | Reply::Later(mut waiting)) = broker.start(3, &join("")) else {
        panic!("told at once")
    };
    assert!(matches!(poll(&mut waiting), Poll::Pending), "{first}");
    broker.broker.stop_waiting();
    let response = decode::<JoinGroupRequest>(3, waiting.await.unwrap());
    assert_eq!(response.error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE.0);
    let late = broker.call(3, &join("")).await;
    assert_eq!(late.error_code, ErrorCode::COORDINATOR_NOT_AVAILABLE.0);
}

#[tokio::test]
async fn offsets_of_a_deleted_topic_go_with_it() {
    let broker = TestBroker::new();
    broker.create("t", 1).await;
    assert_eq!(commits(&broker, 5).await, 0);
    let id = broker.broker.metadata.image().topic("t").unwrap().id;
    broker.broker.groups.topics_deleted(&[("t".into(), id)]);
    assert_eq!(committed(&broker).await, -1);
}

/// As a broker with transactions left it: offsets within a transaction count where it ended well.
#[tokio::test]
async fn offsets_of_a_transaction_count_once_it_is_committed() {
    for (end, expected) in [(Some(1_u8), 9), (Some(0), 5), (None, 5)] {
        let broker = TestBroker::new();
        broker.create("t", 1).await;
        assert_eq!(commits(&broker, 5).await, 0);
        let log = broker.log(CONSUMER_OFFSETS, partition_of("g", 50));
        let now = clock::now();
        let producer = |batch: BatchBuilder| batch.producer(ProducerId(7), ProducerEpoch(0), Sequence(0));
        let offset = CommitPartition {
            topic: "t".into(),
            topic_id: TopicId::ZERO,
            partition: PartitionIndex(0),
            offset: Offset(9),
            leader_epoch: LeaderEpoch::NONE,
            metadata: "".into(),
        };
        let record = offset.record(&"g".into(), TimestampMs(1), None).encode();
        let mut batch = producer(BatchBuilder::new()).transactional();
        batch.push(now, Some(&record.key), record.value.as_deref(), std::iter::empty());
        let batch = batch.build(Offset(0), Compression::None, 0).unwrap().unwrap();
        log.append(batch, Origin::Broker, now).unwrap();
        if let Some(end) = end {
            let mut marker = BatchBuilder::new().producer(ProducerId(7), ProducerEpoch(0), Sequence::NONE);
            marker = marker.transactional().control();
            marker.push(now, Some(&[0, 0, 0, end]), Some(&[0, 0, 0, 0, 0, 0]), std::iter::empty());
            let marker = marker.build(Offset(0), Compression::None, 0).unwrap().unwrap();
            log.append(marker, Origin::Broker, now).unwrap();
        }
        let broker = TestBroker::open(broker.disk.restart(), Durability::Os);
        assert_eq!(committed(&broker).await, expected, "{end:?}");
    }
}
