//! Rules 10-13 one by one, then random histories of transactions, guards and markers against a model that keeps
//! everything and looks it up the slow way.

use std::collections::HashMap;

use proptest::prelude::*;

use super::*;
use crate::types::LeaderEpoch;
use crate::wire::batch::{CONTROL, TRANSACTIONAL};

const NONE: VerificationGuard = VerificationGuard::NONE;
const DAY_MS: i64 = 86_400_000;

fn client(guard: VerificationGuard) -> Origin {
    Origin::Client { version: 12, guard }
}

fn coordinator(guard: VerificationGuard) -> Origin {
    Origin::Coordinator { guard }
}

fn by(transaction_version: i16) -> Origin {
    Origin::Marker { transaction_version }
}

fn batch(producer: i64, epoch: i16, sequence: i32, count: i32) -> BatchHeader {
    BatchHeader {
        base_offset: Offset(0),
        batch_length: 100,
        partition_leader_epoch: LeaderEpoch(0),
        crc: 0,
        attributes: TRANSACTIONAL,
        last_offset_delta: count - 1,
        base_timestamp: TimestampMs(1),
        max_timestamp: TimestampMs(1),
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(sequence),
        record_count: count,
    }
}

fn plain(producer: i64, epoch: i16, sequence: i32, count: i32) -> BatchHeader {
    BatchHeader { attributes: 0, ..batch(producer, epoch, sequence, count) }
}

fn end(commit: bool, coordinator_epoch: i32) -> Control {
    Control::End(EndMarker { commit, coordinator_epoch })
}

fn marker(producer: i64, epoch: i16) -> BatchHeader {
    BatchHeader { attributes: TRANSACTIONAL | CONTROL, ..batch(producer, epoch, -1, 1) }
}

/// Takes a batch over at the log's end.
fn apply(states: &mut ProducerStates, header: BatchHeader, control: Option<Control>) -> Option<Aborted> {
    let header = BatchHeader { base_offset: states.end_offset(), ..header };
    states.apply(&header, control, TimestampMs(1))
}

fn begin(states: &mut ProducerStates, producer: i64, epoch: i16, sequence: i32) -> VerificationGuard {
    let (producer, epoch) = (ProducerId(producer), ProducerEpoch(epoch));
    states.begin_verification(producer, epoch, Sequence(sequence), true, TimestampMs(1)).unwrap().unwrap()
}

/// One word for each outcome.
fn outcome(result: &Result<Decision, AppendError>) -> &'static str {
    match result {
        Ok(Decision::Append) => "append",
        Ok(Decision::Duplicate(_)) => "duplicate",
        Err(AppendError::InvalidProducerEpoch(_)) => "old epoch",
        Err(AppendError::OutOfOrderSequence(_)) => "out of order",
        Err(AppendError::InvalidTxnState(_)) => "not in transaction",
        Err(AppendError::CoordinatorFenced(_)) => "old coordinator",
        Err(other) => panic!("{other}"),
    }
}

fn decide(states: &ProducerStates, header: &BatchHeader, origin: Origin) -> &'static str {
    outcome(&states.decide(header, None, origin))
}

