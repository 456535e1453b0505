//! One file per API. A handler is a plain function that does stage one (everything that fixes order) and returns
//! the reply, or a future of it (stage two). `table.rs` lists them.

pub mod add_offsets_to_txn;
pub mod add_partitions_to_txn;
pub mod alter_configs;
pub mod api_versions;
pub mod consumer_group_describe;
pub mod consumer_group_heartbeat;
pub mod create_partitions;
pub mod create_topics;
pub mod delete_groups;
pub mod delete_records;
pub mod delete_topics;
pub mod describe_cluster;
pub mod describe_configs;
pub mod describe_groups;
pub mod describe_log_dirs;
pub mod describe_producers;
pub mod describe_topic_partitions;
pub mod describe_transactions;
pub mod end_txn;
pub mod fetch;
pub mod fetch_session;
pub mod find_coordinator;
pub mod heartbeat;
pub mod incremental_alter_configs;
pub mod init_producer_id;
pub mod join_group;
pub mod leave_group;
pub mod list_config_resources;
pub mod list_groups;
pub mod list_offsets;
pub mod list_transactions;
pub mod metadata;
pub mod offset_commit;
pub mod offset_delete;
pub mod offset_fetch;
pub mod offset_for_leader_epoch;
pub mod produce;
mod reply;
pub mod sync_group;
pub mod table;
#[cfg(test)]
pub(crate) mod test_support;
pub mod txn_offset_commit;
pub mod update_features;
pub mod write_txn_markers;

use std::future::Future;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use kafka_protocol::messages::ApiKey;

use crate::broker::Broker;
use crate::server::Service;
use crate::storage::disk::FileSlice;
use crate::wire::WireError;
use crate::wire::fetch::Piece;
use crate::wire::header::RequestHeader;

/// What a handler may know about where a request came from.
#[derive(Clone, Debug)]
pub struct Peer {
    /// The client's address.
    pub remote: SocketAddr,
    /// The address that the client dialled: what Metadata answers where no listener is advertised.
    pub local: SocketAddr,
    /// The listener's name, as in `listeners=`.
    pub listener: Arc<str>,
}

/// A request on its way to its handler.
#[derive(Debug)]
pub struct Request {
    /// Key, version, correlation id, client id.
    pub header: RequestHeader,
    /// The body, in the buffer that it was received in.
    pub body: BytesMut,
    /// Where it came from.
    pub peer: Arc<Peer>,
}

/// A whole response frame, in pieces.
#[derive(Debug)]
pub struct Response(pub Vec<Piece<FileSlice>>);

impl From<Bytes> for Response {
    fn from(frame: Bytes) -> Self {
        Self(vec![Piece::Bytes(frame)])
    }
}

/// Stage two: the answer in the making.
pub type Answer = Pin<Box<dyn Future<Output = Result<Response, Refused>> + Send>>;

/// Stage one in the making.
pub type Stage = Pin<Box<dyn Future<Output = Result<Reply, Refused>> + Send>>;

/// What a handler's first stage leaves to do.
pub enum Reply {
    /// The answer is ready.
    Now(Response),
    /// The answer comes later; the connection's next request may start meanwhile.
    Later(Answer),
    /// As `Later`, for as long as the client says: of its request only so many bytes are still in memory.
    Parked(Answer, usize),
    /// Stage one itself has to wait: the connection's next request starts after it.
    Staged(Stage),
    /// No answer is due (acks=0).
    Nothing,
}

/// The connection is closed without an answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    /// The request cannot be decoded.
    #[error(transparent)]
    Malformed(#[from] WireError),
    /// The protocol prescribes closing (acks=0 with an error, for one).
    #[error("{0}")]
    Close(String),
}

/// Stage one of a request.
pub type Handler = fn(&Arc<Broker>, Request) -> Result<Reply, Refused>;

impl Service for Arc<Broker> {
    fn call(&self, request: Request) -> Result<Reply, Refused> {
        let (key, version) = (request.header.api_key, request.header.api_version);
        match table::find(key) {
            Some(api) if (api.min..=api.max).contains(&version) => (api.handler)(self, request),
            Some(api) if api.key == ApiKey::ApiVersions => api_versions::unsupported(request.header.correlation_id),
            _ => Err(WireError::Unsupported { key, version }.into()),
        }
    }
}
