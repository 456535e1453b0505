//! Clients that do anything at any time, against what must hold whatever they do.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::super::{ClassicGroup, ClassicState, Member};
use super::bench::{Bench, Join, client, id, sync_request};
use crate::group::timers::Timer;
use crate::group::turn::{Released, Ticket};
use crate::wire::ErrorCode;

const PEERS: usize = 5;

#[derive(Clone, Debug)]
enum Step {
    /// Joins, with one of a few subscriptions and versions, whatever else it waits for.
    Join(usize, u8, i16),
    /// Syncs with what it knows; assigns if it takes itself for the leader.
    Sync(usize),
    Heartbeat(usize),
    Commit(usize),
    Leave(usize),
    /// An administrator removes the instance.
    Remove(usize),
    /// The client starts anew and knows nothing.
    Forget(usize),
    /// The answer that the client waits for will be lost.
    LoseAnswer(usize),
    Pass(i64),
    /// All clients do what clients do for a while.
    Behave(usize),
    /// The broker starts anew from its log; who waits is cut off.
    Restart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let peer = 0..PEERS;
    let version = prop_oneof![Just(0_i16), Just(3), Just(8), Just(9)];
    let step = prop_oneof![
        8 => (peer.clone(), 0..3_u8, version).prop_map(|(peer, metadata, version)| Step::Join(peer, metadata, version)),
        6 => peer.clone().prop_map(Step::Sync),
        3 => peer.clone().prop_map(Step::Heartbeat),
        1 => peer.clone().prop_map(Step::Commit),
        2 => peer.clone().prop_map(Step::Leave),
        1 => peer.clone().prop_map(Step::Remove),
        2 => peer.clone().prop_map(Step::Forget),
        1 => peer.prop_map(Step::LoseAnswer),
        3 => prop_oneof![Just(0), 1..4000_i64, Just(9000), Just(60_000), Just(300_000)].prop_map(Step::Pass),
        4 => (1..12_usize).prop_map(Step::Behave),
        1 => Just(Step::Restart),
    ];
    prop::collection::vec(step, 1..80)
}

/// A client.
#[derive(Clone, Debug, Default)]
struct Peer {
    instance: Option<String>,
    member: String,
    /// The generation that it joined, with the members that it is to assign to.
    joined: Option<(i32, Vec<String>)>,
    /// The generation of its assignment.
    assigned: Option<i32>,
    waits: Option<Ticket>,
}

impl Peer {
    fn fresh(at: usize) -> Self {
        // Two of five are static.
        Self { instance: (at < 2).then(|| format!("i{at}")), ..Self::default() }
    }

    fn forget(&mut self) {
        *self = Self { instance: self.instance.take(), ..Self::default() };
    }

    fn rejoin(&mut self) {
        self.joined = None;
        self.assigned = None;
    }

    fn told(&mut self, code: ErrorCode) {
        match code {
            ErrorCode::NONE => {}
            ErrorCode::UNKNOWN_MEMBER_ID | ErrorCode::FENCED_INSTANCE_ID | ErrorCode::GROUP_MAX_SIZE_REACHED => {
                self.forget();
            }
            _ => self.rejoin(),
        }
    }
}

/// What a leader gives to a member: static members have the same over all their names.
fn share(generation: i32, member: &str) -> String {
    let name = if member.starts_with('i') { member.split('-').next().unwrap() } else { member };
    format!("{generation}/{name}")
}

struct World {
    bench: Bench,
    peers: Vec<Peer>,
    /// Requests that wait, and who sent them.
    waiting: BTreeMap<Ticket, usize>,
    /// What members of a generation were told that its protocol is.
    protocols: BTreeMap<i32, String>,
    generation: i32,
}

