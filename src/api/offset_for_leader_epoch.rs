//! OffsetForLeaderEpoch (v2-v4): where an epoch ends, so that a reader can tell whether its history is ours (rule 29).

use std::sync::Arc;

use kafka_protocol::messages::offset_for_leader_epoch_request::OffsetForLeaderPartition;
use kafka_protocol::messages::offset_for_leader_epoch_response::{EpochEndOffset, OffsetForLeaderTopicResult};
use kafka_protocol::messages::{ApiKey, OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse};

use super::reply::now;
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::types::{LeaderEpoch, Offset, PartitionIndex};
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

/// Answers at once.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let version = request.header.api_version;
    let body: OffsetForLeaderEpochRequest =
        decode_request(ApiKey::OffsetForLeaderEpoch, version, request.body.freeze())?;
    let topics = body.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.iter().map(|asked| end_offset(broker, &topic.topic, asked)).collect();
        OffsetForLeaderTopicResult::default().with_partitions(partitions).with_topic(topic.topic)
    });
    let response = OffsetForLeaderEpochResponse::default().with_topics(topics.collect());
    now(ApiKey::OffsetForLeaderEpoch, &request.header, &response)
}

fn end_offset(broker: &Broker, topic: &str, asked: &OffsetForLeaderPartition) -> EpochEndOffset {
    let found = broker.find(topic, PartitionIndex(asked.partition)).and_then(|found| {
        found.check_leader_epoch(LeaderEpoch(asked.current_leader_epoch))?;
        Ok(found.epoch_end_offset(LeaderEpoch(asked.leader_epoch)))
    });
    let (error, end) = match found {
        Ok(end) => (ErrorCode::NONE, end),
        Err(error) => (error, None),
    };
    let (epoch, offset) = end.unwrap_or((LeaderEpoch::NONE, Offset(-1)));
    EpochEndOffset::default()
        .with_partition(asked.partition)
        .with_error_code(error.0)
        .with_leader_epoch(epoch.0)
        .with_end_offset(offset.0)
}
