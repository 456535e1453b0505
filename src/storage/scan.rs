//! Walking the batches of a segment file through one reused buffer: headers, and on demand their checksums.
//!
//! Memory does not follow what a length field claims: a batch larger than the buffer is checksummed piece by piece.

use std::cell::RefCell;
use std::io;

use crc_fast::{CrcAlgorithm, Digest};

use super::disk::DiskFile;
use crate::types::Offset;
use crate::wire::batch::{BatchError, BatchHeader, HEADER_LEN};
use crate::wire::control::Control;

/// Bytes read at once when the content of batches matters.
const CHUNK: usize = 128 << 10;
/// Bytes read at once when only headers matter.
const HEADER_CHUNK: usize = 4 << 10;
/// Bytes of a control batch that may end a transaction; those that are written have less than 100.
const LARGEST_CONTROL: usize = 64 << 10;
/// Where the part of a batch begins that its CRC covers.
const CRC_COVERS_FROM: u64 = 21;

thread_local! {
    static BUFFER: RefCell<Vec<u8>> = const { RefCell::new(Vec::new()) };
}

/// Why a walk stopped before the end.
#[derive(Debug, thiserror::Error)]
pub enum ScanError {
    /// The disk failed.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// What is there is no valid batch.
    #[error("at position {position}: {reason}")]
    Invalid {
        /// Where in the file.
        position: u64,
        /// What is wrong.
        reason: String,
    },
}

impl ScanError {
    fn invalid(position: u64, error: BatchError) -> Self {
        Self::Invalid { position, reason: error.to_string() }
    }
}

/// A batch in a file.
#[derive(Clone, Copy, Debug)]
pub struct Found {
    /// Where it begins.
    pub position: u64,
    /// Its header.
    pub header: BatchHeader,
}

impl Found {
    /// Where the next batch begins.
    pub fn end(&self) -> u64 {
        self.position + self.header.size() as u64
    }
}

/// Reads batches of one file up to `end`.
pub struct Scanner<'a> {
    file: &'a dyn DiskFile,
    end: u64,
    buffer: Vec<u8>,
    /// Where in the file the buffer begins, and how much of it is filled.
    start: u64,
    filled: usize,
}

impl<'a> Scanner<'a> {
    /// A walk over `file` that looks at nothing from `end` on.
    pub fn new(file: &'a dyn DiskFile, end: u64) -> Self {
        Self { file, end, buffer: BUFFER.with_borrow_mut(std::mem::take), start: 0, filled: 0 }
    }

    /// The bytes `from..from + length`, read in chunks of at most `chunk` bytes; fewer where the buffer or `end` ends.
    fn bytes(&mut self, from: u64, length: usize, chunk: usize) -> io::Result<&[u8]> {
        let length = length.min(usize::try_from(self.end.saturating_sub(from)).unwrap_or(usize::MAX));
        let inside = from >= self.start && from + length as u64 <= self.start + self.filled as u64;
        if !inside {
            let want = chunk.max(length).min(CHUNK);
            let want = want.min(usize::try_from(self.end.saturating_sub(from)).unwrap_or(usize::MAX));
            if self.buffer.len() < want {
                self.buffer.resize(want.max(HEADER_CHUNK), 0);
            }
            self.filled = 0;
            let target = self.buffer.get_mut(..want).unwrap_or_default();
            self.filled = self.file.read_at(target, from)?;
            self.start = from;
        }
        let skip = usize::try_from(from.saturating_sub(self.start)).unwrap_or(usize::MAX).min(self.filled);
        let available = self.buffer.get(skip..self.filled).unwrap_or_default();
        Ok(available.get(..length).unwrap_or(available))
    }

    /// The batch at `position`; `None` at the end. One that reaches past the end is invalid.
    pub fn header(&mut self, position: u64) -> Result<Option<Found>, ScanError> {
        self.header_in(position, HEADER_CHUNK)
    }

    fn header_in(&mut self, position: u64, chunk: usize) -> Result<Option<Found>, ScanError> {
        if position >= self.end {
            return Ok(None);
        }
        let end = self.end;
        let bytes = self.bytes(position, HEADER_LEN, chunk)?;
        let header = BatchHeader::parse(bytes).map_err(|error| ScanError::invalid(position, error))?;
        let found = Found { position, header };
        if found.end() > end {
            return Err(ScanError::invalid(position, BatchError::Truncated));
        }
        if header.last_offset_delta < 0 || header.base_offset.0 < 0 {
            let reason = format!("offsets {} + {}", header.base_offset, header.last_offset_delta);
            return Err(ScanError::Invalid { position, reason });
        }
        Ok(Some(found))
    }

