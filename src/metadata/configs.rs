//! Altering settings of topics, groups and brokers: what is refused, with which code, and what is written.
//!
//! What one value may be is `config`'s to say; here is which resources have settings, how the operations combine with
//! what is there, and which broker settings can change while it runs.

use std::collections::BTreeMap;

use super::decide::{Context, Decision, duplicates};
use super::image::{Overrides, Resource, ResourceType};
use super::records::MetadataRecord;
use super::topic_name;
use crate::config::def::Update;
use crate::config::{self, Dynamic, Layers, broker, known};
use crate::wire::{ErrorCode, Refusal};

/// The feature under which `min.insync.replicas` is one value for the whole cluster (KIP-966).
pub const ELIGIBLE_LEADERS: &str = "eligible.leader.replicas.version";
/// The setting that this feature ties down.
pub const MIN_INSYNC_REPLICAS: &str = "min.insync.replicas";

/// The sizes of Kafka's thread pools that can be altered while it runs.
const POOLS: [&str; 6] = [
    "background.threads",
    "log.cleaner.threads",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
];

/// What an IncrementalAlterConfigs operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Sets the value.
    Set,
    /// Goes back to the default.
    Delete,
    /// Adds items to a list.
    Append,
    /// Takes items out of a list.
    Subtract,
}

impl Operation {
    /// By its number in the protocol.
    pub const fn of(code: i8) -> Option<Self> {
        match code {
            0 => Some(Self::Set),
            1 => Some(Self::Delete),
            2 => Some(Self::Append),
            3 => Some(Self::Subtract),
            _ => None,
        }
    }

    const fn name(self) -> &'static str {
        match self {
            Self::Set => "SET",
            Self::Delete => "DELETE",
            Self::Append => "APPEND",
            Self::Subtract => "SUBTRACT",
        }
    }
}

/// One setting to alter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Its name.
    pub name: String,
    /// What to do, by its number in the protocol.
    pub operation: i8,
    /// With which value.
    pub value: Option<String>,
}

/// Settings to alter of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Alteration {
    /// Which.
    pub resource: Resource,
    /// How.
    pub changes: Vec<Change>,
    /// AlterConfigs: what is not named goes back to its default.
    pub replace: bool,
}

/// IncrementalAlterConfigs and AlterConfigs: one result for each resource, in their order. A resource is altered as a
/// whole or not at all.
pub fn alter(context: Context<'_>, alterations: &[Alteration]) -> Decision<Vec<Result<(), Refusal>>> {
    let twice = duplicates(alterations.iter().map(|alteration| &alteration.resource));
    let mut records = Vec::new();
    let mut one = |alteration: &Alteration| {
        if twice.contains(&alteration.resource) {
            let message = "Each resource must appear at most once.";
            return Err(Refusal::new(ErrorCode::INVALID_REQUEST, message));
        }
        records.extend(alter_one(context, alteration)?);
        Ok(())
    };
    let reply = alterations.iter().map(&mut one).collect();
    Decision { records, reply }
}

fn alter_one(context: Context<'_>, alteration: &Alteration) -> Result<Vec<MetadataRecord>, Refusal> {
    let Alteration { resource, changes, replace } = alteration;
    if !duplicates(changes.iter().map(|change| change.name.as_str())).is_empty() {
        return Err(invalid_request("Error due to duplicate config keys"));
    }
    let valueless: Vec<&str> = changes
        .iter()
        .filter(|change| change.value.is_none() && Operation::of(change.operation) != Some(Operation::Delete))
        .map(|change| change.name.as_str())
        .collect();
    if !valueless.is_empty() {
        return Err(invalid_request(format!("Null value not supported for : {}", valueless.join(", "))));
    }
    check_resource(context, resource, *replace)?;
    let is_broker = resource.kind == ResourceType::BROKER;
    let before = context.image.overrides(resource).cloned().unwrap_or_default();
    let mut after = if *replace { Overrides::new() } else { before.clone() };
    let mut written = BTreeMap::new();
    for change in changes {
        let value = new_value(resource.kind, before.get(&change.name), change)?;
        // What a broker is told again is written again, as Kafka does: it makes brokers reload (KAFKA-14136).
        if is_broker || before.get(&change.name) != value.as_ref() {
            written.insert(change.name.clone(), value.clone());
        }
        match value {
            Some(value) => after.insert(change.name.clone(), value),
            None => after.remove(&change.name),
        };
    }
    if *replace {
        let dropped = before.keys().filter(|name| !after.contains_key(*name));
        written.extend(dropped.map(|name| (name.clone(), None)));
    }
    check_result(context, resource, &written, &after)?;
    let record = |(name, value)| MetadataRecord::Config {
        resource_type: resource.kind.0,
        resource_name: resource.name.clone(),
        name,
        value,
    };
    Ok(written.into_iter().map(record).collect())
}

