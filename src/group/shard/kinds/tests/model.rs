//! Clients of both protocols in one group that come, go, pause, die, change their protocol and find their broker
//! restarted: nobody owns what another owns, the group is of the kind that the policy says, what was replayed is what
//! lives, and left alone for a while everybody owns its share.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kafka_protocol::messages::join_group_response::JoinGroupResponseMember;
use kafka_protocol::messages::{JoinGroupResponse, SyncGroupResponse};
use proptest::prelude::*;

use super::bench::*;
use crate::group::config::MigrationPolicy;
use crate::group::consumer::Member;
use crate::group::shard::Group;
use crate::group::timers::Timer;
use crate::group::turn::{Released, Steady, Ticket};
use crate::wire::ErrorCode;
use crate::wire::consumer_protocol::{ConsumerAssignment, ConsumerSubscription};

const CLIENTS: usize = 6;
/// Clients from this one on are static.
const FIRST_STATIC: usize = 4;
const TOPICS: [(&str, i32); 2] = [("t", 3), ("u", 2)];
const ROUND_MS: i64 = 2000;

type Owned = BTreeSet<(String, i32)>;

#[derive(Clone, Debug)]
enum Op {
    Come { client: usize, classic: bool },
    Act(usize),
    Leave { client: usize, for_a_while: bool },
    Die(usize),
    Advance(i64),
    Restart { compacted: bool },
    Settle,
}

fn op() -> impl Strategy<Value = Op> {
    let client = 0..CLIENTS;
    prop_oneof![
        5 => (client.clone(), any::<bool>()).prop_map(|(client, classic)| Op::Come { client, classic }),
        20 => client.clone().prop_map(Op::Act),
        3 => (client.clone(), any::<bool>()).prop_map(|(client, for_a_while)| Op::Leave { client, for_a_while }),
        1 => client.prop_map(Op::Die),
        3 => prop::sample::select(vec![1, 400, 3000, 6000, 12_000, 45_000]).prop_map(Op::Advance),
        1 => any::<bool>().prop_map(|compacted| Op::Restart { compacted }),
        1 => Just(Op::Settle),
    ]
}

/// What a client does next.
#[derive(Clone, Debug, Default, PartialEq)]
enum Phase {
    /// It is not there.
    #[default]
    Away,
    /// It speaks the consumer protocol.
    Modern,
    /// It is to join.
    Joins,
    /// Its join waits.
    InJoin(Ticket),
    /// It is to sync; the leader knows the members.
    Syncs(Vec<JoinGroupResponseMember>),
    /// Its sync waits.
    InSync(Ticket),
    /// It sends heartbeats.
    Stable,
}

#[derive(Clone, Debug, Default)]
struct Believer {
    phase: Phase,
    id: String,
    instance: Option<String>,
    /// Its generation or member epoch.
    epoch: i32,
    owned: Owned,
    assigned: Owned,
}

impl Believer {
    fn is_there(&self) -> bool {
        self.phase != Phase::Away
    }

    fn lose(&mut self) {
        self.epoch = if self.phase == Phase::Modern { 0 } else { -1 };
        self.owned.clear();
        self.assigned.clear();
    }
}

struct Model {
    bench: Bench,
    clients: Vec<Believer>,
    /// Classic clients give everything up before they join.
    eager: bool,
    incarnations: usize,
}

fn by_topic(owned: &Owned) -> BTreeMap<String, Vec<i32>> {
    let mut topics: BTreeMap<String, Vec<i32>> = BTreeMap::new();
    for (topic, index) in owned {
        topics.entry(topic.clone()).or_default().push(*index);
    }
    topics
}

fn flat(topics: Vec<(String, Vec<i32>)>) -> Owned {
    topics
        .into_iter()
        .flat_map(|(topic, indexes)| indexes.into_iter().map(move |index| (topic.clone(), index)))
        .collect()
}

