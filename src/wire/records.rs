//! The records inside a batch: walking them in place, and building batches (for the broker's own records).

use std::borrow::Cow;

use bytes::{BufMut, Bytes, BytesMut};

use super::batch::{self, BatchError, BatchHeader, Compression, HEADER_LEN};
use super::compression::{self, DecompressError};
use super::reader::Reader;
use super::{WireError, writer};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

/// Why the records of a batch could not be reached.
#[derive(Debug, thiserror::Error)]
pub enum RecordsError {
    /// The bytes are no batch.
    #[error(transparent)]
    Batch(#[from] BatchError),
    /// The attributes name no codec.
    #[error("the batch's attributes {0:#06x} name a codec that does not exist")]
    UnknownCodec(i16),
    /// A record is not whole.
    #[error("the records are malformed: {0}")]
    Malformed(#[from] WireError),
    /// The records do not decompress.
    #[error(transparent)]
    Decompress(#[from] DecompressError),
    /// The records could not be compressed.
    #[error("the records could not be compressed: {0}")]
    Compress(#[from] std::io::Error),
}

/// The records of one whole batch, decompressed to at most `limit` bytes.
pub fn section(batch: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, RecordsError> {
    let header = BatchHeader::parse(batch)?;
    let codec = header.compression().ok_or(RecordsError::UnknownCodec(header.attributes))?;
    let section = batch.get(HEADER_LEN..header.size()).ok_or(BatchError::Truncated)?;
    Ok(compression::decompress(codec, section, limit)?)
}

/// The key and value of a record of the broker's own, as they are in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Encoded {
    /// What it is about.
    pub key: Bytes,
    /// What holds now; `None` is a tombstone.
    pub value: Option<Bytes>,
}

impl Encoded {
    /// Bytes of key and value.
    pub fn size(&self) -> usize {
        self.key.len() + self.value.as_ref().map_or(0, Bytes::len)
    }
}

/// One record; its bytes are those of the section that it was read from.
#[derive(Clone, Debug)]
pub struct Record<'a> {
    /// Unused by the protocol so far.
    pub attributes: i8,
    /// Its timestamp minus the batch's base timestamp.
    pub timestamp_delta: i64,
    /// Its offset minus the batch's base offset.
    pub offset_delta: i32,
    /// The key.
    pub key: Option<&'a [u8]>,
    /// The value.
    pub value: Option<&'a [u8]>,
    /// The headers, in order, whatever their keys.
    pub headers: Headers<'a>,
}

/// A record's headers, already known to be whole.
#[derive(Clone, Debug)]
pub struct Headers<'a> {
    count: usize,
    fields: Reader<'a>,
}

impl<'a> Headers<'a> {
    /// Reads past the headers at the front of `reader`, which end what they are given.
    fn take(reader: &mut Reader<'a>) -> Result<Self, WireError> {
        let count = usize::try_from(reader.varint()?).map_err(|_| WireError::Invalid("a negative header count"))?;
        let headers = Self { count, fields: reader.clone() };
        // A header takes two bytes at least, so that a lying count ends with the bytes.
        let mut walk = headers.clone();
        for _ in 0..count {
            walk.header()?;
        }
        *reader = walk.fields;
        Ok(headers)
    }

    fn header(&mut self) -> Result<(&'a [u8], Option<&'a [u8]>), WireError> {
        let key = length_prefixed(&mut self.fields)?.ok_or(WireError::Invalid("a header without a key"))?;
        Ok((key, length_prefixed(&mut self.fields)?))
    }
}

impl<'a> Iterator for Headers<'a> {
    /// Key and value.
    type Item = (&'a [u8], Option<&'a [u8]>);

    fn next(&mut self) -> Option<Self::Item> {
        self.count = self.count.checked_sub(1)?;
        self.header().ok()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.count, Some(self.count))
    }
}

impl ExactSizeIterator for Headers<'_> {}

/// Bytes behind a zigzag varint that is their length, or -1 for null.
fn length_prefixed<'a>(reader: &mut Reader<'a>) -> Result<Option<&'a [u8]>, WireError> {
    match reader.varint()? {
        -1 => Ok(None),
        length => {
            let length = usize::try_from(length).map_err(|_| WireError::Invalid("a negative length in a record"))?;
            reader.take(length).map(Some)
        }
    }
}

