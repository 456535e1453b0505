//! Regular expressions that members subscribe to (KIP-848 as of KIP-1108): which topics they stand for.
//!
//! All of a group are resolved together, so that new topics cost one rebalance. Apache Kafka resolves them beside the
//! coordinator and bumps the epoch when it is done; here they are resolved in the turn of a heartbeat, so a member that
//! brings a new expression has its partitions an answer earlier.

use std::sync::Arc;

use super::ConsumerGroup;
use crate::group::records::{Record, ResolvedRegex};
use crate::group::regex;
use crate::group::turn::Turn;

/// The least time between two resolutions; milliseconds. Resolving costs as much as there are topics.
pub(super) const REFRESH_MIN_INTERVAL_MS: i64 = 10_000;

impl ConsumerGroup {
    /// Resolves the regular expressions if one is new, topics came or went, or the last time is long ago. Whether any
    /// stands for other topics now.
    pub fn refresh_regexes(&mut self, turn: &mut Turn<'_>, new: bool) -> bool {
        if self.regexes.is_empty() || !self.must_resolve(turn, new) {
            return false;
        }
        let version = turn.image.topics_version();
        self.seen.regexes = Some(version);
        let patterns: Vec<Arc<str>> = self.regexes.keys().map(|pattern| Arc::from(pattern.as_str())).collect();
        let mut changed = false;
        for pattern in patterns {
            let names = turn.image.topics().map(|topic| &*topic.name);
            // One that is invalid was written by another broker: it stands for nothing.
            let topics = regex::resolve(&pattern, names).unwrap_or_default();
            changed |= self.resolved.get(&pattern).map_or(&[][..], |resolved| &resolved.topics) != topics;
            let resolved = ResolvedRegex { topics, version: version.cast_signed(), timestamp: turn.now.wall.0 };
            self.emit(turn, Record::Regex(self.id.clone(), pattern, Some(resolved)));
        }
        changed
    }

    fn must_resolve(&self, turn: &Turn<'_>, new: bool) -> bool {
        // They are resolved together, so the first tells when.
        let Some(last) = self.resolved.values().next().map(|resolved| resolved.timestamp) else { return true };
        let since = turn.now.wall.0.saturating_sub(last);
        if (0..=REFRESH_MIN_INTERVAL_MS).contains(&since) {
            return false;
        }
        new || self.regexes.len() != self.resolved.len()
            || self.seen.regexes != Some(turn.image.topics_version())
            || since > i64::from(turn.config.regex_refresh_interval_ms)
            // A clock that was set back would keep them as they are for as long.
            || since < 0
    }
}
