//! DescribeGroups (v0-v6): state and members of classic groups.
//!
//! v3 authorized operations; v4 static members; v6 says that a group is not there (KIP-1043), which older versions
//! call dead.

use std::sync::Arc;

use kafka_protocol::messages::describe_groups_response::DescribedGroup;
use kafka_protocol::messages::{ApiKey, DescribeGroupsRequest, DescribeGroupsResponse, GroupId};

use super::reply::{GROUP_OPERATIONS, NO_OPERATIONS, coordinated};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::coordinator::Outcome;
use crate::group::classic::describe_missing;
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::DescribeGroups;
/// The first version with static members.
const STATIC: i16 = 4;

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
                // It is refused for no other reason.
                Ok(Err(refusal)) => describe_missing(&id, version, refusal.message.as_deref().unwrap_or_default()),
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::test_support::{TestBroker, text};

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
