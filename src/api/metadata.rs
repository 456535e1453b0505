//! Metadata (v0-v13): where topics are, and whether they are. Creates topics that are asked for, where both the client
//! and `auto.create.topics.enable` allow it.
//!
//! v1 controller, racks, internal topics; v4 forbids auto-creation; v7 leader epochs; v8 operations; v10 topic ids in
//! answers, v12 in requests; v13 a top-level error code.
//!
//! Kafka answers UNKNOWN_TOPIC_OR_PARTITION for a topic that it creates meanwhile, and the client asks again; here it
//! is created before the answer, which spares clients the second question.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::metadata_response::{
    MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kafka_protocol::messages::{ApiKey, BrokerId, MetadataRequest, MetadataResponse, TopicName};
use kafka_protocol::protocol::StrBytes;
use uuid::Uuid;

use super::reply::{CLUSTER_OPERATIONS, TOPIC_OPERATIONS, address, now, settled, text};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::metadata::image::{Image, Partition, Topic};
use crate::metadata::store::new_topic_id;
use crate::metadata::topic_name;
use crate::metadata::topics::{self, NewTopic};
use crate::types::{NodeId, PartitionIndex, TopicId};
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::Metadata;
/// The first version whose requests may name topics by id alone.
const IDS: i16 = 12;

/// A topic that is asked for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Wanted {
    Name(TopicName),
    Id(Uuid),
}

/// Answers from the metadata as it stands, after creating what is missing.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let version = header.api_version;
    let body: MetadataRequest = decode_request(API, version, request.body.freeze())?;
    let wanted = match wanted(&body, version) {
        Ok(wanted) => wanted,
        Err(response) => return now(API, &header, &response),
    };
    if let Some(wanted) = &wanted
        && body.allow_auto_topic_creation
    {
        create_missing(broker, wanted);
    }
    let (host, port) = address(broker, &request.peer);
    let mut response = MetadataResponse::default().with_topics({
        let image = broker.metadata.image();
        let shape =
            Shape { version, operations: body.include_topic_authorized_operations, node: broker.config.node_id };
        match &wanted {
            None => image.topics().map(|topic| shape.topic(topic)).collect(),
            Some(wanted) => {
                let mut topics: Vec<_> = wanted.iter().map(|wanted| shape.wanted(&image, wanted)).collect();
                topics.sort_by_key(rank);
                topics
            }
        }
    });
    let node = BrokerId(broker.config.node_id.0);
    let mut this = MetadataResponseBroker::default().with_node_id(node).with_host(host).with_port(port);
    if version >= 1 {
        this.rack = broker.config.rack.as_deref().map(text);
        response.controller_id = node;
    }
    response.brokers = vec![this];
    if version >= 2 {
        response.cluster_id = Some(text(broker.metadata.cluster_id()));
    }
    if body.include_cluster_authorized_operations {
        response.cluster_authorized_operations = CLUSTER_OPERATIONS;
    }
    settled(broker, API, &header, response)
}

/// The topics that are asked for, each once; `None` for all. An error answers the whole request.
fn wanted(body: &MetadataRequest, version: i16) -> Result<Option<Vec<Wanted>>, MetadataResponse> {
    let Some(topics) = &body.topics else { return Ok(None) };
    if topics.is_empty() && version == 0 {
        return Ok(None);
    }
    let nameless = |topic: &&kafka_protocol::messages::metadata_request::MetadataRequestTopic| topic.name.is_none();
    let by_id = topics.iter().any(|topic| !topic.topic_id.is_nil());
    // Ids came with version 10, but they could not be used before 12 (KAFKA-10774).
    let invalid = if version < IDS {
        by_id || topics.iter().any(|topic| nameless(&topic))
    } else {
        !by_id && topics.iter().any(|topic| nameless(&topic))
    };
    if invalid {
        let refuse = |topic: &kafka_protocol::messages::metadata_request::MetadataRequestTopic| {
            let mut refused = MetadataResponseTopic::default()
                .with_error_code(ErrorCode::INVALID_REQUEST.0)
                .with_name(Some(topic.name.clone().unwrap_or_default()));
            refused.topic_id = topic.topic_id;
            refused
        };
        return Err(MetadataResponse::default().with_topics(topics.iter().map(refuse).collect()));
    }
    let mut seen = BTreeSet::new();
    let wanted = topics.iter().filter_map(|topic| match &topic.name {
        // One id makes all of them asked for by id; names beside it do not count.
        _ if by_id => Some(Wanted::Id(topic.topic_id)).filter(|_| !topic.topic_id.is_nil()),
        Some(name) => Some(Wanted::Name(name.clone())),
        None => None,
    });
    Ok(Some(wanted.filter(|wanted| seen.insert(wanted.clone())).collect()))
}

