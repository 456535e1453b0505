//! Which names a topic may have, and which topics are Kafka's own.

/// The longest name: a partition's folder name must still fit the file system with its number and suffix.
const MAX_LENGTH: usize = 249;

/// The metadata log itself, which is no topic that clients may create.
pub const CLUSTER_METADATA: &str = "__cluster_metadata";

/// Groups and committed offsets.
pub const CONSUMER_OFFSETS: &str = "__consumer_offsets";

/// Transactional ids and what their transactions have touched.
pub const TRANSACTION_STATE: &str = "__transaction_state";

/// Topics that brokers use for themselves.
const INTERNAL: [&str; 3] = [CONSUMER_OFFSETS, TRANSACTION_STATE, "__share_group_state"];

/// Checks a name; the error is a sentence as Kafka words it.
pub fn validate(name: &str) -> Result<(), String> {
    const WHAT: &str = "Topic name is invalid:";
    let legal = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    match name {
        "" => Err(format!("{WHAT} the empty string is not allowed")),
        "." | ".." => Err(format!("{WHAT} '{name}' is not allowed")),
        // Java counts UTF-16 units, and checks the length before the characters.
        name if name.encode_utf16().count() > MAX_LENGTH => {
            Err(format!("{WHAT} the length of '{name}' is longer than the max allowed length {MAX_LENGTH}"))
        }
        name if !name.bytes().all(legal) => Err(format!(
            "{WHAT} '{name}' contains one or more characters other than ASCII alphanumerics, '.', '_' and '-'"
        )),
        _ => Ok(()),
    }
}

/// Whether brokers use the topic for themselves.
pub fn is_internal(name: &str) -> bool {
    INTERNAL.contains(&name)
}

/// The name in metrics, where '.' becomes '_'; `None` for a name that holds neither and so can collide with none.
pub fn metric_name(name: &str) -> Option<String> {
    name.contains(['.', '_']).then(|| name.replace('.', "_"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_checked_as_kafka_does() {
        for good in ["a", "A-b_c.9", "...", "__consumer_offsets", &"x".repeat(249)] {
            assert_eq!(validate(good), Ok(()));
        }
        let says = |name: &str| validate(name).err().unwrap_or_default();
        assert_eq!(says(""), "Topic name is invalid: the empty string is not allowed");
        assert_eq!(says(".."), "Topic name is invalid: '..' is not allowed");
        assert!(says(&"x".repeat(250)).ends_with("is longer than the max allowed length 249"));
        for bad in ["a b", "a/b", "ä", "a:b", "a\n"] {
            assert_eq!(
                says(bad),
                format!(
                    "Topic name is invalid: '{bad}' contains one or more characters other than ASCII alphanumerics, \
                     '.', '_' and '-'"
                )
            );
        }
    }

    #[test]
    fn only_names_with_dots_or_underscores_have_a_metric_name_of_their_own() {
        assert_eq!(metric_name("a.b_c").as_deref(), Some("a_b_c"));
        assert_eq!(metric_name("a-b"), None);
    }
}
