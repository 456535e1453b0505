//! OffsetFetch (v1-v10): how far groups have come. v2 all topics, and a code for the whole answer; v5 leader epochs
//! (KIP-320); v7 only offsets that no transaction holds back (KIP-447); v8 several groups (KIP-709); v9 who asks
//! (KIP-848); v10 topics by id.

use std::sync::Arc;

use super::reply::coordinated_frame;
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::coordinator::Outcome;
use crate::group::shard::{FetchedTopic, OffsetReader, WantedTopic};
use crate::metadata::image::Image;
use crate::types::TopicId;
use crate::wire::ErrorCode;
use crate::wire::offset_fetch::{
    self as wire, FetchGroup, FetchTopic, FetchedGroup, FetchedPartition, OffsetFetchResponse,
};
use crate::wire::produce::TopicRef;

/// The first version that names topics by id.
const IDS: i16 = 10;

/// One turn for each group.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let Request { header, body, .. } = request;
    let (version, correlation_id) = (header.api_version, header.correlation_id);
    let body = wire::decode(version, &body)?;
    let outcomes = body.groups.iter().map(|group| fetch(broker, group, body.require_stable)).collect();
    coordinated_frame(Outcome::all(outcomes), move |results| {
        let results = results.unwrap_or_default().into_iter().map(Result::flatten);
        let groups = body.groups.iter().zip(results).map(|(group, result)| answer(group, version, result));
        let response = OffsetFetchResponse { throttle_time_ms: 0, groups: groups.collect() };
        wire::encode_response(version, correlation_id, &response)
    })
}

fn fetch(broker: &Broker, request: &FetchGroup, require_stable: bool) -> Outcome<Result<Vec<FetchedTopic>, ErrorCode>> {
    let FetchGroup { group, member_id, member_epoch, topics } = request.clone();
    let topics = topics.map(|topics| {
        let image = broker.metadata.image();
        topics.into_iter().map(|topic| wanted(&image, topic)).collect::<Vec<_>>()
    });
    broker.groups.run(&Arc::clone(&group), move |shard, turn| {
        let reader = OffsetReader { group: &group, member_id: member_id.as_deref(), member_epoch, require_stable };
        match topics {
            Some(topics) => shard.fetch(&reader, &topics),
            None => shard.fetch_all(turn, &reader),
        }
    })
}

/// A topic by name and id; one whose id is not known has no name.
fn wanted(image: &Image, topic: FetchTopic) -> WantedTopic {
    let (name, id) = match topic.topic {
        TopicRef::Name(name) => {
            let id = image.topic(&name).map_or(TopicId::ZERO, |topic| topic.id);
            (name.as_ref().into(), id)
        }
        TopicRef::Id(id) => (image.topic_by_id(id).map_or_else(|| "".into(), |topic| Arc::clone(&topic.name)), id),
    };
    WantedTopic { name, id, partitions: topic.partitions }
}

fn answer(request: &FetchGroup, version: i16, result: Result<Vec<FetchedTopic>, ErrorCode>) -> FetchedGroup {
    match result {
        Ok(topics) => FetchedGroup {
            group: Arc::clone(&request.group),
            error: ErrorCode::NONE,
            topics: topics.into_iter().map(|topic| topic_answer(topic, version)).collect(),
        },
        Err(code) => request.refused(version, code),
    }
}

