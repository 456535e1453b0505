//! Whether all that earlier brokers wrote to a folder is seen as they wrote it, though they flushed nothing.
//!
//! A killed process leaves what it wrote in the page cache; only a loss of power takes it. So the folder is marked with
//! the boot of the operating system under which everything in it is known to be whole, and a broker that starts under the
//! same boot need not verify what a crash left. The mark is set when all partitions were closed in order or recovered,
//! and taken away when a flush fails: nobody knows then what the page cache holds.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use super::checkpoint::read_file;
use super::disk::Disk;

/// The mark's file. Apache Kafka does not look at it.
const FILE: &str = ".ottla-boot";

/// The mark of one folder.
#[derive(Debug)]
pub(super) struct BootMark {
    disk: Arc<dyn Disk>,
    path: PathBuf,
    /// This boot; `None` where it is not known, or does not matter.
    boot: Option<String>,
    was_intact: bool,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    /// Partitions that are still to be looked at, and one for those that are still to be registered.
    unverified: usize,
    is_set: bool,
    /// It is not to be set any more.
    is_spoiled: bool,
}

impl BootMark {
    /// Reads a folder's mark. `clean`: its last broker stopped in order.
    pub fn open(disk: &Arc<dyn Disk>, dir: &Path, on_disk: bool, clean: bool) -> io::Result<Self> {
        let path = dir.join(FILE);
        let boot = if on_disk { disk.boot() } else { None };
        let found = if boot.is_some() { read_file(disk.as_ref(), &path)? } else { None };
        let was_intact = boot.as_ref().is_some_and(|boot| found.as_deref() == Some(boot.as_bytes()));
        let state = State { unverified: 1, is_set: was_intact, is_spoiled: false };
        let mark = Self { disk: Arc::clone(disk), path, boot, was_intact, state: Mutex::new(state) };
        if clean {
            mark.set(&mut mark.state.lock())?;
        } else if !was_intact && found.is_some() {
            // Another boot's means nothing; what comes of this one is to be seen.
            disk.remove_file(&mark.path)?;
        }
        Ok(mark)
    }

    /// Whether nothing that was written before this broker started needs to be verified.
    pub fn was_intact(&self) -> bool {
        self.was_intact
    }

    /// One more partition has to be opened before all is known to be whole.
    pub fn await_one(&self) {
        self.state.lock().unverified += 1;
    }

    /// A partition was opened, or all of them are registered.
    pub fn verified(&self) {
        let mut state = self.state.lock();
        state.unverified = state.unverified.saturating_sub(1);
        if state.unverified == 0
            && let Err(error) = self.set(&mut state)
        {
            tracing::debug!("{} is not written, so that the next recovery reads more: {error}", self.path.display());
        }
    }

    /// A flush failed: what the page cache shows may not be what was written.
    pub fn spoil(&self) {
        let mut state = self.state.lock();
        state.is_spoiled = true;
        if std::mem::take(&mut state.is_set) {
            // Best effort: the disk is not well.
            let _ = self.disk.remove_file(&self.path);
        }
    }

    /// Not flushed: a loss of power may take the mark, and cannot turn it into the next boot's.
    fn set(&self, state: &mut State) -> io::Result<()> {
        let Some(boot) = self.boot.as_ref().filter(|_| !state.is_set && !state.is_spoiled) else { return Ok(()) };
        let file = self.disk.open(&self.path)?;
        file.set_len(0)?;
        file.write_all_at(boot.as_bytes(), 0)?;
        state.is_set = true;
        Ok(())
    }
}
