//! Leader epochs of a log and where each begins (rule 29).

use crate::types::{LeaderEpoch, Offset};

/// One leader epoch and the offset of its first record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EpochStart {
    /// The epoch.
    pub epoch: LeaderEpoch,
    /// Offset of the first record written under it.
    pub start: Offset,
}

/// The epochs of one log: both epochs and offsets rise strictly from entry to entry.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeaderEpochs {
    entries: Vec<EpochStart>,
}

impl LeaderEpochs {
    /// From a checkpoint's entries. One that contradicts an earlier one replaces it, as [`Self::assign`] does.
    pub fn from_entries(entries: impl IntoIterator<Item = EpochStart>) -> Self {
        let mut epochs = Self::default();
        for entry in entries {
            epochs.assign(entry.epoch, entry.start);
        }
        epochs
    }

    /// Notes that `epoch` begins at `start`, unless it is the current one and began before.
    /// Entries that this contradicts go. Returns whether anything changed: then the checkpoint is written.
    pub fn assign(&mut self, epoch: LeaderEpoch, start: Offset) -> bool {
        if epoch.0 < 0 || start.0 < 0 {
            return false;
        }
        if self.entries.last().is_some_and(|latest| latest.epoch == epoch && latest.start <= start) {
            return false;
        }
        while self.entries.last().is_some_and(|latest| latest.epoch >= epoch || latest.start >= start) {
            self.entries.pop();
        }
        self.entries.push(EpochStart { epoch, start });
        true
    }

    /// The current epoch, once anything was written.
    pub fn latest(&self) -> Option<LeaderEpoch> {
        self.entries.last().map(|entry| entry.epoch)
    }

    /// The largest known epoch not above `epoch`, and where it ends: where the next one begins, or the log's end for
    /// the current one. An epoch before all known ones ends where the first known one begins.
    pub fn end_offset_for(&self, epoch: LeaderEpoch, log_end: Offset) -> Option<(LeaderEpoch, Offset)> {
        if epoch == LeaderEpoch::NONE {
            return None;
        }
        if self.latest() == Some(epoch) {
            return Some((epoch, log_end));
        }
        let higher = self.entries.partition_point(|entry| entry.epoch <= epoch);
        let next = self.entries.get(higher)?;
        let found = higher.checked_sub(1).and_then(|floor| self.entries.get(floor));
        Some((found.map_or(epoch, |entry| entry.epoch), next.start))
    }

    /// The epoch under which the record at `offset` was written.
    pub fn epoch_for(&self, offset: Offset) -> Option<LeaderEpoch> {
        let after = self.entries.partition_point(|entry| entry.start <= offset);
        after.checked_sub(1).and_then(|index| self.entries.get(index)).map(|entry| entry.epoch)
    }

    /// Drops epochs that begin at or after `end`: the log was cut there. Returns whether anything changed.
    pub fn truncate_from_end(&mut self, end: Offset) -> bool {
        let kept = self.entries.partition_point(|entry| entry.start < end);
        let changed = end.0 >= 0 && kept < self.entries.len();
        if changed {
            self.entries.truncate(kept);
        }
        changed
    }

    /// Drops epochs that end before `start` and lets the one that `start` lies in begin there: the log's start moved.
    /// Returns whether anything changed.
    pub fn truncate_from_start(&mut self, start: Offset) -> bool {
        let begun = self.entries.partition_point(|entry| entry.start <= start);
        let Some(last) = begun.checked_sub(1) else { return false };
        self.entries.drain(..last);
        let Some(first) = self.entries.first_mut() else { return false };
        let changed = last > 0 || first.start != start;
        first.start = start;
        changed
    }

