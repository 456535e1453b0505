//! From bytes to frames: a 4-byte length, then that many bytes (semantics rule 34).
//!
//! A length is a claim, so it allocates nothing: a frame's buffer is at most eight times what has arrived of it, or
//! as large as a frame (of up to [`PROVEN_MAX`]) that the connection has sent in full before. While a connection is
//! idle it holds no buffer. Small frames arrive in a scratch buffer that all connections of a thread share and are
//! copied out; large ones are read where they stay: the batches in them are appended from there.

use std::cell::Cell;
use std::mem;

use bytes::buf::Limit;
use bytes::{BufMut, BytesMut};
use parking_lot::Mutex;

/// Bytes of the shared scratch buffer: the most that one read takes of small frames.
const SCRATCH: usize = 64 * 1024;
/// A read of fewer bytes than this goes through the scratch buffer, since it may bring the next frames as well.
const DIRECT_MIN: usize = 16 * 1024;
/// Between large frames only so much is read at first, since it has to be copied.
const FIRST_READ_OF_LARGE: usize = 4 * 1024;
/// A buffer is asked for at this many times what has arrived; rounding and reuse add less than as much again.
const GROWTH: usize = 4;
/// Up to this size a frame's buffer is allocated at once where the connection has sent as large a frame before.
const PROVEN_MAX: usize = 2 * 1024 * 1024;

/// The frame length is negative or above `socket.request.max.bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a frame of {length} bytes: only 0 to {max} are accepted (socket.request.max.bytes)")]
pub struct BadLength {
    length: i32,
    max: usize,
}

/// Puts one connection's frames together.
#[derive(Debug)]
pub struct Receiver {
    state: State,
    /// Size of the largest frame that came in full, up to `PROVEN_MAX`.
    proven: usize,
}

#[derive(Debug)]
enum State {
    Length { bytes: [u8; 4], have: u8 },
    Body { buffer: BytesMut, length: usize },
}

const BETWEEN_FRAMES: State = State::Length { bytes: [0; 4], have: 0 };

impl Default for Receiver {
    fn default() -> Self {
        Self { state: BETWEEN_FRAMES, proven: 0 }
    }
}

impl Receiver {
    /// Whether a frame has begun and is not complete.
    pub fn is_partial(&self) -> bool {
        !matches!(self.state, State::Length { have: 0, .. })
    }

    /// Bytes allocated for the frame that is not complete.
    pub(super) fn allocated(&self) -> usize {
        match &self.state {
            State::Length { .. } => 0,
            State::Body { buffer, .. } => buffer.capacity(),
        }
    }

    /// How much to read into the scratch buffer next.
    pub(super) fn scratch_read(&self) -> usize {
        match &self.state {
            State::Length { .. } if self.proven > SCRATCH => FIRST_READ_OF_LARGE,
            _ => SCRATCH,
        }
    }

    /// Takes from `input` until a frame is complete or the input is used up.
    pub fn feed(&mut self, input: &mut &[u8], max: usize, pool: &BufferPool) -> Result<Option<BytesMut>, BadLength> {
        if let State::Length { bytes, have } = &mut self.state {
            let missing = &mut bytes[usize::from(*have)..];
            let taken = take(input, missing.len());
            missing[..taken.len()].copy_from_slice(taken);
            *have += taken.len() as u8;
            if *have < 4 {
                return Ok(None);
            }
            let claimed = i32::from_be_bytes(*bytes);
            let length = usize::try_from(claimed).ok().filter(|length| *length <= max);
            let Some(length) = length else {
                return Err(BadLength { length: claimed, max });
            };
            if input.len() >= length {
                self.state = BETWEEN_FRAMES;
                self.proven = self.proven.max(length.min(PROVEN_MAX));
                return Ok(Some(BytesMut::from(take(input, length))));
            }
            self.state = State::Body { buffer: BytesMut::new(), length };
        }
        if let State::Body { buffer, length } = &mut self.state {
            let taken = take(input, *length - buffer.len());
            grow(buffer, buffer.len() + taken.len(), *length, self.proven, pool);
            buffer.extend_from_slice(taken);
        }
        Ok(self.complete(pool))
    }