#[test]
fn the_first_record_of_a_transaction_needs_the_guard_of_its_verification() {
    let mut states = ProducerStates::default();
    let first = batch(1, 0, 0, 2);
    assert_eq!(decide(&states, &first, client(NONE)), "not in transaction");
    let guard = begin(&mut states, 1, 0, 0);
    let other = begin(&mut states, 2, 0, 0);
    assert_eq!(decide(&states, &first, client(NONE)), "not in transaction");
    assert_eq!(decide(&states, &first, client(other)), "not in transaction");
    assert_eq!(decide(&states, &first, coordinator(other)), "not in transaction");
    assert_eq!(decide(&states, &first, client(guard)), "append");
    assert_eq!(decide(&states, &first, coordinator(guard)), "append");
    apply(&mut states, first, None);
    // It is open now: the guard is gone, and none is needed.
    assert_eq!(decide(&states, &batch(1, 0, 2, 1), client(NONE)), "append");
    assert_eq!(decide(&states, &batch(1, 0, -1, 1), coordinator(NONE)), "append");
    assert_eq!(decide(&states, &plain(1, 0, 2, 1), client(NONE)), "not in transaction", "rule 10");
    assert_eq!(decide(&states, &plain(1, 0, -1, 1), coordinator(NONE)), "not in transaction");
    assert_eq!(decide(&states, &first, client(NONE)), "duplicate");
    apply(&mut states, marker(1, 1), Some(end(true, 0)));
    assert_eq!(decide(&states, &batch(1, 1, 0, 1), client(guard)), "not in transaction", "it was of the last one");
}

#[test]
fn the_duplicate_and_the_epoch_come_before_the_transaction() {
    let mut states = ProducerStates::default();
    apply(&mut states, batch(1, 3, 0, 2), None);
    apply(&mut states, marker(1, 3), Some(end(true, 0)));
    assert_eq!(decide(&states, &batch(1, 3, 0, 2), client(NONE)), "duplicate");
    assert_eq!(decide(&states, &batch(1, 2, 0, 2), client(NONE)), "old epoch");
    assert_eq!(decide(&states, &batch(1, 2, -1, 1), coordinator(NONE)), "old epoch");
    assert_eq!(decide(&states, &batch(1, 3, 7, 1), client(NONE)), "not in transaction", "whatever its sequence");
    let lower = states.begin_verification(ProducerId(1), ProducerEpoch(2), Sequence(0), true, TimestampMs(1));
    assert!(matches!(lower, Err(AppendError::InvalidProducerEpoch(_))));
}

#[test]
fn a_marker_takes_the_guard_away_but_not_that_of_the_next_transaction() {
    // Transactions of version 1: the marker has the epoch of the transaction.
    let mut states = ProducerStates::default();
    let (one, epoch) = (ProducerId(1), ProducerEpoch(0));
    let verify = |states: &mut ProducerStates| {
        states.begin_verification(one, epoch, Sequence(0), false, TimestampMs(1)).unwrap().unwrap()
    };
    let late = verify(&mut states);
    apply(&mut states, marker(1, 0), Some(end(false, 0)));
    assert_eq!(decide(&states, &batch(1, 0, 0, 1), client(late)), "not in transaction");
    assert_ne!(verify(&mut states), late);
    // Version 2: a marker of the epoch that is verified ended the transaction before.
    let mut states = ProducerStates::default();
    let guard = begin(&mut states, 1, 1, 0);
    apply(&mut states, marker(1, 1), Some(end(false, 0)));
    assert_eq!(decide(&states, &batch(1, 1, 0, 1), client(guard)), "append");
    apply(&mut states, marker(1, 2), Some(end(false, 0)));
    assert_eq!(decide(&states, &batch(1, 2, 0, 1), client(guard)), "not in transaction");
}

#[test]
fn no_sequence_overtakes_one_whose_verification_failed() {
    let mut states = ProducerStates::default();
    apply(&mut states, batch(1, 0, 0, 3), None);
    apply(&mut states, marker(1, 0), Some(end(true, 0)));
    let guard = begin(&mut states, 1, 0, 5);
    assert_eq!(begin(&mut states, 1, 0, 3), guard);
    assert_eq!(begin(&mut states, 1, 0, 9), guard, "a higher one changes nothing");
    assert_eq!(decide(&states, &batch(1, 0, 5, 1), client(guard)), "out of order");
    assert_eq!(decide(&states, &batch(1, 0, 3, 1), client(guard)), "append");
    assert_eq!(begin(&mut states, 1, 1, 7), guard);
    assert_eq!(decide(&states, &batch(1, 1, 7, 1), client(guard)), "out of order", "an epoch begins at 0");
    assert_eq!(decide(&states, &batch(1, 1, 0, 1), client(guard)), "append");
}

