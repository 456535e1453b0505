//! What a transactional producer is refused, in both protocols and with Kafka's codes: requests that librdkafka would
//! not send.

use ottla_compat::Settings;
use rdkafka::Offset;

use crate::group_errors::Asker;
use crate::harness::{broker, fresh, own_broker, topic};
use crate::raw_producer::Protocol::{Classic, Kip890};
use crate::raw_producer::{Membership, NONE, RawProducer};
use crate::transaction::Isolation::{Committed, Uncommitted};
use crate::transaction::{reader, value_of, values};

const NOT_ENOUGH_REPLICAS: i16 = 19;
const ILLEGAL_GENERATION: i16 = 22;
const UNKNOWN_MEMBER_ID: i16 = 25;
const INVALID_PRODUCER_EPOCH: i16 = 47;
const INVALID_TXN_STATE: i16 = 48;
const FENCED_INSTANCE_ID: i16 = 82;
const PRODUCER_FENCED: i16 = 90;
const TRANSACTION_ABORTABLE: i16 = 120;

fn values_of(values: &[&str]) -> Vec<String> {
    values.iter().map(|value| (*value).to_owned()).collect()
}

#[test]
fn a_transaction_that_was_not_begun_cannot_be_ended() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "unbegun", 1, &[]);
    let mut classic = RawProducer::init(&bootstrap, &fresh("unbegun"), Classic).unwrap();
    for version in 0..=4 {
        assert_eq!(classic.end_in(version, true).unwrap(), INVALID_TXN_STATE, "v{version}");
        assert_eq!(classic.end_in(version, false).unwrap(), INVALID_TXN_STATE, "v{version}");
    }
    let mut kip_890 = RawProducer::init(&bootstrap, &fresh("unbegun"), Kip890).unwrap();
    assert_eq!(kip_890.end(true).unwrap(), INVALID_TXN_STATE);
    // A client of KIP-890 may not know whether its first write has begun one: abort is well, with a new epoch.
    let before = kip_890.epoch;
    assert_eq!(kip_890.end(false).unwrap(), NONE);
    assert_eq!(kip_890.epoch, before + 1);
    assert_eq!(kip_890.produce(&topic, 0, &values_of(&["begun"])).unwrap(), NONE);
    assert_eq!(kip_890.end(true).unwrap(), NONE);
    assert_eq!(values(&bootstrap, &topic, 0, Committed), ["begun"]);
}

#[test]
fn a_write_outside_the_transaction_is_refused_while_one_is_open() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "outside", 1, &[]);
    for protocol in [Classic, Kip890] {
        let mut producer = RawProducer::init(&bootstrap, &fresh("outside"), protocol).unwrap();
        assert_eq!(producer.produce(&topic, 0, &values_of(&["inside"])).unwrap(), NONE);
        assert_eq!(producer.write_outside(&topic, 0, "outside").unwrap(), INVALID_TXN_STATE, "{protocol:?}");
        assert_eq!(producer.end(true).unwrap(), NONE);
    }
    assert_eq!(values(&bootstrap, &topic, 0, Uncommitted), ["inside", "inside"]);
}

#[test]
fn a_write_to_a_partition_that_was_not_added_is_refused() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "unadded", 2, &[]);
    let (unadded, committed) = (values_of(&["unadded"]), reader(&bootstrap, &topic, 0, Offset::Beginning, Committed));
    for (version, code) in [(10, INVALID_TXN_STATE), (11, TRANSACTION_ABORTABLE)] {
        let mut producer = RawProducer::init(&bootstrap, &fresh("unadded"), Classic).unwrap();
        assert_eq!(producer.write(version, &topic, 1, &unadded).unwrap(), code, "v{version}");
        // Nor does a transaction help that has other partitions.
        assert_eq!(producer.produce(&topic, 0, &values_of(&["added"])).unwrap(), NONE);
        assert_eq!(producer.write(version, &topic, 1, &unadded).unwrap(), code, "v{version}");
        assert_eq!(producer.end(true).unwrap(), NONE);
        // Until its marker is in the partition a transaction takes late writes: that is what KIP-890 is for. Then it is
        // over, and with it what it had; while other partitions wait for theirs a client is told to try again.
        assert_eq!(value_of(committed.next().2), "added");
        let after = loop {
            match producer.write(version, &topic, 0, &unadded).unwrap() {
                NOT_ENOUGH_REPLICAS => {}
                after => break after,
            }
        };
        assert_eq!(after, code, "v{version}");
    }
    assert_eq!(values(&bootstrap, &topic, 0, Uncommitted), ["added", "added"]);
    assert_eq!(values(&bootstrap, &topic, 1, Uncommitted), [] as [&str; 0]);
}

