//! A stream of bytes cut into frames, arriving in pieces.
#![no_main]

use libfuzzer_sys::fuzz_target;
use ottla::server::receive::{BufferPool, Receiver};

fuzz_target!(|pieces: Vec<&[u8]>| {
    let limit = 100_000;
    let (mut receiver, pool) = (Receiver::default(), BufferPool::default());
    for mut piece in pieces {
        while !piece.is_empty() {
            match receiver.feed(&mut piece, limit, &pool) {
                Ok(Some(frame)) => assert!(frame.len() <= limit),
                Ok(None) => {}
                Err(_) => return,
            }
        }
    }
});
