//! What happens by itself: sessions end, rebalances wait no longer, offsets and transactional ids expire, transactions
//! are aborted that took too long.

use std::sync::Arc;
use std::time::Duration;

use super::groups::GroupShard;
use super::running::{Live, Running, Turned};
use super::shards::Shards;
use super::transactions::TransactionShard;
use crate::clock;
use crate::group::shard::Shard as Groups;
use crate::txn::shard::{EXPIRED_AT_ONCE, Shard as Transactions};

/// Fires the timers of a shard for as long as it is there.
pub(super) async fn run(shard: Arc<Running<GroupShard>>, load: u64) {
    loop {
        let Some(Ok(next)) = shard.with_live(|live| live.next_timer(load)) else { return };
        let due = async {
            match next {
                // tidy: may sleep: this is the clock that timers wait for
                Some(at) => tokio::time::sleep_until(clock::instant_of(at.0)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = due => {
                let _ = shard.turn(|live| live.turn(Groups::tick));
            }
            () = shard.happened.notified() => {}
        }
    }
}

/// Takes back offsets that have expired, every `period_ms`.
pub(super) async fn expire_offsets(shards: Shards<GroupShard>, period_ms: i64) {
    loop {
        pause(period_ms).await;
        for shard in shards.iter() {
            let _ = shard.turn(|live| live.turn(Groups::expire_offsets));
        }
    }
}

/// Aborts transactions that are past their timeout, every `period_ms`.
pub(super) async fn abort_timed_out(shards: Shards<TransactionShard>, period_ms: i64) {
    loop {
        pause(period_ms).await;
        for shard in shards.iter() {
            let _ = shard.turn(|live| live.turn(Transactions::abort_timed_out));
        }
    }
}

/// Forgets transactional ids that have expired, every `period_ms`.
pub(super) async fn expire_ids(shards: Shards<TransactionShard>, period_ms: i64) {
    loop {
        pause(period_ms).await;
        for shard in shards.iter() {
            // In pieces, each of which fits in a batch.
            while let Turned::Done(Ok(told)) = shard.turn(|live| live.turn(Transactions::expire))
                && told.result == EXPIRED_AT_ONCE
            {}
        }
    }
}

async fn pause(period_ms: i64) {
    let period = Duration::from_millis(u64::try_from(period_ms).unwrap_or(0).max(1));
    // tidy: may sleep: the period is what is waited for
    tokio::time::sleep(period).await;
}