/// Walks the records of an uncompressed section. After an error it ends.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    section: Reader<'a>,
    left: i32,
}

impl<'a> Records<'a> {
    /// The records in `section`, of which there should be `count` and nothing else.
    pub const fn new(section: &'a [u8], count: i32) -> Self {
        Self { section: Reader::new(section), left: count }
    }

    /// Bytes of the section that were walked: where the next record begins.
    pub const fn position(&self) -> usize {
        self.section.position()
    }

    fn record(&mut self) -> Result<Record<'a>, WireError> {
        let length =
            usize::try_from(self.section.varint()?).map_err(|_| WireError::Invalid("a negative record length"))?;
        let mut fields = Reader::new(self.section.take(length)?);
        let record = Record {
            attributes: fields.i8()?,
            timestamp_delta: fields.varlong()?,
            offset_delta: fields.varint()?,
            key: length_prefixed(&mut fields)?,
            value: length_prefixed(&mut fields)?,
            headers: Headers::take(&mut fields)?,
        };
        if fields.is_empty() { Ok(record) } else { Err(WireError::Invalid("a record longer than its fields")) }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Result<Record<'a>, WireError>;

    fn next(&mut self) -> Option<Self::Item> {
        let record = match (self.left, self.section.is_empty()) {
            (..=0, true) => return None,
            (..=0, false) => Err(WireError::Invalid("bytes after the last record of a batch")),
            (1.., _) => self.record(),
        };
        self.left = self.left.saturating_sub(1);
        if record.is_err() {
            *self = Self::new(&[], 0);
        }
        Some(record)
    }
}

/// Builds a batch for the broker's own records.
#[derive(Clone, Debug)]
pub struct BatchBuilder {
    leader_epoch: LeaderEpoch,
    producer: (ProducerId, ProducerEpoch, Sequence),
    attributes: i16,
    first_timestamp: TimestampMs,
    max_timestamp: TimestampMs,
    last_offset_delta: i32,
    count: i32,
    section: Vec<u8>,
    /// One record's fields, before its length is known.
    scratch: Vec<u8>,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty batch without producer, outside of transactions.
    pub const fn new() -> Self {
        Self {
            leader_epoch: LeaderEpoch(0),
            producer: (ProducerId::NONE, ProducerEpoch::NONE, Sequence::NONE),
            attributes: 0,
            first_timestamp: TimestampMs::NONE,
            max_timestamp: TimestampMs::NONE,
            last_offset_delta: -1,
            count: 0,
            section: Vec::new(),
            scratch: Vec::new(),
        }
    }

    /// Written by the leader of this epoch.
    #[must_use]
    pub const fn leader_epoch(mut self, epoch: LeaderEpoch) -> Self {
        self.leader_epoch = epoch;
        self
    }

    /// Written on behalf of a producer.
    #[must_use]
    pub const fn producer(mut self, id: ProducerId, epoch: ProducerEpoch, first_sequence: Sequence) -> Self {
        self.producer = (id, epoch, first_sequence);
        self
    }

    /// Part of a transaction.
    #[must_use]
    pub const fn transactional(mut self) -> Self {
        self.attributes |= batch::TRANSACTIONAL;
        self
    }

    /// Holds a marker instead of records.
    #[must_use]
    pub const fn control(mut self) -> Self {
        self.attributes |= batch::CONTROL;
        self
    }

