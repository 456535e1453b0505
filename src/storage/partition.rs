//! One partition's log on a disk: the short lock, appends, and what the rest of the room needs of both.

use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};

use bytes::BytesMut;
use parking_lot::{Mutex, RwLock};
use tokio::sync::Notify;

use super::boot_mark::BootMark;
use super::cleaner::Cleaner;
use super::cleaning::Cleaning;
use super::disk::Disk;
use super::flush::Maintenance;
use super::log_manager::Durability;
use super::offset_checkpoints::OffsetCheckpoints;
use super::partition_log::{
    AbortedTransaction, ActiveProducer, Durable, LogOffsets, OffsetAndTimestamp, PartitionLog, ReadBound, ReadError,
    ReadResult,
};
use super::read::Cursors;
use super::scan::Found;
use super::segment::{IndexBuilder, Segment};
use super::state::{ActiveTail, FlushState, SegmentState, State, TakenSnapshot, Watchers};
use super::workers::Workers;
use crate::clock;
use crate::log::config::LogConfig;
use crate::log::producer_state::{Decision, ProducerEntry};
use crate::log::roll::{self, ActiveSegment};
use crate::log::validate::{self, Validated};
use crate::log::{AppendError, Appended, Origin, VerificationGuard};
use crate::types::{LeaderEpoch, Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs, TopicPartition};
use crate::wire::batch::{self, BatchHeader};
use crate::wire::control::Control;

/// What the partitions of one data folder share.
#[derive(Debug)]
pub(super) struct Shared {
    pub disk: Arc<dyn Disk>,
    pub durability: Durability,
    pub producer_id_expiration_ms: i64,
    pub workers: Workers,
    pub checkpoints: OffsetCheckpoints,
    pub boot_mark: BootMark,
    pub cleaner: Cleaner,
}

/// One partition of the local storage.
#[derive(Debug)]
pub struct LocalPartition {
    pub(super) name: TopicPartition,
    pub(super) dir: Arc<Path>,
    pub(super) shared: Arc<Shared>,
    pub(super) config: RwLock<Arc<LogConfig>>,
    pub(super) state: Mutex<State>,
    pub(super) cursors: Mutex<Cursors>,
    /// Held while files beside the log are written, so that a deletion finds nobody at it.
    pub(super) maintenance: Mutex<Maintenance>,
    pub(super) cleaning: Cleaning,
    pub(super) me: Weak<Self>,
}

/// What is to be done after the lock is released.
#[derive(Debug, Default)]
struct Afterwards {
    watchers: Watchers,
    flush: bool,
    /// `flush.ms`, when nobody waits for it yet.
    timer: Option<i64>,
    /// A closed segment, or the end of a transaction, may be something to compact.
    cleanable: bool,
}

impl LocalPartition {
    fn append_locked(
        &self,
        state: &mut State,
        config: &LogConfig,
        validated: &mut Validated,
        (origin, now): (Origin, TimestampMs),
        afterwards: &mut Afterwards,
    ) -> Result<Appended, AppendError> {
        check_writable(state)?;
        let Validated { batch, header, control, .. } = validated;
        let control = *control;
        if let Decision::Duplicate(original) = state.producers.decide(header, control, origin)? {
            let appended = Appended {
                base_offset: original.base_offset(),
                last_offset: original.last_offset,
                log_append_time: original.timestamp,
                log_start_offset: state.log_start,
                duplicate: true,
            };
            return Ok(appended);
        }
        header.base_offset = state.log_end;
        header.partition_leader_epoch = state.leader_epoch;
        if should_roll(state, header, config, now) {
            self.roll(state, config, now).map_err(|error| self.storage_error("cannot open a new segment", &error))?;
            afterwards.flush = self.ask_for_flush(state);
            afterwards.cleanable = config.compact;
        }
        afterwards.cleanable |= config.compact && header.is_control();
        batch::assign_offset(batch, header.base_offset, header.partition_leader_epoch);
        if control.is_some() {
            open_aborted(state).map_err(|error| self.storage_error("cannot append a marker", &error))?;
        }
        let position = self.write(state, batch)?;
        took(state, &Found { position, header: *header }, control, now);

        if state.advance_high_watermark() {
            afterwards.watchers = state.watchers.take();
        }
        let unflushed = state.log_end.0 - state.durable_end.0;
        let flush_messages = self.shared.durability == Durability::Os && unflushed >= config.flush_messages;
        if state.waits || flush_messages {
            state.flush_wanted = state.log_end;
            afterwards.flush |= self.ask_for_flush(state);
        } else if self.shared.durability == Durability::Os && config.flush_ms < i64::MAX && !state.flush_timer {
            state.flush_timer = true;
            afterwards.timer = Some(config.flush_ms);
        }
        Ok(Appended {
            base_offset: header.base_offset,
            last_offset: header.last_offset(),
            log_append_time: TimestampMs::NONE,
            log_start_offset: state.log_start,
            duplicate: false,
        })
    }

