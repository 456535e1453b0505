//! Members of the classic protocol in a consumer group (KIP-848): they join, sync and heartbeat as in a classic group,
//! with their member epoch for a generation, and are moved towards the target of the broker.
//!
//! Such a member takes a step whenever it joins. A heartbeat tells it to join again when there is a step to take; what
//! it owns it says in its subscription.

use std::collections::BTreeSet;
use std::sync::Arc;

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions as OwnedPartitions;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};
use kafka_protocol::protocol::StrBytes;

use super::{ConsumerGroup, ConsumerState, LEAVE, Member, SubscriptionChange, subscribed};
use crate::group::MemberId;
use crate::group::classic::{self, CONSUMER};
use crate::group::config::{GroupsConfig, MigrationPolicy};
use crate::group::migration;
use crate::group::records::{ClassicMember, MemberState, MemberValue, Partitions, Record};
use crate::group::timers::Timer;
use crate::group::turn::{Client, Turn};
use crate::metadata::image::Image;
use crate::types::TopicId;
use crate::wire::ErrorCode;
use crate::wire::consumer_protocol::ConsumerSubscription;
use crate::wire::message::text;

/// From this version on a dynamic member joins with a name that it was given before (KIP-394).
const FIRST_REQUIRING_MEMBER_ID: i16 = 4;

/// A join that the group takes.
#[derive(Debug)]
pub struct ClassicJoin {
    id: MemberId,
    /// The static member whose place it takes.
    replaces: Option<MemberId>,
    told: MemberValue,
    owned: Vec<OwnedPartitions>,
}

/// Why a join is not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JoinRefused {
    /// What to answer.
    pub code: ErrorCode,
    /// With MEMBER_ID_REQUIRED, the id to join with.
    pub member_id: Option<MemberId>,
}

impl JoinRefused {
    /// The answer to the join.
    pub fn answer(&self, client: &Client, request: &JoinGroupRequest) -> JoinGroupResponse {
        let id = self.member_id.as_deref().unwrap_or_default();
        classic::join_missing(client, request, self.code).with_member_id(text(id))
    }
}

impl ConsumerGroup {
    /// Whether a JoinGroup is taken; changes nothing. Refused with INCONSISTENT_GROUP_PROTOCOL,
    /// GROUP_MAX_SIZE_REACHED, MEMBER_ID_REQUIRED (with the id to join with), UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID,
    /// FENCED_MEMBER_EPOCH, UNKNOWN_SERVER_ERROR for a subscription that cannot be read or is too large for the log.
    pub fn check_classic_join(
        &self,
        turn: &Turn<'_>,
        client: &Client,
        request: &JoinGroupRequest,
    ) -> Result<ClassicJoin, JoinRefused> {
        let refused = |code| JoinRefused { code, member_id: None };
        let unnamed = request.member_id.is_empty();
        let id: MemberId =
            if unnamed { TopicId(turn.fresh).to_string().into() } else { request.member_id.as_str().into() };
        self.check_protocols(turn.config, &id, request).map_err(refused)?;
        let instance = request.group_instance_id.as_deref();
        if unnamed && instance.is_none() && client.api_version >= FIRST_REQUIRING_MEMBER_ID {
            return Err(JoinRefused { code: ErrorCode::MEMBER_ID_REQUIRED, member_id: Some(id) });
        }
        let replaces = match instance {
            Some(instance) if unnamed => self.statics.get(instance).cloned(),
            Some(instance) => {
                self.known_static(instance, &id).map_err(|refusal| refused(refusal.code))?;
                None
            }
            None => None,
        };
        self.read_join(turn, client, request, id, replaces).map_err(refused)
    }

    /// Whether classic members may be here, there is room, and all classic members share a protocol with this one.
    fn check_protocols(&self, config: &GroupsConfig, id: &str, request: &JoinGroupRequest) -> Result<(), ErrorCode> {
        if config.migration == MigrationPolicy::Disabled {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        self.check_room(config.consumer_max_size, id).map_err(|refusal| refusal.code)?;
        let shared = |name: &str| self.protocols.get(name).copied().unwrap_or(0) == self.classic;
        let supported = request.protocols.iter().any(|protocol| shared(&protocol.name));
        if &*request.protocol_type == CONSUMER && supported {
            Ok(())
        } else {
            Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)
        }
    }

