//! The partitions of a data folder: opened lazily, created, deleted, flushed and closed.
//!
//! Opening the folder costs the same whatever it holds: the lock, `meta.properties` and three checkpoint files.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::{Mutex, RwLock};
use uuid::Uuid;

use super::PartitionLog;
use super::boot_mark::BootMark;
use super::checkpoint::{read_file, replace_file};
use super::cleaner::{Cleaner, CleanerSettings, Pace};
use super::cleaning::Cleaned;
use super::disk::{Disk, VolumeSpace};
use super::lock::FolderLock;
use super::meta_properties::MetaProperties;
use super::offset_checkpoints::OffsetCheckpoints;
use super::partition::{LocalPartition, Shared};
use super::recovery::{self, Opening};
use super::workers::Workers;
use crate::clock;
use crate::log::config::LogConfig;
use crate::types::{LeaderEpoch, NodeId, PartitionIndex, TimestampMs, TopicId, TopicPartition};

/// What an acknowledged acks=all record survives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Loss of power: acknowledged after fdatasync; the high watermark is the durable end.
    Fsync,
    /// A crash of the broker: acknowledged from the page cache, as Apache Kafka does by default.
    Os,
    /// Nothing: no files are written.
    Memory,
}

impl Durability {
    /// Whether readers and acknowledgements wait for the disk: Kafka's `flush.messages=1` asks for the same.
    pub(super) fn waits_for_disk(self, config: &LogConfig) -> bool {
        match self {
            Self::Fsync => true,
            Self::Os => config.flush_messages <= 1,
            Self::Memory => false,
        }
    }
}

/// How the logs are kept.
#[derive(Clone, Debug)]
pub struct StorageConfig {
    /// `log.dirs` (one folder).
    pub dir: PathBuf,
    /// `--durability`.
    pub durability: Durability,
    /// `producer.id.expiration.ms`.
    pub producer_id_expiration_ms: i64,
}

/// Whose folder it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Identity {
    /// `node.id`: a folder that is marked with another one is refused.
    pub node_id: NodeId,
    /// The cluster id for a new folder, drawn where there is none; an existing folder keeps its own.
    pub cluster_id: Option<String>,
}

/// Why a data folder or a log in it cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StorageError {
    /// Another broker holds the folder's lock.
    #[error(
        "the data folder {dir} is in use by another broker (process {pid}); stop it or choose another folder with --data-dir"
    )]
    Locked {
        /// The folder.
        dir: PathBuf,
        /// The holder's process id, as it wrote it into the lock file.
        pid: String,
    },
    /// The disk failed.
    #[error("{context}: {source}")]
    Io {
        /// What was being done, to which path.
        context: String,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// What a crash left could not be flushed; the partition stays closed until the broker is started again.
    #[error("{0}; the partition is not served until the broker is restarted on a sound disk")]
    NotDurable(String),
    /// A file holds what it must not hold.
    #[error("{0}")]
    Corrupt(String),
}

/// Kafka's mark of a broker that stopped in order, and what it holds.
const CLEAN_SHUTDOWN: &str = ".kafka_cleanshutdown";
const CLEAN_SHUTDOWN_CONTENT: &[u8] = br#"{"version":0,"brokerEpoch":-1}"#;
const META_PROPERTIES: &str = "meta.properties";
/// What the folder of a deleted partition ends with until it is gone.
const DELETED: &str = "-delete";

/// All partitions of one data folder.
#[derive(Debug)]
pub struct LogManager {
    dir: PathBuf,
    meta: MetaProperties,
    shared: Arc<Shared>,
    /// The broker before this one stopped in order.
    clean_start: bool,
    topics: RwLock<Topics>,
    /// Folders that this broker renamed for deletion: they wait for `file.delete.delay.ms`.
    doomed: Arc<Mutex<HashSet<PathBuf>>>,
    lock: Mutex<Option<FolderLock>>,
}

type Topics = HashMap<Arc<str>, BTreeMap<PartitionIndex, Arc<Slot>>>;

/// A known partition.
#[derive(Debug)]
struct Slot {
    name: TopicPartition,
    topic: TopicId,
    log: OnceLock<Arc<LocalPartition>>,
    /// Held while it is opened, so that two do not.
    state: Mutex<SlotState>,
}

#[derive(Debug)]
enum SlotState {
    /// To be opened with these settings, and led under this epoch where that is known.
    Closed(LogConfig, Option<LeaderEpoch>),
    Open,
    /// What was recovered could not be flushed. It is not tried again: the kernel says so once, and then forgets.
    Failed(String),
    Deleted,
}

