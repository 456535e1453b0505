//! What producers send is what the log holds, and what they are told is what happened.

use std::time::Duration;

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::{FetchRequest, ProduceRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use ottla_compat::Settings;
use rdkafka::Offset;
use rdkafka::consumer::Consumer;
use rdkafka::types::RDKafkaErrorCode;

use crate::harness::{
    Admin, Producer, Reader, Record, broker, fresh, own_broker, produce, read_all, topic, watermarks,
};
use crate::wire::{Connection, body, frame};

const CODECS: [(&str, u8); 5] = [("none", 0), ("gzip", 1), ("snappy", 2), ("lz4", 3), ("zstd", 4)];

/// Records that compress well and differ from each other.
fn records(count: usize) -> Vec<Record> {
    (0..count).map(|n| Record::keyed(format!("key-{n}"), format!("{n} ").repeat(40))).collect()
}

fn without_times(records: Vec<(i64, Record)>) -> Vec<Record> {
    records.into_iter().map(|(_, record)| Record { timestamp: None, ..record }).collect()
}

#[test]
fn every_codec_is_kept_as_it_was_sent() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    for (codec, number) in CODECS {
        let topic = topic(&bootstrap, codec, 1, &[]);
        let producer = Producer::new(&bootstrap, &[("compression.codec", codec), ("linger.ms", "50")]);
        let sent = records(500);
        for record in &sent {
            producer.send(&topic, 0, record);
        }
        let offsets: Vec<i64> = producer.flush().into_iter().map(|report| report.unwrap().1).collect();
        assert_eq!(offsets, (0..500).collect::<Vec<i64>>(), "{codec}");
        assert_eq!(without_times(read_all(&bootstrap, &topic, 0)), sent, "{codec}");
        assert_eq!(stored_codec(&bootstrap, &topic), number, "{codec}");
    }
}

#[test]
fn a_topic_with_a_codec_of_its_own_recompresses() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    for ((codec, _), (asked, number)) in [(3, 1), (0, 4), (4, 0), (1, 2), (2, 3)].map(|(a, b)| (CODECS[a], CODECS[b])) {
        let compression_type = if asked == "none" { "uncompressed" } else { asked };
        let topic = topic(&bootstrap, "recompressed", 1, &[("compression.type", compression_type)]);
        let producer = Producer::new(&bootstrap, &[("compression.codec", codec), ("linger.ms", "50")]);
        let sent = records(300);
        for record in &sent {
            producer.send(&topic, 0, record);
        }
        assert!(producer.flush().iter().all(Result::is_ok));
        assert_eq!(without_times(read_all(&bootstrap, &topic, 0)), sent, "{codec} to {asked}");
        assert_eq!(stored_codec(&bootstrap, &topic), number, "{codec} to {asked}");
    }
}

/// The codec in the attributes of the first batch, as the log holds it.
fn stored_codec(bootstrap: &str, topic: &str) -> u8 {
    let request = FetchRequest::default().with_max_bytes(1 << 20).with_topics(vec![
        FetchTopic::default()
            .with_topic(TopicName(StrBytes::from_string(topic.to_owned())))
            .with_partitions(vec![FetchPartition::default().with_partition_max_bytes(1 << 20)]),
    ]);
    let response = Connection::open(bootstrap).call(12, &request);
    let records = response.responses[0].partitions[0].records.clone().unwrap();
    assert_eq!(records[16], 2, "magic");
    records[22] & 7
}

#[test]
fn headers_keys_and_values_may_be_null_empty_or_repeated() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "nulls", 1, &[]);
    let header = |key: &str, value: Option<&str>| (key.to_owned(), value.map(|value| value.as_bytes().to_vec()));
    let sent = [
        Record::default(),
        Record { key: Some(Vec::new()), value: Some(Vec::new()), ..Record::default() },
        Record { key: Some(b"only a key".to_vec()), ..Record::default() },
        Record::value("only a value"),
        Record {
            headers: vec![
                header("twice", Some("first")),
                header("once", None),
                header("twice", Some("second")),
                header("", Some("no name")),
                header("twice", Some("first")),
                header("empty", Some("")),
            ],
            ..Record::keyed([0, 159, 146, 150], [255; 9])
        },
    ];
    produce(&bootstrap, &topic, 0, &sent);
    assert_eq!(without_times(read_all(&bootstrap, &topic, 0)), sent);
}

