//! The driver: decisions become records of `__cluster_metadata-0`, records become the image that handlers read.
//!
//! One lock is held while a decision is made, appended and applied, so that the log's order is that of the decisions.
//! What is applied is visible before it is on the disk: a reply that tells of it waits ([`MetadataStore::settled`]),
//! so that nobody is told of a topic that a crash could take back.

mod quorum;
mod replay;
#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use parking_lot::{Mutex, RwLock, RwLockReadGuard};
use uuid::Uuid;

use super::decide::{self, Context, Decision};
use super::image::{ApplyError, Image, Resource, ResourceType, Topic};
use super::producer_ids::{self, Block};
use super::records::control::leader_change;
use super::records::{Endpoint, MetadataRecord};
use super::topics;
use super::{bootstrap, internal_topics};
use crate::clock;
use crate::config::{self, BrokerConfig, ConfigError};
use crate::log::AppendError;
use crate::log::config::LogConfig;
use crate::storage::checkpoint::{read_file, replace_file};
use crate::storage::disk::Disk;
use crate::storage::partition_log::{Durable, FlushFailed, Origin};
use crate::storage::partition_metadata;
use crate::storage::{LogManager, PartitionLog, StorageError};
use crate::types::{LeaderEpoch, Offset, PartitionIndex, ProducerId, TimestampMs, TopicId, TopicPartition};
use crate::wire::batch::Compression;
use crate::wire::records::BatchBuilder;
use replay::{Removed, ReplayError, Replayed};

/// The id that KRaft gives its own log.
const LOG_ID: TopicId = TopicId(Uuid::from_u128(1));
/// In a partition's folder: the id of its topic.
const PARTITION_METADATA: &str = "partition.metadata";
/// The most that a record takes in a batch beside its value.
const RECORD_OVERHEAD: usize = 32;
/// A decision larger than this is written in several batches, within a transaction of records.
const MAX_BATCH_BYTES: usize = 4 << 20;

