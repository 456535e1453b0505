//! One pass of compaction over one partition: what `log/compaction.rs` decides, carried out on files.
//!
//! The partition's lock is held to look at its segments and to put the new ones in, never while a file is read or
//! written. Whoever reads from an old segment meanwhile has its files open and goes on.

use std::collections::HashMap;
use std::hash::RandomState;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;

use super::cleaner::Pace;
use super::log_manager::Durability;
use super::partition::LocalPartition;
use super::scan::{Found, ScanError, Scanner};
use super::segment::Segment;
use super::state::SegmentState;
use super::swap::{self, CleanedSegment};
use crate::log::compaction::{
    Cleanable, ClosedSegment, Filter, Group, Kept, KeyMap, LastBatch, LogView, Piece, Rules, Transactions,
};
use crate::log::config::LogConfig;
use crate::log::producer_state::Aborted;
use crate::types::{Offset, ProducerId, TimestampMs};
use crate::wire::batch::{BatchHeader, check_crc};
use crate::wire::control::Control;
use crate::wire::records::RecordsError;

/// What the cleaner knows of a partition.
#[derive(Debug, Default)]
pub(super) struct Cleaning {
    /// It is on the cleaner's list.
    pub listed: AtomicBool,
    /// A pass failed; it is not tried again until the broker is restarted.
    pub failed: AtomicBool,
    /// Held during a pass.
    pass: Mutex<()>,
}

/// What a pass did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cleaned {
    /// The next pass begins here.
    pub end: Offset,
    /// Bytes of the segments that were rewritten.
    pub bytes_before: u64,
    /// Bytes of those that took their place.
    pub bytes_after: u64,
}

/// Why a pass ended early.
#[derive(Debug, thiserror::Error)]
pub(super) enum CleanError {
    /// The broker stops, or the partition is not what it was when the pass began.
    #[error("it was interrupted")]
    Interrupted,
    /// The disk failed, or the log is damaged.
    #[error(transparent)]
    Scan(#[from] ScanError),
    /// A batch is damaged.
    #[error("the batch at offset {0} cannot be read: {1}")]
    Records(Offset, RecordsError),
}

impl From<std::io::Error> for CleanError {
    fn from(error: std::io::Error) -> Self {
        Self::Scan(error.into())
    }
}

/// A partition as a pass found it.
pub(super) struct View {
    /// All segments but the active one.
    segments: Vec<Viewed>,
    active_base: Offset,
    pub cleanable: Cleanable,
    config: Arc<LogConfig>,
}

#[derive(Clone)]
struct Viewed {
    segment: Arc<Segment>,
    size: u64,
}

/// What the headers of the log say.
#[derive(Default)]
struct Survey {
    transactions: Transactions,
    /// Records in the uncompacted part, at most.
    records: u64,
    /// Somebody may need the batches of producers.
    has_producers: bool,
}

impl LocalPartition {
    /// What may be compacted now; `None` where nothing can ever be as things stand.
    pub(super) fn view_to_clean(&self, now: TimestampMs) -> Result<Option<View>, ScanError> {
        let config = self.config.read().clone();
        if !config.compact || self.cleaning.failed.load(Ordering::Relaxed) {
            return Ok(None);
        }
        let on_disk = self.shared.durability != Durability::Memory;
        let (segments, active_base, offsets, recovery_point) = {
            let state = self.state.lock();
            let Some((active, closed)) = state.segments.split_last() else { return Ok(None) };
            if state.deleted || state.failed.is_some() || closed.is_empty() {
                return Ok(None);
            }
            let viewed = |state: &SegmentState| Viewed { segment: Arc::clone(&state.segment), size: state.size };
            let segments: Vec<_> = closed.iter().map(viewed).collect();
            (segments, active.segment.base(), state.offsets(), state.recovery_point)
        };
        // What a recovery would verify stays as it was written.
        let stable = if on_disk { offsets.last_stable.min(recovery_point) } else { offsets.last_stable };
        let closed = segments.iter().map(|viewed| viewed.facts(&config)).collect::<Result<Vec<_>, _>>()?;
        let log = LogView {
            closed: &closed,
            active_base,
            log_start: offsets.log_start,
            log_end: offsets.log_end,
            stable,
            checkpoint: self.shared.checkpoints.cleaned(&self.name),
        };
        let cleanable = Cleanable::of(&log, &config, now);
        Ok(Some(View { segments, active_base, cleanable, config }))
    }

