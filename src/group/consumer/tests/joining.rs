//! Who is taken, who is refused, who is dropped.

use super::*;
use crate::group::consumer::{LEAVE, LEAVE_STATIC, check_heartbeat, creates_group, group_not_found};

#[test]
fn a_request_that_no_group_could_take_is_refused() {
    let join = || Request::join("m", &["t"]);
    let invalid = ErrorCode::INVALID_REQUEST;
    let cases: Vec<(&str, i16, Request, ErrorCode)> = vec![
        ("no id", 1, join().with(|r| r.member_id = text("")), invalid),
        ("a blank id", 1, join().with(|r| r.member_id = text("  ")), invalid),
        ("no id later", 0, Request::beat("", 3), invalid),
        ("no id to leave", 0, Request::beat("", LEAVE), invalid),
        ("no group", 1, join().with(|r| r.group_id = kafka_protocol::messages::GroupId::default()), invalid),
        ("an empty instance", 1, join().instance(""), invalid),
        ("an empty rack", 1, join().with(|r| r.rack_id = Some(text(""))), invalid),
        ("no rebalance timeout", 1, join().rebalance(-1), invalid),
        ("partitions on joining", 1, join().owns(&[(1, &[0])]), invalid),
        ("no partitions on joining", 1, join().with(|r| r.topic_partitions = None), invalid),
        ("no subscription", 1, join().with(|r| r.subscribed_topic_names = None), invalid),
        ("a dynamic member leaves for a while", 1, Request::beat("m", LEAVE_STATIC), invalid),
        ("no such epoch", 1, Request::beat("m", -3), invalid),
        ("no such assignor", 1, join().assignor("mine"), ErrorCode::UNSUPPORTED_ASSIGNOR),
        ("no such expression", 1, join().regex("("), ErrorCode::INVALID_REGULAR_EXPRESSION),
    ];
    for (what, version, request, code) in cases {
        let refusal = Bench::with(&[("t", 1)]).beat_as(&request, version).unwrap_err();
        assert_eq!(refusal.code, code, "{what}");
        assert!(refusal.message.is_some(), "{what}");
    }
}

#[test]
fn what_a_group_is_asked_before_it_is_looked_up() {
    let config = crate::group::config::GroupsConfig::default();
    assert!(check_heartbeat(&config, 1, &Request::beat("m", 4).0).is_ok());
    let refusal = check_heartbeat(&config, 1, &Request::join("m", &[]).assignor("mine").0).unwrap_err();
    let message = "ServerAssignor mine is not supported. Supported assignors: uniform, range.";
    assert_eq!(refusal.message.as_deref(), Some(message));
    for (epoch, creates) in [(0, true), (1, false), (LEAVE, false), (LEAVE_STATIC, false)] {
        assert_eq!(creates_group(&Request::beat("m", epoch).0), creates, "epoch {epoch}");
    }
    let told = |epoch| group_not_found("g", &ConsumerGroupHeartbeatRequest::default().with_member_epoch(epoch));
    assert_eq!(told(1), Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, "Consumer group g not found."));
    assert_eq!(told(LEAVE), Refusal::new(ErrorCode::GROUP_ID_NOT_FOUND, "Group g not found."));
}

#[test]
fn the_first_member_gets_everything_with_its_first_answer() {
    let mut bench = Bench::with(&[("t", 3)]);
    let answer = bench.beat(&Request::join("m", &["t", "missing"])).unwrap();
    assert_eq!(answer.member_id, Some(text("m")));
    assert_eq!(answer.heartbeat_interval_ms, 5000);
    // A new group begins at epoch 1 and takes its first step at once.
    assert_eq!(answer.member_epoch, 2);
    let kinds: Vec<&str> = bench.last.iter().map(kind).collect();
    assert_eq!(kinds, ["member", "epoch", "target", "target epoch", "current"]);
    assert_eq!(bench.owned("m"), [(1, 0), (1, 1), (1, 2)].into());
    assert_eq!(bench.group.state().to_string(), "Stable");
    assert!(bench.timer(&Timer::Session("m".into())) && !bench.timer(&Timer::Revocation("m".into())));
}

fn kind(record: &Record) -> &'static str {
    match record {
        Record::ConsumerEpoch(..) => "epoch",
        Record::TargetEpoch(..) => "target epoch",
        Record::Member(..) => "member",
        Record::Target(..) => "target",
        Record::Current(..) => "current",
        Record::Regex(..) => "regex",
        _ => "other",
    }
}

#[test]
fn a_member_without_topics_is_a_member_of_the_first_epoch() {
    let mut bench = Bench::with(&[("t", 3)]);
    assert_eq!(bench.ok(&Request::join("m", &[])), (1, Some(vec![])));
    assert_eq!(bench.group.state().to_string(), "Stable");
    assert_eq!(bench.ok(&Request::beat("m", 1)), (1, None));
    assert!(bench.last.is_empty());
}

