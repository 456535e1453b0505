//! DescribeProducers (v0): the producers that a partition remembers, and which have a transaction open there (KIP-664).

use std::sync::Arc;

use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::describe_producers_response::{PartitionResponse, ProducerState, TopicResponse};
use kafka_protocol::messages::{ApiKey, DescribeProducersRequest, DescribeProducersResponse};

use super::reply::{now, sentence};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::metadata::topic_name;
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
            Err(code) => response.with_error_code(code.0),
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
