//! Offsets that are committed within transactions (rule 19).

use std::collections::BTreeSet;

use super::*;
use crate::group::offsets::TxnCommit;
use crate::types::ProducerEpoch;

const A: ProducerId = ProducerId(1);
const B: ProducerId = ProducerId(2);

impl Bench {
    fn txn(&self, producer: ProducerId, values: &[(&str, i32, i64)]) -> TxnCommit {
        let commit = Commit {
            group: GROUP.into(),
            member_id: String::new(),
            instance_id: None,
            generation: -1,
            retention_ms: None,
            partitions: values.iter().map(|(topic, index, at)| self.partition(topic, *index, *at, "")).collect(),
        };
        TxnCommit { commit, producer_id: producer, producer_epoch: ProducerEpoch(0) }
    }

    fn put(&mut self, txn: &TxnCommit) -> Result<Vec<ErrorCode>, ErrorCode> {
        self.turn(|shard, turn| shard.txn_commit(turn, txn))
    }

    fn pend(&mut self, producer: ProducerId, topic: &str, partition: i32, offset: i64) {
        let txn = self.txn(producer, &[(topic, partition, offset)]);
        assert_eq!(self.put(&txn), Ok(vec![ErrorCode::NONE]));
    }

    fn end(&mut self, producer: ProducerId, commit: bool) {
        self.log.push(Logged::Marker(producer, commit));
        self.shard.end_transaction(producer, commit);
    }

    /// The offset of a partition for one who waits for the ends of transactions: -1 where nothing was committed.
    fn stable(&self, group: &str, topic: &str, partition: i32) -> Result<i64, ErrorCode> {
        self.offset(group, topic, partition, true)
    }

    fn offset(&self, group: &str, topic: &str, partition: i32, require_stable: bool) -> Result<i64, ErrorCode> {
        let id = self.world.image.topic(topic).unwrap().id;
        let wanted = WantedTopic { name: topic.into(), id, partitions: vec![PartitionIndex(partition)] };
        let reader = OffsetReader { group, member_id: None, member_epoch: -1, require_stable };
        let mut topics = self.shard.fetch(&reader, &[wanted]).unwrap();
        let (_, known) = topics.remove(0).partitions.remove(0);
        known.map(|offset| offset.map_or(-1, |offset| offset.offset.0))
    }

    fn expire(&mut self) {
        self.turn(Shard::expire_offsets);
    }
}

const UNSTABLE: Result<i64, ErrorCode> = Err(ErrorCode::UNSTABLE_OFFSET_COMMIT);

#[test]
fn an_offset_of_a_transaction_counts_once_it_is_committed() {
    let mut bench = Bench::new();
    bench.commit(-1, "", "t", 0, 5).unwrap();
    bench.pend(A, "t", 0, 9);
    bench.pend(A, "t", 1, 3);
    for _ in 0..2 {
        assert_eq!(bench.committed(), offsets(&[("t", 0, 5)]));
        let stable = [0, 1, 2].map(|index| bench.stable(GROUP, "t", index));
        assert_eq!(stable, [UNSTABLE, UNSTABLE, Ok(-1)]);
        // Its transaction is open still, as the log has it.
        bench.restart();
    }
    bench.end(A, true);
    for _ in 0..2 {
        assert_eq!(bench.committed(), offsets(&[("t", 0, 9), ("t", 1, 3)]));
        assert_eq!([0, 1].map(|index| bench.stable(GROUP, "t", index)), [Ok(9), Ok(3)]);
        bench.restart();
    }
}

#[test]
fn an_offset_of_an_aborted_transaction_is_forgotten() {
    let mut bench = Bench::new();
    bench.commit(-1, "", "t", 0, 5).unwrap();
    bench.pend(A, "t", 0, 9);
    bench.pend(B, "t", 0, 8);
    bench.end(A, false);
    assert_eq!(bench.stable(GROUP, "t", 0), UNSTABLE, "the other's is pending");
    bench.end(B, false);
    assert_eq!(bench.stable(GROUP, "t", 0), Ok(5));
    bench.end(B, true);
    assert_eq!(bench.stable(GROUP, "t", 0), Ok(5), "a marker ends what is open, and nothing was");
}

#[test]
fn all_offsets_are_asked_for_without_those_that_are_only_pending() {
    let mut bench = Bench::new();
    bench.commit(-1, "", "t", 0, 5).unwrap();
    bench.commit(-1, "", "t", 1, 6).unwrap();
    bench.pend(A, "t", 0, 9);
    bench.pend(A, "u", 2, 9);
    let reader = OffsetReader { group: GROUP, member_id: None, member_epoch: -1, require_stable: true };
    let topics = bench.turn(|shard, turn| shard.fetch_all(turn, &reader)).unwrap();
    assert_eq!(topics.len(), 1);
    let known: Vec<_> = topics[0].partitions.iter().map(|(index, known)| (index.0, known.is_ok())).collect();
    assert_eq!((&*topics[0].name, known), ("t", vec![(0, false), (1, true)]));
    assert_eq!(bench.committed(), offsets(&[("t", 0, 5), ("t", 1, 6)]));
}

