//! PURE core: topics, configs and producer-id blocks as records of `__cluster_metadata`; `store.rs` is its driver.

pub mod image;
pub mod records;
pub mod store;
pub mod topic_name;

pub use store::MetadataStore;
