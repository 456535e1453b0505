//! The running broker: what handlers share. It owns nothing but the rooms' entrances.

use std::sync::Arc;

use parking_lot::Mutex;

use crate::api::fetch_session::FetchSessions;
use crate::config::BrokerConfig;
use crate::metadata::MetadataStore;
use crate::storage::{LogManager, PartitionLog};
use crate::types::{LeaderEpoch, PartitionIndex, TopicId};
use crate::wire::ErrorCode;
use crate::wire::produce::TopicRef;

/// What handlers share.
pub struct Broker {
    /// Settings as they were at start.
    pub config: BrokerConfig,
    /// Topics, configs, producer-id blocks: the cluster's metadata.
    pub metadata: MetadataStore,
    /// The partitions' logs.
    pub logs: Arc<LogManager>,
    /// Incremental fetch sessions.
    pub fetch_sessions: Mutex<FetchSessions>,
}

/// A partition that a request found: its log, and the leader epoch that clients must agree with.
pub struct Found {
    /// The partition's log.
    pub log: Arc<dyn PartitionLog>,
    /// The current leader epoch.
    pub leader_epoch: LeaderEpoch,
}

impl Broker {
    /// The rooms put together.
    pub fn new(config: BrokerConfig, metadata: MetadataStore, logs: Arc<LogManager>) -> Self {
        let sessions = FetchSessions::new(config.limits.fetch_sessions);
        Self { config, metadata, logs, fetch_sessions: Mutex::new(sessions) }
    }

    /// The name of a topic as a request gives it; an id must be known, a name is taken as it is.
    pub fn topic_name(&self, topic: &TopicRef) -> Result<Arc<str>, ErrorCode> {
        match topic {
            TopicRef::Name(name) => Ok(Arc::from(&**name)),
            TopicRef::Id(id) => self.name_of(*id).ok_or(ErrorCode::UNKNOWN_TOPIC_ID),
        }
    }

    fn name_of(&self, id: TopicId) -> Option<Arc<str>> {
        self.metadata.image().topic_by_id(id).map(|topic| topic.name.clone())
    }

    /// A partition's log and epoch, or the code that says why not.
    pub fn find(&self, topic: &str, partition: PartitionIndex) -> Result<Found, ErrorCode> {
        let leader_epoch = self
            .metadata
            .image()
            .partition(topic, partition)
            .map(|partition| partition.leader_epoch)
            .ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        match self.logs.get(topic, partition) {
            Some(Ok(log)) => Ok(Found { log, leader_epoch }),
            Some(Err(error)) => {
                tracing::error!(topic, %partition, %error, "the partition's log cannot be opened");
                Err(ErrorCode::KAFKA_STORAGE_ERROR)
            }
            None => Err(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION),
        }
    }
}

impl Found {
    /// Fences a client whose leader epoch is older or newer than ours (KIP-320); -1 means that it does not know.
    pub fn check_leader_epoch(&self, claimed: LeaderEpoch) -> Result<(), ErrorCode> {
        if claimed == LeaderEpoch::NONE || claimed == self.leader_epoch {
            Ok(())
        } else if claimed < self.leader_epoch {
            Err(ErrorCode::FENCED_LEADER_EPOCH)
        } else {
            Err(ErrorCode::UNKNOWN_LEADER_EPOCH)
        }
    }
}
