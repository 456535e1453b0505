//! What is told, to whom, and what others may ask of the group.

use super::*;
use crate::group::consumer::{LEAVE, Member};
use crate::group::offsets::CommitApi;
use crate::group::records::{ClassicMember, CurrentAssignment};

fn id(topic: u128) -> TopicId {
    TopicId(uuid::Uuid::from_u128(topic))
}

#[test]
fn an_assignment_is_told_when_it_is_new_or_everything_is_asked() {
    let mut bench = Bench::with(&[("t", 2)]);
    assert_eq!(bench.ok(&Request::join("a", &["t"])), (2, Some(vec![(1, vec![0, 1])])));
    assert_eq!(bench.ok(&Request::beat("a", 2)), (2, None));
    assert!(bench.last.is_empty(), "nothing is new");
    assert_eq!(bench.ok(&Request::beat("a", 2).owns(&[(1, &[0, 1])])), (2, None));
    assert_eq!(bench.ok(&Request::full("a", 2, &["t"], &[])), (2, Some(vec![(1, vec![0, 1])])));
    assert!(bench.last.is_empty(), "nothing is new");
}

#[test]
fn a_partition_is_given_only_once_it_was_given_up() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.ok(&Request::join("a", &["t"]));
    assert_eq!(bench.ok(&Request::join("b", &["t"])), (3, Some(vec![])));
    assert_eq!(bench.state("b"), MemberState::UnreleasedPartitions);
    assert_eq!(bench.group.state().to_string(), "Reconciling");
    assert_eq!(bench.ok(&Request::beat("a", 2)), (2, Some(vec![(1, vec![0])])), "it stays at its epoch");
    assert_eq!(bench.ok(&Request::beat("b", 3)), (3, None), "still held");
    assert_eq!(bench.ok(&Request::beat("a", 2).owns(&[(1, &[0, 1])])), (2, None), "it is slow");
    assert_eq!(bench.ok(&Request::beat("b", 3)), (3, None), "still held");
    assert_eq!(bench.ok(&Request::beat("a", 2).owns(&[(1, &[0])])), (3, None));
    assert_eq!(bench.ok(&Request::beat("b", 3)), (3, Some(vec![(1, vec![1])])));
    assert_eq!(bench.group.state().to_string(), "Stable");
}

#[test]
fn assignments_keep_their_distance() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.world.config.assignment_interval.default = 1000;
    assert_eq!(bench.ok(&Request::join("a", &["t"])).0, 2, "the first is made at once");
    // Until the next is made, a new member owns nothing at the epoch of the last.
    assert_eq!(bench.ok(&Request::join("b", &["t"])), (2, Some(vec![])));
    assert_eq!(bench.group.state().to_string(), "Assigning");
    bench.advance(999);
    bench.ok(&Request::beat("b", 2));
    assert_eq!((bench.group.epoch(), bench.group.target_epoch()), (3, 2));
    bench.advance(1);
    assert_eq!(bench.ok(&Request::beat("b", 2)).0, 3);
    assert_eq!(bench.group.target_epoch(), 3);
}

#[test]
fn a_clock_that_was_set_back_does_not_keep_a_group_waiting() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.world.config.assignment_interval.default = 1000;
    bench.ok(&Request::join("a", &["t"]));
    bench.world.now.wall.0 -= 3_600_000;
    assert_eq!(bench.ok(&Request::join("b", &["t"])).0, 3);
}

#[test]
fn most_members_choose_the_assignor() {
    let mut bench = Bench::with(&[("t", 2)]);
    assert_eq!(bench.group.preferred_assignor(), None);
    bench.ok(&Request::join("a", &["t"]).assignor("range"));
    assert_eq!(bench.group.preferred_assignor(), Some("range"));
    bench.ok(&Request::join("b", &["t"]).assignor("uniform"));
    assert_eq!(bench.group.preferred_assignor(), Some("uniform"));
    bench.ok(&Request::join("c", &["t"]).assignor("range"));
    assert_eq!(bench.group.preferred_assignor(), Some("range"));
    bench.beat(&Request::beat("a", LEAVE)).unwrap();
    bench.beat(&Request::beat("c", LEAVE)).unwrap();
    assert_eq!(bench.group.preferred_assignor(), Some("uniform"));
}

#[test]
fn what_a_member_tells_is_kept_when_it_changes() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.ok(&Request::join("a", &["t"]));
    bench.ok(&Request::beat("a", 2).with(|request| request.rack_id = Some(text("r"))));
    assert_eq!(bench.last.len(), 1);
    let told = &bench.group.member("a").unwrap().told;
    assert_eq!((told.rack_id.as_deref(), told.rebalance_timeout_ms), (Some("r"), REBALANCE_MS));
    assert_eq!((told.client_id.as_str(), told.client_host.as_str()), ("c", "/127.0.0.1"));
    assert_eq!(bench.group.epoch(), 2, "no rebalance");
}

