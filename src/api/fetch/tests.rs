#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::task::Poll;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{BrokerId, FetchResponse as Sent, TopicName};

use super::super::Answer;
use super::super::test_support::{TestBroker, decode, poll, text};
use super::*;
use crate::metadata::decide::Decision;
use crate::metadata::records::{MetadataRecord, PartitionChange};
use crate::storage::partition_log::Origin;
use crate::storage::test_support::{CLIENT, in_transaction, marker, plain, values};
use crate::types::TimestampMs;

fn request(topics: &[(&str, i64)], min_bytes: i32, max_bytes: i32) -> FetchRequest {
    let topics = topics.iter().map(|(name, offset)| {
        let partition = FetchPartition::default().with_fetch_offset(*offset).with_partition_max_bytes(max_bytes);
        FetchTopic::default().with_topic(TopicName(text(name))).with_partitions(vec![partition])
    });
    FetchRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_max_wait_ms(60_000)
        .with_min_bytes(min_bytes)
        .with_max_bytes(max_bytes)
        .with_topics(topics.collect())
}

fn append(broker: &TestBroker, topic: &str, value: &str) -> usize {
    let batch = plain(&[value], 1);
    let size = batch.len();
    broker.log(topic, 0).append(batch, CLIENT, TimestampMs(1)).unwrap();
    size
}

/// The values of each partition in turn.
fn read(answer: &Sent) -> Vec<Vec<String>> {
    let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    let values = partitions.map(|partition| values(partition.records.as_deref().unwrap_or_default()));
    values.map(|values| values.into_iter().map(|(_, value)| value).collect()).collect()
}

fn waiting(reply: Reply) -> Answer {
    match reply {
        Reply::Parked(answer, holds) if holds > 0 => answer,
        _ => panic!("it does not wait"),
    }
}

fn ended(answer: Poll<Result<Response, Refused>>) -> Sent {
    let Poll::Ready(response) = answer else { panic!("it still waits") };
    decode::<FetchRequest>(12, response.unwrap())
}

#[tokio::test]
async fn a_long_poll_reads_on_where_it_stopped() {
    let broker = TestBroker::new();
    broker.create("t", 1).await;
    broker.create("u", 1).await;
    let value = "x".repeat(10_000);
    let size = append(&broker, "t", &value);
    let wanted = 50 * size as i32;
    let mut reply = waiting(broker.start(12, &request(&[("t", 0), ("u", 0)], wanted, 100 * size as i32)));
    assert!(poll(&mut reply).is_pending());
    let before = broker.disk.bytes_read();
    for number in 1..49 {
        append(&broker, if number % 7 == 0 { "u" } else { "t" }, &value);
        assert!(poll(&mut reply).is_pending(), "{number}");
    }
    append(&broker, "u", "last of u");
    append(&broker, "t", &value);
    let answer = ended(poll(&mut reply));
    let values = read(&answer);
    assert_eq!((values[0].len(), values[1].len()), (44, 7));
    assert_eq!(values[1][6], "last of u");
    let again = 2 * 50 * size as u64;
    assert!(broker.disk.bytes_read() - before < again + 50 * 4096, "each batch is looked at once");
}

#[tokio::test]
async fn limits_hold_for_what_is_read_later_too() {
    let broker = TestBroker::new();
    broker.create("t", 1).await;
    let size = append(&broker, "t", "first");
    let mut reply = waiting(broker.start(12, &request(&[("t", 0)], 3 * size as i32, 2 * size as i32 + 5)));
    // min.bytes is clamped to max.bytes (rule 26): a third batch would not fit, so the wait can only end by its time.
    assert!(poll(&mut reply).is_pending());
    append(&broker, "t", "second");
    append(&broker, "t", "third");
    broker.broker.stop_waiting();
    assert_eq!(read(&ended(poll(&mut reply))), [["first", "second"]]);
}

#[tokio::test]
async fn a_broker_that_stops_answers_those_who_wait() {
    let broker = TestBroker::new();
    broker.create("t", 1).await;
    let mut reply = waiting(broker.start(12, &request(&[("t", 0)], 1, 1000)));
    assert!(poll(&mut reply).is_pending());
    broker.broker.stop_waiting();
    assert_eq!(read(&ended(poll(&mut reply))), [[""; 0]]);
    let mut late = waiting(broker.start(12, &request(&[("t", 0)], 1, 1000)));
    assert_eq!(read(&ended(poll(&mut late))), [[""; 0]], "one that comes when it stops does not wait either");
}

