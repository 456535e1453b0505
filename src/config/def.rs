//! What a setting is: its name, type, default, the values it takes, and whether it can change while the broker runs.
//!
//! The tables in [`super::topic`], [`super::broker`] and [`super::known`] are made of these; nothing is built at start.
//! Parsing follows Kafka's `ConfigDef.parseType`: blanks around a value do not count, lists are split at commas.

use std::fmt;

use super::duration;

/// A setting's type, with the code that DescribeConfigs answers for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Type {
    /// `true` or `false`.
    Boolean = 1,
    /// Text.
    String = 2,
    /// A whole number of 32 bits.
    Int = 3,
    /// A whole number of 16 bits.
    Short = 4,
    /// A whole number of 64 bits.
    Long = 5,
    /// A floating-point number.
    Double = 6,
    /// Texts, separated by commas: what append and subtract of IncrementalAlterConfigs work on.
    List = 7,
    /// The name of a Java class.
    Class = 8,
    /// A secret: its value is never answered or logged.
    Password = 9,
}

impl Type {
    /// The code in a DescribeConfigs response.
    pub const fn code(self) -> i8 {
        self as i8
    }

    /// As Kafka's own documentation writes it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Boolean => "boolean",
            Self::String => "string",
            Self::Int => "int",
            Self::Short => "short",
            Self::Long => "long",
            Self::Double => "double",
            Self::List => "list",
            Self::Class => "class",
            Self::Password => "password",
        }
    }
}

/// Which values of its type a setting takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rule {
    /// Every value of the type.
    Any,
    /// At least this.
    Min(i64),
    /// From the first to the second, both included.
    Between(i64, i64),
    /// A fraction from 0 to 1.
    Fraction,
    /// One of these words, written so.
    OneOf(&'static [&'static str]),
    /// One of these words, in small or capital letters.
    OneOfAnyCase(&'static [&'static str]),
    /// A list of these words; the list may be empty.
    ListOf(&'static [&'static str]),
    /// A list of these words that names none twice.
    DistinctOf(&'static [&'static str]),
    /// A list that is not empty and names nothing twice.
    Distinct,
    /// gzip's levels: 1 to 9, or -1 for the codec's own default.
    GzipLevel,
    /// `partition:broker` pairs, or `*` for all, as replication throttling takes them.
    ThrottledReplicas,
    /// A text that is not empty.
    NonEmpty,
    /// Where a share group begins: `earliest`, `latest`, or `by_duration:` and a time in ISO 8601 that is not negative.
    ShareOffsetReset,
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => Ok(()),
            Self::Min(low) => write!(f, "at least {low}"),
            Self::Between(low, high) => write!(f, "{low} to {high}"),
            Self::Fraction => f.write_str("0 to 1"),
            Self::OneOf(words) => write!(f, "one of {}", words.join(", ")),
            Self::OneOfAnyCase(words) => write!(f, "one of {} (in any case)", words.join(", ")),
            Self::ListOf(words) => write!(f, "a list of {}", words.join(", ")),
            Self::DistinctOf(words) => write!(f, "a list of {}, none twice", words.join(", ")),
            Self::Distinct => f.write_str("a list that is not empty and names nothing twice"),
            Self::GzipLevel => f.write_str("1 to 9, or -1"),
            Self::ThrottledReplicas => f.write_str("pairs partition:broker separated by commas, or *"),
            Self::NonEmpty => f.write_str("not empty"),
            Self::ShareOffsetReset => f.write_str("earliest, latest or by_duration: and a duration such as PT1H"),
        }
    }
}

/// Whether a setting can change while the broker runs, and where such a change is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Update {
    /// Only by a restart.
    ReadOnly,
    /// By AlterConfigs, for one broker only.
    PerBroker,
    /// By AlterConfigs, for one broker or for the whole cluster.
    ClusterWide,
}