    /// One write at the end of the active segment. On failure the end stays where it was.
    fn write(&self, state: &mut State, batch: &[u8]) -> Result<u64, AppendError> {
        let torn = state.torn;
        let Some(active) = state.segments.last() else { return Err(no_segment()) };
        let position = active.size;
        let write = || -> io::Result<()> {
            let log = active.segment.log()?;
            if torn {
                log.set_len(position)?;
            }
            log.write_all_at(batch, position)
        };
        let Err(error) = write() else {
            state.torn = false;
            return Ok(position);
        };
        // What was written of it goes now, or before the next write.
        state.torn = active.segment.log().and_then(|log| log.set_len(position)).is_err();
        Err(self.storage_error("cannot append", &error))
    }

    /// Opens a new segment at the log's end. The old one is flushed and finished by the pool.
    pub(super) fn roll(&self, state: &mut State, config: &LogConfig, now: TimestampMs) -> io::Result<()> {
        let base = state.log_end;
        let segment = Arc::new(Segment::new(Arc::clone(&self.shared.disk), Arc::clone(&self.dir), base));
        segment.create()?;
        if let Some(old) = state.segments.last_mut() {
            old.index_dirty = true;
            let max = state.tail.max_timestamp();
            old.segment.with_open_index(|index| index.enter(max));
        }
        state.producers.expire(now, self.shared.producer_id_expiration_ms);
        state.snapshots.push(TakenSnapshot { offset: base, entries: state.producers.snapshot() });
        state.segments.push(SegmentState { segment, size: 0, synced: 0, index_dirty: true });
        state.tail = new_tail(config, now);
        state.recent.clear();
        state.dir_dirty = true;
        Ok(())
    }

    /// Whether the caller has to hand the partition to the pool.
    pub(super) fn ask_for_flush(&self, state: &mut State) -> bool {
        if self.shared.durability == Durability::Memory || state.failed.is_some() || state.deleted {
            return false;
        }
        match state.flush {
            FlushState::Idle => {
                state.flush = FlushState::Queued;
                true
            }
            FlushState::Queued => false,
            FlushState::Running { .. } => {
                state.flush = FlushState::Running { again: true };
                false
            }
        }
    }

    pub(super) fn storage_error(&self, what: &str, error: &io::Error) -> AppendError {
        AppendError::Storage(format!("{what} to {} in {}: {error}", self.name, self.dir.display()))
    }

    /// Wakes everybody who watches, as if something had changed.
    pub(super) fn wake_readers(&self) {
        let watchers = self.state.lock().watchers.take();
        watchers.notify();
    }

    /// What readers hold is settled: deletes nothing, refuses everything, wakes everybody.
    pub(super) fn mark_deleted(&self) {
        let (waiters, watchers) = {
            let mut state = self.state.lock();
            state.deleted = true;
            (state.ready_waiters(), state.watchers.take())
        };
        waiters.into_iter().for_each(std::task::Waker::wake);
        watchers.notify();
    }
}

