//! A disk for tests that fails on purpose: it fills up, its flushes fail, it stops, it loses power.
//!
//! It is in memory and keeps two truths: what programs see, and what would be there after a loss of power. Only a
//! flushed write, and a creation, rename or deletion whose folder was flushed, is sure to be in the second.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::{Mutex, MutexGuard};

use super::disk::{Disk, DiskFile};

/// The disk; clones share it.
#[derive(Clone, Debug, Default)]
pub struct FaultyDisk {
    world: Arc<Mutex<World>>,
    gate: Arc<Gate>,
    counters: Arc<Counters>,
}

/// Flushes of files whose path contains `part` wait while it is closed.
#[derive(Debug, Default)]
struct Gate {
    part: Mutex<String>,
    closed: Mutex<()>,
}

#[derive(Debug, Default)]
struct World {
    seen: Tree,
    durable: Tree,
    /// Changes to folders in the order in which they were made, each with the folder it is in.
    unsynced: Vec<(PathBuf, FolderChange)>,
    faults: Faults,
    /// Losses of power so far.
    boots: u64,
}

type Tree = BTreeMap<PathBuf, Node>;

#[derive(Clone, Debug)]
enum Node {
    Folder,
    File(Arc<Mutex<Content>>),
}

#[derive(Clone, Debug)]
enum FolderChange {
    Create(PathBuf, Node),
    Remove(PathBuf),
    Rename(PathBuf, PathBuf),
}

#[derive(Clone, Debug, Default)]
struct Content {
    seen: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<FileChange>,
}

#[derive(Clone, Debug)]
enum FileChange {
    Write(u64, Vec<u8>),
    SetLen(u64),
}

#[derive(Debug, Default)]
struct Faults {
    /// Bytes that all files together may hold.
    capacity: Option<u64>,
    /// Flushes of files whose path contains this fail.
    failing_syncs: Option<String>,
    /// Files whose path contains this cannot be created.
    failing_creations: Option<String>,
    /// After so many more changes nothing works.
    changes_left: Option<u64>,
}

#[derive(Debug, Default)]
struct Counters {
    read: AtomicU64,
    syncs: AtomicU64,
}

impl FaultyDisk {
    /// An empty disk without faults.
    pub fn new() -> Self {
        Self::default()
    }

    /// All files together hold at most so many bytes from now on; `None` for no limit.
    pub fn limit_capacity(&self, bytes: Option<u64>) {
        self.world.lock().faults.capacity = bytes;
    }

    /// Flushes of files whose path contains `part` fail from now on; `None` for none.
    pub fn fail_syncs(&self, part: Option<&str>) {
        self.world.lock().faults.failing_syncs = part.map(str::to_owned);
    }

    /// Files whose path contains `part` cannot be created from now on; `None` for none.
    pub fn fail_creations(&self, part: Option<&str>) {
        self.world.lock().faults.failing_creations = part.map(str::to_owned);
    }

