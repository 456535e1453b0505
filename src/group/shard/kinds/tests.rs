//! Members of both protocols in one group, and groups that change their kind: Kafka's codes one by one, and a model of
//! clients that come, go and change their protocol.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)]

mod bench;
mod changes;
mod members;
mod model;
