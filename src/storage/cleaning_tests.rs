//! What compaction promises: readers know afterwards what they knew before, whatever happens meanwhile.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use proptest::prelude::*;

use super::CleanerSettings;
use super::cleaning::Cleaned;
use super::disk::Disk;
use super::faulty_disk::FaultyDisk;
use super::log_manager::{Durability, LogManager, StorageConfig};
use super::memory_disk::MemoryDisk;
use super::partition_log::{AbortedTransaction, PartitionLog, ReadBound, ReadError};
use super::state::FlushState;
use super::test_support::*;
use crate::log::Origin;
use crate::log::config::LogConfig;
use crate::types::*;
use crate::wire::batch::{Batches, Compression, check_crc};
use crate::wire::records::{BatchBuilder, Records, section};

const CODECS: [Compression; 3] = [Compression::None, Compression::Lz4, Compression::Zstd];
const FOLDER: &str = "/data/t-0";

/// Key and value by offset; a tombstone has no value.
type Found = BTreeMap<i64, (String, Option<String>)>;

fn open_on(disk: Arc<dyn Disk>, durability: Durability) -> Result<Arc<LogManager>, String> {
    let config = StorageConfig { dir: "/data".into(), durability, producer_id_expiration_ms: 86_400_000 };
    LogManager::open(disk, config).map_err(|error| error.to_string())
}

fn open(disk: &FaultyDisk) -> Result<Arc<LogManager>, String> {
    open_on(Arc::new(disk.clone()), Durability::Fsync)
}

fn create(manager: &LogManager, config: LogConfig) -> Result<Arc<dyn PartitionLog>, String> {
    let name = TopicPartition::new("t", PartitionIndex(0));
    manager.create(&name, TopicId(uuid::Uuid::from_u128(7)), config).map_err(|error| error.to_string())
}

fn clean(manager: &LogManager, now: i64) -> Option<Cleaned> {
    manager.clean("t", PartitionIndex(0), TimestampMs(now)).transpose().unwrap()
}

fn tiny() -> LogConfig {
    LogConfig { compact: true, segment_bytes: 600, index_interval_bytes: 100, ..LogConfig::default() }
}

/// One write: a client's, or one in a transaction of a producer.
#[derive(Clone, Debug)]
enum Step {
    Write { producer: Option<i64>, records: Vec<(u8, bool)>, codec: usize },
    End { producer: i64, commit: bool },
}

/// What was written, and what readers should make of it.
#[derive(Default)]
struct Writer {
    all: Found,
    open: BTreeMap<i64, Vec<i64>>,
    aborted: BTreeSet<i64>,
    written: usize,
}

impl Writer {
    fn batch(&self, step: &Step) -> (BytesMut, Vec<(String, Option<String>)>, Origin) {
        let (mut builder, origin) = match step {
            Step::Write { producer: None, .. } => (BatchBuilder::new(), CLIENT),
            Step::Write { producer: Some(id), .. } => {
                let builder = BatchBuilder::new().producer(ProducerId(*id), ProducerEpoch(0), Sequence(0));
                (builder.transactional(), Origin::Broker)
            }
            Step::End { producer, .. } => {
                let builder = BatchBuilder::new().producer(ProducerId(*producer), ProducerEpoch(0), Sequence::NONE);
                (builder.transactional().control(), Origin::Broker)
            }
        };
        let mut written = Vec::new();
        let codec = match step {
            Step::Write { records, codec, .. } => {
                for (n, (key, has_value)) in records.iter().enumerate() {
                    let key = format!("key-{key}");
                    let value =
                        has_value.then(|| format!("{}:{n}:{}", self.written, "v".repeat(self.written * 37 % 150)));
                    let timestamp = TimestampMs(self.written as i64 + 1);
                    builder.push(
                        timestamp,
                        Some(key.as_bytes()),
                        value.as_deref().map(str::as_bytes),
                        std::iter::empty(),
                    );
                    written.push((key, value));
                }
                CODECS[*codec]
            }
            Step::End { commit, .. } => {
                builder.push(TimestampMs(1), Some(&[0, 0, 0, u8::from(*commit)]), Some(&[0; 6]), std::iter::empty());
                Compression::None
            }
        };
        (builder.build(Offset(0), codec, 3).unwrap().unwrap(), written, origin)
    }

