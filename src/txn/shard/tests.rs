use proptest::prelude::*;

use super::*;
use crate::txn::config::TransactionsConfig;
use crate::types::{PartitionIndex, TimestampMs};
use crate::wire::records::Encoded;

const KIP_890: TransactionVersion = TransactionVersion::KIP_890;
const CLASSIC: TransactionVersion = TransactionVersion::CLASSIC;
const ID: &str = "id";

/// A shard with its log, a clock, and a source of producer ids.
struct World {
    shard: Shard,
    /// As it was written, each with the feature's level at that time.
    log: Vec<Encoded>,
    now: i64,
    next_id: i64,
    version: TransactionVersion,
    config: TransactionsConfig,
    /// Decided transactions whose markers nobody has written yet.
    endings: Vec<Ending>,
}

impl World {
    fn new(version: TransactionVersion) -> Self {
        Self {
            shard: Shard::default(),
            log: Vec::new(),
            now: 1000,
            next_id: 100,
            version,
            config: TransactionsConfig::default(),
            endings: Vec::new(),
        }
    }

    fn turn<T>(&mut self, op: impl FnOnce(&mut Shard, &mut Turn<'_>) -> T) -> T {
        let next = &mut self.next_id;
        let mut ids = || {
            *next += 1;
            Some(ProducerId(*next))
        };
        let now = TimestampMs(self.now);
        let (config, version) = (&self.config, self.version);
        let mut turn = Turn { now, config, version, ids: &mut ids, records: Vec::new(), endings: Vec::new() };
        let result = op(&mut self.shard, &mut turn);
        self.log.extend(turn.records.iter().map(|record| record.encode(version)));
        self.endings.extend(turn.endings);
        result
    }

    /// What a restart makes of the log; what was under way is not known any more.
    fn restart(&mut self) {
        self.shard = Shard::default();
        self.endings.clear();
        for record in &self.log {
            self.shard.apply(&Record::decode(&record.key, record.value.as_deref()).unwrap().unwrap());
        }
        self.turn(|shard, turn| shard.loaded(turn));
    }

    fn init(&mut self, expected: Option<Producer>) -> Result<Producer, ErrorCode> {
        let init = Init { id: ID.into(), timeout_ms: 60_000, expected };
        self.turn(|shard, turn| shard.init(turn, &init))
    }

    fn add(&mut self, producer: Producer, partition: i32) -> Result<(), ErrorCode> {
        let version = self.version;
        self.turn(|shard, turn| shard.add_partitions(turn, &ID.into(), producer, &[at(partition)], version))
    }

    fn end(&mut self, producer: Producer, commit: bool) -> Result<Producer, ErrorCode> {
        let end = End { id: ID.into(), producer, commit, version: self.version };
        self.turn(|shard, turn| shard.end(turn, &end))
    }

    /// Markers are written.
    fn finish(&mut self) -> Vec<Ending> {
        let endings = std::mem::take(&mut self.endings);
        for ending in &endings {
            self.turn(|shard, turn| shard.complete(turn, ending));
        }
        endings
    }

    fn state(&self) -> &'static str {
        self.shard.get(ID).map_or("none", |transaction| transaction.state.name())
    }

    /// The producer has the last epoch that it may have.
    fn exhaust(&mut self) -> Producer {
        let (id, _) = self.init(None).unwrap();
        let current = self.shard.get(ID).unwrap().clone();
        let record =
            Record { id: ID.into(), value: Some(Transaction { epoch: ProducerEpoch(i16::MAX - 1), ..current }) };
        self.shard.apply(&record);
        self.log.push(record.encode(self.version));
        (id, ProducerEpoch(i16::MAX - 1))
    }
}

fn at(partition: i32) -> TopicPartition {
    TopicPartition::new("t", PartitionIndex(partition))
}

fn producer(id: i64, epoch: i16) -> Producer {
    (ProducerId(id), ProducerEpoch(epoch))
}

