//! Bytes that no honest client sends: the broker answers as the protocol says or hangs up, and goes on.

use std::io;

use bytes::{BufMut, Bytes, BytesMut};
use kafka_protocol::messages::add_partitions_to_txn_request::{AddPartitionsToTxnTopic, AddPartitionsToTxnTransaction};
use kafka_protocol::messages::api_versions_response::ApiVersion;
use kafka_protocol::messages::create_partitions_request::CreatePartitionsTopic;
use kafka_protocol::messages::create_topics_request::CreatableTopic;
use kafka_protocol::messages::delete_records_request::{DeleteRecordsPartition, DeleteRecordsTopic};
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_producers_request::TopicRequest;
use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::produce_request::{PartitionProduceData, TopicProduceData};
use kafka_protocol::messages::txn_offset_commit_request::{
    TxnOffsetCommitRequestPartition, TxnOffsetCommitRequestTopic,
};
use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::write_txn_markers_request::{WritableTxnMarker, WritableTxnMarkerTopic};
use kafka_protocol::messages::{
    AddOffsetsToTxnRequest, AddPartitionsToTxnRequest, ApiKey, ApiVersionsRequest, CreatePartitionsRequest,
    CreateTopicsRequest, DeleteRecordsRequest, DescribeConfigsRequest, DescribeProducersRequest,
    DescribeTransactionsRequest, EndTxnRequest, FetchRequest, FindCoordinatorRequest, GroupId,
    IncrementalAlterConfigsRequest, InitProducerIdRequest, ListOffsetsRequest, ListTransactionsRequest,
    MetadataRequest, ProduceRequest, ProducerId, ResponseHeader, ResponseKind, TopicName, TransactionalId,
    TxnOffsetCommitRequest, UpdateFeaturesRequest, WriteTxnMarkersRequest,
};
use kafka_protocol::protocol::{Decodable, Encodable, StrBytes};
use ottla_compat::{Broker, Settings, probe};

use crate::harness::{Judged, Record};
use crate::harness::{Random, against_kafka, broker, own_broker, produce, read_all, topic};
use crate::produce::batch_of;
use crate::wire::{Connection, body, frame};

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

fn topic_name(name: &str) -> TopicName {
    TopicName(text(name))
}

/// The APIs that the broker lists, with their versions.
fn listed(bootstrap: &str) -> Vec<ApiVersion> {
    let request =
        ApiVersionsRequest::default().with_client_software_name(text("test")).with_client_software_version(text("1"));
    Connection::open(bootstrap).call(3, &request).api_keys
}

/// Still the same process, and serving.
fn assert_well(broker: &mut Broker) {
    assert!(broker.process().unwrap().exited().unwrap().is_none(), "the broker is gone:\n{}", broker.output());
    probe::api_versions(broker.address()).unwrap();
}

/// A broker whose memory is watched: it may grow by little while `attack` runs.
fn unmoved(settings: Settings, attack: impl FnOnce(&mut Broker)) {
    const MAY_GROW: u64 = 48 << 20;
    let mut broker = own_broker(settings);
    let before = broker.process().unwrap().resident().unwrap();
    attack(&mut broker);
    assert_well(&mut broker);
    let after = broker.process().unwrap().resident().unwrap();
    // A Java heap grows as it likes.
    assert!(against_kafka() || after < before + MAY_GROW, "resident memory grew from {before} to {after}");
}

#[test]
fn lengths_that_lie_close_the_connection() {
    unmoved(Settings::default(), |broker| {
        for length in [-1, i32::MIN, i32::MAX, 104_857_601, 0x1603_0100] {
            let mut connection = Connection::open(&broker.bootstrap());
            connection.send(&length.to_be_bytes());
            connection.send(&[0; 16]);
            connection.expect_closed();
        }
        // Allowed, and never filled: it may cost what was received, not what was announced.
        let mut waiting = Vec::new();
        // Apache Kafka pays what was announced, and runs out of memory here.
        for _ in 0..if against_kafka() { 2 } else { 200 } {
            let mut connection = Connection::open(&broker.bootstrap());
            connection.send(&104_857_600_i32.to_be_bytes());
            connection.send(&[0; 1000]);
            waiting.push(connection);
        }
        assert_well(broker);
    });
}