    /// Appends it and waits until it is durable.
    fn write(&mut self, log: &dyn PartitionLog, step: &Step) -> Result<Offset, String> {
        let (batch, written, origin) = self.batch(step);
        let appended = log.append(batch, origin, TimestampMs(1)).map_err(|error| error.to_string())?;
        let offsets = (appended.base_offset.0..).zip(written);
        match step {
            Step::Write { producer, .. } => {
                for (offset, record) in offsets {
                    self.all.insert(offset, record);
                    if let Some(producer) = producer {
                        self.open.entry(*producer).or_default().push(offset);
                    }
                }
            }
            Step::End { producer, commit } => {
                let ended = self.open.remove(producer).unwrap_or_default();
                if !commit {
                    self.aborted.extend(ended);
                }
            }
        }
        self.written += 1;
        wait(log.durable(appended.last_offset)).map_err(|error| error.to_string())?;
        Ok(appended.last_offset)
    }

    fn put(&mut self, log: &dyn PartitionLog, key: u8) -> Offset {
        self.write(log, &Step::Write { producer: None, records: vec![(key, true)], codec: 0 }).unwrap()
    }

    /// The value of each key.
    fn table(&self, records: &Found) -> BTreeMap<String, String> {
        let mut table = BTreeMap::new();
        for (_, (key, value)) in records.iter().filter(|(offset, _)| !self.aborted.contains(offset)) {
            match value {
                Some(value) => table.insert(key.clone(), value.clone()),
                None => table.remove(key),
            };
        }
        table
    }

    /// What must be true of a log that was compacted or not.
    fn check(&self, log: &dyn PartitionLog) -> Found {
        let found = read(log, Offset(0), 700).unwrap();
        assert!(found.iter().all(|(offset, record)| self.all.get(offset) == Some(record)), "nothing changes");
        assert_eq!(self.table(&found), self.table(&self.all));
        // Whoever goes by the index finds the same, though a pass may have gone on meanwhile.
        let last_stable = log.offsets().last_stable.0;
        let committed: Found = committed_batches(log, Offset(0), 700).iter().flat_map(|batch| records(batch)).collect();
        assert!(committed.iter().all(|(offset, record)| self.all.get(offset) == Some(record)), "nothing changes");
        assert!(committed.keys().all(|offset| !self.aborted.contains(offset)));
        let stable = self.all.range(..last_stable).map(|(offset, record)| (*offset, record.clone())).collect();
        assert_eq!(self.table(&committed), self.table(&stable));
        found
    }
}

/// Every record that readers see from `from` on, batch by batch; an error when the disk has stopped.
fn read(log: &dyn PartitionLog, from: Offset, max_bytes: usize) -> Result<Found, String> {
    let (mut next, mut found) = (from, Found::new());
    loop {
        let read = match log.read(next, max_bytes, ReadBound::HighWatermark, true) {
            Err(ReadError::Storage(error)) => return Err(error),
            other => other.unwrap(),
        };
        let Some(slice) = read.records else { return Ok(found) };
        let mut bytes = vec![0; slice.length];
        slice.file.read_at(&mut bytes, slice.position).map_err(|error| error.to_string())?;
        let more = records(&bytes);
        assert!(more.keys().all(|offset| *offset < read.next_offset.0 && !found.contains_key(offset)));
        found.extend(more);
        assert!(read.next_offset > next);
        next = read.next_offset;
    }
}

fn records(bytes: &[u8]) -> Found {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut found = Found::new();
    for batch in Batches::new(bytes) {
        let (header, batch) = batch.unwrap();
        check_crc(batch).unwrap();
        if header.is_control() {
            continue;
        }
        let plain = section(batch, 1 << 24).unwrap();
        for record in Records::new(&plain, header.record_count) {
            let record = record.unwrap();
            let offset = header.base_offset.0 + i64::from(record.offset_delta);
            found.insert(offset, (text(record.key.unwrap()), record.value.map(text)));
        }
    }
    found
}

