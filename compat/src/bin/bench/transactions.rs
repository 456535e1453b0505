//! Transactions of one record each, as many as a producer gets done that waits for every answer and for nothing else: what
//! is measured is the broker. That what was committed can be read is looked at afterwards.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::{Bytes, BytesMut};
use hdrhistogram::Histogram;
use kafka_protocol::indexmap::IndexMap;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddPartitionsToTxnRequest, EndTxnRequest, GroupId, InitProducerIdRequest, OffsetFetchRequest, ProduceRequest,
    TopicName, TransactionalId, TxnOffsetCommitRequest,
};
use kafka_protocol::protocol::{Request, StrBytes};
use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
use tokio::task::JoinSet;

use crate::groups;
use crate::load;
use crate::members::Connection;

/// Of a coordinator that is not there yet.
const COORDINATOR_LOAD_IN_PROGRESS: i16 = 14;
const COORDINATOR_NOT_AVAILABLE: i16 = 15;
const NOT_COORDINATOR: i16 = 16;
/// What clients before Produce v12 are told when their transaction cannot be verified now.
const NOT_ENOUGH_REPLICAS: i16 = 19;
/// The transaction before is being ended.
const CONCURRENT_TRANSACTIONS: i16 = 51;

/// How long a producer waits until it asks again. Clients wait longer (Java's 20 ms until it adds the first partition
/// again, 100 ms otherwise): that would be their time, not the broker's.
const PAUSE: Duration = Duration::from_millis(1);

/// The bytes of a record's value.
const VALUE: &[u8] = &[b'x'; 100];

/// How producers and brokers speak of transactions: `transaction.version`, as clients choose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// AddPartitionsToTxn, then records; a producer keeps its epoch.
    Version1,
    /// Records add their partitions; every transaction has an epoch of its own (KIP-890).
    Version2,
}

impl Protocol {
    const fn init_producer_id(self) -> i16 {
        match self {
            Self::Version1 => 4,
            Self::Version2 => 5,
        }
    }

    const fn produce(self) -> i16 {
        match self {
            Self::Version1 => 11,
            Self::Version2 => 12,
        }
    }

    const fn end_txn(self) -> i16 {
        match self {
            Self::Version1 => 4,
            Self::Version2 => 5,
        }
    }
}

/// Who produces what.
#[derive(Clone, Debug)]
pub struct Producers {
    /// How they speak.
    pub protocol: Protocol,
    /// How many, each with a transactional id, a connection and a partition.
    pub count: u16,
    /// Whether each transaction commits the offset of one record as well, to a group of the producer's own. With
    /// version 2 only.
    pub commits_offsets: bool,
    /// Exists, is empty, and is nobody else's. Transactional ids and groups are named after it.
    pub topic: String,
    /// Of the topic.
    pub partitions: u16,
}

/// Microseconds from asking for a commit until the answer, of each transaction that was committed within the time.
pub type Commits = Histogram<u64>;

/// Has them produce for a while that is not measured, then for as long as is said. Each record is read at the end.
pub fn run(address: SocketAddr, producers: &Producers, during: Duration) -> io::Result<Commits> {
    let (measured, committed) = groups::runtime()?.block_on(groups::within_patience("transactions", async {
        let mut all = Vec::new();
        for number in 0..producers.count {
            all.push(Producer::begin(address, producers, number).await?);
        }
        let window = Window { begins: Instant::now() + during / 2, during };
        let mut tasks = JoinSet::new();
        for producer in all {
            tasks.spawn(producer.work(window));
        }
        let (mut measured, mut committed) = (Histogram::new(3).map_err(io::Error::other)?, 0);
        while let Some(ended) = tasks.join_next().await {
            let (commits, count) = ended??;
            measured.add(commits).map_err(io::Error::other)?;
            committed += count;
        }
        Ok::<_, io::Error>((measured, committed))
    }))??;
    expect_readable(address, &producers.topic, producers.partitions, committed)?;
    Ok(measured)
}

/// A figure of transactions that nobody can read is none.
pub fn expect_readable(address: SocketAddr, topic: &str, partitions: u16, committed: u64) -> io::Result<()> {
    let read = load::count_committed(&address.to_string(), topic, partitions.into())?;
    if read == committed {
        return Ok(());
    }
    Err(io::Error::other(format!("{topic}: {committed} transactions were committed, {read} records can be read")))
}

