//! What a partition keeps under its lock: segments, offsets, and who waits for them.

use std::sync::{Arc, Weak};
use std::task::Waker;

use tokio::sync::Notify;

use super::partition_log::{LogOffsets, ReadBound};
use super::segment::{IndexBuilder, MaxTimestamp, Segment};
use crate::log::leader_epochs::LeaderEpochs;
use crate::log::producer_state::{ProducerSnapshotEntry, ProducerStates};
use crate::types::{LeaderEpoch, Offset, TimestampMs};

/// Batches whose position is remembered per partition, so that a reader at the tail need not look for them.
const RECENT: usize = 32;

/// A segment and how much of it there is.
#[derive(Debug)]
pub(super) struct SegmentState {
    pub segment: Arc<Segment>,
    /// Bytes of whole batches.
    pub size: u64,
    /// Bytes that are known to be on the disk.
    pub synced: u64,
    /// The index files lack something that a checkpoint writes.
    pub index_dirty: bool,
}

/// What is known of the active segment beyond its size.
#[derive(Debug)]
pub(super) struct ActiveTail {
    pub index: IndexBuilder,
    pub created: TimestampMs,
    pub first_batch_timestamp: TimestampMs,
    pub jitter_ms: i64,
}

/// A producer snapshot that was taken under the lock and is to be written.
#[derive(Debug)]
pub(super) struct TakenSnapshot {
    pub offset: Offset,
    pub entries: Vec<ProducerSnapshotEntry>,
}

/// Where the partition stands with the flush pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FlushState {
    /// Nothing is asked for.
    Idle,
    /// The pool will come; what is appended until then goes along.
    Queued,
    /// The pool is at it; `again` when more was asked for meanwhile.
    Running {
        /// Another round is wanted.
        again: bool,
    },
}

/// Everything that changes.
#[derive(Debug)]
pub(super) struct State {
    /// In order of offsets; the last is the active one. Never empty.
    pub segments: Vec<SegmentState>,
    pub tail: ActiveTail,
    pub log_start: Offset,
    pub log_end: Offset,
    /// Everything below is on the disk.
    pub durable_end: Offset,
    /// Whether readers and acknowledgements wait for the disk: see [`super::Durability::waits_for_disk`].
    pub waits: bool,
    /// Readers see what is below; it only rises.
    pub high_watermark: Offset,
    /// In a mode that acknowledges from the page cache: what a flush was asked for (`flush.messages`).
    pub flush_wanted: Offset,
    pub producers: ProducerStates,
    pub snapshots: Vec<TakenSnapshot>,
    pub epochs: LeaderEpochs,
    pub epochs_dirty: bool,
    pub leader_epoch: LeaderEpoch,
    /// Files or folders were created that a flush of the folder has not covered yet.
    pub dir_dirty: bool,
    pub bytes_since_checkpoint: u64,
    /// Where recovery would begin: what the checkpoint file says, or will say.
    pub recovery_point: Offset,
    pub checkpointing: bool,
    /// A file beside the log could not be flushed: the recovery point stays where it is.
    pub checkpoint_failed: bool,
    /// A failed write may have left bytes behind the active segment's end.
    pub torn: bool,
    pub recent: Recent,
    pub flush: FlushState,
    /// `flush.ms` is running.
    pub flush_timer: bool,
    pub waiters: Vec<(Offset, Waker)>,
    pub watchers: Watchers,
    pub failed: Option<Arc<str>>,
    pub deleted: bool,
}

impl State {
    /// Readers may see more, now that this was appended or flushed. Whether they do.
    pub fn advance_high_watermark(&mut self) -> bool {
        let end = if self.waits { self.durable_end } else { self.log_end };
        let rises = end > self.high_watermark;
        self.high_watermark = self.high_watermark.max(end);
        self.producers.replicated(self.high_watermark);
        rises
    }

    pub fn offsets(&self) -> LogOffsets {
        let high_watermark = self.high_watermark;
        let unstable = self.producers.first_unstable();
        let last_stable = unstable.map_or(high_watermark, |first| first.min(high_watermark).max(self.log_start));
        LogOffsets { log_start: self.log_start, last_stable, high_watermark, log_end: self.log_end }
    }

