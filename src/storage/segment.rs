//! One segment: a `.log` file with its offset and time index, opened when they are first needed.
//!
//! Index entries of the active segment are kept in memory and reach their files when the log is checkpointed, rolled
//! or closed, so that an append costs one write. What a crash loses of them is rebuilt from the log.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use parking_lot::Mutex;

use super::checkpoint::replace_file;
use super::disk::{Disk, DiskFile};
use super::scan::{Found, ScanError, Scanner};
use super::segment_index::SegmentIndex;
use super::transaction_index::{self, TransactionIndex};
use crate::log::producer_state::Aborted;
use crate::types::{Offset, TimestampMs};

/// A largest timestamp, and the last offset of the first batch that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct MaxTimestamp {
    /// The timestamp.
    pub timestamp: TimestampMs,
    /// Last offset of its batch.
    pub offset: Offset,
}

impl MaxTimestamp {
    /// Takes over a batch's, if it is larger.
    pub fn include(this: &mut Option<Self>, found: &Found) {
        let timestamp = found.header.max_timestamp;
        // A batch that was emptied keeps its timestamp, but no record has it any more.
        if found.header.record_count != 0 && timestamp.0 >= 0 && this.is_none_or(|known| timestamp > known.timestamp) {
            *this = Some(Self { timestamp, offset: found.header.last_offset() });
        }
    }
}

/// A segment's files. Its size and what else changes with appends is kept by the partition, under its lock.
#[derive(Debug)]
pub struct Segment {
    base: Offset,
    /// How often what lies under this name was rewritten since the log was opened: tells the versions apart.
    version: u32,
    dir: Arc<Path>,
    disk: Arc<dyn Disk>,
    log: OnceLock<Arc<dyn DiskFile>>,
    index: Mutex<Option<SegmentIndex>>,
    aborted: Mutex<Option<TransactionIndex>>,
}

impl Segment {
    /// A segment whose files are opened when they are needed.
    pub fn new(disk: Arc<dyn Disk>, dir: Arc<Path>, base: Offset) -> Self {
        Self { base, version: 0, dir, disk, log: OnceLock::new(), index: Mutex::new(None), aborted: Mutex::new(None) }
    }

    /// The segment that takes the place of this one, with files of its own under the same names.
    pub fn successor(&self) -> Self {
        let next = Self::new(Arc::clone(&self.disk), Arc::clone(&self.dir), self.base);
        Self { version: self.version.wrapping_add(1), ..next }
    }

    /// Which version of the segment under this name it is.
    pub fn version(&self) -> u32 {
        self.version
    }

    /// The offset it is named after.
    pub fn base(&self) -> Offset {
        self.base
    }

    /// The `.log` file; created when it is missing.
    pub fn log(&self) -> io::Result<&Arc<dyn DiskFile>> {
        if let Some(file) = self.log.get() {
            return Ok(file);
        }
        let file = self.disk.open(&self.path(".log"))?;
        Ok(self.log.get_or_init(|| file))
    }

    /// A file of this segment.
    pub fn path(&self, suffix: &str) -> PathBuf {
        self.dir.join(file_name(self.base, suffix))
    }

    /// Runs `action` on the index, which is opened first, and rebuilt if its files are missing or damaged.
    /// `size` is that of the log's whole batches.
    pub fn with_index<T>(
        &self,
        size: u64,
        interval: u64,
        action: impl FnOnce(&mut SegmentIndex) -> io::Result<T>,
    ) -> Result<T, ScanError> {
        let mut index = self.index.lock();
        let open = match &mut *index {
            Some(open) => open,
            closed => closed.insert(self.open_index(size, interval)?),
        };
        Ok(action(open)?)
    }

