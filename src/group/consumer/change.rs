//! What can happen to a member, whichever protocol it speaks: each changes the group through records alone.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::reconcile::Step;
use super::{ConsumerGroup, LEAVE_STATIC, Member, Owned};
use crate::group::MemberId;
use crate::group::records::{CurrentAssignment, MemberState, MemberValue, Partitions, Record};
use crate::group::timers::Timer;
use crate::group::turn::Turn;
use crate::types::TopicId;

/// How a member changed what it subscribes to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionChange {
    /// It names other topics.
    pub topics: bool,
    /// It has another regular expression, or none any more.
    pub regex: bool,
    /// What its regular expression stood for, or stands for, is known, so a new assignment can be made at once.
    pub regex_resolved: bool,
    /// Nobody else had that regular expression, so it was not resolved yet.
    pub regex_new: bool,
}

impl SubscriptionChange {
    /// Whether anything changed.
    pub const fn any(self) -> bool {
        self.topics || self.regex
    }

    /// Whether the group needs a new assignment for it.
    pub const fn bumps(self) -> bool {
        self.topics || self.regex_resolved
    }
}

impl ConsumerGroup {
    /// Puts a new member in the place of a static one, with its subscription, its target and what it owns.
    pub fn replace_member(&mut self, turn: &mut Turn<'_>, old: &MemberId, id: &MemberId) {
        let Some(member) = self.members.get(old).cloned() else { return };
        let target = self.targets.get(old).cloned().unwrap_or_default();
        self.remove_records(turn, old);
        self.cancel_timers(turn, old);
        let current = CurrentAssignment { epoch: 0, previous_epoch: 0, ..member.current };
        let group = || self.id.clone();
        let (told, target, current) = (
            Record::Member(group(), id.clone(), Some(member.told)),
            Record::Target(group(), id.clone(), Some(target)),
            Record::Current(group(), id.clone(), Some(current)),
        );
        for record in [told, target, current] {
            self.emit(turn, record);
        }
    }

    /// Takes over what a new or known member tells about itself.
    pub fn update_member(&mut self, turn: &mut Turn<'_>, id: &MemberId, told: MemberValue) -> SubscriptionChange {
        let (old_names, old_regex) = match self.members.get(id) {
            Some(member) => (member.told.topic_names.as_slice(), member.regex()),
            None => (&[][..], None),
        };
        let topics = old_names != told.topic_names;
        let old_regex = old_regex.map(Arc::<str>::from);
        let new_regex = told.topic_regex.as_deref().filter(|regex| !regex.is_empty()).map(Arc::<str>::from);
        self.emit(turn, Record::Member(self.id.clone(), id.clone(), Some(told)));
        if old_regex == new_regex {
            return SubscriptionChange { topics, ..SubscriptionChange::default() };
        }
        if let Some(old) = &old_regex
            && !self.regexes.contains_key(&**old)
            && self.resolved.contains_key(old)
        {
            self.emit(turn, Record::Regex(self.id.clone(), old.clone(), None));
        }
        let first = new_regex.as_ref().is_some_and(|new| self.regexes.get(&**new) == Some(&1));
        let resolved = new_regex.as_ref().is_none_or(|new| !first && self.resolved.contains_key(new));
        SubscriptionChange { topics, regex: true, regex_resolved: resolved, regex_new: first }
    }

    /// Moves a member one step towards its target. Whether what it owns changed.
    pub fn reconcile_member(
        &mut self,
        turn: &mut Turn<'_>,
        id: &MemberId,
        subscription_changed: bool,
        owned: Owned<'_>,
    ) -> bool {
        let Some(member) = self.members.get(id) else { return false };
        if !subscription_changed && member.is_reconciled_to(self.target_epoch.epoch) {
            return false;
        }
        let nothing = Partitions::new();
        let step = Step {
            current: &member.current,
            target_epoch: self.target_epoch.epoch,
            target: self.targets.get(id).unwrap_or(&nothing),
            subscribed: |topic| self.subscribes(turn, member, topic),
            subscription_changed,
            owned,
            free: |topic, partition| self.owners.get(&(topic, partition)).is_none_or(|owner| owner == id),
        };
        let Some(next) = step.next() else { return false };
        let moved = next.assigned != member.current.assigned;
        let (classic, timeout_ms) = (member.is_classic(), member.told.rebalance_timeout_ms);
        let owes = next.state == MemberState::UnrevokedPartitions;
        self.emit(turn, Record::Current(self.id.clone(), id.clone(), Some(next)));
        // Members of the classic protocol are waited for with the timers of joining and syncing.
        if owes && !classic {
            self.set_timer(turn, Timer::Revocation(id.clone()), timeout_ms);
        } else if !classic {
            turn.timers.cancel(&self.id, Timer::Revocation(id.clone()));
        }
        moved
    }

    fn subscribes(&self, turn: &Turn<'_>, member: &Member, topic: TopicId) -> bool {
        let Some(topic) = turn.image.topic_by_id(topic) else { return false };
        let named = |names: &[String]| names.binary_search_by(|name| name.as_str().cmp(&topic.name)).is_ok();
        named(&member.told.topic_names)
            || member.regex().and_then(|regex| self.resolved.get(regex)).is_some_and(|resolved| named(&resolved.topics))
    }

    /// Drops members. The rest get what they held with their next heartbeats.
    pub fn fence_members(&mut self, turn: &mut Turn<'_>, ids: &[MemberId]) {
        let mut regexes = Vec::new();
        for id in ids {
            let Some(member) = self.members.get(id) else { continue };
            regexes.extend(member.regex().map(Arc::<str>::from));
            self.remove_records(turn, id);
            self.cancel_timers(turn, id);
        }
        for regex in regexes {
            if !self.regexes.contains_key(&*regex) && self.resolved.contains_key(&regex) {
                self.emit(turn, Record::Regex(self.id.clone(), regex, None));
            }
        }
        self.bump(turn);
    }

    fn remove_records(&mut self, turn: &mut Turn<'_>, id: &MemberId) {
        let group = || self.id.clone();
        let records = [
            Record::Current(group(), id.clone(), None),
            Record::Target(group(), id.clone(), None),
            Record::Member(group(), id.clone(), None),
        ];
        for record in records {
            self.emit(turn, record);
        }
    }

    /// A static member keeps its place until its session ends, and gave up what it was to give up.
    pub fn leave_for_a_while(&mut self, turn: &mut Turn<'_>, id: &MemberId) {
        let Some(member) = self.members.get(id) else { return };
        let mut current =
            CurrentAssignment { epoch: LEAVE_STATIC, pending_revocation: BTreeMap::new(), ..member.current.clone() };
        // Whoever comes back in its place begins at epoch 0 and may commit to all of these (KIP-1251).
        for epoch in current.assigned.values_mut().flat_map(BTreeMap::values_mut) {
            *epoch = 0;
        }
        turn.timers.cancel(&self.id, Timer::Revocation(id.clone()));
        self.emit(turn, Record::Current(self.id.clone(), id.clone(), Some(current)));
    }
}
