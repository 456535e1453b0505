//! Log compaction (rule 31): which part of a log is worth it, and what of it stays.
//!
//! A pass goes over the log's closed segments three times: once to learn which transactions were aborted
//! ([`Transactions`]), once over the uncompacted part for the latest offset of each key ([`KeyMap`]), and once to write
//! what stays ([`Filter`]) into fewer segments ([`Group`]). Offsets never change; what goes leaves gaps.

mod filter;
mod keys;
mod transactions;

pub use filter::{Filter, Kept, LastBatch, Rules};
pub use keys::KeyMap;
pub use transactions::Transactions;

use super::config::LogConfig;
use crate::types::{Offset, TimestampMs};

/// Bytes of an offset-index entry.
const OFFSET_ENTRY: u64 = 8;
/// Bytes of a time-index entry.
const TIME_ENTRY: u64 = 12;

/// What records of one batch may expand to; a batch that claims more stops the pass.
const LARGEST_SECTION: usize = 256 << 20;

/// A closed segment, as the decision sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClosedSegment {
    /// The offset that it is named after.
    pub base: Offset,
    /// Its size in bytes.
    pub size: u64,
    /// Largest timestamp of its first batch; -1 where there is none. Only `max.compaction.lag.ms` asks for it.
    pub first_timestamp: TimestampMs,
    /// Its largest timestamp; -1 where there is none. Only `min.compaction.lag.ms` asks for it.
    pub largest_timestamp: TimestampMs,
}

/// A log, as the decision sees it.
#[derive(Clone, Copy, Debug)]
pub struct LogView<'a> {
    /// All segments but the active one, in order.
    pub closed: &'a [ClosedSegment],
    /// Where the active segment begins.
    pub active_base: Offset,
    /// Where the log begins.
    pub log_start: Offset,
    /// Where it ends.
    pub log_end: Offset,
    /// Up to here everything may be rewritten: committed, its transactions ended, on the disk.
    pub stable: Offset,
    /// Where the last pass ended, as the checkpoint has it.
    pub checkpoint: Option<Offset>,
}

/// What a pass would work on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleanable {
    /// First offset that no pass has seen.
    pub first_dirty: Offset,
    /// Where the pass ends: a segment's beginning.
    pub end: Offset,
    /// Bytes of segments before the first dirty offset.
    pub clean_bytes: u64,
    /// Bytes of segments from there to the end.
    pub dirty_bytes: u64,
    /// A record has waited for longer than `max.compaction.lag.ms`.
    pub overdue: bool,
    /// When time alone makes more of it cleanable, or overdue.
    pub later: Option<TimestampMs>,
}

impl Cleanable {
    /// Looks at a log at this time.
    pub fn of(log: &LogView<'_>, config: &LogConfig, now: TimestampMs) -> Self {
        // A checkpoint outside of the log speaks of another one: everything is dirty.
        let known = log.checkpoint.filter(|at| (log.log_start..=log.log_end).contains(at));
        let first_dirty = known.unwrap_or(log.log_start);
        let holds = log.closed.partition_point(|segment| segment.base <= first_dirty).saturating_sub(1);
        let dirty = log.closed.get(holds..).unwrap_or_default();
        let too_young = first_too_young(dirty, config, now);
        let end = [Some(log.stable), Some(log.active_base), too_young.map(|segment| segment.base)];
        let end = end.into_iter().flatten().min().unwrap_or(first_dirty);
        // Whole segments only: the one that holds the end is not touched.
        let stop = log.closed.iter().take_while(|segment| segment.base < end).count();
        let next = |at: usize| log.closed.get(at).map_or(log.active_base, |segment| segment.base);
        let whole = if next(stop) <= end { stop } else { stop.saturating_sub(1) };
        let end = next(whole).max(first_dirty);
        let dirty = if end > first_dirty { log.closed.get(holds..whole).unwrap_or_default() } else { &[] };
        let before = log.closed.iter().take_while(|segment| segment.base < first_dirty);
        let due = due_at(dirty, config);
        let waits = too_young.map(|segment| segment.largest_timestamp.0.saturating_add(config.min_compaction_lag_ms));
        Self {
            first_dirty,
            end,
            clean_bytes: before.map(|segment| segment.size).sum(),
            dirty_bytes: dirty.iter().map(|segment| segment.size).sum(),
            overdue: due.is_some_and(|due| due < now.0),
            later: [due.filter(|due| *due >= now.0), waits].into_iter().flatten().min().map(|at| TimestampMs(at + 1)),
        }
    }

    /// The uncompacted share of what a pass would see, from 0 to 1.
    pub fn dirty_ratio(&self) -> f64 {
        let total = self.clean_bytes + self.dirty_bytes;
        if total == 0 { 0.0 } else { self.dirty_bytes as f64 / total as f64 }
    }

    /// Whether a pass is worth it.
    pub fn is_due(&self, config: &LogConfig) -> bool {
        self.dirty_bytes > 0 && (self.overdue || self.dirty_ratio() > config.min_cleanable_ratio)
    }
}

/// The first segment with a record that is younger than `min.compaction.lag.ms`.
fn first_too_young<'a>(dirty: &'a [ClosedSegment], config: &LogConfig, now: TimestampMs) -> Option<&'a ClosedSegment> {
    let lag = config.min_compaction_lag_ms;
    let youngest = now.0.saturating_sub(lag);
    dirty.iter().find(|segment| lag > 0 && segment.largest_timestamp.0 > youngest)
}

/// The time after which the oldest of these segments has waited too long.
fn due_at(dirty: &[ClosedSegment], config: &LogConfig) -> Option<i64> {
    let first = dirty.iter().map(|segment| segment.first_timestamp.0).filter(|first| *first > 0).min()?;
    let due = first.checked_add(config.max_compaction_lag_ms)?;
    (due < i64::MAX).then_some(due)
}

/// A closed segment that is to be rewritten.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece {
    /// The offset that it is named after.
    pub base: Offset,
    /// Where the next segment begins.
    pub next: Offset,
    /// Its size in bytes.
    pub size: u64,
    /// Entries in its offset index.
    pub offset_entries: u64,
    /// Entries in its time index.
    pub time_entries: u64,
}

/// Neighbouring segments that become one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    base: Offset,
    size: u64,
    offset_entries: u64,
    time_entries: u64,
}

impl Group {
    /// A group always has one segment, however large.
    pub const fn begin(first: &Piece) -> Self {
        let Piece { base, size, offset_entries, time_entries, .. } = *first;
        Self { base, size, offset_entries, time_entries }
    }

    /// The group with this segment as well, if together they fit the limits of one.
    pub fn with(&self, next: &Piece, config: &LogConfig) -> Option<Self> {
        let joined = Self {
            base: self.base,
            size: self.size.saturating_add(next.size),
            offset_entries: self.offset_entries.saturating_add(next.offset_entries),
            time_entries: self.time_entries.saturating_add(next.time_entries),
        };
        let fits = joined.size <= config.segment_bytes
            && joined.offset_entries.saturating_mul(OFFSET_ENTRY) <= config.segment_index_bytes
            && joined.time_entries.saturating_mul(TIME_ENTRY) <= config.segment_index_bytes
            && (next.size == 0 || super::roll::fits_relative(self.base, next.next.plus(-1)));
        fits.then_some(joined)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
