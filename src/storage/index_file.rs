//! What the offset index and the time index share: a file of equal entries, sorted, appended to and cut.
//!
//! New entries wait in memory until a page of them is full or somebody asks for durability. Losing them costs nothing
//! but a longer scan, and recovery builds them anew. Files are not preallocated: Kafka takes an index of any length
//! and resizes that of the active segment itself.

use std::io;
use std::sync::Arc;

use super::disk::DiskFile;

/// Bytes read at once: the last step of a search looks through a page.
const PAGE: usize = 4096;

/// A file of entries of `N` bytes.
#[derive(Debug)]
pub(super) struct IndexFile<const N: usize> {
    file: Arc<dyn DiskFile>,
    /// Entries in the file.
    written: u64,
    /// Entries after those, not yet in the file.
    pending: Vec<u8>,
}

impl<const N: usize> IndexFile<N> {
    const PAGE_ENTRIES: u64 = (PAGE / N) as u64;

    /// Opens an index. Where it has room for more entries at its end (Kafka preallocates), that is cut off:
    /// `is_used` tells entry number `n` from room, and room is only ever at the end.
    pub(super) fn open(file: Arc<dyn DiskFile>, is_used: impl Fn(u64, &[u8; N]) -> bool) -> io::Result<Self> {
        let length = file.len()?;
        let mut index = Self { file, written: length / N as u64, pending: Vec::new() };
        if let Some(last) = index.written.checked_sub(1)
            && !is_used(last, &index.entry(last)?)
        {
            index.written = index.search(|n, entry| is_used(n, entry))?;
        }
        if index.written * N as u64 != length {
            index.file.set_len(index.written * N as u64)?;
        }
        Ok(index)
    }

    /// How many entries there are.
    pub(super) fn len(&self) -> u64 {
        self.written + (self.pending.len() / N) as u64
    }

    /// Entry number `n`, which must exist.
    pub(super) fn entry(&self, n: u64) -> io::Result<[u8; N]> {
        if let Some(n) = n.checked_sub(self.written) {
            let entry = self.pending.as_chunks::<N>().0.get(n as usize);
            return entry.copied().ok_or_else(|| io::ErrorKind::UnexpectedEof.into());
        }
        let mut entry = [0; N];
        if self.file.read_at(&mut entry, n * N as u64)? == N {
            Ok(entry)
        } else {
            Err(io::ErrorKind::UnexpectedEof.into())
        }
    }

    /// The last entry, if there is one.
    pub(super) fn last(&self) -> io::Result<Option<[u8; N]>> {
        self.len().checked_sub(1).map(|last| self.entry(last)).transpose()
    }

