//! The topics in the bytes that a consumer tells about itself (the embedded consumer protocol).

use std::collections::BTreeSet;

use crate::wire::WireError;
use crate::wire::reader::{Format, Reader};

/// Adds the topics that a subscription names. Every version begins with what version 0 has, so that is read, whatever
/// the version says.
pub(super) fn topics(bytes: &[u8], topics: &mut BTreeSet<String>) -> Result<(), WireError> {
    let mut reader = Reader::new(bytes);
    let _version = reader.i16()?;
    let mut left = reader.array(Format::Classic, 2)?;
    while left > 0 {
        let name = reader.nullable_string_bytes(Format::Classic)?.ok_or(WireError::Invalid("null for a topic"))?;
        topics.insert(String::from_utf8_lossy(name).into_owned());
        left -= 1;
    }
    reader.nullable_bytes(Format::Classic).map(|_user_data| ())
}
