//! A connection's replies: made in any order, sent in the order of their requests (semantics rule 33).
//!
//! Pieces in memory are gathered into few writes; records are sent from their file and cost nothing while they wait.

use std::collections::VecDeque;
use std::io::{self, IoSlice};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::{Context, Poll};

use bytes::Buf;
use tokio::net::TcpStream;

use super::sendfile;
use crate::api::{Answer, Refused, Response};
use crate::storage::disk::FileSlice;
use crate::wire::fetch::Piece;

/// Requests of one connection that may be in flight.
const MAX_IN_FLIGHT: usize = 64;
/// Bytes of requests in flight after which a connection starts no more.
const MAX_REQUEST_BYTES: usize = 16 * 1024 * 1024;
/// Bytes of replies, held in memory for a reader that is behind, after which a connection starts no more requests.
const MAX_REPLY_BYTES: usize = 1024 * 1024;
/// Pieces that go into one write.
const GATHER: usize = 64;

/// Replies that are due, oldest first.
#[derive(Default)]
pub(super) struct Replies {
    due: VecDeque<Due>,
    /// Pieces of replies whose turn it is.
    out: VecDeque<Piece<FileSlice>>,
    /// Bytes of the requests in `due`.
    request_bytes: usize,
    /// What unsent replies take in memory.
    reply_bytes: usize,
}

struct Due {
    state: State,
    request_bytes: usize,
    api_key: i16,
}

enum State {
    Waiting(Answer),
    Ready(Response),
}

/// Why a reply never came.
#[derive(Debug, thiserror::Error)]
pub(super) enum NoReply {
    /// The handler wants the connection closed.
    #[error(transparent)]
    Refused(#[from] Refused),
    /// The handler panicked.
    #[error("the handler of API {api_key} panicked: {message}")]
    Panicked {
        /// Which API.
        api_key: i16,
        /// What it said.
        message: String,
    },
}

impl NoReply {
    /// From what `catch_unwind` caught.
    pub(super) fn panicked(api_key: i16, payload: &(dyn std::any::Any + Send)) -> Self {
        let message = payload.downcast_ref::<&str>().map(|text| (*text).to_owned());
        let message = message.or_else(|| payload.downcast_ref::<String>().cloned());
        Self::Panicked { api_key, message: message.unwrap_or_else(|| "no message".to_owned()) }
    }
}

impl Replies {
    /// Whether another request may start.
    pub(super) fn have_room(&self) -> bool {
        self.due.len() < MAX_IN_FLIGHT && self.request_bytes < MAX_REQUEST_BYTES && self.reply_bytes < MAX_REPLY_BYTES
    }

    /// Whether nothing is due and all is sent.
    pub(super) fn are_sent(&self) -> bool {
        self.due.is_empty() && self.out.is_empty()
    }

    /// Whether nothing is left to send now, but replies are due.
    pub(super) fn are_waited_for(&self) -> bool {
        self.out.is_empty() && !self.due.is_empty()
    }

    /// Queues a reply that is ready.
    pub(super) fn push_ready(&mut self, api_key: i16, request_bytes: usize, response: Response) {
        self.reply_bytes += memory(&response);
        self.push(Due { state: State::Ready(response), request_bytes, api_key });
    }

    /// Queues a reply that comes later. It is polled once now, so that it can begin, and then when it is the first.
    pub(super) fn push_later(
        &mut self,
        cx: &mut Context<'_>,
        api_key: i16,
        request_bytes: usize,
        mut answer: Answer,
    ) -> Result<(), NoReply> {
        match poll_answer(cx, api_key, &mut answer)? {
            Poll::Ready(response) => self.push_ready(api_key, request_bytes, response),
            Poll::Pending => self.push(Due { state: State::Waiting(answer), request_bytes, api_key }),
        }
        Ok(())
    }

    fn push(&mut self, due: Due) {
        self.request_bytes += due.request_bytes;
        self.due.push_back(due);
    }

