//! DeleteRecords (v0-v2): moves a partition's log start up to an offset, or to the high watermark (-1).

use std::sync::Arc;

use kafka_protocol::messages::delete_records_request::DeleteRecordsPartition;
use kafka_protocol::messages::delete_records_response::{DeleteRecordsPartitionResult, DeleteRecordsTopicResult};
use kafka_protocol::messages::{ApiKey, DeleteRecordsRequest, DeleteRecordsResponse};

use super::fetch::read_error_code;
use super::reply::blocking;
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::metadata::topic_name::is_internal;
use crate::types::{Offset, PartitionIndex};
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

/// "Up to the high watermark", as clients write it.
const TO_HIGH_WATERMARK: i64 = -1;

/// The new log start is durable when `delete_records` returns, so that it waits for the disk.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let version = request.header.api_version;
    let body: DeleteRecordsRequest = decode_request(ApiKey::DeleteRecords, version, request.body.freeze())?;
    let broker = Arc::clone(broker);
    Ok(blocking(ApiKey::DeleteRecords, &request.header, move || delete_all(&broker, body)))
}

fn delete_all(broker: &Broker, body: DeleteRecordsRequest) -> DeleteRecordsResponse {
    // Kafka counts by partitions: a topic without any is not answered.
    let topics = body.topics.into_iter().filter(|topic| !topic.partitions.is_empty()).map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| {
            let (error, low_watermark) = match delete(broker, &topic.name, asked) {
                Ok(log_start) => (ErrorCode::NONE, log_start),
                Err(error) => (error, Offset(-1)),
            };
            DeleteRecordsPartitionResult::default()
                .with_partition_index(asked.partition_index)
                .with_low_watermark(low_watermark.0)
                .with_error_code(error.0)
        });
        DeleteRecordsTopicResult::default().with_partitions(partitions.collect()).with_name(topic.name)
    });
    DeleteRecordsResponse::default().with_topics(topics.collect())
}

fn delete(broker: &Broker, topic: &str, asked: &DeleteRecordsPartition) -> Result<Offset, ErrorCode> {
    let index = PartitionIndex(asked.partition_index);
    let found = broker.find(topic, index)?;
    if is_internal(topic) {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    if !found.log.config().delete {
        // A compacted topic's records are its state.
        return Err(ErrorCode::POLICY_VIOLATION);
    }
    let before = match asked.offset {
        TO_HIGH_WATERMARK => found.log.offsets().high_watermark,
        offset if offset < 0 => return Err(ErrorCode::OFFSET_OUT_OF_RANGE),
        offset => Offset(offset),
    };
    found.log.delete_records(before).map_err(|error| read_error_code(topic, index, &error))
}
