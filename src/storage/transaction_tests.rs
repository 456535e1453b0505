//! What `read_committed` readers are promised, over random histories of several producers in small segments, crashes at
//! any point and damaged indexes: committed records are all there, aborted ones never, and nothing of a transaction that
//! is open.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use bytes::BytesMut;
use proptest::prelude::*;

use super::disk::Disk;
use super::faulty_disk::FaultyDisk;
use super::log_manager::{Durability, LogManager, StorageConfig};
use super::partition_log::{AbortedTransaction, Origin, PartitionLog};
use super::test_support::*;
use crate::log::config::LogConfig;
use crate::log::{AppendError, VerificationGuard};
use crate::types::*;

const FOLDER: &str = "/data/t-0";
const CLEAN_STOP: &str = "/data/.kafka_cleanshutdown";
const TWO: Origin = Origin::Marker { transaction_version: 2 };

fn open(disk: &FaultyDisk, durability: Durability) -> Result<(Arc<LogManager>, Arc<dyn PartitionLog>), String> {
    open_with(disk, durability, tiny())
}

fn open_with(
    disk: &FaultyDisk,
    durability: Durability,
    log: LogConfig,
) -> Result<(Arc<LogManager>, Arc<dyn PartitionLog>), String> {
    let config = StorageConfig { dir: "/data".into(), durability, producer_id_expiration_ms: 86_400_000 };
    let manager = LogManager::open(Arc::new(disk.clone()), config).map_err(|error| error.to_string())?;
    let name = TopicPartition::new("t", PartitionIndex(0));
    let log = manager.create(&name, TopicId(uuid::Uuid::from_u128(7)), log).map_err(|error| error.to_string())?;
    Ok((manager, log))
}

fn tiny() -> LogConfig {
    LogConfig { segment_bytes: 700, index_interval_bytes: 100, ..LogConfig::default() }
}

/// One batch.
#[derive(Clone, Copy, Debug)]
enum Op {
    Write { producer: Option<i64>, records: usize },
    End { producer: i64, commit: bool },
}

/// A history, and what everybody should make of it: too simple to be wrong.
#[derive(Clone, Default)]
struct History {
    ops: Vec<Op>,
}

/// A producer's next batch.
#[derive(Clone, Copy, Default)]
struct Next {
    epoch: i16,
    sequence: i32,
    /// Where its transaction began.
    open: Option<i64>,
}

impl History {
    fn value(offset: i64) -> String {
        format!("{offset}:{}", "v".repeat(offset as usize * 37 % 90))
    }

    fn records(op: &Op) -> i64 {
        match op {
            Op::Write { records, .. } => *records as i64,
            Op::End { .. } => 1,
        }
    }

    /// Where each batch begins.
    fn base(&self, at: usize) -> i64 {
        self.ops.iter().take(at).map(Self::records).sum()
    }

    /// The batch that begins there; the length where the log ends.
    fn at(&self, offset: i64) -> usize {
        (0..=self.ops.len()).find(|at| self.base(*at) == offset).expect("whole batches")
    }

    /// Where a producer is after so many batches.
    fn next(&self, producer: i64, at: usize) -> Next {
        let mut next = Next::default();
        for (n, op) in self.ops.iter().take(at).enumerate() {
            match *op {
                Op::Write { producer: Some(id), records } if id == producer => {
                    next.open = next.open.or(Some(self.base(n)));
                    next.sequence += records as i32;
                }
                // As transactions of version 2: each has an epoch of its own.
                Op::End { producer: id, .. } if id == producer => {
                    next = Next { epoch: next.epoch + 1, ..Next::default() }
                }
                _ => {}
            }
        }
        next
    }

    fn last_stable(&self, at: usize) -> i64 {
        let open = (0..4).filter_map(|producer| self.next(producer, at).open).min();
        open.unwrap_or_else(|| self.base(at))
    }