/// A partition's share of the folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionSize {
    /// The partition.
    pub partition: TopicPartition,
    /// Its topic's id.
    pub topic: TopicId,
    /// Bytes of its segments.
    pub bytes: u64,
}

impl LogManager {
    /// [`Self::open_as`] for node 1 of a cluster of its own.
    pub fn open(disk: Arc<dyn Disk>, config: StorageConfig) -> Result<Arc<Self>, StorageError> {
        Self::open_as(disk, config, Identity { node_id: NodeId(1), cluster_id: None })
    }

    /// Takes the folder's lock and reads its checkpoints; opens no partition yet.
    /// With [`Durability::Memory`] the disk is to be a [`super::memory_disk::MemoryDisk`].
    pub fn open_as(disk: Arc<dyn Disk>, config: StorageConfig, identity: Identity) -> Result<Arc<Self>, StorageError> {
        let dir = config.dir;
        create_folder(disk.as_ref(), &dir).map_err(|source| io_error("creating", &dir, source))?;
        let lock = FolderLock::take(disk.as_ref(), &dir)?;
        let on_disk = config.durability != Durability::Memory;
        // In a new folder nobody stopped out of order.
        let is_new = !disk.exists(&dir.join(META_PROPERTIES));
        let meta = load_meta(disk.as_ref(), &dir, identity)?;
        let clean_start = take_clean_mark(disk.as_ref(), &dir)? || is_new;
        let boot_mark = BootMark::open(&disk, &dir, on_disk, clean_start)
            .map_err(|source| io_error("reading the mark of the last boot in", &dir, source))?;
        let shared = Shared {
            checkpoints: OffsetCheckpoints::open(&disk, &dir, on_disk)?,
            boot_mark,
            workers: Workers::new(),
            cleaner: Cleaner::default(),
            durability: config.durability,
            producer_id_expiration_ms: config.producer_id_expiration_ms,
            disk,
        };
        let manager = Self {
            dir,
            meta,
            shared: Arc::new(shared),
            clean_start,
            topics: RwLock::default(),
            doomed: Arc::default(),
            lock: Mutex::new(Some(lock)),
        };
        if on_disk {
            manager.remove_leftovers();
        }
        Ok(Arc::new(manager))
    }

    /// The cluster that the folder belongs to.
    pub fn cluster_id(&self) -> &str {
        &self.meta.cluster_id
    }

    /// The folder's own id.
    pub fn directory_id(&self) -> Uuid {
        self.meta.directory_id.unwrap_or_default()
    }

    /// What its partitions share, for tests to look at.
    #[cfg(test)]
    pub(super) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// A partition that was opened, for tests to look into.
    #[cfg(test)]
    pub(super) fn opened_partition(&self, topic: &str, partition: PartitionIndex) -> Option<Arc<LocalPartition>> {
        self.topics.read().get(topic)?.get(&partition)?.log.get().cloned()
    }

    /// The data folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// What an acknowledged record survives.
    pub fn durability(&self) -> Durability {
        self.shared.durability
    }

    /// Room on the folder's volume, where that is known.
    pub fn space(&self) -> Option<VolumeSpace> {
        self.shared.disk.space(&self.dir)
    }

    /// Makes a partition known whose metadata was replayed; its files are opened (and, after an unclean stop,
    /// recovered) at the first [`Self::get`].
    #[allow(clippy::needless_pass_by_value)]
    pub fn register(&self, partition: TopicPartition, topic: TopicId, config: LogConfig) {
        self.slot(&partition, topic, config);
    }

    /// All partitions that were there at the start are registered.
    pub fn all_registered(&self) {
        self.shared.boot_mark.verified();
    }

    /// Tells a partition the epoch that its next batches belong to; it is not opened for that.
    pub fn lead(&self, topic: &str, partition: PartitionIndex, epoch: LeaderEpoch) {
        let slot = self.topics.read().get(topic).and_then(|all| all.get(&partition).cloned());
        let Some(slot) = slot else { return };
        let mut state = slot.state.lock();
        match (slot.log.get(), &mut *state) {
            (Some(log), _) => log.set_leader_epoch(epoch),
            (None, SlotState::Closed(_, led)) => *led = Some(epoch),
            (None, _) => {}
        }
    }

    /// Creates a partition's folder, or opens the one that is there.
    /// A new folder is on the disk at the latest before the first record in it is acknowledged.
    pub fn create(
        &self,
        partition: &TopicPartition,
        topic: TopicId,
        config: LogConfig,
    ) -> Result<Arc<dyn PartitionLog>, StorageError> {
        let slot = self.slot(partition, topic, config);
        match self.opened(&slot) {
            Some(log) => Ok(log?),
            None => Err(StorageError::Corrupt(format!("{partition} is being deleted"))),
        }
    }