#[test]
fn large_records_pass_up_to_the_limit_of_the_topic() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let usual = topic(&bootstrap, "usual", 1, &[]);
    let wide = topic(&bootstrap, "wide", 1, &[("max.message.bytes", "6000000")]);
    let producer = Producer::new(&bootstrap, &[("message.max.bytes", "20000000")]);
    let of = |size: usize| Record::value((0..size).map(|n| (n % 251) as u8).collect::<Vec<u8>>());

    // The default is 1 MiB and the 12 bytes of an old log entry's head; a batch of one record has 61 bytes and some.
    let fits = of(1_048_588 - 61 - 15);
    assert_eq!(producer.deliver(&usual, 0, &fits), Ok((0, 0)));
    assert_eq!(producer.deliver(&usual, 0, &of(1_048_600)), Err(RDKafkaErrorCode::MessageSizeTooLarge));
    assert_eq!(producer.deliver(&usual, 0, &of(10)), Ok((0, 1)), "a refusal takes no offset");
    assert_eq!(producer.deliver(&wide, 0, &of(5_900_000)), Ok((0, 0)));
    assert_eq!(producer.deliver(&wide, 0, &of(6_100_000)), Err(RDKafkaErrorCode::MessageSizeTooLarge));

    assert_eq!(without_times(read_all(&bootstrap, &usual, 0)), [fits, of(10)]);
    // Larger than what the consumer asks for at once: the first batch is given whole all the same.
    let small = [("fetch.message.max.bytes", "1000")];
    let reader = Reader::with(&bootstrap, &wide, &[0], Offset::Beginning, &small);
    assert_eq!(reader.take(1)[0].value, of(5_900_000).value);
}

#[test]
fn many_producers_on_one_partition_keep_their_order() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "many", 1, &[]);
    std::thread::scope(|scope| {
        for name in 0..8 {
            let (bootstrap, topic) = (&bootstrap, &topic);
            scope.spawn(move || {
                let idempotent = if name % 2 == 0 { "true" } else { "false" };
                // Without idempotence only one request in flight keeps the order after a retry.
                let in_flight = if name % 2 == 0 { "5" } else { "1" };
                let settings = [
                    ("enable.idempotence", idempotent),
                    ("max.in.flight", in_flight),
                    ("linger.ms", "0"),
                    ("batch.num.messages", "7"),
                ];
                let producer = Producer::new(bootstrap, &settings);
                for n in 0..400 {
                    producer.send(topic, 0, &Record::keyed(name.to_string(), n.to_string()));
                }
                let offsets: Vec<i64> = producer.flush().into_iter().map(|report| report.unwrap().1).collect();
                assert!(offsets.is_sorted(), "offsets follow the order of sending");
            });
        }
    });
    let read = read_all(&bootstrap, &topic, 0);
    assert_eq!(read.len(), 8 * 400);
    for name in 0..8 {
        let key = Some(name.to_string().into_bytes());
        let own = read.iter().filter(|(_, record)| record.key == key);
        let values: Vec<Vec<u8>> = own.map(|(_, record)| record.value.clone().unwrap()).collect();
        assert_eq!(values, (0..400).map(|n| n.to_string().into_bytes()).collect::<Vec<_>>(), "producer {name}");
    }
}

#[test]
fn each_kind_of_acknowledgement() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    for acks in ["0", "1", "all"] {
        let topic = topic(&bootstrap, &format!("acks-{acks}"), 1, &[]);
        let producer = Producer::new(&bootstrap, &[("acks", acks)]);
        let reader = Reader::new(&bootstrap, &topic, 0, Offset::Beginning);
        for n in 0..20 {
            producer.send(&topic, 0, &Record::value(n.to_string()));
        }
        assert!(producer.flush().iter().all(Result::is_ok), "acks={acks}");
        let read: Vec<Vec<u8>> = reader.take(20).into_iter().map(|record| record.value.unwrap()).collect();
        assert_eq!(read, (0..20).map(|n| n.to_string().into_bytes()).collect::<Vec<_>>(), "acks={acks}");
    }
}

