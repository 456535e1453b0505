//! ListOffsets (v1-v11): the special timestamps, and the first offset at or after a time (semantics rule 28).
//!
//! v2 isolation level; v4 leader epochs; v5 OFFSET_NOT_AVAILABLE; v7 max timestamp; v8 earliest local;
//! v9 latest tiered; v10 timeout for tiered storage; v11 earliest pending upload.

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::messages::list_offsets_request::ListOffsetsPartition;
use kafka_protocol::messages::list_offsets_response::{ListOffsetsPartitionResponse, ListOffsetsTopicResponse};
use kafka_protocol::messages::{ApiKey, ListOffsetsRequest, ListOffsetsResponse};

use super::fetch::read_error_code;
use super::reply::{blocking, now};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::storage::partition_log::OffsetAndTimestamp;
use crate::types::{LeaderEpoch, Offset, PartitionIndex, TimestampMs};
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::ListOffsets;
const LATEST: i64 = -1;
const EARLIEST: i64 = -2;
const MAX_TIMESTAMP: i64 = -3;
const EARLIEST_LOCAL: i64 = -4;
const LATEST_TIERED: i64 = -5;
const EARLIEST_PENDING_UPLOAD: i64 = -6;

/// From this version on an answer tells the record's leader epoch; an older one cannot carry it.
const FIRST_WITH_LEADER_EPOCH: i16 = 4;

/// No offset answers the question.
const UNKNOWN: OffsetAndTimestamp =
    OffsetAndTimestamp { offset: Offset(-1), timestamp: TimestampMs::NONE, leader_epoch: LeaderEpoch::NONE };

/// Who asks decides how far an answer may reach.
#[derive(Clone, Copy)]
enum Asker {
    /// A consumer sees up to the high watermark, or the last stable offset.
    Consumer { read_committed: bool },
    /// Tools that debug (replica id -2) and replicas see the whole log.
    Debugger,
}

/// Answers at once, unless records have to be looked at, which may be many and compressed.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: ListOffsetsRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let by_record = body
        .topics
        .iter()
        .flat_map(|topic| &topic.partitions)
        .any(|partition| partition.timestamp >= 0 || partition.timestamp == MAX_TIMESTAMP);
    let version = header.api_version;
    if by_record {
        let broker = Arc::clone(broker);
        return Ok(blocking(API, &header, move || find_all(&broker, version, &body)));
    }
    now(API, &header, &find_all(broker, version, &body))
}

fn find_all(broker: &Broker, version: i16, body: &ListOffsetsRequest) -> ListOffsetsResponse {
    let asker = if body.replica_id.0 == -1 {
        Asker::Consumer { read_committed: body.isolation_level == 1 }
    } else {
        Asker::Debugger
    };
    let twice = asked_twice(body);
    let mut answered = HashSet::new();
    let topics = body.topics.iter().map(|topic| {
        let once = topic.partitions.iter().filter(|partition| {
            let partition = (&**topic.name, partition.partition_index);
            !twice.contains(&partition) || answered.insert(partition)
        });
        let partitions = once.map(|partition| {
            let result = if twice.contains(&(&*topic.name, partition.partition_index)) {
                Err(ErrorCode::INVALID_REQUEST)
            } else {
                find(broker, version, asker, &topic.name, partition)
            };
            partition_response(version, partition.partition_index, result)
        });
        ListOffsetsTopicResponse::default().with_partitions(partitions.collect()).with_name(topic.name.clone())
    });
    // As Kafka counts by partitions, a topic without any is not answered, and a partition that is asked for twice once.
    let topics = topics.filter(|topic| !topic.partitions.is_empty());
    ListOffsetsResponse::default().with_topics(topics.collect())
}

fn asked_twice(body: &ListOffsetsRequest) -> HashSet<(&str, i32)> {
    let mut seen = HashSet::new();
    let all = body
        .topics
        .iter()
        .flat_map(|topic| topic.partitions.iter().map(|partition| (&**topic.name, partition.partition_index)));
    all.filter(|partition| !seen.insert(*partition)).collect()
}

fn find(
    broker: &Broker,
    version: i16,
    asker: Asker,
    topic: &str,
    partition: &ListOffsetsPartition,
) -> Result<OffsetAndTimestamp, ErrorCode> {
    let first_version = match partition.timestamp {
        MAX_TIMESTAMP => 7,
        EARLIEST_LOCAL => 8,
        LATEST_TIERED => 9,
        EARLIEST_PENDING_UPLOAD => 11,
        i64::MIN..EARLIEST_PENDING_UPLOAD => return Err(ErrorCode::UNSUPPORTED_VERSION),
        _ => 0,
    };
    if version < first_version {
        return Err(ErrorCode::UNSUPPORTED_VERSION);
    }
    let index = PartitionIndex(partition.partition_index);
    let found = broker.find(topic, index)?;
    found.check_leader_epoch(LeaderEpoch(partition.current_leader_epoch))?;
    let offsets = found.log.offsets();
    let last_fetchable = match asker {
        Asker::Consumer { read_committed: true } => offsets.last_stable,
        Asker::Consumer { read_committed: false } => offsets.high_watermark,
        Asker::Debugger => offsets.log_end,
    };
    let read_error = |error| read_error_code(topic, index, &error);
    let by_record = match partition.timestamp {
        LATEST => {
            return Ok(OffsetAndTimestamp { offset: last_fetchable, leader_epoch: found.leader_epoch, ..UNKNOWN });
        }
        EARLIEST | EARLIEST_LOCAL => {
            let leader_epoch = found.epoch_for_offset(offsets.log_start);
            return Ok(OffsetAndTimestamp { offset: offsets.log_start, leader_epoch, ..UNKNOWN });
        }
        // Nothing is tiered here.
        LATEST_TIERED | EARLIEST_PENDING_UPLOAD => return Ok(UNKNOWN),
        MAX_TIMESTAMP => found.log.max_timestamp().map_err(read_error)?,
        timestamp => found.log.offset_for_timestamp(TimestampMs(timestamp)).map_err(read_error)?,
    };
    Ok(by_record.filter(|record| record.offset < last_fetchable).unwrap_or(UNKNOWN))
}

fn partition_response(
    version: i16,
    index: i32,
    result: Result<OffsetAndTimestamp, ErrorCode>,
) -> ListOffsetsPartitionResponse {
    let (error, found) = match result {
        Ok(found) => (ErrorCode::NONE, found),
        Err(error) => (error, UNKNOWN),
    };
    let response = ListOffsetsPartitionResponse::default()
        .with_partition_index(index)
        .with_error_code(error.0)
        .with_offset(found.offset.0)
        .with_timestamp(found.timestamp.0);
    if version < FIRST_WITH_LEADER_EPOCH { response } else { response.with_leader_epoch(found.leader_epoch.0) }
}

#[cfg(test)]
mod tests;
