//! SyncGroup, Heartbeat and LeaveGroup.

use kafka_protocol::messages::{LeaveGroupRequest, SyncGroupRequest};

use super::super::replies::text;
use super::super::{ClassicState, check_sync, leave_missing};
use super::bench::{Bench, Join, REBALANCE_MS, client, sync_request};
use crate::group::timers::Timer;
use crate::wire::ErrorCode;

#[test]
fn what_is_wrong_without_its_group() {
    let bare = sync_request("m", 1, &[]);
    assert_eq!(check_sync(&client(4), &bare), Ok(()));
    assert_eq!(check_sync(&client(5), &bare), Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
    let typed = bare.clone().with_protocol_type(Some(text("consumer")));
    assert_eq!(check_sync(&client(5), &typed), Err(ErrorCode::INCONSISTENT_GROUP_PROTOCOL));
    assert_eq!(check_sync(&client(5), &typed.with_protocol_name(Some(text("range")))), Ok(()));
    assert_eq!(check_sync(&client(4), &SyncGroupRequest::default()), Err(ErrorCode::INVALID_GROUP_ID));
}

#[test]
fn the_leaders_assignment_reaches_everybody_and_the_log() {
    let (mut bench, ids) = Bench::completing(3);
    let (a, b, c) = (&ids[0], &ids[1], &ids[2]);
    let early = bench.sync(5, &sync_request(b, 1, &[]));
    assert!(bench.waits(early));
    let written = bench.log.len();
    let leader = bench.sync(5, &sync_request(a, 1, &[(a, "one"), (b, "two"), ("nobody", "x"), (b, "three")]));
    assert_eq!(&*bench.synced(leader).assignment, b"one");
    assert_eq!(&*bench.synced(early).assignment, b"three", "the last one counts");
    assert_eq!(bench.synced(early).protocol_name.as_deref(), Some("range"));
    assert_eq!(bench.synced(early).protocol_type.as_deref(), Some("consumer"));
    let late = bench.sync(5, &sync_request(c, 1, &[]));
    assert_eq!((bench.synced(late).error_code, bench.synced(late).assignment.len()), (0, 0));
    assert_eq!(bench.due(&Timer::Sync), None);

    assert_eq!(bench.log.len(), written + 1);
    let value = bench.log.last().unwrap();
    assert_eq!((value.generation, value.leader.as_deref()), (1, Some(&**a)));
    assert_eq!((&*value.protocol_type, value.protocol.as_deref()), ("consumer", Some("range")));
    assert_eq!(value.state_timestamp, bench.world.now.wall.0);
    let member = value.members.iter().find(|member| member.member_id == *b).unwrap();
    assert_eq!((&*member.subscription, &*member.assignment), (&b"r"[..], &b"three"[..]));
    assert_eq!((&*member.client_id, &*member.client_host), ("c", "/127.0.0.1"));
    assert_eq!(member.rebalance_timeout_ms, REBALANCE_MS);

    let again = bench.sync(5, &sync_request(b, 1, &[]));
    assert_eq!(&*bench.synced(again).assignment, b"three", "as often as one likes");
}

#[test]
fn syncs_that_are_refused() {
    let mut bench = Bench::new();
    assert_eq!(bench.sync_code(&sync_request("m", 0, &[])), ErrorCode::UNKNOWN_MEMBER_ID, "an empty group");
    let (mut bench, ids) = Bench::completing(1);
    let own = sync_request(&ids[0], 1, &[]);
    let inconsistent = ErrorCode::INCONSISTENT_GROUP_PROTOCOL;
    let cases = [
        (sync_request("nobody", 1, &[]), ErrorCode::UNKNOWN_MEMBER_ID),
        (own.clone().with_group_instance_id(Some(text("i"))), ErrorCode::UNKNOWN_MEMBER_ID),
        (sync_request(&ids[0], 2, &[]), ErrorCode::ILLEGAL_GENERATION),
        (own.clone().with_protocol_type(Some(text("connect"))), inconsistent),
        (own.clone().with_protocol_name(Some(text("sticky"))), inconsistent),
    ];
    for (request, code) in cases {
        assert_eq!(bench.sync_code(&request), code, "{request:?}");
    }
    let right = own.clone().with_protocol_type(Some(text("consumer"))).with_protocol_name(Some(text("range")));
    assert_eq!(bench.sync_code(&right), ErrorCode::NONE);
    bench.enter(Join::of(""));
    assert_eq!(bench.sync_code(&own), ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn members_that_do_not_sync_are_dropped_even_the_leader() {
    let (mut bench, ids) = Bench::completing(3);
    let waiting = bench.sync(5, &sync_request(&ids[1], 1, &[]));
    for _ in 0..12 {
        bench.heartbeat(&ids[0], 1);
        bench.heartbeat(&ids[2], 1);
        assert!(bench.waits(waiting));
        bench.pass(5000);
    }
    assert_eq!(bench.synced(waiting).error_code, ErrorCode::REBALANCE_IN_PROGRESS.0);
    assert_eq!(bench.group.members().len(), 1);
    assert_eq!((bench.session(&ids[0]), bench.session(&ids[2])), (None, None));
    let ticket = bench.join(&Join::of(&ids[1]));
    assert_eq!((bench.joined(ticket).generation_id, &*bench.joined(ticket).leader), (2, &*ids[1]));

    // In a stable group too: the third has never asked for what it was given.
    let (mut bench, ids) = Bench::completing(2);
    bench.sync_code(&sync_request(&ids[0], 1, &[]));
    assert_eq!(bench.state(), ClassicState::Stable);
    for _ in 0..12 {
        bench.heartbeat(&ids[0], 1);
        bench.heartbeat(&ids[1], 1);
        bench.pass(5000);
    }
    assert_eq!((bench.state(), bench.group.members().len()), (ClassicState::PreparingRebalance, 1));
}

#[test]
fn a_sync_takes_the_place_of_an_older_one_of_the_same_member() {
    let (mut bench, ids) = Bench::completing(2);
    let older = bench.sync(5, &sync_request(&ids[1], 1, &[]));
    let newer = bench.sync(5, &sync_request(&ids[1], 1, &[]));
    assert_eq!(bench.synced(older).error_code, ErrorCode::REBALANCE_IN_PROGRESS.0);
    assert!(bench.waits(newer));
}

#[test]
fn an_assignment_that_the_log_cannot_take_is_refused() {
    let (mut bench, ids) = Bench::completing(2);
    let waiting = bench.sync(5, &sync_request(&ids[1], 1, &[]));
    let written = bench.log.len();
    let huge = "x".repeat(bench.world.config.max_record_bytes);
    let leader = bench.sync(5, &sync_request(&ids[0], 1, &[(&ids[1], &huge)]));
    for ticket in [waiting, leader] {
        assert_eq!(bench.synced(ticket).error_code, ErrorCode::UNKNOWN_SERVER_ERROR.0);
    }
    assert_eq!((bench.state(), bench.log.len()), (ClassicState::PreparingRebalance, written));
    assert!(bench.group.members().values().all(|member| member.assignment.is_empty()));
}

#[test]
fn heartbeats() {
    let mut bench = Bench::new();
    assert_eq!(bench.heartbeat("m", 0), ErrorCode::UNKNOWN_MEMBER_ID);
    let (mut bench, ids) = Bench::completing(2);
    let id = &ids[0];
    assert_eq!(bench.heartbeat(id, 1), ErrorCode::NONE);
    assert_eq!(bench.heartbeat(id, 0), ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(bench.heartbeat("nobody", 1), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(bench.beat(id, Some("i"), 1), ErrorCode::UNKNOWN_MEMBER_ID);
    bench.sync_code(&sync_request(id, 1, &[]));
    bench.pass(6000);
    assert_eq!(bench.heartbeat(id, 1), ErrorCode::NONE);
    bench.pass(6000);
    assert_eq!(bench.group.members().len(), 1, "the other was silent");
    assert_eq!(bench.heartbeat(id, 1), ErrorCode::REBALANCE_IN_PROGRESS);
}

#[test]
fn the_last_member_leaves_an_empty_group() {
    let (mut bench, ids) = Bench::stable(1);
    assert_eq!(bench.leave(&[(&ids[0], None)]), [ErrorCode::NONE]);
    assert_eq!((bench.state(), bench.group.generation()), (ClassicState::Empty, 2));
    assert_eq!(bench.log.last().map(|value| (value.members.len(), value.generation)), Some((0, 2)));
    assert_eq!(bench.world.timers.next(), None);
    bench.restart();
    assert_eq!((bench.state(), bench.group.protocol_type()), (ClassicState::Empty, Some("consumer")));
}

#[test]
fn several_leave_at_once_and_each_is_answered() {
    let (mut bench, ids) = Bench::stable(3);
    let pending = bench.join(&Join::of(""));
    let pending = bench.joined(pending).member_id.to_string();
    let unknown = ErrorCode::UNKNOWN_MEMBER_ID;
    let leaving: [(&str, Option<&str>); 6] =
        [(&ids[0], None), (&ids[0], None), (&ids[1], Some("i")), ("", None), ("", Some("i")), (&pending, None)];
    let expected = [ErrorCode::NONE, unknown, unknown, unknown, unknown, ErrorCode::NONE];
    assert_eq!(bench.leave(&leaving), expected);
    assert_eq!((bench.state(), bench.group.members().len()), (ClassicState::PreparingRebalance, 2));
    assert_eq!(bench.session(&ids[0]), None);
    assert_eq!(bench.due(&Timer::PendingJoin(pending.as_str().into())), None);
    assert_eq!(bench.leave(&[("nobody", None)]), [unknown]);
    let ticket = bench.join(&Join::of(&ids[1]));
    assert!(bench.waits(ticket));
    bench.leave(&[(&ids[2], None)]);
    assert_eq!(bench.joined(ticket).generation_id, 2, "nobody else is waited for");
}

#[test]
fn a_member_that_leaves_while_it_waits_is_answered() {
    let (mut bench, ids) = Bench::completing(2);
    let sync = bench.sync(5, &sync_request(&ids[1], 1, &[]));
    bench.leave(&[(&ids[1], None)]);
    assert_eq!(bench.synced(sync).error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);
    let join = bench.join(&Join::of("").version(3));
    let id = bench.group.members().iter().find(|(_, member)| member.is_new).map(|(id, _)| id.clone()).unwrap();
    bench.leave(&[(&id, None)]);
    assert_eq!(bench.joined(join).error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);
}

#[test]
fn before_version_3_the_one_member_answers_for_the_request() {
    let (mut bench, ids) = Bench::stable(1);
    let nobody = LeaveGroupRequest::default().with_member_id(text("nobody"));
    let own = LeaveGroupRequest::default().with_member_id(text(&ids[0]));
    for (request, code) in [(nobody.clone(), ErrorCode::UNKNOWN_MEMBER_ID), (own, ErrorCode::NONE)] {
        let answer = bench.leave_with(2, &request);
        assert_eq!((answer.error_code, answer.members.len()), (code.0, 0));
    }
    assert_eq!(leave_missing(&client(2), &nobody).error_code, ErrorCode::UNKNOWN_MEMBER_ID.0);
    let batch = LeaveGroupRequest::default()
        .with_members(vec![kafka_protocol::messages::leave_group_request::MemberIdentity::default()]);
    let answer = leave_missing(&client(3), &batch);
    assert_eq!((answer.error_code, answer.members[0].error_code), (0, ErrorCode::UNKNOWN_MEMBER_ID.0));
}