#[test]
fn version_0_gets_its_id_from_the_broker() {
    let mut bench = Bench::with(&[("t", 1)]);
    let answer = bench.beat_as(&Request::join("", &["t"]), 0).unwrap();
    let id = answer.member_id.unwrap();
    assert_eq!(id.len(), 22, "as Kafka prints a random id: {id}");
    assert_eq!(bench.ok(&Request::beat(&id, 2)), (2, None));
}

#[test]
fn only_members_are_heard() {
    let mut bench = Bench::with(&[("t", 1)]);
    bench.ok(&Request::join("m", &["t"]));
    assert_eq!(bench.refused(&Request::beat("x", 2)), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(bench.refused(&Request::beat("x", LEAVE)), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(bench.refused(&Request::beat("m", 2).instance("i")), ErrorCode::UNKNOWN_MEMBER_ID);
    assert_eq!(bench.refused(&Request::beat("m", LEAVE_STATIC).instance("i")), ErrorCode::UNKNOWN_MEMBER_ID);
}

#[test]
fn an_epoch_must_be_the_members_or_the_one_before() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.ok(&Request::join("a", &["t"]));
    bench.ok(&Request::join("b", &["t"]));
    bench.ok(&Request::beat("a", 2).owns(&[(1, &[0, 1])]));
    bench.ok(&Request::beat("a", 2).owns(&[(1, &[0])]));
    assert_eq!(bench.epoch("a"), 3);
    // The answer with epoch 3 was lost: the member still says 2.
    let fenced = ErrorCode::FENCED_MEMBER_EPOCH;
    assert_eq!(bench.refused(&Request::beat("a", 4)), fenced);
    assert_eq!(bench.refused(&Request::beat("a", 1).owns(&[(1, &[0])])), fenced);
    assert_eq!(bench.refused(&Request::beat("a", 2)), fenced, "it does not say what it owns");
    assert_eq!(bench.refused(&Request::beat("a", 2).owns(&[(1, &[0, 1])])), fenced, "it owns what it gave up");
    assert_eq!(bench.refused(&Request::beat("a", 2).owns(&[(9, &[0])])), fenced);
    assert_eq!(bench.ok(&Request::beat("a", 2).owns(&[(1, &[0])])).0, 3);
    assert_eq!(bench.ok(&Request::full("a", 2, &["t"], &[])), (3, Some(vec![(1, vec![0])])));
    // Having given everything up it joins again, under its own name.
    assert_eq!(bench.ok(&Request::join("a", &["t"])), (3, Some(vec![(1, vec![0])])));
}

#[test]
fn a_full_group_takes_only_its_members() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.world.config.consumer_max_size = 1;
    bench.ok(&Request::join("a", &["t"]));
    assert_eq!(bench.refused(&Request::join("b", &["t"])), ErrorCode::GROUP_MAX_SIZE_REACHED);
    let refusal = bench.beat_as(&Request::join("", &["t"]), 0).unwrap_err();
    assert_eq!(refusal.code, ErrorCode::GROUP_MAX_SIZE_REACHED);
    bench.ok(&Request::join("a", &["t"]));
}

#[test]
fn a_member_that_leaves_is_forgotten_and_bumps_the_epoch() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.ok(&Request::join("a", &["t"]));
    let answer = bench.beat(&Request::beat("a", LEAVE)).unwrap();
    assert_eq!((answer.member_id, answer.member_epoch), (Some(text("a")), LEAVE));
    assert_eq!((answer.heartbeat_interval_ms, answer.assignment), (0, None));
    let kinds: Vec<&str> = bench.last.iter().map(kind).collect();
    assert_eq!(kinds, ["current", "target", "member", "epoch"]);
    assert_eq!((bench.group.epoch(), bench.group.state().to_string().as_str()), (3, "Empty"));
    assert!(bench.world.timers.next().is_none());
    assert_eq!(durable(&bench.replayed()), durable(&bench.group));
    assert_eq!(bench.ok(&Request::join("b", &["t"])), (4, Some(vec![(1, vec![0, 1])])));
}

#[test]
fn a_silent_member_is_dropped() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.ok(&Request::join("a", &["t"]));
    bench.ok(&Request::join("b", &["t"]));
    bench.advance(SESSION_MS - 1);
    bench.ok(&Request::beat("a", 2));
    bench.advance(1);
    assert!(bench.group.member("b").is_none() && bench.group.member("a").is_some());
    bench.advance(SESSION_MS - 1);
    assert!(bench.group.is_empty());
    assert!(bench.world.timers.next().is_none());
}

#[test]
fn a_member_that_keeps_what_it_is_to_give_up_is_dropped() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.ok(&Request::join("a", &["t"]));
    bench.ok(&Request::join("b", &["t"]));
    bench.ok(&Request::beat("a", 2));
    assert_eq!(bench.state("a"), MemberState::UnrevokedPartitions);
    assert!(bench.timer(&Timer::Revocation("a".into())));
    bench.advance(i64::from(REBALANCE_MS) - 1);
    bench.ok(&Request::beat("a", 2).owns(&[(1, &[0, 1])]));
    assert!(bench.group.member("a").is_some(), "saying again that it still owns it buys no time");
    bench.advance(1);
    assert!(bench.group.member("a").is_none());
    assert_eq!(bench.ok(&Request::beat("b", 3)), (4, Some(vec![(1, vec![0, 1])])));
}

