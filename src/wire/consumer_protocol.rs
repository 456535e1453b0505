//! What classic consumers tell each other through the group: their subscriptions (in JoinGroup) and the leader's
//! assignment (in SyncGroup). The broker passes both on as bytes; it reads them where members of both protocols share a
//! group (KIP-848), and where an offset may be dropped only if nobody subscribes to its topic.
//!
//! Both begin with a version of their own. A version that is not known yet is read as the newest that is: new fields
//! come after the known ones.

use std::collections::BTreeSet;
use std::mem::size_of;

use bytes::{BufMut, Bytes, BytesMut};

use super::reader::{Format, Reader};
use super::{TOO_MANY_ELEMENTS, WireError, decoded_limit, writer};

/// The newest version of both.
pub const NEWEST: i16 = 3;
/// The first version of a subscription that tells what the member owns.
const FIRST_OWNED: i16 = 1;
/// The first version of a subscription that tells its generation.
const FIRST_GENERATION: i16 = 2;
/// The first version of a subscription that tells its rack.
const FIRST_RACK: i16 = 3;
/// No version has compact lengths.
const FORMAT: Format = Format::Classic;

/// What a classic consumer subscribes to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConsumerSubscription {
    /// The topics that it subscribes to.
    pub topics: Vec<String>,
    /// What its assignor tells its leader.
    pub user_data: Option<Bytes>,
    /// What it owns, by topic (v1+).
    pub owned: Vec<(String, Vec<i32>)>,
    /// The generation in which it was given that; -1 where it does not tell (v2+).
    pub generation: i32,
    /// `client.rack` (v3+).
    pub rack: Option<String>,
}

/// Nothing, of no generation.
impl Default for ConsumerSubscription {
    fn default() -> Self {
        Self { topics: Vec::new(), user_data: None, owned: Vec::new(), generation: -1, rack: None }
    }
}

impl ConsumerSubscription {
    /// Reads a subscription of any version; fields that it lacks are as in the default.
    ///
    /// # Errors
    ///
    /// Where the version is negative or a field goes beyond the bytes.
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes)?;
        let mut subscription = Self { topics: fields.topics()?, user_data: fields.user_data()?, ..Self::default() };
        if fields.version >= FIRST_OWNED {
            subscription.owned = fields.partitions()?;
        }
        if fields.version >= FIRST_GENERATION {
            subscription.generation = fields.reader.i32()?;
        }
        if fields.version >= FIRST_RACK {
            subscription.rack = fields.reader.nullable_string(FORMAT)?.map(ToOwned::to_owned);
        }
        Ok(subscription)
    }

    /// Writes a version, or the one nearest to it that is known; what that lacks is left out.
    pub fn encode(&self, version: i16) -> Bytes {
        let version = version.clamp(0, NEWEST);
        let mut out = BytesMut::new();
        out.put_i16(version);
        writer::length(&mut out, FORMAT, Some(self.topics.len()));
        for topic in &self.topics {
            writer::string(&mut out, FORMAT, topic);
        }
        put_bytes(&mut out, self.user_data.as_ref());
        if version >= FIRST_OWNED {
            put_partitions(&mut out, &self.owned);
        }
        if version >= FIRST_GENERATION {
            out.put_i32(self.generation);
        }
        if version >= FIRST_RACK {
            match &self.rack {
                Some(rack) => writer::string(&mut out, FORMAT, rack),
                None => out.put_i16(-1),
            }
        }
        out.freeze()
    }
}

/// Adds the topics that a subscription names, for those who need nothing else of it. Every version begins with what
/// version 0 has, so that is read, whatever the version says; as in Kafka, what is not UTF-8 is replaced.
///
/// # Errors
///
/// Where a field goes beyond the bytes.
pub fn add_topics(subscription: &[u8], topics: &mut BTreeSet<String>) -> Result<(), WireError> {
    let mut reader = Reader::new(subscription);
    let _version = reader.i16()?;
    for _ in 0..reader.array(FORMAT, 2)? {
        let name = reader.nullable_string_bytes(FORMAT)?.ok_or(WireError::Invalid("null for a topic"))?;
        topics.insert(String::from_utf8_lossy(name).into_owned());
    }
    reader.nullable_bytes(FORMAT).map(|_user_data| ())
}

/// What a classic consumer is given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConsumerAssignment {
    /// Its partitions by topic.
    pub partitions: Vec<(String, Vec<i32>)>,
    /// What the leader's assignor tells it.
    pub user_data: Option<Bytes>,
}

impl ConsumerAssignment {
    /// Reads an assignment of any version.
    ///
    /// # Errors
    ///
    /// Where the version is negative or a field goes beyond the bytes.
    pub fn decode(bytes: &Bytes) -> Result<Self, WireError> {
        let mut fields = Fields::new(bytes)?;
        Ok(Self { partitions: fields.partitions()?, user_data: fields.user_data()? })
    }

