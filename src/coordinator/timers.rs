//! What happens by itself: sessions end, rebalances wait no longer, offsets expire.

use std::sync::Arc;
use std::time::Duration;

use super::running::Running;
use crate::clock;
use crate::group::shard::Shard;

/// Fires the timers of a shard for as long as it is there.
pub(super) async fn run(shard: Arc<Running>, load: u64) {
    loop {
        let Ok(next) = shard.next_timer(load) else { return };
        let due = async {
            match next {
                // tidy: may sleep: this is the clock that timers wait for
                Some(at) => tokio::time::sleep_until(clock::instant_of(at.0)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {
                let _ = shard.turn(Shard::tick);
            }
            () = shard.earlier.notified() => {}
        }
    }
}

/// Takes back offsets that have expired, every `period_ms`.
pub(super) async fn expire_offsets(shards: Vec<Arc<Running>>, period_ms: i64) {
    let period = Duration::from_millis(u64::try_from(period_ms).unwrap_or(0).max(1));
    loop {
        // tidy: may sleep: the period is what is waited for
        tokio::time::sleep(period).await;
        for shard in &shards {
            let _ = shard.turn(Shard::expire_offsets);
        }
    }
}
