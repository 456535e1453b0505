//! What every [`PartitionLog`] must do, run on files and in memory.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::disk::{Disk, FileSlice};
use super::log_manager::{Durability, LogManager, StorageConfig};
use super::memory_disk::MemoryDisk;
use super::os_disk::OsDisk;
use super::partition_log::{PartitionLog, ReadBound, ReadError};
use super::test_support::*;
use crate::log::config::LogConfig;
use crate::log::{AppendError, Origin};
use crate::types::*;
use crate::wire::batch::{BatchHeader, Compression};

/// A folder on some disk, and how to start a broker's storage in it.
struct Place {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    durability: Durability,
    _held: Option<tempfile::TempDir>,
}

fn places() -> Vec<Place> {
    let mut places = Vec::new();
    for durability in [Durability::Fsync, Durability::Os] {
        let held = tempfile::tempdir().unwrap();
        let dir = held.path().join("data");
        places.push(Place { disk: Arc::new(OsDisk), dir, durability, _held: Some(held) });
    }
    for durability in [Durability::Fsync, Durability::Memory] {
        places.push(Place { disk: Arc::new(MemoryDisk::new()), dir: "/data".into(), durability, _held: None });
    }
    places
}

impl Place {
    fn open(&self) -> Arc<LogManager> {
        let config =
            StorageConfig { dir: self.dir.clone(), durability: self.durability, producer_id_expiration_ms: 86_400_000 };
        LogManager::open(Arc::clone(&self.disk), config).unwrap()
    }

    #[allow(clippy::unused_self)]
    fn log(&self, manager: &LogManager, config: LogConfig) -> Arc<dyn PartitionLog> {
        manager.create(&TopicPartition::new("t", PartitionIndex(0)), TopicId(uuid::Uuid::from_u128(7)), config).unwrap()
    }
}

fn small_segments() -> LogConfig {
    LogConfig { segment_bytes: 2000, index_interval_bytes: 200, ..LogConfig::default() }
}

/// Reads everything a high-watermark reader sees, in reads of at most `max_bytes`.
fn read_all(log: &dyn PartitionLog, max_bytes: usize) -> Vec<(i64, String)> {
    let mut records = Vec::new();
    let mut next = log.offsets().log_start;
    loop {
        let read = log.read(next, max_bytes, ReadBound::HighWatermark, true).unwrap();
        let Some(slice) = read.records else { break };
        assert!(read.next_offset > next);
        records.extend(values(&bytes_of(&slice)).into_iter().filter(|(offset, _)| *offset >= next.0));
        next = read.next_offset;
    }
    records
}

fn bytes_of(slice: &FileSlice) -> Vec<u8> {
    let mut bytes = vec![0; slice.length];
    assert_eq!(slice.file.read_at(&mut bytes, slice.position).unwrap(), slice.length);
    if let Some(shared) = slice.file.in_memory(slice.position, slice.length) {
        assert_eq!(&shared[..], &bytes[..]);
    }
    bytes
}

#[test]
fn what_was_appended_is_read_back_in_order_across_segments_and_restarts() {
    for place in places() {
        let mut expected = Vec::new();
        for round in 0..3 {
            let manager = place.open();
            let log = place.log(&manager, small_segments());
            for i in 0..40 {
                let value = format!("{round}-{i}-{}", "x".repeat(i * 3));
                let appended = log.append(plain(&[&value, "b"], 1000 + i as i64), CLIENT, TimestampMs(5000)).unwrap();
                assert_eq!(appended.base_offset.0, expected.len() as i64);
                assert_eq!(appended.last_offset.0, expected.len() as i64 + 1);
                expected.push((expected.len() as i64, value));
                expected.push((expected.len() as i64, "b".to_owned()));
            }
            wait(log.durable(Offset(expected.len() as i64 - 1))).unwrap();
            for max_bytes in [1, 500, 1 << 20] {
                assert_eq!(read_all(log.as_ref(), max_bytes), expected);
            }
            assert!(log.size() > 2000);
            if place.durability == Durability::Memory {
                break;
            }
            manager.close().unwrap();
        }
    }
}

