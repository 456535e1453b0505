//! The running broker: what handlers share. It owns nothing but the rooms' entrances.

use std::sync::Arc;

use crate::config::BrokerConfig;
use crate::metadata::MetadataStore;
use crate::storage::LogManager;

/// What handlers share.
pub struct Broker {
    /// Settings as they were at start.
    pub config: BrokerConfig,
    /// Topics, configs, producer-id blocks: the cluster's metadata.
    pub metadata: MetadataStore,
    /// The partitions' logs.
    pub logs: Arc<LogManager>,
}