    /// Whether a partition has been used: its folder is there.
    pub fn is_on_disk(&self, partition: &TopicPartition) -> bool {
        let slot = self.topics.read().get(&partition.topic).and_then(|all| all.get(&partition.partition).cloned());
        slot.is_some_and(|slot| {
            slot.log.get().is_some() || self.shared.disk.exists(&self.dir.join(partition.to_string()))
        })
    }

    /// The log of a known partition: `None` when it is not known, an error when its folder cannot be opened.
    pub fn get(&self, topic: &str, partition: PartitionIndex) -> Option<Result<Arc<dyn PartitionLog>, StorageError>> {
        let slot = Arc::clone(self.topics.read().get(topic)?.get(&partition)?);
        self.opened(&slot).map(|log| log.map(|log| log as Arc<dyn PartitionLog>))
    }

    /// Takes over a topic's changed settings; a partition that nobody used yet is not opened for them.
    pub fn reconfigure(&self, topic: &str, config: &LogConfig) {
        let slots: Vec<Arc<Slot>> =
            self.topics.read().get(topic).map_or_else(Vec::new, |all| all.values().cloned().collect());
        for slot in slots {
            // Whoever opens it now has read the old settings.
            let mut state = slot.state.lock();
            match (slot.log.get(), &mut *state) {
                (Some(log), _) => log.reconfigure(config.clone()),
                (None, SlotState::Closed(known, _)) => *known = config.clone(),
                (None, _) => {}
            }
        }
    }

    /// Switches the compaction of logs on or off, or takes over changed settings; it is off until this is called.
    pub fn configure_cleaner(&self, settings: CleanerSettings) {
        self.shared.cleaner.configure(&self.shared, settings);
    }

    /// Compacts one partition now and here, whether it is worth it or not: all that may be compacted at `now`, or as
    /// much of it as there is memory for keys. `None` when there is nothing to compact.
    pub fn clean(
        &self,
        topic: &str,
        partition: PartitionIndex,
        now: TimestampMs,
    ) -> Option<Result<Cleaned, StorageError>> {
        let slot = Arc::clone(self.topics.read().get(topic)?.get(&partition)?);
        let log = match self.opened(&slot)? {
            Ok(log) => log,
            Err(error) => return Some(Err(error)),
        };
        let settings = self.shared.cleaner.settings();
        let cleaned = log.clean(settings.dedupe_bytes, &Pace::new(None, settings.bytes_per_second), now);
        cleaned.map_err(|error| io_error("compacting", &log.dir, std::io::Error::other(error.to_string()))).transpose()
    }

    /// Wakes everybody who watches a partition, as if something had changed there.
    pub fn wake_readers(&self) {
        self.slots().iter().filter_map(|slot| slot.log.get()).for_each(|log| log.wake_readers());
    }

    /// Forgets a partition, wakes its waiters with an error and deletes its files as Kafka does (`-delete` rename first).
    pub fn delete(&self, partition: &TopicPartition) -> Result<(), StorageError> {
        let Some(slot) = self.forget(partition) else { return Ok(()) };
        // Whoever opens it now finishes first; nobody opens it after.
        let mut state = slot.state.lock();
        if let SlotState::Closed(..) = std::mem::replace(&mut *state, SlotState::Deleted) {
            // Nothing in it matters any more.
            self.shared.boot_mark.verified();
        }
        let log = slot.log.get();
        let delay = log.map_or(0, |log| log.config.read().file_delete_delay_ms);
        if let Some(log) = log {
            log.mark_deleted();
        }
        let _maintenance = log.map(|log| log.maintenance.lock());
        let disk = &self.shared.disk;
        let dir = self.dir.join(partition.to_string());
        // Before the folder goes: a new one of that name must not find what was known of the old one.
        self.shared.checkpoints.forget(partition).map_err(|source| io_error("forgetting", &dir, source))?;
        if !disk.exists(&dir) {
            return Ok(());
        }
        let doomed = self.dir.join(doomed_name(partition, DELETED));
        self.doomed.lock().insert(doomed.clone());
        disk.rename(&dir, &doomed).map_err(|source| io_error("deleting", &dir, source))?;
        self.remove_later(doomed, delay);
        Ok(())
    }