/// Member `a` at epoch 3, given partition 0 of topic 1 at epoch 2, with partition 1 to give up.
fn committing(classic: bool) -> ConsumerGroup {
    let mut group = ConsumerGroup::new("g".into());
    let mut member = Member::default();
    member.told.classic = classic.then(ClassicMember::default);
    let held = |partition: i32, epoch| BTreeMap::from([(id(1), BTreeMap::from([(partition.into(), epoch)]))]);
    let current = CurrentAssignment {
        epoch: 3,
        previous_epoch: 2,
        state: MemberState::UnrevokedPartitions,
        assigned: held(0, 2),
        pending_revocation: held(1, 3),
    };
    group.apply(&Record::Member("g".into(), "a".into(), Some(member.told)));
    group.apply(&Record::Current("g".into(), "a".into(), Some(current)));
    group
}

#[test]
fn who_may_commit() {
    let stale = Err(ErrorCode::STALE_MEMBER_EPOCH);
    let unknown = Err(ErrorCode::UNKNOWN_MEMBER_ID);
    let illegal = Err(ErrorCode::ILLEGAL_GENERATION);
    let old = Err(ErrorCode::UNSUPPORTED_VERSION);
    let (plain, txn) = (CommitApi::Plain(9), CommitApi::Txn);
    // Member, epoch, request, partition of topic 1.
    let cases = [
        (("a", 3, plain, 0), Ok(()), "at its epoch"),
        (("a", 3, plain, 7), Ok(()), "at its epoch it may commit to what it does not own"),
        (("a", 4, plain, 0), stale, "ahead"),
        (("a", 2, plain, 0), Ok(()), "it held it by then"),
        (("a", 1, plain, 0), stale, "somebody else held it then"),
        (("a", 2, plain, 1), stale, "it did not hold it yet"),
        (("a", 2, plain, 7), stale, "it does not hold it"),
        (("a", -1, plain, 0), stale, "a member without its epoch"),
        (("a", 3, CommitApi::Plain(8), 0), old, "it does not know of epochs"),
        (("a", 3, txn, 0), Ok(()), "at its epoch, in a transaction"),
        (("a", 4, txn, 0), illegal, "ahead, in a transaction"),
        (("a", 2, txn, 0), Ok(()), "it held it by then"),
        (("a", 1, txn, 0), illegal, "somebody else held it then"),
        (("x", 3, plain, 0), unknown, "no member"),
        (("", -1, plain, 0), unknown, "an admin, while there are members"),
        (("", -1, txn, 0), Ok(()), "a transaction that names nobody"),
        (("x", -1, txn, 0), unknown, "no member"),
    ];
    let group = committing(false);
    for ((member, epoch, api, partition), expected, why) in cases {
        let check = group.validate_commit(member, None, epoch, api);
        let got = check.and_then(|check| check.partition(id(1), partition.into()));
        assert_eq!(got, expected, "{member} at {epoch}, {api:?}: {why}");
    }
    let with_instance = group.validate_commit("", Some("i"), -1, txn).err();
    assert_eq!(with_instance, Some(ErrorCode::UNKNOWN_MEMBER_ID));
    assert!(
        ConsumerGroup::new("g".into()).validate_commit("", None, -1, CommitApi::Plain(2)).is_ok(),
        "nobody is there"
    );
    assert!(ConsumerGroup::new("g".into()).validate_commit("a", None, 1, plain).is_err());
}

#[test]
fn a_member_of_the_classic_protocol_is_told_of_generations() {
    let group = committing(true);
    assert!(group.validate_commit("a", None, 3, CommitApi::Plain(2)).is_ok());
    assert_eq!(group.validate_commit("a", None, 4, CommitApi::Plain(2)).err(), Some(ErrorCode::ILLEGAL_GENERATION));
    let check = group.validate_commit("a", None, 1, CommitApi::Plain(2)).unwrap();
    assert_eq!(check.partition(id(1), 0.into()), Err(ErrorCode::ILLEGAL_GENERATION));
    assert_eq!(group.validate_fetch(Some("a"), 2), Err(ErrorCode::ILLEGAL_GENERATION));
}

