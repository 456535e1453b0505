//! OffsetDelete (v0): committed offsets of topics that no member of the group reads go (KIP-496).

use std::sync::Arc;

use kafka_protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{ApiKey, OffsetDeleteRequest, OffsetDeleteResponse};

use super::reply::coordinated;
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::group::shard::Shard;
use crate::group::turn::Turn;
use crate::types::PartitionIndex;
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::OffsetDelete;

/// One turn of the group.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: OffsetDeleteRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let group = body.group_id.to_string();
    let outcome = broker.groups.run(&group, move |shard, turn| delete(shard, turn, &body));
    coordinated(API, &header, outcome, move |result| {
        result.flatten().unwrap_or_else(|code| OffsetDeleteResponse::default().with_error_code(code.0))
    })
}

/// The group is asked first: where it refuses, nothing is said of topics.
fn delete(
    shard: &mut Shard,
    turn: &mut Turn<'_>,
    body: &OffsetDeleteRequest,
) -> Result<OffsetDeleteResponse, ErrorCode> {
    if body.group_id.is_empty() {
        return Err(ErrorCode::INVALID_GROUP_ID);
    }
    let mut deletion = shard.delete_offsets(&body.group_id)?;
    let topics = body.topics.iter().filter(|topic| !topic.partitions.is_empty());
    let topics = topics.map(|topic| {
        answer(topic, |index| match turn.image.partition(&topic.name, index) {
            Some(_) => deletion.delete(turn, &topic.name, index),
            None => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
        })
    });
    Ok(OffsetDeleteResponse::default().with_topics(topics.collect()))
}

fn answer(
    topic: &OffsetDeleteRequestTopic,
    mut code: impl FnMut(PartitionIndex) -> ErrorCode,
) -> OffsetDeleteResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| {
        OffsetDeleteResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_error_code(code(PartitionIndex(partition.partition_index)).0)
    });
    OffsetDeleteResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
}

#[cfg(test)]
mod tests {
    use kafka_protocol::messages::offset_delete_request::OffsetDeleteRequestPartition;
    use kafka_protocol::messages::{GroupId, TopicName};

    use super::*;
    use crate::api::test_support::text;
    use crate::group::offsets::{Commit, CommitPartition};
    use crate::group::test_support::World;
    use crate::types::{LeaderEpoch, Offset};

    fn request(group: &str, topics: &[(&str, &[i32])]) -> OffsetDeleteRequest {
        let topic = |(name, partitions): &(&str, &[i32])| {
            let partition = |index: &i32| OffsetDeleteRequestPartition::default().with_partition_index(*index);
            OffsetDeleteRequestTopic::default()
                .with_name(TopicName(text(name)))
                .with_partitions(partitions.iter().map(partition).collect())
        };
        OffsetDeleteRequest::default()
            .with_group_id(GroupId(text(group)))
            .with_topics(topics.iter().map(topic).collect())
    }

    /// The codes by topic for group `g`, which has committed for partition 0 of `t`.
    fn put(body: &OffsetDeleteRequest) -> Result<Vec<Vec<i16>>, ErrorCode> {
        let mut world = World::new();
        let id = world.topic("t", 2);
        let committed = CommitPartition {
            topic: "t".into(),
            topic_id: id,
            partition: PartitionIndex(0),
            offset: Offset(5),
            leader_epoch: LeaderEpoch::NONE,
            metadata: "".into(),
        };
        let commit = Commit {
            group: "g".into(),
            member_id: String::new(),
            instance_id: None,
            generation: -1,
            retention_ms: None,
            partitions: vec![committed],
        };
        let mut shard = Shard::default();
        shard.commit(&mut world.turn(), 8, &commit)?;
        let answer = delete(&mut shard, &mut world.turn(), body)?;
        let codes = |topic: &OffsetDeleteResponseTopic| topic.partitions.iter().map(|one| one.error_code).collect();
        Ok(answer.topics.iter().map(codes).collect())
    }

    #[test]
    fn the_group_is_asked_before_topics_are_looked_for() {
        assert_eq!(put(&request("", &[("t", &[0])])), Err(ErrorCode::INVALID_GROUP_ID));
        assert_eq!(put(&request("h", &[("gone", &[0])])), Err(ErrorCode::GROUP_ID_NOT_FOUND));
    }

    #[test]
    fn what_is_not_there_is_told_by_partition() {
        let missing = ErrorCode::UNKNOWN_TOPIC_OR_PARTITION.0;
        let asked = request("g", &[("t", &[0, 2, -1, 1]), ("gone", &[0]), ("t", &[])]);
        assert_eq!(put(&asked), Ok(vec![vec![0, missing, missing, 0], vec![missing]]));
    }
}
