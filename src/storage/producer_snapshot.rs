//! `<offset>.snapshot`: the producers of a partition when its log ended at that offset.
//!
//! A version (`i16`, 1), the CRC-32C of what follows, and an array of entries of fixed size, all big-endian.

use super::checkpoint::Malformed;
use crate::log::producer_state::ProducerSnapshotEntry;
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};

const VERSION: i16 = 1;
/// Bytes of version and CRC.
const PREFIX: usize = 6;
/// Bytes of an entry.
const ENTRY: usize = 46;
/// "No open transaction".
const NO_OFFSET: i64 = -1;

/// Encodes the content of a snapshot file.
pub fn encode(entries: &[ProducerSnapshotEntry]) -> Vec<u8> {
    let mut body = Vec::with_capacity(4 + entries.len() * ENTRY);
    body.extend((entries.len() as i32).to_be_bytes());
    for entry in entries {
        body.extend(entry.producer_id.0.to_be_bytes());
        body.extend(entry.epoch.0.to_be_bytes());
        body.extend(entry.last_sequence.0.to_be_bytes());
        body.extend(entry.last_offset.0.to_be_bytes());
        body.extend(entry.offset_delta.to_be_bytes());
        body.extend(entry.timestamp.0.to_be_bytes());
        body.extend(entry.coordinator_epoch.to_be_bytes());
        body.extend(entry.transaction_start.map_or(NO_OFFSET, |start| start.0).to_be_bytes());
    }
    let mut file = Vec::with_capacity(PREFIX + body.len());
    file.extend(VERSION.to_be_bytes());
    file.extend(crc_fast::crc32_iscsi(&body).to_be_bytes());
    file.append(&mut body);
    file
}

/// Reads a snapshot file. One that is damaged is of no use: the next older one is tried.
pub fn decode(bytes: &[u8]) -> Result<Vec<ProducerSnapshotEntry>, Malformed> {
    let mut fields = Fields(bytes);
    let version = fields.next().map(i16::from_be_bytes).ok_or_else(cut_short)?;
    if version != VERSION {
        return Err(Malformed(format!("snapshot version {version} is not known, only {VERSION} is")));
    }
    let stored = fields.next().map(u32::from_be_bytes).ok_or_else(cut_short)?;
    let computed = crc_fast::crc32_iscsi(fields.0);
    if stored != computed {
        return Err(Malformed(format!("the stored CRC is {stored:08x}, the bytes give {computed:08x}")));
    }
    let count = fields.next().map(i32::from_be_bytes).ok_or_else(cut_short)?;
    let fits = usize::try_from(count).is_ok_and(|count| count <= fields.0.len() / ENTRY);
    if !fits {
        return Err(cut_short());
    }
    (0..count).map(|_| entry(&mut fields).ok_or_else(cut_short)).collect()
}

fn entry(fields: &mut Fields<'_>) -> Option<ProducerSnapshotEntry> {
    Some(ProducerSnapshotEntry {
        producer_id: ProducerId(i64::from_be_bytes(fields.next()?)),
        epoch: ProducerEpoch(i16::from_be_bytes(fields.next()?)),
        last_sequence: Sequence(i32::from_be_bytes(fields.next()?)),
        last_offset: Offset(i64::from_be_bytes(fields.next()?)),
        offset_delta: i32::from_be_bytes(fields.next()?),
        timestamp: TimestampMs(i64::from_be_bytes(fields.next()?)),
        coordinator_epoch: i32::from_be_bytes(fields.next()?),
        transaction_start: Some(i64::from_be_bytes(fields.next()?)).filter(|start| *start >= 0).map(Offset),
    })
}

struct Fields<'a>(&'a [u8]);

impl Fields<'_> {
    fn next<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk::<N>()?;
        self.0 = rest;
        Some(*field)
    }
}

fn cut_short() -> Malformed {
    Malformed("the snapshot is cut short".to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn sample() -> Vec<ProducerSnapshotEntry> {
        let one = ProducerSnapshotEntry {
            producer_id: ProducerId(7),
            epoch: ProducerEpoch(2),
            last_sequence: Sequence(41),
            last_offset: Offset(1000),
            offset_delta: 9,
            timestamp: TimestampMs(1_700_000_000_000),
            coordinator_epoch: -1,
            transaction_start: None,
        };
        vec![one, ProducerSnapshotEntry { transaction_start: Some(Offset(990)), coordinator_epoch: 3, ..one }]
    }

    #[test]
    fn reads_what_it_writes() {
        assert_eq!(decode(&encode(&sample())).unwrap(), sample());
        assert_eq!(decode(&encode(&[])).unwrap(), []);
        assert_eq!(encode(&sample()).len(), PREFIX + 4 + 2 * ENTRY);
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_found() {
        let good = encode(&sample());
        for cut in 0..good.len() {
            assert!(decode(&good[..cut]).is_err(), "cut at {cut}");
        }
        for bit in 0..good.len() * 8 {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(decode(&bad).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_count_that_lies_allocates_nothing() {
        let mut bad = encode(&[]);
        bad[PREFIX..].copy_from_slice(&i32::MAX.to_be_bytes());
        let crc = crc_fast::crc32_iscsi(&bad[PREFIX..]).to_be_bytes();
        bad[2..PREFIX].copy_from_slice(&crc);
        assert!(decode(&bad).is_err());
    }
}