#[test]
fn where_transactions_have_their_own_epochs_an_unknown_producer_begins_at_zero() {
    let mut states = ProducerStates::default();
    let guard = begin(&mut states, 1, 0, 5);
    assert_eq!(decide(&states, &batch(1, 0, 5, 1), client(guard)), "out of order");
    assert_eq!(decide(&states, &batch(1, 0, -1, 1), coordinator(guard)), "append", "it has no sequences");
    let old = states.begin_verification(ProducerId(2), ProducerEpoch(0), Sequence(5), false, TimestampMs(1));
    assert_eq!(decide(&states, &batch(2, 0, 5, 1), client(old.unwrap().unwrap())), "append");
}

#[test]
fn who_may_end_a_transaction_depends_on_its_version() {
    let decide = |states: &ProducerStates, epoch, version| {
        outcome(&states.decide(&marker(1, epoch), Some(end(true, 5)), by(version)))
    };
    let mut states = ProducerStates::default();
    // Nothing is known of it: a coordinator may not know that this partition was never written to.
    assert_eq!([0, 1, 2].map(|version| decide(&states, 0, version)), ["append"; 3]);
    apply(&mut states, batch(1, 4, 0, 2), None);
    assert_eq!([0, 1, 2].map(|version| decide(&states, 3, version)), ["old epoch"; 3]);
    assert_eq!([0, 1, 2].map(|version| decide(&states, 4, version)), ["append", "append", "old epoch"]);
    assert_eq!([0, 1, 2].map(|version| decide(&states, 5, version)), ["append"; 3]);
    apply(&mut states, marker(1, 5), Some(end(true, 5)));
    // Written again, because the coordinator did not learn of it.
    assert_eq!([0, 1, 2].map(|version| decide(&states, 5, version)), ["append"; 3]);
    assert_eq!([0, 1, 2].map(|version| decide(&states, 4, version)), ["old epoch"; 3]);
}

#[test]
fn a_coordinator_that_was_replaced_ends_nothing() {
    let mut states = ProducerStates::default();
    apply(&mut states, batch(1, 0, 0, 2), None);
    apply(&mut states, marker(1, 0), Some(end(true, 5)));
    let decide = |states: &ProducerStates, epoch, coordinator| {
        outcome(&states.decide(&marker(1, epoch), Some(end(true, coordinator)), by(1)))
    };
    assert_eq!(decide(&states, 0, 4), "old coordinator");
    assert_eq!(decide(&states, 7, 4), "old coordinator", "whatever the producer's epoch");
    assert_eq!(decide(&states, 0, 5), "append");
    let mut other = ProducerStates::default();
    other.restore(&states.snapshot(), states.end_offset(), TimestampMs(1));
    assert_eq!(decide(&other, 0, 4), "old coordinator");
    assert_eq!(other.get(ProducerId(1)).unwrap().coordinator_epoch(), 5);
}

#[test]
fn only_an_aborted_transaction_with_records_here_is_noted() {
    let mut states = ProducerStates::default();
    assert_eq!(apply(&mut states, marker(1, 0), Some(end(false, 0))), None, "it had none");
    apply(&mut states, batch(1, 0, 0, 2), None);
    apply(&mut states, batch(2, 0, 0, 3), None);
    assert_eq!(apply(&mut states, marker(2, 0), Some(end(true, 0))), None, "it counts");
    apply(&mut states, batch(2, 0, 3, 1), None);
    let noted = |producer, first, last, stable| {
        let (first_offset, last_offset) = (Offset(first), Offset(last));
        Some(Aborted {
            producer_id: ProducerId(producer),
            first_offset,
            last_offset,
            last_stable_offset: Offset(stable),
        })
    };
    assert_eq!(apply(&mut states, marker(2, 0), Some(end(false, 0))), noted(2, 7, 8, 1), "the first is open");
    assert_eq!(apply(&mut states, marker(1, 0), Some(end(false, 0))), noted(1, 1, 9, 10));
    assert_eq!(states.first_unstable(), Some(Offset(1)), "nobody has seen a marker");
    states.replicated(Offset(9));
    assert_eq!(states.first_unstable(), Some(Offset(1)));
    states.replicated(Offset(10));
    assert_eq!(states.first_unstable(), None);
}

