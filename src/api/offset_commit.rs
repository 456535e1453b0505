//! OffsetCommit (v2-v10): how far a group has come. v5 without a retention of its own; v6 leader epochs (KIP-320);
//! v7 static members (KIP-345); v9 epochs of members of the consumer protocol (KIP-848); v10 topics by id.

use std::sync::Arc;

use super::reply::coordinated_frame;
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::group::offsets::{Commit, CommitPartition};
use crate::metadata::image::{Image, Topic};
use crate::types::PartitionIndex;
use crate::wire::ErrorCode;
use crate::wire::offset_commit::{
    CommitTopic, CommittedTopic, OffsetCommitRequest, OffsetCommitResponse, decode, encode_response,
};
use crate::wire::produce::TopicRef;

/// One turn of the group; answers once the offsets are durable.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let Request { header, body, .. } = request;
    let (version, correlation_id) = (header.api_version, header.correlation_id);
    let body = decode(version, &body)?;
    let topics = Found::all(&broker.metadata.image(), &body);
    let commit = commit(&body, &topics);
    if commit.partitions.is_empty() && !topics.is_empty() {
        let answer = answer(&body, &topics, &Ok(Vec::new()));
        return Ok(Reply::Now(encode_response(version, correlation_id, &answer)?.into()));
    }
    let outcome = broker.groups.run(&body.group, move |shard, turn| shard.commit(turn, version, &commit));
    coordinated_frame(outcome, move |result| {
        encode_response(version, correlation_id, &answer(&body, &topics, &result.flatten()))
    })
}

/// What there is of what a request names.
pub(super) struct Found(Result<Arc<Topic>, ErrorCode>);

impl Found {
    /// Looks for all topics of a request.
    pub(super) fn all(image: &Image, body: &OffsetCommitRequest) -> Vec<Self> {
        body.topics.iter().map(|topic| Self::of(image, topic)).collect()
    }

    fn of(image: &Image, asked: &CommitTopic) -> Self {
        Self(match &asked.topic {
            TopicRef::Name(name) => image.topic(name).cloned().ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
            TopicRef::Id(id) => image.topic_by_id(*id).cloned().ok_or(ErrorCode::UNKNOWN_TOPIC_ID),
        })
    }

    /// The topic of a partition that is there.
    fn partition(&self, index: PartitionIndex) -> Result<&Arc<Topic>, ErrorCode> {
        let topic = self.0.as_ref().map_err(|missing| *missing)?;
        if topic.partitions.contains_key(&index) { Ok(topic) } else { Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION) }
    }
}

/// What is to be committed: the partitions that are there.
pub(super) fn commit(body: &OffsetCommitRequest, topics: &[Found]) -> Commit {
    let mut partitions = Vec::new();
    for (asked, found) in body.topics.iter().zip(topics) {
        partitions.extend(asked.partitions.iter().filter_map(|partition| {
            let topic = found.partition(partition.index).ok()?;
            Some(CommitPartition {
                topic: Arc::clone(&topic.name),
                topic_id: topic.id,
                partition: partition.index,
                offset: partition.offset,
                leader_epoch: partition.leader_epoch,
                metadata: Arc::clone(&partition.metadata),
            })
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

/// A code for each partition: of those that are not there their own, of the others the group's.
pub(super) fn answer(
    body: &OffsetCommitRequest,
    topics: &[Found],
    codes: &Result<Vec<ErrorCode>, ErrorCode>,
) -> OffsetCommitResponse {
    let mut next = codes.iter().flatten().copied();
    let mut code = || match codes {
        Ok(_) => next.next().unwrap_or(ErrorCode::UNKNOWN_SERVER_ERROR),
        Err(code) => *code,
    };
    let topics = body.topics.iter().zip(topics).filter(|(asked, _)| !asked.partitions.is_empty());
    let topics = topics.map(|(asked, found)| {
        let partitions = asked.partitions.iter().map(|partition| {
            let code = found.partition(partition.index).map_or_else(|missing| missing, |_| code());
            (partition.index, code)
        });
        CommittedTopic { topic: asked.topic.clone(), partitions: partitions.collect() }
    });
    OffsetCommitResponse { throttle_time_ms: 0, topics: topics.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::test_support::World;
    use crate::types::{LeaderEpoch, Offset, TopicId};
    use crate::wire::offset_commit::CommitPartition as Asked;

    fn topic(topic: TopicRef, partitions: &[i32]) -> CommitTopic {
        let partition = |index: &i32| Asked {
            index: PartitionIndex(*index),
            offset: Offset(5),
            leader_epoch: LeaderEpoch::NONE,
            metadata: "".into(),
        };
        CommitTopic { topic, partitions: partitions.iter().map(partition).collect() }
    }

    /// What is committed, and what is answered where the group takes everything.
    fn put(topics: Vec<CommitTopic>) -> (Vec<i32>, Vec<Vec<i16>>) {
        let mut world = World::new();
        world.topic("t", 2);
        let body = OffsetCommitRequest {
            group: "g".into(),
            generation: -1,
            member_id: String::new(),
            instance_id: None,
            retention_ms: None,
            topics,
        };
        let found = Found::all(&world.image, &body);
        let committed: Vec<_> = commit(&body, &found).partitions.iter().map(|asked| asked.partition.0).collect();
        let answer = answer(&body, &found, &Ok(vec![ErrorCode::NONE; committed.len()]));
        let codes = |topic: &CommittedTopic| topic.partitions.iter().map(|(_, code)| code.0).collect();
        (committed, answer.topics.iter().map(codes).collect())
    }

    #[test]
    fn only_partitions_that_are_there_are_committed() {
        let name = |name: &str| TopicRef::Name(name.into());
        let asked = vec![topic(name("t"), &[0, 2, -1, 1]), topic(name("gone"), &[0])];
        let missing = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
        assert_eq!(put(asked), (vec![0, 1], vec![vec![0, missing, missing, 0], vec![missing]]));
        let asked = vec![topic(TopicRef::Id(TopicId(uuid::Uuid::from_u128(9))), &[0])];
        assert_eq!(put(asked), (vec![], vec![vec![ErrorCode::UNKNOWN_TOPIC_ID.0]]));
    }

    #[test]
    fn a_topic_without_partitions_is_left_out() {
        let asked = vec![topic(TopicRef::Name("t".into()), &[]), topic(TopicRef::Name("gone".into()), &[])];
        assert_eq!(put(asked), (vec![], vec![]));
    }
}
