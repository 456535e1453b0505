//! What transactions promise to those who use librdkafka.
//!
//! librdkafka 2.12 speaks the older of the two protocols, whatever level `transaction.version` has. It
//! sends InitProducerId v4, AddPartitionsToTxn v0, Produce v10, AddOffsetsToTxn v0,
//! TxnOffsetCommit v3 and EndTxn v1. KIP-890 begins with Produce v12, TxnOffsetCommit v5 and EndTxn v5.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use bytes::Bytes;
use kafka_protocol::messages::FetchRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::records::RecordBatchDecoder;
use ottla_compat::{Broker, Settings};
use rdkafka::Offset;
use rdkafka::consumer::Consumer as _;
use rdkafka::types::RDKafkaErrorCode;

use crate::group::{fetch_committed, topic_name};
use crate::harness::{PATIENCE, Random, Record, broker, fresh, own_broker, produce, topic};
use crate::transaction::Isolation::{Committed, Uncommitted};
use crate::transaction::{
    Failure, Transactional, UNSTABLE_OFFSET_COMMIT, member, reader, stable_offset, value_of, values,
};
use crate::wire::Connection;

#[test]
fn a_committed_transaction_is_read_by_everybody() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "committed", 3, &[]);
    let producer = Transactional::new(&bootstrap, &fresh("committed"), &[]);
    producer.transact(&topic, &[(0, "a"), (1, "b"), (2, "c"), (0, "d")], true);
    producer.transact(&topic, &[(2, "e")], true);
    for isolation in [Committed, Uncommitted] {
        assert_eq!(values(&bootstrap, &topic, 0, isolation), ["a", "d"], "{isolation:?}");
        assert_eq!(values(&bootstrap, &topic, 1, isolation), ["b"], "{isolation:?}");
        assert_eq!(values(&bootstrap, &topic, 2, isolation), ["c", "e"], "{isolation:?}");
    }
}

#[test]
fn an_aborted_transaction_is_read_by_those_alone_who_read_uncommitted_records() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "aborted", 3, &[]);
    let producer = Transactional::new(&bootstrap, &fresh("aborted"), &[]);
    producer.transact(&topic, &[(0, "a"), (1, "b"), (2, "c")], false);
    producer.transact(&topic, &[(1, "d")], true);
    producer.transact(&topic, &[(1, "e")], false);
    for (partition, committed, all) in [(0, vec![], vec!["a"]), (1, vec!["d"], vec!["b", "d", "e"])] {
        assert_eq!(values(&bootstrap, &topic, partition, Committed), committed);
        assert_eq!(values(&bootstrap, &topic, partition, Uncommitted), all);
    }
    assert_eq!(values(&bootstrap, &topic, 2, Committed), [] as [&str; 0]);
}

#[test]
fn an_open_transaction_holds_back_those_who_read_committed_records() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "open", 1, &[]);
    let (open, other) = (fresh("open"), fresh("other"));
    let (open, other) = (Transactional::new(&bootstrap, &open, &[]), Transactional::new(&bootstrap, &other, &[]));
    let from_start = |isolation| reader(&bootstrap, &topic, 0, Offset::Beginning, isolation);
    let (committed, uncommitted) = (from_start(Committed), from_start(Uncommitted));

    produce(&bootstrap, &topic, 0, &[Record::value("before")]);
    open.begin();
    assert_eq!(open.deliver(&topic, 0, "held"), Ok((0, 1)));
    // What comes after it is held back too, whoever wrote it.
    other.transact(&topic, &[(0, "behind")], true);
    produce(&bootstrap, &topic, 0, &[Record::value("beside")]);

    let values = |records: Vec<(i64, Record)>| records.into_iter().map(|(_, r)| value_of(r)).collect::<Vec<_>>();
    let everything = ["before", "held", "behind", "beside"];
    let seen: Vec<String> = everything.iter().map(|_| value_of(uncommitted.next().2)).collect();
    assert_eq!(seen, everything);
    assert_eq!(value_of(committed.next().2), "before");
    assert_eq!(values(from_start(Committed).to_end()), ["before"]);
    let latest = |isolation| from_start(isolation).0.fetch_watermarks(&topic, 0, PATIENCE).unwrap().1;
    assert_eq!((latest(Committed), latest(Uncommitted)), (1, 5), "the end of a partition");

    open.commit().unwrap();
    // Now in the order of their offsets; the reader that waited gets them as well.
    let seen: Vec<String> = (0..3).map(|_| value_of(committed.next().2)).collect();
    assert_eq!(seen, everything[1..]);
    assert_eq!(values(from_start(Committed).to_end()), everything);
    assert_eq!((latest(Committed), latest(Uncommitted)), (6, 6));
}

