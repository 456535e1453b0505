//! A member of a consumer group.

use kafka_protocol::messages::ConsumerGroupHeartbeatRequest;

use crate::group::records::{ClassicMember, CurrentAssignment, MemberState, MemberValue};
use crate::group::turn::Client;
use crate::types::{PartitionIndex, TopicId};
use crate::wire::consumer_protocol::ConsumerSubscription;

/// What a member of the classic protocol tells with its subscription; who it is and its rebalance timeout are told
/// elsewhere.
pub fn subscribed(subscription: ConsumerSubscription, classic: ClassicMember) -> MemberValue {
    MemberValue {
        rack_id: subscription.rack.filter(|rack| !rack.is_empty()),
        topic_names: distinct(subscription.topics),
        topic_regex: Some(String::new()),
        classic: Some(classic),
        ..MemberValue::default()
    }
}

fn distinct(mut names: Vec<String>) -> Vec<String> {
    names.sort_unstable();
    names.dedup();
    names
}

/// A member of a consumer group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// What it told about itself.
    pub told: MemberValue,
    /// What it owns, and is to give up.
    pub current: CurrentAssignment,
}

/// A member that told nothing and owns nothing.
impl Default for Member {
    fn default() -> Self {
        let told = MemberValue { topic_regex: Some(String::new()), rebalance_timeout_ms: -1, ..MemberValue::default() };
        let current = CurrentAssignment { previous_epoch: -1, ..CurrentAssignment::default() };
        Self { told, current }
    }
}

impl Member {
    /// The regular expression that it subscribes to; an empty one is none.
    pub fn regex(&self) -> Option<&str> {
        self.told.topic_regex.as_deref().filter(|regex| !regex.is_empty())
    }

    /// Whether it speaks the classic protocol.
    pub fn is_classic(&self) -> bool {
        self.told.classic.is_some()
    }

    /// Whether it owns what the target assignment of that epoch says.
    pub fn is_reconciled_to(&self, epoch: i32) -> bool {
        self.current.state == MemberState::Stable && self.current.epoch == epoch
    }

    /// Whether it was told to give partitions up and was not seen to. A static member that left for a while owes
    /// nothing: it gave up what it had.
    pub fn owes_revocation(&self) -> bool {
        self.current.state == MemberState::UnrevokedPartitions && self.current.epoch >= 0
    }

    /// Every partition that it owns or is to give up.
    pub fn partitions(&self) -> impl Iterator<Item = (TopicId, PartitionIndex)> {
        let held = self.current.assigned.iter().chain(&self.current.pending_revocation);
        held.flat_map(|(topic, partitions)| partitions.keys().map(|partition| (*topic, *partition)))
    }

    /// The epoch at which it was given a partition that it owns or is to give up (KIP-1251).
    pub fn assignment_epoch(&self, topic: TopicId, partition: PartitionIndex) -> Option<i32> {
        let of = |held: &std::collections::BTreeMap<TopicId, std::collections::BTreeMap<PartitionIndex, i32>>| {
            held.get(&topic).and_then(|partitions| partitions.get(&partition)).copied()
        };
        of(&self.current.assigned).or_else(|| of(&self.current.pending_revocation))
    }

    /// What it tells about itself with this heartbeat, if that is new. What the request leaves out stays as it was; a
    /// member that spoke the classic protocol no longer does.
    pub fn retold(&self, client: &Client, request: &ConsumerGroupHeartbeatRequest) -> Option<MemberValue> {
        let names = request.subscribed_topic_names.as_ref();
        let names = names.map(|names| distinct(names.iter().map(|name| name.0.to_string()).collect()));
        let is = |told: &Option<String>, new: &Option<_>| {
            new.as_ref().is_none_or(|new: &kafka_protocol::protocol::StrBytes| told.as_deref() == Some(new.as_str()))
        };
        let told = &self.told;
        let same = told.client_id == client.id
            && told.client_host == client.host
            && told.classic.is_none()
            && is(&told.instance_id, &request.instance_id)
            && is(&told.rack_id, &request.rack_id)
            && is(&told.topic_regex, &request.subscribed_topic_regex)
            && is(&told.server_assignor, &request.server_assignor)
            && (request.rebalance_timeout_ms == -1 || request.rebalance_timeout_ms == told.rebalance_timeout_ms)
            && names.as_ref().is_none_or(|names| *names == told.topic_names);
        if same {
            return None;
        }
        let or = |new: &Option<kafka_protocol::protocol::StrBytes>, told: &Option<String>| {
            new.as_ref().map(ToString::to_string).or_else(|| told.clone())
        };
        Some(MemberValue {
            instance_id: or(&request.instance_id, &told.instance_id),
            rack_id: or(&request.rack_id, &told.rack_id),
            client_id: client.id.clone(),
            client_host: client.host.clone(),
            topic_names: names.unwrap_or_else(|| told.topic_names.clone()),
            topic_regex: or(&request.subscribed_topic_regex, &told.topic_regex),
            rebalance_timeout_ms: match request.rebalance_timeout_ms {
                -1 => told.rebalance_timeout_ms,
                told => told,
            },
            server_assignor: or(&request.server_assignor, &told.server_assignor),
            classic: None,
        })
    }
}
