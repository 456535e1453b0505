//! Idempotent producers: what happens on a duplicate, a gap, a new epoch (rules 7-10).
