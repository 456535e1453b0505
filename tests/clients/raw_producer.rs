//! A transactional producer without a client library: one request at a time, in either protocol, also where that is
//! wrong. Every call returns the broker's code, or that the broker went away.

use std::collections::BTreeMap;
use std::io;
use std::time::{SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, FindCoordinatorRequest, InitProducerIdRequest,
    ProduceRequest, TransactionalId, TxnOffsetCommitRequest,
};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};

use crate::group::{group_id, text, topic_name};
use crate::wire::Connection;

pub const NONE: i16 = 0;
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
const CONCURRENT_TRANSACTIONS: i16 = 51;

/// How a producer takes part in transactions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// It tells the coordinator of every partition before it writes there.
    Classic,
    /// A write adds its partition, and every transaction has an epoch of its own (KIP-890).
    Kip890,
}

impl Protocol {
    fn produce(self) -> i16 {
        if self == Self::Kip890 { 12 } else { 11 }
    }

    fn commit_offsets(self) -> i16 {
        if self == Self::Kip890 { 5 } else { 4 }
    }

    fn end(self) -> i16 {
        if self == Self::Kip890 { 5 } else { 4 }
    }
}

/// A member of a group, as TxnOffsetCommit names it.
#[derive(Clone, Debug)]
pub struct Membership {
    pub member: String,
    pub instance: Option<String>,
    pub generation: i32,
}

impl Membership {
    /// Of one who is no member.
    pub fn none() -> Self {
        Self { member: String::new(), instance: None, generation: -1 }
    }
}

/// A producer that holds a transactional id, or once held it.
pub struct RawProducer {
    pub connection: Connection,
    protocol: Protocol,
    id: String,
    pub producer: i64,
    pub epoch: i16,
    sequences: BTreeMap<(String, i32), i32>,
}

impl RawProducer {
    /// Takes the id over. What its holder left open is aborted before this returns.
    pub fn init(bootstrap: &str, id: &str, protocol: Protocol) -> io::Result<Self> {
        Self::init_for(bootstrap, id, protocol, 30_000)
    }

