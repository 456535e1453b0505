//! The assignor `uniform`: all members own as many partitions, as far as their subscriptions allow, and each keeps as
//! many of those that it owned as it may.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::{Member, NOBODY, Topic, find};

/// How often all topics are balanced in turn at most. Where subscriptions overlap without being equal, a move in one
/// topic can make room for one in another, so that it may take long to come to rest; as each round about halves what is
/// missing, the rest is not worth the time (Kafka's bound).
const MAX_ROUNDS: usize = 16;

/// Spreads the partitions of all topics.
pub(super) fn assign(members: &[Member<'_>], topics: &mut [Topic]) {
    let mut loads = keep(members, topics);
    if topics.iter().all(|topic| topic.subscribers.len() == members.len()) {
        even_out(topics, &mut loads);
    } else {
        spread(topics, &mut loads);
        balance(topics, &mut loads);
    }
}

/// Leaves each partition with the member that owned it, where that still subscribes to it. Returns how many partitions
/// each member has then.
fn keep(members: &[Member<'_>], topics: &mut [Topic]) -> Vec<usize> {
    let mut loads = vec![0; members.len()];
    for (number, (_, spec)) in members.iter().enumerate() {
        for (id, partitions) in spec.owned.iter().filter(|(id, _)| spec.topics.contains(id)) {
            let Some(topic) = find(topics, *id) else { continue };
            for partition in partitions {
                let index = usize::try_from(partition.0).unwrap_or(usize::MAX);
                if let Some(owner) = topics[topic].owners.get_mut(index)
                    && *owner == NOBODY
                {
                    *owner = number;
                    loads[number] += 1;
                }
            }
        }
    }
    loads
}

/// How many partitions each member gets where all subscribe to the same topics. Where it does not come out even, those
/// that own more already are the ones that get one more.
fn quotas(topics: &[Topic], loads: &[usize]) -> Vec<usize> {
    let total: usize = topics.iter().map(|topic| topic.owners.len()).sum();
    let members = loads.len().max(1);
    let (least, mut extra) = (total / members, total % members);
    let mut quotas = vec![least; loads.len()];
    for richer in [true, false] {
        for (quota, load) in quotas.iter_mut().zip(loads) {
            if (*load > least) == richer && extra > 0 {
                *quota += 1;
                extra -= 1;
            }
        }
    }
    quotas
}

/// Takes from each member what it has above its quota, and fills the others up.
fn even_out(topics: &mut [Topic], loads: &mut [usize]) {
    let quotas = quotas(topics, loads);
    for owner in topics.iter_mut().flat_map(|topic| &mut topic.owners).rev() {
        if *owner != NOBODY && loads[*owner] > quotas[*owner] {
            loads[*owner] -= 1;
            *owner = NOBODY;
        }
    }
    let mut free = topics.iter_mut().flat_map(|topic| &mut topic.owners).filter(|owner| **owner == NOBODY);
    for (member, (quota, load)) in quotas.iter().zip(loads).enumerate() {
        free.by_ref().take(quota - *load).for_each(|owner| *owner = member);
    }
}

/// Gives each partition without an owner to the subscriber that has the fewest, beginning with the topics that have the
/// fewest subscribers for their partitions.
fn spread(topics: &mut [Topic], loads: &mut [usize]) {
    for place in by_need(topics) {
        let topic = &mut topics[place];
        let mut poorest = poorest(&topic.subscribers, loads);
        for owner in topic.owners.iter_mut().filter(|owner| **owner == NOBODY) {
            let Some(Reverse((load, member))) = poorest.pop() else { break };
            *owner = member;
            loads[member] = load + 1;
            poorest.push(Reverse((load + 1, member)));
        }
    }
}

/// Moves partitions until no single move makes two members more equal, or for [`MAX_ROUNDS`].
fn balance(topics: &mut [Topic], loads: &mut [usize]) {
    let order = by_need(topics);
    for _ in 0..MAX_ROUNDS {
        let mut moved = false;
        for &place in &order {
            moved |= balance_topic(&mut topics[place], loads);
        }
        if !moved {
            break;
        }
    }
}

/// Moves partitions of one topic from those that have the most to those that have the fewest. Says whether it moved any.
fn balance_topic(topic: &mut Topic, loads: &mut [usize]) -> bool {
    let load = |member: &usize| loads[*member];
    let (min, max) = (topic.subscribers.iter().map(load).min(), topic.subscribers.iter().map(load).max());
    if max.unwrap_or(0) - min.unwrap_or(0) <= 1 {
        return false;
    }
    let mut held: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for (partition, &owner) in topic.owners.iter().enumerate() {
        held.entry(owner).or_default().push(partition);
    }
    let mut richest: BinaryHeap<(usize, usize)> = held.keys().map(|&member| (loads[member], member)).collect();
    let mut poorest = poorest(&topic.subscribers, loads);
    let mut moved = false;
    // A member that gave is never below those that took by more than balance allows, and the other way round: neither
    // heap needs to learn what happens through the other.
    while let (Some((most, giver)), Some(Reverse((least, taker)))) = (richest.pop(), poorest.pop()) {
        if most <= least + 1 {
            break;
        }
        let held = held.entry(giver).or_default();
        if let Some(partition) = held.pop() {
            topic.owners[partition] = taker;
            loads[giver] = most - 1;
            loads[taker] = least + 1;
            moved = true;
            poorest.push(Reverse((least + 1, taker)));
        }
        if !held.is_empty() {
            richest.push((most - 1, giver));
        }
    }
    moved
}

/// Subscribers, those with the fewest partitions first.
fn poorest(subscribers: &[usize], loads: &[usize]) -> BinaryHeap<Reverse<(usize, usize)>> {
    subscribers.iter().map(|&member| Reverse((loads[member], member))).collect()
}

/// The places of topics, those with the most partitions for each subscriber first; among equals, those with the fewest
/// subscribers, who have the least choice.
fn by_need(topics: &[Topic]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..topics.len()).collect();
    places.sort_by(|&a, &b| {
        let (a, b) = (&topics[a], &topics[b]);
        let per_subscriber = |x: &Topic, y: &Topic| x.owners.len() as u128 * y.subscribers.len() as u128;
        per_subscriber(b, a)
            .cmp(&per_subscriber(a, b))
            .then(a.subscribers.len().cmp(&b.subscribers.len()))
            .then(a.id.cmp(&b.id))
    });
    places
}
