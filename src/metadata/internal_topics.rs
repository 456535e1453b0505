//! The topics that the broker keeps its own state in: they are there before anybody asks for them.

use super::decide::{Context, Decision};
use super::topic_name::CONSUMER_OFFSETS;
use super::topics::{self, CreateResult, NewTopic};
use crate::types::TopicId;

/// The least that the topic setting takes; Kafka lets the broker's be anything.
const MIN_SEGMENT_BYTES: i32 = 1 << 20;

/// Creates those that are missing, with the settings that Kafka gives them.
pub fn create_missing(context: Context<'_>, new_id: impl FnMut() -> TopicId) -> Decision<Vec<CreateResult>> {
    if context.image.topic(CONSUMER_OFFSETS).is_some() {
        return Decision { records: Vec::new(), reply: Vec::new() };
    }
    let groups = &context.config.groups;
    let settings = [
        ("cleanup.policy", "compact".to_owned()),
        ("compression.type", "producer".to_owned()),
        ("segment.bytes", groups.topic_segment_bytes.max(MIN_SEGMENT_BYTES).to_string()),
    ];
    let topic = NewTopic {
        name: CONSUMER_OFFSETS.to_owned(),
        partitions: groups.topic_partitions,
        replication_factor: 1,
        assignments: Vec::new(),
        configs: settings.into_iter().map(|(name, value)| (name.to_owned(), Some(value))).collect(),
    };
    topics::create(context, &[topic], new_id)
}