fn files(disk: &FaultyDisk) -> Vec<String> {
    let paths = disk.read_dir(Path::new(FOLDER)).unwrap();
    paths.iter().map(|path| path.file_name().unwrap().to_string_lossy().into_owned()).collect()
}

fn logs(disk: &FaultyDisk) -> Vec<String> {
    files(disk).into_iter().filter(|name| Path::new(name).extension().is_some_and(|end| end == "log")).collect()
}

/// Cleans until nothing changes any more.
fn clean_all(manager: &LogManager, now: i64) -> Offset {
    let mut end = Offset(0);
    settle(manager);
    while let Some(cleaned) = clean(manager, now) {
        assert!(cleaned.end > end);
        end = cleaned.end;
    }
    end
}

/// Waits until the flush pool is done: what is not covered by the recovery point is not compacted.
fn settle(manager: &LogManager) {
    let partition = manager.opened_partition("t", PartitionIndex(0)).unwrap();
    loop {
        let state = partition.state.lock();
        if state.failed.is_some() || (state.flush == FlushState::Idle && !state.checkpointing) {
            return;
        }
        drop(state);
        std::thread::yield_now();
    }
}

fn step() -> impl Strategy<Value = Step> {
    let records = prop::collection::vec((0..8_u8, prop::bool::weighted(0.7)), 1..5);
    prop_oneof![
        6 => (prop::option::weighted(0.3, 0..3_i64), records, 0..3_usize)
            .prop_map(|(producer, records, codec)| Step::Write { producer, records, codec }),
        1 => (0..3_i64, any::<bool>()).prop_map(|(producer, commit)| Step::End { producer, commit }),
    ]
}

fn plain_step() -> impl Strategy<Value = Step> {
    (prop::collection::vec((0..8_u8, prop::bool::weighted(0.8)), 1..4), 0..3_usize)
        .prop_map(|(records, codec)| Step::Write { producer: None, records, codec })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn readers_know_afterwards_what_they_knew_before(
        steps in prop::collection::vec(step(), 10..80),
        pauses in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        segment_bytes in 900..2000_u64,
        dedupe_bytes in prop_oneof![Just(6 * 24), Just(1 << 20)],
        reopened in any::<bool>(),
    ) {
        let disk = FaultyDisk::new();
        let config = LogConfig { segment_bytes, delete_retention_ms: 100, ..tiny() };
        let mut manager = open(&disk).unwrap();
        let mut log = create(&manager, config.clone()).unwrap();
        let settings = CleanerSettings { dedupe_bytes, ..CleanerSettings::default() };
        manager.configure_cleaner(settings);
        let pauses: BTreeSet<usize> = pauses.iter().map(|pause| pause.index(steps.len())).collect();
        let mut writer = Writer::default();
        for (n, step) in steps.iter().enumerate() {
            writer.write(log.as_ref(), step).unwrap();
            if pauses.contains(&n) {
                clean_all(&manager, n as i64);
                let producers = writer.open.keys().copied().min();
                prop_assert_eq!(producers.is_some(), log.offsets().last_stable < log.offsets().high_watermark);
                writer.check(log.as_ref());
            }
        }
        let before = log.offsets();
        let uncleaned = read(log.as_ref(), Offset(0), 700).unwrap();
        clean_all(&manager, 1000);
        // What came to be once only: where it ended is in Kafka's checkpoint.
        let end = manager.shared().checkpoints.cleaned(&TopicPartition::new("t", PartitionIndex(0))).unwrap_or_default();
        prop_assert_eq!(log.offsets(), before);
        let found = writer.check(log.as_ref());
        prop_assert!(found.range(end.0..).eq(uncleaned.range(end.0..)), "what was not compacted is as it was");
        let below: Vec<_> = found.range(..end.0).filter(|(offset, _)| !writer.aborted.contains(offset)).collect();
        let keys: BTreeSet<_> = below.iter().map(|(_, (key, _))| key).collect();
        prop_assert_eq!(keys.len(), below.len(), "one record of each key");
        prop_assert_eq!(log.size(), logs(&disk).iter().map(|name| disk.file_len(&Path::new(FOLDER).join(name)).unwrap()).sum::<u64>());
        if reopened {
            manager.close().unwrap();
        }
        drop((log, manager));
        let disk = if reopened { disk } else { disk.lose_power(5) };
        manager = open(&disk).unwrap();
        log = create(&manager, config).unwrap();
        prop_assert_eq!(log.offsets(), before);
        prop_assert_eq!(&read(log.as_ref(), Offset(0), 10_000).unwrap(), &found);
        for offset in 0..before.log_end.0 {
            let next = found.range(offset..).next();
            let found = read(log.as_ref(), Offset(offset), 1).unwrap();
            prop_assert_eq!(found.range(offset..).next(), next);
        }
        prop_assert!(files(&disk).iter().all(|name| !name.contains(".cleaned") && !name.contains(".swap")));
    }

    #[test]
    fn a_crash_at_any_point_of_a_pass_keeps_one_version(
        steps in prop::collection::vec(plain_step(), 40..60),
        stop in 0..160_u64,
        again in 0..60_u64,
        seeds in prop::array::uniform2(any::<u64>()),
        power in any::<bool>(),
    ) {
        crash(&steps, stop, again, seeds, power);
    }
}

