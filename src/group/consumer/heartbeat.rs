//! ConsumerGroupHeartbeat: joining, staying, leaving.

use std::sync::Arc;

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as OwnedPartitions;
use kafka_protocol::messages::consumer_group_heartbeat_response::{Assignment, TopicPartitions};
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse};
use kafka_protocol::protocol::StrBytes;

use super::{ConsumerGroup, LEAVE, LEAVE_STATIC, Member, SubscriptionChange};
use crate::group::MemberId;
use crate::group::config::{Assignor, GroupsConfig};
use crate::group::records::{CurrentAssignment, MemberState};
use crate::group::regex;
use crate::group::timers::Timer;
use crate::group::turn::{Client, Turn};
use crate::types::{PartitionIndex, TopicId};
use crate::wire::{ErrorCode, Refusal};

/// What a member says it owns; `None` where it does not say.
pub type Owned<'a> = Option<&'a [OwnedPartitions]>;

/// How a member that is welcome stands to the group.
enum Place {
    /// Nobody has its id.
    New(MemberId),
    /// It is a member.
    Known(MemberId),
    /// It takes the place of the static member that left for a while.
    Takes { old: MemberId, id: MemberId },
}

/// Refuses a heartbeat that no group could take. To be asked before the group is looked up, as Kafka does.
///
/// INVALID_REQUEST for a field that is missing, empty or out of place; UNSUPPORTED_ASSIGNOR.
pub fn check_heartbeat(
    config: &GroupsConfig,
    api_version: i16,
    request: &ConsumerGroupHeartbeatRequest,
) -> Result<(), Refusal> {
    let epoch = request.member_epoch;
    // The first heartbeat of version 0 asks the broker for an id.
    if (api_version >= 1 || epoch > 0 || epoch == LEAVE) && is_blank(&request.member_id) {
        return Err(invalid("MemberId can't be empty."));
    }
    if is_blank(&request.group_id.0) {
        return Err(invalid("GroupId can't be empty."));
    }
    if request.instance_id.as_ref().is_some_and(is_blank) {
        return Err(invalid("InstanceId can't be empty."));
    }
    if request.rack_id.as_ref().is_some_and(is_blank) {
        return Err(invalid("RackId can't be empty."));
    }
    match epoch {
        0 => check_join(request)?,
        LEAVE_STATIC if request.instance_id.is_none() => return Err(invalid("InstanceId can't be null.")),
        ..LEAVE_STATIC => return Err(invalid("MemberEpoch is invalid.")),
        _ => {}
    }
    check_assignor(config, request.server_assignor.as_deref())
}

fn check_join(request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
    if request.rebalance_timeout_ms == -1 {
        return Err(invalid("RebalanceTimeoutMs must be provided in first request."));
    }
    if request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
        return Err(invalid("TopicPartitions must be empty when (re-)joining."));
    }
    if request.subscribed_topic_names.is_none() && request.subscribed_topic_regex.is_none() {
        return Err(invalid("Either SubscribedTopicNames or SubscribedTopicRegex must be non-null when (re-)joining."));
    }
    Ok(())
}

fn check_assignor(config: &GroupsConfig, name: Option<&str>) -> Result<(), Refusal> {
    let Some(name) = name else { return Ok(()) };
    if config.assignors.iter().any(|assignor| assignor.name() == name) {
        return Ok(());
    }
    let known: Vec<&str> = config.assignors.iter().copied().map(Assignor::name).collect();
    let message = format!("ServerAssignor {name} is not supported. Supported assignors: {}.", known.join(", "));
    Err(Refusal::new(ErrorCode::UNSUPPORTED_ASSIGNOR, message))
}

fn is_blank(text: &StrBytes) -> bool {
    text.trim().is_empty()
}

fn invalid(message: &str) -> Refusal {
    Refusal::new(ErrorCode::INVALID_REQUEST, message)
}

/// Whether a heartbeat makes a group that is not there (or takes over one that is another's and empty): only a member
/// that joins does. Others are refused with [`group_not_found`].
pub const fn creates_group(request: &ConsumerGroupHeartbeatRequest) -> bool {
    request.member_epoch == 0
}

/// The answer to the heartbeat of a member that left.
pub fn left(request: &ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatResponse {
    ConsumerGroupHeartbeatResponse::default()
        .with_member_id(Some(request.member_id.clone()))
        .with_member_epoch(request.member_epoch)
}

/// The refusal of a heartbeat to a group that is not there.
pub fn group_not_found(group: &str, request: &ConsumerGroupHeartbeatRequest) -> Refusal {
    // Kafka's words are others for a member that leaves.
    let what = if request.member_epoch < 0 { "Group" } else { "Consumer group" };
    Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, format!("{what} {group} not found."))
}

