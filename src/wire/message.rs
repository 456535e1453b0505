//! The guarded way to `kafka-protocol`'s generated messages (semantics rule 37).

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable};

use super::WireError;

/// Decodes a request body, after [`super::schema`] has shown that every length and count in it fits the bytes.
pub fn decode_request<T: Decodable>(_api: ApiKey, _version: i16, _body: Bytes) -> Result<T, WireError> {
    todo!()
}

/// Encodes a whole response frame: length, header (of the version that key and version imply), body.
pub fn encode_response<T: Encodable>(
    _api: ApiKey,
    _version: i16,
    _correlation_id: i32,
    _body: &T,
) -> Result<Bytes, WireError> {
    todo!()
}
