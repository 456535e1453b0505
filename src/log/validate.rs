//! Whether a client's batch may be appended (rules 1-6).