impl ConsumerGroup {
    /// A member joins, says that it is there and what it wants and owns, or leaves.
    ///
    /// Refused with INVALID_REQUEST and UNSUPPORTED_ASSIGNOR as in [`check_heartbeat`], GROUP_MAX_SIZE_REACHED,
    /// UNKNOWN_MEMBER_ID, FENCED_MEMBER_EPOCH (it must give everything up and join again), UNRELEASED_INSTANCE_ID and
    /// FENCED_INSTANCE_ID (another member has that instance id), INVALID_REGULAR_EXPRESSION. A refusal changes nothing.
    pub fn heartbeat(
        &mut self,
        turn: &mut Turn<'_>,
        client: &Client,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        check_heartbeat(turn.config, client.api_version, request)?;
        if request.member_epoch < 0 {
            return self.leave(turn, request);
        }
        self.check_room(turn.config.consumer_max_size, &request.member_id)?;
        let place = self.place(turn, request)?;
        self.check_member(&place, request)?;

        let id = match place {
            Place::New(id) | Place::Known(id) => id,
            Place::Takes { old, id } => {
                self.replace_member(turn, &old, &id);
                id
            }
        };
        let nobody = Member::default();
        let told = self.members.get(&id).unwrap_or(&nobody).retold(client, request);
        let change = told.map_or_else(SubscriptionChange::default, |told| self.update_member(turn, &id, told));
        let settings = turn.config.consumer(turn.image, &self.id);
        let resolved = self.refresh_regexes(turn, change.regex_new);
        self.refresh_metadata(turn, change.bumps() || resolved);
        self.update_target(turn, settings.assignment_interval_ms);
        let owned = request.topic_partitions.as_deref();
        let moved = self.reconcile_member(turn, &id, change.any(), owned);
        self.set_timer(turn, Timer::Session(id.clone()), settings.session_timeout_ms);

        let current = self.members.get(&id).map(|member| &member.current);
        let whole = request.member_epoch == 0 || is_full(request) || moved;
        Ok(ConsumerGroupHeartbeatResponse::default()
            .with_member_id(Some(StrBytes::from_string(id.to_string())))
            .with_member_epoch(current.map_or(0, |current| current.epoch))
            .with_heartbeat_interval_ms(settings.heartbeat_interval_ms)
            .with_assignment(current.filter(|_| whole).map(answer)))
    }

