//! OffsetDelete (v0): committed offsets of topics that no member of the group reads go (KIP-496).

use std::sync::Arc;

use kafka_protocol::messages::offset_delete_request::OffsetDeleteRequestTopic;
use kafka_protocol::messages::offset_delete_response::{OffsetDeleteResponsePartition, OffsetDeleteResponseTopic};
use kafka_protocol::messages::{ApiKey, OffsetDeleteRequest, OffsetDeleteResponse};

use super::reply::{coordinated, now};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::types::PartitionIndex;
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::OffsetDelete;

/// One turn of the group.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: OffsetDeleteRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let is_known = |topic: &OffsetDeleteRequestTopic| broker.metadata.image().topic(&topic.name).is_some();
    let (known, unknown): (Vec<_>, Vec<_>) = body.topics.into_iter().partition(is_known);
    let unknown: Vec<_> =
        unknown.iter().map(|topic| answer(topic, |_| ErrorCode::UNKNOWN_TOPIC_OR_PARTITION)).collect();
    if known.is_empty() && !unknown.is_empty() {
        return now(API, &header, &OffsetDeleteResponse::default().with_topics(unknown));
    }
    let group = body.group_id.to_string();
    let outcome = broker.groups.run(&group.clone(), move |shard, turn| {
        shard.delete_offsets(&group).map(|mut deletion| {
            let topics = known.iter();
            topics
                .map(|topic| answer(topic, |index| deletion.delete(turn, &topic.name, PartitionIndex(index))))
                .collect::<Vec<_>>()
        })
    });
    coordinated(API, &header, outcome, move |result| match result {
        Ok(Ok(mut topics)) => {
            topics.extend(unknown);
            OffsetDeleteResponse::default().with_topics(topics)
        }
        Ok(Err(code)) | Err(code) => OffsetDeleteResponse::default().with_error_code(code.0),
    })
}

fn answer(topic: &OffsetDeleteRequestTopic, mut code: impl FnMut(i32) -> ErrorCode) -> OffsetDeleteResponseTopic {
    let partitions = topic.partitions.iter().map(|partition| {
        OffsetDeleteResponsePartition::default()
            .with_partition_index(partition.partition_index)
            .with_error_code(code(partition.partition_index).0)
    });
    OffsetDeleteResponseTopic::default().with_name(topic.name.clone()).with_partitions(partitions.collect())
}
