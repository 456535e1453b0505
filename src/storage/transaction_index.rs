//! `<base>.txnindex`: the aborted transactions whose markers lie in a segment (rule 14).
//!
//! An entry is a version (`i16`, 0), the producer's id, the first offset, that of the marker, and the last stable offset
//! then (`i64` each), all big-endian. Markers' offsets rise strictly. The file is created with its first entry: most
//! segments have none.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Buf, BufMut};

use super::disk::{Disk, DiskFile};
use super::index_file::IndexFile;
use crate::log::producer_state::Aborted;
use crate::types::{Offset, ProducerId};

/// Bytes of an entry.
const ENTRY: usize = 34;
const VERSION: i16 = 0;

fn encode(aborted: &Aborted) -> [u8; ENTRY] {
    let mut entry = [0; ENTRY];
    let mut fields = entry.as_mut_slice();
    fields.put_i16(VERSION);
    fields.put_i64(aborted.producer_id.0);
    fields.put_i64(aborted.first_offset.0);
    fields.put_i64(aborted.last_offset.0);
    fields.put_i64(aborted.last_stable_offset.0);
    entry
}

fn decode(entry: &[u8; ENTRY]) -> io::Result<Aborted> {
    let mut fields = entry.as_slice();
    let version = fields.get_i16();
    if version != VERSION {
        return Err(damaged(&format!("an entry of version {version}, only {VERSION} is known")));
    }
    Ok(Aborted {
        producer_id: ProducerId(fields.get_i64()),
        first_offset: Offset(fields.get_i64()),
        last_offset: Offset(fields.get_i64()),
        last_stable_offset: Offset(fields.get_i64()),
    })
}

/// Where the marker lies, whatever else the entry says.
fn marker(entry: &[u8; ENTRY]) -> Offset {
    let mut field = entry.get(18..).unwrap_or_default();
    Offset(field.try_get_i64().unwrap_or(i64::MAX))
}

fn damaged(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("the transaction index holds {what}"))
}

/// The transaction index of one segment.
#[derive(Debug)]
pub(super) struct TransactionIndex {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// `None` as long as there is no file.
    file: Option<IndexFile<ENTRY>>,
    /// Entries for which no file could be created yet.
    waiting: Vec<Aborted>,
    /// The file ended within an entry.
    was_torn: bool,
}

impl TransactionIndex {
    /// Opens the index if its file is there. What is left of an entry at its end is cut off.
    pub fn open(disk: Arc<dyn Disk>, path: PathBuf) -> io::Result<Self> {
        if !disk.exists(&path) {
            return Ok(Self { disk, path, file: None, waiting: Vec::new(), was_torn: false });
        }
        let was_torn = disk.file_len(&path)? % ENTRY as u64 != 0;
        let file = Some(open_file(disk.as_ref(), &path)?);
        Ok(Self { disk, path, file, waiting: Vec::new(), was_torn })
    }

    /// Adds an entry behind all others. What the disk does not take waits in memory: an entry must not get lost.
    pub fn append(&mut self, aborted: Aborted) {
        self.waiting.push(aborted);
        let _ = self.enter_waiting();
    }

    fn enter_waiting(&mut self) -> io::Result<()> {
        if self.waiting.is_empty() {
            return Ok(());
        }
        let file = match &mut self.file {
            Some(file) => file,
            absent => absent.insert(open_file(self.disk.as_ref(), &self.path)?),
        };
        for aborted in self.waiting.drain(..) {
            // The file keeps what it could not write for the next time.
            let _ = file.append(encode(&aborted));
        }
        Ok(())
    }

    fn entries_from(&self, from: Offset) -> io::Result<impl Iterator<Item = io::Result<Aborted>>> {
        let file = self.file.as_ref();
        let first = file.map_or(Ok(0), |file| file.search(|_, entry| marker(entry) < from))?;
        let written = file.into_iter().flat_map(move |file| file.iter_from(first)).map(|entry| decode(&entry?));
        let waiting = self.waiting.iter().filter(move |aborted| aborted.last_offset >= from);
        Ok(written.chain(waiting.map(|aborted| Ok(*aborted))))
    }

