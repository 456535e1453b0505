//! Collects what was given at start: a file, then the environment, then `--set`, then flags of their own.

use std::ffi::OsString;
use std::path::{Path, PathBuf};

use super::layers::{Given, Origin, Start};
use super::{env, properties};

/// Why what was given cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum GivenError {
    /// The file of `--config`.
    #[error("cannot read the configuration file {path}: {source}")]
    File {
        /// Its path.
        path: PathBuf,
        /// The operating system's error.
        source: std::io::Error,
    },
    /// The file of `--config` is not a properties file.
    #[error("cannot read the configuration file {path}: {source}")]
    Format {
        /// Its path.
        path: PathBuf,
        /// The line that is wrong.
        source: properties::MalformedEscape,
    },
    /// `--set` without `=`.
    #[error("--set {0}: expected name=value, for example --set num.partitions=3")]
    Assignment(String),
}

/// Defaults of Kafka that hold where a properties file is given: it was written for them. Without one Ottla is started
/// by hand, and its own defaults fit that better.
const WITH_A_FILE: &[(&str, &str)] = &[("group.initial.rebalance.delay.ms", "3000")];

/// Gathers start-up values; whatever is added later wins.
#[derive(Debug, Default)]
pub struct StartBuilder {
    start: Start,
}

impl StartBuilder {
    /// The settings of a properties file.
    pub fn file(mut self, path: &Path) -> Result<Self, GivenError> {
        let bytes = std::fs::read(path).map_err(|source| GivenError::File { path: path.to_owned(), source })?;
        let pairs = properties::parse(&String::from_utf8_lossy(&bytes))
            .map_err(|source| GivenError::Format { path: path.to_owned(), source })?;
        for (name, default) in WITH_A_FILE {
            self.insert((*name).to_owned(), default, Origin::KafkaDefault);
        }
        for (name, value) in pairs {
            self.insert(name, &value, Origin::File);
        }
        Ok(self)
    }

    /// The settings among environment variables. A variable that is not UTF-8 is none.
    #[must_use]
    pub fn environment(mut self, variables: impl Iterator<Item = (OsString, OsString)>) -> Self {
        for (variable, value) in variables {
            let name = variable.to_str().and_then(env::setting);
            if let (Some(name), Some(value)) = (name, value.to_str()) {
                self.insert(name, value, Origin::Environment);
            }
        }
        self
    }

    /// `name=value`, as `--set` takes it.
    pub fn assignment(mut self, text: &str) -> Result<Self, GivenError> {
        match text.split_once('=') {
            Some((name, value)) if !name.trim().is_empty() => {
                self.insert(name.trim().to_owned(), value, Origin::Set);
                Ok(self)
            }
            _ => Err(GivenError::Assignment(text.to_owned())),
        }
    }

    /// A value from a flag of its own.
    #[must_use]
    pub fn flag(mut self, name: &str, value: &str) -> Self {
        self.insert(name.to_owned(), value, Origin::Flag);
        self
    }

    /// What was given.
    pub fn finish(self) -> Start {
        self.start
    }

    fn insert(&mut self, name: String, value: &str, origin: Origin) {
        self.start.insert(name, Given { value: value.trim().to_owned(), origin });
    }
}
