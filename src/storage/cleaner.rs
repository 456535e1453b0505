//! When partitions are compacted: one thread, which is there while there is work.
//!
//! A partition is put on the list when a segment of it is closed, a transaction in it ends, or its recovery point moves:
//! only then there can be something new to compact. `log.cleaner.backoff.ms` later the thread is started, compacts what
//! is worth it, the dirtiest log first, and ends. What only time can change is looked at again when it does.

use std::io::ErrorKind;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Weak};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::cleaning::{CleanError, Cleaned};
use super::os_disk;
use super::partition::{LocalPartition, Shared};
use super::scan::ScanError;
use crate::clock;
use crate::types::TimestampMs;

/// How the cleaner works.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CleanerSettings {
    /// `log.cleaner.enable`.
    pub enabled: bool,
    /// `log.cleaner.backoff.ms`.
    pub backoff_ms: u64,
    /// `log.cleaner.dedupe.buffer.size`: bytes of memory that the keys of one log may take.
    pub dedupe_bytes: usize,
    /// `log.cleaner.io.max.bytes.per.second`.
    pub bytes_per_second: f64,
}

/// Kafka's, but switched off: the broker's settings switch it on.
impl Default for CleanerSettings {
    fn default() -> Self {
        Self { enabled: false, backoff_ms: 15_000, dedupe_bytes: 128 << 20, bytes_per_second: f64::MAX }
    }
}

/// The partitions that may have something to compact, and the thread that looks.
#[derive(Debug, Default)]
pub(super) struct Cleaner {
    inner: Mutex<Inner>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Inner {
    settings: CleanerSettings,
    listed: Vec<Weak<LocalPartition>>,
    /// The next start of the thread.
    planned: Option<Instant>,
    running: bool,
    stopped: bool,
}

impl LocalPartition {
    /// There may be something new to compact. Costs next to nothing where there is not.
    pub(super) fn may_be_cleanable(&self) {
        if self.config.read().compact && !self.cleaning.listed.swap(true, Ordering::AcqRel) {
            self.shared.cleaner.list(&self.shared, self.me.clone());
        }
    }
}

impl Cleaner {
    /// Takes over settings; those of a pass that is under way stay.
    pub fn configure(&self, shared: &Arc<Shared>, settings: CleanerSettings) {
        let mut inner = self.inner.lock();
        inner.settings = settings;
        if !inner.listed.is_empty() {
            let backoff = Duration::from_millis(settings.backoff_ms);
            Self::plan(inner, shared, backoff);
        }
    }

    /// The settings that count now.
    pub fn settings(&self) -> CleanerSettings {
        self.inner.lock().settings
    }

    /// Whether the thread is there.
    #[cfg(test)]
    pub fn is_running(&self) -> bool {
        self.inner.lock().running
    }

    /// A pass that is under way ends at its next batch; no other begins.
    pub fn stop(&self) {
        let mut inner = self.inner.lock();
        inner.stopped = true;
        self.changed.notify_all();
        while inner.running {
            self.changed.wait(&mut inner);
        }
        inner.listed.clear();
    }

    fn list(&self, shared: &Arc<Shared>, partition: Weak<LocalPartition>) {
        let mut inner = self.inner.lock();
        inner.listed.push(partition);
        let backoff = Duration::from_millis(inner.settings.backoff_ms);
        Self::plan(inner, shared, backoff);
    }

    /// Starts the thread after `delay`, unless it is to start earlier.
    fn plan(mut inner: parking_lot::MutexGuard<'_, Inner>, shared: &Arc<Shared>, delay: Duration) {
        if !inner.settings.enabled || inner.stopped || inner.running {
            return;
        }
        let Some(at) = Instant::now().checked_add(delay) else { return };
        if inner.planned.is_some_and(|planned| planned <= at) {
            return;
        }
        inner.planned = Some(at);
        drop(inner);
        let weak = Arc::downgrade(shared);
        let start = move || {
            if let Some(shared) = weak.upgrade() {
                Self::start(&shared);
            }
        };
        shared.workers.later(delay, Box::new(start));
    }

    fn start(shared: &Arc<Shared>) {
        let mut inner = shared.cleaner.inner.lock();
        let is_due = inner.planned.is_some_and(|at| at <= Instant::now());
        if inner.stopped || inner.running || !is_due {
            return;
        }
        inner.planned = None;
        inner.running = true;
        drop(inner);
        let own = Arc::clone(shared);
        let thread = std::thread::Builder::new().name("cleaner".to_owned()).stack_size(512 << 10);
        let spawned = thread.spawn(move || {
            os_disk::lower_priority();
            own.cleaner.run(&own);
        });
        if spawned.is_err() {
            // What is listed is looked at when the next partition is.
            shared.cleaner.ended();
        }
    }

    fn ended(&self) {
        self.inner.lock().running = false;
        self.changed.notify_all();
    }

