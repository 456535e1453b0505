//! OffsetCommit (v2-v10): how far a group has come. v5 without a retention of its own; v6 leader epochs (KIP-320);
//! v7 static members (KIP-345); v9 epochs of members of the consumer protocol (KIP-848); v10 topics by id.

use std::sync::Arc;

use super::reply::coordinated_frame;
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::group::offsets::{Commit, CommitPartition};
use crate::metadata::image::{Image, Topic};
use crate::wire::ErrorCode;
use crate::wire::offset_commit::{CommittedTopic, OffsetCommitRequest, OffsetCommitResponse, decode, encode_response};
use crate::wire::produce::TopicRef;

/// One turn of the group; answers once the offsets are durable.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let Request { header, body, .. } = request;
    let (version, correlation_id) = (header.api_version, header.correlation_id);
    let body = decode(version, &body)?;
    let topics: Vec<_> = {
        let image = broker.metadata.image();
        body.topics.iter().map(|topic| find(&image, &topic.topic)).collect()
    };
    if topics.iter().all(Result::is_err) && !topics.is_empty() {
        let answer = answer(&body, &topics, || ErrorCode::NONE);
        return Ok(Reply::Now(encode_response(version, correlation_id, &answer)?.into()));
    }
    let commit = commit(&body, &topics);
    let outcome = broker.groups.run(&body.group, move |shard, turn| shard.commit(turn, version, &commit));
    coordinated_frame(outcome, move |result| {
        let codes = result.flatten();
        let mut next = codes.iter().flatten().copied();
        let code = || match &codes {
            Ok(_) => next.next().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR),
            Err(code) => *code,
        };
        encode_response(version, correlation_id, &answer(&body, &topics, code))
    })
}

fn find(image: &Image, topic: &TopicRef) -> Result<Arc<Topic>, ErrorCode> {
    match topic {
        TopicRef::Name(name) => image.topic(name).cloned().ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        TopicRef::Id(id) => image.topic_by_id(*id).cloned().ok_or(ErrorCode::UNKNOWN_TOPIC_ID),
    }
}

/// What is to be committed: the partitions of topics that are there.
fn commit(body: &OffsetCommitRequest, topics: &[Result<Arc<Topic>, ErrorCode>]) -> Commit {
    let mut partitions = Vec::new();
    for (asked, topic) in body.topics.iter().zip(topics) {
        let Ok(topic) = topic else { continue };
        partitions.extend(asked.partitions.iter().map(|partition| CommitPartition {
            topic: Arc::clone(&topic.name),
            topic_id: topic.id,
            partition: partition.index,
            offset: partition.offset,
            leader_epoch: partition.leader_epoch,
            metadata: Arc::clone(&partition.metadata),
        }));
    }
    Commit {
        group: Arc::clone(&body.group),
        member_id: body.member_id.clone(),
        instance_id: body.instance_id.clone(),
        generation: body.generation,
        retention_ms: body.retention_ms,
        partitions,
    }
}

/// A code for each partition, those of topics that are not there their own.
fn answer(
    body: &OffsetCommitRequest,
    topics: &[Result<Arc<Topic>, ErrorCode>],
    mut code: impl FnMut() -> ErrorCode,
) -> OffsetCommitResponse {
    let topics = body.topics.iter().zip(topics).map(|(asked, topic)| {
        let partitions = asked.partitions.iter().map(|partition| {
            let code = topic.as_ref().map_or_else(|missing| *missing, |_| code());
            (partition.index, code)
        });
        CommittedTopic { topic: asked.topic.clone(), partitions: partitions.collect() }
    });
    OffsetCommitResponse { throttle_time_ms: 0, topics: topics.collect() }
}