/// Creates the named topics that are missing and may be created.
fn create_missing(broker: &Broker, wanted: &[Wanted]) {
    if !broker.config.topics.auto_create {
        return;
    }
    let missing: Vec<NewTopic> = {
        let image = broker.metadata.image();
        let names = wanted.iter().filter_map(|wanted| match wanted {
            Wanted::Name(name) => Some(name),
            Wanted::Id(_) => None,
        });
        // Internal topics are created by what uses them, with settings of their own.
        names
            .filter(|name| image.topic(name).is_none() && !topic_name::is_internal(name))
            .map(|name| NewTopic {
                name: name.to_string(),
                partitions: -1,
                replication_factor: -1,
                ..NewTopic::default()
            })
            .collect()
    };
    if missing.is_empty() {
        return;
    }
    if let Err(error) = broker.metadata.write(|context| topics::create(context, &missing, new_topic_id)) {
        tracing::error!("topics are not created: {error}");
    }
}

/// Kafka's order: ids that nobody has, then what is there, then names that are not; in each as they were asked for.
fn rank(answer: &MetadataResponseTopic) -> u8 {
    match ErrorCode(answer.error_code) {
        ErrorCode::UNKNOWN_TOPIC_ID => 0,
        ErrorCode::NONE => 1,
        _ => 2,
    }
}

/// How topics are answered.
struct Shape {
    version: i16,
    operations: bool,
    node: NodeId,
}

impl Shape {
    fn wanted(&self, image: &Image, wanted: &Wanted) -> MetadataResponseTopic {
        let found = match wanted {
            Wanted::Name(name) => image.topic(name),
            Wanted::Id(id) => image.topic_by_id(TopicId(*id)),
        };
        match (found, wanted) {
            (Some(topic), _) => self.topic(topic),
            (None, Wanted::Name(name)) => {
                let valid = topic_name::validate(name).is_ok();
                let code =
                    if valid { ErrorCode::UNKNOWN_TOPIC_OR_PARTITION } else { ErrorCode::INVALID_TOPIC_EXCEPTION };
                let mut answer = self.named(name.0.clone()).with_error_code(code.0);
                self.operations(&mut answer);
                answer
            }
            (None, Wanted::Id(id)) => {
                let code = ErrorCode::UNKNOWN_TOPIC_ID.0;
                MetadataResponseTopic::default().with_name(None).with_topic_id(*id).with_error_code(code)
            }
        }
    }

    fn topic(&self, topic: &Topic) -> MetadataResponseTopic {
        let partitions = topic.partitions.iter().map(|(index, partition)| self.partition(*index, partition));
        let mut answer = self.named(text(&topic.name)).with_partitions(partitions.collect());
        if self.version >= 10 {
            answer.topic_id = topic.id.0;
        }
        self.operations(&mut answer);
        answer
    }

    fn named(&self, name: StrBytes) -> MetadataResponseTopic {
        let internal = self.version >= 1 && topic_name::is_internal(&name);
        MetadataResponseTopic::default().with_name(Some(TopicName(name))).with_is_internal(internal)
    }

    fn operations(&self, answer: &mut MetadataResponseTopic) {
        if self.operations {
            answer.topic_authorized_operations = TOPIC_OPERATIONS;
        }
    }

    fn partition(&self, index: PartitionIndex, partition: &Partition) -> MetadataResponsePartition {
        let code = if partition.leader.0 < 0 { ErrorCode::LEADER_NOT_AVAILABLE } else { ErrorCode::NONE };
        let mut answer = MetadataResponsePartition::default()
            .with_error_code(code.0)
            .with_partition_index(index.0)
            .with_leader_id(BrokerId(partition.leader.0))
            .with_replica_nodes(nodes(&partition.replicas))
            .with_isr_nodes(nodes(&partition.isr));
        if self.version >= 5 {
            answer.offline_replicas = nodes(&offline(partition, self.node));
        }
        if self.version >= 7 {
            answer.leader_epoch = partition.leader_epoch.0;
        }
        answer
    }
}

/// The replicas on brokers that are not there: all but this one.
pub(super) fn offline(partition: &Partition, node: NodeId) -> Vec<NodeId> {
    partition.replicas.iter().copied().filter(|replica| *replica != node).collect()
}

/// Nodes for a message.
pub(super) fn nodes(nodes: &[NodeId]) -> Vec<BrokerId> {
    nodes.iter().map(|node| BrokerId(node.0)).collect()
}
