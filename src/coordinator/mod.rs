//! Runs `group/` and `txn/`: one shard for each partition of `__consumer_offsets` and of `__transaction_state`, replayed
//! from its log, driven by requests and timers.
//!
//! A shard takes one turn at a time under its own lock: decide, append, apply. That is stage one of a request and
//! fixes the order; stage two waits until everything that the turn could see is durable, so that nobody is told of
//! what a crash could take back. Where an append fails, the shard is forgotten and replayed from its log: what the log
//! does not say did not happen.

mod groups;
mod load;
pub mod markers;
mod running;
mod shards;
mod timers;
mod transactions;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use crate::clock;
use crate::config::BrokerConfig;
use crate::group::turn::Steady;
use crate::metadata::MetadataStore;
use crate::storage::partition_log::Durable;
use crate::storage::{LogManager, PartitionLog};
use crate::wire::ErrorCode;
pub use groups::GroupCoordinator;
pub use transactions::TransactionCoordinator;

/// What a turn comes to, now or once it is durable.
pub enum Outcome<T> {
    /// There is nothing to wait for.
    Now(Result<T, ErrorCode>),
    /// It waits: for the shard's replay, for the disk, or for others.
    Later(Pin<Box<dyn Future<Output = Result<T, ErrorCode>> + Send>>),
}

impl<T: Send + 'static> Outcome<T> {
    /// What several turns come to, in their order.
    pub fn all(outcomes: Vec<Self>) -> Outcome<Vec<Result<T, ErrorCode>>> {
        let mut results = Vec::with_capacity(outcomes.len());
        let mut outcomes = outcomes.into_iter();
        for outcome in outcomes.by_ref() {
            match outcome {
                Self::Now(result) => results.push(result),
                Self::Later(first) => {
                    return Outcome::Later(Box::pin(async move {
                        results.push(first.await);
                        for outcome in outcomes {
                            results.push(outcome.wait().await);
                        }
                        Ok(results)
                    }));
                }
            }
        }
        Outcome::Now(Ok(results))
    }

    /// What becomes of the result.
    pub fn map<U: Send + 'static>(self, op: impl FnOnce(T) -> U + Send + 'static) -> Outcome<U> {
        match self {
            Self::Now(result) => Outcome::Now(result.map(op)),
            Self::Later(result) => Outcome::Later(Box::pin(async move { result.await.map(op) })),
        }
    }

    /// Waits for it.
    pub async fn wait(self) -> Result<T, ErrorCode> {
        match self {
            Self::Now(result) => result,
            Self::Later(result) => result.await,
        }
    }
}

/// What a turn came to, and what must be durable before anybody is told.
struct Told<T> {
    result: T,
    durable: Option<Durable>,
}

impl<T: Send + 'static> Told<T> {
    fn outcome(self) -> Outcome<T> {
        match self.durable {
            None => Outcome::Now(Ok(self.result)),
            Some(_) => Outcome::Later(Box::pin(self.settle())),
        }
    }

    async fn settle(self) -> Result<T, ErrorCode> {
        settled(self.durable).await?;
        Ok(self.result)
    }
}

async fn settled(durable: Option<Durable>) -> Result<(), ErrorCode> {
    let Some(durable) = durable else { return Ok(()) };
    durable.await.map_err(|error| {
        tracing::error!(%error, "a coordinator's records are not on the disk");
        ErrorCode::COORDINATOR_NOT_AVAILABLE
    })
}

/// What a log holds that is not durable yet.
fn unsettled(log: &dyn PartitionLog) -> Option<Durable> {
    let offsets = log.offsets();
    (offsets.high_watermark < offsets.log_end).then(|| log.durable(offsets.log_end.plus(-1)))
}

/// What shards are made from.
struct World {
    metadata: Arc<MetadataStore>,
    logs: Arc<LogManager>,
    config: BrokerConfig,
    stopping: AtomicBool,
}

fn steady_now() -> Steady {
    Steady(clock::steady_ms())
}

#[cfg(test)]
mod tests;
#[cfg(test)]
mod transaction_tests;
