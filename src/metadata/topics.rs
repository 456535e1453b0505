//! Creating and deleting topics and adding partitions: what is refused, with which code, and what is written.
//!
//! The rules and codes are those of Kafka's controller for a cluster of one broker.

use std::collections::{BTreeMap, BTreeSet};

use super::decide::{Context, Decision, MAX_RECORDS, duplicates};
use super::image::{Overrides, ResourceType, Topic};
use super::records::{MetadataRecord, PartitionChange, PartitionRecord};
use super::topic_name;
use crate::config;
use crate::types::{LeaderEpoch, NodeId, PartitionIndex, TopicId};
use crate::wire::{ErrorCode, Refusal};

/// Kafka's words for a topic that is not there, where it says so in an answer.
pub const NOT_HOSTED: &str = "This server does not host this topic-partition.";

/// A topic that is asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct NewTopic {
    /// Its name.
    pub name: String,
    /// How many partitions; -1 for the default, and where `assignments` say it.
    pub partitions: i32,
    /// How many replicas of each; -1 for the default, and where `assignments` say it.
    pub replication_factor: i16,
    /// Which brokers hold which partition; empty for the broker's choice.
    pub assignments: Vec<(i32, Vec<i32>)>,
    /// Its settings; the last of a name counts.
    pub configs: Vec<(String, Option<String>)>,
}

/// A topic that was created, or would have been.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Created {
    /// Its id.
    pub id: TopicId,
    /// How many partitions.
    pub partitions: usize,
    /// How many replicas of each.
    pub replication_factor: i16,
    /// Its own settings.
    pub overrides: Overrides,
}

/// What became of a topic that was asked for.
pub type CreateResult = (String, Result<Created, Refusal>);

/// CreateTopics: one result for each name; names that are given twice come last.
pub fn create(
    context: Context<'_>,
    topics: &[NewTopic],
    mut new_id: impl FnMut() -> TopicId,
) -> Decision<Vec<CreateResult>> {
    let twice = duplicates(topics.iter().map(|topic| topic.name.as_str()));
    let prohibited = |name: &str| name == topic_name::CLUSTER_METADATA;
    let wanted = || topics.iter().filter(|topic| !twice.contains(topic.name.as_str()) && !prohibited(&topic.name));
    let mut records = Vec::new();
    let mut reply = Vec::with_capacity(topics.len());
    let too_many = wanted().map(|topic| topic.partitions_asked_for(context)).sum::<i64>() > MAX_RECORDS as i64;
    for topic in wanted() {
        let result = if too_many {
            Err(Refusal::new(ErrorCode::POLICY_VIOLATION, "Excessively large number of partitions per request."))
        } else {
            create_one(context, topic, &mut new_id, &mut records)
        };
        reply.push((topic.name.clone(), result));
    }
    let twice_prohibited = twice.contains(topic_name::CLUSTER_METADATA);
    for name in twice {
        reply.push((name.to_owned(), Err(Refusal::new(ErrorCode::INVALID_REQUEST, "Duplicate topic name."))));
    }
    if topics.iter().any(|topic| prohibited(&topic.name)) && !twice_prohibited {
        let message = format!("Creation of internal topic {} is prohibited.", topic_name::CLUSTER_METADATA);
        let refusal = Refusal::new(ErrorCode::INVALID_REQUEST, message);
        reply.push((topic_name::CLUSTER_METADATA.to_owned(), Err(refusal)));
    }
    Decision { records, reply }
}

impl NewTopic {
    /// What counts against the limit of a request.
    fn partitions_asked_for(&self, context: Context<'_>) -> i64 {
        match (self.assignments.len(), self.partitions) {
            (0, -1) => i64::from(context.config.topics.partitions),
            (0, partitions) => i64::from(partitions.max(0)),
            (assigned, _) => assigned as i64,
        }
    }
}

fn create_one(
    context: Context<'_>,
    topic: &NewTopic,
    new_id: &mut impl FnMut() -> TopicId,
    records: &mut Vec<MetadataRecord>,
) -> Result<Created, Refusal> {
    check_new_name(context, &topic.name)?;
    let overrides = check_configs(context, topic)?;
    let (partitions, replication_factor) = place(context, topic)?;
    let id = new_id();
    records.push(MetadataRecord::Topic { name: topic.name.clone(), id });
    records.extend(overrides.iter().map(|(name, value)| MetadataRecord::Config {
        resource_type: ResourceType::TOPIC.0,
        resource_name: topic.name.clone(),
        name: name.clone(),
        value: Some(value.clone()),
    }));
    records.extend((0..partitions).map(|partition| new_partition(context, id, partition)));
    Ok(Created { id, partitions, replication_factor, overrides })
}

