//! A topic's effective settings: its overrides over the broker's values, in the units of the topic's names.

use super::build::BrokerConfig;
use super::def::{ConfigError, Value};
use super::layers::{Dynamic, Layers, Overrides};
use super::topic::{self, TopicSetting};
use super::{broker, suggest};
use crate::log::config::LogConfig;
use crate::storage::CleanerSettings;
use crate::wire::batch::{Compression, TimestampType};

/// What a topic's logs act by: its overrides, else what was altered at run time, else what the broker started with.
pub fn log_config(
    config: &BrokerConfig,
    dynamic: Dynamic<'_>,
    overrides: &Overrides,
) -> Result<LogConfig, ConfigError> {
    let topic = Effective { layers: Layers { start: &config.start, dynamic }, overrides };
    let policy = topic.list("cleanup.policy")?;
    let internal = &topic::INTERNAL_SEGMENT_BYTES.setting;
    Ok(LogConfig {
        segment_bytes: match overrides.get(internal.name) {
            Some(text) => number(internal.name, &internal.parse(text)?)?,
            None => topic.number("segment.bytes")?,
        },
        segment_ms: topic.number("segment.ms")?,
        segment_jitter_ms: topic.number("segment.jitter.ms")?,
        segment_index_bytes: topic.number("segment.index.bytes")?,
        index_interval_bytes: topic.number("index.interval.bytes")?,
        max_message_bytes: topic.number("max.message.bytes")?,
        timestamp_type: match topic.text("message.timestamp.type")?.as_str() {
            "LogAppendTime" => TimestampType::LogAppendTime,
            _ => TimestampType::CreateTime,
        },
        timestamp_before_max_ms: topic.number("message.timestamp.before.max.ms")?,
        timestamp_after_max_ms: topic.number("message.timestamp.after.max.ms")?,
        compression: match topic.text("compression.type")?.as_str() {
            "uncompressed" => Some(Compression::None),
            "gzip" => Some(Compression::Gzip),
            "snappy" => Some(Compression::Snappy),
            "lz4" => Some(Compression::Lz4),
            "zstd" => Some(Compression::Zstd),
            _ => None,
        },
        gzip_level: topic.number("compression.gzip.level")?,
        lz4_level: topic.number("compression.lz4.level")?,
        zstd_level: topic.number("compression.zstd.level")?,
        compact: policy.iter().any(|policy| policy == "compact"),
        delete: policy.iter().any(|policy| policy == "delete"),
        min_cleanable_ratio: topic.fraction("min.cleanable.dirty.ratio")?,
        min_compaction_lag_ms: topic.number("min.compaction.lag.ms")?,
        max_compaction_lag_ms: topic.number("max.compaction.lag.ms")?,
        delete_retention_ms: topic.number("delete.retention.ms")?,
        retention_ms: topic.number("retention.ms")?,
        retention_bytes: topic.number("retention.bytes")?,
        flush_messages: topic.number("flush.messages")?,
        flush_ms: topic.number("flush.ms")?,
        file_delete_delay_ms: topic.number("file.delete.delay.ms")?,
        preallocate: topic.value("preallocate")? == Value::Boolean(true),
    })
}

/// How logs are compacted now: what was altered at run time, else what the broker started with.
pub fn cleaner_settings(config: &BrokerConfig, dynamic: Dynamic<'_>) -> CleanerSettings {
    let layers = Layers { start: &config.start, dynamic };
    let value = |name: &str| {
        let setting = broker::find(name)?;
        // Values were checked when they were given.
        layers.get(name).and_then(|text| setting.parse(text).ok())
    };
    let number = |name: &str| match value(name) {
        Some(Value::Number(number)) => u64::try_from(number).unwrap_or(0),
        _ => 0,
    };
    CleanerSettings {
        enabled: value("log.cleaner.enable") != Some(Value::Boolean(false)),
        backoff_ms: number("log.cleaner.backoff.ms"),
        dedupe_bytes: usize::try_from(number("log.cleaner.dedupe.buffer.size")).unwrap_or(usize::MAX),
        bytes_per_second: match value("log.cleaner.io.max.bytes.per.second") {
            Some(Value::Double(rate)) => rate,
            _ => f64::MAX,
        },
    }
}

/// Whether a topic may have these overrides: known names, values that their settings take, no contradictions among
/// them and the broker's values.
pub fn validate_topic(config: &BrokerConfig, dynamic: Dynamic<'_>, overrides: &Overrides) -> Result<(), ConfigError> {
    for (name, value) in overrides {
        let setting = topic::definition(name).ok_or_else(|| unknown(name))?;
        setting.parse(value)?;
    }
    let topic = Effective { layers: Layers { start: &config.start, dynamic }, overrides };
    topic.check()?;
    if topic.value("remote.storage.enable")? == Value::Boolean(true) {
        return Err(ConfigError::Conflict(
            "Tiered Storage functionality is disabled in the broker. Topic cannot be configured with remote log storage."
                .to_owned(),
        ));
    }
    Ok(())
}