#[test]
fn control_batches_that_end_nothing_change_nothing() {
    let mut states = ProducerStates::default();
    apply(&mut states, batch(1, 0, 0, 2), None);
    let before = states.snapshot();
    assert_eq!(apply(&mut states, marker(1, 1), Some(Control::Other)), None);
    assert_eq!((states.snapshot(), states.end_offset()), (before, Offset(3)));
    // What compaction left of a marker: the records are gone, so nobody has to be told of them.
    assert_eq!(apply(&mut states, marker(1, 1), Some(Control::Emptied)), None);
    assert_eq!(states.first_open_transaction(), None);
    assert_eq!(states.get(ProducerId(1)).unwrap().epoch(), ProducerEpoch(1));
}

#[test]
fn a_verification_that_nobody_finishes_expires() {
    let mut states = ProducerStates::default();
    let guard = begin(&mut states, 1, 0, 0);
    states.expire(TimestampMs(DAY_MS), DAY_MS);
    assert_eq!(decide(&states, &batch(1, 0, 0, 1), client(guard)), "append");
    states.expire(TimestampMs(DAY_MS + 1), DAY_MS);
    assert_eq!(decide(&states, &batch(1, 0, 0, 1), client(guard)), "not in transaction");
}

/// Everything that was appended, and the verifications that go on. Slow, and too simple to be wrong.
#[derive(Default)]
struct Model {
    log: Vec<(BatchHeader, Option<Control>)>,
    verified: HashMap<ProducerId, Verified>,
    guards: Vec<VerificationGuard>,
    high_watermark: i64,
}

#[derive(Clone, Copy)]
struct Verified {
    guard: VerificationGuard,
    epoch: i16,
    lowest: i32,
    adds: bool,
}

/// The sequence after such a batch; a coordinator's has none.
fn after((first, count): (i32, i32)) -> i32 {
    if first < 0 { 0 } else { first + count }
}

/// What the log says of one producer.
#[derive(Default)]
struct Known {
    epoch: Option<i16>,
    coordinator: i32,
    open: Option<i64>,
    /// Batches of the current epoch: first sequence and count.
    batches: Vec<(i32, i32)>,
}

impl Model {
    fn end(&self) -> i64 {
        self.log.last().map_or(0, |(header, _)| header.next_offset().0)
    }

    fn known(&self, producer: ProducerId) -> Known {
        let mut known = Known { coordinator: -1, ..Known::default() };
        for (header, control) in self.log.iter().filter(|(header, _)| header.producer_id == producer) {
            if known.epoch.replace(header.producer_epoch.0) != Some(header.producer_epoch.0) {
                known.batches.clear();
            }
            if let Some(Control::End(marker)) = control {
                (known.coordinator, known.open) = (marker.coordinator_epoch, None);
                continue;
            }
            known.batches.push((header.base_sequence.0, header.record_count));
            if header.is_transactional() {
                known.open = known.open.or(Some(header.base_offset.0));
            }
        }
        known
    }

    /// First offset and marker of every transaction, in order of their first offsets.
    fn transactions(&self) -> Vec<(i64, Option<i64>)> {
        let mut all: Vec<(i64, Option<i64>)> = Vec::new();
        let mut open: HashMap<ProducerId, usize> = HashMap::new();
        for (header, control) in &self.log {
            if control.is_some() {
                if let Some(at) = open.remove(&header.producer_id) {
                    all[at].1 = Some(header.base_offset.0);
                }
            } else if header.is_transactional() {
                open.entry(header.producer_id).or_insert_with(|| {
                    all.push((header.base_offset.0, None));
                    all.len() - 1
                });
            }
        }
        all
    }

