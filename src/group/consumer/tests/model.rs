//! Clients that join, revoke slowly, lose answers, die and come back, in any order, with topics that come and go and a
//! broker that restarts: nobody ever holds what another holds, and left alone for a while everybody owns its share.

use proptest::prelude::*;

use super::*;
use crate::group::consumer::{ConsumerState, LEAVE, LEAVE_STATIC, Member};

const CLIENTS: usize = 5;
const TOPICS: [&str; 4] = ["ta", "tb", "ua", "ub"];
/// More than what keeps regular expressions from being resolved too often.
const ROUND_MS: i64 = 10_500;

#[derive(Clone, Debug)]
enum Op {
    Join(usize, Subscription),
    Subscribe(usize, Subscription),
    Beat { client: usize, lost: bool, revokes: bool },
    Leave { client: usize, for_a_while: bool },
    Die(usize),
    Advance(i64),
    Create(usize, i32),
    Grow(usize),
    Delete(usize),
    Restart { compacted: bool },
    Settle,
}

#[derive(Clone, Debug, PartialEq)]
struct Subscription {
    names: Vec<&'static str>,
    regex: Option<&'static str>,
    assignor: Option<&'static str>,
}

fn subscription() -> impl Strategy<Value = Subscription> {
    let names = prop::sample::subsequence(TOPICS.to_vec(), 0..=3);
    let regex = prop::option::weighted(0.3, prop::sample::select(vec!["", "t.*", "u.*"]));
    let assignor = prop::option::of(prop::sample::select(vec!["uniform", "range"]));
    (names, regex, assignor).prop_map(|(names, regex, assignor)| Subscription { names, regex, assignor })
}

fn op() -> impl Strategy<Value = Op> {
    let client = 0..CLIENTS;
    let topic = 0..TOPICS.len();
    prop_oneof![
        4 => (client.clone(), subscription()).prop_map(|(client, subscription)| Op::Join(client, subscription)),
        2 => (client.clone(), subscription()).prop_map(|(client, subscription)| Op::Subscribe(client, subscription)),
        16 => (client.clone(), prop::bool::weighted(0.2), prop::bool::weighted(0.6))
            .prop_map(|(client, lost, revokes)| Op::Beat { client, lost, revokes }),
        2 => (client.clone(), any::<bool>()).prop_map(|(client, for_a_while)| Op::Leave { client, for_a_while }),
        1 => client.prop_map(Op::Die),
        4 => prop::sample::select(vec![1, 400, 1000, 6000, 20_000, 45_000]).prop_map(Op::Advance),
        2 => (topic.clone(), 1..4).prop_map(|(topic, partitions)| Op::Create(topic, partitions)),
        1 => topic.clone().prop_map(Op::Grow),
        1 => topic.prop_map(Op::Delete),
        1 => any::<bool>().prop_map(|compacted| Op::Restart { compacted }),
        1 => Just(Op::Settle),
    ]
}

/// What a client believes.
#[derive(Clone, Debug, Default, PartialEq)]
struct Believer {
    /// It is there, and sends heartbeats.
    alive: bool,
    /// The id of its incarnation.
    id: String,
    instance: Option<String>,
    epoch: i32,
    subscription: Option<Subscription>,
    owned: BTreeSet<(u128, i32)>,
    assigned: BTreeSet<(u128, i32)>,
    /// It says everything with its next heartbeat.
    says_all: bool,
}

impl Believer {
    fn forget(&mut self) {
        self.epoch = 0;
        self.owned.clear();
        self.assigned.clear();
    }

    fn request(&self, says_all: bool) -> Request {
        let mut owned: BTreeMap<u128, Vec<i32>> = BTreeMap::new();
        for (topic, partition) in &self.owned {
            owned.entry(*topic).or_default().push(*partition);
        }
        let owned: Vec<(u128, &[i32])> = owned.iter().map(|(topic, partitions)| (*topic, &partitions[..])).collect();
        let mut request = Request::beat(&self.id, self.epoch);
        if let Some(instance) = &self.instance {
            request = request.instance(instance);
        }
        if self.epoch == 0 || says_all {
            let subscription = self.subscription.clone().unwrap();
            request = request.rebalance(REBALANCE_MS).topics(&subscription.names);
            if let Some(regex) = subscription.regex {
                request = request.regex(regex);
            }
            if let Some(assignor) = subscription.assignor {
                request = request.assignor(assignor);
            }
        }
        request.owns(&owned)
    }

    fn revoke(&mut self) {
        let assigned = &self.assigned;
        self.owned.retain(|partition| assigned.contains(partition));
    }
}

struct Model {
    bench: Bench,
    clients: Vec<Believer>,
    topics: BTreeMap<&'static str, (TopicId, i32)>,
    incarnations: usize,
}

