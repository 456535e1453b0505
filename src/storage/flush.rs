//! How a partition's records become durable: one round of flushing answers everybody who waits (group commit).
//!
//! After a round that makes enough progress the recovery point moves as well, so that a crash leaves little to scan:
//! index and producer snapshot are made durable first, then the checkpoint says so.

use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use super::checkpoint::{encode_epochs, replace_file};
use super::disk::Disk;
use super::partition::LocalPartition;
use super::partition_log::{Durable, FlushFailed};
use super::producer_snapshot;
use super::recovery::METADATA;
use super::segment::{Segment, file_name};
use super::state::{FlushState, State, TakenSnapshot};
use crate::clock;
use crate::types::Offset;

/// Bytes after which the recovery point moves: about what a recovery has to read at most, beside what was not flushed.
const CHECKPOINT_BYTES: u64 = 8 << 20;

/// One round of flushing.
struct Round {
    /// What is durable when it is done.
    target: Offset,
    /// Segments to flush, each with the size that is then on the disk.
    files: Vec<(Arc<Segment>, u64)>,
    sync_dir: bool,
    checkpoint: Option<Checkpoint>,
}

/// What makes it safe to begin recovery later in the log.
struct Checkpoint {
    recovery_point: Offset,
    snapshots: Vec<TakenSnapshot>,
    epochs: Option<Vec<u8>>,
    segments: Vec<Arc<Segment>>,
}

/// What the folder holds beside the segments; held while that is changed.
#[derive(Debug, Default)]
pub(super) struct Maintenance {
    /// Offsets of producer snapshots.
    pub snapshots: Vec<Offset>,
}

impl LocalPartition {
    /// One turn on a thread of the pool.
    pub(super) fn flush_round(self: Arc<Self>) {
        let Some(mut round) = self.begin_round() else { return };
        let result = round.sync(self.shared.disk.as_ref(), &self.dir);
        let checkpoint = round.checkpoint.take().filter(|_| result.is_ok());
        let again = self.end_round(&round, result);
        if again {
            // The next round need not wait for the checkpoint.
            self.shared.workers.flush(Arc::clone(&self));
        }
        if let Some(checkpoint) = checkpoint {
            self.checkpoint_in_background(&checkpoint);
        }
    }

    /// `flush.ms`: what was appended until then is flushed then.
    pub(super) fn flush_later(&self, delay_ms: i64) {
        let partition = self.me.clone();
        let task = move || {
            let Some(partition) = partition.upgrade() else { return };
            let flush = {
                let mut state = partition.state.lock();
                state.flush_timer = false;
                state.flush_wanted = state.log_end;
                partition.ask_for_flush(&mut state)
            };
            if flush {
                partition.shared.workers.flush(Arc::clone(&partition));
            }
        };
        let delay = Duration::from_millis(u64::try_from(delay_ms).unwrap_or(0));
        self.shared.workers.later(delay, Box::new(task));
    }

    fn begin_round(&self) -> Option<Round> {
        let mut state = self.state.lock();
        if state.deleted || state.failed.is_some() {
            state.flush = FlushState::Idle;
            return None;
        }
        state.flush = FlushState::Running { again: false };
        let everything = state.waits || state.flush_wanted > state.durable_end;
        if everything && state.bytes_since_checkpoint >= CHECKPOINT_BYTES {
            state.producers.expire(clock::now(), self.shared.producer_id_expiration_ms);
        }
        Some(plan_round(&mut state, everything, false))
    }

    /// Returns whether another round is wanted.
    fn end_round(&self, round: &Round, result: io::Result<()>) -> bool {
        let mut state = self.state.lock();
        let again = state.flush == FlushState::Running { again: true } && result.is_ok();
        state.flush = if again { FlushState::Queued } else { FlushState::Idle };
        match result {
            Ok(()) => took_effect(&mut state, round),
            Err(error) => self.fail(&mut state, &error),
        }
        let (waiters, watchers) = (state.ready_waiters(), state.watchers.take());
        drop(state);
        waiters.into_iter().for_each(Waker::wake);
        watchers.notify();
        again
    }

    /// Nobody knows what a failed flush left on the disk, and asking again would hide it: no more writes, for good.
    fn fail(&self, state: &mut State, error: &io::Error) {
        let reason = format!(
            "flushing {} in {} failed: {error}; it takes no more writes until the broker is restarted on a sound disk",
            self.name,
            self.dir.display()
        );
        tracing::error!("{reason}");
        self.shared.boot_mark.spoil();
        state.failed = Some(reason.into());
    }

