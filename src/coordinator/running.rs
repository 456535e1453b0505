//! A shard with its log: one turn at a time.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{Notify, oneshot};
use uuid::Uuid;

use super::{Outcome, World, load, timers};
use crate::clock;
use crate::group::records::Record;
use crate::group::shard::Shard;
use crate::group::timers::Timers;
use crate::group::turn::{Now, Released, Steady, Ticket, Turn};
use crate::log::AppendError;
use crate::metadata::decide;
use crate::metadata::topic_name::CONSUMER_OFFSETS;
use crate::storage::PartitionLog;
use crate::storage::partition_log::{Durable, Origin};
use crate::types::{Offset, PartitionIndex, TopicPartition};
use crate::wire::ErrorCode;
use crate::wire::records::BatchBuilder;

/// How long a shard whose log takes no records is left alone: reading it again costs more than to say no.
const REST_MS: i64 = 1000;

/// The shard of one partition of `__consumer_offsets`.
pub(super) struct Running {
    pub(super) world: Arc<World>,
    pub(super) index: PartitionIndex,
    state: Mutex<State>,
    /// How often it was loaded.
    loads: AtomicU64,
    /// The state is another one.
    changed: Notify,
    /// A timer is due earlier than the task of the timers knows.
    pub(super) earlier: Notify,
}

enum State {
    /// Nobody asked for it yet; or its log took no more records and is to be read again, but not before then.
    Unloaded(Steady),
    Loading,
    Ready(Box<Live>),
    /// Its log cannot be read.
    Failed,
}

/// A shard that was replayed.
pub(super) struct Live {
    shard: Shard,
    timers: Timers,
    log: Arc<dyn PartitionLog>,
    tickets: u64,
    waiting: HashMap<Ticket, oneshot::Sender<(Released, Option<Durable>)>>,
    /// When the task of the timers wakes.
    wakes: Option<Steady>,
    /// Tells it from the one that was there before an append failed.
    load: u64,
}

/// What came of a turn.
pub(super) enum Turned<T, F> {
    Done(Told<T>),
    /// The shard is not replayed yet.
    NotReady(F),
}

/// What a turn came to, and what must be durable before anybody is told.
pub(super) struct Told<T> {
    result: Result<T, ErrorCode>,
    durable: Option<Durable>,
}

pub(super) type Answer = Pin<Box<dyn Future<Output = Result<Released, ErrorCode>> + Send>>;

impl<T: Send + 'static> Told<T> {
    pub(super) fn outcome(self) -> Outcome<T> {
        match self.durable {
            None => Outcome::Now(self.result),
            Some(_) => Outcome::Later(Box::pin(self.settle())),
        }
    }

    pub(super) async fn settle(self) -> Result<T, ErrorCode> {
        settled(self.durable).await?;
        self.result
    }
}

async fn settled(durable: Option<Durable>) -> Result<(), ErrorCode> {
    let Some(durable) = durable else { return Ok(()) };
    durable.await.map_err(|error| {
        tracing::error!(%error, "a group's records are not on the disk");
        ErrorCode::COORDINATOR_NOT_AVAILABLE
    })
}

impl Running {
    pub(super) fn new(world: Arc<World>, index: PartitionIndex) -> Self {
        let state = Mutex::new(State::Unloaded(Steady(0)));
        Self { world, index, state, loads: AtomicU64::new(0), changed: Notify::new(), earlier: Notify::new() }
    }

    /// Whether anything was ever written to it.
    pub(super) fn is_on_disk(&self) -> bool {
        self.world.logs.is_on_disk(&self.partition())
    }

    pub(super) fn partition(&self) -> TopicPartition {
        TopicPartition::new(CONSUMER_OFFSETS, self.index)
    }

    /// Takes one turn.
    pub(super) fn turn<T, F: FnOnce(&mut Shard, &mut Turn<'_>) -> T>(&self, op: F) -> Turned<T, F> {
        self.turn_of(&mut self.state.lock(), op)
    }

    fn turn_of<T, F: FnOnce(&mut Shard, &mut Turn<'_>) -> T>(&self, state: &mut State, op: F) -> Turned<T, F> {
        let State::Ready(live) = state else { return Turned::NotReady(op) };
        let ticket = live.ticket();
        let told = live.turn(&self.world, ticket, op);
        Turned::Done(self.finish(state, told))
    }

