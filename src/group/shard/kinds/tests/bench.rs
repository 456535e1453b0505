//! A shard with its log and the requests of clients.

use std::collections::{BTreeMap, HashMap};

use bytes::Bytes;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, GroupId as WireGroupId, HeartbeatRequest,
    JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
    TopicName,
};

use crate::group::classic::{ClassicGroup, ClassicState};
use crate::group::consumer::ConsumerGroup;
use crate::group::records::Record;
use crate::group::shard::{Group, Shard};
use crate::group::test_support::World;
use crate::group::timers::{Timer, Timers};
use crate::group::turn::{Client, Released, Ticket, Turn};
use crate::wire::consumer_protocol::{ConsumerAssignment, ConsumerSubscription};
pub use crate::wire::message::text;
use crate::wire::{ErrorCode, Refusal};

pub const SESSION_MS: i32 = 10_000;
pub const REBALANCE_MS: i32 = 20_000;
pub const RANGE: &str = "range";
pub const COOPERATIVE: &str = "cooperative-sticky";

pub fn group() -> WireGroupId {
    WireGroupId(text("g"))
}

pub fn client(api_version: i16) -> Client {
    Client { id: "c".to_owned(), host: "/127.0.0.1".to_owned(), api_version }
}

/// What a classic consumer tells about itself.
pub fn subscription(topics: &[&str], owned: &[(&str, &[i32])]) -> Bytes {
    let owned = owned.iter().map(|(topic, partitions)| ((*topic).to_owned(), partitions.to_vec())).collect();
    let topics = topics.iter().map(|topic| (*topic).to_owned()).collect();
    ConsumerSubscription { topics, owned, ..ConsumerSubscription::default() }.encode(3)
}

pub fn join(member: &str, protocols: &[(&str, Bytes)]) -> JoinGroupRequest {
    let protocols = protocols.iter().map(|(name, metadata)| {
        JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(metadata.clone())
    });
    JoinGroupRequest::default()
        .with_group_id(group())
        .with_member_id(text(member))
        .with_session_timeout_ms(SESSION_MS)
        .with_rebalance_timeout_ms(REBALANCE_MS)
        .with_protocol_type(text("consumer"))
        .with_protocols(protocols.collect())
}

pub fn sync(member: &str, generation: i32, protocol: &str, given: &[(&str, Bytes)]) -> SyncGroupRequest {
    let given = given.iter().map(|(member, assignment)| {
        SyncGroupRequestAssignment::default().with_member_id(text(member)).with_assignment(assignment.clone())
    });
    SyncGroupRequest::default()
        .with_group_id(group())
        .with_member_id(text(member))
        .with_generation_id(generation)
        .with_protocol_type(Some(text("consumer")))
        .with_protocol_name(Some(text(protocol)))
        .with_assignments(given.collect())
}

pub fn heartbeat(member: &str, generation: i32) -> HeartbeatRequest {
    HeartbeatRequest::default().with_group_id(group()).with_member_id(text(member)).with_generation_id(generation)
}

pub fn leave(members: &[(&str, Option<&str>)]) -> LeaveGroupRequest {
    let members = members.iter().map(|(member, instance)| {
        MemberIdentity::default().with_member_id(text(member)).with_group_instance_id(instance.map(text))
    });
    LeaveGroupRequest::default().with_group_id(group()).with_members(members.collect())
}

/// A member of the consumer protocol that says that it is there.
pub fn beat(member: &str, epoch: i32) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(group())
        .with_member_id(text(member))
        .with_member_epoch(epoch)
        .with_rebalance_timeout_ms(-1)
}

/// One that joins.
pub fn come(member: &str, topics: &[&str]) -> ConsumerGroupHeartbeatRequest {
    beat(member, 0)
        .with_rebalance_timeout_ms(REBALANCE_MS)
        .with_subscribed_topic_names(Some(topics.iter().map(|topic| TopicName(text(topic))).collect()))
        .with_topic_partitions(Some(Vec::new()))
}

/// One that owns these.
pub fn owning(member: &str, epoch: i32, owned: &[(u128, &[i32])]) -> ConsumerGroupHeartbeatRequest {
    let owned = owned.iter().map(|(topic, partitions)| {
        TopicPartitions::default().with_topic_id(uuid::Uuid::from_u128(*topic)).with_partitions(partitions.to_vec())
    });
    beat(member, epoch).with_topic_partitions(Some(owned.collect()))
}