    /// Opens the index as it is, whatever the log holds; `false` when a file of it is missing.
    pub fn open_index_for_recovery(&self) -> io::Result<bool> {
        let (offsets, times) = (self.path(".index"), self.path(".timeindex"));
        let there = self.disk.exists(&offsets) && self.disk.exists(&times);
        *self.index.lock() = Some(SegmentIndex::open(self.disk.as_ref(), &offsets, &times, self.base)?);
        Ok(there)
    }

    /// Opens the index and forgets all entries.
    pub fn clear_index(&self) -> io::Result<()> {
        self.open_index_for_recovery()?;
        self.with_open_index(SegmentIndex::clear).unwrap_or(Ok(()))
    }

    fn open_index(&self, size: u64, interval: u64) -> Result<SegmentIndex, ScanError> {
        let there = self.disk.exists(&self.path(".index")) && self.disk.exists(&self.path(".timeindex"));
        let mut index =
            SegmentIndex::open(self.disk.as_ref(), &self.path(".index"), &self.path(".timeindex"), self.base)?;
        if there && index.is_plausible(size) {
            return Ok(index);
        }
        if let Err(error) = self.rebuild(&mut index, size, interval) {
            // Half an index would pass for a whole one; an empty one does not.
            index.clear()?;
            return Err(error);
        }
        sync_all(&index.write()?)?;
        Ok(index)
    }

    fn rebuild(&self, index: &mut SegmentIndex, size: u64, interval: u64) -> Result<(), ScanError> {
        index.clear()?;
        let mut builder = IndexBuilder::new(interval);
        let mut scanner = Scanner::new(self.log()?.as_ref(), size);
        let mut position = 0;
        while let Some(found) = scanner.header(position)? {
            builder.add(Some(index), &found);
            position = found.end();
        }
        index.enter(builder.max_timestamp);
        Ok(())
    }

    /// Creates the files of a new segment, empty whatever was there under their names; all of them or none.
    pub fn create(&self) -> io::Result<()> {
        let create = || {
            let log = self.log()?;
            if log.len()? > 0 {
                log.set_len(0)?;
            }
            self.disk.remove_file(&self.path(".txnindex"))?;
            self.with_aborted(|_| Ok(()))?;
            self.clear_index()
        };
        create().inspect_err(|_| {
            // Best effort: an empty segment that stays is left out when the log is opened.
            let _ = self.remove_empty();
        })
    }

    /// Runs `action` on the index if it is open, as that of an active segment is.
    pub fn with_open_index<T>(&self, action: impl FnOnce(&mut SegmentIndex) -> T) -> Option<T> {
        self.index.lock().as_mut().map(action)
    }

    /// Runs `action` on the transaction index, which is opened first.
    pub fn with_aborted<T>(&self, action: impl FnOnce(&mut TransactionIndex) -> io::Result<T>) -> io::Result<T> {
        let mut index = self.aborted.lock();
        let open = match &mut *index {
            Some(open) => open,
            closed => closed.insert(TransactionIndex::open(Arc::clone(&self.disk), self.path(".txnindex"))?),
        };
        action(open)
    }

    /// Puts another transaction index in the place of what is there: a crash leaves one of the two.
    pub fn replace_aborted(&self, entries: &[Aborted]) -> io::Result<()> {
        let mut index = self.aborted.lock();
        let path = self.path(".txnindex");
        if entries.is_empty() {
            self.disk.remove_file(&path)?;
        } else {
            replace_file(self.disk.as_ref(), &path, &transaction_index::encode_all(entries))?;
        }
        *index = None;
        Ok(())
    }

    /// Adds an entry to the transaction index, which must be open: appending to it fails for no reason then.
    pub fn enter_aborted(&self, aborted: Aborted) {
        if let Some(index) = self.aborted.lock().as_mut() {
            index.append(aborted);
        }
    }

    /// Makes its index files durable, if they are open: else there is nothing new in them.
    pub fn flush_index(&self) -> io::Result<()> {
        // Not under the index's lock: appends take it.
        let files = self.with_open_index(SegmentIndex::write).transpose()?;
        files.map_or(Ok(()), |files| sync_all(&files))?;
        let aborted = self.aborted.lock().as_mut().map(TransactionIndex::write).transpose()?;
        aborted.flatten().map_or(Ok(()), |file| file.sync_data())
    }

