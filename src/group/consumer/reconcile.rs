//! Moving one member towards its target, one safe step at a time.
//!
//! A member first gives up what it is not to own, then moves to the target epoch and is given what is free, then waits
//! for what others still hold. It never holds a partition that another one holds, nor one that was not given to it.

use std::collections::{BTreeMap, BTreeSet};

use super::heartbeat::Owned;
use crate::group::records::{CurrentAssignment, MemberState, Partitions};
use crate::types::{PartitionIndex, TopicId};

/// Partitions, each with the epoch at which it was given.
type Held = BTreeMap<TopicId, BTreeMap<PartitionIndex, i32>>;

/// What a step goes by.
pub(super) struct Step<'a, S, F> {
    /// Where the member is.
    pub current: &'a CurrentAssignment,
    /// The epoch of the target assignment.
    pub target_epoch: i32,
    /// What the member is to own.
    pub target: &'a Partitions,
    /// Whether the member subscribes to an existing topic.
    pub subscribed: S,
    /// Whether this heartbeat changed what it subscribes to.
    pub subscription_changed: bool,
    /// What the member says it owns, if it says so.
    pub owned: Owned<'a>,
    /// Whether nobody else holds a partition.
    pub free: F,
}

impl<S, F> Step<'_, S, F>
where
    S: Fn(TopicId) -> bool,
    F: Fn(TopicId, PartitionIndex) -> bool,
{
    /// Where the member is next; `None` where it stays. A member in a state that a later version made up starts from
    /// scratch, which the caller allows only if it owns nothing.
    pub(super) fn next(&self) -> Option<CurrentAssignment> {
        let current = self.current;
        match current.state {
            MemberState::Stable if current.epoch != self.target_epoch => Some(self.towards_target(current.epoch)),
            MemberState::Stable => self.without_unsubscribed(),
            MemberState::UnrevokedPartitions if self.still_owns(&current.pending_revocation) => {
                self.without_unsubscribed()
            }
            MemberState::UnrevokedPartitions | MemberState::UnreleasedPartitions => {
                Some(self.towards_target(current.epoch))
            }
            MemberState::Unknown => Some(self.towards_target(self.target_epoch)),
        }
        .filter(|next| next != current)
    }

    /// Whether the member may still own any of these. One that does not say what it owns may.
    fn still_owns(&self, held: &Held) -> bool {
        self.owned.is_none_or(|owned| {
            owned.iter().any(|topic| {
                held.get(&TopicId(topic.topic_id)).is_some_and(|held| {
                    topic.partitions.iter().any(|partition| held.contains_key(&PartitionIndex(*partition)))
                })
            })
        })
    }

    /// Takes topics away that the member no longer subscribes to, before there is a new target that says so.
    fn without_unsubscribed(&self) -> Option<CurrentAssignment> {
        if !self.subscription_changed {
            return None;
        }
        let current = self.current;
        let mut assigned = current.assigned.clone();
        let mut pending = current.pending_revocation.clone();
        for (topic, partitions) in &current.assigned {
            if !(self.subscribed)(*topic) {
                assigned.remove(topic);
                pending.entry(*topic).or_default().extend(partitions);
            }
        }
        if assigned.len() == current.assigned.len() {
            return None;
        }
        let next = CurrentAssignment { previous_epoch: current.epoch, assigned, ..current.clone() };
        if self.still_owns(&pending) {
            let state = MemberState::UnrevokedPartitions;
            return Some(CurrentAssignment { state, pending_revocation: pending, ..next });
        }
        Some(next)
    }

    /// The next step to the target, from an epoch.
    fn towards_target(&self, epoch: i32) -> CurrentAssignment {
        let split = self.split();
        if !split.revoked.is_empty() && self.still_owns(&split.revoked) {
            return CurrentAssignment {
                epoch,
                previous_epoch: self.current.epoch,
                state: MemberState::UnrevokedPartitions,
                assigned: split.kept,
                pending_revocation: split.revoked,
            };
        }
        let mut assigned = split.kept;
        for (topic, partition) in split.given {
            assigned.entry(topic).or_default().insert(partition, self.target_epoch);
        }
        CurrentAssignment {
            epoch: self.target_epoch,
            previous_epoch: self.current.epoch,
            state: if split.held_by_others { MemberState::UnreleasedPartitions } else { MemberState::Stable },
            assigned,
            pending_revocation: Held::new(),
        }
    }

    /// What the member keeps, gives up, is given, and waits for.
    fn split(&self) -> Split {
        let current = self.current;
        let mut split = Split::default();
        let topics: BTreeSet<TopicId> = self.target.keys().chain(current.assigned.keys()).copied().collect();
        for topic in topics {
            // A topic that it does not subscribe to, or that is gone, is not to be owned whatever the target says.
            let target = if (self.subscribed)(topic) { self.target.get(&topic) } else { None };
            let target: BTreeSet<PartitionIndex> = target.into_iter().flatten().copied().collect();
            let assigned = current.assigned.get(&topic);
            for (partition, epoch) in assigned.into_iter().flatten() {
                let held = if target.contains(partition) { &mut split.kept } else { &mut split.revoked };
                held.entry(topic).or_default().insert(*partition, *epoch);
            }
            for partition in target {
                if assigned.is_some_and(|assigned| assigned.contains_key(&partition)) {
                    continue;
                }
                if (self.free)(topic, partition) {
                    split.given.push((topic, partition));
                } else {
                    split.held_by_others = true;
                }
            }
        }
        split
    }
}

#[derive(Debug, Default)]
struct Split {
    kept: Held,
    revoked: Held,
    given: Vec<(TopicId, PartitionIndex)>,
    held_by_others: bool,
}
