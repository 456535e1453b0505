//! Groups and `kill -9`: members go on by themselves, acknowledged commits stay, members of a quiet group notice
//! nothing. `OTTLA_CRASH_KILLS` makes it as long as wanted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};

use kafka_protocol::messages::consumer_group_describe_response::DescribedGroup;
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{
    ConsumerGroupDescribeRequest, DescribeGroupsRequest, FindCoordinatorRequest, HeartbeatRequest, MetadataRequest,
    OffsetCommitRequest,
};

use crate::group::{
    COOPERATIVE, Group, Kind, Member, RANGE, SERVER_RANGE, UNIFORM, fetch_committed, group_id, text, topic_name,
};
use crate::group_load::{produce_until, short_sessions};
use crate::groups::quick;
use crate::harness::{Raise, Random, Record, own_broker, produce, topic};
use crate::journal::Journal;
use crate::wire::Connection;

const PARTITIONS: i32 = 6;

#[test]
fn classic_groups_survive_kills() {
    survive_kills("classic_groups_survive_kills", &[RANGE, COOPERATIVE]);
}

#[test]
fn groups_of_the_consumer_protocol_survive_kills() {
    survive_kills("groups_of_the_consumer_protocol_survive_kills", &[UNIFORM, SERVER_RANGE]);
}

fn survive_kills(test: &str, kinds: &[Kind]) {
    let kills =
        std::env::var("OTTLA_CRASH_KILLS").map_or(4, |kills| kills.parse().expect("OTTLA_CRASH_KILLS is a number"));
    let mut random = Random::from_environment(test);
    let mut broker = own_broker(quick());
    let bootstrap = broker.bootstrap();
    let journal: Vec<_> = kinds.iter().map(|_| Journal::default()).collect();
    let topics: Vec<_> = kinds.iter().map(|_| topic(&bootstrap, "killed", PARTITIONS, &[])).collect();
    let groups: Vec<_> = kinds.iter().map(|_| Group::new(&bootstrap, "killed")).collect();
    let mut members: Vec<Vec<Member>> = kinds.iter().map(|_| Vec::new()).collect();
    let stop = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let _end = Raise(&stop);
        for ((journal, topic), group) in journal.iter().zip(&topics).zip(&groups) {
            let (stop, bootstrap) = (&stop, &bootstrap);
            scope.spawn(move || produce_until(stop, journal, group, bootstrap, topic));
        }
        for kill in 0..kills {
            for (index, kind) in kinds.iter().enumerate() {
                // One more or one less: the group rebalances, or is about to, when the broker dies.
                if members[index].len() > 2 {
                    let leaving = random.below(3);
                    members[index].swap_remove(leaving).close();
                } else {
                    members[index].push(groups[index].join(kind, &[&topics[index]], short_sessions(kind)));
                }
            }
            for group in &groups {
                let target = group.ledger().processed.values().sum::<i64>() + random.below(1500) as i64;
                group.wait("the group goes on", |ledger| ledger.processed.values().sum::<i64>() >= target);
            }
            broker.kill().unwrap();
            broker.restart().unwrap();
            let mut connection = Connection::open(&bootstrap);
            for group in &groups {
                let fetched = group.fetch_committed(&mut connection);
                println!("{test}: kill {kill}: {} offsets, {}", fetched.len(), fetched.values().sum::<i64>());
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    for (index, group) in groups.iter().enumerate() {
        let ends: Vec<i64> = (0..PARTITIONS).map(|partition| journal[index].end(partition)).collect();
        group.wait_until_committed(&topics[index], &ends);
        members[index].clear();
        group.ledger().check_all_closed();
    }
}

#[test]
fn members_of_a_quiet_classic_group_notice_no_kill() {
    notice_no_kill(&[RANGE, COOPERATIVE], |connection, group| {
        let request = DescribeGroupsRequest::default().with_groups(vec![group_id(group)]);
        let described = connection.call(5, &request).groups.remove(0);
        assert_eq!((described.error_code, described.group_state.as_str()), (0, "Stable"));
        let members: Vec<String> = described.members.iter().map(|member| member.member_id.to_string()).collect();
        let generation = (1..20).find(|generation| {
            let request = HeartbeatRequest::default().with_group_id(group_id(group)).with_generation_id(*generation);
            connection.call(4, &request.with_member_id(text(&members[0]))).error_code == 0
        });
        members.into_iter().map(|member| (member, generation.unwrap())).collect()
    });
}

#[test]
fn members_of_a_quiet_group_of_the_consumer_protocol_notice_no_kill() {
    notice_no_kill(&[UNIFORM, SERVER_RANGE], |connection, group| {
        let described = describe(connection, group);
        assert_eq!((described.error_code, described.group_state.as_str()), (0, "Stable"));
        let members = described.members.iter();
        members.map(|member| (member.member_id.to_string(), member.member_epoch)).collect()
    });
}

pub fn describe(connection: &mut Connection, group: &str) -> DescribedGroup {
    let request = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group_id(group)]);
    connection.call(1, &request).groups.remove(0)
}

