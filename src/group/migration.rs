//! Groups that change their kind while they have members (KIP-848): a classic group becomes a consumer group when the
//! first member of the consumer protocol joins, and a consumer group becomes a classic one when the last such member
//! is gone. `group.consumer.migration.policy` says which of that is allowed. Offsets stay where they are.
//!
//! A change is in the log as the end of the one kind and all of the other, in one batch. The generation of the classic
//! group and the epochs of the consumer group are the same numbers, so members go on with what they know.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

use bytes::Bytes;

use super::classic::{ClassicGroup, Member as ClassicMember};
use super::config::GroupsConfig;
use super::consumer::{ConsumerGroup, Member, subscribed};
use super::records::{
    ClassicMember as ClassicValue, ConsumerEpoch, CurrentAssignment, MemberState, MemberValue, Partitions, Record,
    TargetEpoch,
};
use super::timers::Timer;
use super::turn::Turn;
use super::{GroupId, MemberId};
use crate::metadata::image::Image;
use crate::types::{PartitionIndex, TopicId};
use crate::wire::consumer_protocol::{ConsumerAssignment, ConsumerSubscription};
use crate::wire::{ErrorCode, Refusal};

/// More than what a batch takes without its records.
const BATCH_OVERHEAD: usize = 128;
/// More than what a record takes without its key and value.
const RECORD_OVERHEAD: usize = 32;

/// A classic group as a consumer group, and the records that make it one.
#[derive(Debug)]
pub struct Upgraded {
    /// The group, with the members of the old one.
    pub group: ConsumerGroup,
    /// What the log is to say: the end of the classic group, all of the consumer group.
    pub records: Vec<Record>,
}

/// Makes a consumer group of a classic group with members, if policy, protocol, size and what its members told each
/// other allow that: GROUP_ID_NOT_FOUND otherwise. Changes nothing; [`hand_over`] is to follow when the new group has
/// taken the member for which this is done.
pub fn upgrade(turn: &Turn<'_>, classic: &ClassicGroup) -> Result<Upgraded, Refusal> {
    check_upgrade(turn.config, classic)?;
    let id = classic.id();
    let mut members = BTreeMap::new();
    let mut holders = HashMap::new();
    for (member_id, member) in classic.members() {
        let joined = Joined::read(turn.image, classic, member)?;
        for partition in flat(&joined.assigned) {
            if holders.insert(partition, member_id).is_some() {
                return Err(cannot_upgrade(classic, "a partition is assigned to two of its members"));
            }
        }
        members.insert(Arc::clone(member_id), joined);
    }
    keep_claims(&mut members, holders);
    let records = conversion_records(id, classic.generation(), &members);
    if !fits(&records, turn.config.max_record_bytes) {
        return Err(cannot_upgrade(classic, "it is too large for one batch of records"));
    }
    let mut group = ConsumerGroup::new(Arc::clone(id));
    for record in &records {
        group.apply(record);
    }
    Ok(Upgraded { group, records })
}

/// A member of a classic group, as a consumer group sees it.
struct Joined {
    told: MemberValue,
    /// What the leader gave it.
    assigned: Partitions,
    /// What it owned when it joined and was not given again: it may not have heard of that yet.
    claimed: Partitions,
}

impl Joined {
    fn read(image: &Image, classic: &ClassicGroup, member: &ClassicMember) -> Result<Self, Refusal> {
        let malformed = |_| cannot_upgrade(classic, "the embedded consumer protocol is malformed");
        let assigned = read_assignment(image, classic, member)?;
        let mut subscription = ConsumerSubscription::decode(&metadata(classic, member)).map_err(malformed)?;
        let claimed = by_id(image, std::mem::take(&mut subscription.owned));
        let protocols = member.protocols.clone();
        let told = MemberValue {
            instance_id: member.instance_id.clone(),
            client_id: member.client_id.clone(),
            client_host: member.client_host.clone(),
            rebalance_timeout_ms: member.rebalance_timeout_ms,
            ..subscribed(subscription, ClassicValue { session_timeout_ms: member.session_timeout_ms, protocols })
        };
        Ok(Self { told, assigned, claimed })
    }

    /// Where it stands in the consumer group.
    fn current(&self, generation: i32) -> CurrentAssignment {
        let since = |partitions: &Partitions| {
            let each = |indexes: &Vec<PartitionIndex>| indexes.iter().map(|index| (*index, generation)).collect();
            partitions.iter().map(|(topic, indexes)| (*topic, each(indexes))).collect()
        };
        let owes = !self.claimed.is_empty();
        CurrentAssignment {
            epoch: generation,
            previous_epoch: generation,
            state: if owes { MemberState::UnrevokedPartitions } else { MemberState::Stable },
            assigned: since(&self.assigned),
            pending_revocation: since(&self.claimed),
        }
    }
}

