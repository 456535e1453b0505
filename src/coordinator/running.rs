//! A shard from its first use on: replayed from its log, one turn at a time, and replayed again where its log fails it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::load::LoadError;
use super::{Outcome, Told, World, steady_now};
use crate::group::turn::Steady;
use crate::log::AppendError;
use crate::storage::PartitionLog;
use crate::types::{PartitionIndex, TopicPartition};
use crate::wire::ErrorCode;

/// How long a shard whose log takes no records is left alone: reading it again costs more than to say no.
const REST_MS: i64 = 1000;

/// What a log's records come to, with what is there beside them only while the broker runs.
pub(super) trait Live: Sized + Send + 'static {
    /// The topic that holds the logs of these shards.
    const TOPIC: &'static str;
    /// What they hold, for messages.
    const WHAT: &'static str;
    /// What they need beside their log.
    type Beside: Clone + Send + Sync + 'static;
    /// The pure part.
    type Shard;
    /// What a turn of it gets to see and to change.
    type Turn<'a>;

    /// Replays the log.
    fn load(running: &Arc<Running<Self>>, log: Arc<dyn PartitionLog>, load: u64) -> Result<Self, LoadError>;

    /// Takes one turn: decides, appends, applies.
    ///
    /// # Errors
    /// The log takes nothing: what the turn decided did not happen, and the shard is of no use any more.
    fn turn<T>(&mut self, op: impl FnOnce(&mut Self::Shard, &mut Self::Turn<'_>) -> T) -> Result<Told<T>, AppendError>;

    /// What a restart interrupted goes on, before anybody has a turn.
    fn loaded(&mut self) -> Result<(), AppendError>;

    /// It can be used now: its timers begin.
    fn started(running: &Arc<Running<Self>>, load: u64);
}

/// The shard of one partition of a coordinator's topic.
pub(super) struct Running<L: Live> {
    pub(super) world: Arc<World>,
    pub(super) beside: L::Beside,
    pub(super) index: PartitionIndex,
    state: Mutex<State<L>>,
    /// How often it was loaded.
    loads: AtomicU64,
    /// The state is another one.
    changed: Notify,
    /// Something happened that tasks beside the shard wait for: an earlier timer, the end of a transaction.
    pub(super) happened: Notify,
}

enum State<L> {
    /// Nobody asked for it yet; or its log took no more records and is to be read again, but not before then.
    Unloaded(Steady),
    Loading,
    Ready(Box<L>),
    /// Its log cannot be read.
    Failed,
}

/// What came of a turn.
pub(super) enum Turned<T, F> {
    Done(Result<T, ErrorCode>),
    /// The shard is not replayed yet.
    NotReady(F),
}

impl<L: Live> Running<L> {
    pub(super) fn new(world: Arc<World>, beside: L::Beside, index: PartitionIndex) -> Self {
        Self {
            world,
            beside,
            index,
            state: Mutex::new(State::Unloaded(Steady(0))),
            loads: AtomicU64::new(0),
            changed: Notify::new(),
            happened: Notify::new(),
        }
    }

    /// Whether anything was ever written to it.
    pub(super) fn is_on_disk(&self) -> bool {
        self.world.logs.is_on_disk(&self.partition())
    }

    pub(super) fn partition(&self) -> TopicPartition {
        TopicPartition::new(L::TOPIC, self.index)
    }

    /// Its log, whether it is replayed or not.
    pub(super) fn log(&self) -> Result<Arc<dyn PartitionLog>, LoadError> {
        Ok(self.world.logs.get(L::TOPIC, self.index).ok_or(LoadError::NoTopic)??)
    }

    /// Takes one turn.
    pub(super) fn turn<T, F: FnOnce(&mut L) -> Result<T, AppendError>>(&self, op: F) -> Turned<T, F> {
        let mut state = self.state.lock();
        let State::Ready(live) = &mut *state else { return Turned::NotReady(op) };
        let result = op(live);
        Turned::Done(result.map_err(|error| self.fail(&mut state, &error)))
    }

    /// Takes one turn, once it is replayed.
    pub(super) async fn when_loaded<T, F>(self: &Arc<Self>, op: F) -> Result<T, ErrorCode>
    where
        F: FnOnce(&mut L) -> Result<T, AppendError>,
    {
        self.loaded().await;
        match self.turn(op) {
            Turned::Done(result) => result,
            Turned::NotReady(_) => Err(self.not_ready()),
        }
    }

    /// Takes one turn, now or once it is replayed.
    pub(super) fn run<T, F>(self: &Arc<Self>, op: F) -> Outcome<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut L) -> Result<Told<T>, AppendError> + Send + 'static,
    {
        match self.turn(op) {
            Turned::Done(Ok(told)) => told.outcome(),
            Turned::Done(Err(code)) => Outcome::Now(Err(code)),
            Turned::NotReady(op) => {
                let me = Arc::clone(self);
                Outcome::Later(Box::pin(async move { me.when_loaded(op).await?.settle().await }))
            }
        }
    }

    /// What the log does not say did not happen.
    fn fail(&self, state: &mut State<L>, error: &AppendError) -> ErrorCode {
        let partition = self.partition();
        tracing::error!("{partition} takes no records, its {} are read again from what it has: {error}", L::WHAT);
        *state = State::Unloaded(steady_now().plus_ms(REST_MS));
        ErrorCode::COORDINATOR_NOT_AVAILABLE
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
        let loaded = match self.log().and_then(|log| L::load(self, log, load)) {
            Ok(live) => State::Ready(Box::new(live)),
            Err(error) => {
                tracing::error!("the {} of {} are not served: {error}", L::WHAT, self.partition());
                State::Failed
            }
        };
        {
            let mut state = self.state.lock();
            *state = loaded;
            if let State::Ready(live) = &mut *state
                && let Err(error) = live.loaded()
            {
                self.fail(&mut state, &error);
            }
        }
        // It ends at once where there is no shard.
        L::started(self, load);
        self.changed.notify_waiters();
    }

    /// What those are told who cannot be served.
    pub(super) fn not_ready(&self) -> ErrorCode {
        match *self.state.lock() {
            State::Loading => ErrorCode::COORDINATOR_LOAD_IN_PROGRESS,
            State::Unloaded(_) | State::Ready(_) | State::Failed => ErrorCode::COORDINATOR_NOT_AVAILABLE,
        }
    }

    /// Looks at it, where it is there.
    pub(super) fn with_live<T>(&self, look: impl FnOnce(&mut L) -> T) -> Option<T> {
        match &mut *self.state.lock() {
            State::Ready(live) => Some(look(live)),
            _ => None,
        }
    }
}