    fn checkpoint_in_background(&self, checkpoint: &Checkpoint) {
        let result = self.write_checkpoint(checkpoint, false);
        let mut state = self.state.lock();
        state.checkpointing = false;
        match result {
            Ok(()) => state.recovery_point = state.recovery_point.max(checkpoint.recovery_point),
            // The recovery point stays where it was: a crash costs a longer scan, no record.
            Err(error) => {
                tracing::warn!("{}: the recovery point cannot be moved: {error}", self.name);
                state.checkpoint_failed |= error.kind() != io::ErrorKind::StorageFull;
                state.epochs_dirty |= checkpoint.epochs.is_some();
                for segment in &mut state.segments {
                    segment.index_dirty |= checkpoint.segments.iter().any(|tried| Arc::ptr_eq(tried, &segment.segment));
                }
            }
        }
        // A segment may have been closed meanwhile, and nothing more come.
        let again = !state.checkpoint_failed && !state.snapshots.is_empty() && self.ask_for_flush(&mut state);
        drop(state);
        if again && let Some(me) = self.me.upgrade() {
            self.shared.workers.flush(me);
        }
        self.may_be_cleanable();
    }

    fn write_checkpoint(&self, checkpoint: &Checkpoint, closing: bool) -> io::Result<()> {
        let disk = self.shared.disk.as_ref();
        let mut maintenance = self.maintenance.lock();
        if self.state.lock().deleted {
            return Ok(());
        }
        for segment in &checkpoint.segments {
            segment.flush_index()?;
        }
        for snapshot in &checkpoint.snapshots {
            let file = disk.open(&self.dir.join(file_name(snapshot.offset, ".snapshot")))?;
            file.set_len(0)?;
            file.write_all_at(&producer_snapshot::encode(&snapshot.entries), 0)?;
            file.sync_data()?;
            maintenance.snapshots.push(snapshot.offset);
        }
        if let Some(epochs) = &checkpoint.epochs {
            replace_file(disk, &self.dir.join(EPOCHS), epochs)?;
        }
        disk.sync_dir(&self.dir)?;
        let checkpoints = &self.shared.checkpoints;
        if closing {
            checkpoints.note_recovery_point(&self.name, checkpoint.recovery_point);
            return Ok(());
        }
        checkpoints.move_recovery_point(&self.name, checkpoint.recovery_point)?;
        self.drop_old_snapshots(&mut maintenance, checkpoint.recovery_point)
    }

    /// As Kafka does: those at a segment's beginning stay, and the newest.
    fn drop_old_snapshots(&self, maintenance: &mut Maintenance, newest: Offset) -> io::Result<()> {
        let bases: Vec<Offset> = self.state.lock().segments.iter().map(|state| state.segment.base()).collect();
        let is_old = |offset: &Offset| *offset < newest && bases.binary_search(offset).is_err();
        for offset in maintenance.snapshots.extract_if(.., |offset| is_old(offset)) {
            self.shared.disk.remove_file(&self.dir.join(file_name(offset, ".snapshot")))?;
        }
        Ok(())
    }

    /// Takes no more writes, makes everything durable and leaves nothing to recover.
    pub(super) fn close(&self) -> io::Result<()> {
        let mut round = {
            let mut state = self.state.lock();
            if state.deleted {
                return Ok(());
            }
            if let Some(reason) = &state.failed {
                return Err(io::Error::other(reason.to_string()));
            }
            state.failed = Some("the broker is stopping".into());
            let max = state.tail.max_timestamp();
            if let Some(active) = state.segments.last() {
                active.segment.with_open_index(|index| index.enter(max));
            }
            plan_round(&mut state, true, true)
        };
        let result = round.sync(self.shared.disk.as_ref(), &self.dir);
        let waiters = {
            let mut state = self.state.lock();
            if result.is_ok() {
                took_effect(&mut state, &round);
            }
            state.ready_waiters()
        };
        waiters.into_iter().for_each(Waker::wake);
        if let Err(error) = result {
            self.shared.boot_mark.spoil();
            return Err(error);
        }
        round.checkpoint.take().map_or(Ok(()), |checkpoint| self.write_checkpoint(&checkpoint, true))
    }

    /// The future of [`super::PartitionLog::durable`].
    pub(super) fn durable_future(&self, last: Offset) -> Durable {
        let now = durable_now(&self.state.lock(), last);
        match (now, self.me.upgrade()) {
            (Some(result), _) => Box::pin(std::future::ready(result)),
            (None, Some(partition)) => Box::pin(WaitForDisk { partition, last, registered: None }),
            (None, None) => Box::pin(std::future::ready(Err(FlushFailed("the log is closed".into())))),
        }
    }
}

