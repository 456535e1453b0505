//! DeleteGroups (v0-v2): groups without members go, with their offsets.

use std::collections::HashSet;
use std::sync::Arc;

use kafka_protocol::messages::delete_groups_response::DeletableGroupResult;
use kafka_protocol::messages::{ApiKey, DeleteGroupsRequest, DeleteGroupsResponse, GroupId};

use super::reply::coordinated;
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::coordinator::Outcome;
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::DeleteGroups;

/// One turn for each group.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let mut body: DeleteGroupsRequest = decode_request(API, header.api_version, request.body.freeze())?;
    // A group that is named twice is answered once, or its second deletion would find nothing.
    let mut named = HashSet::new();
    body.groups_names.retain(|id| named.insert(id.clone()));
    let delete = |id: &GroupId| {
        let group = id.to_string();
        broker.groups.run(&group.clone(), move |shard, turn| shard.delete(turn, &group))
    };
    let outcomes = body.groups_names.iter().map(delete).collect();
    coordinated(API, &header, Outcome::all(outcomes), move |results| {
        let results = body.groups_names.into_iter().zip(results.unwrap_or_default()).map(|(id, result)| {
            let code = match result {
                Ok(Ok(())) => ErrorCode::NONE,
                Ok(Err(code)) | Err(code) => code,
            };
            DeletableGroupResult::default().with_group_id(id).with_error_code(code.0)
        });
        DeleteGroupsResponse::default().with_results(results.collect())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::test_support::{TestBroker, text};

    #[tokio::test]
    async fn a_group_that_is_named_twice_is_answered_once() {
        let names = ["b", "a", "b"].map(|name| GroupId(text(name)));
        let request = DeleteGroupsRequest::default().with_groups_names(names.to_vec());
        let response = TestBroker::new().call(2, &request).await;
        let results = response.results.iter().map(|result| (result.group_id.as_str(), result.error_code));
        let missing = ErrorCode::GROUP_ID_NOT_FOUND.0;
        assert_eq!(results.collect::<Vec<_>>(), [("b", missing), ("a", missing)]);
    }
}