#[tokio::test]
async fn an_error_ends_the_wait() {
    let broker = TestBroker::new();
    broker.create("t", 1).await;
    append(&broker, "t", "first");
    let mut reply = waiting(broker.start(12, &request(&[("t", 0)], 1000, 1000)));
    assert!(poll(&mut reply).is_pending());
    broker.log("t", 0).delete_records(Offset(1)).unwrap();
    append(&broker, "t", "second");
    broker.log("t", 0).delete_records(Offset(2)).unwrap();
    let answer = ended(poll(&mut reply));
    assert_eq!(answer.responses[0].partitions[0].error_code, ErrorCode::OFFSET_OUT_OF_RANGE.0);
    assert_eq!(read(&answer), [[""; 0]]);
}

#[tokio::test]
async fn an_outdated_client_learns_of_the_leader() {
    let broker = TestBroker::new();
    broker.create("t", 1).await;
    let id = broker.broker.metadata.image().topic("t").unwrap().id;
    // A leader that begins anew, as after Kafka had the folder.
    let led =
        PartitionChange { topic: id, partition: PartitionIndex(0), leader: Some(NodeId(1)), ..Default::default() };
    let records = vec![MetadataRecord::PartitionChange(led)];
    let ((), durable) = broker.broker.metadata.write(|_| Decision { records, reply: () }).unwrap();
    durable.await.unwrap();
    for version in [13, 15, 16, 18] {
        for (epoch, error) in [
            (0, ErrorCode::FENCED_LEADER_EPOCH),
            (7, ErrorCode::UNKNOWN_LEADER_EPOCH),
            (1, ErrorCode::NONE),
            (-1, ErrorCode::NONE),
        ] {
            let mut request = request(&[("", 0)], 0, 1000);
            request.topics[0].topic_id = id.0;
            request.topics[0].partitions[0].current_leader_epoch = epoch;
            let answer = broker.call(version, &request).await;
            let partition = &answer.responses[0].partitions[0];
            assert_eq!(partition.error_code, error.0);
            let told = version >= 16 && error == ErrorCode::FENCED_LEADER_EPOCH;
            let leader = (partition.current_leader.leader_id.0, partition.current_leader.leader_epoch);
            assert_eq!(leader, if told { (1, 1) } else { (-1, -1) });
            let nodes = answer.node_endpoints.iter().map(|node| (node.node_id.0, node.host.to_string(), node.port));
            let expected = if told { vec![(1, "127.0.0.1".to_owned(), 9092)] } else { Vec::new() };
            assert_eq!(nodes.collect::<Vec<_>>(), expected);
        }
    }
}

#[tokio::test]
async fn a_batch_that_does_not_fit_counts_for_the_wait() {
    let broker = TestBroker::new();
    broker.create("t", 1).await;
    let size = append(&broker, "t", "first");
    append(&broker, "t", "second");
    // Of two batches one fits: the client gets no more of this partition, however long it waits.
    let answer = broker.call(12, &request(&[("t", 0)], size as i32 + 9, size as i32 + 9)).await;
    assert_eq!(read(&answer), [["first"]]);
}

#[tokio::test]
async fn sound_batches_before_a_damaged_one_are_delivered() {
    let broker = TestBroker::new();
    broker.create("t", 1).await;
    let size = append(&broker, "t", "sound");
    let mut reply = waiting(broker.start(12, &request(&[("t", 0)], 10_000, 10_000)));
    assert!(poll(&mut reply).is_pending());
    append(&broker, "t", "damaged");
    broker.disk.flip_bit(std::path::Path::new("/data/t-0/00000000000000000000.log"), size + 65);
    let answer = ended(poll(&mut reply));
    assert_eq!((answer.responses[0].partitions[0].error_code, read(&answer)), (0, vec![vec!["sound".to_owned()]]));
    let answer = broker.call(12, &request(&[("t", 1)], 1, 10_000)).await;
    assert_eq!(answer.responses[0].partitions[0].error_code, ErrorCode::CORRUPT_MESSAGE.0);
}

#[tokio::test]
async fn a_partition_that_is_asked_for_twice_is_read_once() {
    let broker = TestBroker::new();
    broker.create("t", 1).await;
    append(&broker, "t", "first");
    append(&broker, "t", "second");
    let answer = broker.call(12, &request(&[("t", 0), ("t", 1)], 1, 10_000)).await;
    assert_eq!(read(&answer), [["second"]]);
}

