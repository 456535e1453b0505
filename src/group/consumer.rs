//! A group of the consumer protocol (KIP-848): the broker assigns, members reconcile one at a time.
//!
//! What a group is follows three numbers. The *group epoch* grows with every change of the members, their subscriptions
//! or their topics. The *target epoch* says which group epoch the target assignment was made for. Each member has an
//! epoch of its own, and moves to the target epoch once it gave up what it is to give up. A partition is given to a
//! member only when no other member holds it.
//!
//! [`ConsumerGroup::apply`] is the only thing that changes what is durable; live code goes through one helper that
//! pushes a record to the turn and applies it, so replaying a log leads to the same group.
//!
//! A heartbeat of a member that has nothing new to say costs O(log members) plus what the request itself holds: who
//! holds a partition, who subscribes to a topic and how many members are where they are to be is counted as it changes.
//! Only a new target assignment, a description and a deletion look at every member.

mod change;
mod classic_members;
mod describe;
mod heartbeat;
mod member;
mod reconcile;
mod regexes;
mod target;
#[cfg(test)]
mod tests;
mod validate;

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

pub use change::SubscriptionChange;
pub use classic_members::{ClassicJoin, JoinRefused};
pub use heartbeat::{Owned, check_heartbeat, creates_group, group_not_found, left};
pub use member::{Member, subscribed};
pub use validate::CommitCheck;

use super::records::{ConsumerEpoch, CurrentAssignment, Partitions, Record, ResolvedRegex, TargetEpoch};
use super::timers::Timer;
use super::turn::Turn;
use super::{GroupId, MemberId};
use crate::types::{PartitionIndex, TopicId};

/// The epoch of a heartbeat by which a member leaves for good.
pub const LEAVE: i32 = -1;
/// The epoch of a heartbeat by which a static member leaves for a while; its epoch until it is back.
pub const LEAVE_STATIC: i32 = -2;

/// A group epoch, or target epoch, that no record told: a new group begins one step behind its first change.
const FIRST_EPOCH: i32 = 1;
/// The target epoch of a group whose target was taken back.
const NO_TARGET: TargetEpoch = TargetEpoch { epoch: -1, timestamp: 0 };

/// Where a group is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConsumerState {
    /// It has no members.
    Empty,
    /// Its target assignment is older than its last change.
    Assigning,
    /// Some member is not yet where the target assignment wants it.
    Reconciling,
    /// Every member owns what it is to own.
    Stable,
}

/// As Kafka writes it.
impl fmt::Display for ConsumerState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "Empty",
            Self::Assigning => "Assigning",
            Self::Reconciling => "Reconciling",
            Self::Stable => "Stable",
        })
    }
}

/// How many subscribe to a topic.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Subscribers {
    /// Members that name it.
    names: usize,
    /// Regular expressions that stand for it.
    regexes: usize,
}

/// What was looked at and need not be looked at again; a restart forgets it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Seen {
    /// The version of the topics that the metadata hash was last computed with.
    metadata: Option<u64>,
    /// The version of the topics that regular expressions were last resolved with.
    regexes: Option<u64>,
}

/// A group of the consumer protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerGroup {
    id: GroupId,
    epoch: ConsumerEpoch,
    target_epoch: TargetEpoch,
    members: BTreeMap<MemberId, Member>,
    targets: BTreeMap<MemberId, Partitions>,
    resolved: BTreeMap<Arc<str>, ResolvedRegex>,
    /// Members by their instance ids.
    statics: HashMap<String, MemberId>,
    /// Who holds a partition, or was not yet seen to give it up.
    owners: HashMap<(TopicId, PartitionIndex), MemberId>,
    subscribed: BTreeMap<String, Subscribers>,
    /// How many members subscribe to each regular expression.
    regexes: BTreeMap<String, usize>,
    /// How many members ask for each assignor.
    assignors: BTreeMap<String, usize>,
    /// How many members of the classic protocol support each protocol, that is client-side assignor.
    protocols: BTreeMap<String, usize>,
    /// How many members own what the target assignment says.
    reconciled: usize,
    /// How many members speak the classic protocol.
    classic: usize,
    seen: Seen,
}

