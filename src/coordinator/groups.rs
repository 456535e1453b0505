//! The coordinator of groups: runs `group/` over `__consumer_offsets`.

use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use tokio::sync::oneshot;
use uuid::Uuid;

use super::load::{self, LoadError};
use super::markers::{self, Marker, NotWritten};
use super::running::{Live, Running, Turned};
use super::shards::Shards;
use super::{Outcome, Told, World, settled, steady_now, timers, unsettled};
use crate::clock;
use crate::config::BrokerConfig;
use crate::group::offsets::TxnCommit;
use crate::group::records::Record;
use crate::group::shard::Shard;
use crate::group::timers::Timers;
use crate::group::turn::{Now, Released, Steady, Ticket, Turn};
use crate::log::{AppendError, VerificationGuard};
use crate::metadata::topic_name::CONSUMER_OFFSETS;
use crate::metadata::{MetadataStore, decide};
use crate::storage::partition_log::{Durable, Origin};
use crate::storage::{LogManager, PartitionLog};
use crate::txn::shard::Producer;
use crate::types::{Offset, PartitionIndex, Sequence, TopicId, TopicPartition};
use crate::wire::ErrorCode;
use crate::wire::records::BatchBuilder;

/// What a commit of offsets comes to: a code for each partition, or one for all.
pub type CommitCodes = Result<Vec<ErrorCode>, ErrorCode>;

/// The coordinator of all groups.
pub struct GroupCoordinator {
    world: Arc<World>,
    shards: Shards<GroupShard>,
}

impl GroupCoordinator {
    /// One shard for each partition that `__consumer_offsets` has now; none is loaded yet.
    pub fn new(metadata: Arc<MetadataStore>, logs: Arc<LogManager>, config: BrokerConfig) -> Self {
        let world = Arc::new(World { metadata, logs, config, stopping: AtomicBool::new(false) });
        Self { shards: Shards::new(&world, &()), world }
    }

    /// Begins to load what earlier brokers wrote, so that dead members are missed and all groups can be listed; and to
    /// look for offsets that have expired. Needs the runtime.
    pub fn start(&self) {
        self.shards.load_written();
        let period = self.world.config.groups.offsets_retention_check_ms;
        tokio::spawn(timers::expire_offsets(self.shards.clone(), period));
    }

    /// From now on nobody waits for other members: those who do are told that there is no coordinator.
    pub fn stop(&self) {
        self.world.stopping.store(true, Ordering::SeqCst);
        for shard in self.shards.iter() {
            shard.with_live(|live| live.waiting.clear());
        }
    }

    /// One turn of the shard of a group.
    pub fn run<T, F>(&self, group: &str, op: F) -> Outcome<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Shard, &mut Turn<'_>) -> T + Send + 'static,
    {
        self.shards.run(group, op)
    }

    /// The partition of `__consumer_offsets` that keeps a group's offsets.
    pub fn partition(&self, group: &str) -> Option<TopicPartition> {
        self.shards.of(group).ok().map(|shard| shard.partition())
    }

    /// TxnOffsetCommit begins: what the append of its offsets has to show, once the transaction's coordinator has said
    /// that the group's partition belongs to the transaction; `None` where it need not be asked (rule 11).
    ///
    /// # Errors
    /// Why the log of the group refuses the producer.
    pub fn begin_verification(&self, txn: &TxnCommit, adds: bool) -> Result<Option<VerificationGuard>, NotWritten> {
        let shard = self.shards.of(&txn.commit.group).map_err(NotWritten::Groups)?;
        let log = shard.log().map_err(|error| NotWritten::Log(AppendError::Storage(error.to_string())))?;
        let begun = log.begin_verification(txn.producer_id, txn.producer_epoch, Sequence::NONE, adds);
        begun.map_err(NotWritten::Log)
    }

    /// TxnOffsetCommit: the offsets are pending until the transaction ends.
    pub fn txn_commit(&self, txn: TxnCommit, guard: VerificationGuard) -> Outcome<Result<CommitCodes, NotWritten>> {
        match self.shards.of(&txn.commit.group) {
            Ok(shard) => shard.run(move |live| live.txn_commit(&txn, guard)),
            Err(code) => Outcome::Now(Err(code)),
        }
    }

