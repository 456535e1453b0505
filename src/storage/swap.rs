//! Replacing segments by one that holds what compaction left of them, so that a crash at any point keeps exactly one
//! version; with Kafka's file names and rules, so that either finishes what the other began.
//!
//! 1. The new files are written and flushed under `.cleaned`. A crash before the next step is over undoes everything:
//!    as long as one file is called so, it and the `.swap` files from its offset on are deleted.
//! 2. They are renamed to `.swap`, and the folder is flushed: from here on the new version counts.
//! 3. The old files are renamed to `.deleted`. After a crash those that are left are deleted: they lie between the base
//!    offset of the new segment and the end of its records.
//! 4. The new files get their names.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, DiskFile};
use super::scan::{Found, ScanError, Scanner};
use super::segment::{IndexBuilder, file_name, parse_file_name};
use super::segment_index::SegmentIndex;
use super::transaction_index;
use crate::log::producer_state::Aborted;
use crate::types::Offset;
use crate::wire::batch::BatchHeader;

const CLEANED: &str = ".cleaned";
const SWAP: &str = ".swap";
const DELETED: &str = ".deleted";
/// A segment's files. The log is renamed first and found last: without it the others mean nothing.
const SUFFIXES: [&str; 4] = [".log", ".index", ".timeindex", ".txnindex"];
/// Bytes that gather before they are written.
const CHUNK: usize = 256 << 10;

/// A segment that is being written under `.cleaned`.
pub(super) struct CleanedSegment<'a> {
    disk: &'a dyn Disk,
    dir: &'a Path,
    base: Offset,
    log: Arc<dyn DiskFile>,
    index: SegmentIndex,
    builder: IndexBuilder,
    /// Bytes in the file, and those that are still to be written.
    written: u64,
    pending: Vec<u8>,
}

impl<'a> CleanedSegment<'a> {
    /// Begins a segment; leftovers under its names are overwritten.
    pub fn create(disk: &'a dyn Disk, dir: &'a Path, base: Offset, interval: u64) -> io::Result<Self> {
        let path = |suffix: &str| dir.join(file_name(base, suffix) + CLEANED);
        remove(disk, dir, base, CLEANED)?;
        let log = disk.open(&path(".log"))?;
        let mut index = SegmentIndex::open(disk, &path(".index"), &path(".timeindex"), base)?;
        index.clear()?;
        let builder = IndexBuilder::new(interval);
        Ok(Self { disk, dir, base, log, index, builder, written: 0, pending: Vec::new() })
    }

    /// Adds a batch.
    pub fn push(&mut self, header: BatchHeader, batch: &[u8]) -> io::Result<()> {
        let found = Found { position: self.size(), header };
        self.builder.add(Some(&mut self.index), &found);
        self.pending.extend_from_slice(batch);
        if self.pending.len() >= CHUNK { self.write() } else { Ok(()) }
    }

    /// Bytes so far.
    pub fn size(&self) -> u64 {
        self.written + self.pending.len() as u64
    }

    /// Makes it durable, with what a reader of its records has to know of aborted transactions.
    pub fn finish(&mut self, aborted: &[Aborted]) -> io::Result<()> {
        self.write()?;
        self.log.sync_data()?;
        self.index.enter(self.builder.max_timestamp);
        for file in self.index.write()? {
            file.sync_data()?;
        }
        if !aborted.is_empty() {
            let file = self.disk.open(&self.dir.join(file_name(self.base, ".txnindex") + CLEANED))?;
            file.write_all_at(&transaction_index::encode_all(aborted), 0)?;
            file.sync_data()?;
        }
        self.disk.sync_dir(self.dir)
    }

    /// Deletes it, as far as that can be done: what stays goes when the log is opened.
    pub fn abandon(self) {
        let _ = remove(self.disk, self.dir, self.base, CLEANED);
    }

    fn write(&mut self) -> io::Result<()> {
        self.log.write_all_at(&self.pending, self.written)?;
        self.written += self.pending.len() as u64;
        self.pending.clear();
        Ok(())
    }
}

