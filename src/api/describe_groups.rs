//! DescribeGroups (v0-v6): state and members of classic groups.
//!
//! v3 authorized operations; v4 static members; v6 says that a group is not there (KIP-1043), which older versions
//! call dead.

use std::sync::Arc;

use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::{ApiKey, DescribeGroupsRequest, DescribeGroupsResponse, GroupId};

use super::reply::{GROUP_OPERATIONS, coordinated, sentence, text};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::coordinator::Outcome;
use crate::wire::message::decode_request;
use crate::wire::{ErrorCode, Refusal};

const API: ApiKey = ApiKey::DescribeGroups;
/// Not asked for.
const NO_OPERATIONS: i32 = i32::MIN;
/// The first version with static members.
const STATIC: i16 = 4;
/// The first version that says that a group is not there.
const NOT_FOUND: i16 = 6;
/// The state of a group that is not there.
const DEAD: &str = "Dead";

/// One turn for each group.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let version = header.api_version;
    let body: DescribeGroupsRequest = decode_request(API, version, request.body.freeze())?;
    let operations = if body.include_authorized_operations { GROUP_OPERATIONS } else { NO_OPERATIONS };
    let describe = |id: &GroupId| {
        let group = id.to_string();
        broker.groups.run(&group.clone(), move |shard, _| shard.describe_classic(&group))
    };
    let outcomes = body.groups.iter().map(describe).collect();
    coordinated(API, &header, Outcome::all(outcomes), move |results| {
        let groups = body.groups.into_iter().zip(results.unwrap_or_default()).map(|(id, result)| {
            let mut group = match result {
                Ok(Ok(group)) => group,
                Ok(Err(refusal)) => not_found(refusal, version),
                Err(code) => DescribedGroup::default().with_error_code(code.0),
            };
            if version < STATIC {
                group.members.iter_mut().for_each(|member| member.group_instance_id = None);
            }
            // Kafka has none for what is not there.
            let operations = if group.error_code == ErrorCode::NONE.0 { operations } else { NO_OPERATIONS };
            group.with_group_id(id).with_authorized_operations(operations)
        });
        DescribeGroupsResponse::default().with_groups(groups.collect())
    })
}

fn not_found(refusal: Refusal, version: i16) -> DescribedGroup {
    let group = DescribedGroup::default().with_group_state(text(DEAD));
    if version < NOT_FOUND && refusal.code == ErrorCode::GROUP_ID_NOT_FOUND {
        return group;
    }
    group.with_error_code(refusal.code.0).with_error_message(refusal.message.map(sentence))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::test_support::TestBroker;

    #[tokio::test]
    async fn operations_are_not_told_of_a_group_that_is_said_not_to_be_there() {
        let request = DescribeGroupsRequest::default()
            .with_groups(vec![GroupId(text("g"))])
            .with_include_authorized_operations(true);
        for (version, operations) in [(5, GROUP_OPERATIONS), (6, NO_OPERATIONS)] {
            let response = TestBroker::new().call(version, &request).await;
            assert_eq!(response.groups[0].authorized_operations, operations, "version {version}");
        }
    }
}
