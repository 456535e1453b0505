//! What the metadata log says, as it stands: topics, partitions, settings, features, producer-id blocks, brokers.
//!
//! [`Image::apply`] is the only thing that changes it, record by record; replay is `apply` over the log.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use uuid::Uuid;

use super::records::{
    BrokerRegistrationChange, MetadataRecord, PartitionChange, PartitionRecord, RegisterBroker, Support,
};
use super::topic_name;
use crate::types::{LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId};

/// Settings of one resource, by name.
pub type Overrides = BTreeMap<String, String>;

/// The type of a resource that has settings, as in AlterConfigs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ResourceType(pub i8);

impl ResourceType {
    /// A topic.
    pub const TOPIC: Self = Self(2);
    /// A broker, or with an empty name the default of all.
    pub const BROKER: Self = Self(4);
    /// A broker's loggers.
    pub const BROKER_LOGGER: Self = Self(8);
    /// A client metrics subscription.
    pub const CLIENT_METRICS: Self = Self(16);
    /// A group.
    pub const GROUP: Self = Self(32);
}

/// A resource that has settings.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resource {
    /// Its type.
    pub kind: ResourceType,
    /// Its name; empty for the default of all brokers.
    pub name: String,
}

impl Resource {
    /// A resource.
    pub fn new(kind: ResourceType, name: impl Into<String>) -> Self {
        Self { kind, name: name.into() }
    }

    /// The default of all brokers.
    pub fn all_brokers() -> Self {
        Self::new(ResourceType::BROKER, "")
    }
}

/// A topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Topic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id.
    pub id: TopicId,
    /// Its partitions.
    pub partitions: BTreeMap<PartitionIndex, Partition>,
}

/// A partition.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Partition {
    /// Its replicas, the preferred leader first.
    pub replicas: Vec<NodeId>,
    /// The replicas in sync.
    pub isr: Vec<NodeId>,
    /// Replicas that a reassignment removes.
    pub removing: Vec<NodeId>,
    /// Replicas that a reassignment adds.
    pub adding: Vec<NodeId>,
    /// The leader; -1 for none.
    pub leader: NodeId,
    /// 1 while it recovers from an unclean election.
    pub leader_recovery_state: i8,
    /// How often the leader changed.
    pub leader_epoch: LeaderEpoch,
    /// How often anything changed.
    pub partition_epoch: i32,
    /// The data folder of each replica.
    pub directories: Vec<Uuid>,
    /// Replicas that may lead though not in sync.
    pub eligible_leaders: Vec<NodeId>,
    /// The last of these that was known.
    pub last_known_eligible: Vec<NodeId>,
}

/// Why a record does not fit what is there: the log is damaged, or its writer had a bug.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A topic's name or id is taken.
    #[error("the topic {name} with id {id} is there already")]
    TopicExists {
        /// The name.
        name: String,
        /// The id.
        id: TopicId,
    },
    /// The record is about a topic that is not there.
    #[error("there is no topic with id {0}")]
    NoTopic(TopicId),
    /// The record is about a partition that is not there.
    #[error("the topic with id {0} has no partition {1}")]
    NoPartition(TopicId, PartitionIndex),
    /// The record changes a broker that is not registered.
    #[error("broker {0} is not registered")]
    NoBroker(NodeId),
    /// A kind of a later version: what it changes cannot be guessed.
    #[error("a record of kind {0} is not known to this version of Ottla: a newer broker wrote it")]
    UnknownKind(u32),
    /// Transactions of records do not nest.
    #[error("a metadata transaction begins or ends where it cannot")]
    Transaction,
}

/// The cluster's metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Image {
    topics: BTreeMap<Arc<str>, Arc<Topic>>,
    names: HashMap<TopicId, Arc<str>>,
    /// Names that share a metric name: '.' and '_' are one character there.
    colliding: BTreeMap<String, BTreeSet<Arc<str>>>,
    configs: BTreeMap<Resource, Overrides>,
    features: BTreeMap<String, i16>,
    brokers: BTreeMap<NodeId, RegisterBroker>,
    next_producer_id: i64,
    kept: BTreeMap<&'static str, usize>,
    partitions: usize,
    topics_version: u64,
    end: Offset,
}

impl Image {
    /// All topics, by name.
    pub fn topics(&self) -> impl Iterator<Item = &Arc<Topic>> {
        self.topics.values()
    }

