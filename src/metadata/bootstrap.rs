//! What a new metadata log begins with, and what a broker says about itself when it starts.

use std::ops::RangeInclusive;

use uuid::Uuid;

use super::configs::{ELIGIBLE_LEADERS, cluster_min_insync_replicas};
use super::decide::Context;
use super::image::Image;
use super::records::{Endpoint, FeatureRange, MetadataRecord, RegisterBroker};

/// The feature whose level says which records a log may hold.
pub const METADATA_VERSION: &str = "metadata.version";
/// The feature that lets clients join by the consumer protocol (KIP-848).
pub const GROUP_VERSION: &str = "group.version";
/// The feature that says how transactions are carried out: 1 lets their records have tagged fields, 2 raises a
/// producer's epoch with every transaction (KIP-890).
pub const TRANSACTION_VERSION: &str = "transaction.version";
/// The feature of the quorum itself, which is kept by KRaft and not by a metadata record.
pub const KRAFT_VERSION: &str = "kraft.version";

/// Features with the levels that this broker can read in a log: those of Kafka 4.3. What a client may use is
/// ApiVersions' to say.
const FEATURES: [(&str, i16, i16); 7] = [
    (METADATA_VERSION, 7, 30),
    (ELIGIBLE_LEADERS, 0, 1),
    (GROUP_VERSION, 0, 1),
    (KRAFT_VERSION, 0, 1),
    ("share.version", 0, 1),
    ("streams.version", 0, 1),
    (TRANSACTION_VERSION, 0, 2),
];

/// The features that a new log finalizes: as Kafka's `format` does, each at its highest, but for that of KRaft, which
/// is no metadata record.
pub fn features() -> Vec<MetadataRecord> {
    FEATURES
        .iter()
        .filter(|(name, ..)| *name != KRAFT_VERSION)
        .map(|(name, _, level)| MetadataRecord::FeatureLevel { name: (*name).to_owned(), level: *level })
        .collect()
}

/// The first records of a new log.
pub fn first_records(context: Context<'_>) -> Vec<MetadataRecord> {
    let mut records = features();
    records.push(cluster_min_insync_replicas(context));
    records
}

/// The levels of a feature that this broker can read in a log; `None` where it does not know the feature.
pub(super) fn supported(feature: &str) -> Option<RangeInclusive<i16>> {
    FEATURES.iter().find(|(name, ..)| *name == feature).map(|(_, min, max)| *min..=*max)
}

/// Why a log cannot be served by this version: a feature that it finalizes, at which level.
pub fn unreadable_feature(image: &Image) -> Option<(&str, i16)> {
    let readable = |name: &str, level: i16| supported(name).is_some_and(|levels| levels.contains(&level));
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
