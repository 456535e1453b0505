use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hash::RandomState;

use bytes::BytesMut;
use proptest::prelude::*;

use super::*;
use crate::types::{LeaderEpoch, ProducerEpoch, ProducerId, Sequence};
use crate::wire::batch::{BatchHeader, Compression, check_crc, set_log_append_time};
use crate::wire::control::Control;
use crate::wire::records::{self, BatchBuilder, Records};

const CODECS: [Compression; 5] =
    [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
const RETENTION: i64 = 100;

/// Key and value; a tombstone has none.
type KeyValue<'a> = (Option<&'a str>, Option<&'a str>);

fn closed(base: i64, size: u64) -> ClosedSegment {
    ClosedSegment {
        base: Offset(base),
        size,
        first_timestamp: TimestampMs(base * 10 + 1),
        largest_timestamp: TimestampMs(base * 10 + 50),
    }
}

/// Segments of 100, 200 and 300 bytes from 0, 10 and 20 on; the active one begins at 30.
fn cleanable(stable: i64, checkpoint: Option<i64>, config: &LogConfig, now: i64) -> Cleanable {
    let closed = [closed(0, 100), closed(10, 200), closed(20, 300)];
    let log = LogView {
        closed: &closed,
        active_base: Offset(30),
        log_start: Offset(5),
        log_end: Offset(40),
        stable: Offset(stable),
        checkpoint: checkpoint.map(Offset),
    };
    Cleanable::of(&log, config, TimestampMs(now))
}

fn range(found: &Cleanable) -> (i64, i64, u64, u64) {
    (found.first_dirty.0, found.end.0, found.clean_bytes, found.dirty_bytes)
}

#[test]
fn a_pass_goes_from_the_last_one_to_the_last_whole_segment_that_is_stable() {
    let config = LogConfig::default();
    for (stable, checkpoint, expected) in [
        (40, None, (5, 30, 100, 600)),
        (30, Some(10), (10, 30, 100, 500)),
        (40, Some(15), (15, 30, 300, 500)),
        (29, Some(10), (10, 20, 100, 200)),
        (10, Some(10), (10, 10, 100, 0)),
        (7, None, (5, 5, 100, 0)),
        (40, Some(30), (30, 30, 600, 0)),
        (40, Some(35), (35, 35, 600, 0)),
        // The checkpoint is of another log.
        (40, Some(41), (5, 30, 100, 600)),
        (40, Some(4), (5, 30, 100, 600)),
    ] {
        assert_eq!(range(&cleanable(stable, checkpoint, &config, 0)), expected, "{stable} {checkpoint:?}");
    }
}

#[test]
fn a_pass_is_due_by_the_dirty_share_or_by_age() {
    let config = LogConfig::default();
    assert!(cleanable(40, Some(10), &config, 0).is_due(&config));
    assert!(!cleanable(40, Some(20), &config, 0).is_due(&config), "half is not enough");
    let eager = LogConfig { min_cleanable_ratio: 0.49, ..config.clone() };
    assert!(cleanable(40, Some(20), &eager, 0).is_due(&eager));
    let zero = LogConfig { min_cleanable_ratio: 0.0, ..config.clone() };
    assert!(!cleanable(40, Some(30), &zero, 0).is_due(&zero), "there is nothing to do");

    let aged = LogConfig { max_compaction_lag_ms: 1000, ..config };
    let found = cleanable(40, Some(20), &aged, 1201);
    assert!(!found.is_due(&aged));
    assert_eq!(found.later, Some(TimestampMs(1202)));
    assert!(cleanable(40, Some(20), &aged, 1202).is_due(&aged));
    assert!(!cleanable(20, Some(20), &aged, 9999).is_due(&aged), "it is overdue, but not stable yet");
}

#[test]
fn what_is_too_young_waits() {
    let config = LogConfig { min_compaction_lag_ms: 30, ..LogConfig::default() };
    let found = cleanable(40, None, &config, 179);
    assert_eq!((range(&found), found.later), ((5, 10, 100, 100), Some(TimestampMs(181))));
    let found = cleanable(40, None, &config, 180);
    assert_eq!((range(&found), found.later), ((5, 20, 100, 300), Some(TimestampMs(281))));
    let found = cleanable(40, None, &config, 280);
    assert_eq!((range(&found), found.later), ((5, 30, 100, 600), None));
}

#[test]
fn groups_fit_one_segment() {
    let config = LogConfig { segment_bytes: 300, segment_index_bytes: 120, ..LogConfig::default() };
    let piece = Piece { base: Offset(0), next: Offset(10), size: 200, offset_entries: 5, time_entries: 5 };
    let group = Group::begin(&piece);
    let next = Piece { base: Offset(10), next: Offset(20), size: 100, ..piece };
    assert!(group.with(&next, &config).is_some());
    assert!(group.with(&Piece { size: 101, ..next }, &config).is_none());
    assert!(group.with(&Piece { offset_entries: 11, ..next }, &config).is_none());
    assert!(group.with(&Piece { time_entries: 6, ..next }, &config).is_none());
    let far = Piece { next: Offset(i64::from(i32::MAX) + 2), ..next };
    assert!(group.with(&far, &config).is_none());
    assert!(group.with(&Piece { size: 0, ..far }, &config).is_some());
    assert!(group.with(&next, &config).unwrap().with(&Piece { size: 1, ..next }, &config).is_none());
}

fn batch(
    base: i64,
    records: &[KeyValue<'_>],
    codec: Compression,
    shape: impl Fn(BatchBuilder) -> BatchBuilder,
) -> BytesMut {
    let mut builder = shape(BatchBuilder::new().leader_epoch(LeaderEpoch(3)));
    for (n, (key, value)) in records.iter().enumerate() {
        let headers = [(&b"h"[..], None)];
        let timestamp = TimestampMs(1000 + base + n as i64);
        builder.push(timestamp, key.map(str::as_bytes), value.map(str::as_bytes), headers.into_iter());
    }
    builder.build(Offset(base), codec, 3).unwrap().unwrap()
}

fn plain(base: i64, records: &[KeyValue<'_>]) -> BytesMut {
    batch(base, records, Compression::None, |builder| builder)
}

fn producer(id: i64) -> impl Fn(BatchBuilder) -> BatchBuilder {
    move |builder| builder.producer(ProducerId(id), ProducerEpoch(1), Sequence(7))
}

fn transactional(id: i64) -> impl Fn(BatchBuilder) -> BatchBuilder {
    move |builder| producer(id)(builder).transactional()
}

fn marker(base: i64, id: i64, commit: bool) -> BytesMut {
    let mut builder = transactional(id)(BatchBuilder::new()).control();
    builder.push(TimestampMs(1), Some(&[0, 0, 0, u8::from(commit)]), Some(&[0; 6]), std::iter::empty());
    builder.build(Offset(base), Compression::None, 0).unwrap().unwrap()
}

/// A pass over a log whose records from `from` on are dirty, up to `end`.
#[derive(Clone)]
struct Pass {
    from: i64,
    end: i64,
    now: i64,
    producers: HashMap<ProducerId, LastBatch>,
    memory: usize,
}

impl Pass {
    fn new(end: i64, now: i64) -> Self {
        Self { from: 0, end, now, producers: HashMap::new(), memory: 1 << 20 }
    }

    /// What is left, where the pass came to, and the abort markers that still matter.
    fn run(&self, log: &[BytesMut]) -> (Vec<BytesMut>, i64, Vec<i64>) {
        let mut transactions = Transactions::default();
        for batch in log {
            let header = BatchHeader::parse(batch).unwrap();
            match header.is_control() {
                true => transactions.control(&header, Control::of(&header, batch).unwrap()),
                false if header.base_offset.0 < self.end => transactions.data(&header),
                false => {}
            }
        }
        let seeds = [RandomState::new(), RandomState::new()];
        let mut keys = KeyMap::new(1000, self.memory, seeds, Offset(self.from));
        for batch in log {
            let header = BatchHeader::parse(batch).unwrap();
            let is_in = header.base_offset.0 < self.end && header.next_offset().0 > self.from;
            if is_in && !header.is_control() && !transactions.is_aborted(&header) {
                if !keys.take(&header, batch, Offset(self.from)).unwrap() {
                    break;
                }
            } else if is_in {
                keys.skip_to(header.next_offset());
            }
        }
        let rules = Rules {
            keys: &keys,
            transactions: &transactions,
            producers: &self.producers,
            end: Offset(self.end),
            delete_retention_ms: RETENTION,
            now: TimestampMs(self.now),
        };
        let mut filter = Filter::new(rules);
        let mut left = Vec::new();
        for batch in log {
            let header = BatchHeader::parse(batch).unwrap();
            if header.base_offset >= keys.end() {
                left.push(batch.clone());
                continue;
            }
            match filter.batch(&header, batch).unwrap() {
                Kept::Whole => left.push(batch.clone()),
                Kept::Nothing => {}
                Kept::Rewritten(rewritten) => {
                    check_crc(&rewritten).unwrap();
                    let new = BatchHeader::parse(&rewritten).unwrap();
                    assert_eq!((new.base_offset, new.last_offset()), (header.base_offset, header.last_offset()));
                    assert_eq!(new.last_sequence(), header.last_sequence());
                    assert_eq!((new.producer_id, new.producer_epoch), (header.producer_id, header.producer_epoch));
                    assert_eq!(new.partition_leader_epoch, header.partition_leader_epoch);
                    assert_eq!(new.timestamp_type(), header.timestamp_type());
                    assert_eq!(new.is_transactional(), header.is_transactional());
                    assert!(new.record_count == 0 || new.compression() == header.compression());
                    left.push(rewritten);
                }
            }
        }
        let aborts = filter.take_aborts().into_iter().map(|marker| marker.0).collect();
        (left, keys.end().0, aborts)
    }

    fn left(&self, log: &[BytesMut]) -> Vec<BytesMut> {
        self.run(log).0
    }
}

type Owned = (i64, Option<String>, Option<String>);

/// Every record but markers: by its offset, with timestamp, key and value.
fn read(log: &[BytesMut]) -> BTreeMap<i64, Owned> {
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let mut found = BTreeMap::new();
    for batch in log {
        let header = BatchHeader::parse(batch).unwrap();
        if header.is_control() {
            continue;
        }
        let section = records::section(batch, 1 << 24).unwrap();
        for record in Records::new(&section, header.record_count) {
            let record = record.unwrap();
            assert_eq!(record.headers.clone().count(), 1);
            let timestamp = match header.timestamp_type() {
                crate::wire::batch::TimestampType::LogAppendTime => header.max_timestamp.0,
                crate::wire::batch::TimestampType::CreateTime => header.base_timestamp.0 + record.timestamp_delta,
            };
            assert!(timestamp <= header.max_timestamp.0);
            let offset = header.base_offset.0 + i64::from(record.offset_delta);
            let owned = (timestamp, record.key.map(text), record.value.map(text));
            assert!(found.insert(offset, owned).is_none());
        }
    }
    found
}

fn offsets(log: &[BytesMut]) -> Vec<i64> {
    read(log).into_keys().collect()
}

#[test]
fn the_last_record_of_each_key_stays_where_it_was() {
    let log = [
        plain(0, &[(Some("a"), Some("1")), (Some("b"), Some("1")), (Some("a"), Some("2"))]),
        plain(3, &[(Some("c"), Some("1")), (None, Some("x")), (Some(""), Some("e"))]),
        plain(6, &[(Some("b"), Some("2"))]),
        plain(7, &[(Some("c"), Some("2"))]),
    ];
    let left = Pass::new(7, 0).left(&log);
    assert_eq!(offsets(&left), [2, 3, 5, 6, 7], "the last was not looked at");
    assert_eq!(left[3], log[3]);
    let all = read(&log);
    assert!(read(&left).iter().all(|(offset, record)| all[offset] == *record));
    let header = BatchHeader::parse(&left[0]).unwrap();
    assert_eq!((header.record_count, header.max_timestamp), (1, TimestampMs(1002)));
    let again = Pass { from: 7, ..Pass::new(8, 0) }.left(&left);
    assert_eq!(offsets(&again), [2, 5, 6, 7]);
}

#[test]
fn a_batch_that_loses_nothing_is_not_touched() {
    for codec in CODECS {
        let log = [batch(0, &[(Some("a"), Some("1")), (Some("b"), Some("1"))], codec, producer(5))];
        assert_eq!(Pass::new(2, 0).left(&log), log);
    }
}

#[test]
fn a_tombstone_stays_until_its_horizon() {
    for log_append_time in [false, true] {
        let mut second = plain(1, &[(Some("b"), Some("1")), (Some("a"), None)]);
        if log_append_time {
            set_log_append_time(&mut second, TimestampMs(5000));
        }
        let log = [plain(0, &[(Some("a"), Some("1"))]), second, plain(3, &[(Some("z"), Some("1"))])];
        let left = Pass::new(4, 50).left(&log);
        let all = read(&log);
        assert_eq!(offsets(&left), [1, 2, 3]);
        assert!(read(&left).iter().all(|(offset, record)| all[offset] == *record), "timestamps count from elsewhere");
        let header = BatchHeader::parse(&left[0]).unwrap();
        assert_eq!(header.delete_horizon(), Some(TimestampMs(50 + RETENTION)));
        assert_eq!(header.max_timestamp, BatchHeader::parse(&log[1]).unwrap().max_timestamp);
        let again = Pass { from: 4, ..Pass::new(4, 149) }.left(&left);
        assert_eq!(again, left, "its time runs on");
        let gone = Pass { from: 4, ..Pass::new(4, 150) }.left(&left);
        assert_eq!(offsets(&gone), [1, 3]);
        assert_eq!(read(&gone)[&1], all[&1]);
        assert!(BatchHeader::parse(&gone[0]).unwrap().has_delete_horizon());
    }
}

#[test]
fn a_producers_last_batch_and_the_last_of_the_pass_are_kept_empty() {
    let log = [
        batch(0, &[(Some("a"), Some("1")), (Some("a"), Some("2"))], Compression::Zstd, producer(5)),
        batch(2, &[(Some("a"), Some("3"))], Compression::None, producer(6)),
        plain(3, &[(Some("a"), Some("4"))]),
        plain(4, &[(None, None)]),
    ];
    let mut pass = Pass::new(5, 0);
    pass.producers.insert(ProducerId(5), LastBatch::Records(Offset(1)));
    pass.producers.insert(ProducerId(6), LastBatch::Records(Offset(9)));
    let left = pass.left(&log);
    assert_eq!(offsets(&left), [3]);
    let headers: Vec<_> = left.iter().map(|batch| BatchHeader::parse(batch).unwrap()).collect();
    assert_eq!(headers.iter().map(|header| header.base_offset.0).collect::<Vec<_>>(), [0, 3, 4]);
    assert_eq!((headers[0].record_count, headers[0].size(), headers[0].last_sequence()), (0, 61, Sequence(8)));
    assert_eq!((headers[0].compression(), headers[0].max_timestamp), (Some(Compression::None), TimestampMs(1001)));
    assert_eq!(headers[2].record_count, 0);
    assert_eq!(pass.left(&left), left);
    assert_eq!(offsets(&Pass::new(6, 0).left(&left)), [3]);
    assert_eq!(Pass::new(6, 0).left(&left).len(), 1, "nobody needs them any more");
}

#[test]
fn aborted_records_go_and_their_marker_after_them() {
    let log = [
        batch(0, &[(Some("a"), Some("1"))], Compression::None, transactional(1)),
        batch(1, &[(Some("a"), Some("2"))], Compression::Lz4, transactional(2)),
        marker(2, 1, true),
        marker(3, 2, false),
        batch(4, &[(Some("b"), Some("1"))], Compression::None, transactional(2)),
        marker(5, 2, true),
        plain(6, &[(Some("x"), Some("1"))]),
    ];
    let (left, _, aborts) = Pass::new(7, 50).run(&log);
    assert_eq!(offsets(&left), [0, 4, 6]);
    assert_eq!(aborts, [3], "readers of this pass's result are still told");
    assert_eq!(left.len(), 6, "markers stay while they had records");
    // Now nothing of the aborted transaction is left: its marker's time begins.
    let (again, _, aborts) = Pass::new(7, 60).run(&left);
    assert_eq!((again.len(), aborts), (6, vec![]));
    let horizons: Vec<_> = again.iter().map(|batch| BatchHeader::parse(batch).unwrap().delete_horizon()).collect();
    assert_eq!(horizons.iter().flatten().collect::<Vec<_>>(), [&TimestampMs(160)]);
    assert!(horizons[2].is_some());
    assert_eq!(Pass::new(7, 159).left(&again), again);
    let gone = Pass::new(7, 160).left(&again);
    assert_eq!(gone.len(), 5);
    assert_eq!(read(&gone), read(&left));
}

#[test]
fn a_marker_that_fences_is_kept_empty() {
    let log = [marker(0, 1, true), plain(1, &[(Some("a"), Some("1"))])];
    let mut pass = Pass::new(2, 0);
    pass.producers.insert(ProducerId(1), LastBatch::Marker(ProducerEpoch(1)));
    let left = pass.left(&log);
    pass.now = RETENTION;
    let emptied = pass.left(&left);
    let header = BatchHeader::parse(&emptied[0]).unwrap();
    assert_eq!((header.record_count, header.is_control(), header.has_delete_horizon()), (0, true, false));
    assert_eq!(pass.left(&emptied), emptied);
    pass.producers.insert(ProducerId(1), LastBatch::Marker(ProducerEpoch(2)));
    assert_eq!(pass.left(&emptied).len(), 1);
}

#[test]
fn a_transaction_that_ends_after_the_pass_is_known() {
    let log = [
        batch(0, &[(Some("a"), Some("1"))], Compression::None, transactional(1)),
        plain(1, &[(Some("a"), Some("0"))]),
        plain(2, &[(Some("z"), Some("0"))]),
        marker(3, 1, false),
    ];
    assert_eq!(offsets(&Pass::new(3, 0).left(&log)), [1, 2]);
}

#[test]
fn what_does_not_fit_the_memory_waits_for_the_next_pass() {
    let keys: Vec<String> = (0..60).map(|n| (n % 25).to_string()).collect();
    let records: Vec<KeyValue<'_>> = keys.iter().map(|key| (Some(key.as_str()), Some("v"))).collect();
    let mut log = vec![plain(0, &records[..20]), plain(20, &records[20..40]), plain(40, &records[40..])];
    let (mut pass, mut passes) = (Pass { memory: 10 * 24, ..Pass::new(60, 0) }, 0);
    while pass.from < 60 {
        let (left, end, _) = pass.run(&log);
        assert!(end > pass.from);
        (log, pass.from, passes) = (left, end, passes + 1);
    }
    assert!(passes > 2);
    assert_eq!(offsets(&log), (35..60).collect::<Vec<_>>());
}

#[test]
fn rubbish_in_a_batch_is_an_error() {
    let mut bad = plain(0, &[(Some("a"), Some("1"))]);
    let last = bad.len() - 3;
    bad[last] = 99;
    let header = BatchHeader::parse(&bad).unwrap();
    let seeds = [RandomState::new(), RandomState::new()];
    assert!(KeyMap::new(9, 999, seeds, Offset(0)).take(&header, &bad, Offset(0)).is_err());
}

#[derive(Clone, Debug)]
enum Step {
    Write { producer: Option<usize>, records: Vec<(Option<u8>, bool)>, codec: usize },
    End { producer: usize, commit: bool },
}

fn step() -> impl Strategy<Value = Step> {
    let key = prop_oneof![9 => (0..6_u8).prop_map(Some), 1 => Just(None)];
    let records = prop::collection::vec((key, prop::bool::weighted(0.7)), 1..6);
    prop_oneof![
        4 => (prop::option::of(0..3_usize), records, 0..5_usize)
            .prop_map(|(producer, records, codec)| Step::Write { producer, records, codec }),
        2 => (0..3_usize, any::<bool>()).prop_map(|(producer, commit)| Step::End { producer, commit }),
    ]
}

/// A log whose transactions have all ended, and the offsets that were aborted.
fn log_of(steps: &[Step]) -> (Vec<BytesMut>, BTreeSet<i64>) {
    let (mut log, mut aborted, mut next) = (Vec::new(), BTreeSet::new(), 0_i64);
    let mut open: [Vec<i64>; 3] = Default::default();
    let ends = (0..3).map(|producer| Step::End { producer, commit: producer == 1 });
    for step in steps.iter().cloned().chain(ends) {
        match step {
            Step::Write { producer, records, codec } => {
                let values: Vec<_> = records
                    .iter()
                    .enumerate()
                    .map(|(n, (key, value))| {
                        (key.map(|key| key.to_string()), value.then(|| format!("{}", next + n as i64)))
                    })
                    .collect();
                let values: Vec<_> = values.iter().map(|(key, value)| (key.as_deref(), value.as_deref())).collect();
                let count = values.len() as i64;
                log.push(match producer {
                    Some(id) => batch(next, &values, CODECS[codec], transactional(id as i64)),
                    None => batch(next, &values, CODECS[codec], |builder| builder),
                });
                if let Some(id) = producer {
                    open[id].extend(next..next + count);
                }
                next += count;
            }
            Step::End { producer, commit } => {
                let ended = std::mem::take(&mut open[producer]);
                if !commit {
                    aborted.extend(ended);
                }
                log.push(marker(next, producer as i64, commit));
                next += 1;
            }
        }
    }
    (log, aborted)
}

/// What a reader of committed records knows in the end: the value of each key.
fn table(records: &BTreeMap<i64, Owned>, aborted: &BTreeSet<i64>) -> BTreeMap<String, String> {
    let mut table = BTreeMap::new();
    for (_, (_, key, value)) in records.iter().filter(|(offset, _)| !aborted.contains(offset)) {
        let Some(key) = key else { continue };
        match value {
            Some(value) => table.insert(key.clone(), value.clone()),
            None => table.remove(key),
        };
    }
    table
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn readers_of_a_compacted_log_know_what_they_knew(
        steps in prop::collection::vec(step(), 1..30),
        cuts in prop::collection::vec(any::<prop::sample::Index>(), 0..4),
        memory in prop_oneof![Just(3 * 24_usize), Just(1 << 20)],
    ) {
        let (original, aborted) = log_of(&steps);
        let all = read(&original);
        let known = table(&all, &aborted);
        let bases: Vec<i64> = original.iter().map(|batch| BatchHeader::parse(batch).unwrap().base_offset.0).collect();
        let end = BatchHeader::parse(original.last().unwrap()).unwrap().next_offset().0;
        let mut ends: Vec<i64> = cuts.iter().map(|cut| bases[cut.index(bases.len())]).collect();
        ends.sort_unstable();
        ends.push(end);
        let (mut log, mut from, mut now) = (original, 0, 0);
        for end in ends {
            while from < end {
                let pass = Pass { from, memory, ..Pass::new(end, now) };
                let before = read(&log);
                let (left, reached, _) = pass.run(&log);
                prop_assert!(reached > from && reached <= end);
                let after = read(&left);
                prop_assert_eq!(table(&after, &aborted), known.clone());
                prop_assert!(after.iter().all(|(offset, record)| all[offset] == *record));
                prop_assert!(before.range(reached..).eq(after.range(reached..)));
                let below: Vec<_> = after.range(..reached).filter(|(offset, _)| !aborted.contains(offset)).collect();
                let keys: BTreeSet<_> = below.iter().map(|(_, (_, key, _))| key.clone()).collect();
                prop_assert!(keys.len() == below.len() && !keys.contains(&None), "one record of each key");
                (log, from, now) = (left, reached, now + 70);
            }
        }
        // Whatever was deleted is gone once its time is over, and so are the markers of what is gone.
        for _ in 0..4 {
            now += RETENTION;
            log = Pass { from, ..Pass::new(end, now) }.left(&log);
        }
        let values: BTreeMap<_, _> = read(&log).into_values().map(|(_, key, value)| (key.unwrap(), value.unwrap())).collect();
        prop_assert_eq!(values, known);
    }
}
