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
mod tests {
    use super::*;
    use crate::types::PartitionIndex;

    #[test]
    fn only_an_id_can_be_of_no_topic() {
        let topic =
            FetchedTopic { name: "".into(), id: TopicId::ZERO, partitions: vec![(PartitionIndex(0), Ok(None))] };
        let code = |version| topic_answer(topic.clone(), version).partitions[0].error;
        assert_eq!(code(IDS - 1), ErrorCode::NONE);
        assert_eq!(code(IDS), ErrorCode::UNKNOWN_TOPIC_ID);
    }
}
