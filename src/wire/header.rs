//! Request and response headers, all versions.

use bytes::{Buf, BytesMut};

use super::reader::{Format, Reader};
use super::{WireError, schema};

/// The one API that is answered whatever its version.
const API_VERSIONS: i16 = 18;

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
/// or v2 so that it can be answered (semantics rule 35). Whether a version is served is for the caller to decide.
/// Never panics, whatever the bytes.
pub fn take_request_header(frame: &mut BytesMut) -> Result<RequestHeader, WireError> {
    let mut reader = Reader::new(frame);
    let api_key = reader.i16()?;
    let api_version = reader.i16()?;
    let unsupported = WireError::Unsupported { key: api_key, version: api_version };
    let api = schema::of_key(api_key).ok_or(unsupported)?;
    let correlation_id = reader.i32()?;
    // The client id kept its classic length in header v2, so that v1 and v2 begin alike. Kafka replaces what is not
    // UTF-8 here: the name is only for logs and quotas.
    let client_id =
        reader.nullable_string_bytes(Format::Classic)?.map(|id| String::from_utf8_lossy(id).into_owned().into());
    // Header v2 came with the flexible versions.
    if let Err(error) = reader.skip_tags(api.format(api_version)) {
        // A version from the future may end its header otherwise; it is answered without reading its body.
        if api_key != API_VERSIONS || api.versions.contains(&api_version) {
            return Err(error);
        }
    }
    let end = reader.position();
    frame.advance(end);
    Ok(RequestHeader { api_key, api_version, correlation_id, client_id })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn header(bytes: &[u8]) -> (Result<RequestHeader, WireError>, BytesMut) {
        let mut frame = BytesMut::from(bytes);
        (take_request_header(&mut frame), frame)
    }

    #[test]
    fn the_body_is_what_follows_the_header() {
        // Metadata v8 has header v1, Metadata v9 header v2.
        let (v1, body) = header(&[0, 3, 0, 8, 0, 0, 0, 7, 0, 2, b'm', b'e', 9, 9]);
        let expected = RequestHeader { api_key: 3, api_version: 8, correlation_id: 7, client_id: Some("me".into()) };
        assert_eq!(v1, Ok(expected.clone()));
        assert_eq!(&body[..], [9, 9]);
        let (v2, body) = header(&[0, 3, 0, 9, 0, 0, 0, 7, 0, 2, b'm', b'e', 1, 5, 1, 0, 9, 9]);
        assert_eq!(v2, Ok(RequestHeader { api_version: 9, ..expected }));
        assert_eq!(&body[..], [9, 9]);
    }

    #[test]
    fn a_null_client_id_is_none() {
        let (parsed, _) = header(&[0, 18, 0, 0, 0, 0, 0, 7, 0xff, 0xff]);
        assert_eq!(parsed.unwrap().client_id, None);
    }

    #[test]
    fn short_frames_and_unknown_keys_are_errors() {
        assert_eq!(header(&[]).0, Err(WireError::Truncated));
        assert_eq!(header(&[0]).0, Err(WireError::Truncated));
        assert_eq!(header(&[0, 3, 0, 9, 0, 0, 0, 7, 0, 2, b'm']).0, Err(WireError::Truncated));
        assert_eq!(header(&[0, 3, 0, 9, 0, 0, 0, 7, 0, 0, 4, 0]).0, Err(WireError::Truncated));
        let unknown = WireError::Unsupported { key: 999, version: 1 };
        assert_eq!(header(&[3, 231, 0, 1, 0, 0, 0, 7, 0xff, 0xff]).0, Err(unknown));
    }

    #[test]
    fn api_versions_from_the_future_is_readable() {
        for tail in [&[][..], &[0], &[0xff, 0xff], &[3, 2, 1]] {
            let mut bytes = vec![0, 18, 0, 99, 0, 0, 0, 7, 0, 1, b'x'];
            bytes.extend_from_slice(tail);
            let parsed = header(&bytes).0.unwrap();
            assert_eq!((parsed.api_version, parsed.correlation_id), (99, 7));
        }
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(mut bytes: Vec<u8>, key in 0_u8..100) {
            let _ = header(&bytes);
            if bytes.len() > 3 {
                bytes[0] = 0;
                bytes[1] = key;
                bytes[2] = 0;
                let _ = header(&bytes);
            }
        }
    }
}
