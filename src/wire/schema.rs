//! The shape of every request body, and the walk that checks bytes against it.
//!
//! `kafka-protocol`'s decoders reserve memory for whatever count they read (semantics rule 37). So the walk goes first:
//! it shows that every length and count is covered by bytes that arrived, and adds up what the decoded structures will
//! take. It is as tolerant as Kafka: bytes after the last field are ignored, tags may come in any order, whatever is not 0
//! is true. Only a string that is not UTF-8, in which Kafka replaces characters, is refused.
//!
//! The tables in the submodules are written by `scripts/request-schemas`.

mod admin;
mod data;
mod groups;
mod share;
mod transactions;

use std::ops::RangeInclusive;

use super::reader::{Format, Reader};
use super::{WireError, decoded_limit};

/// No version is flexible.
const NEVER: i16 = i16::MAX;

/// What Kafka knows of a request.
#[derive(Debug)]
pub struct Request {
    /// The API key.
    pub key: i16,
    /// The API's name.
    pub name: &'static str,
    /// The versions that Kafka serves.
    pub versions: RangeInclusive<i16>,
    first_flexible: i16,
    fields: &'static [Field],
}

impl Request {
    /// How this version writes lengths, and whether its header is v2.
    pub const fn format(&self, version: i16) -> Format {
        Format::of(version, self.first_flexible)
    }
}

const fn request(
    key: i16,
    name: &'static str,
    versions: RangeInclusive<i16>,
    first_flexible: i16,
    fields: &'static [Field],
) -> Request {
    Request { key, name, versions, first_flexible, fields }
}

/// The request with this key.
pub fn of_key(key: i16) -> Option<&'static Request> {
    BY_KEY.get(usize::try_from(key).ok()?).copied().flatten()
}

/// Requests by their key.
static BY_KEY: [Option<&Request>; 93] = {
    let mut by_key = [None; 93];
    let tables = [data::REQUESTS, groups::REQUESTS, share::REQUESTS, transactions::REQUESTS, admin::REQUESTS];
    let mut table = 0;
    while table < tables.len() {
        let mut index = 0;
        while index < tables[table].len() {
            let request = &tables[table][index];
            by_key[request.key as usize] = Some(request);
            index += 1;
        }
        table += 1;
    }
    by_key
};

/// Checks a body against its schema: what passes can be decoded without reserving more than the bytes justify.
pub fn check(key: i16, version: i16, body: &[u8]) -> Result<(), WireError> {
    let unsupported = WireError::Unsupported { key, version };
    let request = of_key(key).filter(|request| request.versions.contains(&version)).ok_or(unsupported)?;
    let format = request.format(version);
    let mut walk = Walk { version, format, reader: Reader::new(body), budget: decoded_limit(body.len()) };
    walk.fields(request.fields)
}

/// A field of a structure.
#[derive(Debug)]
struct Field {
    /// As Kafka names it.
    #[cfg_attr(not(test), expect(dead_code, reason = "names the line for who reads the table, and a failing test"))]
    name: &'static str,
    ty: Type,
    since: i16,
    until: i16,
    nullable: i16,
    tag: Option<u32>,
}

const fn field(name: &'static str, ty: Type) -> Field {
    Field { name, ty, since: 0, until: i16::MAX, nullable: NEVER, tag: None }
}

impl Field {
    const fn since(self, since: i16) -> Self {
        Self { since, ..self }
    }

    const fn until(self, until: i16) -> Self {
        Self { until, ..self }
    }

    const fn nullable(self, nullable: i16) -> Self {
        Self { nullable, ..self }
    }

    const fn tag(self, tag: u32) -> Self {
        Self { tag: Some(tag), ..self }
    }

    const fn is_in(&self, version: i16) -> bool {
        self.since <= version && version <= self.until
    }

    const fn is_nullable(&self, version: i16) -> bool {
        self.nullable <= version
    }
}

/// What a field holds.
#[derive(Debug)]
enum Type {
    /// So many bytes.
    Fixed(usize),
    String,
    /// Bytes or records.
    Bytes,
    Struct(&'static [Field]),
    Array {
        of: &'static Type,
        /// What one element takes when decoded.
        memory: usize,
    },
}

impl Type {
    const BOOL: Self = Self::Fixed(1);
    const INT8: Self = Self::Fixed(1);
    const INT16: Self = Self::Fixed(2);
    const INT32: Self = Self::Fixed(4);
    const INT64: Self = Self::Fixed(8);
    const FLOAT64: Self = Self::Fixed(8);
    const UUID: Self = Self::Fixed(16);
    const STRING: Self = Self::String;
    const BYTES: Self = Self::Bytes;