    /// All known partitions with their sizes, by name (DescribeLogDirs). Those that nobody used are not opened for it.
    pub fn sizes(&self) -> Vec<PartitionSize> {
        let mut slots = self.slots();
        slots.sort_unstable_by(|a, b| a.name.cmp(&b.name));
        let size = |slot: &Slot| match slot.log.get() {
            Some(log) => log.size(),
            None => self.size_on_disk(&slot.name),
        };
        slots
            .iter()
            .map(|slot| PartitionSize { partition: slot.name.clone(), topic: slot.topic, bytes: size(slot) })
            .collect()
    }

    /// Flushes everything, writes checkpoints and producer snapshots, leaves the clean-shutdown marker, frees the lock.
    pub fn close(&self) -> Result<(), StorageError> {
        let Some(lock) = self.lock.lock().take() else { return Ok(()) };
        self.stop();
        if self.shared.durability == Durability::Memory {
            return Ok(());
        }
        let slots = self.slots();
        let mut failed = None;
        // After a crash, what nobody opened was not recovered either.
        let mut all_in_order = true;
        for slot in slots {
            match slot.log.get() {
                Some(log) => {
                    if let Err(error) = log.close() {
                        tracing::error!("{} is not closed in order: {error}", log.name);
                        failed = failed.or(Some(io_error("closing", &log.dir, error)));
                    }
                }
                None => all_in_order &= self.clean_start,
            }
        }
        let disk = self.shared.disk.as_ref();
        self.shared
            .checkpoints
            .close(disk, &self.dir)
            .map_err(|error| io_error("writing checkpoints in", &self.dir, error))?;
        if let Some(failed) = failed {
            return Err(failed);
        }
        if all_in_order {
            let path = self.dir.join(CLEAN_SHUTDOWN);
            replace_file(disk, &path, CLEAN_SHUTDOWN_CONTENT).map_err(|error| io_error("writing", &path, error))?;
        }
        drop(lock);
        Ok(())
    }

    fn stop(&self) {
        self.shared.cleaner.stop();
        self.shared.workers.stop();
    }

    fn slot(&self, partition: &TopicPartition, topic: TopicId, config: LogConfig) -> Arc<Slot> {
        let mut topics = self.topics.write();
        let partitions = topics.entry(Arc::clone(&partition.topic)).or_default();
        let slot = partitions.entry(partition.partition).or_insert_with(|| {
            self.shared.boot_mark.await_one();
            Arc::new(Slot {
                name: partition.clone(),
                topic,
                log: OnceLock::new(),
                state: Mutex::new(SlotState::Closed(config, None)),
            })
        });
        Arc::clone(slot)
    }

    fn slots(&self) -> Vec<Arc<Slot>> {
        self.topics.read().values().flat_map(|partitions| partitions.values().cloned()).collect()
    }

    fn forget(&self, partition: &TopicPartition) -> Option<Arc<Slot>> {
        let mut topics = self.topics.write();
        let partitions = topics.get_mut(&partition.topic)?;
        let slot = partitions.remove(&partition.partition);
        if partitions.is_empty() {
            topics.remove(&partition.topic);
        }
        slot
    }

    /// `None` when it was deleted meanwhile.
    fn opened(&self, slot: &Slot) -> Option<Result<Arc<LocalPartition>, StorageError>> {
        if let Some(log) = slot.log.get() {
            return Some(Ok(Arc::clone(log)));
        }
        let mut state = slot.state.lock();
        let (config, led) = match &*state {
            SlotState::Closed(config, led) => (Arc::new(config.clone()), *led),
            SlotState::Open => return slot.log.get().map(|log| Ok(Arc::clone(log))),
            SlotState::Failed(reason) => return Some(Err(StorageError::NotDurable(reason.clone()))),
            SlotState::Deleted => return None,
        };
        let opening = Opening {
            name: slot.name.clone(),
            topic: slot.topic,
            config,
            dir: self.dir.join(slot.name.to_string()).into(),
            clean: self.clean_start,
            intact: self.shared.boot_mark.was_intact(),
            now: clock::now(),
        };
        match recovery::open(&self.shared, opening) {
            Ok(log) => {
                if let Some(epoch) = led {
                    log.set_leader_epoch(epoch);
                }
                *state = SlotState::Open;
                self.shared.boot_mark.verified();
                Some(Ok(Arc::clone(slot.log.get_or_init(|| log))))
            }
            Err(error) => {
                if let StorageError::NotDurable(reason) = &error {
                    self.shared.boot_mark.spoil();
                    *state = SlotState::Failed(reason.clone());
                }
                Some(Err(error))
            }
        }
    }

    fn size_on_disk(&self, partition: &TopicPartition) -> u64 {
        let disk = self.shared.disk.as_ref();
        let files = disk.read_dir(&self.dir.join(partition.to_string())).unwrap_or_default();
        let logs = files.iter().filter(|path| path.extension().is_some_and(|extension| extension == "log"));
        logs.filter_map(|path| disk.file_len(path).ok()).sum()
    }

