//! DeleteTopics (v1-v6): topics go with their records, settings and ids.
//!
//! v5 says why (error_message), v6 takes ids (KIP-516). Where `delete.topic.enable` is false nothing is deleted.

use std::sync::Arc;

use kafka_protocol::messages::delete_topics_response::DeletableTopicResult;
use kafka_protocol::messages::{ApiKey, DeleteTopicsRequest, DeleteTopicsResponse, TopicName};

use super::reply::{later, not_written, now, sentence, text};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::metadata::topics::{self, Deleted, Deletion};
use crate::types::TopicId;
use crate::wire::message::decode_request;
use crate::wire::{ErrorCode, Refusal};

const API: ApiKey = ApiKey::DeleteTopics;
/// The first version that knows TOPIC_DELETION_DISABLED.
const KNOWS_DISABLED: i16 = 3;
/// The first version with messages.
const MESSAGES: i16 = 5;
/// The first version with ids.
const IDS: i16 = 6;

/// Decides and writes; answers once the deletion is durable and the folders are gone.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let version = header.api_version;
    let body: DeleteTopicsRequest = decode_request(API, version, request.body.freeze())?;
    let topics = deletions(&body, version);
    let refuse_all = |code: ErrorCode, message: &str| {
        let refuse = |topic: &Deletion| {
            let result = Err(Refusal::new(code, message));
            answer(version, Deleted { name: topic.name.clone(), id: topic.id, result })
        };
        DeleteTopicsResponse::default().with_responses(topics.iter().map(refuse).collect())
    };
    if !broker.config.topics.deletable {
        let code =
            if version < KNOWS_DISABLED { ErrorCode::INVALID_REQUEST } else { ErrorCode::TOPIC_DELETION_DISABLED };
        return now(API, &header, &refuse_all(code, "Topic deletion is disabled (delete.topic.enable=false)."));
    }
    match broker.metadata.write(|context| topics::delete(context, &topics)) {
        Ok((deleted, durable)) => Ok(later(API, &header, durable, {
            let broker = Arc::clone(broker);
            move |flushed| {
                forget_offsets(&broker, &deleted);
                let failed = flushed.err().map(|error| not_written(&error));
                let answers = deleted.into_iter().map(|mut deleted| {
                    if let (Ok(()), Some((code, message))) = (&deleted.result, &failed) {
                        deleted.result = Err(Refusal::new(*code, message.as_str()));
                    }
                    answer(version, deleted)
                });
                DeleteTopicsResponse::default().with_responses(answers.collect())
            }
        })),
        Err(error) => {
            let (code, message) = not_written(&error);
            now(API, &header, &refuse_all(code, &message))
        }
    }
}

/// What groups have committed of a topic goes with it.
fn forget_offsets(broker: &Broker, deleted: &[Deleted]) {
    let topics = deleted.iter().filter(|deleted| deleted.result.is_ok());
    let topics: Vec<_> = topics.filter_map(|topic| Some((topic.name.as_deref()?.into(), topic.id))).collect();
    broker.groups.topics_deleted(&topics);
}

fn deletions(body: &DeleteTopicsRequest, version: i16) -> Vec<Deletion> {
    let named = |name: &TopicName| Deletion { name: Some(name.to_string()), id: TopicId::ZERO };
    if version < IDS {
        return body.topic_names.iter().map(named).collect();
    }
    let topics = body.topics.iter();
    topics
        .map(|topic| Deletion { name: topic.name.as_ref().map(|name| name.to_string()), id: TopicId(topic.topic_id) })
        .collect()
}

fn answer(version: i16, deleted: Deleted) -> DeletableTopicResult {
    let (code, message) = match deleted.result {
        Ok(()) => (ErrorCode::NONE, None),
        Err(refusal) => (refusal.code, refusal.message),
    };
    let mut answer = DeletableTopicResult::default()
        .with_name(deleted.name.map(|name| TopicName(text(&name))))
        .with_error_code(code.0)
        .with_error_message(message.filter(|_| version >= MESSAGES).map(sentence));
    if version >= IDS {
        answer.topic_id = deleted.id.0;
    }
    answer
}