/// Which resources have settings that can be altered.
fn check_resource(context: Context<'_>, resource: &Resource, legacy: bool) -> Result<(), Refusal> {
    let node = context.node();
    match (resource.kind, resource.name.as_str()) {
        (ResourceType::BROKER, "") | (ResourceType::TOPIC | ResourceType::GROUP, _) => Ok(()),
        (ResourceType::BROKER, name) => match name.parse::<i32>() {
            Ok(id) if id == node.0 => Ok(()),
            Ok(id) => Err(invalid_request(format!("Unexpected broker id, expected {node}, but received {id}"))),
            Err(_) => Err(invalid_request(format!("Node id must be an integer, but it is: {name}"))),
        },
        (kind, _) => match unsupported(kind) {
            Some(what) if !(legacy && kind == ResourceType::BROKER_LOGGER) => {
                Err(invalid_request(format!("This version of Ottla has no settings of {what}")))
            }
            _ => Err(invalid_request(format!("Unknown resource type {}", kind.0))),
        },
    }
}

/// A resource type that Kafka has and this version has not.
pub fn unsupported(kind: ResourceType) -> Option<&'static str> {
    match kind {
        ResourceType::BROKER_LOGGER => Some("loggers; start it with another ottla.log.level instead"),
        ResourceType::CLIENT_METRICS => Some("client metrics"),
        _ => None,
    }
}

fn new_value(kind: ResourceType, before: Option<&String>, change: &Change) -> Result<Option<String>, Refusal> {
    let Change { name, operation, value } = change;
    let Some(operation) = Operation::of(*operation) else {
        return Err(invalid_request(format!("Unknown operation {operation} on {name}")));
    };
    let value = value.as_deref().unwrap_or_default();
    match operation {
        Operation::Set => return Ok(Some(value.to_owned())),
        Operation::Delete => return Ok(None),
        Operation::Append | Operation::Subtract => {}
    }
    let setting = match kind {
        ResourceType::TOPIC => config::topic::definition(name),
        ResourceType::GROUP => config::group::find(name).map(|entry| &entry.setting),
        _ => broker::find(name),
    };
    let Some(setting) = setting.filter(|setting| setting.is_list()) else {
        let operation = operation.name();
        return Err(invalid_config(format!("Can't {operation} to key {name} because its type is not LIST.")));
    };
    // A list that was never altered is the default one, whatever the broker was started with: as Kafka has it.
    let items = before.map_or(setting.default.unwrap_or_default(), String::as_str);
    let mut items: Vec<&str> = items.split(',').filter(|item| !item.is_empty()).collect();
    for item in value.split(',') {
        match (operation, items.iter().position(|there| *there == item)) {
            (Operation::Append, None) => items.push(item),
            (Operation::Subtract, Some(index)) => {
                items.remove(index);
            }
            _ => {}
        }
    }
    Ok(Some(items.join(",")))
}

/// Whether the resource may have these settings, and exists.
fn check_result(
    context: Context<'_>,
    resource: &Resource,
    written: &BTreeMap<String, Option<String>>,
    after: &Overrides,
) -> Result<(), Refusal> {
    if resource.kind == ResourceType::BROKER {
        check_min_insync_replicas(context, resource, written)?;
        return check_broker(context, resource, after);
    }
    let name = resource.name.as_str();
    if resource.kind == ResourceType::GROUP {
        return check_group(context, name, after);
    }
    if name.is_empty() {
        return Err(invalid_request("Default topic resources are not allowed."));
    }
    topic_name::validate(name).map_err(|message| Refusal::new(ErrorCode::INVALID_TOPIC_EXCEPTION, message))?;
    config::validate_topic(context.config, context.dynamic(), after)
        .map_err(|error| invalid_config(error.to_string()))?;
    if context.image.topic(name).is_none() {
        let message = format!("The topic '{name}' does not exist.");
        return Err(Refusal::new(ErrorCode::UNKNOWN_TOPIC_OR_PARTITION, message));
    }
    Ok(())
}

/// A group may have settings before it exists: they are there when its first member comes.
fn check_group(context: Context<'_>, group: &str, after: &Overrides) -> Result<(), Refusal> {
    if group.is_empty() {
        return Err(invalid_request("Default group resources are not allowed."));
    }
    config::validate_group(context.config, context.dynamic(), after).map_err(|error| invalid_config(error.to_string()))
}

