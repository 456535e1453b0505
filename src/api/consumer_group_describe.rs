//! ConsumerGroupDescribe (v0-v1): members, epochs, assignments of groups of the consumer protocol (KIP-848).
//!
//! v1 says which protocol a member speaks (KIP-1099).

use std::sync::Arc;

use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::{ApiKey, ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse, GroupId};

use super::reply::{GROUP_OPERATIONS, NO_OPERATIONS, coordinated, sentence};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::coordinator::Outcome;
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::ConsumerGroupDescribe;
/// The first version with the protocol of members, and what is answered where it is not told.
const MEMBER_TYPE: i16 = 1;
const UNKNOWN_TYPE: i8 = -1;

/// One turn for each group.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let version = header.api_version;
    let body: ConsumerGroupDescribeRequest = decode_request(API, version, request.body.freeze())?;
    let operations = if body.include_authorized_operations { GROUP_OPERATIONS } else { NO_OPERATIONS };
    let supported = broker.has_consumer_protocol();
    let describe = |id: &GroupId| {
        let group = id.to_string();
        if !supported {
            return Outcome::Now(Err(ErrorCode::UNSUPPORTED_VERSION));
        }
        if group.is_empty() {
            return Outcome::Now(Err(ErrorCode::INVALID_GROUP_ID));
        }
        broker.groups.run(&group.clone(), move |shard, turn| shard.describe_consumer(turn, &group))
    };
    let outcomes = body.group_ids.iter().map(describe).collect();
    coordinated(API, &header, Outcome::all(outcomes), move |results| {
        let groups = body.group_ids.into_iter().zip(results.unwrap_or_default());
        let groups = groups.map(|(id, result)| {
            let mut group = match result {
                Ok(Ok(group)) => group.with_authorized_operations(operations),
                Ok(Err(refusal)) => refused(refusal.code).with_error_message(refusal.message.map(sentence)),
                Err(code) => refused(code),
            };
            if version < MEMBER_TYPE {
                group.members.iter_mut().for_each(|member| member.member_type = UNKNOWN_TYPE);
            }
            group.with_group_id(id)
        });
        ConsumerGroupDescribeResponse::default().with_groups(groups.collect())
    })
}

fn refused(code: ErrorCode) -> DescribedGroup {
    DescribedGroup::default().with_error_code(code.0).with_authorized_operations(NO_OPERATIONS)
}
