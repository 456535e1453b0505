//! The running broker: what handlers share. It owns nothing but the rooms' entrances.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use crate::api::fetch_session::FetchSessions;
use crate::config::BrokerConfig;
use crate::coordinator::{GroupCoordinator, TransactionCoordinator};
use crate::metadata::MetadataStore;
use crate::metadata::bootstrap::GROUP_VERSION;
use crate::metadata::image::Topic;
use crate::storage::{LogManager, PartitionLog};
use crate::types::{LeaderEpoch, Offset, PartitionIndex};
use crate::wire::ErrorCode;
use crate::wire::produce::TopicRef;

/// What handlers share.
pub struct Broker {
    /// Settings as they were at start.
    pub config: BrokerConfig,
    /// Topics, configs, producer-id blocks: the cluster's metadata.
    pub metadata: Arc<MetadataStore>,
    /// The partitions' logs.
    pub logs: Arc<LogManager>,
    /// Consumer groups.
    pub groups: Arc<GroupCoordinator>,
    /// Transactions.
    pub transactions: TransactionCoordinator,
    /// Incremental fetch sessions.
    pub fetch_sessions: Mutex<FetchSessions>,
    stopping: AtomicBool,
}

/// A partition that a request found: its log, and the leader epoch that clients must agree with.
pub struct Found {
    /// The partition's log.
    pub log: Arc<dyn PartitionLog>,
    /// The current leader epoch.
    pub leader_epoch: LeaderEpoch,
    /// Its topic.
    pub topic: Arc<Topic>,
}

impl Broker {
    /// The rooms put together.
    pub fn new(config: BrokerConfig, metadata: MetadataStore, logs: Arc<LogManager>) -> Self {
        let sessions = FetchSessions::new(config.limits.fetch_sessions);
        let metadata = Arc::new(metadata);
        let groups = GroupCoordinator::new(Arc::clone(&metadata), Arc::clone(&logs), config.clone());
        let groups = Arc::new(groups);
        let (known, stored) = (Arc::clone(&metadata), Arc::clone(&logs));
        let transactions = TransactionCoordinator::new(known, stored, config.clone(), Arc::clone(&groups));
        let (fetch_sessions, stopping) = (Mutex::new(sessions), AtomicBool::new(false));
        Self { config, metadata, logs, groups, transactions, fetch_sessions, stopping }
    }

    /// From now on nobody waits for records that are still to come: readers are answered with what is there.
    pub fn stop_waiting(&self) {
        self.stopping.store(true, Ordering::SeqCst);
        self.logs.wake_readers();
        self.groups.stop();
    }

    /// Whether the broker is about to stop. Ask after [`PartitionLog::watch`], or a stop may be missed.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::SeqCst)
    }

    /// Whether members may use the consumer protocol: the cluster's `group.version` can take it back (KIP-848).
    pub fn has_consumer_protocol(&self) -> bool {
        self.metadata.image().feature(GROUP_VERSION) > 0
    }

    /// A partition by its topic's name, or the code that says why not.
    pub fn find(&self, topic: &str, partition: PartitionIndex) -> Result<Found, ErrorCode> {
        let topic = self.metadata.image().topic(topic).cloned();
        self.open(topic.ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?, partition)
    }

    /// A partition by its topic as a request names it, or the code that says why not.
    pub fn find_by_ref(&self, topic: &TopicRef, partition: PartitionIndex) -> Result<Found, ErrorCode> {
        match topic {
            TopicRef::Name(name) => self.find(name, partition),
            TopicRef::Id(id) => {
                let topic = self.metadata.image().topic_by_id(*id).cloned();
                self.open(topic.ok_or(ErrorCode::UNKNOWN_TOPIC_ID)?, partition)
            }
        }
    }

    fn open(&self, topic: Arc<Topic>, partition: PartitionIndex) -> Result<Found, ErrorCode> {
        let known = topic.partitions.get(&partition).ok_or(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)?;
        let leader_epoch = known.leader_epoch;
        match self.logs.get(&topic.name, partition) {
            Some(Ok(log)) => Ok(Found { log, leader_epoch, topic }),
            Some(Err(error)) => {
                tracing::error!(topic = &*topic.name, %partition, %error, "the partition's log cannot be opened");
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

    /// The last epoch up to `epoch`, and where it ended or the log ends, if there is one (rule 29).
    ///
    /// A log notes an epoch with its first batch, Kafka when the leader's time begins: until the leader has written, its
    /// epoch stands at the end of the log.
    pub fn epoch_end_offset(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let noted = self.log.epoch_end_offset(epoch);
        if noted.is_some() || epoch == LeaderEpoch::NONE || epoch > self.leader_epoch {
            return noted;
        }
        let end = self.log.offsets().log_end;
        let last = if epoch == self.leader_epoch { None } else { self.log.epoch_for_offset(Offset(end.0 - 1)) };
        Some((last.unwrap_or(epoch), end))
    }

    /// The epoch of the record at `offset`, or of the one that will be written there; -1 if that is not known.
    pub fn epoch_for_offset(&self, offset: Offset) -> LeaderEpoch {
        let unwritten = || if offset >= self.log.offsets().log_end { self.leader_epoch } else { LeaderEpoch::NONE };
        self.log.epoch_for_offset(offset).unwrap_or_else(unwritten)
    }
}