impl PartitionLog for LocalPartition {
    fn append(&self, batch: BytesMut, origin: Origin, now: TimestampMs) -> Result<Appended, AppendError> {
        let config = self.config();
        let mut validated = validate::validate(batch, &config, origin, now)?;
        let mut afterwards = Afterwards::default();
        let result = {
            let mut state = self.state.lock();
            self.append_locked(&mut state, &config, &mut validated, (origin, now), &mut afterwards)
        };
        // Also when it failed: a segment may have been rolled before.
        afterwards.watchers.notify();
        if afterwards.flush
            && let Some(me) = self.me.upgrade()
        {
            self.shared.workers.flush(me);
        }
        if let Some(delay_ms) = afterwards.timer {
            self.flush_later(delay_ms);
        }
        if afterwards.cleanable {
            self.may_be_cleanable();
        }
        let mut appended = result?;
        if !appended.duplicate {
            appended.log_append_time = validated.log_append_time;
        }
        Ok(appended)
    }

    fn begin_verification(
        &self,
        producer: ProducerId,
        epoch: ProducerEpoch,
        sequence: Sequence,
        adds_partition: bool,
    ) -> Result<Option<VerificationGuard>, AppendError> {
        let mut state = self.state.lock();
        check_writable(&state)?;
        state.producers.begin_verification(producer, epoch, sequence, adds_partition, clock::now())
    }

    fn durable(&self, last: Offset) -> Durable {
        self.durable_future(last)
    }

    fn read(
        &self,
        from: Offset,
        max_bytes: usize,
        bound: ReadBound,
        at_least_one: bool,
    ) -> Result<ReadResult, ReadError> {
        self.read_batches(from, max_bytes, bound, at_least_one)
    }

    fn aborted_transactions(&self, from: Offset, to: Offset) -> Result<Vec<AbortedTransaction>, ReadError> {
        self.find_aborted(from, to)
    }

    fn producers(&self) -> Vec<ActiveProducer> {
        let state = self.state.lock();
        let mut producers: Vec<_> = state.producers.iter().map(|(id, entry)| active_producer(id, entry)).collect();
        drop(state);
        producers.sort_unstable_by_key(|producer| producer.producer_id);
        producers
    }

    fn offsets(&self) -> LogOffsets {
        self.state.lock().offsets()
    }

    fn watch(&self, watcher: &Arc<Notify>) {
        self.state.lock().watchers.add(watcher);
    }

    fn offset_for_timestamp(&self, target: TimestampMs) -> Result<Option<OffsetAndTimestamp>, ReadError> {
        self.find_timestamp(target)
    }

    fn max_timestamp(&self) -> Result<Option<OffsetAndTimestamp>, ReadError> {
        self.find_max_timestamp()
    }

    fn latest_epoch(&self) -> Option<LeaderEpoch> {
        self.state.lock().epochs.latest()
    }

    fn epoch_end_offset(&self, epoch: LeaderEpoch) -> Option<(LeaderEpoch, Offset)> {
        let state = self.state.lock();
        state.epochs.end_offset_for(epoch, state.log_end)
    }

    fn epoch_for_offset(&self, offset: Offset) -> Option<LeaderEpoch> {
        self.state.lock().epochs.epoch_for(offset)
    }

    fn delete_records(&self, before: Offset) -> Result<Offset, ReadError> {
        self.move_log_start(before)
    }

    fn config(&self) -> Arc<LogConfig> {
        Arc::clone(&self.config.read())
    }

    fn reconfigure(&self, config: LogConfig) {
        let waits = self.shared.durability.waits_for_disk(&config);
        let (flush, watchers) = {
            let mut state = self.state.lock();
            state.tail.index.set_interval(config.index_interval_bytes);
            *self.config.write() = Arc::new(config);
            state.waits = waits;
            let watchers = state.advance_high_watermark().then(|| state.watchers.take());
            // What was appended before is waited for from now on.
            let flush = waits && state.durable_end < state.log_end && self.ask_for_flush(&mut state);
            (flush, watchers)
        };
        if let Some(watchers) = watchers {
            watchers.notify();
        }
        if flush && let Some(me) = self.me.upgrade() {
            self.shared.workers.flush(me);
        }
        self.may_be_cleanable();
    }