/// Members and the generations or epochs that they are in.
type Epochs = BTreeMap<String, i32>;

fn notice_no_kill(kinds: &[Kind], epochs: fn(&mut Connection, &str) -> Epochs) {
    let mut broker = own_broker(quick().set("group.consumer.session.timeout.ms", "30000"));
    let bootstrap = broker.bootstrap();
    let mut groups = Vec::new();
    for kind in kinds {
        let topic = topic(&bootstrap, "quiet", 4, &[]);
        let group = Group::new(&bootstrap, "quiet");
        let members = [group.join(kind, &[&topic], &[]), group.join(kind, &[&topic], &[])];
        group.wait_until_held(&topic, 4, 2);
        processed(&bootstrap, &group, &topic, 1);
        let before = epochs(&mut Connection::open(&bootstrap), &group.name);
        groups.push((group, topic, members, before));
    }
    for kill in 0..3 {
        broker.kill().unwrap();
        broker.restart().unwrap();
        for (group, topic, members, before) in &groups {
            let seen = members.each_ref().map(|member| (member.seen().assigns, member.seen().revokes));
            processed(&bootstrap, group, topic, kill + 2);
            assert_eq!(&epochs(&mut Connection::open(&bootstrap), &group.name), before);
            let now = members.each_ref().map(|member| (member.seen().assigns, member.seen().revokes));
            assert_eq!(now, seen, "a rebalance");
            assert_eq!(group.ledger().repeated, 0);
            assert!(members.iter().all(|member| member.seen().errors.is_empty()), "{:?}", group.ledger());
        }
    }
}

/// Records come to all partitions, and every member commits.
fn processed(bootstrap: &str, group: &Group, topic: &str, round: i64) {
    for partition in 0..4 {
        produce(bootstrap, topic, partition, &vec![Record::value("x"); 30]);
    }
    group.wait_until_committed(topic, &[30 * round; 4]);
}

#[test]
fn the_first_request_after_a_start_finds_its_coordinator_ready() {
    let mut broker = own_broker(quick());
    let bootstrap = broker.bootstrap();
    if crate::harness::against_kafka() {
        return;
    }
    // Nobody has asked for a coordinator yet.
    let mut connection = Connection::open(&bootstrap);
    let offsets = MetadataRequestTopic::default().with_name(Some(topic_name("__consumer_offsets")));
    let request = MetadataRequest::default().with_topics(Some(vec![offsets])).with_allow_auto_topic_creation(false);
    let described = connection.call(12, &request);
    assert_eq!((described.topics[0].error_code, described.topics[0].partitions.len()), (0, 50));
    for group in ["a", "b", "c"] {
        let request = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
        assert_eq!(connection.call(6, &request).coordinators[0].error_code, 0);
    }

    let topic = topic(&bootstrap, "ready", 1, &[]);
    for round in 0..3 {
        let mut connection = Connection::open(&bootstrap);
        for number in 0..3_000 {
            let name = format!("ready-{}", number % 100);
            assert_eq!(commit(&mut connection, &name, &topic, round * 10_000 + number), 0);
        }
        broker.kill().unwrap();
        broker.restart().unwrap();
        // All partitions at once, from connections that are new.
        std::thread::scope(|scope| {
            for first in 0..10 {
                let (bootstrap, topic) = (&bootstrap, &topic);
                scope.spawn(move || {
                    let mut connection = Connection::open(bootstrap);
                    for number in (first * 10)..(first * 10 + 10) {
                        let fetched = fetch_committed(&mut connection, &format!("ready-{number}"));
                        assert_eq!(fetched[&(topic.clone(), 0)], round * 10_000 + 2_900 + number);
                    }
                });
            }
        });
    }
}

/// Commits without membership; the code.
fn commit(connection: &mut Connection, group: &str, topic: &str, offset: i64) -> i16 {
    let partition = OffsetCommitRequestPartition::default().with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
    let request = OffsetCommitRequest::default().with_group_id(group_id(group)).with_topics(vec![topic]);
    connection.call(8, &request).topics[0].partitions[0].error_code
}
