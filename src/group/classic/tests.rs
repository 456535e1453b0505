//! The classic protocol's rules, one by one and all at once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bench;
mod commits;
mod joins;
mod model;
mod statics;
mod syncs;
