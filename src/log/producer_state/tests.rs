//! Rules 7-10 one by one, then random histories against a model that keeps everything and looks it up the slow way.

use proptest::prelude::*;

use super::*;
use crate::types::LeaderEpoch;

const CLIENT: Origin = Origin::Client { version: 11, guard: VerificationGuard::NONE };
const DAY_MS: i64 = 86_400_000;
const TRANSACTIONAL: i16 = 0x10;
const CONTROL: i16 = 0x20;

fn batch(producer: i64, epoch: i16, sequence: i32, count: i32, offset: i64) -> BatchHeader {
    BatchHeader {
        base_offset: Offset(offset),
        batch_length: 100,
        partition_leader_epoch: LeaderEpoch(0),
        crc: 0,
        attributes: 0,
        last_offset_delta: count - 1,
        base_timestamp: TimestampMs(offset),
        max_timestamp: TimestampMs(offset),
        producer_id: ProducerId(producer),
        producer_epoch: ProducerEpoch(epoch),
        base_sequence: Sequence(sequence),
        record_count: count,
    }
}

fn with(attributes: i16, header: BatchHeader) -> BatchHeader {
    BatchHeader { attributes, ..header }
}

fn states(batches: &[BatchHeader]) -> ProducerStates {
    let mut states = ProducerStates::new(Offset(0));
    for header in batches {
        apply(&mut states, header, header.max_timestamp.0);
    }
    states
}

/// Control batches are commits of coordinator epoch 0.
fn apply(states: &mut ProducerStates, header: &BatchHeader, now: i64) {
    let commit = Control::End(EndMarker { commit: true, coordinator_epoch: 0 });
    assert_eq!(states.apply(header, header.is_control().then_some(commit), TimestampMs(now)), None);
}

fn decide(states: &ProducerStates, header: &BatchHeader) -> Result<Decision, AppendError> {
    states.decide(header, None, CLIENT)
}

/// The base offset of the batch that this one repeats.
fn duplicate(states: &ProducerStates, header: &BatchHeader) -> Option<i64> {
    match decide(states, header) {
        Ok(Decision::Duplicate(original)) => Some(original.base_offset().0),
        _ => None,
    }
}

fn restored(states: &ProducerStates, now: i64) -> ProducerStates {
    let mut other = ProducerStates::default();
    other.restore(&states.snapshot(), states.end_offset(), TimestampMs(now));
    other.expire(TimestampMs(now), DAY_MS);
    other
}

#[test]
fn the_last_five_batches_are_recognised_before_and_after_a_snapshot() {
    let sent: Vec<_> = (0..7).map(|i| batch(1, 0, i * 10, 10, i64::from(i) * 10)).collect();
    let live = states(&sent);
    for states in [&live, &restored(&live, 100)] {
        for (i, header) in sent.iter().enumerate().skip(2) {
            assert_eq!(duplicate(states, header), Some(sent[i].base_offset.0));
        }
        for old in &sent[..2] {
            assert!(matches!(decide(states, old), Err(AppendError::OutOfOrderSequence(_))));
        }
        assert_eq!(decide(states, &batch(1, 0, 70, 1, 0)), Ok(Decision::Append));
    }
}

#[test]
fn a_duplicate_has_both_sequences_in_common() {
    let states = states(&[batch(1, 0, 0, 10, 500)]);
    assert_eq!(duplicate(&states, &batch(1, 0, 0, 10, 0)), Some(500));
    assert!(matches!(decide(&states, &batch(1, 0, 0, 9, 0)), Err(AppendError::OutOfOrderSequence(_))));
    assert!(matches!(decide(&states, &batch(1, 0, 5, 5, 0)), Err(AppendError::OutOfOrderSequence(_))));
}

#[test]
fn an_unknown_producer_may_have_no_epoch_but_none_below() {
    let states = ProducerStates::default();
    assert_eq!(decide(&states, &batch(1, -1, 0, 1, 0)), Ok(Decision::Append));
    assert!(matches!(decide(&states, &batch(1, -2, 0, 1, 0)), Err(AppendError::InvalidProducerEpoch(_))));
}

#[test]
fn a_gap_is_refused() {
    let states = states(&[batch(1, 0, 0, 10, 0)]);
    assert!(matches!(decide(&states, &batch(1, 0, 11, 1, 0)), Err(AppendError::OutOfOrderSequence(_))));
    assert_eq!(decide(&states, &batch(1, 0, 10, 1, 0)), Ok(Decision::Append));
}

