//! What the tests of this room share.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::BytesMut;

use super::partition_log::{PartitionLog, ReadBound};
use crate::log::{Origin, VerificationGuard};
use crate::types::*;
use crate::wire::batch::{Batches, Compression};
use crate::wire::control::{Control, EndMarker, end_marker_batch};
use crate::wire::records::{BatchBuilder, Records, section};

pub const CLIENT: Origin = Origin::Client { version: 13, guard: VerificationGuard::NONE };

pub fn batch_of(values: &[&str], codec: Compression, timestamp: impl Fn(usize) -> i64) -> BytesMut {
    let mut builder = BatchBuilder::new();
    for (n, value) in values.iter().enumerate() {
        builder.push(TimestampMs(timestamp(n)), None, Some(value.as_bytes()), std::iter::empty());
    }
    builder.build(Offset(0), codec, 3).unwrap().unwrap()
}

pub fn plain(values: &[&str], timestamp: i64) -> BytesMut {
    batch_of(values, Compression::None, |_| timestamp)
}

pub fn idempotent(values: &[&str], producer: i64, epoch: i16, sequence: i32) -> BytesMut {
    by_producer(BatchBuilder::new(), values, producer, epoch, sequence)
}

pub fn in_transaction(values: &[&str], producer: i64, epoch: i16, sequence: i32) -> BytesMut {
    by_producer(BatchBuilder::new().transactional(), values, producer, epoch, sequence)
}

/// The end of a producer's transaction.
pub fn marker(producer: i64, epoch: i16, commit: bool, coordinator_epoch: i32) -> BytesMut {
    let marker = EndMarker { commit, coordinator_epoch };
    end_marker_batch(ProducerId(producer), ProducerEpoch(epoch), marker, TimestampMs(1))
}

fn by_producer(builder: BatchBuilder, values: &[&str], producer: i64, epoch: i16, sequence: i32) -> BytesMut {
    let mut builder = builder.producer(ProducerId(producer), ProducerEpoch(epoch), Sequence(sequence));
    for value in values {
        builder.push(TimestampMs(1), None, Some(value.as_bytes()), std::iter::empty());
    }
    builder.build(Offset(0), Compression::None, 0).unwrap().unwrap()
}

/// The batches that a `read_committed` reader makes something of, read in pieces of so many bytes: it goes by the
/// aborted transactions of each piece, as Kafka's consumer does.
pub fn committed_batches(log: &dyn PartitionLog, from: Offset, max_bytes: usize) -> Vec<Vec<u8>> {
    let (mut next, mut committed) = (from, Vec::new());
    loop {
        let read = log.read(next, max_bytes, ReadBound::LastStable, true).unwrap();
        let Some(slice) = read.records else { return committed };
        assert!(read.next_offset > next && read.next_offset <= read.offsets.last_stable);
        let mut bytes = vec![0; slice.length];
        slice.file.read_at(&mut bytes, slice.position).unwrap();
        let mut aborted = log.aborted_transactions(next, read.next_offset).unwrap();
        aborted.sort_by_key(|aborted| std::cmp::Reverse(aborted.first_offset));
        let mut aborting = std::collections::HashSet::new();
        for batch in Batches::new(&bytes) {
            let (header, batch) = batch.unwrap();
            while let Some(begun) = aborted.pop_if(|aborted| aborted.first_offset <= header.last_offset()) {
                aborting.insert(begun.producer_id);
            }
            if header.is_control() {
                if matches!(Control::of(&header, batch), Ok(Control::End(EndMarker { commit: false, .. }))) {
                    aborting.remove(&header.producer_id);
                }
            } else if !(header.is_transactional() && aborting.contains(&header.producer_id)) {
                committed.push(batch.to_vec());
            }
        }
        next = read.next_offset;
    }
}

/// Offset and value of every record that a `read_committed` reader sees.
pub fn committed_values(log: &dyn PartitionLog, from: Offset, max_bytes: usize) -> Vec<(i64, String)> {
    let batches = committed_batches(log, from, max_bytes);
    let records = batches.iter().flat_map(|batch| values(batch));
    records.filter(|(offset, _)| *offset >= from.0).collect()
}

/// Offset and value of every record.
pub fn values(bytes: &[u8]) -> Vec<(i64, String)> {
    let mut found = Vec::new();
    for batch in Batches::new(bytes) {
        let (header, batch) = batch.unwrap();
        crate::wire::batch::check_crc(batch).unwrap();
        let section = section(batch, 1 << 24).unwrap();
        for record in Records::new(&section, header.record_count) {
            let record = record.unwrap();
            let offset = header.base_offset.0 + i64::from(record.offset_delta);
            found.push((offset, String::from_utf8(record.value.unwrap_or_default().to_vec()).unwrap()));
        }
    }
    found
}

pub fn wait<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}
