//! The state machine of one member, step by step.

use super::*;
use crate::group::consumer::reconcile::Step;
use crate::group::records::{CurrentAssignment, Partitions};
use crate::types::PartitionIndex;
use MemberState::{Stable, Unknown, UnreleasedPartitions, UnrevokedPartitions};

/// Partitions of the one topic.
type Held = &'static [i32];

/// Where a member is: epoch, the one before, state, what it owns (since epoch 1 each) and is to give up.
type At = (i32, i32, MemberState, Held, Held);

fn at((epoch, previous_epoch, state, assigned, pending): At) -> CurrentAssignment {
    let held = |partitions: Held| {
        let partitions: BTreeMap<PartitionIndex, i32> = partitions.iter().map(|p| (PartitionIndex(*p), 1)).collect();
        if partitions.is_empty() { BTreeMap::new() } else { BTreeMap::from([(topic(), partitions)]) }
    };
    let (assigned, pending_revocation) = (held(assigned), held(pending));
    CurrentAssignment { epoch, previous_epoch, state, assigned, pending_revocation }
}

fn topic() -> TopicId {
    TopicId(uuid::Uuid::from_u128(1))
}

struct Given {
    from: At,
    target: (i32, Held),
    owned: Option<Held>,
    others: Held,
}

fn next(given: &Given, subscribed: bool, changed: bool) -> Option<CurrentAssignment> {
    let request = given.owned.map(|owned| Request::beat("m", 1).owns(&[(1, owned)]).0.topic_partitions.unwrap());
    let target = Partitions::from([(topic(), given.target.1.iter().map(|p| PartitionIndex(*p)).collect())]);
    let step = Step {
        current: &at(given.from),
        target_epoch: given.target.0,
        target: &target,
        subscribed: |_| subscribed,
        subscription_changed: changed,
        owned: request.as_deref(),
        free: |_, partition: PartitionIndex| !given.others.contains(&partition.0),
    };
    let mut next = step.next()?;
    for epoch in next.assigned.values_mut().flat_map(BTreeMap::values_mut) {
        assert!(*epoch == 1 || *epoch == given.target.0, "what is new has the epoch of the target");
        *epoch = 1;
    }
    Some(next)
}

#[test]
fn a_step_leads_where_kafka_goes() {
    let cases: Vec<(Given, Option<At>)> = vec![
        // At its target.
        (Given { from: (5, 4, Stable, &[0], &[]), target: (5, &[0]), owned: None, others: &[] }, None),
        // A new epoch and nothing else.
        (
            Given { from: (4, 3, Stable, &[0], &[]), target: (5, &[0]), owned: None, others: &[] },
            Some((5, 4, Stable, &[0], &[])),
        ),
        // More, of which some is free.
        (
            Given { from: (4, 3, Stable, &[0], &[]), target: (5, &[0, 1, 2]), owned: None, others: &[2] },
            Some((5, 4, UnreleasedPartitions, &[0, 1], &[])),
        ),
        // Nothing of it is free yet, then it is.
        (
            Given { from: (5, 4, UnreleasedPartitions, &[0], &[]), target: (5, &[0, 1]), owned: None, others: &[1] },
            Some((5, 5, UnreleasedPartitions, &[0], &[])),
        ),
        (
            Given { from: (5, 5, UnreleasedPartitions, &[0], &[]), target: (5, &[0, 1]), owned: None, others: &[1] },
            None,
        ),
        (
            Given { from: (5, 5, UnreleasedPartitions, &[0], &[]), target: (5, &[0, 1]), owned: None, others: &[] },
            Some((5, 5, Stable, &[0, 1], &[])),
        ),
        // Less: it is asked to give up and stays at its epoch, whatever is free.
        (
            Given { from: (4, 3, Stable, &[0, 1], &[]), target: (5, &[1, 2]), owned: None, others: &[] },
            Some((4, 4, UnrevokedPartitions, &[1], &[0])),
        ),
        // It did not have it any more.
        (
            Given { from: (4, 3, Stable, &[0, 1], &[]), target: (5, &[1, 2]), owned: Some(&[1]), others: &[] },
            Some((5, 4, Stable, &[1, 2], &[])),
        ),
        // It does not say, still has it, has given it up.
        (Given { from: (4, 4, UnrevokedPartitions, &[1], &[0]), target: (5, &[1]), owned: None, others: &[] }, None),
        (
            Given { from: (4, 4, UnrevokedPartitions, &[1], &[0]), target: (5, &[1]), owned: Some(&[0]), others: &[] },
            None,
        ),
        (
            Given { from: (4, 4, UnrevokedPartitions, &[1], &[0]), target: (5, &[1]), owned: Some(&[1]), others: &[] },
            Some((5, 4, Stable, &[1], &[])),
        ),
        // A newer target gives back what it just gave up.
        (
            Given { from: (4, 4, UnrevokedPartitions, &[1], &[0]), target: (6, &[0]), owned: Some(&[]), others: &[] },
            Some((6, 4, Stable, &[0], &[])),
        ),
        // A state of a later version starts from scratch.
        (
            Given { from: (4, 3, Unknown, &[0], &[1]), target: (5, &[0, 1]), owned: Some(&[]), others: &[] },
            Some((5, 4, Stable, &[0, 1], &[])),
        ),
    ];
    for (given, expected) in cases {
        let what = format!("{:?} to {:?}, says {:?}, others {:?}", given.from, given.target, given.owned, given.others);
        assert_eq!(next(&given, true, false), expected.map(at), "{what}");
    }
}

#[test]
fn a_topic_that_is_not_subscribed_to_is_given_up_at_once() {
    let stable = |owned| Given { from: (5, 4, Stable, &[0], &[]), target: (5, &[0]), owned, others: &[] };
    assert_eq!(next(&stable(None), true, true), None, "it still subscribes");
    assert_eq!(next(&stable(None), false, false), None, "nothing changed now");
    assert_eq!(next(&stable(None), false, true), Some(at((5, 5, UnrevokedPartitions, &[], &[0]))));
    assert_eq!(next(&stable(Some(&[])), false, true), Some(at((5, 5, Stable, &[], &[]))), "it had given it up");
    // While it owes another partition.
    let owes = Given { from: (5, 5, UnrevokedPartitions, &[0], &[1]), target: (6, &[0]), owned: None, others: &[] };
    assert_eq!(next(&owes, false, true), Some(at((5, 5, UnrevokedPartitions, &[], &[0, 1]))));
    // A target that still holds it does not bring it back.
    let behind = Given { from: (4, 3, Stable, &[], &[]), target: (5, &[0]), owned: None, others: &[] };
    assert_eq!(next(&behind, false, false), Some(at((5, 4, Stable, &[], &[]))));
}
