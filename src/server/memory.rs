//! What request bytes may take, over all connections (`queued.max.request.bytes`).
//!
//! A connection asks before it reads, and books what it allocated afterwards. Like Kafka's pool this one is not
//! strict: while anything is left a read may go ahead, so the total can pass the limit by what each connection
//! gets in one read, and a frame that is larger than the whole budget can still pass.
//!
//! Frames that are half received hold their bytes, so they alone could use the budget up and wait for each other
//! for ever. Therefore one connection at a time whose frame is half received may go on over the limit (the
//! overdraft), until that frame is whole. A connection that keeps the others waiting and sends nothing is closed
//! by the sweeper.

use std::mem;
use std::task::{Context, Waker};

use parking_lot::Mutex;

/// Counts the bytes of received requests that are not answered yet.
#[derive(Debug)]
pub(super) struct Budget {
    limit: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    used: usize,
    overdraft_taken: bool,
    waiting: Vec<Waker>,
    /// How often those who wait were woken.
    wakes: u64,
}

/// What the budget knows of one connection.
#[derive(Debug, Default)]
pub(super) struct Ticket {
    /// It holds the overdraft. Give it back with [`Budget::end_overdraft`].
    overdraft: bool,
    /// It waits since the wake of this number.
    waits_since: Option<u64>,
}

impl Ticket {
    /// Whether the connection waits for memory.
    pub(super) fn waits(&self) -> bool {
        self.waits_since.is_some()
    }
}

impl Budget {
    pub(super) fn new(limit: usize) -> Self {
        Self { limit, state: Mutex::default() }
    }

    /// Whether a connection may read now; if not, the task is woken when it is worth asking again.
    pub(super) fn may_read(&self, cx: &Context<'_>, frame_is_partial: bool, ticket: &mut Ticket) -> bool {
        let mut state = self.state.lock();
        if frame_is_partial && state.used >= self.limit && !state.overdraft_taken {
            state.overdraft_taken = true;
            ticket.overdraft = true;
        }
        if state.used < self.limit || ticket.overdraft {
            ticket.waits_since = None;
            return true;
        }
        if ticket.waits_since != Some(state.wakes) {
            ticket.waits_since = Some(state.wakes);
            state.waiting.push(cx.waker().clone());
        }
        false
    }

    /// Books bytes that were allocated.
    pub(super) fn take(&self, bytes: usize) {
        self.state.lock().used += bytes;
    }

    /// Returns bytes that were booked.
    pub(super) fn give(&self, bytes: usize) {
        if bytes == 0 {
            return;
        }
        let mut state = self.state.lock();
        state.used = state.used.saturating_sub(bytes);
        // Waking only below seven eighths keeps a crowd from being woken for every small release.
        if state.used < self.limit - self.limit / 8 {
            wake(state);
        }
    }

    /// Gives the overdraft to whoever asks next.
    pub(super) fn end_overdraft(&self, ticket: &mut Ticket) {
        if mem::take(&mut ticket.overdraft) {
            let mut state = self.state.lock();
            state.overdraft_taken = false;
            wake(state);
        }
    }

    /// Whether connections wait for memory.
    pub(super) fn is_waited_for(&self) -> bool {
        !self.state.lock().waiting.is_empty()
    }

    /// Bytes booked now.
    #[cfg(test)]
    pub(super) fn used(&self) -> usize {
        self.state.lock().used
    }
}

/// Wakes all who wait, after the lock is released: a woken task may run at once elsewhere.
fn wake(mut state: parking_lot::MutexGuard<'_, State>) {
    let waiting = mem::take(&mut state.waiting);
    state.wakes += 1;
    drop(state);
    for waker in waiting {
        waker.wake();
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::task::Wake;

    use super::*;

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[test]
    fn a_read_waits_for_a_release_once_the_budget_is_used() {
        let woken = Arc::new(Count::default());
        let waker = Waker::from(woken.clone());
        let cx = Context::from_waker(&waker);
        let budget = Budget::new(1000);
        let mut ticket = Ticket::default();
        assert!(budget.may_read(&cx, false, &mut ticket));
        budget.take(5000);
        assert!(!budget.may_read(&cx, false, &mut ticket));
        assert!(!budget.may_read(&cx, false, &mut ticket), "asking twice registers once");
        assert!(budget.is_waited_for());
        budget.give(4000);
        assert_eq!(woken.0.load(Ordering::Relaxed), 0, "still full");
        budget.give(500);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(budget.may_read(&cx, false, &mut ticket));
    }

    #[test]
    fn one_partial_frame_at_a_time_may_pass_the_limit() {
        let woken = Arc::new(Count::default());
        let waker = Waker::from(woken.clone());
        let cx = Context::from_waker(&waker);
        let budget = Budget::new(10);
        budget.take(10);
        let (mut first, mut second) = (Ticket::default(), Ticket::default());
        assert!(budget.may_read(&cx, true, &mut first));
        assert!(budget.may_read(&cx, true, &mut first), "it keeps the overdraft until its frame is whole");
        assert!(!budget.may_read(&cx, true, &mut second));
        budget.end_overdraft(&mut first);
        assert_eq!(woken.0.load(Ordering::Relaxed), 1);
        assert!(budget.may_read(&cx, true, &mut second));
        assert!(!budget.may_read(&cx, true, &mut first));
    }
}
