//! Groups that change their kind.

use bytes::Bytes;

use super::bench::*;
use crate::group::classic::ClassicState;
use crate::group::config::MigrationPolicy;
use crate::group::records::{MemberState, Record};
use crate::group::timers::Timer;
use crate::group::turn::Released;
use crate::types::PartitionIndex;
use crate::wire::ErrorCode;
use crate::wire::consumer_protocol::ConsumerAssignment;

#[test]
fn a_classic_group_becomes_a_consumer_group_with_its_first_consumer() {
    let mut bench = Bench::classic_group(RANGE, &[("a", &[0, 1, 2]), ("b", &[3, 4, 5])]);
    let (a, b) = (bench.id("a"), bench.id("b"));
    assert_eq!(bench.ok(&come("m", &["t"])), (2, Some(vec![])));
    let group = bench.consumer();
    assert_eq!((group.epoch(), group.classic_members(), group.members().len()), (2, 2, 3));
    let member = group.member(&a).unwrap();
    assert_eq!((member.current.epoch, member.current.state), (1, MemberState::Stable));
    assert_eq!(member.partitions().map(|(_, index)| index.0).collect::<Vec<_>>(), [0, 1, 2]);
    assert_eq!((&*member.told.topic_names, member.told.rebalance_timeout_ms), (&["t".to_owned()][..], REBALANCE_MS));
    assert_eq!(group.static_member("b").map(|id| &**id), Some(&*b));
    // Members go on with their generation, are told to join, and give up the rest.
    assert_eq!(bench.heartbeat(&heartbeat(&a, 1)), ErrorCode::REBALANCE_IN_PROGRESS);
    let protocols = [(RANGE, subscription(&["t"], &[]))];
    assert_eq!(bench.joined(&join(&a, &protocols)).generation_id, 2);
    assert_eq!(bench.synced(&sync(&a, 2, RANGE, &[])).1[0].1.len(), 2);
    bench.joined(&join(&b, &protocols));
    assert_eq!(bench.ok(&beat("m", 2)).1.unwrap().len(), 2);
    bench.check_replay();
    for timer in [Timer::Join, Timer::Sync] {
        assert!(!bench.is_due(&timer));
    }
    bench.advance(i64::from(SESSION_MS));
    assert_eq!(bench.consumer().members().len(), 1, "classic members are held to the sessions that they asked for");
}

#[test]
fn a_classic_group_stays_one_where_it_must() {
    let join_all = |protocol_type: &str, metadata: Bytes| {
        let mut bench = Bench::new(2);
        let request = join("", &[(RANGE, metadata)]).with_protocol_type(text(protocol_type));
        bench.join(&request.with_group_instance_id(Some(text("a"))));
        bench
    };
    let policy = |policy| {
        let mut bench = Bench::classic_group(RANGE, &[("a", &[0])]);
        bench.world.config.migration = policy;
        bench
    };
    let assigned = |bytes: Bytes| {
        let mut bench = Bench::classic_group(RANGE, &[("a", &[0])]);
        let a = bench.id("a");
        let answer = bench.joined(&join(&a, &[(RANGE, subscription(&["t"], &[]))]));
        bench.sync(&sync(&a, answer.generation_id, RANGE, &[(&a, bytes)]));
        bench
    };
    let mut small = policy(MigrationPolicy::Bidirectional);
    small.world.config.consumer_max_size = 0;
    let user_data = ConsumerAssignment { partitions: vec![], user_data: Some(Bytes::from_static(b"x")) };
    let cases = [
        (policy(MigrationPolicy::Disabled), "online upgrade is disabled"),
        (policy(MigrationPolicy::Downgrade), "online upgrade is disabled"),
        (small, "the group size exceeds the consumer group maximum size"),
        (join_all("connect", Bytes::new()), "the group does not use the consumer embedded protocol"),
        (join_all("consumer", Bytes::from_static(b"x")), "the embedded consumer protocol is malformed"),
        (assigned(Bytes::from_static(b"x")), "the embedded consumer protocol is malformed"),
        (assigned(user_data.encode(1)), "an unsupported custom assignor is in use"),
        (Bench::classic_group(RANGE, &[("a", &[0]), ("b", &[0])]), "a partition is assigned to two of its members"),
    ];
    for (mut bench, why) in cases {
        let timers = bench.world.timers.clone();
        let refusal = bench.beat(&come("m", &["t"])).unwrap_err();
        assert_eq!(refusal.code, ErrorCode::GROUP_ID_NOT_FOUND, "{why}");
        let message = format!("{refusal:?}");
        assert!(
            message.contains(&format!("Cannot upgrade classic group g to consumer group because {why}")),
            "{message}"
        );
        assert_eq!((bench.world.timers.clone(), !bench.classic().members().is_empty()), (timers, true), "{why}");
        assert!(bench.released.is_empty(), "{why}");
    }
    let mut bench = Bench::classic_group(RANGE, &[("a", &[0])]);
    let refusal = bench.beat(&beat("m", 3)).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::GROUP_ID_NOT_FOUND, "only a new member upgrades");
    let refusal = bench.beat(&come("m", &[]).with_subscribed_topic_regex(Some(text("(")))).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::INVALID_REGULAR_EXPRESSION);
    assert_eq!(bench.classic().state(), ClassicState::Stable, "and one that is taken");
}

