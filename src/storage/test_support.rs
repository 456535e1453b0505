//! What the tests of this room share.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use bytes::BytesMut;

use crate::log::{Origin, VerificationGuard};
use crate::types::*;
use crate::wire::batch::{Batches, Compression};
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
    let mut builder = BatchBuilder::new().producer(ProducerId(producer), ProducerEpoch(epoch), Sequence(sequence));
    for value in values {
        builder.push(TimestampMs(1), None, Some(value.as_bytes()), std::iter::empty());
    }
    builder.build(Offset(0), Compression::None, 0).unwrap().unwrap()
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