    /// No flush of a file whose path contains `part` goes ahead while this is held.
    pub fn hold_syncs(&self, part: &str) -> MutexGuard<'_, ()> {
        part.clone_into(&mut self.gate.part.lock());
        self.gate.closed.lock()
    }

    /// Lets `changes` more changes pass, then everything fails, reads as well.
    pub fn stop_after(&self, changes: u64) {
        self.world.lock().faults.changes_left = Some(changes);
    }

    /// Power is lost and comes back: of what was not flushed, `seed` decides what is there. Faults are gone.
    /// Files that are still open lead to what they led to before, and change nothing here.
    #[must_use]
    pub fn lose_power(&self, seed: u64) -> Self {
        let world = self.world.lock();
        let mut chance = Chance(seed);
        let mut tree = world.durable.clone();
        let mut ended: Vec<&PathBuf> = Vec::new();
        for (folder, change) in &world.unsynced {
            // Within a folder changes reach the disk in order; how far they came differs from folder to folder.
            if !ended.contains(&folder) && chance.below(3) > 0 {
                change.apply(&mut tree);
            } else {
                ended.push(folder);
            }
        }
        let reachable =
            |path: &Path| path.ancestors().skip(1).all(|folder| is_root(folder) || tree.contains_key(folder));
        let kept = tree.iter().filter(|(path, _)| reachable(path));
        let mut after = Tree::new();
        for (path, node) in kept {
            let node = match node {
                Node::Folder => Node::Folder,
                Node::File(content) => Node::File(Arc::new(Mutex::new(content.lock().after_power_loss(&mut chance)))),
            };
            after.insert(path.clone(), node);
        }
        let durable = after.clone();
        let world =
            World { seen: after, durable, unsynced: Vec::new(), faults: Faults::default(), boots: world.boots + 1 };
        Self { world: Arc::new(Mutex::new(world)), gate: Arc::default(), counters: Arc::default() }
    }

    /// The process is killed and started again: what it wrote is there. Faults are gone. Threads of it that go on
    /// nevertheless, as they do in a test, change nothing here.
    #[must_use]
    pub fn restart(&self) -> Self {
        let world = self.world.lock();
        let mut copies = Copies::default();
        let world = World {
            seen: copies.tree(&world.seen),
            durable: copies.tree(&world.durable),
            unsynced: world.unsynced.iter().map(|(folder, change)| (folder.clone(), copies.change(change))).collect(),
            faults: Faults::default(),
            boots: world.boots,
        };
        Self { world: Arc::new(Mutex::new(world)), gate: Arc::default(), counters: Arc::default() }
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.counters.read.load(Ordering::Relaxed)
    }

    /// Flushes of files so far.
    pub fn syncs(&self) -> u64 {
        self.counters.syncs.load(Ordering::Relaxed)
    }

    /// Flips one bit of a file, on the disk as well.
    pub fn flip_bit(&self, path: &Path, position: usize) {
        if let Some(Node::File(content)) = self.world.lock().seen.get(path) {
            let Content { seen, durable, .. } = &mut *content.lock();
            for bytes in [seen, durable] {
                if let Some(byte) = bytes.get_mut(position) {
                    *byte ^= 1;
                }
            }
        }
    }
}

impl World {
    /// Counts a change; an error once the disk has stopped.
    fn change(&mut self) -> io::Result<()> {
        match &mut self.faults.changes_left {
            Some(0) => Err(stopped()),
            Some(left) => {
                *left -= 1;
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn change_folder(&mut self, folder: &Path, change: FolderChange) {
        change.apply(&mut self.seen);
        self.unsynced.push((folder.to_path_buf(), change));
    }
}

/// Copies of files, one of each, wherever it is seen.
#[derive(Default)]
struct Copies(HashMap<*const Mutex<Content>, Arc<Mutex<Content>>>);

impl Copies {
    fn tree(&mut self, tree: &Tree) -> Tree {
        tree.iter().map(|(path, node)| (path.clone(), self.node(node))).collect()
    }

    fn node(&mut self, node: &Node) -> Node {
        let Node::File(content) = node else { return Node::Folder };
        let copy = self.0.entry(Arc::as_ptr(content)).or_insert_with(|| Arc::new(Mutex::new(content.lock().clone())));
        Node::File(Arc::clone(copy))
    }

    fn change(&mut self, change: &FolderChange) -> FolderChange {
        match change {
            FolderChange::Create(path, node) => FolderChange::Create(path.clone(), self.node(node)),
            other => other.clone(),
        }
    }
}

/// Numbers that look random and are the same for the same seed.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (mixed ^ (mixed >> 31)) % bound.max(1)
    }
}

fn stopped() -> io::Error {
    io::Error::other("the disk has stopped")
}

fn is_root(path: &Path) -> bool {
    path.as_os_str().is_empty() || path.parent().is_none()
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_path_buf()
}

fn below(tree: &Tree, path: &Path) -> Vec<PathBuf> {
    tree.keys().filter(|entry| entry.starts_with(path)).cloned().collect()
}

impl FolderChange {
    fn apply(&self, tree: &mut Tree) {
        match self {
            Self::Create(path, node) => {
                tree.insert(path.clone(), node.clone());
            }
            Self::Remove(path) => {
                for gone in below(tree, path) {
                    tree.remove(&gone);
                }
            }
            Self::Rename(from, to) => {
                for path in below(tree, from) {
                    if let (Some(node), Ok(rest)) = (tree.remove(&path), path.strip_prefix(from)) {
                        tree.insert(if rest.as_os_str().is_empty() { to.clone() } else { to.join(rest) }, node);
                    }
                }
            }
        }
    }
}

impl FileChange {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Write(position, written) => {
                let start = usize::try_from(*position).unwrap_or(usize::MAX);
                let end = start.saturating_add(written.len());
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                if let Some(target) = bytes.get_mut(start..end) {
                    target.copy_from_slice(written);
                }
            }
            Self::SetLen(length) => bytes.resize(usize::try_from(*length).unwrap_or(usize::MAX), 0),
        }
    }
}