    /// The same, with transactions that may take so long.
    pub fn init_for(bootstrap: &str, id: &str, protocol: Protocol, timeout_ms: i32) -> io::Result<Self> {
        const TRANSACTION: i8 = 1;
        let mut connection = Connection::try_open(bootstrap)?;
        // Kafka's broker makes the coordinator's topic when it is asked where the coordinator is.
        let find = FindCoordinatorRequest::default().with_key_type(TRANSACTION).with_coordinator_keys(vec![text(id)]);
        connection.try_call(4, &find)?;
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text(id))))
            .with_transaction_timeout_ms(timeout_ms);
        let response = loop {
            let response = connection.try_call(4, &request)?;
            match response.error_code {
                NONE => break response,
                COORDINATOR_LOAD_IN_PROGRESS
                | COORDINATOR_NOT_AVAILABLE
                | NOT_COORDINATOR
                | CONCURRENT_TRANSACTIONS => {}
                code => return Err(io::Error::other(format!("InitProducerId: {code}"))),
            }
        };
        let (producer, epoch) = (response.producer_id.0, response.producer_epoch);
        Ok(Self { connection, protocol, id: id.to_owned(), producer, epoch, sequences: BTreeMap::new() })
    }

    fn transactional_id(&self) -> TransactionalId {
        TransactionalId(text(&self.id))
    }

    /// AddPartitionsToTxn.
    pub fn add_partition(&mut self, topic: &str, partition: i32) -> io::Result<i16> {
        let topic = AddPartitionsToTxnTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.transactional_id())
            .with_v3_and_below_producer_id(self.producer.into())
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(vec![topic]);
        let response = self.connection.try_call(3, &request)?;
        Ok(response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code)
    }

    /// Writes records into the transaction, as the protocol wants it.
    pub fn produce(&mut self, topic: &str, partition: i32, values: &[String]) -> io::Result<i16> {
        if self.protocol == Protocol::Classic {
            let code = once_carried_out(|| self.add_partition(topic, partition))?;
            if code != NONE {
                return Ok(code);
            }
        }
        once_carried_out(|| self.write(self.protocol.produce(), topic, partition, values))
    }

    /// Produce alone, in this version.
    pub fn write(&mut self, version: i16, topic: &str, partition: i32, values: &[String]) -> io::Result<i16> {
        let first = *self.sequences.entry((topic.to_owned(), partition)).or_default();
        let code = self.write_batch(version, topic, partition, self.batch(first, true, values))?;
        if code == NONE {
            self.sequences.insert((topic.to_owned(), partition), first + values.len() as i32);
        }
        Ok(code)
    }

    /// A write without a transaction by the same producer.
    pub fn write_outside(&mut self, topic: &str, partition: i32, value: &str) -> io::Result<i16> {
        let first = self.sequences.get(&(topic.to_owned(), partition)).copied().unwrap_or_default();
        let batch = self.batch(first, false, &[value.to_owned()]);
        self.write_batch(self.protocol.produce(), topic, partition, batch)
    }

    fn batch(&self, first: i32, transactional: bool, values: &[String]) -> Bytes {
        // Not one of long ago, which retention would take away.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_millis() as i64;
        let records = values.iter().enumerate().map(|(index, value)| Record {
            transactional,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: self.producer,
            producer_epoch: self.epoch,
            timestamp_type: TimestampType::Creation,
            offset: index as i64,
            sequence: first + index as i32,
            timestamp: now,
            key: None,
            value: Some(Bytes::copy_from_slice(value.as_bytes())),
            headers: kafka_protocol::indexmap::IndexMap::default(),
        });
        let records: Vec<Record> = records.collect();
        let mut bytes = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut bytes, &records, &options).unwrap();
        bytes.freeze()
    }

    fn write_batch(&mut self, version: i16, topic: &str, partition: i32, batch: Bytes) -> io::Result<i16> {
        let data = PartitionProduceData::default().with_index(partition).with_records(Some(batch));
        let topic = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(self.transactional_id()))
            .with_acks(-1)
            .with_timeout_ms(10_000)
            .with_topic_data(vec![topic]);
        Ok(self.connection.try_call(version, &request)?.responses[0].partition_responses[0].error_code)
    }

    /// Puts a group's offset into the transaction, as the protocol wants it.
    pub fn commit_offset(&mut self, group: (&str, &Membership), offset: (&str, i32, i64)) -> io::Result<i16> {
        if self.protocol == Protocol::Classic {
            let request = AddOffsetsToTxnRequest::default()
                .with_transactional_id(self.transactional_id())
                .with_producer_id(self.producer.into())
                .with_producer_epoch(self.epoch)
                .with_group_id(group_id(group.0));
            let code = once_carried_out(|| Ok(self.connection.try_call(3, &request)?.error_code))?;
            if code != NONE {
                return Ok(code);
            }
        }
        self.write_offset(self.protocol.commit_offsets(), group, offset)
    }

    /// The same in this version, and without adding the group before.
    pub fn write_offset(
        &mut self,
        version: i16,
        (group, membership): (&str, &Membership),
        (topic, partition, offset): (&str, i32, i64),
    ) -> io::Result<i16> {
        let partition =
            TxnOffsetCommitRequestPartition::default().with_partition_index(partition).with_committed_offset(offset);
        let topic = TxnOffsetCommitRequestTopic::default().with_name(topic_name(topic));
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_group_id(group_id(group))
            .with_producer_id(self.producer.into())
            .with_producer_epoch(self.epoch)
            .with_generation_id(membership.generation)
            .with_member_id(text(&membership.member))
            .with_group_instance_id(membership.instance.as_deref().map(text))
            .with_topics(vec![topic.with_partitions(vec![partition])]);
        once_carried_out(|| Ok(self.connection.try_call(version, &request)?.topics[0].partitions[0].error_code))
    }

    /// Ends the transaction; with KIP-890 the next one has another epoch.
    pub fn end(&mut self, commits: bool) -> io::Result<i16> {
        self.end_in(self.protocol.end(), commits)
    }

    /// The same in this version.
    pub fn end_in(&mut self, version: i16, commits: bool) -> io::Result<i16> {
        let request = EndTxnRequest::default()
            .with_transactional_id(self.transactional_id())
            .with_producer_id(self.producer.into())
            .with_producer_epoch(self.epoch)
            .with_committed(commits);
        once_carried_out(|| {
            let response = self.connection.try_call(version, &request)?;
            if response.error_code == NONE && version >= Protocol::Kip890.end() {
                (self.producer, self.epoch) = (response.producer_id.0, response.producer_epoch);
                self.sequences.clear();
            }
            Ok(response.error_code)
        })
    }
}

/// Asks again while what was decided of a transaction is being carried out.
fn once_carried_out(mut ask: impl FnMut() -> io::Result<i16>) -> io::Result<i16> {
    loop {
        match ask() {
            Ok(CONCURRENT_TRANSACTIONS) => {}
            outcome => return outcome,
        }
    }
}