/// What a setting does in Ottla today.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does what its documentation says.
    Acts,
    /// It is checked, kept and described, and its feature is not there yet.
    Stored,
    /// Kafka has it; it has no meaning in Ottla.
    Nothing,
}

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Kafka's name, or one under `ottla.`.
    pub name: &'static str,
    /// Its type.
    pub kind: Type,
    /// Its default as text; `None` where Kafka answers null.
    pub default: Option<&'static str>,
    /// The values it takes.
    pub rule: Rule,
    /// Whether it can change while the broker runs.
    pub update: Update,
    /// What it does in Ottla today.
    pub effect: Effect,
    /// What it is for.
    pub doc: &'static str,
}

/// A value, parsed by its setting's type.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// Of a boolean.
    Boolean(bool),
    /// Of an int, short or long.
    Number(i64),
    /// Of a double.
    Double(f64),
    /// Of a string, class or password.
    Text(String),
    /// Of a list.
    List(Vec<String>),
}

/// As Kafka writes a parsed value back, for DescribeConfigs.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Boolean(value) => value.fmt(f),
            Self::Number(value) => value.fmt(f),
            // Java writes 1.0 and 1.0E10 where Rust's Debug writes 1.0 and 1e10.
            Self::Double(value) => f.write_str(&format!("{value:?}").replace('e', "E")),
            Self::Text(value) => f.write_str(value),
            Self::List(values) => f.write_str(&values.join(",")),
        }
    }
}

/// What is wrong with a setting, in words for the person who gave it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConfigError {
    /// The value is not one that the setting takes.
    #[error("Invalid value {value} for configuration {name}: {reason}")]
    Invalid {
        /// The setting.
        name: String,
        /// The value as given; `[hidden]` for a secret.
        value: String,
        /// What is allowed.
        reason: String,
    },
    /// No topic setting has this name.
    #[error("Unknown topic config name: {0}")]
    UnknownTopicSetting(String),
    /// No setting of groups has this name.
    #[error("Unknown group config name: {0}")]
    UnknownGroupSetting(String),
    /// Two settings contradict each other, or one asks for what Ottla does not have.
    #[error("{0}")]
    Conflict(String),
}

impl ConfigError {
    /// A value that a setting does not take.
    pub fn invalid(name: &str, value: &str, reason: impl Into<String>) -> Self {
        Self::Invalid { name: name.to_owned(), value: value.to_owned(), reason: reason.into() }
    }
}

impl Setting {
    /// A setting that does what Kafka's of the same name does.
    pub const fn new(name: &'static str, kind: Type, default: Option<&'static str>, rule: Rule) -> Self {
        Self { name, kind, default, rule, update: Update::ReadOnly, effect: Effect::Acts, doc: "" }
    }

    /// With its documentation.
    #[must_use]
    pub const fn doc(mut self, doc: &'static str) -> Self {
        self.doc = doc;
        self
    }

    /// It can change while the broker runs.
    #[must_use]
    pub const fn update(mut self, update: Update) -> Self {
        self.update = update;
        self
    }

    /// It does less than its documentation says.
    #[must_use]
    pub const fn effect(mut self, effect: Effect) -> Self {
        self.effect = effect;
        self
    }

    /// Whether its value is a secret.
    pub const fn sensitive(&self) -> bool {
        matches!(self.kind, Type::Password)
    }

    /// Whether append and subtract apply to it.
    pub const fn is_list(&self) -> bool {
        matches!(self.kind, Type::List)
    }

    /// Whether it can only change by a restart.
    pub const fn read_only(&self) -> bool {
        matches!(self.update, Update::ReadOnly)
    }

    /// The value in its type, checked against the rule.
    pub fn parse(&self, text: &str) -> Result<Value, ConfigError> {
        let text = text.trim();
        let value = self.parse_type(text)?;
        if self.allows(&value) { Ok(value) } else { Err(self.refuse(text, format!("must be {}", self.rule))) }
    }

    fn refuse(&self, value: &str, reason: String) -> ConfigError {
        ConfigError::invalid(self.name, if self.sensitive() { "[hidden]" } else { value }, reason)
    }

