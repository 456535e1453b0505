//! Reading a whole log back, batch by batch: how what a log says becomes state again.

use bytes::Bytes;

use super::PartitionLog;
use super::disk::FileSlice;
use super::partition_log::{ReadBound, ReadError};
use crate::types::Offset;
use crate::wire::WireError;
use crate::wire::batch::{BatchError, BatchHeader, check_crc};
use crate::wire::records::{Record, Records, RecordsError, section};

/// How much is read at a time.
const READ_BYTES: usize = 1 << 20;
/// The most that one compressed batch may expand to; what is written here is not compressed.
const BATCH_LIMIT: usize = 64 << 20;

/// Why a log cannot be read back.
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
}

/// Gives every record of a log from its start to its end, with its batch's header and its offset. What `take` returns
/// as an error ends it.
pub fn each_record<E: From<ReplayError>>(
    log: &dyn PartitionLog,
    mut take: impl FnMut(&BatchHeader, Offset, Record<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let offsets = log.offsets();
    let mut next = offsets.log_start;
    while next < offsets.log_end {
        let read = log.read(next, READ_BYTES, ReadBound::LogEnd, true).map_err(ReplayError::Read)?;
        let Some(slice) = read.records.filter(|_| read.next_offset > next) else { break };
        let content = bytes_of(&slice).map_err(ReplayError::Io)?;
        let mut rest = &content[..];
        while !rest.is_empty() {
            let header = BatchHeader::parse(rest).map_err(|error| ReplayError::Batch(next, error))?;
            let (batch, after) =
                rest.split_at_checked(header.size()).ok_or(ReplayError::Batch(next, BatchError::Truncated))?;
            // A batch that holds the log's start may hold what is before it.
            each_of_batch(&header, batch, &mut take)?;
            rest = after;
        }
        next = read.next_offset;
    }
    Ok(())
}

fn each_of_batch<E: From<ReplayError>>(
    header: &BatchHeader,
    batch: &[u8],
    take: &mut impl FnMut(&BatchHeader, Offset, Record<'_>) -> Result<(), E>,
) -> Result<(), E> {
    let base = header.base_offset;
    check_crc(batch).map_err(|error| ReplayError::Batch(base, error))?;
    let section = section(batch, BATCH_LIMIT).map_err(|error| ReplayError::Records(base, error))?;
    for record in Records::new(&section, header.record_count) {
        let record = record.map_err(|error| ReplayError::Walk(base, error))?;
        take(header, base.plus(i64::from(record.offset_delta)), record)?;
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
