//! The seam between request handlers and storage: what one partition's log can do, wherever its bytes are.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use bytes::BytesMut;
use tokio::sync::Notify;

use super::disk::FileSlice;
pub use crate::log::Origin;
use crate::log::config::LogConfig;
use crate::log::{AppendError, Appended, VerificationGuard};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

/// Up to where a reader may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReadBound {
    /// `read_uncommitted`: the high watermark.
    HighWatermark,
    /// `read_committed`: the last stable offset.
    LastStable,
    /// The broker's own replay: the end of the log.
    LogEnd,
}

/// The offsets of a partition at one moment: `log_start <= last_stable <= high_watermark <= log_end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LogOffsets {
    /// First offset that can be read.
    pub log_start: Offset,
    /// Below it every transaction has ended, with a marker below the high watermark (rule 13).
    pub last_stable: Offset,
    /// What readers may see ends here; it never goes back.
    pub high_watermark: Offset,
    /// The next record's offset.
    pub log_end: Offset,
}

/// What a read found.
#[derive(Debug)]
pub struct ReadResult {
    /// Whole batches from the one that holds the offset on; `None` where there is nothing to read now.
    pub records: Option<FileSlice>,
    /// Where the next read goes on: the offset after the last batch in `records` (`from` when there is none).
    pub next_offset: Offset,
    /// The offsets when it was read.
    pub offsets: LogOffsets,
    /// A batch that the reader may see was left out because it did not fit.
    pub is_full: bool,
}

/// Why a read failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// Before the log's start or past its end: OFFSET_OUT_OF_RANGE.
    #[error("offset {offset} is outside {start}..={end}")]
    OutOfRange {
        /// The offset asked for.
        offset: Offset,
        /// First offset of the log.
        start: Offset,
        /// Log end offset.
        end: Offset,
    },
    /// A stored batch does not match its CRC: CORRUPT_MESSAGE. Never delivered.
    #[error("corrupt batch at offset {offset}: {reason}")]
    Corrupt {
        /// Where reading began.
        offset: Offset,
        /// What is wrong.
        reason: String,
    },
    /// The disk failed: KAFKA_STORAGE_ERROR.
    #[error("{0}")]
    Storage(String),
}

/// Why an acknowledgement will not come: the flush failed and the log takes no more writes (KAFKA_STORAGE_ERROR).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct FlushFailed(pub Arc<str>);

/// Resolves when everything below an offset is as durable as the broker promises.
pub type Durable = Pin<Box<dyn Future<Output = Result<(), FlushFailed>> + Send>>;

/// A record's offset and timestamp, as ListOffsets answers it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetAndTimestamp {
    /// The offset.
    pub offset: Offset,
    /// The record's timestamp.
    pub timestamp: TimestampMs,
    /// The leader epoch of its batch.
    pub leader_epoch: LeaderEpoch,
}

/// A transaction that was aborted: records of this producer from this offset up to its next marker do not count.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AbortedTransaction {
    /// Whose it was.
    pub producer_id: ProducerId,
    /// Its first record.
    pub first_offset: Offset,
}

/// What a partition knows of a producer (DescribeProducers).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveProducer {
    /// Its id.
    pub producer_id: ProducerId,
    /// Its current epoch.
    pub epoch: ProducerEpoch,
    /// Sequence of its last record; -1 for none.
    pub last_sequence: Sequence,
    /// Largest timestamp of its last batch, or that of its last marker.
    pub last_timestamp: TimestampMs,
    /// Epoch of the coordinator that last ended a transaction of it; -1 for none.
    pub coordinator_epoch: i32,
    /// First offset of its open transaction.
    pub transaction_start: Option<Offset>,
}

/// One partition's log.
///
/// Every method takes the short per-partition lock at most, and none but `delete_records` blocks on fsync.
pub trait PartitionLog: Send + Sync {
    /// Checks one batch and appends it: offset and order are fixed when this returns. Visible at once to `LogEnd`
    /// readers; to others when the high watermark has passed it.
    fn append(&self, batch: BytesMut, origin: Origin, now: TimestampMs) -> Result<Appended, AppendError>;

    /// Begins to verify with the coordinator that a producer's transaction is open here (rule 11): the guard that the
    /// append must carry, or `None` where it is open already. Fails where the producer's epoch is an old one.
    ///
    /// `sequence` is that of the first record to append, -1 for none. `adds_partition` says that the verification adds
    /// the partition to the transaction: Produce from v12 on, TxnOffsetCommit from v5 on.
    fn begin_verification(
        &self,
        producer: ProducerId,
        epoch: ProducerEpoch,
        sequence: Sequence,
        adds_partition: bool,
    ) -> Result<Option<VerificationGuard>, AppendError>;

    /// Waits until everything up to and including `last` is as durable as the configured mode promises
    /// (`fsync`: on the disk; `os`, `memory`: at once). This is where "when is it acknowledged?" is answered.
    fn durable(&self, last: Offset) -> Durable;

    /// Whole batches from the one that holds `from`, at most `max_bytes` of them, from one segment.
    /// With `at_least_one`, the first batch may exceed `max_bytes` (rule 26). Nothing at or past `bound` is returned.
    fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        bound: ReadBound,
        at_least_one: bool,
    ) -> Result<ReadResult, ReadError>;

    /// The aborted transactions that a `read_committed` reader of the records `from..to` has to know of, in order of
    /// their markers (rule 14). Complete as far as `to` is at most the last stable offset of that read.
    fn aborted_transactions(&self, from: Offset, to: Offset) -> Result<Vec<AbortedTransaction>, ReadError>;

    /// The producers that are known, in order of their ids.
    fn producers(&self) -> Vec<ActiveProducer>;

    /// The offsets now.
    fn offsets(&self) -> LogOffsets;

    /// `watcher` is notified once: when the high watermark or the log's start moves next, or the log fails or is deleted.
    /// Forgotten when the caller drops it.
    fn watch(&self, watcher: &Arc<Notify>);

    /// First record with a timestamp at or after `target` (rule 28) below the high watermark. `None` when there is none.
    fn offset_for_timestamp(&self, target: TimestampMs) -> Result<Option<OffsetAndTimestamp>, ReadError>;

    /// The record with the largest timestamp (ListOffsets -3).
    fn max_timestamp(&self) -> Result<Option<OffsetAndTimestamp>, ReadError>;

    /// The latest leader epoch in the log, if any batch was appended.
    fn latest_epoch(&self) -> Option<LeaderEpoch>;

    /// The largest known epoch not above the asked one and where it ends (OffsetForLeaderEpoch, rule 29).
    /// `None` when the epoch is not known.
    fn epoch_end_offset(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)>;

    /// The leader epoch under which `offset` was written, if known.
    fn epoch_for_offset(&self, offset: Offset) -> Option<LeaderEpoch>;

    /// Moves the log's start up to `before` (at most the high watermark) and drops segments below it (DeleteRecords).
    /// Returns the new log start. Waits for the disk: the new start is durable before files go.
    fn delete_records(&self, before: Offset) -> Result<Offset, ReadError>;

    /// Takes over changed settings.
    fn reconfigure(&self, config: LogConfig);

    /// Bytes of all segments (DescribeLogDirs).
    fn size(&self) -> u64;

    /// The settings in force.
    fn config(&self) -> Arc<LogConfig>;

    /// The leader epoch that new batches are stamped with. As Kafka's leader does when it takes over, the epoch is
    /// entered into the epoch cache at the log's end, even while the log is empty.
    fn set_leader_epoch(&self, epoch: LeaderEpoch);
}
