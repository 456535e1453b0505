//! The guarded way to `kafka-protocol`'s generated messages (semantics rule 37).

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};

use super::reader::Format;
use super::writer::PREFIX_LEN;
use super::{WireError, schema, writer};

/// A text for a message.
pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// The version that the crate codes where Kafka counted on without a change of shape.
///
/// ListOffsets v11 (KIP-1023) only gave a timestamp a meaning; DescribeLogDirs v5 changed its response alone
/// ([`super::describe_log_dirs`]).
pub(super) const fn crate_version(api: ApiKey, version: i16) -> i16 {
    match (api, version) {
        (ApiKey::ListOffsets, 11) => 10,
        (ApiKey::DescribeLogDirs, 5) => 4,
        _ => version,
    }
}

/// Decodes a request body, after [`super::schema`] has shown that every length and count in it fits the bytes.
pub fn decode_request<T: Decodable>(api: ApiKey, version: i16, mut body: Bytes) -> Result<T, WireError> {
    schema::check(api as i16, version, &body)?;
    T::decode(&mut body, crate_version(api, version))
        .map_err(|_| WireError::Invalid("a field that its version does not allow"))
}

/// Encodes a whole response frame: length, header (of the version that key and version imply), body.
pub fn encode_response<T: Encodable>(
    api: ApiKey,
    version: i16,
    correlation_id: i32,
    body: &T,
) -> Result<Bytes, WireError> {
    let version = crate_version(api, version);
    // The crate refuses a field that is set to something that the version cannot carry.
    let refused = |_| WireError::Invalid("a response field that its version cannot carry");
    let size = body.compute_size(version).map_err(refused)?;
    let mut frame = start_response(api, version, correlation_id, size);
    body.encode(&mut frame, version).map_err(refused)?;
    Ok(finish_response(frame))
}

/// A response frame up to its body, with room for the body.
pub(super) fn start_response(api: ApiKey, version: i16, correlation_id: i32, body: usize) -> BytesMut {
    let mut frame = BytesMut::with_capacity(PREFIX_LEN + 5 + body);
    frame.put_i32(0);
    frame.put_i32(correlation_id);
    // Response header v1 has tagged fields; ApiVersions always has v0, which every client can read (KIP-511).
    writer::no_tags(&mut frame, Format::of(api.response_header_version(version), 1));
    frame
}

/// The frame, with its length written.
pub(super) fn finish_response(mut frame: BytesMut) -> Bytes {
    let total = frame.len();
    writer::set_frame_length(&mut frame, total);
    frame.freeze()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use kafka_protocol::messages::{ApiVersionsResponse, HeartbeatResponse, ListOffsetsRequest, MetadataRequest};

    #[test]
    fn responses_carry_length_header_and_body() {
        let body = HeartbeatResponse::default().with_error_code(27);
        let v3 = encode_response(ApiKey::Heartbeat, 3, 7, &body).unwrap();
        assert_eq!(&v3[..], [0, 0, 0, 10, 0, 0, 0, 7, 0, 0, 0, 0, 0, 27]);
        let v4 = encode_response(ApiKey::Heartbeat, 4, 7, &body).unwrap();
        assert_eq!(&v4[..], [0, 0, 0, 12, 0, 0, 0, 7, 0, 0, 0, 0, 0, 0, 27, 0]);
    }

    #[test]
    fn api_versions_responses_have_header_v0() {
        let body = ApiVersionsResponse::default().with_error_code(35);
        let v0 = encode_response(ApiKey::ApiVersions, 0, 7, &body).unwrap();
        assert_eq!(&v0[..], [0, 0, 0, 10, 0, 0, 0, 7, 0, 35, 0, 0, 0, 0]);
        let v3 = encode_response(ApiKey::ApiVersions, 3, 7, &body).unwrap();
        assert_eq!(&v3[4..11], [0, 0, 0, 7, 0, 35, 1]);
    }

    #[test]
    fn a_field_that_the_version_lacks_is_an_error_not_a_loss() {
        let body = HeartbeatResponse::default().with_throttle_time_ms(1);
        assert!(encode_response(ApiKey::Heartbeat, 99, 7, &body).is_err());
    }

    #[test]
    fn requests_decode() {
        let body = Bytes::from_static(&[0, 0, 0, 1, 0, 1, b't']);
        let request: MetadataRequest = decode_request(ApiKey::Metadata, 1, body).unwrap();
        assert_eq!(request.topics.unwrap()[0].name.as_deref().map(StrBytes::as_str), Some("t"));
        let mut v10 = BytesMut::new();
        ListOffsetsRequest::default().with_timeout_ms(9).encode(&mut v10, 10).unwrap();
        let request: ListOffsetsRequest = decode_request(ApiKey::ListOffsets, 11, v10.freeze()).unwrap();
        assert_eq!(request.timeout_ms, 9);
    }
}
