//! CreateTopics (v2-v7): new topics, each created whole or refused with a reason.
//!
//! v4 defaults for partitions and replicas (KIP-464), v5 answers the topic's settings (KIP-525), v7 its id (KIP-516).

use std::sync::Arc;

use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::create_topics_response::{CreatableTopicConfigs, CreatableTopicResult};
use kafka_protocol::messages::{ApiKey, CreateTopicsRequest, CreateTopicsResponse, TopicName};

use super::reply::{later, not_written, now, sentence, text};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::config;
use crate::metadata::decide::Context;
use crate::metadata::store::new_topic_id;
use crate::metadata::topics::{self, Created, NewTopic};
use crate::wire::message::decode_request;
use crate::wire::{ErrorCode, Refusal};

const API: ApiKey = ApiKey::CreateTopics;

/// Decides and writes; answers once the topics are durable.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let version = header.api_version;
    let body: CreateTopicsRequest = decode_request(API, version, request.body.freeze())?;
    let wanted: Vec<NewTopic> = body.topics.iter().map(new_topic).collect();
    let decided = broker.metadata.write(|context| {
        let mut decision = topics::create(context, &wanted, new_topic_id);
        let reply = std::mem::take(&mut decision.reply);
        let results = reply.into_iter().map(|(name, result)| answer(context, version, &name, result));
        let results = results.collect::<Vec<_>>();
        let records = if body.validate_only { Vec::new() } else { decision.records };
        crate::metadata::decide::Decision { records, reply: results }
    });
    match decided {
        Ok((results, durable)) => Ok(later(API, &header, durable, |flushed| {
            let mut results = results;
            if let Err(error) = flushed {
                let (code, message) = not_written(&error);
                for result in results.iter_mut().filter(|result| result.error_code == ErrorCode::NONE.0) {
                    *result = refused(&result.name, code, Some(message.clone()));
                }
            }
            CreateTopicsResponse::default().with_topics(results)
        })),
        Err(error) => {
            let (code, message) = not_written(&error);
            let results = body.topics.iter().map(|topic| refused(&topic.name, code, Some(message.clone())));
            now(API, &header, &CreateTopicsResponse::default().with_topics(results.collect()))
        }
    }
}

fn new_topic(topic: &CreatableTopic) -> NewTopic {
    let assignment = |assignment: &kafka_protocol::messages::create_topics_request::CreatableReplicaAssignment| {
        (assignment.partition_index, assignment.broker_ids.iter().map(|id| id.0).collect())
    };
    let config = |config: &kafka_protocol::messages::create_topics_request::CreatableTopicConfig| {
        (config.name.to_string(), config.value.as_ref().map(ToString::to_string))
    };
    NewTopic {
        name: topic.name.to_string(),
        partitions: topic.num_partitions,
        replication_factor: topic.replication_factor,
        assignments: topic.assignments.iter().map(assignment).collect(),
        configs: topic.configs.iter().map(config).collect(),
    }
}

fn answer(context: Context<'_>, version: i16, name: &str, result: Result<Created, Refusal>) -> CreatableTopicResult {
    let name = TopicName(text(name));
    let created = match result {
        Ok(created) => created,
        Err(refusal) => return refused(&name, refusal.code, refusal.message),
    };
    let mut answer = CreatableTopicResult::default().with_name(name).with_error_message(None);
    if version >= 7 {
        answer.topic_id = created.id.0;
    }
    if version >= 5 {
        answer.num_partitions = created.partitions as i32;
        answer.replication_factor = created.replication_factor;
        // The settings were checked when the topic was decided upon.
        let described = config::describe_topic(context.config, context.dynamic(), &created.overrides);
        let given = |mut described: config::Described| {
            // Kafka repeats what was asked for, down to the spaces; only DescribeConfigs says what it reads there.
            if let Some(given) = created.overrides.get(&*described.name) {
                described.value = Some(given.clone());
            }
            setting(described)
        };
        answer.configs = Some(described.unwrap_or_default().into_iter().map(given).collect());
    }
    answer
}

fn setting(described: config::Described) -> CreatableTopicConfigs {
    CreatableTopicConfigs::default()
        .with_name(text(&described.name))
        .with_value(described.value.map(sentence))
        .with_read_only(described.read_only)
        .with_config_source(described.source.code())
        .with_is_sensitive(described.sensitive)
}

fn refused(name: &TopicName, code: ErrorCode, message: Option<String>) -> CreatableTopicResult {
    CreatableTopicResult::default()
        .with_name(name.clone())
        .with_error_code(code.0)
        .with_error_message(message.map(sentence))
}