    fn read_join(
        &self,
        turn: &Turn<'_>,
        client: &Client,
        request: &JoinGroupRequest,
        id: MemberId,
        replaces: Option<MemberId>,
    ) -> Result<ClassicJoin, ErrorCode> {
        let protocols = classic::protocols(request);
        let (_, bytes) = protocols.first().ok_or(ErrorCode::INCONSISTENT_GROUP_PROTOCOL)?;
        // Kafka breaks an invariant of its own here.
        let subscription = ConsumerSubscription::decode(bytes).map_err(|_| ErrorCode::UNKNOWN_SERVER_ERROR)?;
        let owned = owned(turn.image, &subscription);
        let known = self.members.get(replaces.as_ref().unwrap_or(&id));
        if known.is_some_and(|member| member.current.state == MemberState::Unknown) && !owned.is_empty() {
            return Err(ErrorCode::FENCED_MEMBER_EPOCH);
        }
        if known.is_none() && !owned.is_empty() {
            // It was dropped and does not know: it is to give up what it owns and come as a new member. Kafka lets it
            // in, and it owns what others were given until it syncs.
            return Err(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        let nobody = Member::default();
        let told = known.unwrap_or(&nobody).told.clone();
        let mut new =
            subscribed(subscription, ClassicMember { session_timeout_ms: request.session_timeout_ms, protocols });
        let told = MemberValue {
            instance_id: request.group_instance_id.as_ref().map(ToString::to_string).or(told.instance_id),
            rack_id: new.rack_id.take().or(told.rack_id),
            client_id: client.id.clone(),
            client_host: client.host.clone(),
            rebalance_timeout_ms: match request.rebalance_timeout_ms {
                -1 => told.rebalance_timeout_ms,
                timeout => timeout,
            },
            server_assignor: told.server_assignor,
            ..new
        };
        if !fits(self, &id, &told, turn.config) {
            return Err(ErrorCode::UNKNOWN_SERVER_ERROR);
        }
        Ok(ClassicJoin { id, replaces, told, owned })
    }

    /// A member joins, and takes a step towards its target.
    pub fn classic_join(&mut self, turn: &mut Turn<'_>, join: &ClassicJoin) -> JoinGroupResponse {
        let changed = self.take_in(turn, join);
        let settings = turn.config.consumer(turn.image, &self.id);
        self.update_target(turn, settings.assignment_interval_ms);
        self.reconcile_member(turn, &join.id, changed, Some(&join.owned));
        self.wait_for_sync(turn, join);
        self.joined(&join.id)
    }

    /// A member takes the place of the last one of the consumer protocol: the group is to become a classic one, with
    /// the assignment that there is. Whether that one has to rebalance, because the assignment is not of now, or some
    /// member is not there yet (Kafka looks at the first only: its classic members would then keep what another is
    /// given).
    pub fn classic_replace(&mut self, turn: &mut Turn<'_>, join: &ClassicJoin) -> (JoinGroupResponse, bool) {
        self.take_in(turn, join);
        if self.target_epoch.epoch == self.epoch.epoch {
            self.reconcile_member(turn, &join.id, false, Some(&join.owned));
        }
        (self.joined(&join.id), self.state() != ConsumerState::Stable)
    }

    /// Takes over what a member tells, and bumps the group's epoch if it subscribes to other topics. Whether it does.
    fn take_in(&mut self, turn: &mut Turn<'_>, join: &ClassicJoin) -> bool {
        if let Some(old) = &join.replaces {
            self.replace_member(turn, old, &join.id);
        }
        let same = self.members.get(&join.id).is_some_and(|member| member.told == join.told);
        let change =
            if same { SubscriptionChange::default() } else { self.update_member(turn, &join.id, join.told.clone()) };
        let resolved = self.refresh_regexes(turn, change.regex_new);
        let changed = change.any() || resolved;
        self.refresh_metadata(turn, changed);
        changed
    }

    /// A member that joined is to sync within its rebalance timeout. It is told when to give partitions up with its
    /// heartbeats, and waited for with those.
    pub fn wait_for_sync(&self, turn: &mut Turn<'_>, join: &ClassicJoin) {
        turn.timers.cancel(&self.id, Timer::ClassicJoin(join.id.clone()));
        turn.timers.cancel(&self.id, Timer::Revocation(join.id.clone()));
        if let Some(classic) = &join.told.classic {
            self.set_timer(turn, Timer::Session(join.id.clone()), classic.session_timeout_ms);
        }
        self.set_timer(turn, Timer::ClassicSync(join.id.clone()), join.told.rebalance_timeout_ms);
    }

    fn joined(&self, id: &MemberId) -> JoinGroupResponse {
        let member = self.members.get(id);
        let protocol = member.and_then(first_protocol);
        JoinGroupResponse::default()
            .with_member_id(text(id))
            .with_generation_id(member.map_or(-1, |member| member.current.epoch))
            .with_protocol_type(Some(StrBytes::from_static_str(CONSUMER)))
            .with_protocol_name(protocol.map(|(name, _)| text(name)))
    }

    /// SyncGroup: what the member owns. UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION,
    /// INCONSISTENT_GROUP_PROTOCOL, REBALANCE_IN_PROGRESS.
    pub fn classic_sync(
        &self,
        turn: &mut Turn<'_>,
        request: &SyncGroupRequest,
    ) -> Result<SyncGroupResponse, ErrorCode> {
        let instance = request.group_instance_id.as_deref();
        let (id, member) = self.classic_member(&request.member_id, instance, request.generation_id)?;
        let protocol = first_protocol(member);
        let differs = |said: Option<&str>, known: Option<&str>| said.is_some() && said != known;
        if differs(request.protocol_type.as_deref(), Some(CONSUMER))
            || differs(request.protocol_name.as_deref(), protocol.map(|(name, _)| name.as_str()))
        {
            return Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
        }
        let owes = member.current.state == MemberState::UnrevokedPartitions;
        if self.target_epoch.epoch > member.current.epoch && !owes {
            self.wait_for_join(turn, id, member);
            return Err(ErrorCode::REBALANCE_IN_PROGRESS);
        }
        turn.timers.cancel(&self.id, Timer::ClassicSync(id.clone()));
        self.heard_of(turn, id, member);
        let assigned = &member.current.assigned;
        let assigned: Partitions =
            assigned.iter().map(|(topic, indexes)| (*topic, indexes.keys().copied().collect())).collect();
        let subscription = protocol.map(|(_, bytes)| bytes.clone()).unwrap_or_default();
        Ok(SyncGroupResponse::default()
            .with_protocol_type(request.protocol_type.clone())
            .with_protocol_name(request.protocol_name.clone())
            .with_assignment(migration::assignment(turn.image, &assigned, &subscription)))
    }

    /// Heartbeat: NONE, or REBALANCE_IN_PROGRESS where the member is to join again, or who it is not:
    /// UNKNOWN_MEMBER_ID, FENCED_INSTANCE_ID, ILLEGAL_GENERATION.
    pub fn classic_heartbeat(&mut self, turn: &mut Turn<'_>, request: &HeartbeatRequest) -> ErrorCode {
        let instance = request.group_instance_id.as_deref();
        let id = match self.classic_member(&request.member_id, instance, request.generation_id) {
            Ok((id, _)) => id.clone(),
            Err(code) => return code,
        };
        // Kafka leaves that to joins and to heartbeats of the consumer protocol: where nobody speaks that, members
        // would never hear of new topics, nor of the partitions of those who left.
        let settings = turn.config.consumer(turn.image, &self.id);
        let resolved = self.refresh_regexes(turn, false);
        self.refresh_metadata(turn, resolved);
        self.update_target(turn, settings.assignment_interval_ms);
        let Some(member) = self.members.get(&id) else { return ErrorCode::UNKNOWN_MEMBER_ID };
        self.heard_of(turn, &id, member);
        let has_step = match member.current.state {
            _ if member.current.epoch < self.target_epoch.epoch => true,
            MemberState::UnrevokedPartitions => true,
            MemberState::UnreleasedPartitions => !self.waits_for_others(&id, member),
            MemberState::Stable | MemberState::Unknown => false,
        };
        if !has_step {
            return ErrorCode::NONE;
        }
        self.wait_for_join(turn, &id, member);
        ErrorCode::REBALANCE_IN_PROGRESS
    }

    /// Whether another still holds a partition that the member is to own.
    fn waits_for_others(&self, id: &MemberId, member: &Member) -> bool {
        self.targets.get(id).into_iter().flatten().any(|(topic, indexes)| {
            let assigned = member.current.assigned.get(topic);
            indexes.iter().any(|index| {
                let has = assigned.is_some_and(|assigned| assigned.contains_key(index));
                !has && self.owners.contains_key(&(*topic, *index))
            })
        })
    }

    fn heard_of(&self, turn: &mut Turn<'_>, id: &MemberId, member: &Member) {
        if let Some(classic) = &member.told.classic {
            self.set_timer(turn, Timer::Session(id.clone()), classic.session_timeout_ms);
        }
    }

    /// The member was told to join; it has its rebalance timeout for that, from the first time on.
    fn wait_for_join(&self, turn: &mut Turn<'_>, id: &MemberId, member: &Member) {
        let timer = Timer::ClassicJoin(id.clone());
        if turn.timers.due(&self.id, &timer).is_none() {
            self.set_timer(turn, timer, member.told.rebalance_timeout_ms);
        }
    }

    fn classic_member(
        &self,
        id: &str,
        instance: Option<&str>,
        generation: i32,
    ) -> Result<(&MemberId, &Member), ErrorCode> {
        if let Some(instance) = instance {
            self.known_static(instance, id).map_err(|refusal| refusal.code)?;
        }
        let known = self.members.get_key_value(id).filter(|(_, member)| member.is_classic());
        let (id, member) = known.ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if generation == member.current.epoch { Ok((id, member)) } else { Err(ErrorCode::ILLEGAL_GENERATION) }
    }

    /// LeaveGroup: the answer, and who is to be dropped. An administrator may name members of any protocol.
    pub fn classic_leave(&self, client: &Client, request: &LeaveGroupRequest) -> (LeaveGroupResponse, Vec<MemberId>) {
        let mut leaving = BTreeSet::new();
        let answer = classic::leave_with(client, request, |member| match self.leaving(member) {
            Ok(id) => {
                leaving.insert(id);
                ErrorCode::NONE
            }
            Err(code) => code,
        });
        (answer, leaving.into_iter().collect())
    }

    fn leaving(&self, member: &MemberIdentity) -> Result<MemberId, ErrorCode> {
        let Some(instance) = member.group_instance_id.as_deref() else {
            let known = self.members.get_key_value(member.member_id.as_str());
            return known.map(|(id, _)| id.clone()).ok_or(ErrorCode::UNKNOWN_MEMBER_ID);
        };
        if member.member_id.is_empty() {
            return self.statics.get(instance).cloned().ok_or(ErrorCode::UNKNOWN_MEMBER_ID);
        }
        self.known_static(instance, &member.member_id).map_err(|refusal| refusal.code)
    }

    /// Whom a ConsumerGroupHeartbeat drops, if it is that of a member that leaves for good.
    pub fn leaver(&self, request: &ConsumerGroupHeartbeatRequest) -> Option<MemberId> {
        if request.member_epoch == LEAVE { self.sender(request).ok() } else { None }
    }
}

/// The protocol that a classic member is told to be the group's: the one that it likes best.
fn first_protocol(member: &Member) -> Option<&(String, bytes::Bytes)> {
    member.told.classic.as_ref()?.protocols.first()
}

/// What a member says it owns, without topics that are gone.
fn owned(image: &Image, subscription: &ConsumerSubscription) -> Vec<OwnedPartitions> {
    let known = subscription.owned.iter().filter_map(|(name, partitions)| {
        let topic = image.topic(name)?;
        Some(OwnedPartitions::default().with_topic_id(topic.id.0).with_partitions(partitions.clone()))
    });
    known.collect()
}

/// Whether what a member tells leaves room in a batch for what else comes of a join.
fn fits(group: &ConsumerGroup, id: &MemberId, told: &MemberValue, config: &GroupsConfig) -> bool {
    let record = Record::Member(Arc::clone(&group.id), id.clone(), Some(told.clone()));
    record.encode().size() <= config.max_record_bytes / 2
}
