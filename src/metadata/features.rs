//! UpdateFeatures: raising and lowering the levels of the cluster's features (KIP-584, KIP-778, KIP-1022).
//!
//! The rules, codes and messages are those of Kafka's controller: one feature that is refused refuses all.

use std::collections::BTreeMap;

use super::bootstrap::{KRAFT_VERSION, METADATA_VERSION, supported};
use super::configs::{ELIGIBLE_LEADERS, tie_min_insync_replicas};
use super::decide::{Context, Decision};
use super::records::MetadataRecord;
use crate::wire::{ErrorCode, Refusal};

/// The levels of `metadata.version` that changed what records say: a downgrade below one of them would lose some of it.
const RECORDS_CHANGED: [i16; 8] = [7, 8, 11, 14, 15, 17, 23, 30];
/// Eligible leader replicas need the records of this level of `metadata.version`.
const ELIGIBLE_LEADERS_NEED: i16 = 23;

/// Which way a level may go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpgradeType {
    /// Up.
    Upgrade,
    /// Down, where that loses nothing.
    SafeDowngrade,
    /// Down, even where it loses something.
    UnsafeDowngrade,
}

impl UpgradeType {
    /// By its number in the protocol.
    pub const fn of(code: i8) -> Option<Self> {
        match code {
            1 => Some(Self::Upgrade),
            2 => Some(Self::SafeDowngrade),
            3 => Some(Self::UnsafeDowngrade),
            _ => None,
        }
    }
}

/// A feature's new level.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Update {
    /// Its name.
    pub feature: String,
    /// The level; 0 ends the feature.
    pub level: i16,
    /// Which way that may be; `None` where the client named a way that does not exist.
    pub upgrade_type: Option<UpgradeType>,
}

/// UpdateFeatures: all or none. Of a feature that is named twice the last update counts. Where several are refused, the
/// first by name is told; Kafka's choice follows the order of a hash table.
pub fn update(context: Context<'_>, updates: &[Update]) -> Decision<Result<(), Refusal>> {
    let updates: BTreeMap<&str, &Update> = updates.iter().map(|update| (update.feature.as_str(), update)).collect();
    let mut records = Vec::new();
    for update in updates.values() {
        match update_one(context, &updates, update) {
            Ok(record) => records.extend(record),
            Err(reason) => {
                let message =
                    format!("The update failed for all features since the following feature had an error: {reason}");
                let reply = Err(Refusal::new(ErrorCode::INVALID_UPDATE_VERSION, message));
                return Decision { records: Vec::new(), reply };
            }
        }
    }
    if updates.get(ELIGIBLE_LEADERS).is_some_and(|update| update.level > 0) {
        records.extend(tie_min_insync_replicas(context));
    }
    Decision { records, reply: Ok(()) }
}

/// The record of one update, or why it is refused.
fn update_one(
    context: Context<'_>,
    updates: &BTreeMap<&str, &Update>,
    update: &Update,
) -> Result<Option<MetadataRecord>, String> {
    let Update { feature, level, upgrade_type } = update;
    let invalid = |reason: &str| format!("Invalid update version {level} for feature {feature}. {reason}");
    let Some(upgrade_type) = *upgrade_type else {
        return Err(invalid("The controller does not support the given upgrade type."));
    };
    if *level < 0 {
        return Err(invalid("A feature version cannot be less than 0."));
    }
    check_supported(context, feature, *level).map_err(|reason| invalid(&reason))?;
    let current = context.image.feature(feature);
    if *level < current && upgrade_type == UpgradeType::Upgrade {
        return Err(invalid(
            "Can't downgrade the version of this feature without setting the upgrade type to either safe or unsafe \
             downgrade.",
        ));
    }
    if *level > current && upgrade_type != UpgradeType::Upgrade {
        return Err(invalid("Can't downgrade to a newer version."));
    }
    match feature.as_str() {
        METADATA_VERSION => check_metadata_version(current, *level, upgrade_type)?,
        // Its level is the quorum's to keep, and here is none.
        KRAFT_VERSION if *level == current => return Ok(None),
        KRAFT_VERSION => return Err(invalid("This version of Ottla runs without a quorum.")),
        _ => check_needs(context, updates, update).map_err(|reason| invalid(&reason))?,
    }
    Ok(Some(MetadataRecord::FeatureLevel { name: feature.clone(), level: *level }))
}

