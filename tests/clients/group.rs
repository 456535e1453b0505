//! Members of consumer groups under test, each with a thread of its own, and a ledger of what they all see.
//!
//! The ledger is where the promises of a group are checked, as they are broken: a partition is held by one member at
//! a time, no record is skipped, a commit that was acknowledged stays.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use kafka_protocol::messages::offset_fetch_request::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kafka_protocol::messages::{GroupId, OffsetFetchRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer, ConsumerContext, Rebalance};
use rdkafka::error::KafkaError;
use rdkafka::message::Message;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{ClientContext, Offset, TopicPartitionList};

use crate::harness::{client, fresh, is_transport};
use crate::wire::Connection;

/// Long enough for sessions to end and for a broker to come back, even Apache Kafka.
const PATIENCE: Duration = Duration::from_mins(1);

/// How long a member may take to close.
const CLOSING: Duration = Duration::from_secs(15);

/// How a member takes part: settings of librdkafka.
pub type Kind = &'static [(&'static str, &'static str)];

pub const RANGE: Kind = &[("partition.assignment.strategy", "range"), ("heartbeat.interval.ms", "200")];
pub const ROUND_ROBIN: Kind = &[("partition.assignment.strategy", "roundrobin"), ("heartbeat.interval.ms", "200")];
pub const COOPERATIVE: Kind =
    &[("partition.assignment.strategy", "cooperative-sticky"), ("heartbeat.interval.ms", "200")];
pub const UNIFORM: Kind = &[("group.protocol", "consumer"), ("group.remote.assignor", "uniform")];
pub const SERVER_RANGE: Kind = &[("group.protocol", "consumer"), ("group.remote.assignor", "range")];

/// Every way to be a member.
pub const KINDS: [Kind; 5] = [RANGE, ROUND_ROBIN, COOPERATIVE, UNIFORM, SERVER_RANGE];

/// Whether the broker assigns (KIP-848).
pub fn is_consumer_protocol(kind: Kind) -> bool {
    kind.contains(&("group.protocol", "consumer"))
}

pub type Partition = (String, i32);

/// What one member holds and has seen.
#[derive(Clone, Debug, Default)]
pub struct Seen {
    pub holds: Vec<Partition>,
    /// Callbacks of librdkafka.
    pub assigns: usize,
    pub revokes: usize,
    /// What a poll said that was neither a record nor a broker that is away.
    pub errors: Vec<RDKafkaErrorCode>,
    /// It was asleep once: what it thinks to hold may long be somebody else's.
    slept: bool,
    /// How many commits were acknowledged.
    pub commits: usize,
    /// Where it is in what it holds, if it processed anything: the next offset, and the one it committed.
    positions: BTreeMap<Partition, (i64, i64)>,
    ended: bool,
}

/// Two members that both thought to hold a partition; excused if the first one learns that it has lost it.
#[derive(Debug)]
#[allow(dead_code, reason = "read by whoever reads what went wrong")]
struct Conflict {
    partition: Partition,
    first: usize,
    second: usize,
}

/// What all members of a group see.
#[derive(Debug, Default)]
pub struct Ledger {
    pub members: Vec<Seen>,
    /// The next offset that nobody processed yet.
    pub processed: BTreeMap<Partition, i64>,
    /// How often a record was processed again.
    pub repeated: usize,
    /// The highest offsets whose commit was acknowledged.
    pub committed: BTreeMap<Partition, i64>,
    conflicts: Vec<Conflict>,
    wrong: Vec<String>,
}

impl Ledger {
    fn assign(&mut self, me: usize, partitions: Vec<Partition>) {
        self.members[me].assigns += 1;
        for partition in partitions {
            let held = |seen: &Seen| seen.holds.contains(&partition);
            let holders = (0..self.members.len()).filter(|index| held(&self.members[*index])).collect::<Vec<_>>();
            let awake = holders.into_iter().filter(|first| !self.members[me].slept && !self.members[*first].slept);
            let conflict = |first| Conflict { partition: partition.clone(), first, second: me };
            self.conflicts.extend(awake.map(conflict));
            self.members[me].holds.push(partition);
        }
    }

    fn revoke(&mut self, me: usize, partitions: &[Partition], lost: bool) {
        let seen = &mut self.members[me];
        seen.revokes += 1;
        seen.holds.retain(|partition| !partitions.contains(partition));
        seen.positions.retain(|partition, _| !partitions.contains(partition));
        let (ended, others): (Vec<_>, Vec<_>) = std::mem::take(&mut self.conflicts)
            .into_iter()
            .partition(|conflict| conflict.first == me && partitions.contains(&conflict.partition));
        self.conflicts = others;
        if !lost {
            self.wrong.extend(ended.iter().map(|conflict| format!("held by two: {conflict:?}")));
        }
    }

