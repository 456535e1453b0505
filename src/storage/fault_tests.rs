//! What is promised when the disk fails: acknowledged records survive, nothing is there twice, one partition's trouble
//! stays its own.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::sync::Arc;

use proptest::prelude::*;

use super::disk::Disk;
use super::faulty_disk::FaultyDisk;
use super::log_manager::{Durability, LogManager, StorageConfig, StorageError};
use super::partition_log::{PartitionLog, ReadBound, ReadError};
use super::test_support::*;
use crate::log::AppendError;
use crate::log::config::LogConfig;
use crate::types::*;

fn open(disk: &FaultyDisk) -> Result<Arc<LogManager>, StorageError> {
    open_with(disk, Durability::Fsync)
}

fn open_with(disk: &FaultyDisk, durability: Durability) -> Result<Arc<LogManager>, StorageError> {
    let config = StorageConfig { dir: "/data".into(), durability, producer_id_expiration_ms: 86_400_000 };
    LogManager::open(Arc::new(disk.clone()), config)
}

fn create(manager: &LogManager, topic: &str, config: LogConfig) -> Result<Arc<dyn PartitionLog>, StorageError> {
    manager.create(&TopicPartition::new(topic, PartitionIndex(0)), TopicId(uuid::Uuid::from_u128(7)), config)
}

fn log_file(topic: &str) -> PathBuf {
    Path::new("/data").join(format!("{topic}-0")).join("00000000000000000000.log")
}

/// One producer that sends a batch again until it is acknowledged, over any number of crashes.
#[derive(Default)]
struct Client {
    /// Records per batch that was acknowledged.
    acknowledged: Vec<i32>,
    /// The highest high watermark that a reader saw.
    seen: i64,
}

impl Client {
    fn value(batch: usize, record: i32) -> String {
        format!("{batch}:{record}:{}", "v".repeat((batch * 37) % 150))
    }

    /// The next batch, the same whenever it is sent.
    fn batch(&self) -> (bytes::BytesMut, i32) {
        let number = self.acknowledged.len();
        let records = (number * 5 % 7 + 1) as i32;
        let values: Vec<String> = (0..records).map(|record| Self::value(number, record)).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        (idempotent(&values, 5, 0, self.acknowledged.iter().sum()), records)
    }

    /// Sends so many batches or until the disk fails; `pipelined` of them wait for one acknowledgement.
    fn run(&mut self, log: &dyn PartitionLog, count: usize, pipelined: usize) -> Result<(), String> {
        for _ in 0..count.div_ceil(pipelined) {
            let mut sent = Client { acknowledged: self.acknowledged.clone(), seen: 0 };
            let mut last = Offset(-1);
            for _ in 0..pipelined {
                let (batch, records) = sent.batch();
                let appended = log.append(batch, CLIENT, TimestampMs(1)).map_err(|error| error.to_string())?;
                let expected: i32 = sent.acknowledged.iter().sum();
                assert_eq!(appended.base_offset.0, i64::from(expected), "each record once, at its place");
                sent.acknowledged.push(records);
                last = appended.last_offset;
            }
            self.look(log);
            wait(log.durable(last)).map_err(|error| error.to_string())?;
            self.acknowledged = sent.acknowledged;
            self.look(log);
        }
        Ok(())
    }

    fn look(&mut self, log: &dyn PartitionLog) {
        self.seen = self.seen.max(log.offsets().high_watermark.0);
    }

    /// What must be true after a restart.
    fn check(&self, log: &dyn PartitionLog) {
        assert!(self.holds(log), "the disk stopped");
    }

    /// [`Self::check`] on a disk that may stop meanwhile: then `false`.
    fn holds(&self, log: &dyn PartitionLog) -> bool {
        let offsets = log.offsets();
        let acknowledged: i64 = self.acknowledged.iter().copied().map(i64::from).sum();
        assert!(offsets.log_end.0 >= acknowledged, "{} of {acknowledged} acknowledged records", offsets.log_end);
        assert!(offsets.log_end.0 >= self.seen, "a reader saw {}, now there are {}", self.seen, offsets.log_end);
        assert_eq!(offsets.high_watermark, offsets.log_end, "what was recovered is durable");
        let mut next = Offset(0);
        let mut found = Vec::new();
        loop {
            let read = match log.read(next, 700, ReadBound::HighWatermark, true) {
                Err(ReadError::Storage(_)) => return false,
                other => other.unwrap(),
            };
            let Some(slice) = read.records else { break };
            let mut bytes = vec![0; slice.length];
            if slice.file.read_at(&mut bytes, slice.position).is_err() {
                return false;
            }
            found.extend(values(&bytes));
            next = Offset(found.len() as i64);
        }
        assert_eq!(next, offsets.log_end);
        let expected = self.acknowledged.iter().enumerate();
        let expected = expected.flat_map(|(batch, records)| (0..*records).map(move |r| Self::value(batch, r)));
        for (offset, value) in expected.enumerate() {
            assert_eq!(found[offset], (offset as i64, value));
        }
        true
    }
}

