//! The assignor `range`: each member gets a range of each of its topics.
//!
//! Members with the same subscriptions get the same ranges of topics with as many partitions, which joins need. What
//! was owned before plays no role (since Kafka 4.0): the order of the members alone decides, and a static member keeps
//! its place in it when it comes back under a new member id.

use super::{Member, Topic};

/// Puts static members first, by instance id, and the others after them, by member id.
pub(super) fn sort(members: &mut [Member<'_>]) {
    members.sort_by_key(|(id, spec)| (spec.instance_id.is_none(), spec.instance_id, *id));
}

/// Cuts each topic into ranges; the first ones take one more where it does not come out even.
pub(super) fn assign(topics: &mut [Topic]) {
    for topic in topics {
        let (partitions, subscribers) = (topic.owners.len(), topic.subscribers.len());
        let (least, extra) = (partitions / subscribers, partitions % subscribers);
        let mut owners = topic.owners.iter_mut();
        for (rank, &member) in topic.subscribers.iter().enumerate() {
            let length = least + usize::from(rank < extra);
            owners.by_ref().take(length).for_each(|owner| *owner = member);
        }
    }
}
