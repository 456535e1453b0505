//! What handlers share: answers at once or once the metadata is durable, addresses, texts.

use bytes::Bytes;
use kafka_protocol::messages::ApiKey;
use kafka_protocol::protocol::{Encodable, StrBytes};

use super::{Peer, Refused, Reply, Request};
use crate::broker::Broker;
use crate::coordinator::Outcome;
use crate::group::turn::Client;
use crate::log::AppendError;
use crate::storage::partition_log::{Durable, FlushFailed};
use crate::wire::header::RequestHeader;
use crate::wire::message::encode_response;
pub use crate::wire::message::text;
use crate::wire::{ErrorCode, WireError};

/// Everything that can be done with a topic, as bits by the operations' numbers: read, write, create, delete, alter,
/// describe, describe and alter its settings. Without an authorizer everybody may.
pub const TOPIC_OPERATIONS: i32 = 0b1101_1111_1000;
/// Everything that can be done with the cluster: create, alter, describe, cluster action, settings, idempotent write.
pub const CLUSTER_OPERATIONS: i32 = 0b1_1111_1010_0000;
/// Everything that can be done with a group: read, delete, describe, describe and alter its settings.
pub const GROUP_OPERATIONS: i32 = 0b1101_0100_1000;
/// Operations that were not asked for.
pub const NO_OPERATIONS: i32 = i32::MIN;

/// Answers at once.
pub fn now<T: Encodable>(api: ApiKey, header: &RequestHeader, body: &T) -> Result<Reply, Refused> {
    Ok(Reply::Now(encode_response(api, header.api_version, header.correlation_id, body)?.into()))
}

/// Answers once `durable` has ended, well or not.
pub fn later<T: Encodable>(
    api: ApiKey,
    header: &RequestHeader,
    durable: Durable,
    body: impl FnOnce(Result<(), FlushFailed>) -> T + Send + 'static,
) -> Reply {
    let (version, correlation_id) = (header.api_version, header.correlation_id);
    Reply::Later(Box::pin(async move {
        let body = body(durable.await);
        Ok(encode_response(api, version, correlation_id, &body)?.into())
    }))
}

/// Answers with what `work` gives, which waits for the disk and so may not run on an I/O thread.
pub fn blocking<T: Encodable>(api: ApiKey, header: &RequestHeader, work: impl FnOnce() -> T + Send + 'static) -> Reply {
    let (version, correlation_id) = (header.api_version, header.correlation_id);
    blocking_frame(api, move || encode_response(api, version, correlation_id, &work()))
}

/// [`blocking`], for an answer that is encoded in a way of its own.
pub fn blocking_frame(api: ApiKey, work: impl FnOnce() -> Result<Bytes, WireError> + Send + 'static) -> Reply {
    Reply::Later(Box::pin(async move {
        let frame = tokio::task::spawn_blocking(work).await;
        Ok(frame.map_err(|error| Refused::Close(format!("{api:?} was not carried out: {error}")))??.into())
    }))
}

/// Answers what the metadata says, once it is durable: nobody is told of what a crash could take back.
pub fn settled<T>(broker: &Broker, api: ApiKey, header: &RequestHeader, body: T) -> Result<Reply, Refused>
where
    T: Encodable + Send + 'static,
{
    match broker.metadata.settled() {
        None => now(api, header, &body),
        // Where the flush failed, changes are refused; what is known is still told.
        Some(durable) => Ok(later(api, header, durable, |_| body)),
    }
}

/// Answers with what a coordinator says.
pub fn coordinated<T, R>(
    api: ApiKey,
    header: &RequestHeader,
    outcome: Outcome<T>,
    body: impl FnOnce(Result<T, ErrorCode>) -> R + Send + 'static,
) -> Result<Reply, Refused>
where
    T: Send + 'static,
    R: Encodable,
{
    let (version, correlation_id) = (header.api_version, header.correlation_id);
    coordinated_frame(outcome, move |result| encode_response(api, version, correlation_id, &body(result)))
}