    /// Adds the transactions to `found` that a reader of `from..to` has to know of, in order of their markers;
    /// whether no later segment can hold another one.
    pub fn collect(&self, from: Offset, to: Offset, found: &mut Vec<Aborted>) -> io::Result<bool> {
        for aborted in self.entries_from(from)? {
            let aborted = aborted?;
            if aborted.first_offset < to {
                found.push(aborted);
            }
            if aborted.last_stable_offset >= to {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// All entries.
    pub fn all(&self) -> io::Result<Vec<Aborted>> {
        self.entries_from(Offset(i64::MIN))?.collect()
    }

    /// Whether this can be the index of the segment that holds the offsets from `base` to `end`.
    pub fn check(&self, base: Offset, end: Offset) -> io::Result<()> {
        if self.was_torn {
            return Err(damaged("half an entry"));
        }
        let mut expected = base;
        for aborted in self.entries_from(Offset(i64::MIN))? {
            let aborted = aborted?;
            let Aborted { first_offset, last_offset, .. } = aborted;
            if first_offset.0 < 0 || first_offset >= last_offset || last_offset < expected || last_offset >= end {
                return Err(damaged(&format!("{aborted:?}, where a marker within {expected}..{end} was expected")));
            }
            expected = last_offset.plus(1);
        }
        Ok(())
    }

    /// Forgets what is said of markers at or after `offset`.
    pub fn truncate_to(&mut self, offset: Offset) -> io::Result<()> {
        self.waiting.retain(|aborted| aborted.last_offset < offset);
        let Some(file) = &mut self.file else { return Ok(()) };
        let kept = file.search(|_, entry| marker(entry) < offset)?;
        if kept < file.len() { file.truncate(kept) } else { Ok(()) }
    }

    /// Writes entries that wait in memory; the file, for whoever makes it durable.
    pub fn write(&mut self) -> io::Result<Option<Arc<dyn DiskFile>>> {
        self.enter_waiting()?;
        self.file.as_mut().map(IndexFile::write).transpose()
    }
}

fn open_file(disk: &dyn Disk, path: &Path) -> io::Result<IndexFile<ENTRY>> {
    IndexFile::open(disk.open(path)?, |_, _| true)
}

/// The content of a file with these entries.
pub(super) fn encode_all(entries: &[Aborted]) -> Vec<u8> {
    entries.iter().flat_map(encode).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::storage::memory_disk::MemoryDisk;

    const PATH: &str = "/t-0/00000000000000000000.txnindex";

    fn aborted(first: i64, last: i64, stable: i64) -> Aborted {
        Aborted {
            producer_id: ProducerId(first),
            first_offset: Offset(first),
            last_offset: Offset(last),
            last_stable_offset: Offset(stable),
        }
    }

    fn open(disk: &Arc<MemoryDisk>) -> TransactionIndex {
        TransactionIndex::open(Arc::clone(disk) as Arc<dyn Disk>, PATH.into()).unwrap()
    }

    fn disk() -> Arc<MemoryDisk> {
        let disk = Arc::new(MemoryDisk::new());
        disk.create_dir_all(Path::new("/t-0")).unwrap();
        disk
    }

    #[test]
    fn entries_are_kafkas() {
        let mut expected = vec![0, 0];
        expected.extend([1_i64, 1, 7, 5].map(i64::to_be_bytes).concat());
        assert_eq!(encode_all(&[aborted(1, 7, 5)]), expected);
        assert_eq!(decode(expected.as_chunks().0.first().unwrap()).unwrap(), aborted(1, 7, 5));
    }

    #[test]
    fn what_cannot_be_true_is_found() {
        let check = |bytes: &[u8]| {
            let disk = disk();
            disk.open(Path::new(PATH)).unwrap().write_all_at(bytes, 0).unwrap();
            open(&disk).check(Offset(10), Offset(50)).map_err(|error| error.kind())
        };
        let of = |entries: &[Aborted]| check(&encode_all(entries));
        let damaged = Err(io::ErrorKind::InvalidData);
        assert_eq!(of(&[aborted(1, 10, 5), aborted(20, 49, 5)]), Ok(()));
        assert_eq!(of(&[aborted(1, 9, 5)]), damaged, "a marker before the segment");
        assert_eq!(of(&[aborted(1, 50, 5)]), damaged, "or after it");
        assert_eq!(of(&[aborted(1, 20, 5), aborted(2, 20, 5)]), damaged, "one marker ends one transaction");
        assert_eq!(of(&[aborted(20, 20, 5)]), damaged, "a marker is no record");
        assert_eq!(check(&[0; ENTRY]), damaged, "room that nothing was written to");
        assert_eq!(check(&[1; ENTRY]), damaged, "another version");
        let torn = encode_all(&[aborted(1, 20, 5), aborted(2, 30, 5)]);
        assert_eq!(check(torn.get(..ENTRY + 5).unwrap()), damaged);
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

        /// Entries in the file, in memory, and both, over several pages.
        #[test]
        fn readers_are_told_what_a_walk_over_all_would_tell_them(
            steps in prop::collection::vec((1..4_i64, 1..30_i64, 0..20_i64), 0..400),
            written in any::<prop::sample::Index>(),
            cut in prop::option::of(any::<prop::sample::Index>()),
            from in 0..500_i64,
            length in 0..100_i64,
        ) {
            let (mut all, mut last) = (Vec::new(), 0);
            for (step, back, open) in steps {
                last += step;
                let first = (last - back).max(0).min(last - 1);
                all.push(aborted(first, last, (last + 1 - open).max(0)));
            }
            // As in a log, no transaction that ends later begins in what is stable.
            let mut later = Offset(i64::MAX);
            for entry in all.iter_mut().rev() {
                entry.last_stable_offset = entry.last_stable_offset.min(later);
                later = entry.last_stable_offset.min(entry.first_offset);
            }
            let disk = disk();
            let mut index = open(&disk);
            for (at, entry) in all.iter().enumerate() {
                index.append(*entry);
                if at == written.index(all.len()) {
                    index.write().unwrap();
                }
            }
            if let Some(cut) = cut {
                let offset = Offset(cut.index(last as usize + 1) as i64);
                index.truncate_to(offset).unwrap();
                all.retain(|entry| entry.last_offset < offset);
            }
            let (from, to) = (Offset(from), Offset(from + length));
            let expected: Vec<_> =
                all.iter().filter(|entry| entry.last_offset >= from && entry.first_offset < to).copied().collect();
            for _ in 0..2 {
                prop_assert_eq!(&index.all().unwrap(), &all);
                let mut found = Vec::new();
                let is_complete = index.collect(from, to, &mut found).unwrap();
                prop_assert_eq!(&found, &expected);
                prop_assert_eq!(is_complete, all.iter().any(|entry| entry.last_offset >= from && entry.last_stable_offset >= to));
                index.check(Offset(0), Offset(i64::MAX)).unwrap();
                index.write().unwrap();
                index = open(&disk);
            }
            prop_assert_eq!(disk.exists(Path::new(PATH)), last > 0);
        }
    }
}