#[test]
fn sequences_wrap_to_zero_within_and_between_batches() {
    let within = states(&[batch(1, 0, i32::MAX - 1, 3, 0)]);
    assert_eq!(within.get(ProducerId(1)).unwrap().last_sequence(), Sequence(0));
    assert_eq!(duplicate(&within, &batch(1, 0, i32::MAX - 1, 3, 0)), Some(0));
    assert_eq!(decide(&within, &batch(1, 0, 1, 1, 0)), Ok(Decision::Append));
    let between = states(&[batch(1, 0, i32::MAX, 1, 0)]);
    assert_eq!(decide(&between, &batch(1, 0, 0, 1, 0)), Ok(Decision::Append));
    assert!(matches!(decide(&between, &batch(1, 0, 1, 1, 0)), Err(AppendError::OutOfOrderSequence(_))));
}

#[test]
fn a_lower_epoch_is_fenced_a_higher_one_starts_at_zero() {
    let mut states = states(&[batch(1, 3, 0, 10, 0)]);
    assert!(matches!(decide(&states, &batch(1, 2, 10, 1, 0)), Err(AppendError::InvalidProducerEpoch(_))));
    // The epoch is looked at before the sequence, so also a batch that would be a duplicate is fenced.
    assert!(matches!(decide(&states, &batch(1, 2, 0, 10, 0)), Err(AppendError::InvalidProducerEpoch(_))));
    assert!(matches!(decide(&states, &batch(1, 4, 10, 1, 0)), Err(AppendError::OutOfOrderSequence(_))));
    assert_eq!(decide(&states, &batch(1, 4, 0, 1, 0)), Ok(Decision::Append));
    apply(&mut states, &batch(1, 4, 0, 1, 10), 10);
    assert_eq!(states.get(ProducerId(1)).unwrap().batches().len(), 1);
    assert!(matches!(decide(&states, &batch(1, 3, 0, 10, 0)), Err(AppendError::InvalidProducerEpoch(_))));
}

#[test]
fn an_unknown_producer_may_begin_anywhere() {
    let states = ProducerStates::default();
    assert_eq!(decide(&states, &batch(1, 5, 1234, 1, 0)), Ok(Decision::Append));
    assert_eq!(decide(&states, &batch(-1, -1, -1, 1, 0)), Ok(Decision::Append));
}

#[test]
fn producers_expire_by_when_they_last_wrote() {
    let mut states = ProducerStates::default();
    // Old records, written now: not idle.
    apply(&mut states, &batch(1, 0, 0, 1, 0), DAY_MS * 100);
    apply(&mut states, &with(TRANSACTIONAL, batch(2, 0, 0, 1, 1)), 0);
    assert_eq!(states.expire(TimestampMs(DAY_MS * 101 - 1), DAY_MS), 0);
    assert_eq!(states.expire(TimestampMs(DAY_MS * 101), DAY_MS), 1);
    assert!(states.get(ProducerId(1)).is_none(), "expired");
    assert!(states.get(ProducerId(2)).is_some(), "its transaction is open");
    assert_eq!(decide(&states, &batch(1, 0, 77, 1, 0)), Ok(Decision::Append));
}

#[test]
fn a_producer_of_old_records_has_its_whole_time_again_after_a_restart() {
    let states = states(&[batch(1, 0, 0, 1, 0)]);
    let restart = 100 * DAY_MS;
    let mut other = restored(&states, restart);
    assert_eq!(other.expire(TimestampMs(restart + DAY_MS - 1), DAY_MS), 0);
    assert_eq!(duplicate(&other, &batch(1, 0, 0, 1, 0)), Some(0), "its retry is recognised");
    assert_eq!(other.expire(TimestampMs(restart + DAY_MS), DAY_MS), 1);
    assert_eq!(other.end_offset(), states.end_offset());
}

#[test]
fn no_snapshot_entry_is_younger_than_the_producers_last() {
    let mut early = batch(1, 0, 0, 1, 0);
    early.max_timestamp = TimestampMs(900);
    let mut late = batch(1, 0, 1, 1, 1);
    late.max_timestamp = TimestampMs(500);
    let timestamps: Vec<_> = states(&[early, late]).snapshot().iter().map(|entry| entry.timestamp.0).collect();
    assert_eq!(timestamps, [500, 500]);
}

#[test]
fn a_coordinator_writes_without_sequences_but_not_with_an_old_epoch() {
    let states = states(&[batch(1, 3, -1, 1, 0)]);
    let decide = |epoch, origin| states.decide(&batch(1, epoch, -1, 1, 0), None, origin);
    let coordinator = Origin::Coordinator { guard: VerificationGuard::NONE };
    assert_eq!(decide(3, coordinator), Ok(Decision::Append));
    assert!(matches!(decide(2, coordinator), Err(AppendError::InvalidProducerEpoch(_))));
    assert_eq!(decide(2, Origin::Broker), Ok(Decision::Append), "the broker is trusted");
}

