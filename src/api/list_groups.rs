//! ListGroups (v0-v5): all groups. v4 filter by state (KIP-518); v5 filter by type (KIP-848).

use std::sync::Arc;

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{ApiKey, GroupId, ListGroupsRequest, ListGroupsResponse};
use kafka_protocol::protocol::StrBytes;

use super::reply::{coordinated, text};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::coordinator::Outcome;
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::ListGroups;
/// The first version with states.
const STATES: i16 = 4;
/// The first version with types.
const TYPES: i16 = 5;

/// One turn of every shard.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let version = header.api_version;
    let body: ListGroupsRequest = decode_request(API, version, request.body.freeze())?;
    // Kafka trims states and not types.
    let states = lower_case(body.states_filter.iter().map(|state| state.trim()));
    let types = lower_case(body.types_filter.iter().map(StrBytes::as_str));
    let outcomes = broker.groups.run_all(|shard, _| shard.list());
    coordinated(API, &header, Outcome::all(outcomes), move |results| {
        let mut response = ListGroupsResponse::default();
        for result in results.unwrap_or_default() {
            match result {
                Ok(groups) => response.groups.extend(
                    groups
                        .into_iter()
                        .filter(|group| states.is_empty() || states.contains(&group.state.to_lowercase()))
                        .filter(|group| types.is_empty() || types.iter().any(|wanted| wanted == group.kind))
                        .map(|group| {
                            ListedGroup::default()
                                .with_group_id(GroupId(text(&group.id)))
                                .with_protocol_type(text(&group.protocol_type))
                                .with_group_state(text(if version < STATES { "" } else { &group.state }))
                                .with_group_type(text(if version < TYPES { "" } else { group.kind }))
                        }),
                ),
                // What cannot be listed must not look as if it were not there.
                Err(code) => return refused(code),
            }
        }
        response
    })
}

fn refused(code: ErrorCode) -> ListGroupsResponse {
    ListGroupsResponse::default().with_error_code(code.0)
}

fn lower_case<'a>(filter: impl Iterator<Item = &'a str>) -> Vec<String> {
    filter.map(str::to_lowercase).collect()
}