    /// The topics from a name on.
    pub fn topics_from(&self, name: &str) -> impl Iterator<Item = &Arc<Topic>> {
        let from = (std::ops::Bound::Included(name), std::ops::Bound::Unbounded);
        self.topics.range::<str, _>(from).map(|(_, topic)| topic)
    }

    /// A topic by name.
    pub fn topic(&self, name: &str) -> Option<&Arc<Topic>> {
        self.topics.get(name)
    }

    /// A topic by id.
    pub fn topic_by_id(&self, id: TopicId) -> Option<&Arc<Topic>> {
        self.topics.get(self.names.get(&id)?)
    }

    /// A partition by its topic's name and its number.
    pub fn partition(&self, topic: &str, partition: PartitionIndex) -> Option<&Partition> {
        self.topics.get(topic)?.partitions.get(&partition)
    }

    /// How many topics there are.
    pub fn topic_count(&self) -> usize {
        self.topics.len()
    }

    /// How many partitions all topics have.
    pub fn partition_count(&self) -> usize {
        self.partitions
    }

    /// Another topic whose name differs only in '.' and '_'.
    pub fn colliding_topic(&self, name: &str) -> Option<&Arc<str>> {
        let names = self.colliding.get(&topic_name::metric_name(name)?)?;
        if names.contains(name) { None } else { names.first() }
    }

    /// Another number whenever a topic came, went or got partitions.
    pub fn topics_version(&self) -> u64 {
        self.topics_version
    }

    /// The settings of a resource that were altered, if any were.
    pub fn overrides(&self, resource: &Resource) -> Option<&Overrides> {
        self.configs.get(resource)
    }

    /// All resources with settings that were altered.
    pub fn configured(&self) -> impl Iterator<Item = (&Resource, &Overrides)> {
        self.configs.iter()
    }

    /// The finalized features, with their levels.
    pub fn features(&self) -> &BTreeMap<String, i16> {
        &self.features
    }

    /// The offset of the last record of the log that the image knows of.
    pub fn end(&self) -> Offset {
        self.end
    }

    /// Tells the image how far it was brought.
    pub fn brought_to(&mut self, end: Offset) {
        self.end = end;
    }

    /// The level of a feature; 0 where it is off.
    pub fn feature(&self, name: &str) -> i16 {
        self.features.get(name).copied().unwrap_or(0)
    }

    /// A broker's registration.
    pub fn broker(&self, id: NodeId) -> Option<&RegisterBroker> {
        self.brokers.get(&id)
    }

    /// All registrations.
    pub fn brokers(&self) -> impl Iterator<Item = &RegisterBroker> {
        self.brokers.values()
    }

    /// First producer id that no block holds yet.
    pub fn next_producer_id(&self) -> i64 {
        self.next_producer_id
    }