/// Members of a cooperative group give up what they are not given again once they sync, and nobody is given it before
/// they joined again without it. Such claims are kept here, as what the members are to give up; Kafka gives these
/// partitions to the new member at once, while the old one may still read them. What was assigned to another is no
/// claim.
fn keep_claims(members: &mut BTreeMap<MemberId, Joined>, holders: HashMap<(TopicId, PartitionIndex), &MemberId>) {
    let mut held: HashSet<_> = holders.into_keys().collect();
    for joined in members.values_mut() {
        for (topic, indexes) in &mut joined.claimed {
            indexes.retain(|index| held.insert((*topic, *index)));
        }
        joined.claimed.retain(|_, indexes| !indexes.is_empty());
    }
}

fn flat(partitions: &Partitions) -> impl Iterator<Item = (TopicId, PartitionIndex)> {
    partitions.iter().flat_map(|(topic, indexes)| indexes.iter().map(|index| (*topic, *index)))
}

/// Partitions by their topics' ids; those of topics that are gone are nobody's.
fn by_id(image: &Image, named: Vec<(String, Vec<i32>)>) -> Partitions {
    let mut partitions = Partitions::new();
    for (name, indexes) in named {
        let Some(topic) = image.topic(&name) else { continue };
        let of_topic = partitions.entry(topic.id).or_default();
        of_topic.extend(indexes.into_iter().map(PartitionIndex));
        of_topic.sort_unstable();
        of_topic.dedup();
    }
    partitions.retain(|_, indexes| !indexes.is_empty());
    partitions
}

fn check_upgrade(config: &GroupsConfig, classic: &ClassicGroup) -> Result<(), Refusal> {
    if !config.migration.may_upgrade() {
        return Err(cannot_upgrade(classic, "online upgrade is disabled"));
    }
    if !classic.has_consumers() {
        return Err(cannot_upgrade(classic, "the group does not use the consumer embedded protocol"));
    }
    if classic.members().len() > config.consumer_max_size {
        return Err(cannot_upgrade(classic, "the group size exceeds the consumer group maximum size"));
    }
    Ok(())
}

fn cannot_upgrade(classic: &ClassicGroup, why: &str) -> Refusal {
    let message = format!("Cannot upgrade classic group {} to consumer group because {why}.", classic.id());
    Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, message)
}

fn read_assignment(image: &Image, classic: &ClassicGroup, member: &ClassicMember) -> Result<Partitions, Refusal> {
    if member.assignment.is_empty() {
        return Ok(Partitions::new());
    }
    let assignment = ConsumerAssignment::decode(&member.assignment)
        .map_err(|_| cannot_upgrade(classic, "the embedded consumer protocol is malformed"))?;
    if assignment.user_data.is_some_and(|data| !data.is_empty()) {
        return Err(cannot_upgrade(
            classic,
            "an unsupported custom assignor is in use. Please refer to the documentation or switch to a default \
             assignor before re-attempting the upgrade",
        ));
    }
    Ok(by_id(image, assignment.partitions))
}

/// What a member told under the group's protocol, or under the one it likes best where the group has none yet, or the
/// member changed its mind since. Kafka answers UNKNOWN_SERVER_ERROR then, which consumers take for fatal.
fn metadata(classic: &ClassicGroup, member: &ClassicMember) -> Bytes {
    let chosen = member.protocols.iter().find(|(name, _)| Some(name.as_str()) == classic.protocol());
    chosen.or_else(|| member.protocols.first()).map(|(_, bytes)| bytes.clone()).unwrap_or_default()
}

fn conversion_records(id: &GroupId, generation: i32, members: &BTreeMap<MemberId, Joined>) -> Vec<Record> {
    let group = || Arc::clone(id);
    let each = |record: &dyn Fn(MemberId, &Joined) -> Record| -> Vec<Record> {
        members.iter().map(|(id, joined)| record(Arc::clone(id), joined)).collect()
    };
    let mut records = vec![Record::Classic(group(), None)];
    records.extend(each(&|id, joined| Record::Member(group(), id, Some(joined.told.clone()))));
    // The member for which this is done bumps the epoch, and has the hash made.
    records.push(Record::ConsumerEpoch(group(), Some(ConsumerEpoch { epoch: generation, metadata_hash: 0 })));
    records.extend(each(&|id, joined| Record::Target(group(), id, Some(joined.assigned.clone()))));
    records.push(Record::TargetEpoch(group(), Some(TargetEpoch { epoch: generation, timestamp: 0 })));
    records.extend(each(&|id, joined| Record::Current(group(), id, Some(joined.current(generation)))));
    records
}

/// Whether records take no more than so many bytes as one batch.
fn fits(records: &[Record], limit: usize) -> bool {
    let size = |record: &Record| RECORD_OVERHEAD + record.encode().size();
    BATCH_OVERHEAD + records.iter().map(size).sum::<usize>() <= limit
}