/// What is measured of a producer's time.
#[derive(Clone, Copy)]
struct Window {
    begins: Instant,
    during: Duration,
}

struct Producer {
    connection: Connection,
    protocol: Protocol,
    transactional_id: TransactionalId,
    topic: TopicName,
    partition: i32,
    /// Where offsets are committed.
    group: Option<GroupId>,
    id: i64,
    epoch: i16,
    sequence: i32,
    committed: u32,
}

impl Producer {
    async fn begin(address: SocketAddr, producers: &Producers, number: u16) -> io::Result<Self> {
        let topic = &producers.topic;
        let mut producer = Self {
            connection: Connection::open(address).await?,
            protocol: producers.protocol,
            transactional_id: TransactionalId(StrBytes::from_string(format!("{topic}-{number}"))),
            topic: TopicName(StrBytes::from_string(topic.clone())),
            partition: i32::from(number % producers.partitions),
            group: producers.commits_offsets.then(|| GroupId(StrBytes::from_string(format!("{topic}-{number}")))),
            id: -1,
            epoch: -1,
            sequence: 0,
            committed: 0,
        };
        producer.init().await?;
        Ok(producer)
    }

    /// One transaction after the other until the time is over; how long commits took, and how many there were in all.
    async fn work(mut self, window: Window) -> io::Result<(Commits, u64)> {
        let mut commits = Histogram::new(3).map_err(io::Error::other)?;
        let ends = window.begins + window.during;
        while Instant::now() < ends {
            self.write().await?;
            if let Some(group) = self.group.clone() {
                self.commit_offset(group).await?;
            }
            let asked = Instant::now();
            self.commit().await?;
            let answered = Instant::now();
            self.committed += 1;
            if (window.begins..ends).contains(&answered) {
                let took = u64::try_from((answered - asked).as_micros()).map_err(io::Error::other)?;
                commits.record(took).map_err(io::Error::other)?;
            }
        }
        // Answered once the last transaction is over.
        self.init().await?;
        if let Some(group) = self.group.clone() {
            self.expect_offset(group).await?;
        }
        Ok((commits, self.committed.into()))
    }

    /// Asks until a coordinator is there and the transaction before is over.
    async fn ask<R: Request>(
        &mut self,
        version: i16,
        request: &R,
        code: impl Fn(&R::Response) -> i16,
    ) -> io::Result<R::Response> {
        loop {
            let answer = self.connection.call(version, request).await?;
            match code(&answer) {
                0 => return Ok(answer),
                COORDINATOR_LOAD_IN_PROGRESS
                | COORDINATOR_NOT_AVAILABLE
                | NOT_COORDINATOR
                | NOT_ENOUGH_REPLICAS
                | CONCURRENT_TRANSACTIONS => {
                    // tidy: may sleep: nothing tells when the coordinator of another process has ended a transaction
                    tokio::time::sleep(PAUSE).await;
                }
                code => {
                    let (id, committed) = (self.transactional_id.as_str(), self.committed);
                    let what = format!("{id}: error code {code} to request {} after {committed} transactions", R::KEY);
                    return Err(io::Error::other(what));
                }
            }
        }
    }

