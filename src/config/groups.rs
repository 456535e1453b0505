//! What groups act by, made from the broker's settings, and whether those and a group's own fit together.
//!
//! The rules are those of Kafka's `GroupCoordinatorConfig` and `GroupConfig`: bounds are in order, what holds for a
//! group lies within them, a session is longer than the interval of its heartbeats.

use std::borrow::Cow;

use super::build::{BrokerConfig, Note, Reader};
use super::def::{ConfigError, Value};
use super::group::{self, GroupSetting};
use super::layers::{Dynamic, Layers, Overrides};
use super::{broker, suggest};
use crate::group::config::{Assignor, Bounded, GroupsConfig, MigrationPolicy};
use crate::wire::batch::Compression;

const MINUTE: i64 = 60 * 1000;
const ASSIGNORS: &str = "group.consumer.assignors";
const ASSIGNMENT_INTERVAL: &str = "group.consumer.assignment.interval.ms";

impl BrokerConfig {
    /// The settings of groups as they are now: what was given at start, and over it what was altered since. Nothing is
    /// copied unless something was altered.
    pub fn groups_now(&self, dynamic: Dynamic<'_>) -> Cow<'_, GroupsConfig> {
        // The only one of the settings of groups that act which can be altered while the broker runs.
        let layers = Layers { start: &self.start, dynamic };
        let now = layers.get(ASSIGNMENT_INTERVAL).and_then(|text| text.trim().parse().ok());
        match now {
            Some(now) if now != self.groups.assignment_interval.default => {
                let assignment_interval = Bounded { default: now, ..self.groups.assignment_interval };
                Cow::Owned(GroupsConfig { assignment_interval, ..self.groups.clone() })
            }
            _ => Cow::Borrowed(&self.groups),
        }
    }
}

/// Checks and types the broker's settings of groups.
pub(super) fn build(reader: &Reader<'_>, notes: &mut Vec<Note>) -> Result<GroupsConfig, ConfigError> {
    check_broker(&reader.0)?;
    let bounded = |what: &str| {
        Ok::<_, ConfigError>(Bounded {
            default: reader.number(&format!("group.consumer.{what}"))?,
            min: reader.number(&format!("group.consumer.min.{what}"))?,
            max: reader.number(&format!("group.consumer.max.{what}"))?,
        })
    };
    let config = GroupsConfig {
        min_session_timeout_ms: reader.number("group.min.session.timeout.ms")?,
        max_session_timeout_ms: reader.number("group.max.session.timeout.ms")?,
        // Kafka takes negative numbers, and does not wait either.
        initial_rebalance_delay_ms: reader.number::<i32>("group.initial.rebalance.delay.ms")?.max(0),
        max_size: reader.number("group.max.size")?,
        consumer_max_size: reader.number("group.consumer.max.size")?,
        assignors: assignors(reader)?,
        migration: match reader.text("group.consumer.migration.policy").trim().to_ascii_lowercase().as_str() {
            "disabled" => MigrationPolicy::Disabled,
            "upgrade" => MigrationPolicy::Upgrade,
            "downgrade" => MigrationPolicy::Downgrade,
            _ => MigrationPolicy::Bidirectional,
        },
        session_timeout: bounded("session.timeout.ms")?,
        heartbeat_interval: bounded("heartbeat.interval.ms")?,
        assignment_interval: bounded("assignment.interval.ms")?,
        regex_refresh_interval_ms: reader.number("group.consumer.regex.refresh.interval.ms")?,
        max_record_bytes: reader.number("message.max.bytes")?,
        offset_metadata_max_bytes: reader.number("offset.metadata.max.bytes")?,
        offsets_retention_ms: reader.number::<i64>("offsets.retention.minutes")? * MINUTE,
        offsets_retention_check_ms: reader.number("offsets.retention.check.interval.ms")?,
        commit_timeout_ms: reader.number("offsets.commit.timeout.ms")?,
        topic_partitions: reader.number("offsets.topic.num.partitions")?,
        topic_segment_bytes: reader.number("offsets.topic.segment.bytes")?,
        topic_compression: match reader.number("offsets.topic.compression.codec")? {
            1 => Compression::Gzip,
            2 => Compression::Snappy,
            3 => Compression::Lz4,
            4 => Compression::Zstd,
            _ => Compression::None,
        },
    };
    notes.extend(warnings(&config, reader.number("offsets.topic.replication.factor")?));
    Ok(config)
}

/// What Kafka takes, too, and what is probably not what was meant.
fn warnings(config: &GroupsConfig, replicas: i64) -> impl Iterator<Item = Note> {
    let (min, max) = (config.min_session_timeout_ms, config.max_session_timeout_ms);
    let sessions = (min > max).then(|| {
        format!(
            "group.min.session.timeout.ms={min} is more than group.max.session.timeout.ms={max}: no member of the \
             classic protocol can join a group"
        )
    });
    let replicas = (replicas > 1).then(|| {
        format!(
            "offsets.topic.replication.factor={replicas}: one broker can hold one replica, so that __consumer_offsets \
             has one"
        )
    });
    sessions.into_iter().chain(replicas).map(Note::Warning)
}

fn assignors(reader: &Reader<'_>) -> Result<Vec<Assignor>, ConfigError> {
    let Value::List(names) = reader.value(ASSIGNORS)? else { return Ok(GroupsConfig::default().assignors) };
    let assignor = |name: &String| {
        Assignor::of(name).ok_or_else(|| {
            ConfigError::Conflict(format!(
                "{ASSIGNORS}={}: {name} is not built in, and Ottla cannot run Java classes; name uniform, range or both",
                names.join(",")
            ))
        })
    };
    names.iter().map(assignor).collect()
}

/// Whether the broker may have these settings of groups: what holds for a group that sets nothing must be within the
/// bounds for groups that do.
pub fn validate_groups(config: &BrokerConfig, dynamic: Dynamic<'_>) -> Result<(), ConfigError> {
    check_broker(&Layers { start: &config.start, dynamic })
}

fn check_broker(layers: &Layers<'_>) -> Result<(), ConfigError> {
    let number = |name: &'static str| broker_number(layers, name).map(|value| (name, value));
    for entry in group::SETTINGS {
        let Some(name) = entry.broker.filter(|_| entry.max.is_some()) else { continue };
        let (min, max) = (entry.min.map(number).transpose()?, entry.max.map(number).transpose()?);
        if let (Some(min), Some(max)) = (min, max) {
            at_least(max, min)?;
        }
        within(number(name)?, min, max)?;
    }
    for (session, heartbeat) in group::SESSIONS {
        let broker = |name: &str| group::find(name).and_then(|entry| entry.broker);
        if let (Some(session), Some(heartbeat)) = (broker(session), broker(heartbeat)) {
            longer(number(session)?, number(heartbeat)?)?;
        }
    }
    Ok(())
}

/// Whether a group may have these overrides: known names, values that their settings take, within the broker's bounds,
/// and sessions longer than heartbeats. As in Kafka, all of what holds for the group is looked at.
pub fn validate_group(config: &BrokerConfig, dynamic: Dynamic<'_>, overrides: &Overrides) -> Result<(), ConfigError> {
    for (name, value) in overrides {
        group::find(name).ok_or_else(|| unknown(name))?.setting.parse(value)?;
    }
    let effective = Effective { layers: Layers { start: &config.start, dynamic }, overrides };
    let number = |name: &'static str| broker_number(&effective.layers, name).map(|value| (name, value));
    for entry in group::SETTINGS {
        if let Some(value) = effective.number(entry)? {
            let (min, max) = (entry.min.map(number).transpose()?, entry.max.map(number).transpose()?);
            within((entry.setting.name, value), min, max)?;
        }
    }
    for (session, heartbeat) in group::SESSIONS {
        let number = |name: &'static str| match group::find(name).map(|entry| effective.number(entry)) {
            Some(value) => value.map(|value| value.map(|value| (name, value))),
            None => Ok(None),
        };
        if let (Some(session), Some(heartbeat)) = (number(session)?, number(heartbeat)?) {
            longer(session, heartbeat)?;
        }
    }
    Ok(())
}

