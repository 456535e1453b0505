//! Opening a partition's folder: after a clean stop by looking at its end, after a crash by scanning what lies past
//! the recovery point, cutting a torn tail and rebuilding what was in memory (rule 32).

mod aborted;

use std::io;
use std::path::Path;
use std::sync::{Arc, Weak};

use parking_lot::{Mutex, RwLock};

use super::checkpoint::{decode_epochs, read_file};
use super::cleaning::Cleaning;
use super::disk::Disk;
use super::flush::{EPOCHS, Maintenance};
use super::log_manager::{StorageError, doomed_name};
use super::partition::{LocalPartition, Shared, new_tail};
use super::partition_metadata;
use super::producer_snapshot;
use super::read::Cursors;
use super::scan::{Found, ScanError, Scanner};
use super::segment::{IndexBuilder, Segment, file_name, parse_file_name};
use super::state::{ActiveTail, FlushState, Recent, SegmentState, State, Watchers};
use super::swap;
use crate::log::config::LogConfig;
use crate::log::leader_epochs::LeaderEpochs;
use crate::log::producer_state::{ProducerSnapshotEntry, ProducerStates};
use crate::types::{LeaderEpoch, Offset, TimestampMs, TopicId, TopicPartition};

/// `partition.metadata`: which topic the folder belongs to.
pub(super) const METADATA: &str = "partition.metadata";

/// What is opened, and what is known of it beforehand.
pub(super) struct Opening {
    pub name: TopicPartition,
    pub topic: TopicId,
    pub config: Arc<LogConfig>,
    pub dir: Arc<Path>,
    /// The broker before this one stopped in order.
    pub clean: bool,
    /// The operating system did not stop since the log was last written to.
    pub intact: bool,
    pub now: TimestampMs,
}

/// Files of a partition's folder.
#[derive(Debug, Default)]
struct Listing {
    /// Base offsets of segments, ascending.
    segments: Vec<Offset>,
    /// Offsets of producer snapshots, ascending.
    snapshots: Vec<Offset>,
    /// Base offsets of segments with an offset index, ascending.
    offset_indexes: Vec<Offset>,
    /// Base offsets of segments with a transaction index, ascending.
    transaction_indexes: Vec<Offset>,
}

/// The producers of a partition, and the offset at which the log ended then.
type Snapshot = (Offset, Vec<ProducerSnapshotEntry>);

/// The log as it is put together.
struct Loader<'a> {
    opening: &'a Opening,
    disk: &'a Arc<dyn Disk>,
    segments: Vec<SegmentState>,
    producers: ProducerStates,
    epochs: LeaderEpochs,
    epochs_changed: bool,
    tail: Option<ActiveTail>,
    log_end: Offset,
    /// Something was cut, removed or rebuilt.
    repaired: bool,
}

/// Why a log is not opened.
enum LoadError {
    Scan(ScanError),
    /// What was recovered is not on the disk, and never will be as far as anybody knows.
    Flush(io::Error),
}

impl From<ScanError> for LoadError {
    fn from(error: ScanError) -> Self {
        Self::Scan(error)
    }
}

impl From<io::Error> for LoadError {
    fn from(error: io::Error) -> Self {
        Self::Scan(error.into())
    }
}

/// Opens a partition, creating its folder when it is missing.
pub(super) fn open(shared: &Arc<Shared>, opening: Opening) -> Result<Arc<LocalPartition>, StorageError> {
    let context = |error: LoadError| match error {
        LoadError::Flush(error) => StorageError::NotDurable(format!(
            "what was recovered of {} in {} could not be flushed: {error}",
            opening.name,
            opening.dir.display()
        )),
        LoadError::Scan(error) => StorageError::Io {
            context: format!("opening {} in {}", opening.name, opening.dir.display()),
            source: match error {
                ScanError::Io(error) => error,
                ScanError::Invalid { .. } => io::Error::new(io::ErrorKind::InvalidData, error.to_string()),
            },
        },
    };
    let folder = prepare_folder(shared, &opening)?;
    let (state, maintenance) = load(shared, &opening, folder).map_err(context)?;
    let partition = Arc::new_cyclic(|me: &Weak<LocalPartition>| LocalPartition {
        name: opening.name,
        dir: opening.dir,
        shared: Arc::clone(shared),
        config: RwLock::new(opening.config),
        state: Mutex::new(state),
        cursors: Mutex::new(Cursors::default()),
        maintenance: Mutex::new(maintenance),
        cleaning: Cleaning::default(),
        me: me.clone(),
    });
    partition.may_be_cleanable();
    Ok(partition)
}