fn everything() -> Owned {
    flat(TOPICS.iter().map(|(topic, partitions)| ((*topic).to_owned(), (0..*partitions).collect())).collect())
}

/// What a leader gives its members: in turn, but nothing that another still owns.
fn lead(members: &[JoinGroupResponseMember]) -> Vec<(String, Bytes)> {
    let read = |member: &JoinGroupResponseMember| {
        (member.member_id.to_string(), ConsumerSubscription::decode(&member.metadata).unwrap())
    };
    let mut members: BTreeMap<String, ConsumerSubscription> = members.iter().map(read).collect();
    // Of two that claim the same, the one of the later generation is right.
    let mut owners: BTreeMap<(String, i32), (i32, String)> = BTreeMap::new();
    for (id, subscription) in &mut members {
        for partition in flat(std::mem::take(&mut subscription.owned)) {
            let claim = (subscription.generation, id.clone());
            let owner = owners.entry(partition).or_insert_with(|| claim.clone());
            *owner = claim.max(owner.clone());
        }
    }
    let mut given: BTreeMap<&String, Owned> = members.keys().map(|id| (id, Owned::new())).collect();
    for (partition, id) in everything().into_iter().zip(members.keys().cycle()) {
        if owners.get(&partition).is_none_or(|(_, owner)| owner == id) {
            given.get_mut(id).unwrap().insert(partition);
        }
    }
    let encode = |owned: &Owned| {
        let partitions = by_topic(owned).into_iter().collect();
        ConsumerAssignment { partitions, user_data: None }.encode(3)
    };
    given.into_iter().map(|(id, owned)| (id.clone(), encode(&owned))).collect()
}