    fn first_unstable(&self) -> Option<i64> {
        let unstable = |(_, marker): &(i64, Option<i64>)| marker.is_none_or(|marker| marker >= self.high_watermark);
        self.transactions().into_iter().find(unstable).map(|(first, _)| first)
    }

    fn decide(&self, header: &BatchHeader, control: Option<Control>, origin: Origin) -> &'static str {
        let known = self.known(header.producer_id);
        let current = known.epoch.unwrap_or(-1);
        let epoch = header.producer_epoch.0;
        let verified = self.verified.get(&header.producer_id);
        let guard = match origin {
            Origin::Marker { transaction_version } => {
                let Some(Control::End(marker)) = control else { panic!("no marker") };
                let old = epoch < current || (transaction_version >= 2 && epoch == current && known.open.is_some());
                return match (old, marker.coordinator_epoch < known.coordinator) {
                    (true, _) => "old epoch",
                    (false, true) => "old coordinator",
                    (false, false) => "append",
                };
            }
            Origin::Broker => return "append",
            Origin::Client { guard, .. } | Origin::Coordinator { guard } => guard,
        };
        let from_client = matches!(origin, Origin::Client { .. });
        let sent = (header.base_sequence.0, header.record_count);
        if from_client && epoch == current && known.batches.iter().rev().take(5).any(|batch| *batch == sent) {
            return "duplicate";
        }
        if epoch < current {
            return "old epoch";
        }
        let is_open = known.open.is_some() && epoch == current;
        if header.is_transactional() && !is_open && !(guard != NONE && verified.is_some_and(|v| v.guard == guard)) {
            return "not in transaction";
        }
        if from_client {
            let first = sent.0;
            let overtakes =
                verified.is_some_and(|v| (v.adds && first != 0 && known.batches.is_empty()) || first > v.lowest);
            let expected = match known.batches.last() {
                _ if known.epoch.is_none() => first,
                Some(last) if epoch == current => after(*last),
                _ => 0,
            };
            if overtakes || first != expected {
                return "out of order";
            }
        }
        if !header.is_transactional() && known.open.is_some() {
            return "not in transaction";
        }
        "append"
    }

    fn append(&mut self, header: BatchHeader, control: Option<Control>) {
        if header.is_transactional() {
            let stays = self.verified.get(&header.producer_id).is_some_and(|verified| {
                verified.adds && control.is_some() && header.producer_epoch.0 == verified.epoch
            });
            if !stays {
                self.verified.remove(&header.producer_id);
            }
        }
        self.log.push((header, control));
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// A verification, off the producer's epoch and sequence by so much.
    Verify {
        producer: i64,
        epoch_step: i16,
        sequence_step: i32,
        adds: bool,
    },
    /// A write, with this guard: the producer's own, none, or one that was given out before.
    Write {
        producer: i64,
        epoch_step: i16,
        sequence_step: i32,
        count: i32,
        transactional: bool,
        guard: Guard,
        from: From,
    },
    /// What it wrote so many batches ago comes again.
    Resend {
        producer: i64,
        ago: usize,
        guard: Guard,
    },
    /// A marker, off the producer's epoch and its coordinator's by so much.
    End {
        producer: i64,
        epoch_step: i16,
        coordinator_step: i32,
        commit: bool,
        version: i16,
    },
    /// Readers see all but so many offsets.
    Replicate {
        missing: i64,
    },
    Snapshot,
    Restart,
}

#[derive(Clone, Copy, Debug)]
enum Guard {
    Own,
    None,
    Old(prop::sample::Index),
}