pub fn assignment(topics: &[(&str, &[i32])]) -> Bytes {
    let partitions = topics.iter().map(|(topic, partitions)| ((*topic).to_owned(), partitions.to_vec())).collect();
    ConsumerAssignment { partitions, user_data: None }.encode(1)
}

pub fn assigned(answer: &SyncGroupResponse) -> Vec<(String, Vec<i32>)> {
    if answer.assignment.is_empty() {
        return Vec::new();
    }
    ConsumerAssignment::decode(&answer.assignment).unwrap().partitions
}

pub struct Bench {
    pub world: World,
    pub shard: Shard,
    pub log: Vec<Record>,
    pub released: HashMap<Ticket, Released>,
    pub ticket: Ticket,
}

impl Bench {
    /// With topic `t` of so many partitions, and assignments made at once.
    pub fn new(partitions: i32) -> Self {
        let mut world = World::new();
        world.config.assignment_interval.default = 0;
        world.topic("t", partitions);
        Self { world, shard: Shard::default(), log: Vec::new(), released: HashMap::new(), ticket: Ticket(0) }
    }

    pub fn turn<T>(&mut self, run: impl FnOnce(&mut Shard, &mut Turn<'_>) -> T) -> T {
        let mut turn = self.world.turn();
        self.ticket = turn.ticket;
        let result = run(&mut self.shard, &mut turn);
        self.log.extend(turn.records);
        self.released.extend(turn.released);
        result
    }

    /// Asked with version 9.
    pub fn join(&mut self, request: &JoinGroupRequest) -> Option<JoinGroupResponse> {
        self.turn(|shard, turn| shard.join(turn, &client(9), request))
    }

    pub fn joined(&mut self, request: &JoinGroupRequest) -> JoinGroupResponse {
        self.join(request).expect("an answer at once")
    }

    pub fn sync(&mut self, request: &SyncGroupRequest) -> Option<SyncGroupResponse> {
        self.turn(|shard, turn| shard.sync(turn, &client(5), request))
    }

    pub fn synced(&mut self, request: &SyncGroupRequest) -> (ErrorCode, Vec<(String, Vec<i32>)>) {
        let answer = self.sync(request).expect("an answer at once");
        (ErrorCode(answer.error_code), assigned(&answer))
    }

    pub fn heartbeat(&mut self, request: &HeartbeatRequest) -> ErrorCode {
        self.turn(|shard, turn| shard.heartbeat(turn, request))
    }

    pub fn leave(&mut self, request: &LeaveGroupRequest) -> LeaveGroupResponse {
        self.turn(|shard, turn| shard.leave(turn, &client(5), request))
    }

    pub fn beat(&mut self, request: &ConsumerGroupHeartbeatRequest) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let before = self.log.len();
        let answer = self.turn(|shard, turn| shard.consumer_heartbeat(turn, &client(1), request));
        assert!(answer.is_ok() || self.log.len() == before, "a refusal writes nothing");
        answer
    }

    /// The epoch and the partitions that a member is told.
    pub fn ok(&mut self, request: &ConsumerGroupHeartbeatRequest) -> (i32, Option<Vec<i32>>) {
        let answer = self.beat(request).unwrap_or_else(|refusal| panic!("{refusal:?}"));
        let partitions = answer.assignment.map(|assignment| {
            assignment.topic_partitions.into_iter().flat_map(|topic| topic.partitions).collect::<Vec<_>>()
        });
        (answer.member_epoch, partitions)
    }

    pub fn advance(&mut self, ms: i64) {
        self.world.advance(ms);
        self.turn(Shard::tick);
    }

    pub fn classic(&self) -> &ClassicGroup {
        match self.shard.groups.get("g") {
            Some(Group::Classic(group)) => group,
            other => panic!("not a classic group: {other:?}"),
        }
    }

    pub fn consumer(&self) -> &ConsumerGroup {
        match self.shard.groups.get("g") {
            Some(Group::Consumer(group)) => group,
            other => panic!("not a consumer group: {other:?}"),
        }
    }

    pub fn is_due(&self, timer: &Timer) -> bool {
        self.world.timers.due(&"g".into(), timer).is_some()
    }