impl Model {
    fn new(policy: MigrationPolicy, eager: bool, interval_ms: i32) -> Self {
        let mut bench = Bench::new(TOPICS[0].1);
        bench.world.topic(TOPICS[1].0, TOPICS[1].1);
        bench.world.config.migration = policy;
        bench.world.config.assignment_interval.default = interval_ms;
        let clients = (0..CLIENTS).map(|index| {
            let instance = (index >= FIRST_STATIC).then(|| format!("i{index}"));
            Believer { instance, ..Believer::default() }
        });
        Self { bench, clients: clients.collect(), eager, incarnations: 0 }
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Come { client, classic } if !self.clients[client].is_there() => self.come(client, classic),
            Op::Act(client) => self.act(client),
            Op::Leave { client, for_a_while } if self.clients[client].is_there() => self.leave(client, for_a_while),
            Op::Die(client) => self.clients[client].phase = Phase::Away,
            Op::Advance(ms) => self.bench.advance(ms),
            Op::Restart { compacted } => self.restart(compacted),
            Op::Settle => self.settle(),
            Op::Come { .. } | Op::Leave { .. } => {}
        }
    }

    fn come(&mut self, index: usize, classic: bool) {
        self.incarnations += 1;
        let instance = self.clients[index].instance.clone();
        let (phase, id, epoch) = if classic {
            (Phase::Joins, String::new(), -1)
        } else {
            (Phase::Modern, format!("m{}", self.incarnations), 0)
        };
        self.clients[index] = Believer { phase, id, instance, epoch, ..Believer::default() };
        self.act(index);
    }

    fn restart(&mut self, compacted: bool) {
        self.bench.restart(compacted);
        for client in &mut self.clients {
            if matches!(client.phase, Phase::InJoin(_) | Phase::InSync(_)) {
                client.phase = Phase::Joins;
            }
        }
    }

    fn act(&mut self, index: usize) {
        match self.clients[index].phase.clone() {
            Phase::Away => {}
            Phase::Modern => self.beat(index),
            Phase::Joins => self.join(index),
            Phase::InJoin(ticket) => {
                if let Some(Released::Join(answer)) = self.bench.released.remove(&ticket) {
                    self.joined(index, answer);
                }
            }
            Phase::Syncs(members) => self.sync(index, &members),
            Phase::InSync(ticket) => {
                if let Some(Released::Sync(answer)) = self.bench.released.remove(&ticket) {
                    self.synced(index, &answer);
                }
            }
            Phase::Stable => self.heartbeat(index),
        }
    }

    fn protocol(&self) -> &'static str {
        if self.eager { RANGE } else { COOPERATIVE }
    }

    fn join(&mut self, index: usize) {
        let protocol = self.protocol();
        let client = &mut self.clients[index];
        if self.eager {
            client.owned.clear();
        }
        let told = ConsumerSubscription {
            topics: TOPICS.map(|(topic, _)| topic.to_owned()).to_vec(),
            owned: by_topic(&client.owned).into_iter().collect(),
            generation: client.epoch,
            ..ConsumerSubscription::default()
        };
        let request = join(&client.id, &[(protocol, told.encode(3))]);
        let request = request.with_group_instance_id(client.instance.as_deref().map(text));
        let answer = self.bench.join(&request);
        match answer {
            Some(answer) => self.joined(index, answer),
            None => self.clients[index].phase = Phase::InJoin(self.bench.ticket),
        }
    }

    fn joined(&mut self, index: usize, answer: JoinGroupResponse) {
        let policy = self.bench.world.config.migration;
        let client = &mut self.clients[index];
        client.phase = Phase::Joins;
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE => {
                client.id = answer.member_id.to_string();
                client.epoch = answer.generation_id;
                client.phase = Phase::Syncs(answer.members);
            }
            ErrorCode::MEMBER_ID_REQUIRED => client.id = answer.member_id.to_string(),
            ErrorCode::REBALANCE_IN_PROGRESS => {}
            ErrorCode::UNKNOWN_MEMBER_ID => {
                client.lose();
                client.id.clear();
            }
            ErrorCode::FENCED_INSTANCE_ID => client.phase = Phase::Away,
            ErrorCode::INCONSISTENT_GROUP_PROTOCOL => {
                assert_eq!(policy, MigrationPolicy::Disabled);
                client.phase = Phase::Away;
            }
            other => panic!("{other:?}"),
        }
    }

    fn sync(&mut self, index: usize, members: &[JoinGroupResponseMember]) {
        let client = &self.clients[index];
        let given = lead(members);
        let given: Vec<(&str, Bytes)> = given.iter().map(|(id, given)| (id.as_str(), given.clone())).collect();
        let request = sync(&client.id, client.epoch, self.protocol(), &given);
        let answer = self.bench.sync(&request.with_group_instance_id(client.instance.as_deref().map(text)));
        match answer {
            Some(answer) => self.synced(index, &answer),
            None => self.clients[index].phase = Phase::InSync(self.bench.ticket),
        }
    }

    fn synced(&mut self, index: usize, answer: &SyncGroupResponse) {
        match ErrorCode(answer.error_code) {
            ErrorCode::NONE => {
                let client = &mut self.clients[index];
                let assigned = flat(assigned(answer));
                // A cooperative member that gives something up joins again to say so.
                let gives_up = !self.eager && !client.owned.is_subset(&assigned);
                client.owned = assigned;
                client.phase = if gives_up { Phase::Joins } else { Phase::Stable };
            }
            code => self.failed(index, code),
        }
    }

    fn failed(&mut self, index: usize, code: ErrorCode) {
        let client = &mut self.clients[index];
        client.phase = Phase::Joins;
        match code {
            ErrorCode::REBALANCE_IN_PROGRESS => {}
            ErrorCode::ILLEGAL_GENERATION => client.lose(),
            ErrorCode::UNKNOWN_MEMBER_ID => {
                client.lose();
                client.id.clear();
            }
            ErrorCode::FENCED_INSTANCE_ID => client.phase = Phase::Away,
            other => panic!("{other:?}"),
        }
    }

    fn heartbeat(&mut self, index: usize) {
        let client = &self.clients[index];
        let request = heartbeat(&client.id, client.epoch);
        match self.bench.heartbeat(&request.with_group_instance_id(client.instance.as_deref().map(text))) {
            ErrorCode::NONE => {}
            code => self.failed(index, code),
        }
    }

    fn beat(&mut self, index: usize) {
        let policy = self.bench.world.config.migration;
        let client = &mut self.clients[index];
        // What it was told to give up it has given up by now.
        client.owned = client.owned.intersection(&client.assigned).cloned().collect();
        let id_of = |topic: &str| self.bench.world.image.topic(topic).unwrap().id.0.as_u128();
        let owned: Vec<(u128, Vec<i32>)> =
            by_topic(&client.owned).into_iter().map(|(topic, indexes)| (id_of(&topic), indexes)).collect();
        let owned: Vec<(u128, &[i32])> = owned.iter().map(|(topic, indexes)| (*topic, &indexes[..])).collect();
        let topics = TOPICS.map(|(topic, _)| topic);
        let request =
            if client.epoch == 0 { come(&client.id, &topics) } else { owning(&client.id, client.epoch, &owned) };
        let answer = self.bench.beat(&request.with_instance_id(client.instance.as_deref().map(text)));
        match answer {
            Ok(answer) => {
                client.epoch = answer.member_epoch;
                let Some(assignment) = answer.assignment else { return };
                let name = |id: uuid::Uuid| {
                    let topic = self.bench.world.image.topic_by_id(crate::types::TopicId(id)).unwrap();
                    topic.name.to_string()
                };
                let topics = assignment.topic_partitions.into_iter();
                client.assigned = flat(topics.map(|topic| (name(topic.topic_id), topic.partitions)).collect());
                client.owned.extend(client.assigned.iter().cloned());
            }
            Err(refusal) => match refusal.code {
                ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_MEMBER_EPOCH => client.lose(),
                ErrorCode::UNRELEASED_INSTANCE_ID | ErrorCode::FENCED_INSTANCE_ID => client.phase = Phase::Away,
                // Its group is not there any more, or became a classic one without it, or may not change its kind.
                ErrorCode::GROUP_ID_NOT_FOUND if client.epoch > 0 => client.lose(),
                ErrorCode::GROUP_ID_NOT_FOUND => {
                    assert!(!policy.may_upgrade(), "{refusal:?}");
                    client.phase = Phase::Away;
                }
                _ => panic!("{refusal:?}"),
            },
        }
    }

    fn leave(&mut self, index: usize, for_a_while: bool) {
        let client = self.clients[index].clone();
        self.clients[index].phase = Phase::Away;
        if client.phase == Phase::Modern {
            let epoch = if for_a_while && client.instance.is_some() { -2 } else { -1 };
            let _ = self.bench.beat(&beat(&client.id, epoch).with_instance_id(client.instance.as_deref().map(text)));
        } else if !client.id.is_empty() {
            self.bench.leave(&leave(&[(&client.id, client.instance.as_deref())]));
        }
    }

    /// Left alone, with everybody prompt, the group comes to rest.
    fn settle(&mut self) {
        for _ in 0..60 {
            let before = self.bench.log.len();
            self.bench.advance(ROUND_MS);
            for _ in 0..3 {
                for index in 0..CLIENTS {
                    self.act(index);
                    self.check();
                }
            }
            let rests = |client: &Believer| match client.phase {
                Phase::Away | Phase::Stable => true,
                Phase::Modern => client.epoch > 0,
                _ => false,
            };
            let there = self.clients.iter().filter(|client| client.is_there()).count();
            if self.bench.log.len() == before && self.clients.iter().all(rests) && there == self.size() {
                return self.check_settled();
            }
        }
        panic!("the group does not come to rest: {:#?}\n{:#?}", self.clients, self.bench.shard);
    }

    fn size(&self) -> usize {
        match self.bench.shard.groups.get("g") {
            Some(Group::Classic(group)) => group.members().len(),
            Some(Group::Consumer(group)) => group.members().len(),
            None => 0,
        }
    }

    fn check_settled(&self) {
        let mut all = Owned::new();
        for client in self.members() {
            all.extend(client.owned.iter().cloned());
        }
        let expected = if self.size() == 0 { Owned::new() } else { everything() };
        assert_eq!(all, expected, "{:#?}", self.clients);
    }

    /// Clients that are members, and know in which generation.
    fn members(&self) -> impl Iterator<Item = &Believer> {
        let known = |client: &&Believer| match self.bench.shard.groups.get("g") {
            Some(Group::Classic(group)) => {
                group.members().contains_key(client.id.as_str()) && client.epoch == group.generation()
            }
            Some(Group::Consumer(group)) => {
                group.member(&client.id).is_some_and(|member| member.current.epoch == client.epoch)
            }
            None => false,
        };
        self.clients.iter().filter(|client| client.is_there()).filter(known)
    }

    /// What holds after every step.
    fn check(&self) {
        let mut owners: BTreeMap<&(String, i32), &Believer> = BTreeMap::new();
        for client in self.members() {
            for partition in &client.owned {
                if let Some(other) = owners.insert(partition, client) {
                    panic!("{partition:?} has two owners: {client:#?}\n{other:#?}\n{:#?}", self.bench.shard);
                }
            }
        }
        self.check_kind();
        self.check_timers();
        self.bench.check_replay();
    }

    fn check_kind(&self) {
        let policy = self.bench.world.config.migration;
        match self.bench.shard.groups.get("g") {
            Some(Group::Consumer(group)) if !group.is_empty() => {
                assert!(group.classic_members() == 0 || policy != MigrationPolicy::Disabled);
                let only_classic = group.classic_members() == group.members().len();
                assert!(!only_classic || !policy.may_downgrade(), "{group:?}");
            }
            Some(Group::Classic(group)) => {
                // One that prepares may have lost its members, and wait on.
                assert!(group.members().is_empty() || !group.is_empty());
            }
            _ => {}
        }
    }

    fn check_timers(&self) {
        let mut timers = self.bench.world.timers.clone();
        let mut sessions = BTreeSet::new();
        while let Some((_, timer)) = timers.pop(Steady(u64::MAX)) {
            match (timer, self.bench.shard.groups.get("g").unwrap()) {
                (Timer::Session(id), _) => {
                    sessions.insert(id);
                }
                (Timer::ClassicJoin(id) | Timer::ClassicSync(id), Group::Consumer(group)) => {
                    assert!(group.member(&id).is_some_and(Member::is_classic));
                }
                (Timer::Revocation(id), Group::Consumer(group)) => assert!(group.member(&id).is_some()),
                (Timer::PendingJoin(_) | Timer::Join | Timer::Sync, Group::Classic(_)) => {}
                other => panic!("{other:?}"),
            }
        }
        match self.bench.shard.groups.get("g") {
            // A session may end unnoticed while its member waits for others.
            Some(Group::Classic(group)) => assert!(sessions.iter().all(|id| group.members().contains_key(id))),
            Some(Group::Consumer(group)) => assert!(sessions.iter().eq(group.members().keys())),
            None => {}
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn members_of_both_protocols_share_a_group(
        policy in prop::sample::select(vec![
            MigrationPolicy::Disabled, MigrationPolicy::Upgrade, MigrationPolicy::Downgrade, MigrationPolicy::Bidirectional,
            MigrationPolicy::Bidirectional, MigrationPolicy::Bidirectional,
        ]),
        eager: bool,
        interval_ms in prop::sample::select(vec![0, 1000]),
        ops in prop::collection::vec(op(), 1..80),
    ) {
        let mut model = Model::new(policy, eager, interval_ms);
        for op in ops {
            model.run(&op);
            model.check();
        }
        model.settle();
    }
}
