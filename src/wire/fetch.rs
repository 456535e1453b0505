//! Fetch responses, encoded by hand: the records themselves stay where they are and are sent from there.

use bytes::Bytes;

use super::produce::TopicRef;
use crate::types::{LeaderEpoch, Offset, PartitionIndex, ProducerId};
use crate::wire::ErrorCode;

/// Stored bytes whose length is known and whose content need not be in memory.
pub trait StoredBytes {
    /// How many bytes there are.
    fn len(&self) -> usize;
    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// A piece of a response: bytes in memory, or records that are sent from where they are stored.
#[derive(Debug)]
pub enum Piece<R> {
    /// Encoded fields.
    Bytes(Bytes),
    /// Record batches.
    Records(R),
}

/// A Fetch response.
#[derive(Debug)]
pub struct FetchResponse<R> {
    /// How long the client is throttled, in milliseconds.
    pub throttle_time_ms: i32,
    /// Error of the whole request (v7+).
    pub error: ErrorCode,
    /// The fetch session (v7+); 0 for none.
    pub session_id: i32,
    /// What was read, by topic.
    pub topics: Vec<FetchedTopic<R>>,
}

/// One topic of a Fetch response.
#[derive(Debug)]
pub struct FetchedTopic<R> {
    /// The topic as the request named it.
    pub topic: TopicRef,
    /// What was read, by partition.
    pub partitions: Vec<FetchedPartition<R>>,
}

/// One partition of a Fetch response.
#[derive(Debug)]
pub struct FetchedPartition<R> {
    /// Which partition.
    pub index: PartitionIndex,
    /// Its error.
    pub error: ErrorCode,
    /// High watermark; -1 where not known.
    pub high_watermark: Offset,
    /// Last stable offset (v4+).
    pub last_stable_offset: Offset,
    /// First offset of the log (v5+).
    pub log_start_offset: Offset,
    /// Where the log diverges from the fetcher's (v12+, tagged), as epoch and end offset.
    pub diverging_epoch: Option<(LeaderEpoch, Offset)>,
    /// The current leader (v12+, tagged), as leader id and epoch; sent with NOT_LEADER_OR_FOLLOWER or FENCED_LEADER_EPOCH.
    pub current_leader: Option<(i32, LeaderEpoch)>,
    /// Aborted transactions for read_committed; `None` is null on the wire.
    pub aborted: Option<Vec<(ProducerId, Offset)>>,
    /// The record batches; `None` is sent as an empty set.
    pub records: Option<R>,
}

/// Encodes a whole Fetch response frame (v4-v18), length and header included.
pub fn encode<R: StoredBytes>(_version: i16, _correlation_id: i32, _response: FetchResponse<R>) -> Vec<Piece<R>> {
    todo!()
}
