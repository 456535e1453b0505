//! What the hand-written encoders share: lengths in both formats, and the frame around a response.

use bytes::{BufMut, BytesMut};

use super::reader::Format;

/// Bytes of the length before a frame.
pub(super) const PREFIX_LEN: usize = 4;

/// An unsigned varint.
pub(super) fn unsigned_varint(out: &mut impl BufMut, value: u32) {
    unsigned_varlong(out, u64::from(value));
}

fn unsigned_varlong(out: &mut impl BufMut, mut value: u64) {
    while value >= 0x80 {
        out.put_u8(value as u8 | 0x80);
        value >>= 7;
    }
    out.put_u8(value as u8);
}

/// A zigzag varint.
pub(super) fn varint(out: &mut impl BufMut, value: i32) {
    unsigned_varint(out, ((value << 1) ^ (value >> 31)) as u32);
}

/// A zigzag varint of 64 bits.
pub(super) fn varlong(out: &mut impl BufMut, value: i64) {
    unsigned_varlong(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// The length of an array, of bytes or of records; `None` is null.
pub(super) fn length(out: &mut impl BufMut, format: Format, length: Option<usize>) {
    // Nothing longer than a frame may be is ever encoded, so that the conversion cannot saturate.
    let length = length.map(|length| i32::try_from(length).unwrap_or(i32::MAX - 1));
    match format {
        Format::Classic => out.put_i32(length.unwrap_or(-1)),
        Format::Flexible => unsigned_varint(out, length.map_or(0, |length| length as u32 + 1)),
    }
}

/// A string; what is longer than the protocol can carry is cut at a character.
pub(super) fn string(out: &mut impl BufMut, format: Format, value: &str) {
    let value = value.get(..value.floor_char_boundary(super::reader::MAX_STRING)).unwrap_or_default();
    match format {
        Format::Classic => out.put_i16(value.len() as i16),
        Format::Flexible => unsigned_varint(out, value.len() as u32 + 1),
    }
    out.put_slice(value.as_bytes());
}

/// The end of a structure without tagged fields.
pub(super) fn no_tags(out: &mut impl BufMut, format: Format) {
    if format.is_flexible() {
        out.put_u8(0);
    }
}

/// Writes a frame's length (all of its bytes, these four included) into its first four bytes.
pub(super) fn set_frame_length(frame: &mut BytesMut, total: usize) {
    let length = i32::try_from(total.saturating_sub(PREFIX_LEN)).unwrap_or(i32::MAX);
    if let Some(prefix) = frame.first_chunk_mut::<PREFIX_LEN>() {
        *prefix = length.to_be_bytes();
    }
}
