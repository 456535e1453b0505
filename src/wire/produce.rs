//! Produce requests, decoded by hand: record batches stay slices of the frame that they arrived in.

use std::mem::size_of;
use std::sync::Arc;

use bytes::{Buf, BytesMut};

use super::reader::{Format, Reader};
use super::{TOO_MANY_ELEMENTS, WireError, decoded_limit};
use crate::types::{PartitionIndex, TopicId};

/// How a request names a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicRef {
    /// By name.
    Name(Arc<str>),
    /// By id (Produce v13, Fetch v13).
    Id(TopicId),
}

/// A Produce request.
#[derive(Debug)]
pub struct ProduceRequest {
    /// Set by transactional producers.
    pub transactional_id: Option<Box<str>>,
    /// -1, 0 or 1; anything else is for the handler to refuse.
    pub acks: i16,
    /// How long the client waits, in milliseconds.
    pub timeout_ms: i32,
    /// The batches by topic.
    pub topics: Vec<ProduceTopic>,
}

/// One topic of a Produce request.
#[derive(Debug)]
pub struct ProduceTopic {
    /// Which topic.
    pub topic: TopicRef,
    /// The batches by partition.
    pub partitions: Vec<ProducePartition>,
}

/// One partition of a Produce request.
#[derive(Debug)]
pub struct ProducePartition {
    /// Which partition.
    pub index: PartitionIndex,
    /// The record batch, not yet checked; `None` where the client sent null.
    pub records: Option<BytesMut>,
}

/// The first version with compact lengths and tagged fields.
const FIRST_FLEXIBLE: i16 = 9;
/// The first version that names topics by id.
const FIRST_TOPIC_ID: i16 = 13;

/// Decodes the body of a Produce request (v3-v13).
///
/// Records stay in the buffer that they came in: each partition holds a part of it that nobody else can reach,
/// so that base offset and timestamps can be patched there.
pub fn decode(version: i16, body: BytesMut) -> Result<ProduceRequest, WireError> {
    if !(3..=FIRST_TOPIC_ID).contains(&version) {
        return Err(WireError::Unsupported { key: 0, version });
    }
    let budget = decoded_limit(body.len());
    let mut body = Body { version, format: Format::of(version, FIRST_FLEXIBLE), rest: body, budget };
    let (transactional_id, acks, timeout_ms) =
        body.read(|reader, format| Ok((reader.nullable_string(format)?.map(Box::from), reader.i16()?, reader.i32()?)))?;
    let topics = body.topics()?;
    body.end_of_structure()?;
    Ok(ProduceRequest { transactional_id, acks, timeout_ms, topics })
}

/// What is left of a body.
struct Body {
    version: i16,
    format: Format,
    rest: BytesMut,
    /// Bytes that decoded structures may still take.
    budget: usize,
}