    /// Compacts what can be compacted, whether it is worth it or not; `None` when there is nothing.
    pub(super) fn clean(
        &self,
        dedupe_bytes: usize,
        pace: &Pace<'_>,
        now: TimestampMs,
    ) -> Result<Option<Cleaned>, CleanError> {
        let _one_at_a_time = self.cleaning.pass.lock();
        let Some(view) = self.view_to_clean(now)? else { return Ok(None) };
        let Cleanable { first_dirty, end, .. } = view.cleanable;
        if end <= first_dirty {
            return Ok(None);
        }
        let survey = self.survey(&view, pace)?;
        let keys = self.map_keys(&view, &survey, dedupe_bytes, pace)?;
        let producers = if survey.has_producers { self.last_batches() } else { HashMap::new() };
        let rules = Rules {
            keys: &keys,
            transactions: &survey.transactions,
            producers: &producers,
            end,
            delete_retention_ms: view.config.delete_retention_ms,
            now,
        };
        let mut cleaned = Cleaned { end: keys.end(), bytes_before: 0, bytes_after: 0 };
        let mut filter = Filter::new(rules);
        let count = view.segments.iter().take_while(|viewed| viewed.segment.base() < keys.end()).count();
        let mut rest = view.segments.get(..count).unwrap_or_default();
        while !rest.is_empty() {
            let (group, after) = rest.split_at(view.group(rest)?);
            cleaned.bytes_before += group.iter().map(|viewed| viewed.size).sum::<u64>();
            cleaned.bytes_after += self.clean_group(group, &view.config, &mut filter, pace)?;
            rest = after;
        }
        self.shared.checkpoints.move_cleaned(&self.name, keys.end())?;
        Ok(Some(cleaned))
    }

    /// Learns from the headers which transactions were aborted. Where one that began in the part to clean has not ended
    /// there, what follows is looked through for its end.
    fn survey(&self, view: &View, pace: &Pace<'_>) -> Result<Survey, CleanError> {
        let mut survey = Survey::default();
        for viewed in view.segments.iter().take_while(|viewed| viewed.segment.base() < view.cleanable.end) {
            viewed.walk(|scanner, found| {
                pace.go_on()?;
                survey.note(scanner, found, view.cleanable.first_dirty)
            })?;
        }
        let later = view.segments.iter().skip_while(|viewed| viewed.segment.base() < view.cleanable.end).cloned();
        for viewed in later.chain(self.active_after(view)) {
            if !survey.transactions.is_any_open() {
                break;
            }
            viewed.walk(|scanner, found| {
                pace.go_on()?;
                if found.header.is_control() { survey.note_control(scanner, found) } else { Ok(()) }
            })?;
        }
        Ok(survey)
    }

    /// The segments that were active when the pass began, or opened since.
    fn active_after(&self, view: &View) -> Vec<Viewed> {
        let state = self.state.lock();
        let later = state.segments.iter().filter(|state| state.segment.base() >= view.active_base);
        later.map(|state| Viewed { segment: Arc::clone(&state.segment), size: state.size }).collect()
    }

    fn map_keys(
        &self,
        view: &View,
        survey: &Survey,
        dedupe_bytes: usize,
        pace: &Pace<'_>,
    ) -> Result<KeyMap<RandomState>, CleanError> {
        let Cleanable { first_dirty, end, .. } = view.cleanable;
        let seeds = [RandomState::new(), RandomState::new()];
        let mut keys = KeyMap::new(survey.records, dedupe_bytes, seeds, first_dirty);
        let interval = view.config.index_interval_bytes;
        let dirty = view.segments.iter().zip(view.ends());
        for (viewed, next) in dirty.filter(|(viewed, next)| *next > first_dirty && viewed.segment.base() < end) {
            let position = viewed.segment.with_index(viewed.size, interval, |index| index.position_for(first_dirty))?;
            let mut room = true;
            viewed.walk_from(position, |scanner, found| {
                let header = &found.header;
                if !room || header.is_control() || survey.transactions.is_aborted(header) {
                    if room {
                        keys.skip_to(header.next_offset());
                    }
                    return pace.go_on();
                }
                pace.used(header.size())?;
                let batch = read(scanner, found)?;
                room = keys.take(header, &batch, first_dirty).map_err(|error| damaged(header, error))?;
                Ok(())
            })?;
            if !room {
                tracing::info!("{} has more keys than are compacted at one time; the rest follows", self.name);
                return Ok(keys);
            }
            keys.skip_to(next);
        }
        Ok(keys)
    }

    fn last_batches(&self) -> HashMap<ProducerId, LastBatch> {
        let state = self.state.lock();
        let last = state.producers.iter().map(|(id, entry)| {
            let records = entry.batches().last().map(|batch| LastBatch::Records(batch.last_offset));
            (id, records.unwrap_or(LastBatch::Marker(entry.epoch())))
        });
        last.collect()
    }