#[test]
fn a_long_history_is_read_from_every_offset() {
    let mut broker = own_broker(Settings::default());
    let bootstrap = broker.bootstrap();
    // Kafka takes no smaller segments; what follows fills about five.
    let topic = topic(&bootstrap, "history", 1, &[("segment.bytes", "1048576")]);
    let mut random = Random::from_environment("a_long_history_is_read_from_every_offset");
    let expected = write_history(&bootstrap, &topic, &mut random);
    for round in ["as it was written", "after kill -9"] {
        compare_history(&bootstrap, &topic, &expected, round);
        broker.kill().unwrap();
        broker.restart().unwrap();
    }
}

const HISTORY: usize = 150;

/// Offsets and values of committed records, and the end of the partition.
struct History {
    committed: Vec<(i64, String)>,
    end: i64,
}

/// Transactions of several producers, one over the other, each over some records; half of them are aborted.
fn write_history(bootstrap: &str, topic: &str, random: &mut Random) -> History {
    let ids: Vec<String> = (0..4).map(|_| fresh("history")).collect();
    let producers: Vec<Transactional> = ids.iter().map(|id| Transactional::new(bootstrap, id, &[])).collect();
    let mut open: Vec<Option<Vec<(i64, String)>>> = producers.iter().map(|_| None).collect();
    let (mut committed, mut number) = (Vec::new(), 0);
    let mut end = |index: usize, written: Vec<(i64, String)>, commits: bool| {
        let producer: &Transactional = &producers[index];
        if commits {
            producer.commit().unwrap();
            committed.extend(written);
        } else {
            producer.abort().unwrap();
        }
    };
    while number < HISTORY {
        let index = random.below(producers.len());
        // The first producer's transactions are long: they go over the boundaries of segments.
        if open[index].is_some() && random.below(if index == 0 { 30 } else { 4 }) == 0 {
            end(index, open[index].take().unwrap(), random.below(2) == 0);
            continue;
        }
        let written = open[index].get_or_insert_with(|| {
            producers[index].begin();
            Vec::new()
        });
        let value = format!("{number}:{}", "x".repeat(30_000 + random.below(10_000)));
        let (_, offset) = producers[index].deliver(topic, 0, &value).unwrap();
        written.push((offset, value));
        number += 1;
    }
    for (index, written) in open.into_iter().enumerate() {
        if let Some(written) = written {
            end(index, written, index == 0);
        }
    }
    committed.sort_unstable();
    let (_, end) = reader(bootstrap, topic, 0, Offset::End, Committed).0.fetch_watermarks(topic, 0, PATIENCE).unwrap();
    History { committed, end }
}

fn compare_history(bootstrap: &str, topic: &str, expected: &History, round: &str) {
    let from_here_on = |from| expected.committed.iter().filter(move |(offset, _)| *offset >= from);
    let mut connection = Connection::open(bootstrap);
    for from in 0..=expected.end {
        // With answers of one batch too: each has to name what is aborted in it.
        for limit in [1, 100_000] {
            let (found, next) = fetch_committed_records(&mut connection, topic, from, limit);
            let wanted = from_here_on(from).take_while(|(offset, _)| *offset < next);
            assert_eq!(found, wanted.map(|(offset, _)| *offset).collect::<Vec<_>>(), "{round}, {from} to {next}");
            assert!(next > from || from == expected.end, "{round}: nothing at {from}");
        }
    }
    let whole = reader(bootstrap, topic, 0, Offset::Beginning, Committed);
    for from in (0..=expected.end).step_by(20) {
        whole.assign(topic, &[0], Offset::Offset(from));
        let found: Vec<(i64, String)> = whole.to_end().into_iter().map(|(at, record)| (at, value_of(record))).collect();
        let offsets = |records: &[(i64, String)]| records.iter().map(|(offset, _)| *offset).collect::<Vec<_>>();
        let wanted: Vec<_> = from_here_on(from).cloned().collect();
        assert_eq!(offsets(&found), offsets(&wanted), "{round}, from {from}");
        assert!(found == wanted, "{round}, from {from}: other values");
    }
    let all = reader(bootstrap, topic, 0, Offset::Beginning, Uncommitted).to_end();
    assert_eq!(all.len(), HISTORY, "{round}");
}

