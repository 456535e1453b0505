//! A bounded reader over received bytes: every length is checked against what is left before anything is taken.
//!
//! Nothing here allocates and nothing panics. What it returns borrows from the bytes that it reads.

use super::WireError;

/// How lengths are written: KIP-482 made them varints, one more than the length, and added tagged fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// 16-bit string lengths, 32-bit counts, no tagged fields.
    Classic,
    /// Compact lengths and counts, tagged fields at the end of every structure.
    Flexible,
}

impl Format {
    /// The format of a message version, given the first flexible one.
    pub const fn of(version: i16, first_flexible: i16) -> Self {
        if version >= first_flexible { Self::Flexible } else { Self::Classic }
    }

    /// Whether structures end with tagged fields.
    pub const fn is_flexible(self) -> bool {
        matches!(self, Self::Flexible)
    }
}

/// The longest string that the protocol can carry, in either format.
pub const MAX_STRING: usize = i16::MAX as usize;

/// Reads fields from the front of a slice.
#[derive(Clone, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
    total: usize,
}

impl<'a> Reader<'a> {
    /// A reader at the front of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, total: bytes.len() }
    }

    /// Bytes not yet read.
    pub const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Bytes read so far.
    pub const fn position(&self) -> usize {
        self.total - self.rest.len()
    }

    /// Whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Takes the next `len` bytes.
    pub fn take(&mut self, len: usize) -> Result<&'a [u8], WireError> {
        let (taken, rest) = self.rest.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(taken)
    }

    fn fixed<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// An 8-bit integer.
    pub fn i8(&mut self) -> Result<i8, WireError> {
        Ok(i8::from_be_bytes(self.fixed()?))
    }

    /// A boolean: as in Kafka, whatever is not 0 is true.
    pub fn boolean(&mut self) -> Result<bool, WireError> {
        Ok(self.i8()? != 0)
    }

    /// A 16-bit integer.
    pub fn i16(&mut self) -> Result<i16, WireError> {
        Ok(i16::from_be_bytes(self.fixed()?))
    }

    /// A 32-bit integer.
    pub fn i32(&mut self) -> Result<i32, WireError> {
        Ok(i32::from_be_bytes(self.fixed()?))
    }

    /// An unsigned 32-bit integer.
    pub fn u32(&mut self) -> Result<u32, WireError> {
        Ok(u32::from_be_bytes(self.fixed()?))
    }

    /// A 64-bit integer.
    pub fn i64(&mut self) -> Result<i64, WireError> {
        Ok(i64::from_be_bytes(self.fixed()?))
    }

    /// A UUID.
    pub fn uuid(&mut self) -> Result<uuid::Uuid, WireError> {
        Ok(uuid::Uuid::from_bytes(self.fixed()?))
    }

    /// An unsigned varint of at most 32 bits.
    pub fn unsigned_varint(&mut self) -> Result<u32, WireError> {
        let value = self.base128(5)?;
        u32::try_from(value).map_err(|_| WireError::Invalid("a varint of more than 32 bits"))
    }

    /// A zigzag varint of 32 bits (record fields).
    pub fn varint(&mut self) -> Result<i32, WireError> {
        let raw = self.unsigned_varint()?;
        Ok((raw >> 1) as i32 ^ -((raw & 1) as i32))
    }

    /// A zigzag varint of 64 bits (record fields).
    pub fn varlong(&mut self) -> Result<i64, WireError> {
        let raw = self.base128(10)?;
        Ok((raw >> 1) as i64 ^ -((raw & 1) as i64))
    }

    /// Seven bits a byte, lowest first, in at most `max_bytes`.
    fn base128(&mut self, max_bytes: u32) -> Result<u64, WireError> {
        let mut value = 0_u64;
        for index in 0..max_bytes {
            let byte = self.fixed::<1>()?[0];
            let bits = u64::from(byte & 0x7f);
            let shift = index * 7;
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(WireError::Invalid("an overlong varint"))
    }

    /// The length of a string, or `None` for null.
    fn string_length(&mut self, format: Format) -> Result<Option<usize>, WireError> {
        let length = match format {
            Format::Classic => i32::from(self.i16()?),
            Format::Flexible => self.compact_length()?,
        };
        match usize::try_from(length) {
            Ok(length) if length > MAX_STRING => Err(WireError::Invalid("a string of more than 32767 bytes")),
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(WireError::Invalid("a negative string length")),
        }
    }

    /// A compact length, with -1 for null.
    fn compact_length(&mut self) -> Result<i32, WireError> {
        let raw = self.unsigned_varint()?;
        i32::try_from(i64::from(raw) - 1).map_err(|_| WireError::Invalid("a length of more than 31 bits"))
    }

    /// A string that may be null.
    pub fn nullable_string(&mut self, format: Format) -> Result<Option<&'a str>, WireError> {
        let Some(bytes) = self.nullable_string_bytes(format)? else { return Ok(None) };
        std::str::from_utf8(bytes).map(Some).map_err(|_| WireError::Invalid("a string that is not UTF-8"))
    }

    /// A string that may be null, not checked to be UTF-8.
    pub fn nullable_string_bytes(&mut self, format: Format) -> Result<Option<&'a [u8]>, WireError> {
        self.string_length(format)?.map(|length| self.take(length)).transpose()
    }

    /// A string.
    pub fn string(&mut self, format: Format) -> Result<&'a str, WireError> {
        self.nullable_string(format)?.ok_or(WireError::Invalid("null for a string that must be there"))
    }

    /// The length of a byte field that may be null; it is no longer than what is left.
    pub fn nullable_bytes_length(&mut self, format: Format) -> Result<Option<usize>, WireError> {
        let length = match format {
            Format::Classic => self.i32()?,
            Format::Flexible => self.compact_length()?,
        };
        match usize::try_from(length) {
            Ok(length) if length > self.remaining() => Err(WireError::Truncated),
            Ok(length) => Ok(Some(length)),
            Err(_) if length == -1 => Ok(None),
            Err(_) => Err(WireError::Invalid("a negative length")),
        }
    }

    /// Bytes that may be null.
    pub fn nullable_bytes(&mut self, format: Format) -> Result<Option<&'a [u8]>, WireError> {
        self.nullable_bytes_length(format)?.map(|length| self.take(length)).transpose()
    }

    /// Bytes.
    pub fn bytes(&mut self, format: Format) -> Result<&'a [u8], WireError> {
        self.nullable_bytes(format)?.ok_or(WireError::Invalid("null for bytes that must be there"))
    }

    /// An array's count, or `None` for null: so many elements of at least `min_element` bytes fit into what is left.
    pub fn nullable_array(&mut self, format: Format, min_element: usize) -> Result<Option<usize>, WireError> {
        let count = self.nullable_bytes_length(format)?;
        match count {
            Some(count) if count.saturating_mul(min_element.max(1)) > self.remaining() => Err(WireError::Truncated),
            count => Ok(count),
        }
    }

    /// An array's count: so many elements of at least `min_element` bytes fit into what is left.
    pub fn array(&mut self, format: Format, min_element: usize) -> Result<usize, WireError> {
        self.nullable_array(format, min_element)?.ok_or(WireError::Invalid("null for an array that must be there"))
    }

    /// The tagged fields at the end of a structure; nothing in the classic format.
    pub fn tags(&mut self, format: Format) -> Result<Tags<'a>, WireError> {
        let mut fields = self.clone();
        let count = if format.is_flexible() { fields.unsigned_varint()? as usize } else { 0 };
        // A tag and a size are a byte each at least.
        if count.saturating_mul(2) > fields.remaining() {
            return Err(WireError::Truncated);
        }
        let tags = Tags { fields, left: count };
        let mut end = tags.clone();
        while end.next_field()?.is_some() {}
        *self = end.fields;
        Ok(tags)
    }

    /// Skips the tagged fields of a structure of which none is known.
    pub fn skip_tags(&mut self, format: Format) -> Result<(), WireError> {
        self.tags(format).map(|_| ())
    }
}