    /// The batch after `previous`; its offsets must go on. `whole` when its content will be looked at as well.
    pub fn next_batch(&mut self, previous: &Found, whole: bool) -> Result<Option<Found>, ScanError> {
        let chunk = if whole { CHUNK } else { HEADER_CHUNK };
        let Some(found) = self.header_in(previous.end(), chunk)? else { return Ok(None) };
        expect_offset(&found, previous.header.next_offset())?;
        Ok(Some(found))
    }

    /// The batch at `position`, its offsets at or after `expected`; its content is not looked at.
    pub fn in_order(&mut self, position: u64, expected: Offset) -> Result<Option<Found>, ScanError> {
        let Some(found) = self.header(position)? else { return Ok(None) };
        expect_offset(&found, expected)?;
        Ok(Some(found))
    }

    /// The batch at `position`, its checksum verified and its offsets at or after `expected`.
    pub fn verified(&mut self, position: u64, expected: Offset) -> Result<Option<Found>, ScanError> {
        let Some(found) = self.header_in(position, CHUNK)? else { return Ok(None) };
        expect_offset(&found, expected)?;
        self.verify(&found)?;
        Ok(Some(found))
    }

    /// Checks a batch's CRC.
    pub fn verify(&mut self, found: &Found) -> Result<(), ScanError> {
        let end = found.end();
        let mut at = found.position + CRC_COVERS_FROM;
        let mut digest = Digest::new(CrcAlgorithm::Crc32Iscsi);
        while at < end {
            let rest = usize::try_from(end - at).unwrap_or(usize::MAX);
            let bytes = self.piece(at, rest)?;
            if bytes.is_empty() {
                return Err(ScanError::invalid(found.position, BatchError::Truncated));
            }
            if bytes.len() == rest && at == found.position + CRC_COVERS_FROM {
                return check(found, crc_fast::crc32_iscsi(bytes));
            }
            digest.update(bytes);
            at += bytes.len() as u64;
        }
        check(found, digest.finalize() as u32)
    }

    /// What the buffer holds from `at` on, at most `length`; it is filled anew when that is nothing.
    fn piece(&mut self, at: u64, length: usize) -> io::Result<&[u8]> {
        let buffered = self.start + self.filled as u64;
        let left = if at >= self.start { buffered.saturating_sub(at) } else { 0 };
        // A batch that fits the buffer is brought in whole, so that one pass checks it.
        let take = if left == 0 || (left < length as u64 && length <= CHUNK) {
            length.min(CHUNK)
        } else {
            length.min(usize::try_from(left).unwrap_or(usize::MAX))
        };
        self.bytes(at, take, CHUNK)
    }

    /// What a control batch says, `None` for a batch of records. One that cannot be read ends no transaction.
    pub fn control(&self, found: &Found) -> io::Result<Option<Control>> {
        let header = &found.header;
        if !header.is_control() {
            return Ok(None);
        }
        if header.size() > LARGEST_CONTROL {
            return Ok(Some(Control::Other));
        }
        let control = Control::of(header, &self.copy(found)?);
        Ok(Some(control.unwrap_or_else(|error| {
            tracing::warn!("the control batch at offset {} cannot be read: {error}", header.base_offset);
            Control::Other
        })))
    }

    /// Copies one whole batch, for reading its records. Its size was checked against the file's.
    pub fn copy(&self, found: &Found) -> io::Result<Vec<u8>> {
        let mut batch = vec![0; found.header.size()];
        let count = self.file.read_at(&mut batch, found.position)?;
        batch.truncate(count);
        Ok(batch)
    }
}

fn expect_offset(found: &Found, expected: Offset) -> Result<(), ScanError> {
    let base = found.header.base_offset;
    if base >= expected {
        return Ok(());
    }
    let reason = format!("offset {base} where at least {expected} was expected");
    Err(ScanError::Invalid { position: found.position, reason })
}

fn check(found: &Found, computed: u32) -> Result<(), ScanError> {
    let stored = found.header.crc;
    if stored == computed {
        Ok(())
    } else {
        Err(ScanError::invalid(found.position, BatchError::BadCrc { stored, computed }))
    }
}

/// The buffer goes back to its thread.
impl Drop for Scanner<'_> {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        BUFFER.with_borrow_mut(|kept| *kept = buffer);
    }
}