    /// Writes a version, or the one nearest to it that is known; all have the same fields.
    pub fn encode(&self, version: i16) -> Bytes {
        let mut out = BytesMut::new();
        out.put_i16(version.clamp(0, NEWEST));
        put_partitions(&mut out, &self.partitions);
        put_bytes(&mut out, self.user_data.as_ref());
        out.freeze()
    }
}

/// What is left of a message.
struct Fields<'a> {
    version: i16,
    reader: Reader<'a>,
    all: &'a Bytes,
    /// Bytes that decoded structures may still take.
    budget: usize,
}

impl<'a> Fields<'a> {
    fn new(all: &'a Bytes) -> Result<Self, WireError> {
        let mut reader = Reader::new(all);
        let version = reader.i16()?;
        if version < 0 {
            return Err(WireError::Invalid("a negative version of the consumer protocol"));
        }
        Ok(Self { version: version.min(NEWEST), reader, all, budget: decoded_limit(all.len()) })
    }

    /// An empty list for as many elements as the next count says, once they are known to fit.
    fn list<T>(&mut self, min_element: usize) -> Result<(usize, Vec<T>), WireError> {
        let count = self.reader.array(FORMAT, min_element)?;
        let cost = count.saturating_mul(size_of::<T>());
        self.budget = self.budget.checked_sub(cost).ok_or(TOO_MANY_ELEMENTS)?;
        Ok((count, Vec::with_capacity(count)))
    }

    fn topics(&mut self) -> Result<Vec<String>, WireError> {
        let (count, mut topics) = self.list(2)?;
        for _ in 0..count {
            topics.push(self.reader.string(FORMAT)?.to_owned());
        }
        Ok(topics)
    }

    fn partitions(&mut self) -> Result<Vec<(String, Vec<i32>)>, WireError> {
        let (count, mut topics) = self.list(6)?;
        for _ in 0..count {
            let topic = self.reader.string(FORMAT)?.to_owned();
            let (count, mut partitions) = self.list(4)?;
            for _ in 0..count {
                partitions.push(self.reader.i32()?);
            }
            topics.push((topic, partitions));
        }
        Ok(topics)
    }

    fn user_data(&mut self) -> Result<Option<Bytes>, WireError> {
        Ok(self.reader.nullable_bytes(FORMAT)?.map(|data| self.all.slice_ref(data)))
    }
}

fn put_partitions(out: &mut BytesMut, topics: &[(String, Vec<i32>)]) {
    writer::length(out, FORMAT, Some(topics.len()));
    for (topic, partitions) in topics {
        writer::string(out, FORMAT, topic);
        writer::length(out, FORMAT, Some(partitions.len()));
        for &partition in partitions {
            out.put_i32(partition);
        }
    }
}