    /// What an earlier broker had no time to delete.
    fn remove_leftovers(&self) {
        let (shared, dir) = (Arc::downgrade(&self.shared), self.dir.clone());
        let own = Arc::clone(&self.doomed);
        let task = move || {
            let Some(shared) = shared.upgrade() else { return };
            for path in shared.disk.read_dir(&dir).unwrap_or_default() {
                let doomed = path.file_name().is_some_and(|name| name.to_string_lossy().ends_with(DELETED));
                if doomed
                    && !own.lock().contains(&path)
                    && let Err(error) = shared.disk.remove_dir_all(&path)
                {
                    tracing::warn!("{} cannot be removed: {error}", path.display());
                }
            }
        };
        self.shared.workers.later(Duration::ZERO, Box::new(task));
    }

    fn remove_later(&self, path: PathBuf, delay_ms: i64) {
        let shared = Arc::downgrade(&self.shared);
        let delay = Duration::from_millis(u64::try_from(delay_ms).unwrap_or(0));
        let task = move || {
            let Some(shared) = shared.upgrade() else { return };
            if let Err(error) = shared.disk.remove_dir_all(&path) {
                tracing::warn!("{} cannot be removed: {error}", path.display());
            }
        };
        self.shared.workers.later(delay, Box::new(task));
    }
}

impl Drop for LogManager {
    fn drop(&mut self) {
        self.stop();
    }
}

/// `topic-0.<random>-delete`, the topic cut short where the name would be too long for a file system.
pub(super) fn doomed_name(partition: &TopicPartition, suffix: &str) -> String {
    let rest = format!("-{}.{}{suffix}", partition.partition, Uuid::new_v4().simple());
    let room = 255_usize.saturating_sub(rest.len());
    let topic: String = partition.topic.chars().take(room).collect();
    format!("{topic}{rest}")
}

/// Creates the data folder; it and its parents are durable before `meta.properties` is written into it.
fn create_folder(disk: &dyn Disk, dir: &Path) -> std::io::Result<()> {
    disk.create_dir_all(dir)?;
    if disk.exists(&dir.join(META_PROPERTIES)) {
        return Ok(());
    }
    for parent in dir.ancestors().filter_map(Path::parent) {
        let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
        match disk.sync_dir(parent) {
            // A folder that may not be read was not created here.
            Err(error) if error.kind() == std::io::ErrorKind::PermissionDenied => {}
            result => result?,
        }
    }
    Ok(())
}

fn load_meta(disk: &dyn Disk, dir: &Path, identity: Identity) -> Result<MetaProperties, StorageError> {
    let path = dir.join(META_PROPERTIES);
    let known = read_file(disk, &path).map_err(|source| io_error("reading", &path, source))?;
    let Some(content) = known else {
        let cluster_id = identity.cluster_id.unwrap_or_else(|| TopicId(Uuid::new_v4()).to_string());
        let meta = MetaProperties { cluster_id, node_id: identity.node_id, directory_id: Some(Uuid::new_v4()) };
        replace_file(disk, &path, &meta.encode()).map_err(|source| io_error("writing", &path, source))?;
        return Ok(meta);
    };
    let mut meta = MetaProperties::decode(&content)
        .map_err(|error| StorageError::Corrupt(format!("{}: {error}", path.display())))?;
    if meta.node_id != identity.node_id {
        return Err(StorageError::Corrupt(format!(
            "{} says node.id = {}, the settings say {}: set node.id to the former, or use another data folder",
            path.display(),
            meta.node_id,
            identity.node_id
        )));
    }
    if meta.directory_id.is_none() {
        meta.directory_id = Some(Uuid::new_v4());
        replace_file(disk, &path, &meta.encode()).map_err(|source| io_error("writing", &path, source))?;
    }
    Ok(meta)
}

/// Whether the last broker stopped in order; from now on, until this one does, nobody may think so.
fn take_clean_mark(disk: &dyn Disk, dir: &Path) -> Result<bool, StorageError> {
    let path = dir.join(CLEAN_SHUTDOWN);
    if !disk.exists(&path) {
        return Ok(false);
    }
    let removed = disk.remove_file(&path).and_then(|()| disk.sync_dir(dir));
    removed.map_err(|source| io_error("removing", &path, source))?;
    Ok(true)
}

fn io_error(what: &str, path: &Path, source: std::io::Error) -> StorageError {
    StorageError::Io { context: format!("{what} {}", path.display()), source }
}