impl Body {
    /// Reads fields off the front.
    fn read<T>(
        &mut self,
        fields: impl FnOnce(&mut Reader<'_>, Format) -> Result<T, WireError>,
    ) -> Result<T, WireError> {
        let mut reader = Reader::new(&self.rest);
        let value = fields(&mut reader, self.format)?;
        let read = reader.position();
        self.rest.advance(read);
        Ok(value)
    }

    fn end_of_structure(&mut self) -> Result<(), WireError> {
        let mut reader = Reader::new(&self.rest);
        reader.skip_tags(self.format)?;
        let read = reader.position();
        self.rest.advance(read);
        Ok(())
    }

    /// An empty list for as many elements as the next count says, once they are known to fit.
    fn list<T>(&mut self, min_element: usize) -> Result<(usize, Vec<T>), WireError> {
        let count = self.read(|reader, format| reader.array(format, min_element))?;
        let cost = count.saturating_mul(size_of::<T>());
        self.budget = self.budget.checked_sub(cost).ok_or(TOO_MANY_ELEMENTS)?;
        Ok((count, Vec::with_capacity(count)))
    }

    fn topics(&mut self) -> Result<Vec<ProduceTopic>, WireError> {
        // An empty name, no partition, no tag: 2 + 4 bytes, or 1 + 1 + 1.
        let (count, mut topics) = self.list(if self.format.is_flexible() { 3 } else { 6 })?;
        for _ in 0..count {
            let by_id = self.version >= FIRST_TOPIC_ID;
            let topic = self.read(|reader, format| {
                Ok(if by_id {
                    TopicRef::Id(TopicId(reader.uuid()?))
                } else {
                    TopicRef::Name(reader.string(format)?.into())
                })
            })?;
            let partitions = self.partitions()?;
            self.end_of_structure()?;
            topics.push(ProduceTopic { topic, partitions });
        }
        Ok(topics)
    }

    fn partitions(&mut self) -> Result<Vec<ProducePartition>, WireError> {
        // An index, null records, no tag: 4 + 4 bytes, or 4 + 1 + 1.
        let (count, mut partitions) = self.list(if self.format.is_flexible() { 6 } else { 8 })?;
        for _ in 0..count {
            let (index, length) =
                self.read(|reader, format| Ok((PartitionIndex(reader.i32()?), reader.nullable_bytes_length(format)?)))?;
            let records = length.map(|length| self.rest.split_to(length));
            self.end_of_structure()?;
            partitions.push(ProducePartition { index, records });
        }
        Ok(partitions)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
    use kafka_protocol::messages::{ProduceRequest as CrateRequest, TopicName, TransactionalId};
    use kafka_protocol::protocol::{Encodable, StrBytes};
    use proptest::prelude::*;

    use super::*;

    fn partition(index: i32, records: Option<&'static [u8]>) -> PartitionProduceData {
        PartitionProduceData::default().with_index(index).with_records(records.map(Bytes::from_static))
    }

    fn request(version: i16) -> BytesMut {
        let id = uuid::Uuid::from_u128(7);
        let named = |name: &'static str, id| {
            let topic = TopicProduceData::default();
            if version < 13 {
                topic.with_name(TopicName(StrBytes::from_static_str(name)))
            } else {
                topic.with_topic_id(id)
            }
        };
        let request = CrateRequest::default()
            .with_transactional_id(Some(TransactionalId(StrBytes::from_static_str("tx"))))
            .with_acks(-1)
            .with_timeout_ms(1500)
            .with_topic_data(vec![
                named("first", id).with_partition_data(vec![partition(0, Some(b"abc")), partition(4, None)]),
                named("second", id).with_partition_data(vec![partition(2, Some(b""))]),
            ]);
        let mut bytes = BytesMut::new();
        request.encode(&mut bytes, version).unwrap();
        bytes
    }

    #[test]
    fn every_version_reads_what_another_implementation_writes() {
        for version in 3..=13 {
            let decoded = decode(version, request(version)).unwrap();
            assert_eq!(decoded.transactional_id.as_deref(), Some("tx"));
            assert_eq!((decoded.acks, decoded.timeout_ms), (-1, 1500));
            let name = |name: &str| {
                if version < 13 { TopicRef::Name(name.into()) } else { TopicRef::Id(TopicId(uuid::Uuid::from_u128(7))) }
            };
            assert_eq!(decoded.topics[0].topic, name("first"));
            assert_eq!(decoded.topics[1].topic, name("second"));
            let all: Vec<_> = decoded
                .topics
                .iter()
                .flat_map(|topic| &topic.partitions)
                .map(|partition| (partition.index.0, partition.records.as_deref()))
                .collect();
            assert_eq!(all, [(0, Some(&b"abc"[..])), (4, None), (2, Some(&b""[..]))], "version {version}");
        }
        assert!(decode(2, BytesMut::new()).is_err());
        assert!(decode(14, BytesMut::new()).is_err());
    }

    #[test]
    fn records_are_patched_where_they_arrived() {
        let body = request(9);
        let from = body.as_ptr() as usize;
        let to = from + body.len();
        let mut decoded = decode(9, body).unwrap();
        let records = decoded.topics[0].partitions[0].records.as_mut().unwrap();
        assert!((from..to).contains(&(records.as_ptr() as usize)));
        records[0] = b'x';
        assert_eq!(&records[..], b"xbc");
    }

    #[test]
    fn a_truncated_request_is_refused_at_every_length() {
        for version in [3, 8, 9, 12, 13] {
            let whole = request(version);
            for length in 0..whole.len() {
                let cut = BytesMut::from(&whole[..length]);
                assert!(decode(version, cut).is_err(), "version {version}, {length} of {}", whole.len());
            }
        }
    }

    #[test]
    fn many_empty_topics_do_not_balloon() {
        // 3 bytes each would become 48.
        let mut body = vec![0, 0, 1, 0, 0, 0, 0];
        body.extend([0x81, 0x80, 0x80, 0x01]);
        body.resize(body.len() + 3 * 0x20_0000, 0);
        let refused = decode(9, BytesMut::from(&body[..])).err();
        assert_eq!(refused, Some(TOO_MANY_ELEMENTS));
    }

    proptest! {
        #[test]
        fn damaged_requests_never_panic(version in 3_i16..=13, at in 0_usize..80, value: u8, tail in 0_usize..8) {
            let mut bytes = request(version);
            let at = at % bytes.len();
            bytes[at] = value;
            bytes.truncate(bytes.len() - tail);
            let _ = decode(version, bytes);
        }

        #[test]
        fn any_bytes_give_an_answer(version in 3_i16..=13, bytes: Vec<u8>) {
            let _ = decode(version, BytesMut::from(&bytes[..]));
        }
    }
}