#[test]
fn an_id_is_held_by_the_producer_that_asked_last() {
    let mut world = World::new(CLASSIC);
    let first = world.init(None).unwrap();
    assert_eq!(first, producer(101, 0));
    let second = world.init(None).unwrap();
    assert_eq!(second, producer(101, 1));
    assert_eq!(world.add(first, 0), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(world.end(first, true), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(world.add(producer(7, 1), 0), Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING));
    assert_eq!(world.add(second, 0), Ok(()));
}

#[test]
fn a_timeout_is_within_what_the_broker_allows() {
    let mut world = World::new(CLASSIC);
    let mut init = |timeout_ms| {
        let init = Init { id: ID.into(), timeout_ms, expected: None };
        world.turn(|shard, turn| shard.init(turn, &init)).err()
    };
    let refused = Some(ErrorCode::INVALID_TRANSACTION_TIMEOUT);
    assert_eq!([init(0), init(-1), init(900_001)], [refused; 3]);
    assert_eq!([init(1), init(900_000)], [None; 2]);
}

#[test]
fn an_empty_id_is_none() {
    let mut world = World::new(CLASSIC);
    let init = Init { id: "".into(), timeout_ms: 1, expected: None };
    assert_eq!(world.turn(|shard, turn| shard.init(turn, &init)), Err(ErrorCode::INVALID_REQUEST));
    let add = |shard: &mut Shard, turn: &mut Turn<'_>| {
        shard.add_partitions(turn, &"".into(), producer(1, 0), &[at(0)], CLASSIC)
    };
    assert_eq!(world.turn(add), Err(ErrorCode::INVALID_REQUEST));
}