/// The disk stops within a pass and within the recovery after it; what is left must be one version of the log.
fn crash(steps: &[Step], stop: u64, again: u64, seeds: [u64; 2], power: bool) {
    let disk = FaultyDisk::new();
    let manager = open(&disk).unwrap();
    let log = create(&manager, tiny()).unwrap();
    let mut writer = Writer::default();
    for step in steps {
        writer.write(log.as_ref(), step).unwrap();
    }
    settle(&manager);
    disk.stop_after(stop);
    let _ = manager.clean("t", PartitionIndex(0), TimestampMs(5));
    if let Ok(found) = read(log.as_ref(), Offset(0), 700) {
        assert_eq!(writer.table(&found), writer.table(&writer.all), "whoever is still served sees the same");
    }
    drop((log, manager));
    let disk = if power { disk.lose_power(seeds[0]) } else { disk.restart() };
    disk.stop_after(again);
    if let Ok(manager) = open(&disk) {
        drop(create(&manager, tiny()));
    }
    let disk = if power { disk.lose_power(seeds[1]) } else { disk.restart() };
    let manager = open(&disk).unwrap();
    let log = create(&manager, tiny()).unwrap();
    writer.check(log.as_ref());
    assert_eq!(log.offsets().log_end.0, writer.all.len() as i64);
    assert!(files(&disk).iter().all(|name| [".cleaned", ".swap", ".deleted"].iter().all(|end| !name.ends_with(end))));
    clean_all(&manager, 5);
    writer.check(log.as_ref());
    writer.put(log.as_ref(), 1);
    writer.check(log.as_ref());
}

#[test]
fn power_is_lost_at_every_change_of_a_pass() {
    let records = |n: usize| vec![((n % 5) as u8, !n.is_multiple_of(7)), ((n % 3) as u8, true)];
    let steps: Vec<_> = (0..40).map(|n| Step::Write { producer: None, records: records(n), codec: n % 3 }).collect();
    for stop in 0..120 {
        crash(&steps, stop, 1000, [stop * 3, 1], true);
        crash(&steps, stop, stop % 17, [stop, stop * 5], true);
        crash(&steps, stop, stop % 11, [0, 0], false);
    }
}

#[test]
fn the_size_follows_the_keys() {
    let disk = FaultyDisk::new();
    let manager = open(&disk).unwrap();
    let log = create(&manager, tiny()).unwrap();
    let mut writer = Writer::default();
    let mut largest = 0;
    for n in 0..1500_u64 {
        writer.put(log.as_ref(), (n % 4) as u8);
        if n % 50 == 49 {
            clean_all(&manager, 1);
            largest = largest.max(log.size());
        }
    }
    assert!(largest < 3000, "{largest} bytes");
    // Segments that lost most of their records are joined by the next pass.
    assert!(logs(&disk).len() < 40, "{:?}", logs(&disk));
    writer.check(log.as_ref());
    let end = log.offsets().log_end;
    assert_eq!((log.offsets().log_start, end), (Offset(0), Offset(1500)), "offsets do not change");
    let checkpoint = disk.open(Path::new("/data/cleaner-offset-checkpoint")).unwrap();
    let mut text = vec![0; 100];
    let count = checkpoint.read_at(&mut text, 0).unwrap();
    let text = String::from_utf8(text[..count].to_vec()).unwrap();
    assert!(text.starts_with("0\n1\nt 0 14") && text.ends_with('\n'), "{text:?}");
    let read = disk.bytes_read();
    assert_eq!(clean(&manager, 1), None, "there is nothing to do");
    assert_eq!(disk.bytes_read(), read, "and nothing is read to know it");
}