/// Whether this broker, which is the controller too, knows the level.
fn check_supported(context: Context<'_>, feature: &str, level: i16) -> Result<(), String> {
    let node = context.node();
    match supported(feature) {
        Some(levels) if levels.contains(&level) => Ok(()),
        Some(levels) => {
            Err(format!("Local controller {node} only supports versions {}-{}", levels.start(), levels.end()))
        }
        None if level == 0 => Err(format!("Feature {feature} not found.")),
        None => Err(format!("Local controller {node} does not support this feature.")),
    }
}

/// What a feature needs may come by the same request.
fn check_needs(context: Context<'_>, updates: &BTreeMap<&str, &Update>, update: &Update) -> Result<(), String> {
    let Update { feature, level, .. } = update;
    let metadata = updates.get(METADATA_VERSION).map_or(context.image.feature(METADATA_VERSION), |update| update.level);
    if feature == ELIGIBLE_LEADERS && *level > 0 && metadata < ELIGIBLE_LEADERS_NEED {
        return Err(format!(
            "{feature} could not be set to {level} because it depends on {METADATA_VERSION} level \
             {ELIGIBLE_LEADERS_NEED}"
        ));
    }
    Ok(())
}

/// A downgrade may not take what records say.
fn check_metadata_version(current: i16, level: i16, upgrade_type: UpgradeType) -> Result<(), String> {
    if !RECORDS_CHANGED.iter().any(|changed| level < *changed && *changed <= current) {
        return Ok(());
    }
    let reason = match upgrade_type {
        UpgradeType::UnsafeDowngrade => "Unsafe metadata downgrade is not supported in this version.",
        _ => "Refusing to perform the requested downgrade because it might delete metadata information.",
    };
    Err(format!("Unsupported metadata.version downgrade from {current} to {level}. {reason}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use uuid::Uuid;

    use super::*;
    use crate::config::BrokerConfig;
    use crate::metadata::bootstrap::{GROUP_VERSION, TRANSACTION_VERSION, first_records, supported};
    use crate::metadata::configs::MIN_INSYNC_REPLICAS;
    use crate::metadata::image::{Image, Resource, ResourceType};

    const UP: i8 = 1;
    const SAFE: i8 = 2;
    const UNSAFE: i8 = 3;
    const ALL: &str = "The update failed for all features since the following feature had an error: ";

    fn with_context<T>(image: &Image, with: impl FnOnce(Context<'_>) -> T) -> T {
        let (config, deleting) = (BrokerConfig::default(), BTreeSet::<Arc<str>>::new());
        with(Context { image, config: &config, directory: Uuid::nil(), deleting: &deleting })
    }

    /// A new cluster.
    fn new_image() -> Image {
        let mut image = Image::default();
        for record in with_context(&image, first_records) {
            image.apply(&record).unwrap();
        }
        image
    }

    fn set(image: &mut Image, name: &str, level: i16) {
        image.apply(&MetadataRecord::FeatureLevel { name: name.to_owned(), level }).unwrap();
    }

    fn decide(image: &Image, updates: &[(&str, i16, i8)]) -> Decision<Result<(), Refusal>> {
        let updates: Vec<_> = updates
            .iter()
            .map(|(feature, level, kind)| Update {
                feature: (*feature).to_owned(),
                level: *level,
                upgrade_type: UpgradeType::of(*kind),
            })
            .collect();
        with_context(image, |context| update(context, &updates))
    }

    /// What is written, by feature; or the reason of the refusal.
    fn outcome(image: &Image, updates: &[(&str, i16, i8)]) -> Result<Vec<(String, i16)>, String> {
        let Decision { records, reply } = decide(image, updates);
        if let Err(refusal) = reply {
            assert_eq!((refusal.code, records), (ErrorCode::INVALID_UPDATE_VERSION, Vec::new()));
            return Err(refusal.message.unwrap().strip_prefix(ALL).unwrap().to_owned());
        }
        let levels = records.into_iter().filter_map(|record| match record {
            MetadataRecord::FeatureLevel { name, level } => Some((name, level)),
            _ => None,
        });
        Ok(levels.collect())
    }

    /// Each answer is Apache Kafka 4.3.1's to the same request.
    #[test]
    fn one_feature_goes_the_way_that_was_asked_for() {
        let mut image = new_image();
        let written = |level| Ok(vec![(TRANSACTION_VERSION.to_owned(), level)]);
        let invalid = |level: i16, why: &str| {
            Err(format!("Invalid update version {level} for feature transaction.version. {why}"))
        };
        let down = "Can't downgrade the version of this feature without setting the upgrade type to either safe or \
                    unsafe downgrade.";
        let unknown = "The controller does not support the given upgrade type.";
        for (current, level, kind, expected) in [
            (2, 1, UP, invalid(1, down)),
            (2, 1, SAFE, written(1)),
            (2, 1, UNSAFE, written(1)),
            (2, 0, SAFE, written(0)),
            (1, 2, UP, written(2)),
            (1, 2, SAFE, invalid(2, "Can't downgrade to a newer version.")),
            (1, 2, UNSAFE, invalid(2, "Can't downgrade to a newer version.")),
            // The level that it has is written again, whichever way.
            (2, 2, UP, written(2)),
            (2, 2, SAFE, written(2)),
            (0, 0, UP, written(0)),
            (2, 3, UP, invalid(3, "Local controller 1 only supports versions 0-2")),
            (2, -1, SAFE, invalid(-1, "A feature version cannot be less than 0.")),
            (2, 1, 0, invalid(1, unknown)),
            (2, 1, 4, invalid(1, unknown)),
            (2, -7, -1, invalid(-7, unknown)),
        ] {
            set(&mut image, TRANSACTION_VERSION, current);
            let found = outcome(&image, &[(TRANSACTION_VERSION, level, kind)]);
            assert_eq!(found, expected, "{current} to {level} by {kind}");
        }
    }

    #[test]
    fn features_that_nobody_knows_are_refused() {
        let image = new_image();
        let invalid = |level: i16, why: &str| Err(format!("Invalid update version {level} for feature nope. {why}"));
        assert_eq!(
            outcome(&image, &[("nope", 1, UP)]),
            invalid(1, "Local controller 1 does not support this feature.")
        );
        assert_eq!(outcome(&image, &[("nope", 0, UP)]), invalid(0, "Feature nope not found."));
    }

    #[test]
    fn all_are_changed_or_none_and_the_last_of_a_name_counts() {
        let image = new_image();
        let both = [(GROUP_VERSION, 0, SAFE), (TRANSACTION_VERSION, 0, UNSAFE)];
        let written = both.map(|(name, level, _)| (name.to_owned(), level)).to_vec();
        assert_eq!(outcome(&image, &both), Ok(written));
        assert!(outcome(&image, &[both[0], ("nope", 1, UP), both[1]]).is_err());
        assert_eq!(outcome(&image, &[]), Ok(Vec::new()));
        let last = [(TRANSACTION_VERSION, 9, UP), (TRANSACTION_VERSION, 1, SAFE)];
        assert_eq!(outcome(&image, &last), Ok(vec![(TRANSACTION_VERSION.to_owned(), 1)]));
        assert!(outcome(&image, &[last[1], last[0]]).is_err());
    }

    #[test]
    fn metadata_version_goes_down_only_where_records_stay_what_they_are() {
        let mut image = new_image();
        let lossy = |from: i16, to: i16, why: &str| {
            Err(format!("Unsupported metadata.version downgrade from {from} to {to}. {why}"))
        };
        let refusing = "Refusing to perform the requested downgrade because it might delete metadata information.";
        let not_unsafe = "Unsafe metadata downgrade is not supported in this version.";
        let out_of_range = |level: i16| {
            let why = "Local controller 1 only supports versions 7-30";
            Err(format!("Invalid update version {level} for feature metadata.version. {why}"))
        };
        let written = |level| Ok(vec![(METADATA_VERSION.to_owned(), level)]);
        for (current, level, kind, expected) in [
            (30, 29, SAFE, lossy(30, 29, refusing)),
            (30, 29, UNSAFE, lossy(30, 29, not_unsafe)),
            (29, 23, SAFE, written(23)),
            (29, 22, SAFE, lossy(29, 22, refusing)),
            (10, 8, UNSAFE, written(8)),
            (29, 30, UP, written(30)),
            (30, 31, UP, out_of_range(31)),
            (30, 6, SAFE, out_of_range(6)),
            (30, 0, UNSAFE, out_of_range(0)),
        ] {
            set(&mut image, METADATA_VERSION, current);
            let found = outcome(&image, &[(METADATA_VERSION, level, kind)]);
            assert_eq!(found, expected, "{current} to {level} by {kind}");
        }
    }

    #[test]
    fn eligible_leaders_need_a_metadata_version_that_may_come_along() {
        let mut image = new_image();
        set(&mut image, METADATA_VERSION, 20);
        set(&mut image, ELIGIBLE_LEADERS, 0);
        let why = "Invalid update version 1 for feature eligible.leader.replicas.version. \
                   eligible.leader.replicas.version could not be set to 1 because it depends on metadata.version \
                   level 23";
        assert_eq!(outcome(&image, &[(ELIGIBLE_LEADERS, 1, UP)]), Err(why.to_owned()));
        assert!(outcome(&image, &[(ELIGIBLE_LEADERS, 1, UP), (METADATA_VERSION, 23, UP)]).is_ok());
        assert!(outcome(&image, &[(ELIGIBLE_LEADERS, 0, UP)]).is_ok());
    }

    #[test]
    fn eligible_leaders_make_min_insync_replicas_one_value_for_the_cluster() {
        let mut image = new_image();
        let config = |name: &str, value: Option<&str>| MetadataRecord::Config {
            resource_type: ResourceType::BROKER.0,
            resource_name: name.to_owned(),
            name: MIN_INSYNC_REPLICAS.to_owned(),
            value: value.map(str::to_owned),
        };
        let more = |image: &Image, level| {
            let records = decide(image, &[(ELIGIBLE_LEADERS, level, if level > 0 { UP } else { SAFE })]).records;
            records.into_iter().filter(|record| matches!(record, MetadataRecord::Config { .. })).collect::<Vec<_>>()
        };
        assert_eq!(more(&image, 1), []);
        set(&mut image, ELIGIBLE_LEADERS, 0);
        image.apply(&config("", None)).unwrap();
        image.apply(&config("1", Some("2"))).unwrap();
        let other = MetadataRecord::Config {
            resource_type: ResourceType::TOPIC.0,
            resource_name: "t".to_owned(),
            name: MIN_INSYNC_REPLICAS.to_owned(),
            value: Some("2".to_owned()),
        };
        image.apply(&other).unwrap();
        assert_eq!(more(&image, 0), []);
        let written = more(&image, 1);
        assert_eq!(written, [config("", Some("1")), config("1", None)]);
        for record in &written {
            image.apply(record).unwrap();
        }
        assert!(image.overrides(&Resource::new(ResourceType::BROKER, "1")).is_none());
    }

    #[test]
    fn the_quorum_stays_as_it_is() {
        let image = new_image();
        assert_eq!(outcome(&image, &[(KRAFT_VERSION, 0, UP)]), Ok(Vec::new()));
        let why = "Invalid update version 1 for feature kraft.version. This version of Ottla runs without a quorum.";
        assert_eq!(outcome(&image, &[(KRAFT_VERSION, 1, UP)]), Err(why.to_owned()));
    }

    #[test]
    fn whatever_is_written_can_be_read_again() {
        let image = new_image();
        for name in image.features().keys() {
            for (level, kind) in (-1..40).flat_map(|level| [(level, UP), (level, SAFE), (level, UNSAFE)]) {
                for (name, level) in outcome(&image, &[(name, level, kind)]).unwrap_or_default() {
                    assert!(supported(&name).unwrap().contains(&level), "{name} {level}");
                }
            }
        }
    }
}
