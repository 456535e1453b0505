//! Produce requests, decoded by hand: record batches stay slices of the frame that they arrived in.

use bytes::BytesMut;

use super::WireError;
use crate::types::{PartitionIndex, TopicId};

/// How a request names a topic.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TopicRef {
    /// By name.
    Name(Box<str>),
    /// By id (Produce v13, Fetch v13).
    Id(TopicId),
}

/// A Produce request.
#[derive(Debug)]
pub struct ProduceRequest {
    /// Set by transactional producers.
    pub transactional_id: Option<Box<str>>,
    /// -1, 0 or 1; anything else is for the handler to refuse.
    pub acks: i16,
    /// How long the client waits, in milliseconds.
    pub timeout_ms: i32,
    /// The batches by topic.
    pub topics: Vec<ProduceTopic>,
}

/// One topic of a Produce request.
#[derive(Debug)]
pub struct ProduceTopic {
    /// Which topic.
    pub topic: TopicRef,
    /// The batches by partition.
    pub partitions: Vec<ProducePartition>,
}

/// One partition of a Produce request.
#[derive(Debug)]
pub struct ProducePartition {
    /// Which partition.
    pub index: PartitionIndex,
    /// The record batch, not yet checked; `None` where the client sent null.
    pub records: Option<BytesMut>,
}

/// Decodes the body of a Produce request (v3-v13).
pub fn decode(_version: i16, _body: BytesMut) -> Result<ProduceRequest, WireError> {
    todo!()
}
