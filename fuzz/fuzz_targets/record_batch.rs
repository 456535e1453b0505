//! Batches, and the records in them, compressed or not.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ottla::types::{LeaderEpoch, Offset, TimestampMs};
use ottla::wire::batch::{self, Batches, Compression};
use ottla::wire::{compression, records};

const LIMIT: usize = 1 << 16;

fuzz_target!(|input: &[u8]| {
    for (header, batch) in Batches::new(input).flatten() {
        let _ = batch::check_crc(batch);
        if let Ok(section) = records::section(batch, LIMIT) {
            assert!(section.len() <= LIMIT);
            for record in records::Records::new(&section, header.record_count).flatten() {
                assert_eq!(record.headers.len(), record.headers.count());
            }
        }
    }
    let mut patched = input.to_vec();
    batch::assign_offset(&mut patched, Offset(1), LeaderEpoch(1));
    batch::set_log_append_time(&mut patched, TimestampMs(1));
    // The codecs without a batch's head in the way.
    for codec in [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd] {
        if let Ok(out) = compression::decompress(codec, input, LIMIT) {
            assert!(out.len() <= LIMIT);
        }
    }
});
