//! The running broker: what handlers share.

/// What handlers share.
pub struct Broker {}
