#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use kafka_protocol::messages::list_offsets_request::ListOffsetsTopic;
use kafka_protocol::messages::{BrokerId, TopicName};

use super::super::test_support::{TestBroker, text};
use super::*;
use crate::log::Origin;
use crate::storage::test_support::{CLIENT, in_transaction, marker, plain};

/// Offset and timestamp, as a consumer of this isolation level is told.
async fn ask(broker: &TestBroker, isolation_level: i8, timestamp: i64) -> (i64, i64) {
    let partition = ListOffsetsPartition::default().with_timestamp(timestamp).with_current_leader_epoch(-1);
    let topic = ListOffsetsTopic::default().with_name(TopicName(text("t"))).with_partitions(vec![partition]);
    let request = ListOffsetsRequest::default()
        .with_replica_id(BrokerId(-1))
        .with_isolation_level(isolation_level)
        .with_topics(vec![topic]);
    let answer = broker.call(9, &request).await;
    let partition = &answer.topics[0].partitions[0];
    assert_eq!(partition.error_code, 0);
    (partition.offset, partition.timestamp)
}

#[tokio::test]
async fn a_committed_reader_is_told_of_nothing_at_or_after_the_last_stable_offset() {
    let broker = TestBroker::new();
    broker.create("t", 1).await;
    let log = broker.log("t", 0);
    let append = |batch, origin| log.append(batch, origin, TimestampMs(1)).unwrap();
    append(plain(&["0"], 100), CLIENT);
    append(in_transaction(&["1"], 1, 0, 0), Origin::Broker);
    append(plain(&["2"], 300), CLIENT);
    let (uncommitted, committed) = (0, 1);
    assert_eq!(ask(&broker, uncommitted, LATEST).await, (3, -1));
    assert_eq!(ask(&broker, committed, LATEST).await, (1, -1));
    assert_eq!(ask(&broker, committed, EARLIEST).await, (0, -1));
    for timestamp in [200, MAX_TIMESTAMP] {
        assert_eq!(ask(&broker, uncommitted, timestamp).await, (2, 300));
        // As Kafka answers, even where an earlier record has the largest timestamp of those that are stable.
        assert_eq!(ask(&broker, committed, timestamp).await, (-1, -1), "{timestamp}");
    }
    assert_eq!(ask(&broker, committed, 50).await, (0, 100));
    append(marker(1, 0, false, 0), Origin::Marker { transaction_version: 1 });
    assert_eq!(ask(&broker, committed, LATEST).await, (4, -1));
    assert_eq!(ask(&broker, committed, 200).await, (2, 300));
    assert_eq!(ask(&broker, committed, MAX_TIMESTAMP).await, (2, 300));
}
