//! The records of `__transaction_state`, in Kafka's own schema: a transactional id, and what is known of it or nothing.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::BytesMut;

use super::TransactionalId;
use super::transaction::{State, Transaction, TransactionVersion};
use crate::types::{PartitionIndex, ProducerEpoch, ProducerId, TimestampMs, TopicPartition};
use crate::wire::WireError;
use crate::wire::field_writer::{TagWriter, Writer};
use crate::wire::reader::{Format, Reader};
use crate::wire::records::Encoded;

/// The one kind of key.
const TRANSACTION: i16 = 0;
/// The first version of values with tagged fields.
const FLEXIBLE: i16 = 1;
const PREVIOUS_PRODUCER: u32 = 0;
const NEXT_PRODUCER: u32 = 1;
const CLIENT_VERSION: u32 = 2;

/// A record; without a value (a tombstone) it takes the id back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Which id.
    pub id: TransactionalId,
    /// What holds now.
    pub value: Option<Transaction>,
}

impl Record {
    /// Its bytes; `version` is the finalized one.
    pub fn encode(&self, version: TransactionVersion) -> Encoded {
        let mut key = BytesMut::new();
        let mut out = Writer::classic(&mut key);
        out.i16(TRANSACTION);
        out.string(&self.id);
        let value = self.value.as_ref().map(|value| encode_value(value, version).freeze());
        Encoded { key: key.freeze(), value }
    }

    /// Reads one; `None` is one of a kind that this version does not know.
    ///
    /// # Errors
    /// Where the bytes are not what the schema says.
    pub fn decode(key: &[u8], value: Option<&[u8]>) -> Result<Option<Self>, WireError> {
        let mut key = Reader::new(key);
        if key.i16()? != TRANSACTION {
            return Ok(None);
        }
        let id = Arc::from(key.string(Format::Classic)?);
        let value = value.map(decode_value).transpose()?;
        Ok(Some(Self { id, value }))
    }
}

fn encode_value(value: &Transaction, version: TransactionVersion) -> BytesMut {
    let mut bytes = BytesMut::new();
    let mut out = if version.writes_flexible() { Writer::new(&mut bytes) } else { Writer::classic(&mut bytes) };
    out.i16(i16::from(version.writes_flexible()));
    out.i64(value.producer.0);
    out.i16(value.epoch.0);
    out.i32(value.timeout_ms);
    out.i8(value.state as i8);
    if value.state == State::Empty {
        out.null_array();
    } else {
        encode_partitions(value, &mut out);
    }
    out.i64(value.last_update.0);
    out.i64(value.start.0);
    if version.writes_flexible() {
        let mut tags = TagWriter::default();
        let producer = |id: ProducerId| Some(id).filter(|id| *id != ProducerId::NONE);
        tags.optional(PREVIOUS_PRODUCER, producer(value.previous_producer).as_ref(), |out, id| out.i64(id.0));
        tags.optional(NEXT_PRODUCER, producer(value.next_producer).as_ref(), |out, id| out.i64(id.0));
        let client = Some(value.client_version).filter(|client| client.0 != 0);
        tags.optional(CLIENT_VERSION, client.as_ref(), |out, client| out.i16(client.0));
        out.tags(&tags);
    }
    bytes
}

fn encode_partitions(value: &Transaction, out: &mut Writer<'_>) {
    let mut topics: BTreeMap<&str, Vec<PartitionIndex>> = BTreeMap::new();
    for partition in &value.partitions {
        topics.entry(&partition.topic).or_default().push(partition.partition);
    }
    let topics: Vec<_> = topics.into_iter().collect();
    out.array(&topics, |out, (topic, partitions)| {
        out.string(topic);
        out.array(partitions, |out, partition| out.i32(partition.0));
        out.no_tags();
    });
}

fn decode_value(bytes: &[u8]) -> Result<Transaction, WireError> {
    let mut input = Reader::new(bytes);
    let version = input.i16()?;
    if !(0..=FLEXIBLE).contains(&version) {
        return Err(WireError::Invalid("a transaction in a version that is not known"));
    }
    let format = Format::of(version, FLEXIBLE);
    let mut value =
        Transaction { epoch: ProducerEpoch::NONE, ..Transaction::new(ProducerId(input.i64()?), 0, TimestampMs::NONE) };
    value.epoch = ProducerEpoch(input.i16()?);
    value.timeout_ms = input.i32()?;
    value.state = State::of(input.i8()?).ok_or(WireError::Invalid("a transaction in a state that is not known"))?;
    decode_partitions(&mut value, &mut input, format)?;
    value.last_update = TimestampMs(input.i64()?);
    value.start = TimestampMs(input.i64()?);
    let mut tags = input.tags(format)?;
    while let Some((tag, content)) = tags.next_field()? {
        let mut content = Reader::new(content);
        match tag {
            PREVIOUS_PRODUCER => value.previous_producer = ProducerId(content.i64()?),
            NEXT_PRODUCER => value.next_producer = ProducerId(content.i64()?),
            CLIENT_VERSION => value.client_version = TransactionVersion(content.i16()?),
            _ => {}
        }
    }
    Ok(value)
}

