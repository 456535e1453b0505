//! `<base>.timeindex`: from a timestamp to an offset in the segment.
//!
//! An entry is a big-endian `i64` timestamp and an `i32` offset relative to the segment's base: no record up to that
//! offset is younger than the timestamp. Timestamps rise strictly, offsets never fall.

use std::io;
use std::sync::Arc;

use bytes::{Buf, BufMut};

use super::checkpoint::Malformed;
use super::disk::DiskFile;
use super::index_file::IndexFile;
use crate::log::roll::fits_relative;
use crate::types::{Offset, TimestampMs};

/// Bytes of an entry.
const ENTRY: usize = 12;

/// The largest timestamp up to an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimestampOffset {
    /// The largest timestamp so far; -1 for none.
    pub timestamp: TimestampMs,
    /// Offset of the last record of the batch that has it.
    pub offset: Offset,
}

impl TimestampOffset {
    fn decode(base: Offset, entry: [u8; ENTRY]) -> Self {
        let mut fields = entry.as_slice();
        Self { timestamp: TimestampMs(fields.get_i64()), offset: base.plus(i64::from(fields.get_i32())) }
    }

    fn encode(self, base: Offset) -> [u8; ENTRY] {
        let mut entry = [0; ENTRY];
        let mut fields = entry.as_mut_slice();
        fields.put_i64(self.timestamp.0);
        fields.put_i32((self.offset.0 - base.0) as i32);
        entry
    }
}

/// The time index of one segment.
#[derive(Debug)]
pub struct TimeIndex {
    base: Offset,
    file: IndexFile<ENTRY>,
    last: Option<TimestampOffset>,
}

impl TimeIndex {
    /// Opens the index of the segment that begins at `base`; an empty file is an empty index.
    pub fn open(file: Arc<dyn DiskFile>, base: Offset) -> io::Result<Self> {
        // Timestamps rise, so a 0 after the first entry is preallocated room; a whole first entry of zeros may be
        // either, and costs nothing when it is left out.
        let file = IndexFile::open(file, |n, entry| {
            let entry = TimestampOffset::decode(base, *entry);
            if n == 0 { entry.timestamp.0 != 0 || entry.offset != base } else { entry.timestamp.0 > 0 }
        })?;
        let last = file.last()?.map(|entry| TimestampOffset::decode(base, entry));
        Ok(Self { base, file, last })
    }

    /// The last entry whose timestamp is at most `target`: only records after its offset can be younger.
    /// The segment's beginning, without a timestamp, when there is none.
    pub fn lookup(&self, target: TimestampMs) -> io::Result<TimestampOffset> {
        let found = self.file.search(|_, entry| TimestampOffset::decode(self.base, *entry).timestamp <= target)?;
        match found.checked_sub(1) {
            Some(n) => Ok(TimestampOffset::decode(self.base, self.file.entry(n)?)),
            None => Ok(self.nothing()),
        }
    }

    /// Notes the largest timestamp so far and the offset that it was first reached at, if it grew since the last entry.
    pub fn maybe_append(&mut self, timestamp: TimestampMs, offset: Offset) -> io::Result<()> {
        let last = self.last();
        if timestamp <= last.timestamp || offset < last.offset || !fits_relative(self.base, offset) {
            return Ok(());
        }
        let entry = TimestampOffset { timestamp, offset };
        self.file.append(entry.encode(self.base))?;
        self.last = Some(entry);
        Ok(())
    }

    /// Drops entries at or after `offset`: the log was cut there.
    pub fn truncate_to(&mut self, offset: Offset) -> io::Result<()> {
        let kept = self.file.search(|_, entry| TimestampOffset::decode(self.base, *entry).offset < offset)?;
        self.file.truncate(kept)?;
        self.last = self.file.last()?.map(|entry| TimestampOffset::decode(self.base, entry));
        Ok(())
    }

    /// Drops all entries, to build the index anew.
    pub fn clear(&mut self) -> io::Result<()> {
        self.last = None;
        self.file.truncate(0)
    }

    /// Whether first and last entry can be true; if not, the index is built anew.
    pub fn check(&self) -> Result<(), Malformed> {
        let Some(last) = self.last else { return Ok(()) };
        let first = self.file.entry(0).map_err(|error| Malformed(error.to_string()))?;
        if last.offset < self.base || last.timestamp < TimestampOffset::decode(self.base, first).timestamp {
            return Err(Malformed(format!(
                "the last entry of the time index of segment {} holds timestamp {} and offset {}, before the first one",
                self.base, last.timestamp, last.offset
            )));
        }
        Ok(())
    }