impl Content {
    fn change(&mut self, change: FileChange) {
        change.apply(&mut self.seen);
        self.unsynced.push(change);
    }

    fn sync(&mut self) {
        for change in self.unsynced.drain(..) {
            change.apply(&mut self.durable);
        }
    }

    /// Any of the writes that were not flushed may have reached the disk, in whole or in part, in any order.
    fn after_power_loss(&self, chance: &mut Chance) -> Self {
        let mut bytes = self.durable.clone();
        for change in &self.unsynced {
            match (chance.below(3), change) {
                (0, _) => {}
                (1, FileChange::Write(position, written)) => {
                    let torn = chance.below(written.len() as u64 + 1) as usize;
                    FileChange::Write(*position, written.iter().take(torn).copied().collect()).apply(&mut bytes);
                }
                (_, whole) => whole.apply(&mut bytes),
            }
        }
        Self { seen: bytes.clone(), durable: bytes, unsynced: Vec::new() }
    }
}

impl Disk for FaultyDisk {
    fn open(&self, path: &Path) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world.lock();
        let content = match world.seen.get(path) {
            Some(Node::File(content)) => Arc::clone(content),
            Some(Node::Folder) => return Err(io::ErrorKind::IsADirectory.into()),
            None => {
                let folder = parent(path);
                if !is_root(&folder) && !world.seen.contains_key(&folder) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                let failing = world.faults.failing_creations.as_deref();
                if failing.is_some_and(|part| path.to_string_lossy().contains(part)) {
                    return Err(io::Error::other("the file cannot be created"));
                }
                world.change()?;
                let content = Arc::new(Mutex::new(Content::default()));
                let create = FolderChange::Create(path.to_path_buf(), Node::File(Arc::clone(&content)));
                world.change_folder(&folder, create);
                content
            }
        };
        Ok(Arc::new(FaultyFile { disk: self.clone(), path: path.to_path_buf(), content }))
    }

    fn exists(&self, path: &Path) -> bool {
        self.world.lock().seen.contains_key(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let mut missing: Vec<&Path> = path.ancestors().filter(|folder| !is_root(folder)).collect();
        missing.retain(|folder| !world.seen.contains_key(*folder));
        for folder in missing.into_iter().rev() {
            world.change()?;
            let create = FolderChange::Create(folder.to_path_buf(), Node::Folder);
            world.change_folder(&parent(folder), create);
        }
        Ok(())
    }

    fn read_dir(&self, path: &Path) -> io::Result<Vec<PathBuf>> {
        let world = self.world.lock();
        if !world.seen.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(world.seen.keys().filter(|entry| entry.parent() == Some(path)).cloned().collect())
    }

    fn boot(&self) -> Option<String> {
        Some(format!("boot {}", self.world.lock().boots))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        if !world.seen.contains_key(from) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.change()?;
        world.change_folder(&parent(to), FolderChange::Rename(from.to_path_buf(), to.to_path_buf()));
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        if world.seen.contains_key(path) {
            world.change()?;
            world.change_folder(&parent(path), FolderChange::Remove(path.to_path_buf()));
        }
        Ok(())
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.remove_file(path)
    }

    fn sync_dir(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        world.change()?;
        let World { durable, unsynced, .. } = &mut *world;
        for (_, change) in unsynced.extract_if(.., |(folder, _)| folder == path) {
            change.apply(durable);
        }
        Ok(())
    }
}

/// An open file.
#[derive(Debug)]
struct FaultyFile {
    disk: FaultyDisk,
    path: PathBuf,
    content: Arc<Mutex<Content>>,
}

