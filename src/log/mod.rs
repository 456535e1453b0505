//! PURE. What a partition's log knows: which batches it takes, producer sequences, leader epochs, when to roll.
//!
//! No I/O, no clock, no locks: time comes in as an argument, and what is decided here is carried out by `storage`.

pub mod compaction;
pub mod config;
pub mod leader_epochs;
pub mod producer_state;
mod record_walk;
pub mod roll;
pub mod validate;

pub use producer_state::VerificationGuard;

use crate::types::{Offset, TimestampMs};

/// Why a batch is refused. `api/` turns it into Kafka's code.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// Not one whole batch of magic 2, or its CRC differs: CORRUPT_MESSAGE.
    #[error("corrupt batch: {0}")]
    Corrupt(String),
    /// A request's partition holds none, several, or one of an older format: INVALID_RECORD.
    #[error("{0}")]
    NotOneBatch(String),
    /// Larger than max.message.bytes: MESSAGE_TOO_LARGE.
    #[error("the batch of {size} bytes is larger than max.message.bytes = {limit}")]
    TooLarge {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// Larger than segment.bytes: RECORD_LIST_TOO_LARGE.
    #[error("the batch of {size} bytes is larger than segment.bytes = {limit}")]
    LargerThanSegment {
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A rule for records is broken: INVALID_RECORD with record_errors.
    #[error("{message}")]
    InvalidRecord {
        /// For the response's error_message, where records are named.
        message: String,
        /// The records at fault, by index within the batch, each with a message.
        records: Vec<(i32, String)>,
    },
    /// A timestamp lies outside the allowed range: INVALID_TIMESTAMP with record_errors.
    #[error("{message}")]
    InvalidTimestamp {
        /// For the response's error_message.
        message: String,
        /// The records at fault.
        records: Vec<(i32, String)>,
    },
    /// The codec is not allowed for this request version: UNSUPPORTED_COMPRESSION_TYPE.
    #[error("{0}")]
    UnsupportedCompression(String),
    /// The format cannot express it: UNSUPPORTED_FOR_MESSAGE_FORMAT.
    #[error("{0}")]
    UnsupportedFormat(String),
    /// OUT_OF_ORDER_SEQUENCE_NUMBER.
    #[error("{0}")]
    OutOfOrderSequence(String),
    /// INVALID_PRODUCER_EPOCH.
    #[error("{0}")]
    InvalidProducerEpoch(String),
    /// INVALID_TXN_STATE.
    #[error("{0}")]
    InvalidTxnState(String),
    /// A marker of a coordinator that another one has replaced: TRANSACTION_COORDINATOR_FENCED.
    #[error("{0}")]
    CoordinatorFenced(String),
    /// The log takes no writes (failed write or fsync, full disk): KAFKA_STORAGE_ERROR.
    #[error("{0}")]
    Storage(String),
    /// The partition was deleted meanwhile: UNKNOWN_TOPIC_OR_PARTITION.
    #[error("the partition is being deleted")]
    Deleted,
}

/// Where a batch comes from; it decides which rules it must pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// A Produce request of this version: every rule.
    Client {
        /// The request's API version.
        version: i16,
        /// What the verification of its transaction gave (rule 11).
        guard: VerificationGuard,
    },
    /// The group coordinator, with what a client commits within a transaction: its epoch and its transaction are checked,
    /// but it has no sequence.
    Coordinator {
        /// What the verification of the transaction gave (rule 11).
        guard: VerificationGuard,
    },
    /// The end of a transaction, by its coordinator or an administrator: the epochs of producer and coordinator are
    /// checked.
    Marker {
        /// The level of the feature `transaction.version` that the transaction was begun under; from 2 on every
        /// transaction has an epoch of its own.
        transaction_version: i16,
    },
    /// The broker's own records: trusted.
    Broker,
}

/// What became of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Appended {
    /// Offset of its first record (a duplicate's original one).
    pub base_offset: Offset,
    /// Offset of its last record: durable when the log is durable beyond it.
    pub last_offset: Offset,
    /// The broker's timestamp under LogAppendTime, else -1.
    pub log_append_time: TimestampMs,
    /// First offset of the log at that moment.
    pub log_start_offset: Offset,
    /// It was appended before (rule 7): nothing was written now.
    pub duplicate: bool,
}