    /// Rewrites a group into one segment, which takes its place; its size.
    fn clean_group(
        &self,
        group: &[Viewed],
        config: &LogConfig,
        filter: &mut Filter<'_, RandomState>,
        pace: &Pace<'_>,
    ) -> Result<u64, CleanError> {
        let Some(first) = group.first() else { return Ok(0) };
        if self.state.lock().deleted {
            return Err(CleanError::Interrupted);
        }
        let disk = self.shared.disk.as_ref();
        let mut cleaned = CleanedSegment::create(disk, &self.dir, first.segment.base(), config.index_interval_bytes)?;
        let written = fill(&mut cleaned, group, filter, pace).and_then(|()| {
            let aborted = aborted_entries(group, &filter.take_aborts())?;
            Ok(cleaned.finish(&aborted)?)
        });
        let size = cleaned.size();
        if let Err(error) = written {
            cleaned.abandon();
            return Err(error);
        }
        if self.put_in(group, size, config)? {
            Ok(size)
        } else {
            cleaned.abandon();
            Err(CleanError::Interrupted)
        }
    }

    /// Puts the cleaned segment in the place of its group; `false` when that is not there any more.
    fn put_in(&self, group: &[Viewed], size: u64, config: &LogConfig) -> Result<bool, CleanError> {
        let Some(first) = group.first() else { return Ok(false) };
        let maintenance = self.maintenance.lock();
        if self.place_of(group).is_none() {
            return Ok(false);
        }
        let bases: Vec<Offset> = group.iter().map(|viewed| viewed.segment.base()).collect();
        let gone = swap::swap(self.shared.disk.as_ref(), &self.dir, first.segment.base(), &bases)?;
        let segment =
            SegmentState { segment: Arc::new(first.segment.successor()), size, synced: size, index_dirty: false };
        let mut state = self.state.lock();
        // Nobody but who holds the maintenance takes segments out.
        let place = position_of(&state.segments, group);
        if let Some(at) = place {
            state.segments.splice(at..at + group.len(), [segment]);
        }
        drop(state);
        drop(maintenance);
        self.cursors.lock().clear();
        self.remove_later(gone, config);
        Ok(place.is_some())
    }

    fn place_of(&self, group: &[Viewed]) -> Option<usize> {
        let state = self.state.lock();
        if state.deleted { None } else { position_of(&state.segments, group) }
    }

    fn remove_later(&self, files: Vec<std::path::PathBuf>, config: &LogConfig) {
        let disk = Arc::clone(&self.shared.disk);
        let remove = move || {
            for path in files {
                if let Err(error) = disk.remove_file(&path) {
                    tracing::warn!("{} cannot be removed: {error}", path.display());
                }
            }
        };
        if self.shared.durability == Durability::Memory {
            // It would take memory meanwhile; readers hold what they read.
            return remove();
        }
        let delay = u64::try_from(config.file_delete_delay_ms).unwrap_or(0);
        self.shared.workers.later(std::time::Duration::from_millis(delay), Box::new(remove));
    }
}

/// Where in the log these segments are, one after the other.
fn position_of(segments: &[SegmentState], group: &[Viewed]) -> Option<usize> {
    let first = group.first()?;
    let at = segments.iter().position(|state| Arc::ptr_eq(&state.segment, &first.segment))?;
    let there = segments.get(at..at + group.len())?;
    there.iter().zip(group).all(|(state, viewed)| Arc::ptr_eq(&state.segment, &viewed.segment)).then_some(at)
}

/// Writes what the filter keeps of a group.
fn fill(
    cleaned: &mut CleanedSegment<'_>,
    group: &[Viewed],
    filter: &mut Filter<'_, RandomState>,
    pace: &Pace<'_>,
) -> Result<(), CleanError> {
    for viewed in group {
        viewed.walk(|scanner, found| {
            let header = found.header;
            pace.used(header.size())?;
            let batch = read(scanner, found)?;
            match filter.batch(&header, &batch).map_err(|error| damaged(&header, error))? {
                Kept::Nothing => {}
                Kept::Whole => {
                    cleaned.push(header, &batch)?;
                    pace.used(batch.len())?;
                }
                Kept::Rewritten(batch) => {
                    let header = BatchHeader::parse(&batch).map_err(|error| damaged(&header, error.into()))?;
                    cleaned.push(header, &batch)?;
                    pace.used(batch.len())?;
                }
            }
            Ok(())
        })?;
    }
    Ok(())
}

/// What the old segments' transaction indexes say of the markers at these offsets, which are in order.
fn aborted_entries(group: &[Viewed], markers: &[Offset]) -> Result<Vec<Aborted>, CleanError> {
    let mut kept = Vec::new();
    for viewed in group.iter().filter(|_| !markers.is_empty()) {
        let mut known = viewed.segment.with_aborted(|index| index.all())?;
        known.retain(|aborted| markers.binary_search(&aborted.last_offset).is_ok());
        kept.append(&mut known);
    }
    Ok(kept)
}

/// A batch, its checksum verified: one that is damaged must not get a new one.
fn read(scanner: &Scanner<'_>, found: &Found) -> Result<Vec<u8>, CleanError> {
    let batch = scanner.copy(found)?;
    check_crc(&batch).map_err(|error| damaged(&found.header, error.into()))?;
    Ok(batch)
}

fn damaged(header: &BatchHeader, error: RecordsError) -> CleanError {
    CleanError::Records(header.base_offset, error)
}

impl View {
    /// The end of each segment: where the next one begins.
    fn ends(&self) -> impl Iterator<Item = Offset> {
        let next = self.segments.iter().skip(1).map(|viewed| viewed.segment.base());
        next.chain([self.active_base])
    }