/// Steps 2 to 4 for a cleaned segment that takes the place of those named `old`; what is to be deleted after a while.
/// After an error the old segments stay in use: when the log is opened again, what was begun is finished or undone.
pub(super) fn swap(disk: &dyn Disk, dir: &Path, base: Offset, old: &[Offset]) -> io::Result<Vec<PathBuf>> {
    let path = |base: Offset, suffix: &str, temporary: &str| dir.join(file_name(base, suffix) + temporary);
    for suffix in SUFFIXES {
        rename(disk, &path(base, suffix, CLEANED), &path(base, suffix, SWAP))?;
    }
    disk.sync_dir(dir)?;
    let mut gone = Vec::new();
    for old in old {
        for suffix in SUFFIXES {
            let target = path(*old, suffix, DELETED);
            if rename(disk, &path(*old, suffix, ""), &target)? {
                gone.push(target);
            }
        }
    }
    for suffix in SUFFIXES {
        rename(disk, &path(base, suffix, SWAP), &path(base, suffix, ""))?;
    }
    disk.sync_dir(dir)?;
    Ok(gone)
}

/// Finishes or undoes what a crash interrupted, here or in Apache Kafka.
pub(super) fn recover(disk: &dyn Disk, dir: &Path) -> Result<(), ScanError> {
    let names = |temporary: &str| -> io::Result<Vec<(Offset, PathBuf)>> {
        let mut names = Vec::new();
        for path in disk.read_dir(dir)? {
            if let Some((base, suffix)) = parse_file_name(&path)
                && suffix.ends_with(temporary)
            {
                names.push((base, path));
            }
        }
        Ok(names)
    };
    let (cleaned, swaps) = (names(CLEANED)?, names(SWAP)?);
    if let Some(undone) = cleaned.iter().map(|(base, _)| *base).min() {
        // First those that would count without the others.
        for (_, path) in swaps.iter().filter(|(base, _)| *base >= undone) {
            disk.remove_file(path)?;
        }
        disk.sync_dir(dir)?;
        cleaned.iter().try_for_each(|(_, path)| disk.remove_file(path))?;
    }
    if !swaps.is_empty() {
        finish(disk, dir, &names(SWAP)?)?;
    }
    names(DELETED)?.iter().try_for_each(|(_, path)| disk.remove_file(path))?;
    Ok(())
}

/// Steps 3 and 4, as far as they are not done.
fn finish(disk: &dyn Disk, dir: &Path, swaps: &[(Offset, PathBuf)]) -> Result<(), ScanError> {
    let is_log = |path: &Path| parse_file_name(path).is_some_and(|(_, suffix)| suffix == ".log.swap");
    let mut replaced = Vec::new();
    for (base, path) in swaps.iter().filter(|(_, path)| is_log(path)) {
        replaced.push((*base, end_of(disk, path)?.max(base.plus(1))));
    }
    for path in disk.read_dir(dir)? {
        if let Some((base, suffix)) = parse_file_name(&path)
            && SUFFIXES.contains(&suffix)
            && replaced.iter().any(|(begin, end)| (*begin..*end).contains(&base))
        {
            disk.remove_file(&path)?;
        }
    }
    for suffix in SUFFIXES {
        for (base, _) in swaps {
            let name = file_name(*base, suffix);
            rename(disk, &dir.join(format!("{name}{SWAP}")), &dir.join(&name))?;
        }
    }
    Ok(disk.sync_dir(dir)?)
}

/// The offset after the last record of a segment's file.
fn end_of(disk: &dyn Disk, log: &Path) -> Result<Offset, ScanError> {
    let file = disk.open(log)?;
    let mut scanner = Scanner::new(file.as_ref(), file.len()?);
    let (mut position, mut end) = (0, Offset(0));
    while let Some(found) = scanner.header(position)? {
        (position, end) = (found.end(), found.header.next_offset());
    }
    Ok(end)
}

/// Renames a file that may be missing; whether it was there.
fn rename(disk: &dyn Disk, from: &Path, to: &Path) -> io::Result<bool> {
    if !disk.exists(from) {
        return Ok(false);
    }
    disk.rename(from, to).map(|()| true)
}

fn remove(disk: &dyn Disk, dir: &Path, base: Offset, temporary: &str) -> io::Result<()> {
    SUFFIXES.iter().try_for_each(|suffix| disk.remove_file(&dir.join(file_name(base, suffix) + temporary)))
}
