//! A record batch (magic 2) as a view over its bytes: read fields, check the CRC, patch what the broker may patch.

use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

/// Bytes of a batch before its first record.
pub const HEADER_LEN: usize = 61;
/// Bytes of base offset and batch length, which the length itself does not count.
pub const LOG_OVERHEAD: usize = 12;

/// Why bytes are not a record batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Fewer bytes than a header, or than the batch's own length says.
    #[error("the batch is cut short")]
    Truncated,
    /// The length field is smaller than a header.
    #[error("the batch length {0} is smaller than a batch header")]
    BadLength(i32),
    /// Not message format 2.
    #[error("magic {0} is not supported: only 2 is")]
    UnsupportedMagic(i8),
    /// The checksum differs.
    #[error("the stored CRC-32C is {stored:08x}, the bytes give {computed:08x}")]
    BadCrc {
        /// The checksum in the header.
        stored: u32,
        /// The checksum of the bytes.
        computed: u32,
    },
}

/// Compression codec of a batch (attribute bits 0-2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not compressed.
    None,
    /// gzip.
    Gzip,
    /// Snappy, in Xerial's framing.
    Snappy,
    /// LZ4 frames.
    Lz4,
    /// Zstandard.
    Zstd,
}

/// What timestamps mean (attribute bit 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimestampType {
    /// Set by the producer.
    CreateTime,
    /// Set by the broker: every record's is the batch's maximum.
    LogAppendTime,
}

/// The fields before a batch's records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BatchHeader {
    /// Offset of the first record.
    pub base_offset: Offset,
    /// Bytes after this field.
    pub batch_length: i32,
    /// Epoch of the leader that appended it.
    pub partition_leader_epoch: LeaderEpoch,
    /// Stored CRC-32C of attributes to end.
    pub crc: u32,
    /// Attribute bits.
    pub attributes: i16,
    /// Last record's offset minus the base offset.
    pub last_offset_delta: i32,
    /// First record's timestamp (or the delete horizon, when attribute bit 6 is set).
    pub base_timestamp: TimestampMs,
    /// Largest timestamp.
    pub max_timestamp: TimestampMs,
    /// Producer id, or -1.
    pub producer_id: ProducerId,
    /// Producer epoch, or -1.
    pub producer_epoch: ProducerEpoch,
    /// First record's sequence, or -1.
    pub base_sequence: Sequence,
    /// Records in the batch.
    pub record_count: i32,
}

impl BatchHeader {
    /// Reads a header; checks length >= header, magic 2; does not check the CRC nor that the whole batch is there.
    pub fn parse(_bytes: &[u8]) -> Result<Self, BatchError> {
        todo!()
    }

    /// Bytes of the whole batch.
    pub fn size(&self) -> usize {
        LOG_OVERHEAD + self.batch_length.max(0) as usize
    }

    /// Offset of the last record.
    pub fn last_offset(&self) -> Offset {
        self.base_offset.plus(i64::from(self.last_offset_delta))
    }

    /// Offset after the last record.
    pub fn next_offset(&self) -> Offset {
        self.last_offset().plus(1)
    }

    /// Sequence of the last record; -1 without a producer id.
    pub fn last_sequence(&self) -> Sequence {
        if self.base_sequence == Sequence::NONE {
            Sequence::NONE
        } else {
            self.base_sequence.plus(self.last_offset_delta)
        }
    }

    /// The codec, or `None` for a number that no codec has.
    pub fn compression(&self) -> Option<Compression> {
        match self.attributes & 0x07 {
            0 => Some(Compression::None),
            1 => Some(Compression::Gzip),
            2 => Some(Compression::Snappy),
            3 => Some(Compression::Lz4),
            4 => Some(Compression::Zstd),
            _ => None,
        }
    }

    /// What the timestamps mean.
    pub fn timestamp_type(&self) -> TimestampType {
        if self.attributes & 0x08 == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// Whether it belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & 0x10 != 0
    }

    /// Whether it holds a marker instead of records.
    pub fn is_control(&self) -> bool {
        self.attributes & 0x20 != 0
    }

    /// Whether the base timestamp is a delete horizon (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & 0x40 != 0
    }

    /// Whether an idempotent producer wrote it.
    pub fn has_producer(&self) -> bool {
        self.producer_id.0 >= 0
    }
}

/// Checks the stored CRC of one whole batch (`batch` is exactly its bytes).
pub fn check_crc(_batch: &[u8]) -> Result<(), BatchError> {
    todo!()
}

/// Writes base offset and leader epoch, which lie outside the CRC.
pub fn assign_offset(_batch: &mut [u8], _base: Offset, _epoch: LeaderEpoch) {
    todo!()
}

/// Marks the batch as LogAppendTime with this maximum timestamp and recomputes the CRC.
pub fn set_log_append_time(_batch: &mut [u8], _now: TimestampMs) {
    todo!()
}
