#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::PathBuf;

use super::*;
use crate::config::BrokerConfig;
use crate::group::config::GroupsConfig;
use crate::metadata::configs::{Alteration, Change, alter};
use crate::metadata::topics::{Deletion, NewTopic};
use crate::storage::memory_disk::MemoryDisk;
use crate::storage::{Durability, StorageConfig};
use crate::wire::ErrorCode;

/// A data folder in memory that survives the broker.
struct Folder {
    disk: Arc<MemoryDisk>,
    config: BrokerConfig,
}

impl Folder {
    fn new() -> Self {
        // As on a disk, but the disk is in memory.
        let storage = StorageConfig {
            dir: PathBuf::from("/data"),
            durability: Durability::Fsync,
            producer_id_expiration_ms: 1000,
        };
        let config = BrokerConfig { storage, ..BrokerConfig::default() };
        Self { disk: Arc::new(MemoryDisk::new()), config }
    }

    fn try_open(&self) -> Result<(MetadataStore, Arc<LogManager>), StoreError> {
        let logs = LogManager::open(self.disk.clone(), self.config.storage.clone()).unwrap();
        MetadataStore::open(self.disk.as_ref(), Arc::clone(&logs), &self.config).map(|store| (store, logs))
    }

    fn open(&self) -> (MetadataStore, Arc<LogManager>) {
        self.try_open().unwrap()
    }

    /// One run of a broker, which then stops in order.
    async fn run<T>(&self, with: impl AsyncFnOnce(&MetadataStore, &LogManager) -> T) -> T {
        let (store, logs) = self.open();
        let result = with(&store, &logs).await;
        drop(store);
        logs.close().unwrap();
        result
    }
}

fn topic(name: &str, partitions: i32) -> NewTopic {
    NewTopic { name: name.to_owned(), partitions, replication_factor: -1, ..NewTopic::default() }
}

async fn create(store: &MetadataStore, new: NewTopic) -> TopicId {
    let decide = |context: Context<'_>| topics::create(context, &[new], || TopicId(Uuid::new_v4()));
    let (mut reply, durable) = store.write(decide).unwrap();
    durable.await.unwrap();
    reply.remove(0).1.unwrap().id
}

async fn delete(store: &MetadataStore, name: &str) {
    let deletion = [Deletion { name: Some(name.to_owned()), id: TopicId::ZERO }];
    let (reply, durable) = store.write(|context| topics::delete(context, &deletion)).unwrap();
    durable.await.unwrap();
    assert_eq!(reply[0].result, Ok(()));
}

#[tokio::test]
async fn a_new_log_begins_as_kafkas_does_and_is_replayed() {
    let folder = Folder::new();
    folder
        .run(async |store, logs| {
            assert_eq!(store.image().feature("metadata.version"), 30);
            assert_eq!(store.image().overrides(&Resource::all_brokers()).unwrap()["min.insync.replicas"], "1");
            let id = create(store, topic("t", 3)).await;
            assert_eq!(store.image().topic("t").unwrap().id, id);
            assert!(store.settled().is_none());
            assert!(logs.get("t", PartitionIndex(2)).unwrap().is_ok());
            assert!(logs.get("t", PartitionIndex(3)).is_none());
        })
        .await;
    let log_end = folder
        .run(async |store, logs| {
            assert_eq!(store.image().topic("t").unwrap().partitions.len(), 3);
            assert!(logs.get("t", PartitionIndex(2)).unwrap().is_ok());
            store.log.offsets().log_end
        })
        .await;
    // A restart alone writes nothing.
    folder.run(async |store, _| assert_eq!(store.log.offsets().log_end, log_end)).await;
    for file in ["bootstrap.checkpoint", "meta.properties", "__cluster_metadata-0/quorum-state"] {
        assert!(folder.disk.exists(&PathBuf::from("/data").join(file)), "{file}");
    }
}

#[tokio::test]
async fn a_deleted_topics_folder_is_gone_when_that_is_answered_and_its_name_is_free() {
    let folder = Folder::new();
    folder
        .run(async |store, logs| {
            create(store, topic("t", 1)).await;
            logs.get("t", PartitionIndex(0)).unwrap().unwrap();
            assert!(folder.disk.exists(&PathBuf::from("/data/t-0")));
            delete(store, "t").await;
            assert!(!folder.disk.exists(&PathBuf::from("/data/t-0")));
            assert!(logs.get("t", PartitionIndex(0)).is_none());
            create(store, topic("t", 1)).await;
            assert!(logs.get("t", PartitionIndex(0)).unwrap().is_ok());
        })
        .await;
}

