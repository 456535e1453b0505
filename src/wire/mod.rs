//! PURE. Bytes to meaning and back: headers, bounded decoding, the record-batch view, error codes.
//!
//! Nothing here does I/O. Whatever arrives is hostile until it is decoded: no function may panic,
//! and no allocation may be larger than a small multiple of the bytes that arrived.

pub mod batch;
pub mod compression;
pub mod consumer_protocol;
pub mod control;
pub mod describe_log_dirs;
pub mod error_code;
pub mod fetch;
pub(crate) mod field_writer;
pub mod header;
pub mod message;
pub mod offset_commit;
pub mod offset_fetch;
pub mod produce;
pub mod reader;
pub mod records;
pub mod schema;
mod writer;

pub use error_code::{ErrorCode, Refusal};

/// Why bytes could not be understood. The connection they came on is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A length or count claims more than what is left.
    #[error("a field claims more bytes than the frame holds")]
    Truncated,
    /// A value that no valid encoder writes (negative length, bad boolean, invalid UTF-8, overlong varint).
    #[error("a field holds a value that the protocol does not allow: {0}")]
    Invalid(&'static str),
    /// This API or version is not known here.
    #[error("API {key} version {version} is not supported")]
    Unsupported {
        /// The API key.
        key: i16,
        /// The version asked for.
        version: i16,
    },
}

/// A message whose decoded form would take more than [`decoded_limit`].
pub(crate) const TOO_MANY_ELEMENTS: WireError = WireError::Invalid("more elements than its bytes justify");

/// How much memory a decoded message of `received` bytes may take: small next to what its sender had to send.
///
/// The constant lets a short message hold what is larger decoded than encoded (a topic name of two letters, an unknown
/// tagged field); the factor holds for everything that is large.
pub(crate) const fn decoded_limit(received: usize) -> usize {
    received.saturating_mul(8).saturating_add(256 * 1024)
}
