//! `.lock`: one broker per data folder. The file tells the holder's process id to whoever is refused.

use std::fs::TryLockError;
use std::path::Path;
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::log_manager::StorageError;
use super::os_disk::lock_against_java;

/// The name is Kafka's, so that neither starts on a folder that the other uses.
const NAME: &str = ".lock";

/// The lock; it is free when this is dropped, or when the process ends in whatever way.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: Arc<dyn DiskFile>,
}

impl FolderLock {
    /// Takes the lock. Disks without files of the operating system belong to one process anyhow.
    pub fn take(disk: &dyn Disk, dir: &Path) -> Result<Self, StorageError> {
        let path = dir.join(NAME);
        let failed = |source| StorageError::Io { context: format!("locking {}", path.display()), source };
        let file = disk.open(&path).map_err(failed)?;
        if let Some(os_file) = file.os_file() {
            let holder = || StorageError::Locked { dir: dir.to_path_buf(), pid: read_pid(file.as_ref()) };
            match os_file.try_lock() {
                Ok(()) => {}
                Err(TryLockError::WouldBlock) => return Err(holder()),
                Err(TryLockError::Error(error)) => return Err(failed(error)),
            }
            lock_against_java(os_file).map_err(|_| holder())?;
            file.set_len(0).map_err(failed)?;
            file.write_all_at(format!("{}\n", std::process::id()).as_bytes(), 0).map_err(failed)?;
        }
        Ok(Self { _file: file })
    }
}

fn read_pid(file: &dyn DiskFile) -> String {
    let mut content = [0; 20];
    let length = file.read_at(&mut content, 0).unwrap_or(0);
    let text = String::from_utf8_lossy(content.get(..length).unwrap_or_default()).trim().to_owned();
    if text.is_empty() { "not known; Apache Kafka does not tell".to_owned() } else { text }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::storage::os_disk::OsDisk;

    #[test]
    fn a_second_holder_is_refused_and_told_the_first_ones_pid() {
        let dir = tempfile::tempdir().unwrap();
        let first = FolderLock::take(&OsDisk, dir.path()).unwrap();
        let refused = FolderLock::take(&OsDisk, dir.path()).unwrap_err();
        assert!(matches!(&refused, StorageError::Locked { pid, .. } if *pid == std::process::id().to_string()));
        drop(first);
        FolderLock::take(&OsDisk, dir.path()).unwrap();
    }
}
