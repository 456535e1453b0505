//! What DescribeConfigs answers: each setting's value, where it comes from, and every other value below it.
//!
//! The shape is Kafka's, down to its quirk that a value given under another name of the same thing
//! (`log.retention.hours` for `retention.ms`) counts but is not named as the source.

use super::build::BrokerConfig;
use super::def::{ConfigError, Setting, Type};
use super::layers::{Dynamic, Layers, Overrides, Source};
use super::log_config::Effective;
use super::{broker, topic};

/// One setting as DescribeConfigs answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: &'static str,
    /// The value that counts; `None` for null and for a secret.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
    /// Whether only a restart changes it.
    pub read_only: bool,
    /// Whether it is a secret.
    pub sensitive: bool,
    /// Its type.
    pub kind: Type,
    /// What it is for.
    pub documentation: &'static str,
    /// Every value that is set for it, strongest first.
    pub synonyms: Vec<DescribedSynonym>,
}

/// A value below, and with it, the one that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedSynonym {
    /// The name it was given under.
    pub name: &'static str,
    /// The value as given; `None` for a secret.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
}

/// The settings of a topic with these overrides, by name.
pub fn describe_topic(
    config: &BrokerConfig,
    dynamic: Dynamic<'_>,
    overrides: &Overrides,
) -> Result<Vec<Described>, ConfigError> {
    let layers = Layers { start: &config.start, dynamic };
    let effective = Effective { layers, overrides };
    let describe = |entry: &'static topic::TopicSetting| {
        let setting = &entry.setting;
        let value = effective.value_of(entry)?.to_string();
        let below = entry.synonyms.first().map_or_else(Vec::new, |synonym| synonyms(&layers, synonym.name, false));
        let own = overrides.contains_key(setting.name).then(|| DescribedSynonym {
            name: setting.name,
            value: Some(value.clone()),
            source: Source::DynamicTopic,
        });
        // Kafka calls no topic setting read-only.
        Ok(Described { read_only: false, ..described(setting, Some(value), own.into_iter().chain(below).collect()) })
    };
    let internal = overrides.contains_key(topic::INTERNAL.setting.name).then_some(&topic::INTERNAL);
    let mut all: Vec<Described> = topic::SETTINGS.iter().chain(internal).map(describe).collect::<Result<_, _>>()?;
    all.sort_unstable_by_key(|described| described.name);
    Ok(all)
}

/// The settings of this broker, by name.
pub fn describe_broker(config: &BrokerConfig, dynamic: Dynamic<'_>) -> Result<Vec<Described>, ConfigError> {
    let layers = Layers { start: &config.start, dynamic };
    let describe = |setting: &'static Setting| {
        let value = match broker_value(&layers, setting.name) {
            Some(text) => Some(setting.parse(text)?.to_string()),
            None => None,
        };
        Ok(described(setting, value, synonyms(&layers, setting.name, setting.sensitive())))
    };
    let mut all: Vec<Described> = broker::all().map(describe).collect::<Result<_, _>>()?;
    all.sort_unstable_by_key(|described| described.name);
    Ok(all)
}

/// What was altered for the whole cluster (the broker resource without a name), by name.
pub fn describe_cluster(dynamic: Dynamic<'_>) -> Vec<Described> {
    let describe = |(name, value): (&String, &String)| {
        let setting = broker::find(name)?;
        let value = (!setting.sensitive()).then(|| value.clone());
        let synonym =
            DescribedSynonym { name: setting.name, value: value.clone(), source: Source::DynamicDefaultBroker };
        Some(described(setting, value, vec![synonym]))
    };
    dynamic.cluster.iter().filter_map(describe).collect()
}

fn described(setting: &'static Setting, value: Option<String>, synonyms: Vec<DescribedSynonym>) -> Described {
    Described {
        name: setting.name,
        value: value.filter(|_| !setting.sensitive()),
        source: synonyms.first().map_or(Source::Default, |synonym| synonym.source),
        read_only: setting.read_only(),
        sensitive: setting.sensitive(),
        kind: setting.kind,
        documentation: setting.doc,
        synonyms,
    }
}

/// The value of exactly this name that counts: one that was altered hides start-up values of the whole family.
fn broker_value<'a>(layers: &Layers<'a>, name: &'static str) -> Option<&'a str> {
    let alone = [name];
    let family = broker::hidden_by(name).unwrap_or(&alone);
    let strongest = layers.effective(family).map_or(Source::Default, |(_, _, source)| source);
    layers.in_layer(strongest, name).or_else(|| layers.in_layer(Source::Default, name))
}

/// All values of a broker setting and of its other names, from the first that was given under its own name on.
fn synonyms(layers: &Layers<'_>, name: &'static str, sensitive: bool) -> Vec<DescribedSynonym> {
    let alone = [name];
    let family = broker::family(name).unwrap_or(&alone);
    layers
        .values(family)
        .skip_while(|(given, _, _)| *given != name)
        .filter_map(|(given, value, source)| {
            let name = broker::find(given)?.name;
            Some(DescribedSynonym { name, value: (!sensitive).then(|| value.to_owned()), source })
        })
        .collect()
}
