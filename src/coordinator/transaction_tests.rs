//! Transactions as clients see them, without a network: random histories of several producers against a model that knows
//! of nothing but what each request was answered.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::add_partitions_to_txn_request::AddPartitionsToTxnTopic;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, EndTxnRequest, FetchRequest, GroupId, InitProducerIdRequest,
    OffsetFetchRequest, ProduceRequest, TopicName, TransactionalId, TxnOffsetCommitRequest,
};
use proptest::prelude::*;

use crate::api::test_support::{TestBroker, text};
use crate::metadata::topic_name::TRANSACTION_STATE;
use crate::storage::Durability;
use crate::storage::faulty_disk::FaultyDisk;
use crate::txn::shard::Filter;
use crate::txn::shard::Shard;
use crate::txn::transaction::State;
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};
use crate::wire::ErrorCode;
use crate::wire::batch::{BatchHeader, Compression};
use crate::wire::control::EndMarker;
use crate::wire::records::{BatchBuilder, Records, section};

const TOPIC: &str = "t";
const GROUP: &str = "g";
const PARTITIONS: usize = 2;
/// Where the group reads: what its offsets are committed for.
const INPUT: i32 = 0;

/// How a transaction came out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Committed,
    Aborted,
}

/// A transaction, as its producer knows it.
#[derive(Clone, Debug)]
struct Transaction {
    end: End,
    /// Partition, offset and value of each record that was acknowledged.
    written: Vec<(usize, i64, String)>,
    /// The last offset that it committed for the group, and when, counted over all.
    offset: Option<(u64, i64)>,
}

/// One run of a client.
#[derive(Clone, Debug)]
struct Client {
    id: String,
    producer: i64,
    epoch: i16,
    kip_890: bool,
    sequences: [i32; PARTITIONS],
    /// Its transaction, as an index; none before the first write.
    open: Option<usize>,
    /// What it sent last, and to which partition, with the offset that it got.
    last_batch: Option<(usize, BytesMut, i64)>,
    /// The last EndTxn: its epoch, how, and what it was about.
    last_end: Option<(i64, i16, bool)>,
}

struct World {
    broker: TestBroker,
    transactions: Vec<Transaction>,
    /// By transactional id: the run that holds it, and those before it, which may still be heard of.
    clients: HashMap<usize, Vec<Client>>,
    values: u64,
    commits: u64,
}

impl World {
    async fn new() -> Self {
        let broker = TestBroker::open(FaultyDisk::new(), Durability::Fsync);
        broker.create(TOPIC, PARTITIONS as i32).await;
        broker.create("in", 1).await;
        Self { broker, transactions: Vec::new(), clients: HashMap::new(), values: 0, commits: 0 }
    }

    /// A client begins: whatever the one before it left open is aborted.
    async fn init(&mut self, slot: usize, kip_890: bool) {
        let id = format!("id{slot}");
        let request = InitProducerIdRequest::default()
            .with_transactional_id(Some(TransactionalId(text(&id))))
            .with_transaction_timeout_ms(60_000);
        let response = loop {
            let response = self.broker.call(4, &request).await;
            if response.error_code != ErrorCode::CONCURRENT_TRANSACTIONS.0 {
                break response;
            }
        };
        assert_eq!(response.error_code, 0);
        let runs = self.clients.entry(slot).or_default();
        if let Some(open) = runs.last().and_then(|last| last.open) {
            self.transactions[open].end = End::Aborted;
        }
        runs.push(Client {
            id,
            producer: response.producer_id.0,
            epoch: response.producer_epoch,
            kip_890,
            sequences: [0; PARTITIONS],
            open: None,
            last_batch: None,
            last_end: None,
        });
    }

    fn client(&mut self, slot: usize, back: usize) -> Option<&mut Client> {
        let runs = self.clients.get_mut(&slot)?;
        let index = runs.len().checked_sub(back + 1)?;
        runs.get_mut(index)
    }