fn unknown(name: &str) -> ConfigError {
    let hint = suggest::topic_setting(name).map_or_else(String::new, |known| format!(" (did you mean {known}?)"));
    ConfigError::UnknownTopicSetting(format!("{name}{hint}"))
}

/// Whether the broker may have these values as the defaults of its topics.
pub fn validate_defaults(config: &BrokerConfig, dynamic: Dynamic<'_>) -> Result<(), ConfigError> {
    check_defaults(&Layers { start: &config.start, dynamic })
}

/// Kafka's checks on the broker's own defaults for topics, for a start or an alteration.
pub(super) fn check_defaults(layers: &Layers<'_>) -> Result<(), ConfigError> {
    let none = Overrides::new();
    let topic = Effective { layers: *layers, overrides: &none };
    for (name, low) in [("segment.ms", 1), ("segment.jitter.ms", 0)] {
        topic.at_least(name, low)?;
    }
    if topic.number::<i64>("retention.ms")? == 0 {
        return Err(topic.refuse("retention.ms", "must be -1 for ever, or at least 1"));
    }
    topic.check()
}

/// A topic's values in all layers.
pub(super) struct Effective<'a> {
    /// The broker's values.
    pub layers: Layers<'a>,
    /// The topic's own.
    pub overrides: &'a Overrides,
}

impl Effective<'_> {
    /// The value that counts, in the topic setting's unit.
    pub fn value_of(&self, entry: &TopicSetting) -> Result<Value, ConfigError> {
        let setting = &entry.setting;
        if let Some(text) = self.overrides.get(setting.name) {
            return setting.parse(text);
        }
        let default = || setting.parse(setting.default.unwrap_or_default());
        let names: Vec<&str> = entry.synonyms.iter().map(|synonym| synonym.name).collect();
        let Some((name, text, _)) = self.layers.effective(&names) else { return default() };
        let factor = entry.synonyms.iter().find(|synonym| synonym.name == name).map_or(1, |synonym| synonym.factor);
        match broker::find(name).map_or_else(default, |broker| broker.parse(text))? {
            Value::Number(value) if entry.setting.name == "retention.ms" && value < 0 => Ok(Value::Number(-1)),
            Value::Number(value) => Ok(Value::Number(value.saturating_mul(factor))),
            other => Ok(other),
        }
    }

    fn value(&self, name: &str) -> Result<Value, ConfigError> {
        topic::find(name).map_or_else(|| Err(unknown(name)), |entry| self.value_of(entry))
    }

    fn number<T: TryFrom<i64>>(&self, name: &str) -> Result<T, ConfigError> {
        number(name, &self.value(name)?)
    }

    fn fraction(&self, name: &str) -> Result<f64, ConfigError> {
        match self.value(name)? {
            Value::Double(value) => Ok(value),
            other => Err(ConfigError::invalid(name, &other.to_string(), "must be a number")),
        }
    }

    fn text(&self, name: &str) -> Result<String, ConfigError> {
        Ok(self.value(name)?.to_string())
    }

    fn list(&self, name: &str) -> Result<Vec<String>, ConfigError> {
        match self.value(name)? {
            Value::List(values) => Ok(values),
            other => Ok(vec![other.to_string()]),
        }
    }

    fn check(&self) -> Result<(), ConfigError> {
        let (min, max): (i64, i64) = (self.number("min.compaction.lag.ms")?, self.number("max.compaction.lag.ms")?);
        if min > max {
            return Err(ConfigError::Conflict(format!(
                "conflict topic config setting min.compaction.lag.ms ({min}) > max.compaction.lag.ms ({max})"
            )));
        }
        Ok(())
    }

    fn at_least(&self, name: &str, low: i64) -> Result<(), ConfigError> {
        if self.number::<i64>(name)? >= low {
            return Ok(());
        }
        Err(self.refuse(name, &format!("must be at least {low}")))
    }

    /// Names the broker setting that a topic's default was taken from, with its value.
    fn refuse(&self, name: &str, reason: &str) -> ConfigError {
        let names: Vec<&str> = topic::find(name)
            .map_or_else(Vec::new, |entry| entry.synonyms.iter().map(|synonym| synonym.name).collect());
        let (given, value) = self.layers.effective(&names).map_or((name, ""), |(name, value, _)| (name, value));
        ConfigError::invalid(given, value, reason)
    }
}

fn number<T: TryFrom<i64>>(name: &str, value: &Value) -> Result<T, ConfigError> {
    let converted = match value {
        Value::Number(number) => T::try_from(*number).ok(),
        _ => None,
    };
    converted.ok_or_else(|| ConfigError::invalid(name, &value.to_string(), "is out of range"))
}