#[test]
fn the_turn_says_whose_transaction_it_writes_to() {
    let mut bench = Bench::new();
    let txn = TxnCommit { producer_epoch: ProducerEpoch(7), ..bench.txn(A, &[("t", 0, 9)]) };
    let transaction = bench.turn(|shard, turn| shard.txn_commit(turn, &txn).map(|_| turn.transaction));
    assert_eq!(transaction, Ok(Some((A, ProducerEpoch(7)))));
    let mut txn = txn;
    txn.commit.generation = 3;
    let refused = bench.turn(|shard, turn| (shard.txn_commit(turn, &txn), turn.transaction, turn.records.len()));
    assert_eq!(refused, (Err(ErrorCode::UNKNOWN_MEMBER_ID), None, 0));
}

#[test]
fn who_may_commit_in_a_transaction() {
    let mut bench = Bench::new();
    let with = |txn: &TxnCommit, member: &str, generation| {
        let mut txn = txn.clone();
        txn.commit.member_id = member.to_owned();
        txn.commit.generation = generation;
        txn
    };
    let txn = bench.txn(A, &[("t", 0, 9)]);
    let illegal = Err(ErrorCode::ILLEGAL_GENERATION);
    assert_eq!(bench.put(&with(&txn, "m", 0)), illegal, "no group, which no version tells otherwise");
    assert!(bench.put(&with(&txn, "m", -1)).is_ok(), "no group");
    assert!(bench.put(&with(&txn, "m", -1)).is_ok(), "a simple group");
    assert_eq!(bench.put(&with(&txn, "m", 0)), Err(ErrorCode::UNKNOWN_MEMBER_ID));
    bench.world.config.migration = crate::group::config::MigrationPolicy::Disabled;
    let epoch = bench.heartbeat(0).unwrap().member_epoch;
    assert!(bench.put(&with(&txn, "m", epoch)).is_ok());
    assert!(bench.put(&with(&txn, "", -1)).is_ok(), "an old client in a group with members");
    assert_eq!(bench.put(&with(&txn, "m", epoch + 1)), illegal, "an epoch is a generation here");
    assert_eq!(bench.put(&with(&txn, "m", epoch - 1)), illegal, "before it was given the partition");
    assert_eq!(bench.put(&with(&txn, "n", epoch)), Err(ErrorCode::UNKNOWN_MEMBER_ID));
}

#[test]
fn too_long_metadata_in_a_transaction_is_refused_for_its_partition_alone() {
    let mut bench = Bench::new();
    let mut txn = bench.txn(A, &[("t", 0, 1), ("t", 1, 2)]);
    txn.commit.partitions[0].metadata = "x".repeat(4097).into();
    assert_eq!(bench.put(&txn), Ok(vec![ErrorCode::OFFSET_METADATA_TOO_LARGE, ErrorCode::NONE]));
    assert_eq!([0, 1].map(|index| bench.stable(GROUP, "t", index)), [Ok(-1), UNSTABLE]);
}

#[test]
fn what_is_pending_does_not_expire_and_holds_its_group() {
    let mut bench = Bench::new();
    bench.commit(-1, "", "t", 0, 5).unwrap();
    bench.commit(-1, "", "t", 1, 6).unwrap();
    bench.pend(A, "t", 0, 9);
    bench.advance(8 * DAY);
    bench.expire();
    assert_eq!(bench.committed(), offsets(&[("t", 0, 5)]));
    bench.end(A, false);
    bench.pend(A, "u", 0, 9);
    bench.expire();
    assert_eq!(bench.committed(), offsets(&[]));
    assert_eq!(bench.kind(), Some(("classic", "Empty".to_owned())), "a transaction may bring it an offset");
    bench.end(A, false);
    bench.restart();
    assert!(bench.kind().is_some());
    bench.expire();
    assert_eq!(bench.kind(), None);
    bench.restart();
    assert_eq!(bench.kind(), None);
}

