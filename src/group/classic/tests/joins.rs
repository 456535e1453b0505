//! JoinGroup, the rebalance's first half, sizes and timers.

use super::super::join::MAX_PENDING;
use super::super::{ClassicState, check_join, creates_group, join_missing};
use super::bench::{Bench, Join, REBALANCE_MS, SESSION_MS, client, sync_request};
use crate::group::config::GroupsConfig;
use crate::group::timers::Timer;
use crate::wire::ErrorCode;

#[test]
fn what_is_wrong_without_its_group() {
    let config = GroupsConfig::default();
    let request = Join::of("").request();
    assert_eq!(check_join(&config, &request), Ok(()));
    for (ms, code) in [(6000, None), (5999, Some(ErrorCode::INVALID_SESSION_TIMEOUT)), (1_800_000, None)] {
        assert_eq!(check_join(&config, &request.clone().with_session_timeout_ms(ms)).err(), code);
    }
    let late = request.clone().with_session_timeout_ms(1_800_001);
    assert_eq!(check_join(&config, &late), Err(ErrorCode::INVALID_SESSION_TIMEOUT));
    let unnamed = late.with_group_id(kafka_protocol::messages::GroupId::default());
    assert_eq!(check_join(&config, &unnamed), Err(ErrorCode::INVALID_GROUP_ID));

    assert!(creates_group(&request));
    assert!(!creates_group(&Join::of("m").request()));
    let answer = join_missing(&client(9), &Join::of("m").request(), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!((answer.error_code, &*answer.member_id, answer.generation_id), (25, "m", -1));
    assert_eq!(answer.protocol_name, None);
    let answer = join_missing(&client(6), &Join::of("m").request(), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(answer.protocol_name.as_deref(), Some(""));
}

#[test]
fn a_dynamic_member_needs_a_name_first_from_version_4_on() {
    for (version, code) in [(3, ErrorCode::NONE), (4, ErrorCode::MEMBER_ID_REQUIRED)] {
        let mut bench = Bench::new();
        let ticket = bench.join(&Join::of("").version(version));
        assert_eq!(bench.log.len(), 1, "the group is written down at once");
        assert_eq!(bench.log[0].members.len(), 0);
        assert_eq!(bench.log[0].protocol_type, "");
        assert_eq!(bench.log[0].state_timestamp, bench.world.now.wall.0);
        bench.pass(0);
        let answer = bench.joined(ticket);
        assert_eq!(ErrorCode(answer.error_code), code);
        assert!(answer.member_id.starts_with("c-"), "{}", answer.member_id);
        assert_eq!(answer.member_id.len(), 2 + 36);
        assert_eq!(bench.group.members().len(), usize::from(version < 4));
    }
    let mut bench = Bench::new();
    let ticket = bench.join(&Join::of("").instance("i"));
    bench.pass(0);
    assert!(bench.joined(ticket).member_id.starts_with("i-"), "static members need no name first");
}

#[test]
fn version_0_has_one_timeout() {
    let mut bench = Bench::new();
    bench.join(&Join::of("").version(0));
    let member = bench.group.members().values().next().unwrap();
    assert_eq!((member.session_timeout_ms, member.rebalance_timeout_ms), (SESSION_MS, SESSION_MS));
}

#[test]
fn members_share_a_protocol_type_and_a_protocol() {
    let with =
        |protocol_type, names: &[&'static str]| Join { protocol_type, ..Join::of("").version(3) }.protocols(names);
    let mut bench = Bench::new();
    let inconsistent = ErrorCode::INCONSISTENT_GROUP_PROTOCOL;
    assert_eq!(bench.join_code(&with("", &["range"])), inconsistent);
    assert_eq!(bench.join_code(&with("consumer", &[])), inconsistent);
    bench.join(&with("consumer", &["range", "sticky"]));
    assert_eq!(bench.join_code(&with("connect", &["range"])), inconsistent);
    assert_eq!(bench.join_code(&with("consumer", &["roundrobin"])), inconsistent);
    bench.join(&with("consumer", &["roundrobin", "sticky"]));
    assert_eq!(bench.join_code(&with("consumer", &["range"])), inconsistent, "the second has no range");
    assert_eq!(bench.group.members().len(), 2);
    bench.pass(0);
    assert_eq!(bench.group.protocol(), Some("sticky"));
}

#[test]
fn the_protocol_is_chosen_by_votes_and_ties_as_kafka_breaks_them() {
    let cases: [(&[&[&'static str]], &str); 6] = [
        (&[&["range", "sticky"], &["sticky", "range"], &["sticky", "range"]], "sticky"),
        (&[&["range", "sticky"], &["range", "sticky"], &["sticky", "range"]], "range"),
        (&[&["range", "roundrobin"], &["roundrobin", "range"]], TIES[0]),
        (&[&["range", "cooperative-sticky"], &["cooperative-sticky", "range"]], TIES[1]),
        (&[&["sticky", "range"], &["range", "sticky"]], TIES[2]),
        (&[&["range", "range"], &["range"]], "range"),
    ];
    for (members, chosen) in cases {
        let mut bench = Bench::new();
        for names in members {
            bench.join(&Join::of("").version(3).protocols(names));
        }
        bench.pass(0);
        assert_eq!(bench.group.protocol(), Some(chosen), "{members:?}");
    }
}

/// What Java's hash map makes of ties between the names of the test above.
const TIES: [&str; 3] = ["range", "range", "sticky"];

#[test]
fn only_the_leader_learns_who_the_members_are() {
    let mut bench = Bench::new();
    let (a, first) = bench.enter(Join::of(""));
    let (b, second) = bench.enter(Join::of(""));
    assert!(bench.waits(first) && bench.waits(second));
    bench.pass(0);
    let (leader, follower) = (bench.joined(first), bench.joined(second));
    assert_eq!((leader.generation_id, follower.generation_id), (1, 1));
    assert_eq!((&*leader.leader, &*follower.leader), (&*a, &*a));
    assert_eq!(leader.protocol_name.as_deref(), Some("range"));
    assert_eq!(leader.protocol_type.as_deref(), Some("consumer"));
    let mut members: Vec<&str> = leader.members.iter().map(|member| &*member.member_id).collect();
    members.sort_unstable();
    assert_eq!(members, [&*a, &*b]);
    assert_eq!(&*leader.members[0].metadata, b"r");
    assert!(follower.members.is_empty());
    assert_eq!(bench.session(&a), Some(SESSION_MS as u64));
    assert_eq!(bench.due(&Timer::Sync), Some(REBALANCE_MS as u64));
}

#[test]
fn the_first_rebalance_waits_longer_while_members_come() {
    let mut bench = Bench::new();
    bench.world.config.initial_rebalance_delay_ms = 3000;
    let join = Join { rebalance_ms: 10_000, ..Join::of("") };
    let (_, first) = bench.enter(join.clone());
    bench.pass(1000);
    bench.enter(join.clone());
    bench.pass(2000);
    assert!(bench.waits(first), "extended, because one came");
    bench.pass(2999);
    assert!(bench.waits(first));
    bench.pass(1);
    assert!(!bench.waits(first), "nobody came since");

    let mut bench = Bench::new();
    bench.world.config.initial_rebalance_delay_ms = 3000;
    let (_, first) = bench.enter(join.clone());
    for _ in 0..9 {
        bench.pass(1000);
        bench.enter(join.clone());
    }
    bench.pass(999);
    assert!(bench.waits(first));
    bench.pass(1);
    assert!(!bench.waits(first), "never longer than the rebalance timeout");
}

#[test]
fn who_rejoins_a_stable_group_rebalances_it_or_not() {
    let (mut bench, ids) = Bench::stable(2);
    let ticket = bench.join(&Join::of(&ids[1]));
    let answer = bench.joined(ticket);
    assert_eq!((answer.error_code, answer.generation_id, answer.members.len()), (0, 1, 0));
    assert_eq!(bench.state(), ClassicState::Stable, "an unchanged follower");

    let changed = Join { protocols: vec![("range", b"other".to_vec())], ..Join::of(&ids[1]) };
    let ticket = bench.join(&changed);
    assert!(bench.waits(ticket));
    assert_eq!(bench.state(), ClassicState::PreparingRebalance);
    assert_eq!(bench.due(&Timer::Join), Some(REBALANCE_MS as u64));
    let leader = bench.join(&Join::of(&ids[0]));
    assert_eq!(bench.joined(leader).generation_id, 2);
    assert_eq!(bench.joined(ticket).generation_id, 2);

    let (mut bench, ids) = Bench::stable(1);
    let ticket = bench.join(&Join::of(&ids[0]));
    assert_eq!(bench.joined(ticket).generation_id, 2, "the leader, even unchanged");
}

#[test]
fn a_lost_answer_is_given_again_while_the_group_completes() {
    let (mut bench, ids) = Bench::completing(2);
    let ticket = bench.join(&Join::of(&ids[0]));
    assert_eq!((bench.joined(ticket).generation_id, bench.joined(ticket).members.len()), (1, 2));
    let ticket = bench.join(&Join::of(&ids[1]));
    assert_eq!((bench.joined(ticket).generation_id, bench.joined(ticket).members.len()), (1, 0));
    let waiting = bench.sync(5, &sync_request(&ids[0], 0, &[]));
    assert_eq!(bench.synced(waiting).error_code, ErrorCode::ILLEGAL_GENERATION.0);
    let waiting = bench.sync(5, &sync_request(&ids[1], 1, &[]));
    let changed = Join { protocols: vec![("range", b"other".to_vec())], ..Join::of(&ids[0]) };
    bench.join(&changed);
    assert_eq!(bench.state(), ClassicState::PreparingRebalance);
    assert_eq!(bench.synced(waiting).error_code, ErrorCode::REBALANCE_IN_PROGRESS.0);
    assert_eq!(bench.due(&Timer::Sync), None);
}

#[test]
fn a_join_takes_the_place_of_an_older_one_of_the_same_member() {
    let mut bench = Bench::new();
    let (id, older) = bench.enter(Join::of(""));
    let newer = bench.join(&Join::of(&id));
    assert_eq!(bench.joined(older).error_code, ErrorCode::REBALANCE_IN_PROGRESS.0);
    bench.pass(0);
    assert_eq!(bench.joined(newer).generation_id, 1);
}

#[test]
fn who_does_not_come_back_is_dropped() {
    let (mut bench, ids) = Bench::stable(3);
    let ticket = bench.join(&Join::of(&ids[0]));
    for _ in 0..11 {
        bench.pass(5000);
        assert_eq!(bench.heartbeat(&ids[1], 1), ErrorCode::REBALANCE_IN_PROGRESS);
        assert!(bench.waits(ticket));
    }
    bench.pass(5000);
    assert_eq!(bench.joined(ticket).generation_id, 2);
    assert_eq!(bench.group.members().len(), 1);
    assert_eq!(bench.session(&ids[1]), None);
    assert_eq!(bench.heartbeat(&ids[1], 1), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn a_leader_that_does_not_come_back_hands_over() {
    let mut bench = Bench::new();
    let leader = bench.join(&Join::of("").instance("a"));
    let (b, _) = bench.enter(Join::of(""));
    bench.pass(0);
    let leader = bench.joined(leader).member_id.to_string();
    let ticket = bench.join(&Join { protocols: vec![("range", b"x".to_vec())], ..Join::of(&b) });
    for _ in 0..12 {
        bench.pass(5000);
        bench.beat(&leader, Some("a"), 1);
    }
    let answer = bench.joined(ticket);
    assert_eq!((&*answer.leader, answer.members.len()), (&*b, 2), "a static member keeps its place meanwhile");
}

#[test]
fn a_session_that_ends_rebalances() {
    let (mut bench, ids) = Bench::stable(2);
    bench.pass(9999);
    assert_eq!(bench.heartbeat(&ids[0], 1), ErrorCode::NONE);
    bench.pass(1);
    assert_eq!(bench.state(), ClassicState::PreparingRebalance);
    assert_eq!(bench.group.members().len(), 1);
    bench.pass(60_000);
    assert_eq!(bench.state(), ClassicState::Empty);
    let last = bench.log.last().unwrap();
    assert_eq!((last.members.len(), last.generation, &last.protocol, &last.leader), (0, 2, &None, &None));
    assert_eq!(last.protocol_type, "consumer");
}

#[test]
fn a_member_that_waits_needs_no_heartbeat_unless_it_is_new() {
    let (mut bench, ids) = Bench::stable(2);
    let ticket = bench.join(&Join { rebalance_ms: 1_000_000, ..Join::of(&ids[0]) });
    let new = bench.join(&Join::of("").version(3));
    for _ in 0..59 {
        bench.pass(5000);
        bench.heartbeat(&ids[1], 1);
    }
    assert!(bench.waits(ticket) && bench.waits(new));
    bench.pass(5000);
    assert!(bench.waits(ticket));
    let answer = bench.joined(new);
    assert_eq!((answer.error_code, &*answer.member_id), (ErrorCode::UNKNOWN_MEMBER_ID.0, ""));
}

#[test]
fn a_rebalance_waits_for_pending_members_until_their_time_is_over() {
    let (mut bench, ids) = Bench::stable(1);
    let pending = bench.join(&Join::of(""));
    let pending = bench.joined(pending).member_id.to_string();
    let ticket = bench.join(&Join::of(&ids[0]));
    assert!(bench.waits(ticket));
    bench.pass(9999);
    assert!(bench.waits(ticket));
    bench.pass(1);
    assert_eq!(bench.joined(ticket).generation_id, 2);
    assert_eq!(bench.join_code(&Join::of(&pending)), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(bench.due(&Timer::PendingJoin(pending.as_str().into())), None);
}

#[test]
fn names_are_checked() {
    let (mut bench, ids) = Bench::stable(1);
    assert_eq!(bench.join_code(&Join::of("nobody")), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(bench.join_code(&Join::of(&ids[0]).instance("i")), ErrorCode::UNKNOWN_MEMBER_ID);
    let pending = bench.join(&Join::of(""));
    let pending = bench.joined(pending).member_id.to_string();
    assert_eq!(bench.join_code(&Join::of(&pending).instance("i")), ErrorCode::UNKNOWN_SERVER_ERROR);
    let mut bench = Bench::new();
    assert_eq!(bench.join_code(&Join::of("nobody")), ErrorCode::UNKNOWN_MEMBER_ID, "an empty group");
}

#[test]
fn a_full_group_takes_nobody_else() {
    let (mut bench, ids) = Bench::stable(2);
    bench.world.config.max_size = 2;
    let full = ErrorCode::GROUP_MAX_SIZE_REACHED;
    assert_eq!(bench.join_code(&Join::of("")), full);
    assert_eq!(bench.join_code(&Join::of("").instance("i")), full);
    assert_eq!(bench.join_code(&Join::of("nobody")), full);
    assert_eq!(bench.join_code(&Join::of(&ids[1])), ErrorCode::NONE);

    bench.world.config.max_size = 1;
    let first = bench.join(&Join { protocols: vec![("range", b"x".to_vec())], ..Join::of(&ids[1]) });
    assert!(bench.waits(first));
    assert_eq!(bench.join_code(&Join::of(&ids[0])), full, "the last to come back, though it is a member");
    assert_eq!(bench.group.members().len(), 1);
    let again = bench.join(&Join::of(&ids[1]));
    assert_eq!(bench.joined(first).error_code, ErrorCode::REBALANCE_IN_PROGRESS.0);
    assert_eq!(bench.joined(again).generation_id, 2, "one that waits is let in, and nobody else is waited for");
}

#[test]
fn a_rebalance_takes_who_comes_first() {
    let (mut bench, ids) = Bench::stable(2);
    bench.world.config.max_size = 2;
    bench.join(&Join { protocols: vec![("range", b"x".to_vec())], ..Join::of(&ids[1]) });
    let new = bench.join(&Join::of("").version(3));
    assert!(bench.waits(new), "only one of the two members waits");
    assert_eq!(bench.join_code(&Join::of(&ids[0])), ErrorCode::GROUP_MAX_SIZE_REACHED);
}

#[test]
fn pending_members_are_bounded() {
    let mut bench = Bench::new();
    for _ in 0..MAX_PENDING {
        assert_eq!(bench.join_code(&Join::of("")), ErrorCode::MEMBER_ID_REQUIRED);
    }
    assert_eq!(bench.join_code(&Join::of("")), ErrorCode::GROUP_MAX_SIZE_REACHED);
    bench.pass(SESSION_MS.into());
    assert_eq!(bench.join_code(&Join::of("")), ErrorCode::MEMBER_ID_REQUIRED);
}

#[test]
fn a_group_that_grew_over_a_new_limit_rebalances_when_it_is_loaded() {
    let (mut bench, ids) = Bench::stable(3);
    bench.restart();
    assert_eq!((bench.state(), bench.group.generation()), (ClassicState::Stable, 1));
    assert_eq!(bench.session(&ids[2]), Some(SESSION_MS as u64));
    assert_eq!(bench.heartbeat(&ids[2], 1), ErrorCode::NONE);
    bench.world.config.max_size = 2;
    bench.restart();
    assert_eq!(bench.heartbeat(&ids[2], 1), ErrorCode::REBALANCE_IN_PROGRESS);
}
