//! Consumer groups: who is a member, who owns which partition, what was committed.
//!
//! Everything here is pure: time, randomness and the cluster's metadata come in with a [`turn::Turn`], records and
//! answers to waiting members go out with it. [`shard::Shard`] is the state of one partition of `__consumer_offsets`;
//! `coordinator/` runs it. What survives a restart is what the records say; the rest (who waits for a rebalance, when
//! a session ends) is begun anew.

pub mod assignor;
pub mod classic;
pub mod config;
pub mod consumer;
pub mod migration;
pub mod offsets;
pub mod records;
pub mod regex;
pub mod shard;
#[cfg(test)]
pub(crate) mod test_support;
pub mod timers;
pub mod turn;

use std::sync::Arc;

/// A group's name.
pub type GroupId = Arc<str>;
/// A member's name within its group.
pub type MemberId = Arc<str>;
