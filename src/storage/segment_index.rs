//! The offset and the time index of a segment, kept in step.

use std::io;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::offset_index::OffsetIndex;
use super::segment::MaxTimestamp;
use super::time_index::TimeIndex;
use crate::types::{Offset, TimestampMs};

/// Both indexes of one segment.
#[derive(Debug)]
pub struct SegmentIndex {
    base: Offset,
    offsets: OffsetIndex,
    times: TimeIndex,
}

impl SegmentIndex {
    /// Opens the files, creating them when they are missing.
    pub fn open(disk: &dyn Disk, offsets: &Path, times: &Path, base: Offset) -> io::Result<Self> {
        let offsets = OffsetIndex::open(disk.open(offsets)?, base)?;
        let times = TimeIndex::open(disk.open(times)?, base)?;
        Ok(Self { base, offsets, times })
    }

    /// Whether the files can be those of a log of this size. A segment that is closed has a time entry, unless its records
    /// carry no time: then nothing is lost by building it anew.
    pub fn is_plausible(&self, log_size: u64) -> bool {
        let is_begun = log_size == 0 || self.times.entries() > 0;
        is_begun && self.offsets.check(log_size).is_ok() && self.times.check().is_ok()
    }

    /// Forgets all entries.
    pub fn clear(&mut self) -> io::Result<()> {
        self.offsets.clear()?;
        self.times.clear()
    }

    /// Forgets what is said about `offset` and what follows it.
    pub fn truncate_to(&mut self, offset: Offset) -> io::Result<()> {
        self.offsets.truncate_to(offset)?;
        self.times.truncate_to(offset)
    }

    /// Adds an entry for a batch behind all others. A disk that has no room costs the index an entry, not the append:
    /// entries that could not be written wait in memory, and an index may have gaps.
    pub fn append(&mut self, offset: Offset, position: u64, max_timestamp: Option<MaxTimestamp>) {
        if let Ok(position) = u32::try_from(position) {
            let _ = self.offsets.append(offset, position);
        }
        self.enter(max_timestamp);
    }

    /// The segment takes no more batches: its largest timestamp is entered, by which retention decides.
    pub fn enter(&mut self, max_timestamp: Option<MaxTimestamp>) {
        if let Some(max) = max_timestamp {
            let _ = self.times.maybe_append(max.timestamp, max.offset);
        }
    }

    /// Where to begin to look for `offset`.
    pub fn position_for(&self, offset: Offset) -> io::Result<u64> {
        Ok(u64::from(self.offsets.lookup(offset)?.position))
    }

    /// The last entry's position, where a walk to the end of the log begins.
    pub fn last_position(&self) -> u64 {
        self.offsets.last().map_or(0, |last| u64::from(last.position))
    }

    /// The offset from which on a record with this timestamp or a later one can be.
    pub fn offset_for_time(&self, target: TimestampMs) -> io::Result<Offset> {
        Ok(self.times.lookup(target)?.offset.max(self.base))
    }

    /// The largest timestamp that the index knows.
    pub fn last_timestamp(&self) -> Option<MaxTimestamp> {
        let last = self.times.last();
        (last.timestamp.0 >= 0).then_some(MaxTimestamp { timestamp: last.timestamp, offset: last.offset })
    }

    /// Entries in the offset index and in the time index.
    pub fn entries(&self) -> (u64, u64) {
        (self.offsets.entries(), self.times.entries())
    }

    /// Writes entries that wait in memory; the files, for whoever makes them durable.
    pub fn write(&mut self) -> io::Result<[Arc<dyn DiskFile>; 2]> {
        Ok([self.offsets.write()?, self.times.write()?])
    }
}
