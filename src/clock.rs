//! The broker's one source of wall-clock time. Pure rooms get the time as an argument.

use std::time::{SystemTime, UNIX_EPOCH};

use crate::types::TimestampMs;

/// Milliseconds since the Unix epoch, now.
pub fn now() -> TimestampMs {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}