    /// The entries, for the checkpoint.
    pub fn entries(&self) -> &[EpochStart] {
        &self.entries
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn epochs(entries: &[(i32, i64)]) -> LeaderEpochs {
        LeaderEpochs::from_entries(entries.iter().map(|&(e, o)| EpochStart { epoch: LeaderEpoch(e), start: Offset(o) }))
    }

    fn pairs(epochs: &LeaderEpochs) -> Vec<(i32, i64)> {
        epochs.entries().iter().map(|entry| (entry.epoch.0, entry.start.0)).collect()
    }

    fn end(epochs: &LeaderEpochs, epoch: i32, log_end: i64) -> Option<(i32, i64)> {
        epochs.end_offset_for(LeaderEpoch(epoch), Offset(log_end)).map(|(e, o)| (e.0, o.0))
    }

    #[test]
    fn assign_keeps_an_epochs_first_offset() {
        let mut e = LeaderEpochs::default();
        assert!(e.assign(LeaderEpoch(0), Offset(0)));
        assert!(!e.assign(LeaderEpoch(0), Offset(0)), "the checkpoint is not written for nothing");
        assert!(!e.assign(LeaderEpoch(0), Offset(7)));
        assert!(e.assign(LeaderEpoch(2), Offset(9)));
        assert_eq!(pairs(&e), [(0, 0), (2, 9)]);
        assert!(!e.assign(LeaderEpoch(-1), Offset(10)));
        assert!(!e.assign(LeaderEpoch(3), Offset(-1)));
        assert_eq!(e.latest(), Some(LeaderEpoch(2)));
    }

    #[test]
    fn assign_drops_what_it_contradicts() {
        let mut e = epochs(&[(1, 10), (2, 20), (4, 40)]);
        assert!(e.assign(LeaderEpoch(5), Offset(40)));
        assert_eq!(pairs(&e), [(1, 10), (2, 20), (5, 40)]);
        assert!(e.assign(LeaderEpoch(2), Offset(15)));
        assert_eq!(pairs(&e), [(1, 10), (2, 15)]);
        assert!(e.assign(LeaderEpoch(2), Offset(11)));
        assert_eq!(pairs(&e), [(1, 10), (2, 11)]);
    }

    #[test]
    fn end_offset_is_the_start_of_the_next_epoch() {
        let e = epochs(&[(2, 20), (4, 40), (6, 60)]);
        assert_eq!(end(&e, 2, 99), Some((2, 40)));
        assert_eq!(end(&e, 3, 99), Some((2, 40)));
        assert_eq!(end(&e, 5, 99), Some((4, 60)));
        assert_eq!(end(&e, 6, 99), Some((6, 99)));
        assert_eq!(end(&e, 1, 99), Some((1, 20)));
        assert_eq!(end(&e, 7, 99), None);
        assert_eq!(end(&e, -1, 99), None);
        assert_eq!(end(&LeaderEpochs::default(), 0, 0), None);
    }

    #[test]
    fn epoch_of_an_offset() {
        let e = epochs(&[(2, 20), (4, 40)]);
        assert_eq!(e.epoch_for(Offset(19)), None);
        assert_eq!(e.epoch_for(Offset(20)), Some(LeaderEpoch(2)));
        assert_eq!(e.epoch_for(Offset(39)), Some(LeaderEpoch(2)));
        assert_eq!(e.epoch_for(Offset(1000)), Some(LeaderEpoch(4)));
    }

    #[test]
    fn truncation_at_both_ends() {
        let mut e = epochs(&[(2, 20), (4, 40), (6, 60)]);
        assert!(!e.truncate_from_end(Offset(61)));
        assert!(e.truncate_from_end(Offset(60)));
        assert_eq!(pairs(&e), [(2, 20), (4, 40)]);
        assert!(!e.truncate_from_start(Offset(5)));
        assert!(!e.truncate_from_start(Offset(20)));
        assert!(e.truncate_from_start(Offset(45)));
        assert_eq!(pairs(&e), [(4, 45)]);
        assert!(e.truncate_from_end(Offset(0)));
        assert_eq!(pairs(&e), []);
        assert!(!e.truncate_from_start(Offset(7)));
    }
}