    /// How many entries at the front satisfy `holds`, which must not hold again once it failed.
    pub(super) fn search(&self, holds: impl Fn(u64, &[u8; N]) -> bool) -> io::Result<u64> {
        let pending = self.pending.as_chunks::<N>().0;
        if pending.first().is_some_and(|first| holds(self.written, first)) {
            return Ok(self.written + count(pending, self.written, &holds));
        }
        let (mut low, mut high) = (0, self.written);
        while high - low > Self::PAGE_ENTRIES {
            let middle = low + (high - low) / 2;
            if holds(middle, &self.entry(middle)?) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        let mut page = [0; PAGE];
        let wanted = page.get_mut(..(high - low) as usize * N).unwrap_or_default();
        let read = self.file.read_at(wanted, low * N as u64)?;
        let entries = wanted.get(..read).unwrap_or_default().as_chunks::<N>().0;
        Ok(low + count(entries, low, &holds))
    }

    /// The entries from number `n` on, read page by page.
    pub(super) fn iter_from(&self, n: u64) -> impl Iterator<Item = io::Result<[u8; N]>> {
        let mut page = std::collections::VecDeque::new();
        let mut next = n;
        std::iter::from_fn(move || {
            if page.is_empty() {
                match self.page(next) {
                    Ok(entries) => page = entries,
                    Err(error) => {
                        next = self.len();
                        return Some(Err(error));
                    }
                }
                next += page.len() as u64;
            }
            page.pop_front().map(Ok)
        })
    }

    /// Up to a page of entries from number `n` on.
    fn page(&self, n: u64) -> io::Result<std::collections::VecDeque<[u8; N]>> {
        if let Some(n) = n.checked_sub(self.written) {
            let pending = self.pending.as_chunks::<N>().0;
            return Ok(pending.get(n as usize..).unwrap_or_default().iter().copied().collect());
        }
        let count = (self.written - n).min(Self::PAGE_ENTRIES);
        let mut page = [0; PAGE];
        let wanted = page.get_mut(..count as usize * N).unwrap_or_default();
        if self.file.read_at(wanted, n * N as u64)? < wanted.len() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(wanted.as_chunks::<N>().0.iter().copied().collect())
    }

    /// Adds an entry; the caller sees to the order.
    pub(super) fn append(&mut self, entry: [u8; N]) -> io::Result<()> {
        self.pending.extend_from_slice(&entry);
        if self.pending.len() >= Self::PAGE_ENTRIES as usize * N { self.write().map(drop) } else { Ok(()) }
    }

    /// Keeps the first `entries`.
    pub(super) fn truncate(&mut self, entries: u64) -> io::Result<()> {
        if let Some(pending) = entries.checked_sub(self.written) {
            self.pending.truncate(pending as usize * N);
            return Ok(());
        }
        self.pending.clear();
        self.file.set_len(entries * N as u64)?;
        self.written = entries;
        Ok(())
    }

    /// Writes what waits in memory; the file, for whoever makes it durable.
    pub(super) fn write(&mut self) -> io::Result<Arc<dyn DiskFile>> {
        if !self.pending.is_empty() {
            self.file.write_all_at(&self.pending, self.written * N as u64)?;
            self.written = self.len();
            self.pending = Vec::new();
        }
        Ok(Arc::clone(&self.file))
    }
}

/// How many of `entries`, which begin at number `first`, satisfy `holds`.
fn count<const N: usize>(entries: &[[u8; N]], first: u64, holds: &impl Fn(u64, &[u8; N]) -> bool) -> u64 {
    let (mut low, mut high) = (0, entries.len());
    while low < high {
        let middle = low + (high - low) / 2;
        if entries.get(middle).is_some_and(|entry| holds(first + middle as u64, entry)) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low as u64
}

/// A file in memory for the tests of the indexes.
#[cfg(test)]
pub(super) mod test_file {
    use std::io;
    use std::sync::Arc;

    use parking_lot::Mutex;

    use crate::storage::disk::DiskFile;

    /// Counts reads.
    #[derive(Debug, Default)]
    pub struct TestFile {
        pub bytes: Mutex<Vec<u8>>,
        pub reads: Mutex<usize>,
    }

    pub fn of(bytes: &[u8]) -> Arc<TestFile> {
        Arc::new(TestFile { bytes: Mutex::new(bytes.to_vec()), reads: Mutex::default() })
    }

    impl DiskFile for TestFile {
        fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
            let mut file = self.bytes.lock();
            let end = position as usize + bytes.len();
            let length = file.len().max(end);
            file.resize(length, 0);
            file[position as usize..end].copy_from_slice(bytes);
            Ok(())
        }

        fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
            *self.reads.lock() += 1;
            let file = self.bytes.lock();
            let from = (position as usize).min(file.len());
            let length = buffer.len().min(file.len() - from);
            buffer[..length].copy_from_slice(&file[from..from + length]);
            Ok(length)
        }

        fn len(&self) -> io::Result<u64> {
            Ok(self.bytes.lock().len() as u64)
        }

        fn set_len(&self, length: u64) -> io::Result<()> {
            self.bytes.lock().resize(length as usize, 0);
            Ok(())
        }

        fn sync_data(&self) -> io::Result<()> {
            Ok(())
        }
    }
}