/// In which state a partition's folder was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Prepared {
    /// It is the partition's.
    Known,
    /// It did not say whose it is.
    Marked,
    /// It was not there.
    Created,
}

/// Sees to the folder. Its entry becomes durable with the first record that is flushed; until then
/// nothing depends on it, because the topic itself is in the metadata log.
fn prepare_folder(shared: &Shared, opening: &Opening) -> Result<Prepared, StorageError> {
    let failed = |source| StorageError::Io { context: format!("creating {}", opening.dir.display()), source };
    let disk = shared.disk.as_ref();
    let path = opening.dir.join(METADATA);
    let known = read_file(disk, &path).map_err(failed)?;
    let known = known.and_then(|content| partition_metadata::decode(&content).ok());
    match known {
        Some(topic) if opening.topic == TopicId::ZERO || topic == opening.topic => return Ok(Prepared::Known),
        // A topic of that name was deleted, its folder was not.
        Some(other) => set_aside(disk, opening, other).map_err(failed)?,
        None => {}
    }
    let created = !disk.exists(&opening.dir);
    if created {
        // What was known of another folder of that name does not hold for this one.
        shared.checkpoints.forget(&opening.name).map_err(failed)?;
    }
    disk.create_dir_all(&opening.dir).map_err(failed)?;
    if opening.topic != TopicId::ZERO {
        let file = disk.open(&path).map_err(failed)?;
        file.set_len(0).map_err(failed)?;
        file.write_all_at(&partition_metadata::encode(opening.topic), 0).map_err(failed)?;
    }
    Ok(if created { Prepared::Created } else { Prepared::Marked })
}

/// As Kafka does with a folder that the metadata does not know: it is renamed, and nobody's records are deleted.
fn set_aside(disk: &dyn Disk, opening: &Opening, other: TopicId) -> io::Result<()> {
    let stray = opening.dir.with_file_name(doomed_name(&opening.name, "-stray"));
    tracing::warn!(
        "{} belongs to another topic, with id {other}; it is kept as {}",
        opening.dir.display(),
        stray.display()
    );
    disk.rename(&opening.dir, &stray)
}

fn load(shared: &Arc<Shared>, opening: &Opening, folder: Prepared) -> Result<(State, Maintenance), LoadError> {
    let checkpoints = &shared.checkpoints;
    let disk = &shared.disk;
    let listing = list(disk.as_ref(), &opening.dir)?;
    let checkpointed_start = checkpoints.log_start(&opening.name).unwrap_or_default();
    let mut loader = Loader::new(opening, shared, &listing, checkpointed_start)?;
    let first = loader.first_base();
    let log_start = checkpointed_start.max(first);
    let recovery_point = checkpoints.recovery_point(&opening.name).unwrap_or_default().max(first);

    loader.repair_aborted(&listing, log_start, if opening.clean { Offset(i64::MAX) } else { recovery_point })?;
    let waits = shared.durability.waits_for_disk(&opening.config);
    let found_clean = opening.clean && loader.walk_tail()?;
    if !found_clean {
        loader.recover(recovery_point, log_start, &listing.snapshots)?;
        // Where the page cache acknowledges, nobody was promised more.
        if waits && folder != Prepared::Created {
            loader.make_durable()?;
        }
    }
    if loader.log_end < log_start {
        loader.start_over(log_start)?;
    }
    if found_clean {
        loader.load_producers(log_start, &listing.snapshots)?;
    }
    let maintenance = loader.sort_out_snapshots(&listing.snapshots)?;
    let recovery_point = recovery_point.min(loader.log_end);
    let mut state = loader.into_state(log_start, recovery_point, waits);
    state.dir_dirty = folder != Prepared::Known || found_clean;
    Ok((state, maintenance))
}

