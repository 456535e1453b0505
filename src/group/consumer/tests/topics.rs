//! Topics that come, grow and go, and what members subscribe to.

use super::*;

#[test]
fn more_partitions_are_assigned() {
    let mut bench = Bench::with(&[("t", 1), ("u", 1)]);
    bench.ok(&Request::join("a", &["t"]));
    bench.world.partitions(TopicId(uuid::Uuid::from_u128(2)), 1..3);
    assert_eq!(bench.ok(&Request::beat("a", 2)), (2, None), "it does not read that topic");
    assert!(bench.last.is_empty());
    bench.world.partitions(TopicId(uuid::Uuid::from_u128(1)), 1..3);
    assert_eq!(bench.ok(&Request::beat("a", 2)), (3, Some(vec![(1, vec![0, 1, 2])])));
}

#[test]
fn a_topic_that_comes_late_is_assigned() {
    let mut bench = Bench::with(&[]);
    assert_eq!(bench.ok(&Request::join("a", &["t"])), (2, Some(vec![])));
    bench.world.topic("t", 1);
    assert_eq!(bench.ok(&Request::beat("a", 2)), (3, Some(vec![(1, vec![0])])));
}

#[test]
fn a_topic_that_is_gone_is_given_up() {
    let mut bench = Bench::with(&[("t", 1), ("u", 1)]);
    bench.ok(&Request::join("a", &["t", "u"]));
    bench.delete_topic(TopicId(uuid::Uuid::from_u128(1)));
    assert_eq!(bench.ok(&Request::beat("a", 2)), (2, Some(vec![(2, vec![0])])));
    assert_eq!(bench.ok(&Request::beat("a", 2).owns(&[(2, &[0])])), (3, None));
    assert_eq!(bench.owned("a"), [(2, 0)].into());
}

#[test]
fn a_topic_that_is_made_again_is_another_one() {
    let mut bench = Bench::with(&[("t", 1)]);
    bench.ok(&Request::join("a", &["t"]));
    bench.delete_topic(TopicId(uuid::Uuid::from_u128(1)));
    let id = TopicId(uuid::Uuid::from_u128(7));
    bench.world.image.apply(&MetadataRecord::Topic { name: "t".to_owned(), id }).unwrap();
    bench.world.partitions(id, 0..1);
    assert_eq!(bench.ok(&Request::beat("a", 2)), (2, Some(vec![])));
    assert_eq!(bench.ok(&Request::beat("a", 2).owns(&[])), (3, Some(vec![(7, vec![0])])));
}

#[test]
fn a_restart_looks_at_the_topics_again() {
    let mut bench = Bench::with(&[("t", 1)]);
    bench.ok(&Request::join("a", &["t"]));
    bench.world.partitions(TopicId(uuid::Uuid::from_u128(1)), 1..2);
    bench.group = bench.replayed();
    assert_eq!(bench.ok(&Request::beat("a", 2)), (3, Some(vec![(1, vec![0, 1])])));
}

#[test]
fn another_subscription_bumps_the_epoch() {
    let mut bench = Bench::with(&[("t", 1), ("u", 1)]);
    bench.ok(&Request::join("a", &["t"]));
    bench.ok(&Request::beat("a", 2).topics(&["t", "t"]));
    assert!(bench.last.is_empty(), "the same, said twice");
    assert_eq!(bench.ok(&Request::beat("a", 2).topics(&["u", "t"])), (3, Some(vec![(1, vec![0]), (2, vec![0])])));
    assert!(bench.group.is_subscribed_to("u"));
    bench.ok(&Request::beat("a", 3).topics(&["t"]));
    assert!(!bench.group.is_subscribed_to("u"));
}

#[test]
fn a_topic_that_a_member_dropped_is_given_up_before_there_is_a_new_assignment() {
    let mut bench = Bench::with(&[("t", 1), ("u", 1)]);
    bench.world.config.assignment_interval.default = 15_000;
    bench.ok(&Request::join("a", &["t", "u"]));
    let answer = bench.ok(&Request::full("a", 2, &["t"], &[(1, &[0]), (2, &[0])]));
    assert_eq!(answer, (2, Some(vec![(1, vec![0])])));
    assert_eq!((bench.group.epoch(), bench.group.target_epoch()), (3, 2));
    assert_eq!(bench.state("a"), MemberState::UnrevokedPartitions);
    bench.ok(&Request::beat("a", 2).owns(&[(1, &[0])]));
    assert_eq!((bench.state("a"), bench.owned("a")), (MemberState::Stable, [(1, 0)].into()));
}

fn resolved(bench: &Bench, pattern: &str) -> Option<Vec<String>> {
    bench.group.resolved.get(pattern).map(|resolved| resolved.topics.clone())
}

#[test]
fn a_regular_expression_stands_for_the_topics_that_it_matches() {
    let mut bench = Bench::with(&[("t1", 1), ("t2", 1), ("u", 1)]);
    let join = Request::beat("a", 0).rebalance(REBALANCE_MS).owns(&[]).regex("t.*");
    assert_eq!(bench.ok(&join), (2, Some(vec![(1, vec![0]), (2, vec![0])])));
    assert_eq!(resolved(&bench, "t.*"), Some(vec!["t1".to_owned(), "t2".to_owned()]));
    assert!(bench.group.is_subscribed_to("t1") && !bench.group.is_subscribed_to("u"));
    // With names beside it.
    assert_eq!(bench.ok(&Request::beat("a", 2).topics(&["u"])).1.unwrap().len(), 3);
    assert_eq!(bench.ok(&Request::beat("a", 3).topics(&[]).owns(&[(1, &[0]), (2, &[0])])).1.unwrap().len(), 2);
    assert_eq!(durable(&bench.replayed()), durable(&bench.group));
}