#[test]
fn reads_stay_within_the_log_and_its_bounds() {
    for place in places() {
        let manager = place.open();
        let log = place.log(&manager, LogConfig::default());
        let read = |from, max, at_least_one| log.read(Offset(from), max, ReadBound::HighWatermark, at_least_one);
        assert!(read(0, 100, true).unwrap().records.is_none());
        assert!(matches!(read(1, 100, true), Err(ReadError::OutOfRange { .. })));
        assert!(matches!(read(-1, 100, true), Err(ReadError::OutOfRange { .. })));
        let first = plain(&["a", "b", "c"], 1);
        let size = first.len();
        log.append(first, CLIENT, TimestampMs(1)).unwrap();
        log.append(plain(&["d"], 1), CLIENT, TimestampMs(1)).unwrap();
        wait(log.durable(Offset(3))).unwrap();
        // The batch that holds the offset, from its beginning.
        let result = read(2, size, false).unwrap();
        assert_eq!(values(&bytes_of(&result.records.unwrap())).len(), 3);
        assert_eq!(result.next_offset, Offset(3));
        assert!(read(0, size - 1, false).unwrap().records.is_none());
        assert_eq!(read(0, 1, true).unwrap().next_offset, Offset(3));
        assert_eq!(read(0, usize::MAX, true).unwrap().next_offset, Offset(4));
        assert!(read(4, 100, true).unwrap().records.is_none());
        assert!(matches!(read(5, 100, true), Err(ReadError::OutOfRange { .. })));
    }
}

#[test]
fn the_first_batch_carries_offset_and_epoch_and_its_checksum_holds() {
    for place in places() {
        let manager = place.open();
        let log = place.log(&manager, LogConfig::default());
        log.set_leader_epoch(LeaderEpoch(3));
        log.append(plain(&["a"], 1), CLIENT, TimestampMs(1)).unwrap();
        log.set_leader_epoch(LeaderEpoch(5));
        log.append(plain(&["b"], 1), CLIENT, TimestampMs(1)).unwrap();
        wait(log.durable(Offset(1))).unwrap();
        let slice = log.read(Offset(1), 1000, ReadBound::HighWatermark, true).unwrap().records.unwrap();
        let header = BatchHeader::parse(&bytes_of(&slice)).unwrap();
        assert_eq!((header.base_offset, header.partition_leader_epoch), (Offset(1), LeaderEpoch(5)));
        assert_eq!(log.latest_epoch(), Some(LeaderEpoch(5)));
        assert_eq!(log.epoch_end_offset(LeaderEpoch(4)), Some((LeaderEpoch(3), Offset(1))));
        assert_eq!(log.epoch_for_offset(Offset(0)), Some(LeaderEpoch(3)));
        if place.durability != Durability::Memory {
            drop(log);
            manager.close().unwrap();
            let manager = place.open();
            assert_eq!(
                place.log(&manager, LogConfig::default()).epoch_end_offset(LeaderEpoch(5)),
                Some((LeaderEpoch(5), Offset(2)))
            );
        }
    }
}

#[test]
fn timestamps_find_exact_records_plain_and_compressed() {
    for place in places() {
        let manager = place.open();
        let log = place.log(&manager, small_segments());
        for i in 0..60_i64 {
            let codec = [Compression::None, Compression::Lz4, Compression::Zstd, Compression::Gzip][i as usize % 4];
            // Within a batch timestamps rise by 3; from batch to batch by 10.
            let batch = batch_of(&["a", "b", "c"], codec, |n| i * 10 + n as i64 * 3);
            log.append(batch, CLIENT, TimestampMs(1)).unwrap();
        }
        wait(log.durable(Offset(179))).unwrap();
        let at = |target| log.offset_for_timestamp(TimestampMs(target)).unwrap().map(|f| (f.offset.0, f.timestamp.0));
        for target in 0..597 {
            let (batch, rest) = (target / 10, target % 10);
            let expected = match rest {
                0 => (batch * 3, batch * 10),
                1..=3 => (batch * 3 + 1, batch * 10 + 3),
                4..=6 => (batch * 3 + 2, batch * 10 + 6),
                _ => (batch * 3 + 3, batch * 10 + 10),
            };
            assert_eq!(at(target), Some(expected), "{target}");
        }
        assert_eq!(at(597), None);
        assert_eq!(at(-1), Some((0, 0)));
        let max = log.max_timestamp().unwrap().unwrap();
        assert_eq!((max.offset.0, max.timestamp.0), (179, 596));
    }
}

