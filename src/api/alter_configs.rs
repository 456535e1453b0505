//! AlterConfigs (v0-v2): replaces all settings of a topic or broker; what is not named goes back to its default.
//! Deprecated for IncrementalAlterConfigs, still used by older clients.

use std::sync::Arc;

use kafka_protocol::messages::alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{AlterConfigsRequest, AlterConfigsResponse, ApiKey};

use super::reply::{later, not_written, now, sentence, text};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::metadata::configs::{Alteration, Change, alter};
use crate::metadata::image::{Resource, ResourceType};
use crate::storage::partition_log::{Durable, FlushFailed};
use crate::wire::message::decode_request;
use crate::wire::{ErrorCode, Refusal};

const API: ApiKey = ApiKey::AlterConfigs;
/// The number of the operation that sets a value.
const SET: i8 = 0;

/// Decides and writes; answers once the settings are durable.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: AlterConfigsRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let alterations = body.resources.iter().map(alteration).collect();
    match write(broker, alterations, body.validate_only) {
        (outcomes, None) => now(API, &header, &answer(&outcomes, Ok(()))),
        (outcomes, Some(durable)) => Ok(later(API, &header, durable, move |flushed| answer(&outcomes, flushed))),
    }
}

fn alteration(resource: &AlterConfigsResource) -> Alteration {
    let change = |config: &kafka_protocol::messages::alter_configs_request::AlterableConfig| Change {
        name: config.name.to_string(),
        operation: SET,
        value: config.value.as_ref().map(ToString::to_string),
    };
    Alteration {
        resource: Resource::new(ResourceType(resource.resource_type), &*resource.resource_name),
        changes: resource.configs.iter().map(change).collect(),
        replace: true,
    }
}

fn answer(outcomes: &[Outcome], flushed: Result<(), FlushFailed>) -> AlterConfigsResponse {
    let answer = |outcome: Outcome| {
        let (code, message) = outcome.code();
        AlterConfigsResourceResponse::default()
            .with_error_code(code.0)
            .with_error_message(message.map(sentence))
            .with_resource_type(outcome.resource.kind.0)
            .with_resource_name(text(&outcome.resource.name))
    };
    let outcomes = Outcome::after(outcomes, flushed);
    AlterConfigsResponse::default().with_responses(outcomes.into_iter().map(answer).collect())
}

/// What became of one resource's settings.
#[derive(Clone, Debug)]
pub(super) struct Outcome {
    /// The resource.
    pub(super) resource: Resource,
    result: Result<(), Refusal>,
}

impl Outcome {
    /// The code and message to answer.
    pub(super) fn code(&self) -> (ErrorCode, Option<String>) {
        match &self.result {
            Ok(()) => (ErrorCode::NONE, None),
            Err(refusal) => (refusal.code, refusal.message.clone()),
        }
    }

    /// With what the flush said of those that were altered.
    pub(super) fn after(outcomes: &[Self], flushed: Result<(), FlushFailed>) -> Vec<Self> {
        let failed = flushed.err().map(|error| not_written(&error));
        let after = |outcome: &Self| match (&outcome.result, &failed) {
            (Ok(()), Some((code, message))) => {
                Self { resource: outcome.resource.clone(), result: Err(Refusal::new(*code, message.as_str())) }
            }
            _ => outcome.clone(),
        };
        outcomes.iter().map(after).collect()
    }
}

/// Decides and writes; without a future nothing was written.
pub(super) fn write(
    broker: &Broker,
    alterations: Vec<Alteration>,
    validate_only: bool,
) -> (Vec<Outcome>, Option<Durable>) {
    let decided = broker.metadata.write(|context| {
        let mut decision = alter(context, &alterations);
        if validate_only {
            decision.records.clear();
        }
        decision
    });
    let (results, durable) = match decided {
        Ok((results, durable)) => (results, Some(durable)),
        Err(error) => {
            let (code, message) = not_written(&error);
            (vec![Err(Refusal::new(code, message)); alterations.len()], None)
        }
    };
    let resources = alterations.into_iter().map(|alteration| alteration.resource);
    (resources.zip(results).map(|(resource, result)| Outcome { resource, result }).collect(), durable)
}
