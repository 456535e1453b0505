//! CreatePartitions (v0-v3): more partitions for topics that are there.

use std::sync::Arc;

use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_partitions_response::CreatePartitionsTopicResult;
use kafka_protocol::messages::{ApiKey, CreatePartitionsRequest, CreatePartitionsResponse, TopicName};

use super::reply::{later, not_written, now, sentence, text};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::metadata::topics::{self, MorePartitions};
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::CreatePartitions;

/// Decides and writes; answers once the partitions are durable.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: CreatePartitionsRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let wanted: Vec<MorePartitions> = body.topics.iter().map(more_partitions).collect();
    let decided = broker.metadata.write(|context| {
        let mut decision = topics::create_partitions(context, &wanted);
        if body.validate_only {
            decision.records.clear();
        }
        decision
    });
    match decided {
        Ok((results, durable)) => Ok(later(API, &header, durable, |flushed| {
            let failed = flushed.err().map(|error| not_written(&error));
            let answers = results.into_iter().map(|(name, result)| match (result, &failed) {
                (Ok(()), None) => answer(&name, ErrorCode::NONE, None),
                (Ok(()), Some((code, message))) => answer(&name, *code, Some(message.clone())),
                (Err(refusal), _) => answer(&name, refusal.code, refusal.message),
            });
            CreatePartitionsResponse::default().with_results(answers.collect())
        })),
        Err(error) => {
            let (code, message) = not_written(&error);
            let answers = wanted.iter().map(|topic| answer(&topic.name, code, Some(message.clone())));
            now(API, &header, &CreatePartitionsResponse::default().with_results(answers.collect()))
        }
    }
}

fn more_partitions(topic: &CreatePartitionsTopic) -> MorePartitions {
    let assignments = topic.assignments.as_ref().map(|assignments| {
        assignments.iter().map(|assignment| assignment.broker_ids.iter().map(|id| id.0).collect()).collect()
    });
    MorePartitions { name: topic.name.to_string(), count: topic.count, assignments }
}

fn answer(name: &str, code: ErrorCode, message: Option<String>) -> CreatePartitionsTopicResult {
    CreatePartitionsTopicResult::default()
        .with_name(TopicName(text(name)))
        .with_error_code(code.0)
        .with_error_message(message.map(sentence))
}
