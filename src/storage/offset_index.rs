//! `<base>.index`: from an offset to a position in the segment, for one batch in every `index.interval.bytes`.
//!
//! An entry is two big-endian `i32`: the offset of a batch's last record relative to the segment's base, and the
//! batch's position in the log file. Offsets and positions rise.

use std::io;
use std::sync::Arc;

use super::checkpoint::Malformed;
use super::disk::DiskFile;
use super::index_file::IndexFile;
use crate::log::roll::fits_relative;
use crate::types::Offset;

/// Bytes of an entry.
const ENTRY: usize = 8;

/// Where to begin to look for an offset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetPosition {
    /// Offset of the last record of the batch at `position`.
    pub offset: Offset,
    /// Position in the log file.
    pub position: u32,
}

impl OffsetPosition {
    fn decode(base: Offset, entry: [u8; ENTRY]) -> Self {
        let both = u64::from_be_bytes(entry);
        Self { offset: base.plus(i64::from((both >> 32) as i32)), position: both as u32 }
    }

    fn encode(self, base: Offset) -> [u8; ENTRY] {
        let relative = (self.offset.0 - base.0) as u32;
        (u64::from(relative) << 32 | u64::from(self.position)).to_be_bytes()
    }
}

/// The offset index of one segment.
#[derive(Debug)]
pub struct OffsetIndex {
    base: Offset,
    file: IndexFile<ENTRY>,
    last: Option<OffsetPosition>,
}

impl OffsetIndex {
    /// Opens the index of the segment that begins at `base`; an empty file is an empty index.
    pub fn open(file: Arc<dyn DiskFile>, base: Offset) -> io::Result<Self> {
        // The batch at position 0 is never indexed, so a position of 0 is preallocated room.
        let file = IndexFile::open(file, |_, entry| OffsetPosition::decode(base, *entry).position != 0)?;
        let last = file.last()?.map(|entry| OffsetPosition::decode(base, entry));
        Ok(Self { base, file, last })
    }

    /// The last entry at or before `target`: reading from its position on finds the batch that holds `target`.
    /// The segment's beginning when there is none.
    pub fn lookup(&self, target: Offset) -> io::Result<OffsetPosition> {
        let found = self.file.search(|_, entry| OffsetPosition::decode(self.base, *entry).offset <= target)?;
        match found.checked_sub(1) {
            Some(n) => Ok(OffsetPosition::decode(self.base, self.file.entry(n)?)),
            None => Ok(OffsetPosition { offset: self.base, position: 0 }),
        }
    }

    /// Notes that the batch that ends with `last_offset` begins at `position`. One that is not past the last entry, or
    /// does not fit into an entry, is left out: an index may always have gaps.
    pub fn append(&mut self, last_offset: Offset, position: u32) -> io::Result<()> {
        let follows = self.last.is_none_or(|last| last_offset > last.offset && position > last.position);
        if position == 0 || !follows || !fits_relative(self.base, last_offset) {
            return Ok(());
        }
        let entry = OffsetPosition { offset: last_offset, position };
        self.file.append(entry.encode(self.base))?;
        self.last = Some(entry);
        Ok(())
    }

    /// Drops entries at or after `offset`: the log was cut there.
    pub fn truncate_to(&mut self, offset: Offset) -> io::Result<()> {
        let kept = self.file.search(|_, entry| OffsetPosition::decode(self.base, *entry).offset < offset)?;
        self.file.truncate(kept)?;
        self.last = self.file.last()?.map(|entry| OffsetPosition::decode(self.base, entry));
        Ok(())
    }

    /// Drops all entries, to build the index anew.
    pub fn clear(&mut self) -> io::Result<()> {
        self.last = None;
        self.file.truncate(0)
    }

    /// Whether the last entry can be true of a segment of `log_size` bytes; if not, the index is built anew.
    pub fn check(&self, log_size: u64) -> Result<(), Malformed> {
        match self.last {
            Some(last) if last.offset < self.base || u64::from(last.position) >= log_size => Err(Malformed(format!(
                "the last entry of the offset index of segment {} points to offset {} at position {}, outside of the log",
                self.base, last.offset, last.position
            ))),
            _ => Ok(()),
        }
    }

    /// How many entries there are.
    pub fn entries(&self) -> u64 {
        self.file.len()
    }

    /// The last entry.
    pub fn last(&self) -> Option<OffsetPosition> {
        self.last
    }