#[test]
fn frames_too_short_for_a_header_close_the_connection() {
    unmoved(Settings::default(), |broker| {
        let whole = frame(18, 0, 1, &[]);
        for length in 0..8_usize {
            let mut connection = Connection::open(&broker.bootstrap());
            connection.send(&u32::try_from(length).unwrap().to_be_bytes());
            connection.send(&whole[4..4 + length]);
            connection.finish();
            connection.expect_closed();
        }
        // A client id that claims more than the frame holds.
        for client_id in [[0x7f, 0xff], [0x00, 0x05]] {
            let mut bytes = BytesMut::from(&[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1][..]);
            bytes.put_slice(&client_id);
            let mut connection = Connection::open(&broker.bootstrap());
            connection.send(&bytes);
            connection.expect_closed();
        }
    });
}

#[test]
fn unknown_apis_and_versions_close_the_connection_but_api_versions_answers() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    for (key, version) in [(999, 0), (-1, 0), (0, 99), (1, -1), (3, 99), (19, 0), (i16::MAX, i16::MIN)] {
        let mut connection = Connection::open(&bootstrap);
        connection.send(&frame(key, version, 1, &[0; 20]));
        connection.expect_closed();
    }
    // Rule of KIP-511: version 0, UNSUPPORTED_VERSION, and what the broker has instead.
    for version in [99, 5, i16::MAX] {
        let mut connection = Connection::open(&bootstrap);
        connection.send(&frame(18, version, 77, &[1, 2, 3]));
        let answer = connection.receive().unwrap();
        assert_eq!(answer[..6], [0, 0, 0, 77, 0, 35], "correlation id 77, error 35");
        let count = i32::from_be_bytes(answer[6..10].try_into().unwrap());
        assert!(count >= 1 && answer.len() == 10 + 6 * count as usize, "a list of version 0");
        let entries: Vec<&[u8]> = answer[10..].chunks(6).collect();
        assert!(entries.iter().any(|entry| entry[..2] == [0, 18]), "which names ApiVersions");
        // The connection is still good.
        connection.call(3, &named_api_versions("librdkafka", "2.12.1"));
    }
    let refused = Connection::open(&bootstrap).call(3, &named_api_versions("no spaces here", "1"));
    assert_eq!(refused.error_code, 42, "INVALID_REQUEST");
}

fn named_api_versions(name: &str, version: &str) -> ApiVersionsRequest {
    ApiVersionsRequest::default().with_client_software_name(text(name)).with_client_software_version(text(version))
}

#[test]
fn half_a_request_and_a_closed_connection_harm_nobody() {
    unmoved(Settings::default(), |broker| {
        let whole = samples("nobody", 0).remove(0).1;
        for cut in 0..whole.len() {
            let mut connection = Connection::open(&broker.bootstrap());
            connection.send(&whole[..cut]);
        }
    });
}

#[test]
fn batches_that_break_the_rules_are_refused_whole() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "rules", 1, &[]);
    let good = batch_of(b"a good record");
    let mut connection = Connection::open(&bootstrap);
    let mut send = |records: Vec<u8>| {
        let answer = connection.call(9, &produce_request(&topic, records));
        answer.responses[0].partition_responses[0].error_code
    };
    // Where things are in a batch: length 8, magic 16, crc 17, attributes 21, last offset delta 23, producer id 43,
    // base sequence 53, count 57, records 61.
    let changed = |at: usize, to: &[u8]| {
        let mut batch = good.clone();
        batch[at..at + to.len()].copy_from_slice(to);
        batch
    };
    let (corrupt, invalid) = (2, 87);
    assert_eq!(send(changed(17, &[1, 2, 3, 4])), corrupt, "a wrong CRC");
    assert_eq!(send(changed(70, b"!")), corrupt, "a changed value");
    assert_eq!(send(sealed(changed(57, &2_i32.to_be_bytes()))), invalid, "a count that does not fit");
    assert_eq!(send(sealed(changed(57, &0_i32.to_be_bytes()))), invalid, "no records");
    assert_eq!(send(sealed(changed(57, &i32::MAX.to_be_bytes()))), invalid, "a count beyond all bounds");
    assert_eq!(send(sealed(changed(57, &(-1_i32).to_be_bytes()))), invalid, "a negative count");
    assert_eq!(send(sealed(changed(23, &5_i32.to_be_bytes()))), invalid, "offsets that do not fit the count");
    assert_eq!(send(sealed(changed(21, &0x20_i16.to_be_bytes()))), invalid, "a control batch from a client");
    assert_eq!(send(sealed(changed(43, &7_i64.to_be_bytes()))), invalid, "a producer without a sequence");
    assert_eq!(send(sealed(changed(61, &[0xfe, 0xff, 0xff, 0xff, 0x0f]))), invalid, "a record longer than its batch");
    let two = [good.clone(), good.clone()].concat();
    assert_eq!(send(two), invalid, "two batches");
    // Kafka did not foresee this one and answers UNKNOWN_SERVER_ERROR.
    let unknown_codec = send(sealed(changed(21, &5_i16.to_be_bytes())));
    assert!([-1, corrupt, invalid].contains(&unknown_codec), "an unknown codec: {unknown_codec}");
    assert_eq!(send(good.clone()), 0);
    let read = read_all(&bootstrap, &topic, 0);
    assert_eq!(read.len(), 1, "what was refused left nothing");
    assert_eq!(read[0].1.value, Record::value("a good record").value);
}

