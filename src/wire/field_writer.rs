//! Writes the fields of records, in either format; the counterpart of `wire::reader`.

use bytes::{BufMut, BytesMut};
use uuid::Uuid;

use super::reader::Format;
use super::writer;

/// Appends fields to a buffer.
pub(crate) struct Writer<'a> {
    out: &'a mut BytesMut,
    format: Format,
}

/// The tagged fields of a structure, in ascending order of their tags.
#[derive(Default)]
pub(crate) struct TagWriter {
    fields: Vec<(u32, BytesMut)>,
}

impl<'a> Writer<'a> {
    /// Writes the flexible format.
    pub(crate) fn new(out: &'a mut BytesMut) -> Self {
        Self { out, format: Format::Flexible }
    }

    /// Writes the format before KIP-482.
    pub(crate) fn classic(out: &'a mut BytesMut) -> Self {
        Self { out, format: Format::Classic }
    }

    pub(crate) fn unsigned_varint(&mut self, value: u32) {
        writer::unsigned_varint(self.out, value);
    }

    pub(crate) fn i8(&mut self, value: i8) {
        self.out.put_i8(value);
    }

    pub(crate) fn boolean(&mut self, value: bool) {
        self.out.put_i8(i8::from(value));
    }

    pub(crate) fn i16(&mut self, value: i16) {
        self.out.put_i16(value);
    }

    pub(crate) fn u16(&mut self, value: u16) {
        self.out.put_u16(value);
    }

    pub(crate) fn i32(&mut self, value: i32) {
        self.out.put_i32(value);
    }

    pub(crate) fn i64(&mut self, value: i64) {
        self.out.put_i64(value);
    }

    pub(crate) fn uuid(&mut self, value: Uuid) {
        self.out.put_slice(value.as_bytes());
    }

    pub(crate) fn length(&mut self, length: usize) {
        writer::length(self.out, self.format, Some(length));
    }

    pub(crate) fn string(&mut self, value: &str) {
        writer::string(self.out, self.format, value);
    }

    pub(crate) fn nullable_string(&mut self, value: Option<&str>) {
        match (value, self.format) {
            (Some(value), _) => self.string(value),
            (None, Format::Flexible) => self.unsigned_varint(0),
            (None, Format::Classic) => self.i16(-1),
        }
    }

    pub(crate) fn bytes(&mut self, value: &[u8]) {
        self.length(value.len());
        self.raw(value);
    }

    pub(crate) fn array<T>(&mut self, items: &[T], mut item: impl FnMut(&mut Self, &T)) {
        self.length(items.len());
        for value in items {
            item(self, value);
        }
    }

    /// An array that is null.
    pub(crate) fn null_array(&mut self) {
        writer::length(self.out, self.format, None);
    }

    pub(crate) fn raw(&mut self, bytes: &[u8]) {
        self.out.put_slice(bytes);
    }

    /// The end of a structure that has no tagged field set.
    pub(crate) fn no_tags(&mut self) {
        writer::no_tags(self.out, self.format);
    }

    pub(crate) fn tags(&mut self, tags: &TagWriter) {
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
    pub(crate) fn field(&mut self, tag: u32, content: impl FnOnce(&mut Writer<'_>)) {
        let mut bytes = BytesMut::new();
        content(&mut Writer::new(&mut bytes));
        self.fields.push((tag, bytes));
    }

    /// Adds a field where there is a value.
    pub(crate) fn optional<T>(&mut self, tag: u32, value: Option<&T>, content: impl FnOnce(&mut Writer<'_>, &T)) {
        if let Some(value) = value {
            self.field(tag, |writer| content(writer, value));
        }
    }
}