#[derive(Clone, Copy, Debug)]
enum From {
    Client,
    Coordinator,
}

fn step() -> impl Strategy<Value = Step> {
    let producer = || 0..3_i64;
    let epoch = || prop_oneof![8 => Just(0_i16), 1 => Just(1), 1 => Just(-1)];
    let sequence = || prop_oneof![8 => Just(0), 1 => Just(1), 1 => Just(-1)];
    let guard = || prop_oneof![8 => Just(Guard::Own), 1 => Just(Guard::None), 1 => any::<prop::sample::Index>().prop_map(Guard::Old)];
    let from = prop_oneof![4 => Just(From::Client), 1 => Just(From::Coordinator)];
    prop_oneof![
        6 => (producer(), epoch(), sequence(), any::<bool>())
            .prop_map(|(producer, epoch_step, sequence_step, adds)| Step::Verify { producer, epoch_step, sequence_step, adds }),
        12 => (producer(), epoch(), sequence(), 1..4_i32, prop::bool::weighted(0.8), guard(), from).prop_map(
            |(producer, epoch_step, sequence_step, count, transactional, guard, from)| Step::Write {
                producer, epoch_step, sequence_step, count, transactional, guard, from
            }),
        3 => (producer(), 0..7_usize, guard()).prop_map(|(producer, ago, guard)| Step::Resend { producer, ago, guard }),
        5 => (producer(), epoch(), prop_oneof![4 => Just(0), 1 => Just(1), 1 => Just(-1)], any::<bool>(), 0..3_i16)
            .prop_map(|(producer, epoch_step, coordinator_step, commit, version)| Step::End {
                producer, epoch_step, coordinator_step, commit, version
            }),
        3 => (0..4_i64).prop_map(|missing| Step::Replicate { missing }),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Restart),
    ]
}

struct Run {
    states: ProducerStates,
    model: Model,
    snapshot: (Offset, Vec<ProducerSnapshotEntry>),
}

impl Run {
    fn next(&self, producer: i64) -> (i16, i32) {
        let known = self.model.known(ProducerId(producer));
        let sequence = known.batches.last().map_or(0, |last| after(*last));
        (known.epoch.unwrap_or(0), sequence)
    }

    fn guard(&self, producer: i64, which: Guard) -> VerificationGuard {
        match which {
            Guard::Own => self.model.verified.get(&ProducerId(producer)).map_or(NONE, |verified| verified.guard),
            Guard::Old(index) if !self.model.guards.is_empty() => *index.get(&self.model.guards),
            Guard::Old(_) | Guard::None => NONE,
        }
    }

    fn verify(&mut self, producer: i64, epoch: i16, sequence: i32, adds: bool) {
        let id = ProducerId(producer);
        let known = self.model.known(id);
        let result = self.states.begin_verification(id, ProducerEpoch(epoch), Sequence(sequence), adds, TimestampMs(1));
        if known.epoch.is_some_and(|current| epoch < current) {
            assert!(matches!(result, Err(AppendError::InvalidProducerEpoch(_))));
        } else if known.open.is_some() && known.epoch == Some(epoch) {
            assert_eq!(result, Ok(None));
        } else {
            let guard = result.unwrap().unwrap();
            if let Some(verified) = self.model.verified.get_mut(&id) {
                assert_eq!(verified.guard, guard);
                if epoch > verified.epoch || (epoch == verified.epoch && sequence < verified.lowest) {
                    (verified.epoch, verified.lowest) = (epoch, sequence);
                }
            } else {
                assert!(!self.model.guards.contains(&guard), "each is given out once");
                self.model.guards.push(guard);
                self.model.verified.insert(id, Verified { guard, epoch, lowest: sequence, adds });
            }
        }
    }