#[test]
fn an_open_transaction_takes_only_transactional_writes() {
    let mut states = states(&[with(TRANSACTIONAL, batch(1, 0, 0, 2, 10)), with(TRANSACTIONAL, batch(2, 0, 0, 1, 12))]);
    assert_eq!(states.first_open_transaction(), Some(Offset(10)));
    assert!(matches!(decide(&states, &batch(1, 0, 2, 1, 0)), Err(AppendError::InvalidTxnState(_))));
    assert_eq!(decide(&states, &with(TRANSACTIONAL, batch(1, 0, 2, 1, 0))), Ok(Decision::Append));
    assert_eq!(restored(&states, 20).first_open_transaction(), Some(Offset(10)));
    // The marker ends it; the sequences go on.
    apply(&mut states, &with(TRANSACTIONAL | CONTROL, batch(1, 0, -1, 1, 13)), 13);
    assert_eq!(states.first_open_transaction(), Some(Offset(12)));
    assert_eq!(decide(&states, &batch(1, 0, 2, 1, 0)), Ok(Decision::Append));
    assert!(matches!(
        decide(&states, &with(TRANSACTIONAL, batch(1, 0, 2, 1, 0))),
        Err(AppendError::InvalidTxnState(_))
    ));
    assert!(matches!(
        decide(&states, &with(TRANSACTIONAL, batch(9, 0, 0, 1, 0))),
        Err(AppendError::InvalidTxnState(_))
    ));
}

#[test]
fn a_marker_of_a_new_epoch_makes_the_producer_begin_at_zero() {
    let states =
        states(&[with(TRANSACTIONAL, batch(1, 0, 0, 2, 0)), with(TRANSACTIONAL | CONTROL, batch(1, 1, -1, 1, 2))]);
    assert!(states.get(ProducerId(1)).unwrap().batches().is_empty());
    assert!(matches!(decide(&states, &batch(1, 1, 2, 1, 0)), Err(AppendError::OutOfOrderSequence(_))));
    assert_eq!(decide(&states, &batch(1, 1, 0, 1, 0)), Ok(Decision::Append));
    let other = restored(&states, 2);
    assert_eq!(other.get(ProducerId(1)), states.get(ProducerId(1)));
}

/// Everything that was ever appended. Slow, and too simple to be wrong.
#[derive(Default)]
struct Model {
    log: Vec<BatchHeader>,
    forgotten: HashMap<ProducerId, usize>,
}

impl Model {
    fn decide(&self, new: &BatchHeader) -> &'static str {
        let from = self.forgotten.get(&new.producer_id).copied().unwrap_or(0);
        let own: Vec<_> = self.log.iter().skip(from).filter(|b| b.producer_id == new.producer_id).collect();
        let Some(last) = own.last() else { return "append" };
        let known = own.iter().rev().take_while(|b| b.producer_epoch == last.producer_epoch).take(5);
        for old in known {
            if (old.producer_epoch, old.base_sequence, old.record_count)
                == (new.producer_epoch, new.base_sequence, new.record_count)
            {
                return "duplicate";
            }
        }
        match new.producer_epoch.cmp(&last.producer_epoch) {
            std::cmp::Ordering::Less => "fenced",
            std::cmp::Ordering::Greater if new.base_sequence.0 == 0 => "append",
            std::cmp::Ordering::Equal => {
                let next = (i64::from(last.base_sequence.0) + i64::from(last.record_count)) % (1 << 31);
                if i64::from(new.base_sequence.0) == next { "append" } else { "out of order" }
            }
            std::cmp::Ordering::Greater => "out of order",
        }
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Continue where the producer is, off by so much, under an epoch off by so much.
    Produce {
        producer: i64,
        epoch_step: i16,
        sequence_step: i32,
        count: i32,
    },
    /// Send again what it sent so many batches ago.
    Resend {
        producer: i64,
        ago: usize,
    },
    Snapshot,
    Restart,
    Truncate {
        keep: usize,
    },
    Wait {
        ms: i64,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let producer = 0..3_i64;
    prop_oneof![
        10 => (producer.clone(), prop_oneof![8 => Just(0_i16), 1 => Just(1), 1 => Just(-1)],
            prop_oneof![8 => Just(0), 1 => Just(1), 1 => Just(-1)], 1..4_i32)
            .prop_map(|(producer, epoch_step, sequence_step, count)| Step::Produce { producer, epoch_step, sequence_step, count }),
        4 => (producer, 0..8_usize).prop_map(|(producer, ago)| Step::Resend { producer, ago }),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Restart),
        1 => (0..100_usize).prop_map(|keep| Step::Truncate { keep }),
        1 => (0..DAY_MS / 2).prop_map(|ms| Step::Wait { ms }),
    ]
}