/// A batch within a transaction; the broker writes it, so that nobody asks for a coordinator.
fn transactional(broker: &TestBroker, producer: i64, value: &str) -> usize {
    let batch = in_transaction(&[value], producer, 0, 0);
    let size = batch.len();
    broker.log("t", 0).append(batch, Origin::Broker, TimestampMs(1)).unwrap();
    size
}

fn end(broker: &TestBroker, producer: i64, commit: bool) {
    let origin = Origin::Marker { transaction_version: 1 };
    broker.log("t", 0).append(marker(producer, 0, commit, 0), origin, TimestampMs(1)).unwrap();
}

fn committed(topics: &[(&str, i64)], min_bytes: i32, max_bytes: i32) -> FetchRequest {
    request(topics, min_bytes, max_bytes).with_isolation_level(1)
}

/// Producer and first offset of each aborted transaction that the first partition tells of.
fn aborted(answer: &Sent) -> Option<Vec<(i64, i64)>> {
    let aborted = answer.responses[0].partitions[0].aborted_transactions.as_ref();
    aborted.map(|all| all.iter().map(|aborted| (aborted.producer_id.0, aborted.first_offset)).collect())
}

#[tokio::test]
async fn committed_readers_wait_for_the_end_of_a_transaction_and_learn_of_those_that_do_not_count() {
    let broker = TestBroker::new();
    broker.create("t", 1).await;
    append(&broker, "t", "0");
    let size = transactional(&broker, 1, "1");
    transactional(&broker, 2, "2");
    append(&broker, "t", "3");
    let mut reply = waiting(broker.start(12, &committed(&[("t", 1)], 1, 10_000)));
    assert!(poll(&mut reply).is_pending(), "nothing is decided");
    end(&broker, 2, true);
    assert!(poll(&mut reply).is_pending(), "the first is open still");
    end(&broker, 1, false);
    let answer = ended(poll(&mut reply));
    assert_eq!(answer.responses[0].partitions[0].last_stable_offset, 6);
    assert_eq!(aborted(&answer), Some(vec![(1, 1)]));
    assert_eq!(values(answer.responses[0].partitions[0].records.as_ref().unwrap()).len(), 5);
    // What is returned decides: of the rest the next fetch tells.
    let tell = |offset: i64, max: usize| {
        let request = committed(&[("t", offset)], 0, max as i32);
        let broker = &broker;
        async move { aborted(&broker.call(12, &request).await) }
    };
    assert_eq!(tell(0, 1).await, Some(vec![]));
    assert_eq!(tell(1, size).await, Some(vec![(1, 1)]));
    assert_eq!(tell(3, 1).await, Some(vec![(1, 1)]), "its marker is still to come");
    assert_eq!(tell(6, 1000).await, Some(vec![]), "nothing to read");
    let uncommitted = broker.call(12, &request(&[("t", 0)], 1, 10_000)).await;
    assert_eq!(aborted(&uncommitted), None);
    assert_eq!(values(uncommitted.responses[0].partitions[0].records.as_ref().unwrap()).len(), 6);
}

#[tokio::test]
async fn a_long_poll_of_a_committed_reader_tells_of_each_aborted_transaction_once() {
    let broker = TestBroker::new();
    broker.create("t", 1).await;
    let size = transactional(&broker, 1, "0");
    append(&broker, "t", "1");
    transactional(&broker, 2, "2");
    end(&broker, 1, false);
    // What is stable ends within the first transaction: its marker is still to come, but it is told of.
    let mut reply = waiting(broker.start(12, &committed(&[("t", 0)], 100 * size as i32, 100 * size as i32)));
    assert!(poll(&mut reply).is_pending());
    end(&broker, 2, false);
    assert!(poll(&mut reply).is_pending());
    transactional(&broker, 1, "5");
    end(&broker, 1, false);
    assert!(poll(&mut reply).is_pending());
    broker.broker.stop_waiting();
    let answer = ended(poll(&mut reply));
    assert_eq!(aborted(&answer), Some(vec![(1, 0), (2, 2), (1, 5)]));
    assert_eq!(values(answer.responses[0].partitions[0].records.as_ref().unwrap()).len(), 7);
}