#[test]
fn deleted_records_are_gone_for_good() {
    for place in places() {
        let manager = place.open();
        let log = place.log(&manager, small_segments());
        for i in 0..50 {
            log.append(plain(&[&"v".repeat(100)], i), CLIENT, TimestampMs(1)).unwrap();
        }
        wait(log.durable(Offset(49))).unwrap();
        let before = log.size();
        assert!(matches!(log.delete_records(Offset(51)), Err(ReadError::OutOfRange { .. })));
        assert_eq!(log.delete_records(Offset(30)).unwrap(), Offset(30));
        assert_eq!(log.delete_records(Offset(20)).unwrap(), Offset(30));
        assert!(log.size() < before * 2 / 3);
        let check = |log: &dyn PartitionLog| {
            assert_eq!(log.offsets().log_start, Offset(30));
            assert!(matches!(
                log.read(Offset(29), 1, ReadBound::HighWatermark, true),
                Err(ReadError::OutOfRange { .. })
            ));
            assert_eq!(read_all(log, 1000).len(), 20);
            assert_eq!(log.offset_for_timestamp(TimestampMs(0)).unwrap().unwrap().offset, Offset(30));
        };
        check(log.as_ref());
        if place.durability != Durability::Memory {
            drop(log);
            manager.close().unwrap();
            let manager = place.open();
            let log = place.log(&manager, small_segments());
            check(log.as_ref());
            assert_eq!(log.delete_records(Offset(50)).unwrap(), Offset(50));
            assert_eq!(log.size(), 0);
            drop(log);
            manager.close().unwrap();
            let log = place.log(&place.open(), small_segments());
            assert_eq!(log.append(plain(&["n"], 1), CLIENT, TimestampMs(1)).unwrap().base_offset, Offset(50));
        }
    }
}

#[test]
fn five_batches_per_producer_are_recognised_even_after_a_restart() {
    for place in places() {
        let mut manager = place.open();
        let mut log = place.log(&manager, LogConfig::default());
        for i in 0..7 {
            log.append(idempotent(&["a", "b"], 9, 0, i * 2), CLIENT, TimestampMs(1)).unwrap();
        }
        wait(log.durable(Offset(13))).unwrap();
        for restart in [false, true] {
            if restart && place.durability != Durability::Memory {
                drop(log);
                manager.close().unwrap();
                manager = place.open();
                log = place.log(&manager, LogConfig::default());
            }
            for i in 2..7 {
                let again = log.append(idempotent(&["a", "b"], 9, 0, i * 2), CLIENT, TimestampMs(1)).unwrap();
                assert!(again.duplicate);
                assert_eq!((again.base_offset.0, again.last_offset.0), (i64::from(i) * 2, i64::from(i) * 2 + 1));
            }
            let forgotten = log.append(idempotent(&["a", "b"], 9, 0, 2), CLIENT, TimestampMs(1));
            assert!(matches!(forgotten, Err(AppendError::OutOfOrderSequence(_))));
            assert_eq!(log.offsets().log_end, Offset(14));
        }
        assert!(!log.append(idempotent(&["c"], 9, 0, 14), CLIENT, TimestampMs(1)).unwrap().duplicate);
    }
}

