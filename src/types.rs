//! The small types that keep numbers of different meaning apart.
//!
//! An offset, an epoch and a sequence are all integers on the wire; here two of them cannot be crossed.

use std::fmt;
use std::sync::Arc;

macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub $inner);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }

        impl From<$inner> for $name {
            fn from(value: $inner) -> Self {
                Self(value)
            }
        }
    };
}

number! {
    /// A record's position in its partition; the first is 0.
    Offset(i64)
}
number! {
    /// How often a partition changed its leader; -1 means "not known".
    LeaderEpoch(i32)
}
number! {
    /// A producer's identity as InitProducerId hands it out; -1 means "not idempotent".
    ProducerId(i64)
}
number! {
    /// Tells incarnations of one producer id apart; -1 means "not idempotent".
    ProducerEpoch(i16)
}
number! {
    /// A producer's own number for a record in a partition; wraps to 0 after `i32::MAX`.
    Sequence(i32)
}
number! {
    /// A partition's number within its topic; the first is 0.
    PartitionIndex(i32)
}
number! {
    /// Milliseconds since the Unix epoch; -1 means "no timestamp".
    TimestampMs(i64)
}
number! {
    /// A broker's number in the cluster (`node.id`).
    NodeId(i32)
}

impl Offset {
    /// The offset `count` records further on.
    #[must_use]
    pub const fn plus(self, count: i64) -> Self {
        Self(self.0.saturating_add(count))
    }
}

impl LeaderEpoch {
    /// "Not known", as clients write it.
    pub const NONE: Self = Self(-1);
}

impl ProducerId {
    /// The producer is not idempotent.
    pub const NONE: Self = Self(-1);
}

impl ProducerEpoch {
    /// The producer is not idempotent.
    pub const NONE: Self = Self(-1);
}

impl TimestampMs {
    /// The record carries no timestamp.
    pub const NONE: Self = Self(-1);
}

impl Sequence {
    /// The producer is not idempotent.
    pub const NONE: Self = Self(-1);

    /// The sequence `count` records later: after `i32::MAX` comes 0.
    #[must_use]
    pub const fn plus(self, count: i32) -> Self {
        let sum = self.0 as i64 + count as i64;
        Self(if sum > i32::MAX as i64 { (sum - (i32::MAX as i64 + 1)) as i32 } else { sum as i32 })
    }
}

/// A topic's identity, which a recreated topic of the same name does not share.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicId(pub uuid::Uuid);

impl TopicId {
    /// The id that means "none": requests that name topics carry it.
    pub const ZERO: Self = Self(uuid::Uuid::nil());
}

/// As Kafka prints it: URL-safe base64 without padding.
impl fmt::Display for TopicId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
        let bits = self.0.as_u128();
        // 22 digits of 6 bits hold 132 bits: the last digit carries 2 bits and 4 of padding.
        for digit in 0..22 {
            let shift = 122 - digit * 6;
            let six = if shift >= 0 { bits >> shift } else { bits << -shift } & 0x3f;
            fmt::Write::write_char(f, char::from(ALPHABET[six as usize]))?;
        }
        Ok(())
    }
}

/// One partition of one topic, by name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TopicPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition's number.
    pub partition: PartitionIndex,
}

impl TopicPartition {
    /// A partition by its topic's name and its number.
    pub fn new(topic: impl Into<Arc<str>>, partition: PartitionIndex) -> Self {
        Self { topic: topic.into(), partition }
    }
}

/// As Kafka names the partition's folder: `topic-0`.
impl fmt::Display for TopicPartition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.topic, self.partition)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sequence_wraps_to_zero_after_the_largest() {
        assert_eq!(Sequence(i32::MAX).plus(1), Sequence(0));
        assert_eq!(Sequence(i32::MAX - 1).plus(3), Sequence(1));
        assert_eq!(Sequence(5).plus(2), Sequence(7));
    }

    #[test]
    fn topic_id_prints_as_kafka_does() {
        let id = TopicId(uuid::Uuid::from_u128(0x0123_4567_89ab_cdef_0123_4567_89ab_cdef));
        assert_eq!(id.to_string(), "ASNFZ4mrze8BI0VniavN7w");
        assert_eq!(TopicId::ZERO.to_string(), "AAAAAAAAAAAAAAAAAAAAAA");
    }
}