    /// The transaction that a client is in, for a request that was answered well.
    fn taken_part(&mut self, slot: usize, back: usize) -> usize {
        let next = self.transactions.len();
        let client = self.client(slot, back).unwrap();
        let open = *client.open.get_or_insert(next);
        if open == next {
            self.transactions.push(Transaction { end: End::Open, written: Vec::new(), offset: None });
        }
        open
    }

    async fn add_partition(&mut self, client: &Client, partition: usize) -> i16 {
        let topic = AddPartitionsToTxnTopic::default().with_name(TopicName(text(TOPIC)));
        let request = AddPartitionsToTxnRequest::default()
            .with_v3_and_below_transactional_id(TransactionalId(text(&client.id)))
            .with_v3_and_below_producer_id(client.producer.into())
            .with_v3_and_below_producer_epoch(client.epoch)
            .with_v3_and_below_topics(vec![topic.with_partitions(vec![partition as i32])]);
        let response = self.broker.call(3, &request).await;
        response.results_by_topic_v3_and_below[0].results_by_partition[0].partition_error_code
    }

    async fn send(&self, client: &Client, partition: usize, batch: &BytesMut) -> (i16, i64) {
        let version = if client.kip_890 { 12 } else { 11 };
        let data = PartitionProduceData::default().with_index(partition as i32);
        let data = data.with_records(Some(batch.clone().freeze()));
        let topic = TopicProduceData::default().with_name(TopicName(text(TOPIC))).with_partition_data(vec![data]);
        let request = ProduceRequest::default()
            .with_transactional_id(Some(TransactionalId(text(&client.id))))
            .with_acks(-1)
            .with_timeout_ms(1000)
            .with_topic_data(vec![topic]);
        let response = self.broker.call(version, &request).await;
        let partition = &response.responses[0].partition_responses[0];
        (partition.error_code, partition.base_offset)
    }

    /// A client writes; whoever does not hold the id any more gets nowhere.
    async fn produce(&mut self, slot: usize, back: usize, partition: usize, adds: bool) {
        let Some(client) = self.client(slot, back).cloned() else { return };
        // A late write of the classic protocol may fall into the transaction before, until its marker is written (KIP-890).
        if !client.kip_890 && (adds || client.open.is_none()) {
            self.add_partition(&client, partition).await;
        }
        self.values += 1;
        let value = format!("v{}", self.values);
        let mut builder = BatchBuilder::new().producer(
            ProducerId(client.producer),
            ProducerEpoch(client.epoch),
            Sequence(client.sequences[partition]),
        );
        builder = builder.transactional();
        builder.push(TimestampMs(1), None, Some(value.as_bytes()), std::iter::empty());
        let batch = builder.build(Offset(0), Compression::None, 0).unwrap().unwrap();
        let (code, offset) = self.send(&client, partition, &batch).await;
        if code != 0 {
            return;
        }
        assert!(self.holds(slot, back), "a client that was shut out has written {value}");
        let open = self.taken_part(slot, back);
        self.transactions[open].written.push((partition, offset, value));
        let client = self.client(slot, back).unwrap();
        client.sequences[partition] += 1;
        client.last_batch = Some((partition, batch, offset));
    }

    /// The answer to the last batch was lost: it is sent again.
    async fn duplicate(&mut self, slot: usize, back: usize) {
        let Some(client) = self.client(slot, back).cloned() else { return };
        let Some((partition, batch, first)) = client.last_batch.clone() else { return };
        let (code, offset) = self.send(&client, partition, &batch).await;
        assert!(code != 0 || offset == first, "a batch is in the log twice, at {first} and at {offset}");
    }

