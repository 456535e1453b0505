//! A classic member in a consumer group.

use bytes::Bytes;

use super::bench::*;
use crate::group::config::MigrationPolicy;
use crate::group::offsets::{Commit, CommitPartition};
use crate::group::records::MemberState;
use crate::group::timers::Timer;
use crate::types::{LeaderEpoch, Offset, PartitionIndex};
use crate::wire::ErrorCode;

fn range(owned: &[(&str, &[i32])]) -> Vec<(&'static str, Bytes)> {
    vec![(RANGE, subscription(&["t"], owned))]
}

/// A consumer group of `m`, which owns all four partitions of `t`.
fn mixed() -> Bench {
    let mut bench = Bench::new(4);
    assert_eq!(bench.ok(&come("m", &["t"])), (2, Some(vec![0, 1, 2, 3])));
    bench
}

#[test]
fn a_member_joins_and_is_given_what_others_gave_up() {
    let mut bench = mixed();
    let required = bench.joined(&join("", &range(&[])));
    assert_eq!(ErrorCode(required.error_code), ErrorCode::MEMBER_ID_REQUIRED);
    assert_eq!(required.member_id.len(), 22, "Kafka's short form of a random id");
    let id = required.member_id.as_str();
    let joined = bench.joined(&join(id, &range(&[])));
    assert_eq!((joined.error_code, joined.generation_id, joined.member_id.as_str()), (0, 3, id));
    assert_eq!((joined.protocol_name.as_deref(), joined.protocol_type.as_deref()), (Some(RANGE), Some("consumer")));
    assert!(joined.leader.is_empty() && joined.members.is_empty(), "nobody leads");
    assert!(bench.is_due(&Timer::ClassicSync(id.into())) && bench.is_due(&Timer::Session(id.into())));
    assert_eq!(bench.synced(&sync(id, 3, RANGE, &[])), (ErrorCode::NONE, vec![]));
    assert!(!bench.is_due(&Timer::ClassicSync(id.into())));
    assert_eq!(bench.heartbeat(&heartbeat(id, 3)), ErrorCode::NONE, "it waits for the other");

    assert_eq!(bench.ok(&beat("m", 2)), (2, Some(vec![0, 1])));
    assert_eq!(bench.heartbeat(&heartbeat(id, 3)), ErrorCode::NONE);
    assert_eq!(bench.ok(&owning("m", 2, &[(1, &[0, 1])])).0, 3);
    assert_eq!(bench.heartbeat(&heartbeat(id, 3)), ErrorCode::REBALANCE_IN_PROGRESS);
    assert!(bench.is_due(&Timer::ClassicJoin(id.into())));
    let joined = bench.joined(&join(id, &range(&[])));
    assert_eq!(joined.generation_id, 3);
    assert!(!bench.is_due(&Timer::ClassicJoin(id.into())));
    let given = vec![("t".to_owned(), vec![2, 3])];
    assert_eq!(bench.synced(&sync(id, 3, RANGE, &[])), (ErrorCode::NONE, given));
    assert_eq!(bench.heartbeat(&heartbeat(id, 3)), ErrorCode::NONE);
    bench.check_replay();
}

#[test]
fn a_member_gives_up_what_it_no_longer_says_it_owns() {
    let mut bench = mixed();
    bench.joined(&join("c", &range(&[])));
    bench.ok(&beat("m", 2));
    bench.ok(&owning("m", 2, &[(1, &[0, 1])]));
    bench.joined(&join("c", &range(&[])));
    // With two more there is one for each.
    bench.ok(&come("n", &["t"]));
    bench.ok(&come("o", &["t"]));
    assert_eq!(bench.heartbeat(&heartbeat("c", 3)), ErrorCode::REBALANCE_IN_PROGRESS);
    let state = |bench: &Bench| bench.consumer().member("c").unwrap().current.clone();
    let still = bench.joined(&join("c", &range(&[("t", &[2, 3])])));
    assert_eq!((still.generation_id, state(&bench).state), (3, MemberState::UnrevokedPartitions));
    let (code, kept) = bench.synced(&sync("c", 3, RANGE, &[]));
    assert_eq!((code, kept.len(), kept[0].1.len()), (ErrorCode::NONE, 1, 1), "it learns what to keep");
    assert_eq!(bench.heartbeat(&heartbeat("c", 3)), ErrorCode::REBALANCE_IN_PROGRESS, "and is to say that it did");
    let kept: Vec<(&str, &[i32])> = kept.iter().map(|(name, indexes)| (name.as_str(), &indexes[..])).collect();
    let gave = bench.joined(&join("c", &range(&kept)));
    assert_eq!((gave.generation_id, state(&bench).state), (5, MemberState::Stable));
    bench.check_replay();
}

