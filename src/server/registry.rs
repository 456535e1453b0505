//! The connections that are open: what the sweeper and the shutdown need to know of each.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU32, AtomicU64, Ordering};
use std::task::Waker;

use parking_lot::Mutex;
use tokio::sync::Notify;

/// What a connection is asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum Signal {
    /// Go on.
    None,
    /// Close if it keeps others from memory: its frame is half received, and nothing comes or too little for too long.
    Stalled,
    /// Close unless the client is there and waits for a reply.
    Idle,
    /// Start no more requests, answer those in flight, close.
    Drain,
    /// Close.
    Close,
}

impl Signal {
    const ALL: [Self; 5] = [Self::None, Self::Stalled, Self::Idle, Self::Drain, Self::Close];
}

const NO_FRAME: u32 = u32::MAX;
/// How many times longer than without a byte a frame may take while others wait for memory.
const TRICKLE: u32 = 6;

/// One connection, as the registry sees it.
#[derive(Debug)]
pub(super) struct Entry {
    id: u64,
    /// The tick at which bytes last moved.
    active: AtomicU32,
    /// The tick at which the frame that is half received began; [`NO_FRAME`] between frames.
    frame_since: AtomicU32,
    signal: AtomicU8,
    waker: Mutex<Option<Waker>>,
}

impl Entry {
    /// What is asked of the connection. Idle and stalled are asked once.
    pub(super) fn signal(&self) -> Signal {
        let raw = self.signal.load(Ordering::Acquire);
        let signal = Signal::ALL.get(usize::from(raw)).copied().unwrap_or(Signal::Close);
        if matches!(signal, Signal::Idle | Signal::Stalled) {
            // Does nothing when a stronger signal came meanwhile: the next poll sees that one.
            let (none, order) = (Signal::None as u8, Ordering::AcqRel);
            let _ = self.signal.compare_exchange(raw, none, order, Ordering::Relaxed);
        }
        signal
    }

    /// Remembers which task to wake for a signal.
    pub(super) fn listen(&self, waker: &Waker) {
        let mut slot = self.waker.lock();
        if !slot.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *slot = Some(waker.clone());
        }
    }

    fn frame_age(&self, now: u32) -> u32 {
        match self.frame_since.load(Ordering::Relaxed) {
            NO_FRAME => 0,
            since => now.wrapping_sub(since),
        }
    }

    fn send(&self, signal: Signal) {
        self.signal.fetch_max(signal as u8, Ordering::AcqRel);
        let waker = self.waker.lock().clone();
        if let Some(waker) = waker {
            waker.wake();
        }
    }
}

/// All open connections.
#[derive(Debug, Default)]
pub(super) struct Registry {
    entries: Mutex<HashMap<u64, Arc<Entry>>>,
    next_id: AtomicU64,
    /// Sweeps so far: a clock that costs a connection one load.
    tick: AtomicU32,
    emptied: Notify,
}

impl Registry {
    /// Adds a connection.
    pub(super) fn add(&self) -> Arc<Entry> {
        let entry = Arc::new(Entry {
            id: self.next_id.fetch_add(1, Ordering::Relaxed),
            active: AtomicU32::new(self.tick.load(Ordering::Relaxed)),
            frame_since: AtomicU32::new(NO_FRAME),
            signal: AtomicU8::new(Signal::None as u8),
            waker: Mutex::new(None),
        });
        self.entries.lock().insert(entry.id, Arc::clone(&entry));
        entry
    }

    /// Removes a connection that ended.
    pub(super) fn remove(&self, entry: &Entry) {
        let mut entries = self.entries.lock();
        entries.remove(&entry.id);
        if entries.is_empty() {
            entries.shrink_to_fit();
            self.emptied.notify_waiters();
        }
    }

    /// Notes that bytes moved on a connection.
    pub(super) fn touch(&self, entry: &Entry) {
        entry.active.store(self.tick.load(Ordering::Relaxed), Ordering::Relaxed);
    }

    /// Notes whether a frame is half received.
    pub(super) fn note_frame(&self, entry: &Entry, is_partial: bool) {
        let (order, none) = (Ordering::Relaxed, NO_FRAME);
        if !is_partial {
            entry.frame_since.store(none, order);
        } else if entry.frame_since.load(order) == none {
            entry.frame_since.store(self.tick.load(order), order);
        }
    }

    /// Counts a tick; signals connections on which nothing has moved for `idle` ticks, and, while some wait for
    /// memory, those on which nothing has moved for `stalled` ticks.
    pub(super) fn sweep(&self, idle: Option<u32>, stalled: Option<u32>) {
        let now = self.tick.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let quiet_for = |entry: &Entry| now.wrapping_sub(entry.active.load(Ordering::Relaxed));
        let exceeds = |ticks: u32, limit: Option<u32>| limit.is_some_and(|limit| ticks > limit);
        let mut found = Vec::new();
        for entry in self.entries.lock().values() {
            let quiet = quiet_for(entry);
            if exceeds(quiet, idle) {
                found.push((Arc::clone(entry), Signal::Idle));
            } else if exceeds(quiet, stalled) || exceeds(entry.frame_age(now), stalled.map(|ticks| ticks * TRICKLE)) {
                found.push((Arc::clone(entry), Signal::Stalled));
            }
        }
        for (entry, signal) in found {
            entry.send(signal);
        }
    }

    /// Signals every connection.
    pub(super) fn signal_all(&self, signal: Signal) {
        let all: Vec<_> = self.entries.lock().values().cloned().collect();
        for entry in all {
            entry.send(signal);
        }
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.entries.lock().len()
    }

    /// Waits until none is open.
    pub(super) async fn empty(&self) {
        loop {
            let emptied = self.emptied.notified();
            tokio::pin!(emptied);
            emptied.as_mut().enable();
            if self.len() == 0 {
                return;
            }
            emptied.await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_quiet_connection_is_signalled() {
        let registry = Registry::default();
        let (quiet, busy) = (registry.add(), registry.add());
        for _ in 0..3 {
            registry.sweep(Some(2), None);
            registry.touch(&busy);
        }
        assert_eq!((quiet.signal(), busy.signal()), (Signal::Idle, Signal::None));
        assert_eq!(quiet.signal(), Signal::None, "asked once");
        registry.sweep(Some(100), Some(2));
        assert_eq!((quiet.signal(), busy.signal()), (Signal::Stalled, Signal::None));
        let trickling = registry.add();
        registry.note_frame(&trickling, true);
        for _ in 0..=2 * TRICKLE {
            assert_eq!(trickling.signal(), Signal::None);
            registry.touch(&trickling);
            registry.note_frame(&trickling, true);
            registry.sweep(None, Some(2));
        }
        assert_eq!(trickling.signal(), Signal::Stalled, "bytes that come too slowly do not save it");
        registry.remove(&trickling);
        registry.signal_all(Signal::Drain);
        registry.sweep(Some(0), None);
        assert_eq!((quiet.signal(), quiet.signal()), (Signal::Drain, Signal::Drain), "the stronger signal stays");
        registry.remove(&quiet);
        assert_eq!(registry.len(), 1);
    }
}