/// A log whose first records are superseded in its closed segments.
fn superseded(disk: &FaultyDisk, config: LogConfig) -> (Arc<LogManager>, Arc<dyn PartitionLog>, Writer) {
    let manager = open(disk).unwrap();
    let log = create(&manager, config).unwrap();
    let mut writer = Writer::default();
    for n in 0..40 {
        writer.put(log.as_ref(), n % 3);
    }
    settle(&manager);
    (manager, log, writer)
}

#[test]
fn what_is_compacted_away_leads_to_what_follows() {
    let disk = FaultyDisk::new();
    let (manager, log, writer) = superseded(&disk, tiny());
    let end = clean_all(&manager, 1);
    let found = writer.check(log.as_ref());
    let first = *found.first_key_value().unwrap().0;
    assert!(first > 20 && end.0 > first);
    for from in 0..=first {
        let read = log.read(Offset(from), 1, ReadBound::HighWatermark, true).unwrap();
        assert_eq!(read.next_offset, Offset(first + 1));
    }
    // Timestamps are one more than offsets.
    for time in [0, 5, first + 1] {
        let at = log.offset_for_timestamp(TimestampMs(time)).unwrap().unwrap();
        assert_eq!((at.offset, at.timestamp), (Offset(first), TimestampMs(first + 1)));
    }
    let largest = log.max_timestamp().unwrap().unwrap();
    assert_eq!(largest.offset, Offset(39));
    assert_eq!(log.epoch_for_offset(Offset(3)), Some(LeaderEpoch(0)));
}

#[test]
fn a_reader_in_the_middle_goes_on() {
    let disk = FaultyDisk::new();
    let (manager, log, writer) = superseded(&disk, tiny());
    let before = log.read(Offset(0), 200, ReadBound::HighWatermark, true).unwrap();
    let slice = before.records.unwrap();
    clean_all(&manager, 1);
    let mut bytes = vec![0; slice.length];
    assert_eq!(slice.file.read_at(&mut bytes, slice.position).unwrap(), slice.length);
    assert_eq!(records(&bytes).first_key_value().unwrap().0, &0, "what it holds is still there");
    let after = read(log.as_ref(), before.next_offset, 200).unwrap();
    assert_eq!(writer.table(&after), writer.table(&writer.all));
}

#[test]
fn readers_beside_a_pass_see_every_key() {
    let disk = FaultyDisk::new();
    let (manager, log, mut writer) = superseded(&disk, tiny());
    let done = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        let readers: Vec<_> = (0..3)
            .map(|n| {
                let (log, done) = (Arc::clone(&log), &done);
                scope.spawn(move || {
                    let mut rounds = 0;
                    while rounds == 0 || !done.load(std::sync::atomic::Ordering::Relaxed) {
                        let found = read(log.as_ref(), Offset(0), 150 + n * 400).unwrap();
                        let keys: BTreeSet<_> = found.values().map(|(key, _)| key.clone()).collect();
                        assert_eq!(keys.len(), 3);
                        let time = TimestampMs(20);
                        assert!(log.offset_for_timestamp(time).unwrap().unwrap().timestamp >= time);
                        rounds += 1;
                    }
                })
            })
            .collect();
        for n in 0..200 {
            writer.put(log.as_ref(), n % 3);
            if n % 10 == 0 {
                clean_all(&manager, 1);
            }
        }
        done.store(true, std::sync::atomic::Ordering::Relaxed);
        for reader in readers {
            reader.join().unwrap();
        }
    });
    writer.check(log.as_ref());
}