    fn size(&self) -> u64 {
        self.state.lock().size()
    }

    fn set_leader_epoch(&self, epoch: LeaderEpoch) {
        let mut state = self.state.lock();
        state.leader_epoch = epoch;
        let end = state.log_end;
        state.epochs_dirty |= state.epochs.assign(epoch, end);
    }
}

/// A new segment's tail; its jitter is drawn once, so that not all partitions roll at the same moment.
pub(super) fn new_tail(config: &LogConfig, now: TimestampMs) -> ActiveTail {
    let random = uuid::Uuid::new_v4().as_u64_pair().0;
    ActiveTail {
        index: IndexBuilder::new(config.index_interval_bytes),
        created: now,
        first_batch_timestamp: TimestampMs::NONE,
        jitter_ms: roll::jitter(config, random),
    }
}

/// Opens what a marker's abort is noted in: once the marker is in the log, nothing may keep that from being noted.
fn open_aborted(state: &State) -> io::Result<()> {
    state.segments.last().map_or(Ok(()), |active| active.segment.with_aborted(|_| Ok(())))
}

fn active_producer(producer_id: ProducerId, entry: &ProducerEntry) -> ActiveProducer {
    ActiveProducer {
        producer_id,
        epoch: entry.epoch(),
        last_sequence: entry.last_sequence(),
        last_timestamp: entry.last_timestamp(),
        coordinator_epoch: entry.coordinator_epoch(),
        transaction_start: entry.transaction_start(),
    }
}

/// Takes over a batch that is in the file now.
fn took(state: &mut State, found: &Found, control: Option<Control>, now: TimestampMs) {
    let header = &found.header;
    let aborted = state.producers.apply(header, control, now);
    if let (Some(aborted), Some(active)) = (aborted, state.segments.last_mut()) {
        active.segment.enter_aborted(aborted);
        active.index_dirty = true;
    }
    state.epochs_dirty |= state.epochs.assign(header.partition_leader_epoch, header.base_offset);
    state.log_end = header.next_offset();
    state.recent.push(header.base_offset, found.position);
    state.bytes_since_checkpoint += header.size() as u64;
    if found.position == 0 {
        state.tail.first_batch_timestamp = header.max_timestamp;
    }
    if let Some(active) = state.segments.last_mut() {
        active.size = found.end();
        if state.tail.index.is_due() {
            active.index_dirty = true;
            active.segment.with_open_index(|index| state.tail.index.add(Some(index), found));
        } else {
            state.tail.index.add(None, found);
        }
    }
}

fn check_writable(state: &State) -> Result<(), AppendError> {
    if state.deleted {
        return Err(AppendError::Deleted);
    }
    match &state.failed {
        Some(reason) => Err(AppendError::Storage(reason.to_string())),
        None => Ok(()),
    }
}

fn no_segment() -> AppendError {
    AppendError::Storage("the log has no segment to write to".to_owned())
}

fn should_roll(state: &State, header: &BatchHeader, config: &LogConfig, now: TimestampMs) -> bool {
    let Some(active) = state.segments.last() else { return false };
    if active.size == 0 && active.segment.base() == state.log_end {
        // A new one would have the same name.
        return false;
    }
    let (offset_entries, time_entries) = active.segment.with_open_index(|index| index.entries()).unwrap_or_default();
    let active = ActiveSegment {
        base_offset: active.segment.base(),
        size: active.size,
        created: state.tail.created,
        first_batch_timestamp: state.tail.first_batch_timestamp,
        jitter_ms: state.tail.jitter_ms,
        offset_entries,
        time_entries,
    };
    roll::should_roll(&active, header, config, now)
}