/// The offsets of the committed records in one answer to a Fetch, and the offset after all that is in it.
fn fetch_committed_records(connection: &mut Connection, topic: &str, from: i64, limit: i32) -> (Vec<i64>, i64) {
    let wanted = FetchPartition::default().with_fetch_offset(from).with_partition_max_bytes(limit);
    let topic = FetchTopic::default().with_topic(topic_name(topic)).with_partitions(vec![wanted]);
    let request = FetchRequest::default().with_max_bytes(limit).with_isolation_level(1).with_topics(vec![topic]);
    let found = connection.call(12, &request).responses.remove(0).partitions.remove(0);
    assert_eq!(found.error_code, 0);
    let mut aborted = found.aborted_transactions.unwrap_or_default();
    aborted.sort_by_key(|transaction| Reverse(transaction.first_offset));
    let (mut left_out, mut offsets, mut next) = (BTreeSet::new(), Vec::new(), from);
    let mut batches = whole_batches(found.records.unwrap_or_default());
    for batch in RecordBatchDecoder::decode_all(&mut batches).unwrap() {
        for record in batch.records {
            next = record.offset + 1;
            while let Some(transaction) = aborted.pop_if(|transaction| transaction.first_offset <= record.offset) {
                left_out.insert(transaction.producer_id.0);
            }
            if record.control {
                left_out.remove(&record.producer_id);
            } else if record.offset >= from && !left_out.contains(&record.producer_id) {
                offsets.push(record.offset);
            }
        }
    }
    (offsets, next)
}

/// Without the last batch where the answer's limit cut it.
fn whole_batches(mut records: Bytes) -> Bytes {
    let mut end = 0;
    while let Some(head) = records.get(end..end + 12) {
        let length = 12 + i32::from_be_bytes(head[8..].try_into().unwrap()) as usize;
        if end + length > records.len() {
            break;
        }
        end += length;
    }
    records.split_to(end)
}

#[test]
fn offsets_become_visible_with_the_records_of_their_transaction() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let (input, output) = (topic(&bootstrap, "input", 1, &[]), topic(&bootstrap, "output", 1, &[]));
    produce(&bootstrap, &input, 0, &["a", "b", "c"].map(Record::value));
    let group = fresh("group");
    let consumer = member(&bootstrap, &group, &input, 3);
    let membership = consumer.group_metadata().unwrap();
    let producer = Transactional::new(&bootstrap, &fresh("worker"), &[]);
    let mut connection = Connection::open(&bootstrap);
    let offset = |connection: &mut Connection| {
        fetch_committed(connection, &group).get(&(input.clone(), 0)).copied().unwrap_or(-1)
    };
    let mut before = -1;
    for (next, commits) in [(1, false), (2, true), (3, false), (3, true)] {
        producer.begin();
        producer.deliver(&output, 0, &next.to_string()).unwrap();
        producer.send_offsets(&membership, &[(&input, 0, next)]).unwrap();
        assert_eq!(offset(&mut connection), before, "nobody sees offsets of an open transaction");
        assert_eq!(stable_offset(&mut connection, &group, (&input, 0)).unwrap(), Err(UNSTABLE_OFFSET_COMMIT));
        if commits {
            producer.commit().unwrap();
            before = next;
        } else {
            producer.abort().unwrap();
        }
        // The answer comes with the decision; that it is carried out takes a moment.
        let stable = loop {
            let now = stable_offset(&mut connection, &group, (&input, 0)).unwrap();
            if now != Err(UNSTABLE_OFFSET_COMMIT) {
                break now;
            }
        };
        assert_eq!(stable, Ok(before));
        assert_eq!(offset(&mut connection), before);
    }
    assert_eq!(values(&bootstrap, &output, 0, Committed), ["2", "3"]);
}

#[test]
fn a_second_producer_with_the_same_id_fences_the_first() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "fenced", 1, &[]);
    let id = fresh("fenced");
    let first = Transactional::new(&bootstrap, &id, &[]);
    first.transact(&topic, &[(0, "first's")], true);
    let between = Transactional::new(&bootstrap, &id, &[]);
    // Without a transaction open it learns of it with its next one.
    first.begin();
    first.deliver(&topic, 0, "late").unwrap_err();
    assert_eq!(first.commit(), Err(Failure::Fatal(RDKafkaErrorCode::Fenced)));

    between.begin();
    between.deliver(&topic, 0, "aborted").unwrap();
    let last = Transactional::new(&bootstrap, &id, &[]);
    // With one open, when it ends it: the broker has aborted it.
    assert_eq!(between.commit(), Err(Failure::Fatal(RDKafkaErrorCode::Fenced)));
    last.transact(&topic, &[(0, "last's")], true);
    assert_eq!(values(&bootstrap, &topic, 0, Committed), ["first's", "last's"]);
    assert_eq!(values(&bootstrap, &topic, 0, Uncommitted), ["first's", "aborted", "last's"]);
}