#[test]
fn a_member_that_gives_up_in_time_is_waited_for_no_more() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.ok(&Request::join("a", &["t"]));
    bench.ok(&Request::join("b", &["t"]));
    bench.ok(&Request::beat("a", 2));
    bench.ok(&Request::beat("a", 2).owns(&[(1, &[0])]));
    assert!(!bench.timer(&Timer::Revocation("a".into())));
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.ok(&Request::join("a", &["t"]).instance("i"));
    bench.ok(&Request::join("b", &["t"]));
    bench.ok(&Request::beat("a", 2).instance("i").owns(&[(1, &[0])]));
    bench.ok(&Request::beat("b", 3));
    assert_eq!(bench.refused(&Request::join("a2", &["t"]).instance("i")), ErrorCode::UNRELEASED_INSTANCE_ID);
    assert_eq!(bench.refused(&Request::beat("a2", LEAVE_STATIC).instance("i")), ErrorCode::FENCED_INSTANCE_ID);
    let answer = bench.beat(&Request::beat("a", LEAVE_STATIC).instance("i")).unwrap();
    assert_eq!((answer.member_epoch, bench.last.len()), (LEAVE_STATIC, 1));
    assert_eq!(bench.owned("a"), [(1, 0)].into(), "nobody else gets it");
    assert_eq!(bench.group.member("a").unwrap().assignment_epoch(TopicId(uuid::Uuid::from_u128(1)), 0.into()), Some(0));
    let epoch = bench.group.epoch();
    let back = bench.ok(&Request::join("a2", &["t"]).instance("i"));
    assert_eq!(back, (epoch, Some(vec![(1, vec![0])])));
    assert_eq!(bench.group.epoch(), epoch, "no rebalance");
    assert!(bench.group.member("a").is_none());
    assert!(!bench.timer(&Timer::Session("a".into())) && bench.timer(&Timer::Session("a2".into())));
    assert_eq!(bench.refused(&Request::beat("a", 3).instance("i")), ErrorCode::FENCED_INSTANCE_ID);
    assert_eq!(durable(&bench.replayed()), durable(&bench.group));
}

#[test]
fn a_static_member_may_come_back_under_its_own_id() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.ok(&Request::join("a", &["t"]).instance("i"));
    bench.beat(&Request::beat("a", LEAVE_STATIC).instance("i")).unwrap();
    assert_eq!(bench.ok(&Request::join("a", &["t"]).instance("i")), (2, Some(vec![(1, vec![0, 1])])));
    assert_eq!(durable(&bench.replayed()), durable(&bench.group));
}

#[test]
fn a_static_member_that_does_not_come_back_is_dropped() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.ok(&Request::join("a", &["t"]).instance("i"));
    bench.ok(&Request::join("b", &["t"]));
    bench.ok(&Request::beat("a", 2).instance("i"));
    assert!(bench.timer(&Timer::Revocation("a".into())));
    bench.beat(&Request::beat("a", LEAVE_STATIC).instance("i")).unwrap();
    assert!(!bench.timer(&Timer::Revocation("a".into())), "it owes nothing");
    assert_eq!(bench.owned("a"), [(1, 0)].into(), "what it was to give up is given up");
    assert_eq!(bench.ok(&Request::beat("b", 3)), (3, Some(vec![(1, vec![1])])));
    bench.ok(&Request::beat("b", 3));
    bench.advance(SESSION_MS);
    assert!(bench.group.is_empty() && bench.group.static_member("i").is_none());
}

#[test]
fn a_static_member_that_leaves_for_good_is_forgotten() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.ok(&Request::join("a", &["t"]).instance("i"));
    bench.beat(&Request::beat("a", LEAVE).instance("i")).unwrap();
    assert!(bench.group.is_empty() && bench.group.static_member("i").is_none());
    bench.ok(&Request::join("b", &["t"]).instance("i"));
}

#[test]
fn a_restart_gives_every_member_its_time_anew() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.ok(&Request::join("a", &["t"]));
    bench.ok(&Request::join("b", &["t"]));
    bench.ok(&Request::beat("a", 2));
    bench.group = bench.replayed();
    bench.world.timers = crate::group::timers::Timers::default();
    bench.turn(|group, turn| group.loaded(turn));
    assert!(bench.last.is_empty());
    assert!(bench.timer(&Timer::Session("a".into())) && bench.timer(&Timer::Session("b".into())));
    assert!(bench.timer(&Timer::Revocation("a".into())) && !bench.timer(&Timer::Revocation("b".into())));
    bench.ok(&Request::beat("b", 3));
    assert!(bench.last.iter().all(|record| kind(record) == "current"), "no rebalance");
}

#[test]
fn timers_of_members_that_are_gone_do_nothing() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.ok(&Request::join("a", &["t"]));
    for timer in [Timer::Session("x".into()), Timer::Revocation("a".into()), Timer::Join, Timer::Sync] {
        bench.fire(&timer);
        assert!(bench.last.is_empty(), "{timer:?}");
    }
}