    /// Adds a record after the last one.
    pub fn push<'h>(
        &mut self,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl ExactSizeIterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    ) {
        self.push_at(self.last_offset_delta.saturating_add(1), timestamp, key, value, headers);
    }

    /// Adds a record at an offset after the last one's, counted from the batch's base offset.
    pub fn push_at<'h>(
        &mut self,
        offset_delta: i32,
        timestamp: TimestampMs,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: impl ExactSizeIterator<Item = (&'h [u8], Option<&'h [u8]>)>,
    ) {
        if self.count == 0 {
            self.first_timestamp = timestamp;
        }
        self.max_timestamp = self.max_timestamp.max(timestamp);
        self.last_offset_delta = offset_delta;
        self.count += 1;

        let timestamp_delta = timestamp.0.wrapping_sub(self.first_timestamp.0);
        put_record(&mut self.section, &mut self.scratch, (offset_delta, timestamp_delta), key, value, headers);
    }

    /// How many records there are.
    pub const fn len(&self) -> usize {
        self.count as usize
    }

    /// Whether nothing was added yet.
    pub const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// Bytes of the batch so far, before compression.
    pub const fn size(&self) -> usize {
        HEADER_LEN + self.section.len()
    }

    /// The batch, with its checksum; `None` when nothing was added.
    pub fn build(self, base: Offset, codec: Compression, level: i32) -> std::io::Result<Option<BytesMut>> {
        if self.is_empty() {
            return Ok(None);
        }
        let section = match codec {
            Compression::None => self.section,
            codec => compression::compress(codec, level, &self.section)?,
        };
        let (producer_id, producer_epoch, base_sequence) = self.producer;
        let header = BatchHeader {
            base_offset: base,
            batch_length: 0,
            partition_leader_epoch: self.leader_epoch,
            crc: 0,
            attributes: self.attributes | codec.bits(),
            last_offset_delta: self.last_offset_delta,
            base_timestamp: self.first_timestamp,
            max_timestamp: self.max_timestamp,
            producer_id,
            producer_epoch,
            base_sequence,
            record_count: self.count,
        };
        Ok(Some(header.encode(&section)))
    }
}

/// Adds a record to a section: its offset and timestamp as they differ from the batch's base, then what it holds.
/// `scratch` takes its fields before their length is known.
pub(crate) fn put_record<'h>(
    section: &mut Vec<u8>,
    scratch: &mut Vec<u8>,
    (offset_delta, timestamp_delta): (i32, i64),
    key: Option<&[u8]>,
    value: Option<&[u8]>,
    headers: impl ExactSizeIterator<Item = (&'h [u8], Option<&'h [u8]>)>,
) {
    scratch.clear();
    scratch.push(0);
    writer::varlong(scratch, timestamp_delta);
    writer::varint(scratch, offset_delta);
    put_length_prefixed(scratch, key);
    put_length_prefixed(scratch, value);
    writer::varint(scratch, headers.len() as i32);
    for (key, value) in headers {
        put_length_prefixed(scratch, Some(key));
        put_length_prefixed(scratch, value);
    }
    writer::varint(section, scratch.len() as i32);
    section.extend_from_slice(scratch);
}

fn put_length_prefixed(out: &mut Vec<u8>, bytes: Option<&[u8]>) {
    writer::varint(out, bytes.map_or(-1, |bytes| bytes.len() as i32));
    out.put_slice(bytes.unwrap_or_default());
}