/// What is in the folder; leftovers of interrupted deletions and cleanings go.
fn list(disk: &dyn Disk, dir: &Path) -> Result<Listing, ScanError> {
    swap::recover(disk, dir)?;
    let mut listing = Listing::default();
    let mut indexes = Vec::new();
    for path in disk.read_dir(dir)? {
        let Some((base, suffix)) = parse_file_name(&path) else { continue };
        match suffix {
            ".log" => listing.segments.push(base),
            ".snapshot" => listing.snapshots.push(base),
            ".index" => listing.offset_indexes.push(base),
            ".txnindex" => listing.transaction_indexes.push(base),
            _ => {}
        }
        if matches!(suffix, ".index" | ".timeindex" | ".txnindex") {
            indexes.push((base, path));
        }
    }
    let Listing { segments, snapshots, offset_indexes, transaction_indexes } = &mut listing;
    for offsets in [segments, snapshots, offset_indexes, transaction_indexes] {
        offsets.sort_unstable();
    }
    for (base, path) in indexes {
        if listing.segments.binary_search(&base).is_err() {
            disk.remove_file(&path)?;
        }
    }
    Ok(listing)
}

impl<'a> Loader<'a> {
    fn new(
        opening: &'a Opening,
        shared: &'a Arc<Shared>,
        listing: &Listing,
        log_start: Offset,
    ) -> Result<Self, ScanError> {
        let disk = &shared.disk;
        let epochs = read_file(disk.as_ref(), &opening.dir.join(EPOCHS))?.unwrap_or_default();
        let mut loader = Self {
            opening,
            disk,
            segments: Vec::with_capacity(listing.segments.len().max(1)),
            producers: ProducerStates::new(log_start),
            epochs: LeaderEpochs::from_entries(decode_epochs(&epochs).unwrap_or_default()),
            epochs_changed: false,
            tail: None,
            log_end: log_start,
            repaired: false,
        };
        for base in &listing.segments {
            let segment = loader.segment(*base);
            let size = loader.disk.file_len(&segment.path(".log"))?;
            loader.segments.push(SegmentState { segment, size, synced: size, index_dirty: false });
        }
        loader.drop_empty_segments()?;
        if loader.segments.is_empty() {
            loader.add_segment(log_start)?;
        }
        Ok(loader)
    }

    /// An empty segment begins where the log ended when it was opened; where opening it failed, the log may have gone on
    /// in the one before. Only the first is kept: it says where the log begins.
    fn drop_empty_segments(&mut self) -> io::Result<()> {
        let after_first = self.segments.len().min(1)..;
        let mut empty = self.segments.extract_if(after_first, |state| state.size == 0);
        empty.try_for_each(|state| state.segment.remove_empty())
    }

    fn segment(&self, base: Offset) -> Arc<Segment> {
        Arc::new(Segment::new(Arc::clone(self.disk), Arc::clone(&self.opening.dir), base))
    }

    fn add_segment(&mut self, base: Offset) -> io::Result<()> {
        let segment = self.segment(base);
        segment.create()?;
        self.segments.push(SegmentState { segment, size: 0, synced: 0, index_dirty: true });
        self.tail = Some(new_tail(&self.opening.config, self.opening.now));
        self.log_end = base;
        Ok(())
    }

    fn first_base(&self) -> Offset {
        self.segments.first().map(|first| first.segment.base()).unwrap_or_default()
    }

    /// The segment that holds `offset`, or would.
    fn segment_for(&self, offset: Offset) -> usize {
        self.segments.partition_point(|state| state.segment.base() <= offset).saturating_sub(1)
    }

    fn interval(&self) -> u64 {
        self.opening.config.index_interval_bytes
    }

    /// After a clean stop: from the active segment's last index entry to its end. `false` when that is no whole log.
    fn walk_tail(&mut self) -> Result<bool, ScanError> {
        let interval = self.interval();
        let Some(active) = self.segments.last() else { return Ok(false) };
        let (segment, size) = (Arc::clone(&active.segment), active.size);
        let walk = || -> Result<(ActiveTail, Offset), ScanError> {
            let (start, known) =
                segment.with_index(size, interval, |index| Ok((index.last_position(), index.last_timestamp())))?;
            let mut tail = new_tail(&self.opening.config, self.opening.now);
            tail.index = IndexBuilder::resume(interval, 0, known);
            let mut scanner = Scanner::new(segment.log()?.as_ref(), size);
            if let Some(first) = scanner.header(0)? {
                tail.first_batch_timestamp = first.header.max_timestamp;
            }
            let (mut position, mut end) = (start, segment.base());
            while let Some(found) = scanner.header(position)? {
                tail.index.add(None, &found);
                (position, end) = (found.end(), found.header.next_offset());
            }
            Ok((tail, end))
        };
        match walk() {
            Ok((tail, end)) => {
                self.tail = Some(tail);
                self.log_end = end;
                Ok(true)
            }
            Err(ScanError::Io(error)) => Err(error.into()),
            Err(ScanError::Invalid { .. }) => Ok(false),
        }
    }