    async fn commit_offset(&mut self, slot: usize, back: usize) {
        let Some(client) = self.client(slot, back).cloned() else { return };
        let id = TransactionalId(text(&client.id));
        if !client.kip_890 {
            let request = AddOffsetsToTxnRequest::default()
                .with_transactional_id(id.clone())
                .with_producer_id(client.producer.into())
                .with_producer_epoch(client.epoch)
                .with_group_id(GroupId(text(GROUP)));
            self.broker.call(3, &request).await;
        }
        self.commits += 1;
        let offset = self.commits as i64;
        let partition = TxnOffsetCommitRequestPartition::default().with_partition_index(INPUT);
        let topic = TxnOffsetCommitRequestTopic::default()
            .with_name(TopicName(text("in")))
            .with_partitions(vec![partition.with_committed_offset(offset)]);
        let request = TxnOffsetCommitRequest::default()
            .with_transactional_id(id)
            .with_group_id(GroupId(text(GROUP)))
            .with_producer_id(client.producer.into())
            .with_producer_epoch(client.epoch)
            .with_topics(vec![topic]);
        let response = self.broker.call(if client.kip_890 { 5 } else { 4 }, &request).await;
        if response.topics[0].partitions[0].error_code == 0 {
            assert!(self.holds(slot, back), "a client that was shut out has committed offsets");
            let open = self.taken_part(slot, back);
            let when = self.commits;
            self.transactions[open].offset = Some((when, offset));
        }
    }

    async fn end_txn(&self, client: &Client, asked: (i64, i16, bool)) -> (i16, i64, i16) {
        let (version, request) = end_request(client, asked);
        let response = self.broker.call(version, &request).await;
        (response.error_code, response.producer_id.0, response.producer_epoch)
    }

    async fn end(&mut self, slot: usize, back: usize, commit: bool) {
        let Some(client) = self.client(slot, back).cloned() else { return };
        let asked = (client.producer, client.epoch, commit);
        let (code, producer, epoch) = self.end_txn(&client, asked).await;
        if code != 0 {
            return;
        }
        let is_new = client.open.is_some();
        if let Some(open) = client.open {
            assert!(self.holds(slot, back), "a client that was shut out has ended a transaction");
            let end = &mut self.transactions[open].end;
            // To abort what the broker has aborted by itself is well.
            assert!(*end == End::Open || (*end == End::Aborted && !commit), "{end:?} is ended again");
            *end = if commit { End::Committed } else { End::Aborted };
        }
        let known = self.client(slot, back).unwrap();
        known.open = None;
        if is_new {
            known.last_end = Some(asked);
        }
        if client.kip_890 {
            known.sequences = [0; PARTITIONS];
            (known.producer, known.epoch) = (producer, epoch);
        }
    }

    /// The answer to the last EndTxn was lost, or the request comes late: it must not end another transaction.
    async fn end_again(&mut self, slot: usize, back: usize) {
        let Some(client) = self.client(slot, back).cloned() else { return };
        // Under the classic protocol nothing tells it from a new one (KIP-890).
        if let Some(asked) = client.last_end.filter(|_| client.kip_890 || client.open.is_none()) {
            self.end_txn(&client, asked).await;
        }
    }

    /// A client asks for the end, and the broker is gone before the decision is on the disk, whatever else is by then.
    async fn end_unheard(&self, slot: usize, commit: bool) {
        let Some(client) = self.clients.get(&slot).and_then(|runs| runs.last()) else { return };
        let (version, request) = end_request(client, (client.producer, client.epoch, commit));
        let _unheard = self.broker.start(version, &request);
        for _ in 0..20 {
            tokio::task::yield_now().await;
        }
    }

    /// What came of it is what the next broker knows. The client is gone too: what is still open is aborted.
    async fn succeed(&mut self, slot: usize) {
        let Some(client) = self.client(slot, 0).cloned() else { return };
        let id = client.id.clone();
        let state = self.broker.broker.transactions.run(&client.id, move |shard, _| shard.get(&id).unwrap().state);
        let decided = state.wait().await.unwrap().commits();
        if let (Some(open), Some(commits)) = (client.open, decided) {
            let end = &mut self.transactions[open].end;
            *end = if *end == End::Open && commits { End::Committed } else { End::Aborted };
            self.client(slot, 0).unwrap().open = None;
        }
        self.init(slot, client.kip_890).await;
    }

