//! The coordinator of transactions: runs `txn/` over `__transaction_state`.

use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Weak};
use std::time::Duration;

use tokio::time::{Instant, timeout_at};

use super::load::{self, LoadError};
use super::markers::{self, Markers};
use super::running::{Live, Running};
use super::shards::Shards;
use super::{GroupCoordinator, Outcome, Told, World, timers, unsettled};
use crate::clock;
use crate::config::BrokerConfig;
use crate::log::AppendError;
use crate::metadata::bootstrap::TRANSACTION_VERSION;
use crate::metadata::topic_name::TRANSACTION_STATE;
use crate::metadata::{MetadataStore, decide};
use crate::storage::partition_log::{Durable, Origin};
use crate::storage::{LogManager, PartitionLog};
use crate::txn::TransactionalId;
use crate::txn::records::Record;
use crate::txn::shard::{Producer, Shard};
use crate::txn::transaction::TransactionVersion;
use crate::txn::turn::Turn;
use crate::types::{Offset, ProducerId, TimestampMs, TopicPartition};
use crate::wire::ErrorCode;
use crate::wire::batch::Compression;
use crate::wire::records::BatchBuilder;

/// The coordinator of all transactions.
pub struct TransactionCoordinator {
    world: Arc<World>,
    shards: Shards<TransactionShard>,
    /// Writes the marks at which transactions end.
    pub markers: Markers,
}

impl TransactionCoordinator {
    /// One shard for each partition that `__transaction_state` has now; none is loaded yet.
    pub fn new(
        metadata: Arc<MetadataStore>,
        logs: Arc<LogManager>,
        config: BrokerConfig,
        groups: Arc<GroupCoordinator>,
    ) -> Self {
        let markers = Markers::new(Arc::clone(&metadata), Arc::clone(&logs), groups);
        let world = Arc::new(World { metadata, logs, config, stopping: AtomicBool::new(false) });
        Self { shards: Shards::new(&world, &markers), world, markers }
    }

    /// Begins to load what earlier brokers wrote, so that what was decided is carried out; and to look for transactions
    /// that took too long, and for ids that nobody uses. Needs the runtime.
    pub fn start(&self) {
        self.shards.load_written();
        let config = &self.world.config.transactions;
        tokio::spawn(timers::abort_timed_out(self.shards.clone(), config.timeout_check_ms));
        tokio::spawn(timers::expire_ids(self.shards.clone(), config.id_expiration_check_ms));
    }

