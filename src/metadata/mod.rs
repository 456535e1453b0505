//! PURE core: topics, configs and producer-id blocks as records of `__cluster_metadata`; `store.rs` is its driver.

pub mod bootstrap;
pub mod configs;
pub mod decide;
pub mod features;
pub mod image;
pub mod internal_topics;
pub mod producer_ids;
pub mod records;
pub mod store;
pub mod topic_name;
pub mod topics;

pub use store::MetadataStore;
