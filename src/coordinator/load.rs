//! From a log to what it tells of: groups, transactions.

use crate::group::records::Record;
use crate::group::shard::Shard;
use crate::storage::replay::{ReplayError, each_record};
use crate::storage::{PartitionLog, StorageError};
use crate::txn::records::Record as TransactionRecord;
use crate::txn::shard::Shard as Transactions;
use crate::types::{Offset, TopicPartition};
use crate::wire::WireError;
use crate::wire::control::EndMarker;

/// Why a shard cannot be loaded.
#[derive(Debug, thiserror::Error)]
pub(super) enum LoadError {
    #[error("its topic is not there")]
    NoTopic,
    #[error(transparent)]
    Storage(#[from] StorageError),
    #[error(transparent)]
    Log(#[from] ReplayError),
    #[error("the record at offset {0}: {1}")]
    Record(Offset, WireError),
}

/// Replays a log of `__consumer_offsets`.
pub(super) fn groups(partition: &TopicPartition, log: &dyn PartitionLog) -> Result<Shard, LoadError> {
    let mut shard = Shard::default();
    let mut unknown = 0_usize;
    each_record::<LoadError>(log, |header, offset, record| {
        if header.is_control() {
            let marker = EndMarker::parse(record.key.unwrap_or_default(), record.value.unwrap_or_default());
            if let Some(marker) = marker.map_err(|error| LoadError::Record(offset, error))? {
                shard.end_transaction(header.producer_id, marker.commit);
            }
            return Ok(());
        }
        let Some(key) = record.key else { return Ok(()) };
        match Record::decode(key, record.value).map_err(|error| LoadError::Record(offset, error))? {
            Some(record) if header.is_transactional() => shard.apply_pending(header.producer_id, &record),
            Some(record) => shard.apply(&record),
            None => unknown += 1,
        }
        Ok(())
    })?;
    warn_of_unknown(partition, unknown);
    Ok(shard)
}

/// Replays a log of `__transaction_state`.
pub(super) fn transactions(partition: &TopicPartition, log: &dyn PartitionLog) -> Result<Transactions, LoadError> {
    let mut shard = Transactions::default();
    let mut unknown = 0_usize;
    each_record::<LoadError>(log, |header, offset, record| {
        let Some(key) = record.key.filter(|_| !header.is_control()) else { return Ok(()) };
        match TransactionRecord::decode(key, record.value).map_err(|error| LoadError::Record(offset, error))? {
            Some(record) => shard.apply(&record),
            None => unknown += 1,
        }
        Ok(())
    })?;
    warn_of_unknown(partition, unknown);
    Ok(shard)
}

fn warn_of_unknown(partition: &TopicPartition, unknown: usize) {
    if unknown > 0 {
        tracing::warn!("{partition} holds {unknown} records of kinds that this version of Ottla does not know");
    }
}