#[test]
fn a_producers_sequence_outlives_its_records() {
    let disk = FaultyDisk::new();
    let manager = open(&disk).unwrap();
    let log = create(&manager, tiny()).unwrap();
    let keyed = |producer: i64, sequence: i32| {
        let mut builder = BatchBuilder::new().producer(ProducerId(producer), ProducerEpoch(0), Sequence(sequence));
        builder.push(TimestampMs(1), Some(b"k"), Some(&[b'v'; 200]), std::iter::empty());
        builder.build(Offset(0), Compression::None, 0).unwrap().unwrap()
    };
    log.append(keyed(1, 0), CLIENT, TimestampMs(1)).unwrap();
    for sequence in 0..10 {
        log.append(keyed(2, sequence), CLIENT, TimestampMs(1)).unwrap();
    }
    clean_all(&manager, 1);
    drop((log, manager));
    // Without a snapshot everything is learnt from the log.
    let disk = disk.restart();
    for name in files(&disk).iter().filter(|name| name.ends_with(".snapshot")) {
        disk.remove_file(&Path::new(FOLDER).join(name)).unwrap();
    }
    let manager = open(&disk).unwrap();
    let log = create(&manager, tiny()).unwrap();
    assert!(log.append(keyed(1, 0), CLIENT, TimestampMs(1)).unwrap().duplicate);
    assert!(log.append(keyed(1, 2), CLIENT, TimestampMs(1)).is_err());
    assert!(!log.append(keyed(1, 1), CLIENT, TimestampMs(1)).unwrap().duplicate);
}

#[test]
fn what_kafka_left_in_the_middle_of_a_swap_is_finished_or_undone() {
    for undone in [false, true] {
        let disk = FaultyDisk::new();
        let (manager, log, writer) = superseded(&disk, tiny());
        let size = log.size();
        clean_all(&manager, 1);
        let found = writer.check(log.as_ref());
        drop((log, manager));
        // The old files are back under their names, the new ones wait.
        let name = |name: &str| Path::new(FOLDER).join(name);
        for file in
            files(&disk).iter().filter(|name| name.starts_with("00000000000000000000.") && !name.ends_with("deleted"))
        {
            disk.rename(&name(file), &name(&format!("{file}.swap"))).unwrap();
        }
        for file in files(&disk) {
            if let Some(old) = file.strip_suffix(".deleted") {
                disk.rename(&name(&file), &name(old)).unwrap();
            }
        }
        if undone {
            disk.open(&name("00000000000000000000.timeindex.cleaned")).unwrap();
        }
        let manager = open(&disk.restart()).unwrap();
        let log = create(&manager, tiny()).unwrap();
        let now = writer.check(log.as_ref());
        if undone {
            assert_eq!((log.size(), now), (size, writer.all.clone()));
        } else {
            assert!(log.size() < size && now.len() < writer.all.len() && found.len() <= now.len());
        }
    }
}

#[test]
fn damage_is_not_written_anew() {
    let disk = FaultyDisk::new();
    let (manager, log, _) = superseded(&disk, tiny());
    disk.flip_bit(&Path::new(FOLDER).join("00000000000000000000.log"), 65);
    let before = files(&disk);
    let failed = manager.clean("t", PartitionIndex(0), TimestampMs(1)).unwrap().unwrap_err();
    assert!(failed.to_string().contains("offset 0"), "{failed}");
    assert_eq!(files(&disk), before);
    assert!(log.read(Offset(0), 100, ReadBound::HighWatermark, true).is_err());
}

#[test]
fn a_full_disk_ends_a_pass_and_costs_nothing() {
    let disk = FaultyDisk::new();
    let (manager, log, writer) = superseded(&disk, tiny());
    disk.limit_capacity(Some(0));
    assert!(manager.clean("t", PartitionIndex(0), TimestampMs(1)).unwrap().is_err());
    assert!(files(&disk).iter().all(|name| !name.ends_with(".cleaned")));
    writer.check(log.as_ref());
    disk.limit_capacity(None);
    assert!(clean(&manager, 1).is_some());
    writer.check(log.as_ref());
}