#[test]
fn a_transaction_is_seen_when_it_is_committed_and_told_of_when_it_is_not() {
    let id = ProducerId(9);
    for place in places() {
        let mut manager = place.open();
        let mut log = place.log(&manager, small_segments());
        let mut committed = Vec::new();
        for n in 0..40_i16 {
            let (epoch, commit) = (ProducerEpoch(n), n % 3 == 0);
            let unverified = log.append(in_transaction(&["x"], 9, n, 0), CLIENT, TimestampMs(1));
            assert!(matches!(unverified, Err(AppendError::InvalidTxnState(_))));
            let guard = log.begin_verification(id, epoch, Sequence(0), true).unwrap().unwrap();
            let origin = Origin::Client { version: 12, guard };
            let first = log.append(in_transaction(&["a", "b"], 9, n, 0), origin, TimestampMs(1)).unwrap();
            assert_eq!(log.begin_verification(id, epoch, Sequence(2), true), Ok(None));
            let base = first.base_offset;
            assert!(log.append(in_transaction(&["a", "b"], 9, n, 0), CLIENT, TimestampMs(1)).unwrap().duplicate);
            log.append(in_transaction(&["c"], 9, n, 2), CLIENT, TimestampMs(1)).unwrap();
            log.append(plain(&["between"], 1), CLIENT, TimestampMs(1)).unwrap();
            assert_eq!(log.offsets().last_stable, base);
            let [open] = log.producers()[..] else { panic!() };
            assert_eq!((open.producer_id, open.epoch, open.transaction_start), (id, epoch, Some(base)));
            let marker = marker(9, n + 1, commit, 3);
            let end = log.append(marker, Origin::Marker { transaction_version: 2 }, TimestampMs(1)).unwrap();
            wait(log.durable(end.last_offset)).unwrap();
            assert_eq!(log.offsets().last_stable, end.last_offset.plus(1));
            let values = ["a", "b", "c", "between"].into_iter().enumerate().filter(|(at, _)| commit || *at == 3);
            committed.extend(values.map(|(at, value)| (base.0 + at as i64, value.to_owned())));
            if n % 10 == 9 && place.durability != Durability::Memory {
                drop(log);
                manager.close().unwrap();
                manager = place.open();
                log = place.log(&manager, small_segments());
            }
            assert_eq!(committed_values(log.as_ref(), Offset(0), 500), committed);
        }
        let [known] = log.producers()[..] else { panic!() };
        assert_eq!((known.epoch, known.coordinator_epoch, known.transaction_start), (ProducerEpoch(40), 3, None));
    }
}

#[test]
fn a_watcher_is_told_of_what_becomes_visible() {
    for place in places() {
        let manager = place.open();
        let log = place.log(&manager, LogConfig::default());
        let watcher = Arc::new(tokio::sync::Notify::new());
        log.watch(&watcher);
        log.append(plain(&["a"], 1), CLIENT, TimestampMs(1)).unwrap();
        wait(watcher.notified());
        assert_eq!(log.offsets().high_watermark, Offset(1));
        log.watch(&watcher);
        manager.delete(&TopicPartition::new("t", PartitionIndex(0))).unwrap();
        wait(watcher.notified());
        assert!(matches!(log.append(plain(&["a"], 1), CLIENT, TimestampMs(1)), Err(AppendError::Deleted)));
        assert!(manager.get("t", PartitionIndex(0)).is_none());
    }
}

#[test]
fn a_recreated_partition_begins_empty() {
    for place in places() {
        let manager = place.open();
        let name = TopicPartition::new("t", PartitionIndex(0));
        let config = LogConfig { file_delete_delay_ms: 3_600_000, ..LogConfig::default() };
        let log = place.log(&manager, config.clone());
        log.append(plain(&["a"], 1), CLIENT, TimestampMs(1)).unwrap();
        wait(log.durable(Offset(0))).unwrap();
        manager.delete(&name).unwrap();
        let log = manager.create(&name, TopicId(uuid::Uuid::from_u128(8)), config).unwrap();
        assert_eq!(log.offsets().log_end, Offset(0));
        let names: Vec<_> = place.disk.read_dir(&place.dir).unwrap();
        let doomed = names.iter().filter(|path| is_doomed(path)).count();
        assert_eq!(doomed, 1);
    }
}

fn is_doomed(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.starts_with("t-0.") && name.ends_with("-delete")
}

#[test]
fn settings_change_while_running() {
    for place in places() {
        let manager = place.open();
        let log = place.log(&manager, LogConfig::default());
        log.reconfigure(LogConfig { max_message_bytes: 100, ..LogConfig::default() });
        let large = log.append(plain(&[&"x".repeat(200)], 1), CLIENT, TimestampMs(1));
        assert!(matches!(large, Err(AppendError::TooLarge { .. })));
        assert_eq!(log.config().max_message_bytes, 100);
    }
}

#[test]
fn the_broker_reads_to_the_log_end() {
    for place in places() {
        let manager = place.open();
        let log = place.log(&manager, LogConfig::default());
        log.append(plain(&["a"], 1), Origin::Broker, TimestampMs(1)).unwrap();
        let read = log.read(Offset(0), 1000, ReadBound::LogEnd, true).unwrap();
        assert_eq!(read.next_offset, Offset(1));
    }
}