fn decode_partitions(value: &mut Transaction, input: &mut Reader<'_>, format: Format) -> Result<(), WireError> {
    for _ in 0..input.nullable_array(format, 2)?.unwrap_or(0) {
        let topic: Arc<str> = Arc::from(input.string(format)?);
        for _ in 0..input.array(format, 4)? {
            value.partitions.insert(TopicPartition::new(Arc::clone(&topic), PartitionIndex(input.i32()?)));
        }
        input.skip_tags(format)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use bytes::Bytes;
    use proptest::prelude::*;

    use super::*;

    fn transaction() -> impl Strategy<Value = Transaction> {
        let partitions = proptest::collection::btree_set(("[a-z.é]{1,9}", 0_i32..9), 0..6);
        let ids = (any::<i64>(), any::<i64>(), any::<i64>());
        (ids, any::<i16>(), any::<i32>(), 0_i8..6, partitions, any::<i64>(), any::<i64>(), 0_i16..3).prop_map(
            |(ids, epoch, timeout_ms, state, partitions, start, last_update, client)| {
                let state = State::of(state).unwrap();
                let partitions = partitions.into_iter().filter(|_| state != State::Empty);
                Transaction {
                    producer: ProducerId(ids.0),
                    previous_producer: ProducerId(ids.1),
                    next_producer: ProducerId(ids.2),
                    epoch: ProducerEpoch(epoch),
                    last_epoch: ProducerEpoch::NONE,
                    timeout_ms,
                    state,
                    partitions: partitions
                        .map(|(topic, index)| TopicPartition::new(topic.as_str(), PartitionIndex(index)))
                        .collect(),
                    start: TimestampMs(start),
                    last_update: TimestampMs(last_update),
                    client_version: TransactionVersion(client),
                }
            },
        )
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(value in proptest::option::of(transaction()), id in "[a-zé-]{1,20}", level in 0_i16..3) {
            let record = Record { id: id.as_str().into(), value };
            let encoded = record.encode(TransactionVersion(level));
            let read = Record::decode(&encoded.key, encoded.value.as_deref()).unwrap().unwrap();
            let mut expected = record;
            if level == 0 && let Some(value) = &mut expected.value {
                // The older schema has no place for these.
                value.previous_producer = ProducerId::NONE;
                value.next_producer = ProducerId::NONE;
                value.client_version = TransactionVersion::CLASSIC;
            }
            prop_assert_eq!(read, expected);
        }

        #[test]
        fn no_bytes_are_too_much(key in any::<Vec<u8>>(), value in any::<Option<Vec<u8>>>()) {
            let _ = Record::decode(&key, value.as_deref());
        }
    }

    #[test]
    fn the_bytes_are_kafkas() {
        let value = Transaction {
            state: State::Ongoing,
            epoch: ProducerEpoch(3),
            start: TimestampMs(5),
            partitions: [TopicPartition::new("t", PartitionIndex(1))].into(),
            client_version: TransactionVersion::KIP_890,
            previous_producer: ProducerId(7),
            ..Transaction::new(ProducerId(7), 60_000, TimestampMs(6))
        };
        let encoded = Record { id: "a".into(), value: Some(value) }.encode(TransactionVersion::KIP_890);
        assert_eq!(encoded.key[..], [0, 0, 0, 1, b'a']);
        let expected: Bytes = [
            &[0, 1][..],
            &7_i64.to_be_bytes(),
            &[0, 3],
            &60_000_i32.to_be_bytes(),
            &[1],
            &[2, 2, b't', 2, 0, 0, 0, 1, 0],
            &6_i64.to_be_bytes(),
            &5_i64.to_be_bytes(),
            &[2, 0, 8],
            &7_i64.to_be_bytes(),
            &[2, 2, 0, 2],
        ]
        .concat()
        .into();
        assert_eq!(encoded.value, Some(expected));
    }
}
