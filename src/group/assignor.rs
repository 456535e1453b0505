//! Placeholder: partitions in turn.

use std::collections::{BTreeMap, BTreeSet};

use super::MemberId;
use super::config::Assignor;
use super::records::Partitions;
use crate::types::{PartitionIndex, TopicId};

/// A member.
#[derive(Debug)]
pub struct MemberSpec<'a> {
    /// Rack.
    pub rack: Option<&'a str>,
    /// Instance id.
    pub instance_id: Option<&'a str>,
    /// Topics.
    pub topics: BTreeSet<TopicId>,
    /// Owned.
    pub owned: &'a Partitions,
}

/// Assigns.
pub fn assign(
    _: Assignor,
    members: &BTreeMap<MemberId, MemberSpec<'_>>,
    topics: &BTreeMap<TopicId, u32>,
) -> BTreeMap<MemberId, Partitions> {
    let mut out: BTreeMap<MemberId, Partitions> = BTreeMap::new();
    for (topic, count) in topics {
        let who: Vec<&MemberId> = members.iter().filter(|(_, m)| m.topics.contains(topic)).map(|(id, _)| id).collect();
        for (p, id) in (0..*count).zip(who.iter().cycle()) {
            out.entry((*id).clone()).or_default().entry(*topic).or_default().push(PartitionIndex(p as i32));
        }
    }
    out
}
