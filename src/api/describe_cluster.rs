//! DescribeCluster (v0-v2): the brokers and the controller, which here are one.
//!
//! v1 asks for brokers or controllers (KIP-919), v2 also for fenced brokers (KIP-1073).

use std::sync::Arc;

use kafka_protocol::messages::describe_cluster_response::DescribeClusterBroker;
use kafka_protocol::messages::{ApiKey, BrokerId, DescribeClusterRequest, DescribeClusterResponse};

use super::reply::{CLUSTER_OPERATIONS, address, now, sentence, text};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::DescribeCluster;
const BROKERS: i8 = 1;
const CONTROLLERS: i8 = 2;

/// Answers at once: nothing of it changes while the broker runs.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: DescribeClusterRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let refuse = |code: ErrorCode, message: String| {
        DescribeClusterResponse::default().with_error_code(code.0).with_error_message(Some(sentence(message)))
    };
    let response = match body.endpoint_type {
        BROKERS => {
            let (host, port) = address(broker, &request.peer);
            let node = BrokerId(broker.config.node_id.0);
            let this = DescribeClusterBroker::default()
                .with_broker_id(node)
                .with_host(host)
                .with_port(port)
                .with_rack(broker.config.rack.as_deref().map(text));
            let mut response = DescribeClusterResponse::default()
                .with_error_message(None)
                .with_cluster_id(text(broker.metadata.cluster_id()))
                .with_controller_id(node)
                .with_brokers(vec![this]);
            if body.include_cluster_authorized_operations {
                response.cluster_authorized_operations = CLUSTER_OPERATIONS;
            }
            response
        }
        CONTROLLERS => refuse(
            ErrorCode::MISMATCHED_ENDPOINT_TYPE,
            "The request was sent to an endpoint of type BROKER, but we wanted an endpoint of type CONTROLLER"
                .to_owned(),
        ),
        other => refuse(ErrorCode::UNSUPPORTED_ENDPOINT_TYPE, format!("Unsupported endpoint type {other}")),
    };
    now(API, &header, &response)
}