    /// Moves replies whose turn has come to where they are sent from; returns the request bytes that this frees.
    pub(super) fn advance(&mut self, cx: &mut Context<'_>) -> Result<usize, NoReply> {
        let mut freed = 0;
        while let Some(first) = self.due.front_mut() {
            if let State::Waiting(answer) = &mut first.state {
                let Poll::Ready(response) = poll_answer(cx, first.api_key, answer)? else {
                    break;
                };
                self.reply_bytes += memory(&response);
                first.state = State::Ready(response);
            }
            let Some(Due { state: State::Ready(Response(pieces)), request_bytes, .. }) = self.due.pop_front() else {
                break;
            };
            self.out.extend(pieces);
            freed += request_bytes;
        }
        self.request_bytes -= freed;
        Ok(freed)
    }

    /// Drops what is due but may not be sent any more; returns the request bytes that this frees.
    pub(super) fn drop_due(&mut self) -> usize {
        self.due.clear();
        std::mem::take(&mut self.request_bytes)
    }

    /// Whether there is something to send now.
    pub(super) fn can_send(&self) -> bool {
        !self.out.is_empty()
    }

    /// Sends what the socket takes of the next pieces.
    pub(super) fn send(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let sent = match self.out.front_mut() {
            None => 0,
            Some(Piece::Bytes(_)) => {
                let sent = self.send_gathered(stream)?;
                self.consume_bytes(sent);
                sent
            }
            Some(Piece::Records(slice)) if slice.length == 0 => {
                self.pop();
                0
            }
            Some(Piece::Records(slice)) => {
                let sent = sendfile::send_file(stream, slice)?;
                if sent == 0 {
                    return Err(cut_short(slice));
                }
                slice.position += sent as u64;
                slice.length -= sent;
                if slice.length == 0 {
                    self.pop();
                }
                sent
            }
        };
        if self.out.is_empty() && self.due.is_empty() {
            self.shrink();
        }
        Ok(sent)
    }

    fn send_gathered(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); GATHER];
        let mut count = 0;
        let mut file_follows = false;
        for (slot, piece) in slices.iter_mut().zip(&self.out) {
            let Piece::Bytes(bytes) = piece else {
                file_follows = true;
                break;
            };
            *slot = IoSlice::new(bytes);
            count += 1;
        }
        sendfile::send_bytes(stream, slices.get(..count).unwrap_or_default(), file_follows)
    }

    fn consume_bytes(&mut self, mut sent: usize) {
        while let Some(Piece::Bytes(bytes)) = self.out.front_mut() {
            if sent < bytes.len() {
                self.reply_bytes -= sent;
                bytes.advance(sent);
                return;
            }
            sent -= bytes.len();
            self.pop();
        }
    }

    fn pop(&mut self) {
        if let Some(piece) = self.out.pop_front() {
            self.reply_bytes -= piece_memory(&piece);
        }
    }

    /// An idle connection keeps no queues.
    fn shrink(&mut self) {
        const KEEP: usize = 8;
        if self.due.capacity() > KEEP {
            self.due = VecDeque::new();
        }
        if self.out.capacity() > KEEP {
            self.out = VecDeque::new();
        }
    }
}

fn poll_answer(cx: &mut Context<'_>, api_key: i16, answer: &mut Answer) -> Result<Poll<Response>, NoReply> {
    match catch_unwind(AssertUnwindSafe(|| answer.as_mut().poll(cx))) {
        Ok(Poll::Ready(answer)) => Ok(Poll::Ready(resident(answer?))),
        Ok(Poll::Pending) => Ok(Poll::Pending),
        Err(payload) => Err(NoReply::panicked(api_key, &*payload)),
    }
}

/// Records that are in memory anyway are sent as bytes.
pub(super) fn resident(mut response: Response) -> Response {
    for piece in &mut response.0 {
        if let Piece::Records(slice) = piece
            && let Some(bytes) = slice.file.in_memory(slice.position, slice.length)
            && bytes.len() == slice.length
        {
            *piece = Piece::Bytes(bytes);
        }
    }
    response
}

fn memory(response: &Response) -> usize {
    response.0.iter().map(piece_memory).sum()
}

fn piece_memory(piece: &Piece<FileSlice>) -> usize {
    size_of::<Piece<FileSlice>>()
        + match piece {
            Piece::Bytes(bytes) => bytes.len(),
            Piece::Records(_) => 0,
        }
}

fn cut_short(slice: &FileSlice) -> io::Error {
    let FileSlice { file, position, length } = slice;
    let message = format!("{file:?} ends before position {position}, from where {length} bytes were promised");
    io::Error::new(io::ErrorKind::UnexpectedEof, message)
}