/// Ends what is left of the classic group that became a consumer group: whoever waits in a join or a sync is to join
/// again, and members are held to the sessions that they asked for.
pub fn hand_over(turn: &mut Turn<'_>, classic: &mut ClassicGroup, group: &ConsumerGroup) {
    classic.release_all(turn);
    let of_classic = |timer: &Timer| matches!(timer, Timer::PendingJoin(_) | Timer::Join | Timer::Sync);
    turn.timers.cancel_where(classic.id(), of_classic);
    for (id, member) in classic.members() {
        match group.member(id) {
            Some(now) if now.is_classic() => {
                group.set_timer(turn, Timer::Session(Arc::clone(id)), member.session_timeout_ms);
            }
            Some(_) => {}
            None => turn.timers.cancel(group.id(), Timer::Session(Arc::clone(id))),
        }
    }
}

/// The classic group that a consumer group becomes when these members (named once each) leave it; `None` where it
/// stays what it is, because of the policy, because others speak the consumer protocol, or nobody would be left.
pub fn downgrade(turn: &Turn<'_>, group: &ConsumerGroup, leaving: &[MemberId]) -> Option<ClassicGroup> {
    let left = group.members().len().saturating_sub(leaving.len());
    if !turn.config.migration.may_downgrade() || !group.only_classic_without(leaving) || left > turn.config.max_size {
        return None;
    }
    to_classic(turn, group, leaving, group.epoch())
}

/// Whether a classic member that takes the place of this static member makes a classic group of the group.
pub fn replaces_last_consumer(config: &GroupsConfig, group: &ConsumerGroup, instance_id: Option<&str>) -> bool {
    let replaced = instance_id.and_then(|instance| group.static_member(instance)).and_then(|id| group.member(id));
    replaced.is_some_and(|member| !member.is_classic())
        && group.classic_members() + 1 == group.members().len()
        && config.migration.may_downgrade()
        && group.members().len() <= config.max_size
}

/// A stable classic group of the members that speak the classic protocol, each with what it holds; `None` where that is
/// too large for the log. Kafka writes down what each is to own, which differs where members are still on their way:
/// should the group be upgraded again before it has rebalanced, others would be given what they still read.
pub fn to_classic(
    turn: &Turn<'_>,
    group: &ConsumerGroup,
    leaving: &[MemberId],
    generation: i32,
) -> Option<ClassicGroup> {
    let stay = group.members().iter().filter(|(id, _)| !leaving.contains(id));
    let members = stay.filter_map(|(id, member)| Some((Arc::clone(id), comes_over(&member.told)?))).collect();
    let mut classic = ClassicGroup::from_members(Arc::clone(group.id()), generation, members, turn.now);
    let protocol = classic.protocol().unwrap_or_default();
    let assignments = classic.members().iter().map(|(id, member)| {
        let held = group.member(id).map(held).unwrap_or_default();
        (Arc::clone(id), assignment(turn.image, &held, &member.metadata(protocol)))
    });
    for (id, assignment) in assignments.collect::<Vec<_>>() {
        classic.set_assignment(&id, assignment);
    }
    // The end of the old group goes with it: three tombstones for each member, keyed by the names of both.
    let tombstone = |name: &str| 3 * (RECORD_OVERHEAD + 8 + group.id().len() + name.len());
    let tombstones: usize = group.members().keys().map(|id| tombstone(id)).sum();
    let room = turn.config.max_record_bytes.saturating_sub(tombstones + tombstone(""));
    let record = Record::Classic(Arc::clone(group.id()), Some(classic.to_record()));
    fits(&[record], room).then_some(classic)
}

/// What a member owns, or was not yet seen to give up.
fn held(member: &Member) -> Partitions {
    let mut partitions = Partitions::new();
    for (topic, index) in member.partitions() {
        partitions.entry(topic).or_default().push(index);
    }
    for indexes in partitions.values_mut() {
        indexes.sort_unstable();
    }
    partitions
}

/// A member of the classic protocol as a classic group knows it.
fn comes_over(told: &MemberValue) -> Option<ClassicMember> {
    let classic = told.classic.clone()?;
    let (id, host) = (told.client_id.clone(), told.client_host.clone());
    let timeouts = (told.rebalance_timeout_ms, classic.session_timeout_ms);
    let mut member = ClassicMember::migrated(id, host, timeouts.0, timeouts.1, classic.protocols);
    member.instance_id.clone_from(&told.instance_id);
    Some(member)
}

/// The bytes of an assignment, in the version in which the member told its subscription.
pub fn assignment(image: &Image, partitions: &Partitions, subscription: &Bytes) -> Bytes {
    let version = subscription.first_chunk().map_or(0, |version| i16::from_be_bytes(*version));
    let named = |(topic, indexes): (&TopicId, &Vec<PartitionIndex>)| {
        let topic = image.topic_by_id(*topic)?;
        Some((topic.name.to_string(), indexes.iter().map(|index| index.0).collect()))
    };
    let partitions = partitions.iter().filter_map(named).collect();
    ConsumerAssignment { partitions, user_data: None }.encode(version)
}