impl World {
    fn new(max_size: usize, delay_ms: i32) -> Self {
        let mut bench = Bench::new();
        bench.world.config.max_size = max_size;
        bench.world.config.initial_rebalance_delay_ms = delay_ms;
        let peers = (0..PEERS).map(Peer::fresh).collect();
        Self { bench, peers, waiting: BTreeMap::new(), protocols: BTreeMap::new(), generation: 0 }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Join(peer, metadata, version) => self.join(peer, metadata, version),
            Step::Sync(peer) => self.sync(peer),
            Step::Heartbeat(peer) => self.heartbeat(peer),
            Step::Commit(peer) => self.commit(peer),
            Step::Leave(peer) => self.leave(peer),
            Step::Remove(peer) => {
                if let Some(instance) = self.peers[peer].instance.clone() {
                    self.bench.leave(&[("", Some(&instance))]);
                }
            }
            Step::Forget(peer) => self.peers[peer].forget(),
            Step::LoseAnswer(peer) => self.peers[peer].waits = None,
            Step::Pass(ms) => self.bench.pass(ms),
            Step::Behave(rounds) => (0..rounds).for_each(|_| self.behave()),
            Step::Restart => self.restart(),
        }
        self.deliver();
        self.check();
    }

    fn join(&mut self, at: usize, metadata: u8, version: i16) {
        let peer = &self.peers[at];
        // Static members and their versions: v5 is the first that has them.
        let version = if peer.instance.is_some() { version.max(8) } else { version };
        let protocols = match metadata {
            0 => vec![("range", vec![]), ("sticky", vec![])],
            1 => vec![("sticky", vec![1]), ("range", vec![])],
            _ => vec![("range", vec![2])],
        };
        let join = Join { instance: peer.instance.clone(), protocols, ..Join::of(&peer.member) }.version(version);
        let ticket = self.bench.join(&join);
        self.asked(at, ticket);
    }

    fn sync(&mut self, at: usize) {
        let peer = &self.peers[at];
        let Some((generation, members)) = peer.joined.clone() else { return };
        let given: Vec<(&String, String)> = members.iter().map(|id| (id, share(generation, id))).collect();
        let given: Vec<(&str, &str)> = given.iter().map(|(id, bytes)| (id.as_str(), bytes.as_str())).collect();
        let mut request = sync_request(&peer.member, generation, &given);
        request.group_instance_id = peer.instance.as_deref().map(super::super::replies::text);
        let (ticket, answer) = self.bench.turn(|group, turn| group.sync(turn, &client(5), &request));
        if let Some(answer) = answer {
            self.bench.answers.insert(ticket, Released::Sync(answer));
        }
        self.asked(at, ticket);
    }

    fn asked(&mut self, at: usize, ticket: Ticket) {
        self.waiting.insert(ticket, at);
        self.peers[at].waits = Some(ticket);
    }

    fn heartbeat(&mut self, at: usize) {
        let peer = &self.peers[at];
        let Some((generation, _)) = peer.joined else { return };
        let (member, instance) = (peer.member.clone(), peer.instance.clone());
        let code = self.bench.beat(&member, instance.as_deref(), generation);
        self.peers[at].told(code);
    }

    fn commit(&mut self, at: usize) {
        let peer = &self.peers[at];
        let Some((generation, _)) = peer.joined else { return };
        let (member, instance) = (peer.member.clone(), peer.instance.clone());
        let taken = self.bench.group.validate_commit(&member, instance.as_deref(), generation, false);
        if taken.is_ok() {
            assert_eq!(self.bench.group.generation(), generation);
            self.bench.turn(|group, turn| group.committed(turn, &member));
        }
    }

    fn leave(&mut self, at: usize) {
        let peer = self.peers[at].clone();
        if !peer.member.is_empty() {
            self.bench.leave(&[(&peer.member, peer.instance.as_deref())]);
            self.peers[at].forget();
        }
    }

    fn restart(&mut self) {
        self.waiting.clear();
        for peer in &mut self.peers {
            peer.waits = None;
        }
        self.bench.restart();
        // A generation that nobody synced may come again.
        self.generation = self.bench.group.generation();
        self.protocols.retain(|generation, _| *generation <= self.generation);
    }

    /// Every answer is to a request that waits, and reaches the client if that still listens.
    fn deliver(&mut self) {
        for (ticket, answer) in std::mem::take(&mut self.bench.answers) {
            let at = self.waiting.remove(&ticket).expect("an answer to a request that waits");
            let listens = self.peers[at].waits == Some(ticket);
            if listens {
                self.peers[at].waits = None;
            }
            match answer {
                Released::Join(answer) => {
                    let code = ErrorCode(answer.error_code);
                    if code == ErrorCode::NONE {
                        let protocol = answer.protocol_name.clone().unwrap().to_string();
                        let known = self.protocols.entry(answer.generation_id).or_insert_with(|| protocol.clone());
                        assert_eq!(*known, protocol, "generation {}", answer.generation_id);
                        let leads = answer.leader == answer.member_id;
                        assert!(leads || answer.members.is_empty());
                    }
                    if !listens {
                        continue;
                    }
                    let peer = &mut self.peers[at];
                    peer.told(code);
                    if matches!(code, ErrorCode::NONE | ErrorCode::MEMBER_ID_REQUIRED) {
                        peer.member = answer.member_id.to_string();
                    }
                    if code == ErrorCode::NONE {
                        let members = answer.members.iter().map(|member| member.member_id.to_string()).collect();
                        peer.joined = Some((answer.generation_id, members));
                        peer.assigned = None;
                    }
                }
                Released::Sync(answer) if listens => {
                    let peer = &mut self.peers[at];
                    let code = ErrorCode(answer.error_code);
                    if code == ErrorCode::NONE {
                        let (generation, _) = peer.joined.clone().unwrap();
                        let expected = share(generation, &peer.member);
                        assert_eq!(std::str::from_utf8(&answer.assignment).unwrap(), expected);
                        peer.assigned = Some(generation);
                    }
                    peer.told(code);
                }
                Released::Sync(_) => {}
            }
        }
    }

    fn check(&mut self) {
        let group = &self.bench.group;
        assert!(group.generation >= self.generation, "generations only go up");
        self.generation = group.generation;
        check_counts(group);
        check_state(group);
        self.check_waiting();
        self.check_timers();
        if let Some(value) = self.bench.log.last() {
            assert_eq!(&ClassicGroup::from_record(id(), value).to_record(), value, "replay gives it back");
        }
    }

    /// Who waits is known to the group, once, and nobody else is.
    fn check_waiting(&self) {
        let members = self.bench.group.members.values();
        let mut known: Vec<Ticket> =
            members.flat_map(|member| [member.join, member.sync]).flatten().map(|waiting| waiting.ticket).collect();
        known.sort_unstable();
        let waiting: Vec<Ticket> = self.waiting.keys().copied().collect();
        assert_eq!(known, waiting);
        assert!(self.bench.group.awaiting_join <= self.bench.world.config.max_size);
    }

    /// Whatever is waited for ends by itself, and nothing else is timed.
    fn check_timers(&self) {
        let group = &self.bench.group;
        let timers = &self.bench.world.timers;
        let is_set = |timer: Timer| timers.due(&id(), &timer).is_some();
        let mut expected = 0;
        for (member, of) in &group.members {
            let set = is_set(Timer::Session(member.clone()));
            assert!(set || of.is_excused(), "{member} may stay for good");
            expected += usize::from(set);
        }
        for member in &group.pending {
            assert!(is_set(Timer::PendingJoin(member.clone())), "{member} may stay for good");
            expected += 1;
        }
        let preparing = group.state == ClassicState::PreparingRebalance;
        assert_eq!(is_set(Timer::Join), preparing);
        assert_eq!(is_set(Timer::Sync), !group.pending_sync.is_empty());
        expected += usize::from(preparing) + usize::from(!group.pending_sync.is_empty());
        let mut all = timers.clone();
        let count = std::iter::from_fn(|| all.pop(crate::group::turn::Steady(u64::MAX))).count();
        assert_eq!(count, expected, "{timers:?}");
    }

    /// Every client that does not wait does what is next for it; then a little time passes.
    fn behave(&mut self) {
        for at in 0..PEERS {
            let peer = &self.peers[at];
            match (&peer.waits, &peer.joined, peer.assigned) {
                (Some(_), ..) => continue,
                (None, None, _) => self.join(at, 0, 9),
                (None, Some(_), None) => self.sync(at),
                (None, Some(_), Some(_)) => self.heartbeat(at),
            }
            self.deliver();
            self.check();
        }
        self.bench.pass(500);
        self.deliver();
        self.check();
    }

    /// Clients that do what clients do come together in one generation, whatever was before.
    fn settle(&mut self) {
        for _ in 0..3000 {
            let generation = self.bench.group.generation();
            let together = self.peers.iter().all(|peer| peer.assigned == Some(generation));
            if together && self.bench.state() == ClassicState::Stable && self.bench.group.members.len() == PEERS {
                return;
            }
            self.behave();
        }
        panic!("the group does not settle: {:#?} {:#?}", self.bench.group, self.peers);
    }

    /// When everybody has gone, nothing of them is left and nobody waits for an answer.
    fn wind_down(&mut self) {
        for _ in 0..20 {
            self.bench.pass(300_000);
            self.deliver();
            self.check();
        }
        assert_eq!(self.bench.state(), ClassicState::Empty);
        assert!(self.waiting.is_empty());
        assert!(self.bench.group.pending.is_empty());
        assert_eq!(self.bench.world.timers.next(), None);
    }
}

