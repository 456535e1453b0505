//! IncrementalAlterConfigs (v0-v1): sets, resets, and adds to and takes from lists of, settings of topics and brokers
//! (KIP-339).

use std::sync::Arc;

use kafka_protocol::messages::incremental_alter_configs_request::AlterConfigsResource;
use kafka_protocol::messages::incremental_alter_configs_response::AlterConfigsResourceResponse;
use kafka_protocol::messages::{ApiKey, IncrementalAlterConfigsRequest, IncrementalAlterConfigsResponse};

use super::alter_configs::{Outcome, write};
use super::reply::{later, now, sentence, text};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::metadata::configs::{Alteration, Change};
use crate::metadata::image::{Resource, ResourceType};
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::IncrementalAlterConfigs;

/// Decides and writes; answers once the settings are durable.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: IncrementalAlterConfigsRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let alterations = body.resources.iter().map(alteration).collect();
    match write(broker, alterations, body.validate_only) {
        (outcomes, None) => now(API, &header, &answer(&outcomes, Ok(()))),
        (outcomes, Some(durable)) => Ok(later(API, &header, durable, move |flushed| answer(&outcomes, flushed))),
    }
}

fn alteration(resource: &AlterConfigsResource) -> Alteration {
    let change = |config: &kafka_protocol::messages::incremental_alter_configs_request::AlterableConfig| Change {
        name: config.name.to_string(),
        operation: config.config_operation,
        value: config.value.as_ref().map(ToString::to_string),
    };
    Alteration {
        resource: Resource::new(ResourceType(resource.resource_type), &*resource.resource_name),
        changes: resource.configs.iter().map(change).collect(),
        replace: false,
    }
}

fn answer(
    outcomes: &[Outcome],
    flushed: Result<(), crate::storage::partition_log::FlushFailed>,
) -> IncrementalAlterConfigsResponse {
    let answer = |outcome: Outcome| {
        let (code, message) = outcome.code();
        AlterConfigsResourceResponse::default()
            .with_error_code(code.0)
            .with_error_message(message.map(sentence))
            .with_resource_type(outcome.resource.kind.0)
            .with_resource_name(text(&outcome.resource.name))
    };
    let outcomes = Outcome::after(outcomes, flushed);
    IncrementalAlterConfigsResponse::default().with_responses(outcomes.into_iter().map(answer).collect())
}