#[test]
fn records_that_were_deleted_stay_so_and_the_old_files_go() {
    let disk = FaultyDisk::new();
    let config = LogConfig { file_delete_delay_ms: 0, ..tiny() };
    let (manager, log, mut writer) = superseded(&disk, config.clone());
    log.delete_records(Offset(10)).unwrap();
    clean_all(&manager, 1);
    assert_eq!(log.offsets().log_start, Offset(10));
    while files(&disk).iter().any(|name| name.ends_with(".deleted")) {
        std::thread::yield_now();
    }
    log.delete_records(Offset(38)).unwrap();
    writer.put(log.as_ref(), 1);
    manager.close().unwrap();
    drop((log, manager));
    let manager = open(&disk).unwrap();
    let log = create(&manager, config).unwrap();
    assert_eq!(log.offsets().log_start, Offset(38));
    assert_eq!(read(log.as_ref(), Offset(38), 100).unwrap().into_keys().collect::<Vec<_>>(), [38, 39, 40]);
}

#[test]
fn a_topic_of_the_same_name_begins_anew() {
    let disk = FaultyDisk::new();
    let (manager, _log, _) = superseded(&disk, tiny());
    clean_all(&manager, 1);
    let name = TopicPartition::new("t", PartitionIndex(0));
    manager.delete(&name).unwrap();
    assert_eq!(manager.shared().checkpoints.cleaned(&name), None);
    assert!(manager.clean("t", PartitionIndex(0), TimestampMs(1)).is_none());
}

#[test]
fn logs_in_memory_are_compacted() {
    let manager = open_on(Arc::new(MemoryDisk::new()), Durability::Memory).unwrap();
    let log = create(&manager, tiny()).unwrap();
    let mut writer = Writer::default();
    for n in 0..200 {
        writer.put(log.as_ref(), n % 3);
    }
    let before = log.size();
    clean_all(&manager, 1);
    assert!(log.size() < before / 10, "{} of {before}", log.size());
    writer.check(log.as_ref());
}

#[test]
fn the_cleaner_comes_by_itself() {
    for durability in [Durability::Fsync, Durability::Memory] {
        let disk = FaultyDisk::new();
        let manager = match durability {
            Durability::Memory => open_on(Arc::new(MemoryDisk::new()), durability).unwrap(),
            _ => open_on(Arc::new(disk.clone()), durability).unwrap(),
        };
        manager.configure_cleaner(CleanerSettings { enabled: true, backoff_ms: 1, ..CleanerSettings::default() });
        let log = create(&manager, tiny()).unwrap();
        let mut writer = Writer::default();
        for n in 0..100 {
            writer.put(log.as_ref(), n % 3);
        }
        while log.size() > 3000 {
            std::thread::yield_now();
        }
        writer.check(log.as_ref());
        manager.close().unwrap();
    }
}

#[test]
fn the_cleaner_leaves_other_topics_alone_and_looks_when_one_becomes_compacted() {
    let disk = FaultyDisk::new();
    let manager = open(&disk).unwrap();
    manager.configure_cleaner(CleanerSettings { enabled: true, backoff_ms: 0, ..CleanerSettings::default() });
    let plain = LogConfig { compact: false, ..tiny() };
    let log = create(&manager, plain).unwrap();
    let mut writer = Writer::default();
    for n in 0..100 {
        writer.put(log.as_ref(), n % 3);
    }
    let before = log.size();
    assert_eq!(clean(&manager, 1), None);
    manager.reconfigure("t", &tiny());
    while log.size() >= before / 2 {
        std::thread::yield_now();
    }
    writer.check(log.as_ref());
}