    /// What the log asks for that this version does not do, with the number of records.
    pub fn kept(&self) -> &BTreeMap<&'static str, usize> {
        &self.kept
    }

    /// Changes the image as the record says; an error leaves it as it was.
    pub fn apply(&mut self, record: &MetadataRecord) -> Result<(), ApplyError> {
        match record {
            MetadataRecord::Topic { name, id } => self.add_topic(name, *id)?,
            MetadataRecord::Partition(record) => self.put_partition(record)?,
            MetadataRecord::PartitionChange(change) => self.change_partition(change)?,
            MetadataRecord::RemoveTopic { id } => self.remove_topic(*id)?,
            MetadataRecord::Config { resource_type, resource_name, name, value } => {
                let resource = Resource::new(ResourceType(*resource_type), resource_name.as_str());
                self.set_config(resource, name, value.as_deref());
            }
            MetadataRecord::FeatureLevel { name, level: 0 } => {
                self.features.remove(name);
            }
            MetadataRecord::FeatureLevel { name, level } => {
                self.features.insert(name.clone(), *level);
            }
            MetadataRecord::ProducerIds { next, .. } => self.next_producer_id = *next,
            MetadataRecord::RegisterBroker(record) => {
                self.brokers.insert(record.broker, record.clone());
            }
            MetadataRecord::UnregisterBroker { broker, .. } => {
                self.brokers.remove(broker).ok_or(ApplyError::NoBroker(*broker))?;
            }
            MetadataRecord::BrokerRegistrationChange(change) => self.change_broker(change)?,
            MetadataRecord::NoOp => {}
            MetadataRecord::BeginTransaction { .. }
            | MetadataRecord::EndTransaction
            | MetadataRecord::AbortTransaction { .. } => return Err(ApplyError::Transaction),
            MetadataRecord::Other(other) => match record.support() {
                Support::Full => {}
                Support::Kept(what) => *self.kept.entry(what).or_default() += 1,
                Support::Unknown => return Err(ApplyError::UnknownKind(other.kind)),
            },
        }
        Ok(())
    }

    fn add_topic(&mut self, name: &str, id: TopicId) -> Result<(), ApplyError> {
        if self.topics.contains_key(name) || self.names.contains_key(&id) {
            return Err(ApplyError::TopicExists { name: name.to_owned(), id });
        }
        let shared: Arc<str> = name.into();
        if let Some(metric) = topic_name::metric_name(name) {
            self.colliding.entry(metric).or_default().insert(Arc::clone(&shared));
        }
        self.names.insert(id, Arc::clone(&shared));
        self.topics_version += 1;
        let topic = Topic { name: Arc::clone(&shared), id, partitions: BTreeMap::new() };
        self.topics.insert(shared, Arc::new(topic));
        Ok(())
    }

    fn remove_topic(&mut self, id: TopicId) -> Result<(), ApplyError> {
        let name = self.names.remove(&id).ok_or(ApplyError::NoTopic(id))?;
        self.topics_version += 1;
        if let Some(topic) = self.topics.remove(&name) {
            self.partitions -= topic.partitions.len();
        }
        if let Some(metric) = topic_name::metric_name(&name)
            && let Some(names) = self.colliding.get_mut(&metric)
        {
            names.remove(&name);
            if names.is_empty() {
                self.colliding.remove(&metric);
            }
        }
        // Kafka's controller forgets the settings with the topic; there are no records for it.
        self.configs.remove(&Resource::new(ResourceType::TOPIC, &*name));
        Ok(())
    }

    fn topic_mut(&mut self, id: TopicId) -> Result<&mut Topic, ApplyError> {
        let name = self.names.get(&id).ok_or(ApplyError::NoTopic(id))?;
        self.topics.get_mut(name).map(Arc::make_mut).ok_or(ApplyError::NoTopic(id))
    }

    fn put_partition(&mut self, record: &PartitionRecord) -> Result<(), ApplyError> {
        let partition = Partition {
            replicas: record.replicas.clone(),
            isr: record.isr.clone(),
            removing: record.removing.clone(),
            adding: record.adding.clone(),
            leader: record.leader,
            leader_recovery_state: record.leader_recovery_state,
            leader_epoch: record.leader_epoch,
            partition_epoch: record.partition_epoch,
            directories: record.directories.clone(),
            eligible_leaders: record.eligible_leaders.clone().unwrap_or_default(),
            last_known_eligible: record.last_known_eligible.clone().unwrap_or_default(),
        };
        let replaced = self.topic_mut(record.topic)?.partitions.insert(record.partition, partition);
        self.partitions += usize::from(replaced.is_none());
        self.topics_version += 1;
        Ok(())
    }

    fn change_partition(&mut self, change: &PartitionChange) -> Result<(), ApplyError> {
        let missing = ApplyError::NoPartition(change.topic, change.partition);
        let partition = self.topic_mut(change.topic)?.partitions.get_mut(&change.partition).ok_or(missing)?;
        partition.change(change);
        Ok(())
    }

    fn set_config(&mut self, resource: Resource, name: &str, value: Option<&str>) {
        match value {
            Some(value) => {
                self.configs.entry(resource).or_default().insert(name.to_owned(), value.to_owned());
            }
            None => {
                if let Some(overrides) = self.configs.get_mut(&resource) {
                    overrides.remove(name);
                    if overrides.is_empty() {
                        self.configs.remove(&resource);
                    }
                }
            }
        }
    }

    fn change_broker(&mut self, change: &BrokerRegistrationChange) -> Result<(), ApplyError> {
        let broker = self.brokers.get_mut(&change.broker).ok_or(ApplyError::NoBroker(change.broker))?;
        if let Some(fenced) = change.fenced {
            broker.fenced = fenced;
        }
        if let Some(shutdown) = change.in_controlled_shutdown {
            broker.in_controlled_shutdown = shutdown;
        }
        if !change.log_dirs.is_empty() {
            broker.log_dirs.clone_from(&change.log_dirs);
        }
        if let Some(cordoned) = &change.cordoned_log_dirs {
            broker.cordoned_log_dirs = Some(cordoned.clone());
        }
        Ok(())
    }
}