impl Model {
    fn new() -> Self {
        let mut bench = Bench::new();
        bench.world.config.assignment_interval.default = 1000;
        let clients = (0..CLIENTS).map(|index| {
            let instance = (index >= 3).then(|| format!("i{index}"));
            Believer { instance, ..Believer::default() }
        });
        Self { bench, clients: clients.collect(), topics: BTreeMap::new(), incarnations: 0 }
    }

    fn run(&mut self, op: Op) {
        match op {
            Op::Join(client, subscription) if !self.clients[client].alive => {
                self.incarnations += 1;
                let instance = self.clients[client].instance.clone();
                let (id, subscription) = (format!("m{}", self.incarnations), Some(subscription));
                self.clients[client] = Believer { alive: true, id, instance, subscription, ..Believer::default() };
                self.beat(client, false);
            }
            Op::Subscribe(client, subscription) => {
                let client = &mut self.clients[client];
                // What is left out of a heartbeat stays as it was, so none is said as an empty expression.
                let regex = Some(subscription.regex.unwrap_or(""));
                client.subscription = Some(Subscription { regex, ..subscription });
                client.says_all = true;
            }
            Op::Beat { client, lost, revokes } if self.clients[client].alive => {
                if revokes {
                    self.clients[client].revoke();
                }
                self.beat(client, lost);
            }
            Op::Leave { client, for_a_while } if self.clients[client].alive => self.leave(client, for_a_while),
            Op::Die(client) => self.clients[client].alive = false,
            Op::Advance(ms) => self.bench.advance(ms),
            Op::Create(topic, partitions) if !self.topics.contains_key(TOPICS[topic]) => {
                self.incarnations += 1;
                let id = TopicId(uuid::Uuid::from_u128(self.incarnations as u128));
                let record = MetadataRecord::Topic { name: TOPICS[topic].to_owned(), id };
                self.bench.world.image.apply(&record).unwrap();
                self.bench.world.partitions(id, 0..partitions);
                self.topics.insert(TOPICS[topic], (id, partitions));
            }
            Op::Grow(topic) => {
                if let Some((id, partitions)) = self.topics.get_mut(TOPICS[topic]) {
                    self.bench.world.partitions(*id, *partitions..*partitions + 1);
                    *partitions += 1;
                }
            }
            Op::Delete(topic) => {
                if let Some((id, _)) = self.topics.remove(TOPICS[topic]) {
                    self.bench.delete_topic(id);
                }
            }
            Op::Restart { compacted: true } => {
                self.bench.log = compacted(&self.bench.log);
                self.restart();
            }
            Op::Restart { compacted: false } => self.restart(),
            Op::Settle => self.settle(),
            Op::Join(..) | Op::Beat { .. } | Op::Leave { .. } | Op::Create(..) => {}
        }
    }

    fn restart(&mut self) {
        self.bench.group = self.bench.replayed();
        self.bench.world.timers = crate::group::timers::Timers::default();
        self.bench.turn(|group, turn| group.loaded(turn));
    }

    fn beat(&mut self, index: usize, lost: bool) {
        let client = &mut self.clients[index];
        let request = client.request(client.says_all);
        match self.bench.beat(&request) {
            Ok(_) if lost => self.clients[index].says_all = true,
            Ok(answer) => {
                client.says_all = false;
                client.epoch = answer.member_epoch;
                let Some(assignment) = answer.assignment else { return };
                client.assigned.clear();
                for topic in assignment.topic_partitions {
                    let id = topic.topic_id.as_u128();
                    client.assigned.extend(topic.partitions.iter().map(|partition| (id, *partition)));
                }
                client.owned.extend(&client.assigned);
            }
            Err(refusal) => match refusal.code {
                ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_MEMBER_EPOCH => client.forget(),
                ErrorCode::UNRELEASED_INSTANCE_ID | ErrorCode::FENCED_INSTANCE_ID => {
                    assert!(client.instance.is_some());
                    client.forget();
                }
                _ => panic!("{refusal:?}"),
            },
        }
    }

    fn leave(&mut self, index: usize, for_a_while: bool) {
        let client = &mut self.clients[index];
        let epoch = if for_a_while && client.instance.is_some() { LEAVE_STATIC } else { LEAVE };
        let mut request = Request::beat(&client.id, epoch);
        if let Some(instance) = &client.instance {
            request = request.instance(instance);
        }
        client.forget();
        client.alive = false;
        if let Err(refusal) = self.bench.beat(&request) {
            let gone = [ErrorCode::UNKNOWN_MEMBER_ID, ErrorCode::FENCED_INSTANCE_ID];
            assert!(gone.contains(&refusal.code), "{refusal:?}");
        }
    }