/// Broker settings answer INVALID_REQUEST where those of topics answer INVALID_CONFIG.
fn check_broker(context: Context<'_>, resource: &Resource, after: &Overrides) -> Result<(), Refusal> {
    let cluster_wide = resource.name.is_empty();
    let update = |name: &String| match broker::find(name) {
        Some(setting) => Some(setting.update),
        None if name.starts_with("listener.name.") => Some(Update::PerBroker),
        // Names that no broker knows are kept: plugins read them.
        None => None,
    };
    let which = |wanted: Update| {
        after.keys().filter(|name| update(name) == Some(wanted)).map(String::as_str).collect::<Vec<_>>().join(", ")
    };
    let fixed = which(Update::ReadOnly);
    if !fixed.is_empty() {
        return Err(invalid_request(format!("Cannot update these configs dynamically: [{fixed}]")));
    }
    let own = which(Update::PerBroker);
    if cluster_wide && !own.is_empty() {
        return Err(invalid_request(format!(
            "Cannot update these configs at default cluster level, broker id must be specified: [{own}]"
        )));
    }
    for (name, value) in after {
        if let Some(setting) = broker::find(name).or_else(|| known::throttle(name)) {
            setting.parse(value).map_err(|error| invalid_request(error.to_string()))?;
        }
    }
    let now = context.dynamic();
    let dynamic = if cluster_wide { Dynamic { cluster: after, ..now } } else { Dynamic { broker: after, ..now } };
    check_pools(context, dynamic)?;
    // The defaults that topics and groups take from the broker must fit together.
    config::validate_defaults(context.config, dynamic)
        .and_then(|()| config::validate_groups(context.config, dynamic))
        .map_err(|error| invalid_request(error.to_string()))
}

/// Kafka lets its pools grow and shrink by a factor of two at most at one time, whether or not they do anything here.
fn check_pools(context: Context<'_>, after: Dynamic<'_>) -> Result<(), Refusal> {
    let start = &context.config.start;
    let (before, after) = (Layers { start, dynamic: context.dynamic() }, Layers { start, dynamic: after });
    let size = |layers: &Layers<'_>, name| layers.get(name).and_then(|text| text.trim().parse::<i64>().ok());
    for name in POOLS {
        let (Some(old), Some(new)) = (size(&before, name), size(&after, name)) else { continue };
        if new != old && (new < 1 || new < old / 2 || new > old * 2) {
            return Err(invalid_request(format!(
                "{name} cannot become {new}: it is {old}, and may be changed to between half and twice of that"
            )));
        }
    }
    Ok(())
}

fn check_min_insync_replicas(
    context: Context<'_>,
    resource: &Resource,
    written: &BTreeMap<String, Option<String>>,
) -> Result<(), Refusal> {
    if context.image.feature(ELIGIBLE_LEADERS) == 0 {
        return Ok(());
    }
    match written.get(MIN_INSYNC_REPLICAS) {
        Some(None) if resource.name.is_empty() => {
            Err(invalid_config("Cluster-level min.insync.replicas cannot be removed while ELR is enabled."))
        }
        Some(_) if !resource.name.is_empty() => {
            Err(invalid_config("Broker-level min.insync.replicas cannot be altered while ELR is enabled."))
        }
        _ => Ok(()),
    }
}

/// With eligible leader replicas, how many must be in sync is one value for the cluster (KIP-966): at first the one that
/// the broker was started with.
pub(super) fn cluster_min_insync_replicas(context: Context<'_>) -> MetadataRecord {
    let value = Layers::at_start(&context.config.start).get(MIN_INSYNC_REPLICAS).unwrap_or("1").to_owned();
    min_insync_replicas(String::new(), Some(value))
}

/// What is written when eligible leader replicas are switched on: the cluster's value, where there is none, and the
/// end of every broker's own.
pub(super) fn tie_min_insync_replicas(context: Context<'_>) -> Vec<MetadataRecord> {
    let has = |overrides: Option<&Overrides>| overrides.is_some_and(|own| own.contains_key(MIN_INSYNC_REPLICAS));
    let missing = !has(context.image.overrides(&Resource::all_brokers()));
    let brokers = context.image.configured().filter(|(resource, overrides)| {
        resource.kind == ResourceType::BROKER && !resource.name.is_empty() && has(Some(*overrides))
    });
    let removed = brokers.map(|(resource, _)| min_insync_replicas(resource.name.clone(), None));
    missing.then(|| cluster_min_insync_replicas(context)).into_iter().chain(removed).collect()
}

fn min_insync_replicas(broker: String, value: Option<String>) -> MetadataRecord {
    MetadataRecord::Config {
        resource_type: ResourceType::BROKER.0,
        resource_name: broker,
        name: MIN_INSYNC_REPLICAS.to_owned(),
        value,
    }
}

fn invalid_request(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::INVALID_REQUEST, message)
}

fn invalid_config(message: impl Into<String>) -> Refusal {
    Refusal::new(ErrorCode::INVALID_CONFIG, message)
}
