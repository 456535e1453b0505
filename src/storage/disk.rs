//! What storage asks of a disk: a trait, so that a disk in memory and one that fails on purpose can stand in for it.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::Bytes;

use crate::wire::fetch::StoredBytes;

/// Folders and files. All paths are absolute, or relative to the process.
pub trait Disk: Send + Sync + fmt::Debug {
    /// Opens a file for reading and writing, creating it when it is missing.
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>>;
    /// A file's length in bytes, without opening it where that is possible.
    fn file_len(&self, path: &Path) -> io::Result<u64> {
        self.open(path)?.len()
    }
    /// Whether a file or folder is there.
    fn exists(&self, path: &Path) -> bool;
    /// Creates a folder and its parents.
    fn create_dir_all(&self, path: &Path) -> io::Result<()>;
    /// The entries of a folder, in no order.
    fn read_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>>;
    /// Renames a file or folder, replacing a file of that name.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;
    /// Deletes a file; a missing one is no error.
    fn remove_file(&self, path: &Path) -> io::Result<()>;
    /// Deletes a folder with all it holds.
    fn remove_dir_all(&self, path: &Path) -> io::Result<()>;
    /// Makes renames, creations and deletions in a folder durable.
    fn sync_dir(&self, path: &Path) -> io::Result<()>;
    /// Names the time since the operating system started, where that is known. Within it every process sees what another
    /// one wrote before it ended, flushed or not.
    fn boot(&self) -> Option<String> {
        None
    }
    /// Room on the volume that holds a path, where that is known.
    fn space(&self, _path: &Path) -> Option<VolumeSpace> {
        None
    }
}

/// Total and usable bytes of a volume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VolumeSpace {
    /// Its size in bytes.
    pub total_bytes: u64,
    /// Bytes that this process may still write.
    pub usable_bytes: u64,
}

/// An open file. That it has a length does not make it a collection.
#[allow(clippy::len_without_is_empty)]
pub trait DiskFile: Send + Sync + fmt::Debug {
    /// Writes all bytes at a position.
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()>;
    /// Reads up to `buffer.len()` bytes at a position; fewer only at the end of the file.
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize>;
    /// The file's length in bytes.
    fn len(&self) -> io::Result<u64>;
    /// Cuts or extends the file.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Makes the content durable, and the length as far as reading it back needs.
    fn sync_data(&self) -> io::Result<()>;
    /// The operating system's file, where there is one: records are sent from it without passing through memory here.
    fn os_file(&self) -> Option<&std::fs::File> {
        None
    }
    /// A range of the file as shared bytes, where the file is in memory.
    fn in_memory(&self, _position: u64, _length: usize) -> Option<Bytes> {
        None
    }
}

/// A range of a stored file, kept open while a response sends it.
#[derive(Clone, Debug)]
pub struct FileSlice {
    /// The file.
    pub file: Arc<dyn DiskFile>,
    /// Where the range begins.
    pub position: u64,
    /// Its length in bytes.
    pub length: usize,
}

impl FileSlice {
    /// Whether `next` begins in the same file where this one ends.
    pub fn is_followed_by(&self, next: &Self) -> bool {
        let same_file = std::ptr::addr_eq(Arc::as_ptr(&self.file), Arc::as_ptr(&next.file));
        same_file && self.position + self.length as u64 == next.position
    }
}

impl StoredBytes for FileSlice {
    fn len(&self) -> usize {
        self.length
    }
}