#[test]
fn a_refusal_says_as_much_as_kafkas() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "refusals", 1, &[("cleanup.policy", "compact")]);
    let mut connection = Connection::open(&bootstrap);
    let mut send = |request: &ProduceRequest| {
        let answer = connection.call(9, request).responses[0].partition_responses[0].clone();
        let told = answer.error_message.is_some();
        (answer.error_code, answer.log_start_offset, told, answer.record_errors.len())
    };
    let good = batch_of(b"a record without a key");
    let changed = |at: usize, to: &[u8]| {
        let mut batch = good.clone();
        batch[at..at + to.len()].copy_from_slice(to);
        sealed(batch)
    };
    let mut refused = |records: Vec<u8>| send(&produce_request(&topic, records));
    assert_eq!(refused(Vec::new()), (87, -1, false, 0), "what is no batch never comes to the log");
    assert_eq!(refused([good.clone(), good.clone()].concat()), (87, -1, false, 0), "two batches");
    assert_eq!(refused(changed(21, &0x20_i16.to_be_bytes())), (87, 0, false, 0), "a fault of the batch");
    assert_eq!(refused(good.clone()), (87, 0, true, 1), "a fault of a record");
    let acks = |topic: &str| produce_request(topic, good.clone()).with_acks(2);
    assert_eq!(send(&acks("nowhere")).0, 3, "a topic that is not there counts before acks");
    assert_eq!(send(&acks(&topic)).0, 21);
    let mut nothing = produce_request(&topic, good.clone());
    nothing.topic_data[0].partition_data.clear();
    assert!(connection.call(9, &nothing).responses.is_empty(), "a topic without partitions");
}

#[test]
fn batches_cut_short_are_refused() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "short", 1, &[]);
    let good = batch_of(b"a good record");
    for length in 0..good.len() {
        let answer = Connection::open(&bootstrap).call(9, &produce_request(&topic, good[..length].to_vec()));
        assert_ne!(answer.responses[0].partition_responses[0].error_code, 0, "{length} bytes of {}", good.len());
    }
    assert_eq!(produce(&bootstrap, &topic, 0, &[Record::value("x")]), [0]);
}

/// The batch with the CRC that its content wants.
fn sealed(mut batch: Vec<u8>) -> Vec<u8> {
    let crc = crc32c(&batch[21..]);
    batch[17..21].copy_from_slice(&crc.to_be_bytes());
    batch
}

/// CRC-32C, bit by bit: a second opinion beside the broker's.
fn crc32c(bytes: &[u8]) -> u32 {
    !bytes.iter().fold(!0_u32, |crc, &byte| {
        (0..8).fold(crc ^ u32::from(byte), |crc, _| if crc & 1 == 1 { (crc >> 1) ^ 0x82f6_3b78 } else { crc >> 1 })
    })
}

fn produce_request(topic: &str, records: Vec<u8>) -> ProduceRequest {
    let partition = PartitionProduceData::default().with_records(Some(records.into()));
    let data = TopicProduceData::default().with_name(topic_name(topic)).with_partition_data(vec![partition]);
    ProduceRequest::default().with_acks(-1).with_timeout_ms(1000).with_topic_data(vec![data])
}

