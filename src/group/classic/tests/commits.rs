//! Who may commit, what expires, what is told about a group.

use bytes::{BufMut, Bytes, BytesMut};

use super::super::{ClassicGroup, ClassicState, Member, describe_missing};
use super::bench::{Bench, Join, id, sync_request};
use crate::group::offsets::ExpiresFrom;
use crate::types::TimestampMs;
use crate::wire::ErrorCode;

/// What a consumer tells about itself, in the given version.
fn subscription(version: i16, topics: &[&str]) -> Vec<u8> {
    let mut bytes = BytesMut::new();
    bytes.put_i16(version);
    bytes.put_i32(topics.len().try_into().unwrap());
    for topic in topics {
        bytes.put_i16(topic.len().try_into().unwrap());
        bytes.put_slice(topic.as_bytes());
    }
    bytes.put_i32(-1);
    if version > 0 {
        bytes.put_slice(b"what later versions add");
    }
    bytes.to_vec()
}

fn stable_with(metadata: Vec<u8>, protocol_type: &'static str) -> Bench {
    let mut bench = Bench::new();
    let (id, _) = bench.enter(Join { protocols: vec![("range", metadata)], protocol_type, ..Join::of("") });
    bench.pass(0);
    assert_eq!(bench.sync_code(&sync_request(&id, 1, &[])), ErrorCode::NONE);
    bench
}

