//! What both assignors promise, and what each adds.

#![allow(clippy::unwrap_used)]

use std::collections::BTreeMap;

use proptest::collection::{btree_map, btree_set, vec};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

/// A member without what it owns: its instance id, and its topics.
type Plain = (Option<u8>, BTreeSet<u8>);
/// Members by number, topics by number with their partitions, and who is said to have owned which partition.
type Group = (BTreeMap<u8, Plain>, BTreeMap<u8, u32>, Vec<(u8, u8, i32)>);

fn id(number: u8) -> TopicId {
    TopicId(Uuid::from_u128(u128::from(number) + 1))
}

fn name(number: u8) -> MemberId {
    format!("member-{number:03}").into()
}

fn topics(plain: &BTreeMap<u8, u32>) -> BTreeMap<TopicId, u32> {
    plain.iter().map(|(&topic, &count)| (id(topic), count)).collect()
}

fn run(
    assignor: Assignor,
    members: &BTreeMap<u8, Plain>,
    topics: &BTreeMap<TopicId, u32>,
    owned: &BTreeMap<MemberId, Partitions>,
) -> BTreeMap<MemberId, Partitions> {
    let nothing = Partitions::new();
    let instances: BTreeMap<u8, String> = members
        .iter()
        .filter_map(|(&member, (instance, _))| Some((member, format!("instance-{}", (*instance)?))))
        .collect();
    let spec = |(&member, (_, topics)): (&u8, &Plain)| {
        let spec = MemberSpec {
            rack: None,
            instance_id: instances.get(&member).map(String::as_str),
            topics: topics.iter().map(|&topic| id(topic)).collect(),
            owned: owned.get(&name(member)).unwrap_or(&nothing),
        };
        (name(member), spec)
    };
    assign(assignor, &members.iter().map(spec).collect(), topics)
}

fn load(partitions: &Partitions) -> usize {
    partitions.values().map(Vec::len).sum()
}

fn owner_of(assignment: &BTreeMap<MemberId, Partitions>) -> BTreeMap<(TopicId, PartitionIndex), MemberId> {
    let mut owners = BTreeMap::new();
    for (member, partitions) in assignment {
        for (topic, partitions) in partitions {
            assert!(partitions.is_sorted() && !partitions.is_empty());
            for partition in partitions {
                assert_eq!(owners.insert((*topic, *partition), member.clone()), None, "two owners");
            }
        }
    }
    owners
}

/// Each partition of a subscribed topic has one owner, who subscribes to it, and nothing else has one.
fn check_complete(
    members: &BTreeMap<u8, Plain>,
    plain: &BTreeMap<u8, u32>,
    assignment: &BTreeMap<MemberId, Partitions>,
) {
    assert!(assignment.keys().cloned().eq(members.keys().map(|&member| name(member))));
    let mut owners = owner_of(assignment);
    for (&topic, &count) in plain {
        let subscribers: Vec<MemberId> = members
            .iter()
            .filter(|(_, (_, topics))| topics.contains(&topic))
            .map(|(&member, _)| name(member))
            .collect();
        for partition in 0..if subscribers.is_empty() { 0 } else { count } {
            let owner = owners.remove(&(id(topic), PartitionIndex(partition as i32)));
            assert!(subscribers.contains(&owner.unwrap()));
        }
    }
    assert_eq!(owners, BTreeMap::new(), "owned though not there");
}

fn owned(claims: &[(u8, u8, i32)]) -> BTreeMap<MemberId, Partitions> {
    let mut owned: BTreeMap<MemberId, Partitions> = BTreeMap::new();
    for &(member, topic, partition) in claims {
        owned.entry(name(member)).or_default().entry(id(topic)).or_default().push(PartitionIndex(partition));
    }
    owned
}

/// How many partitions have another owner than before, of those that had one.
fn moved(before: &BTreeMap<MemberId, Partitions>, after: &BTreeMap<MemberId, Partitions>) -> usize {
    let after = owner_of(after);
    owner_of(before).iter().filter(|(partition, owner)| after.get(partition).is_some_and(|now| now != *owner)).count()
}