/// An honest request of an API in a version, encoded; `None` where the API takes no more than a default.
fn sample(key: ApiKey, version: i16, topic: &str) -> Option<Bytes> {
    let name = || topic_name(topic);
    match key {
        ApiKey::Produce if version <= 12 => coded(version, &produce_request(topic, batch_of(b"sample"))),
        ApiKey::Fetch if version <= 12 => {
            let partition = FetchPartition::default().with_partition_max_bytes(1 << 16);
            let topic = FetchTopic::default().with_topic(name()).with_partitions(vec![partition]);
            coded(version, &FetchRequest::default().with_max_bytes(1 << 16).with_topics(vec![topic]))
        }
        ApiKey::ListOffsets => {
            let partition = ListOffsetsPartition::default().with_timestamp(-1);
            let topic = ListOffsetsTopic::default().with_name(name()).with_partitions(vec![partition]);
            coded(version, &ListOffsetsRequest::default().with_topics(vec![topic]))
        }
        ApiKey::Metadata => {
            let topic = MetadataRequestTopic::default().with_name(Some(name()));
            coded(version, &MetadataRequest::default().with_topics(Some(vec![topic])))
        }
        ApiKey::ApiVersions => coded(version, &named_api_versions("test", "1")),
        ApiKey::CreateTopics => {
            let topic = CreatableTopic::default().with_name(name()).with_num_partitions(1).with_replication_factor(1);
            coded(version, &CreateTopicsRequest::default().with_topics(vec![topic]).with_validate_only(true))
        }
        ApiKey::CreatePartitions => {
            let topic = CreatePartitionsTopic::default().with_name(name()).with_count(2).with_assignments(None);
            coded(version, &CreatePartitionsRequest::default().with_topics(vec![topic]).with_validate_only(true))
        }
        ApiKey::DeleteRecords => {
            let partition = DeleteRecordsPartition::default();
            let topic = DeleteRecordsTopic::default().with_name(name()).with_partitions(vec![partition]);
            coded(version, &DeleteRecordsRequest::default().with_topics(vec![topic]))
        }
        ApiKey::DescribeConfigs => {
            let resource = DescribeConfigsResource::default().with_resource_type(2).with_resource_name(text(topic));
            coded(version, &DescribeConfigsRequest::default().with_resources(vec![resource]))
        }
        ApiKey::IncrementalAlterConfigs => {
            let config = AlterableConfig::default().with_name(text("retention.ms")).with_value(Some(text("1000")));
            let resource = AlterConfigsResource::default().with_resource_type(2).with_resource_name(text(topic));
            let resources = vec![resource.with_configs(vec![config])];
            coded(
                version,
                &IncrementalAlterConfigsRequest::default().with_resources(resources).with_validate_only(true),
            )
        }
        ApiKey::InitProducerId => {
            let id = Some(TransactionalId(text("")));
            coded(
                version,
                &InitProducerIdRequest::default().with_transactional_id(id).with_transaction_timeout_ms(1000),
            )
        }
        ApiKey::FindCoordinator if version < 4 => {
            coded(version, &FindCoordinatorRequest::default().with_key(text("g")))
        }
        _ => transactional_sample(key, version, topic),
    }
}

