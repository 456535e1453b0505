//! Runs `group/`: one shard for each partition of `__consumer_offsets`, replayed from its log, driven by requests and
//! timers.
//!
//! A shard takes one turn at a time under its own lock: decide, append, apply. That is stage one of a request and
//! fixes the order; stage two waits until everything that the turn could see is durable, so that nobody is told of
//! what a crash could take back. Where an append fails, the shard is forgotten and replayed from its log: what the log
//! does not say did not happen.

mod load;
mod running;
mod timers;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use crate::config::BrokerConfig;
use crate::group::shard::Shard;
use crate::group::turn::{Released, Turn};
use crate::metadata::MetadataStore;
use crate::metadata::topic_name::CONSUMER_OFFSETS;
use crate::storage::LogManager;
use crate::types::{PartitionIndex, TopicId};
use crate::wire::ErrorCode;
use running::{Running, Turned};

/// What a turn comes to, now or once it is durable.
pub enum Outcome<T> {
    /// There is nothing to wait for.
    Now(Result<T, ErrorCode>),
    /// It waits: for the shard's replay, for the disk, or for other members.
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

    async fn wait(self) -> Result<T, ErrorCode> {
        match self {
            Self::Now(result) => result,
            Self::Later(result) => result.await,
        }
    }
}

/// What shards are made from.
struct World {
    metadata: Arc<MetadataStore>,
    logs: Arc<LogManager>,
    config: BrokerConfig,
    stopping: AtomicBool,
}

/// The coordinator of all groups.
pub struct GroupCoordinator {
    world: Arc<World>,
    shards: Vec<Arc<Running>>,
}

impl GroupCoordinator {
    /// One shard for each partition that `__consumer_offsets` has now; none is loaded yet.
    pub fn new(metadata: Arc<MetadataStore>, logs: Arc<LogManager>, config: BrokerConfig) -> Self {
        let count = metadata.image().topic(CONSUMER_OFFSETS).map_or(0, |topic| topic.partitions.len());
        let world = Arc::new(World { metadata, logs, config, stopping: AtomicBool::new(false) });
        let shard = |index| Arc::new(Running::new(Arc::clone(&world), PartitionIndex(index)));
        let shards = (0..i32::try_from(count).unwrap_or(i32::MAX)).map(shard).collect();
        Self { world, shards }
    }

    /// Begins to load what earlier brokers wrote, so that dead members are missed and all groups can be listed; and to
    /// look for offsets that have expired. Needs the runtime.
    pub fn start(&self) {
        let written: Vec<_> = self.shards.iter().filter(|shard| shard.is_on_disk()).map(Arc::clone).collect();
        if !written.is_empty() {
            tokio::spawn(async move {
                for shard in written {
                    shard.loaded().await;
                }
            });
        }
        let period = self.world.config.groups.offsets_retention_check_ms;
        tokio::spawn(timers::expire_offsets(self.shards.clone(), period));
    }

    /// From now on nobody waits for other members: those who do are told that there is no coordinator.
    pub fn stop(&self) {
        self.world.stopping.store(true, Ordering::SeqCst);
        self.shards.iter().for_each(|shard| shard.release_all());
    }

    /// One turn of the shard of a group.
    pub fn run<T, F>(&self, group: &str, op: F) -> Outcome<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Shard, &mut Turn<'_>) -> T + Send + 'static,
    {
        match self.shard_of(group) {
            Some(shard) => run(shard, op),
            None => Outcome::Now(Err(ErrorCode::COORDINATOR_NOT_AVAILABLE)),
        }
    }

    /// One turn of the shard of a group, for a request that may have to wait for other members: `op` gives the answer,
    /// or nothing where it comes later under the turn's ticket.
    pub fn run_waiting<F>(&self, group: &str, op: F) -> Outcome<Released>
    where
        F: FnOnce(&mut Shard, &mut Turn<'_>) -> Option<Released> + Send + 'static,
    {
        let Some(shard) = self.shard_of(group) else {
            return Outcome::Now(Err(ErrorCode::COORDINATOR_NOT_AVAILABLE));
        };
        match shard.turn_waiting(op) {
            Ok(answer) => Outcome::Later(answer),
            Err(op) => {
                let shard = Arc::clone(shard);
                Outcome::Later(Box::pin(async move {
                    shard.loaded().await;
                    match shard.turn_waiting(op) {
                        Ok(answer) => answer.await,
                        Err(_) => Err(shard.not_ready()),
                    }
                }))
            }
        }
    }

    /// One turn of every shard that has ever been used, in the order of partitions.
    pub fn run_all<T, F>(&self, op: F) -> Vec<Outcome<T>>
    where
        T: Send + 'static,
        F: Fn(&mut Shard, &mut Turn<'_>) -> T + Clone + Send + 'static,
    {
        let used = self.shards.iter().filter(|shard| shard.is_on_disk());
        used.map(|shard| run(shard, op.clone())).collect()
    }

    /// Offsets of topics that are gone go too.
    pub fn topics_deleted(&self, topics: &[(Arc<str>, TopicId)]) {
        for shard in &self.shards {
            // In a shard that is not loaded they stay until they expire, and count for nothing: ids differ.
            let _ = shard.turn(|shard, turn| shard.topics_deleted(turn, topics));
        }
    }

    fn shard_of(&self, group: &str) -> Option<&Arc<Running>> {
        let count = i32::try_from(self.shards.len()).ok().filter(|count| *count > 0)?;
        self.shards.get(usize::try_from(partition_of(group, count)).ok()?)
    }
}

fn run<T, F>(shard: &Arc<Running>, op: F) -> Outcome<T>
where
    T: Send + 'static,
    F: FnOnce(&mut Shard, &mut Turn<'_>) -> T + Send + 'static,
{
    match shard.turn(op) {
        Turned::Done(told) => told.outcome(),
        Turned::NotReady(op) => {
            let shard = Arc::clone(shard);
            Outcome::Later(Box::pin(async move {
                shard.loaded().await;
                match shard.turn(op) {
                    Turned::Done(told) => told.settle().await,
                    Turned::NotReady(_) => Err(shard.not_ready()),
                }
            }))
        }
    }
}

/// The partition of `__consumer_offsets` where Kafka looks for a group.
fn partition_of(group: &str, count: i32) -> i32 {
    // Kafka takes the hash without its sign; clearing the bit of the sign would give other partitions. The hash that has
    // no positive is 0 to it.
    java_hash(group).checked_abs().unwrap_or(0) % count
}

/// Java's `String.hashCode`.
fn java_hash(text: &str) -> i32 {
    text.encode_utf16().fold(0, |hash: i32, unit| hash.wrapping_mul(31).wrapping_add(i32::from(unit)))
}

#[cfg(test)]
mod tests;