#[test]
fn readers_are_told_of_an_aborted_transaction_as_long_as_its_records_may_be_read() {
    let disk = FaultyDisk::new();
    let manager = open(&disk).unwrap();
    let log = create(&manager, tiny()).unwrap();
    let mut writer = Writer::default();
    let data = Step::Write { producer: Some(1), records: vec![(1, true)], codec: 0 };
    writer.write(log.as_ref(), &data).unwrap();
    let marker = writer.write(log.as_ref(), &Step::End { producer: 1, commit: false }).unwrap();
    let entry = [&[0_u8; 2][..], &[1, 0, marker.0, marker.0 + 1].map(i64::to_be_bytes).concat()].concat();
    let told = AbortedTransaction { producer_id: ProducerId(1), first_offset: Offset(0) };
    let path = Path::new(FOLDER).join("00000000000000000000.txnindex");
    for expected in [true, false] {
        // Its last batch is another one by now.
        writer.write(log.as_ref(), &data).unwrap();
        writer.write(log.as_ref(), &Step::End { producer: 1, commit: true }).unwrap();
        for n in 0..30 {
            writer.put(log.as_ref(), n % 3);
        }
        clean_all(&manager, 1);
        writer.check(log.as_ref());
        let kept = super::checkpoint::read_file(&disk, &path).unwrap();
        assert_eq!(kept, expected.then(|| entry.clone()), "then no record of it is left");
        let end = log.offsets().last_stable;
        assert_eq!(log.aborted_transactions(Offset(0), end).unwrap(), if expected { vec![told] } else { vec![] });
    }
}

#[test]
fn the_cleaner_looks_again_when_a_record_is_old_enough() {
    let disk = FaultyDisk::new();
    let manager = open(&disk).unwrap();
    manager.configure_cleaner(CleanerSettings { enabled: true, backoff_ms: 1, ..CleanerSettings::default() });
    let log = create(&manager, LogConfig { min_compaction_lag_ms: 300, ..tiny() }).unwrap();
    let begun = crate::clock::now();
    let mut size = 0;
    for _ in 0..100 {
        let mut builder = BatchBuilder::new();
        builder.push(crate::clock::now(), Some(b"k"), Some(&[b'v'; 100]), std::iter::empty());
        let batch = builder.build(Offset(0), Compression::None, 0).unwrap().unwrap();
        size += batch.len() as u64;
        log.append(batch, CLIENT, crate::clock::now()).unwrap();
    }
    while log.size() > size / 2 {
        std::thread::yield_now();
    }
    assert!(crate::clock::now().0 >= begun.0 + 300);
}

#[test]
fn a_pass_that_is_held_back_ends_with_the_broker() {
    let disk = FaultyDisk::new();
    let (manager, log, writer) = superseded(&disk, tiny());
    let settings =
        CleanerSettings { enabled: true, backoff_ms: 0, bytes_per_second: 1.0, ..CleanerSettings::default() };
    manager.configure_cleaner(settings);
    while !manager.shared().cleaner.is_running() {
        std::thread::yield_now();
    }
    manager.close().unwrap();
    assert!(!manager.shared().cleaner.is_running());
    drop((log, manager));
    let manager = open(&disk).unwrap();
    let log = create(&manager, tiny()).unwrap();
    assert_eq!(writer.check(log.as_ref()), writer.all);
}

/// A folder for Kafka's own tools: set OTTLA_CLEANED_FOLDER, run with --ignored, and look at what is there.
#[test]
#[ignore = "writes a folder to look at by hand"]
fn a_cleaned_folder_for_kafkas_tools() {
    let Some(dir) = std::env::var_os("OTTLA_CLEANED_FOLDER").map(PathBuf::from) else { return };
    let config = StorageConfig { dir, durability: Durability::Fsync, producer_id_expiration_ms: 86_400_000 };
    let manager = LogManager::open(Arc::new(super::os_disk::OsDisk), config).unwrap();
    let log = create(&manager, LogConfig { segment_bytes: 4000, ..tiny() }).unwrap();
    let mut writer = Writer::default();
    for n in 0..200_usize {
        let producer = n.is_multiple_of(5).then_some((n % 3) as i64);
        let records = vec![((n % 7) as u8, !n.is_multiple_of(4)), ((n % 11) as u8, true)];
        writer.write(log.as_ref(), &Step::Write { producer, records, codec: n % 3 }).unwrap();
        if n % 20 == 19 {
            for producer in 0..3 {
                writer.write(log.as_ref(), &Step::End { producer, commit: n % 40 == 19 }).unwrap();
            }
        }
    }
    clean_all(&manager, 1);
    clean_all(&manager, 100_000_000);
    writer.check(log.as_ref());
    manager.close().unwrap();
}
