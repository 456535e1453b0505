//! `recovery-point-offset-checkpoint`, `log-start-offset-checkpoint` and `cleaner-offset-checkpoint` of a data folder: all
//! partitions in one file.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::checkpoint::{decode_offsets, encode_offsets, read_file, replace_file};
use super::disk::Disk;
use super::log_manager::StorageError;
use crate::types::{Offset, TopicPartition};

/// Up to where a partition is known to be flushed.
const RECOVERY_POINTS: &str = "recovery-point-offset-checkpoint";
/// Where a partition begins, if that is past its first segment's beginning.
const LOG_STARTS: &str = "log-start-offset-checkpoint";
/// Up to where a partition was compacted.
const CLEANED: &str = "cleaner-offset-checkpoint";
/// Kafka's high watermarks; on one node they are the ends of the logs.
const HIGH_WATERMARKS: &str = "replication-offset-checkpoint";

/// The files of one data folder.
#[derive(Debug)]
pub(super) struct OffsetCheckpoints {
    recovery_points: OffsetFile,
    log_starts: OffsetFile,
    cleaned: OffsetFile,
}

impl OffsetCheckpoints {
    /// Reads the files; missing ones are empty.
    pub fn open(disk: &Arc<dyn Disk>, dir: &Path, on_disk: bool) -> Result<Self, StorageError> {
        let file = |name| OffsetFile::open(disk, dir.join(name), on_disk);
        Ok(Self { recovery_points: file(RECOVERY_POINTS)?, log_starts: file(LOG_STARTS)?, cleaned: file(CLEANED)? })
    }

    /// Where recovery of a partition begins.
    pub fn recovery_point(&self, partition: &TopicPartition) -> Option<Offset> {
        self.recovery_points.get(partition)
    }

    /// Moves a partition's recovery point, durably once this returns.
    pub fn move_recovery_point(&self, partition: &TopicPartition, to: Offset) -> io::Result<()> {
        self.recovery_points.set(partition, Some(to));
        self.recovery_points.write()
    }

    /// Moves a partition's recovery point; it is written with the next one.
    pub fn note_recovery_point(&self, partition: &TopicPartition, to: Offset) {
        self.recovery_points.set(partition, Some(to));
    }

    /// Where a partition begins.
    pub fn log_start(&self, partition: &TopicPartition) -> Option<Offset> {
        self.log_starts.get(partition)
    }

    /// Moves a partition's start, durably once this returns.
    pub fn move_log_start(&self, partition: &TopicPartition, to: Offset) -> io::Result<()> {
        self.log_starts.set(partition, Some(to));
        self.log_starts.write()
    }

    /// Up to where a partition was compacted.
    pub fn cleaned(&self, partition: &TopicPartition) -> Option<Offset> {
        self.cleaned.get(partition)
    }

    /// Notes up to where a partition was compacted, durably once this returns.
    pub fn move_cleaned(&self, partition: &TopicPartition, to: Offset) -> io::Result<()> {
        self.cleaned.set(partition, Some(to));
        self.cleaned.write()
    }

    /// Forgets a deleted partition; a new one of the same name must not inherit anything.
    pub fn forget(&self, partition: &TopicPartition) -> io::Result<()> {
        self.recovery_points.set(partition, None);
        self.log_starts.set(partition, None);
        self.cleaned.set(partition, None);
        self.recovery_points.write()?;
        self.cleaned.write()?;
        self.log_starts.write()
    }

    /// Writes what is not written yet, and for Kafka, should it take over the folder, the high watermarks.
    pub fn close(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        self.recovery_points.write()?;
        self.log_starts.write()?;
        let entries = self.recovery_points.content.lock();
        replace_file(
            disk,
            &dir.join(HIGH_WATERMARKS),
            &encode_offsets(entries.offsets.iter().map(|(of, at)| (of, *at))),
        )
    }
}

/// One such file. Changes that gather while it is written go together into the next one.
#[derive(Debug)]
struct OffsetFile {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    on_disk: bool,
    content: Mutex<Content>,
    /// The version that was written last; held while writing.
    written: Mutex<u64>,
}

#[derive(Debug, Default)]
struct Content {
    offsets: BTreeMap<TopicPartition, Offset>,
    version: u64,
}

impl OffsetFile {
    fn open(disk: &Arc<dyn Disk>, path: PathBuf, on_disk: bool) -> Result<Self, StorageError> {
        let failed = |source| StorageError::Io { context: format!("reading {}", path.display()), source };
        let bytes = if on_disk { read_file(disk.as_ref(), &path).map_err(failed)? } else { None };
        let offsets = decode_offsets(&bytes.unwrap_or_default())
            .map_err(|error| StorageError::Corrupt(format!("{}: {error}", path.display())))?;
        let content = Content { offsets: offsets.into_iter().collect(), version: 0 };
        Ok(Self { disk: Arc::clone(disk), path, on_disk, content: Mutex::new(content), written: Mutex::new(0) })
    }

    fn get(&self, partition: &TopicPartition) -> Option<Offset> {
        self.content.lock().offsets.get(partition).copied()
    }

    fn set(&self, partition: &TopicPartition, offset: Option<Offset>) {
        let mut content = self.content.lock();
        let before = match offset {
            Some(offset) => content.offsets.insert(partition.clone(), offset),
            None => content.offsets.remove(partition),
        };
        if before != offset {
            content.version += 1;
        }
    }

    fn write(&self) -> io::Result<()> {
        if !self.on_disk {
            return Ok(());
        }
        let mut written = self.written.lock();
        let (bytes, version) = {
            let content = self.content.lock();
            if content.version == *written {
                return Ok(());
            }
            (encode_offsets(content.offsets.iter().map(|(of, at)| (of, *at))), content.version)
        };
        replace_file(self.disk.as_ref(), &self.path, &bytes)?;
        *written = version;
        Ok(())
    }
}