#[test]
fn whoever_waits_in_the_classic_group_is_to_join_again() {
    let mut bench = Bench::new(2);
    // Nobody chose a protocol yet.
    bench.world.config.initial_rebalance_delay_ms = 1000;
    let request = join("", &[(RANGE, subscription(&["t"], &[]))]).with_group_instance_id(Some(text("a")));
    assert_eq!(bench.join(&request), None);
    let waits = bench.ticket;
    let pending = bench.joined(&join("", &[(RANGE, subscription(&["t"], &[]))])).member_id.to_string();
    bench.ok(&come("m", &["t"]));
    let answer = bench.join_released(waits);
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::REBALANCE_IN_PROGRESS);
    assert_eq!(answer.member_id.as_str(), bench.id("a"));
    assert!(!bench.is_due(&Timer::PendingJoin(pending.as_str().into())) && !bench.is_due(&Timer::Join));
    assert_eq!(bench.joined(&join(&pending, &[(RANGE, subscription(&["t"], &[]))])).error_code, 0);

    // A follower waits for its assignment.
    let mut bench = Bench::classic_group(RANGE, &[("a", &[0]), ("b", &[1])]);
    let protocols = [(RANGE, subscription(&["t"], &[("t", &[9])]))];
    let tickets = ["a", "b"].map(|instance| {
        let id = bench.id(instance);
        bench.join(&join(&id, &protocols));
        bench.ticket
    });
    let answers = tickets.map(|ticket| bench.released.remove(&ticket));
    let follower = answers.iter().find_map(|answer| match answer {
        Some(Released::Join(answer)) if answer.leader != answer.member_id => Some(answer.member_id.to_string()),
        _ => None,
    });
    let follower = follower.unwrap_or_else(|| ["a", "b"].map(|i| bench.id(i))[1].clone());
    assert_eq!(bench.sync(&sync(&follower, 2, RANGE, &[])), None);
    let waits = bench.ticket;
    bench.ok(&come("m", &["t"]));
    let Some(Released::Sync(answer)) = bench.released.remove(&waits) else { panic!("it waits on") };
    assert_eq!(ErrorCode(answer.error_code), ErrorCode::REBALANCE_IN_PROGRESS);
    bench.check_replay();
}

#[test]
fn what_a_member_may_not_have_given_up_yet_is_kept_for_it() {
    let mut bench = Bench::classic_group(COOPERATIVE, &[("a", &[0, 1, 2])]);
    let a = bench.id("a");
    let answer = bench.joined(&join(&a, &[(COOPERATIVE, subscription(&["t"], &[("t", &[0, 1, 2])]))]));
    bench.sync(&sync(&a, answer.generation_id, COOPERATIVE, &[(&a, assignment(&[("t", &[0, 1])]))]));
    bench.ok(&come("m", &["t"]));
    let owner = |bench: &Bench| {
        let topic = bench.world.image.topic("t").unwrap().id;
        bench.consumer().owner(topic, PartitionIndex(2)).map(ToString::to_string)
    };
    assert_eq!(owner(&bench), Some(a.clone()));
    let state = |bench: &Bench| bench.consumer().member(&a).unwrap().current.state;
    assert_eq!(state(&bench), MemberState::UnrevokedPartitions);
    bench.joined(&join(&a, &[(COOPERATIVE, subscription(&["t"], &[("t", &[0, 1])]))]));
    assert_ne!(state(&bench), MemberState::UnrevokedPartitions);
    bench.check_replay();
}

