//! What DescribeConfigs answers: each setting's value, where it comes from, and every other value below it.
//!
//! The shape is Kafka's, down to its quirk that a value given under another name of the same thing
//! (`log.retention.hours` for `retention.ms`) counts but is not named as the source.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::build::BrokerConfig;
use super::def::{ConfigError, Setting, Type};
use super::layers::{Dynamic, Layers, Overrides, Source, Start};
use super::log_config::Effective;
use super::{broker, group, groups, known, topic};

/// One setting as DescribeConfigs answers it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described {
    /// Its name.
    pub name: Cow<'static, str>,
    /// The value that counts; `None` for null and for a secret.
    pub value: Option<String>,
    /// Where it comes from.
    pub source: Source,
    /// Whether only a restart changes it.
    pub read_only: bool,
    /// Whether it is a secret.
    pub sensitive: bool,
    /// Its type; `None` where only the one who altered it knows it.
    pub kind: Option<Type>,
    /// What it is for, where that is known.
    pub documentation: Option<&'static str>,
    /// Every value that is set for it, strongest first.
    pub synonyms: Vec<DescribedSynonym>,
}

/// A value below, and with it, the one that counts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DescribedSynonym {
    /// The name it was given under.
    pub name: Cow<'static, str>,
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
            name: setting.name.into(),
            value: Some(value.clone()),
            source: Source::DynamicTopic,
        });
        // Kafka calls no topic setting read-only.
        Ok(Described { read_only: false, ..described(setting, Some(value), own.into_iter().chain(below).collect()) })
    };
    let internal = &topic::INTERNAL_SEGMENT_BYTES;
    let internal = overrides.contains_key(internal.setting.name).then_some(internal);
    let mut all: Vec<Described> = topic::SETTINGS.iter().chain(internal).map(describe).collect::<Result<_, _>>()?;
    all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// The settings of a group with these overrides, by name. A group need not exist to have settings.
pub fn describe_group(
    config: &BrokerConfig,
    dynamic: Dynamic<'_>,
    overrides: &Overrides,
) -> Result<Vec<Described>, ConfigError> {
    let layers = Layers { start: &config.start, dynamic };
    let effective = groups::Effective { layers, overrides };
    let describe = |entry: &'static group::GroupSetting| {
        let setting = &entry.setting;
        let value = effective.value_of(entry)?.to_string();
        let own = overrides.contains_key(setting.name).then(|| DescribedSynonym {
            name: setting.name.into(),
            value: Some(value.clone()),
            source: Source::DynamicGroup,
        });
        let below = match entry.broker {
            Some(name) => synonyms(&layers, name, false),
            // Without a broker setting Kafka names the default of its own.
            None => vec![DescribedSynonym {
                name: setting.name.into(),
                value: setting.default.map(str::to_owned),
                source: Source::Default,
            }],
        };
        Ok(described(setting, Some(value), own.into_iter().chain(below).collect()))
    };
    group::SETTINGS.iter().map(describe).collect()
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
    let added: BTreeSet<&str> = dynamic.broker.keys().chain(dynamic.cluster.keys()).map(String::as_str).collect();
    all.extend(added.into_iter().filter(|name| broker::find(name).is_none()).map(|name| only_dynamic(&layers, name)));
    all.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(all)
}

/// What was altered for the whole cluster (the broker resource without a name), by name.
pub fn describe_cluster(dynamic: Dynamic<'_>) -> Vec<Described> {
    let start = Start::new();
    let layers = Layers { start: &start, dynamic: Dynamic { cluster: dynamic.cluster, ..Dynamic::default() } };
    let describe = |(name, value): (&String, &String)| {
        let Some(setting) = broker::find(name) else { return only_dynamic(&layers, name) };
        let value = (!setting.sensitive()).then(|| value.clone());
        let name = setting.name.into();
        let synonym = DescribedSynonym { name, value: value.clone(), source: Source::DynamicDefaultBroker };
        described(setting, value, vec![synonym])
    };
    dynamic.cluster.iter().map(describe).collect()
}

/// A setting that was altered at run time and cannot be given at start. Kafka's throttles it knows; what plugins read
/// might be a secret.
fn only_dynamic(layers: &Layers<'_>, name: &str) -> Described {
    let known = known::throttle(name);
    let value = |text: &str| known.map(|_| text.to_owned());
    let alone = [name];
    let synonym = |(_, text, source)| DescribedSynonym { name: name.to_owned().into(), value: value(text), source };
    let synonyms: Vec<_> = layers.values(&alone).map(synonym).collect();
    match known {
        Some(setting) => described(setting, layers.get(name).map(str::to_owned), synonyms),
        None => Described {
            name: name.to_owned().into(),
            value: None,
            source: synonyms.first().map_or(Source::Default, |synonym| synonym.source),
            read_only: true,
            sensitive: true,
            kind: None,
            documentation: None,
            synonyms,
        },
    }
}

fn described(setting: &'static Setting, value: Option<String>, synonyms: Vec<DescribedSynonym>) -> Described {
    Described {
        name: setting.name.into(),
        value: value.filter(|_| !setting.sensitive()),
        source: synonyms.first().map_or(Source::Default, |synonym| synonym.source),
        read_only: setting.read_only(),
        sensitive: setting.sensitive(),
        kind: Some(setting.kind),
        documentation: Some(setting.doc),
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
            let name = broker::find(given)?.name.into();
            Some(DescribedSynonym { name, value: (!sensitive).then(|| value.to_owned()), source })
        })
        .collect()
}
