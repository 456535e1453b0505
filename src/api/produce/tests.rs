#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{ProduceRequest, TopicName};

use super::super::test_support::{TestBroker, text};
use crate::storage::partition_log::ReadBound;
use crate::storage::test_support::{plain, values};
use crate::types::Offset;

#[tokio::test]
async fn of_a_partition_that_is_named_twice_the_last_batch_counts() {
    let broker = TestBroker::new();
    broker.create("t", 2).await;
    let topic = |batches: &[(i32, &str)]| {
        let partitions = batches.iter().map(|(index, value)| {
            PartitionProduceData::default().with_index(*index).with_records(Some(plain(&[value], 1).freeze()))
        });
        TopicProduceData::default().with_name(TopicName(text("t"))).with_partition_data(partitions.collect())
    };
    let topics = vec![topic(&[(0, "first"), (1, "other"), (0, "second")]), topic(&[(0, "third")])];
    let request = ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(topics);
    let answer = broker.call(9, &request).await;
    let answered = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
    let answered: Vec<_> = answered.map(|partition| (partition.index, partition.error_code)).collect();
    assert_eq!(answered, [(1, 0), (0, 0)]);
    let log = broker.log("t", 0);
    let slice = log.read(Offset(0), 1000, ReadBound::LogEnd, true).unwrap().records.unwrap();
    let mut bytes = vec![0; slice.length];
    slice.file.read_at(&mut bytes, slice.position).unwrap();
    assert_eq!(values(&bytes), [(0, "third".to_owned())]);
}
