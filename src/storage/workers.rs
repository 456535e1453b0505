//! A few threads that wait for the disk, so that nobody else does: flushes, and deletions after a delay.
//!
//! They are started when there is work. Flushes have no timers: a partition is flushed as soon as a thread is free,
//! and what is appended meanwhile gathers for its next turn.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use super::partition::LocalPartition;

/// Disks take several flushes at once, and a journal commits them together.
const THREADS: usize = 4;

/// Work that is due at some time.
type Task = Box<dyn FnOnce() + Send>;

/// The threads and what waits for them.
#[derive(Clone, Debug)]
pub(super) struct Workers {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    queue: Mutex<Queue>,
    wake: Condvar,
    /// A thread has ended.
    stopped: Condvar,
}

#[derive(Default)]
struct Queue {
    /// Each partition is in it at most once: it knows that it is.
    flushes: VecDeque<Arc<LocalPartition>>,
    later: BinaryHeap<Reverse<Later>>,
    threads: usize,
    idle: usize,
    stopped: bool,
}

struct Later {
    at: Instant,
    task: Task,
}

impl PartialEq for Later {
    fn eq(&self, other: &Self) -> bool {
        self.at == other.at
    }
}

impl Eq for Later {}

impl PartialOrd for Later {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Later {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.at.cmp(&other.at)
    }
}

impl fmt::Debug for Queue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Queue")
            .field("flushes", &self.flushes.len())
            .field("later", &self.later.len())
            .finish_non_exhaustive()
    }
}

enum Job {
    Flush(Arc<LocalPartition>),
    Task(Task),
}

impl Workers {
    /// No thread yet.
    pub fn new() -> Self {
        Self { inner: Arc::new(Inner { queue: Mutex::default(), wake: Condvar::new(), stopped: Condvar::new() }) }
    }

    /// Hands over a partition whose state says that it is queued.
    pub fn flush(&self, partition: Arc<LocalPartition>) {
        let mut queue = self.inner.queue.lock();
        queue.flushes.push_back(partition);
        self.engage(queue);
    }

    /// Runs `task` after `delay`; not at all when the broker stops before.
    pub fn later(&self, delay: Duration, task: Task) {
        let mut queue = self.inner.queue.lock();
        // A delay beyond what the clock can tell never ends.
        let Some(at) = Instant::now().checked_add(delay) else { return };
        queue.later.push(Reverse(Later { at, task }));
        self.engage(queue);
    }

    /// Waits for what is being done; nothing more is begun. Those who close the partitions flush what is left.
    pub fn stop(&self) {
        let mut queue = self.inner.queue.lock();
        queue.stopped = true;
        self.inner.wake.notify_all();
        while queue.threads > 0 {
            self.inner.stopped.wait(&mut queue);
        }
        queue.flushes.clear();
    }

    fn engage(&self, mut queue: parking_lot::MutexGuard<'_, Queue>) {
        if queue.idle >= queue.flushes.len().max(1) {
            drop(queue);
            self.inner.wake.notify_one();
        } else if queue.threads < THREADS && !queue.stopped {
            queue.threads += 1;
            drop(queue);
            let inner = Arc::clone(&self.inner);
            let thread = std::thread::Builder::new().name("storage".to_owned()).stack_size(512 << 10);
            if thread.spawn(move || work(&inner)).is_err() {
                // Another one may take it; without any, the next hand-over tries again.
                self.inner.queue.lock().threads -= 1;
            }
        }
    }
}

/// A thread's life, until [`Workers::stop`].
fn work(inner: &Inner) {
    while let Some(job) = inner.next() {
        match job {
            Job::Flush(partition) => partition.flush_round(),
            Job::Task(task) => task(),
        }
    }
}

impl Inner {
    /// Waits for work; `None` when there will be none.
    fn next(&self) -> Option<Job> {
        let mut queue = self.queue.lock();
        loop {
            if queue.stopped {
                queue.threads -= 1;
                self.stopped.notify_all();
                return None;
            }
            if let Some(partition) = queue.flushes.pop_front() {
                return Some(Job::Flush(partition));
            }
            let due = queue.later.peek().map(|Reverse(later)| later.at);
            if due.is_some_and(|at| at <= Instant::now())
                && let Some(Reverse(later)) = queue.later.pop()
            {
                return Some(Job::Task(later.task));
            }
            queue.idle += 1;
            match due {
                Some(at) => {
                    self.wake.wait_until(&mut queue, at);
                }
                None => self.wake.wait(&mut queue),
            }
            queue.idle -= 1;
        }
    }
}