fn check_new_name(context: Context<'_>, name: &str) -> Result<(), Refusal> {
    topic_name::validate(name).map_err(|message| Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message))?;
    if let Some(other) = context.image.colliding_topic(name) {
        let message = format!("Topic '{name}' collides with existing topic: {other}");
        return Err(Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message));
    }
    if context.image.topic(name).is_some() {
        return Err(Refusal::new(ErrorCode::TOPIC_ALREADY_EXISTS, format!("Topic '{name}' already exists.")));
    }
    if context.deleting.contains(name) {
        let message = format!("Topic '{name}' is being deleted.");
        return Err(Refusal::new(ErrorCode::TOPIC_ALREADY_EXISTS, message));
    }
    Ok(())
}

fn check_configs(context: Context<'_>, topic: &NewTopic) -> Result<Overrides, Refusal> {
    let invalid = |message: String| Refusal::new(ErrorCode::INVALID_CONFIG, message);
    let given: BTreeMap<_, _> = topic.configs.iter().map(|(name, value)| (name, value)).collect();
    let without: Vec<&str> = given.iter().filter(|(_, value)| value.is_none()).map(|(name, _)| name.as_str()).collect();
    if !without.is_empty() {
        return Err(invalid(format!("Null value not supported for topic configs: {}", without.join(","))));
    }
    let overrides =
        given.into_iter().filter_map(|(name, value)| Some((name.clone(), value.clone()?))).collect::<Overrides>();
    if !overrides.is_empty() {
        config::validate_topic(context.config, context.dynamic(), &overrides)
            .map_err(|error| invalid(error.to_string()))?;
    }
    Ok(overrides)
}

/// How many partitions, and how many replicas of each, which on one broker is always one.
fn place(context: Context<'_>, topic: &NewTopic) -> Result<(usize, i16), Refusal> {
    if !topic.assignments.is_empty() {
        return check_assignments(context, topic).map(|partitions| (partitions, 1));
    }
    let defaults = &context.config.topics;
    let replication_factor =
        if topic.replication_factor == -1 { defaults.replication_factor } else { topic.replication_factor };
    let partitions = if topic.partitions == -1 { defaults.partitions } else { topic.partitions };
    if replication_factor < 1 {
        return Err(Refusal::new(
            ErrorCode::INVALID_REPLICATION_FACTOR,
            "Replication factor must be larger than 0, or -1 to use the default value.",
        ));
    }
    let partitions = usize::try_from(partitions).ok().filter(|partitions| *partitions > 0).ok_or_else(|| {
        Refusal::new(ErrorCode::INVALID_PARTITIONS, "Number of partitions was set to an invalid non-positive value.")
    })?;
    if replication_factor > 1 {
        let message = format!(
            "Unable to replicate the partition {replication_factor} time(s): The target replication factor of \
             {replication_factor} cannot be reached because only 1 broker(s) are registered."
        );
        return Err(Refusal::new(ErrorCode::INVALID_REPLICATION_FACTOR, message));
    }
    Ok((partitions, replication_factor))
}

fn check_assignments(context: Context<'_>, topic: &NewTopic) -> Result<usize, Refusal> {
    let both = |what: &str| {
        let message = format!("A manual partition assignment was specified, but {what} was not set to -1.");
        Err(Refusal::new(ErrorCode::INVALID_REQUEST, message))
    };
    if topic.replication_factor != -1 {
        return both("replication factor");
    }
    if topic.partitions != -1 {
        return both("numPartitions");
    }
    let mut indexes = BTreeSet::new();
    for (index, brokers) in &topic.assignments {
        if !indexes.insert(*index) {
            let message = format!("Found multiple manual partition assignments for partition {index}");
            return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
        }
        check_replicas(context, brokers)?;
    }
    if indexes.into_iter().eq(0..topic.assignments.len() as i32) {
        return Ok(topic.assignments.len());
    }
    Err(Refusal::new(
        ErrorCode::INVALID_REPLICA_ASSIGNMENT,
        "partitions should be a consecutive 0-based integer sequence",
    ))
}

