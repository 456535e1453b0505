//! DescribeConfigs (v1-v4): settings with their values, where these come from, and what else is set below them.
//!
//! v1 sources and synonyms (KIP-226), v3 types and documentation (KIP-569), v4 compact.

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_configs_response::{
    DescribeConfigsResourceResult, DescribeConfigsResult, DescribeConfigsSynonym,
};
use kafka_protocol::messages::{ApiKey, DescribeConfigsRequest, DescribeConfigsResponse};
use kafka_protocol::protocol::StrBytes;

use super::reply::{sentence, settled, text};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::config::{self, Described};
use crate::metadata::configs::unsupported;
use crate::metadata::decide::{Context, group_overrides, topic_overrides};
use crate::metadata::image::ResourceType;
use crate::metadata::topic_name;
use crate::wire::message::decode_request;
use crate::wire::{ErrorCode, Refusal};

const API: ApiKey = ApiKey::DescribeConfigs;
/// The first version with types and documentation.
const TYPES: i16 = 3;
/// The type of a setting that only a plugin knows.
const UNKNOWN_TYPE: i8 = 0;

/// Answers from the metadata as it stands.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: DescribeConfigsRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let results = {
        let image = broker.metadata.image();
        let context = broker.metadata.context(&image);
        // A client asks for a resource once; asked again in other words it would multiply the answer.
        let mut seen = HashSet::new();
        let resources = body.resources.iter().filter(|resource| seen.insert(identity(resource)));
        resources.map(|resource| result(context, header.api_version, &body, resource)).collect()
    };
    settled(broker, API, &header, DescribeConfigsResponse::default().with_results(results))
}

/// A broker's number can be written in many ways.
fn identity(resource: &DescribeConfigsResource) -> (i8, &str, Option<i32>) {
    let name = &*resource.resource_name;
    match ResourceType(resource.resource_type) {
        ResourceType::BROKER if name.parse::<i32>().is_ok() => (resource.resource_type, "", name.parse().ok()),
        _ => (resource.resource_type, name, None),
    }
}

fn result(
    context: Context<'_>,
    version: i16,
    body: &DescribeConfigsRequest,
    resource: &DescribeConfigsResource,
) -> DescribeConfigsResult {
    // Kafka sends an empty message where there is none.
    let answer = DescribeConfigsResult::default()
        .with_resource_type(resource.resource_type)
        .with_resource_name(resource.resource_name.clone())
        .with_error_message(Some(StrBytes::new()));
    match describe(context, ResourceType(resource.resource_type), &resource.resource_name) {
        Ok(described) => {
            // No names ask for all.
            let keys = resource.configuration_keys.as_ref().filter(|keys| !keys.is_empty());
            let wanted = |name: &str| keys.is_none_or(|keys| keys.iter().any(|key| **key == *name));
            let settings = described.into_iter().filter(|setting| wanted(&setting.name));
            answer.with_configs(settings.map(|described| setting(version, body, described)).collect())
        }
        Err(refusal) => answer
            .with_error_code(refusal.code.0)
            .with_error_message(Some(refusal.message.map(sentence).unwrap_or_default())),
    }
}

fn describe(context: Context<'_>, kind: ResourceType, name: &str) -> Result<Vec<Described>, Refusal> {
    let invalid = |message: String| Refusal::new(ErrorCode::INVALID_REQUEST, message);
    let node = context.node();
    let described = match (kind, name) {
        (ResourceType::TOPIC, name) => {
            topic_name::validate(name).map_err(|message| Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message))?;
            if context.image.topic(name).is_none() {
                return Err(Refusal::bare(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION));
            }
            config::describe_topic(context.config, context.dynamic(), topic_overrides(context.image, name))
        }
        (ResourceType::GROUP, "") => return Err(invalid("Group name must not be empty".to_owned())),
        (ResourceType::GROUP, name) => {
            config::describe_group(context.config, context.dynamic(), group_overrides(context.image, name))
        }
        (ResourceType::BROKER, "") => Ok(config::describe_cluster(context.dynamic())),
        (ResourceType::BROKER, name) => match name.parse::<i32>() {
            Ok(id) if id == node.0 => config::describe_broker(context.config, context.dynamic()),
            Ok(id) => {
                return Err(invalid(format!(
                    "Unexpected broker id, expected {node} or empty string, but received {id}"
                )));
            }
            Err(_) => return Err(invalid(format!("Broker id must be an integer, but it is: {name}"))),
        },
        (kind, _) => {
            return Err(invalid(match unsupported(kind) {
                Some(what) => format!("This version of Ottla has no settings of {what}"),
                None => format!("Unknown resource type {}", kind.0),
            }));
        }
    };
    described.map_err(|error| Refusal::new(ErrorCode::UNKNOWN_SERVER_ERROR, error.to_string()))
}

fn setting(version: i16, body: &DescribeConfigsRequest, described: Described) -> DescribeConfigsResourceResult {
    let synonym = |synonym: config::DescribedSynonym| {
        DescribeConfigsSynonym::default()
            .with_name(text(&synonym.name))
            .with_value(synonym.value.map(sentence))
            .with_source(synonym.source.code())
    };
    let mut answer = DescribeConfigsResourceResult::default()
        .with_name(text(&described.name))
        .with_value(described.value.map(sentence))
        .with_read_only(described.read_only)
        .with_is_sensitive(described.sensitive)
        .with_config_source(described.source.code())
        .with_documentation(None);
    if body.include_synonyms {
        answer.synonyms = described.synonyms.into_iter().map(synonym).collect();
    }
    if version >= TYPES {
        answer.config_type = described.kind.map_or(UNKNOWN_TYPE, config::Type::code);
        if body.include_documentation {
            answer.documentation = described.documentation.map(StrBytes::from_static_str);
        }
    }
    answer
}