/// A consumer group of `m` and of the classic static members `a` and `b`, settled.
fn settled(protocol: &str) -> Bench {
    let mut bench = Bench::classic_group(protocol, &[("a", &[0, 1, 2]), ("b", &[3, 4, 5])]);
    bench.ok(&come("m", &["t"]));
    for _ in 0..3 {
        for instance in ["a", "b"] {
            let id = bench.id(instance);
            let owned: Vec<i32> = {
                let target = bench.consumer().target(&id).unwrap();
                target.values().flatten().map(|index| index.0).collect()
            };
            let generation =
                bench.joined(&join(&id, &[(protocol, subscription(&["t"], &[("t", &owned)]))])).generation_id;
            bench.synced(&sync(&id, generation, protocol, &[]));
        }
        let epoch = bench.consumer().member("m").unwrap().current.epoch;
        bench.ok(&beat("m", epoch));
    }
    assert_eq!(bench.consumer().state().to_string(), "Stable");
    bench
}

#[test]
fn a_consumer_group_becomes_a_classic_group_when_its_last_consumer_is_gone() {
    let leaves = |bench: &mut Bench| drop(bench.ok(&beat("m", -1)));
    let removed = |bench: &mut Bench| drop(bench.leave(&leave(&[("m", None)])));
    let expires = |bench: &mut Bench| {
        for _ in 0..9 {
            bench.advance(5000);
            for instance in ["a", "b"] {
                let id = bench.id(instance);
                bench.heartbeat(&heartbeat(&id, 2));
            }
        }
    };
    for (how, goes) in [("leaves", leaves as fn(&mut Bench)), ("removed", removed), ("expires", expires)] {
        let mut bench = settled(COOPERATIVE);
        goes(&mut bench);
        let group = bench.classic();
        assert_eq!((group.state(), group.generation()), (ClassicState::PreparingRebalance, 2), "{how}");
        assert_eq!((group.protocol(), group.protocol_type()), (Some(COOPERATIVE), Some("consumer")));
        assert_eq!(group.members().len(), 2);
        for member in group.members().values() {
            let assignment = ConsumerAssignment::decode(&member.assignment).unwrap();
            assert_eq!(assignment.partitions[0].1.len(), 2, "each has what it owns");
            assert_eq!(member.assignment[..2], [0, 3], "in the version of its subscription");
        }
        // Members keep what they own and are told to join.
        let (a, b) = (bench.id("a"), bench.id("b"));
        assert_eq!(bench.heartbeat(&heartbeat(&a, 2)), ErrorCode::REBALANCE_IN_PROGRESS);
        bench.join(&join(&a, &[(COOPERATIVE, subscription(&["t"], &[]))]));
        let waits = bench.ticket;
        bench.join(&join(&b, &[(COOPERATIVE, subscription(&["t"], &[]))]));
        assert_eq!(bench.join_released(waits).generation_id, 3);
        let mut before = bench.log.iter().rev().skip_while(|record| !matches!(record, Record::Classic(_, Some(_))));
        assert!(matches!(before.nth(1), Some(Record::ConsumerEpoch(_, None))), "{how}");
        bench.check_replay();
    }
}

#[test]
fn what_members_hold_is_theirs_through_both_changes() {
    let mut bench = Bench::classic_group(COOPERATIVE, &[("a", &[0, 1, 2, 3, 4, 5])]);
    bench.ok(&come("m", &["t"]));
    bench.ok(&beat("m", -1));
    assert_eq!(bench.classic().state(), ClassicState::PreparingRebalance);
    // It was to give up three and did not hear of it.
    assert_eq!(bench.ok(&come("n", &["t"])).1, Some(vec![]));
    let id = bench.id("a");
    assert_eq!(bench.consumer().member(&id).unwrap().partitions().count(), 6);
    bench.check_replay();
}

