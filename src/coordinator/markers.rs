//! The ends of transactions: the markers that tell the readers of each partition how it ended (rules 12, 15).
//!
//! A decision is durable before its first marker is written, and its markers are before it is noted that they are
//! (which nothing waits for: the record of the next step lies behind it in the same log). Markers may be written again
//! after a restart. Transactions that end at the same time share the flushes of the logs that they have in common.

use std::sync::Arc;
use std::time::Duration;

use super::running::{Live, Running};
use super::transactions::TransactionShard;
use super::{GroupCoordinator, settled};
use crate::clock;
use crate::log::AppendError;
use crate::metadata::MetadataStore;
use crate::metadata::topic_name::{CONSUMER_OFFSETS, TRANSACTION_STATE};
use crate::storage::partition_log::{Durable, Origin};
use crate::storage::{LogManager, PartitionLog};
use crate::txn::transaction::TransactionVersion;
use crate::txn::turn::Ending;
use crate::types::{PartitionIndex, ProducerEpoch, ProducerId, TopicPartition};
use crate::wire::ErrorCode;
use crate::wire::control::{EndMarker, end_marker_batch};

/// How long a log that takes no marker is left alone.
const REST: Duration = Duration::from_secs(1);

/// The end of a transaction, as it is written to a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Whose transaction ends.
    pub producer: ProducerId,
    /// The epoch from then on.
    pub epoch: ProducerEpoch,
    /// How it ends, and which coordinator says so.
    pub end: EndMarker,
    /// The protocol that it is ended by.
    pub version: TransactionVersion,
}

/// Why a marker is not written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotWritten {
    /// The partition is not there, or not any more.
    Gone,
    /// The log refuses it by its rules, or takes nothing.
    Log(AppendError),
    /// The groups of the partition cannot be reached.
    Groups(ErrorCode),
}

/// Writes markers.
#[derive(Clone)]
pub struct Markers {
    metadata: Arc<MetadataStore>,
    logs: Arc<LogManager>,
    groups: Arc<GroupCoordinator>,
}

impl Markers {
    pub(super) fn new(metadata: Arc<MetadataStore>, logs: Arc<LogManager>, groups: Arc<GroupCoordinator>) -> Self {
        Self { metadata, logs, groups }
    }

    /// Ends a transaction in a partition; in one of `__consumer_offsets`, its groups learn of it in the same moment.
    /// What is returned must be durable before it counts.
    ///
    /// # Errors
    /// Why it was not written.
    pub async fn write(&self, partition: &TopicPartition, marker: &Marker) -> Result<Durable, NotWritten> {
        if &*partition.topic == CONSUMER_OFFSETS {
            return self.groups.end_transaction(partition.partition, *marker).await;
        }
        let log = self.log(partition)?;
        append(log.as_ref(), marker).map_err(NotWritten::Log)
    }

    fn log(&self, partition: &TopicPartition) -> Result<Arc<dyn PartitionLog>, NotWritten> {
        let known = self.metadata.image().topic(&partition.topic).cloned();
        if known.is_none_or(|topic| !topic.partitions.contains_key(&partition.partition)) {
            return Err(NotWritten::Gone);
        }
        let log = self.logs.get(&partition.topic, partition.partition).ok_or(NotWritten::Gone)?;
        log.map_err(|error| NotWritten::Log(AppendError::Storage(error.to_string())))
    }

    /// The leader epoch of a partition of `__transaction_state`: which coordinator it is that speaks.
    fn coordinator_epoch(&self, index: PartitionIndex) -> i32 {
        let topic = self.metadata.image().topic(TRANSACTION_STATE).cloned();
        topic.and_then(|topic| topic.partitions.get(&index).map(|known| known.leader_epoch.0)).unwrap_or(0)
    }

    /// Ends a transaction in all its partitions; returns when that is durable.
    async fn write_all(&self, ending: &Ending, coordinator_epoch: i32) {
        let end = EndMarker { commit: ending.commit, coordinator_epoch };
        let marker = Marker { producer: ending.producer, epoch: ending.epoch, end, version: ending.version };
        let mut left: Vec<&TopicPartition> = ending.partitions.iter().collect();
        loop {
            left = self.try_all(&left, &marker).await;
            if left.is_empty() {
                return;
            }
            // tidy: may sleep: a disk is given time, there is nothing else to wait for
            tokio::time::sleep(REST).await;
        }
    }

    /// Writes all, then waits for all, so that they share flushes; returns those that are to be tried again.
    async fn try_all<'a>(&self, partitions: &[&'a TopicPartition], marker: &Marker) -> Vec<&'a TopicPartition> {
        let mut failed = Vec::new();
        let mut written = Vec::with_capacity(partitions.len());
        for partition in partitions {
            match self.write(partition, marker).await {
                Ok(durable) => written.push((*partition, durable)),
                Err(NotWritten::Gone) => {}
                Err(error) if is_fenced(&error) => {
                    tracing::warn!("{partition} knows a later end of producer {}'s transaction", marker.producer);
                }
                Err(error) => {
                    tracing::error!("the end of a transaction is not in {partition} and is written again: {error:?}");
                    failed.push(*partition);
                }
            }
        }
        for (partition, durable) in written {
            if let Err(error) = durable.await {
                tracing::error!("the end of a transaction is not on the disk in {partition}: {error}");
                failed.push(partition);
            }
        }
        failed
    }
}

/// Whether another coordinator, or a later epoch, has been there: this end is none any more.
fn is_fenced(error: &NotWritten) -> bool {
    let refused = |error: &AppendError| {
        matches!(error, AppendError::Deleted | AppendError::InvalidProducerEpoch(_) | AppendError::CoordinatorFenced(_))
    };
    matches!(error, NotWritten::Log(error) if refused(error))
}

/// Appends a marker; durable when the future ends.
pub(super) fn append(log: &dyn PartitionLog, marker: &Marker) -> Result<Durable, AppendError> {
    let now = clock::now();
    let batch = end_marker_batch(marker.producer, marker.epoch, marker.end, now);
    let appended = log.append(batch, Origin::Marker { transaction_version: marker.version.0 }, now)?;
    Ok(log.durable(appended.last_offset))
}

/// Carries out a decision: when it is durable, the markers; when they are, the note that it is over.
pub(super) async fn carry_out(shard: Arc<Running<TransactionShard>>, ending: Ending, decided: Option<Durable>) {
    if settled(decided).await.is_err() {
        // Its log takes nothing more: what is in it counts after a restart.
        return;
    }
    let coordinator_epoch = shard.beside.coordinator_epoch(shard.index);
    shard.beside.write_all(&ending, coordinator_epoch).await;
    let over = shard.when_loaded(|live| live.turn(|shard, turn| shard.complete(turn, &ending))).await;
    if let Err(code) = over {
        tracing::error!("the end of {}'s transaction is not noted: {}", ending.id, code.name());
    }
    shard.happened.notify_waiters();
}