#[test]
fn an_expression_that_others_have_is_resolved_already() {
    let mut bench = Bench::with(&[("t1", 1), ("t2", 1)]);
    bench.ok(&Request::join("a", &[]).regex("t.*"));
    assert_eq!(bench.ok(&Request::join("b", &[]).regex("t.*")).0, 3);
    assert!(!bench.last.iter().any(|record| matches!(record, Record::Regex(..))));
}

#[test]
fn expressions_are_resolved_together_and_not_too_often() {
    let mut bench = Bench::with(&[("t1", 1), ("u1", 1)]);
    bench.ok(&Request::join("a", &[]).regex("t.*"));
    bench.ok(&Request::join("b", &[]).regex("u.*"));
    assert_eq!(resolved(&bench, "u.*"), None, "not within ten seconds of the last time");
    bench.world.topic("t2", 1);
    bench.advance(10_000);
    assert_eq!(bench.ok(&Request::beat("a", 2)), (2, None));
    bench.advance(1);
    assert_eq!(bench.ok(&Request::beat("a", 2)), (3, Some(vec![(1, vec![0]), (3, vec![0])])));
    assert_eq!(resolved(&bench, "u.*"), Some(vec!["u1".to_owned()]));
    assert_eq!(bench.ok(&Request::beat("b", 2)), (3, Some(vec![(2, vec![0])])));
    bench.ok(&Request::beat("a", 3));
    assert!(bench.last.is_empty());
    bench.advance(10_001);
    bench.ok(&Request::beat("a", 3));
    assert!(bench.last.is_empty(), "no topic came or went");
}

#[test]
fn expressions_are_looked_at_again_after_a_long_time() {
    let mut bench = Bench::with(&[("t1", 1)]);
    bench.world.config.regex_refresh_interval_ms = 30_000;
    bench.ok(&Request::join("a", &[]).regex("t.*"));
    bench.advance(30_000);
    bench.ok(&Request::beat("a", 2));
    assert!(bench.last.is_empty());
    bench.advance(1);
    bench.ok(&Request::beat("a", 2));
    assert!(matches!(bench.last[..], [Record::Regex(..)]), "for the time of it, and no rebalance");
}

#[test]
fn an_expression_that_nobody_has_is_forgotten() {
    let mut bench = Bench::with(&[("t1", 1), ("u", 1)]);
    bench.ok(&Request::join("a", &[]).regex("t.*"));
    bench.ok(&Request::join("b", &[]).regex("t.*"));
    bench.ok(&Request::beat("b", 3).topics(&["u"]).regex(""));
    assert!(resolved(&bench, "t.*").is_some());
    bench.beat(&Request::beat("a", super::super::LEAVE)).unwrap();
    assert_eq!(resolved(&bench, "t.*"), None);
    assert!(!bench.group.is_subscribed_to("t1") && bench.group.is_subscribed_to("u"));
    assert_eq!(durable(&bench.replayed()), durable(&bench.group));
}

#[test]
fn a_member_may_go_from_an_expression_to_another() {
    let mut bench = Bench::with(&[("t1", 1), ("u1", 1)]);
    bench.ok(&Request::join("a", &[]).regex("t.*"));
    bench.advance(10_001);
    assert_eq!(bench.ok(&Request::beat("a", 2).regex("u.*").owns(&[(1, &[0])])), (2, Some(vec![])));
    assert_eq!((resolved(&bench, "t.*"), resolved(&bench, "u.*")), (None, Some(vec!["u1".to_owned()])));
    assert_eq!(bench.ok(&Request::beat("a", 2).owns(&[])), (3, Some(vec![(2, vec![0])])));
}

#[test]
fn a_member_that_comes_back_in_anothers_place_brings_its_own_expression() {
    let mut bench = Bench::with(&[("t1", 1), ("u1", 1)]);
    bench.ok(&Request::join("a", &[]).regex("t.*").instance("i"));
    bench.beat(&Request::beat("a", super::super::LEAVE_STATIC).instance("i")).unwrap();
    bench.advance(10_001);
    bench.ok(&Request::join("a2", &[]).regex("u.*").instance("i"));
    assert_eq!((resolved(&bench, "t.*"), resolved(&bench, "u.*")), (None, Some(vec!["u1".to_owned()])));
    assert_eq!(bench.owned("a2"), [(2, 0)].into());
    assert_eq!(durable(&bench.replayed()), durable(&bench.group));
}

#[test]
fn the_hash_tells_topics_apart() {
    let hash = |topics: &[(&str, i32)]| {
        let mut bench = Bench::with(topics);
        bench.ok(&Request::join("a", &["t", "u", "tu"]));
        bench.group.epoch.metadata_hash
    };
    let all = [
        hash(&[]),
        hash(&[("t", 1)]),
        hash(&[("t", 2)]),
        hash(&[("u", 1)]),
        hash(&[("t", 1), ("u", 1)]),
        hash(&[("u", 1), ("t", 1)]),
        hash(&[("tu", 1)]),
    ];
    assert_eq!(all[0], 0, "as Kafka's");
    assert_eq!(BTreeSet::from(all).len(), all.len());
    assert_eq!(hash(&[("t", 1), ("x", 3)]), all[1], "others do not matter");
}