#[test]
fn joins_are_refused_with_kafkas_codes() {
    let bad = Bytes::from_static(&[0, 1, 0, 0, 0, 9]);
    let named = |instance: &str, member: &str| join(member, &range(&[])).with_group_instance_id(Some(text(instance)));
    let cases = [
        (
            "another type",
            join("", &range(&[])).with_protocol_type(text("connect")),
            ErrorCode::INCONSISTENT_GROUP_PROTOCOL,
        ),
        ("nothing shared", join("", &[("other", subscription(&["t"], &[]))]), ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
        ("no protocol", join("", &[]), ErrorCode::INCONSISTENT_GROUP_PROTOCOL),
        ("malformed", join("x", &[(RANGE, bad)]), ErrorCode::UNKNOWN_SERVER_ERROR),
        ("dropped and not aware of it", join("x", &range(&[("t", &[0])])), ErrorCode::UNKNOWN_MEMBER_ID),
        ("unknown instance", named("nobody", "x"), ErrorCode::UNKNOWN_MEMBER_ID),
        ("another's instance", named("i", "x"), ErrorCode::FENCED_INSTANCE_ID),
        ("too short a session", join("", &range(&[])).with_session_timeout_ms(1), ErrorCode::INVALID_SESSION_TIMEOUT),
    ];
    let mut bench = mixed();
    bench.joined(&join("c", &range(&[])));
    assert_eq!(bench.joined(&named("i", "")).error_code, 0);
    for (what, request, expected) in cases {
        let before = bench.log.len();
        let answer = bench.joined(&request);
        assert_eq!((ErrorCode(answer.error_code), answer.protocol_name), (expected, None), "{what}");
        assert_eq!(bench.log.len(), before, "{what}");
    }
    bench.world.config.consumer_max_size = 3;
    assert_eq!(ErrorCode(bench.joined(&join("x", &range(&[]))).error_code), ErrorCode::GROUP_MAX_SIZE_REACHED);
    assert_eq!(bench.joined(&join("c", &range(&[]))).error_code, 0, "who is in stays in");
    bench.world.config.migration = MigrationPolicy::Disabled;
    assert_eq!(ErrorCode(bench.joined(&join("c", &range(&[]))).error_code), ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
}

#[test]
fn syncs_and_heartbeats_are_refused_with_kafkas_codes() {
    let mut bench = mixed();
    bench.joined(&join("c", &range(&[])));
    bench.joined(&join("", &range(&[])).with_group_instance_id(Some(text("i"))));
    bench.joined(&join("c", &range(&[])));
    let epoch = bench.consumer().member("c").unwrap().current.epoch;
    let cases = [
        ("nobody", "x", epoch, None, ErrorCode::UNKNOWN_MEMBER_ID),
        ("of the other protocol", "m", 2, None, ErrorCode::UNKNOWN_MEMBER_ID),
        ("an old generation", "c", epoch - 1, None, ErrorCode::ILLEGAL_GENERATION),
        ("a new generation", "c", epoch + 1, None, ErrorCode::ILLEGAL_GENERATION),
        ("an unknown instance", "c", epoch, Some("j"), ErrorCode::UNKNOWN_MEMBER_ID),
        ("another's instance", "c", epoch, Some("i"), ErrorCode::FENCED_INSTANCE_ID),
        ("itself", "c", epoch, None, ErrorCode::NONE),
    ];
    for (what, member, generation, instance, expected) in cases {
        let request = sync(member, generation, RANGE, &[]).with_group_instance_id(instance.map(text));
        assert_eq!(bench.synced(&request).0, expected, "sync of {what}");
        let request = heartbeat(member, generation).with_group_instance_id(instance.map(text));
        assert_eq!(bench.heartbeat(&request), expected, "heartbeat of {what}");
    }
    let other = sync("c", epoch, COOPERATIVE, &[]);
    assert_eq!(bench.synced(&other).0, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    let other = sync("c", epoch, RANGE, &[]).with_protocol_type(Some(text("connect")));
    assert_eq!(bench.synced(&other).0, ErrorCode::INCONSISTENT_GROUP_PROTOCOL);
    bench.ok(&come("n", &["t"]));
    assert!(!bench.is_due(&Timer::ClassicJoin("c".into())));
    assert_eq!(bench.synced(&sync("c", epoch, RANGE, &[])).0, ErrorCode::REBALANCE_IN_PROGRESS);
    assert!(bench.is_due(&Timer::ClassicJoin("c".into())));
}

#[test]
fn whoever_does_not_do_what_it_was_told_is_dropped() {
    let here = |bench: &Bench| bench.consumer().member("c").is_some();
    // It joined and does not sync.
    let mut bench = mixed();
    bench.joined(&join("c", &range(&[])));
    for _ in 0..3 {
        bench.advance(5000);
        bench.heartbeat(&heartbeat("c", 3));
    }
    assert!(here(&bench));
    bench.advance(5000);
    assert!(!here(&bench));
    // It is told to join and does not; being told again is no new time.
    let mut bench = mixed();
    bench.joined(&join("c", &range(&[])));
    bench.synced(&sync("c", 3, RANGE, &[]));
    bench.ok(&come("n", &["t"]));
    for _ in 0..4 {
        assert_eq!(bench.heartbeat(&heartbeat("c", 3)), ErrorCode::REBALANCE_IN_PROGRESS);
        bench.advance(5000);
    }
    assert!(!here(&bench));
    // It is not heard of.
    let mut bench = mixed();
    bench.joined(&join("c", &range(&[])));
    bench.synced(&sync("c", 3, RANGE, &[]));
    bench.advance(i64::from(SESSION_MS) - 1);
    assert!(here(&bench));
    bench.advance(1);
    assert!(!here(&bench));
    bench.check_replay();
}

#[test]
fn members_leave_by_themselves_or_are_removed() {
    let mut bench = mixed();
    bench.joined(&join("c", &range(&[])));
    bench.joined(&join("", &range(&[])).with_group_instance_id(Some(text("i"))));
    bench.joined(&join("d", &range(&[])));
    let epoch = bench.consumer().epoch();
    let answer = bench.leave(&leave(&[
        ("x", None),
        ("c", Some("i")),
        ("", Some("j")),
        ("", Some("i")),
        ("c", None),
        ("c", None),
    ]));
    let codes: Vec<ErrorCode> = answer.members.iter().map(|member| ErrorCode(member.error_code)).collect();
    let expected = [
        ErrorCode::UNKNOWN_MEMBER_ID,
        ErrorCode::FENCED_INSTANCE_ID,
        ErrorCode::UNKNOWN_MEMBER_ID,
        ErrorCode::NONE,
        ErrorCode::NONE,
        ErrorCode::NONE,
    ];
    assert_eq!(codes, expected);
    let left: Vec<&str> = bench.consumer().members().keys().map(|id| &**id).collect();
    assert_eq!((left, bench.consumer().epoch()), (vec!["d", "m"], epoch + 1), "one change for all");
    let before = bench.log.len();
    bench.leave(&leave(&[("x", None)]));
    assert_eq!(bench.log.len(), before);
    // Whoever is removed may be of either protocol.
    bench.leave(&leave(&[("m", None)]));
    assert_eq!(bench.classic().members().keys().map(|id| &**id).collect::<Vec<_>>(), ["d"]);
    bench.check_replay();
}

#[test]
fn a_member_of_the_same_name_changes_its_protocol() {
    let mut bench = mixed();
    bench.joined(&join("m", &range(&[])));
    assert!(bench.consumer().member("m").unwrap().is_classic());
    assert!(bench.is_due(&Timer::ClassicSync("m".into())));
    bench.ok(&come("m", &["t"]));
    assert!(!bench.consumer().member("m").unwrap().is_classic());
    // What it owed as a classic member is not held against it.
    for _ in 0..5 {
        bench.advance(5000);
        let epoch = bench.consumer().member("m").unwrap().current.epoch;
        bench.ok(&beat("m", epoch));
    }
    bench.check_replay();
}

#[test]
fn a_group_without_consumers_that_stays_one_moves_on_by_heartbeats() {
    let mut bench = mixed();
    bench.world.config.migration = MigrationPolicy::Upgrade;
    bench.joined(&join("c", &range(&[])));
    bench.synced(&sync("c", 3, RANGE, &[]));
    bench.ok(&beat("m", -1));
    assert_eq!(bench.consumer().members().len(), 1, "the policy keeps it");
    assert_eq!(bench.heartbeat(&heartbeat("c", 3)), ErrorCode::REBALANCE_IN_PROGRESS);
    let generation = bench.joined(&join("c", &range(&[]))).generation_id;
    assert_eq!(bench.synced(&sync("c", generation, RANGE, &[])).1, [("t".to_owned(), vec![0, 1, 2, 3])]);
    bench.world.partitions(bench.world.image.topic("t").unwrap().id, 4..5);
    assert_eq!(bench.heartbeat(&heartbeat("c", generation)), ErrorCode::REBALANCE_IN_PROGRESS, "a new partition");
    bench.check_replay();
}

#[test]
fn a_member_commits_with_its_epoch_for_a_generation() {
    let mut bench = mixed();
    bench.joined(&join("c", &range(&[])));
    let commit = |member: &str, generation| Commit {
        group: "g".into(),
        member_id: member.to_owned(),
        instance_id: None,
        generation,
        retention_ms: None,
        partitions: vec![CommitPartition {
            topic: "t".into(),
            topic_id: crate::types::TopicId(uuid::Uuid::from_u128(1)),
            partition: PartitionIndex(0),
            offset: Offset(7),
            leader_epoch: LeaderEpoch(0),
            metadata: "".into(),
        }],
    };
    let mut code = |member: &str, generation, version| {
        let commit = commit(member, generation);
        bench.turn(|shard, turn| shard.commit(turn, version, &commit)).map_or_else(|code| code, |codes| codes[0])
    };
    assert_eq!(code("c", 3, 8), ErrorCode::NONE);
    assert_eq!(code("c", 2, 8), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(code("c", 4, 8), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(code("x", 3, 8), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(code("m", 2, 8), ErrorCode::UNSUPPORTED_VERSION, "one of the consumer protocol knows better");
    assert_eq!(code("m", 2, 9), ErrorCode::NONE);
}

#[test]
fn descriptions_say_who_speaks_which_protocol() {
    let mut bench = mixed();
    bench.joined(&join("c", &range(&[])));
    let group = bench.turn(|shard, turn| shard.describe_consumer(turn, "g")).unwrap();
    let kinds: Vec<(String, i8)> =
        group.members.iter().map(|member| (member.member_id.to_string(), member.member_type)).collect();
    assert_eq!(kinds, [("c".to_owned(), 0), ("m".to_owned(), 1)]);
    assert_eq!(bench.shard.describe_classic("g").unwrap_err().code, ErrorCode::GROUP_ID_NOT_FOUND);
}
