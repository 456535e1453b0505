//! Drivers of `log/`: segments, indexes, checkpoints, recovery and the flush pool, behind [`PartitionLog`].

pub mod disk;
pub mod log_manager;
pub mod partition_log;

pub use log_manager::{Durability, LogManager, StorageConfig, StorageError};
pub use partition_log::PartitionLog;