/// [`sample`], of the APIs of transactions.
fn transactional_sample(key: ApiKey, version: i16, topic: &str) -> Option<Bytes> {
    let (name, id) = (|| topic_name(topic), || TransactionalId(text("id")));
    match key {
        ApiKey::AddPartitionsToTxn => {
            let topic = AddPartitionsToTxnTopic::default().with_name(name()).with_partitions(vec![0]);
            let request = AddPartitionsToTxnRequest::default();
            if version < 4 {
                let request = request.with_v3_and_below_transactional_id(id());
                return coded(version, &request.with_v3_and_below_topics(vec![topic]));
            }
            let transaction = AddPartitionsToTxnTransaction::default().with_transactional_id(id());
            coded(version, &request.with_transactions(vec![transaction.with_topics(vec![topic])]))
        }
        ApiKey::AddOffsetsToTxn => {
            let request = AddOffsetsToTxnRequest::default().with_transactional_id(id());
            coded(version, &request.with_group_id(GroupId(text("g"))))
        }
        ApiKey::EndTxn => coded(version, &EndTxnRequest::default().with_transactional_id(id()).with_committed(true)),
        ApiKey::TxnOffsetCommit => {
            let partition = TxnOffsetCommitRequestPartition::default();
            let topic = TxnOffsetCommitRequestTopic::default().with_name(name()).with_partitions(vec![partition]);
            let request = TxnOffsetCommitRequest::default().with_transactional_id(id()).with_topics(vec![topic]);
            coded(version, &request.with_group_id(GroupId(text("g"))))
        }
        ApiKey::WriteTxnMarkers => {
            let topic = WritableTxnMarkerTopic::default().with_name(name()).with_partition_indexes(vec![0]);
            let marker = WritableTxnMarker::default().with_producer_id(ProducerId(7)).with_topics(vec![topic]);
            coded(version, &WriteTxnMarkersRequest::default().with_markers(vec![marker]))
        }
        ApiKey::DescribeProducers => {
            let topic = TopicRequest::default().with_name(name()).with_partition_indexes(vec![0]);
            coded(version, &DescribeProducersRequest::default().with_topics(vec![topic]))
        }
        ApiKey::DescribeTransactions => {
            coded(version, &DescribeTransactionsRequest::default().with_transactional_ids(vec![id()]))
        }
        ApiKey::ListTransactions => {
            let request = ListTransactionsRequest::default().with_state_filters(vec![text("Ongoing")]);
            coded(version, &request.with_producer_id_filters(vec![ProducerId(7)]))
        }
        ApiKey::UpdateFeatures => {
            let update = FeatureUpdateKey::default().with_feature(text("group.version")).with_max_version_level(1);
            coded(version, &UpdateFeaturesRequest::default().with_feature_updates(vec![update]))
        }
        _ => None,
    }
}

/// The message in this version, if it has it.
fn coded(version: i16, message: &impl Encodable) -> Option<Bytes> {
    let mut bytes = BytesMut::new();
    message.encode(&mut bytes, version).ok()?;
    Some(bytes.freeze())
}

/// Honest frames of every API that is listed, in its versions that change the shape.
fn samples(topic: &str, correlation: i32) -> Vec<(ApiKey, Bytes)> {
    let mut frames = Vec::new();
    for key in ApiKey::iter() {
        let range = key.valid_versions();
        for version in range.min..=range.max {
            // Shapes change seldom; the oldest, the newest and every third stand for all.
            let stands = version == range.min || version == range.max || version % 3 == 0;
            if stands && let Some(body) = sample(key, version, topic) {
                frames.push((key, frame(key as i16, version, correlation, &body)));
            }
        }
    }
    frames
}

#[test]
fn honest_requests_are_answered_in_every_version() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "versions", 1, &[]);
    let mut failures = Vec::new();
    for api in listed(&bootstrap) {
        let Ok(key) = ApiKey::try_from(api.api_key) else { continue };
        for version in api.min_version..=api.max_version {
            let Some(body) = sample(key, version, &topic) else { continue };
            let answer =
                answer_to(&bootstrap, &frame(api.api_key, version, 1, &body)).map_err(|error| error.to_string());
            let understood = answer.and_then(|mut answer| {
                let header = ResponseHeader::decode(&mut answer, key.response_header_version(version));
                header.map_err(|error| error.to_string())?;
                ResponseKind::decode(key, &mut answer, version).map_err(|error| error.to_string())?;
                if answer.is_empty() { Ok(()) } else { Err(format!("{} bytes too many", answer.len())) }
            });
            failures.extend(understood.err().map(|error| format!("{key:?} v{version}: {error}")));
        }
    }
    assert!(failures.is_empty(), "{failures:#?}");
}