    fn holds(&self, slot: usize, back: usize) -> bool {
        back == 0 && self.clients.contains_key(&slot)
    }

    /// Everything that is open has taken too long.
    async fn time_out(&mut self) {
        let late = |shard: &mut Shard, turn: &mut crate::txn::turn::Turn<'_>| {
            turn.now = TimestampMs(turn.now.0 + 60_001);
            shard.abort_timed_out(turn);
        };
        for outcome in self.broker.broker.transactions.run_all(late) {
            outcome.wait().await.unwrap();
        }
        for runs in self.clients.values() {
            if let Some(open) = runs.last().and_then(|last| last.open) {
                let end = &mut self.transactions[open].end;
                *end = if *end == End::Open { End::Aborted } else { *end };
            }
        }
    }

    /// kill -9, between two requests; or a loss of power. What is left of the broker before ends when it is dropped, and
    /// waits for its flushes then.
    fn restart(&mut self, power: Option<u64>) -> TestBroker {
        let disk = match power {
            Some(seed) => self.broker.disk.lose_power(seed),
            None => self.broker.disk.restart(),
        };
        std::mem::replace(&mut self.broker, TestBroker::open(disk, Durability::Fsync))
    }

    /// Waits until all that is decided is carried out.
    async fn settle(&self) {
        loop {
            let states = Some([State::PrepareCommit.name().to_owned(), State::PrepareAbort.name().to_owned()].into());
            let filter = Filter { producers: [].into(), states, longer_than_ms: -1 };
            let mut left = 0;
            for outcome in self.broker.broker.transactions.run_all(move |shard, turn| shard.list(turn, &filter).len()) {
                left += outcome.wait().await.unwrap();
            }
            if left == 0 {
                return;
            }
            tokio::task::yield_now().await;
        }
    }

    /// What a consumer that reads committed records gets of a partition: values with their offsets, and where it has to stop.
    async fn read(&self, partition: usize, committed: bool) -> (Vec<(i64, String)>, i64) {
        let (mut values, mut next) = (Vec::new(), 0);
        loop {
            let wanted = FetchPartition::default().with_partition(partition as i32).with_fetch_offset(next);
            let topic = FetchTopic::default().with_topic(TopicName(text(TOPIC)));
            let topic = topic.with_partitions(vec![wanted.with_partition_max_bytes(1 << 20)]);
            let request = FetchRequest::default().with_max_bytes(1 << 20).with_topics(vec![topic]);
            let response = self.broker.call(11, &request.with_isolation_level(i8::from(committed))).await;
            let fetched = &response.responses[0].partitions[0];
            assert_eq!(fetched.error_code, 0);
            let mut aborted: Vec<(i64, i64)> = fetched
                .aborted_transactions
                .iter()
                .flatten()
                .map(|aborted| (aborted.first_offset, aborted.producer_id.0))
                .collect();
            aborted.sort_unstable();
            let records = fetched.records.clone().unwrap_or_default();
            if records.is_empty() {
                return (values, fetched.last_stable_offset);
            }
            next = filter(&records, aborted, &mut values);
        }
    }

    /// What is visible is what was committed, all of it and once; nothing is visible that is still open.
    async fn check(&self, settled: bool) {
        for partition in 0..PARTITIONS {
            let (visible, last_stable) = self.read(partition, true).await;
            let mut expected = BTreeMap::new();
            for transaction in &self.transactions {
                for (at, offset, value) in transaction.written.iter().filter(|(at, ..)| *at == partition) {
                    match transaction.end {
                        End::Open => assert!(last_stable <= *offset, "{value} at {offset} of {at} is open"),
                        End::Committed if *offset < last_stable => {
                            expected.insert(*offset, value.clone());
                        }
                        End::Committed => assert!(!settled, "{value} at {offset} of {at} is not visible"),
                        End::Aborted => {}
                    }
                }
            }
            assert_eq!(visible, expected.into_iter().collect::<Vec<_>>(), "in partition {partition}");
        }
        let committed = self.transactions.iter().filter(|transaction| transaction.end == End::Committed);
        let newest = committed.filter_map(|transaction| transaction.offset).max();
        let (code, offset) = self.committed_offset().await;
        let is_open = |transaction: &Transaction| transaction.end == End::Open && transaction.offset.is_some();
        if self.transactions.iter().any(is_open) {
            assert_eq!(code, ErrorCode::UNSTABLE_OFFSET_COMMIT.0);
        } else if settled {
            assert_eq!((code, offset), (0, newest.map_or(-1, |(_, offset)| offset)));
        }
    }

    async fn committed_offset(&self) -> (i16, i64) {
        let topic = OffsetFetchRequestTopics::default().with_name(TopicName(text("in")));
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(GroupId(text(GROUP)))
            .with_topics(Some(vec![topic.with_partition_indexes(vec![INPUT])]));
        let request = OffsetFetchRequest::default().with_groups(vec![group]).with_require_stable(true);
        let response = self.broker.call(8, &request).await;
        let partition = &response.groups[0].topics[0].partitions[0];
        (partition.error_code, partition.committed_offset)
    }
}

