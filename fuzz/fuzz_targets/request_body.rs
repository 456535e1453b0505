//! Every request body: what the walk lets pass, the crate must decode.
#![no_main]

use bytes::{Bytes, BytesMut};
use libfuzzer_sys::fuzz_target;
use ottla::wire::{produce, schema};

#[path = "../../src/wire/schema/tests/coded.rs"]
#[allow(dead_code)]
mod coded;

fuzz_target!(|input: &[u8]| {
    let [key, version, body @ ..] = input else { return };
    let (key, version) = (i16::from(*key), i16::from(*version));
    if schema::check(key, version, body).is_ok()
        && let Some(coded) = coded::CODED.iter().find(|coded| coded.api as i16 == key)
        && version <= coded.versions.max
    {
        (coded.decode)(version, Bytes::copy_from_slice(body)).unwrap();
    }
    if key == 0 {
        let _ = produce::decode(version, BytesMut::from(body));
    }
});
