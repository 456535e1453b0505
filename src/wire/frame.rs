//! Frames: four bytes say how long a request or a response is. `server::receive` puts requests together.

/// Bytes of the length before a frame.
pub const PREFIX_LEN: usize = 4;
