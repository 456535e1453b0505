//! Readers: from an offset, from a time, from the end, and at the edges of the log.

use std::time::{Duration, Instant};

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::offset_for_leader_epoch_request::{OffsetForLeaderPartition, OffsetForLeaderTopic};
use kafka_protocol::messages::{
    BrokerId, FetchRequest, ListOffsetsRequest, MetadataRequest, OffsetForLeaderEpochRequest, TopicName,
};
use kafka_protocol::protocol::StrBytes;
use rdkafka::consumer::Consumer;
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use crate::harness::{PATIENCE, Producer, Reader, Record, broker, produce, topic, watermarks};
use crate::wire::Connection;

fn numbered(count: i64) -> Vec<Record> {
    (0..count).map(|n| Record::value(n.to_string()).at(1_000_000 + n * 1_000)).collect()
}

#[test]
fn offsets_are_found_by_time() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "times", 1, &[]);
    produce(&bootstrap, &topic, 0, &numbered(50));
    // A second batch whose times go back: found is the first offset at or after the time, not the time's neighbour.
    produce(&bootstrap, &topic, 0, &[Record::value("back").at(1_000_000), Record::value("ahead").at(9_000_000)]);
    let reader = Reader::new(&bootstrap, &topic, 0, Offset::Beginning);
    let found = |time: i64| {
        let mut query = TopicPartitionList::new();
        query.add_partition_offset(&topic, 0, Offset::Offset(time)).unwrap();
        reader.0.offsets_for_times(query, PATIENCE).unwrap().elements()[0].offset()
    };
    assert_eq!(found(0), Offset::Offset(0));
    assert_eq!(found(1_000_000), Offset::Offset(0));
    assert_eq!(found(1_000_001), Offset::Offset(1));
    assert_eq!(found(1_030_000), Offset::Offset(30));
    assert_eq!(found(1_049_001), Offset::Offset(51));
    assert_eq!(found(9_000_000), Offset::Offset(51));
    assert_eq!(found(9_000_001), Offset::End);
}

#[test]
fn a_reader_seeks_back_and_forth() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "seek", 1, &[]);
    for part in numbered(100).chunks(10) {
        produce(&bootstrap, &topic, 0, part);
    }
    let reader = Reader::new(&bootstrap, &topic, 0, Offset::Offset(42));
    assert_eq!(reader.next().1, 42);
    for target in [7, 99, 0, 55, 55] {
        reader.0.seek(&topic, 0, Offset::Offset(target), PATIENCE).unwrap();
        assert_eq!(reader.next().1, target);
    }
    let tail = Reader::new(&bootstrap, &topic, 0, Offset::OffsetTail(3));
    assert_eq!(tail.next().1, 97);
}

#[test]
fn a_waiting_reader_is_woken_by_the_next_record() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "tail", 1, &[]);
    produce(&bootstrap, &topic, 0, &[Record::value("first")]);
    // It waits long and for little, so that only being woken makes this test end in time.
    let waits = [("fetch.wait.max.ms", "20000"), ("socket.timeout.ms", "60000"), ("fetch.min.bytes", "1")];
    let reader = Reader::with(&bootstrap, &topic, &[0], Offset::Beginning, &waits);
    assert_eq!(reader.take(1)[0].value, Record::value("first").value);
    let producer = Producer::new(&bootstrap, &[]);
    for n in 0..10 {
        assert!(reader.0.poll(Duration::from_millis(20)).is_none());
        producer.deliver(&topic, 0, &Record::value(n.to_string())).unwrap();
        assert_eq!(reader.take(1)[0].value, Record::value(n.to_string()).value);
    }
}

#[test]
fn reading_outside_the_log_is_an_error_and_reading_at_its_end_is_not() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "outside", 1, &[]);
    produce(&bootstrap, &topic, 0, &numbered(5));
    let beyond = Reader::new(&bootstrap, &topic, 0, Offset::Offset(6));
    assert_eq!(beyond.next_error(), RDKafkaErrorCode::AutoOffsetReset);
    let eof = [("enable.partition.eof", "true")];
    let at_end = Reader::with(&bootstrap, &topic, &[0], Offset::Offset(5), &eof);
    assert_eq!(at_end.next_error(), RDKafkaErrorCode::PartitionEOF);
    assert_eq!(watermarks(&at_end.0, &topic, 0), (0, 5));
    let reset = Reader::with(&bootstrap, &topic, &[0], Offset::Offset(99), &[("auto.offset.reset", "earliest")]);
    assert_eq!(reset.next().1, 0);
}

#[test]
fn small_fetches_over_many_partitions_and_segments_skip_nothing() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "segments", 3, &[("segment.bytes", "1048576")]);
    let producer = Producer::new(&bootstrap, &[("batch.num.messages", "5"), ("linger.ms", "0")]);
    for n in 0..6_000 {
        producer.send(&topic, n % 3, &Record::value(format!("{n:>1000}")));
    }
    assert!(producer.flush().iter().all(Result::is_ok));
    // Less than a segment, less than a batch at times, and less in all than every partition's share together.
    let limits = [("fetch.message.max.bytes", "15000"), ("fetch.max.bytes", "20000"), ("message.max.bytes", "20000")];
    let reader = Reader::with(&bootstrap, &topic, &[0, 1, 2], Offset::Beginning, &limits);
    let mut next = [0; 3];
    for _ in 0..6_000 {
        let (partition, offset, record) = reader.next();
        let expected = &mut next[partition as usize];
        assert_eq!(offset, *expected, "partition {partition}");
        assert_eq!(record.value, Record::value(format!("{:>1000}", offset * 3 + i64::from(partition))).value);
        *expected += 1;
    }
}