#[test]
fn a_deleted_offset_takes_what_is_pending_with_it() {
    let mut bench = Bench::new();
    bench.commit(-1, "", "t", 0, 5).unwrap();
    for (index, offset) in [(0, 9), (1, 9), (2, 9)] {
        bench.pend(A, "t", index, offset);
    }
    for partition in [0, 1] {
        let code =
            bench.turn(|shard, turn| shard.delete_offsets(GROUP).unwrap().delete(turn, "t", PartitionIndex(partition)));
        assert_eq!(code, ErrorCode::NONE);
    }
    let written = bench.log.len();
    bench.turn(|shard, turn| shard.delete_offsets(GROUP).unwrap().delete(turn, "t", PartitionIndex(1)));
    assert_eq!(bench.log.len(), written, "there is nothing left to take back");
    assert_eq!([0, 1, 2].map(|index| bench.stable(GROUP, "t", index)), [Ok(-1), Ok(-1), UNSTABLE]);
    // What is committed after the deletion counts again.
    bench.pend(A, "t", 1, 4);
    bench.end(A, true);
    for _ in 0..2 {
        assert_eq!(bench.committed(), offsets(&[("t", 1, 4), ("t", 2, 9)]));
        bench.restart();
    }
}

#[test]
fn a_deleted_group_takes_what_is_pending_with_it() {
    let mut bench = Bench::new();
    bench.commit(-1, "", "t", 0, 5).unwrap();
    bench.pend(A, "t", 0, 9);
    bench.pend(B, "t", 0, 9);
    bench.pend(B, "u", 0, 9);
    let before = bench.log.len();
    assert_eq!(bench.turn(|shard, turn| shard.delete(turn, GROUP)), Ok(()));
    let tombstones = bench.log[before..].iter().filter(|logged| matches!(logged, Logged::Plain(Record::Offset(..))));
    assert_eq!(tombstones.count(), 2, "one for each partition");
    for _ in 0..2 {
        assert_eq!(bench.shard.offsets, Offsets::default());
        assert_eq!(bench.kind(), None);
        bench.end(A, true);
        bench.end(B, true);
        bench.restart();
    }
}

#[test]
fn deleted_topics_take_what_is_pending_with_them() {
    let mut bench = Bench::new();
    bench.commit(-1, "", "t", 0, 5).unwrap();
    bench.pend(A, "t", 0, 9);
    bench.pend(B, "t", 1, 9);
    bench.pend(B, "u", 1, 9);
    let id = bench.world.image.topic("t").unwrap().id;
    let before = bench.log.len();
    bench.turn(|shard, turn| shard.topics_deleted(turn, &[("t".into(), id)]));
    assert_eq!(bench.log.len() - before, 2);
    bench.end(A, true);
    bench.end(B, true);
    for _ in 0..2 {
        assert_eq!(bench.committed(), offsets(&[("u", 1, 9)]));
        bench.restart();
    }
}

#[derive(Clone, Debug)]
enum Step {
    Commit(usize, usize, i32, i64),
    Pend(ProducerId, usize, Vec<(usize, i32, i64)>),
    End(ProducerId, bool),
    Expire(i64),
    DeleteGroup(usize),
    DeleteOffset(usize, usize, i32),
    Restart,
}

const GROUPS: [&str; 2] = [GROUP, "h"];
const TOPICS: [&str; 2] = ["t", "u"];
const PARTITIONS: i32 = 2;

fn step() -> impl Strategy<Value = Step> {
    let producer = || (1_i64..4).prop_map(ProducerId);
    let place = || (0..TOPICS.len(), 0..PARTITIONS, 0_i64..100);
    prop_oneof![
        4 => (0..GROUPS.len(), place()).prop_map(|(group, (topic, index, at))| Step::Commit(group, topic, index, at)),
        6 => (producer(), 0..GROUPS.len(), proptest::collection::vec(place(), 1..3))
            .prop_map(|(producer, group, values)| Step::Pend(producer, group, values)),
        5 => (producer(), any::<bool>()).prop_map(|(producer, commit)| Step::End(producer, commit)),
        2 => (0_i64..5).prop_map(|days| Step::Expire(days * DAY)),
        1 => (0..GROUPS.len()).prop_map(Step::DeleteGroup),
        1 => (0..GROUPS.len(), 0..TOPICS.len(), 0..PARTITIONS)
            .prop_map(|(group, topic, index)| Step::DeleteOffset(group, topic, index)),
        1 => Just(Step::Restart),
    ]
}

/// Everything that was committed and not taken back, in the order of the log.
#[derive(Debug, Default)]
struct Model {
    events: Vec<Event>,
    groups: BTreeSet<usize>,
}

#[derive(Clone, Copy, Debug)]
struct Event {
    place: Place,
    offset: i64,
    at: i64,
    /// Whose transaction it waits for.
    waits_for: Option<ProducerId>,
}

/// Group, topic, partition.
type Place = (usize, usize, i32);

