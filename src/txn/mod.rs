//! Transactions: who holds a transactional id, what its transaction has touched, how it ends (rules 15-18).
//!
//! Everything here is pure: time, settings and new producer ids come in with a [`turn::Turn`], records and the
//! transactions whose markers are due go out with it. [`shard::Shard`] is the state of one partition of
//! `__transaction_state`; `coordinator/` runs it and writes the markers. What a transaction is after each step is one
//! record, so that the last record of a transactional id is all that a restart needs.

pub mod config;
pub mod records;
pub mod shard;
pub mod transaction;
pub mod turn;

use std::sync::Arc;

/// `transactional.id`: names a producer over its restarts.
pub type TransactionalId = Arc<str>;