fn end_request(client: &Client, (producer, epoch, commit): (i64, i16, bool)) -> (i16, EndTxnRequest) {
    let request = EndTxnRequest::default()
        .with_transactional_id(TransactionalId(text(&client.id)))
        .with_producer_id(producer.into())
        .with_producer_epoch(epoch)
        .with_committed(commit);
    (if client.kip_890 { 5 } else { 4 }, request)
}

/// Takes out of batches what a consumer takes out of them; returns where the next batch begins.
fn filter(batches: &[u8], aborted: Vec<(i64, i64)>, values: &mut Vec<(i64, String)>) -> i64 {
    let (mut rest, mut next) = (batches, 0);
    let mut aborted = aborted.into_iter().peekable();
    let mut skipped: Vec<i64> = Vec::new();
    while !rest.is_empty() {
        let header = BatchHeader::parse(rest).unwrap();
        let (batch, after) = rest.split_at(header.size());
        rest = after;
        next = header.next_offset().0;
        while let Some((_, producer)) = aborted.next_if(|(first, _)| *first <= header.last_offset().0) {
            skipped.push(producer);
        }
        let section = section(batch, 1 << 20).unwrap();
        for record in Records::new(&section, header.record_count) {
            let record = record.unwrap();
            if header.is_control() {
                let marker = EndMarker::parse(record.key.unwrap(), record.value.unwrap()).unwrap().unwrap();
                if !marker.commit {
                    skipped.retain(|producer| *producer != header.producer_id.0);
                }
            } else if !(header.is_transactional() && skipped.contains(&header.producer_id.0)) {
                let offset = header.base_offset.0 + i64::from(record.offset_delta);
                values.push((offset, String::from_utf8(record.value.unwrap().to_vec()).unwrap()));
            }
        }
    }
    next
}

/// Something that happens.
#[derive(Clone, Debug)]
enum Step {
    Init { slot: usize, kip_890: bool },
    Produce { slot: usize, back: usize, partition: usize, adds: bool },
    Duplicate { slot: usize, back: usize },
    Offset { slot: usize, back: usize },
    End { slot: usize, back: usize, commit: bool },
    EndAgain { slot: usize, back: usize },
    EndUnheard { slot: usize, commit: bool, power: Option<u64> },
    TimeOut,
    Restart,
    PowerLoss(u64),
    Check,
}