    /// The last entry; -1 and the segment's base when there is none.
    pub fn last(&self) -> TimestampOffset {
        self.last.unwrap_or_else(|| self.nothing())
    }

    /// How many entries there are.
    pub fn entries(&self) -> u64 {
        self.file.len()
    }

    /// Writes entries that wait in memory; the file, for whoever makes them durable.
    pub fn write(&mut self) -> io::Result<Arc<dyn DiskFile>> {
        self.file.write()
    }

    fn nothing(&self) -> TimestampOffset {
        TimestampOffset { timestamp: TimestampMs::NONE, offset: self.base }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::index_file::test_file;
    use super::*;

    fn at(timestamp: i64, offset: i64) -> TimestampOffset {
        TimestampOffset { timestamp: TimestampMs(timestamp), offset: Offset(offset) }
    }

    fn filled(entries: &[(i64, i64)]) -> TimeIndex {
        let mut index = TimeIndex::open(test_file::of(&[]), Offset(50)).unwrap();
        for &(timestamp, offset) in entries {
            index.maybe_append(TimestampMs(timestamp), Offset(offset)).unwrap();
        }
        index
    }

    #[test]
    fn entries_are_kafkas() {
        let file = test_file::of(&[]);
        let mut index = TimeIndex::open(Arc::clone(&file) as _, Offset(50)).unwrap();
        assert_eq!(index.last(), at(-1, 50));
        index.maybe_append(TimestampMs(0x0102_0304_0506), Offset(55)).unwrap();
        index.write().unwrap();
        assert_eq!(*file.bytes.lock(), [0, 0, 1, 2, 3, 4, 5, 6, 0, 0, 0, 5]);
        assert_eq!(TimeIndex::open(file, Offset(50)).unwrap().last(), at(0x0102_0304_0506, 55));
    }

    #[test]
    fn only_a_larger_timestamp_is_added() {
        let index = filled(&[(-1, 50), (100, 52), (100, 54), (90, 55), (110, 56), (120, 40)]);
        assert_eq!((index.entries(), index.last()), (2, at(110, 56)));
    }

    #[test]
    fn finds_the_last_entry_not_younger_than_the_target() {
        let index = filled(&[(100, 52), (110, 56), (120, 60)]);
        assert_eq!(index.lookup(TimestampMs(99)).unwrap(), at(-1, 50));
        assert_eq!(index.lookup(TimestampMs(110)).unwrap(), at(110, 56));
        assert_eq!(index.lookup(TimestampMs(119)).unwrap(), at(110, 56));
        assert_eq!(index.lookup(TimestampMs(i64::MAX)).unwrap(), at(120, 60));
    }

    #[test]
    fn is_cut_by_offset() {
        let mut index = filled(&[(100, 52), (110, 56), (120, 60)]);
        index.truncate_to(Offset(56)).unwrap();
        assert_eq!((index.entries(), index.last()), (1, at(100, 52)));
        index.truncate_to(Offset(53)).unwrap();
        assert_eq!(index.entries(), 1);
        index.clear().unwrap();
        assert_eq!(index.last(), at(-1, 50));
    }

    #[test]
    fn preallocated_room_is_cut_off() {
        let mut bytes = at(100, 52).encode(Offset(50)).to_vec();
        bytes.resize(5000 * 12, 0);
        let index = TimeIndex::open(test_file::of(&bytes), Offset(50)).unwrap();
        assert_eq!((index.entries(), index.last()), (1, at(100, 52)));
        assert_eq!(TimeIndex::open(test_file::of(&[0; 1200]), Offset(50)).unwrap().entries(), 0);
        // A record of 1970 at a later offset is an entry, not room.
        let mut bytes = at(0, 52).encode(Offset(50)).to_vec();
        bytes.resize(1200, 0);
        assert_eq!(TimeIndex::open(test_file::of(&bytes), Offset(50)).unwrap().entries(), 1);
    }

    #[test]
    fn disorder_is_found() {
        let bytes = [at(200, 52).encode(Offset(50)), at(100, 53).encode(Offset(50))].concat();
        assert!(TimeIndex::open(test_file::of(&bytes), Offset(50)).unwrap().check().is_err());
        assert!(filled(&[(100, 52), (110, 56)]).check().is_ok());
    }
}