fn put_bytes(out: &mut BytesMut, bytes: Option<&Bytes>) {
    writer::length(out, FORMAT, bytes.map(Bytes::len));
    out.extend_from_slice(bytes.map_or(&[], |bytes| bytes));
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use kafka_protocol::messages::consumer_protocol_assignment::TopicPartition as CrateAssigned;
    use kafka_protocol::messages::consumer_protocol_subscription::TopicPartition as CrateOwned;
    use kafka_protocol::messages::{ConsumerProtocolAssignment, ConsumerProtocolSubscription};
    use kafka_protocol::protocol::Encodable;
    use proptest::collection::vec;
    use proptest::option;
    use proptest::prelude::*;

    use super::*;
    use crate::wire::message::text;

    fn coded<T: Encodable>(version: i16, message: &T) -> Bytes {
        let mut out = BytesMut::new();
        out.put_i16(version);
        message.encode(&mut out, version).unwrap();
        out.freeze()
    }

    fn partitions() -> impl Strategy<Value = Vec<(String, Vec<i32>)>> {
        vec(("[a-z.]{0,9}", vec(any::<i32>(), 0..5)), 0..5)
    }

    fn user_data() -> impl Strategy<Value = Option<Bytes>> {
        option::of(vec(any::<u8>(), 0..9).prop_map(Bytes::from))
    }

    prop_compose! {
        fn subscription()(
            topics in vec("[a-z.]{0,9}", 0..5), user_data in user_data(), owned in partitions(), generation: i32,
            rack in option::of("[a-z]{0,5}"),
        ) -> ConsumerSubscription {
            ConsumerSubscription { topics, user_data, owned, generation, rack }
        }
    }

    /// What is left of a subscription in a version.
    fn reduced(mut subscription: ConsumerSubscription, version: i16) -> ConsumerSubscription {
        let nothing = ConsumerSubscription::default();
        if version < 1 {
            subscription.owned = nothing.owned;
        }
        if version < 2 {
            subscription.generation = nothing.generation;
        }
        if version < 3 {
            subscription.rack = nothing.rack;
        }
        subscription
    }

    /// What a version above the newest may look like.
    fn newer(encoded: &Bytes, version: i16) -> Bytes {
        Bytes::from([&version.to_be_bytes(), &encoded[2..], b"more fields"].concat())
    }

    proptest! {
        #[test]
        fn subscriptions_are_as_the_crate_codes_them(subscription in subscription(), version in 0_i16..=3) {
            let subscription = reduced(subscription, version);
            let owned = |(topic, partitions): &(String, Vec<i32>)| {
                CrateOwned::default().with_topic(text(topic).into()).with_partitions(partitions.clone())
            };
            let expected = ConsumerProtocolSubscription::default()
                .with_topics(subscription.topics.iter().map(|topic| text(topic)).collect())
                .with_user_data(subscription.user_data.clone())
                .with_owned_partitions(subscription.owned.iter().map(owned).collect())
                .with_generation_id(subscription.generation)
                .with_rack_id(subscription.rack.as_deref().map(text));
            let encoded = subscription.encode(version);
            prop_assert_eq!(&encoded, &coded(version, &expected));
            prop_assert_eq!(ConsumerSubscription::decode(&encoded), Ok(subscription));
        }

        #[test]
        fn assignments_are_as_the_crate_codes_them(
            partitions in partitions(), user_data in user_data(), version in 0_i16..=3,
        ) {
            let assigned = |(topic, partitions): &(String, Vec<i32>)| {
                CrateAssigned::default().with_topic(text(topic).into()).with_partitions(partitions.clone())
            };
            let expected = ConsumerProtocolAssignment::default()
                .with_assigned_partitions(partitions.iter().map(assigned).collect())
                .with_user_data(user_data.clone());
            let assignment = ConsumerAssignment { partitions, user_data };
            let encoded = assignment.encode(version);
            prop_assert_eq!(&encoded, &coded(version, &expected));
            prop_assert_eq!(ConsumerAssignment::decode(&newer(&encoded, 7)), ConsumerAssignment::decode(&encoded));
            prop_assert_eq!(ConsumerAssignment::decode(&encoded), Ok(assignment));
        }

        #[test]
        fn versions_beyond_the_newest_are_read_as_that(subscription in subscription(), version in 4_i16..) {
            let encoded = subscription.encode(version);
            prop_assert_eq!(&encoded, &subscription.encode(3));
            prop_assert_eq!(ConsumerSubscription::decode(&newer(&encoded, version)), Ok(subscription));
        }

        #[test]
        fn what_is_cut_short_is_refused(subscription in subscription(), version in 0_i16..=3, cut: prop::sample::Index) {
            let encoded = subscription.encode(version);
            let cut = encoded.slice(..cut.index(encoded.len()));
            prop_assert!(ConsumerSubscription::decode(&cut).is_err());
        }

        #[test]
        fn any_bytes_have_an_answer(
            version in -1_i16..5, counts in vec(prop_oneof![0..3_i32, -2..9_i32, any::<i32>()], 0..12), rest in vec(any::<u8>(), 0..40),
        ) {
            let mut bytes = BytesMut::new();
            bytes.put_i16(version);
            for count in counts {
                bytes.put_i32(count);
            }
            bytes.extend_from_slice(&rest);
            let bytes = bytes.freeze();
            let _ = (ConsumerSubscription::decode(&bytes), ConsumerAssignment::decode(&bytes));
        }
    }

    #[test]
    fn memory_is_bounded_by_what_arrived() {
        let claim = |count: i32, fill: usize| Bytes::from([&[0, 0][..], &count.to_be_bytes(), &vec![0; fill]].concat());
        assert_eq!(ConsumerSubscription::decode(&claim(i32::MAX, 100)), Err(WireError::Truncated));
        assert_eq!(ConsumerAssignment::decode(&claim(20, 100)), Err(WireError::Truncated));
        assert!(ConsumerSubscription::decode(&claim(1 << 20, 2 << 20)) == Err(TOO_MANY_ELEMENTS));
    }

    #[test]
    fn a_negative_version_is_refused() {
        let bytes = Bytes::from_static(&[0xff, 0xff, 0, 0, 0, 0, 0, 0, 0, 0]);
        assert!(ConsumerSubscription::decode(&bytes).is_err() && ConsumerAssignment::decode(&bytes).is_err());
        assert!(ConsumerAssignment::decode(&bytes.slice(1..2)).is_err());
    }
}