    /// Where to read the rest of a large frame to, if it is worth reading in place. Call [`Self::complete`] after.
    pub(super) fn direct(&mut self, pool: &BufferPool) -> Option<Limit<&mut BytesMut>> {
        let State::Body { buffer, length } = &mut self.state else {
            return None;
        };
        let room = capacity(buffer.len(), *length, self.proven).min(*length).saturating_sub(buffer.len());
        if room < DIRECT_MIN {
            return None;
        }
        if buffer.capacity() - buffer.len() < DIRECT_MIN {
            grow(buffer, buffer.len() + 1, *length, self.proven, pool);
        }
        let room = buffer.capacity().min(*length) - buffer.len();
        Some(buffer.limit(room))
    }

    /// The frame, when all of it is there.
    pub(super) fn complete(&mut self, pool: &BufferPool) -> Option<BytesMut> {
        match &self.state {
            State::Body { buffer, length } if buffer.len() == *length => {}
            _ => return None,
        }
        let State::Body { mut buffer, length } = mem::replace(&mut self.state, BETWEEN_FRAMES) else {
            return None;
        };
        self.proven = self.proven.max(length.min(PROVEN_MAX));
        pool.lend(&mut buffer);
        Some(buffer)
    }
}

/// The largest buffer that a frame may have of which `have` bytes are there.
fn capacity(have: usize, length: usize, proven: usize) -> usize {
    // The four bytes of the length have arrived as well.
    let capacity = length.min(((have + 4) * GROWTH).max(proven));
    // Few sizes, so that one frame's buffer fits the next frame of about the same size.
    let step = capacity.next_power_of_two() / 8;
    if capacity < BufferPool::SMALLEST { capacity } else { capacity.next_multiple_of(step) }
}

/// Makes room for `needed` bytes.
fn grow(buffer: &mut BytesMut, needed: usize, length: usize, proven: usize, pool: &BufferPool) {
    if needed <= buffer.capacity() {
        return;
    }
    let mut larger = pool.take(capacity(needed, length, proven));
    larger.extend_from_slice(buffer);
    *buffer = larger;
}

fn take<'a>(input: &mut &'a [u8], count: usize) -> &'a [u8] {
    let (taken, rest) = input.split_at(count.min(input.len()));
    *input = rest;
    taken
}