impl Partition {
    /// Every change raises the partition's epoch, one of its leader also the leader's.
    fn change(&mut self, change: &PartitionChange) {
        fn set<T: Clone>(field: &mut T, value: Option<&T>) {
            if let Some(value) = value {
                field.clone_from(value);
            }
        }
        set(&mut self.isr, change.isr.as_ref());
        set(&mut self.replicas, change.replicas.as_ref());
        set(&mut self.removing, change.removing.as_ref());
        set(&mut self.adding, change.adding.as_ref());
        set(&mut self.leader_recovery_state, change.leader_recovery_state.as_ref());
        set(&mut self.directories, change.directories.as_ref());
        set(&mut self.eligible_leaders, change.eligible_leaders.as_ref());
        set(&mut self.last_known_eligible, change.last_known_eligible.as_ref());
        if let Some(leader) = change.leader {
            self.leader = leader;
            self.leader_epoch.0 = self.leader_epoch.0.saturating_add(1);
        }
        self.partition_epoch = self.partition_epoch.saturating_add(1);
    }
}

/// Replay of a log: records of a transaction count all together, or not at all.
#[derive(Debug, Default)]
pub struct Replay {
    image: Image,
    transaction: Option<Vec<MetadataRecord>>,
}

impl Replay {
    /// Takes the next record of the log.
    pub fn record(&mut self, record: MetadataRecord) -> Result<(), ApplyError> {
        match (record, &mut self.transaction) {
            (MetadataRecord::BeginTransaction { .. }, none @ None) => *none = Some(Vec::new()),
            (MetadataRecord::EndTransaction, Some(records)) => {
                let records = std::mem::take(records);
                self.transaction = None;
                for record in &records {
                    self.image.apply(record)?;
                }
            }
            (MetadataRecord::AbortTransaction { .. }, open @ Some(_)) => *open = None,
            (MetadataRecord::BeginTransaction { .. }, Some(_)) => return Err(ApplyError::Transaction),
            (record, Some(records)) => records.push(record),
            (record, None) => self.image.apply(&record)?,
        }
        Ok(())
    }

    /// The image so far.
    pub fn image(&self) -> &Image {
        &self.image
    }