    /// How many of these segments become one.
    fn group(&self, segments: &[Viewed]) -> Result<usize, ScanError> {
        let mut group: Option<Group> = None;
        let mut count = 0;
        let ends = segments.iter().skip(1).map(|viewed| viewed.segment.base()).chain([self.cleanable.end]);
        for (viewed, next) in segments.iter().zip(ends) {
            let piece = viewed.piece(next, &self.config)?;
            group = match group {
                None => Some(Group::begin(&piece)),
                Some(group) => group.with(&piece, &self.config),
            };
            if group.is_none() {
                break;
            }
            count += 1;
        }
        Ok(count)
    }

    /// Whether a pass is worth it.
    pub fn is_due(&self) -> bool {
        self.cleanable.is_due(&self.config)
    }
}

impl Viewed {
    /// What the decision asks for, and no more: it may mean to open files.
    fn facts(&self, config: &LogConfig) -> Result<ClosedSegment, ScanError> {
        let mut facts = ClosedSegment {
            base: self.segment.base(),
            size: self.size,
            first_timestamp: TimestampMs::NONE,
            largest_timestamp: TimestampMs::NONE,
        };
        if config.max_compaction_lag_ms < i64::MAX {
            let first = Scanner::new(self.segment.log()?.as_ref(), self.size).header(0)?;
            facts.first_timestamp = first.map_or(TimestampMs::NONE, |first| first.header.max_timestamp);
        }
        if config.min_compaction_lag_ms > 0 {
            let interval = config.index_interval_bytes;
            let last = self.segment.with_index(self.size, interval, |index| Ok(index.last_timestamp()))?;
            facts.largest_timestamp = last.map_or(TimestampMs::NONE, |last| last.timestamp);
        }
        Ok(facts)
    }

    /// Opens its files as well: once others have their names, nobody may open it by them.
    fn piece(&self, next: Offset, config: &LogConfig) -> Result<Piece, ScanError> {
        self.segment.log()?;
        self.segment.with_aborted(|_| Ok(()))?;
        let (offset_entries, time_entries) =
            self.segment.with_index(self.size, config.index_interval_bytes, |index| Ok(index.entries()))?;
        Ok(Piece { base: self.segment.base(), next, size: self.size, offset_entries, time_entries })
    }

    fn walk(&self, visit: impl FnMut(&Scanner<'_>, &Found) -> Result<(), CleanError>) -> Result<(), CleanError> {
        self.walk_from(0, visit)
    }

    fn walk_from(
        &self,
        mut position: u64,
        mut visit: impl FnMut(&Scanner<'_>, &Found) -> Result<(), CleanError>,
    ) -> Result<(), CleanError> {
        let mut scanner = Scanner::new(self.segment.log()?.as_ref(), self.size);
        let mut expected = Offset(0);
        while let Some(found) = scanner.in_order(position, expected)? {
            visit(&scanner, &found)?;
            (position, expected) = (found.end(), found.header.next_offset());
        }
        Ok(())
    }
}

impl Survey {
    fn note(&mut self, scanner: &Scanner<'_>, found: &Found, first_dirty: Offset) -> Result<(), CleanError> {
        let header = &found.header;
        self.has_producers |= header.has_producer();
        if header.is_control() {
            return self.note_control(scanner, found);
        }
        self.transactions.data(header);
        if header.next_offset() > first_dirty {
            self.records += u64::try_from(header.record_count).unwrap_or(0);
        }
        Ok(())
    }

    fn note_control(&mut self, scanner: &Scanner<'_>, found: &Found) -> Result<(), CleanError> {
        let batch = read(scanner, found)?;
        let control = Control::of(&found.header, &batch).map_err(|error| damaged(&found.header, error))?;
        self.transactions.control(&found.header, control);
        Ok(())
    }
}