    fn process(&mut self, me: usize, partition: Partition, offset: i64) {
        let next = self.processed.entry(partition.clone()).or_default();
        if offset > *next {
            self.wrong.push(format!("{partition:?}: skipped from {next} to {offset}"));
        }
        self.repeated += usize::from(offset < *next);
        *next = (offset + 1).max(*next);
        self.members[me].positions.entry(partition).or_insert((0, -1)).0 = offset + 1;
    }

    fn commit(&mut self, me: usize, partition: &Partition, offset: i64) {
        self.members[me].commits += 1;
        if let Some((_, committed)) = self.members[me].positions.get_mut(partition) {
            *committed = offset;
        }
        let highest = self.committed.entry(partition.clone()).or_default();
        *highest = offset.max(*highest);
    }

    /// Who holds what, one line for each partition.
    pub fn held(&self) -> BTreeMap<Partition, Vec<usize>> {
        let mut held: BTreeMap<Partition, Vec<usize>> = BTreeMap::new();
        for (member, seen) in self.members.iter().enumerate().filter(|(_, seen)| !seen.ended) {
            seen.holds.iter().for_each(|partition| held.entry(partition.clone()).or_default().push(member));
        }
        held
    }

    /// How many partitions each member that has not ended holds.
    pub fn shares(&self) -> Vec<usize> {
        self.members.iter().filter(|seen| !seen.ended).map(|seen| seen.holds.len()).collect()
    }

    /// Once all members are closed: each gave up what it held, and nobody else held it meanwhile without its losing it.
    pub fn check_all_closed(&self) {
        self.check();
        assert!(self.conflicts.is_empty(), "{:#?}", self.conflicts);
        for seen in self.members.iter().filter(|seen| !seen.slept) {
            assert!(seen.holds.is_empty(), "{seen:?}");
        }
    }

    fn check(&self) {
        assert!(self.wrong.is_empty(), "{:#?}", self.wrong);
    }
}

/// A group, as its members see it.
#[derive(Clone)]
pub struct Group {
    pub name: String,
    bootstrap: String,
    shared: Arc<(Mutex<Ledger>, Condvar)>,
}

impl Group {
    pub fn new(bootstrap: &str, name: &str) -> Self {
        Self { name: fresh(name), bootstrap: bootstrap.to_owned(), shared: Arc::default() }
    }

    /// The same group with an empty ledger.
    pub fn with_a_new_ledger(&self) -> Self {
        Self { shared: Arc::default(), ..self.clone() }
    }

    /// A new member that polls, processes and commits until it is ended.
    pub fn join(&self, kind: Kind, topics: &[&str], settings: &[(&str, &str)]) -> Member {
        let number = {
            let mut ledger = self.ledger();
            ledger.members.push(Seen::default());
            ledger.members.len() - 1
        };
        let mut config = client(&self.bootstrap);
        config.set("group.id", &self.name).set("enable.auto.commit", "false").set("auto.offset.reset", "earliest");
        config.set("enable.auto.offset.store", "false").set("topic.metadata.refresh.interval.ms", "500");
        config.set("fetch.wait.max.ms", "100").set("client.id", format!("member-{number}"));
        for (name, value) in kind.iter().chain(settings) {
            config.set(*name, *value);
        }
        let consumer: BaseConsumer<View> = config.create_with_context(View { group: self.clone(), number }).unwrap();
        consumer.subscribe(topics).unwrap();
        let order = Arc::new(AtomicU8::new(POLL));
        let thread = {
            let (order, ending) = (Arc::clone(&order), Ending(self.clone(), number));
            std::thread::spawn(move || {
                run(&consumer, &order);
                drop(consumer);
                drop(ending);
            })
        };
        Member { number, group: self.clone(), order, thread: Some(thread) }
    }

    /// The ledger as it is now.
    pub fn ledger(&self) -> MutexGuard<'_, Ledger> {
        // A member's thread that panicked with the lock has said why.
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits until the ledger is as wanted, and nothing in it is wrong.
    pub fn wait(&self, what: &str, mut is_so: impl FnMut(&Ledger) -> bool) {
        let pending = |ledger: &mut Ledger| ledger.wrong.is_empty() && !is_so(ledger);
        let (ledger, timeout) = self.shared.1.wait_timeout_while(self.ledger(), PATIENCE, pending).unwrap();
        ledger.check();
        assert!(!timeout.timed_out(), "not within {PATIENCE:?}: {what}\n{ledger:#?}");
    }

