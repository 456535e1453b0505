//! Consumers of each kind get their partitions, process, commit, and hand over to each other.

use ottla_compat::Settings;

use crate::group::{COOPERATIVE, Group, KINDS, Kind, RANGE, ROUND_ROBIN, SERVER_RANGE, UNIFORM};
use crate::harness::{Admin, Record, broker, fresh, own_broker, produce, topic};
use crate::wire::Connection;

/// Sessions that end soon, and members that are told soon.
pub fn quick() -> Settings {
    [
        ("group.min.session.timeout.ms", "1000"),
        ("group.consumer.min.session.timeout.ms", "1000"),
        ("group.consumer.session.timeout.ms", "3000"),
        ("group.consumer.min.heartbeat.interval.ms", "100"),
        ("group.consumer.heartbeat.interval.ms", "200"),
        ("group.consumer.assignment.interval.ms", "0"),
    ]
    .into_iter()
    .fold(Settings::default(), |settings, (name, value)| settings.set(name, value))
}

fn fill(bootstrap: &str, topic: &str, partitions: i32, each: usize) {
    for partition in 0..partitions {
        let records: Vec<Record> = (0..each).map(|n| Record::value(n.to_string())).collect();
        produce(bootstrap, topic, partition, &records);
    }
}

#[test]
fn members_of_each_kind_share_commit_and_hand_over() {
    with_each_kind(share_commit_and_hand_over);
}

/// Runs a test with members of each kind, all at the same broker and at once.
fn with_each_kind(test: fn(&str, Kind)) {
    let broker = own_broker(quick());
    let bootstrap = broker.bootstrap();
    std::thread::scope(|scope| {
        for kind in KINDS {
            let bootstrap = &bootstrap;
            scope.spawn(move || test(bootstrap, kind));
        }
    });
}

fn share_commit_and_hand_over(bootstrap: &str, kind: Kind) {
    let topic = topic(bootstrap, "shared", 4, &[]);
    fill(bootstrap, &topic, 4, 100);
    let group = Group::new(bootstrap, "share");
    let first = group.join(kind, &[&topic], &[]);
    group.wait_until_held(&topic, 4, 1);
    let second = group.join(kind, &[&topic], &[]);
    group.wait_until_held(&topic, 4, 2);
    assert_eq!(group.ledger().shares(), [2, 2], "{kind:?}");
    group.wait_until_committed(&topic, &[100; 4]);
    assert_eq!(group.fetch_committed(&mut Connection::open(bootstrap)).len(), 4);

    first.close();
    group.wait_until_held(&topic, 4, 1);
    fill(bootstrap, &topic, 4, 10);
    group.wait_until_committed(&topic, &[110; 4]);
    assert_eq!(second.seen().errors, [], "{kind:?}");
    second.close();

    // Another one begins where they left off.
    let again = group.with_a_new_ledger();
    let third = again.join(kind, &[&topic], &[]);
    again.wait_until_held(&topic, 4, 1);
    again.ledger().processed = (0..4).map(|index| ((topic.clone(), index), 110)).collect();
    fill(bootstrap, &topic, 4, 1);
    again.wait_until_committed(&topic, &[111; 4]);
    assert_eq!(again.ledger().repeated, 0, "{kind:?}: what was committed is not read again");
    third.close();
}

#[test]
fn a_cooperative_member_keeps_what_it_does_not_have_to_give() {
    let broker = own_broker(quick());
    let bootstrap = broker.bootstrap();
    for kind in [COOPERATIVE, UNIFORM, SERVER_RANGE] {
        let topic = topic(&bootstrap, "kept", 4, &[]);
        let group = Group::new(&bootstrap, "keep");
        let first = group.join(kind, &[&topic], &[]);
        group.wait_until_held(&topic, 4, 1);
        let before = first.seen();
        let second = group.join(kind, &[&topic], &[]);
        group.wait_until_held(&topic, 4, 2);
        let after = first.seen();
        assert_eq!(after.revokes, before.revokes + 1, "{kind:?}");
        assert!(after.holds.iter().all(|partition| before.holds.contains(partition)), "{kind:?}");
        drop((first, second));
    }
}

#[test]
fn assignors_do_what_their_names_say() {
    let broker = own_broker(quick());
    let bootstrap = broker.bootstrap();
    // Two topics of three partitions and two members: by range the first member gets two of each.
    for (kind, shares) in [(RANGE, [2, 4]), (ROUND_ROBIN, [3, 3]), (UNIFORM, [3, 3]), (SERVER_RANGE, [2, 4])] {
        let (a, b) = (topic(&bootstrap, "a", 3, &[]), topic(&bootstrap, "b", 3, &[]));
        let group = Group::new(&bootstrap, "assignors");
        let members = [group.join(kind, &[&a, &b], &[]), group.join(kind, &[&a, &b], &[])];
        group.wait(&format!("{kind:?}: all six partitions held once"), |ledger| {
            let held = ledger.held();
            let mut sorted = ledger.shares();
            sorted.sort_unstable();
            held.len() == 6 && held.values().all(|members| members.len() == 1) && sorted == shares
        });
        drop(members);
    }
}