    /// Deletes its files; the log first, because without it the others mean nothing.
    pub fn remove(&self) -> io::Result<()> {
        self.remove_empty()?;
        self.remove_files(&[".snapshot"])
    }

    /// Deletes an empty segment's files. A producer snapshot of that name tells of the records before it.
    pub fn remove_empty(&self) -> io::Result<()> {
        self.remove_files(&[".log", ".index", ".timeindex", ".txnindex"])
    }

    fn remove_files(&self, suffixes: &[&str]) -> io::Result<()> {
        suffixes.iter().try_for_each(|suffix| self.disk.remove_file(&self.path(suffix)))
    }
}

fn sync_all(files: &[Arc<dyn DiskFile>]) -> io::Result<()> {
    files.iter().try_for_each(|file| file.sync_data())
}

/// Adds an index entry every so many bytes, as Kafka does.
#[derive(Clone, Copy, Debug)]
pub struct IndexBuilder {
    interval: u64,
    bytes_since_entry: u64,
    /// The largest timestamp so far.
    pub max_timestamp: Option<MaxTimestamp>,
}

impl IndexBuilder {
    /// For a segment from its beginning.
    pub fn new(interval: u64) -> Self {
        Self { interval, bytes_since_entry: 0, max_timestamp: None }
    }

    /// For a segment whose last entry lies so many bytes back.
    pub fn resume(interval: u64, bytes_since_entry: u64, max_timestamp: Option<MaxTimestamp>) -> Self {
        Self { interval, bytes_since_entry, max_timestamp }
    }

    /// Takes over changed settings.
    pub fn set_interval(&mut self, interval: u64) {
        self.interval = interval;
    }

    /// Notes a batch that is now in the log. Without an index its entry is left out.
    pub fn add(&mut self, index: Option<&mut SegmentIndex>, batch: &Found) {
        MaxTimestamp::include(&mut self.max_timestamp, batch);
        if self.is_due()
            && let Some(index) = index
        {
            index.append(batch.header.last_offset(), batch.position, self.max_timestamp);
            self.bytes_since_entry = 0;
        }
        self.bytes_since_entry += batch.header.size() as u64;
    }

    /// Whether the next batch gets an entry.
    pub fn is_due(&self) -> bool {
        self.bytes_since_entry > self.interval
    }
}

/// `00000000000000000042.log`
pub fn file_name(offset: Offset, suffix: &str) -> String {
    format!("{:020}{suffix}", offset.0)
}

/// The offset and the suffix of a segment's file, if it is named like one.
pub fn parse_file_name(path: &Path) -> Option<(Offset, &str)> {
    let name = path.file_name()?.to_str()?;
    let (digits, suffix) = name.split_at_checked(20)?;
    if !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    Some((Offset(digits.parse().ok()?), suffix))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn a_segment_and_its_successor_are_told_apart() {
        let disk = Arc::new(crate::storage::memory_disk::MemoryDisk::new());
        let segment = Segment::new(disk, Path::new("/d").into(), Offset(3));
        let next = segment.successor();
        assert_eq!((next.base(), next.path(".log")), (segment.base(), segment.path(".log")));
        assert_ne!(next.version(), segment.version());
    }

    #[test]
    fn file_names_are_kafkas() {
        assert_eq!(file_name(Offset(42), ".log"), "00000000000000000042.log");
        assert_eq!(parse_file_name(Path::new("/d/00000000000000000042.timeindex")), Some((Offset(42), ".timeindex")));
        for other in
            ["leader-epoch-checkpoint", "+0000000000000000042.log", "0042.log", "99999999999999999999.log", ".."]
        {
            assert_eq!(parse_file_name(Path::new(other)), None, "{other}");
        }
    }
}
