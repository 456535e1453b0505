//! The APIs that this broker answers: key, versions, handler. ApiVersions lists exactly these.

use kafka_protocol::messages::ApiKey;

use super::{
    Handler, add_offsets_to_txn, add_partitions_to_txn, alter_configs, api_versions, consumer_group_describe,
    consumer_group_heartbeat, create_partitions, create_topics, delete_groups, delete_records, delete_topics,
    describe_cluster, describe_configs, describe_groups, describe_log_dirs, describe_producers,
    describe_topic_partitions, describe_transactions, end_txn, fetch, find_coordinator, heartbeat,
    incremental_alter_configs, init_producer_id, join_group, leave_group, list_config_resources, list_groups,
    list_offsets, list_transactions, metadata, offset_commit, offset_delete, offset_fetch, offset_for_leader_epoch,
    produce, sync_group, txn_offset_commit, update_features, write_txn_markers,
};

/// One API.
#[derive(Debug)]
pub struct Api {
    /// Which.
    pub key: ApiKey,
    /// Lowest version answered.
    pub min: i16,
    /// Highest version answered.
    pub max: i16,
    /// Stage one.
    pub handler: Handler,
}

/// All APIs, by key.
pub const APIS: &[Api] = &[
    //
    api(ApiKey::Produce, 3, 13, produce::handle),
    api(ApiKey::Fetch, 4, 18, fetch::handle),
    api(ApiKey::ListOffsets, 1, 11, list_offsets::handle),
    api(ApiKey::Metadata, 0, 13, metadata::handle),
    api(ApiKey::OffsetCommit, 2, 10, offset_commit::handle),
    api(ApiKey::OffsetFetch, 1, 10, offset_fetch::handle),
    api(ApiKey::FindCoordinator, 0, 6, find_coordinator::handle),
    api(ApiKey::JoinGroup, 0, 9, join_group::handle),
    api(ApiKey::Heartbeat, 0, 4, heartbeat::handle),
    api(ApiKey::LeaveGroup, 0, 5, leave_group::handle),
    api(ApiKey::SyncGroup, 0, 5, sync_group::handle),
    api(ApiKey::DescribeGroups, 0, 6, describe_groups::handle),
    api(ApiKey::ListGroups, 0, 5, list_groups::handle),
    api(ApiKey::ApiVersions, 0, 4, api_versions::handle),
    api(ApiKey::CreateTopics, 2, 7, create_topics::handle),
    api(ApiKey::DeleteTopics, 1, 6, delete_topics::handle),
    api(ApiKey::DeleteRecords, 0, 2, delete_records::handle),
    api(ApiKey::InitProducerId, 0, 5, init_producer_id::handle),
    api(ApiKey::OffsetForLeaderEpoch, 2, 4, offset_for_leader_epoch::handle),
    api(ApiKey::AddPartitionsToTxn, 0, 5, add_partitions_to_txn::handle),
    api(ApiKey::AddOffsetsToTxn, 0, 4, add_offsets_to_txn::handle),
    api(ApiKey::EndTxn, 0, 5, end_txn::handle),
    api(ApiKey::WriteTxnMarkers, 1, 1, write_txn_markers::handle),
    api(ApiKey::TxnOffsetCommit, 0, 5, txn_offset_commit::handle),
    api(ApiKey::DescribeConfigs, 1, 4, describe_configs::handle),
    api(ApiKey::AlterConfigs, 0, 2, alter_configs::handle),
    api(ApiKey::DescribeLogDirs, 1, 5, describe_log_dirs::handle),
    api(ApiKey::CreatePartitions, 0, 3, create_partitions::handle),
    api(ApiKey::DeleteGroups, 0, 2, delete_groups::handle),
    api(ApiKey::IncrementalAlterConfigs, 0, 1, incremental_alter_configs::handle),
    api(ApiKey::OffsetDelete, 0, 0, offset_delete::handle),
    api(ApiKey::UpdateFeatures, 0, 2, update_features::handle),
    api(ApiKey::DescribeCluster, 0, 2, describe_cluster::handle),
    api(ApiKey::DescribeProducers, 0, 0, describe_producers::handle),
    api(ApiKey::DescribeTransactions, 0, 0, describe_transactions::handle),
    api(ApiKey::ListTransactions, 0, 2, list_transactions::handle),
    api(ApiKey::ConsumerGroupHeartbeat, 0, 1, consumer_group_heartbeat::handle),
    api(ApiKey::ConsumerGroupDescribe, 0, 1, consumer_group_describe::handle),
    api(ApiKey::ListConfigResources, 0, 1, list_config_resources::handle),
    api(ApiKey::DescribeTopicPartitions, 0, 0, describe_topic_partitions::handle),
];

/// The API of a key.
pub fn find(key: i16) -> Option<&'static Api> {
    let position = POSITIONS.get(usize::try_from(key).ok()?)?;
    APIS.get(usize::from(*position))
}

/// Keys above this are none that Kafka 4.3 knows.
const KEYS: usize = 128;
const NOWHERE: u8 = u8::MAX;

/// Where each key stands in `APIS`.
const POSITIONS: [u8; KEYS] = {
    let mut positions = [NOWHERE; KEYS];
    let mut next = 0;
    while next < APIS.len() {
        positions[APIS[next].key as usize] = next as u8;
        next += 1;
    }
    positions
};

const fn api(key: ApiKey, min: i16, max: i16, handler: Handler) -> Api {
    Api { key, min, max, handler }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_is_found_by_its_key_and_no_other() {
        for key in i16::MIN..=i16::MAX {
            let listed = APIS.iter().find(|api| api.key as i16 == key).map(|api| api.key);
            assert_eq!(find(key).map(|api| api.key), listed, "{key}");
        }
    }

    #[test]
    fn the_table_is_in_the_order_of_keys_and_no_range_is_empty() {
        assert!(APIS.windows(2).all(|pair| (pair[0].key as i16) < pair[1].key as i16));
        assert!(APIS.iter().all(|api| 0 <= api.min && api.min <= api.max));
    }
}
