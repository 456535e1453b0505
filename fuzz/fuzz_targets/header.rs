//! The header at the front of a frame.
#![no_main]

use bytes::BytesMut;
use libfuzzer_sys::fuzz_target;
use ottla::wire::header::take_request_header;

fuzz_target!(|bytes: &[u8]| {
    let mut frame = BytesMut::from(bytes);
    if take_request_header(&mut frame).is_ok() {
        assert!(bytes.ends_with(&frame));
    }
});