    /// After a crash. Producers are known from the newest snapshot at or below the recovery point on; the records
    /// between the two are trusted, those after it are checked.
    fn recover(&mut self, recovery_point: Offset, log_start: Offset, snapshots: &[Offset]) -> Result<(), ScanError> {
        let known = self.restore_snapshot(recovery_point, snapshots)?.unwrap_or(log_start);
        let start = known.min(recovery_point);
        self.log_end = self.first_base();
        let begin = self.segment_for(start);
        let mut at = begin;
        let mut whole = true;
        while at < self.segments.len() {
            if !whole || (at > begin && !self.follows(at, recovery_point)) {
                // What comes after a hole was never acknowledged.
                for gone in self.segments.split_off(at) {
                    tracing::warn!("{} is removed: it does not follow", gone.segment.path(".log").display());
                    gone.segment.remove()?;
                }
                break;
            }
            whole = self.recover_segment(at, start, recovery_point)?;
            at += 1;
        }
        self.epochs_changed |= self.epochs.truncate_from_end(self.log_end);
        Ok(())
    }

    /// Whether a segment goes on where the one before it ends. A power cut can take the end of one and leave the next,
    /// or bring back one that was removed. What was compacted may have gaps.
    fn follows(&self, at: usize, recovery_point: Offset) -> bool {
        let Some(base) = self.segments.get(at).map(|state| state.segment.base()) else { return false };
        base == self.log_end || base <= recovery_point || (self.opening.config.compact && base > self.log_end)
    }

    /// Scans one segment; `false` when it had to be cut.
    fn recover_segment(&mut self, at: usize, start: Offset, recovery_point: Offset) -> Result<bool, ScanError> {
        let Some(state) = self.segments.get(at) else { return Ok(true) };
        let (segment, size, base) = (Arc::clone(&state.segment), state.size, state.segment.base());
        let from = start.max(base);
        let trusted_until = recovery_point.max(base);
        let trusted = self.trusted_position(&segment, size, from, trusted_until)?;
        let position = trusted.unwrap_or(0);
        if trusted.is_none() {
            segment.clear_index()?;
        }
        segment.with_aborted(|index| index.truncate_to(from))?;
        let mut scan = SegmentScan::begin(self, &segment, trusted.is_none(), trusted_until);
        let mut scanner = Scanner::new(segment.log()?.as_ref(), size);
        let mut end = position;
        let whole = loop {
            match scan.next(&mut scanner, end) {
                Ok(Some(found)) => {
                    segment.with_open_index(|index| scan.note(index, &found));
                    self.take(&segment, &scanner, &found, from)?;
                    end = found.end();
                }
                Ok(None) => break true,
                Err(ScanError::Io(error)) => return Err(error.into()),
                Err(error) => {
                    tracing::warn!("{} is cut at {end} of {size} bytes: {error}", segment.path(".log").display());
                    break false;
                }
            }
        };
        if !whole {
            segment.log()?.set_len(end)?;
            self.repaired = true;
        }
        let is_last = !whole || at + 1 == self.segments.len();
        if !is_last {
            segment.with_open_index(|index| index.enter(scan.builder.max_timestamp));
        }
        let mut tail = new_tail(&self.opening.config, self.opening.now);
        tail.index = scan.builder;
        tail.first_batch_timestamp = first_timestamp(&mut Scanner::new(segment.log()?.as_ref(), end))?;
        self.tail = Some(tail);
        self.log_end = self.log_end.max(base);
        // What the recovery point covers is on the disk already.
        let synced = if whole && self.log_end <= recovery_point { end } else { 0 };
        if let Some(state) = self.segments.get_mut(at) {
            (state.size, state.synced, state.index_dirty) = (end, synced, true);
        }
        Ok(whole)
    }