impl ConsumerGroup {
    /// A group without members, of which nothing is durable yet.
    pub fn new(id: GroupId) -> Self {
        Self {
            id,
            epoch: ConsumerEpoch { epoch: FIRST_EPOCH, metadata_hash: 0 },
            target_epoch: TargetEpoch { epoch: FIRST_EPOCH, timestamp: 0 },
            members: BTreeMap::new(),
            targets: BTreeMap::new(),
            resolved: BTreeMap::new(),
            statics: HashMap::new(),
            owners: HashMap::new(),
            subscribed: BTreeMap::new(),
            regexes: BTreeMap::new(),
            assignors: BTreeMap::new(),
            protocols: BTreeMap::new(),
            reconciled: 0,
            classic: 0,
            seen: Seen::default(),
        }
    }

    /// The group's name.
    pub fn id(&self) -> &GroupId {
        &self.id
    }

    /// How often the group changed.
    pub fn epoch(&self) -> i32 {
        self.epoch.epoch
    }

    /// The group epoch that the target assignment was made for; -1 where it was taken back.
    pub fn target_epoch(&self) -> i32 {
        self.target_epoch.epoch
    }

    /// The members, by their ids.
    pub fn members(&self) -> &BTreeMap<MemberId, Member> {
        &self.members
    }

    /// A member.
    pub fn member(&self, id: &str) -> Option<&Member> {
        self.members.get(id)
    }

    /// The id of the static member with an instance id.
    pub fn static_member(&self, instance_id: &str) -> Option<&MemberId> {
        self.statics.get(instance_id)
    }

    /// What a member is to own; `None` where nothing was ever assigned to it.
    pub fn target(&self, id: &str) -> Option<&Partitions> {
        self.targets.get(id)
    }

    /// Who holds a partition, or was not yet seen to give it up.
    pub fn owner(&self, topic: TopicId, partition: PartitionIndex) -> Option<&MemberId> {
        self.owners.get(&(topic, partition))
    }

    /// How many members speak the classic protocol.
    pub fn classic_members(&self) -> usize {
        self.classic
    }

    /// Whether there is anybody, and only members that speak the classic protocol, once these have left: such a group
    /// may become a classic one.
    pub fn only_classic_without(&self, leaving: &[MemberId]) -> bool {
        let leave = |classic: bool| {
            leaving.iter().filter(|id| self.member(id).is_some_and(|member| member.is_classic() == classic)).count()
        };
        let (classic, modern) = (leave(true), leave(false));
        self.classic > classic && self.members.len() - self.classic == modern
    }

    /// Where the group is. Costs the same however many members there are.
    pub fn state(&self) -> ConsumerState {
        if self.members.is_empty() {
            ConsumerState::Empty
        } else if self.epoch.epoch > self.target_epoch.epoch {
            ConsumerState::Assigning
        } else if self.reconciled < self.members.len() {
            ConsumerState::Reconciling
        } else {
            ConsumerState::Stable
        }
    }

    /// Whether it has no members.
    pub fn is_empty(&self) -> bool {
        self.members.is_empty()
    }

    /// Whether a member reads a topic, by its name or by a regular expression. Offsets of such topics do not expire;
    /// others do by the time of their commit, whether or not the group has members.
    pub fn is_subscribed_to(&self, topic: &str) -> bool {
        self.subscribed.contains_key(topic)
    }

    /// Sets the timers of a group that was replayed: every member gets a new session, and as long as it asked for to
    /// give partitions up, if it owes that.
    pub fn loaded(&self, turn: &mut Turn<'_>) {
        let settings = turn.config.consumer(turn.image, &self.id);
        for (id, member) in &self.members {
            self.set_timer(turn, Timer::Session(id.clone()), settings.session_timeout_ms);
            if member.owes_revocation() {
                self.set_timer(turn, Timer::Revocation(id.clone()), member.told.rebalance_timeout_ms);
            }
        }
    }