#[test]
fn who_goes_on_after_an_error_gets_the_next_epoch_and_may_ask_twice() {
    let mut world = World::new(CLASSIC);
    let first = world.init(None).unwrap();
    let next = world.init(Some(first)).unwrap();
    assert_eq!(next, producer(101, 1));
    // The answer was lost.
    assert_eq!(world.init(Some(first)), Ok(next));
    // Another producer was there.
    world.init(None).unwrap();
    assert_eq!(world.init(Some(next)), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(world.init(Some(producer(9, 0))), Err(ErrorCode::PRODUCER_FENCED));
}

#[test]
fn a_producer_that_is_forgotten_gets_a_new_identity() {
    let mut world = World::new(CLASSIC);
    assert_eq!(world.init(Some(producer(9, 4))), Ok(producer(101, 0)));
}

#[test]
fn init_while_a_transaction_is_open_aborts_it_and_shuts_its_producer_out() {
    for (version, next) in [(CLASSIC, 2), (KIP_890, 2)] {
        let mut world = World::new(version);
        let first = world.init(None).unwrap();
        world.add(first, 0).unwrap();
        assert_eq!(world.init(None), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
        assert_eq!(world.state(), "PrepareAbort");
        let late = if version.bumps_epoch() { ErrorCode::INVALID_TXN_STATE } else { ErrorCode::PRODUCER_FENCED };
        assert_eq!(world.end(first, true), Err(late));
        assert_eq!(world.init(None), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
        let endings = world.finish();
        assert_eq!(endings.len(), 1);
        assert_eq!((endings[0].epoch, endings[0].commit), (ProducerEpoch(1), false));
        // KAFKA-19367: no epoch is left out.
        assert_eq!(world.init(None), Ok(producer(101, next)));
    }
}

#[test]
fn epochs_that_are_used_up_give_another_producer_id() {
    for version in [CLASSIC, KIP_890] {
        let mut world = World::new(version);
        world.exhaust();
        assert_eq!(world.init(None), Ok(producer(102, 0)));
    }
    // Who says who it was, and did not hear the answer, may ask again.
    let mut world = World::new(KIP_890);
    let last = world.exhaust();
    let next = world.init(Some(last)).unwrap();
    assert_eq!(next, producer(102, 0));
    assert_eq!(world.init(Some(last)), Ok(next));
}

#[test]
fn a_transaction_that_uses_the_last_epoch_up_ends_with_another_producer_id() {
    let mut world = World::new(KIP_890);
    let last = world.exhaust();
    world.add(last, 0).unwrap();
    let next = producer(102, 0);
    assert_eq!(world.end(last, true), Ok(next));
    // The client knows its next identity before the markers are written.
    let early = ErrorCode::CONCURRENT_TRANSACTIONS;
    assert_eq!(world.add(next, 0), Err(early));
    assert_eq!(world.end(next, false), Err(early));
    assert_eq!(world.init(Some(next)), Err(early));
    assert_eq!(world.add(producer(102, 1), 0), Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING));
    let endings = world.finish();
    assert_eq!((endings[0].producer, endings[0].epoch), producer(101, i16::MAX));
    // The answer was lost.
    assert_eq!(world.end(last, true), Ok(next));
    assert_eq!(world.add(next, 0), Ok(()));
}

#[test]
fn a_zombie_gets_nowhere_once_its_producer_id_was_rotated() {
    let mut world = World::new(KIP_890);
    let last = world.exhaust();
    world.add(last, 0).unwrap();
    let next = world.end(last, true).unwrap();
    world.finish();
    let before = producer(101, i16::MAX - 2);
    let nowhere = Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
    assert_eq!(world.end(before, true), nowhere, "a retry has the last epoch");
    world.add(next, 0).unwrap();
    for zombie in [before, last, producer(101, i16::MAX)] {
        assert_eq!(world.add(zombie, 1).map(|()| zombie), nowhere);
        assert_eq!(world.init(Some(before)), Err(ErrorCode::PRODUCER_FENCED));
        for commit in [true, false] {
            assert!(world.end(zombie, commit).is_err());
        }
    }
    assert_eq!(world.state(), "Ongoing", "nobody has ended the transaction of the next one");
}

#[test]
fn fencing_at_the_last_epoch_leaves_a_transaction_that_ends() {
    for version in [CLASSIC, KIP_890] {
        let mut world = World::new(version);
        let last = world.exhaust();
        world.add(last, 0).unwrap();
        assert_eq!(world.init(None), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
        assert_eq!(world.finish()[0].epoch, ProducerEpoch(i16::MAX));
        // Under KIP-890 the other id is taken with the end, and has an epoch already.
        let epoch = i16::from(version.bumps_epoch());
        assert_eq!(world.init(None), Ok(producer(102, epoch)));
    }
}

#[test]
fn late_end_of_the_classic_protocol_is_told_from_a_retry() {
    let mut world = World::new(CLASSIC);
    let me = world.init(None).unwrap();
    assert_eq!(world.end(me, true), Err(ErrorCode::INVALID_TXN_STATE));
    world.add(me, 0).unwrap();
    assert_eq!(world.end(me, true), Ok(me));
    assert_eq!(world.end(me, true), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
    assert_eq!(world.end(me, false), Err(ErrorCode::INVALID_TXN_STATE));
    assert_eq!(world.add(me, 1), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
    world.finish();
    assert_eq!(world.end(me, true), Ok(me));
    assert_eq!(world.end(me, false), Err(ErrorCode::INVALID_TXN_STATE));
}

/// Under the classic protocol a late EndTxn ends the next transaction; this is what KIP-890 is for.
#[test]
fn late_end_cannot_end_the_next_transaction() {
    let mut world = World::new(KIP_890);
    let first = world.init(None).unwrap();
    world.add(first, 0).unwrap();
    let second = world.end(first, true).unwrap();
    assert_eq!(second, producer(101, 1));
    world.finish();
    world.add(second, 0).unwrap();
    // The request of the first transaction comes once more.
    assert_eq!(world.end(first, true), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(world.end(first, false), Err(ErrorCode::PRODUCER_FENCED));
    assert_eq!(world.state(), "Ongoing");
}

/// Kafka takes it for a retry, and tells the producer that was shut out the epoch of the one that holds the id.
#[test]
fn late_end_of_a_fenced_producer_is_no_retry_of_a_classic_end() {
    let mut world = World::new(KIP_890);
    let zombie = world.init(None).unwrap();
    let holder = world.init(None).unwrap();
    world.version = CLASSIC;
    world.add(holder, 0).unwrap();
    assert_eq!(world.end(holder, false), Ok(holder));
    world.version = KIP_890;
    assert_eq!(world.end(zombie, false), Err(ErrorCode::PRODUCER_FENCED));
    world.finish();
    assert_eq!(world.end(zombie, false), Err(ErrorCode::PRODUCER_FENCED));
    world.restart();
    assert_eq!(world.end(zombie, false), Err(ErrorCode::PRODUCER_FENCED));
}

#[test]
fn kip_890_tells_a_retry_from_the_next_end_by_the_epoch() {
    let mut world = World::new(KIP_890);
    let (id, _) = world.init(None).unwrap();
    let now = |world: &World| (id, world.shard.get(ID).unwrap().epoch);
    let before = |world: &World| (id, ProducerEpoch(now(world).1.0 - 1));
    let fenced = Err(ErrorCode::PRODUCER_FENCED);
    let wrong = Err(ErrorCode::INVALID_TXN_STATE);
    // Empty: nothing to commit; an abort shuts out what may still be on its way.
    assert_eq!(world.end(before(&world), false), fenced);
    assert_eq!(world.end(now(&world), true), wrong);
    assert_eq!(world.end(now(&world), false), Ok(producer(101, 1)));
    assert_eq!(world.finish()[0].partitions.len(), 0);
    for (commit, state) in [(true, "CompleteCommit"), (false, "CompleteAbort")] {
        let me = now(&world);
        world.add(me, 0).unwrap();
        let next = world.end(me, commit).unwrap();
        assert_eq!(world.end(me, commit), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
        assert_eq!(world.end(me, !commit), wrong);
        assert_eq!(world.end(next, commit), fenced);
        world.finish();
        assert_eq!(world.state(), state);
        assert_eq!(world.end(me, commit), Ok(next));
        assert_eq!(world.end(me, !commit), wrong);
        assert_eq!(world.end(next, true), wrong);
        assert_eq!(world.end(next, false), Ok((id, ProducerEpoch(next.1.0 + 1))));
        world.finish();
    }
}

#[test]
fn a_transaction_may_go_on_in_another_protocol() {
    // Begun by an old client, ended by one of KIP-890.
    let mut world = World::new(CLASSIC);
    let me = world.init(None).unwrap();
    world.add(me, 0).unwrap();
    world.version = KIP_890;
    assert_eq!(world.end(me, true), Ok(producer(101, 1)));
    assert_eq!(world.finish()[0].version, KIP_890);
    // And back.
    let me = producer(101, 1);
    world.add(me, 0).unwrap();
    world.version = CLASSIC;
    assert_eq!(world.end(me, true), Ok(me));
    assert_eq!(world.finish()[0].epoch, ProducerEpoch(1));
}

#[test]
fn partitions_are_verified_without_being_added() {
    let mut world = World::new(KIP_890);
    let me = world.init(None).unwrap();
    world.add(me, 1).unwrap();
    let verify = |world: &World, who| world.shard.verify(&ID.into(), who, &[at(1), at(2)]);
    assert_eq!(verify(&world, me), Ok(vec![ErrorCode::NONE, ErrorCode::TRANSACTION_ABORTABLE]));
    assert_eq!(verify(&world, producer(101, 5)), Err(ErrorCode::PRODUCER_FENCED));
    world.end(me, true).unwrap();
    let next = producer(101, 1);
    assert_eq!(verify(&world, next), Err(ErrorCode::CONCURRENT_TRANSACTIONS));
    world.finish();
    assert_eq!(verify(&world, next), Ok(vec![ErrorCode::TRANSACTION_ABORTABLE; 2]));
}

#[test]
fn adding_a_partition_twice_writes_nothing() {
    let mut world = World::new(CLASSIC);
    let me = world.init(None).unwrap();
    world.add(me, 1).unwrap();
    let written = world.log.len();
    world.add(me, 1).unwrap();
    assert_eq!(world.log.len(), written);
    world.add(me, 2).unwrap();
    assert_eq!(world.log.len(), written + 1);
}

#[test]
fn a_transaction_past_its_timeout_is_aborted_and_its_producer_shut_out() {
    for version in [CLASSIC, KIP_890] {
        let mut world = World::new(version);
        let me = world.init(None).unwrap();
        world.add(me, 0).unwrap();
        world.now += 60_000;
        world.turn(Shard::abort_timed_out);
        assert_eq!(world.state(), "Ongoing");
        world.now += 1;
        world.turn(Shard::abort_timed_out);
        assert_eq!(world.state(), "PrepareAbort");
        world.turn(Shard::abort_timed_out);
        assert_eq!(world.finish().len(), 1);
        assert_eq!(world.add(me, 0), Err(ErrorCode::PRODUCER_FENCED));
        assert!(world.end(me, true).is_err());
    }
}

#[test]
fn ids_are_forgotten_when_nobody_has_used_them_for_long() {
    let mut world = World::new(KIP_890);
    let me = world.init(None).unwrap();
    world.add(me, 0).unwrap();
    world.now += world.config.id_expiration_ms;
    assert_eq!(world.turn(Shard::expire), 0);
    world.end(me, true).unwrap();
    world.finish();
    world.now += world.config.id_expiration_ms - 1;
    assert_eq!(world.turn(Shard::expire), 0);
    world.now += 1;
    assert_eq!(world.turn(Shard::expire), 1);
    assert_eq!(world.state(), "none");
    world.restart();
    assert_eq!(world.state(), "none");
}

#[test]
fn markers_are_written_again_after_a_restart_in_prepare() {
    for commit in [true, false] {
        let mut world = World::new(KIP_890);
        let me = world.init(None).unwrap();
        world.add(me, 3).unwrap();
        let next = world.end(me, commit).unwrap();
        let decided = world.endings.clone();
        world.restart();
        assert_eq!(world.endings, decided);
        assert_eq!(decided[0].commit, commit);
        world.finish();
        assert_eq!(world.add(next, 0), Ok(()));
    }
}

#[test]
fn an_end_that_was_carried_out_twice_counts_once() {
    let mut world = World::new(KIP_890);
    let me = world.init(None).unwrap();
    world.add(me, 0).unwrap();
    let next = world.end(me, true).unwrap();
    let again = world.endings.clone();
    world.finish();
    world.add(next, 0).unwrap();
    world.endings = again;
    world.finish();
    assert_eq!(world.state(), "Ongoing");
}

#[test]
fn a_filter_lets_through_what_it_names() {
    let mut world = World::new(KIP_890);
    let me = world.init(None).unwrap();
    world.add(me, 0).unwrap();
    world.now += 500;
    let everything = Filter { producers: BTreeSet::new(), states: None, longer_than_ms: -1 };
    let mut listed = |filter: &Filter| world.turn(|shard, turn| shard.list(turn, filter).len());
    assert_eq!(listed(&everything), 1);
    assert_eq!(listed(&Filter { producers: [ProducerId(1)].into(), ..everything.clone() }), 0);
    assert_eq!(listed(&Filter { producers: [me.0].into(), ..everything.clone() }), 1);
    let states = |name: &str| Filter { states: Some([name.to_owned()].into()), ..everything.clone() };
    assert_eq!([listed(&states("Ongoing")), listed(&states("Empty"))], [1, 0]);
    assert_eq!(listed(&Filter { states: Some(BTreeSet::new()), ..everything.clone() }), 0);
    assert_eq!(listed(&Filter { longer_than_ms: 499, ..everything.clone() }), 1);
    assert_eq!(listed(&Filter { longer_than_ms: 500, ..everything.clone() }), 0);
}

/// Something that happens to an id.
#[derive(Clone, Debug)]
enum Step {
    Init(bool),
    Add(usize, i32),
    End(usize, bool),
    Markers,
    Timeout,
    Version(bool),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => any::<bool>().prop_map(Step::Init),
        6 => (0_usize..4, 0_i32..4).prop_map(|(who, partition)| Step::Add(who, partition)),
        6 => (0_usize..4, any::<bool>()).prop_map(|(who, commit)| Step::End(who, commit)),
        5 => Just(Step::Markers),
        1 => Just(Step::Timeout),
        1 => any::<bool>().prop_map(Step::Version),
        2 => Just(Step::Restart),
    ]
}

proptest! {
    /// Whatever happens, in whatever order and by whichever producer: a transaction ends once and one way; nobody but
    /// the one that holds the id adds to it; an id is never given to two; a restart changes nothing.
    #[test]
    fn transactions_end_once_whatever_happens(steps in proptest::collection::vec(step(), 0..80), flexible: bool) {
        let mut world = World::new(if flexible { KIP_890 } else { CLASSIC });
        // Everybody who ever held the id, the latest last.
        let mut held: Vec<Producer> = Vec::new();
        // What the open transaction has touched, as its holder was told.
        let mut open: BTreeSet<TopicPartition> = BTreeSet::new();
        for step in steps {
            let who = |back: usize| held.len().checked_sub(back + 1).and_then(|index| held.get(index)).copied();
            match step {
                Step::Init(goes_on) => {
                    if let Ok(next) = world.init(who(0).filter(|_| goes_on)) {
                        prop_assert!(open.is_empty(), "an open transaction was left behind");
                        prop_assert!(!held.contains(&next) || held.last() == Some(&next), "{next:?} was given twice");
                        if held.last() != Some(&next) { held.push(next); }
                    }
                }
                Step::Add(back, partition) => {
                    let Some(producer) = who(back) else { continue };
                    if world.add(producer, partition).is_ok() {
                        let current = world.shard.get(ID).unwrap();
                        prop_assert_eq!(producer, (current.producer, current.epoch));
                        open.insert(at(partition));
                    }
                }
                Step::End(back, commit) => {
                    let Some(producer) = who(back) else { continue };
                    let was_decided = world.endings.len();
                    if let Ok(next) = world.end(producer, commit) {
                        if world.version.bumps_epoch() && !held.contains(&next) {
                            held.push(next);
                        }
                        if world.endings.len() > was_decided {
                            prop_assert_eq!(world.endings.last().unwrap().commit, commit);
                        }
                    }
                }
                Step::Markers => {
                    for ending in world.finish() {
                        prop_assert_eq!(&ending.partitions, &open);
                        open.clear();
                    }
                }
                Step::Timeout => {
                    world.now += 60_001;
                    world.turn(Shard::abort_timed_out);
                }
                Step::Version(flexible) => {
                    // Finalizing needs nobody to stop.
                    world.version = if flexible { KIP_890 } else { CLASSIC };
                }
                Step::Restart => {
                    let before = world.shard.clone();
                    let wanted: Vec<_> = before.get(ID).and_then(|known| known.ending(&ID.into())).into_iter().collect();
                    world.restart();
                    prop_assert_eq!(&world.endings, &wanted);
                    let (Some(before), Some(after)) = (before.get(ID), world.shard.get(ID)) else { continue };
                    prop_assert_eq!((before.producer, before.epoch), (after.producer, after.epoch));
                    prop_assert_eq!((before.state, &before.partitions), (after.state, &after.partitions));
                }
            }
            prop_assert!(world.endings.len() <= 1, "a transaction ended twice");
            if let Some(current) = world.shard.get(ID) {
                let touched = if current.state == State::Ongoing || current.state.is_prepared() { &open } else { &BTreeSet::new() };
                prop_assert_eq!(&current.partitions, touched);
            }
        }
    }
}