    /// Where to begin to scan for `from`: what the index says, if it leads from there to a batch that begins exactly at
    /// the recovery point. Otherwise nothing is trusted, and the index is built anew.
    fn trusted_position(
        &self,
        segment: &Segment,
        size: u64,
        from: Offset,
        trusted_until: Offset,
    ) -> Result<Option<u64>, ScanError> {
        if trusted_until <= segment.base() || !segment.open_index_for_recovery()? {
            return Ok(None);
        }
        let position = segment.with_index(size, self.interval(), |index| {
            index.truncate_to(trusted_until)?;
            index.position_for(from)
        })?;
        Ok(leads_to(segment, size, position, trusted_until)?.then_some(position))
    }

    fn take(&mut self, segment: &Segment, scanner: &Scanner<'_>, found: &Found, from: Offset) -> io::Result<()> {
        let header = &found.header;
        self.log_end = header.next_offset();
        if header.last_offset() >= from
            && let Some(aborted) = self.producers.apply(header, scanner.control(found)?, self.opening.now)
        {
            segment.enter_aborted(aborted);
        }
        let epoch = header.partition_leader_epoch;
        if self.epochs.latest().is_none_or(|latest| epoch > latest) {
            self.epochs_changed |= self.epochs.assign(epoch, header.base_offset);
        }
        Ok(())
    }

    /// Restores the newest readable snapshot at or below `until`; its offset.
    fn restore_snapshot(&mut self, until: Offset, snapshots: &[Offset]) -> Result<Option<Offset>, ScanError> {
        let Some((offset, entries)) = self.newest_snapshot(until, snapshots)? else { return Ok(None) };
        self.producers.restore(&entries, offset, self.opening.now);
        Ok(Some(offset))
    }

    /// The newest readable snapshot at or below `until`, and its offset. One from before the first segment is of no
    /// use: what happened in between is gone, and a transaction that ended there would be open for ever.
    fn newest_snapshot(&self, until: Offset, snapshots: &[Offset]) -> Result<Option<Snapshot>, ScanError> {
        let usable = self.first_base()..=until;
        for offset in snapshots.iter().rev().filter(|offset| usable.contains(offset)) {
            let path = self.opening.dir.join(file_name(*offset, ".snapshot"));
            let bytes = read_file(self.disk.as_ref(), &path)?.unwrap_or_default();
            match producer_snapshot::decode(&bytes) {
                Ok(entries) => return Ok(Some((*offset, entries))),
                Err(error) => tracing::warn!("{} is left out: {error}", path.display()),
            }
        }
        Ok(None)
    }

    /// After a clean stop: the snapshot at the log's end, or what follows the newest one.
    fn load_producers(&mut self, log_start: Offset, snapshots: &[Offset]) -> Result<(), ScanError> {
        let end = self.log_end;
        // As Kafka does after a clean stop: without any snapshot there were no producers.
        let Some(mut next) = self.restore_snapshot(end, snapshots)? else { return Ok(()) };
        next = next.max(log_start);
        let interval = self.interval();
        let begin = self.segment_for(next);
        for state in self.segments.iter().skip(begin) {
            if next >= end {
                break;
            }
            let mut position = state.segment.with_index(state.size, interval, |index| index.position_for(next))?;
            let mut scanner = Scanner::new(state.segment.log()?.as_ref(), state.size);
            while let Some(found) = scanner.header(position)? {
                if found.header.last_offset() >= next {
                    self.producers.apply(&found.header, scanner.control(&found)?, self.opening.now);
                }
                position = found.end();
            }
        }
        Ok(())
    }

    /// What was accepted is on the disk before it is served.
    fn make_durable(&mut self) -> Result<(), LoadError> {
        for state in self.segments.iter_mut().filter(|state| state.synced < state.size || self.repaired) {
            state.segment.log()?.sync_data().map_err(LoadError::Flush)?;
            state.synced = state.size;
        }
        // Whether the last broker came to flush the folders after it created or rolled is not known.
        let mut folders = self.opening.dir.ancestors().take(2);
        folders.try_for_each(|folder| self.disk.sync_dir(folder)).map_err(LoadError::Flush)
    }

    /// The log's start was moved past what is left of it.
    fn start_over(&mut self, log_start: Offset) -> Result<(), ScanError> {
        for gone in std::mem::take(&mut self.segments) {
            gone.segment.remove()?;
        }
        self.producers.clear(log_start);
        self.epochs_changed |= self.epochs.truncate_from_end(log_start);
        Ok(self.add_segment(log_start)?)
    }

