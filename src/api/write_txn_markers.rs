//! WriteTxnMarkers (v1): ends transactions in partitions, as an administrator does with one that hangs (KIP-664).
//!
//! Kafka's v2 tells the transaction version with each marker; it is not listed here. Without it, the rules are those from
//! before KIP-890.

use std::sync::Arc;

use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::write_txn_markers_response::{
    WritableTxnMarkerPartitionResult, WritableTxnMarkerResult, WritableTxnMarkerTopicResult,
};
use kafka_protocol::messages::{ApiKey, WriteTxnMarkersRequest, WriteTxnMarkersResponse};

use super::reply::append_error;
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::coordinator::markers::{Marker, NotWritten};
use crate::txn::transaction::TransactionVersion;
use crate::types::{PartitionIndex, ProducerEpoch, ProducerId, TopicPartition};
use crate::wire::ErrorCode;
use crate::wire::control::EndMarker;
use crate::wire::message::{decode_request, encode_response};

const API: ApiKey = ApiKey::WriteTxnMarkers;

/// Writes the markers in their order; answers once they are durable.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let (version, correlation_id) = (request.header.api_version, request.header.correlation_id);
    let body: WriteTxnMarkersRequest = decode_request(API, version, request.body.freeze())?;
    let broker = Arc::clone(broker);
    Ok(Reply::Later(Box::pin(async move {
        let mut results = Vec::with_capacity(body.markers.len());
        for marker in body.markers {
            results.push(write(&broker, &marker).await);
        }
        let response = WriteTxnMarkersResponse::default().with_markers(results);
        Ok(encode_response(API, version, correlation_id, &response)?.into())
    })))
}

async fn write(broker: &Broker, asked: &WritableTxnMarker) -> WritableTxnMarkerResult {
    let marker = Marker {
        producer: ProducerId(asked.producer_id.0),
        epoch: ProducerEpoch(asked.producer_epoch),
        end: EndMarker { commit: asked.transaction_result, coordinator_epoch: asked.coordinator_epoch },
        version: TransactionVersion::CLASSIC,
    };
    let mut topics = Vec::with_capacity(asked.topics.len());
    for topic in &asked.topics {
        topics.push(write_topic(broker, topic, &marker).await);
    }
    WritableTxnMarkerResult::default().with_producer_id(asked.producer_id).with_topics(topics)
}

async fn write_topic(broker: &Broker, asked: &WritableTxnMarkerTopic, marker: &Marker) -> WritableTxnMarkerTopicResult {
    let mut partitions = Vec::with_capacity(asked.partition_indexes.len());
    for index in &asked.partition_indexes {
        let partition = TopicPartition::new(asked.name.as_str(), PartitionIndex(*index));
        let code = match broker.transactions.markers.write(&partition, marker).await {
            Ok(durable) => durable.await.map_or(ErrorCode::KAFKA_STORAGE_ERROR, |()| ErrorCode::NONE),
            Err(NotWritten::Gone) => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
            Err(NotWritten::Log(error)) => append_error(&error),
            // The sender looks for the coordinator again.
            Err(NotWritten::Groups(_)) => ErrorCode::NOT_LEADER_OR_FOLLOWER,
        };
        let result = WritableTxnMarkerPartitionResult::default().with_partition_index(*index);
        partitions.push(result.with_error_code(code.0));
    }
    WritableTxnMarkerTopicResult::default().with_name(asked.name.clone()).with_partitions(partitions)
}
