//! Each rule with Kafka's codes; `tests/model.rs` holds the property test, `tests/step.rs` the reconciliation alone.

#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]

mod answers;
mod joining;
mod model;
mod step;
mod topics;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicName};
use kafka_protocol::protocol::StrBytes;

use super::{ConsumerGroup, Seen};
use crate::group::records::{MemberState, Record};
use crate::group::test_support::World;
use crate::group::timers::Timer;
use crate::group::turn::{Client, Steady, Turn};
use crate::metadata::records::MetadataRecord;
use crate::types::TopicId;
use crate::wire::message::text;
use crate::wire::{ErrorCode, Refusal};

const SESSION_MS: i64 = 45_000;
const REBALANCE_MS: i32 = 20_000;

/// What an answer assigns, if it says so.
type Assigned = Option<Vec<(u128, Vec<i32>)>>;

/// A group, the log of its shard and the world around it.
struct Bench {
    world: World,
    group: ConsumerGroup,
    log: Vec<Record>,
    /// The records of the last turn.
    last: Vec<Record>,
}

impl Bench {
    fn new() -> Self {
        let mut world = World::new();
        // Most tests are about what is assigned, not about when.
        world.config.assignment_interval.default = 0;
        Self { world, group: ConsumerGroup::new(Arc::from("g")), log: Vec::new(), last: Vec::new() }
    }

    /// With topics of so many partitions.
    fn with(topics: &[(&str, i32)]) -> Self {
        let mut bench = Self::new();
        for (name, partitions) in topics {
            bench.world.topic(name, *partitions);
        }
        bench
    }

    fn turn<T>(&mut self, run: impl FnOnce(&mut ConsumerGroup, &mut Turn<'_>) -> T) -> T {
        let mut turn = self.world.turn();
        let result = run(&mut self.group, &mut turn);
        self.last = turn.records;
        self.log.extend(self.last.iter().cloned());
        result
    }

    fn beat(&mut self, request: &Request) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        self.beat_as(request, 1)
    }

    fn beat_as(&mut self, request: &Request, version: i16) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let before = self.group.clone();
        let client = Client { id: "c".to_owned(), host: "/127.0.0.1".to_owned(), api_version: version };
        let result = self.turn(|group, turn| group.heartbeat(turn, &client, &request.0));
        if result.is_err() {
            assert!(self.last.is_empty() && self.group == before, "a refusal changes nothing");
        }
        result
    }

    /// The epoch of a heartbeat that is taken, and what it assigns.
    fn ok(&mut self, request: &Request) -> (i32, Assigned) {
        let answer = self.beat(request).unwrap_or_else(|refusal| panic!("{refusal:?} for {:?}", request.0));
        let assignment = answer.assignment.map(|assignment| {
            let topics = assignment.topic_partitions.into_iter();
            topics.map(|topic| (topic.topic_id.as_u128(), topic.partitions)).collect()
        });
        (answer.member_epoch, assignment)
    }

    fn refused(&mut self, request: &Request) -> ErrorCode {
        match self.beat(request) {
            Ok(answer) => panic!("taken: {answer:?} for {:?}", request.0),
            Err(refusal) => refusal.code,
        }
    }

    /// Time passes, and timers go off.
    fn advance(&mut self, ms: i64) {
        self.world.advance(ms);
        while let Some((_, timer)) = self.world.timers.pop(self.world.now.steady) {
            self.fire(&timer);
        }
    }

    /// A timer goes off.
    fn fire(&mut self, timer: &Timer) {
        self.turn(|group, turn| {
            if let Some(expired) = group.expired_by(timer) {
                group.fence_members(turn, std::slice::from_ref(expired));
            }
        });
    }

    fn timer(&self, timer: &Timer) -> bool {
        self.world.timers.due(self.group.id(), timer).is_some()
    }

    fn delete_topic(&mut self, id: TopicId) {
        self.world.image.apply(&MetadataRecord::RemoveTopic { id }).unwrap();
    }

    fn state(&self, id: &str) -> MemberState {
        self.group.member(id).unwrap().current.state
    }

    fn owned(&self, id: &str) -> BTreeSet<(u128, i32)> {
        self.group.member(id).unwrap().partitions().map(|(topic, partition)| (topic.0.as_u128(), partition.0)).collect()
    }

    fn epoch(&self, id: &str) -> i32 {
        self.group.member(id).unwrap().current.epoch
    }

    /// As after a restart.
    fn replayed(&self) -> ConsumerGroup {
        replay(self.group.id(), &self.log)
    }
}

