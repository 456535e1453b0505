//! OffsetFetch (v1-v9): how far groups have come. v2 all topics, and a code for the whole answer; v5 leader epochs
//! (KIP-320); v7 only offsets that no transaction holds back (KIP-447); v8 several groups (KIP-709); v9 who asks
//! (KIP-848).

use std::sync::Arc;

use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::offset_fetch_response::{
    OffsetFetchResponseGroup, OffsetFetchResponsePartition, OffsetFetchResponsePartitions, OffsetFetchResponseTopic,
    OffsetFetchResponseTopics,
};
use kafka_protocol::messages::{ApiKey, OffsetFetchRequest, OffsetFetchResponse, TopicName};

use super::reply::{coordinated, text};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::coordinator::Outcome;
use crate::group::shard::{FetchedTopic, WantedTopic};
use crate::types::{PartitionIndex, TopicId};
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::OffsetFetch;
/// The first version with a code for the whole answer.
const TOP_LEVEL: i16 = 2;
/// The first version with leader epochs.
const LEADER_EPOCHS: i16 = 5;
/// The first version with several groups.
const BATCHED: i16 = 8;
/// What is answered for a partition without an offset.
const NO_OFFSET: i64 = -1;

/// One turn for each group.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let version = header.api_version;
    let body: OffsetFetchRequest = decode_request(API, version, request.body.freeze())?;
    let groups = if version < BATCHED { vec![only_group(body)] } else { body.groups };
    let outcomes = groups.iter().map(|group| fetch(broker, group)).collect();
    coordinated(API, &header, Outcome::all(outcomes), move |results| {
        let results = results.unwrap_or_default().into_iter().map(Result::flatten);
        let answers = groups.into_iter().zip(results).map(|(group, result)| answer(group, result));
        if version < BATCHED {
            return answers.map(|group| single(group, version)).next().unwrap_or_default();
        }
        OffsetFetchResponse::default().with_groups(answers.collect())
    })
}

/// The form before several groups.
fn only_group(body: OffsetFetchRequest) -> OffsetFetchRequestGroup {
    let topics = body.topics.map(|topics| {
        let topics = topics.into_iter();
        let topic = |topic: kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestTopic| {
            OffsetFetchRequestTopics::default().with_name(topic.name).with_partition_indexes(topic.partition_indexes)
        };
        topics.map(topic).collect()
    });
    OffsetFetchRequestGroup::default().with_group_id(body.group_id).with_member_epoch(-1).with_topics(topics)
}

fn fetch(broker: &Broker, request: &OffsetFetchRequestGroup) -> Outcome<Result<Vec<FetchedTopic>, ErrorCode>> {
    let group = request.group_id.to_string();
    let member = request.member_id.as_ref().map(ToString::to_string);
    let epoch = request.member_epoch;
    let topics: Option<Vec<WantedTopic>> = request.topics.as_ref().map(|topics| {
        let image = broker.metadata.image();
        let wanted = |topic: &OffsetFetchRequestTopics| WantedTopic {
            name: topic.name.as_str().into(),
            id: image.topic(&topic.name).map_or(TopicId::ZERO, |topic| topic.id),
            partitions: topic.partition_indexes.iter().copied().map(PartitionIndex).collect(),
        };
        topics.iter().map(wanted).collect()
    });
    broker.groups.run(&group.clone(), move |shard, turn| match topics {
        Some(topics) => shard.fetch(&group, (member.as_deref(), epoch), &topics),
        None => shard.fetch_all(turn, &group, (member.as_deref(), epoch)),
    })
}

fn answer(request: OffsetFetchRequestGroup, result: Result<Vec<FetchedTopic>, ErrorCode>) -> OffsetFetchResponseGroup {
    let group = OffsetFetchResponseGroup::default().with_group_id(request.group_id);
    match result {
        Ok(topics) => group.with_topics(topics.iter().map(topic_answer).collect()),
        Err(code) => group.with_error_code(code.0),
    }
}

fn topic_answer(topic: &FetchedTopic) -> OffsetFetchResponseTopics {
    let partitions = topic.partitions.iter().map(|(index, offset)| {
        let partition = OffsetFetchResponsePartitions::default().with_partition_index(index.0);
        match offset {
            Some(offset) => partition
                .with_committed_offset(offset.offset.0)
                .with_committed_leader_epoch(offset.leader_epoch.0)
                .with_metadata(Some(text(&offset.metadata))),
            None => partition.with_committed_offset(NO_OFFSET).with_metadata(Some(text(""))),
        }
    });
    OffsetFetchResponseTopics::default().with_name(TopicName(text(&topic.name))).with_partitions(partitions.collect())
}

/// The form before several groups.
fn single(group: OffsetFetchResponseGroup, version: i16) -> OffsetFetchResponse {
    let code = group.error_code;
    let topics = group.topics.into_iter().map(|topic| {
        let partitions = topic.partitions.into_iter().map(|partition| {
            let epoch = if version < LEADER_EPOCHS { -1 } else { partition.committed_leader_epoch };
            OffsetFetchResponsePartition::default()
                .with_partition_index(partition.partition_index)
                .with_committed_offset(partition.committed_offset)
                .with_committed_leader_epoch(epoch)
                .with_metadata(partition.metadata)
                .with_error_code(if version < TOP_LEVEL { code } else { partition.error_code })
        });
        OffsetFetchResponseTopic::default().with_name(topic.name).with_partitions(partitions.collect())
    });
    let topics = topics.collect();
    OffsetFetchResponse::default().with_topics(topics).with_error_code(if version < TOP_LEVEL { 0 } else { code })
}
