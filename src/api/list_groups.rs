//! ListGroups (v0-v5): all groups. v4 filter by state (KIP-518); v5 filter by type (KIP-848).

use std::sync::Arc;

use kafka_protocol::messages::list_groups_response::ListedGroup;
use kafka_protocol::messages::{ApiKey, GroupId, ListGroupsRequest, ListGroupsResponse};

use super::reply::{coordinated, text};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::coordinator::Outcome;
use crate::group::shard::Listed;
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
    let filter = Filter::of(&body);
    let outcomes = broker.groups.run_all(|shard, _| shard.list());
    coordinated(API, &header, Outcome::all(outcomes), move |results| {
        let mut response = ListGroupsResponse::default();
        for result in results.unwrap_or_default() {
            match result {
                Ok(groups) => {
                    response.groups.extend(groups.into_iter().filter(|group| filter.takes(group)).map(|group| {
                        ListedGroup::default()
                            .with_group_id(GroupId(text(&group.id)))
                            .with_protocol_type(text(&group.protocol_type))
                            .with_group_state(text(if version < STATES { "" } else { &group.state }))
                            .with_group_type(text(if version < TYPES { "" } else { group.kind }))
                    }));
                }
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

/// Which groups are asked for; all states or types where none is named. Names that Kafka does not know match no group.
struct Filter {
    states: Vec<String>,
    types: Vec<String>,
}

impl Filter {
    fn of(request: &ListGroupsRequest) -> Self {
        // Kafka trims states and not types.
        let states = request.states_filter.iter().map(|state| state.trim().to_lowercase());
        let types = request.types_filter.iter().map(|kind| kind.to_lowercase());
        Self { states: states.collect(), types: types.collect() }
    }

    fn takes(&self, group: &Listed) -> bool {
        let state = group.state.to_lowercase();
        (self.states.is_empty() || self.states.contains(&state))
            && (self.types.is_empty() || self.types.iter().any(|kind| kind == group.kind))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_and_types_are_named_in_any_case() {
        let stable = Listed {
            id: "g".to_owned(),
            protocol_type: "consumer".to_owned(),
            state: "Stable".to_owned(),
            kind: "classic",
        };
        let takes = |states: &[&str], types: &[&str]| {
            let words = |words: &[&str]| words.iter().map(|word| text(word)).collect();
            let request =
                ListGroupsRequest::default().with_states_filter(words(states)).with_types_filter(words(types));
            Filter::of(&request).takes(&stable)
        };
        assert!(takes(&[], &[]));
        assert!(takes(&["Empty", "sTABLE "], &["CLASSIC"]));
        assert!(!takes(&["Empty"], &[]));
        assert!(!takes(&[], &["consumer"]));
        assert!(!takes(&[], &[" classic"]));
        assert!(!takes(&["nothing"], &[]));
    }
}
