//! A record batch (magic 2) as a view over its bytes: read fields, check the CRC, patch what the broker may patch.

use bytes::{BufMut, BytesMut};

use super::WireError;
use super::reader::Reader;
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

/// Bytes of a batch before its first record.
pub const HEADER_LEN: usize = 61;
/// Bytes of base offset and batch length, which the length itself does not count.
pub const LOG_OVERHEAD: usize = 12;

// Where the fields that are patched lie.
const LEADER_EPOCH_AT: usize = 12;
const MAGIC_AT: usize = 16;
const CRC_AT: usize = 17;
/// The checksum covers everything from here.
const ATTRIBUTES_AT: usize = 21;
const MAX_TIMESTAMP_AT: usize = 35;

/// Attribute bits 0-2: the codec.
pub(super) const CODEC: i16 = 0x07;
/// Attribute bit 3: LogAppendTime.
pub(super) const LOG_APPEND_TIME: i16 = 0x08;
/// Attribute bit 4: part of a transaction.
pub(crate) const TRANSACTIONAL: i16 = 0x10;
/// Attribute bit 5: a control batch.
pub(crate) const CONTROL: i16 = 0x20;
/// Attribute bit 6: the base timestamp is a delete horizon.
const DELETE_HORIZON: i16 = 0x40;

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

impl Compression {
    /// The codec's attribute bits.
    pub const fn bits(self) -> i16 {
        match self {
            Self::None => 0,
            Self::Gzip => 1,
            Self::Snappy => 2,
            Self::Lz4 => 3,
            Self::Zstd => 4,
        }
    }
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
    pub fn parse(bytes: &[u8]) -> Result<Self, BatchError> {
        // Older formats keep their magic at the same place, and may be shorter than this header.
        let magic = *bytes.get(MAGIC_AT).ok_or(BatchError::Truncated)? as i8;
        if magic != 2 {
            return Err(BatchError::UnsupportedMagic(magic));
        }
        let header = Self::fields(bytes).map_err(|_| BatchError::Truncated)?;
        if header.size() < HEADER_LEN {
            return Err(BatchError::BadLength(header.batch_length));
        }
        Ok(header)
    }

    fn fields(bytes: &[u8]) -> Result<Self, WireError> {
        let mut reader = Reader::new(bytes);
        let base_offset = Offset(reader.i64()?);
        let batch_length = reader.i32()?;
        let partition_leader_epoch = LeaderEpoch(reader.i32()?);
        let _magic = reader.i8()?;
        Ok(Self {
            base_offset,
            batch_length,
            partition_leader_epoch,
            crc: reader.u32()?,
            attributes: reader.i16()?,
            last_offset_delta: reader.i32()?,
            base_timestamp: TimestampMs(reader.i64()?),
            max_timestamp: TimestampMs(reader.i64()?),
            producer_id: ProducerId(reader.i64()?),
            producer_epoch: ProducerEpoch(reader.i16()?),
            base_sequence: Sequence(reader.i32()?),
            record_count: reader.i32()?,
        })
    }