#[test]
fn acks_zero_gets_no_answer_and_no_error_but_a_closed_connection() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "unanswered", 1, &[]);
    let batch = batch_of(b"unanswered");
    let to = |topic: &str, acks: i16| {
        use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
        let partition = PartitionProduceData::default().with_records(Some(batch.clone().into()));
        let data = TopicProduceData::default()
            .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
            .with_partition_data(vec![partition]);
        ProduceRequest::default().with_acks(acks).with_timeout_ms(1000).with_topic_data(vec![data])
    };
    let mut connection = Connection::open(&bootstrap);
    connection.send(&frame(0, 9, 1, &body(9, &to(&topic, 0))));
    // The next answer on the connection is the next request's.
    let answer = connection.call(9, &to(&topic, -1));
    let partition = &answer.responses[0].partition_responses[0];
    assert_eq!((partition.error_code, partition.base_offset), (0, 1), "the unanswered record has offset 0");

    connection.send(&frame(0, 9, 2, &body(9, &to(&fresh("nowhere"), 0))));
    connection.expect_closed();
    // acks=2 is no number of acknowledgements; that has an answer.
    let refused = Connection::open(&bootstrap).call(9, &to(&topic, 2));
    assert_eq!(refused.responses[0].partition_responses[0].error_code, 21, "INVALID_REQUIRED_ACKS");
}

/// One record batch with one record of this value, as `kafka-protocol` codes it.
pub fn batch_of(value: &'static [u8]) -> Vec<u8> {
    use kafka_protocol::records::{Compression, Record, RecordBatchEncoder, RecordEncodeOptions, TimestampType};
    let record = Record {
        transactional: false,
        control: false,
        delete_horizon: false,
        partition_leader_epoch: -1,
        producer_id: -1,
        producer_epoch: -1,
        timestamp_type: TimestampType::Creation,
        offset: 0,
        sequence: -1,
        timestamp: 1_700_000_000_000,
        key: None,
        value: Some(value.into()),
        headers: kafka_protocol::indexmap::IndexMap::default(),
    };
    let mut bytes = bytes::BytesMut::new();
    let options = RecordEncodeOptions { version: 2, compression: Compression::None };
    RecordBatchEncoder::encode(&mut bytes, [&record], &options).unwrap();
    bytes.to_vec()
}

#[test]
fn an_idempotent_producer_is_given_every_record_once() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "idempotent", 3, &[]);
    let settings = [("enable.idempotence", "true"), ("linger.ms", "0"), ("batch.num.messages", "10")];
    let producer = Producer::new(&bootstrap, &settings);
    for n in 0..3000 {
        producer.send(&topic, n % 3, &Record::value(n.to_string()));
    }
    for (n, report) in producer.flush().into_iter().enumerate() {
        assert_eq!(report, Ok(((n % 3) as i32, (n / 3) as i64)));
    }
    for partition in 0..3 {
        let values = read_all(&bootstrap, &topic, partition).into_iter().map(|(_, record)| record.value.unwrap());
        let sent = (0..1000).map(|n| (n * 3 + partition).to_string().into_bytes());
        assert!(values.eq(sent));
    }
}

#[test]
fn timestamps_are_the_clients_or_the_logs() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let created = topic(&bootstrap, "created", 1, &[]);
    let appended = topic(&bootstrap, "appended", 1, &[("message.timestamp.type", "LogAppendTime")]);
    let sent: Vec<Record> = [1_000, 1_700_000_000_123, 5].map(|time| Record::value("x").at(time)).into();
    produce(&bootstrap, &created, 0, &sent);
    let read: Vec<Record> = read_all(&bootstrap, &created, 0).into_iter().map(|(_, record)| record).collect();
    assert_eq!(read, sent);

    let before = now();
    produce(&bootstrap, &appended, 0, &sent);
    let after = now();
    for (_, record) in read_all(&bootstrap, &appended, 0) {
        assert!((before..=after).contains(&record.timestamp.unwrap()), "{record:?} between {before} and {after}");
    }
}

