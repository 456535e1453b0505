//! DescribeTopicPartitions (v0): topics and their partitions in order, a page at a time (KIP-966).
//!
//! The page ends at the smaller of the client's limit and `max.request.partition.size.limit`; the cursor says where
//! the next begins.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::describe_topic_partitions_response::{
    Cursor, DescribeTopicPartitionsResponsePartition, DescribeTopicPartitionsResponseTopic,
};
use kafka_protocol::messages::{
    ApiKey, BrokerId, DescribeTopicPartitionsRequest, DescribeTopicPartitionsResponse, TopicName,
};

use super::metadata::{nodes, offline};
use super::reply::{TOPIC_OPERATIONS, now, settled, text};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::metadata::image::{Image, Partition, Topic};
use crate::metadata::topic_name;
use crate::types::{NodeId, PartitionIndex};
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::DescribeTopicPartitions;

/// Answers from the metadata as it stands.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: DescribeTopicPartitionsRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let limit = usize::try_from(body.response_partition_limit).unwrap_or(0);
    let limit = limit.min(broker.config.limits.described_partitions).max(1);
    let from = body.cursor.as_ref().map_or("", |cursor| &cursor.topic_name);
    let first = body.cursor.as_ref().map_or(0, |cursor| cursor.partition_index);
    let names: BTreeSet<&str> = body.topics.iter().map(|topic| &**topic.name).filter(|name| *name >= from).collect();
    let all = body.topics.is_empty();
    // A cursor must point into what is asked for.
    if first < 0 || (!all && body.cursor.is_some() && !names.contains(from)) {
        return now(API, &header, &refuse_all(&body));
    }
    let response = {
        let image = broker.metadata.image();
        let mut page =
            Page { node: broker.config.node_id, left: limit, response: DescribeTopicPartitionsResponse::default() };
        // A page that is full with the last partition of a topic goes on with the next topic's first.
        let start = |name: &str| if name == from { first } else { 0 };
        if all {
            let mut topics = image.topics_from(from);
            while topics.next().is_some_and(|topic| page.add_topic(topic, start(&topic.name))) {}
        } else {
            let mut names = names.into_iter();
            while names.next().is_some_and(|name| page.add_named(&image, name, start(name))) {}
        }
        page.response
    };
    settled(broker, API, &header, response)
}

fn refuse_all(body: &DescribeTopicPartitionsRequest) -> DescribeTopicPartitionsResponse {
    let refuse = |name: &TopicName| {
        DescribeTopicPartitionsResponseTopic::default()
            .with_error_code(ErrorCode::INVALID_REQUEST.0)
            .with_name(Some(name.clone()))
    };
    DescribeTopicPartitionsResponse::default()
        .with_next_cursor(None)
        .with_topics(body.topics.iter().map(|topic| refuse(&topic.name)).collect())
}

/// The answer while it is filled.
struct Page {
    node: NodeId,
    left: usize,
    response: DescribeTopicPartitionsResponse,
}

impl Page {
    /// Adds a topic that is asked for by name; whether there is more room.
    fn add_named(&mut self, image: &Image, name: &str, first: i32) -> bool {
        if let Some(topic) = image.topic(name) {
            return self.add_topic(topic, first);
        }
        if self.left == 0 {
            return self.end(name, 0);
        }
        let valid = topic_name::validate(name).is_ok();
        let code = if valid { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION } else { ErrorCode::INVALID_TOPIC_EXCEPTION };
        self.response.topics.push(answer(name).with_error_code(code.0));
        true
    }

    fn add_topic(&mut self, topic: &Topic, first: i32) -> bool {
        if self.left == 0 {
            return self.end(&topic.name, 0);
        }
        let mut partitions = topic.partitions.range(PartitionIndex(first)..);
        let taken = partitions.by_ref().take(self.left).map(|(index, partition)| self.partition(*index, partition));
        let taken: Vec<_> = taken.collect();
        self.left -= taken.len();
        self.response.topics.push(answer(&topic.name).with_topic_id(topic.id.0).with_partitions(taken));
        match partitions.next() {
            Some((next, _)) => self.end(&topic.name, next.0),
            None => true,
        }
    }

    fn end(&mut self, topic: &str, partition: i32) -> bool {
        let cursor = Cursor::default().with_topic_name(TopicName(text(topic))).with_partition_index(partition);
        self.response.next_cursor = Some(cursor);
        false
    }

    fn partition(&self, index: PartitionIndex, partition: &Partition) -> DescribeTopicPartitionsResponsePartition {
        let code = if partition.leader.0 < 0 { ErrorCode::LEADER_NOT_AVAILABLE } else { ErrorCode::NONE };
        DescribeTopicPartitionsResponsePartition::default()
            .with_error_code(code.0)
            .with_partition_index(index.0)
            .with_leader_id(BrokerId(partition.leader.0))
            .with_leader_epoch(partition.leader_epoch.0)
            .with_replica_nodes(nodes(&partition.replicas))
            .with_isr_nodes(nodes(&partition.isr))
            .with_eligible_leader_replicas(Some(nodes(&partition.eligible_leaders)))
            .with_last_known_elr(Some(nodes(&partition.last_known_eligible)))
            .with_offline_replicas(nodes(&offline(partition, self.node)))
    }
}

fn answer(name: &str) -> DescribeTopicPartitionsResponseTopic {
    DescribeTopicPartitionsResponseTopic::default()
        .with_name(Some(TopicName(text(name))))
        .with_is_internal(topic_name::is_internal(name))
        .with_topic_authorized_operations(TOPIC_OPERATIONS)
}
