//! Drivers of `log/`: segments, indexes, checkpoints, recovery and the flush pool, behind [`PartitionLog`].

pub mod disk;
pub mod partition_log;

pub use partition_log::PartitionLog;
