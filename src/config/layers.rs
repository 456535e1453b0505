//! Where a value comes from: the start (defaults, file, environment, flags) and, above it, what was altered at run time.
//!
//! Kafka's order, strongest first: the topic's own, this broker's dynamic, the cluster's dynamic, what it was started
//! with, the default. A dynamic value hides every other name of the same thing below it, so that an altered
//! `log.retention.ms` wins over a `log.retention.hours` in the file.

use std::collections::BTreeMap;
use std::fmt;

use super::broker;

/// Settings as texts, by name: a topic's overrides, or what was altered at run time.
pub type Overrides = BTreeMap<String, String>;

static NOTHING: Overrides = Overrides::new();

/// What was altered at run time, as the metadata log keeps it.
#[derive(Clone, Copy, Debug)]
pub struct Dynamic<'a> {
    /// For this broker (the resource named by its id).
    pub broker: &'a Overrides,
    /// For the whole cluster (the broker resource without a name).
    pub cluster: &'a Overrides,
}

/// Nothing was altered.
impl Default for Dynamic<'_> {
    fn default() -> Self {
        Self { broker: &NOTHING, cluster: &NOTHING }
    }
}

/// How a start-up value was given; a later one wins over an earlier one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// Not at all: Kafka's default, which a properties file means where Ottla's own default differs from it.
    KafkaDefault,
    /// In the file of `--config`.
    File,
    /// By a KAFKA_* variable.
    Environment,
    /// By `--set`.
    Set,
    /// By a flag of its own, such as `--listen`.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::KafkaDefault => "Kafka's default",
            Self::File => "the configuration file",
            Self::Environment => "the environment",
            Self::Set => "--set",
            Self::Flag => "the command line",
        })
    }
}

/// A start-up value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// As it was written.
    pub value: String,
    /// How it was given.
    pub origin: Origin,
}

/// Everything that was given at start, by name.
pub type Start = BTreeMap<String, Given>;

/// Where an answered value comes from, with DescribeConfigs' codes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Source {
    /// The topic's own override.
    DynamicTopic = 1,
    /// Altered for this broker.
    DynamicBroker = 2,
    /// Altered for the whole cluster.
    DynamicDefaultBroker = 3,
    /// Given at start.
    StaticBroker = 4,
    /// Kafka's or Ottla's default.
    Default = 5,
    /// The group's own override.
    DynamicGroup = 8,
}

impl Source {
    /// The code in a DescribeConfigs response.
    pub const fn code(self) -> i8 {
        self as i8
    }
}

/// The sources of a broker setting, strongest first.
const SOURCES: [Source; 4] =
    [Source::DynamicBroker, Source::DynamicDefaultBroker, Source::StaticBroker, Source::Default];

/// All values of the broker settings, in layers.
#[derive(Clone, Copy, Debug)]
pub struct Layers<'a> {
    /// Given at start.
    pub start: &'a Start,
    /// Altered since.
    pub dynamic: Dynamic<'a>,
}

impl<'a> Layers<'a> {
    /// Only what was given at start.
    pub fn at_start(start: &'a Start) -> Self {
        Self { start, dynamic: Dynamic::default() }
    }

    /// The value of exactly this name in one layer.
    pub fn in_layer(&self, source: Source, name: &str) -> Option<&'a str> {
        match source {
            Source::DynamicTopic | Source::DynamicGroup => None,
            Source::DynamicBroker => self.dynamic.broker.get(name).map(String::as_str),
            Source::DynamicDefaultBroker => self.dynamic.cluster.get(name).map(String::as_str),
            Source::StaticBroker => self.at_start_or_by_default(name, false),
            Source::Default => self
                .at_start_or_by_default(name, true)
                .or_else(|| broker::find(name).and_then(|setting| setting.default)),
        }
    }

    /// What was given at start, or else the default that the way of starting has.
    fn at_start_or_by_default(&self, name: &str, default: bool) -> Option<&'a str> {
        let given = self.start.get(name)?;
        ((given.origin == Origin::KafkaDefault) == default).then_some(given.value.as_str())
    }

    /// Every value of these names: layer by layer, within a layer in the order of the names.
    pub fn values<'n>(&self, names: &'n [&'n str]) -> impl Iterator<Item = (&'n str, &'a str, Source)> {
        let layers = *self;
        SOURCES.into_iter().flat_map(move |source| {
            names.iter().filter_map(move |name| layers.in_layer(source, name).map(|value| (*name, value, source)))
        })
    }

    /// The value that counts for several names of one thing, with the name it was given under.
    pub fn effective<'n>(&self, names: &'n [&'n str]) -> Option<(&'n str, &'a str, Source)> {
        self.values(names).next()
    }

    /// The value that counts for one name.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        SOURCES.into_iter().find_map(|source| self.in_layer(source, name))
    }
}
