//! ListConfigResources (v0-v1): what has settings that can be described (KIP-1142).
//!
//! v0 was ListClientMetricsResources: there are no client metrics here, so that it lists nothing.

use std::sync::Arc;

use kafka_protocol::messages::list_config_resources_response::ConfigResource;
use kafka_protocol::messages::{ApiKey, ListConfigResourcesRequest, ListConfigResourcesResponse};

use super::reply::{now, settled, text};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::metadata::image::ResourceType;
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::ListConfigResources;
/// The types that Kafka lists, in its order.
const TYPES: [ResourceType; 5] = [
    ResourceType::GROUP,
    ResourceType::CLIENT_METRICS,
    ResourceType::BROKER_LOGGER,
    ResourceType::BROKER,
    ResourceType::TOPIC,
];

/// Answers from the metadata as it stands.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: ListConfigResourcesRequest = decode_request(API, header.api_version, request.body.freeze())?;
    if body.resource_types.iter().any(|wanted| !TYPES.contains(&ResourceType(*wanted))) {
        let code = ErrorCode::UNSUPPORTED_VERSION.0;
        return now(API, &header, &ListConfigResourcesResponse::default().with_error_code(code));
    }
    let wanted = |kind: ResourceType| {
        header.api_version > 0 && (body.resource_types.is_empty() || body.resource_types.contains(&kind.0))
    };
    let resource = |kind: ResourceType, name: &str| {
        let mut resource = ConfigResource::default().with_resource_name(text(name));
        resource.resource_type = kind.0;
        resource
    };
    let image = broker.metadata.image();
    let mut resources = Vec::new();
    if wanted(ResourceType::GROUP) {
        // Groups that have settings, whether they exist or not.
        let groups = image.configured().filter(|(configured, _)| configured.kind == ResourceType::GROUP);
        resources.extend(groups.map(|(configured, _)| resource(ResourceType::GROUP, &configured.name)));
    }
    if wanted(ResourceType::BROKER) {
        resources.push(resource(ResourceType::BROKER, &broker.config.node_id.to_string()));
    }
    if wanted(ResourceType::TOPIC) {
        resources.extend(image.topics().map(|topic| resource(ResourceType::TOPIC, &topic.name)));
    }
    drop(image);
    settled(broker, API, &header, ListConfigResourcesResponse::default().with_config_resources(resources))
}
