//! Control batches (rule 12): they hold no client's record, but end a transaction of one producer in one partition.
//!
//! The record's key is a version and a type, its value a version and the epoch of the coordinator that ended the
//! transaction. As Kafka does, a later version is read as far as the first one goes.

use bytes::{BufMut, BytesMut};

use super::WireError;
use super::batch::{BatchHeader, CONTROL, TRANSACTIONAL};
use super::reader::Reader;
use super::records::{self, Records, RecordsError};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

/// The version of key and value that is written.
const VERSION: i16 = 0;
const ABORT: i16 = 0;
const COMMIT: i16 = 1;
/// The most that the record of a control batch takes, were it compressed.
const LARGEST_SECTION: usize = 1 << 20;

/// The end of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EndMarker {
    /// Whether its records count.
    pub commit: bool,
    /// Epoch of the coordinator that ended it: how often its partition of `__transaction_state` changed hands.
    pub coordinator_epoch: i32,
}

impl EndMarker {
    /// Reads a control record; `None` for one that ends no transaction, such as those of Raft.
    pub fn parse(key: &[u8], value: &[u8]) -> Result<Option<Self>, WireError> {
        let mut key = Reader::new(key);
        check_version(key.i16()?)?;
        let commit = match key.i16()? {
            ABORT => false,
            COMMIT => true,
            _ => return Ok(None),
        };
        let mut value = Reader::new(value);
        check_version(value.i16()?)?;
        Ok(Some(Self { commit, coordinator_epoch: value.i32()? }))
    }

    /// Key and value of its record.
    fn encode(self) -> ([u8; 4], [u8; 6]) {
        let (mut key, mut value) = ([0; 4], [0; 6]);
        let mut fields = key.as_mut_slice();
        fields.put_i16(VERSION);
        fields.put_i16(if self.commit { COMMIT } else { ABORT });
        let mut fields = value.as_mut_slice();
        fields.put_i16(VERSION);
        fields.put_i32(self.coordinator_epoch);
        (key, value)
    }
}

fn check_version(version: i16) -> Result<(), WireError> {
    if version < 0 { Err(WireError::Invalid("a negative version of a control record")) } else { Ok(()) }
}

/// What a control batch says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Control {
    /// A transaction of the batch's producer ends.
    End(EndMarker),
    /// A transaction ended, and compaction has removed what was left of it.
    Emptied,
    /// Something that does not end a transaction.
    Other,
}

impl Control {
    /// Reads a whole control batch, whose header this is.
    pub fn of(header: &BatchHeader, batch: &[u8]) -> Result<Self, RecordsError> {
        if header.record_count == 0 {
            return Ok(Self::Emptied);
        }
        let section = records::section(batch, LARGEST_SECTION)?;
        let Some(record) = Records::new(&section, header.record_count).next().transpose()? else {
            return Ok(Self::Emptied);
        };
        let marker = EndMarker::parse(record.key.unwrap_or_default(), record.value.unwrap_or_default())?;
        Ok(marker.map_or(Self::Other, Self::End))
    }
}

/// A batch that ends a transaction of this producer in the partition that it is appended to. It has no sequence.
pub fn end_marker_batch(producer: ProducerId, epoch: ProducerEpoch, marker: EndMarker, now: TimestampMs) -> BytesMut {
    let (key, value) = marker.encode();
    let mut section = Vec::new();
    records::put_record(&mut section, &mut Vec::new(), (0, 0), Some(&key), Some(&value), std::iter::empty());
    let header = BatchHeader {
        base_offset: Offset(0),
        batch_length: 0,
        partition_leader_epoch: LeaderEpoch::NONE,
        crc: 0,
        attributes: TRANSACTIONAL | CONTROL,
        last_offset_delta: 0,
        base_timestamp: now,
        max_timestamp: now,
        producer_id: producer,
        producer_epoch: epoch,
        base_sequence: Sequence::NONE,
        record_count: 1,
    };
    header.encode(&section)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::batch::check_crc;

    #[test]
    fn a_marker_has_kafkas_bytes() {
        let marker = EndMarker { commit: true, coordinator_epoch: 0x0102_0304 };
        let batch = end_marker_batch(ProducerId(7), ProducerEpoch(3), marker, TimestampMs(1000));
        check_crc(&batch).unwrap();
        let header = BatchHeader::parse(&batch).unwrap();
        assert_eq!((header.producer_id, header.producer_epoch), (ProducerId(7), ProducerEpoch(3)));
        assert_eq!((header.base_sequence, header.last_sequence()), (Sequence::NONE, Sequence::NONE));
        assert_eq!((header.base_offset, header.last_offset(), header.record_count), (Offset(0), Offset(0), 1));
        assert_eq!((header.base_timestamp, header.max_timestamp), (TimestampMs(1000), TimestampMs(1000)));
        assert_eq!(header.attributes, 0x30);
        let section = records::section(&batch, 100).unwrap();
        // Length, attributes, deltas, key, value, no headers.
        assert_eq!(&section[..], [32, 0, 0, 0, 8, 0, 0, 0, 1, 12, 0, 0, 1, 2, 3, 4, 0]);
    }

    #[test]
    fn later_versions_are_read_and_other_types_left_alone() {
        let abort = EndMarker { commit: false, coordinator_epoch: 5 };
        assert_eq!(EndMarker::parse(&[0, 9, 0, 0, 7, 7], &[0, 4, 0, 0, 0, 5, 1, 2]), Ok(Some(abort)));
        // A Raft leader's change: its value means something else.
        assert_eq!(EndMarker::parse(&[0, 0, 0, 2], &[]), Ok(None));
        for (key, value) in [
            (&[0, 0, 0][..], &[0; 6][..]),
            (&[0, 0, 0, 0], &[0; 5]),
            (&[0xff, 0xff, 0, 0], &[0; 6]),
            (&[0; 4], &[0xff, 0xff, 0, 0, 0, 0]),
        ] {
            assert!(EndMarker::parse(key, value).is_err(), "{key:?} {value:?}");
        }
    }

    #[test]
    fn an_emptied_batch_ends_something_that_is_gone() {
        let marker = EndMarker { commit: true, coordinator_epoch: 0 };
        let batch = end_marker_batch(ProducerId(7), ProducerEpoch(3), marker, TimestampMs(1));
        let emptied = BatchHeader::parse(&batch).unwrap().emptied().encode(&[]);
        assert_eq!(Control::of(&BatchHeader::parse(&emptied).unwrap(), &emptied).unwrap(), Control::Emptied);
    }

    proptest! {
        #[test]
        fn every_marker_reads_back(commit: bool, coordinator_epoch: i32, producer in 0_i64.., epoch in 0_i16..) {
            let marker = EndMarker { commit, coordinator_epoch };
            let batch = end_marker_batch(ProducerId(producer), ProducerEpoch(epoch), marker, TimestampMs(1));
            let header = BatchHeader::parse(&batch).unwrap();
            prop_assert_eq!(Control::of(&header, &batch).unwrap(), Control::End(marker));
        }

        #[test]
        fn any_bytes_are_read_or_refused(key: Vec<u8>, value: Vec<u8>) {
            let _ = EndMarker::parse(&key, &value);
        }
    }
}