#[tokio::test]
async fn while_a_folder_is_being_deleted_its_name_is_taken() {
    let folder = Folder::new();
    folder
        .run(async |store, _| {
            create(store, topic("t", 1)).await;
            store.deleting.lock().insert("t2".into());
            let decide = |context: Context<'_>| topics::create(context, &[topic("t2", 1)], || TopicId(Uuid::new_v4()));
            let (reply, _) = store.write(decide).unwrap();
            let refusal = reply[0].1.clone().unwrap_err();
            assert_eq!(refusal.code, crate::wire::ErrorCode::TOPIC_ALREADY_EXISTS);
        })
        .await;
}

#[tokio::test]
async fn a_folder_that_a_crash_left_behind_is_deleted_at_the_next_start_and_no_other() {
    let folder = Folder::new();
    let dead = folder
        .run(async |store, logs| {
            let dead = create(store, topic("dead", 1)).await;
            create(store, topic("alive", 1)).await;
            logs.get("alive", PartitionIndex(0)).unwrap().unwrap();
            delete(store, "dead").await;
            dead
        })
        .await;
    for (name, id) in [("dead-0", dead), ("dead-1", TopicId(Uuid::from_u128(9))), ("other-0", dead)] {
        let path = PathBuf::from("/data").join(name);
        folder.disk.create_dir_all(&path).unwrap();
        replace_file(folder.disk.as_ref(), &path.join(PARTITION_METADATA), &partition_metadata::encode(id)).unwrap();
    }
    folder.run(async |_, _| {}).await;
    let there = |name: &str| folder.disk.exists(&PathBuf::from("/data").join(name));
    assert!(!there("dead-0"));
    assert!(there("dead-1"), "a folder of another topic");
    assert!(there("other-0"), "a folder of a name that was never deleted");
    assert!(there("alive-0"));
}

#[tokio::test]
async fn producer_ids_come_in_blocks_and_never_twice() {
    let folder = Folder::new();
    let next = async |store: &MetadataStore| {
        let (id, durable) = store.next_producer_id().unwrap();
        durable.await.unwrap();
        id.0
    };
    let first: Vec<i64> = folder
        .run(async |store, _| {
            let mut ids = Vec::new();
            for _ in 0..1001 {
                ids.push(next(store).await);
            }
            assert_eq!(store.image().next_producer_id(), 2000);
            ids
        })
        .await;
    assert_eq!(first, (0..1001).collect::<Vec<_>>());
    assert_eq!(folder.run(async |store, _| next(store).await).await, 2000);
}

#[tokio::test]
async fn altered_settings_reach_the_logs_of_the_topic() {
    let folder = Folder::new();
    let set = |resource: Resource, name: &str, value: &str| Alteration {
        resource,
        changes: vec![Change { name: name.to_owned(), operation: 0, value: Some(value.to_owned()) }],
        replace: false,
    };
    let own = set(Resource::new(ResourceType::TOPIC, "t"), "max.message.bytes", "1234");
    let all = set(Resource::all_brokers(), "message.max.bytes", "777");
    let limit = |logs: &LogManager, topic: &str| {
        logs.get(topic, PartitionIndex(0)).unwrap().unwrap().config().max_message_bytes
    };
    folder
        .run(async |store, logs| {
            create(store, topic("t", 1)).await;
            create(store, topic("u", 1)).await;
            assert_eq!(limit(logs, "t"), 1_048_588);
            let (reply, durable) = store.write(|context| alter(context, &[own, all])).unwrap();
            assert_eq!(reply, [Ok(()), Ok(())]);
            durable.await.unwrap();
            assert_eq!((limit(logs, "t"), limit(logs, "u")), (1234, 777));
        })
        .await;
    folder.run(async |_, logs| assert_eq!((limit(logs, "t"), limit(logs, "u")), (1234, 777))).await;
}

#[tokio::test]
async fn a_groups_settings_are_there_after_a_restart() {
    let folder = Folder::new();
    let group = Resource::new(ResourceType::GROUP, "g");
    let change =
        |name: &str, value: &str| Change { name: name.to_owned(), operation: 0, value: Some(value.to_owned()) };
    let alteration = |changes, replace| Alteration { resource: group.clone(), changes, replace };
    folder
        .run(async |store, _| {
            let both =
                vec![change("consumer.session.timeout.ms", "50000"), change("share.isolation.level", "read_committed")];
            let (reply, durable) = store.write(|context| alter(context, &[alteration(both, false)])).unwrap();
            assert_eq!(reply, [Ok(())]);
            durable.await.unwrap();
        })
        .await;
    folder
        .run(async |store, _| {
            let found = store.image().overrides(&group).unwrap().clone();
            assert_eq!(found.values().map(String::as_str).collect::<Vec<_>>(), ["50000", "read_committed"]);
            let session = GroupsConfig::default().consumer(&store.image(), "g").session_timeout_ms;
            assert_eq!(session, 50_000, "what is set for a group holds for it");
            // What replaces names one: the other goes.
            let one = vec![change("consumer.session.timeout.ms", "51000")];
            let (reply, durable) = store.write(|context| alter(context, &[alteration(one, true)])).unwrap();
            assert_eq!(reply, [Ok(())]);
            durable.await.unwrap();
            assert_eq!(store.image().overrides(&group).unwrap().len(), 1);
        })
        .await;
}

