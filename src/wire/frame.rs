//! Frame lengths (semantics rule 34): four bytes say how long a request is, and the limit decides before anything is kept.

use bytes::{Buf, BytesMut};

/// Bytes of the length before a frame.
pub const PREFIX_LEN: usize = 4;

/// Why a frame is refused. The connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// The length is negative.
    #[error("a frame length of {0}")]
    Negative(i32),
    /// The length is above the limit.
    #[error("a frame of {length} bytes where {limit} are allowed: raise socket.request.max.bytes if it is meant")]
    TooLarge {
        /// What the client announced.
        length: usize,
        /// What is allowed.
        limit: usize,
    },
}

/// The length that the front of `received` announces; `None` while its four bytes are not all there.
pub fn length(received: &[u8], limit: usize) -> Result<Option<usize>, FrameError> {
    let Some(prefix) = received.first_chunk::<PREFIX_LEN>() else { return Ok(None) };
    let announced = i32::from_be_bytes(*prefix);
    let length = usize::try_from(announced).map_err(|_| FrameError::Negative(announced))?;
    if length > limit { Err(FrameError::TooLarge { length, limit }) } else { Ok(Some(length)) }
}

/// Takes the first frame off `received`, without its length; `None` while it is not whole.
///
/// Reserving room for the rest is the caller's affair, and must follow what arrives, not what the length claims.
pub fn take(received: &mut BytesMut, limit: usize) -> Result<Option<BytesMut>, FrameError> {
    let Some(length) = length(received, limit)? else { return Ok(None) };
    if received.len() - PREFIX_LEN < length {
        return Ok(None);
    }
    received.advance(PREFIX_LEN);
    Ok(Some(received.split_to(length)))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn lengths_are_judged_before_the_frame_arrives() {
        assert_eq!(length(&[0, 0, 0], 10), Ok(None));
        assert_eq!(length(&[0, 0, 0, 10], 10), Ok(Some(10)));
        assert_eq!(length(&[0, 0, 0, 11], 10), Err(FrameError::TooLarge { length: 11, limit: 10 }));
        assert_eq!(length(&[0xff; 4], 10), Err(FrameError::Negative(-1)));
    }

    #[test]
    fn frames_are_taken_one_by_one() {
        let mut received = BytesMut::from(&[0, 0, 0, 2, 7, 8, 0, 0, 0, 0, 0, 0, 0, 3, 1][..]);
        assert_eq!(take(&mut received, 10), Ok(Some(BytesMut::from(&[7, 8][..]))));
        assert_eq!(take(&mut received, 10), Ok(Some(BytesMut::new())));
        assert_eq!(take(&mut received, 10), Ok(None));
        assert_eq!(&received[..], [0, 0, 0, 3, 1]);
    }

    proptest! {
        #[test]
        fn any_bytes_give_an_answer(bytes: Vec<u8>, limit in 0_usize..200) {
            let mut received = BytesMut::from(&bytes[..]);
            if let Ok(Some(frame)) = take(&mut received, limit) {
                prop_assert!(frame.len() <= limit);
                prop_assert_eq!(frame.len() + PREFIX_LEN + received.len(), bytes.len());
            }
        }
    }
}