prop_compose! {
    /// Members with subscriptions of their own, or all with the same.
    fn group()(
        mut members in btree_map(0..12_u8, (proptest::option::of(0..40_u8), btree_set(0..7_u8, 0..6)), 1..9),
        topics in btree_map(0..6_u8, 0..14_u32, 0..6),
        claims in vec((0..12_u8, 0..7_u8, -1..16_i32), 0..60),
        equal in any::<bool>(),
    ) -> Group {
        if equal {
            let all = members.values().next().unwrap().1.clone();
            for member in members.values_mut() {
                member.1.clone_from(&all);
            }
        }
        (members, topics, claims)
    }
}

/// The fewest moves that make members equal who own so much: what is above the even share has to go.
fn needed(loads: &[usize], total: usize) -> usize {
    let (least, extra) = (total / loads.len(), total % loads.len());
    let above: usize = loads.iter().map(|load| load.saturating_sub(least)).sum();
    above - extra.min(loads.iter().filter(|load| **load > least).count())
}

fn is_homogeneous(members: &BTreeMap<u8, Plain>) -> bool {
    members.values().all(|member| member.1 == members.values().next().unwrap().1)
}

/// No partition can go to a subscriber that has two fewer than its owner.
fn check_balanced(members: &BTreeMap<u8, Plain>, assignment: &BTreeMap<MemberId, Partitions>) {
    for owner in assignment.values() {
        for (&other, (_, topics)) in members {
            let could_take = owner.keys().any(|topic| topics.iter().any(|&mine| id(mine) == *topic));
            assert!(!could_take || load(owner) <= load(&assignment[&name(other)]) + 1, "{assignment:?}");
        }
    }
}

proptest! {
    #[test]
    fn each_partition_is_given_to_one_subscriber((members, plain, claims) in group()) {
        for assignor in [Assignor::Uniform, Assignor::Range] {
            let assignment = run(assignor, &members, &topics(&plain), &owned(&claims));
            check_complete(&members, &plain, &assignment);
        }
    }

    #[test]
    fn uniform_is_balanced((members, plain, claims) in group()) {
        let assignment = run(Assignor::Uniform, &members, &topics(&plain), &owned(&claims));
        check_balanced(&members, &assignment);
        if is_homogeneous(&members) {
            let loads = || assignment.values().map(load);
            prop_assert!(loads().max().unwrap() - loads().min().unwrap() <= 1);
        }
    }

    #[test]
    fn uniform_leaves_alone_what_it_made((members, plain, claims) in group()) {
        let first = run(Assignor::Uniform, &members, &topics(&plain), &owned(&claims));
        prop_assert_eq!(&run(Assignor::Uniform, &members, &topics(&plain), &first), &first);
    }

    #[test]
    fn uniform_moves_no_more_than_it_must((mut members, mut plain, claims) in group(), joins: bool, grows in 0..5_u32) {
        let first = run(Assignor::Uniform, &members, &topics(&plain), &owned(&claims));
        let (leaver, _) = members.pop_first().unwrap();
        if joins || members.is_empty() {
            let subscription = members.values().next().map_or_else(BTreeSet::new, |member| member.1.clone());
            members.insert(100, (None, subscription));
        }
        for count in plain.values_mut() {
            *count += grows;
        }
        let mut left = first.clone();
        left.remove(&name(leaver));
        let second = run(Assignor::Uniform, &members, &topics(&plain), &left);
        check_complete(&members, &plain, &second);
        check_balanced(&members, &second);
        if is_homogeneous(&members) {
            let kept: Vec<usize> = members.keys().map(|&member| left.get(&name(member)).map_or(0, load)).collect();
            prop_assert_eq!(moved(&left, &second), needed(&kept, second.values().map(load).sum()));
        }
    }

    #[test]
    fn range_cuts_each_topic_by_the_order_of_members((members, plain, claims) in group()) {
        let assignment = run(Assignor::Range, &members, &topics(&plain), &owned(&claims));
        let mut order: Vec<(u8, &Plain)> = members.iter().map(|(&member, plain)| (member, plain)).collect();
        order.sort_by_key(|(_, (instance, _))| instance.map_or("~".into(), |instance| format!("instance-{instance}")));
        for (&topic, &count) in &plain {
            order.iter().filter(|(_, (_, topics))| topics.contains(&topic)).enumerate().for_each(|(rank, (member, _))| {
                let subscribers = members.values().filter(|(_, topics)| topics.contains(&topic)).count() as u32;
                let start = |rank: u32| rank * (count / subscribers) + rank.min(count % subscribers);
                let range: Vec<_> = (start(rank as u32)..start(rank as u32 + 1)).map(|p| PartitionIndex(p as i32)).collect();
                assert_eq!(assignment[&name(*member)].get(&id(topic)).cloned().unwrap_or_default(), range);
            });
        }
    }

    #[test]
    fn what_was_owned_counts_by_who_owned_it_and_not_by_its_order((members, plain, claims) in group()) {
        let mut reversed = claims.clone();
        reversed.reverse();
        for assignor in [Assignor::Uniform, Assignor::Range] {
            let results = [claims.clone(), reversed.clone()]
                .map(|claims| run(assignor, &members, &topics(&plain), &owned(&claims)));
            prop_assert_eq!(&results[0], &results[1]);
        }
    }
}

