//! Drivers of `log/`: segments, indexes, checkpoints, recovery and the flush pool, behind [`PartitionLog`].

pub mod checkpoint;
pub mod disk;
mod index_file;
pub mod log_manager;
pub mod meta_properties;
pub mod offset_index;
pub mod partition_log;
pub mod partition_metadata;
pub mod producer_snapshot;
pub mod time_index;

pub use log_manager::{Durability, LogManager, StorageConfig, StorageError};
pub use partition_log::PartitionLog;
