//! A walk over the records of one batch, plain or decompressed, in place: what consumers would stumble over is refused.
//!
//! Every plain batch of a client comes through here, so it is written for speed: nothing is copied or allocated, and a
//! record costs about 5 ns, where a walk by the general reader costs 10. It goes by position instead of cutting slices.

// Left to itself, the compiler calls some of the steps of a record: that makes it a third slower.
#![allow(clippy::inline_always)]

/// What the rules look at in one record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct RecordView {
    /// Its timestamp minus the batch's base timestamp.
    pub timestamp_delta: i64,
    /// Whether it has a key, be it empty.
    pub has_key: bool,
}

/// Why records cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum WalkError {
    /// A length points outside of the record or of the batch, or lies below what is allowed.
    #[error("record {0} of the batch is malformed or missing")]
    Malformed(i32),
    /// The header's count is too small.
    #[error("the batch holds more than the {0} records that its header announces")]
    TooMany(i32),
}

/// Shows `visit` each of the `count` records in `records`, by its number.
pub(super) fn walk(records: &[u8], count: i32, mut visit: impl FnMut(i32, RecordView)) -> Result<(), WalkError> {
    let mut at = 0;
    for index in 0..count {
        visit(index, next(records, &mut at).ok_or(WalkError::Malformed(index))?);
    }
    if at == records.len() { Ok(()) } else { Err(WalkError::TooMany(count)) }
}

/// The record at `start`, which moves behind it.
#[inline(always)]
fn next(records: &[u8], start: &mut usize) -> Option<RecordView> {
    let mut at = *start;
    let length = length(unsigned::<5>(records, &mut at)?)?;
    let end = at.checked_add(length)?;
    let record = records.get(at..end)?;
    *start = end;
    // The first byte holds attributes, none of which is in use.
    let mut at = 1;
    let delta = unsigned::<10>(record, &mut at)?;
    let _offset_delta = unsigned::<5>(record, &mut at)?;
    let has_key = skip(record, &mut at)?;
    skip(record, &mut at)?;
    let headers = unsigned::<5>(record, &mut at)? as u32;
    if headers != 0 {
        skip_headers(record, &mut at, headers)?;
    }
    let timestamp_delta = (delta >> 1) as i64 ^ -((delta & 1) as i64);
    (at == record.len()).then_some(RecordView { timestamp_delta, has_key })
}

/// Skips headers; `count` is still in zigzag form.
#[inline(never)]
fn skip_headers(record: &[u8], at: &mut usize, count: u32) -> Option<()> {
    if count & 1 != 0 {
        return None;
    }
    for _ in 0..count >> 1 {
        if !skip(record, at)? {
            return None;
        }
        skip(record, at)?;
    }
    Some(())
}

/// Skips a field with a length before it. Answers whether it is there. A field that is too long is noticed by
/// whoever reads on behind it.
#[inline(always)]
fn skip(record: &[u8], at: &mut usize) -> Option<bool> {
    let length = length(unsigned::<5>(record, at)?);
    *at = at.saturating_add(length.unwrap_or(0));
    Some(length.is_some())
}

/// A length out of its zigzag form; `None` for one below 0, which means null.
#[inline(always)]
fn length(raw: u64) -> Option<usize> {
    let raw = raw as u32;
    (raw & 1 == 0).then_some((raw >> 1) as usize)
}

/// A little-endian base-128 number of at most `MAX` bytes.
#[inline(always)]
fn unsigned<const MAX: usize>(bytes: &[u8], at: &mut usize) -> Option<u64> {
    let first = *bytes.get(*at)?;
    *at += 1;
    if first < 0x80 {
        return Some(u64::from(first));
    }
    let second = *bytes.get(*at)?;
    *at += 1;
    let value = u64::from(first & 0x7f) | u64::from(second & 0x7f) << 7;
    if second < 0x80 { Some(value) } else { unsigned_rest::<MAX>(bytes, at, value) }
}

/// The bytes of a number after its second.
#[inline(never)]
fn unsigned_rest<const MAX: usize>(bytes: &[u8], at: &mut usize, mut value: u64) -> Option<u64> {
    for i in 2..MAX {
        let byte = *bytes.get(*at)?;
        *at += 1;
        value |= u64::from(byte & 0x7f) << (7 * i);
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::wire::records::Records;

    fn views(records: &[u8], count: i32) -> Result<Vec<RecordView>, WalkError> {
        let mut views = Vec::new();
        walk(records, count, |_, view| views.push(view)).map(|()| views)
    }

    /// Attributes 0, timestamp delta -3, offset delta 0, key "k", no value, a header "h" without value.
    const RECORD: [u8; 10] = [18, 0, 5, 0, 2, b'k', 1, 2, 2, b'h'];

    fn record() -> Vec<u8> {
        let mut record = RECORD.to_vec();
        record.push(1);
        record[0] = 20;
        record
    }

    #[test]
    fn sees_keys_and_timestamps() {
        assert_eq!(views(&record(), 1), Ok(vec![RecordView { timestamp_delta: -3, has_key: true }]));
        let null_key = [12, 0, 2, 0, 1, 1, 0];
        assert_eq!(views(&null_key, 1), Ok(vec![RecordView { timestamp_delta: 1, has_key: false }]));
        // Kafka takes any negative length for null.
        let null_key = [12, 0, 2, 0, 3, 5, 0];
        assert_eq!(views(&null_key, 1), Ok(vec![RecordView { timestamp_delta: 1, has_key: false }]));
        assert_eq!(views(&[], 0), Ok(vec![]));
    }

    #[test]
    fn counts_must_be_true() {
        let two = [record(), record()].concat();
        assert_eq!(views(&two, 2).unwrap().len(), 2);
        assert_eq!(views(&two, 1), Err(WalkError::TooMany(1)));
        assert_eq!(views(&two, 3), Err(WalkError::Malformed(2)));
    }

    #[test]
    fn lengths_must_be_true() {
        let good = record();
        for cut in 0..good.len() {
            assert_eq!(views(&good[..cut], 1), Err(WalkError::Malformed(0)), "cut at {cut}");
        }
        // Each length one larger, one smaller, negative, or huge.
        for place in [0, 4, 7, 8] {
            for bad in [good[place] + 2, good[place] - 2, 1, 0x7e] {
                let mut record = good.clone();
                record[place] = bad;
                assert!(views(&record, 1).is_err(), "{bad} at {place}");
            }
        }
        assert!(views(&[0x80, 0x80, 0x80, 0x80, 0x80, 0x80], 1).is_err());
        assert!(views(&[0xff, 0xff, 0xff, 0xff, 0x0f], 1).is_err());
    }

    proptest! {
        /// What the general reader accepts is accepted here, with the same content; it refuses lengths below -1, too.
        #[test]
        fn agrees_with_the_general_reader(
            mut bytes in proptest::collection::vec(prop_oneof![0..24_u8, any::<u8>()], 0..60),
            whole in any::<bool>(),
            count in 0..4_i32,
        ) {
            if whole {
                bytes = (0..count).flat_map(|_| record()).collect();
            }
            let general: Result<Vec<_>, _> = Records::new(&bytes, count)
                .map(|record| record.map(|record| RecordView {
                    timestamp_delta: record.timestamp_delta,
                    has_key: record.key.is_some(),
                }))
                .collect();
            let own = views(&bytes, count);
            if let Ok(general) = general {
                prop_assert_eq!(own, Ok(general));
            }
        }
    }
}