fn tiny() -> LogConfig {
    LogConfig { segment_bytes: 1500, index_interval_bytes: 100, ..LogConfig::default() }
}

/// Runs until the disk stops after `stop` changes, loses power or is started again, and goes on from what is left;
/// several times.
fn crash_and_go_on(durability: Durability, stops: &[(u64, u64, bool)], count: usize, pipelined: usize) {
    let mut disk = FaultyDisk::new();
    let mut client = Client::default();
    for (stop, seed, power) in stops {
        disk.stop_after(*stop);
        let mut run = || -> Result<(), String> {
            let manager = open_with(&disk, durability).map_err(|error| error.to_string())?;
            let log = create(&manager, "t", tiny()).map_err(|error| error.to_string())?;
            if client.holds(log.as_ref()) {
                client.run(log.as_ref(), count, pipelined)?;
            }
            manager.close().map_err(|error| error.to_string())
        };
        let _ = run();
        disk = if *power { disk.lose_power(*seed) } else { disk.restart() };
    }
    let manager = open_with(&disk, durability).unwrap();
    let log = create(&manager, "t", tiny()).unwrap();
    client.check(log.as_ref());
    client.run(log.as_ref(), 2, 1).expect("a sound disk takes writes");
    client.check(log.as_ref());
}

#[test]
fn power_is_lost_at_every_change() {
    for stop in 0..250 {
        crash_and_go_on(Durability::Fsync, &[(stop, stop * 7 + 1, true)], 12, 1);
        crash_and_go_on(Durability::Fsync, &[(stop, stop, true)], 12, 4);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn acknowledged_records_survive_any_crashes(
        stops in prop::collection::vec((0..150_u64, any::<u64>(), any::<bool>()), 1..5),
        count in 1..20_usize,
        pipelined in 1..5_usize,
    ) {
        crash_and_go_on(Durability::Fsync, &stops, count, pipelined);
    }

    /// What the page cache acknowledged survives the process, not the machine.
    #[test]
    fn the_page_cache_keeps_what_it_acknowledged_over_any_kills(
        stops in prop::collection::vec((0..150_u64, Just(0_u64), Just(false)), 1..5),
        count in 1..20_usize,
        pipelined in 1..5_usize,
    ) {
        crash_and_go_on(Durability::Os, &stops, count, pipelined);
    }
}

#[test]
fn after_a_kill_only_headers_are_read_and_after_a_loss_of_power_everything() {
    let disk = FaultyDisk::new();
    let manager = open_with(&disk, Durability::Os).unwrap();
    let log = create(&manager, "t", LogConfig::default()).unwrap();
    let value = "x".repeat(100_000);
    for i in 0..100 {
        log.append(idempotent(&[&value], 5, 0, i), CLIENT, TimestampMs(1)).unwrap();
    }
    let file = disk.open(&log_file("t")).unwrap();
    file.write_all_at(b"torn", log.size()).unwrap();
    drop((log, manager));

    let killed = disk.restart();
    let manager = open_with(&killed, Durability::Os).unwrap();
    let log = create(&manager, "t", LogConfig::default()).unwrap();
    assert_eq!(log.offsets().high_watermark, Offset(100));
    assert!(killed.bytes_read() < 1 << 20, "{} bytes of {}", killed.bytes_read(), log.size());
    assert_eq!(killed.syncs(), 0, "nobody was promised a flush");
    assert!(log.append(idempotent(&[&value], 5, 0, 99), CLIENT, TimestampMs(1)).unwrap().duplicate);
    drop((log, manager));

    killed.open(&log_file("t")).unwrap().sync_data().unwrap();
    killed.sync_dir(Path::new("/data/t-0")).unwrap();
    killed.sync_dir(Path::new("/data")).unwrap();
    killed.sync_dir(Path::new("/")).unwrap();
    let dark = killed.lose_power(1);
    dark.flip_bit(&log_file("t"), 5_000_000);
    let log = create(&open_with(&dark, Durability::Os).unwrap(), "t", LogConfig::default()).unwrap();
    assert!(dark.bytes_read() > 4 << 20);
    assert_eq!(log.offsets().high_watermark, Offset(49), "cut where the bit was flipped");
}

#[test]
fn the_high_watermark_does_not_go_back_when_a_topic_begins_to_wait_for_the_disk() {
    let disk = FaultyDisk::new();
    let manager = open_with(&disk, Durability::Os).unwrap();
    let log = create(&manager, "t", LogConfig::default()).unwrap();
    log.append(plain(&["x"], 1), CLIENT, TimestampMs(1)).unwrap();
    assert_eq!(log.offsets().high_watermark, Offset(1));
    disk.fail_syncs(Some("/t-0/"));
    manager.reconfigure("t", &LogConfig { flush_messages: 1, ..LogConfig::default() });
    assert_eq!(log.offsets().high_watermark, Offset(1));
    assert!(wait(log.durable(Offset(0))).is_err(), "it was seen, but it is not on the disk");
}

#[test]
fn changed_settings_open_nothing_and_are_there_when_it_is_opened() {
    let disk = FaultyDisk::new();
    let manager = open(&disk).unwrap();
    let name = TopicPartition::new("t", PartitionIndex(0));
    manager.register(name, TopicId(uuid::Uuid::from_u128(7)), LogConfig::default());
    manager.reconfigure("t", &LogConfig { max_message_bytes: 99, ..LogConfig::default() });
    manager.reconfigure("unknown", &LogConfig::default());
    assert!(!disk.exists(Path::new("/data/t-0")));
    let log = manager.get("t", PartitionIndex(0)).unwrap().unwrap();
    assert_eq!(log.config().max_message_bytes, 99);
    manager.reconfigure("t", &LogConfig { max_message_bytes: 98, ..LogConfig::default() });
    assert_eq!(log.config().max_message_bytes, 98);
}

#[test]
fn a_full_disk_refuses_and_goes_on_when_there_is_room() {
    let disk = FaultyDisk::new();
    let manager = open(&disk).unwrap();
    let log = create(&manager, "t", tiny()).unwrap();
    let mut client = Client::default();
    client.run(log.as_ref(), 3, 1).unwrap();
    for room in [0, 10, 100, 150, 5000, 5010, 5100] {
        disk.limit_capacity(Some(room));
        let end = log.offsets().log_end;
        while client.run(log.as_ref(), 1, 1).is_ok() {}
        let refused = log.append(client.batch().0, CLIENT, TimestampMs(1));
        assert!(matches!(refused, Err(AppendError::Storage(_))));
        assert!(room > 1000 || log.offsets().log_end == end);
        disk.limit_capacity(None);
        client.run(log.as_ref(), 2, 1).unwrap();
        client.check(log.as_ref());
    }
    drop(log);
    drop(manager);
    let disk = disk.lose_power(3);
    client.check(create(&open(&disk).unwrap(), "t", tiny()).unwrap().as_ref());
}

#[test]
fn a_failed_flush_stops_one_partition_for_good() {
    let disk = FaultyDisk::new();
    let manager = open(&disk).unwrap();
    let (bad, good) = (create(&manager, "bad", tiny()).unwrap(), create(&manager, "good", tiny()).unwrap());
    let mut client = Client::default();
    client.run(bad.as_ref(), 1, 1).unwrap();
    disk.fail_syncs(Some("/bad-0/"));
    let appended = bad.append(client.batch().0, CLIENT, TimestampMs(1)).unwrap();
    let failure = wait(bad.durable(appended.last_offset)).unwrap_err();
    assert!(failure.0.contains("bad-0") && failure.0.contains("the flush failed"), "{failure}");
    disk.fail_syncs(None);
    let syncs = disk.syncs();
    assert!(matches!(bad.append(plain(&["x"], 1), CLIENT, TimestampMs(1)), Err(AppendError::Storage(_))));
    assert!(wait(bad.durable(appended.last_offset)).is_err());
    assert_eq!(disk.syncs(), syncs, "it is never tried again");
    assert_eq!(bad.offsets().high_watermark, Offset(1));
    assert_eq!(bad.read(Offset(0), 1000, ReadBound::LogEnd, true).unwrap().next_offset, Offset(1));
    assert!(wait(bad.durable(Offset(0))).is_ok(), "what was durable stays so");
    let appended = good.append(plain(&["x"], 1), CLIENT, TimestampMs(1)).unwrap();
    wait(good.durable(appended.last_offset)).unwrap();
    assert!(manager.close().is_err());
    drop((bad, good, manager));
    let manager = open(&disk.lose_power(1)).unwrap();
    client.check(create(&manager, "bad", tiny()).unwrap().as_ref());
}

#[test]
fn a_flipped_bit_is_found_before_the_record_is_delivered() {
    let disk = FaultyDisk::new();
    let manager = open(&disk).unwrap();
    let log = create(&manager, "t", LogConfig::default()).unwrap();
    let first = plain(&["good"], 1);
    let length = first.len();
    log.append(first, CLIENT, TimestampMs(1)).unwrap();
    let large = "x".repeat(300_000);
    let last = log.append(plain(&[&large], 1), CLIENT, TimestampMs(1)).unwrap().last_offset;
    wait(log.durable(last)).unwrap();
    let both = log.read(Offset(0), 1 << 20, ReadBound::HighWatermark, true).unwrap();
    assert_eq!(both.next_offset, Offset(2));
    disk.flip_bit(&log_file("t"), length + 250_000);
    let sound = log.read(Offset(0), 1 << 20, ReadBound::HighWatermark, true).unwrap();
    assert_eq!((sound.next_offset, sound.records.unwrap().length), (Offset(1), length));
    let damaged = log.read(Offset(1), 1 << 20, ReadBound::HighWatermark, true);
    assert!(matches!(damaged, Err(ReadError::Corrupt { offset: Offset(1), .. })));
}

#[test]
fn a_torn_tail_is_cut() {
    let disk = FaultyDisk::new();
    let mut client = Client::default();
    let manager = open(&disk).unwrap();
    let log = create(&manager, "t", LogConfig::default()).unwrap();
    client.run(log.as_ref(), 2, 1).unwrap();
    let size = log.size();
    drop((log, manager));
    let disk = disk.restart();
    let file = disk.open(&log_file("t")).unwrap();
    file.write_all_at(&client.batch().0[..70], size).unwrap();
    let manager = open(&disk).unwrap();
    let log = create(&manager, "t", LogConfig::default()).unwrap();
    client.check(log.as_ref());
    assert_eq!((log.size(), file.len().unwrap()), (size, size));
    client.run(log.as_ref(), 1, 1).unwrap();
}

#[test]
fn after_a_crash_only_what_follows_the_recovery_point_is_read() {
    let disk = FaultyDisk::new();
    let manager = open(&disk).unwrap();
    let log = create(&manager, "t", LogConfig::default()).unwrap();
    let value = "x".repeat(100_000);
    // Enough for the recovery point to move several times.
    for i in 0..300 {
        let appended = log.append(idempotent(&[&value], 5, 0, i), CLIENT, TimestampMs(1)).unwrap();
        wait(log.durable(appended.last_offset)).unwrap();
    }
    drop((log, manager));
    let disk = disk.restart();
    let manager = open(&disk).unwrap();
    assert!(disk.bytes_read() < 10_000, "opening the folder reads the checkpoints only");
    let log = create(&manager, "t", LogConfig::default()).unwrap();
    let read = disk.bytes_read();
    assert!(read < 10 << 20, "{read} bytes of a log of {}", log.size());
    assert_eq!(log.offsets().high_watermark, Offset(300));
    for i in 295..300 {
        assert!(log.append(idempotent(&[&value], 5, 0, i), CLIENT, TimestampMs(1)).unwrap().duplicate);
    }
}

#[test]
fn after_a_clean_stop_nothing_is_scanned() {
    let disk = FaultyDisk::new();
    let manager = open(&disk).unwrap();
    let log = create(&manager, "t", LogConfig::default()).unwrap();
    for i in 0..100 {
        log.append(idempotent(&[&"x".repeat(10_000)], 5, 0, i), CLIENT, TimestampMs(1)).unwrap();
    }
    manager.close().unwrap();
    drop((log, manager));
    let disk = disk.lose_power(1);
    let manager = open(&disk).unwrap();
    let log = create(&manager, "t", LogConfig::default()).unwrap();
    assert_eq!(log.offsets().log_end, Offset(100));
    assert!(disk.bytes_read() < 60_000, "{}", disk.bytes_read());
    assert!(log.append(idempotent(&[&"x".repeat(10_000)], 5, 0, 99), CLIENT, TimestampMs(1)).unwrap().duplicate);
    // It stopped without being closed: the mark of the earlier stop must not count any more.
    drop((log, manager));
    for seed in 0..20 {
        assert!(!disk.lose_power(seed).exists(Path::new("/data/.kafka_cleanshutdown")));
    }
}

#[test]
fn one_flush_answers_many() {
    let disk = FaultyDisk::new();
    let manager = open(&disk).unwrap();
    let log = create(&manager, "t", LogConfig::default()).unwrap();
    wait(log.durable(log.append(plain(&["x"], 1), CLIENT, TimestampMs(1)).unwrap().last_offset)).unwrap();
    let before = disk.syncs();
    let busy = disk.hold_syncs("");
    let waits: Vec<_> = (0..200)
        .map(|_| log.durable(log.append(plain(&["x"], 1), CLIENT, TimestampMs(1)).unwrap().last_offset))
        .collect();
    assert_eq!(log.offsets().high_watermark, Offset(1));
    drop(busy);
    for one in waits {
        wait(one).unwrap();
    }
    assert_eq!(log.offsets().high_watermark, Offset(201));
    assert!(disk.syncs() - before <= 2, "one that was under way, and one for all others");
}

#[test]
fn kafkas_flush_settings_count_where_the_page_cache_acknowledges() {
    let disk = FaultyDisk::new();
    let manager = open_with(&disk, Durability::Os).unwrap();
    let lazy = create(&manager, "lazy", LogConfig::default()).unwrap();
    let before = disk.syncs();
    let last = lazy.append(plain(&["x"], 1), CLIENT, TimestampMs(1)).unwrap().last_offset;
    assert_eq!(lazy.offsets().high_watermark, Offset(1));
    wait(lazy.durable(last)).unwrap();
    assert_eq!(disk.syncs(), before);

    let config = LogConfig { flush_messages: 3, ..LogConfig::default() };
    let third = create(&manager, "third", config).unwrap();
    for i in 0..3 {
        let last = third.append(plain(&["x"], 1), CLIENT, TimestampMs(1)).unwrap().last_offset;
        wait(third.durable(last)).unwrap();
        assert_eq!(disk.syncs() > before, i == 2);
    }

    let config = LogConfig { flush_ms: 1, ..LogConfig::default() };
    let timed = create(&manager, "timed", config).unwrap();
    let before = disk.syncs();
    timed.append(plain(&["x"], 1), CLIENT, TimestampMs(1)).unwrap();
    while disk.syncs() == before {
        std::thread::yield_now();
    }
}

#[test]
fn what_a_deletion_left_behind_goes_at_the_next_start() {
    let disk = FaultyDisk::new();
    let left = Path::new("/data/t-0.00000000000000000000000000000001-delete");
    disk.create_dir_all(left).unwrap();
    let _manager = open(&disk).unwrap();
    while disk.exists(left) {
        std::thread::yield_now();
    }
}

#[test]
fn another_topics_folder_is_set_aside() {
    let disk = FaultyDisk::new();
    let name = TopicPartition::new("t", PartitionIndex(0));
    let manager = open(&disk).unwrap();
    let log = manager.create(&name, TopicId(uuid::Uuid::from_u128(1)), LogConfig::default()).unwrap();
    log.append(plain(&["x"], 1), CLIENT, TimestampMs(1)).unwrap();
    manager.close().unwrap();
    drop((log, manager));
    let manager = open(&disk).unwrap();
    let log = manager.create(&name, TopicId(uuid::Uuid::from_u128(2)), LogConfig::default()).unwrap();
    assert_eq!(log.offsets().log_end, Offset(0));
    let stray = disk.read_dir(Path::new("/data")).unwrap();
    assert_eq!(stray.iter().filter(|path| path.to_string_lossy().ends_with("-stray")).count(), 1);
}

#[test]
fn odd_folders_do_no_harm() {
    let disk = FaultyDisk::new();
    for name in ["t-0/00000000000000000007.index", "t-0/junk", "-", "x--1", "noise", "t-0/99999999999999999999.log"] {
        let path = Path::new("/data").join(name);
        disk.create_dir_all(path.parent().unwrap()).unwrap();
        disk.open(&path).unwrap().write_all_at(b"junk", 0).unwrap();
    }
    let manager = open(&disk).unwrap();
    let log = create(&manager, "t", tiny()).unwrap();
    Client::default().run(log.as_ref(), 9, 1).unwrap();
    assert_eq!(manager.sizes().iter().map(|size| size.bytes).sum::<u64>(), log.size());
    assert!(!disk.exists(Path::new("/data/t-0/00000000000000000007.index")));
}