#[test]
fn timestamps_beyond_the_bounds_of_the_topic_are_refused() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let bounds = [("message.timestamp.before.max.ms", "60000"), ("message.timestamp.after.max.ms", "60000")];
    let topic = topic(&bootstrap, "bounded", 1, &bounds);
    let producer = Producer::new(&bootstrap, &[]);
    for (time, result) in [
        (now(), Ok((0, 0))),
        (now() - 3_600_000, Err(RDKafkaErrorCode::InvalidTimestamp)),
        (now() + 3_600_000, Err(RDKafkaErrorCode::InvalidTimestamp)),
        (now() + 1_000, Ok((0, 1))),
    ] {
        assert_eq!(producer.deliver(&topic, 0, &Record::value("x").at(time)), result);
    }
}

#[test]
fn a_compacted_topic_wants_keys() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "compacted", 1, &[("cleanup.policy", "compact")]);
    let producer = Producer::new(&bootstrap, &[]);
    assert_eq!(producer.deliver(&topic, 0, &Record::keyed("k", "v")), Ok((0, 0)));
    assert_eq!(producer.deliver(&topic, 0, &Record::value("v")), Err(RDKafkaErrorCode::InvalidRecord));
}

#[test]
fn a_producer_creates_the_topic_that_it_names_and_a_consumer_need_not() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let (written, looked_at) = (fresh("written"), fresh("looked-at"));
    assert_eq!(produce(&bootstrap, &written, 0, &[Record::value("first")]), [0]);
    assert_eq!(without_times(read_all(&bootstrap, &written, 0)), [Record::value("first")]);

    let settings = [("allow.auto.create.topics", "false"), ("topic.metadata.propagation.max.ms", "100")];
    let reader = Reader::with(&bootstrap, &looked_at, &[0], Offset::Beginning, &settings);
    assert_eq!(reader.next_error(), RDKafkaErrorCode::UnknownTopicOrPartition);
    let metadata = Admin::new(&bootstrap).client.inner().fetch_metadata(None, Duration::from_secs(10)).unwrap();
    let names: Vec<&str> = metadata.topics().iter().map(rdkafka::metadata::MetadataTopic::name).collect();
    assert!(names.contains(&&*written) && !names.contains(&&*looked_at), "{names:?}");
}

#[test]
fn no_topic_is_created_where_that_is_turned_off() {
    let broker = own_broker(Settings::default().set("auto.create.topics.enable", "false"));
    let producer = Producer::new(&broker.bootstrap(), &[("topic.metadata.propagation.max.ms", "500")]);
    assert_eq!(
        producer.deliver(&fresh("missing"), 0, &Record::value("x")),
        Err(RDKafkaErrorCode::UnknownTopicOrPartition)
    );
}

#[test]
fn what_was_written_is_there_after_a_restart() {
    let mut broker = own_broker(Settings::default());
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "kept", 2, &[("max.message.bytes", "2000000"), ("segment.bytes", "1048576")]);
    let producer = Producer::new(&bootstrap, &[("enable.idempotence", "true")]);
    let large = "large ".repeat(20_000);
    for n in 0..40 {
        producer.send(&topic, n % 2, &Record::keyed(n.to_string(), &large));
    }
    assert!(producer.flush().iter().all(Result::is_ok));
    let before = read_all(&bootstrap, &topic, 0);
    assert!(broker.terminate().unwrap().0.success() || crate::harness::against_kafka());
    broker.restart().unwrap();
    let reader = Reader::new(&bootstrap, &topic, 0, Offset::Beginning);
    assert_eq!(watermarks(&reader.0, &topic, 0), (0, 20));
    assert_eq!(read_all(&bootstrap, &topic, 0), before);
    assert_eq!(producer.deliver(&topic, 1, &Record::value("the same producer goes on")), Ok((1, 20)));
    assert_eq!(reader.0.assignment().unwrap().count(), 1);
}

pub fn now() -> i64 {
    let elapsed = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap();
    i64::try_from(elapsed.as_millis()).unwrap()
}
