//! Reading the metadata log back into an image.

use bytes::Bytes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::metadata::image::{ApplyError, Image, Replay};
use crate::metadata::records::{MetadataRecord, RecordError};
use crate::storage::PartitionLog;
use crate::storage::disk::FileSlice;
use crate::storage::partition_log::{ReadBound, ReadError};
use crate::types::{Offset, TopicId};
use crate::wire::WireError;
use crate::wire::batch::{BatchError, BatchHeader, check_crc};
use crate::wire::records::{Records, RecordsError, section};

/// How much is read at a time.
const READ_BYTES: usize = 1 << 20;
/// The most that one compressed batch may expand to; what is written here is not compressed.
const BATCH_LIMIT: usize = 64 << 20;

/// Why the log cannot be replayed.
#[derive(Debug, thiserror::Error)]
pub enum ReplayError {
    /// The log cannot be read.
    #[error(transparent)]
    Read(#[from] ReadError),
    /// The file cannot be read.
    #[error("reading: {0}")]
    Io(#[from] std::io::Error),
    /// A batch is damaged.
    #[error("the batch at offset {0} is damaged: {1}")]
    Batch(Offset, BatchError),
    /// A batch's records are damaged.
    #[error("the batch at offset {0} is damaged: {1}")]
    Records(Offset, RecordsError),
    /// A batch's records are damaged.
    #[error("the batch at offset {0} is damaged: {1}")]
    Walk(Offset, WireError),
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
    let offsets = log.offsets();
    if offsets.log_start > Offset(0) {
        return Err(ReplayError::Snapshot(offsets.log_start));
    }
    let mut replay = Replay::default();
    let mut removed = Removed::new();
    let mut next = offsets.log_start;
    while next < offsets.log_end {
        let read = log.read(next, READ_BYTES, ReadBound::LogEnd, true)?;
        let Some(slice) = read.records.filter(|_| read.next_offset > next) else { break };
        let content = bytes_of(&slice)?;
        let mut rest = &content[..];
        while !rest.is_empty() {
            let header = BatchHeader::parse(rest).map_err(|error| ReplayError::Batch(next, error))?;
            let (batch, after) =
                rest.split_at_checked(header.size()).ok_or(ReplayError::Batch(next, BatchError::Truncated))?;
            replay_batch(&mut replay, &mut removed, &header, batch)?;
            rest = after;
        }
        next = read.next_offset;
    }
    let (image, open_transaction) = replay.finish();
    Ok(Replayed { image, open_transaction, removed })
}

fn replay_batch(
    replay: &mut Replay,
    removed: &mut Removed,
    header: &BatchHeader,
    batch: &[u8],
) -> Result<(), ReplayError> {
    let base = header.base_offset;
    check_crc(batch).map_err(|error| ReplayError::Batch(base, error))?;
    // Control records tell who led and where snapshots begin: a single node has nothing to do for them.
    if header.is_control() {
        return Ok(());
    }
    let section = section(batch, BATCH_LIMIT).map_err(|error| ReplayError::Records(base, error))?;
    for record in Records::new(&section, header.record_count) {
        let record = record.map_err(|error| ReplayError::Walk(base, error))?;
        let offset = base.plus(i64::from(record.offset_delta));
        let record = MetadataRecord::decode(record.value.unwrap_or_default())
            .map_err(|error| ReplayError::Record(offset, error))?;
        if let MetadataRecord::RemoveTopic { id } = record
            && let Some(topic) = replay.image().topic_by_id(id)
        {
            removed.entry(Arc::clone(&topic.name)).or_default().insert(id);
        }
        replay.record(record).map_err(|error| ReplayError::Apply(offset, error))?;
    }
    Ok(())
}

fn bytes_of(slice: &FileSlice) -> std::io::Result<Bytes> {
    if let Some(bytes) = slice.file.in_memory(slice.position, slice.length) {
        return Ok(bytes);
    }
    let mut content = vec![0; slice.length];
    let read = slice.file.read_at(&mut content, slice.position)?;
    content.truncate(read);
    Ok(content.into())
}