impl Model {
    fn add(&mut self, place: Place, offset: i64, at: i64, waits_for: Option<ProducerId>) {
        self.groups.insert(place.0);
        self.events.push(Event { place, offset, at, waits_for });
    }

    fn end(&mut self, producer: ProducerId, commit: bool) {
        self.events.retain(|event| commit || event.waits_for != Some(producer));
        let ended = self.events.iter_mut().filter(|event| event.waits_for == Some(producer));
        ended.for_each(|event| event.waits_for = None);
    }

    /// The last of the log counts.
    fn counts(&self, place: Place) -> Option<Event> {
        self.events.iter().rfind(|event| event.place == place && event.waits_for.is_none()).copied()
    }

    fn is_pending(&self, place: Place) -> bool {
        self.events.iter().any(|event| event.place == place && event.waits_for.is_some())
    }

    fn expire(&mut self, now: i64) {
        for place in places() {
            if self.counts(place).is_some_and(|event| now - event.at >= 7 * DAY) && !self.is_pending(place) {
                self.events.retain(|event| event.place != place);
            }
        }
        let events = &self.events;
        self.groups.retain(|group| events.iter().any(|event| event.place.0 == *group));
    }
}

fn places() -> impl Iterator<Item = Place> {
    let topics = || (0..TOPICS.len()).flat_map(|topic| (0..PARTITIONS).map(move |index| (topic, index)));
    (0..GROUPS.len()).flat_map(move |group| topics().map(move |(topic, index)| (group, topic, index)))
}

impl Bench {
    fn step(&mut self, model: &mut Model, step: Step) {
        let now = self.world.now.wall.0;
        match step {
            Step::Commit(group, topic, index, offset) => {
                let mut commit = self.txn(A, &[(TOPICS[topic], index, offset)]).commit;
                commit.group = GROUPS[group].into();
                self.turn(|shard, turn| shard.commit(turn, 9, &commit)).unwrap();
                model.add((group, topic, index), offset, now, None);
            }
            Step::Pend(producer, group, values) => {
                let named: Vec<_> = values.iter().map(|(topic, index, at)| (TOPICS[*topic], *index, *at)).collect();
                let mut txn = self.txn(producer, &named);
                txn.commit.group = GROUPS[group].into();
                self.put(&txn).unwrap();
                for (topic, index, offset) in values {
                    model.add((group, topic, index), offset, now, Some(producer));
                }
            }
            Step::End(producer, commit) => {
                self.end(producer, commit);
                model.end(producer, commit);
            }
            Step::Expire(ms) => {
                self.advance(ms);
                self.expire();
                model.expire(now + ms);
            }
            Step::DeleteGroup(group) => {
                let deleted = self.turn(|shard, turn| shard.delete(turn, GROUPS[group]));
                assert_eq!(deleted.is_ok(), model.groups.remove(&group));
                model.events.retain(|event| event.place.0 != group);
            }
            Step::DeleteOffset(group, topic, index) => {
                self.turn(|shard, turn| {
                    if let Ok(mut deletion) = shard.delete_offsets(GROUPS[group]) {
                        deletion.delete(turn, TOPICS[topic], PartitionIndex(index));
                    }
                });
                model.events.retain(|event| event.place != (group, topic, index));
            }
            Step::Restart => self.restart(),
        }
    }
}

proptest! {
    /// Of what counts, the last of the log is what is fetched, whichever transaction ended first; and a restart at any
    /// record finds the same.
    #[test]
    fn the_last_commit_of_the_log_that_counts_is_fetched(steps in proptest::collection::vec(step(), 1..80)) {
        let mut bench = Bench::new();
        let mut model = Model::default();
        for step in steps {
            bench.step(&mut model, step);
            for place in places() {
                let (group, topic, index) = (GROUPS[place.0], TOPICS[place.1], place.2);
                let counts = model.counts(place).map_or(-1, |event| event.offset);
                prop_assert_eq!(bench.offset(group, topic, index, false), Ok(counts));
                let stable = if model.is_pending(place) { UNSTABLE } else { Ok(counts) };
                prop_assert_eq!(bench.stable(group, topic, index), stable);
            }
            let listed = |shard: &Shard| shard.list().into_iter().map(|listed| listed.id).collect::<BTreeSet<_>>();
            let groups = model.groups.iter().map(|group| GROUPS[*group].to_owned()).collect::<BTreeSet<_>>();
            prop_assert_eq!(listed(&bench.shard), groups);
            let restarted = bench.replayed();
            prop_assert_eq!(&restarted.offsets, &bench.shard.offsets);
            prop_assert_eq!(listed(&restarted), listed(&bench.shard));
        }
    }
}