    /// One turn of the shard of a group, for a request that may have to wait for other members: `op` gives the answer,
    /// or nothing where it comes later under the turn's ticket.
    pub fn run_waiting<F>(&self, group: &str, op: F) -> Outcome<Released>
    where
        F: FnOnce(&mut Shard, &mut Turn<'_>) -> Option<Released> + Send + 'static,
    {
        let shard = match self.shards.of(group) {
            Ok(shard) => shard,
            Err(code) => return Outcome::Now(Err(code)),
        };
        match shard.turn(|live| live.turn_waiting(op)) {
            Turned::Done(Ok(answer)) => Outcome::Later(answer),
            Turned::Done(Err(code)) => Outcome::Now(Err(code)),
            Turned::NotReady(op) => {
                let shard = Arc::clone(shard);
                Outcome::Later(Box::pin(async move { shard.when_loaded(op).await?.await }))
            }
        }
    }

    /// One turn of every shard that has ever been used, in the order of partitions.
    pub fn run_all<T, F>(&self, op: F) -> Vec<Outcome<T>>
    where
        T: Send + 'static,
        F: FnOnce(&mut Shard, &mut Turn<'_>) -> T + Clone + Send + 'static,
    {
        self.shards.run_all(op)
    }

    /// A transaction ends in a partition of `__consumer_offsets`: what it committed there counts, or is forgotten.
    pub(super) async fn end_transaction(&self, index: PartitionIndex, marker: Marker) -> Result<Durable, NotWritten> {
        let shard = self.shards.at(index).ok_or(NotWritten::Gone)?;
        let ended = shard.when_loaded(move |live| Ok(live.end_transaction(&marker))).await;
        ended.map_err(NotWritten::Groups)?.map_err(NotWritten::Log)
    }

    /// Offsets of topics that are gone go too.
    pub fn topics_deleted(&self, topics: &[(Arc<str>, TopicId)]) {
        for shard in self.shards.iter() {
            // In a shard that is not loaded they stay until they expire, and count for nothing: ids differ.
            let _ = shard.turn(|live| live.turn(|shard, turn| shard.topics_deleted(turn, topics)));
        }
    }
}

/// A shard of groups that was replayed.
pub(super) struct GroupShard {
    world: Arc<World>,
    /// What holds it.
    running: Weak<Running<Self>>,
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

/// The shard is another one.
pub(super) struct Gone;

type Answer = Pin<Box<dyn Future<Output = Result<Released, ErrorCode>> + Send>>;

impl Live for GroupShard {
    const TOPIC: &'static str = CONSUMER_OFFSETS;
    const WHAT: &'static str = "groups";
    type Beside = ();
    type Shard = Shard;
    type Turn<'a> = Turn<'a>;

    fn load(running: &Arc<Running<Self>>, log: Arc<dyn PartitionLog>, load: u64) -> Result<Self, LoadError> {
        Ok(Self {
            world: Arc::clone(&running.world),
            running: Arc::downgrade(running),
            shard: load::groups(&running.partition(), log.as_ref())?,
            timers: Timers::default(),
            log,
            tickets: 0,
            waiting: HashMap::new(),
            wakes: None,
            load,
        })
    }

    /// Those who waited and are answered may tell once it is durable.
    fn turn<T>(&mut self, op: impl FnOnce(&mut Shard, &mut Turn<'_>) -> T) -> Result<Told<T>, AppendError> {
        let ticket = self.ticket();
        self.turn_of(ticket, VerificationGuard::NONE, op)
    }

    fn loaded(&mut self) -> Result<(), AppendError> {
        self.turn(Shard::loaded).map(drop)
    }

    fn started(running: &Arc<Running<Self>>, load: u64) {
        tokio::spawn(timers::run(Arc::clone(running), load));
    }
}

impl GroupShard {
    fn turn_of<T>(
        &mut self,
        ticket: Ticket,
        guard: VerificationGuard,
        op: impl FnOnce(&mut Shard, &mut Turn<'_>) -> T,
    ) -> Result<Told<T>, AppendError> {
        let now = Now { wall: clock::now(), steady: steady_now() };
        let (result, records, transaction, released) = {
            let world = &self.world;
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
            (result, turn.records, turn.transaction, turn.released)
        };
        self.append(&records, transaction.map(|producer| (producer, guard)), now)?;
        for (ticket, released) in released {
            if let Some(waiting) = self.waiting.remove(&ticket) {
                // Nobody hears it where the connection is gone.
                let _ = waiting.send((released, unsettled(self.log.as_ref())));
            }
        }
        if self.wakes_too_late()
            && let Some(running) = self.running.upgrade()
        {
            running.happened.notify_one();
        }
        Ok(Told { result, durable: unsettled(self.log.as_ref()) })
    }

    /// Takes one turn for a request that may have to wait.
    fn turn_waiting(
        &mut self,
        op: impl FnOnce(&mut Shard, &mut Turn<'_>) -> Option<Released>,
    ) -> Result<Answer, AppendError> {
        let ticket = self.ticket();
        let (sender, answer) = oneshot::channel();
        self.waiting.insert(ticket, sender);
        self.turn_of(ticket, VerificationGuard::NONE, |shard, turn| {
            if let Some(released) = op(shard, turn) {
                turn.released.push((ticket, released));
            }
        })?;
        if self.world.stopping.load(Ordering::SeqCst) {
            self.waiting.clear();
        }
        Ok(Box::pin(async move {
            // Whoever forgets the one that waits has no coordinator for it any more.
            let (released, durable) = answer.await.map_err(|_| ErrorCode::COORDINATOR_NOT_AVAILABLE)?;
            settled(durable).await?;
            Ok(released)
        }))
    }

    /// One turn whose records belong to a transaction, if the log takes them: that is asked before anything changes.
    fn txn_commit(
        &mut self,
        txn: &TxnCommit,
        guard: VerificationGuard,
    ) -> Result<Told<Result<CommitCodes, NotWritten>>, AppendError> {
        let refused = |error| Ok(Told { result: Err(NotWritten::Log(error)), durable: None });
        match self.log.begin_verification(txn.producer_id, txn.producer_epoch, Sequence::NONE, false) {
            Ok(Some(now)) if now != guard && guard != VerificationGuard::WAIVED => {
                return refused(AppendError::InvalidTxnState("The transaction has ended meanwhile".to_owned()));
            }
            Ok(_) => {}
            Err(error) => return refused(error),
        }
        let ticket = self.ticket();
        let told = self.turn_of(ticket, guard, |shard, turn| shard.txn_commit(turn, txn))?;
        Ok(Told { result: Ok(told.result), durable: told.durable })
    }

    /// The marker is in the log and what it ends is over, in one turn.
    fn end_transaction(&mut self, marker: &Marker) -> Result<Durable, AppendError> {
        let durable = markers::append(self.log.as_ref(), marker)?;
        self.shard.end_transaction(marker.producer, marker.end.commit);
        Ok(durable)
    }

    fn ticket(&mut self) -> Ticket {
        self.tickets += 1;
        Ticket(self.tickets)
    }

    fn append(
        &self,
        records: &[Record],
        transaction: Option<(Producer, VerificationGuard)>,
        now: Now,
    ) -> Result<(), AppendError> {
        let mut batch = BatchBuilder::new();
        let mut origin = Origin::Broker;
        if let Some(((producer, epoch), guard)) = transaction {
            batch = batch.producer(producer, epoch, Sequence(0)).transactional();
            origin = Origin::Coordinator { guard };
        }
        for record in records {
            let encoded = record.encode();
            batch.push(now.wall, Some(&encoded.key), encoded.value.as_deref(), std::iter::empty());
        }
        let codec = self.world.config.groups.topic_compression;
        let batch = batch.build(Offset(0), codec, 0).map_err(|error| AppendError::Storage(error.to_string()))?;
        let Some(batch) = batch else { return Ok(()) };
        self.log.append(batch, origin, now.wall).map(|_| ())
    }

    /// When the next timer is due: the task of the timers sleeps until then.
    ///
    /// # Errors
    /// The task is that of another load, and ends.
    pub(super) fn next_timer(&mut self, load: u64) -> Result<Option<Steady>, Gone> {
        if self.load != load {
            return Err(Gone);
        }
        self.wakes = self.timers.next();
        Ok(self.wakes)
    }

    fn wakes_too_late(&self) -> bool {
        match (self.timers.next(), self.wakes) {
            (Some(next), Some(wakes)) => next < wakes,
            (Some(_), None) => true,
            (None, _) => false,
        }
    }
}