    /// A whole batch of these fields and this record section; length and checksum are computed.
    pub fn encode(&self, section: &[u8]) -> BytesMut {
        let size = HEADER_LEN + section.len();
        let mut batch = BytesMut::with_capacity(size);
        batch.put_i64(self.base_offset.0);
        batch.put_i32((size - LOG_OVERHEAD) as i32);
        batch.put_i32(self.partition_leader_epoch.0);
        batch.put_i8(2);
        batch.put_u32(0);
        batch.put_i16(self.attributes);
        batch.put_i32(self.last_offset_delta);
        batch.put_i64(self.base_timestamp.0);
        batch.put_i64(self.max_timestamp.0);
        batch.put_i64(self.producer_id.0);
        batch.put_i16(self.producer_epoch.0);
        batch.put_i32(self.base_sequence.0);
        batch.put_i32(self.record_count);
        batch.put_slice(section);
        let crc = checksum(&batch);
        put(&mut batch, CRC_AT, crc.to_be_bytes());
        batch
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
        match self.attributes & CODEC {
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
        if self.attributes & LOG_APPEND_TIME == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// Whether it belongs to a transaction.
    pub fn is_transactional(&self) -> bool {
        self.attributes & TRANSACTIONAL != 0
    }

    /// Whether it holds a marker instead of records.
    pub fn is_control(&self) -> bool {
        self.attributes & CONTROL != 0
    }

    /// Whether the base timestamp is a delete horizon (KIP-534).
    pub fn has_delete_horizon(&self) -> bool {
        self.attributes & DELETE_HORIZON != 0
    }

    /// From when on compaction may drop the batch's tombstones, or its marker (KIP-534); `None` where that is not set.
    pub fn delete_horizon(&self) -> Option<TimestampMs> {
        self.has_delete_horizon().then_some(self.base_timestamp)
    }

    /// The same batch with this delete horizon: its records' timestamps count from there.
    #[must_use]
    pub fn with_delete_horizon(self, horizon: TimestampMs) -> Self {
        Self { attributes: self.attributes | DELETE_HORIZON, base_timestamp: horizon, ..self }
    }

    /// What stays of a batch whose records are gone: offsets, sequences and the largest timestamp.
    #[must_use]
    pub fn emptied(self) -> Self {
        let attributes = self.attributes & !(CODEC | DELETE_HORIZON);
        Self { attributes, base_timestamp: TimestampMs::NONE, record_count: 0, ..self }
    }

    /// Whether an idempotent producer wrote it.
    pub fn has_producer(&self) -> bool {
        self.producer_id.0 >= 0
    }
}

/// The CRC-32C that belongs into a whole batch's header.
fn checksum(batch: &[u8]) -> u32 {
    crc_fast::crc32_iscsi(batch.get(ATTRIBUTES_AT..).unwrap_or_default())
}

/// Checks the stored CRC of one whole batch (`batch` is exactly its bytes).
pub fn check_crc(batch: &[u8]) -> Result<(), BatchError> {
    let header = BatchHeader::parse(batch)?;
    if batch.len() != header.size() {
        return Err(BatchError::Truncated);
    }
    let (stored, computed) = (header.crc, checksum(batch));
    if stored == computed { Ok(()) } else { Err(BatchError::BadCrc { stored, computed }) }
}

/// Writes base offset and leader epoch, which lie outside the CRC. Bytes too short for a header stay as they are.
pub fn assign_offset(batch: &mut [u8], base: Offset, epoch: LeaderEpoch) {
    put(batch, 0, base.0.to_be_bytes());
    put(batch, LEADER_EPOCH_AT, epoch.0.to_be_bytes());
}

/// Marks the batch as LogAppendTime with this maximum timestamp and recomputes the CRC.
/// Bytes too short for a header stay as they are.
pub fn set_log_append_time(batch: &mut [u8], now: TimestampMs) {
    set_max_timestamp(batch, TimestampType::LogAppendTime, now);
}

/// Sets what the timestamps mean and the largest of them, and recomputes the CRC.
/// Bytes too short for a header stay as they are.
pub fn set_max_timestamp(batch: &mut [u8], kind: TimestampType, max: TimestampMs) {
    let Some(attributes) = batch.get(ATTRIBUTES_AT..).and_then(<[u8]>::first_chunk::<2>) else { return };
    let attributes = i16::from_be_bytes(*attributes);
    let attributes = match kind {
        TimestampType::CreateTime => attributes & !LOG_APPEND_TIME,
        TimestampType::LogAppendTime => attributes | LOG_APPEND_TIME,
    };
    put(batch, ATTRIBUTES_AT, attributes.to_be_bytes());
    put(batch, MAX_TIMESTAMP_AT, max.0.to_be_bytes());
    let crc = checksum(batch);
    put(batch, CRC_AT, crc.to_be_bytes());
}

/// Writes a field, if the whole header is there.
fn put<const N: usize>(batch: &mut [u8], at: usize, field: [u8; N]) {
    let Some(header) = batch.first_chunk_mut::<HEADER_LEN>() else { return };
    if let Some(place) = header.get_mut(at..at + N) {
        place.copy_from_slice(&field);
    }
}

/// Walks concatenated batches. After an error it ends: what follows a bad length has no known start.
#[derive(Clone, Debug)]
pub struct Batches<'a> {
    rest: &'a [u8],
}

impl<'a> Batches<'a> {
    /// The batches in `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// Bytes not yet walked.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Batches<'a> {
    /// A batch's header and all of its bytes.
    type Item = Result<(BatchHeader, &'a [u8]), BatchError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let whole = BatchHeader::parse(self.rest).and_then(|header| {
            let (batch, rest) = self.rest.split_at_checked(header.size()).ok_or(BatchError::Truncated)?;
            Ok((header, batch, rest))
        });
        match whole {
            Ok((header, batch, rest)) => {
                self.rest = rest;
                Some(Ok((header, batch)))
            }
            Err(error) => {
                self.rest = &[];
                Some(Err(error))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kafka_protocol::records::{
        Compression as CrateCompression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType as CrateType,
    };
    use proptest::prelude::*;

    use super::*;

    /// A batch as another implementation encodes it.
    fn batch(count: i32) -> Vec<u8> {
        let records: Vec<Record> = (0..count)
            .map(|index| Record {
                transactional: true,
                control: false,
                partition_leader_epoch: 3,
                producer_id: 77,
                producer_epoch: 5,
                timestamp_type: CrateType::Creation,
                offset: 100 + i64::from(index),
                sequence: 40 + index,
                delete_horizon: false,
                timestamp: 1000 + i64::from(index),
                key: None,
                value: Some("value".into()),
                headers: kafka_protocol::indexmap::IndexMap::default(),
            })
            .collect();
        let options = RecordEncodeOptions { version: 2, compression: CrateCompression::None };
        let mut bytes = BytesMut::new();
        RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
        bytes.to_vec()
    }

    #[test]
    fn reads_every_field() {
        let bytes = batch(3);
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!(header.size(), bytes.len());
        assert_eq!(
            (header.base_offset, header.last_offset(), header.next_offset()),
            (Offset(100), Offset(102), Offset(103))
        );
        assert_eq!(header.partition_leader_epoch, LeaderEpoch(3));
        assert_eq!((header.base_timestamp, header.max_timestamp), (TimestampMs(1000), TimestampMs(1002)));
        assert_eq!((header.producer_id, header.producer_epoch), (ProducerId(77), ProducerEpoch(5)));
        assert_eq!((header.base_sequence, header.last_sequence()), (Sequence(40), Sequence(42)));
        assert_eq!(header.record_count, 3);
        assert!(header.is_transactional() && header.has_producer() && !header.is_control());
        assert_eq!(header.compression(), Some(Compression::None));
        assert_eq!(check_crc(&bytes), Ok(()));
    }

    #[test]
    fn every_flipped_bit_after_the_crc_is_found() {
        let good = batch(1);
        for at in ATTRIBUTES_AT..good.len() {
            let mut bad = good.clone();
            bad[at] ^= 4;
            assert!(matches!(check_crc(&bad), Err(BatchError::BadCrc { .. })), "byte {at}");
        }
    }

    #[test]
    fn offset_and_epoch_do_not_touch_the_crc() {
        let mut bytes = batch(2);
        assign_offset(&mut bytes, Offset(9_000), LeaderEpoch(8));
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!((header.base_offset, header.partition_leader_epoch), (Offset(9_000), LeaderEpoch(8)));
        assert_eq!(check_crc(&bytes), Ok(()));
    }

    #[test]
    fn log_append_time_recomputes_the_crc() {
        let mut bytes = batch(2);
        set_log_append_time(&mut bytes, TimestampMs(5_000_000));
        let header = BatchHeader::parse(&bytes).unwrap();
        assert_eq!(header.timestamp_type(), TimestampType::LogAppendTime);
        assert_eq!((header.base_timestamp, header.max_timestamp), (TimestampMs(1000), TimestampMs(5_000_000)));
        assert!(header.is_transactional());
        assert_eq!(check_crc(&bytes), Ok(()));
    }

    #[test]
    fn what_is_no_batch_is_named() {
        let good = batch(1);
        assert_eq!(BatchHeader::parse(&good[..HEADER_LEN - 1]), Err(BatchError::Truncated));
        assert_eq!(check_crc(&good[..good.len() - 1]), Err(BatchError::Truncated));
        let mut old = good.clone();
        old[MAGIC_AT] = 1;
        assert_eq!(BatchHeader::parse(&old[..30]), Err(BatchError::UnsupportedMagic(1)));
        for length in [-1, 0, 48, i32::MIN] {
            let mut bad = good.clone();
            bad[8..12].copy_from_slice(&length.to_be_bytes());
            assert_eq!(BatchHeader::parse(&bad), Err(BatchError::BadLength(length)));
        }
        let mut short = [7_u8; 60];
        assign_offset(&mut short, Offset(1), LeaderEpoch(1));
        set_log_append_time(&mut short, TimestampMs(1));
        assert_eq!(short, [7; 60]);
    }

    #[test]
    fn walks_concatenated_batches_up_to_a_torn_one() {
        let mut bytes = batch(2);
        bytes.extend(batch(1));
        let whole = bytes.len();
        bytes.extend_from_slice(&batch(5)[..80]);
        let mut batches = Batches::new(&bytes);
        let sizes: usize = batches.by_ref().take(2).map(|batch| batch.unwrap().1.len()).sum();
        assert_eq!(sizes, whole);
        assert_eq!(batches.rest().len(), 80);
        assert_eq!(batches.next(), Some(Err(BatchError::Truncated)));
        assert_eq!(batches.next(), None);
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(mut bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Some(magic) = bytes.get_mut(MAGIC_AT) {
                *magic = 2;
            }
            let _ = check_crc(&bytes);
            prop_assert!(Batches::new(&bytes).count() <= 4);
            set_log_append_time(&mut bytes, TimestampMs(1));
        }
    }
}
