//! A stream of bytes cut into frames.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use ottla::wire::frame;

fuzz_target!(|bytes: &[u8]| {
    let limit = 1000;
    let mut received = BytesMut::from(bytes);
    while let Ok(Some(frame)) = frame::take(&mut received, limit) {
        assert!(frame.len() <= limit);
    }
});
