//! DescribeLogDirs v5, which adds `IsCordoned` (KIP-1066) to what `kafka-protocol` can encode.

use bytes::{BufMut, Bytes};
use kafka_protocol::messages::{ApiKey, DescribeLogDirsResponse};
use kafka_protocol::protocol::Encodable;

use super::message::{encode_response, finish_response, start_response};
use super::reader::Format;
use super::{WireError, writer};

/// The newest version that the crate encodes.
const CRATE_VERSION: i16 = 4;

/// Encodes a whole response frame (v1-v5). No directory is ever cordoned here.
pub fn encode(version: i16, correlation_id: i32, response: &DescribeLogDirsResponse) -> Result<Bytes, WireError> {
    if version <= CRATE_VERSION {
        return encode_response(ApiKey::DescribeLogDirs, version, correlation_id, response);
    }
    let refused = |_| WireError::Invalid("a response field that its version cannot carry");
    let size = response.compute_size(CRATE_VERSION).map_err(refused)?;
    let mut frame = start_response(ApiKey::DescribeLogDirs, version, correlation_id, size + response.results.len());
    frame.put_i32(response.throttle_time_ms);
    frame.put_i16(response.error_code);
    writer::length(&mut frame, Format::Flexible, Some(response.results.len()));
    for result in &response.results {
        result.encode(&mut frame, CRATE_VERSION).map_err(refused)?;
        // Version 4 ends with the count of tagged fields, none; version 5 has its new field before them.
        frame.truncate(frame.len() - 1);
        frame.put_slice(&[0, 0]);
    }
    writer::no_tags(&mut frame, Format::Flexible);
    Ok(finish_response(frame))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kafka_protocol::messages::describe_log_dirs_response::DescribeLogDirsResult;
    use kafka_protocol::protocol::StrBytes;

    use super::*;

    #[test]
    fn version_5_has_one_more_field() {
        let result = DescribeLogDirsResult::default()
            .with_log_dir(StrBytes::from_static_str("/d"))
            .with_total_bytes(1)
            .with_usable_bytes(2);
        let response = DescribeLogDirsResponse::default().with_results(vec![result]);
        let fields = [
            &[0, 0, 0, 9, 0][..],
            &[0, 0, 0, 0, 0, 0, 2],
            &[0, 0, 3, b'/', b'd', 1],
            &[0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 2],
        ]
        .concat();
        let v4 = encode(4, 9, &response).unwrap();
        assert_eq!(v4[4..], [&fields[..], &[0, 0]].concat());
        let v5 = encode(5, 9, &response).unwrap();
        assert_eq!(v5[4..], [&fields[..], &[0, 0, 0]].concat());
        assert_eq!(v5[..4], [0, 0, 0, (v5.len() - 4) as u8]);
    }
}
