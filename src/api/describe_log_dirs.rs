//! DescribeLogDirs (v1-v5): the data folder, and how much each partition takes of it.
//!
//! v3 a top-level error code, v4 the volume's size (KIP-827), v5 cordoned folders (KIP-1066), of which there are none.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kafka_protocol::messages::describe_log_dirs_response::{
    DescribeLogDirsPartition, DescribeLogDirsResult, DescribeLogDirsTopic,
};
use kafka_protocol::messages::{ApiKey, DescribeLogDirsRequest, DescribeLogDirsResponse, TopicName};

use super::reply::{blocking_frame, text};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::metadata::topic_name::CLUSTER_METADATA;
use crate::wire::describe_log_dirs::encode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::DescribeLogDirs;
/// The first version with the volume's size.
const VOLUME: i16 = 4;

/// Looks at the folders of partitions that are not open, which may be many.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: DescribeLogDirsRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let broker = Arc::clone(broker);
    let work = move || encode(header.api_version, header.correlation_id, &describe(&broker, header.api_version, &body));
    Ok(blocking_frame(API, work))
}

fn describe(broker: &Broker, version: i16, body: &DescribeLogDirsRequest) -> DescribeLogDirsResponse {
    let mut wanted: Option<BTreeMap<&str, BTreeSet<i32>>> = body.topics.as_ref().map(|_| BTreeMap::new());
    for topic in body.topics.iter().flatten() {
        let partitions = wanted.get_or_insert_default().entry(&topic.topic).or_default();
        partitions.extend(&topic.partitions);
    }
    let is_asked_for = |topic: &str, partition: i32| match &wanted {
        Some(wanted) => wanted.get(topic).is_some_and(|partitions| partitions.contains(&partition)),
        None => true,
    };
    // The metadata log is none of the broker's partitions, even where it is asked for by name.
    let is_wanted = |topic: &str, partition| topic != CLUSTER_METADATA && is_asked_for(topic, partition);
    let mut topics: BTreeMap<Arc<str>, Vec<DescribeLogDirsPartition>> = BTreeMap::new();
    for size in broker.logs.sizes() {
        let name = size.partition;
        if is_wanted(&name.topic, name.partition.0) {
            let bytes = i64::try_from(size.bytes).unwrap_or(i64::MAX);
            let partition =
                DescribeLogDirsPartition::default().with_partition_index(name.partition.0).with_partition_size(bytes);
            topics.entry(name.topic).or_default().push(partition);
        }
    }
    let topics = topics.into_iter().map(|(name, partitions)| {
        DescribeLogDirsTopic::default().with_name(TopicName(text(&name))).with_partitions(partitions)
    });
    let dir = broker.logs.dir();
    let dir = std::path::absolute(dir).unwrap_or_else(|_| dir.to_path_buf());
    let mut result =
        DescribeLogDirsResult::default().with_log_dir(text(&dir.to_string_lossy())).with_topics(topics.collect());
    if let Some(space) = broker.logs.space().filter(|_| version >= VOLUME) {
        result.total_bytes = i64::try_from(space.total_bytes).unwrap_or(i64::MAX);
        result.usable_bytes = i64::try_from(space.usable_bytes).unwrap_or(i64::MAX);
    }
    DescribeLogDirsResponse::default().with_results(vec![result])
}