    /// Whom a timer that went off drops: a member that was not heard of, or did not do what it was told to. A timer of
    /// what is over drops nobody.
    pub fn expired_by<'a>(&self, timer: &'a Timer) -> Option<&'a MemberId> {
        let (id, expired): (_, fn(&Member) -> bool) = match timer {
            Timer::Session(id) => (id, |_| true),
            Timer::ClassicJoin(id) | Timer::ClassicSync(id) => (id, Member::is_classic),
            Timer::Revocation(id) => (id, Member::owes_revocation),
            Timer::PendingJoin(_) | Timer::Join | Timer::Sync => return None,
        };
        self.member(id).is_some_and(expired).then_some(id)
    }

    /// Sets a timer of this group, so many milliseconds from now.
    pub fn set_timer(&self, turn: &mut Turn<'_>, timer: Timer, ms: i32) {
        let at = turn.now.steady.plus_ms(i64::from(ms));
        turn.timers.set(&self.id, timer, at);
    }

    /// Takes back whatever is to happen to a member by itself.
    pub fn cancel_timers(&self, turn: &mut Turn<'_>, id: &MemberId) {
        for timer in [Timer::Session, Timer::Revocation, Timer::ClassicJoin, Timer::ClassicSync] {
            turn.timers.cancel(&self.id, timer(id.clone()));
        }
    }

    /// The records that delete the group, and an end to its timers. The group itself is then to be dropped.
    pub fn tombstones(&self, turn: &mut Turn<'_>) {
        let group = || self.id.clone();
        let records = &mut turn.records;
        records.extend(self.members.keys().map(|id| Record::Current(group(), id.clone(), None)));
        let only_targets = self.targets.keys().filter(|id| !self.members.contains_key(*id));
        records.extend(self.members.keys().chain(only_targets).map(|id| Record::Target(group(), id.clone(), None)));
        records.push(Record::TargetEpoch(group(), None));
        records.extend(self.members.keys().map(|id| Record::Member(group(), id.clone(), None)));
        records.extend(self.resolved.keys().map(|pattern| Record::Regex(group(), pattern.clone(), None)));
        records.push(Record::PartitionMetadataGone(group()));
        records.push(Record::ConsumerEpoch(group(), None));
        turn.timers.cancel_all(&self.id);
    }

    /// Makes a change durable, and makes it.
    fn emit(&mut self, turn: &mut Turn<'_>, record: Record) {
        self.apply(&record);
        turn.records.push(record);
    }

    /// Changes what is durable as the record says. Records of other groups' kinds change nothing, and a compacted log
    /// may lack what a record builds on: the newest word about a partition, member or target holds.
    pub fn apply(&mut self, record: &Record) {
        match record {
            Record::ConsumerEpoch(_, value) => {
                self.epoch = value.unwrap_or(ConsumerEpoch { epoch: FIRST_EPOCH, metadata_hash: 0 });
            }
            Record::TargetEpoch(_, value) => {
                self.target_epoch = value.unwrap_or(NO_TARGET);
                let epoch = self.target_epoch.epoch;
                self.reconciled = self.members.values().filter(|member| member.is_reconciled_to(epoch)).count();
            }
            Record::Member(_, id, Some(value)) => self.change_member(id, |member| member.told.clone_from(value)),
            Record::Current(_, id, Some(value)) => self.change_member(id, |member| member.current.clone_from(value)),
            Record::Member(_, id, None) => self.remove_member(id),
            Record::Current(_, id, None) if self.members.contains_key(id) => {
                self.change_member(id, |member| {
                    member.current = CurrentAssignment {
                        epoch: LEAVE,
                        previous_epoch: LEAVE,
                        state: member.current.state,
                        ..CurrentAssignment::default()
                    };
                });
            }
            Record::Target(_, id, Some(value)) => {
                self.targets.insert(id.clone(), value.clone());
            }
            Record::Target(_, id, None) => {
                self.targets.remove(id);
            }
            Record::Regex(_, pattern, value) => self.change_regex(pattern, value.as_ref()),
            Record::Current(..) | Record::PartitionMetadataGone(_) | Record::Offset(..) | Record::Classic(..) => {}
        }
    }

    fn change_member(&mut self, id: &MemberId, change: impl FnOnce(&mut Member)) {
        let mut member = self.members.remove(id).map_or_else(Member::default, |member| {
            self.uncount(id, &member);
            member
        });
        change(&mut member);
        self.count(id, &member);
        self.members.insert(id.clone(), member);
    }

    fn remove_member(&mut self, id: &MemberId) {
        if let Some(member) = self.members.remove(id) {
            self.uncount(id, &member);
        }
    }

    fn count(&mut self, id: &MemberId, member: &Member) {
        for topic in &member.told.topic_names {
            self.subscribed.entry(topic.clone()).or_default().names += 1;
        }
        if let Some(regex) = member.regex() {
            *self.regexes.entry(regex.to_owned()).or_default() += 1;
        }
        if let Some(assignor) = &member.told.server_assignor {
            *self.assignors.entry(assignor.clone()).or_default() += 1;
        }
        for (protocol, _) in member.told.classic.iter().flat_map(|classic| &classic.protocols) {
            *self.protocols.entry(protocol.clone()).or_default() += 1;
        }
        if let Some(instance) = &member.told.instance_id {
            self.statics.insert(instance.clone(), id.clone());
        }
        for partition in member.partitions() {
            self.owners.insert(partition, id.clone());
        }
        self.classic += usize::from(member.is_classic());
        self.reconciled += usize::from(member.is_reconciled_to(self.target_epoch.epoch));
    }

    fn uncount(&mut self, id: &MemberId, member: &Member) {
        for topic in &member.told.topic_names {
            self.unsubscribe(topic, |subscribers| &mut subscribers.names);
        }
        if let Some(regex) = member.regex() {
            take_one(&mut self.regexes, regex);
        }
        if let Some(assignor) = &member.told.server_assignor {
            take_one(&mut self.assignors, assignor);
        }
        for (protocol, _) in member.told.classic.iter().flat_map(|classic| &classic.protocols) {
            take_one(&mut self.protocols, protocol);
        }
        // Another member may hold what this one held: the newest record of either has the say.
        if let Some(instance) = &member.told.instance_id
            && self.statics.get(instance) == Some(id)
        {
            self.statics.remove(instance);
        }
        for partition in member.partitions() {
            if self.owners.get(&partition) == Some(id) {
                self.owners.remove(&partition);
            }
        }
        self.classic -= usize::from(member.is_classic());
        self.reconciled -= usize::from(member.is_reconciled_to(self.target_epoch.epoch));
    }

    fn change_regex(&mut self, pattern: &Arc<str>, value: Option<&ResolvedRegex>) {
        for topic in self.resolved.remove(pattern).unwrap_or_default().topics {
            self.unsubscribe(&topic, |subscribers| &mut subscribers.regexes);
        }
        let Some(value) = value else { return };
        for topic in &value.topics {
            self.subscribed.entry(topic.clone()).or_default().regexes += 1;
        }
        self.resolved.insert(pattern.clone(), value.clone());
    }

    fn unsubscribe(&mut self, topic: &str, of: impl FnOnce(&mut Subscribers) -> &mut usize) {
        if let Some(subscribers) = self.subscribed.get_mut(topic) {
            let count = of(subscribers);
            *count = count.saturating_sub(1);
            if *subscribers == Subscribers::default() {
                self.subscribed.remove(topic);
            }
        }
    }
}

/// One fewer; a count of nothing is not kept.
fn take_one(counts: &mut BTreeMap<String, usize>, name: &str) {
    if let Some(count) = counts.get_mut(name) {
        *count -= 1;
        if *count == 0 {
            counts.remove(name);
        }
    }
}
