//! What recovery makes of folders that something went wrong with before: a crash within a crash, a failed flush, files
//! that are missing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::sync::Arc;

use super::disk::Disk;
use super::faulty_disk::FaultyDisk;
use super::log_manager::{Durability, LogManager, StorageConfig, StorageError};
use super::partition_log::{PartitionLog, ReadBound};
use super::test_support::*;
use crate::log::config::LogConfig;
use crate::types::*;

const FIRST_LOG: &str = "/data/t-0/00000000000000000000.log";

fn open(disk: &FaultyDisk, durability: Durability) -> Arc<LogManager> {
    let config = StorageConfig { dir: "/data".into(), durability, producer_id_expiration_ms: 86_400_000 };
    LogManager::open(Arc::new(disk.clone()), config).unwrap()
}

fn name() -> TopicPartition {
    TopicPartition::new("t", PartitionIndex(0))
}

fn try_create(manager: &LogManager, topic: u128, config: LogConfig) -> Result<Arc<dyn PartitionLog>, StorageError> {
    manager.create(&name(), TopicId(uuid::Uuid::from_u128(topic)), config)
}

fn create(manager: &LogManager, config: LogConfig) -> Arc<dyn PartitionLog> {
    try_create(manager, 7, config).unwrap()
}

fn append(log: &dyn PartitionLog, value: &str, timestamp: i64) -> Offset {
    log.append(plain(&[value], timestamp), CLIENT, TimestampMs(timestamp)).unwrap().last_offset
}

/// Everything that readers see.
fn read(log: &dyn PartitionLog) -> Vec<String> {
    let (mut next, mut found) = (log.offsets().log_start, Vec::new());
    while let Some(slice) = log.read(next, 1 << 20, ReadBound::HighWatermark, true).unwrap().records {
        let mut bytes = vec![0; slice.length];
        slice.file.read_at(&mut bytes, slice.position).unwrap();
        let values = values(&bytes);
        next = Offset(values.last().unwrap().0 + 1);
        found.extend(values.into_iter().map(|(_, value)| value));
    }
    found
}

/// A log of ten records on a disk that has lost its power; of one that was written but not flushed a bit was lost.
fn damaged_by_a_loss_of_power() -> FaultyDisk {
    let disk = FaultyDisk::new();
    let manager = open(&disk, Durability::Os);
    let log = create(&manager, LogConfig::default());
    for i in 0..10 {
        append(log.as_ref(), &"x".repeat(1000), i);
    }
    let half = usize::try_from(log.size() / 2).unwrap();
    disk.open(Path::new(FIRST_LOG)).unwrap().sync_data().unwrap();
    for folder in ["/data/t-0", "/data", "/"] {
        disk.sync_dir(Path::new(folder)).unwrap();
    }
    let dark = disk.lose_power(1);
    dark.flip_bit(Path::new(FIRST_LOG), half + 500);
    dark
}

#[test]
fn a_loss_of_power_is_not_forgotten_before_the_partition_is_opened() {
    for orderly in [false, true] {
        let disk = damaged_by_a_loss_of_power();
        let manager = open(&disk, Durability::Fsync);
        manager.register(name(), TopicId(uuid::Uuid::from_u128(7)), LogConfig::default());
        manager.all_registered();
        if orderly {
            manager.close().unwrap();
        }
        drop(manager);
        let log = create(&open(&disk.restart(), Durability::Fsync), LogConfig::default());
        assert_eq!(log.offsets().log_end, Offset(5), "nobody has looked at it since");
    }
}

#[test]
fn what_was_verified_once_is_not_verified_again_under_the_same_boot() {
    let disk = damaged_by_a_loss_of_power();
    let manager = open(&disk, Durability::Os);
    manager.register(name(), TopicId(uuid::Uuid::from_u128(7)), LogConfig::default());
    manager.all_registered();
    let log = manager.get("t", PartitionIndex(0)).unwrap().unwrap();
    for i in 0..1000 {
        append(log.as_ref(), &"x".repeat(10_000), i);
    }
    drop((log, manager));
    let again = disk.restart();
    let log = create(&open(&again, Durability::Os), LogConfig::default());
    assert_eq!(log.offsets().log_end, Offset(1005));
    assert!(again.bytes_read() < log.size() / 2, "{} of {}", again.bytes_read(), log.size());
}

#[test]
fn after_a_failed_flush_the_page_cache_is_not_trusted() {
    let disk = FaultyDisk::new();
    let manager = open(&disk, Durability::Fsync);
    let log = create(&manager, LogConfig::default());
    wait(log.durable(append(log.as_ref(), "sound", 1))).unwrap();
    disk.fail_syncs(Some("/t-0/"));
    let size = usize::try_from(log.size()).unwrap();
    assert!(wait(log.durable(append(log.as_ref(), "lost", 2))).is_err());
    drop((log, manager));
    // The page that could not be written was dropped and is read back as something else.
    disk.flip_bit(Path::new(FIRST_LOG), size + 65);
    let log = create(&open(&disk.restart(), Durability::Fsync), LogConfig::default());
    assert_eq!(read(log.as_ref()), ["sound"]);
}