    fn append(&mut self, mut header: BatchHeader, control: Option<Control>, origin: Origin) {
        header.base_offset = self.states.end_offset();
        let expected = self.model.decide(&header, control, origin);
        assert_eq!(
            outcome(&self.states.decide(&header, control, origin)),
            expected,
            "{header:?} {control:?} {origin:?}"
        );
        if expected != "append" {
            return;
        }
        let first = self.model.known(header.producer_id).open;
        self.model.append(header, control);
        let aborted = self.states.apply(&header, control, TimestampMs(1));
        let is_abort = matches!(control, Some(Control::End(EndMarker { commit: false, .. })));
        let expected = first.filter(|_| is_abort).map(|first| {
            let open = self.model.transactions().into_iter().find(|(_, marker)| marker.is_none());
            Aborted {
                producer_id: header.producer_id,
                first_offset: Offset(first),
                last_offset: header.base_offset,
                last_stable_offset: Offset(open.map_or(header.base_offset.0 + 1, |(first, _)| first)),
            }
        });
        assert_eq!(aborted, expected);
    }

    fn restart(&mut self) {
        let (from, entries) = &self.snapshot;
        // What was given out before a restart is worth nothing after it.
        self.states.restore(entries, *from, TimestampMs(1));
        for (header, control) in self.model.log.iter().filter(|(header, _)| header.base_offset >= *from) {
            self.states.apply(header, *control, TimestampMs(1));
        }
        self.model.verified.clear();
        // What is recovered is seen.
        self.model.high_watermark = self.model.end();
        self.states.replicated(Offset(self.model.high_watermark));
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Verify { producer, epoch_step, sequence_step, adds } => {
                let (epoch, sequence) = self.next(producer);
                let sequence = if epoch_step == 0 { sequence + sequence_step } else { sequence_step };
                self.verify(producer, (epoch + epoch_step).max(0), sequence.max(0), adds);
            }
            Step::Write { producer, epoch_step, sequence_step, count, transactional, guard, from } => {
                let (epoch, sequence) = self.next(producer);
                let sequence = if epoch_step == 0 { sequence + sequence_step } else { sequence_step };
                let guard = self.guard(producer, guard);
                let (sequence, origin) = match from {
                    From::Client => (sequence.max(0), client(guard)),
                    From::Coordinator => (-1, coordinator(guard)),
                };
                let build = if transactional { batch } else { plain };
                self.append(build(producer, (epoch + epoch_step).max(0), sequence, count), None, origin);
            }
            Step::Resend { producer, ago, guard } => {
                let own = self.model.log.iter().rev().filter(|(header, _)| header.producer_id.0 == producer);
                let sent = own.filter(|(header, control)| control.is_none() && header.base_sequence.0 >= 0).nth(ago);
                if let Some((header, _)) = sent.copied() {
                    let guard = self.guard(producer, guard);
                    self.append(header, None, client(guard));
                }
            }
            Step::End { producer, epoch_step, coordinator_step, commit, version } => {
                let (epoch, _) = self.next(producer);
                let coordinator = self.model.known(ProducerId(producer)).coordinator.max(0) + coordinator_step;
                let header = marker(producer, (epoch + epoch_step).max(0));
                self.append(header, Some(end(commit, coordinator)), by(version));
            }
            Step::Replicate { missing } => {
                self.model.high_watermark = self.model.high_watermark.max(self.model.end() - missing);
                self.states.replicated(Offset(self.model.high_watermark));
            }
            Step::Snapshot => self.snapshot = (self.states.end_offset(), self.states.snapshot()),
            Step::Restart => self.restart(),
        }
        assert_eq!(self.states.first_unstable().map(|offset| offset.0), self.model.first_unstable());
    }
}

proptest! {
    #[test]
    fn decides_as_a_model_of_transactions_that_forgets_nothing(steps in prop::collection::vec(step(), 1..150)) {
        let mut run = Run { states: ProducerStates::default(), model: Model::default(), snapshot: Default::default() };
        for step in &steps {
            run.step(step);
        }
    }
}