    /// Every record that counts, after so many batches.
    fn committed(&self, at: usize) -> BTreeMap<i64, String> {
        let mut open: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
        let mut committed = Vec::new();
        for (n, op) in self.ops.iter().take(at).enumerate() {
            let offsets = self.base(n)..self.base(n + 1);
            match op {
                Op::Write { producer: None, .. } => committed.extend(offsets),
                Op::Write { producer: Some(producer), .. } => open.entry(*producer).or_default().extend(offsets),
                Op::End { producer, commit } => {
                    let ended = open.remove(producer).unwrap_or_default();
                    committed.extend(ended.into_iter().filter(|_| *commit));
                }
            }
        }
        let last_stable = self.last_stable(at);
        let stable = committed.into_iter().filter(|offset| *offset < last_stable);
        stable.map(|offset| (offset, Self::value(offset))).collect()
    }

    /// Appends batch number `at` as its writer would, and waits for the disk.
    fn append(&self, log: &dyn PartitionLog, at: usize) -> Result<(), String> {
        let base = self.base(at);
        let (batch, origin) = self.batch(log, at).map_err(|error| error.to_string())?;
        let appended = log.append(batch, origin, TimestampMs(1)).map_err(|error| error.to_string())?;
        assert_eq!((appended.base_offset.0, appended.last_offset.0 + 1), (base, self.base(at + 1)));
        wait(log.durable(appended.last_offset)).map_err(|error| error.to_string())
    }

    fn batch(&self, log: &dyn PartitionLog, at: usize) -> Result<(BytesMut, Origin), AppendError> {
        let values: Vec<String> = (self.base(at)..self.base(at + 1)).map(Self::value).collect();
        let values: Vec<&str> = values.iter().map(String::as_str).collect();
        Ok(match self.ops[at] {
            Op::Write { producer: None, .. } => (plain(&values, 1), CLIENT),
            Op::Write { producer: Some(producer), .. } => {
                let Next { epoch, sequence, open } = self.next(producer, at);
                let verified =
                    log.begin_verification(ProducerId(producer), ProducerEpoch(epoch), Sequence(sequence), true)?;
                assert_eq!(verified.is_none(), open.is_some(), "it is known to be open, or it is to be verified");
                let guard = verified.unwrap_or(VerificationGuard::NONE);
                (in_transaction(&values, producer, epoch, sequence), Origin::Client { version: 12, guard })
            }
            Op::End { producer, commit } => {
                let Next { epoch, .. } = self.next(producer, at);
                (marker(producer, epoch + 1, commit, 0), TWO)
            }
        })
    }

    /// What must be true whenever a log holds the first `at` batches and all of them are seen.
    fn check(&self, log: &dyn PartitionLog, at: usize, max_bytes: usize) {
        let offsets = log.offsets();
        assert_eq!(offsets.high_watermark.0, self.base(at));
        let start = offsets.log_start.0;
        assert_eq!(offsets.last_stable.0, self.last_stable(at).max(start));
        let committed = self.committed(at);
        for from in [start, i64::midpoint(start, offsets.last_stable.0), offsets.last_stable.0] {
            let seen: BTreeMap<_, _> = committed_values(log, Offset(from), max_bytes).into_iter().collect();
            let expected: BTreeMap<_, _> =
                committed.range(from..).map(|(offset, value)| (*offset, value.clone())).collect();
            assert_eq!(seen, expected, "from {from} of {offsets:?}");
        }
        for producer in log.producers() {
            let Next { epoch, open, .. } = self.next(producer.producer_id.0, at);
            assert_eq!((producer.epoch.0, producer.transaction_start.map(|first| first.0)), (epoch, open));
        }
    }
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        6 => (prop::option::weighted(0.7, 0..4_i64), 1..4_usize)
            .prop_map(|(producer, records)| Op::Write { producer, records }),
        3 => (0..4_i64, any::<bool>()).prop_map(|(producer, commit)| Op::End { producer, commit }),
    ]
}

/// What happens between two batches.
#[derive(Clone, Debug)]
enum Event {
    /// An orderly stop.
    Stop(Damage),
    /// The process is killed.
    Kill(Damage),
    /// Power is lost.
    Power(u64, Damage),
    /// The log's start is moved up to this part of what is stable.
    Delete(usize),
}