fn step() -> impl Strategy<Value = Step> {
    // Mostly those who hold their id.
    let back = || prop_oneof![5 => Just(0_usize), 1 => 1_usize..3];
    prop_oneof![
        3 => (0_usize..3, any::<bool>()).prop_map(|(slot, kip_890)| Step::Init { slot, kip_890 }),
        12 => (0_usize..3, back(), 0..PARTITIONS, prop::bool::weighted(0.9))
            .prop_map(|(slot, back, partition, adds)| Step::Produce { slot, back, partition, adds }),
        2 => (0_usize..3, back()).prop_map(|(slot, back)| Step::Duplicate { slot, back }),
        3 => (0_usize..3, back()).prop_map(|(slot, back)| Step::Offset { slot, back }),
        8 => (0_usize..3, back(), any::<bool>()).prop_map(|(slot, back, commit)| Step::End { slot, back, commit }),
        2 => (0_usize..3, back()).prop_map(|(slot, back)| Step::EndAgain { slot, back }),
        2 => (0_usize..3, any::<bool>(), prop::option::weighted(0.8, any::<u64>()))
            .prop_map(|(slot, commit, power)| Step::EndUnheard { slot, commit, power }),
        1 => Just(Step::TimeOut),
        1 => Just(Step::Restart),
        1 => any::<u64>().prop_map(Step::PowerLoss),
        2 => Just(Step::Check),
    ]
}

impl World {
    async fn take(&mut self, step: Step) {
        match step {
            Step::Init { slot, kip_890 } => self.init(slot, kip_890).await,
            Step::Produce { slot, back, partition, adds } => self.produce(slot, back, partition, adds).await,
            Step::Duplicate { slot, back } => self.duplicate(slot, back).await,
            Step::Offset { slot, back } => self.commit_offset(slot, back).await,
            Step::End { slot, back, commit } => self.end(slot, back, commit).await,
            Step::EndAgain { slot, back } => self.end_again(slot, back).await,
            Step::TimeOut => self.time_out().await,
            Step::Check => self.check(false).await,
            Step::Restart | Step::PowerLoss(_) | Step::EndUnheard { .. } => {}
        }
    }

    async fn finish(&mut self) {
        self.settle().await;
        self.check(false).await;
        // Nobody leaves a transaction open.
        for slot in 0..3 {
            self.init(slot, true).await;
        }
        self.settle().await;
        self.check(true).await;
    }
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Nothing of this takes long.
fn block_on<T>(process: &tokio::runtime::Runtime, wanted: impl Future<Output = T>) -> T {
    let wanted = async { tokio::time::timeout(Duration::from_secs(30), wanted).await };
    process.block_on(wanted).expect("somebody waits in vain")
}

fn run(steps: Vec<Step>) {
    let mut process = runtime();
    let mut world = process.block_on(World::new());
    let begin = [0, 1, 2].map(|slot| Step::Init { slot, kip_890: slot > 0 });
    for step in begin.into_iter().chain(steps) {
        let (power, unheard) = match step {
            Step::Restart => (None, None),
            Step::PowerLoss(seed) => (Some(seed), None),
            Step::EndUnheard { slot, commit, power } => (power, Some((slot, commit))),
            step => {
                block_on(&process, world.take(step));
                continue;
            }
        };
        let disk = world.broker.disk.clone();
        let flushes = unheard.map(|_| disk.hold_syncs(TRANSACTION_STATE));
        if let Some((slot, commit)) = unheard {
            process.block_on(world.end_unheard(slot, commit));
        }
        // Whatever the broker was about to do ends with its process.
        std::mem::replace(&mut process, runtime()).shutdown_background();
        let before = process.block_on(async { world.restart(power) });
        drop(flushes);
        drop(before);
        if let Some((slot, _)) = unheard {
            block_on(&process, world.succeed(slot));
        }
    }
    block_on(&process, world.finish());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_time: 60_000, ..ProptestConfig::default() })]

    #[test]
    fn what_is_committed_is_read_once_and_nothing_else(steps in proptest::collection::vec(step(), 1..80)) {
        run(steps);
    }
}