    /// Waits until all partitions of the topic are held, each by one member, and this many members hold any.
    pub fn wait_until_held(&self, topic: &str, partitions: i32, by: usize) {
        self.wait(&format!("{partitions} partitions of {topic} held by {by} members"), |ledger| {
            let held = ledger.held();
            let of_topic: Vec<_> = held.iter().filter(|((name, _), _)| name == topic).collect();
            let mut members: Vec<usize> = of_topic.iter().flat_map(|(_, members)| members.iter().copied()).collect();
            let single = members.len() == of_topic.len();
            members.sort_unstable();
            members.dedup();
            single && of_topic.len() == partitions as usize && members.len() == by
        });
    }

    /// Waits until all records before these ends (of partition 0, 1, ...) are processed and committed.
    pub fn wait_until_committed(&self, topic: &str, ends: &[i64]) {
        self.wait(&format!("{topic} committed up to {ends:?}"), |ledger| {
            ends.iter().enumerate().filter(|(_, end)| **end > 0).all(|(index, end)| {
                let partition = (topic.to_owned(), index as i32);
                ledger.committed.get(&partition).is_some_and(|committed| committed >= end)
            })
        });
    }

    /// What the broker says was committed, asked without being a member; it must not be older than what it
    /// acknowledged before.
    pub fn fetch_committed(&self, connection: &mut Connection) -> BTreeMap<Partition, i64> {
        let acknowledged = self.ledger().committed.clone();
        let fetched = fetch_committed(connection, &self.name);
        for (partition, offset) in acknowledged {
            let found = fetched.get(&partition).copied().unwrap_or(-1);
            assert!(found >= offset, "{partition:?}: {offset} was acknowledged, {found} is there");
        }
        fetched
    }
}

/// All offsets of a group.
pub fn fetch_committed(connection: &mut Connection, group: &str) -> BTreeMap<Partition, i64> {
    let group = OffsetFetchRequestGroup::default().with_group_id(group_id(group)).with_topics(None);
    let response = connection.call(8, &OffsetFetchRequest::default().with_groups(vec![group]));
    let group = &response.groups[0];
    assert_eq!(group.error_code, 0);
    let offsets = |topic: &kafka_protocol::messages::offset_fetch_response::OffsetFetchResponseTopics| {
        let name = topic.name.to_string();
        let offset = |partition: &kafka_protocol::messages::offset_fetch_response::OffsetFetchResponsePartitions| {
            ((name.clone(), partition.partition_index), partition.committed_offset)
        };
        topic.partitions.iter().map(offset).collect::<Vec<_>>()
    };
    group.topics.iter().flat_map(offsets).collect()
}

/// Topics and partitions of an OffsetFetch.
pub fn wanted_offsets(topic: &str, partitions: &[i32]) -> Vec<OffsetFetchRequestTopics> {
    vec![OffsetFetchRequestTopics::default().with_name(topic_name(topic)).with_partition_indexes(partitions.to_vec())]
}

pub fn group_id(name: &str) -> GroupId {
    GroupId(text(name))
}

pub fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

pub fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

const POLL: u8 = 0;
/// Processes nothing and polls no more, until it is to close.
const FREEZE: u8 = 1;
const CLOSE: u8 = 2;

/// A consumer with its thread. Dropped, it is closed: a dynamic member leaves, a static one of the classic protocol
/// goes without a word.
pub struct Member {
    pub number: usize,
    group: Group,
    order: Arc<AtomicU8>,
    thread: Option<JoinHandle<()>>,
}

impl Member {
    /// Closes it and waits until that is done.
    pub fn close(mut self) {
        self.end();
    }

    /// It polls no more, and does nothing with what it holds.
    pub fn freeze(&self) {
        self.group.ledger().members[self.number].slept = true;
        self.order.store(FREEZE, Ordering::SeqCst);
    }

    /// It goes on where it was, as if nothing had happened.
    pub fn wake(&self) {
        self.order.store(POLL, Ordering::SeqCst);
        self.thread.iter().for_each(|thread| thread.thread().unpark());
    }

    /// What it has seen so far.
    pub fn seen(&self) -> Seen {
        self.group.ledger().members[self.number].clone()
    }

