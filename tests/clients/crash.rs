//! `kill -9` again and again under load: every acknowledged record is there, once, in order, and nothing that a
//! reader saw is gone. `OTTLA_CRASH_KILLS` makes it as long as wanted.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use ottla_compat::{Durability, Settings};
use rdkafka::Offset;

use crate::harness::{Raise, Random, Reader, own_broker, topic, watermarks};
use crate::journal::Journal;

const PARTITIONS: i32 = 3;
const PRODUCERS: usize = 4;

#[test]
fn records_on_the_disk_survive_kills() {
    survives_kills("records_on_the_disk_survive_kills", Durability::Fsync);
}

#[test]
fn records_in_the_page_cache_survive_kills() {
    survives_kills("records_in_the_page_cache_survive_kills", Durability::Os);
}

fn survives_kills(test: &str, durability: Durability) {
    let kills =
        std::env::var("OTTLA_CRASH_KILLS").map_or(6, |kills| kills.parse().expect("OTTLA_CRASH_KILLS is a number"));
    let mut random = Random::from_environment(test);
    let mut broker = own_broker(Settings::default().durability(durability));
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "crash", PARTITIONS, &[("segment.bytes", "1048576")]);
    let journal = Journal::default();
    let stop = AtomicBool::new(false);

    let (sent, seen) = std::thread::scope(|scope| {
        let producers: Vec<_> = (0..PRODUCERS)
            .map(|name| {
                let (journal, bootstrap, topic, stop) = (&journal, &bootstrap, &topic, &stop);
                scope.spawn(move || load(name, journal, bootstrap, topic, stop))
            })
            .collect();
        let reader = scope.spawn(|| follow(&bootstrap, &topic, &stop));
        let watcher = Reader::with(&bootstrap, &topic, &[], Offset::End, &[]);
        let mut high = [0; PARTITIONS as usize];
        // Whatever happens here, the threads are told to end, or the scope would wait for them forever.
        let _end = Raise(&stop);
        for kill in 0..kills {
            journal.wait_for(journal.count() + random.below(4_000));
            broker.kill().unwrap();
            let acknowledged: Vec<i64> = (0..PARTITIONS).map(|partition| journal.end(partition)).collect();
            if random.below(4) == 0 {
                // Once more before it is up, so that a recovery is cut off as well.
                broker.restart_and_kill(Duration::from_micros(random.below(15_000) as u64)).unwrap();
            }
            broker.restart().unwrap();
            for partition in 0..PARTITIONS {
                let (low, now) = watermarks(&watcher.0, &topic, partition);
                let before = &mut high[partition as usize];
                assert_eq!(low, 0);
                assert!(now >= *before, "kill {kill}: the watermark of {partition} went from {before} back to {now}");
                let promised = acknowledged[partition as usize];
                assert!(now >= promised, "kill {kill}: {promised} records of {partition} acknowledged, {now} there");
                *before = now;
            }
        }
        stop.store(true, Ordering::Relaxed);
        let sent: Vec<u64> = producers.into_iter().map(|producer| producer.join().unwrap()).collect();
        (sent, reader.join().unwrap())
    });

    println!("{test}: {kills} kills, {} records acknowledged, {} read along the way", journal.count(), seen.len());
    assert_eq!(journal.count() as u64, sent.iter().sum::<u64>());
    let log = journal.compare_with_the_log(&bootstrap, &topic, PARTITIONS);
    for (partition, records) in log.iter().enumerate() {
        let mut next = BTreeMap::new();
        for (offset, (key, value)) in records.iter().enumerate() {
            let name: usize = std::str::from_utf8(key.as_ref().unwrap()).unwrap().parse().unwrap();
            let expected = next.entry(name).or_insert(partition as u64);
            let content = content(name, *expected);
            assert!(
                value.as_ref() == Some(&content),
                "partition {partition}, offset {offset}: not producer {name}'s {expected}"
            );
            *expected += PARTITIONS as u64;
            if let Some(value_seen) = seen.get(&(partition as i32, offset as i64)) {
                assert!(
                    value.as_ref() == Some(value_seen),
                    "partition {partition}, offset {offset}: a reader saw another"
                );
            }
        }
        for (name, next) in next {
            assert!(next >= sent[name], "partition {partition} lacks records of producer {name} from {next} on");
        }
    }
}

/// Sends until told to stop; how many records.
fn load(name: usize, journal: &Journal, bootstrap: &str, topic: &str, stop: &AtomicBool) -> u64 {
    let codec = ["none", "lz4", "none", "zstd"][name];
    let settings =
        [("compression.codec", codec), ("batch.num.messages", "50"), ("queue.buffering.max.messages", "1000")];
    let producer = journal.producer(bootstrap, &settings);
    let mut number = 0;
    while !stop.load(Ordering::Relaxed) {
        let partition = (number % PARTITIONS as u64) as i32;
        producer.send(topic, partition, name.to_string().as_bytes(), &content(name, number));
        number += 1;
    }
    producer.flush();
    number
}

/// What a producer's record of this number holds: some hundred bytes that no other record has.
fn content(name: usize, number: u64) -> Vec<u8> {
    format!("{name}/{number} ").repeat(1 + (number % 97) as usize).into_bytes()
}

/// Reads all partitions as they grow; values by partition and offset.
fn follow(bootstrap: &str, topic: &str, stop: &AtomicBool) -> BTreeMap<(i32, i64), Vec<u8>> {
    let reader = Reader::with(bootstrap, topic, &[0, 1, 2], Offset::Beginning, &[]);
    let mut seen = BTreeMap::new();
    while !stop.load(Ordering::Relaxed) {
        let (partition, offset, record) = reader.next();
        seen.insert((partition, offset), record.value.unwrap());
    }
    seen
}
