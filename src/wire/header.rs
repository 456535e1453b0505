//! Request and response headers, all versions.

use bytes::BytesMut;

use super::WireError;

/// A decoded request header.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestHeader {
    /// Which API.
    pub api_key: i16,
    /// Which version of it.
    pub api_version: i16,
    /// The client's number for the request, returned in the response.
    pub correlation_id: i32,
    /// What the client calls itself.
    pub client_id: Option<Box<str>>,
}

/// Takes the header off the front of a frame (length prefix already removed); the body stays in `frame`.
///
/// The header's version follows from key and version; ApiVersions of an unknown version is read as header v1
/// so that it can be answered (semantics rule 35). Never panics, whatever the bytes.
pub fn take_request_header(_frame: &mut BytesMut) -> Result<RequestHeader, WireError> {
    todo!()
}