    fn end(&mut self) {
        self.order.store(CLOSE, Ordering::SeqCst);
        let Some(thread) = self.thread.take() else { return };
        thread.thread().unpark();
        let still_closing = |ledger: &mut Ledger| !ledger.members[self.number].ended;
        // A test that failed with the ledger in its hands is to say so, and not to end the others.
        let (ledger, timeout) = (self.group.shared.1)
            .wait_timeout_while(self.group.ledger(), CLOSING, still_closing)
            .unwrap_or_else(PoisonError::into_inner);
        drop(ledger);
        if timeout.timed_out() {
            // librdkafka 2.12 never answers a rebalance callback that meets the end of its group handler. Such a
            // member has left, and only its thread is left.
            println!("member {} of {} hangs in close", self.number, self.group.name);
            return;
        }
        let ended = thread.join();
        if !std::thread::panicking() {
            ended.expect("a member's thread");
        }
    }
}

/// Says that a member's thread is at its end, also where it panicked.
struct Ending(Group, usize);

impl Drop for Ending {
    fn drop(&mut self) {
        self.0.ledger().members[self.1].ended = true;
        self.0.shared.1.notify_all();
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.end();
    }
}

fn run(consumer: &BaseConsumer<View>, order: &AtomicU8) {
    let view = Arc::clone(consumer.context());
    let mut uncommitted = 0;
    loop {
        match order.load(Ordering::SeqCst) {
            POLL => {}
            FREEZE => {
                std::thread::park();
                continue;
            }
            _ => return,
        }
        match consumer.poll(Duration::from_millis(20)) {
            Some(Ok(message)) => {
                let partition = (message.topic().to_owned(), message.partition());
                view.change(|ledger| ledger.process(view.number, partition, message.offset()));
                uncommitted += 1;
            }
            Some(Err(error)) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                if !is_transport(code) {
                    view.change(|ledger| ledger.members[view.number].errors.push(code));
                }
            }
            None if uncommitted == 0 => {}
            None => uncommitted = 50,
        }
        if uncommitted >= 50 {
            // What is refused now is tried again: a restart may have been in the way.
            uncommitted = usize::from(!view.commit(consumer, None));
        }
    }
}

/// One member's view of its group.
struct View {
    group: Group,
    number: usize,
}

impl View {
    fn change(&self, change: impl FnOnce(&mut Ledger)) {
        change(&mut self.group.ledger());
        self.group.shared.1.notify_all();
    }

    /// Commits what was processed of these partitions, or of all, one request for each so that each has its answer.
    fn commit(&self, consumer: &BaseConsumer<Self>, only: Option<&[Partition]>) -> bool {
        let positions = self.group.ledger().members[self.number].positions.clone();
        let mut all = true;
        for (partition, (next, committed)) in positions {
            if next == committed || only.is_some_and(|only| !only.contains(&partition)) {
                continue;
            }
            let mut offsets = TopicPartitionList::new();
            offsets.add_partition_offset(&partition.0, partition.1, Offset::Offset(next)).unwrap();
            if consumer.commit(&offsets, CommitMode::Sync).is_ok() {
                self.change(|ledger| ledger.commit(self.number, &partition, next));
            } else {
                all = false;
            }
        }
        all
    }
}

impl ClientContext for View {
    fn log(&self, _: rdkafka::config::RDKafkaLogLevel, _: &str, _: &str) {}

    fn error(&self, error: KafkaError, _: &str) {
        // A fatal one is the only word of it that a member gets.
        if let Some(code @ RDKafkaErrorCode::Fatal) = error.rdkafka_error_code() {
            self.change(|ledger| ledger.members[self.number].errors.push(code));
        }
    }
}

impl ConsumerContext for View {
    fn pre_rebalance(&self, consumer: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Assign(list) => self.change(|ledger| ledger.assign(self.number, partitions(list))),
            Rebalance::Revoke(list) => {
                let (partitions, lost) = (partitions(list), consumer.assignment_lost());
                self.commit(consumer, Some(&partitions));
                self.change(|ledger| ledger.revoke(self.number, &partitions, lost));
            }
            Rebalance::Error(error) => {
                let code = error.rdkafka_error_code().unwrap_or(RDKafkaErrorCode::Unknown);
                self.change(|ledger| ledger.members[self.number].errors.push(code));
            }
        }
    }
}

fn partitions(list: &TopicPartitionList) -> Vec<Partition> {
    list.elements().iter().map(|element| (element.topic().to_owned(), element.partition())).collect()
}