#[test]
fn a_flush_that_failed_in_a_recovery_is_not_tried_again() {
    let disk = FaultyDisk::new();
    let manager = open(&disk, Durability::Fsync);
    let log = create(&manager, LogConfig::default());
    wait(log.durable(append(log.as_ref(), "x", 1))).unwrap();
    drop((log, manager));
    let disk = disk.restart();
    let manager = open(&disk, Durability::Fsync);
    disk.fail_syncs(Some("/t-0/"));
    assert!(matches!(try_create(&manager, 7, LogConfig::default()), Err(StorageError::NotDurable(_))));
    disk.fail_syncs(None);
    assert!(matches!(try_create(&manager, 7, LogConfig::default()), Err(StorageError::NotDurable(_))));
    drop(manager);
    assert_eq!(read(create(&open(&disk.restart(), Durability::Fsync), LogConfig::default()).as_ref()), ["x"]);
}

#[test]
fn a_segment_that_could_not_be_begun_takes_nothing_with_it() {
    for suffix in [".log", ".index", ".timeindex"] {
        for (clean, rolls) in [(true, true), (true, false), (false, true), (false, false)] {
            let disk = FaultyDisk::new();
            let manager = open(&disk, Durability::Fsync);
            let config = LogConfig { segment_bytes: 1000, ..LogConfig::default() };
            let log = create(&manager, config.clone());
            append(log.as_ref(), &"a".repeat(700), 1);
            disk.fail_creations(Some(&format!("00000000000000000001{suffix}")));
            let large = log.append(plain(&[&"b".repeat(700)], 1), CLIENT, TimestampMs(1));
            assert!(large.is_err(), "there is no room in this segment, and no other");
            wait(log.durable(append(log.as_ref(), "small", 1))).unwrap();
            disk.fail_creations(None);
            if rolls {
                wait(log.durable(append(log.as_ref(), &"c".repeat(700), 1))).unwrap();
            }
            if clean {
                manager.close().unwrap();
            }
            drop((log, manager));
            let log = create(&open(&disk.restart(), Durability::Fsync), config);
            let sizes: Vec<usize> = read(log.as_ref()).iter().map(String::len).collect();
            assert_eq!(sizes, [700, 5, 700][..if rolls { 3 } else { 2 }], "{suffix} {clean} {rolls}");
            assert_eq!(log.read(Offset(1), 100, ReadBound::HighWatermark, true).unwrap().next_offset, Offset(2));
        }
    }
}

#[test]
fn an_index_that_was_built_anew_is_there_after_the_next_start() {
    let disk = FaultyDisk::new();
    let config = LogConfig { segment_bytes: 1000, ..LogConfig::default() };
    let manager = open(&disk, Durability::Fsync);
    let log = create(&manager, config.clone());
    for i in 0..5 {
        append(log.as_ref(), &"x".repeat(700), i * 10);
    }
    manager.close().unwrap();
    drop((log, manager));
    for suffix in [".index", ".timeindex"] {
        disk.remove_file(Path::new(&FIRST_LOG.replace(".log", suffix))).unwrap();
    }
    for start in 0..3 {
        let manager = open(&disk, Durability::Fsync);
        let log = create(&manager, config.clone());
        let found = log.offset_for_timestamp(TimestampMs(0)).unwrap().unwrap();
        assert_eq!(found.offset, Offset(0), "start {start}");
        manager.close().unwrap();
    }
}

#[test]
fn a_new_topic_inherits_nothing_of_one_that_was_deleted_in_a_crash() {
    // The deletion stops at every change.
    for stop in 0..30 {
        let disk = FaultyDisk::new();
        let manager = open(&disk, Durability::Fsync);
        let log = create(&manager, LogConfig::default());
        wait(log.durable(append(log.as_ref(), "old", 1))).unwrap();
        log.delete_records(Offset(1)).unwrap();
        disk.stop_after(stop);
        let _ = manager.delete(&name());
        drop((log, manager));
        let manager = open(&disk.restart(), Durability::Fsync);
        let log = try_create(&manager, 8, LogConfig::default()).unwrap();
        assert_eq!((log.offsets().log_start, log.offsets().log_end), (Offset(0), Offset(0)), "stop {stop}");
    }
}

#[test]
fn a_deletion_of_records_that_failed_is_made_durable_when_it_is_asked_for_again() {
    let disk = FaultyDisk::new();
    let manager = open(&disk, Durability::Fsync);
    let log = create(&manager, LogConfig::default());
    append(log.as_ref(), "first", 1);
    wait(log.durable(append(log.as_ref(), "second", 1))).unwrap();
    disk.fail_syncs(Some("log-start"));
    assert!(log.delete_records(Offset(1)).is_err());
    disk.fail_syncs(None);
    assert_eq!(log.delete_records(Offset(1)), Ok(Offset(1)));
    drop((log, manager));
    let log = create(&open(&disk.lose_power(3), Durability::Fsync), LogConfig::default());
    assert_eq!(read(log.as_ref()), ["second"]);
}

#[test]
fn the_largest_timestamp_is_one_that_readers_may_see() {
    let disk = FaultyDisk::new();
    let manager = open(&disk, Durability::Fsync);
    let log = create(&manager, LogConfig::default());
    append(log.as_ref(), "a", 5);
    wait(log.durable(append(log.as_ref(), "b", 3))).unwrap();
    disk.fail_syncs(Some("/t-0/"));
    assert!(wait(log.durable(append(log.as_ref(), "c", 9))).is_err());
    let found = log.max_timestamp().unwrap().unwrap();
    assert_eq!((found.offset, found.timestamp), (Offset(0), TimestampMs(5)));
}