/// [`coordinated`], for a request that may wait for other members as long as they take.
pub fn coordinated_waiting<T, R>(
    api: ApiKey,
    header: &RequestHeader,
    outcome: Outcome<T>,
    body: impl FnOnce(Result<T, ErrorCode>) -> R + Send + 'static,
) -> Result<Reply, Refused>
where
    T: Send + 'static,
    R: Encodable,
{
    Ok(match coordinated(api, header, outcome, body)? {
        // Of the request only what the group keeps is still in memory.
        Reply::Later(answer) => Reply::Parked(answer, 0),
        reply => reply,
    })
}

/// [`coordinated`], for an answer that is encoded in a way of its own.
pub fn coordinated_frame<T: Send + 'static>(
    outcome: Outcome<T>,
    frame: impl FnOnce(Result<T, ErrorCode>) -> Result<Bytes, WireError> + Send + 'static,
) -> Result<Reply, Refused> {
    match outcome {
        Outcome::Now(result) => Ok(Reply::Now(frame(result)?.into())),
        Outcome::Later(result) => Ok(Reply::Later(Box::pin(async move { Ok(frame(result.await)?.into()) }))),
    }
}

/// What Kafka calls the reason for which a log refuses a batch.
pub fn append_error(error: &AppendError) -> ErrorCode {
    match error {
        AppendError::Corrupt(_) => ErrorCode::CORRUPT_MESSAGE,
        AppendError::TooLarge { .. } => ErrorCode::MESSAGE_TOO_LARGE,
        AppendError::LargerThanSegment { .. } => ErrorCode::RECORD_LIST_TOO_LARGE,
        AppendError::InvalidRecord { .. } | AppendError::NotOneBatch(_) => ErrorCode::INVALID_RECORD,
        AppendError::InvalidTimestamp { .. } => ErrorCode::INVALID_TIMESTAMP,
        AppendError::UnsupportedCompression(_) => ErrorCode::UNSUPPORTED_COMPRESSION_TYPE,
        AppendError::UnsupportedFormat(_) => ErrorCode::UNSUPPORTED_FOR_MESSAGE_FORMAT,
        AppendError::OutOfOrderSequence(_) => ErrorCode::OUT_OF_ORDER_SEQUENCE_NUMBER,
        AppendError::InvalidProducerEpoch(_) => ErrorCode::INVALID_PRODUCER_EPOCH,
        AppendError::InvalidTxnState(_) => ErrorCode::INVALID_TXN_STATE,
        AppendError::CoordinatorFenced(_) => ErrorCode::TRANSACTION_COORDINATOR_FENCED,
        AppendError::Storage(_) => ErrorCode::KAFKA_STORAGE_ERROR,
        AppendError::Deleted => ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
    }
}

/// The code for a producer that another has taken over from: older clients know it by an older name.
pub fn producer_error(code: ErrorCode, knows_fenced: bool) -> ErrorCode {
    if code == ErrorCode::PRODUCER_FENCED && !knows_fenced { ErrorCode::INVALID_PRODUCER_EPOCH } else { code }
}

/// Who asks, as groups remember it.
pub fn client(request: &Request) -> Client {
    Client {
        id: request.header.client_id.as_deref().unwrap_or_default().to_owned(),
        host: format!("/{}", request.peer.remote.ip().to_canonical()),
        api_version: request.header.api_version,
    }
}

/// The address that a client is told: the advertised one of the listener that it came by, else the one it dialled.
pub fn address(broker: &Broker, peer: &Peer) -> (StrBytes, i32) {
    match broker.config.advertised(&peer.listener) {
        Some(advertised) => (text(&advertised.host), i32::from(advertised.port)),
        None => (text(&peer.local.ip().to_canonical().to_string()), i32::from(peer.local.port())),
    }
}

/// A sentence for a message.
pub fn sentence(text: String) -> StrBytes {
    StrBytes::from_string(text)
}

/// What a client is told when metadata cannot be written.
pub fn not_written(error: &impl std::fmt::Display) -> (ErrorCode, String) {
    tracing::error!("metadata is not written: {error}");
    (ErrorCode::KAFKA_STORAGE_ERROR, format!("The change is not on the disk: {error}"))
}
