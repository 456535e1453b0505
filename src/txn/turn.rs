//! One turn of a shard: what comes in beside the request, and what goes out beside the answer.

use std::collections::BTreeSet;
use std::fmt;

use super::TransactionalId;
use super::config::TransactionsConfig;
use super::records::Record;
use super::transaction::TransactionVersion;
use crate::types::{ProducerEpoch, ProducerId, TimestampMs, TopicPartition};

/// A transaction that is decided: its markers are to be written, once the decision is durable.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ending {
    /// Whose it is.
    pub id: TransactionalId,
    /// The producer that wrote.
    pub producer: ProducerId,
    /// The epoch of the markers.
    pub epoch: ProducerEpoch,
    /// How it ends.
    pub commit: bool,
    /// The protocol that it was ended by.
    pub version: TransactionVersion,
    /// Where the markers go.
    pub partitions: BTreeSet<TopicPartition>,
}

/// One turn of a shard.
pub struct Turn<'a> {
    /// When it is.
    pub now: TimestampMs,
    /// The broker's settings.
    pub config: &'a TransactionsConfig,
    /// The finalized `transaction.version`.
    pub version: TransactionVersion,
    /// Gives producer ids that nobody else has; none where they cannot be had now.
    pub ids: &'a mut dyn FnMut() -> Option<ProducerId>,
    /// To be appended, all or none, before anything of this turn is told.
    pub records: Vec<Record>,
    /// Transactions that this turn decided.
    pub endings: Vec<Ending>,
}

impl fmt::Debug for Turn<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Turn").field("now", &self.now).field("version", &self.version).finish_non_exhaustive()
    }
}