    /// The image at the log's end, and whether the log ends within a transaction, which its next writer must abort.
    pub fn finish(self) -> (Image, bool) {
        (self.image, self.transaction.is_some())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
pub(crate) mod tests {
    use super::*;

    fn id(number: u128) -> TopicId {
        TopicId(Uuid::from_u128(number))
    }

    fn topic(name: &str, number: u128) -> MetadataRecord {
        MetadataRecord::Topic { name: name.to_owned(), id: id(number) }
    }

    pub(crate) fn partition(topic: TopicId, index: i32) -> MetadataRecord {
        MetadataRecord::Partition(PartitionRecord {
            partition: PartitionIndex(index),
            topic,
            replicas: vec![NodeId(1)],
            isr: vec![NodeId(1)],
            removing: vec![],
            adding: vec![],
            leader: NodeId(1),
            leader_recovery_state: 0,
            leader_epoch: LeaderEpoch(0),
            partition_epoch: 0,
            directories: vec![],
            eligible_leaders: None,
            last_known_eligible: None,
        })
    }

    fn config(topic: &str, value: Option<&str>) -> MetadataRecord {
        MetadataRecord::Config {
            resource_type: 2,
            resource_name: topic.to_owned(),
            name: "retention.ms".to_owned(),
            value: value.map(str::to_owned),
        }
    }

    #[test]
    fn a_removed_topic_takes_its_settings_and_partitions_along() {
        let mut image = Image::default();
        for record in [topic("a.b", 1), config("a.b", Some("5")), partition(id(1), 0), partition(id(1), 1)] {
            image.apply(&record).unwrap();
        }
        assert_eq!(image.partition_count(), 2);
        assert_eq!(image.topic_by_id(id(1)).unwrap().partitions.len(), 2);
        let version = image.topics_version();
        image.apply(&MetadataRecord::RemoveTopic { id: id(1) }).unwrap();
        assert!(image.topics_version() > version);
        assert_eq!(Image { topics_version: 0, ..image }, Image::default());
    }

    #[test]
    fn records_about_what_is_not_there_are_refused_and_change_nothing() {
        let mut image = Image::default();
        image.apply(&topic("a", 1)).unwrap();
        let before = image.clone();
        let change = PartitionChange { topic: id(1), partition: PartitionIndex(3), ..Default::default() };
        for (record, error) in [
            (topic("a", 2), ApplyError::TopicExists { name: "a".to_owned(), id: id(2) }),
            (topic("b", 1), ApplyError::TopicExists { name: "b".to_owned(), id: id(1) }),
            (partition(id(9), 0), ApplyError::NoTopic(id(9))),
            (MetadataRecord::RemoveTopic { id: id(9) }, ApplyError::NoTopic(id(9))),
            (MetadataRecord::PartitionChange(change), ApplyError::NoPartition(id(1), PartitionIndex(3))),
            (MetadataRecord::UnregisterBroker { broker: NodeId(4), epoch: 0 }, ApplyError::NoBroker(NodeId(4))),
            (MetadataRecord::EndTransaction, ApplyError::Transaction),
        ] {
            assert_eq!(image.apply(&record), Err(error));
            assert_eq!(image, before);
        }
    }

    #[test]
    fn names_collide_where_only_dots_and_underscores_differ() {
        let mut image = Image::default();
        image.apply(&topic("a.b_c", 1)).unwrap();
        image.apply(&topic("plain", 2)).unwrap();
        assert_eq!(image.colliding_topic("a_b.c").map(|name| &**name), Some("a.b_c"));
        assert_eq!(image.colliding_topic("a.b_c"), None, "a name does not collide with itself");
        assert_eq!(image.colliding_topic("a.b-c"), None);
        assert_eq!(image.colliding_topic("plain"), None);
        image.apply(&MetadataRecord::RemoveTopic { id: id(1) }).unwrap();
        assert_eq!(image.colliding_topic("a_b.c"), None);
    }

    #[test]
    fn a_new_leader_raises_both_epochs_another_change_only_one() {
        let mut image = Image::default();
        image.apply(&topic("a", 1)).unwrap();
        image.apply(&partition(id(1), 0)).unwrap();
        let mut change =
            PartitionChange { topic: id(1), partition: PartitionIndex(0), isr: Some(vec![]), ..Default::default() };
        image.apply(&MetadataRecord::PartitionChange(change.clone())).unwrap();
        change.leader = Some(NodeId(-1));
        image.apply(&MetadataRecord::PartitionChange(change)).unwrap();
        let partition = &image.topic("a").unwrap().partitions[&PartitionIndex(0)];
        assert_eq!((partition.leader, partition.leader_epoch.0, partition.partition_epoch), (NodeId(-1), 1, 2));
    }

    #[test]
    fn settings_that_are_removed_leave_no_empty_resource() {
        let mut image = Image::default();
        image.apply(&config("a", Some("5"))).unwrap();
        let resource = Resource::new(ResourceType::TOPIC, "a");
        assert_eq!(image.overrides(&resource).unwrap()["retention.ms"], "5");
        image.apply(&config("a", None)).unwrap();
        image.apply(&config("a", None)).unwrap();
        assert_eq!(image.overrides(&resource), None);
    }

    #[test]
    fn a_transaction_counts_when_it_ends() {
        let begin = || MetadataRecord::BeginTransaction { name: None };
        let replay = |records: Vec<MetadataRecord>| {
            let mut replay = Replay::default();
            records.into_iter().try_for_each(|record| replay.record(record)).map(|()| {
                let (image, open) = replay.finish();
                (image.topic_count(), open)
            })
        };
        assert_eq!(replay(vec![begin(), topic("a", 1)]), Ok((0, true)));
        assert_eq!(replay(vec![begin(), topic("a", 1), MetadataRecord::EndTransaction]), Ok((1, false)));
        let abort = MetadataRecord::AbortTransaction { reason: None };
        assert_eq!(replay(vec![begin(), topic("a", 1), abort, topic("a", 2)]), Ok((1, false)));
        assert_eq!(replay(vec![begin(), begin()]), Err(ApplyError::Transaction));
    }

    #[test]
    fn what_is_not_supported_is_counted_and_what_is_unknown_refused() {
        let other = |kind| {
            MetadataRecord::Other(super::super::records::OpaqueRecord { kind, version: 0, body: bytes::Bytes::new() })
        };
        let mut image = Image::default();
        image.apply(&other(18)).unwrap();
        image.apply(&other(18)).unwrap();
        image.apply(&other(27)).unwrap();
        assert_eq!(image.kept().iter().collect::<Vec<_>>(), [(&"ACLs", &2)]);
        assert_eq!(image.apply(&other(77)), Err(ApplyError::UnknownKind(77)));
    }
}