/// The same batch with its records compressed otherwise (`compression.type` other than `producer`); they may expand to
/// at most `limit` bytes on the way.
pub fn recompress(batch: &[u8], codec: Compression, level: i32, limit: usize) -> Result<BytesMut, RecordsError> {
    let mut header = BatchHeader::parse(batch)?;
    let plain = section(batch, limit)?;
    let packed = match codec {
        Compression::None => plain,
        codec => Cow::Owned(compression::compress(codec, level, &plain)?),
    };
    header.attributes = header.attributes & !batch::CODEC | codec.bits();
    Ok(header.encode(&packed))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kafka_protocol::records::RecordBatchDecoder;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::batch::check_crc;

    type Owned = (i64, Option<Vec<u8>>, Option<Vec<u8>>, Vec<(Vec<u8>, Option<Vec<u8>>)>);

    const CODECS: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    fn fill(builder: &mut BatchBuilder, records: &[Owned]) {
        for (timestamp, key, value, headers) in records {
            let headers = headers.iter().map(|(key, value)| (key.as_slice(), value.as_deref()));
            builder.push(TimestampMs(*timestamp), key.as_deref(), value.as_deref(), headers);
        }
    }

    fn built(records: &[Owned], codec: Compression) -> BytesMut {
        let mut builder = BatchBuilder::new().producer(ProducerId(7), ProducerEpoch(2), Sequence(30));
        fill(&mut builder, records);
        builder.leader_epoch(LeaderEpoch(4)).build(Offset(500), codec, 3).unwrap().unwrap()
    }

    fn read(batch: &[u8]) -> Vec<Owned> {
        let header = BatchHeader::parse(batch).unwrap();
        let plain = section(batch, 1 << 24).unwrap();
        Records::new(&plain, header.record_count)
            .enumerate()
            .map(|(index, record)| {
                let record = record.unwrap();
                assert_eq!(record.offset_delta, index as i32);
                let headers = record.headers.map(|(key, value)| (key.to_vec(), value.map(<[u8]>::to_vec))).collect();
                let timestamp = header.base_timestamp.0.wrapping_add(record.timestamp_delta);
                (timestamp, record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec), headers)
            })
            .collect()
    }

    fn sample() -> Vec<Owned> {
        let headers = vec![(b"h".to_vec(), Some(b"1".to_vec())), (b"h".to_vec(), None), (b"h".to_vec(), Some(vec![]))];
        vec![
            (1000, Some(b"key".to_vec()), Some(vec![9; 300]), headers),
            (900, None, Some(vec![]), vec![]),
            (2000, Some(vec![]), None, vec![]),
        ]
    }

    #[test]
    fn batches_read_back_with_every_codec() {
        for codec in CODECS {
            let batch = built(&sample(), codec);
            let header = BatchHeader::parse(&batch).unwrap();
            assert_eq!(check_crc(&batch), Ok(()));
            assert_eq!(header.compression(), Some(codec));
            assert_eq!((header.base_offset, header.last_offset()), (Offset(500), Offset(502)));
            assert_eq!((header.base_timestamp, header.max_timestamp), (TimestampMs(1000), TimestampMs(2000)));
            assert_eq!((header.producer_id, header.producer_epoch), (ProducerId(7), ProducerEpoch(2)));
            assert_eq!((header.base_sequence, header.partition_leader_epoch), (Sequence(30), LeaderEpoch(4)));
            assert_eq!(read(&batch), sample());
        }
    }

    #[test]
    fn another_implementation_reads_the_same() {
        let mut batch = built(&sample(), Compression::None);
        let set = RecordBatchDecoder::decode(&mut batch).unwrap();
        let read: Vec<_> =
            set.records.iter().map(|record| (record.offset, record.timestamp, record.key.clone())).collect();
        assert_eq!(read, [(500, 1000, Some("key".into())), (501, 900, None), (502, 2000, Some("".into()))]);
    }

    #[test]
    fn markers_are_control_and_transactional() {
        let mut builder = BatchBuilder::new().transactional().control();
        assert!(builder.clone().build(Offset(0), Compression::None, 0).unwrap().is_none());
        builder.push(TimestampMs(5), Some(&[0, 0, 0, 1]), Some(&[0, 0, 0, 0, 0, 0]), std::iter::empty());
        let size = builder.size();
        let batch = builder.build(Offset(9), Compression::None, 0).unwrap().unwrap();
        let header = BatchHeader::parse(&batch).unwrap();
        assert!(header.is_control() && header.is_transactional() && !header.has_producer());
        assert_eq!(batch.len(), size);
    }

    #[test]
    fn gaps_in_the_offsets_stay() {
        let mut builder = BatchBuilder::new();
        builder.push_at(3, TimestampMs(1), None, None, std::iter::empty());
        builder.push_at(9, TimestampMs(1), None, None, std::iter::empty());
        let batch = builder.build(Offset(10), Compression::None, 0).unwrap().unwrap();
        let header = BatchHeader::parse(&batch).unwrap();
        assert_eq!((header.last_offset(), header.record_count), (Offset(19), 2));
    }

    #[test]
    fn recompressing_changes_the_codec_and_nothing_else() {
        for from in CODECS {
            for to in CODECS {
                let before = built(&sample(), from);
                let after = recompress(&before, to, 3, 1 << 20).unwrap();
                assert_eq!(check_crc(&after), Ok(()));
                assert_eq!(read(&after), sample());
                let (before, after) = (BatchHeader::parse(&before).unwrap(), BatchHeader::parse(&after).unwrap());
                assert_eq!(after.compression(), Some(to));
                let (crc, batch_length, attributes) = (before.crc, before.batch_length, before.attributes);
                assert_eq!(BatchHeader { batch_length, crc, attributes, ..after }, before);
            }
        }
        let large = built(&sample(), Compression::Zstd);
        assert!(matches!(recompress(&large, Compression::Lz4, 0, 100), Err(RecordsError::Decompress(_))));
    }

    #[test]
    fn unknown_codecs_are_named() {
        let mut batch = built(&sample(), Compression::None);
        batch[22] |= 5;
        assert!(matches!(section(&batch, 1000), Err(RecordsError::UnknownCodec(5))));
    }

    #[test]
    fn a_batch_that_lies_about_its_records_is_found() {
        let batch = built(&sample(), Compression::None);
        let plain = section(&batch, 1000).unwrap();
        let errors = |section: &[u8], count| Records::new(section, count).filter(Result::is_err).count();
        assert_eq!(errors(&plain, 3), 0);
        assert_eq!(errors(&plain, 2), 1);
        assert_eq!(errors(&plain, 4), 1);
        assert_eq!(errors(&plain, 0), 1);
        assert_eq!(errors(&plain[..plain.len() - 1], 3), 1);
        // A record one byte longer than its fields, a header count of a billion, a header without a key.
        assert_eq!(errors(&[14, 0, 0, 0, 1, 1, 0, 0], 1), 1);
        assert_eq!(errors(&[20, 0, 0, 0, 1, 1, 0x80, 0xa8, 0xd6, 0xb9, 0x07], 1), 1);
        assert_eq!(errors(&[16, 0, 0, 0, 1, 1, 2, 1, 1], 1), 1);
        assert_eq!(errors(&[12, 0, 0, 0, 1, 1, 0], 1), 0);
    }

    proptest! {
        #[test]
        fn any_records_read_back(
            records in proptest::collection::vec(
                (
                    any::<i64>(),
                    any::<Option<Vec<u8>>>(),
                    any::<Option<Vec<u8>>>(),
                    proptest::collection::vec(any::<(Vec<u8>, Option<Vec<u8>>)>(), 0..4),
                ),
                1..6,
            ),
            codec in 0_usize..5,
        ) {
            prop_assert_eq!(read(&built(&records, CODECS[codec])), records);
        }

        #[test]
        fn any_bytes_give_an_answer(bytes: Vec<u8>, count in prop_oneof![-2_i32..200, Just(i32::MIN)]) {
            for record in Records::new(&bytes, count).flatten() {
                let promised = record.headers.len();
                prop_assert_eq!(record.headers.count(), promised);
            }
        }

        #[test]
        fn damaged_records_never_panic(at: prop::sample::Index, value: u8) {
            let mut batch = built(&sample(), Compression::None);
            let at = at.index(batch.len());
            batch[at] = value;
            if let Ok(plain) = section(&batch, 1000) {
                let _ = Records::new(&plain, 3).count();
            }
        }
    }
}
