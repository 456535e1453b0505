//! Files that Apache Kafka wrote are read, and written again to the same bytes.
//!
//! `OTTLA_KAFKA_DATA=folder` makes it walk a whole data folder of a Kafka that was stopped cleanly.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use ottla::log::producer_state::ProducerStates;
use ottla::storage::disk::DiskFile;
use ottla::storage::meta_properties::MetaProperties;
use ottla::storage::offset_index::OffsetIndex;
use ottla::storage::time_index::TimeIndex;
use ottla::storage::{checkpoint, partition_metadata, producer_snapshot};
use ottla::types::{Offset, TimestampMs};

#[derive(Debug, Default)]
struct Memory(Mutex<Vec<u8>>);

impl Memory {
    fn of(bytes: &[u8]) -> Arc<Self> {
        Arc::new(Self(Mutex::new(bytes.to_vec())))
    }

    fn bytes(&self) -> Vec<u8> {
        self.0.lock().unwrap().clone()
    }
}

impl DiskFile for Memory {
    fn write_all_at(&self, bytes: &[u8], position: u64) -> io::Result<()> {
        let (mut file, from) = (self.0.lock().unwrap(), position as usize);
        let length = file.len().max(from + bytes.len());
        file.resize(length, 0);
        file[from..from + bytes.len()].copy_from_slice(bytes);
        Ok(())
    }

    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let file = self.0.lock().unwrap();
        let rest = file.get(position as usize..).unwrap_or_default();
        let length = rest.len().min(buffer.len());
        buffer[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.lock().unwrap().len() as u64)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.lock().unwrap().resize(length as usize, 0);
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

/// Reads a file and writes what it read. `None` for a file of a format that is not tested here.
fn written_again(path: &Path, bytes: &[u8]) -> Option<Vec<u8>> {
    let name = path.file_name()?.to_str()?;
    let (stem, kind) = name.split_once('.').unwrap_or((name, ""));
    let base = Offset(stem.parse().unwrap_or(0));
    Some(match (name, kind) {
        ("meta.properties", _) => MetaProperties::decode(bytes).unwrap().encode(),
        ("partition.metadata", _) => partition_metadata::encode(partition_metadata::decode(bytes).unwrap()),
        ("leader-epoch-checkpoint", _) => checkpoint::encode_epochs(&checkpoint::decode_epochs(bytes).unwrap()),
        (_, "") if name.ends_with("-offset-checkpoint") => {
            let entries = checkpoint::decode_offsets(bytes).unwrap();
            // A file that was only created stays empty until there is an entry.
            if bytes.is_empty() {
                return Some(Vec::new());
            }
            checkpoint::encode_offsets(entries.iter().map(|(of, offset)| (of, *offset)))
        }
        (_, "snapshot") => {
            let entries = producer_snapshot::decode(bytes).unwrap();
            through_the_states(&entries, base);
            producer_snapshot::encode(&entries)
        }
        (_, "index") => {
            let index = OffsetIndex::open(Memory::of(bytes), base).unwrap();
            index.check(u64::from(u32::MAX)).unwrap();
            offset_index_again(&index, base)
        }
        (_, "timeindex") => {
            let index = TimeIndex::open(Memory::of(bytes), base).unwrap();
            index.check().unwrap();
            time_index_again(&index, base)
        }
        _ => return None,
    })
}

/// Every entry, found by lookups from the last one down, appended to an empty index.
fn offset_index_again(index: &OffsetIndex, base: Offset) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut target = Offset(i64::MAX);
    for _ in 0..index.entries() {
        let entry = index.lookup(target).unwrap();
        target = Offset(entry.offset.0 - 1);
        entries.push(entry);
    }
    let file = Memory::of(&[]);
    let mut again = OffsetIndex::open(Arc::clone(&file) as _, base).unwrap();
    for entry in entries.iter().rev() {
        again.append(entry.offset, entry.position).unwrap();
    }
    again.write().unwrap();
    file.bytes()
}

fn time_index_again(index: &TimeIndex, base: Offset) -> Vec<u8> {
    let mut entries = Vec::new();
    let mut target = TimestampMs(i64::MAX);
    for _ in 0..index.entries() {
        let entry = index.lookup(target).unwrap();
        target = TimestampMs(entry.timestamp.0 - 1);
        entries.push(entry);
    }
    let file = Memory::of(&[]);
    let mut again = TimeIndex::open(Arc::clone(&file) as _, base).unwrap();
    for entry in entries.iter().rev() {
        again.maybe_append(entry.timestamp, entry.offset).unwrap();
    }
    again.write().unwrap();
    file.bytes()
}

/// What a snapshot holds survives the way through memory, in whatever order.
fn through_the_states(entries: &[ottla::log::producer_state::ProducerSnapshotEntry], end: Offset) {
    let mut states = ProducerStates::default();
    states.restore(entries, end, TimestampMs(0));
    let mut expected = entries.to_vec();
    expected.sort_by_key(|entry| entry.producer_id);
    assert_eq!(states.snapshot(), expected);
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { walk(&path, files) } else { files.push(path) }
    }
}

/// Java writes the date as a comment.
fn without_comments(bytes: &[u8]) -> Vec<&[u8]> {
    bytes.split(|byte| *byte == b'\n').filter(|line| !line.starts_with(b"#")).collect()
}

#[test]
fn kafkas_files_are_written_again_to_the_same_bytes() {
    let folder = std::env::var_os("OTTLA_KAFKA_DATA")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kafka-4.3.1"), PathBuf::from);
    let mut files = Vec::new();
    walk(&folder, &mut files);
    let mut seen = BTreeMap::new();
    for path in files {
        let bytes = fs::read(&path).unwrap();
        let Some(again) = written_again(&path, &bytes) else { continue };
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        if name == "meta.properties" {
            assert_eq!(without_comments(&again), without_comments(&bytes));
        } else {
            assert_eq!(again, bytes, "{}", path.display());
        }
        *seen.entry(name.trim_start_matches(|c: char| c.is_ascii_digit()).to_owned()).or_insert(0) += 1;
    }
    let kinds: Vec<_> = seen.keys().map(String::as_str).collect();
    let expected = [
        ".index",
        ".snapshot",
        ".timeindex",
        "cleaner-offset-checkpoint",
        "leader-epoch-checkpoint",
        "log-start-offset-checkpoint",
        "meta.properties",
        "partition.metadata",
        "recovery-point-offset-checkpoint",
    ];
    for kind in expected {
        assert!(kinds.contains(&kind), "no {kind} among {seen:?}");
    }
}
