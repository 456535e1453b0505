//! PURE core: topics, configs and producer-id blocks as records of `__cluster_metadata`; `store.rs` is its driver.

pub mod records;
pub mod store;

pub use store::MetadataStore;