#[test]
fn both_isolation_levels_read_plain_records() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "isolation", 1, &[]);
    produce(&bootstrap, &topic, 0, &numbered(10));
    for level in ["read_uncommitted", "read_committed"] {
        let settings = [("isolation.level", level)];
        let reader = Reader::with(&bootstrap, &topic, &[0], Offset::Beginning, &settings);
        assert_eq!(reader.take(10).len(), 10);
        assert_eq!(watermarks(&reader.0, &topic, 0), (0, 10));
    }
}

fn asked(topic: &str, partition: FetchPartition) -> FetchTopic {
    let name = TopicName(StrBytes::from_string(topic.to_owned()));
    FetchTopic::default().with_topic(name).with_partitions(vec![partition.with_partition_max_bytes(1 << 20)])
}

fn fetch(topics: Vec<FetchTopic>) -> FetchRequest {
    FetchRequest::default().with_max_bytes(1 << 20).with_session_epoch(-1).with_min_bytes(1).with_topics(topics)
}

#[test]
fn what_is_not_there_is_answered_last_and_hastens_nothing() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "there", 1, &[]);
    let mut connection = Connection::open(&bootstrap);
    let nowhere = || asked("nowhere", FetchPartition::default());
    let wait = Duration::from_millis(300);
    let both = fetch(vec![nowhere(), asked(&topic, FetchPartition::default())]).with_max_wait_ms(300);
    let begun = Instant::now();
    let answer = connection.call(12, &both);
    assert!(begun.elapsed() >= wait, "a reader of a deleted topic would ask without a pause");
    let codes = answer.responses.iter().map(|topic| topic.partitions[0].error_code).collect::<Vec<_>>();
    assert_eq!(codes, [0, 3]);
    assert_eq!(answer.responses[1].partitions[0].aborted_transactions, Some(Vec::new()));
    // By id: one that nobody has, and a partition beyond the topic's.
    let wanted = MetadataRequestTopic::default().with_name(Some(TopicName(StrBytes::from_string(topic.clone()))));
    let id = connection.call(12, &MetadataRequest::default().with_topics(Some(vec![wanted]))).topics[0].topic_id;
    let by_id =
        |id: Uuid, partition: i32| asked("", FetchPartition::default().with_partition(partition)).with_topic_id(id);
    let asked_for = vec![by_id(id, 7), by_id(Uuid::from_u128(77), 0), by_id(id, 0)];
    let answer = connection.call(13, &fetch(asked_for));
    let codes = answer.responses.iter().map(|topic| topic.partitions[0].error_code).collect::<Vec<_>>();
    assert_eq!(codes, [0, 100, 3]);
    // There is nothing to wait for.
    let begun = Instant::now();
    connection.call(12, &fetch(vec![nowhere()]).with_max_wait_ms(20_000));
    assert!(begun.elapsed() < Duration::from_secs(10));
}

#[test]
fn the_leaders_epoch_stands_at_the_end_until_it_has_written() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "unwritten", 1, &[]);
    let mut connection = Connection::open(&bootstrap);
    let mut end = |epoch: i32| {
        let partition = OffsetForLeaderPartition::default().with_leader_epoch(epoch);
        let name = TopicName(StrBytes::from_string(topic.clone()));
        let topic = OffsetForLeaderTopic::default().with_topic(name).with_partitions(vec![partition]);
        let answer = connection.call(4, &OffsetForLeaderEpochRequest::default().with_topics(vec![topic]));
        let partition = &answer.topics[0].partitions[0];
        (partition.error_code, partition.leader_epoch, partition.end_offset)
    };
    assert_eq!(end(0), (0, 0, 0));
    assert_eq!(end(1), (0, -1, -1));
    assert_eq!(end(-1), (0, -1, -1));
    let mut read = |partition: FetchPartition| {
        let request = fetch(vec![asked(&topic, partition)]);
        connection.call(12, &request).responses[0].partitions[0].error_code
    };
    assert_eq!(read(FetchPartition::default().with_last_fetched_epoch(0)), 0, "a reader that has followed so far");
    assert_eq!(read(FetchPartition::default().with_current_leader_epoch(-2)), 0, "negative epochs tell nothing");
    let earliest = ListOffsetsPartition::default().with_timestamp(-2);
    let name = TopicName(StrBytes::from_string(topic.clone()));
    let listed = |partitions| ListOffsetsTopic::default().with_name(name.clone()).with_partitions(partitions);
    let mut list = |topics| {
        let request = ListOffsetsRequest::default().with_replica_id(BrokerId(-1)).with_topics(topics);
        connection.call(7, &request).topics
    };
    assert_eq!(list(vec![listed(vec![earliest.clone()])])[0].partitions[0].leader_epoch, 0);
    let twice = list(vec![listed(vec![earliest.clone(), earliest])]);
    assert_eq!(twice[0].partitions.len(), 1, "a partition that is asked for twice is answered once");
    assert_eq!(twice[0].partitions[0].error_code, 42);
    assert!(list(vec![listed(Vec::new())]).is_empty(), "a topic without partitions is not answered");
}
