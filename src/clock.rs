//! The broker's one source of time. Pure rooms get the time as an argument.

use std::sync::LazyLock;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use crate::types::TimestampMs;

/// Milliseconds since the Unix epoch, now.
pub fn now() -> TimestampMs {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    TimestampMs(i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX))
}

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

/// Milliseconds since the first call, by a clock that never jumps.
pub fn steady_ms() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// When [`steady_ms`] will say so much.
pub fn instant_of(steady_ms: u64) -> Instant {
    *START + Duration::from_millis(steady_ms)
}
