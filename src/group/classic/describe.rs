//! DescribeGroups.

use kafka_protocol::messages::GroupId as WireGroupId;
use kafka_protocol::messages::describe_groups_response::{DescribedGroup, DescribedGroupMember};

use super::replies::text;
use super::{ClassicGroup, ClassicState};
use crate::wire::ErrorCode;

/// From this version on a group that is not there is an error (KIP-1043).
const FIRST_NOT_FOUND: i16 = 6;

/// The state of a group that is not there, as tools print it.
const DEAD: &str = "Dead";

/// The description of a group that is not there, or not a classic one.
pub fn describe_missing(id: &str, api_version: i16, why: &str) -> DescribedGroup {
    let dead = DescribedGroup::default().with_group_id(WireGroupId(text(id))).with_group_state(text(DEAD));
    if api_version < FIRST_NOT_FOUND {
        return dead;
    }
    dead.with_error_code(ErrorCode::GROUP_ID_NOT_FOUND.0).with_error_message(Some(text(why)))
}

impl ClassicGroup {
    /// Its description. What members tell about themselves is told only while the group is stable, because only then
    /// do all of them speak the same protocol.
    pub fn describe(&self) -> DescribedGroup {
        let stable = (self.state == ClassicState::Stable).then_some(self.protocol.as_deref()).flatten();
        let members = self.members.iter().map(|(id, member)| {
            DescribedGroupMember::default()
                .with_member_id(text(id))
                .with_group_instance_id(member.instance_id.as_deref().map(text))
                .with_client_id(text(&member.client_id))
                .with_client_host(text(&member.client_host))
                .with_member_metadata(stable.map(|protocol| member.metadata(protocol)).unwrap_or_default())
                .with_member_assignment(member.assignment.clone())
        });
        DescribedGroup::default()
            .with_group_id(WireGroupId(text(&self.id)))
            .with_group_state(text(self.state.name()))
            .with_protocol_type(text(self.protocol_type.as_deref().unwrap_or_default()))
            .with_protocol_data(text(stable.unwrap_or_default()))
            .with_members(members.collect())
    }
}
