//! Groups whose members come, go, vanish and fall asleep while records keep coming: nothing is skipped, nothing is
//! held by two, no commit goes back. `OTTLA_GROUP_CHANGES` makes it as long as wanted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::group::{COOPERATIVE, Group, Kind, Member, RANGE, ROUND_ROBIN, SERVER_RANGE, UNIFORM, is_consumer_protocol};
use crate::groups::quick;
use crate::harness::{Raise, Random, fresh, own_broker, topic};
use crate::journal::Journal;
use crate::wire::Connection;

const PARTITIONS: i32 = 6;
/// The most members at a time.
const MEMBERS: usize = 4;
/// How many records the load may be ahead of the group.
const AHEAD: i64 = 1000;

/// How often the members change, short by default.
fn changes() -> usize {
    std::env::var("OTTLA_GROUP_CHANGES").map_or(12, |changes| changes.parse().expect("OTTLA_GROUP_CHANGES is a number"))
}

/// What members of one kind need so that their sessions end soon.
pub fn short_sessions(kind: Kind) -> &'static [(&'static str, &'static str)] {
    if is_consumer_protocol(kind) {
        &[("max.poll.interval.ms", "3000")]
    } else {
        &[("session.timeout.ms", "3000"), ("max.poll.interval.ms", "3000")]
    }
}

#[test]
fn classic_members_change_under_load() {
    change_under_load("classic_members_change_under_load", &[RANGE, COOPERATIVE, ROUND_ROBIN]);
}

#[test]
fn members_of_the_consumer_protocol_change_under_load() {
    change_under_load("members_of_the_consumer_protocol_change_under_load", &[UNIFORM, SERVER_RANGE]);
}

fn change_under_load(test: &str, kinds: &[Kind]) {
    let mut random = Random::from_environment(test);
    let broker = own_broker(quick());
    let bootstrap = broker.bootstrap();
    std::thread::scope(|scope| {
        for kind in kinds {
            let (seed, bootstrap) = (random.fork(), &bootstrap);
            scope.spawn(move || change_one_group(bootstrap, kind, seed));
        }
    });
}

fn change_one_group(bootstrap: &str, kind: Kind, mut random: Random) {
    let topic = topic(bootstrap, "load", PARTITIONS, &[]);
    let group = Group::new(bootstrap, "load");
    let journal = Journal::default();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = Raise(&stop);
        scope.spawn(|| produce_until(&stop, &journal, &group, bootstrap, &topic));
        let mut connection = Connection::open(bootstrap);
        let mut members: Vec<Member> = Vec::new();
        let mut sleeping: Vec<Member> = Vec::new();
        let mut before = BTreeMap::new();
        for _ in 0..changes() {
            match random.below(8) {
                0 if members.len() > 1 => members.swap_remove(random.below(members.len())).close(),
                1 if members.len() > 1 && sleeping.len() < 2 => {
                    let member = members.swap_remove(random.below(members.len()));
                    member.freeze();
                    sleeping.push(member);
                }
                2 if !sleeping.is_empty() => {
                    let member = sleeping.swap_remove(0);
                    member.wake();
                    members.push(member);
                }
                _ if members.len() >= MEMBERS => members.swap_remove(random.below(members.len())).close(),
                n => members.push(join(&group, kind, &topic, n % 2 == 0)),
            }
            // Some of the records, so that changes come at any moment of a rebalance.
            let target = group.ledger().processed.values().sum::<i64>() + random.below(300) as i64;
            group.wait("more records are processed", |ledger| ledger.processed.values().sum::<i64>() >= target);
            let now = group.fetch_committed(&mut connection);
            for (partition, offset) in &before {
                assert!(now.get(partition) >= Some(offset), "{kind:?}: {partition:?} went back from {offset}: {now:?}");
            }
            before = now;
        }
        stop.store(true, Ordering::Relaxed);
        drop((members, sleeping));
    });
    let last = join(&group, kind, &topic, false);
    let ends: Vec<i64> = (0..PARTITIONS).map(|partition| journal.end(partition)).collect();
    group.wait_until_committed(&topic, &ends);
    last.close();
    let ledger = group.ledger();
    ledger.check_all_closed();
    println!(
        "{kind:?}: {} members, {} records, {} of them again",
        ledger.members.len(),
        ledger.processed.values().sum::<i64>(),
        ledger.repeated
    );
}

/// A member that leaves when it is closed; or a static one, which goes without leaving the group.
fn join(group: &Group, kind: Kind, topic: &str, leaves: bool) -> Member {
    let mut settings = short_sessions(kind).to_vec();
    let instance = fresh("instance");
    if !leaves {
        settings.push(("group.instance.id", &instance));
    }
    group.join(kind, &[topic], &settings)
}

/// Sends numbered records to all partitions until told to stop, never far ahead of the group.
pub fn produce_until(stop: &AtomicBool, journal: &Journal, group: &Group, bootstrap: &str, topic: &str) {
    let producer = journal.producer(bootstrap, &[("queue.buffering.max.messages", "100")]);
    let mut sent = 0;
    while !stop.load(Ordering::Relaxed) {
        let value = sent.to_string();
        producer.send(topic, (sent % i64::from(PARTITIONS)) as i32, b"load", value.as_bytes());
        sent += 1;
        if sent % 100 == 0 {
            let near = |processed: i64| processed + AHEAD > sent || stop.load(Ordering::Relaxed);
            group.wait("the group follows", |ledger| near(ledger.processed.values().sum()));
        }
    }
    producer.flush();
    assert_eq!(journal.count() as i64, sent);
}
