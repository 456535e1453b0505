//! OffsetCommit (v2-v9): how far a group has come. v5 without a retention of its own; v6 leader epochs (KIP-320);
//! v7 static members (KIP-345); v9 epochs of members of the consumer protocol (KIP-848).

use std::sync::Arc;

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_commit_response::{OffsetCommitResponsePartition, OffsetCommitResponseTopic};
use kafka_protocol::messages::{ApiKey, OffsetCommitRequest, OffsetCommitResponse};

use super::reply::{coordinated, now};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::group::offsets::{Commit, CommitPartition};
use crate::types::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::OffsetCommit;

/// One turn of the group; answers once the offsets are durable.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let version = header.api_version;
    let body: OffsetCommitRequest = decode_request(API, version, request.body.freeze())?;
    let ids: Vec<Option<TopicId>> = {
        let image = broker.metadata.image();
        body.topics.iter().map(|topic| image.topic(&topic.name).map(|topic| topic.id)).collect()
    };
    if ids.iter().all(Option::is_none) && !ids.is_empty() {
        return now(API, &header, &answer(body.topics, &ids, |_| ErrorCode::NONE));
    }
    let commit = commit(&body, &ids);
    let outcome =
        broker.groups.run(&Arc::clone(&commit.group), move |shard, turn| shard.commit(turn, version, &commit));
    coordinated(API, &header, outcome, move |result| {
        let mut codes = result.flatten().map(Vec::into_iter);
        answer(body.topics, &ids, |_| match &mut codes {
            Ok(codes) => codes.next().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR),
            Err(code) => *code,
        })
    })
}

/// What is to be committed: the partitions of topics that are there.
fn commit(body: &OffsetCommitRequest, ids: &[Option<TopicId>]) -> Commit {
    let mut partitions = Vec::new();
    for (topic, id) in body.topics.iter().zip(ids) {
        let Some(id) = id else { continue };
        let name: Arc<str> = topic.name.as_str().into();
        partitions.extend(topic.partitions.iter().map(|partition| CommitPartition {
            topic: Arc::clone(&name),
            topic_id: *id,
            partition: PartitionIndex(partition.partition_index),
            offset: Offset(partition.committed_offset),
            leader_epoch: LeaderEpoch(partition.committed_leader_epoch),
            metadata: partition.committed_metadata.as_deref().unwrap_or_default().into(),
        }));
    }
    Commit {
        group: body.group_id.as_str().into(),
        member_id: body.member_id.to_string(),
        instance_id: body.group_instance_id.as_ref().map(ToString::to_string),
        generation: body.generation_id_or_member_epoch,
        retention_ms: (body.retention_time_ms != -1).then_some(body.retention_time_ms),
        partitions,
    }
}

/// A code for each partition, those of topics that are not there their own.
fn answer(
    topics: Vec<OffsetCommitRequestTopic>,
    ids: &[Option<TopicId>],
    mut code: impl FnMut(&OffsetCommitRequestPartition) -> ErrorCode,
) -> OffsetCommitResponse {
    let topics = topics.into_iter().zip(ids).map(|(topic, id)| {
        let partitions = topic.partitions.iter().map(|partition| {
            let code = if id.is_some() { code(partition) } else { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION };
            OffsetCommitResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_error_code(code.0)
        });
        let partitions = partitions.collect();
        OffsetCommitResponseTopic::default().with_name(topic.name).with_partitions(partitions)
    });
    OffsetCommitResponse::default().with_topics(topics.collect())
}