/// Whether a record is durable, or never will be; `None` while that is not known.
fn durable_now(state: &State, last: Offset) -> Option<Result<(), FlushFailed>> {
    if state.durable_end > last || !(state.waits || last < state.flush_wanted) {
        return Some(Ok(()));
    }
    if let Some(reason) = &state.failed {
        return Some(Err(FlushFailed(Arc::clone(reason))));
    }
    state.deleted.then(|| Err(FlushFailed("the partition is being deleted".into())))
}

/// Kafka's name for the file of leader epochs.
pub(super) const EPOCHS: &str = "leader-epoch-checkpoint";

impl Round {
    fn sync(&self, disk: &dyn Disk, dir: &std::path::Path) -> io::Result<()> {
        for (segment, _) in &self.files {
            segment.log()?.sync_data()?;
        }
        if self.sync_dir {
            // Whose folder it is has to be known before anything in it is acknowledged.
            let metadata = dir.join(METADATA);
            if disk.exists(&metadata) {
                disk.open(&metadata)?.sync_data()?;
            }
            disk.sync_dir(dir)?;
            // The folder itself may be new.
            dir.parent().map_or(Ok(()), |parent| disk.sync_dir(parent))?;
        }
        Ok(())
    }
}

/// `everything`, or only what is behind the active segment, which Kafka flushes when it rolls.
fn plan_round(state: &mut State, everything: bool, closing: bool) -> Round {
    let active = state.segments.len().saturating_sub(1);
    let in_scope = if everything { active + 1 } else { active };
    let files = state.segments.iter().take(in_scope).filter(|segment| segment.synced < segment.size);
    let files = files.map(|segment| (Arc::clone(&segment.segment), segment.size)).collect();
    let active_base = state.segments.last().map_or(state.log_end, |active| active.segment.base());
    let target = if everything { state.log_end } else { active_base };
    let sync_dir = std::mem::take(&mut state.dir_dirty);

    let progress = !state.snapshots.is_empty() || (everything && state.bytes_since_checkpoint >= CHECKPOINT_BYTES);
    let unfinished = state.recovery_point < target || state.epochs_dirty;
    let wanted = (progress && !state.checkpointing && !state.checkpoint_failed) || (closing && unfinished);
    let checkpoint = wanted.then(|| plan_checkpoint(state, target, in_scope));
    Round { target, files, sync_dir, checkpoint }
}

fn plan_checkpoint(state: &mut State, target: Offset, in_scope: usize) -> Checkpoint {
    state.checkpointing = true;
    let mut snapshots = std::mem::take(&mut state.snapshots);
    if target == state.log_end && snapshots.last().is_none_or(|taken| taken.offset < target) {
        snapshots.push(TakenSnapshot { offset: target, entries: state.producers.snapshot() });
        state.bytes_since_checkpoint = 0;
    }
    let epochs = std::mem::take(&mut state.epochs_dirty).then(|| encode_epochs(state.epochs.entries()));
    let dirty = state
        .segments
        .iter_mut()
        .take(in_scope)
        .filter_map(|segment| std::mem::take(&mut segment.index_dirty).then(|| Arc::clone(&segment.segment)));
    Checkpoint { recovery_point: target, snapshots, epochs, segments: dirty.collect() }
}

fn took_effect(state: &mut State, round: &Round) {
    for (flushed, size) in &round.files {
        let found = state.segments.binary_search_by_key(&flushed.base(), |segment| segment.segment.base());
        if let Some(segment) = found.ok().and_then(|at| state.segments.get_mut(at)) {
            segment.synced = segment.synced.max(*size);
        }
    }
    state.durable_end = state.durable_end.max(round.target);
    state.advance_high_watermark();
}

/// Ends when everything up to and including `last` is durable.
struct WaitForDisk {
    partition: Arc<LocalPartition>,
    last: Offset,
    registered: Option<Waker>,
}

impl Future for WaitForDisk {
    type Output = Result<(), FlushFailed>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let partition = Arc::clone(&self.partition);
        let mut state = partition.state.lock();
        if let Some(result) = durable_now(&state, self.last) {
            return Poll::Ready(result);
        }
        let waker = context.waker();
        // A future that is polled again and again waits in one place still.
        if !self.registered.as_ref().is_some_and(|known| known.will_wake(waker)) {
            state.waiters.push((self.last, waker.clone()));
            self.registered = Some(waker.clone());
        }
        Poll::Pending
    }
}