    /// The thread's life.
    fn run(&self, shared: &Arc<Shared>) {
        let later = loop {
            let settings = self.settings();
            let now = clock::now();
            let (dirtiest, wakes) = self.choose(now);
            let later = wakes.map(|at| Duration::from_millis(u64::try_from(at.0 - now.0).unwrap_or(0)));
            let Some(partition) = dirtiest else { break later };
            clean(&partition, &settings, &Pace::new(Some(self), settings.bytes_per_second), now);
            partition.may_be_cleanable();
            if self.inner.lock().stopped {
                break None;
            }
        };
        self.ended();
        let inner = self.inner.lock();
        let backoff = Duration::from_millis(inner.settings.backoff_ms);
        match later {
            Some(later) => Self::plan(inner, shared, later.max(backoff)),
            // Listed after the last look.
            None if !inner.listed.is_empty() => Self::plan(inner, shared, backoff),
            None => {}
        }
    }

    /// The dirtiest log of those that are worth a pass, and when time alone changes something for another one. The
    /// list keeps those; the others come back when something happens to them.
    fn choose(&self, now: TimestampMs) -> (Option<Arc<LocalPartition>>, Option<TimestampMs>) {
        let listed = std::mem::take(&mut self.inner.lock().listed);
        let mut dirtiest: Option<(f64, Arc<LocalPartition>)> = None;
        let mut wakes: Option<TimestampMs> = None;
        for partition in listed.into_iter().filter_map(|partition| partition.upgrade()) {
            // Before it is looked at: what happens meanwhile lists it again.
            partition.cleaning.listed.store(false, Ordering::Release);
            let view = match partition.view_to_clean(now) {
                Ok(Some(view)) => view,
                Ok(None) => continue,
                Err(error) => {
                    failed(&partition, &error.into());
                    continue;
                }
            };
            if !view.is_due() {
                if let Some(at) = view.cleanable.later {
                    wakes = Some(wakes.map_or(at, |known| known.min(at)));
                    self.keep(&partition);
                }
                continue;
            }
            let ratio = view.cleanable.dirty_ratio();
            if dirtiest.as_ref().is_none_or(|(most, _)| ratio > *most) {
                if let Some((_, other)) = dirtiest.replace((ratio, partition)) {
                    self.keep(&other);
                }
            } else {
                self.keep(&partition);
            }
        }
        (dirtiest.map(|(_, partition)| partition), wakes)
    }

    /// Puts it on the list without planning anything.
    fn keep(&self, partition: &LocalPartition) {
        if !partition.cleaning.listed.swap(true, Ordering::AcqRel) {
            self.inner.lock().listed.push(partition.me.clone());
        }
    }
}

/// One pass; what goes wrong is logged, and the partition left alone from then on.
fn clean(partition: &LocalPartition, settings: &CleanerSettings, pace: &Pace<'_>, now: TimestampMs) {
    match partition.clean(settings.dedupe_bytes, pace, now) {
        Ok(None) | Err(CleanError::Interrupted) => {}
        Ok(Some(Cleaned { end, bytes_before, bytes_after })) => tracing::info!(
            "{} is compacted up to offset {end}: {bytes_after} bytes are left of {bytes_before}",
            partition.name
        ),
        Err(CleanError::Scan(ScanError::Io(error))) if error.kind() == ErrorKind::StorageFull => {
            tracing::warn!("{} cannot be compacted, the disk is full", partition.name);
        }
        Err(error) => failed(partition, &error),
    }
}

fn failed(partition: &LocalPartition, error: &CleanError) {
    if partition.state.lock().deleted {
        // Its files are gone from where they were.
        return;
    }
    tracing::error!("{} cannot be compacted until the broker is restarted: {error}", partition.name);
    partition.cleaning.failed.store(true, Ordering::Relaxed);
}

/// Holds a pass back to so many bytes a second, and ends it when the broker stops.
pub(super) struct Pace<'a> {
    cleaner: Option<&'a Cleaner>,
    bytes_per_second: f64,
    begun: Instant,
    bytes: std::cell::Cell<u64>,
}

impl<'a> Pace<'a> {
    /// A pass begins. Without a cleaner nothing interrupts it.
    pub fn new(cleaner: Option<&'a Cleaner>, bytes_per_second: f64) -> Self {
        Self { cleaner, bytes_per_second, begun: Instant::now(), bytes: std::cell::Cell::new(0) }
    }

    /// Whether the pass goes on.
    pub fn go_on(&self) -> Result<(), CleanError> {
        match self.cleaner {
            Some(cleaner) if cleaner.inner.lock().stopped => Err(CleanError::Interrupted),
            _ => Ok(()),
        }
    }

    /// So many bytes are read or written; waits where that was too fast.
    pub fn used(&self, bytes: usize) -> Result<(), CleanError> {
        let Some(cleaner) = self.cleaner else { return Ok(()) };
        self.bytes.set(self.bytes.get() + bytes as u64);
        let earliest = Duration::try_from_secs_f64(self.bytes.get() as f64 / self.bytes_per_second);
        let until = earliest.ok().and_then(|earliest| self.begun.checked_add(earliest));
        let mut inner = cleaner.inner.lock();
        while !inner.stopped
            && let Some(until) = until.filter(|until| *until > Instant::now())
        {
            cleaner.changed.wait_until(&mut inner, until);
        }
        if inner.stopped { Err(CleanError::Interrupted) } else { Ok(()) }
    }
}