struct Run {
    states: ProducerStates,
    model: Model,
    snapshots: Vec<(Offset, Vec<ProducerSnapshotEntry>)>,
    now: i64,
    /// The last restart: from then on every producer has its whole time again.
    recovered_at: i64,
    /// Batches before the last expiry.
    floor: usize,
}

impl Run {
    fn next(&self, producer: i64) -> (i16, i32) {
        self.model
            .log
            .iter()
            .rfind(|b| b.producer_id.0 == producer)
            .map_or((0, i32::MAX - 5), |last| (last.producer_epoch.0, last.base_sequence.plus(last.record_count).0))
    }

    fn produce(&mut self, mut header: BatchHeader) {
        header.base_offset = self.states.end_offset();
        header.max_timestamp = TimestampMs(self.now);
        let (expected, before) = (self.model.decide(&header), self.states.clone());
        let got = match decide(&self.states, &header) {
            Ok(Decision::Append) => "append",
            Ok(Decision::Duplicate(original)) => {
                let same = |b: &&BatchHeader| b.base_offset == original.base_offset();
                let found = self.model.log.iter().find(same).expect("the original is in the log");
                assert_eq!((found.base_sequence, found.producer_id), (header.base_sequence, header.producer_id));
                assert_eq!(found.last_offset(), original.last_offset);
                "duplicate"
            }
            Err(AppendError::InvalidProducerEpoch(_)) => "fenced",
            Err(AppendError::OutOfOrderSequence(_)) => "out of order",
            Err(other) => panic!("{other}"),
        };
        assert_eq!(got, expected, "{header:?}");
        assert_eq!(self.states, before, "decide changes nothing");
        if got == "append" {
            apply(&mut self.states, &header, self.now);
            self.model.log.push(header);
        }
    }

    /// What recovery does: the newest snapshot in the log, then the batches after it.
    fn recover(&mut self) {
        let end = self.model.log.last().map_or(Offset(0), BatchHeader::next_offset);
        self.snapshots.retain(|(offset, _)| *offset <= end);
        let (from, entries) = self.snapshots.last().cloned().unwrap_or_default();
        self.states.restore(&entries, from, TimestampMs(self.now));
        self.recovered_at = self.now;
        for header in self.model.log.iter().filter(|b| b.base_offset >= from) {
            apply(&mut self.states, header, self.now);
        }
        self.expire();
        assert_eq!(self.states.end_offset(), end);
    }

    fn expire(&mut self) {
        self.states.expire(TimestampMs(self.now), DAY_MS);
        for producer in (0..3).map(ProducerId) {
            let last = self.model.log.iter().rfind(|b| b.producer_id == producer);
            if last.is_some_and(|b| self.now - b.max_timestamp.0.max(self.recovered_at) >= DAY_MS) {
                self.model.forgotten.insert(producer, self.model.log.len());
                self.floor = self.model.log.len();
            }
        }
        // A replay from before the expiry would know more again, which harms nobody but is not what the model says.
        if self.floor == self.model.log.len() {
            self.snapshots.push((self.states.end_offset(), self.states.snapshot()));
        }
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Produce { producer, epoch_step, sequence_step, count } => {
                let (epoch, sequence) = self.next(producer);
                let sequence = if epoch_step == 0 { sequence } else { 0 };
                let sequence = sequence.checked_add(sequence_step).unwrap_or(0).max(0);
                self.produce(batch(producer, (epoch + epoch_step).max(0), sequence, count, 0));
            }
            Step::Resend { producer, ago } => {
                let sent = self.model.log.iter().rev().filter(|b| b.producer_id.0 == producer).nth(ago).copied();
                if let Some(sent) = sent {
                    self.produce(sent);
                }
            }
            Step::Snapshot => self.snapshots.push((self.states.end_offset(), self.states.snapshot())),
            Step::Restart => self.recover(),
            Step::Truncate { keep } => {
                self.model.log.truncate((self.model.log.len() * keep / 100).max(self.floor));
                self.recover();
            }
            Step::Wait { ms } => {
                self.now += ms;
                self.expire();
            }
        }
    }
}

proptest! {
    #[test]
    fn decides_as_a_model_that_forgets_nothing(steps in proptest::collection::vec(step(), 1..120)) {
        let states = ProducerStates::default();
        let mut run = Run { states, model: Model::default(), snapshots: Vec::new(), now: 1_000, recovered_at: 0, floor: 0 };
        for step in &steps {
            run.step(step);
        }
    }
}
