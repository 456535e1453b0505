//! The topics that the broker keeps its own state in: they are there before anybody asks for them.

use super::decide::{Context, Decision};
use super::topic_name::{CONSUMER_OFFSETS, TRANSACTION_STATE};
use super::topics::{self, CreateResult, NewTopic};
use crate::types::TopicId;

/// The least that the topic setting takes; Kafka lets the broker's be anything.
const MIN_SEGMENT_BYTES: i32 = 1 << 20;

/// Creates those that are missing, with the settings that Kafka gives them.
pub fn create_missing(context: Context<'_>, new_id: impl FnMut() -> TopicId) -> Decision<Vec<CreateResult>> {
    let (groups, transactions) = (&context.config.groups, &context.config.transactions);
    let offsets = [("compression.type", "producer")];
    let state = [
        ("compression.type", "uncompressed"),
        ("min.insync.replicas", "1"),
        ("unclean.leader.election.enable", "false"),
    ];
    let mut missing = vec![
        topic(CONSUMER_OFFSETS, groups.topic_partitions, groups.topic_segment_bytes, &offsets),
        topic(TRANSACTION_STATE, transactions.topic_partitions, transactions.topic_segment_bytes, &state),
    ];
    missing.retain(|topic| context.image.topic(&topic.name).is_none());
    if missing.is_empty() {
        return Decision { records: Vec::new(), reply: Vec::new() };
    }
    topics::create(context, &missing, new_id)
}

fn topic(name: &str, partitions: i32, segment_bytes: i32, more: &[(&str, &str)]) -> NewTopic {
    let segment_bytes = segment_bytes.max(MIN_SEGMENT_BYTES).to_string();
    let common = [("cleanup.policy", "compact"), ("segment.bytes", &segment_bytes)];
    let settings = common.iter().chain(more).map(|(name, value)| ((*name).to_owned(), Some((*value).to_owned())));
    NewTopic {
        name: name.to_owned(),
        partitions,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: settings.collect(),
    }
}