#[test]
fn who_may_fetch_and_delete() {
    let group = committing(false);
    assert_eq!(group.validate_fetch(None, -1), Ok(()));
    assert_eq!(group.validate_fetch(None, 3), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(group.validate_fetch(Some("a"), 3), Ok(()));
    assert_eq!(group.validate_fetch(Some("a"), 2), Err(ErrorCode::STALE_MEMBER_EPOCH));
    assert_eq!(group.validate_fetch(Some("x"), -1), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    assert_eq!(group.validate_delete(), Err(ErrorCode::NON_EMPTY_GROUP));
    assert_eq!(ConsumerGroup::new("g".into()).validate_delete(), Ok(()));
}

#[test]
fn a_group_is_described() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.ok(&Request::join("a", &["t"]).instance("i"));
    bench.ok(&Request::join("b", &["t"]));
    bench.ok(&Request::beat("a", 2).instance("i"));
    let described = bench.group.describe(&bench.world.image, &bench.world.config);
    assert_eq!((described.group_state.as_str(), described.assignor_name.as_str()), ("Reconciling", "uniform"));
    assert_eq!((described.group_epoch, described.assignment_epoch), (3, 3));
    let a = &described.members[0];
    assert_eq!((a.member_id.as_str(), a.instance_id.as_deref(), a.member_epoch), ("a", Some("i"), 2));
    assert_eq!((a.member_type, a.subscribed_topic_regex.as_deref()), (1, Some("")));
    let held = &a.assignment.topic_partitions[0];
    assert_eq!((held.topic_name.as_str(), &held.partitions), ("t", &vec![0, 1]), "with what it is to give up");
    assert_eq!(a.target_assignment.topic_partitions[0].partitions, [0]);
    bench.delete_topic(id(1));
    let described = bench.group.describe(&bench.world.image, &bench.world.config);
    assert!(described.members[0].assignment.topic_partitions.is_empty());
}

#[test]
fn deleting_takes_everything_back() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.ok(&Request::join("a", &["t"]).regex("t.*"));
    bench.ok(&Request::join("b", &["t"]));
    // Kept by mistake: a target without its member.
    let lost = Record::Target("g".into(), "lost".into(), Some(BTreeMap::new()));
    bench.group.apply(&lost);
    bench.turn(|group, turn| group.tombstones(turn));
    let records = std::mem::take(&mut bench.last);
    assert_eq!(records.last(), Some(&Record::ConsumerEpoch("g".into(), None)));
    assert_eq!(records.len(), 2 + 3 + 1 + 2 + 1 + 1 + 1);
    for record in &records {
        bench.group.apply(record);
    }
    let mut empty = ConsumerGroup::new("g".into());
    empty.target_epoch = super::super::NO_TARGET;
    assert_eq!(durable(&bench.group), empty);
    assert!(bench.world.timers.next().is_none());
}

#[test]
fn members_of_the_classic_protocol_are_counted() {
    let mut group = committing(true);
    assert_eq!(group.classic_members(), 1);
    assert!(group.only_classic_without(&[]) && !group.only_classic_without(&["a".into()]));
    group.apply(&Record::Member("g".into(), "b".into(), Some(Member::default().told)));
    assert!(!group.only_classic_without(&[]));
    assert!(group.only_classic_without(&["b".into()]) && !group.only_classic_without(&["a".into(), "b".into()]));
    group.apply(&Record::Member("g".into(), "a".into(), None));
    assert_eq!(group.classic_members(), 0);
}

#[test]
fn a_member_of_the_classic_protocol_that_sends_a_heartbeat_speaks_the_new_one() {
    let mut bench = Bench::with(&[("t", 2)]);
    bench.ok(&Request::join("a", &["t"]));
    let mut told = bench.group.member("a").unwrap().told.clone();
    told.classic = Some(ClassicMember { session_timeout_ms: 9, protocols: vec![] });
    bench.group.apply(&Record::Member("g".into(), "a".into(), Some(told)));
    assert_eq!(bench.group.classic_members(), 1);
    bench.ok(&Request::full("a", 2, &["t"], &[(1, &[0, 1])]));
    assert_eq!(bench.group.classic_members(), 0);
}

#[test]
fn a_log_that_lacks_a_step_is_replayed_to_its_newest_word() {
    let held = |partition: i32| CurrentAssignment {
        epoch: 2,
        assigned: BTreeMap::from([(id(1), BTreeMap::from([(partition.into(), 2)]))]),
        ..CurrentAssignment::default()
    };
    let current = |member: &str, partition| Record::Current("g".into(), member.into(), Some(held(partition)));
    // `a` gave partition 0 up in a record that compaction took before the older one.
    let group = replay(&"g".into(), &[current("a", 0), current("b", 0), current("a", 1)]);
    assert_eq!(group.owner(id(1), 0.into()).map(|owner| &**owner), Some("b"));
    assert_eq!(group.owner(id(1), 1.into()).map(|owner| &**owner), Some("a"));
    // Tombstones of what is not there, and a member that is known by its assignment alone.
    let gone = [
        Record::Current("g".into(), "x".into(), None),
        Record::Target("g".into(), "x".into(), None),
        Record::Member("g".into(), "x".into(), None),
        Record::Regex("g".into(), "x".into(), None),
    ];
    assert_eq!(replay(&"g".into(), &gone), ConsumerGroup::new("g".into()));
}
