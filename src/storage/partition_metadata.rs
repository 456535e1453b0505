//! `partition.metadata`: which topic, by id, a partition's folder belongs to.

use uuid::Uuid;

use super::checkpoint::Malformed;
use crate::types::TopicId;

/// Encodes the file; Kafka ends it without a newline.
pub fn encode(topic: TopicId) -> Vec<u8> {
    format!("version: 0\ntopic_id: {topic}").into_bytes()
}

/// Reads the file.
pub fn decode(bytes: &[u8]) -> Result<TopicId, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|error| Malformed(error.to_string()))?;
    let mut lines = text.lines();
    let version = field(lines.next(), "version")?;
    if version != "0" {
        return Err(Malformed(format!("version {version:?} is not known, only 0 is")));
    }
    let id = field(lines.next(), "topic_id")?;
    match parse_uuid(id).map(TopicId) {
        Some(topic) if topic != TopicId::ZERO => Ok(topic),
        _ => Err(Malformed(format!("{id:?} is no topic id"))),
    }
}

/// Reads an id as Kafka prints it: URL-safe base64 without padding, 22 digits.
pub(super) fn parse_uuid(text: &str) -> Option<Uuid> {
    if text.len() != 22 {
        return None;
    }
    let mut bits = 0_u128;
    let mut last = 0;
    for digit in text.bytes() {
        let value = match digit {
            b'A'..=b'Z' => digit - b'A',
            b'a'..=b'z' => digit - b'a' + 26,
            b'0'..=b'9' => digit - b'0' + 52,
            b'-' => 62,
            b'_' => 63,
            _ => return None,
        };
        bits = bits << 6 | u128::from(last);
        last = value;
    }
    // 21 digits hold 126 bits; the last digit carries 2 more and 4 of padding.
    Some(Uuid::from_u128(bits << 2 | u128::from(last >> 4)))
}

fn field<'a>(line: Option<&'a str>, name: &str) -> Result<&'a str, Malformed> {
    let value = line.and_then(|line| line.split_once(':')).filter(|(found, _)| *found == name);
    value.map(|(_, value)| value.trim()).ok_or_else(|| Malformed(format!("the line {name:?} is missing")))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_file_is_kafkas() {
        let file = b"version: 0\ntopic_id: 7gwkVh_nSNC5AMtmdLATFA";
        let topic = decode(file).unwrap();
        assert_eq!(encode(topic), file);
    }

    #[test]
    fn damage_is_found() {
        for bad in [
            "",
            "version: 1\ntopic_id: 7gwkVh_nSNC5AMtmdLATFA",
            "version: 0\n",
            "version: 0\ntopic_id: 7gwkVh_nSNC5AMtmdLATF",
            "version: 0\ntopic_id: 7gwkVh/nSNC5AMtmdLATFA",
            "version: 0\ntopic_id: AAAAAAAAAAAAAAAAAAAAAA",
        ] {
            assert!(decode(bad.as_bytes()).is_err(), "{bad:?}");
        }
    }

    proptest! {
        #[test]
        fn any_id_is_read_back(bits in 1..u128::MAX) {
            let topic = TopicId(Uuid::from_u128(bits));
            prop_assert_eq!(decode(&encode(topic)), Ok(topic));
        }
    }
}
