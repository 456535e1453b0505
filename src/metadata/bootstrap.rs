//! What a new metadata log begins with, and what a broker says about itself when it starts.

use uuid::Uuid;

use super::configs::{ELIGIBLE_LEADERS, MIN_INSYNC_REPLICAS};
use super::decide::Context;
use super::image::{Image, ResourceType};
use super::records::{Endpoint, FeatureRange, MetadataRecord, RegisterBroker};
use crate::config::Layers;

/// The feature whose level says which records a log may hold.
pub const METADATA_VERSION: &str = "metadata.version";
/// The feature that lets clients join by the consumer protocol (KIP-848).
pub const GROUP_VERSION: &str = "group.version";
/// The feature that says which protocol transactions speak (KIP-890).
pub const TRANSACTION_VERSION: &str = "transaction.version";

/// Features with the levels that this broker can read in a log: those of Kafka 4.3. What a client may use is
/// ApiVersions' to say.
const FEATURES: [(&str, i16, i16); 7] = [
    (METADATA_VERSION, 7, 30),
    (ELIGIBLE_LEADERS, 0, 1),
    (GROUP_VERSION, 0, 1),
    ("kraft.version", 0, 1),
    ("share.version", 0, 1),
    ("streams.version", 0, 1),
    (TRANSACTION_VERSION, 0, 2),
];

/// The features that a new log finalizes: as Kafka's `format` does, each at its highest, but for that of KRaft, which
/// is no metadata record.
pub fn features() -> Vec<MetadataRecord> {
    FEATURES
        .iter()
        .filter(|(name, ..)| *name != "kraft.version")
        .map(|(name, _, level)| MetadataRecord::FeatureLevel { name: (*name).to_owned(), level: *level })
        .collect()
}

/// The first records of a new log.
pub fn first_records(context: Context<'_>) -> Vec<MetadataRecord> {
    let layers = Layers::at_start(&context.config.start);
    let mut records = features();
    // With eligible leader replicas, how many must be in sync is one value for the cluster (KIP-966).
    records.push(MetadataRecord::Config {
        resource_type: ResourceType::BROKER.0,
        resource_name: String::new(),
        name: MIN_INSYNC_REPLICAS.to_owned(),
        value: Some(layers.get(MIN_INSYNC_REPLICAS).unwrap_or("1").to_owned()),
    });
    records
}

/// Why a log cannot be served by this version: a feature that it finalizes, at which level.
pub fn unreadable_feature(image: &Image) -> Option<(&str, i16)> {
    let readable = |name: &str, level: i16| match FEATURES.iter().find(|(known, ..)| *known == name) {
        Some((_, min, max)) => (*min..=*max).contains(&level),
        None => false,
    };
    image.features().iter().map(|(name, level)| (name.as_str(), *level)).find(|(name, level)| !readable(name, *level))
}

/// This broker's registration, where it is not in the log as it is now. `epoch` is the offset that the record gets.
pub fn registration(
    context: Context<'_>,
    endpoints: Vec<Endpoint>,
    incarnation: Uuid,
    epoch: i64,
) -> Option<MetadataRecord> {
    let features =
        FEATURES.iter().map(|(name, min, max)| FeatureRange { name: (*name).to_owned(), min: *min, max: *max });
    let registered = context.image.broker(context.node());
    let mut record = RegisterBroker {
        broker: context.node(),
        incarnation: registered.map_or(incarnation, |broker| broker.incarnation),
        epoch: registered.map_or(epoch, |broker| broker.epoch),
        endpoints,
        features: features.collect(),
        rack: context.config.rack.clone(),
        fenced: false,
        in_controlled_shutdown: false,
        log_dirs: vec![context.directory],
        cordoned_log_dirs: Some(Vec::new()),
    };
    if registered == Some(&record) {
        return None;
    }
    (record.incarnation, record.epoch) = (incarnation, epoch);
    Some(MetadataRecord::RegisterBroker(record))
}
