//! The driver: decisions become records of `__cluster_metadata-0`, records become the image that handlers read.

/// The cluster's metadata and its log.
pub struct MetadataStore {}