    const fn array(of: &'static Self) -> Self {
        Self::Array { of, memory: of.memory() }
    }

    /// At most so much memory does a decoded value take, itself, without what its arrays point to.
    const fn memory(&self) -> usize {
        match self {
            Self::Fixed(width) => *width,
            // A reference-counted slice of the frame.
            Self::String | Self::Bytes => 32,
            Self::Array { .. } => 24,
            Self::Struct(fields) => {
                // The map of unknown tagged fields, and the mark of a structure that may be null.
                let mut sum = 24 + 8;
                let mut index = 0;
                while index < fields.len() {
                    sum += fields[index].ty.memory();
                    index += 1;
                }
                sum.next_multiple_of(8)
            }
        }
    }
}

/// A map of tagged fields reserves room for eleven at once.
const FIRST_UNKNOWN_TAG: usize = 512;
/// Its nodes may be half empty.
const UNKNOWN_TAG: usize = 128;

/// The way through one body.
struct Walk<'a> {
    version: i16,
    format: Format,
    reader: Reader<'a>,
    /// Bytes that decoded structures may still take.
    budget: usize,
}

impl Walk<'_> {
    fn fields(&mut self, fields: &'static [Field]) -> Result<(), WireError> {
        let version = self.version;
        for field in fields.iter().filter(|field| field.tag.is_none() && field.is_in(version)) {
            self.value(&field.ty, field.is_nullable(version))?;
        }
        if self.format.is_flexible() { self.tags(fields) } else { Ok(()) }
    }

    fn value(&mut self, ty: &'static Type, nullable: bool) -> Result<(), WireError> {
        let is_null = match ty {
            Type::Fixed(width) => self.reader.take(*width).map(|_| false)?,
            Type::String => self.reader.nullable_string(self.format)?.is_none(),
            Type::Bytes => self.reader.nullable_bytes(self.format)?.is_none(),
            Type::Struct(fields) if nullable => return self.optional(fields),
            Type::Struct(fields) => return self.fields(fields),
            Type::Array { of, memory } => match self.reader.nullable_array(self.format, 1)? {
                Some(count) => return self.elements(count, of, *memory),
                None => true,
            },
        };
        if is_null && !nullable { Err(WireError::Invalid("null where it is not allowed")) } else { Ok(()) }
    }

    /// A structure behind a byte that says whether it is there.
    fn optional(&mut self, fields: &'static [Field]) -> Result<(), WireError> {
        match self.reader.i8()? {
            1 => self.fields(fields),
            -1 => Ok(()),
            _ => Err(WireError::Invalid("a structure that is neither there nor null")),
        }
    }

    fn elements(&mut self, count: usize, of: &'static Type, memory: usize) -> Result<(), WireError> {
        self.charge(count.saturating_mul(memory))?;
        if let Type::Fixed(width) = of {
            return self.reader.take(count.saturating_mul(*width)).map(|_| ());
        }
        // Each element takes a byte at least, so that a lying count ends with the bytes.
        (0..count).try_for_each(|_| self.value(of, false))
    }

    fn tags(&mut self, fields: &'static [Field]) -> Result<(), WireError> {
        let mut tags = self.reader.tags(self.format)?;
        let mut unknown = 0_usize;
        while let Some((tag, content)) = tags.next_field()? {
            let Some(field) = fields.iter().find(|field| field.tag == Some(tag)) else {
                unknown += 1;
                continue;
            };
            if !field.is_in(self.version) {
                return Err(WireError::Invalid("a tagged field that its version does not have"));
            }
            let after = std::mem::replace(&mut self.reader, Reader::new(content));
            self.value(&field.ty, field.is_nullable(self.version))?;
            let left = std::mem::replace(&mut self.reader, after).remaining();
            if left > 0 {
                return Err(WireError::Invalid("a tagged field of another size than it says"));
            }
        }
        match unknown {
            0 => Ok(()),
            unknown => self.charge(FIRST_UNKNOWN_TAG + unknown * UNKNOWN_TAG),
        }
    }

    fn charge(&mut self, memory: usize) -> Result<(), WireError> {
        self.budget = self.budget.checked_sub(memory).ok_or(super::TOO_MANY_ELEMENTS)?;
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