#[test]
fn a_static_member_comes_back_to_what_it_had() {
    let broker = own_broker(quick().set("group.consumer.session.timeout.ms", "30000"));
    let bootstrap = broker.bootstrap();
    for kind in [RANGE, COOPERATIVE, UNIFORM] {
        let topic = topic(&bootstrap, "static", 4, &[]);
        let group = Group::new(&bootstrap, "static");
        let first = group.join(kind, &[&topic], &[("group.instance.id", "one")]);
        // Whoever comes second is given its partitions last: one that has to give some up is told of that once more later.
        group.wait_until_held(&topic, 4, 1);
        let second = group.join(kind, &[&topic], &[("group.instance.id", "two")]);
        group.wait_until_held(&topic, 4, 2);
        let (had, other) = (first.seen().holds, second.seen());
        first.close();
        let back = group.join(kind, &[&topic], &[("group.instance.id", "one")]);
        group.wait_until_held(&topic, 4, 2);
        assert_eq!(sorted(back.seen().holds), sorted(had), "{kind:?}");
        // The other one has heartbeats between, and commits; it sees nothing of it.
        fill(&bootstrap, &topic, 4, 60);
        group.wait_until_committed(&topic, &[60; 4]);
        let seen = second.seen();
        assert_eq!((seen.assigns, seen.revokes, seen.holds), (other.assigns, other.revokes, other.holds), "{kind:?}");
        assert_eq!(seen.errors, [], "{kind:?}");
        drop((back, second));
    }
}

fn sorted<T: Ord>(mut values: Vec<T>) -> Vec<T> {
    values.sort();
    values
}

#[test]
fn of_two_classic_members_with_one_instance_the_older_is_fenced() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "fenced", 2, &[]);
    let group = Group::new(&bootstrap, "fenced");
    let older = group.join(RANGE, &[&topic], &[("group.instance.id", "one")]);
    group.wait_until_held(&topic, 2, 1);
    let newer = group.join(RANGE, &[&topic], &[("group.instance.id", "one")]);
    group.wait("the older one is fenced", |ledger| !ledger.members[older.number].errors.is_empty());
    group.wait("the newer one has all", |ledger| ledger.members[newer.number].holds.len() == 2);
    older.close();
    fill(&bootstrap, &topic, 2, 60);
    group.wait_until_committed(&topic, &[60; 2]);
    assert_eq!(newer.seen().errors, []);
}

#[test]
fn of_two_consumers_with_one_instance_the_newer_is_refused_until_the_older_leaves() {
    let broker = own_broker(quick());
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "unreleased", 2, &[]);
    let group = Group::new(&bootstrap, "unreleased");
    let older = group.join(UNIFORM, &[&topic], &[("group.instance.id", "one")]);
    group.wait_until_held(&topic, 2, 1);
    let newer = group.join(UNIFORM, &[&topic], &[("group.instance.id", "one")]);
    group.wait("the newer one is refused", |ledger| !ledger.members[newer.number].errors.is_empty());
    assert_eq!((older.seen().holds.len(), older.seen().errors), (2, vec![]));
    drop(newer);
    older.close();
    let next = group.join(UNIFORM, &[&topic], &[("group.instance.id", "one")]);
    group.wait("the next one has all", |ledger| ledger.members[next.number].holds.len() == 2);
}

#[test]
fn a_regular_expression_finds_topics_that_come_later() {
    with_each_kind(finds_topics_that_come_later);
}

fn finds_topics_that_come_later(bootstrap: &str, kind: Kind) {
    let admin = Admin::new(bootstrap);
    let prefix = fresh("orders");
    let (first, later, other) = (format!("{prefix}-1"), format!("{prefix}-2"), fresh("not-orders"));
    for name in [&first, &other] {
        admin.create(name, 2, &[]).unwrap();
    }
    let group = Group::new(bootstrap, "pattern");
    let member = group.join(kind, &[&format!("^{prefix}-.*")], &[]);
    group.wait_until_held(&first, 2, 1);
    // A broker that assigns looks for new topics when the metadata changes; a client when it asks for metadata.
    admin.create(&later, 2, &[]).unwrap();
    group.wait_until_held(&later, 2, 1);
    assert!(member.seen().holds.iter().all(|(topic, _)| *topic != other), "{kind:?}");
}
