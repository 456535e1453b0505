//! Ottla: a broker that speaks Kafka's wire protocol.
//!
//! The rooms and the walls between them are in `docs/architecture.md`; `tests/tidy.rs` keeps them standing.

pub mod api;
pub mod broker;
pub mod cli;
pub mod clock;
pub mod config;
pub mod coordinator;
pub mod group;
pub mod log;
pub mod metadata;
pub mod server;
pub mod storage;
pub mod txn;
pub mod types;
pub mod wire;