    /// A stable classic group of these members, who support the protocol and own these partitions of `t`.
    pub fn classic_group(protocol: &str, members: &[(&str, &[i32])]) -> Self {
        let mut bench = Self::new(6);
        let all = members.iter().map(|(instance, _)| {
            let request = join("", &[(protocol, subscription(&["t"], &[]))]);
            let request = request.with_group_instance_id(Some(text(instance)));
            assert_eq!(bench.join(&request), None);
            bench.ticket
        });
        let all: Vec<Ticket> = all.collect();
        bench.advance(0);
        let answers: Vec<JoinGroupResponse> = all.iter().map(|ticket| bench.join_released(*ticket)).collect();
        let ids: Vec<String> = answers.iter().map(|answer| answer.member_id.to_string()).collect();
        let given: Vec<(&str, Bytes)> =
            ids.iter().zip(members).map(|(id, (_, owned))| (id.as_str(), assignment(&[("t", owned)]))).collect();
        let mut order: Vec<&JoinGroupResponse> = answers.iter().collect();
        order.sort_by_key(|answer| answer.leader != answer.member_id);
        for answer in order {
            let given = if answer.leader == answer.member_id { given.as_slice() } else { &[] };
            bench.sync(&sync(&answer.member_id, answer.generation_id, protocol, given)).unwrap();
        }
        bench
    }

    pub fn join_released(&mut self, ticket: Ticket) -> JoinGroupResponse {
        match self.released.remove(&ticket) {
            Some(Released::Join(answer)) => answer,
            other => panic!("no answer to a join: {other:?}"),
        }
    }

    /// The id of the member with an instance id.
    pub fn id(&self, instance: &str) -> String {
        let id = match self.shard.groups.get("g") {
            Some(Group::Classic(group)) => group.static_member(instance),
            Some(Group::Consumer(group)) => group.static_member(instance),
            None => None,
        };
        id.unwrap_or_else(|| panic!("no {instance}")).to_string()
    }

    /// As a broker finds it after a restart, with the log as it is or compacted as far as it can be.
    pub fn replayed(&self, compacted: bool) -> Shard {
        let encoded: Vec<_> = self.log.iter().map(Record::encode).collect();
        let mut last = BTreeMap::new();
        for (index, record) in encoded.iter().enumerate() {
            last.insert(&record.key[..], index);
        }
        let mut shard = Shard::default();
        for (index, record) in encoded.iter().enumerate() {
            let kept = last[&record.key[..]] == index && record.value.is_some();
            if compacted && !kept {
                continue;
            }
            match Record::decode(&record.key, record.value.as_deref()).unwrap() {
                Some(record) => shard.apply(&record),
                None => panic!("written and not known"),
            }
        }
        shard
    }

    pub fn restart(&mut self, compacted: bool) {
        self.shard = self.replayed(compacted);
        self.world.timers = Timers::default();
        self.released.clear();
        self.turn(Shard::loaded);
    }

    /// What was replayed is what lives.
    pub fn check_replay(&self) {
        for compacted in [false, true] {
            let replayed = self.replayed(compacted);
            match (self.shard.groups.get("g"), replayed.groups.get("g")) {
                (None, None) => {}
                (Some(Group::Consumer(live)), Some(Group::Consumer(replayed))) => same_consumers(live, replayed),
                (Some(Group::Classic(live)), Some(Group::Classic(replayed))) => same_classic(live, replayed),
                (live, replayed) => panic!("lives: {live:?}\nreplayed: {replayed:?}"),
            }
        }
    }
}

fn same_consumers(live: &ConsumerGroup, replayed: &ConsumerGroup) {
    assert_eq!(live.members(), replayed.members());
    assert_eq!((live.epoch(), live.target_epoch()), (replayed.epoch(), replayed.target_epoch()));
    assert_eq!((live.state(), live.classic_members()), (replayed.state(), replayed.classic_members()));
    for id in live.members().keys() {
        assert_eq!(live.target(id), replayed.target(id));
    }
}

/// A classic group is in the log as of its last rebalance.
fn same_classic(live: &ClassicGroup, replayed: &ClassicGroup) {
    match live.state() {
        ClassicState::Stable => {
            let value = |group: &ClassicGroup| {
                let mut value = group.to_record();
                value.state_timestamp = 0;
                value
            };
            assert_eq!(value(live), value(replayed));
        }
        ClassicState::Empty => assert!(replayed.is_empty()),
        _ => assert!(replayed.generation() <= live.generation()),
    }
}