fn plain(members: &[(u8, Option<u8>, &[u8])]) -> BTreeMap<u8, Plain> {
    members.iter().map(|&(member, instance, topics)| (member, (instance, topics.iter().copied().collect()))).collect()
}

fn partitions(of: &[(u8, &[i32])]) -> Partitions {
    of.iter().map(|(topic, list)| (id(*topic), list.iter().copied().map(PartitionIndex).collect())).collect()
}

#[test]
fn range_keeps_the_place_of_a_static_member() {
    let topics = topics(&[(0, 3), (1, 3)].into());
    let before = run(Assignor::Range, &plain(&[(3, Some(1), &[0, 1]), (1, None, &[0, 1])]), &topics, &BTreeMap::new());
    assert_eq!(before[&name(3)], partitions(&[(0, &[0, 1]), (1, &[0, 1])]), "static members come first");
    let after = run(Assignor::Range, &plain(&[(9, Some(1), &[0, 1]), (1, None, &[0, 1])]), &topics, &BTreeMap::new());
    assert_eq!(after[&name(9)], before[&name(3)]);
    assert_eq!(after[&name(1)], before[&name(1)]);
}

#[test]
fn uniform_fills_members_in_order_where_nothing_is_owned() {
    let topics = topics(&[(0, 3), (1, 2)].into());
    let result = run(Assignor::Uniform, &plain(&[(1, None, &[0, 1]), (2, None, &[0, 1])]), &topics, &BTreeMap::new());
    assert_eq!(result[&name(1)], partitions(&[(0, &[0, 1, 2])]));
    assert_eq!(result[&name(2)], partitions(&[(1, &[0, 1])]));
}

#[test]
fn uniform_gives_shared_topics_to_those_who_have_little_else() {
    let topics = topics(&[(0, 4), (1, 4)].into());
    let result = run(Assignor::Uniform, &plain(&[(1, None, &[0]), (2, None, &[0, 1])]), &topics, &BTreeMap::new());
    assert_eq!(result[&name(1)], partitions(&[(0, &[0, 1, 2, 3])]));
    assert_eq!(result[&name(2)], partitions(&[(1, &[0, 1, 2, 3])]));
}

#[test]
fn a_group_without_members_or_topics_gets_nothing() {
    for assignor in [Assignor::Uniform, Assignor::Range] {
        assert_eq!(run(assignor, &BTreeMap::new(), &topics(&[(0, 4)].into()), &BTreeMap::new()), BTreeMap::new());
        let result = run(assignor, &plain(&[(1, None, &[5])]), &topics(&[(0, 4)].into()), &BTreeMap::new());
        assert_eq!(result, [(name(1), Partitions::new())].into());
    }
}