    fn leave(
        &mut self,
        turn: &mut Turn<'_>,
        request: &ConsumerGroupHeartbeatRequest,
    ) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let id = self.sender(request)?;
        if request.instance_id.is_some() && request.member_epoch == LEAVE_STATIC {
            self.leave_for_a_while(turn, &id);
        } else {
            self.fence_members(turn, std::slice::from_ref(&id));
        }
        Ok(left(request))
    }

    /// GROUP_MAX_SIZE_REACHED for a member id that is not in the group yet, where the group is full.
    pub fn check_room(&self, max_size: usize, id: &str) -> Result<(), Refusal> {
        if self.members.len() < max_size || self.members.contains_key(id) {
            return Ok(());
        }
        let message = format!("The consumer group has reached its maximum capacity of {max_size} members.");
        Err(Refusal::new(ErrorCode::GROUP_MAX_SIZE_REACHED, message))
    }

    fn place(&self, turn: &Turn<'_>, request: &ConsumerGroupHeartbeatRequest) -> Result<Place, Refusal> {
        let fresh;
        let id = if request.member_id.is_empty() {
            fresh = TopicId(turn.fresh).to_string();
            fresh.as_str()
        } else {
            request.member_id.as_str()
        };
        let joins = request.member_epoch == 0;
        let owned = request.topic_partitions.as_deref();
        if let Some(instance) = request.instance_id.as_deref() {
            if !joins {
                let id = self.known_static(instance, id)?;
                self.check_epoch(&id, request.member_epoch, owned)?;
                return Ok(Place::Known(id));
            }
            if let Some(old) = self.statics.get(instance) {
                self.check_released(old, id, instance)?;
                return Ok(Place::Takes { old: old.clone(), id: Arc::from(id) });
            }
        }
        match self.members.get_key_value(id) {
            Some((id, _)) => {
                self.check_epoch(id, request.member_epoch, owned)?;
                Ok(Place::Known(id.clone()))
            }
            None if joins => Ok(Place::New(Arc::from(id))),
            None => Err(self.unknown(id)),
        }
    }

    /// What else a member may be refused for, before anything changes.
    fn check_member(&self, place: &Place, request: &ConsumerGroupHeartbeatRequest) -> Result<(), Refusal> {
        let member = match place {
            Place::New(_) => None,
            Place::Known(id) | Place::Takes { old: id, .. } => self.members.get(id),
        };
        if let Some(pattern) = request.subscribed_topic_regex.as_deref()
            && !pattern.is_empty()
            && member.and_then(Member::regex) != Some(pattern)
            && !self.regexes.contains_key(pattern)
        {
            check_regex(pattern)?;
        }
        let unknown = member.is_some_and(|member| member.current.state == MemberState::Unknown);
        if unknown && request.topic_partitions.as_ref().is_none_or(|owned| !owned.is_empty()) {
            let message = "The consumer group member is in a unknown state. \
                           The member must abandon all its partitions and rejoin.";
            return Err(Refusal::new(ErrorCode::FENCED_MEMBER_EPOCH, message));
        }
        Ok(())
    }

    fn unknown(&self, id: &str) -> Refusal {
        let message = format!("Member {id} is not a member of group {}.", self.id);
        Refusal::new(ErrorCode::UNKNOWN_MEMBER_ID, message)
    }

    /// A member by its id, or UNKNOWN_MEMBER_ID.
    fn known(&self, id: &str) -> Result<MemberId, Refusal> {
        self.members.get_key_value(id).map(|(id, _)| id.clone()).ok_or_else(|| self.unknown(id))
    }

    /// The member that a heartbeat is of: UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID.
    pub fn sender(&self, request: &ConsumerGroupHeartbeatRequest) -> Result<MemberId, Refusal> {
        match request.instance_id.as_deref() {
            None => self.known(&request.member_id),
            Some(instance) => self.known_static(instance, &request.member_id),
        }
    }

    /// A static member by its instance id: UNKNOWN_MEMBER_ID where there is none, FENCED_INSTANCE_ID where it is
    /// another member.
    pub fn known_static(&self, instance: &str, id: &str) -> Result<MemberId, Refusal> {
        let Some(owner) = self.statics.get(instance) else {
            let message = format!("Instance id {instance} is unknown.");
            return Err(Refusal::new(ErrorCode::UNKNOWN_MEMBER_ID, message));
        };
        if **owner != *id {
            let message = format!("Static member {id} with instance id {instance} was fenced by member {owner}.");
            return Err(Refusal::new(ErrorCode::FENCED_INSTANCE_ID, message));
        }
        Ok(owner.clone())
    }

    /// Only a static member that left for a while may be replaced; one that speaks the classic protocol does not say
    /// when it leaves.
    fn check_released(&self, old: &MemberId, id: &str, instance: &str) -> Result<(), Refusal> {
        let held = |member: &Member| !member.is_classic() && member.current.epoch != LEAVE_STATIC;
        if !self.members.get(old).is_some_and(held) {
            return Ok(());
        }
        let message = format!(
            "Static member {id} with instance id {instance} cannot join the group because the instance id is owned by \
             {old} member."
        );
        Err(Refusal::new(ErrorCode::UNRELEASED_INSTANCE_ID, message))
    }

    /// Epoch 0 joins anew. The previous epoch is taken from a member that did not hear of its new one, as long as it
    /// owns nothing that it was not given.
    fn check_epoch(&self, id: &MemberId, epoch: i32, owned: Owned<'_>) -> Result<(), Refusal> {
        let Some(member) = self.members.get(id) else { return Err(self.unknown(id)) };
        let current = &member.current;
        let than = if epoch == 0 || epoch == current.epoch {
            return Ok(());
        } else if epoch > current.epoch {
            "greater"
        } else if epoch == current.previous_epoch && owns_at_most(owned, current) {
            return Ok(());
        } else {
            "smaller"
        };
        let message = format!(
            "The consumer group member has a {than} member epoch ({epoch}) than the one known by the group coordinator \
             ({}). The member must abandon all its partitions and rejoin.",
            current.epoch
        );
        Err(Refusal::new(ErrorCode::FENCED_MEMBER_EPOCH, message))
    }
}

fn check_regex(pattern: &str) -> Result<(), Refusal> {
    regex::check(pattern).map_err(|why| {
        let message = format!("SubscribedTopicRegex `{pattern}` is not a valid regular expression: {why}.");
        Refusal::new(ErrorCode::INVALID_REGULAR_EXPRESSION, message)
    })
}

/// Whether a member says everything about itself, as it does after an error: then it is told everything.
fn is_full(request: &ConsumerGroupHeartbeatRequest) -> bool {
    request.rebalance_timeout_ms != -1
        && (request.subscribed_topic_names.is_some() || request.subscribed_topic_regex.is_some())
        && request.topic_partitions.is_some()
}

fn owns_at_most(owned: Owned<'_>, current: &CurrentAssignment) -> bool {
    owned.is_some_and(|owned| {
        owned.iter().all(|topic| {
            current.assigned.get(&TopicId(topic.topic_id)).is_some_and(|assigned| {
                topic.partitions.iter().all(|partition| assigned.contains_key(&PartitionIndex(*partition)))
            })
        })
    })
}

fn answer(current: &CurrentAssignment) -> Assignment {
    let topics = current.assigned.iter().map(|(topic, partitions)| {
        TopicPartitions::default()
            .with_topic_id(topic.0)
            .with_partitions(partitions.keys().map(|partition| partition.0).collect())
    });
    Assignment::default().with_topic_partitions(topics.collect())
}