    /// Takes one turn for a request that may have to wait.
    pub(super) fn turn_waiting<F>(&self, op: F) -> Result<Answer, F>
    where
        F: FnOnce(&mut Shard, &mut Turn<'_>) -> Option<Released>,
    {
        let mut state = self.state.lock();
        let State::Ready(live) = &mut *state else { return Err(op) };
        let ticket = live.ticket();
        let (sender, answer) = oneshot::channel();
        live.waiting.insert(ticket, sender);
        let told = live.turn(&self.world, ticket, |shard, turn| {
            if let Some(released) = op(shard, turn) {
                turn.released.push((ticket, released));
            }
        });
        let told = self.finish(&mut state, told);
        if self.world.stopping.load(Ordering::SeqCst) {
            release(&mut state);
        }
        drop(state);
        Ok(Box::pin(async move {
            told.result?;
            // Whoever forgets the one that waits has no coordinator for it any more.
            let (released, durable) = answer.await.map_err(|_| ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
            settled(durable).await?;
            Ok(released)
        }))
    }

    fn finish<T>(&self, state: &mut State, told: Result<Told<T>, AppendError>) -> Told<T> {
        match told {
            Ok(told) => {
                if let State::Ready(live) = state
                    && live.wakes_too_late()
                {
                    self.earlier.notify_one();
                }
                told
            }
            Err(error) => {
                let partition = self.partition();
                tracing::error!("{partition} takes no records, its groups are read again from what it has: {error}");
                *state = State::Unloaded(steady_now().plus_ms(REST_MS));
                Told { result: Err(ErrorCode::COORDINATOR_NOT_AVAILABLE), durable: None }
            }
        }
    }

    /// Waits until the shard is replayed, and sees to it that it is; as long as Kafka lets a commit wait.
    pub(super) async fn loaded(self: &Arc<Self>) {
        let limit = Duration::from_millis(u64::try_from(self.world.config.groups.commit_timeout_ms).unwrap_or(0));
        let _ = tokio::time::timeout(limit, self.wait_until_loaded()).await;
    }

    async fn wait_until_loaded(self: &Arc<Self>) {
        loop {
            let mut changed = std::pin::pin!(self.changed.notified());
            changed.as_mut().enable();
            if !self.begin_loading() {
                return;
            }
            changed.await;
        }
    }

    /// Whether it is being loaded.
    fn begin_loading(self: &Arc<Self>) -> bool {
        let mut state = self.state.lock();
        match *state {
            State::Ready(_) | State::Failed => false,
            State::Unloaded(rests_until) if steady_now() < rests_until => false,
            State::Loading => true,
            State::Unloaded(_) => {
                *state = State::Loading;
                let me = Arc::clone(self);
                tokio::task::spawn_blocking(move || me.load());
                true
            }
        }
    }

    fn load(self: &Arc<Self>) {
        let load = self.loads.fetch_add(1, Ordering::Relaxed);
        let loaded = match load::replay(&self.world, &self.partition()) {
            Ok((shard, log)) => State::Ready(Box::new(Live::new(shard, log, load))),
            Err(error) => {
                tracing::error!("the groups of {} are not served: {error}", self.partition());
                State::Failed
            }
        };
        {
            let mut state = self.state.lock();
            *state = loaded;
            // What a restart interrupted goes on, before anybody else has a turn.
            let _ = self.turn_of(&mut state, Shard::loaded);
        }
        // It ends at once where there is no shard.
        tokio::spawn(timers::run(Arc::clone(self), load));
        self.changed.notify_waiters();
    }

    /// What those are told who cannot be served.
    pub(super) fn not_ready(&self) -> ErrorCode {
        match *self.state.lock() {
            State::Loading => ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
            State::Unloaded(_) | State::Ready(_) | State::Failed => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        }
    }

    /// When the next timer is due: the task of the timers sleeps until then. An error ends the task.
    pub(super) fn next_timer(&self, load: u64) -> Result<Option<Steady>, Gone> {
        match &mut *self.state.lock() {
            State::Ready(live) if live.load == load => {
                live.wakes = live.timers.next();
                Ok(live.wakes)
            }
            _ => Err(Gone),
        }
    }

    /// Nobody waits for other members any more.
    pub(super) fn release_all(&self) {
        release(&mut self.state.lock());
    }
}

/// The shard is not there any more, or is another one.
pub(super) struct Gone;

fn steady_now() -> Steady {
    Steady(clock::steady_ms())
}

fn release(state: &mut State) {
    if let State::Ready(live) = state {
        live.waiting.clear();
    }
}

impl Live {
    fn new(shard: Shard, log: Arc<dyn PartitionLog>, load: u64) -> Self {
        Self { shard, timers: Timers::default(), log, tickets: 0, waiting: HashMap::new(), wakes: None, load }
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    /// Decides, appends, applies; those who waited and are answered may tell once it is durable.
    fn turn<T>(
        &mut self,
        world: &World,
        ticket: Ticket,
        op: impl FnOnce(&mut Shard, &mut Turn<'_>) -> T,
    ) -> Result<Told<T>, AppendError> {
        let now = Now { wall: clock::now(), steady: steady_now() };
        let (result, records, released) = {
            let image = world.metadata.image();
            let config = world.config.groups_now(decide::dynamic(&image, world.config.node_id));
            let mut turn = Turn {
                now,
                image: &image,
                config: &config,
                fresh: Uuid::new_v4(),
                ticket,
                timers: &mut self.timers,
                records: Vec::new(),
                transaction: None,
                released: Vec::new(),
            };
            let result = op(&mut self.shard, &mut turn);
            (result, turn.records, turn.released)
        };
        self.append(world, &records, now)?;
        for (ticket, released) in released {
            if let Some(waiting) = self.waiting.remove(&ticket) {
                // Nobody hears it where the connection is gone.
                let _ = waiting.send((released, self.settled()));
            }
        }
        Ok(Told { result: Ok(result), durable: self.settled() })
    }

    fn append(&self, world: &World, records: &[Record], now: Now) -> Result<(), AppendError> {
        let mut batch = BatchBuilder::new();
        for record in records {
            let encoded = record.encode();
            batch.push(now.wall, Some(&encoded.key), encoded.value.as_deref(), std::iter::empty());
        }
        let codec = world.config.groups.topic_compression;
        let batch = batch.build(Offset(0), codec, 0).map_err(|error| AppendError::Storage(error.to_string()))?;
        let Some(batch) = batch else { return Ok(()) };
        self.log.append(batch, Origin::Broker, now.wall).map(|_| ())
    }

    /// What a turn could see and is not durable yet.
    fn settled(&self) -> Option<Durable> {
        let offsets = self.log.offsets();
        (offsets.high_watermark < offsets.log_end).then(|| self.log.durable(offsets.log_end.plus(-1)))
    }

    fn wakes_too_late(&self) -> bool {
        match (self.timers.next(), self.wakes) {
            (Some(next), Some(wakes)) => next < wakes,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}