    /// One turn of the shard of a transactional id.
    pub fn run<T, F>(&self, id: &str, op: F) -> Outcome<T>
    where
        T: Send + 'static,
        F: FnOnce(&mut Shard, &mut Turn<'_>) -> T + Send + 'static,
    {
        self.shards.run(id, op)
    }

    /// As [`Self::run`], for a request that may come while the transaction before is still being ended: it is tried again
    /// when that is over, so that the client need not, for as long as Kafka's broker does
    /// (`add.partitions.to.txn.retry.backoff.max.ms`).
    pub fn run_after<T, F>(&self, id: &str, op: F) -> Outcome<Result<T, ErrorCode>>
    where
        T: Send + 'static,
        F: Fn(&mut Shard, &mut Turn<'_>) -> Result<T, ErrorCode> + Clone + Send + 'static,
    {
        let shard = match self.shards.of(id) {
            Ok(shard) => Arc::clone(shard),
            Err(code) => return Outcome::Now(Err(code)),
        };
        let wait_ms = u64::try_from(self.world.config.transactions.longest_wait_ms).unwrap_or(0);
        let attempt = |shard: &Arc<Running<TransactionShard>>, op: F| shard.run(|live| live.turn(op));
        let is_early = |result: &Result<Result<T, ErrorCode>, ErrorCode>| {
            matches!(result, Ok(Err(ErrorCode::CONCURRENT_TRANSACTIONS)))
        };
        let first = match attempt(&shard, op.clone()) {
            Outcome::Now(result) if !is_early(&result) => return Outcome::Now(result),
            first => first,
        };
        Outcome::Later(Box::pin(async move {
            let deadline = Instant::now() + Duration::from_millis(wait_ms);
            let mut result = first.wait().await;
            while is_early(&result) {
                let mut over = std::pin::pin!(shard.happened.notified());
                over.as_mut().enable();
                result = attempt(&shard, op.clone()).wait().await;
                if !is_early(&result) || timeout_at(deadline, over).await.is_err() {
                    break;
                }
            }
            result
        }))
    }

    /// Whether [`Self::take_part`] has to be asked: always where it adds the partitions, else unless
    /// `transaction.partition.verification.enable` says that it need not.
    pub fn has_to_be_asked(&self, adds: bool) -> bool {
        if adds {
            return true;
        }
        let image = self.world.metadata.image();
        let config = &self.world.config;
        config.verifies_transactions(decide::dynamic(&image, config.node_id))
    }

    /// A producer is about to write its first records of a transaction to partitions (rule 11): they are added to the
    /// transaction, where the protocol is that of KIP-890, or looked up in it: a code for each.
    pub fn take_part(
        &self,
        id: &str,
        producer: Producer,
        partitions: Vec<TopicPartition>,
        adds: bool,
    ) -> Outcome<Result<Vec<ErrorCode>, ErrorCode>> {
        let transactional_id = TransactionalId::from(id);
        if adds {
            return self.run_after(id, move |shard, turn| {
                shard.add_partitions(turn, &transactional_id, producer, &partitions, TransactionVersion::KIP_890)?;
                Ok(vec![ErrorCode::NONE; partitions.len()])
            });
        }
        self.run(id, move |shard, _| shard.verify(&transactional_id, producer, &partitions))
    }

    /// One turn of every shard that has ever been used, in the order of partitions.
    pub fn run_all<T, F>(&self, op: F) -> Vec<Outcome<T>>
    where
        T: Send + 'static,
        F: FnOnce(&mut Shard, &mut Turn<'_>) -> T + Clone + Send + 'static,
    {
        self.shards.run_all(op)
    }
}

/// A shard of transactional ids that was replayed.
pub(super) struct TransactionShard {
    world: Arc<World>,
    /// What holds it.
    running: Weak<Running<Self>>,
    shard: Shard,
    log: Arc<dyn PartitionLog>,
}

impl Live for TransactionShard {
    const TOPIC: &'static str = TRANSACTION_STATE;
    const WHAT: &'static str = "transactions";
    type Beside = Markers;
    type Shard = Shard;
    type Turn<'a> = Turn<'a>;

    fn load(running: &Arc<Running<Self>>, log: Arc<dyn PartitionLog>, _load: u64) -> Result<Self, LoadError> {
        let shard = load::transactions(&running.partition(), log.as_ref())?;
        Ok(Self { world: Arc::clone(&running.world), running: Arc::downgrade(running), shard, log })
    }

    /// What was decided is carried out once it is durable.
    fn turn<T>(&mut self, op: impl FnOnce(&mut Shard, &mut Turn<'_>) -> T) -> Result<Told<T>, AppendError> {
        let now = clock::now();
        let metadata = &self.world.metadata;
        let version = TransactionVersion(metadata.image().feature(TRANSACTION_VERSION));
        let mut given: Option<Durable> = None;
        let mut ids = || take_id(metadata, &mut given);
        let (result, records, endings) = {
            let config = &self.world.config.transactions;
            let mut turn = Turn { now, config, version, ids: &mut ids, records: Vec::new(), endings: Vec::new() };
            let result = op(&mut self.shard, &mut turn);
            (result, turn.records, turn.endings)
        };
        self.append(&records, version, now)?;
        if let Some(running) = self.running.upgrade() {
            for ending in endings {
                let decided = unsettled(self.log.as_ref());
                tokio::spawn(markers::carry_out(Arc::clone(&running), ending, decided));
            }
        }
        let durable = match (given, unsettled(self.log.as_ref())) {
            (None, durable) => durable,
            (Some(given), durable) => Some(both(given, durable)),
        };
        Ok(Told { result, durable })
    }

    fn loaded(&mut self) -> Result<(), AppendError> {
        self.turn(|shard, turn| shard.loaded(turn)).map(drop)
    }

    fn started(running: &Arc<Running<Self>>, _load: u64) {
        // Who waits for the end of a transaction asks again.
        running.happened.notify_waiters();
    }
}

impl TransactionShard {
    fn append(&self, records: &[Record], version: TransactionVersion, now: TimestampMs) -> Result<(), AppendError> {
        let mut batch = BatchBuilder::new();
        for record in records {
            let encoded = record.encode(version);
            batch.push(now, Some(&encoded.key), encoded.value.as_deref(), std::iter::empty());
        }
        let batch = batch.build(Offset(0), Compression::None, 0);
        let Some(batch) = batch.map_err(|error| AppendError::Storage(error.to_string()))? else { return Ok(()) };
        self.log.append(batch, Origin::Broker, now).map(|_| ())
    }
}

/// A producer id; what `durable` gets must be before anybody hears of it.
fn take_id(metadata: &MetadataStore, durable: &mut Option<Durable>) -> Option<ProducerId> {
    match metadata.next_producer_id() {
        Ok((id, given)) => {
            // A later one is durable only when the earlier ones are.
            *durable = Some(given);
            Some(id)
        }
        Err(error) => {
            tracing::error!("no producer id can be given out: {error}");
            None
        }
    }
}

fn both(first: Durable, second: Option<Durable>) -> Durable {
    Box::pin(async move {
        first.await?;
        match second {
            Some(second) => second.await,
            None => Ok(()),
        }
    })
}