    /// Where a reader has to stop.
    pub fn limit(&self, bound: ReadBound, offsets: &LogOffsets) -> Offset {
        match bound {
            ReadBound::HighWatermark => offsets.high_watermark,
            ReadBound::LastStable => offsets.last_stable,
            // After a failed flush nobody knows what the page cache still holds.
            ReadBound::LogEnd if self.failed.is_some() => offsets.high_watermark,
            ReadBound::LogEnd => offsets.log_end,
        }
    }

    /// The index of the segment that holds `offset`, or would.
    pub fn segment_for(&self, offset: Offset) -> usize {
        self.segments.partition_point(|state| state.segment.base() <= offset).saturating_sub(1)
    }

    pub fn size(&self) -> u64 {
        self.segments.iter().map(|state| state.size).sum()
    }

    /// Takes those out who wait for what is durable now; all of them when nothing more will come.
    pub fn ready_waiters(&mut self) -> Vec<Waker> {
        let all = self.failed.is_some() || self.deleted;
        let durable = self.durable_end;
        self.waiters.extract_if(.., |(last, _)| all || *last < durable).map(|(_, waker)| waker).collect()
    }
}

impl ActiveTail {
    pub fn max_timestamp(&self) -> Option<MaxTimestamp> {
        self.index.max_timestamp
    }
}

/// Positions of the latest batches in the active segment.
#[derive(Debug, Default)]
pub(super) struct Recent {
    /// Base offset and position; a ring once it is full.
    batches: Vec<(Offset, u64)>,
    next: usize,
}

impl Recent {
    pub fn push(&mut self, base: Offset, position: u64) {
        if let Some(slot) = self.batches.get_mut(self.next) {
            *slot = (base, position);
        } else {
            self.batches.push((base, position));
        }
        self.next = (self.next + 1) % RECENT;
    }

    /// The position of the last remembered batch that begins at or before `offset`.
    pub fn position_for(&self, offset: Offset) -> Option<u64> {
        let candidates = self.batches.iter().filter(|(base, _)| *base <= offset);
        candidates.max_by_key(|(base, _)| *base).map(|(_, position)| *position)
    }

    pub fn clear(&mut self) {
        self.batches.clear();
        self.next = 0;
    }
}

/// Tasks to be told once of the next change.
#[derive(Debug, Default)]
pub(super) struct Watchers {
    list: Vec<Weak<Notify>>,
}

impl Watchers {
    pub fn add(&mut self, watcher: &Arc<Notify>) {
        // Before it grows, those go that nobody holds any more: an idle partition is polled for ever.
        if self.list.len() == self.list.capacity() {
            self.list.retain(|known| known.strong_count() > 0);
        }
        if !self.list.iter().any(|known| std::ptr::eq(known.as_ptr(), Arc::as_ptr(watcher))) {
            self.list.push(Arc::downgrade(watcher));
        }
    }

    pub fn take(&mut self) -> Self {
        std::mem::take(self)
    }

    /// Tells them; not under the partition's lock.
    pub fn notify(self) {
        for watcher in self.list {
            if let Some(watcher) = watcher.upgrade() {
                watcher.notify_one();
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn recent_batches_are_found_and_old_ones_forgotten() {
        let mut recent = Recent::default();
        assert_eq!(recent.position_for(Offset(5)), None);
        for i in 0..100 {
            recent.push(Offset(i * 10), i as u64 * 1000);
        }
        assert_eq!(recent.position_for(Offset(995)), Some(99_000));
        assert_eq!(recent.position_for(Offset(989)), Some(98_000));
        assert_eq!(recent.position_for(Offset(100)), None);
        recent.clear();
        assert_eq!(recent.position_for(Offset(995)), None);
    }

    #[test]
    fn watchers_that_nobody_holds_do_not_pile_up() {
        let mut watchers = Watchers::default();
        let kept = Arc::new(Notify::new());
        for _ in 0..10_000 {
            watchers.add(&Arc::new(Notify::new()));
            watchers.add(&kept);
        }
        assert!(watchers.list.len() < 100);
        assert_eq!(watchers.list.iter().filter(|watcher| watcher.strong_count() > 0).count(), 1);
    }
}