#[test]
fn what_a_crashed_producer_left_open_is_aborted_by_its_successor() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "crashed", 2, &[]);
    let id = fresh("crashed");
    let crashed = Transactional::new(&bootstrap, &id, &[]);
    crashed.begin();
    crashed.deliver(&topic, 0, "left").unwrap();
    crashed.deliver(&topic, 1, "left").unwrap();
    // Dropped, it says nothing to the broker.
    drop(crashed);
    produce(&bootstrap, &topic, 0, &[Record::value("behind")]);
    assert_eq!(values(&bootstrap, &topic, 0, Committed), [] as [&str; 0]);
    let successor = Transactional::new(&bootstrap, &id, &[]);
    assert_eq!(value_of(reader(&bootstrap, &topic, 0, Offset::Beginning, Committed).next().2), "behind");
    successor.transact(&topic, &[(0, "a"), (1, "b")], true);
    assert_eq!(values(&bootstrap, &topic, 0, Committed), ["behind", "a"]);
    assert_eq!(values(&bootstrap, &topic, 1, Committed), ["b"]);
}

#[test]
fn a_transaction_that_takes_too_long_is_aborted_by_the_broker() {
    let settings = Settings::default().set("transaction.abort.timed.out.transaction.cleanup.interval.ms", "100");
    let broker = own_broker(settings);
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "late", 1, &[]);
    let (id, short) = (fresh("late"), [("transaction.timeout.ms", "1000"), ("message.timeout.ms", "1000")]);
    let late = Transactional::new(&bootstrap, &id, &short);
    late.begin();
    late.deliver(&topic, 0, "late").unwrap();
    produce(&bootstrap, &topic, 0, &[Record::value("behind")]);
    // A reader that waits goes on as soon as it is aborted.
    let reader = reader(&bootstrap, &topic, 0, Offset::Beginning, Committed);
    assert_eq!(value_of(reader.next().2), "behind");
    assert_eq!(late.commit(), Err(Failure::Fatal(RDKafkaErrorCode::Fenced)));
    Transactional::new(&bootstrap, &id, &short).transact(&topic, &[(0, "again")], true);
    assert_eq!(value_of(reader.next().2), "again");
    assert_eq!(values(&bootstrap, &topic, 0, Uncommitted), ["late", "behind", "again"]);
}

#[test]
fn a_timeout_that_is_too_long_is_refused() {
    let broker = own_broker(Settings::default().set("transaction.max.timeout.ms", "60000"));
    let bootstrap = broker.bootstrap();
    let refused = Transactional::unasked(&bootstrap, &fresh("long"), &[("transaction.timeout.ms", "60001")]);
    assert_eq!(refused.init(), Err(Failure::Fatal(RDKafkaErrorCode::InvalidTransactionTimeout)));
    Transactional::new(&bootstrap, &fresh("long"), &[("transaction.timeout.ms", "60000")]);
}

#[test]
fn an_open_transaction_goes_on_over_a_kill_of_the_broker() {
    let mut broker = own_broker(Settings::default());
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "going-on", 2, &[]);
    let producer = Transactional::new(&bootstrap, &fresh("going-on"), &[]);
    for (round, commits) in [true, false, true].into_iter().enumerate() {
        producer.begin();
        producer.deliver(&topic, 0, &format!("{round}, before")).unwrap();
        kill_and_restart(&mut broker);
        assert_eq!(values(&bootstrap, &topic, 1, Committed).len(), round.div_ceil(2), "it is still open");
        producer.deliver(&topic, 1, &format!("{round}, after")).unwrap();
        if commits { producer.commit() } else { producer.abort() }.unwrap();
    }
    assert_eq!(values(&bootstrap, &topic, 0, Committed), ["0, before", "2, before"]);
    assert_eq!(values(&bootstrap, &topic, 1, Committed), ["0, after", "2, after"]);
}

#[test]
fn what_was_committed_is_there_after_a_kill_of_the_broker() {
    let mut broker = own_broker(Settings::default());
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "kept", 3, &[]);
    let producer = Transactional::new(&bootstrap, &fresh("kept"), &[]);
    let follower = reader(&bootstrap, &topic, 2, Offset::Beginning, Committed);
    for round in 0..6 {
        let kept = format!("{round}");
        // What is aborted stays out as well.
        producer.transact(&topic, &[(0, "aborted"), (2, "aborted")], false);
        producer.transact(&topic, &[(0, &kept), (1, &kept), (2, &kept)], true);
        kill_and_restart(&mut broker);
        assert_eq!(value_of(follower.next().2), kept);
    }
    for partition in 0..3 {
        let expected: Vec<String> = (0..6).map(|round| round.to_string()).collect();
        assert_eq!(values(&bootstrap, &topic, partition, Committed), expected);
    }
}

fn kill_and_restart(broker: &mut Broker) {
    broker.kill().unwrap();
    broker.restart().unwrap();
}
