//! The classic protocol's rules, one by one and all at once.

mod bench;
mod commits;
mod joins;
mod model;
mod statics;
mod syncs;