/// With an epoch for each transaction the abort by the broker is one of those that the producer may ask for.
#[test]
fn a_producer_that_took_too_long_cannot_commit_and_may_abort_with_kip_890() {
    let settings = Settings::default().set("transaction.abort.timed.out.transaction.cleanup.interval.ms", "100");
    let broker = own_broker(settings);
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "late", 1, &[]);
    let committed = reader(&bootstrap, &topic, 0, Offset::Beginning, Committed);
    for (protocol, code) in [(Classic, PRODUCER_FENCED), (Kip890, INVALID_TXN_STATE)] {
        let mut slow = RawProducer::init_for(&bootstrap, &fresh("slow"), protocol, 500).unwrap();
        assert_eq!(slow.produce(&topic, 0, &values_of(&["slow"])).unwrap(), NONE);
        let mut quick = RawProducer::init(&bootstrap, &fresh("quick"), Kip890).unwrap();
        assert_eq!(quick.produce(&topic, 0, &values_of(&["quick"])).unwrap(), NONE);
        assert_eq!(quick.end(true).unwrap(), NONE);
        // It can be read when the broker has aborted what came before it.
        assert_eq!(value_of(committed.next().2), "quick");
        assert_eq!(slow.end(true).unwrap(), code, "{protocol:?}");
        assert_eq!(slow.write(12, &topic, 0, &values_of(&["late"])).unwrap(), INVALID_PRODUCER_EPOCH, "{protocol:?}");
        let aborted = if protocol == Classic { PRODUCER_FENCED } else { NONE };
        assert_eq!(slow.end(false).unwrap(), aborted, "{protocol:?}");
    }
}

/// `transaction.partition.verification.enable`: Kafka takes the older protocol at its word where it is off.
#[test]
fn what_was_not_added_is_taken_where_nothing_is_verified() {
    let broker = own_broker(Settings::default().set("transaction.partition.verification.enable", "false"));
    let bootstrap = broker.bootstrap();
    let (topic, group) = (topic(&bootstrap, "unverified", 1, &[]), fresh("unverified"));
    // From here on the group has a coordinator.
    Asker::new(&bootstrap, &group);
    for version in [10, 11] {
        let mut producer = RawProducer::init(&bootstrap, &fresh("unverified"), Classic).unwrap();
        assert_eq!(producer.write(version, &topic, 0, &values_of(&["unadded"])).unwrap(), NONE, "v{version}");
    }
    for version in [3, 4] {
        let mut producer = RawProducer::init(&bootstrap, &fresh("unverified"), Classic).unwrap();
        let none = Membership::none();
        let code = producer.write_offset(version, (&group, &none), (&topic, 0, 1)).unwrap();
        assert_eq!(code, NONE, "v{version}");
    }
    // What adds a partition by writing to it adds it.
    let mut producer = RawProducer::init(&bootstrap, &fresh("unverified"), Kip890).unwrap();
    assert_eq!(producer.produce(&topic, 0, &values_of(&["added"])).unwrap(), NONE);
    assert_eq!(producer.end(true).unwrap(), NONE);
    assert_eq!(values(&bootstrap, &topic, 0, Uncommitted), ["unadded", "unadded", "added"]);
    assert_eq!(values(&bootstrap, &topic, 0, Committed), [] as [&str; 0], "nobody ends the transactions before");
}

#[test]
fn a_late_end_does_not_end_the_next_transaction() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "late", 1, &[]);
    let mut producer = RawProducer::init(&bootstrap, &fresh("late"), Kip890).unwrap();
    assert_eq!(producer.produce(&topic, 0, &values_of(&["first"])).unwrap(), NONE);
    let before = (producer.producer, producer.epoch);
    assert_eq!(producer.end(true).unwrap(), NONE);
    let now = (producer.producer, producer.epoch);
    // Sent again because its answer was lost, it is answered as the first time; the other end is no retry.
    (producer.producer, producer.epoch) = before;
    assert_eq!(producer.end(true).unwrap(), NONE);
    assert_eq!((producer.producer, producer.epoch), now);
    (producer.producer, producer.epoch) = before;
    assert_eq!(producer.end(false).unwrap(), INVALID_TXN_STATE);

    (producer.producer, producer.epoch) = now;
    assert_eq!(producer.produce(&topic, 0, &values_of(&["second"])).unwrap(), NONE);
    (producer.producer, producer.epoch) = before;
    for commits in [true, false] {
        assert_eq!(producer.end(commits).unwrap(), PRODUCER_FENCED, "{commits}");
    }
    assert_eq!(values(&bootstrap, &topic, 0, Committed), ["first"], "the second one is still open");
    (producer.producer, producer.epoch) = now;
    assert_eq!(producer.end(true).unwrap(), NONE);
    assert_eq!(values(&bootstrap, &topic, 0, Committed), ["first", "second"]);
}