fn check_counts(group: &ClassicGroup) {
    let count = |is: &dyn Fn(&Member) -> bool| group.members.values().filter(|member| is(member)).count();
    assert_eq!(group.awaiting_join, count(&|member| member.join.is_some()));
    let mut supported: BTreeMap<String, usize> = BTreeMap::new();
    for (name, _) in group.members.values().flat_map(|member| &member.protocols) {
        *supported.entry(name.clone()).or_default() += 1;
    }
    assert_eq!(group.supported, supported);
    for (instance, id) in &group.statics {
        assert_eq!(group.members[id].instance_id.as_ref(), Some(instance));
    }
    assert_eq!(group.statics.len(), count(&|member| member.instance_id.is_some()));
    assert!(group.pending.iter().all(|id| !group.members.contains_key(id)));
    assert!(group.pending_sync.iter().all(|id| group.members.contains_key(id)));
    match &group.leader {
        Some(leader) => assert!(group.members.contains_key(leader)),
        None => assert!(group.members.is_empty()),
    }
}

fn check_state(group: &ClassicGroup) {
    let waits = |is: fn(&Member) -> bool| group.members.values().any(is);
    let (join, sync) = (waits(|member| member.join.is_some()), waits(|member| member.sync.is_some()));
    assert!(!join || group.state == ClassicState::PreparingRebalance);
    assert!(!sync || group.state == ClassicState::CompletingRebalance);
    match group.state {
        ClassicState::Empty => assert!(group.members.is_empty() && group.protocol.is_none()),
        ClassicState::Stable | ClassicState::CompletingRebalance => {
            let protocol = group.protocol.as_deref().unwrap();
            assert_eq!(group.supported.get(protocol), Some(&group.members.len()), "all speak it");
        }
        ClassicState::PreparingRebalance => {}
    }
}

proptest! {
    #[test]
    fn whatever_clients_do_the_group_holds_together(
        steps in steps(),
        max_size in prop_oneof![Just(usize::MAX), 2..4_usize],
        delay_ms in prop_oneof![Just(0), Just(3000)],
    ) {
        let mut world = World::new(max_size, delay_ms);
        for step in &steps {
            world.step(step);
        }
        if max_size == usize::MAX {
            world.settle();
        }
        world.wind_down();
    }
}
