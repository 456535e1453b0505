//! The operating system's disk. What differs between systems is in this file, with a portable form beside each.

use std::fs::{File, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile, VolumeSpace};

/// Files of the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsDisk;

impl Disk for OsDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let file = OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Arc::new(OsFile(file)))
    }

    fn file_len(&self, path: &Path) -> io::Result<u64> {
        Ok(std::fs::metadata(path)?.len())
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        std::fs::create_dir_all(path)
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        std::fs::read_dir(path)?.map(|entry| Ok(entry?.path())).collect()
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        std::fs::rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        ignore_missing(std::fs::remove_file(path))
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        ignore_missing(std::fs::remove_dir_all(path))
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        sync_dir(path)
    }

    fn boot(&self) -> Option<String> {
        boot()
    }

    fn space(&self, path: &Path) -> Option<VolumeSpace> {
        space(path)
    }
}

#[cfg(target_os = "linux")]
fn boot() -> Option<String> {
    std::fs::read_to_string("/proc/sys/kernel/random/boot_id").ok().map(|id| id.trim().to_owned())
}

/// Not known: every crash is taken for a loss of power.
#[cfg(not(target_os = "linux"))]
fn boot() -> Option<String> {
    None
}

fn ignore_missing(result: io::Result<()>) -> io::Result<()> {
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// An open file of the operating system.
#[derive(Debug)]
struct OsFile(File);

impl DiskFile for OsFile {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        write_all_at(&self.0, bytes, position)
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let mut filled = 0;
        while let Some(rest) = buffer.get_mut(filled..).filter(|rest| !rest.is_empty()) {
            match read_at(&self.0, rest, position + filled as u64) {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_len(length)
    }

    // On Linux this is fdatasync, on macOS F_FULLFSYNC, on Windows FlushFileBuffers.
    fn sync_data(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn os_file(&self) -> Option<&File> {
        Some(&self.0)
    }
}

#[cfg(unix)]
fn write_all_at(file: &File, bytes: &[u8], position: u64) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, position)
}

#[cfg(unix)]
fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::unix::fs::FileExt::read_at(file, buffer, position)
}

#[cfg(unix)]
fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

#[cfg(unix)]
fn space(path: &Path) -> Option<VolumeSpace> {
    let volume = rustix::fs::statvfs(path).ok()?;
    Some(VolumeSpace {
        total_bytes: volume.f_blocks.saturating_mul(volume.f_frsize),
        usable_bytes: volume.f_bavail.saturating_mul(volume.f_frsize),
    })
}

#[cfg(windows)]
fn write_all_at(file: &File, mut bytes: &[u8], mut position: u64) -> io::Result<()> {
    while !bytes.is_empty() {
        let count = std::os::windows::fs::FileExt::seek_write(file, bytes, position)?;
        if count == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        bytes = bytes.get(count..).unwrap_or_default();
        position += count as u64;
    }
    Ok(())
}

#[cfg(windows)]
fn read_at(file: &File, buffer: &mut [u8], position: u64) -> io::Result<usize> {
    std::os::windows::fs::FileExt::seek_read(file, buffer, position)
}

/// Folders cannot be flushed here; the file system orders their changes itself.
#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps)]
fn sync_dir(_path: &Path) -> io::Result<()> {
    Ok(())
}

/// Not known without a system call that the standard library lacks.
#[cfg(not(unix))]
fn space(_path: &Path) -> Option<VolumeSpace> {
    None
}

/// Lets every other thread go first. Best effort: without it the calling thread is as good as any.
#[cfg(target_os = "linux")]
pub(super) fn lower_priority() {
    // Linux takes a process for a thread here: zero is the caller alone.
    let _ = rustix::process::setpriority_process(None, 10);
}

/// Elsewhere the whole process would step back.
#[cfg(not(target_os = "linux"))]
pub(super) fn lower_priority() {}

/// Keeps Apache Kafka out of the folder as well: Java locks files with POSIX record locks, which flock does not see.
#[cfg(unix)]
pub(super) fn lock_against_java(file: &File) -> io::Result<()> {
    Ok(rustix::fs::fcntl_lock(file, rustix::fs::FlockOperation::NonBlockingLockExclusive)?)
}

/// The lock that the standard library takes is Java's here.
#[cfg(not(unix))]
#[allow(clippy::unnecessary_wraps)]
pub(super) fn lock_against_java(_file: &File) -> io::Result<()> {
    Ok(())
}
