//! What administrators see of the groups.

use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup as DescribedConsumerGroup;
use kafka_protocol::messages::describe_groups_response::DescribedGroup;

use super::{Group, Shard};
use crate::group::turn::Turn;
use crate::wire::{ErrorCode, Refusal};

/// What the members of a consumer group are.
const CONSUMER: &str = "consumer";

/// A group in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its name.
    pub id: String,
    /// What kind of members it has; empty where no member ever joined.
    pub protocol_type: String,
    /// Its state.
    pub state: String,
    /// The protocol of its members, as Kafka writes it on the wire.
    pub kind: &'static str,
}

impl Shard {
    /// ListGroups: all groups.
    pub fn list(&self) -> Vec<Listed> {
        let listed = |(id, group): (&super::GroupId, &Group)| match group {
            Group::Classic(group) => Listed {
                id: id.to_string(),
                protocol_type: group.protocol_type().unwrap_or_default().to_owned(),
                state: group.state().to_string(),
                kind: "classic",
            },
            Group::Consumer(group) => Listed {
                id: id.to_string(),
                protocol_type: CONSUMER.to_owned(),
                state: group.state().to_string(),
                kind: "consumer",
            },
        };
        self.groups.iter().map(listed).collect()
    }

    /// DescribeGroups: GROUP_ID_NOT_FOUND for a group that is not there or not a classic one.
    pub fn describe_classic(&self, id: &str) -> Result<DescribedGroup, Refusal> {
        match self.groups.get(id) {
            Some(Group::Classic(group)) => Ok(group.describe()),
            Some(Group::Consumer(_)) => Err(not_found(format!("Group {id} is not a classic group."))),
            None => Err(not_found(format!("Group {id} not found."))),
        }
    }

    /// ConsumerGroupDescribe: GROUP_ID_NOT_FOUND for a group that is not there or not one of consumers.
    pub fn describe_consumer(&self, turn: &Turn<'_>, id: &str) -> Result<DescribedConsumerGroup, Refusal> {
        match self.groups.get(id) {
            Some(Group::Consumer(group)) => Ok(group.describe(turn.image, turn.config)),
            Some(Group::Classic(_)) => Err(not_found(format!("Group {id} is not a consumer group."))),
            None => Err(not_found(format!("Group {id} not found."))),
        }
    }
}

fn not_found(message: String) -> Refusal {
    Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, message)
}