thread_local! {
    static SCRATCH_BUFFER: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// Lends the thread's scratch buffer. What is in it is left over from its last use.
pub(super) fn with_scratch<T>(use_it: impl FnOnce(&mut [u8]) -> T) -> T {
    let mut scratch = SCRATCH_BUFFER.take();
    scratch.resize(SCRATCH, 0);
    let result = use_it(&mut scratch);
    SCRATCH_BUFFER.set(scratch);
    result
}

/// Buffers of large frames, used again once whoever handled the frame has let go of it.
///
/// Fresh memory of a megabyte costs a page fault for every 4 KiB; this saves them. It keeps a handle to each buffer
/// that it lends, and a buffer is free when that handle is the last.
#[derive(Debug, Default)]
pub struct BufferPool {
    lent: Mutex<Vec<Lent>>,
}

#[derive(Debug)]
struct Lent {
    capacity: usize,
    handle: BytesMut,
}

impl BufferPool {
    const SMALLEST: usize = 32 * 1024;
    const LARGEST: usize = PROVEN_MAX;
    const COUNT: usize = 8;

    /// A buffer with at least this capacity.
    fn take(&self, capacity: usize) -> BytesMut {
        if (Self::SMALLEST..=Self::LARGEST).contains(&capacity) {
            let mut lent = self.lent.lock();
            let free = lent.iter_mut().position(|lent| {
                // Not a far larger one: what the handler keeps of the frame would pin all of it.
                (capacity..=capacity + capacity / 2).contains(&lent.capacity) && lent.handle.try_reclaim(capacity)
            });
            if let Some(free) = free {
                return lent.swap_remove(free).handle;
            }
        }
        BytesMut::with_capacity(capacity)
    }

    /// Keeps a handle to the buffer of a frame that goes to its handler.
    fn lend(&self, frame: &mut BytesMut) {
        let capacity = frame.capacity();
        if !(Self::SMALLEST..=Self::LARGEST).contains(&capacity) {
            return;
        }
        let handle = frame.split_off(frame.len());
        let mut lent = self.lent.lock();
        if lent.len() == Self::COUNT {
            lent.remove(0);
        }
        lent.push(Lent { capacity, handle });
    }

    /// Frees what is kept.
    pub(super) fn clear(&self) {
        self.lent.lock().clear();
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const MAX: usize = 100 * 1024 * 1024;

    fn framed(body: &[u8]) -> Vec<u8> {
        let mut bytes = (body.len() as i32).to_be_bytes().to_vec();
        bytes.extend_from_slice(body);
        bytes
    }

    #[test]
    fn a_length_that_is_negative_or_too_large_is_refused() {
        let pool = BufferPool::default();
        for length in [-1, i32::MIN, 101] {
            let bytes = length.to_be_bytes();
            assert_eq!(
                Receiver::default().feed(&mut bytes.as_slice(), 100, &pool),
                Err(BadLength { length, max: 100 }),
                "{length}"
            );
        }
        assert_eq!(Receiver::default().feed(&mut 100_i32.to_be_bytes().as_slice(), 100, &pool), Ok(None));
        assert_eq!(Receiver::default().feed(&mut [0; 4].as_slice(), 100, &pool), Ok(Some(BytesMut::new())));
    }

    #[test]
    fn a_claim_of_100_mib_allocates_by_what_arrived() {
        let pool = BufferPool::default();
        let mut receiver = Receiver::default();
        let mut bytes = (MAX as i32).to_be_bytes().to_vec();
        bytes.extend_from_slice(&[7; 10]);
        assert_eq!(receiver.feed(&mut bytes.as_slice(), MAX, &pool), Ok(None));
        assert!(receiver.is_partial());
        assert!(receiver.allocated() <= 8 * bytes.len(), "{}", receiver.allocated());
        assert!(receiver.direct(&pool).is_none());
    }

    #[test]
    fn a_connection_that_sent_a_large_frame_gets_the_next_buffer_at_once() {
        let pool = BufferPool::default();
        let mut receiver = Receiver::default();
        let large = framed(&vec![1; 1_000_000]);
        let frame = receiver.feed(&mut large.as_slice(), MAX, &pool).unwrap().unwrap();
        drop(frame);
        assert_eq!(receiver.scratch_read(), FIRST_READ_OF_LARGE);
        assert_eq!(receiver.feed(&mut &large[..100], MAX, &pool), Ok(None));
        assert!((1_000_000..1_100_000).contains(&receiver.allocated()));
    }

    #[test]
    fn a_buffer_is_used_again_only_when_its_frame_is_gone() {
        let pool = BufferPool::default();
        let mut frame = pool.take(100_000);
        frame.resize(100_000, 1);
        let address = frame.as_ptr();
        pool.lend(&mut frame);
        let mut batch = frame.split_off(50_000);
        drop(frame);
        batch[0] = 9;
        assert_ne!(pool.take(100_000).as_ptr(), address, "a part of the frame is still held");
        drop(batch);
        assert!(pool.take(10_000).capacity() < 100_000, "far too large for this");
        let again = pool.take(100_000);
        assert_eq!((again.as_ptr(), again.len()), (address, 0));
    }

    proptest! {
        #[test]
        fn frames_come_out_as_they_went_in(
            sizes in prop::collection::vec(prop_oneof![0..50_usize, 0..100_000_usize], 1..6),
            reads in prop::collection::vec(1..70_000_usize, 1..20),
        ) {
            let pool = BufferPool::default();
            let mut receiver = Receiver::default();
            let bodies: Vec<Vec<u8>> = sizes.iter().enumerate().map(|(i, size)| vec![i as u8; *size]).collect();
            let stream: Vec<u8> = bodies.iter().flat_map(|body| framed(body)).collect();
            let mut stream = stream.as_slice();
            let mut reads = reads.into_iter().cycle();
            let (mut received, mut largest) = (Vec::new(), 0);
            while !stream.is_empty() {
                let read = reads.next().unwrap_or(1);
                if let Some(mut direct) = receiver.direct(&pool) {
                    let count = read.min(direct.remaining_mut());
                    direct.put_slice(take(&mut stream, count));
                    received.extend(receiver.complete(&pool));
                } else {
                    let mut input = take(&mut stream, read.min(receiver.scratch_read()));
                    while !input.is_empty() {
                        received.extend(receiver.feed(&mut input, MAX, &pool).unwrap());
                    }
                }
                largest = received.iter().map(BytesMut::len).fold(largest, usize::max);
                if let State::Body { buffer, .. } = &receiver.state {
                    prop_assert!(buffer.capacity() <= (8 * (buffer.len() + 4)).max(2 * largest));
                }
            }
            prop_assert_eq!(received.iter().map(|frame| frame.to_vec()).collect::<Vec<_>>(), bodies);
            prop_assert!(!receiver.is_partial());
        }
    }
}