    /// Snapshots past the log's end speak of records that are gone.
    fn sort_out_snapshots(&self, snapshots: &[Offset]) -> Result<Maintenance, ScanError> {
        let (kept, gone) = snapshots.iter().partition::<Vec<_>, _>(|offset| **offset <= self.log_end);
        for offset in gone {
            self.disk.remove_file(&self.opening.dir.join(file_name(offset, ".snapshot")))?;
        }
        Ok(Maintenance { snapshots: kept })
    }

    fn into_state(mut self, log_start: Offset, recovery_point: Offset, waits: bool) -> State {
        self.epochs_changed |= self.epochs.truncate_from_start(log_start);
        let is_durable = self.segments.iter().all(|state| state.synced == state.size);
        let durable_end = if is_durable { self.log_end } else { recovery_point };
        let high_watermark = if waits { durable_end } else { self.log_end };
        self.producers.replicated(high_watermark);
        State {
            segments: self.segments,
            tail: self.tail.unwrap_or_else(|| new_tail(&self.opening.config, self.opening.now)),
            log_start,
            log_end: self.log_end,
            durable_end,
            waits,
            high_watermark,
            flush_wanted: Offset(0),
            leader_epoch: self.epochs.latest().unwrap_or(LeaderEpoch(0)),
            producers: self.producers,
            snapshots: Vec::new(),
            epochs: self.epochs,
            epochs_dirty: self.epochs_changed,
            dir_dirty: false,
            bytes_since_checkpoint: 0,
            recovery_point,
            checkpointing: false,
            checkpoint_failed: false,
            torn: false,
            recent: Recent::default(),
            flush: FlushState::Idle,
            flush_timer: false,
            waiters: Vec::new(),
            watchers: Watchers::default(),
            failed: None,
            deleted: false,
        }
    }
}

/// The scan of one segment.
struct SegmentScan {
    builder: IndexBuilder,
    /// Batches before are headers only; from here on checksums are verified and index entries made.
    trusted_until: Offset,
    next_offset: Offset,
    rebuild: bool,
    /// Whatever was written is there as it was written, and only the last write may be torn: headers tell.
    intact: bool,
}

impl SegmentScan {
    fn begin(loader: &Loader<'_>, segment: &Segment, rebuild: bool, trusted_until: Offset) -> Self {
        let known = if rebuild { None } else { segment.with_open_index(|index| index.last_timestamp()).flatten() };
        Self {
            builder: IndexBuilder::resume(loader.interval(), 0, known),
            trusted_until,
            next_offset: segment.base(),
            rebuild,
            intact: loader.opening.intact,
        }
    }

    fn next(&mut self, scanner: &mut Scanner<'_>, position: u64) -> Result<Option<Found>, ScanError> {
        let trusted = self.next_offset < self.trusted_until && !self.rebuild;
        let found = if trusted {
            scanner.header(position)?
        } else if self.intact {
            scanner.in_order(position, self.next_offset)?
        } else {
            scanner.verified(position, self.next_offset)?
        };
        if let Some(found) = &found {
            self.next_offset = found.header.next_offset();
        }
        Ok(found)
    }

    fn note(&mut self, index: &mut super::segment_index::SegmentIndex, found: &Found) {
        let is_new = self.rebuild || found.header.base_offset >= self.trusted_until;
        self.builder.add(is_new.then_some(index), found);
    }
}

/// Whether headers lead from `position` to a batch that begins at `offset`, or to the end of the log there.
fn leads_to(segment: &Segment, size: u64, mut position: u64, offset: Offset) -> Result<bool, ScanError> {
    let mut scanner = Scanner::new(segment.log()?.as_ref(), size);
    loop {
        match scanner.header(position) {
            Ok(Some(found)) if found.header.base_offset == offset => return Ok(true),
            Ok(Some(found)) if found.header.base_offset > offset => return Ok(false),
            Ok(Some(found)) => {
                if found.header.next_offset() == offset {
                    return Ok(true);
                }
                position = found.end();
            }
            Ok(None) | Err(ScanError::Invalid { .. }) => return Ok(false),
            Err(ScanError::Io(error)) => return Err(error.into()),
        }
    }
}

fn first_timestamp(scanner: &mut Scanner<'_>) -> Result<TimestampMs, ScanError> {
    Ok(scanner.header(0)?.map_or(TimestampMs::NONE, |first| first.header.max_timestamp))
}
