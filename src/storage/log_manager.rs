//! The partitions of a data folder: opened lazily, created, deleted, flushed and closed.

use std::path::PathBuf;
use std::sync::Arc;

use super::PartitionLog;
use super::disk::Disk;
use crate::log::config::LogConfig;
use crate::types::{PartitionIndex, TopicId, TopicPartition};

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
    /// A file holds what it must not hold.
    #[error("{0}")]
    Corrupt(String),
}

/// All partitions of one data folder.
pub struct LogManager {}

impl LogManager {
    /// Takes the folder's lock and reads its checkpoints; opens no partition yet.
    pub fn open(_disk: Arc<dyn Disk>, _config: StorageConfig) -> Result<Arc<Self>, StorageError> {
        todo!()
    }

    /// Makes a partition known whose metadata was replayed; its files are opened (and, after an unclean stop,
    /// recovered) at the first [`Self::get`].
    pub fn register(&self, _partition: TopicPartition, _topic: TopicId, _config: LogConfig) {
        todo!()
    }

    /// Creates a partition's folder durably, or opens the one that is there.
    pub fn create(
        &self,
        _partition: &TopicPartition,
        _topic: TopicId,
        _config: LogConfig,
    ) -> Result<Arc<dyn PartitionLog>, StorageError> {
        todo!()
    }

    /// The log of a known partition: `None` when it is not known, an error when its folder cannot be opened.
    pub fn get(&self, _topic: &str, _partition: PartitionIndex) -> Option<Result<Arc<dyn PartitionLog>, StorageError>> {
        todo!()
    }

    /// Forgets a partition, wakes its waiters with an error and deletes its files as Kafka does (`-delete` rename first).
    pub fn delete(&self, _partition: &TopicPartition) -> Result<(), StorageError> {
        todo!()
    }

    /// Flushes everything, writes checkpoints and producer snapshots, leaves the clean-shutdown marker, frees the lock.
    pub fn close(&self) -> Result<(), StorageError> {
        todo!()
    }
}