fn unknown(name: &str) -> ConfigError {
    let hint = suggest::group_setting(name).map_or_else(String::new, |known| format!(" (did you mean {known}?)"));
    ConfigError::UnknownGroupSetting(format!("{name}{hint}"))
}

/// A group's values in all layers.
pub(super) struct Effective<'a> {
    /// The broker's values.
    pub layers: Layers<'a>,
    /// The group's own.
    pub overrides: &'a Overrides,
}

impl Effective<'_> {
    /// The value that counts.
    pub fn value_of(&self, entry: &GroupSetting) -> Result<Value, ConfigError> {
        let setting = &entry.setting;
        if let Some(text) = self.overrides.get(setting.name) {
            return setting.parse(text);
        }
        if let Some((setting, text)) = entry.broker.and_then(|name| broker::find(name).zip(self.layers.get(name))) {
            return setting.parse(text);
        }
        setting.parse(setting.default.unwrap_or_default())
    }

    fn number(&self, entry: &GroupSetting) -> Result<Option<i64>, ConfigError> {
        Ok(if let Value::Number(value) = self.value_of(entry)? { Some(value) } else { None })
    }
}

#[cfg(test)]
mod tests;

/// A name and its value, for errors that name both.
type Named = (&'static str, i64);

fn broker_number(layers: &Layers<'_>, name: &'static str) -> Result<i64, ConfigError> {
    let text = layers.get(name).unwrap_or_default();
    match broker::find(name).map(|setting| setting.parse(text)).transpose()? {
        Some(Value::Number(value)) => Ok(value),
        _ => Err(ConfigError::invalid(name, text, "must be a whole number")),
    }
}

fn within(value: Named, min: Option<Named>, max: Option<Named>) -> Result<(), ConfigError> {
    if let Some(min) = min {
        at_least(value, min)?;
    }
    match max {
        Some((limit, most)) if value.1 > most => Err(conflict(value, "must be less than or equal to", (limit, most))),
        _ => Ok(()),
    }
}

fn at_least(value: Named, least: Named) -> Result<(), ConfigError> {
    if value.1 < least.1 { Err(conflict(value, "must be greater than or equal to", least)) } else { Ok(()) }
}

fn longer(session: Named, heartbeat: Named) -> Result<(), ConfigError> {
    if session.1 <= heartbeat.1 { Err(conflict(session, "must be greater than", heartbeat)) } else { Ok(()) }
}

fn conflict((name, value): Named, rule: &str, (other, limit): Named) -> ConfigError {
    ConfigError::Conflict(format!("{name}={value} {rule} {other}={limit}"))
}