    fn parse_type(&self, text: &str) -> Result<Value, ConfigError> {
        let number = |low: i64, high: i64| match text.parse::<i64>() {
            Ok(value) if (low..=high).contains(&value) => Ok(Value::Number(value)),
            Ok(_) => Err(self.refuse(text, format!("must be a whole number from {low} to {high}"))),
            Err(_) => Err(self.refuse(text, self.expected("a whole number"))),
        };
        match self.kind {
            Type::Boolean if text.eq_ignore_ascii_case("true") => Ok(Value::Boolean(true)),
            Type::Boolean if text.eq_ignore_ascii_case("false") => Ok(Value::Boolean(false)),
            Type::Boolean => Err(self.refuse(text, "must be true or false".to_owned())),
            Type::Short => number(i16::MIN.into(), i16::MAX.into()),
            Type::Int => number(i32::MIN.into(), i32::MAX.into()),
            Type::Long => number(i64::MIN, i64::MAX),
            Type::Double => match text.parse::<f64>() {
                Ok(value) if value.is_finite() => Ok(Value::Double(value)),
                _ => Err(self.refuse(text, self.expected("a number"))),
            },
            Type::List => Ok(Value::List(split_list(text))),
            Type::String | Type::Class | Type::Password => Ok(Value::Text(text.to_owned())),
        }
    }

    fn expected(&self, what: &str) -> String {
        if self.rule == Rule::Any { format!("must be {what}") } else { format!("must be {what}: {}", self.rule) }
    }

    fn allows(&self, value: &Value) -> bool {
        match (self.rule, value) {
            (Rule::Min(low), Value::Number(value)) => *value >= low,
            (Rule::Between(low, high), Value::Number(value)) => (low..=high).contains(value),
            (Rule::GzipLevel, Value::Number(value)) => *value == -1 || (1..=9).contains(value),
            (Rule::Fraction, Value::Double(value)) => (0.0..=1.0).contains(value),
            (Rule::OneOf(words), Value::Text(value)) => words.contains(&value.as_str()),
            (Rule::OneOfAnyCase(words), Value::Text(value)) => {
                words.iter().any(|word| word.eq_ignore_ascii_case(value))
            }
            (Rule::ShareOffsetReset, Value::Text(value)) => {
                matches!(value.as_str(), "earliest" | "latest")
                    || value.strip_prefix("by_duration:").is_some_and(duration::is_not_negative)
            }
            (Rule::ListOf(words), Value::List(values)) => values.iter().all(|value| words.contains(&value.as_str())),
            (Rule::DistinctOf(words), Value::List(values)) => {
                values.iter().all(|value| words.contains(&value.as_str())) && distinct(values)
            }
            (Rule::Distinct, Value::List(values)) => {
                !values.is_empty() && values.iter().all(|value| !value.is_empty()) && distinct(values)
            }
            (Rule::ThrottledReplicas, Value::List(values)) => throttled_replicas(values),
            (Rule::NonEmpty, Value::Text(value)) => !value.is_empty(),
            (Rule::Any, _) => true,
            // A table row whose rule does not fit its type; a test forbids it.
            _ => false,
        }
    }
}

/// A list's items: split at commas, blanks around them dropped; nothing at all is the empty list.
pub fn split_list(text: &str) -> Vec<String> {
    let text = text.trim();
    if text.is_empty() { Vec::new() } else { text.split(',').map(|item| item.trim().to_owned()).collect() }
}

fn distinct(values: &[String]) -> bool {
    values.iter().enumerate().all(|(index, value)| !values.iter().take(index).any(|earlier| earlier == value))
}

/// Kafka takes the empty list, `*` alone, or pairs of partition and broker.
fn throttled_replicas(values: &[String]) -> bool {
    let pair = |text: &String| {
        text.split_once(':').is_some_and(|(partition, broker)| {
            [partition, broker].iter().all(|part| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit()))
        })
    };
    match values {
        [single] if single == "*" => true,
        values => values.iter().all(pair),
    }
}
