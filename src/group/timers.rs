//! When something is to happen by itself: sessions that end, rebalances that wait no longer.

use std::collections::{BTreeMap, BTreeSet, HashMap};

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
    groups: HashMap<GroupId, BTreeMap<Timer, Steady>>,
    queue: BTreeSet<(Steady, GroupId, Timer)>,
}

impl Timers {
    /// Sets a timer, in place of the one of that name.
    pub fn set(&mut self, group: &GroupId, timer: Timer, at: Steady) {
        self.cancel(group, timer.clone());
        self.groups.entry(group.clone()).or_default().insert(timer.clone(), at);
        self.queue.insert((at, group.clone(), timer));
    }

    /// Takes a timer back.
    pub fn cancel(&mut self, group: &GroupId, timer: Timer) {
        let Some(timers) = self.groups.get_mut(group) else { return };
        if let Some(at) = timers.remove(&timer) {
            self.queue.remove(&(at, group.clone(), timer));
        }
        if timers.is_empty() {
            self.groups.remove(group);
        }
    }

    /// Takes back those timers of a group that `which` names.
    pub fn cancel_where(&mut self, group: &GroupId, which: impl Fn(&Timer) -> bool) {
        let timers: Vec<Timer> = self.of_group(group).filter(|timer| which(timer)).cloned().collect();
        for timer in timers {
            self.cancel(group, timer);
        }
    }

    /// Takes all timers of a group back.
    pub fn cancel_all(&mut self, group: &GroupId) {
        self.cancel_where(group, |_| true);
    }

    /// The timers of a group.
    pub fn of_group(&self, group: &str) -> impl Iterator<Item = &Timer> {
        self.groups.get(group).into_iter().flat_map(BTreeMap::keys)
    }

    /// When a timer is due.
    pub fn due(&self, group: &GroupId, timer: &Timer) -> Option<Steady> {
        self.groups.get(group)?.get(timer).copied()
    }

    /// When the next timer is due.
    pub fn next(&self) -> Option<Steady> {
        self.queue.first().map(|(at, ..)| *at)
    }

    /// Takes the next timer that is due.
    pub fn pop(&mut self, now: Steady) -> Option<(GroupId, Timer)> {
        let (_, group, timer) = self.queue.first().filter(|(at, ..)| *at <= now)?.clone();
        self.cancel(&group, timer.clone());
        Some((group, timer))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn group(name: u8) -> GroupId {
        format!("g{name}").into()
    }

    fn timer(name: u8) -> Timer {
        match name {
            0 => Timer::Join,
            1 => Timer::Sync,
            name => Timer::Session(format!("m{name}").into()),
        }
    }

    proptest! {
        #[test]
        fn timers_go_off_once_in_their_order_unless_taken_back(
            steps in proptest::collection::vec((0_u8..4, 0_u8..3, 0_u8..5, 0_u64..50), 0..60),
        ) {
            let (mut timers, mut model) = (Timers::default(), BTreeMap::new());
            for (what, name, kind, at) in steps {
                match what {
                    0 => {
                        timers.cancel(&group(name), timer(kind));
                        model.remove(&(group(name), timer(kind)));
                    }
                    1 => {
                        timers.cancel_all(&group(name));
                        model.retain(|(owner, _), _| *owner != group(name));
                    }
                    _ => {
                        timers.set(&group(name), timer(kind), Steady(at));
                        model.insert((group(name), timer(kind)), Steady(at));
                    }
                }
                prop_assert_eq!(timers.next(), model.values().min().copied());
                prop_assert_eq!(timers.due(&group(name), &timer(kind)), model.get(&(group(name), timer(kind))).copied());
            }
            let due = |at: &Steady| *at <= Steady(25);
            let mut last = Steady(0);
            while let Some(next) = timers.next().filter(due) {
                prop_assert!(next >= last);
                last = next;
                prop_assert_eq!(timers.pop(Steady(25)).and_then(|key| model.remove(&key)), Some(next));
            }
            prop_assert_eq!(timers.pop(Steady(25)), None);
            prop_assert!(!model.values().any(due));
        }
    }
}