/// What is found amiss when the log is opened again.
#[derive(Clone, Copy, Debug)]
enum Damage {
    None,
    /// The last entry of an index is torn.
    Torn(prop::sample::Index),
    /// An index holds something else.
    Rubbish(prop::sample::Index),
    /// Somebody deletes all indexes of a segment.
    Deleted(prop::sample::Index),
}

fn event() -> impl Strategy<Value = Event> {
    let damage = || {
        prop_oneof![
            4 => Just(Damage::None),
            1 => any::<prop::sample::Index>().prop_map(Damage::Torn),
            1 => any::<prop::sample::Index>().prop_map(Damage::Rubbish),
            1 => any::<prop::sample::Index>().prop_map(Damage::Deleted),
        ]
    };
    prop_oneof![
        3 => damage().prop_map(Event::Stop),
        3 => damage().prop_map(Event::Kill),
        3 => (any::<u64>(), damage()).prop_map(|(seed, damage)| Event::Power(seed, damage)),
        1 => (0..=100_usize).prop_map(Event::Delete),
    ]
}

fn files(disk: &FaultyDisk, suffix: &str) -> Vec<PathBuf> {
    let mut files = disk.read_dir(Path::new(FOLDER)).unwrap_or_default();
    files.retain(|path| path.to_str().unwrap().ends_with(suffix));
    files.sort();
    files
}