/// One partition's brokers: on one broker only this one, once.
fn check_replicas(context: Context<'_>, brokers: &[i32]) -> Result<(), Refusal> {
    let invalid = |message| Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
    if brokers.is_empty() {
        return invalid("The manual partition assignment includes an empty replica list.".to_owned());
    }
    let node = context.node().0;
    // Kafka looks at the brokers in ascending order and names the first that is wrong.
    let mut sorted = brokers.to_vec();
    sorted.sort_unstable();
    for (index, broker) in sorted.into_iter().enumerate() {
        if broker != node {
            return invalid(format!(
                "The manual partition assignment includes broker {broker}, but no such broker is registered."
            ));
        }
        if index > 0 {
            return invalid(format!("The manual partition assignment includes the broker {broker} more than once."));
        }
    }
    Ok(())
}

fn new_partition(context: Context<'_>, topic: TopicId, partition: usize) -> MetadataRecord {
    MetadataRecord::Partition(PartitionRecord {
        partition: PartitionIndex(partition as i32),
        topic,
        replicas: vec![context.node()],
        isr: vec![context.node()],
        removing: Vec::new(),
        adding: Vec::new(),
        leader: context.node(),
        leader_recovery_state: 0,
        leader_epoch: LeaderEpoch(0),
        partition_epoch: 0,
        directories: vec![context.directory],
        eligible_leaders: None,
        last_known_eligible: None,
    })
}

/// How many partitions a topic shall have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MorePartitions {
    /// The topic.
    pub name: String,
    /// The new number of partitions.
    pub count: i32,
    /// Which brokers hold each new one; `None` for the broker's choice.
    pub assignments: Option<Vec<Vec<i32>>>,
}

/// CreatePartitions: one result for each name; names that are given twice come first.
pub fn create_partitions(
    context: Context<'_>,
    topics: &[MorePartitions],
) -> Decision<Vec<(String, Result<(), Refusal>)>> {
    let twice = duplicates(topics.iter().map(|topic| topic.name.as_str()));
    let duplicate = || Refusal::new(ErrorCode::INVALID_REQUEST, "Duplicate topic name.");
    let mut reply: Vec<_> = twice.iter().map(|name| ((*name).to_owned(), Err(duplicate()))).collect();
    let mut records = Vec::new();
    for topic in topics.iter().filter(|topic| !twice.contains(topic.name.as_str())) {
        reply.push((topic.name.clone(), add_partitions(context, topic, &mut records)));
    }
    Decision { records, reply }
}

fn add_partitions(
    context: Context<'_>,
    wanted: &MorePartitions,
    records: &mut Vec<MetadataRecord>,
) -> Result<(), Refusal> {
    let topic: &Topic =
        context.image.topic(&wanted.name).ok_or(Refusal::bare(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION))?;
    let current = topic.partitions.len();
    let count = match usize::try_from(wanted.count) {
        Ok(count) if count > current => count,
        Ok(count) if count == current => {
            let message = format!("Topic already has {current} partition(s).");
            return Err(Refusal::new(ErrorCode::INVALID_PARTITIONS, message));
        }
        _ => {
            let message = format!(
                "The topic {} currently has {current} partition(s); {} would not be an increase.",
                wanted.name, wanted.count
            );
            return Err(Refusal::new(ErrorCode::INVALID_PARTITIONS, message));
        }
    };
    let additional = count - current;
    if let Some(assignments) = &wanted.assignments {
        if assignments.len() != additional {
            let message = format!(
                "Attempted to add {additional} additional partition(s), but only {} assignment(s) were specified.",
                assignments.len()
            );
            return Err(Refusal::new(ErrorCode::INVALID_REPLICA_ASSIGNMENT, message));
        }
        assignments.iter().try_for_each(|brokers| check_replicas(context, brokers))?;
    }
    // Kafka fails here with UNKNOWN_SERVER_ERROR after creating some of them; nothing is gained by following it.
    if records.len().saturating_add(additional) > MAX_RECORDS {
        return Err(Refusal::new(ErrorCode::POLICY_VIOLATION, "Excessively large number of partitions per request."));
    }
    records.extend((current..count).map(|partition| new_partition(context, topic.id, partition)));
    Ok(())
}

/// A topic to delete, by name or by id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deletion {
    /// Its name.
    pub name: Option<String>,
    /// Its id; zero where it is named.
    pub id: TopicId,
}

/// What became of a topic to delete.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deleted {
    /// Its name, where it was given or found.
    pub name: Option<String>,
    /// Its id, where it was given or found.
    pub id: TopicId,
    /// What became of it.
    pub result: Result<(), Refusal>,
}