#[test]
fn a_rebalance_that_is_owed_survives_a_restart() {
    let mut bench = settled(COOPERATIVE);
    bench.ok(&beat("m", -1));
    bench.restart(false);
    assert_eq!(bench.classic().state(), ClassicState::PreparingRebalance);
    let id = bench.id("a");
    assert_eq!(bench.heartbeat(&heartbeat(&id, 2)), ErrorCode::REBALANCE_IN_PROGRESS);
    // A group that owes none is left in peace.
    let mut bench = Bench::classic_group(RANGE, &[("a", &[0])]);
    bench.restart(false);
    assert_eq!(bench.classic().state(), ClassicState::Stable);
}

#[test]
fn a_consumer_group_stays_one_where_it_must() {
    for policy in [MigrationPolicy::Disabled, MigrationPolicy::Upgrade] {
        let mut bench = settled(RANGE);
        bench.world.config.migration = policy;
        bench.ok(&beat("m", -1));
        assert_eq!((bench.consumer().members().len(), bench.consumer().epoch()), (2, 3));
    }
    let mut bench = settled(RANGE);
    bench.world.config.max_size = 1;
    bench.ok(&beat("m", -1));
    assert_eq!(bench.consumer().members().len(), 2, "it would be too large for a classic one");
    let mut bench = settled(RANGE);
    bench.world.config.max_record_bytes = 600;
    bench.ok(&beat("m", -1));
    assert_eq!(bench.consumer().members().len(), 2, "it would be too large for the log");
    let mut bench = settled(RANGE);
    bench.ok(&come("n", &["t"]));
    bench.ok(&beat("m", -1));
    assert_eq!(bench.consumer().members().len(), 3, "another consumer is there");
    let all: Vec<String> = bench.consumer().members().keys().map(ToString::to_string).collect();
    let all: Vec<(&str, Option<&str>)> = all.iter().map(|id| (id.as_str(), None)).collect();
    bench.leave(&leave(&all));
    assert!(bench.consumer().is_empty(), "nobody is left");
    bench.check_replay();
}

#[test]
fn a_classic_member_takes_the_place_of_the_last_consumer() {
    let protocols = |topics: &[&str]| [(RANGE, subscription(topics, &[]))];
    let with_static = |policy| {
        let mut bench = Bench::new(2);
        bench.world.topic("u", 2);
        bench.world.config.migration = policy;
        bench.ok(&come("m", &["t"]).with_instance_id(Some(text("i"))));
        bench.joined(&join("c", &protocols(&["t"])));
        bench.ok(&beat("m", 2).with_instance_id(Some(text("i"))));
        bench.ok(&owning("m", 2, &[(1, &[0])]).with_instance_id(Some(text("i"))));
        bench.joined(&join("c", &protocols(&["t"])));
        bench.synced(&sync("c", 3, RANGE, &[]));
        assert_eq!(bench.consumer().state().to_string(), "Stable");
        bench
    };
    let static_join = |topics: &[&str]| join("", &protocols(topics)).with_group_instance_id(Some(text("i")));
    // With the same subscription nobody has to move.
    let mut bench = with_static(MigrationPolicy::Bidirectional);
    let answer = bench.joined(&static_join(&["t"]));
    assert_eq!((answer.error_code, answer.generation_id), (0, 3));
    let group = bench.classic();
    assert_eq!((group.state(), group.generation(), group.members().len()), (ClassicState::Stable, 3, 2));
    assert_eq!(group.static_member("i").map(|id| &**id), Some(answer.member_id.as_str()));
    assert_eq!(bench.synced(&sync(&answer.member_id, 3, RANGE, &[])).1, [("t".to_owned(), vec![0])]);
    assert_eq!(bench.heartbeat(&heartbeat("c", 3)), ErrorCode::NONE);
    bench.check_replay();
    // With another one the group rebalances, also after a restart.
    let mut bench = with_static(MigrationPolicy::Bidirectional);
    bench.joined(&static_join(&["t", "u"]));
    assert_eq!(bench.classic().state(), ClassicState::PreparingRebalance);
    bench.check_replay();
    bench.restart(true);
    assert_eq!(bench.classic().state(), ClassicState::PreparingRebalance);
    // The policy may be against it.
    let mut bench = with_static(MigrationPolicy::Upgrade);
    bench.joined(&static_join(&["t"]));
    assert_eq!(bench.consumer().classic_members(), 2);
    bench.check_replay();
}