#[tokio::test]
async fn a_large_decision_is_a_transaction_of_several_batches() {
    let folder = Folder::new();
    let value = "x".repeat(30_000);
    let records: Vec<_> = (0..400)
        .map(|number| MetadataRecord::Config {
            resource_type: 4,
            resource_name: "1".to_owned(),
            name: format!("plugin.{number}"),
            value: Some(value.clone()),
        })
        .collect();
    folder
        .run(async |store, _| {
            let before = store.log.offsets().log_end;
            let ((), durable) = store.write(|_| Decision { records, reply: () }).unwrap();
            durable.await.unwrap();
            assert_eq!(store.log.offsets().log_end, before.plus(402));
        })
        .await;
    folder
        .run(async |store, _| {
            assert_eq!(store.image().overrides(&Resource::new(ResourceType::BROKER, "1")).unwrap().len(), 400);
        })
        .await;
}

#[tokio::test]
async fn a_transaction_that_never_ended_is_aborted_before_the_next_record() {
    let folder = Folder::new();
    folder
        .run(async |store, _| {
            let mut batch = BatchBuilder::new();
            for record in [
                MetadataRecord::BeginTransaction { name: None },
                MetadataRecord::Topic { name: "torn".to_owned(), id: TopicId(Uuid::from_u128(5)) },
            ] {
                batch.push(TimestampMs(1), None, Some(&record.to_bytes()), std::iter::empty());
            }
            store.append_batch(batch, TimestampMs(1)).unwrap();
        })
        .await;
    folder
        .run(async |store, _| {
            assert!(store.image().topic("torn").is_none());
            create(store, topic("whole", 1)).await;
        })
        .await;
    folder
        .run(async |store, _| {
            assert!(store.image().topic("torn").is_none());
            assert!(store.image().topic("whole").is_some());
        })
        .await;
}

#[tokio::test]
async fn a_log_of_a_later_version_is_refused_by_name() {
    let folder = Folder::new();
    folder
        .run(async |store, _| {
            let level = MetadataRecord::FeatureLevel { name: "metadata.version".to_owned(), level: 99 };
            store.write(|_| Decision { records: vec![level], reply: () }).unwrap().1.await.unwrap();
        })
        .await;
    let error = folder.try_open().err().unwrap().to_string();
    assert!(error.contains("metadata.version 99"), "{error}");
}

#[tokio::test]
async fn a_broker_is_registered_again_only_when_something_changed() {
    let folder = Folder::new();
    let endpoint = |port| {
        vec![Endpoint { name: "PLAINTEXT".to_owned(), host: "localhost".to_owned(), port, security_protocol: 0 }]
    };
    let register = async |port: u16| {
        folder
            .run(async |store, _| {
                store.register_broker(endpoint(port)).unwrap().await.unwrap();
                store.image().broker(crate::types::NodeId(1)).unwrap().epoch
            })
            .await
    };
    let first = register(9092).await;
    assert_eq!(register(9092).await, first);
    assert!(register(9093).await > first);
}

#[tokio::test]
async fn partitions_that_kafka_left_without_a_leader_are_led_again() {
    let folder = Folder::new();
    folder
        .run(async |store, _| {
            let id = create(store, topic("t", 1)).await;
            let change = MetadataRecord::PartitionChange(crate::metadata::records::PartitionChange {
                topic: id,
                leader: Some(crate::types::NodeId(-1)),
                ..Default::default()
            });
            store.write(|_| Decision { records: vec![change], reply: () }).unwrap().1.await.unwrap();
        })
        .await;
    for _ in 0..2 {
        folder
            .run(async |store, logs| {
                let image = store.image();
                let partition = image.partition("t", PartitionIndex(0)).unwrap();
                assert_eq!((partition.leader.0, partition.leader_epoch.0), (1, 2));
                let log = logs.get("t", PartitionIndex(0)).unwrap().unwrap();
                assert_eq!(log.latest_epoch(), Some(LeaderEpoch(2)));
            })
            .await;
    }
}

#[tokio::test]
async fn a_request_asks_for_too_many_partitions_however_it_counts() {
    let folder = Folder::new();
    folder
        .run(async |store, _| {
            let asked = [topic("many", i32::MAX), topic("negative", i32::MIN), topic("few", 1)];
            let decide = |context: Context<'_>| topics::create(context, &asked, || TopicId(Uuid::new_v4()));
            let (reply, _) = store.write(decide).unwrap();
            assert!(
                reply.iter().all(|(_, result)| result
                    .as_ref()
                    .is_err_and(|refusal| refusal.code == ErrorCode::POLICY_VIOLATION))
            );
        })
        .await;
}