/// DeleteTopics: one result for each topic.
pub fn delete(context: Context<'_>, topics: &[Deletion]) -> Decision<Vec<Deleted>> {
    let names = |topic: &Deletion| topic.name.clone().filter(|_| topic.id == TopicId::ZERO);
    let by_name: Vec<String> = topics.iter().filter_map(names).collect();
    let by_id: Vec<TopicId> =
        topics.iter().filter(|topic| topic.name.is_none() && topic.id != TopicId::ZERO).map(|topic| topic.id).collect();
    let names_twice = duplicates(by_name.iter());
    let ids_twice = duplicates(by_id.iter());
    // A topic that is both named and given by id is not deleted, and answered under its name.
    let ids: BTreeSet<TopicId> = by_id.iter().copied().collect();
    let both: BTreeSet<TopicId> =
        by_name.iter().filter_map(|name| context.image.topic(name)).map(|topic| topic.id).collect();
    let mut reply: Vec<Deleted> = Vec::with_capacity(topics.len());
    let mut records = Vec::new();
    let mut answered = BTreeSet::new();
    for topic in topics {
        // What is given twice is answered once; what is not given at all, each time.
        let given = topic.name.is_some() || topic.id != TopicId::ZERO;
        if given && !answered.insert((topic.name.as_deref(), topic.id)) {
            continue;
        }
        let Deletion { name, id } = topic.clone();
        let refused = |message: &str| Err(Refusal::new(ErrorCode::INVALID_REQUEST, message));
        let deleted = match (name, id) {
            (Some(name), TopicId::ZERO) if names_twice.contains(&name) => {
                Deleted { name: Some(name), id, result: refused("Duplicate topic name.") }
            }
            (None, id) if ids_twice.contains(&id) => Deleted { name: None, id, result: refused("Duplicate topic id.") },
            (None, TopicId::ZERO) => {
                Deleted { name: None, id, result: refused("Neither topic name nor id were specified.") }
            }
            (None, id) if both.contains(&id) => continue,
            (Some(name), TopicId::ZERO) => delete_by_name(context, name, &ids, &mut records),
            (Some(name), id) => {
                Deleted { name: Some(name), id, result: refused("You may not specify both topic name and topic id.") }
            }
            (None, id) => delete_by_id(context, id, &mut records),
        };
        reply.push(deleted);
    }
    Decision { records, reply }
}

fn delete_by_name(
    context: Context<'_>,
    name: String,
    by_id: &BTreeSet<TopicId>,
    records: &mut Vec<MetadataRecord>,
) -> Deleted {
    let Some(topic) = context.image.topic(&name) else {
        let refusal = Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, NOT_HOSTED);
        return Deleted { name: Some(name), id: TopicId::ZERO, result: Err(refusal) };
    };
    let result = if by_id.contains(&topic.id) {
        let message = "The provided topic name maps to an ID that was already supplied.";
        Err(Refusal::new(ErrorCode::INVALID_REQUEST, message))
    } else {
        records.push(MetadataRecord::RemoveTopic { id: topic.id });
        Ok(())
    };
    Deleted { name: Some(name), id: topic.id, result }
}

fn delete_by_id(context: Context<'_>, id: TopicId, records: &mut Vec<MetadataRecord>) -> Deleted {
    let Some(topic) = context.image.topic_by_id(id) else {
        let refusal = Refusal::new(ErrorCode::UNKNOWN_TOPIC_ID, "This server does not host this topic ID.");
        return Deleted { name: None, id, result: Err(refusal) };
    };
    records.push(MetadataRecord::RemoveTopic { id });
    Deleted { name: Some(topic.name.to_string()), id, result: Ok(()) }
}

/// This broker leads every partition that it holds a replica of; a log that Kafka wrote may say otherwise, because a
/// broker that shuts down there gives its partitions up.
pub fn take_leadership(context: Context<'_>) -> Vec<MetadataRecord> {
    let node = context.node();
    let mut records = Vec::new();
    for topic in context.image.topics() {
        for (index, partition) in &topic.partitions {
            if partition.leader != node && partition.replicas.contains(&node) {
                records.push(MetadataRecord::PartitionChange(PartitionChange {
                    partition: *index,
                    topic: topic.id,
                    leader: Some(node),
                    isr: (!partition.isr.contains(&node)).then(|| vec![NodeId(node.0)]),
                    ..Default::default()
                }));
            }
        }
    }
    records
}
