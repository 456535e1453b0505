//! Static members (KIP-345, KIP-814).

use super::super::ClassicState;
use super::super::replies::text;
use super::bench::{Bench, Join, SESSION_MS, sync_request};
use crate::group::timers::Timer;
use crate::group::turn::Ticket;
use crate::wire::ErrorCode;

/// A stable group of the static members `a` and `b`; `a` leads.
fn stable() -> (Bench, String, String) {
    let mut bench = Bench::new();
    let tickets = ["a", "b"].map(|name| bench.join(&Join::of("").instance(name)));
    bench.pass(0);
    let [a, b] = tickets.map(|ticket| bench.joined(ticket).member_id.to_string());
    assert!(bench.group.is_leader(&a));
    assert_eq!(bench.sync_code(&sync_request(&a, 1, &[(&a, "A"), (&b, "B")])), ErrorCode::NONE);
    assert_eq!(bench.sync_code(&sync_request(&b, 1, &[])), ErrorCode::NONE);
    (bench, a, b)
}

fn rejoin(bench: &mut Bench, instance: &str, version: i16) -> Ticket {
    bench.join(&Join::of("").instance(instance).version(version))
}

#[test]
fn a_static_follower_comes_back_under_a_new_name_without_a_rebalance() {
    let (mut bench, a, b) = stable();
    let ticket = rejoin(&mut bench, "b", 9);
    let answer = bench.joined(ticket);
    let new = answer.member_id.to_string();
    assert_eq!((answer.error_code, answer.generation_id, answer.skip_assignment), (0, 1, false));
    assert_eq!((&*answer.leader, answer.members.len()), (&*a, 0));
    assert!(new.starts_with("b-") && new != b);
    assert_eq!(bench.state(), ClassicState::Stable);
    assert_eq!((bench.session(&b), bench.session(&new)), (None, Some(SESSION_MS as u64)));
    let value = bench.log.last().unwrap();
    assert!(value.members.iter().any(|member| member.member_id == new && &*member.assignment == b"B"));
    let sync = bench.sync(5, &sync_request(&new, 1, &[]));
    assert_eq!(&*bench.synced(sync).assignment, b"B", "with what it had");
}

