//! The server-side assignors: who is to own which partition of a consumer group (KIP-848).
//!
//! Both are functions of their arguments alone, so that every coordinator that replays the same records comes to the
//! same assignment. Neither looks at racks, as Kafka's do not.

mod range;
#[cfg(test)]
mod tests;
mod uniform;

use std::collections::{BTreeMap, BTreeSet};

use super::MemberId;
use super::config::Assignor;
use super::records::Partitions;
use crate::types::{PartitionIndex, TopicId};

/// What an assignor is told about a member.
#[derive(Clone, Debug)]
pub struct MemberSpec<'a> {
    /// `client.rack`.
    pub rack: Option<&'a str>,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<&'a str>,
    /// The topics that it subscribes to.
    pub topics: BTreeSet<TopicId>,
    /// What it was to own before.
    pub owned: &'a Partitions,
}

/// Gives each partition of a subscribed topic to one member that subscribes to it.
///
/// `topics` are the numbers of partitions of the topics that exist; what is subscribed to or owned beside them is left
/// out. Each member is in the result, with nothing where there is nothing for it. Where two members claim to own a
/// partition, the first of them counts.
pub fn assign(
    assignor: Assignor,
    members: &BTreeMap<MemberId, MemberSpec<'_>>,
    topics: &BTreeMap<TopicId, u32>,
) -> BTreeMap<MemberId, Partitions> {
    let mut ordered: Vec<_> = members.iter().collect();
    if assignor == Assignor::Range {
        range::sort(&mut ordered);
    }
    let mut subscribed = subscribed(&ordered, topics);
    match assignor {
        Assignor::Uniform => uniform::assign(&ordered, &mut subscribed),
        Assignor::Range => range::assign(&mut subscribed),
    }
    collect(&ordered, &subscribed)
}

/// A member with its name; below, members are numbers: their places in the order that the assignor wants.
type Member<'a> = (&'a MemberId, &'a MemberSpec<'a>);

/// The owner of a partition that has none yet.
const NOBODY: usize = usize::MAX;

/// A topic that at least one member subscribes to.
struct Topic {
    id: TopicId,
    /// The members that subscribe to it, ascending.
    subscribers: Vec<usize>,
    /// The owner of each partition.
    owners: Vec<usize>,
}

/// The topics that exist and that somebody subscribes to, ascending, with no owners yet.
fn subscribed(members: &[Member<'_>], topics: &BTreeMap<TopicId, u32>) -> Vec<Topic> {
    let new =
        |(&id, &count): (&TopicId, &u32)| Topic { id, subscribers: Vec::new(), owners: vec![NOBODY; count as usize] };
    let mut all: Vec<Topic> = topics.iter().map(new).collect();
    // Most groups have one subscription: look its topics up once.
    let mut last: Option<(&BTreeSet<TopicId>, Vec<usize>)> = None;
    for (number, (_, spec)) in members.iter().enumerate() {
        let known = match last.take() {
            Some((topics, known)) if *topics == spec.topics => known,
            _ => spec.topics.iter().filter_map(|&id| find(&all, id)).collect(),
        };
        for &topic in &known {
            all[topic].subscribers.push(number);
        }
        last = Some((&spec.topics, known));
    }
    all.retain(|topic| !topic.subscribers.is_empty());
    all
}

/// The place of a topic among topics that are sorted by id.
fn find(topics: &[Topic], id: TopicId) -> Option<usize> {
    topics.binary_search_by_key(&id, |topic| topic.id).ok()
}

/// What each member owns, by name.
fn collect(members: &[Member<'_>], topics: &[Topic]) -> BTreeMap<MemberId, Partitions> {
    let mut owned = vec![Partitions::new(); members.len()];
    for topic in topics {
        for (index, &owner) in (0..).zip(&topic.owners) {
            if let Some(partitions) = owned.get_mut(owner) {
                partitions.entry(topic.id).or_default().push(PartitionIndex(index));
            }
        }
    }
    members.iter().map(|(id, _)| MemberId::clone(id)).zip(owned).collect()
}
