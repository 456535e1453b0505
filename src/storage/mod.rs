//! Drivers of `log/`: segments, indexes, checkpoints, recovery and the flush pool, behind [`PartitionLog`].

mod boot_mark;
pub mod checkpoint;
mod cleaner;
mod cleaning;
#[cfg(test)]
mod cleaning_tests;
#[cfg(test)]
mod contract_tests;
pub mod disk;
#[cfg(test)]
mod fault_tests;
#[cfg(test)]
pub(crate) mod faulty_disk;
mod flush;
mod index_file;
mod lock;
pub mod log_manager;
pub mod memory_disk;
pub mod meta_properties;
mod offset_checkpoints;
pub mod offset_index;
pub mod os_disk;
pub mod partition;
pub mod partition_log;
pub mod partition_metadata;
pub mod producer_snapshot;
mod read;
mod recovery;
#[cfg(test)]
mod repair_tests;
pub mod replay;
mod retention;
mod scan;
mod segment;
mod segment_index;
mod state;
mod swap;
#[cfg(test)]
pub(crate) mod test_support;
pub mod time_index;
mod timestamps;
mod transaction_index;
#[cfg(test)]
mod transaction_tests;
mod workers;

pub use cleaner::CleanerSettings;
pub use cleaning::Cleaned;
pub use log_manager::{Durability, LogManager, StorageConfig, StorageError};
pub use partition_log::PartitionLog;