fn topic_answer(topic: FetchedTopic, version: i16) -> wire::FetchedTopic {
    // A name that is empty is one as any other.
    let is_missing = version >= IDS && topic.name.is_empty();
    let missing = if is_missing { ErrorCode::UNKNOWN_TOPIC_ID } else { ErrorCode::NONE };
    let partitions = topic.partitions.into_iter().map(|(index, offset)| match offset {
        Ok(Some(committed)) => FetchedPartition {
            index,
            offset: committed.offset,
            leader_epoch: committed.leader_epoch,
            metadata: committed.metadata,
            error: ErrorCode::NONE,
        },
        Ok(None) => FetchedPartition::without_offset(index, missing),
        Err(code) => FetchedPartition::without_offset(index, code),
    });
    let partitions = partitions.collect();
    let topic = if version < IDS { TopicRef::Name(topic.name.as_ref().into()) } else { TopicRef::Id(topic.id) };
    wire::FetchedTopic { topic, partitions }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
    use kafka_protocol::messages::{GroupId, OffsetFetchRequest, TopicName};

    use super::*;
    use crate::api::reply::text;
    use crate::api::test_support::TestBroker;
    use crate::group::offsets::CommitPartition;
    use crate::metadata::topic_name::CONSUMER_OFFSETS;
    use crate::storage::Durability;
    use crate::storage::partition_log::Origin;
    use crate::types::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, Sequence, TimestampMs};
    use crate::wire::batch::Compression;
    use crate::wire::records::BatchBuilder;

    #[test]
    fn only_an_id_can_be_of_no_topic() {
        let topic =
            FetchedTopic { name: "".into(), id: TopicId::ZERO, partitions: vec![(PartitionIndex(0), Ok(None))] };
        let code = |version| topic_answer(topic.clone(), version).partitions[0].error;
        assert_eq!(code(IDS - 1), ErrorCode::NONE);
        assert_eq!(code(IDS), ErrorCode::UNKNOWN_TOPIC_ID);
    }

    /// Code, offset, epoch and metadata of partition 0 of `t` for the group.
    async fn fetch(broker: &TestBroker, version: i16, require_stable: bool) -> (i16, i64, i32, String) {
        let topic = OffsetFetchRequestTopics::default().with_name(TopicName(text("t"))).with_partition_indexes(vec![0]);
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text("g")))
            .with_member_epoch(-1)
            .with_topics(Some(vec![topic]));
        let request = OffsetFetchRequest::default().with_groups(vec![group]).with_require_stable(require_stable);
        let answer = broker.call(version, &request).await;
        let known = &answer.groups[0].topics[0].partitions[0];
        let metadata = known.metadata.as_ref().unwrap().to_string();
        (known.error_code, known.committed_offset, known.committed_leader_epoch, metadata)
    }

    /// A transaction that the log leaves open stays open through a restart (rule 19).
    #[tokio::test]
    async fn offsets_that_a_transaction_may_change_are_held_back_from_those_who_want_stable_ones() {
        let broker = TestBroker::new();
        broker.create("t", 1).await;
        // Makes the topic of the offsets.
        assert_eq!(fetch(&broker, 9, true).await, (0, -1, -1, String::new()));
        let offset = CommitPartition {
            topic: "t".into(),
            topic_id: TopicId::ZERO,
            partition: PartitionIndex(0),
            offset: Offset(9),
            leader_epoch: LeaderEpoch(2),
            metadata: "m".into(),
        };
        // 103, the hash of `g`, modulo 50.
        let log = broker.log(CONSUMER_OFFSETS, 3);
        let append = |batch: BatchBuilder| {
            let batch = batch.build(Offset(0), Compression::None, 0).unwrap().unwrap();
            log.append(batch, Origin::Broker, TimestampMs(1)).unwrap();
        };
        let record = offset.record(&"g".into(), TimestampMs(1), None).encode();
        let batch = |sequence| BatchBuilder::new().producer(ProducerId(7), ProducerEpoch(0), sequence).transactional();
        let mut pending = batch(Sequence(0));
        pending.push(TimestampMs(1), Some(&record.key), record.value.as_deref(), std::iter::empty());
        append(pending);
        let restarted = TestBroker::open(broker.disk.restart(), Durability::Os);
        for version in 8..=9 {
            let unstable = (ErrorCode::UNSTABLE_OFFSET_COMMIT.0, -1, -1, String::new());
            assert_eq!(fetch(&restarted, version, true).await, unstable);
            assert_eq!(fetch(&restarted, version, false).await, (0, -1, -1, String::new()));
        }
        let mut marker = batch(Sequence::NONE).control();
        marker.push(TimestampMs(1), Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 0, 0, 0]), std::iter::empty());
        append(marker);
        let restarted = TestBroker::open(broker.disk.restart(), Durability::Os);
        assert_eq!(fetch(&restarted, 9, true).await, (0, 9, 2, "m".to_owned()));
    }
}