fn replay<'a>(id: &Arc<str>, log: impl IntoIterator<Item = &'a Record>) -> ConsumerGroup {
    let mut group = ConsumerGroup::new(id.clone());
    log.into_iter().for_each(|record| group.apply(record));
    group
}

/// What is durable of a group.
fn durable(group: &ConsumerGroup) -> ConsumerGroup {
    ConsumerGroup { seen: Seen::default(), ..group.clone() }
}

/// What a compacted log keeps: the last record of each key in the order of the log, and no tombstones.
fn compacted(log: &[Record]) -> Vec<Record> {
    let mut last = BTreeMap::new();
    for (index, record) in log.iter().enumerate() {
        let (key, gone) = match record {
            Record::ConsumerEpoch(_, value) => ("epoch".to_owned(), value.is_none()),
            Record::TargetEpoch(_, value) => ("target epoch".to_owned(), value.is_none()),
            Record::Member(_, id, value) => (format!("member {id}"), value.is_none()),
            Record::Target(_, id, value) => (format!("target {id}"), value.is_none()),
            Record::Current(_, id, value) => (format!("current {id}"), value.is_none()),
            Record::Regex(_, pattern, value) => (format!("regex {pattern}"), value.is_none()),
            other => panic!("{other:?}"),
        };
        last.insert(key, (index, gone));
    }
    let mut kept: Vec<usize> = last.into_values().filter(|(_, gone)| !gone).map(|(index, _)| index).collect();
    kept.sort_unstable();
    kept.into_iter().map(|index| log[index].clone()).collect()
}

/// A heartbeat.
#[derive(Clone)]
struct Request(ConsumerGroupHeartbeatRequest);

impl Request {
    /// A member that says that it is there.
    fn beat(id: &str, epoch: i32) -> Self {
        let mut request = ConsumerGroupHeartbeatRequest::default();
        request.group_id = kafka_protocol::messages::GroupId(StrBytes::from_static_str("g"));
        request.member_id = text(id);
        request.member_epoch = epoch;
        Self(request)
    }

    /// A member that joins.
    fn join(id: &str, topics: &[&str]) -> Self {
        Self::full(id, 0, topics, &[])
    }

    /// A member that says everything.
    fn full(id: &str, epoch: i32, topics: &[&str], owned: &[(u128, &[i32])]) -> Self {
        Self::beat(id, epoch).topics(topics).rebalance(REBALANCE_MS).owns(owned)
    }

    fn with(mut self, change: impl FnOnce(&mut ConsumerGroupHeartbeatRequest)) -> Self {
        change(&mut self.0);
        self
    }

    fn topics(self, topics: &[&str]) -> Self {
        let names = topics.iter().map(|topic| TopicName(text(topic))).collect();
        self.with(|request| request.subscribed_topic_names = Some(names))
    }

    fn regex(self, pattern: &str) -> Self {
        self.with(|request| request.subscribed_topic_regex = Some(text(pattern)))
    }

    fn instance(self, instance: &str) -> Self {
        self.with(|request| request.instance_id = Some(text(instance)))
    }

    fn assignor(self, name: &str) -> Self {
        self.with(|request| request.server_assignor = Some(text(name)))
    }

    fn rebalance(self, ms: i32) -> Self {
        self.with(|request| request.rebalance_timeout_ms = ms)
    }

    fn owns(self, owned: &[(u128, &[i32])]) -> Self {
        let owned = owned.iter().map(|(topic, partitions)| {
            TopicPartitions::default().with_topic_id(uuid::Uuid::from_u128(*topic)).with_partitions(partitions.to_vec())
        });
        self.with(|request| request.topic_partitions = Some(owned.collect()))
    }
}