#[test]
fn an_empty_group_takes_commits_of_nobody_only() {
    let bench = Bench::new();
    assert_eq!(bench.group.validate_commit("", None, -1, false), Ok(()));
    assert_eq!(bench.group.validate_commit("m", None, -1, false), Ok(()));
    assert_eq!(bench.group.validate_commit("m", None, 0, false), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(bench.group.validate_commit("", None, -1, true), Ok(()));
}

#[test]
fn a_group_with_members_takes_commits_of_its_generation() {
    let unknown = Err(ErrorCode::UNKNOWN_MEMBER_ID);
    let illegal = Err(ErrorCode::ILLEGAL_GENERATION);
    let rebalancing = Err(ErrorCode::REBALANCE_IN_PROGRESS);
    let (mut bench, ids) = Bench::completing(2);
    let m = &*ids[0];
    assert_eq!(bench.group.validate_commit(m, None, 1, false), rebalancing);
    assert_eq!(bench.group.validate_commit(m, None, 1, true), Ok(()));
    assert_eq!(bench.group.validate_commit(m, None, 0, false), illegal);
    bench.sync_code(&sync_request(m, 1, &[]));
    let cases = [
        (m, None, 1, false, Ok(())),
        (m, None, 2, false, illegal),
        (m, None, -1, false, illegal),
        (m, Some("i"), 1, false, unknown),
        ("nobody", None, 1, false, unknown),
        ("", None, -1, false, unknown),
        ("", None, -1, true, Ok(())),
        ("", Some("i"), -1, true, unknown),
        ("nobody", None, -1, true, unknown),
        (m, None, 2, true, illegal),
    ];
    for (member, instance, generation, transactional, expected) in cases {
        let result = bench.group.validate_commit(member, instance, generation, transactional);
        assert_eq!(result, expected, "{member} {instance:?} {generation} {transactional}");
    }
    bench.join(&Join::of(m));
    assert_eq!(bench.state(), ClassicState::PreparingRebalance);
    assert_eq!(bench.group.validate_commit(m, None, 1, false), Ok(()), "members commit before they join again");
}

#[test]
fn a_commit_keeps_the_session_but_not_while_the_assignment_is_waited_for() {
    let (mut bench, ids) = Bench::completing(1);
    bench.pass(4000);
    bench.turn(|group, turn| group.committed(turn, &ids[0]));
    assert_eq!(bench.session(&ids[0]), Some(6000));
    bench.sync_code(&sync_request(&ids[0], 1, &[]));
    bench.pass(4000);
    assert_eq!(bench.session(&ids[0]), Some(6000));
    bench.turn(|group, turn| group.committed(turn, &ids[0]));
    assert_eq!(bench.session(&ids[0]), Some(10_000));
    bench.turn(|group, turn| group.committed(turn, "nobody"));
    assert_eq!(bench.session("nobody"), None);
}

#[test]
fn groups_are_deleted_when_they_are_empty() {
    let non_empty = Err(ErrorCode::NON_EMPTY_GROUP);
    assert_eq!(Bench::new().group.validate_delete(), Ok(()));
    assert_eq!(Bench::new().group.validate_offset_delete(), Ok(()));
    let consumers = stable_with(subscription(0, &["t"]), "consumer");
    assert_eq!(consumers.group.validate_delete(), non_empty);
    assert_eq!(consumers.group.validate_offset_delete(), Ok(()));
    let connect = stable_with(vec![], "connect");
    assert_eq!(connect.group.validate_offset_delete(), non_empty);
}

#[test]
fn what_consumers_read_is_known_while_it_can_be() {
    for version in [0, 1, 3, 99] {
        let bench = stable_with(subscription(version, &["t", "u"]), "consumer");
        assert!(bench.group.is_subscribed_to("t") && bench.group.is_subscribed_to("u"), "version {version}");
        assert!(!bench.group.is_subscribed_to("v"));
        assert_eq!(bench.group.offset_expiry(), ExpiresFrom::Commit);
    }
    let mut huge = subscription(0, &["t"]);
    huge[2..6].copy_from_slice(&i32::MAX.to_be_bytes());
    for bad in [vec![], vec![0], huge, subscription(0, &["t"])[..9].to_vec()] {
        let bench = stable_with(bad, "consumer");
        assert!(bench.group.is_subscribed_to("t"), "it may be");
        assert_eq!(bench.group.offset_expiry(), ExpiresFrom::Never);
    }
    let connect = stable_with(subscription(0, &["t"]), "connect");
    assert!(!connect.group.is_subscribed_to("t"));
    assert_eq!(connect.group.offset_expiry(), ExpiresFrom::Never);
}

#[test]
fn offsets_of_an_empty_group_expire_from_when_it_became_empty() {
    let mut bench = stable_with(subscription(0, &["t"]), "consumer");
    bench.pass(5000);
    let member = bench.group.members().keys().next().cloned().unwrap();
    bench.leave(&[(&member, None)]);
    let now = bench.world.now.wall;
    assert_eq!(bench.group.offset_expiry(), ExpiresFrom::EmptySince(Some(now)));
    assert!(!bench.group.is_subscribed_to("t"));
    bench.pass(5000);
    bench.restart();
    assert_eq!(bench.group.offset_expiry(), ExpiresFrom::EmptySince(Some(now)), "a restart changes nothing");
    let mut old = bench.log.last().unwrap().clone();
    old.state_timestamp = -1;
    assert_eq!(ClassicGroup::from_record(id(), &old).offset_expiry(), ExpiresFrom::Commit);
    let simple = ClassicGroup::simple(id(), bench.world.now);
    assert_eq!(simple.offset_expiry(), ExpiresFrom::Commit, "who assigns to itself");
    assert!(!simple.is_subscribed_to("t"));
    bench.enter(Join::of(""));
    assert_eq!(bench.group.offset_expiry(), ExpiresFrom::Never, "a rebalance");
}

#[test]
fn records_come_back_as_they_were() {
    let (bench, ids) = Bench::stable(2);
    let value = bench.log.last().unwrap();
    let group = ClassicGroup::from_record(id(), value);
    assert_eq!(&group.to_record(), value);
    assert_eq!(group.state(), ClassicState::Stable);
    assert!(group.is_leader(&ids[0]));
    let mut old = value.clone();
    old.members[0].rebalance_timeout_ms = -1;
    let group = ClassicGroup::from_record(id(), &old);
    let member = &group.members()[&*old.members[0].member_id];
    assert_eq!(member.rebalance_timeout_ms, member.session_timeout_ms, "version 0 of the record has none");
    assert!(group.members().len() == 2 && old.state_timestamp == TimestampMs(value.state_timestamp).0);
}

#[test]
fn a_simple_group_is_written_only_when_it_changes() {
    let mut bench = Bench::new();
    bench.group = ClassicGroup::simple(id(), bench.world.now);
    bench.join(&Join::of(""));
    assert!(bench.log.is_empty());
}

#[test]
fn members_speak_for_themselves_only_while_the_group_is_stable() {
    let (mut bench, ids) = Bench::stable(1);
    let told = bench.group.describe();
    assert_eq!((&*told.group_state, &*told.protocol_type, &*told.protocol_data), ("Stable", "consumer", "range"));
    let member = &told.members[0];
    assert_eq!((&*member.member_id, &*member.client_id, &*member.client_host), (&*ids[0], "c", "/127.0.0.1"));
    assert_eq!((&*member.member_metadata, &*member.member_assignment), (&b"r"[..], &b"a0"[..]));
    bench.enter(Join::of(""));
    let told = bench.group.describe();
    assert_eq!((&*told.group_state, &*told.protocol_data), ("PreparingRebalance", ""));
    assert!(told.members.iter().all(|member| member.member_metadata.is_empty()));
    assert_eq!(bench.group.describe().error_code, 0);

    let old = describe_missing("x", 5, "not there");
    assert_eq!((&*old.group_state, old.error_code, old.error_message), ("Dead", 0, None));
    let new = describe_missing("x", 6, "not there");
    assert_eq!((new.error_code, new.error_message.as_deref()), (69, Some("not there")));
}

#[test]
fn members_of_a_consumer_group_come_over() {
    let mut bench = Bench::new();
    let protocols = |bytes: Vec<u8>| vec![("range".to_owned(), Bytes::from(bytes))];
    let member = |topic| Member::migrated("c".into(), "/h".into(), 5000, 6000, protocols(subscription(3, &[topic])));
    let mut fixed = member("u");
    fixed.instance_id = Some("i".to_owned());
    let members = vec![("a".into(), member("t")), ("b".into(), fixed)];
    bench.group = ClassicGroup::from_members(id(), 7, members, bench.world.now);
    bench.group.set_assignment("b", Bytes::from_static(b"B"));
    assert_eq!((bench.state(), bench.group.generation()), (ClassicState::Stable, 7));
    assert_eq!(bench.group.static_member("i").map(AsRef::as_ref), Some("b"));
    assert!(bench.group.is_subscribed_to("t") && bench.group.is_subscribed_to("u"));
    bench.turn(ClassicGroup::loaded);
    assert_eq!((bench.session("a"), bench.heartbeat("a", 7)), (Some(6000), ErrorCode::NONE));
    let again = ClassicGroup::from_record(id(), &bench.group.to_record());
    assert_eq!(&*again.members()["b"].assignment, b"B");
    bench.turn(ClassicGroup::rebalance);
    assert_eq!(bench.heartbeat("a", 7), ErrorCode::REBALANCE_IN_PROGRESS);
    let ticket = bench.join(&Join::of("b").instance("i"));
    bench.turn(super::super::ClassicGroup::release_all);
    assert_eq!(bench.joined(ticket).error_code, ErrorCode::REBALANCE_IN_PROGRESS.0);
}