/// Tagged fields, already known to be whole. They should ascend (KIP-482), but Kafka takes them in any order.
#[derive(Clone, Debug)]
pub struct Tags<'a> {
    fields: Reader<'a>,
    left: usize,
}

impl<'a> Tags<'a> {
    /// The next tag and its content.
    pub fn next_field(&mut self) -> Result<Option<(u32, &'a [u8])>, WireError> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        let tag = self.fields.unsigned_varint()?;
        let size = self.fields.unsigned_varint()? as usize;
        let content = self.fields.take(size)?;
        self.left = left;
        Ok(Some((tag, content)))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn integers_are_big_endian_and_never_read_past_the_end() {
        let mut reader = Reader::new(&[0xff, 0xfe, 0, 0, 1, 0, 9]);
        assert_eq!(reader.i16(), Ok(-2));
        assert_eq!(reader.i32(), Ok(256));
        assert_eq!(reader.position(), 6);
        assert_eq!(reader.i16(), Err(WireError::Truncated));
        assert_eq!(reader.i8(), Ok(9));
        assert!(reader.is_empty());
    }

    #[test]
    fn lengths_beyond_the_bytes_are_refused() {
        assert_eq!(Reader::new(&[0, 5, b'a']).string(Format::Classic), Err(WireError::Truncated));
        assert_eq!(Reader::new(&[6, b'a']).string(Format::Flexible), Err(WireError::Truncated));
        assert_eq!(Reader::new(&[0x7f, 0xff, 0xff, 0xff]).bytes(Format::Classic), Err(WireError::Truncated));
        assert_eq!(Reader::new(&[0x7f, 0xff, 0xff, 0xff]).array(Format::Classic, 4), Err(WireError::Truncated));
        assert_eq!(Reader::new(&[0, 0, 0, 2, 0, 0, 0, 0]).array(Format::Classic, 4), Err(WireError::Truncated));
        assert_eq!(Reader::new(&[0, 0, 0, 1, 0, 0, 0, 0]).array(Format::Classic, 4), Ok(1));
    }

    #[test]
    fn null_is_minus_one_or_a_compact_zero_and_nothing_else() {
        assert_eq!(Reader::new(&[0xff, 0xff]).nullable_string(Format::Classic), Ok(None));
        assert_eq!(Reader::new(&[0]).nullable_string(Format::Flexible), Ok(None));
        assert!(Reader::new(&[0xff, 0xfe]).nullable_string(Format::Classic).is_err());
        assert!(Reader::new(&[0xff, 0xff]).string(Format::Classic).is_err());
        assert!(Reader::new(&[0]).array(Format::Flexible, 1).is_err());
    }

    #[test]
    fn overlong_varints_are_refused() {
        assert_eq!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x0f]).unsigned_varint(), Ok(u32::MAX));
        assert!(Reader::new(&[0xff, 0xff, 0xff, 0xff, 0x1f]).unsigned_varint().is_err());
        assert!(Reader::new(&[0x80, 0x80, 0x80, 0x80, 0x80, 0]).unsigned_varint().is_err());
        assert_eq!(Reader::new(&[0x80]).unsigned_varint(), Err(WireError::Truncated));
        let longest = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        assert_eq!(Reader::new(&longest).varlong(), Ok(i64::MIN));
        assert!(Reader::new(&[0xff; 11]).varlong().is_err());
    }

    #[test]
    fn tagged_fields_fit() {
        let mut reader = Reader::new(&[2, 0, 1, 7, 3, 0, 42]);
        let mut tags = reader.tags(Format::Flexible).unwrap();
        assert_eq!(tags.next_field(), Ok(Some((0, &[7_u8][..]))));
        assert_eq!(tags.next_field(), Ok(Some((3, &[][..]))));
        assert_eq!(tags.next_field(), Ok(None));
        assert_eq!(reader.i8(), Ok(42));
        assert!(Reader::new(&[2, 3, 0, 0, 0]).skip_tags(Format::Flexible).is_ok());
        assert!(Reader::new(&[1, 0, 9]).skip_tags(Format::Flexible).is_err());
        assert!(Reader::new(&[200, 1, 0, 0]).skip_tags(Format::Flexible).is_err());
        assert!(Reader::new(&[]).skip_tags(Format::Classic).is_ok());
    }

    proptest! {
        #[test]
        fn varints_read_back(value: i64) {
            let mut bytes = Vec::new();
            let mut raw = ((value << 1) ^ (value >> 63)) as u64;
            while raw >= 0x80 {
                bytes.push(raw as u8 | 0x80);
                raw >>= 7;
            }
            bytes.push(raw as u8);
            prop_assert_eq!(Reader::new(&bytes).varlong(), Ok(value));
            let narrow = Reader::new(&bytes).varint();
            prop_assert_eq!(narrow.ok(), i32::try_from(value).ok());
        }
    }
}
