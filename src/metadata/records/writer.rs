//! Writes the flexible format's fields; the counterpart of `wire::reader` for records that are all flexible.

use bytes::{BufMut, BytesMut};
use uuid::Uuid;

/// Appends fields to a buffer.
pub(super) struct Writer<'a> {
    out: &'a mut BytesMut,
}

/// The tagged fields of a structure, in ascending order of their tags.
#[derive(Default)]
pub(super) struct TagWriter {
    fields: Vec<(u32, BytesMut)>,
}

impl<'a> Writer<'a> {
    pub(super) fn new(out: &'a mut BytesMut) -> Self {
        Self { out }
    }

    pub(super) fn unsigned_varint(&mut self, mut value: u32) {
        while value >= 0x80 {
            self.out.put_u8(value as u8 | 0x80);
            value >>= 7;
        }
        self.out.put_u8(value as u8);
    }

    pub(super) fn i8(&mut self, value: i8) {
        self.out.put_i8(value);
    }

    pub(super) fn boolean(&mut self, value: bool) {
        self.out.put_i8(i8::from(value));
    }

    pub(super) fn i16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    pub(super) fn u16(&mut self, value: u16) {
        self.out.put_u16(value);
    }

    pub(super) fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    pub(super) fn i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    pub(super) fn uuid(&mut self, value: Uuid) {
        self.out.put_slice(value.as_bytes());
    }

    /// A compact length; what metadata holds is always far below 32 bits.
    pub(super) fn length(&mut self, length: usize) {
        self.unsigned_varint(u32::try_from(length).unwrap_or(u32::MAX - 1) + 1);
    }

    pub(super) fn string(&mut self, value: &str) {
        self.length(value.len());
        self.out.put_slice(value.as_bytes());
    }

    pub(super) fn nullable_string(&mut self, value: Option<&str>) {
        match value {
            Some(value) => self.string(value),
            None => self.unsigned_varint(0),
        }
    }

    pub(super) fn array<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.length(items.len());
        for value in items {
            item(self, value);
        }
    }

    pub(super) fn raw(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    /// The end of a structure that has no tagged field set.
    pub(super) fn no_tags(&mut self) {
        self.unsigned_varint(0);
    }

    pub(super) fn tags(&mut self, tags: &TagWriter) {
        self.unsigned_varint(u32::try_from(tags.fields.len()).unwrap_or(u32::MAX));
        for (tag, content) in &tags.fields {
            self.unsigned_varint(*tag);
            self.unsigned_varint(u32::try_from(content.len()).unwrap_or(u32::MAX));
            self.raw(content);
        }
    }
}

impl TagWriter {
    /// Adds a field; tags must come in ascending order.
    pub(super) fn field(&mut self, tag: u32, content: impl FnOnce(&mut Writer<'_>)) {
        let mut bytes = BytesMut::new();
        content(&mut Writer::new(&mut bytes));
        self.fields.push((tag, bytes));
    }

    /// Adds a field where there is a value.
    pub(super) fn optional<T>(&mut self, tag: u32, value: Option<&T>, content: impl FnOnce(&mut Writer<'_>, &T)) {
        if let Some(value) = value {
            self.field(tag, |writer| content(writer, value));
        }
    }
}