    /// Left alone, with everybody prompt, the group comes to rest.
    fn settle(&mut self) {
        for _ in 0..40 {
            let before = (self.bench.log.len(), self.clients.clone());
            self.bench.advance(ROUND_MS);
            for index in 0..CLIENTS {
                if self.clients[index].alive {
                    self.clients[index].revoke();
                    self.beat(index, false);
                    self.check();
                }
            }
            let everybody = self.members().count() == self.bench.group.members().len();
            let after = (self.bench.log.len(), self.clients.clone());
            if after == before && everybody && self.joined() {
                self.check_settled();
                return;
            }
        }
        panic!("the group does not come to rest: {:?}", self.bench.group);
    }

    /// Clients that are members.
    fn members(&self) -> impl Iterator<Item = &Believer> {
        let known = |client: &&Believer| self.bench.group.member(&client.id).is_some();
        self.clients.iter().filter(|client| client.alive).filter(known)
    }

    fn joined(&self) -> bool {
        self.clients.iter().all(|client| !client.alive || client.epoch > 0)
    }

    fn check_settled(&self) {
        let group = &self.bench.group;
        let expected = if group.is_empty() { ConsumerState::Empty } else { ConsumerState::Stable };
        assert_eq!(group.state(), expected);
        let mut owners: BTreeMap<(u128, i32), &str> = BTreeMap::new();
        for client in self.members() {
            let server = self.bench.owned(&client.id);
            assert_eq!((&client.owned, client.epoch), (&server, group.target_epoch()), "{}", client.id);
            for partition in &client.owned {
                assert_eq!(owners.insert(*partition, &client.id), None, "{partition:?} has two owners");
            }
        }
        for (name, (id, partitions)) in &self.topics {
            let reads = |client: &Believer| {
                let told = &group.member(&client.id).unwrap().told;
                let regex = told.topic_regex.as_deref().unwrap();
                told.topic_names.iter().any(|topic| topic == name)
                    || (!regex.is_empty() && name.starts_with(regex.trim_end_matches(".*")))
            };
            let readers: BTreeSet<&str> =
                self.members().filter(|client| reads(client)).map(|client| client.id.as_str()).collect();
            for partition in 0..*partitions {
                match owners.remove(&(id.0.as_u128(), partition)) {
                    Some(owner) => assert!(readers.contains(owner), "{owner} does not read {name}"),
                    None => assert!(readers.is_empty(), "nobody owns {partition} of {name}"),
                }
            }
        }
        assert!(owners.is_empty(), "owned but not there: {owners:?}");
    }

    /// What holds after every step.
    fn check(&self) {
        let group = &self.bench.group;
        let mut held = BTreeMap::new();
        for (id, member) in group.members() {
            for partition in member.partitions() {
                assert_eq!(held.insert(partition, id), None, "{partition:?} is held twice");
                assert_eq!(group.owner(partition.0, partition.1), Some(id));
                assert!(member.assignment_epoch(partition.0, partition.1).unwrap() <= group.epoch());
            }
            assert!(member.current.epoch <= group.epoch());
            assert!(member.current.state != MemberState::Unknown);
        }
        assert_eq!(held.len(), group.owners.len());
        assert!(group.target_epoch() <= group.epoch());
        for client in self.members() {
            let held = self.bench.owned(&client.id);
            assert!(client.owned.is_subset(&held), "{} believes {:?}, holds {held:?}", client.id, client.owned);
        }
        for target in group.targets.keys() {
            assert!(group.member(target).is_some(), "the target of {target} is left over");
        }
        assert_eq!(durable(&self.bench.replayed()), durable(group));
        assert_eq!(durable(&replay(group.id(), &compacted(&self.bench.log))), durable(group));
        self.check_timers();
    }

    fn check_timers(&self) {
        let mut timers = self.bench.world.timers.clone();
        let mut sessions = 0;
        while let Some((_, timer)) = timers.pop(Steady(u64::MAX)) {
            match timer {
                Timer::Session(id) => {
                    sessions += 1;
                    assert!(self.bench.group.member(&id).is_some(), "a session of {id}, which is gone");
                }
                Timer::Revocation(id) => {
                    assert!(self.bench.group.member(&id).is_some_and(Member::owes_revocation), "{id} owes nothing");
                }
                other => panic!("{other:?}"),
            }
        }
        assert_eq!(sessions, self.bench.group.members().len());
        for (id, member) in self.bench.group.members() {
            assert!(
                !member.owes_revocation() || self.bench.timer(&Timer::Revocation(id.clone())),
                "{id} is not waited for"
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nobody_holds_what_another_holds_and_everybody_gets_its_share(ops in prop::collection::vec(op(), 1..80)) {
        let mut model = Model::new();
        for op in ops {
            model.run(op);
            model.check();
        }
        model.settle();
    }
}
