//! DescribeProducers (v0): the producers that a partition remembers, and which have a transaction open there (KIP-664).

use std::sync::Arc;

use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::{ApiKey, DescribeProducersRequest, DescribeProducersResponse};

use super::reply::{now, sentence};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::metadata::topic_name;
use crate::metadata::topics::NOT_HOSTED;
use crate::storage::partition_log::ActiveProducer;
use crate::types::PartitionIndex;
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::DescribeProducers;

/// Answers at once.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: DescribeProducersRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let topics = body.topics.iter().map(|topic| describe(broker, topic));
    now(API, &header, &DescribeProducersResponse::default().with_topics(topics.collect()))
}

fn describe(broker: &Broker, topic: &TopicRequest) -> TopicResponse {
    let invalid = topic_name::validate(&topic.name).err();
    let partitions = topic.partition_indexes.iter().map(|index| {
        let response = PartitionResponse::default().with_partition_index(*index);
        if let Some(message) = &invalid {
            let response = response.with_error_code(ErrorCode::INVALID_TOPIC_EXCEPTION.0);
            return response.with_error_message(Some(sentence(message.clone())));
        }
        match broker.find(&topic.name, PartitionIndex(*index)) {
            Ok(found) => response.with_active_producers(found.log.producers().iter().map(state).collect()),
            Err(code) => {
                // Kafka has a message for a missing topic, and none for a missing partition of one.
                let message =
                    broker.metadata.image().topic(&topic.name).is_none().then(|| sentence(NOT_HOSTED.to_owned()));
                response.with_error_code(code.0).with_error_message(message)
            }
        }
    });
    TopicResponse::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
}

fn state(producer: &ActiveProducer) -> ProducerState {
    ProducerState::default()
        .with_producer_id(producer.producer_id.0.into())
        .with_producer_epoch(i32::from(producer.epoch.0))
        .with_last_sequence(producer.last_sequence.0)
        .with_last_timestamp(producer.last_timestamp.0)
        .with_coordinator_epoch(producer.coordinator_epoch)
        .with_current_txn_start_offset(producer.transaction_start.map_or(-1, |offset| offset.0))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kafka_protocol::messages::TopicName;

    use super::*;
    use crate::api::test_support::{TestBroker, text};

    #[tokio::test]
    async fn only_a_missing_topic_has_a_message() {
        let broker = TestBroker::new();
        broker.create("t", 1).await;
        let topic = |name| TopicRequest::default().with_name(TopicName(text(name))).with_partition_indexes(vec![0, 1]);
        let request = DescribeProducersRequest::default().with_topics(vec![topic("t"), topic("gone")]);
        let answer = broker.call(0, &request).await;
        let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
        let told: Vec<_> = partitions.map(|told| (told.error_code, told.error_message.as_deref())).collect();
        assert_eq!(told, [(0, None), (3, None), (3, Some(NOT_HOSTED)), (3, Some(NOT_HOSTED))]);
    }
}
