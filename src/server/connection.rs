//! One connection: reads requests, starts them in order, sends their replies in that order.
//!
//! A connection is one hand-written future, so that an idle one costs no more than its fields: no buffer, no queue,
//! no timer, no channel. It reads only while it has room for another request in flight and the broker has memory
//! for it; it never waits for its own reader while others could be served.

use std::future::Future;
use std::io;
use std::mem;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, BytesMut};
use tokio::net::TcpStream;
use tracing::{debug, error};

use super::limits::Permit;
use super::memory::Ticket;
use super::receive::{BadLength, Receiver, with_scratch};
use super::registry::{Entry, Signal};
use super::replies::{NoReply, Replies, resident};
use super::{Service, Shared};
use crate::api::{Peer, Refused, Reply, Request, Stage};
use crate::wire::WireError;
use crate::wire::header::take_request_header;

/// Reads and writes in one turn; then other connections of the thread have theirs.
const TURN: usize = 8;

/// Why a connection ends.
#[derive(Debug, thiserror::Error)]
enum End {
    #[error("the client closed the connection")]
    Closed,
    #[error("idle for longer than connections.max.idle.ms")]
    Idle,
    #[error("a half-sent request kept other connections from memory (queued.max.request.bytes)")]
    Stalled,
    #[error("the broker shuts down")]
    Shutdown,
    #[error(transparent)]
    Io(#[from] io::Error),
    #[error(transparent)]
    BadLength(#[from] BadLength),
    #[error("the request header cannot be read: {0}")]
    BadHeader(WireError),
    #[error(transparent)]
    NoReply(#[from] NoReply),
}

/// A request in its first stage.
struct Staged {
    api_key: i16,
    /// What of it is booked.
    bytes: usize,
    stage: Stage,
}

pub(super) struct Connection<S: Service> {
    stream: TcpStream,
    shared: Arc<Shared<S>>,
    entry: Arc<Entry>,
    peer: Arc<Peer>,
    receiver: Receiver,
    /// Bytes that were read while no request could start.
    unread: BytesMut,
    replies: Replies,
    /// A request whose first stage has to wait: none starts before it.
    staged: Option<Box<Staged>>,
    /// Request bytes booked in the memory budget, of which `booked_partial` for the frame that is half received.
    booked: usize,
    booked_partial: usize,
    ticket: Ticket,
    /// No more is read: the connection ends, for this reason, once its replies are sent.
    ending: Option<Box<End>>,
    _permit: Permit,
}

impl<S: Service> Connection<S> {
    pub(super) fn new(stream: TcpStream, shared: Arc<Shared<S>>, peer: Arc<Peer>, permit: Permit) -> Self {
        let entry = shared.registry.add();
        Self {
            stream,
            shared,
            entry,
            peer,
            receiver: Receiver::default(),
            unread: BytesMut::new(),
            replies: Replies::default(),
            staged: None,
            booked: 0,
            booked_partial: 0,
            ticket: Ticket::default(),
            ending: None,
            _permit: permit,
        }
    }

    /// Obeys the registry.
    fn obey(&mut self) -> Result<(), End> {
        // A connection that waits for memory is silent because the broker does not read from it.
        let may_read = !self.ticket.waits();
        match self.entry.signal() {
            Signal::Close => return Err(End::Shutdown),
            Signal::Drain => self.end_after_replies(End::Shutdown),
            Signal::Idle if may_read && (self.ending.is_some() || !self.is_waited_for()) => {
                return Err(End::Idle);
            }
            Signal::Stalled if may_read && self.receiver.is_partial() => return Err(End::Stalled),
            Signal::None | Signal::Idle | Signal::Stalled => {}
        }
        Ok(())
    }

    /// Whether the client waits for an answer that is not there yet.
    fn is_waited_for(&self) -> bool {
        self.staged.is_some() || self.replies.are_waited_for()
    }

    fn end_after_replies(&mut self, end: End) {
        if self.ending.is_none() {
            self.ending = Some(Box::new(end));
            self.unread = BytesMut::new();
        }
    }

    /// Sends what can be sent; whether anything moved.
    fn poll_replies(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        match self.replies.advance(cx) {
            Ok(freed) => self.unbook(freed),
            Err(no_reply) => {
                // Replies before this one still leave; this one and those after it never do.
                let freed = self.replies.drop_due();
                self.unbook(freed);
                self.end_after_replies(no_reply.into());
            }
        }
        if !self.replies.can_send() {
            return Ok(false);
        }
        match self.stream.poll_write_ready(cx) {
            Poll::Pending => return Ok(false),
            Poll::Ready(ready) => ready?,
        }
        match self.replies.send(&self.stream) {
            Ok(_) => {
                self.shared.registry.touch(&self.entry);
                Ok(true)
            }
            Err(error) if would_wait(&error) => Ok(true),
            Err(error) => Err(error.into()),
        }
    }

    /// Goes on with a first stage that had to wait; whether it is over.
    fn poll_staged(&mut self, cx: &mut Context<'_>) -> bool {
        let Some(staged) = &mut self.staged else { return false };
        let polled = catch_unwind(AssertUnwindSafe(|| staged.stage.as_mut().poll(cx)));
        let (api_key, bytes) = (staged.api_key, staged.bytes);
        let reply = match polled {
            Ok(Poll::Pending) => return false,
            Ok(Poll::Ready(reply)) => Ok(reply),
            Err(payload) => Err(payload),
        };
        self.staged = None;
        self.queue(cx, api_key, bytes, reply);
        true
    }

    /// Whether another request may start.
    fn may_start(&self) -> bool {
        self.ending.is_none() && self.staged.is_none() && self.replies.have_room()
    }

    /// Reads and starts requests; whether anything moved.
    fn poll_requests(&mut self, cx: &mut Context<'_>) -> Result<bool, End> {
        if !self.may_start() {
            return Ok(false);
        }
        if !self.unread.is_empty() {
            let mut unread = mem::take(&mut self.unread);
            let left = self.start_requests(cx, &unread);
            unread.advance(unread.len() - left);
            if left > 0 && self.ending.is_none() {
                self.unread = unread;
            }
            return Ok(true);
        }
        let waited = self.ticket.waits();
        if !self.shared.memory.may_read(cx, self.receiver.is_partial(), &mut self.ticket) {
            return Ok(false);
        }
        if waited {
            // The time that it waited for the broker does not count against it.
            self.shared.registry.note_frame(&self.entry, false);
        }
        match self.stream.poll_read_ready(cx) {
            Poll::Pending => return Ok(false),
            Poll::Ready(ready) => ready?,
        }
        let read = match self.receiver.direct(&self.shared.pool) {
            Some(mut frame) => {
                let read = self.stream.try_read_buf(&mut frame);
                if let Some(frame) = self.receiver.complete(&self.shared.pool) {
                    self.start(cx, frame);
                }
                self.book_partial();
                read
            }
            None => with_scratch(|scratch| self.read_small(cx, scratch)),
        };
        match read {
            Ok(0) => self.end_after_replies(End::Closed),
            Ok(_) => self.shared.registry.touch(&self.entry),
            Err(error) if would_wait(&error) => {}
            Err(error) => return Err(error.into()),
        }
        Ok(true)
    }

    fn read_small(&mut self, cx: &mut Context<'_>, scratch: &mut [u8]) -> io::Result<usize> {
        let wanted = self.receiver.scratch_read().min(scratch.len());
        let (scratch, _) = scratch.split_at_mut(wanted);
        let read = self.stream.try_read(scratch)?;
        let (received, _) = scratch.split_at(read);
        let left = self.start_requests(cx, received);
        if left > 0 && self.ending.is_none() {
            let (_, rest) = received.split_at(read - left);
            self.unread = BytesMut::from(rest);
        }
        Ok(read)
    }

    /// Starts the requests in these bytes, as long as there is room for more; returns how many bytes are left.
    fn start_requests(&mut self, cx: &mut Context<'_>, mut input: &[u8]) -> usize {
        while !input.is_empty() && self.may_start() {
            match self.receiver.feed(&mut input, self.shared.limits.request_max_bytes, &self.shared.pool) {
                Ok(Some(frame)) => self.start(cx, frame),
                Ok(None) => {}
                Err(bad) => self.end_after_replies(bad.into()),
            }
        }
        self.book_partial();
        input.len()
    }

    /// Stage one of a request.
    fn start(&mut self, cx: &mut Context<'_>, mut frame: BytesMut) {
        let bytes = frame.capacity();
        self.book(bytes);
        self.shared.memory.end_overdraft(&mut self.ticket);
        let header = match take_request_header(&mut frame) {
            Ok(header) => header,
            Err(error) => {
                self.unbook(bytes);
                return self.end_after_replies(End::BadHeader(error));
            }
        };
        let api_key = header.api_key;
        let request = Request { header, body: frame, peer: Arc::clone(&self.peer) };
        let reply = catch_unwind(AssertUnwindSafe(|| self.shared.service.call(request)));
        self.queue(cx, api_key, bytes, reply);
    }

    /// Takes over what the first stage of a request left to do.
    fn queue(
        &mut self,
        cx: &mut Context<'_>,
        api_key: i16,
        mut bytes: usize,
        reply: std::thread::Result<Result<Reply, Refused>>,
    ) {
        let queued = match reply {
            Ok(Ok(Reply::Now(response))) => {
                self.replies.push_ready(api_key, bytes, resident(response));
                Ok(())
            }
            Ok(Ok(Reply::Later(answer))) => self.replies.push_later(cx, api_key, bytes, answer),
            Ok(Ok(Reply::Parked(answer, holds))) => {
                let holds = holds.min(bytes);
                self.unbook(bytes - holds);
                // From here on only these are booked, and given back when the reply leaves.
                bytes = holds;
                self.replies.push_later(cx, api_key, bytes, answer)
            }
            Ok(Ok(Reply::Staged(stage))) => {
                // Something moved, so that it is polled before the connection sleeps.
                self.staged = Some(Box::new(Staged { api_key, bytes, stage }));
                Ok(())
            }
            Ok(Ok(Reply::Nothing)) => {
                self.unbook(bytes);
                Ok(())
            }
            Ok(Err(refused)) => Err(refused.into()),
            Err(payload) => Err(NoReply::panicked(api_key, &*payload)),
        };
        if let Err(no_reply) = queued {
            self.unbook(bytes);
            self.end_after_replies(no_reply.into());
        }
    }

    fn book(&mut self, bytes: usize) {
        self.booked += bytes;
        self.shared.memory.take(bytes);
    }

    fn unbook(&mut self, bytes: usize) {
        self.booked -= bytes;
        self.shared.memory.give(bytes);
    }

    /// Books what the half-received frame takes now.
    fn book_partial(&mut self) {
        let (before, now) = (self.booked_partial, self.receiver.allocated());
        if now > before {
            self.book(now - before);
        } else {
            self.unbook(before - now);
        }
        self.booked_partial = now;
        self.shared.registry.note_frame(&self.entry, self.receiver.is_partial());
    }

    fn poll_end(&mut self, cx: &mut Context<'_>) -> Poll<End> {
        self.entry.listen(cx.waker());
        if let Err(end) = self.obey() {
            return Poll::Ready(end);
        }
        for _ in 0..TURN {
            let moved = match self.poll_replies(cx) {
                Ok(sent) => {
                    let started = self.poll_staged(cx);
                    self.poll_requests(cx).map(|read| sent | started | read)
                }
                Err(end) => Err(end),
            };
            match moved {
                Err(end) => return Poll::Ready(end),
                Ok(true) => {}
                Ok(false) if self.replies.can_send() => return Poll::Pending,
                Ok(false) => match self.ending.take() {
                    Some(end) if self.replies.are_sent() && self.staged.is_none() => return Poll::Ready(*end),
                    ending => {
                        self.ending = ending;
                        return Poll::Pending;
                    }
                },
            }
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

impl<S: Service> Future for Connection<S> {
    type Output = ();

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let this = self.get_mut();
        this.poll_end(cx).map(|end| {
            let (client, listener) = (this.peer.remote, &*this.peer.listener);
            match end {
                End::NoReply(panic @ NoReply::Panicked { .. }) => {
                    error!(%client, listener, "{panic}; connection closed");
                }
                End::Io(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                    error!(%client, listener, "{error}; connection closed");
                }
                end => debug!(%client, listener, "connection closed: {end}"),
            }
        })
    }
}

impl<S: Service> Drop for Connection<S> {
    fn drop(&mut self) {
        self.shared.memory.end_overdraft(&mut self.ticket);
        self.shared.memory.give(self.booked);
        self.shared.registry.remove(&self.entry);
    }
}

fn would_wait(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted)
}
