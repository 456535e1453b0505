//! When something is to happen by itself: sessions that end, rebalances that wait no longer.

use std::collections::{BTreeSet, HashMap};

use super::turn::Steady;
use super::{GroupId, MemberId};

/// What is to happen.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Timer {
    /// A member (of either protocol) was not heard of.
    Session(MemberId),
    /// A dynamic classic member was given an id and did not come back with it.
    PendingJoin(MemberId),
    /// Members of a classic group were waited for long enough, or the initial delay is over.
    Join,
    /// The leader's assignment, or members asking for it, were waited for long enough.
    Sync,
    /// A member of a consumer group did not give partitions up in time.
    Revocation(MemberId),
    /// A classic member of a consumer group was told to join and did not.
    ClassicJoin(MemberId),
    /// A classic member of a consumer group joined and did not sync.
    ClassicSync(MemberId),
}

/// Timers of all groups of a shard.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Timers {
    at: HashMap<(GroupId, Timer), Steady>,
    queue: BTreeSet<(Steady, GroupId, Timer)>,
}

impl Timers {
    /// Sets a timer, in place of the one of that name.
    pub fn set(&mut self, group: &GroupId, timer: Timer, at: Steady) {
        if let Some(before) = self.at.insert((group.clone(), timer.clone()), at) {
            self.queue.remove(&(before, group.clone(), timer.clone()));
        }
        self.queue.insert((at, group.clone(), timer));
    }

    /// Takes a timer back.
    pub fn cancel(&mut self, group: &GroupId, timer: Timer) {
        let key = (group.clone(), timer);
        if let Some(at) = self.at.remove(&key) {
            self.queue.remove(&(at, key.0, key.1));
        }
    }

    /// Takes all timers of a group back.
    pub fn cancel_all(&mut self, group: &GroupId) {
        let queue = &mut self.queue;
        self.at.retain(|(owner, timer), at| {
            let keep = owner != group;
            if !keep {
                queue.remove(&(*at, owner.clone(), timer.clone()));
            }
            keep
        });
    }

    /// When a timer is due.
    pub fn due(&self, group: &GroupId, timer: Timer) -> Option<Steady> {
        self.at.get(&(group.clone(), timer)).copied()
    }

    /// When the next timer is due.
    pub fn next(&self) -> Option<Steady> {
        self.queue.first().map(|(at, ..)| *at)
    }

    /// Takes the next timer that is due.
    pub fn pop(&mut self, now: Steady) -> Option<(GroupId, Timer)> {
        let first = self.queue.first().filter(|(at, ..)| *at <= now)?;
        let (_, group, timer) = first.clone();
        self.cancel(&group, timer.clone());
        Some((group, timer))
    }
}