#[test]
fn the_old_name_is_fenced() {
    let (mut bench, _, b) = stable();
    rejoin(&mut bench, "b", 9);
    let fenced = ErrorCode::FENCED_INSTANCE_ID;
    assert_eq!(bench.beat(&b, Some("b"), 1), fenced);
    assert_eq!(bench.beat(&b, None, 1), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(bench.join_code(&Join::of(&b).instance("b")), fenced);
    assert_eq!(bench.sync_code(&sync_request(&b, 1, &[]).with_group_instance_id(Some(text("b")))), fenced);
    assert_eq!(bench.group.validate_commit(&b, Some("b"), 1, false), Err(fenced));
    assert_eq!(bench.leave(&[(&b, Some("b"))]), [fenced]);
    assert_eq!(bench.state(), ClassicState::Stable);
}

#[test]
fn a_static_leader_that_comes_back_does_not_assign_again() {
    let (mut bench, a, _) = stable();
    let ticket = rejoin(&mut bench, "a", 9);
    let answer = bench.joined(ticket);
    assert_eq!((answer.skip_assignment, answer.members.len()), (true, 2));
    assert_eq!(answer.leader, answer.member_id);

    let ticket = rejoin(&mut bench, "a", 8);
    let older = bench.joined(ticket);
    assert_eq!((older.skip_assignment, older.members.len()), (false, 0));
    assert_eq!(older.leader, answer.member_id, "it is to take itself for a follower");
    assert_ne!(older.leader, older.member_id);
    assert!(bench.group.is_leader(&older.member_id));
    assert_ne!(older.member_id.as_str(), a);
}

#[test]
fn a_static_member_that_changes_the_protocol_rebalances() {
    let mut bench = Bench::new();
    let both = ["range", "sticky"];
    let tickets = ["a", "b"].map(|name| bench.join(&Join::of("").instance(name).protocols(&both)));
    bench.pass(0);
    let a = bench.joined(tickets[0]).member_id.to_string();
    bench.sync_code(&sync_request(&a, 1, &[]));
    let other = Join::of("").instance("b").protocols(&["sticky"]);
    let ticket = bench.join(&other);
    assert!(bench.waits(ticket));
    assert_eq!(bench.state(), ClassicState::PreparingRebalance);
    bench.join(&Join::of(&a).instance("a").protocols(&both));
    assert_eq!(bench.joined(ticket).protocol_name.as_deref(), Some("sticky"));
}

#[test]
fn a_static_member_that_comes_back_before_the_assignment_rebalances() {
    let mut bench = Bench::new();
    let tickets = ["a", "b"].map(|name| bench.join(&Join::of("").instance(name)));
    bench.pass(0);
    let [a, b] = tickets.map(|ticket| bench.joined(ticket).member_id.to_string());
    let waiting = bench.sync(5, &sync_request(&b, 1, &[]));
    let ticket = rejoin(&mut bench, "b", 9);
    assert_eq!(bench.synced(waiting).error_code, ErrorCode::FENCED_INSTANCE_ID.0);
    assert!(bench.waits(ticket));
    bench.join(&Join::of(&a).instance("a"));
    assert_eq!(bench.joined(ticket).generation_id, 2);
}

#[test]
fn what_the_old_name_waits_for_is_fenced() {
    let (mut bench, a, b) = stable();
    bench.join(&Join::of(&a).instance("a"));
    // The leader waits for the follower; then a second leader of the same instance comes.
    let first = bench.join(&Join::of(&a).instance("a"));
    let second = rejoin(&mut bench, "a", 9);
    let answer = bench.joined(first);
    assert_eq!((answer.error_code, &*answer.member_id), (ErrorCode::FENCED_INSTANCE_ID.0, &*a));
    assert_eq!(answer.protocol_name, None);
    bench.join(&Join::of(&b).instance("b"));
    assert_eq!(bench.joined(second).generation_id, 2);
}

#[test]
fn an_administrator_removes_by_instance() {
    let (mut bench, a, _) = stable();
    assert_eq!(bench.leave(&[("", Some("b"))]), [ErrorCode::NONE]);
    assert_eq!((bench.state(), bench.group.members().len()), (ClassicState::PreparingRebalance, 1));
    assert_eq!(bench.group.static_member("b"), None);
    let ticket = bench.join(&Join::of(&a).instance("a"));
    assert_eq!(bench.joined(ticket).generation_id, 2);
}

#[test]
fn a_static_member_keeps_its_place_over_a_restart() {
    let (mut bench, _, b) = stable();
    bench.restart();
    assert_eq!(bench.group.static_member("b").map(AsRef::as_ref), Some(&*b));
    let ticket = rejoin(&mut bench, "b", 9);
    assert_eq!((bench.joined(ticket).error_code, bench.state()), (0, ClassicState::Stable));
}

#[test]
fn a_replacement_that_the_log_cannot_take_changes_nothing() {
    let (mut bench, a, b) = stable();
    let huge = vec![0; bench.world.config.max_record_bytes];
    let written = bench.log.len();
    for (instance, old) in [("a", &a), ("b", &b)] {
        let ticket = bench.join(&Join { protocols: vec![("range", huge.clone())], ..Join::of("").instance(instance) });
        assert_eq!(bench.joined(ticket).error_code, ErrorCode::UNKNOWN_SERVER_ERROR.0);
        assert_eq!(bench.beat(old, Some(instance), 1), ErrorCode::NONE);
    }
    assert_eq!(bench.log.len(), written);
    assert!(bench.group.is_leader(&a));
    assert!(bench.group.to_record() == bench.log[written - 1] || bench.state() == ClassicState::Stable);
    let ticket = rejoin(&mut bench, "b", 9);
    assert_eq!((bench.joined(ticket).error_code, bench.state()), (0, ClassicState::Stable));
}

#[test]
fn a_replacement_that_waits_needs_no_heartbeat() {
    let (mut bench, ids) = Bench::stable(1);
    let first = rejoin(&mut bench, "b", 9);
    let second = rejoin(&mut bench, "b", 9);
    assert_eq!(bench.joined(first).error_code, ErrorCode::FENCED_INSTANCE_ID.0);
    for _ in 0..4 {
        bench.pass(5000);
        bench.heartbeat(&ids[0], 1);
    }
    assert!(bench.waits(second));
    bench.join(&Join::of(&ids[0]));
    assert_eq!(bench.joined(second).generation_id, 2);
}

#[test]
fn a_replacement_is_to_ask_for_its_assignment_if_the_old_one_did_not() {
    let mut bench = Bench::new();
    let tickets = ["a", "b"].map(|name| bench.join(&Join::of("").instance(name)));
    bench.pass(0);
    let a = bench.joined(tickets[0]).member_id.to_string();
    bench.sync_code(&sync_request(&a, 1, &[]));
    let ticket = rejoin(&mut bench, "b", 9);
    let new = bench.joined(ticket).member_id.to_string();
    assert!(bench.due(&Timer::Sync).is_some());
    assert_eq!(bench.sync_code(&sync_request(&new, 1, &[])), ErrorCode::NONE);
    assert_eq!(bench.due(&Timer::Sync), None);
}
