#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::{InitProducerIdRequest, ProduceRequest, TopicName, TransactionalId};

use super::super::test_support::{TestBroker, text};
use crate::metadata::topic_name::CONSUMER_OFFSETS;
use crate::storage::partition_log::ReadBound;
use crate::storage::test_support::{plain, values};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};
use crate::wire::ErrorCode;
use crate::wire::batch::Compression;
use crate::wire::records::BatchBuilder;

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

/// The first batch of a producer's transaction.
fn transactional(producer: ProducerId) -> PartitionProduceData {
    let mut builder = BatchBuilder::new().transactional().producer(producer, ProducerEpoch(0), Sequence(0));
    builder.push(TimestampMs(1), None, Some(b"x"), std::iter::empty());
    let batch = builder.build(Offset(0), Compression::None, 0).unwrap().unwrap();
    PartitionProduceData::default().with_records(Some(batch.freeze()))
}

/// A request of the transactional id "id", with a batch for partition 0 of each topic.
fn request(batches: &[(&str, ProducerId)]) -> ProduceRequest {
    let topic = |(name, producer): &(&str, ProducerId)| {
        let data = TopicProduceData::default().with_name(TopicName(text(name)));
        data.with_partition_data(vec![transactional(*producer)])
    };
    let request = ProduceRequest::default().with_transactional_id(Some(TransactionalId(text("id"))));
    request.with_acks(-1).with_timeout_ms(1000).with_topic_data(batches.iter().map(topic).collect())
}

async fn init(broker: &TestBroker) -> ProducerId {
    let init = InitProducerIdRequest::default().with_transactional_id(Some(TransactionalId(text("id"))));
    ProducerId(broker.call(2, &init.with_transaction_timeout_ms(1000)).await.producer_id.0)
}

async fn produce(broker: &TestBroker, version: i16, request: &ProduceRequest) -> Vec<(ErrorCode, Option<String>)> {
    let answer = broker.call(version, request).await;
    let partitions = answer.responses.into_iter().flat_map(|topic| topic.partition_responses);
    let told = partitions.map(|told| (ErrorCode(told.error_code), told.error_message.map(|text| text.to_string())));
    told.collect()
}

#[tokio::test]
async fn a_request_speaks_for_one_producer() {
    let broker = TestBroker::new();
    for topic in ["t", "u"] {
        broker.create(topic, 1).await;
    }
    let me = init(&broker).await;
    let other = ProducerId(me.0 + 1000);
    let message = Some("Transactional records contained more than one producer ID".to_owned());
    let several = (ErrorCode::INVALID_PRODUCER_ID_MAPPING, message);
    let gone = (ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, None);
    for version in 8..=12 {
        let told = produce(&broker, version, &request(&[("t", me), ("u", other), ("gone", me)])).await;
        assert_eq!(told, vec![several.clone(); 3], "v{version}");
    }
    // Whose batch it is that has nowhere to go does not matter.
    let told = produce(&broker, 12, &request(&[("t", me), ("gone", other)])).await;
    assert_eq!(told, [(ErrorCode::NONE, None), gone]);
}

#[tokio::test]
async fn the_transaction_counts_before_acks_and_whose_topic_it_is() {
    let broker = TestBroker::new();
    broker.create("t", 1).await;
    let me = init(&broker).await;
    for topic in ["t", CONSUMER_OFFSETS] {
        for acks in [-1, 2] {
            let request = request(&[(topic, me)]).with_acks(acks);
            assert_eq!(produce(&broker, 10, &request).await[0].0, ErrorCode::INVALID_TXN_STATE, "{topic} {acks}");
            assert_eq!(produce(&broker, 11, &request).await[0].0, ErrorCode::TRANSACTION_ABORTABLE, "{topic} {acks}");
        }
    }
}
