//! Reading the metadata log back into an image.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::metadata::image::{ApplyError, Image, Replay};
use crate::metadata::records::{MetadataRecord, RecordError};
use crate::storage::PartitionLog;
use crate::storage::replay::{self, each_record};
use crate::types::{Offset, TopicId};

/// Why the log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// It cannot be read.
    #[error(transparent)]
    Log(#[from] replay::ReplayError),
    /// A record cannot be read.
    #[error("offset {0}: {1}")]
    Record(Offset, RecordError),
    /// A record does not fit what is there.
    #[error("offset {0}: {1}")]
    Apply(Offset, ApplyError),
    /// The log's beginning was replaced by a snapshot.
    #[error("it begins at offset {0}: what was before is in a snapshot, which this version of Ottla does not read")]
    Snapshot(Offset),
}

/// Topics that the log deletes, by name, with their ids.
pub type Removed = BTreeMap<Arc<str>, BTreeSet<TopicId>>;

/// What a log says.
#[derive(Debug)]
pub struct Replayed {
    /// The image at its end.
    pub image: Image,
    /// Whether it ends within a transaction.
    pub open_transaction: bool,
    /// What it deletes on the way.
    pub removed: Removed,
}

/// Replays a log from its first record to its last.
pub fn replay(log: &dyn PartitionLog) -> Result<Replayed, ReplayError> {
    let start = log.offsets().log_start;
    if start > Offset(0) {
        return Err(ReplayError::Snapshot(start));
    }
    let mut replay = Replay::default();
    let mut removed = Removed::new();
    each_record(log, |header, offset, record| {
        // Control records tell who led and where snapshots begin: a single node has nothing to do for them.
        if header.is_control() {
            return Ok(());
        }
        let value = record.value.unwrap_or_default();
        let record = MetadataRecord::decode(value).map_err(|error| ReplayError::Record(offset, error))?;
        if let MetadataRecord::RemoveTopic { id } = record
            && let Some(topic) = replay.image().topic_by_id(id)
        {
            removed.entry(Arc::clone(&topic.name)).or_default().insert(id);
        }
        replay.record(record).map_err(|error| ReplayError::Apply(offset, error))
    })?;
    let (mut image, open_transaction) = replay.finish();
    image.brought_to(log.offsets().log_end.plus(-1));
    Ok(Replayed { image, open_transaction, removed })
}