    /// Writes entries that wait in memory; the file, for whoever makes them durable.
    pub fn write(&mut self) -> io::Result<Arc<dyn DiskFile>> {
        self.file.write()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::super::index_file::test_file;
    use super::*;

    fn at(offset: i64, position: u32) -> OffsetPosition {
        OffsetPosition { offset: Offset(offset), position }
    }

    #[test]
    fn entries_are_kafkas() {
        let file = test_file::of(&[]);
        let mut index = OffsetIndex::open(Arc::clone(&file) as _, Offset(100)).unwrap();
        index.append(Offset(105), 4200).unwrap();
        index.append(Offset(109), 9000).unwrap();
        assert!(file.bytes.lock().is_empty(), "entries wait for a page");
        index.write().unwrap();
        assert_eq!(*file.bytes.lock(), [0, 0, 0, 5, 0, 0, 0x10, 0x68, 0, 0, 0, 9, 0, 0, 0x23, 0x28]);
        let again = OffsetIndex::open(file, Offset(100)).unwrap();
        assert_eq!((again.entries(), again.last()), (2, Some(at(109, 9000))));
        assert_eq!(again.lookup(Offset(108)).unwrap(), at(105, 4200));
        assert_eq!(again.lookup(Offset(104)).unwrap(), at(100, 0));
    }

    #[test]
    fn preallocated_room_is_cut_off() {
        let mut bytes = vec![0, 0, 0, 5, 0, 0, 0x10, 0x68];
        bytes.resize(10_000 * 8 + 3, 0);
        let file = test_file::of(&bytes);
        let mut index = OffsetIndex::open(Arc::clone(&file) as _, Offset(0)).unwrap();
        assert_eq!((index.entries(), file.bytes.lock().len()), (1, 8));
        index.append(Offset(6), 5000).unwrap();
        assert_eq!(index.lookup(Offset(7)).unwrap(), at(6, 5000));
        let empty = OffsetIndex::open(test_file::of(&[0; 4096]), Offset(0)).unwrap();
        assert_eq!(empty.entries(), 0);
    }

    #[test]
    fn an_entry_outside_of_the_log_is_found() {
        let index = OffsetIndex::open(test_file::of(&[0, 0, 0, 5, 0, 0, 0x10, 0x68]), Offset(0)).unwrap();
        assert!(index.check(4201).is_ok());
        assert!(index.check(4200).is_err());
        let index = OffsetIndex::open(test_file::of(&[0xff, 0, 0, 5, 0, 0, 0x10, 0x68]), Offset(0)).unwrap();
        assert!(index.check(9999).is_err());
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut index = OffsetIndex::open(test_file::of(&[]), Offset(10)).unwrap();
        index.append(Offset(9), 100).unwrap();
        index.append(Offset(11), 0).unwrap();
        index.append(Offset(11 + i64::from(i32::MAX)), 100).unwrap();
        index.append(Offset(20), 100).unwrap();
        index.append(Offset(20), 200).unwrap();
        assert_eq!((index.entries(), index.last()), (1, Some(at(20, 100))));
    }

    #[test]
    fn a_search_reads_few_pages() {
        let bytes: Vec<u8> = (1..=100_000_u32).flat_map(|n| at(i64::from(n) * 3, n * 7).encode(Offset(0))).collect();
        let file = test_file::of(&bytes);
        let index = OffsetIndex::open(Arc::clone(&file) as _, Offset(0)).unwrap();
        *file.reads.lock() = 0;
        assert_eq!(index.lookup(Offset(150_000)).unwrap(), at(150_000, 350_000));
        assert!(*file.reads.lock() <= 10, "{} reads", *file.reads.lock());
    }

    proptest! {
        #[test]
        fn behaves_as_a_sorted_list(
            steps in proptest::collection::vec((0..12_u8, 1..40_i64), 1..60),
            before in 0..1200_u32,
        ) {
            let file = test_file::of(&[]);
            let mut index = OffsetIndex::open(Arc::clone(&file) as _, Offset(7)).unwrap();
            let mut model: Vec<OffsetPosition> = (1..=before).map(|n| at(7 + i64::from(n), n * 10)).collect();
            for entry in &model {
                index.append(entry.offset, entry.position).unwrap();
            }
            for (kind, by) in steps {
                let last = model.last().copied().unwrap_or(at(7, 0));
                match kind {
                    0 => {
                        let cut = Offset(last.offset.0 - by * by);
                        index.truncate_to(cut).unwrap();
                        model.retain(|entry| entry.offset < cut);
                    }
                    1 => {
                        index.write().unwrap();
                        index = OffsetIndex::open(Arc::clone(&file) as _, Offset(7)).unwrap();
                    }
                    _ => {
                        let next = at(last.offset.0 + by, last.position + 1 + by as u32);
                        index.append(next.offset, next.position).unwrap();
                        model.push(next);
                    }
                }
                let target = Offset(last.offset.0 - by * 3);
                let expected = model.iter().rfind(|entry| entry.offset <= target).copied().unwrap_or(at(7, 0));
                prop_assert_eq!(index.lookup(target).unwrap(), expected);
                prop_assert_eq!((index.entries(), index.last()), (model.len() as u64, model.last().copied()));
            }
        }
    }
}
