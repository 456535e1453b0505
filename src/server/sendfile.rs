//! Bytes and files to a socket, without waiting: `sendfile(2)` and `MSG_MORE` on Linux, plain copies elsewhere.
//!
//! This is the one file of `server/` that knows Linux.

use std::io;

use tokio::net::TcpStream;

use super::receive::with_scratch;
use crate::storage::disk::FileSlice;

#[cfg(target_os = "linux")]
pub(super) use linux::{send_bytes, send_file};
#[cfg(not(target_os = "linux"))]
pub(super) use portable::{send_bytes, send_file};

/// Reads a part of a file and writes it. What the socket does not take is read again next time: nothing is held.
fn copy(stream: &TcpStream, slice: &FileSlice) -> io::Result<usize> {
    with_scratch(|scratch| {
        let wanted = slice.length.min(scratch.len());
        let (chunk, _) = scratch.split_at_mut(wanted);
        let read = slice.file.read_at(chunk, slice.position)?;
        let (read, _) = chunk.split_at(read);
        if read.is_empty() { Ok(0) } else { stream.try_write(read) }
    })
}

#[cfg(target_os = "linux")]
mod linux {
    use std::io::IoSlice;

    use rustix::io::Errno;
    use rustix::net::{SendAncillaryBuffer, SendFlags};
    use tokio::io::Interest;

    use super::{FileSlice, TcpStream, copy, io};

    /// The most that one call takes from a file, so that one reader does not keep the thread from the others.
    const FILE_CHUNK: usize = 1024 * 1024;

    /// Writes what the socket takes. `more`: a file follows at once, so the kernel need not send a short packet.
    pub(in super::super) fn send_bytes(stream: &TcpStream, bytes: &[IoSlice<'_>], more: bool) -> io::Result<usize> {
        if !more {
            return stream.try_write_vectored(bytes);
        }
        let flags = SendFlags::MORE | SendFlags::NOSIGNAL;
        stream.try_io(Interest::WRITABLE, || {
            Ok(rustix::net::sendmsg(stream, bytes, &mut SendAncillaryBuffer::default(), flags)?)
        })
    }

    /// Sends the beginning of a slice; 0 when the file ends before it.
    pub(in super::super) fn send_file(stream: &TcpStream, slice: &FileSlice) -> io::Result<usize> {
        let Some(file) = slice.file.os_file() else {
            return copy(stream, slice);
        };
        let mut position = slice.position;
        let count = slice.length.min(FILE_CHUNK);
        let sent =
            stream.try_io(Interest::WRITABLE, || Ok(rustix::fs::sendfile(stream, file, Some(&mut position), count)?));
        match sent {
            // Some filesystems cannot.
            Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::INVAL | Errno::NOSYS)) => {
                copy(stream, slice)
            }
            sent => sent,
        }
    }
}

#[cfg(not(target_os = "linux"))]
mod portable {
    use std::io::IoSlice;

    use super::{FileSlice, TcpStream, copy, io};

    /// Writes what the socket takes.
    pub(in super::super) fn send_bytes(stream: &TcpStream, bytes: &[IoSlice<'_>], _more: bool) -> io::Result<usize> {
        stream.try_write_vectored(bytes)
    }

    /// Sends the beginning of a slice; 0 when the file ends before it.
    pub(in super::super) fn send_file(stream: &TcpStream, slice: &FileSlice) -> io::Result<usize> {
        copy(stream, slice)
    }
}