impl DiskFile for FaultyFile {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let mut world = self.disk.world.lock();
        if let Err(error) = world.change() {
            // The last write before the end may have come through in part.
            let part = bytes.get(..bytes.len() / 2).unwrap_or_default();
            self.content.lock().change(FileChange::Write(position, part.to_vec()));
            return Err(error);
        }
        if let Some(capacity) = world.faults.capacity {
            let used: u64 = world.seen.values().map(Node::len).sum();
            let own = self.content.lock().seen.len() as u64;
            let room = capacity.saturating_sub(used) + own.saturating_sub(position);
            if room < bytes.len() as u64 {
                let part = bytes.get(..room as usize).unwrap_or_default();
                self.content.lock().change(FileChange::Write(position, part.to_vec()));
                return Err(io::ErrorKind::StorageFull.into());
            }
        }
        self.content.lock().change(FileChange::Write(position, bytes.to_vec()));
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        if self.disk.world.lock().faults.changes_left == Some(0) {
            return Err(stopped());
        }
        let content = self.content.lock();
        let start = usize::try_from(position).unwrap_or(usize::MAX).min(content.seen.len());
        let source = content.seen.get(start..).unwrap_or_default();
        let count = source.len().min(buffer.len());
        if let (Some(target), Some(source)) = (buffer.get_mut(..count), source.get(..count)) {
            target.copy_from_slice(source);
        }
        self.disk.counters.read.fetch_add(count as u64, Ordering::Relaxed);
        Ok(count)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.content.lock().seen.len() as u64)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut world = self.disk.world.lock();
        world.change()?;
        self.content.lock().change(FileChange::SetLen(length));
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        let is_held = self.path.to_string_lossy().contains(self.disk.gate.part.lock().as_str());
        let _open = is_held.then(|| self.disk.gate.closed.lock());
        let mut world = self.disk.world.lock();
        world.change()?;
        self.disk.counters.syncs.fetch_add(1, Ordering::Relaxed);
        let failing = world.faults.failing_syncs.as_ref();
        if failing.is_some_and(|part| self.path.to_string_lossy().contains(part.as_str())) {
            return Err(io::Error::other("the flush failed"));
        }
        self.content.lock().sync();
        Ok(())
    }
}

impl Node {
    fn len(&self) -> u64 {
        match self {
            Self::Folder => 0,
            Self::File(content) => content.lock().seen.len() as u64,
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn read(disk: &FaultyDisk, path: &str) -> Option<Vec<u8>> {
        let path = Path::new(path);
        if !disk.exists(path) {
            return None;
        }
        let mut bytes = vec![0; 100];
        let count = disk.open(path).unwrap().read_at(&mut bytes, 0).unwrap();
        bytes.truncate(count);
        Some(bytes)
    }

    #[test]
    fn what_was_flushed_survives_and_what_was_not_may_not() {
        let disk = FaultyDisk::new();
        disk.create_dir_all(Path::new("/d")).unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        let file = disk.open(Path::new("/d/f")).unwrap();
        file.write_all_at(b"flushed", 0).unwrap();
        file.sync_data().unwrap();
        let outcomes = |disk: &FaultyDisk| {
            let mut all: Vec<_> = (0..100).map(|seed| read(&disk.lose_power(seed), "/d/f")).collect();
            all.sort();
            all.dedup();
            all
        };
        assert_eq!(outcomes(&disk), [None, Some(b"flushed".to_vec())], "its folder was not flushed");
        disk.sync_dir(Path::new("/d")).unwrap();
        assert_eq!(outcomes(&disk), [Some(b"flushed".to_vec())]);
        file.write_all_at(b"-more", 7).unwrap();
        let found = outcomes(&disk);
        assert!(found.len() > 2 && found.iter().all(|f| f.as_ref().unwrap().starts_with(b"flushed")));
        assert_eq!(read(&disk.restart(), "/d/f").unwrap(), b"flushed-more");
    }

    #[test]
    fn a_killed_process_changes_nothing_after_its_end() {
        let disk = FaultyDisk::new();
        let file = disk.open(Path::new("/f")).unwrap();
        file.write_all_at(b"before", 0).unwrap();
        let after = disk.restart();
        file.write_all_at(b"late", 6).unwrap();
        file.sync_data().unwrap();
        disk.sync_dir(Path::new("/")).unwrap();
        disk.open(Path::new("/late")).unwrap();
        assert_eq!(read(&after, "/f").unwrap(), b"before");
        assert_eq!(read(&after, "/late"), None);
        let lost = (0..100).filter(|seed| read(&after.lose_power(*seed), "/f").is_none()).count();
        assert!(lost > 0, "what was not flushed before is not flushed by being seen");
    }

    #[test]
    fn a_stopped_disk_does_nothing_more() {
        let disk = FaultyDisk::new();
        disk.stop_after(2);
        let file = disk.open(Path::new("/f")).unwrap();
        file.write_all_at(b"a", 0).unwrap();
        assert!(file.write_all_at(b"bb", 1).is_err());
        assert!(file.sync_data().is_err());
        assert!(file.read_at(&mut [0], 0).is_err());
    }
}
