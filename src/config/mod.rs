//! Every broker and topic setting under Kafka's own name, with default, type and doc; files, KAFKA_* variables, flags.
//!
//! The tables ([`broker`], [`known`], [`topic`], [`group`]) are static; at start only what was given is parsed. [`BrokerConfig`]
//! is what the broker was started with, [`Dynamic`] what was altered since, and the two together answer
//! DescribeConfigs ([`describe_topic`], [`describe_group`], [`describe_broker`]) and make a log's settings
//! ([`log_config`]) and those of groups ([`BrokerConfig::groups_now`]).

pub mod broker;
mod build;
pub mod def;
mod describe;
pub mod documentation;
mod duration;
pub mod env;
mod given;
pub mod group;
mod groups;
pub mod known;
mod layers;
mod listeners;
mod log_config;
pub mod properties;
pub mod suggest;
#[cfg(test)]
mod tests;
pub mod topic;
mod transactions;

pub use build::{BrokerConfig, Limits, LogLevel, Note, Socket, TopicDefaults};
pub use def::{ConfigError, Setting, Type};
pub use describe::{Described, DescribedSynonym, describe_broker, describe_cluster, describe_group, describe_topic};
pub use given::{GivenError, StartBuilder};
pub use groups::{validate_group, validate_groups};
pub use layers::{Dynamic, Given, Layers, Origin, Overrides, Source, Start};
pub use listeners::{Advertised, Listener};
pub use log_config::{cleaner_settings, log_config, validate_defaults, validate_topic};