    async fn init(&mut self) -> io::Result<()> {
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(self.transactional_id.clone()))
            .with_transaction_timeout_ms(60_000)
            .with_producer_id((-1).into())
            .with_producer_epoch(-1);
        let answer = self.ask(self.protocol.init_producer_id(), &request, |answer| answer.error_code).await?;
        (self.id, self.epoch, self.sequence) = (answer.producer_id.0, answer.producer_epoch, 0);
        Ok(())
    }

    /// Writes one record.
    async fn write(&mut self) -> io::Result<()> {
        if self.protocol == Protocol::Version1 {
            self.add_partition().await?;
        }
        let partition = PartitionProduceData::default().with_index(self.partition).with_records(Some(self.batch()?));
        let data = TopicProduceData::default().with_name(self.topic.clone()).with_partition_data(vec![partition]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(self.transactional_id.clone()))
            .with_acks(-1)
            .with_timeout_ms(30_000)
            .with_topic_data(vec![data]);
        let version = self.protocol.produce();
        self.ask(version, &request, |answer| {
            let partitions = answer.responses.iter().flat_map(|topic| &topic.partition_responses);
            first_error(partitions.map(|partition| partition.error_code))
        })
        .await?;
        self.sequence = self.sequence.wrapping_add(1) & i32::MAX;
        Ok(())
    }

    async fn add_partition(&mut self) -> io::Result<()> {
        let topic =
            AddPartitionsToTxnTopic::default().with_name(self.topic.clone()).with_partitions(vec![self.partition]);
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(self.transactional_id.clone())
            .with_v3_and_below_producer_id(self.id.into())
            .with_v3_and_below_producer_epoch(self.epoch)
            .with_v3_and_below_topics(vec![topic]);
        self.ask(3, &request, |answer| {
            let topics = answer.results_by_topic_v3_and_below.iter();
            let partitions = topics.flat_map(|topic| &topic.results_by_partition);
            first_error(partitions.map(|partition| partition.partition_error_code))
        })
        .await?;
        Ok(())
    }

    /// The offset after as many records as there were transactions, as if each had read one.
    async fn commit_offset(&mut self, group: GroupId) -> io::Result<()> {
        let partition = TxnOffsetCommitRequestPartition::default()
            .with_partition_index(self.partition)
            .with_committed_offset(i64::from(self.committed) + 1);
        let topic =
            TxnOffsetCommitRequestTopic::default().with_name(self.topic.clone()).with_partitions(vec![partition]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(self.transactional_id.clone())
            .with_group_id(group)
            .with_producer_id(self.id.into())
            .with_producer_epoch(self.epoch)
            .with_topics(vec![topic]);
        self.ask(5, &request, |answer| {
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            first_error(partitions.map(|partition| partition.error_code))
        })
        .await?;
        Ok(())
    }

    async fn commit(&mut self) -> io::Result<()> {
        let request = EndTxnRequest::default()
            .with_transactional_id(self.transactional_id.clone())
            .with_producer_id(self.id.into())
            .with_producer_epoch(self.epoch)
            .with_committed(true);
        let answer = self.ask(self.protocol.end_txn(), &request, |answer| answer.error_code).await?;
        if self.protocol == Protocol::Version2 {
            (self.id, self.epoch, self.sequence) = (answer.producer_id.0, answer.producer_epoch, 0);
        }
        Ok(())
    }

    async fn expect_offset(&mut self, group: GroupId) -> io::Result<()> {
        let topic = OffsetFetchRequestTopics::default()
            .with_name(self.topic.clone())
            .with_partition_indexes(vec![self.partition]);
        let group = OffsetFetchRequestGroup::default().with_group_id(group).with_topics(Some(vec![topic]));
        let request = OffsetFetchRequest::default().with_groups(vec![group]).with_require_stable(true);
        let answer = self.connection.call(8, &request).await?;
        let topics = answer.groups.iter().flat_map(|group| &group.topics);
        let offset = topics.flat_map(|topic| &topic.partitions).map(|partition| partition.committed_offset).next();
        if offset == Some(self.committed.into()) {
            return Ok(());
        }
        Err(io::Error::other(format!(
            "{}: offset {offset:?} after {} transactions",
            self.transactional_id.as_str(),
            self.committed
        )))
    }

    fn batch(&self) -> io::Result<Bytes> {
        // Brokers delete what is old.
        let now = SystemTime::now().duration_since(UNIX_EPOCH).map_err(io::Error::other)?;
        let record = Record {
            transactional: true,
            control: false,
            delete_horizon: false,
            partition_leader_epoch: -1,
            producer_id: self.id,
            producer_epoch: self.epoch,
            timestamp_type: TimestampType::Creation,
            offset: 0,
            sequence: self.sequence,
            timestamp: i64::try_from(now.as_millis()).map_err(io::Error::other)?,
            key: None,
            value: Some(Bytes::from_static(VALUE)),
            headers: IndexMap::default(),
        };
        let mut batch = BytesMut::new();
        let options = RecordEncodeOptions { version: 2, compression: Compression::None };
        RecordBatchEncoder::encode(&mut batch, [&record], &options).map_err(io::Error::other)?;
        Ok(batch.freeze())
    }
}

fn first_error(mut codes: impl Iterator<Item = i16>) -> i16 {
    codes.find(|code| *code != 0).unwrap_or(0)
}