#[test]
fn a_producer_that_was_shut_out_gets_nowhere() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "shut-out", 1, &[]);
    for protocol in [Classic, Kip890] {
        let (id, group) = (fresh("shut-out"), fresh("shut-out"));
        // From here on the group has a coordinator.
        Asker::new(&bootstrap, &group);
        let mut old = RawProducer::init(&bootstrap, &id, protocol).unwrap();
        assert_eq!(old.produce(&topic, 0, &values_of(&["old"])).unwrap(), NONE);
        let mut new = RawProducer::init(&bootstrap, &id, protocol).unwrap();
        let none = Membership::none();
        let late = values_of(&["late"]);
        for _ in 0..2 {
            assert_eq!(old.write(11, &topic, 0, &late).unwrap(), INVALID_PRODUCER_EPOCH, "{protocol:?}");
            assert_eq!(old.write(12, &topic, 0, &late).unwrap(), INVALID_PRODUCER_EPOCH, "{protocol:?}");
            assert_eq!(old.add_partition(&topic, 0).unwrap(), PRODUCER_FENCED, "{protocol:?}");
            assert_eq!(old.end(true).unwrap(), PRODUCER_FENCED, "{protocol:?}");
            let committed = old.commit_offset((&group, &none), (&topic, 0, 1)).unwrap();
            let refused = if protocol == Classic { PRODUCER_FENCED } else { INVALID_PRODUCER_EPOCH };
            assert_eq!(committed, refused, "{protocol:?}");
            // The same once the new one is in a transaction.
            assert_eq!(new.produce(&topic, 0, &values_of(&["new"])).unwrap(), NONE);
        }
        assert_eq!(new.end(true).unwrap(), NONE);
    }
    assert_eq!(values(&bootstrap, &topic, 0, Committed), ["new"; 4]);
    assert_eq!(values(&bootstrap, &topic, 0, Uncommitted), ["old", "new", "new", "old", "new", "new"]);
}

#[test]
fn a_member_that_lost_its_partitions_cannot_commit_offsets_in_a_transaction() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "member", 1, &[]);
    for protocol in [Classic, Kip890] {
        let group = fresh("member");
        let mut asker = Asker::new(&bootstrap, &group);
        let (member, generation) = asker.alone(None);
        let mut producer = RawProducer::init(&bootstrap, &fresh("member"), protocol).unwrap();
        let mut commit = |member: &str, instance: Option<&str>, generation| {
            let instance = instance.map(str::to_owned);
            let membership = Membership { member: member.to_owned(), instance, generation };
            let code = producer.commit_offset((&group, &membership), (&topic, 0, 1)).unwrap();
            // Whatever it came to, the coordinator knows of a transaction now, unless nothing ever came of it.
            let ended = producer.end(false).unwrap();
            assert_eq!(ended, NONE, "{protocol:?}: {code}");
            code
        };
        assert_eq!(commit(&member, None, generation), NONE);
        assert_eq!(commit(&member, None, generation - 1), ILLEGAL_GENERATION, "{protocol:?}");
        assert_eq!(commit(&member, None, generation + 1), ILLEGAL_GENERATION, "{protocol:?}");
        assert_eq!(commit("somebody", None, generation), UNKNOWN_MEMBER_ID, "{protocol:?}");
        // One that names no member is not checked, as clients before KIP-447 name none.
        assert_eq!(commit("", None, -1), NONE, "{protocol:?}");
    }
    let group = fresh("static");
    let mut asker = Asker::new(&bootstrap, &group);
    let (_, generation) = asker.alone(Some("instance"));
    let mut producer = RawProducer::init(&bootstrap, &fresh("member"), Kip890).unwrap();
    let other = Membership { member: "somebody".to_owned(), instance: Some("instance".to_owned()), generation };
    assert_eq!(producer.commit_offset((&group, &other), (&topic, 0, 1)).unwrap(), FENCED_INSTANCE_ID);
}
