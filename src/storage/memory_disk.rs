//! A disk in memory: for `--durability memory`, and for tests.
//!
//! A file is a list of shared pieces. Appending fills the last piece and never moves what is there,
//! so that a range within one piece is handed to a response without a copy.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use parking_lot::{Mutex, RwLock};

use super::disk::{Disk, DiskFile};

/// Smallest and largest room reserved for appends; a small topic stays small.
const SMALLEST_PIECE: usize = 4 << 10;
const LARGEST_PIECE: usize = 1 << 20;

/// Folders and files that vanish with the process.
#[derive(Debug, Default)]
pub struct MemoryDisk {
    entries: RwLock<BTreeMap<PathBuf, Entry>>,
}

#[derive(Clone, Debug)]
enum Entry {
    Folder,
    File(Arc<MemoryFile>),
}

impl MemoryDisk {
    /// An empty disk.
    pub fn new() -> Self {
        Self::default()
    }
}

impl Disk for MemoryDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        if let Some(Entry::File(file)) = self.entries.read().get(path) {
            return Ok(Arc::clone(file) as Arc<dyn DiskFile>);
        }
        let mut entries = self.entries.write();
        if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty())
            && !matches!(entries.get(parent), Some(Entry::Folder))
        {
            return Err(io::ErrorKind::NotFound.into());
        }
        match entries.entry(path.to_path_buf()).or_insert_with(|| Entry::File(Arc::default())) {
            Entry::File(file) => Ok(Arc::clone(file) as Arc<dyn DiskFile>),
            Entry::Folder => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn exists(&self, path: &Path) -> bool {
        self.entries.read().contains_key(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut entries = self.entries.write();
        for folder in path.ancestors().filter(|folder| !folder.as_os_str().is_empty()) {
            if let Entry::File(_) = entries.entry(folder.to_path_buf()).or_insert(Entry::Folder) {
                return Err(io::ErrorKind::NotADirectory.into());
            }
        }
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let entries = self.entries.read();
        if !matches!(entries.get(path), Some(Entry::Folder)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let below = entries.range(path.to_path_buf()..).map(|(entry, _)| entry);
        let below = below.take_while(|entry| entry.starts_with(path));
        Ok(below.filter(|entry| entry.parent() == Some(path)).cloned().collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut entries = self.entries.write();
        if !entries.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        for path in below(&entries, from) {
            if let (Some(entry), Ok(rest)) = (entries.remove(&path), path.strip_prefix(from)) {
                let target = if rest.as_os_str().is_empty() { to.to_path_buf() } else { to.join(rest) };
                entries.insert(target, entry);
            }
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.entries.write().remove(path);
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut entries = self.entries.write();
        for path in below(&entries, path) {
            entries.remove(&path);
        }
        Ok(())
    }

    fn sync_dir(&self, _path: &Path) -> io::Result<()> {
        Ok(())
    }
}

/// A path and everything under it.
fn below(entries: &BTreeMap<PathBuf, Entry>, path: &Path) -> Vec<PathBuf> {
    let from = entries.range(path.to_path_buf()..).map(|(entry, _)| entry);
    from.take_while(|entry| entry.starts_with(path)).cloned().collect()
}

/// A file in memory.
#[derive(Debug, Default)]
struct MemoryFile {
    content: Mutex<Content>,
}

/// Pieces in order, then the piece that is being filled.
#[derive(Debug, Default)]
struct Content {
    /// Each with the position of its first byte.
    pieces: Vec<(u64, Bytes)>,
    /// Where `tail` begins.
    tail_start: u64,
    tail: BytesMut,
}

impl Content {
    fn len(&self) -> u64 {
        self.tail_start + self.tail.len() as u64
    }

    fn append(&mut self, bytes: &[u8]) {
        if self.tail.capacity() - self.tail.len() < bytes.len() {
            self.share_tail();
            let room = usize::try_from(self.tail_start).unwrap_or(usize::MAX).clamp(SMALLEST_PIECE, LARGEST_PIECE);
            self.tail = BytesMut::with_capacity(room.max(bytes.len()));
        }
        self.tail.extend_from_slice(bytes);
    }

    /// Makes what is in the tail shareable; the room after it stays for appends.
    fn share_tail(&mut self) {
        if !self.tail.is_empty() {
            let filled = self.tail.split().freeze();
            let length = filled.len() as u64;
            self.pieces.push((self.tail_start, filled));
            self.tail_start += length;
        }
    }

    fn piece_at(&self, position: u64) -> usize {
        self.pieces.partition_point(|(start, _)| *start <= position).saturating_sub(1)
    }

    /// Copies what is there from `position` on; returns how much.
    fn read(&self, buffer: &mut [u8], position: u64) -> usize {
        let mut filled = 0;
        let tail = (self.tail_start, &self.tail[..]);
        let pieces = self.pieces.iter().skip(self.piece_at(position)).map(|(start, bytes)| (*start, &bytes[..]));
        for (start, bytes) in pieces.chain([tail]) {
            let at = position + filled as u64;
            let skip = usize::try_from(at.saturating_sub(start)).unwrap_or(usize::MAX);
            let (Some(source), Some(target)) = (bytes.get(skip..), buffer.get_mut(filled..)) else { continue };
            let count = source.len().min(target.len());
            if let (Some(target), Some(source)) = (target.get_mut(..count), source.get(..count)) {
                target.copy_from_slice(source);
            }
            filled += count;
            if filled == buffer.len() {
                break;
            }
        }
        filled
    }

    /// The slow way, for small files that are rewritten in the middle.
    fn rewrite(&mut self, change: impl FnOnce(&mut Vec<u8>)) {
        let mut whole = vec![0; usize::try_from(self.len()).unwrap_or(0)];
        self.read(&mut whole, 0);
        change(&mut whole);
        self.pieces.clear();
        self.tail_start = 0;
        self.tail = BytesMut::from(&whole[..]);
    }

    fn cut(&mut self, length: u64) {
        if length >= self.tail_start {
            self.tail.truncate(usize::try_from(length - self.tail_start).unwrap_or(usize::MAX));
            return;
        }
        self.pieces.retain(|(start, _)| *start < length);
        if let Some((start, bytes)) = self.pieces.last_mut() {
            bytes.truncate(usize::try_from(length - *start).unwrap_or(usize::MAX));
        }
        self.tail_start = length;
        // The room behind it belongs to shared bytes' neighbours: begin anew.
        self.tail = BytesMut::new();
    }
}

impl DiskFile for MemoryFile {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut content = self.content.lock();
        if position == content.len() {
            content.append(bytes);
            return Ok(());
        }
        let start = usize::try_from(position).map_err(|_| io::ErrorKind::FileTooLarge)?;
        let end = start.checked_add(bytes.len()).ok_or(io::ErrorKind::FileTooLarge)?;
        content.rewrite(|whole| {
            if whole.len() < end {
                whole.resize(end, 0);
            }
            whole[start..end].copy_from_slice(bytes);
        });
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        Ok(self.content.lock().read(buffer, position))
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().len())
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut content = self.content.lock();
        if length <= content.len() {
            content.cut(length);
        } else {
            let length = usize::try_from(length).map_err(|_| io::ErrorKind::FileTooLarge)?;
            content.rewrite(|whole| whole.resize(length, 0));
        }
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }

    fn in_memory(&self, position: u64, length: usize) -> Option<Bytes> {
        let mut content = self.content.lock();
        if position + length as u64 > content.tail_start {
            content.share_tail();
        }
        let (start, bytes) = content.pieces.get(content.piece_at(position))?;
        let skip = usize::try_from(position.checked_sub(*start)?).ok()?;
        if skip.checked_add(length)? <= bytes.len() {
            return Some(bytes.slice(skip..skip + length));
        }
        if position + length as u64 > content.len() {
            return None;
        }
        let mut copy = BytesMut::zeroed(length);
        content.read(&mut copy, position);
        Some(copy.freeze())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Op {
        Append(Vec<u8>),
        Write(usize, Vec<u8>),
        SetLen(usize),
        Share(usize, usize),
    }

    fn op() -> impl Strategy<Value = Op> {
        let bytes = || prop::collection::vec(any::<u8>(), 0..6000);
        prop_oneof![
            4 => bytes().prop_map(Op::Append),
            1 => (0..9000_usize, bytes()).prop_map(|(at, bytes)| Op::Write(at, bytes)),
            1 => (0..9000_usize).prop_map(Op::SetLen),
            3 => (0..9000_usize, 0..9000_usize).prop_map(|(at, length)| Op::Share(at, length)),
        ]
    }

    proptest! {
        #[test]
        fn a_file_behaves_like_a_vector(ops in prop::collection::vec(op(), 1..40)) {
            let disk = MemoryDisk::new();
            let file = disk.open(Path::new("f")).unwrap();
            let mut model: Vec<u8> = Vec::new();
            let mut held: Vec<(Bytes, Vec<u8>)> = Vec::new();
            for op in ops {
                match op {
                    Op::Append(bytes) => {
                        file.write_all_at(&bytes, model.len() as u64).unwrap();
                        model.extend_from_slice(&bytes);
                    }
                    Op::Write(at, bytes) => {
                        file.write_all_at(&bytes, at as u64).unwrap();
                        if model.len() < at + bytes.len() {
                            model.resize(at + bytes.len(), 0);
                        }
                        model[at..at + bytes.len()].copy_from_slice(&bytes);
                    }
                    Op::SetLen(length) => {
                        file.set_len(length as u64).unwrap();
                        model.resize(length, 0);
                    }
                    Op::Share(at, length) => {
                        let shared = file.in_memory(at as u64, length);
                        if at + length <= model.len() && at < model.len() {
                            let shared = shared.unwrap();
                            prop_assert_eq!(&shared[..], &model[at..at + length]);
                            held.push((shared, model[at..at + length].to_vec()));
                        } else if length > 0 {
                            prop_assert!(shared.is_none());
                        }
                    }
                }
                prop_assert_eq!(file.len().unwrap(), model.len() as u64);
                let mut all = vec![0; model.len() + 7];
                prop_assert_eq!(file.read_at(&mut all, 0).unwrap(), model.len());
                prop_assert_eq!(&all[..model.len()], &model[..]);
            }
            for (shared, then) in held {
                prop_assert_eq!(&shared[..], &then[..], "what a reader holds never changes");
            }
        }
    }

    #[test]
    fn a_range_within_one_append_is_shared_without_a_copy() {
        let disk = MemoryDisk::new();
        let file = disk.open(Path::new("f")).unwrap();
        file.write_all_at(&[1; 1000], 0).unwrap();
        let first = file.in_memory(0, 1000).unwrap();
        file.write_all_at(&[2; 1000], 1000).unwrap();
        assert_eq!(file.in_memory(100, 200).unwrap().as_ptr(), first[100..].as_ptr());
    }

    #[test]
    fn folders_hold_files_and_move_with_them() {
        let disk = MemoryDisk::new();
        assert!(disk.open(Path::new("/a/b/c")).is_err());
        disk.create_dir_all(Path::new("/a/b")).unwrap();
        disk.open(Path::new("/a/b/c")).unwrap().write_all_at(b"x", 0).unwrap();
        disk.create_dir_all(Path::new("/a/b2")).unwrap();
        disk.rename(Path::new("/a/b"), Path::new("/a/d")).unwrap();
        let mut entries = disk.read_dir(Path::new("/a")).unwrap();
        entries.sort();
        assert_eq!(entries, [PathBuf::from("/a/b2"), PathBuf::from("/a/d")]);
        assert_eq!(disk.read_dir(Path::new("/a/d")).unwrap(), [PathBuf::from("/a/d/c")]);
        disk.remove_dir_all(Path::new("/a/d")).unwrap();
        assert!(!disk.exists(Path::new("/a/d/c")));
    }
}