impl Damage {
    fn do_to(self, disk: &FaultyDisk) {
        let (suffix, which) = match self {
            Self::None => return,
            Self::Torn(which) | Self::Rubbish(which) => (".txnindex", which),
            Self::Deleted(which) => (".index", which),
        };
        let files = files(disk, suffix);
        let Some(path) = (!files.is_empty()).then(|| which.get(&files)) else { return };
        let file = disk.open(path).unwrap();
        match self {
            Self::Torn(_) => file.set_len(file.len().unwrap().saturating_sub(7)).unwrap(),
            Self::Rubbish(_) => file.write_all_at(&[3; 34], 0).unwrap(),
            Self::Deleted(_) | Self::None => {
                for suffix in ["index", "timeindex", "txnindex"] {
                    disk.remove_file(&path.with_extension(suffix)).unwrap();
                }
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn committed_records_are_all_seen_and_aborted_ones_never(
        ops in prop::collection::vec(op(), 1..60),
        events in prop::collection::btree_map(0..60_usize, event(), 0..6),
        max_bytes in prop_oneof![Just(1_usize), 100..2000_usize],
        os in any::<bool>(),
    ) {
        let history = History { ops };
        let durability = if os { Durability::Os } else { Durability::Fsync };
        let mut disk = FaultyDisk::new();
        let (mut manager, mut log) = open(&disk, durability).unwrap();
        for at in 0..history.ops.len() {
            match events.get(&at) {
                Some(Event::Delete(percent)) => {
                    let offsets = log.offsets();
                    let length = offsets.last_stable.0 - offsets.log_start.0;
                    let before = offsets.log_start.0 + length * *percent as i64 / 100;
                    prop_assert_eq!(log.delete_records(Offset(before)).unwrap().0, before);
                }
                Some(event) => {
                    let damage = match event {
                        Event::Stop(damage) => {
                            manager.close().unwrap();
                            *damage
                        }
                        Event::Kill(damage) | Event::Power(_, damage) => *damage,
                        Event::Delete(_) => Damage::None,
                    };
                    drop((log, manager));
                    disk = match event {
                        // The page cache does not survive that.
                        Event::Power(seed, _) if !os => disk.lose_power(*seed),
                        _ => disk.restart(),
                    };
                    damage.do_to(&disk);
                    (manager, log) = open(&disk, durability).unwrap();
                }
                None => {}
            }
            history.check(log.as_ref(), at, max_bytes);
            history.append(log.as_ref(), at).unwrap();
        }
        history.check(log.as_ref(), history.ops.len(), max_bytes);
    }
}

/// Two producers whose transactions overlap, over several segments.
fn script() -> History {
    let write = |producer| Op::Write { producer, records: 2 };
    let end = |producer, commit| Op::End { producer, commit };
    let mut ops = Vec::new();
    for round in 0..4 {
        ops.extend([write(Some(1)), write(None), write(Some(2)), end(1, round % 2 == 0), write(Some(1))]);
        ops.extend([write(Some(2)), end(2, round % 3 == 0), write(None), end(1, false)]);
    }
    History { ops }
}

/// The disk stops after so many changes, in the middle of whatever that was; then everything goes on from what is left.
fn crash_and_go_on(durability: Durability, stops: &[(u64, u64, bool)]) {
    let history = script();
    let mut disk = FaultyDisk::new();
    for (stop, seed, power) in stops {
        disk.stop_after(*stop);
        let run = || -> Result<(), String> {
            let (manager, log) = open(&disk, durability)?;
            for at in history.at(log.offsets().log_end.0)..history.ops.len() {
                history.append(log.as_ref(), at)?;
            }
            manager.close().map_err(|error| error.to_string())
        };
        let _ = run();
        disk = if *power { disk.lose_power(*seed) } else { disk.restart() };
    }
    let (_manager, log) = open(&disk, durability).unwrap();
    let at = history.at(log.offsets().log_end.0);
    history.check(log.as_ref(), at, 300);
    for at in at..history.ops.len() {
        history.append(log.as_ref(), at).unwrap();
        history.check(log.as_ref(), at + 1, 2000);
    }
}

#[test]
fn the_disk_stops_at_every_change() {
    for stop in 0..200 {
        crash_and_go_on(Durability::Fsync, &[(stop, stop * 7 + 1, true)]);
        crash_and_go_on(Durability::Fsync, &[(stop, 0, false)]);
        crash_and_go_on(Durability::Os, &[(stop, 0, false)]);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_disk_stops_again_and_again(
        stops in prop::collection::vec((0..150_u64, any::<u64>(), any::<bool>()), 1..5),
    ) {
        crash_and_go_on(Durability::Fsync, &stops);
    }
}

/// Segments of three transactional producers that Apache Kafka wrote, without offset indexes.
fn kafkas_folder(with_transaction_indexes: bool, clean: bool) -> (FaultyDisk, BTreeMap<PathBuf, Vec<u8>>) {
    let disk = FaultyDisk::new();
    disk.create_dir_all(Path::new(FOLDER)).unwrap();
    let mut indexes = BTreeMap::new();
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/kafka-4.3.1/tx-0");
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let (name, bytes) = (path.file_name().unwrap(), std::fs::read(&path).unwrap());
        let target = Path::new(FOLDER).join(name);
        let is_index = target.extension().is_some_and(|extension| extension == "txnindex");
        if is_index {
            indexes.insert(target.clone(), bytes.clone());
        }
        if !is_index || with_transaction_indexes {
            disk.open(&target).unwrap().write_all_at(&bytes, 0).unwrap();
        }
    }
    if clean {
        disk.open(Path::new(CLEAN_STOP)).unwrap();
    }
    (disk, indexes)
}

#[test]
fn kafkas_indexes_are_told_from_its_log_to_the_byte() {
    for (with_indexes, clean) in [(true, true), (false, true), (true, false), (false, false)] {
        let (disk, kafkas) = kafkas_folder(with_indexes, clean);
        let (manager, log) = open(&disk, Durability::Fsync).unwrap();
        let offsets = log.offsets();
        assert_eq!((offsets.last_stable, offsets.log_end), (Offset(129), Offset(144)));
        let mut told = log.aborted_transactions(Offset(0), offsets.log_end).unwrap();
        assert_eq!(told.len(), 23);
        // Offsets as Kafka's index has them: the second field of each entry.
        let first = |entry: &[u8]| Offset(i64::from_be_bytes(entry[10..18].try_into().unwrap()));
        let expected = kafkas.values().flat_map(|bytes| bytes.chunks(34).map(first));
        assert!(told.drain(..).map(|aborted| aborted.first_offset).eq(expected));
        drop(log);
        manager.close().unwrap();
        for (path, bytes) in &kafkas {
            assert_eq!(super::checkpoint::read_file(&disk, path).unwrap().as_ref(), Some(bytes), "{}", path.display());
        }
    }
}

#[test]
fn an_index_that_finds_no_room_waits_in_memory() {
    let disk = FaultyDisk::new();
    let (manager, log) = open(&disk, Durability::Fsync).unwrap();
    let history = script();
    disk.fail_creations(Some(".txnindex"));
    for at in 0..history.ops.len() {
        history.append(log.as_ref(), at).unwrap();
        history.check(log.as_ref(), at + 1, 300);
    }
    assert!(files(&disk, ".txnindex").is_empty());
    drop((log, manager));
    // Without it the recovery point must not have moved.
    let disk = disk.restart();
    let (_manager, log) = open(&disk, Durability::Fsync).unwrap();
    history.check(log.as_ref(), history.ops.len(), 300);
}

#[test]
fn an_index_is_there_only_where_a_transaction_was_aborted() {
    let disk = FaultyDisk::new();
    let (manager, log) = open(&disk, Durability::Fsync).unwrap();
    let write = Op::Write { producer: Some(1), records: 2 };
    let ops = vec![write, Op::End { producer: 1, commit: true }, Op::End { producer: 2, commit: false }];
    let history = History { ops };
    for at in 0..3 {
        history.append(log.as_ref(), at).unwrap();
    }
    manager.close().unwrap();
    assert!(files(&disk, ".txnindex").is_empty(), "what had no records here is not aborted here");
}

#[test]
fn a_reader_is_told_in_order_of_the_markers_and_no_more_than_it_reads() {
    let disk = FaultyDisk::new();
    let (_manager, log) = open(&disk, Durability::Fsync).unwrap();
    let write = |producer| Op::Write { producer: Some(producer), records: 1 };
    let end = |producer| Op::End { producer, commit: false };
    // 0: 1 begins, 1: 2 begins, 2: 2 ends, 3: 3 begins, 4: 1 ends, 5: 3 ends.
    let history = History { ops: vec![write(1), write(2), end(2), write(3), end(1), end(3)] };
    for at in 0..history.ops.len() {
        history.append(log.as_ref(), at).unwrap();
    }
    let told = |from, to| {
        let told = log.aborted_transactions(Offset(from), Offset(to)).unwrap();
        told.iter().map(|AbortedTransaction { producer_id, first_offset }| (producer_id.0, first_offset.0)).collect()
    };
    let of = |from, to| -> Vec<(i64, i64)> { told(from, to) };
    assert_eq!(of(0, 6), [(2, 1), (1, 0), (3, 3)]);
    assert_eq!(of(0, 1), [(1, 0)]);
    assert_eq!(of(0, 2), [(2, 1), (1, 0)]);
    assert_eq!(of(2, 3), [(2, 1), (1, 0)], "the marker belongs to it");
    assert_eq!(of(3, 4), [(1, 0), (3, 3)]);
    assert_eq!(of(5, 6), [(3, 3)]);
    assert_eq!(of(6, 6), []);
}

/// Rule 14: the end of an aborted transaction is noted with the segment of its marker, its records lie in one before.
#[test]
fn an_abort_at_a_segment_boundary_is_told_to_readers_of_the_segment_before() {
    let disk = FaultyDisk::new();
    let (_manager, log) = open(&disk, Durability::Fsync).unwrap();
    let mut history = History { ops: vec![Op::Write { producer: Some(1), records: 1 }] };
    let append = |history: &mut History, op| {
        history.ops.push(op);
        history.append(log.as_ref(), history.ops.len() - 1).unwrap();
    };
    history.append(log.as_ref(), 0).unwrap();
    while files(&disk, ".log").len() < 2 {
        append(&mut history, Op::Write { producer: None, records: 1 });
    }
    append(&mut history, Op::End { producer: 1, commit: false });
    let told = |log: &dyn PartitionLog| log.aborted_transactions(Offset(0), Offset(1)).unwrap();
    let aborted = [AbortedTransaction { producer_id: ProducerId(1), first_offset: Offset(0) }];
    assert_eq!(told(log.as_ref()), aborted);
    history.check(log.as_ref(), history.ops.len(), 1);
    let (_manager, log) = open(&disk.restart(), Durability::Fsync).unwrap();
    assert_eq!(told(log.as_ref()), aborted);
}

#[test]
fn a_marker_that_readers_do_not_see_decides_nothing() {
    let disk = FaultyDisk::new();
    let (_manager, log) = open(&disk, Durability::Fsync).unwrap();
    let write = Op::Write { producer: Some(1), records: 2 };
    let history = History { ops: vec![write, Op::End { producer: 1, commit: true }] };
    history.append(log.as_ref(), 0).unwrap();
    let watcher = Arc::new(tokio::sync::Notify::new());
    let gate = disk.hold_syncs("");
    let (batch, origin) = history.batch(log.as_ref(), 1).unwrap();
    log.append(batch, origin, TimestampMs(1)).unwrap();
    let offsets = log.offsets();
    assert_eq!((offsets.last_stable.0, offsets.high_watermark.0, offsets.log_end.0), (0, 2, 3));
    log.watch(&watcher);
    drop(gate);
    wait(watcher.notified());
    assert_eq!(log.offsets().last_stable.0, 3);
}

#[test]
fn a_transaction_whose_first_records_are_deleted_is_open_still() {
    let disk = FaultyDisk::new();
    let (manager, log) = open(&disk, Durability::Fsync).unwrap();
    let mut ops = vec![Op::Write { producer: Some(1), records: 2 }];
    ops.extend([Op::Write { producer: None, records: 3 }; 30]);
    ops.push(Op::End { producer: 1, commit: false });
    let history = History { ops };
    for at in 0..31 {
        history.append(log.as_ref(), at).unwrap();
    }
    assert_eq!(log.offsets().last_stable, Offset(0));
    log.delete_records(Offset(50)).unwrap();
    assert!(files(&disk, ".log")[0] > Path::new(FOLDER).join("00000000000000000001.log"));
    assert_eq!(log.offsets().last_stable, Offset(50));
    drop((log, manager));
    let (_manager, log) = open(&disk.restart(), Durability::Fsync).unwrap();
    assert_eq!(log.offsets().last_stable, Offset(50));
    history.append(log.as_ref(), 31).unwrap();
    history.check(log.as_ref(), 32, 100);
}

#[test]
fn a_transaction_that_ended_in_what_was_deleted_is_not_open_again() {
    let disk = FaultyDisk::new();
    let (manager, log) = open(&disk, Durability::Os).unwrap();
    let mut ops = vec![Op::Write { producer: None, records: 1 }, Op::Write { producer: Some(1), records: 2 }];
    ops.push(Op::End { producer: 1, commit: true });
    ops.extend([Op::Write { producer: None, records: 3 }; 30]);
    let history = History { ops };
    for at in 0..2 {
        history.append(log.as_ref(), at).unwrap();
    }
    // An orderly stop leaves a snapshot that tells of the transaction. No other one follows.
    manager.close().unwrap();
    drop((log, manager));
    disk.fail_creations(Some(".snapshot"));
    let (manager, log) = open(&disk, Durability::Os).unwrap();
    for at in 2..33 {
        history.append(log.as_ref(), at).unwrap();
    }
    log.delete_records(Offset(60)).unwrap();
    drop((log, manager));
    assert!(disk.exists(&Path::new(FOLDER).join("00000000000000000003.snapshot")));
    let (_manager, log) = open(&disk.restart(), Durability::Os).unwrap();
    history.check(log.as_ref(), 33, 100);
}

#[test]
fn a_batch_that_holds_the_logs_start_begins_its_transaction() {
    let history =
        History { ops: vec![Op::Write { producer: Some(1), records: 3 }, Op::End { producer: 1, commit: false }] };
    for clean in [false, true] {
        let disk = FaultyDisk::new();
        let (manager, log) = open(&disk, Durability::Fsync).unwrap();
        for at in 0..2 {
            history.append(log.as_ref(), at).unwrap();
        }
        log.delete_records(Offset(1)).unwrap();
        manager.close().unwrap();
        drop((log, manager));
        if !clean {
            disk.remove_file(Path::new(CLEAN_STOP)).unwrap();
        }
        for suffix in [".index", ".txnindex", ".snapshot"] {
            for path in files(&disk, suffix) {
                disk.remove_file(&path).unwrap();
            }
        }
        let (_manager, log) = open(&disk, Durability::Fsync).unwrap();
        assert_eq!(log.offsets().last_stable, Offset(4));
        assert_eq!(committed_values(log.as_ref(), Offset(1), 100), []);
    }
}

#[test]
fn an_abort_outlives_an_orderly_stop_where_nothing_else_is_indexed() {
    let disk = FaultyDisk::new();
    let config = || LogConfig { index_interval_bytes: 1 << 20, ..tiny() };
    let write = Op::Write { producer: Some(1), records: 1 };
    let history = History { ops: vec![write, write, Op::End { producer: 1, commit: false }] };
    for at in 0..3 {
        let (manager, log) = open_with(&disk, Durability::Fsync, config()).unwrap();
        history.append(log.as_ref(), at).unwrap();
        manager.close().unwrap();
    }
    let (_manager, log) = open_with(&disk, Durability::Fsync, config()).unwrap();
    history.check(log.as_ref(), 3, 100);
}

#[test]
fn a_late_guard_opens_nothing() {
    let disk = FaultyDisk::new();
    let (_manager, log) = open(&disk, Durability::Fsync).unwrap();
    let begin = |epoch| log.begin_verification(ProducerId(1), ProducerEpoch(epoch), Sequence(0), true);
    let append = |epoch, guard| {
        let origin = Origin::Client { version: 12, guard };
        log.append(in_transaction(&["x"], 1, epoch, 0), origin, TimestampMs(1))
    };
    let late = begin(0).unwrap().unwrap();
    assert!(matches!(append(0, VerificationGuard::NONE), Err(AppendError::InvalidTxnState(_))));
    // The transaction ends before its first record comes.
    log.append(marker(1, 1, false, 0), TWO, TimestampMs(1)).unwrap();
    assert!(matches!(append(0, late), Err(AppendError::InvalidProducerEpoch(_))));
    assert!(matches!(append(1, late), Err(AppendError::InvalidTxnState(_))));
    let guard = begin(1).unwrap().unwrap();
    assert_ne!(guard, late);
    assert!(append(1, guard).is_ok());
    assert_eq!(begin(1).unwrap(), None, "it is open now");
    assert!(matches!(begin(0), Err(AppendError::InvalidProducerEpoch(_))));
}

#[test]
fn a_transaction_that_no_coordinator_knows_can_be_aborted() {
    let disk = FaultyDisk::new();
    let (manager, log) = open(&disk, Durability::Fsync).unwrap();
    log.append(in_transaction(&["x"], 1, 4, 0), Origin::Broker, TimestampMs(1)).unwrap();
    let [hanging] = log.producers()[..] else { panic!() };
    assert_eq!((hanging.transaction_start, hanging.last_timestamp), (Some(Offset(0)), TimestampMs(1)));
    assert_eq!((hanging.coordinator_epoch, hanging.last_sequence), (-1, Sequence(0)));
    // As an administrator does, with what DescribeProducers told.
    let one = Origin::Marker { transaction_version: 1 };
    log.append(marker(1, 4, false, 7), one, TimestampMs(1)).unwrap();
    wait(log.durable(Offset(1))).unwrap();
    assert_eq!(log.offsets().last_stable, Offset(2));
    let zombie = log.append(marker(1, 4, false, 6), one, TimestampMs(1));
    assert!(matches!(zombie, Err(AppendError::CoordinatorFenced(_))));
    drop((log, manager));
    let (_manager, log) = open(&disk.restart(), Durability::Fsync).unwrap();
    let [known] = log.producers()[..] else { panic!() };
    assert_eq!((known.transaction_start, known.coordinator_epoch), (None, 7));
}