/// Why metadata cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The folder of the log cannot be used.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The log holds what this version cannot replay.
    #[error("the metadata log {log}: {source}")]
    Replay {
        /// The log's folder.
        log: String,
        /// Why.
        source: ReplayError,
    },
    /// The log was written under features of a later version.
    #[error(
        "the metadata log {log} uses {feature} {level}, which this version of Ottla does not know; use a newer one"
    )]
    Feature {
        /// The log's folder.
        log: String,
        /// The feature.
        feature: String,
        /// Its level.
        level: i16,
    },
    /// The log takes no more records.
    #[error("the metadata log takes no records: {0}")]
    Append(#[from] AppendError),
    /// A flush of the log failed.
    #[error("the metadata log is not flushed: {0}")]
    Flush(#[from] FlushFailed),
    /// A decision does not fit the image: a bug.
    #[error("a decision does not fit the metadata: {0}")]
    Apply(#[from] ApplyError),
    /// A file beside the log cannot be written.
    #[error("{path}: {source}")]
    File {
        /// Which.
        path: String,
        /// Why.
        source: std::io::Error,
    },
    /// A setting in the log is none that the logs can act by.
    #[error(transparent)]
    Config(#[from] ConfigError),
}

/// The cluster's metadata and its log.
pub struct MetadataStore {
    image: RwLock<Image>,
    /// Held from decision to application.
    writer: Mutex<Writer>,
    log: Arc<dyn PartitionLog>,
    epoch: LeaderEpoch,
    logs: Arc<LogManager>,
    config: BrokerConfig,
    producer_ids: Mutex<Block>,
    /// Topics whose deletion is recorded while their folders are not gone yet.
    deleting: Arc<Mutex<BTreeSet<Arc<str>>>>,
}

/// How the end of the log was left.
#[derive(Debug, Default)]
struct Writer {
    /// Within a transaction of records that will never end.
    open_transaction: bool,
}

impl MetadataStore {
    /// Replays the log of a data folder, or begins one, and makes the partitions known to `logs`.
    pub fn open(disk: &dyn Disk, logs: Arc<LogManager>, config: &BrokerConfig) -> Result<Self, StoreError> {
        let partition = TopicPartition::new(super::topic_name::CLUSTER_METADATA, PartitionIndex(0));
        let log = logs.create(&partition, LOG_ID, log_settings())?;
        let folder = logs.dir().join(partition.to_string());
        let shown = || folder.display().to_string();
        let Replayed { image, open_transaction, removed } =
            replay::replay(log.as_ref()).map_err(|source| StoreError::Replay { log: shown(), source })?;
        if let Some((feature, level)) = bootstrap::unreadable_feature(&image) {
            return Err(StoreError::Feature { log: shown(), feature: feature.to_owned(), level });
        }
        for (what, count) in image.kept() {
            tracing::warn!("the metadata log holds {count} records about {what}: they are kept, but not acted upon");
        }
        let state = folder.join(quorum::QUORUM_STATE);
        let file_error = |path: &std::path::Path| {
            let path = path.display().to_string();
            move |source| StoreError::File { path, source }
        };
        let stored = read_file(disk, &state).map_err(file_error(&state))?;
        let stored = stored.as_deref().and_then(quorum::decode_epoch).filter(|epoch| epoch.0 > 0);
        let epoch = stored.max(log.latest_epoch()).unwrap_or(LeaderEpoch(1)).max(LeaderEpoch(1));
        // A first start that was interrupted between the leader's record and the features is begun anew.
        let is_new = image.features().is_empty();
        log.set_leader_epoch(epoch);
        let store = Self {
            image: RwLock::new(image),
            writer: Mutex::new(Writer { open_transaction }),
            log,
            epoch,
            logs,
            config: config.clone(),
            producer_ids: Mutex::default(),
            deleting: Arc::default(),
        };
        if is_new {
            store.begin(clock::now())?;
        }
        let path = store.logs.dir().join(quorum::BOOTSTRAP);
        if !disk.exists(&path) {
            let content = quorum::encode_bootstrap(clock::now()).map_err(file_error(&path))?;
            replace_file(disk, &path, &content).map_err(file_error(&path))?;
        }
        if stored != Some(epoch) {
            replace_file(disk, &state, &quorum::encode_state(config.node_id, epoch)).map_err(file_error(&state))?;
        }
        store.delete_leftovers(disk, &removed);
        store.register_all()?;
        store.logs.all_registered();
        let ((), _flushed_with_the_next) =
            store.write(|context| Decision { records: topics::take_leadership(context), reply: () })?;
        let (created, _flushed_with_the_next) =
            store.write(|context| internal_topics::create_missing(context, new_topic_id))?;
        for (name, refused) in created.iter().filter_map(|(name, result)| Some((name, result.as_ref().err()?))) {
            tracing::error!("the topic {name} cannot be created: {}", refused.message.as_deref().unwrap_or_default());
        }
        Ok(store)
    }

    /// The metadata as it stands. Never held across an await.
    pub fn image(&self) -> RwLockReadGuard<'_, Image> {
        self.image.read()
    }

    /// What decisions are made from, over an image that [`Self::image`] gave.
    pub fn context<'a>(&'a self, image: &'a Image) -> Context<'a> {
        Context { image, config: &self.config, directory: self.logs.directory_id(), deleting: &EMPTY }
    }

    /// The cluster's id.
    pub fn cluster_id(&self) -> &str {
        self.logs.cluster_id()
    }

    /// Whether everything that the image shows is durable; else what to wait for before a reply tells of it.
    pub fn settled(&self) -> Option<Durable> {
        let offsets = self.log.offsets();
        (offsets.high_watermark < offsets.log_end).then(|| self.log.durable(offsets.log_end.plus(-1)))
    }

    /// Registers this broker under the addresses that clients are told, if it is not registered so already.
    pub fn register_broker(&self, endpoints: Vec<Endpoint>) -> Result<Durable, StoreError> {
        let ((), durable) = self.write(|context| {
            let epoch = self.log.offsets().log_end.0;
            let record = bootstrap::registration(context, endpoints, Uuid::new_v4(), epoch);
            Decision { records: record.into_iter().collect(), reply: () }
        })?;
        Ok(durable)
    }

    /// Decides, appends and applies. The reply may leave once the future has ended well.
    pub fn write<T>(&self, decide: impl FnOnce(Context<'_>) -> Decision<T>) -> Result<(T, Durable), StoreError> {
        let mut writer = self.writer.lock();
        let (decision, removed) = {
            let image = self.image.read();
            let deleting = self.deleting.lock();
            let decision = decide(Context { deleting: &deleting, ..self.context(&image) });
            let removed = removed_topics(&image, &decision.records);
            (decision, removed)
        };
        let Decision { records, reply } = decision;
        if records.is_empty() {
            return Ok((reply, self.settled().unwrap_or_else(at_once)));
        }
        let last = self.append(&mut writer, &records, clock::now())?;
        {
            let mut image = self.image.write();
            for record in &records {
                image.apply(record)?;
            }
            image.brought_to(last);
        }
        let durable = self.log.durable(last);
        self.carry_out(&records);
        let durable = if removed.is_empty() { durable } else { self.delete_later(removed, durable) };
        Ok((reply, durable))
    }

    /// A producer id that nobody else has, durable when the future ends.
    pub fn next_producer_id(&self) -> Result<(ProducerId, Durable), StoreError> {
        let mut block = self.producer_ids.lock();
        if let Some(id) = block.take() {
            return Ok((id, self.settled().unwrap_or_else(at_once)));
        }
        let (next, durable) = self.write(producer_ids::next_block)?;
        *block = next;
        // A new block is never empty.
        Ok((block.take().unwrap_or(ProducerId::NONE), durable))
    }

    /// The log settings of a topic as they are now.
    fn log_config(&self, image: &Image, topic: &str) -> Result<LogConfig, ConfigError> {
        let dynamic = decide::dynamic(image, self.config.node_id);
        config::log_config(&self.config, dynamic, decide::topic_overrides(image, topic))
    }

    /// The first records of a new log: who leads it, and the features of the cluster.
    fn begin(&self, now: TimestampMs) -> Result<(), StoreError> {
        let batch = quorum::control_batch(&leader_change(self.config.node_id), now);
        self.append_batch(batch, now)?;
        let ((), _flushed_with_the_next) =
            self.write(|context| Decision { records: bootstrap::first_records(context), reply: () })?;
        Ok(())
    }

    /// Appends records, all or none, and says the offset of the last.
    fn append(&self, writer: &mut Writer, records: &[MetadataRecord], now: TimestampMs) -> Result<Offset, StoreError> {
        if writer.open_transaction {
            let reason = Some("The writer stopped within it".to_owned());
            let mut abort = BatchBuilder::new();
            let record = MetadataRecord::AbortTransaction { reason }.to_bytes();
            abort.push(now, None, Some(&record), std::iter::empty());
            self.append_batch(abort, now)?;
            writer.open_transaction = false;
        }
        let encoded: Vec<_> = records.iter().map(MetadataRecord::to_bytes).collect();
        // One batch is whole or not there; several need a transaction around them to be.
        let several = encoded.iter().map(|record| record.len() + RECORD_OVERHEAD).sum::<usize>() > MAX_BATCH_BYTES;
        let begin = MetadataRecord::BeginTransaction { name: None }.to_bytes();
        let end = MetadataRecord::EndTransaction.to_bytes();
        let framed = several.then_some(&begin).into_iter().chain(&encoded).chain(several.then_some(&end));
        let mut batch = BatchBuilder::new();
        for record in framed {
            if several && batch.size() + record.len() + RECORD_OVERHEAD > MAX_BATCH_BYTES {
                self.append_batch(std::mem::take(&mut batch), now)?;
                writer.open_transaction = true;
            }
            batch.push(now, None, Some(record), std::iter::empty());
        }
        let last = self.append_batch(batch, now)?;
        writer.open_transaction = false;
        Ok(last)
    }

    fn append_batch(&self, batch: BatchBuilder, now: TimestampMs) -> Result<Offset, StoreError> {
        let batch = batch.leader_epoch(self.epoch).build(Offset(0), Compression::None, 0);
        let Some(batch) = batch.map_err(|error| AppendError::Storage(error.to_string()))? else {
            return Ok(self.log.offsets().log_end.plus(-1));
        };
        Ok(self.log.append(batch, Origin::Broker, now)?.last_offset)
    }

    /// Makes all partitions known to the log manager; none is opened.
    fn register_all(&self) -> Result<(), StoreError> {
        let image = self.image.read();
        self.configure_cleaner(&image);
        let default = self.log_config(&image, "")?;
        for topic in image.topics() {
            let own = image.overrides(&Resource::new(ResourceType::TOPIC, &*topic.name)).is_some();
            let config = if own { self.log_config(&image, &topic.name)? } else { default.clone() };
            for (index, partition) in &topic.partitions {
                let name = TopicPartition::new(Arc::clone(&topic.name), *index);
                self.logs.register(name, topic.id, config.clone());
                if partition.leader_epoch > LeaderEpoch(0) {
                    self.logs.lead(&topic.name, *index, partition.leader_epoch);
                }
            }
        }
        Ok(())
    }

    /// What the new records mean for the logs.
    fn carry_out(&self, records: &[MetadataRecord]) {
        let image = self.image.read();
        let mut created = BTreeSet::new();
        let mut altered = BTreeSet::new();
        let mut brokers_altered = false;
        for record in records {
            match record {
                MetadataRecord::Topic { id, .. } => {
                    created.insert(*id);
                }
                MetadataRecord::PartitionChange(change) if change.leader.is_some() => {
                    if let Some(topic) = image.topic_by_id(change.topic)
                        && let Some(partition) = topic.partitions.get(&change.partition)
                    {
                        self.logs.lead(&topic.name, change.partition, partition.leader_epoch);
                    }
                }
                MetadataRecord::Partition(partition) => {
                    created.insert(partition.topic);
                }
                MetadataRecord::Config { resource_type, resource_name, .. } => match ResourceType(*resource_type) {
                    ResourceType::BROKER => brokers_altered = true,
                    ResourceType::TOPIC => altered.extend(image.topic(resource_name)),
                    _ => {}
                },
                _ => {}
            }
        }
        for topic in created.iter().filter_map(|id| image.topic_by_id(*id)) {
            self.register(&image, topic);
        }
        altered.retain(|topic| !created.contains(&topic.id));
        for topic in altered {
            self.reconfigure(&image, topic);
        }
        if brokers_altered {
            self.configure_cleaner(&image);
            image.topics().for_each(|topic| self.reconfigure(&image, topic));
        }
    }

    /// Makes a topic's partitions known; those that are known already stay as they are.
    fn register(&self, image: &Image, topic: &Topic) {
        // Settings were checked before they were written.
        let config = self.log_config(image, &topic.name).unwrap_or_default();
        for index in topic.partitions.keys() {
            self.logs.register(TopicPartition::new(Arc::clone(&topic.name), *index), topic.id, config.clone());
        }
    }

    fn configure_cleaner(&self, image: &Image) {
        let dynamic = decide::dynamic(image, self.config.node_id);
        self.logs.configure_cleaner(config::cleaner_settings(&self.config, dynamic));
    }

    fn reconfigure(&self, image: &Image, topic: &Topic) {
        if let Ok(config) = self.log_config(image, &topic.name) {
            self.logs.reconfigure(&topic.name, &config);
        }
    }

    /// Deletes folders once the records that say so are durable. It goes on when nobody waits for it any more.
    fn delete_later(&self, removed: Vec<TopicPartition>, durable: Durable) -> Durable {
        let names: BTreeSet<Arc<str>> = removed.iter().map(|partition| Arc::clone(&partition.topic)).collect();
        self.deleting.lock().extend(names.iter().cloned());
        let (logs, deleting) = (Arc::clone(&self.logs), Arc::clone(&self.deleting));
        let delete = move || {
            for partition in removed {
                if let Err(error) = logs.delete(&partition) {
                    tracing::error!("the folder of {partition} is not deleted: {error}");
                }
            }
            deleting.lock().retain(|name| !names.contains(name));
        };
        let task = async move {
            durable.await?;
            tokio::task::spawn_blocking(delete).await.map_err(|error| FlushFailed(error.to_string().into()))
        };
        let task = tokio::spawn(task);
        Box::pin(async move { task.await.unwrap_or_else(|error| Err(FlushFailed(error.to_string().into()))) })
    }

    /// Deletes the folders of topics whose deletion is in the log, where a crash came between.
    fn delete_leftovers(&self, disk: &dyn Disk, removed: &Removed) {
        if removed.is_empty() {
            return;
        }
        let image = self.image.read();
        for path in disk.read_dir(self.logs.dir()).unwrap_or_default() {
            let Some(partition) = path.file_name().and_then(|name| folder_partition(&name.to_string_lossy())) else {
                continue;
            };
            let Some(ids) = removed.get(&*partition.topic) else { continue };
            if image.partition(&partition.topic, partition.partition).is_some() {
                continue;
            }
            let id = read_file(disk, &path.join(PARTITION_METADATA)).ok().flatten();
            let id = id.and_then(|content| partition_metadata::decode(&content).ok());
            let Some(id) = id.filter(|id| ids.contains(id)) else { continue };
            self.logs.register(partition.clone(), id, LogConfig::default());
            if let Err(error) = self.logs.delete(&partition) {
                tracing::error!("the folder of {partition}, whose topic was deleted, is still there: {error}");
            }
        }
    }
}

/// A random id, none of those that Kafka reserves, and none that its tools would take for an option.
pub fn new_topic_id() -> TopicId {
    loop {
        let id = TopicId(Uuid::new_v4());
        if !id.to_string().starts_with('-') {
            return id;
        }
    }
}

fn at_once() -> Durable {
    Box::pin(std::future::ready(Ok(())))
}

/// The partition whose folder has this name.
fn folder_partition(name: &str) -> Option<TopicPartition> {
    let (topic, partition) = name.rsplit_once('-')?;
    Some(TopicPartition::new(topic, PartitionIndex(partition.parse().ok()?)))
}

static EMPTY: BTreeSet<Arc<str>> = BTreeSet::new();

/// The partitions of topics that records remove.
fn removed_topics(image: &Image, records: &[MetadataRecord]) -> Vec<TopicPartition> {
    let removed = records.iter().filter_map(|record| match record {
        MetadataRecord::RemoveTopic { id } => image.topic_by_id(*id),
        _ => None,
    });
    let partitions = |topic: &Arc<Topic>| {
        let name = Arc::clone(&topic.name);
        topic.partitions.keys().map(move |index| TopicPartition::new(Arc::clone(&name), *index)).collect::<Vec<_>>()
    };
    removed.flat_map(partitions).collect()
}

/// The metadata log keeps everything and takes batches of any size and time.
fn log_settings() -> LogConfig {
    LogConfig {
        max_message_bytes: i32::MAX as usize,
        timestamp_after_max_ms: i64::MAX,
        delete: false,
        retention_ms: -1,
        segment_ms: i64::MAX,
        ..LogConfig::default()
    }
}