#[test]
fn no_change_of_an_honest_request_harms_the_broker() {
    // Half of the sweep is over lengths and counts that claim what is not there.
    let mut random = Random::from_environment("no_change_of_an_honest_request_harms_the_broker");
    unmoved(Settings::default().set("auto.create.topics.enable", "false"), |broker| {
        let bootstrap = broker.bootstrap();
        let topic = topic(&bootstrap, "honest", 1, &[]);
        let keys: Vec<i16> = listed(&bootstrap).iter().map(|api| api.api_key).collect();
        let mut barrage = Barrage::on(&bootstrap);
        for (key, honest) in samples(&topic, 1) {
            if !keys.contains(&(key as i16)) {
                continue;
            }
            let start = 4 + 10 + 4;
            for at in start..honest.len() {
                barrage.send(&cut(&honest, at));
                for changed in [
                    [0xff; 4],
                    [0x7f, 0xff, 0xff, 0xff],
                    [0x80, 0, 0, 0],
                    random.next().to_be_bytes()[..4].try_into().unwrap(),
                ] {
                    let mut bytes = honest.to_vec();
                    let width = 4.min(bytes.len() - at);
                    bytes[at..at + width].copy_from_slice(&changed[..width]);
                    barrage.send(&bytes);
                }
            }
            assert_well(broker);
        }
    });
}

#[test]
fn noise_harms_nobody() {
    let mut random = Random::from_environment("noise_harms_nobody");
    unmoved(Settings::default(), |broker| {
        let bootstrap = broker.bootstrap();
        let mut barrage = Barrage::on(&bootstrap);
        for api in listed(&bootstrap) {
            for version in api.min_version..=api.max_version {
                for length in [0, 1, 3, 8, 40] {
                    let noise: Vec<u8> = (0..length).map(|_| random.next() as u8).collect();
                    // CreateTopics and its like would do what noise happens to ask for.
                    if matches!(api.api_key, 19 | 37) && length > 8 {
                        continue;
                    }
                    barrage.send(&frame(api.api_key, version, 1, &noise));
                }
            }
            assert_well(broker);
        }
    });
}

/// The frame shortened to this length, which it announces truly.
fn cut(frame: &[u8], length: usize) -> Vec<u8> {
    let mut bytes = frame[..length].to_vec();
    bytes[..4].copy_from_slice(&u32::try_from(length - 4).unwrap().to_be_bytes());
    bytes
}

fn answer_to(bootstrap: &str, frame: &[u8]) -> io::Result<Bytes> {
    let mut connection = Connection::open(bootstrap);
    connection.send(frame);
    connection.receive()
}

/// Sends frames on a connection each. Whatever comes back is fine, even nothing; that the broker lives is looked at
/// afterwards.
struct Barrage<'a> {
    bootstrap: &'a str,
    sent: usize,
}

impl<'a> Barrage<'a> {
    fn on(bootstrap: &'a str) -> Self {
        Self { bootstrap, sent: 0 }
    }

    fn send(&mut self, frame: &[u8]) {
        let mut connection = Connection::open(self.bootstrap);
        connection.send(frame);
        connection.finish();
        self.sent += 1;
        // A broker lets 50 connections wait to be accepted, and the system makes the next one wait for a second.
        if self.sent.is_multiple_of(30) {
            probe::api_versions(self.bootstrap.parse().unwrap()).unwrap();
        }
    }
}

#[test]
fn connections_that_say_nothing_cost_little() {
    unmoved(Settings::default(), |broker| {
        let idle: Vec<Connection> = (0..500).map(|_| Connection::open(&broker.bootstrap())).collect();
        assert_well(broker);
        drop(idle);
    });
}

/// Judged by its address alone, a broker that is running already can be judged as well.
#[test]
fn pipelined_requests_are_answered_in_order() {
    let broker: Judged = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "pipelined", 1, &[]);
    let mut connection = Connection::open(&bootstrap);
    let mut all = BytesMut::new();
    for n in 0..50 {
        let produce = frame(0, 9, n * 2, &body(9, &produce_request(&topic, batch_of(b"in order"))));
        let metadata = frame(3, 12, n * 2 + 1, &body(12, &MetadataRequest::default().with_topics(Some(Vec::new()))));
        all.put(produce);
        all.put(metadata);
    }
    // In pieces that keep to no frame's boundary.
    for piece in all.chunks(777) {
        connection.send(piece);
    }
    for correlation in 0..100_i32 {
        assert_eq!(connection.receive().unwrap()[..4], correlation.to_be_bytes());
    }
    assert_eq!(read_all(&bootstrap, &topic, 0).len(), 50);
}
