//! Administrators: topics, partitions, configurations, records.

use std::collections::HashMap;

use kafka_protocol::messages::create_topics_request::{CreatableTopic, CreatableTopicConfig};
use kafka_protocol::messages::delete_topics_request::DeleteTopicState;
use kafka_protocol::messages::describe_configs_request::DescribeConfigsResource;
use kafka_protocol::messages::describe_log_dirs_request::DescribableLogDirTopic;
use kafka_protocol::messages::describe_topic_partitions_request::{Cursor, TopicRequest};
use kafka_protocol::messages::incremental_alter_configs_request::{AlterConfigsResource, AlterableConfig};
use kafka_protocol::messages::metadata_request::MetadataRequestTopic;
use kafka_protocol::messages::{
    CreateTopicsRequest, DeleteTopicsRequest, DescribeClusterRequest, DescribeConfigsRequest, DescribeLogDirsRequest,
    DescribeTopicPartitionsRequest, IncrementalAlterConfigsRequest, ListConfigResourcesRequest, MetadataRequest,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;
use rdkafka::admin::{
    AdminOptions, AlterConfig, NewPartitions, NewTopic, ResourceSpecifier, TopicReplication, TopicResult,
};
use rdkafka::types::RDKafkaErrorCode;
use rdkafka::{Offset, TopicPartitionList};
use uuid::Uuid;

use crate::harness::{Admin, PATIENCE, Reader, Record, broker, fresh, produce, read_all, topic, watermarks};
use crate::wire::Connection;

fn code(results: Vec<TopicResult>) -> Result<(), RDKafkaErrorCode> {
    results.into_iter().next().unwrap().map(drop).map_err(|(_, code)| code)
}

fn partitions(admin: &Admin, topic: &str) -> usize {
    admin.client.inner().fetch_metadata(Some(topic), PATIENCE).unwrap().topics()[0].partitions().len()
}

fn exists(admin: &Admin, topic: &str) -> bool {
    let metadata = admin.client.inner().fetch_metadata(None, PATIENCE).unwrap();
    metadata.topics().iter().any(|found| found.name() == topic)
}

#[test]
fn topics_are_created_once_and_by_the_rules() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let admin = Admin::new(&bootstrap);
    let name = fresh("created");
    assert_eq!(admin.create(&name, 3, &[]), Ok(()));
    assert_eq!(partitions(&admin, &name), 3);
    assert_eq!(admin.create(&name, 3, &[]), Err(RDKafkaErrorCode::TopicAlreadyExists));
    assert_eq!(admin.create("no/slashes", 1, &[]), Err(RDKafkaErrorCode::InvalidTopic));
    assert_eq!(admin.create(&"long".repeat(63), 1, &[]), Err(RDKafkaErrorCode::InvalidTopic));
    assert_eq!(admin.create("..", 1, &[]), Err(RDKafkaErrorCode::InvalidTopic));
    assert_eq!(admin.create(&fresh("zero"), 0, &[]), Err(RDKafkaErrorCode::InvalidPartitions));
    assert_eq!(admin.create(&fresh("odd"), 1, &[("no.such.config", "1")]), Err(RDKafkaErrorCode::InvalidConfig));
    assert_eq!(admin.create(&fresh("odd"), 1, &[("retention.ms", "soon")]), Err(RDKafkaErrorCode::InvalidConfig));
    assert_eq!(admin.create(&fresh("odd"), 1, &[("cleanup.policy", "burn")]), Err(RDKafkaErrorCode::InvalidConfig));

    let twice = NewTopic::new("replicated", 1, TopicReplication::Fixed(2));
    let result = admin.wait(admin.client.create_topics([&twice], &Admin::options())).unwrap();
    assert_eq!(code(result), Err(RDKafkaErrorCode::InvalidReplicationFactor));
    assert!(!exists(&admin, "replicated"));

    // A dot and an underscore meet in the names of metrics.
    let (dotted, underscored) = (format!("{name}.x"), format!("{name}_x"));
    assert_eq!(admin.create(&dotted, 1, &[]), Ok(()));
    assert_eq!(admin.create(&underscored, 1, &[]), Err(RDKafkaErrorCode::InvalidTopic));
}

#[test]
fn only_validating_changes_nothing() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let admin = Admin::new(&bootstrap);
    let options: AdminOptions = Admin::options().validate_only(true);
    let name = fresh("validated");
    let new = NewTopic::new(&name, 1, TopicReplication::Fixed(1));
    assert_eq!(code(admin.wait(admin.client.create_topics([&new], &options)).unwrap()), Ok(()));
    assert!(!exists(&admin, &name));
    assert_eq!(admin.create(&name, 1, &[]), Ok(()));
    let more = NewPartitions::new(&name, 4);
    assert_eq!(code(admin.wait(admin.client.create_partitions([&more], &options)).unwrap()), Ok(()));
    assert_eq!(partitions(&admin, &name), 1);
}

#[test]
fn deleted_topics_are_gone_and_may_be_created_anew() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let admin = Admin::new(&bootstrap);
    let name = topic(&bootstrap, "deleted", 2, &[]);
    produce(&bootstrap, &name, 0, &[Record::value("old")]);
    let delete = |name: &str| code(admin.wait(admin.client.delete_topics(&[name], &Admin::options())).unwrap());
    assert_eq!(delete(&name), Ok(()));
    assert!(!exists(&admin, &name));
    assert_eq!(delete(&name), Err(RDKafkaErrorCode::UnknownTopicOrPartition));
    assert_eq!(admin.create(&name, 1, &[]), Ok(()));
    assert_eq!(produce(&bootstrap, &name, 0, &[Record::value("new")]), [0]);
    assert_eq!(read_all(&bootstrap, &name, 0)[0].1.value, Record::value("new").value);
}

#[test]
fn partitions_are_added_and_never_taken_away() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let admin = Admin::new(&bootstrap);
    let name = topic(&bootstrap, "grown", 1, &[]);
    produce(&bootstrap, &name, 0, &[Record::value("before")]);
    let grow = |name: &str, count: usize| {
        code(admin.wait(admin.client.create_partitions([&NewPartitions::new(name, count)], &Admin::options())).unwrap())
    };
    assert_eq!(grow(&name, 4), Ok(()));
    assert_eq!(partitions(&admin, &name), 4);
    assert_eq!(produce(&bootstrap, &name, 3, &[Record::value("after")]), [0]);
    assert_eq!(read_all(&bootstrap, &name, 0).len(), 1);
    assert_eq!(grow(&name, 4), Err(RDKafkaErrorCode::InvalidPartitions));
    assert_eq!(grow(&name, 2), Err(RDKafkaErrorCode::InvalidPartitions));
    assert_eq!(grow(&fresh("missing"), 2), Err(RDKafkaErrorCode::UnknownTopicOrPartition));
}

#[test]
fn configurations_say_their_value_and_where_it_comes_from() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let admin = Admin::new(&bootstrap);
    let name = topic(&bootstrap, "configured", 1, &[("retention.ms", "1234567")]);
    let entry = |setting: &str| {
        let resource = ResourceSpecifier::Topic(&name);
        let found =
            admin.wait(admin.client.describe_configs([&resource], &Admin::options())).unwrap().remove(0).unwrap();
        let entry = found.get(setting).unwrap_or_else(|| panic!("{setting} is not described"));
        (entry.value.clone().unwrap(), format!("{:?}", entry.source), entry.is_default)
    };
    assert_eq!(entry("retention.ms"), ("1234567".to_owned(), "DynamicTopic".to_owned(), false));
    assert_eq!(entry("max.message.bytes"), ("1048588".to_owned(), "Default".to_owned(), true));
    assert_eq!(entry("cleanup.policy"), ("delete".to_owned(), "Default".to_owned(), true));
    assert_eq!(entry("compression.type"), ("producer".to_owned(), "Default".to_owned(), true));
    assert_eq!(entry("segment.bytes"), ("1073741824".to_owned(), "Default".to_owned(), true));

    let alter = |key, value| {
        let change = AlterConfig::new(ResourceSpecifier::Topic(&name)).set(key, value);
        admin.wait(admin.client.alter_configs([&change], &Admin::options())).unwrap();
    };
    // AlterConfigs sets all there is: what it does not name goes back to its default.
    alter("max.message.bytes", "2000");
    assert_eq!(entry("max.message.bytes"), ("2000".to_owned(), "DynamicTopic".to_owned(), false));
    assert_eq!(entry("retention.ms"), ("604800000".to_owned(), "Default".to_owned(), true));
    let producer = crate::harness::Producer::new(&bootstrap, &[]);
    let too_large = producer.deliver(&name, 0, &Record::value([7; 3000]));
    assert_eq!(too_large, Err(RDKafkaErrorCode::MessageSizeTooLarge), "a change acts at once");
}

#[test]
fn configurations_are_changed_one_by_one() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let name = topic(&bootstrap, "changed", 1, &[("retention.ms", "1234567")]);
    let mut connection = Connection::open(&bootstrap);
    // Kafka's operations: 0 set, 1 delete, 2 append, 3 subtract. Errors: 40 INVALID_CONFIG, 42 INVALID_REQUEST.
    let mut change = |topic: &str, setting: &str, operation: i8, value: Option<&str>| {
        let config = AlterableConfig::default()
            .with_name(text(setting))
            .with_config_operation(operation)
            .with_value(value.map(text));
        let resource = AlterConfigsResource::default()
            .with_resource_type(2)
            .with_resource_name(text(topic))
            .with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
        connection.call(1, &request).responses[0].error_code
    };
    assert_eq!(change(&name, "cleanup.policy", 0, Some("compact")), 0);
    assert_eq!(change(&name, "cleanup.policy", 2, Some("delete")), 0);
    assert_eq!(configs(&bootstrap, &name)["cleanup.policy"], "compact,delete");
    assert_eq!(change(&name, "cleanup.policy", 3, Some("compact")), 0);
    assert_eq!(configs(&bootstrap, &name)["cleanup.policy"], "delete");
    assert_eq!(change(&name, "max.message.bytes", 0, Some("2000")), 0);
    assert_eq!(change(&name, "max.message.bytes", 0, Some("many")), 40);
    assert_eq!(change(&name, "max.message.bytes", 2, Some("1")), 40);
    assert_eq!(change(&name, "max.message.bytes", 0, None), 42);
    assert_eq!(change(&name, "no.such.config", 0, Some("1")), 40);
    assert_eq!(change(&fresh("missing"), "retention.ms", 0, Some("1")), 3);
    let found = configs(&bootstrap, &name);
    assert_eq!((&*found["max.message.bytes"], &*found["retention.ms"]), ("2000", "1234567"));
    assert_eq!(change(&name, "retention.ms", 1, None), 0);
    assert_eq!(configs(&bootstrap, &name)["retention.ms"], "604800000");
}

/// A topic's configuration, as DescribeConfigs tells it.
fn configs(bootstrap: &str, topic: &str) -> HashMap<String, String> {
    let resource = DescribeConfigsResource::default().with_resource_type(2).with_resource_name(text(topic));
    let request = DescribeConfigsRequest::default().with_resources(vec![resource.with_configuration_keys(None)]);
    let mut results = Connection::open(bootstrap).call(4, &request).results;
    let entries = results.remove(0).configs.into_iter();
    entries.map(|entry| (entry.name.to_string(), entry.value.unwrap_or_default().to_string())).collect()
}

#[test]
fn topics_are_described_page_by_page() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let name = topic(&bootstrap, "paged", 5, &[]);
    let missing = fresh("missing");
    let topic_request = |name: &str| TopicRequest::default().with_name(TopicName(text(name)));
    let mut connection = Connection::open(&bootstrap);
    let mut seen = Vec::new();
    let mut cursor = None;
    for page in [2, 2, 1] {
        let request = DescribeTopicPartitionsRequest::default()
            .with_topics(vec![topic_request(&name)])
            .with_response_partition_limit(2)
            .with_cursor(cursor.take());
        let answer = connection.call(0, &request);
        let partitions: Vec<i32> = answer.topics[0].partitions.iter().map(|found| found.partition_index).collect();
        assert_eq!(partitions.len(), page);
        seen.extend(partitions);
        cursor = answer
            .next_cursor
            .map(|next| Cursor::default().with_topic_name(next.topic_name).with_partition_index(next.partition_index));
    }
    assert_eq!(seen, [0, 1, 2, 3, 4]);
    assert_eq!(cursor, None);
    let request = DescribeTopicPartitionsRequest::default()
        .with_topics(vec![topic_request(&missing)])
        .with_response_partition_limit(10);
    assert_eq!(connection.call(0, &request).topics[0].error_code, 3, "UNKNOWN_TOPIC_OR_PARTITION");
}

#[test]
fn the_cluster_says_who_is_in_it() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let mut connection = Connection::open(&bootstrap);
    let cluster = connection.call(1, &DescribeClusterRequest::default().with_endpoint_type(1));
    let metadata = connection.call(12, &MetadataRequest::default().with_topics(Some(Vec::new())));
    assert_eq!(cluster.error_code, 0);
    assert_eq!(Some(&cluster.cluster_id), metadata.cluster_id.as_ref());
    assert_eq!(cluster.cluster_id.len(), 22, "a cluster id is 16 bytes in base64");
    assert_eq!(cluster.brokers.len(), 1);
    let (host, port) = (cluster.brokers[0].host.to_string(), cluster.brokers[0].port);
    assert_eq!(format!("{host}:{port}"), bootstrap, "the address that the client dialled");
    assert_eq!(cluster.controller_id, cluster.brokers[0].broker_id);
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

#[test]
fn the_brokers_own_settings_are_described() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let admin = Admin::new(&bootstrap);
    let id = admin.client.inner().fetch_metadata(None, PATIENCE).unwrap().brokers()[0].id();
    let resource = ResourceSpecifier::Broker(id);
    let found = admin.wait(admin.client.describe_configs([&resource], &Admin::options())).unwrap().remove(0).unwrap();
    for setting in ["log.retention.hours", "num.partitions", "message.max.bytes", "auto.create.topics.enable"] {
        assert!(found.get(setting).is_some(), "{setting} is not described");
    }
}

#[test]
fn deleted_records_are_not_read_again() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let admin = Admin::new(&bootstrap);
    let name = topic(&bootstrap, "cut", 1, &[]);
    let records: Vec<Record> = (0..10).map(|n| Record::value(n.to_string())).collect();
    for record in records {
        produce(&bootstrap, &name, 0, &[record]);
    }
    let delete = |before: Offset| {
        let mut offsets = TopicPartitionList::new();
        offsets.add_partition_offset(&name, 0, before).unwrap();
        let result = admin.wait(admin.client.delete_records(&offsets, &Admin::options())).unwrap();
        let element = &result.elements()[0];
        element.error().map(|()| element.offset()).map_err(|error| error.rdkafka_error_code().unwrap())
    };
    assert_eq!(delete(Offset::Offset(4)), Ok(Offset::Offset(4)));
    let reader = Reader::new(&bootstrap, &name, 0, Offset::Beginning);
    assert_eq!(watermarks(&reader.0, &name, 0), (4, 10));
    assert_eq!(reader.next().1, 4);
    assert_eq!(delete(Offset::Offset(2)), Ok(Offset::Offset(4)), "what is gone stays gone");
    assert_eq!(delete(Offset::Offset(11)), Err(RDKafkaErrorCode::OffsetOutOfRange));
    assert_eq!(delete(Offset::End), Ok(Offset::Offset(10)));
    assert_eq!(watermarks(&reader.0, &name, 0), (10, 10));
    assert_eq!(produce(&bootstrap, &name, 0, &[Record::value("next")]), [10]);
    let late = Reader::new(&bootstrap, &name, 0, Offset::Offset(3));
    assert_eq!(late.next_error(), RDKafkaErrorCode::AutoOffsetReset);
}

#[test]
fn metadata_comes_in_kafkas_order() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let (first, second) = (topic(&bootstrap, "ordered", 1, &[]), topic(&bootstrap, "ordered", 1, &[]));
    let mut connection = Connection::open(&bootstrap);
    let by_name = |name: &str| MetadataRequestTopic::default().with_name(Some(TopicName(text(name))));
    let by_id = |id: Uuid| MetadataRequestTopic::default().with_topic_id(id).with_name(None);
    let mut ask = |topics: Vec<MetadataRequestTopic>| {
        let request = MetadataRequest::default().with_topics(Some(topics)).with_allow_auto_topic_creation(false);
        connection.call(12, &request).topics
    };
    let names = ask(vec![by_name("no such topic"), by_name(&second), by_name("missing"), by_name(&first)]);
    let codes = names.iter().map(|topic| topic.error_code).collect::<Vec<_>>();
    assert_eq!(codes, [0, 0, 17, 3], "what is there comes first");
    assert_eq!(names[0].name.as_ref().map(|name| &**name == second.as_str()), Some(true), "as it was asked for");
    let ids = ask(vec![by_id(names[0].topic_id), by_id(Uuid::from_u128(77)), by_id(names[1].topic_id)]);
    assert_eq!(ids.iter().map(|topic| topic.error_code).collect::<Vec<_>>(), [100, 0, 0], "unknown ids come first");
}

#[test]
fn a_new_topics_settings_are_answered_as_they_were_given() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let name = fresh("spaced");
    let given = [("retention.ms", " 7 "), ("internal.segment.bytes", "+100")];
    let config = |(name, value)| CreatableTopicConfig::default().with_name(text(name)).with_value(Some(text(value)));
    let new = CreatableTopic::default()
        .with_name(TopicName(text(&name)))
        .with_num_partitions(1)
        .with_replication_factor(1)
        .with_configs(given.map(config).to_vec());
    let mut connection = Connection::open(&bootstrap);
    let created = connection.call(5, &CreateTopicsRequest::default().with_topics(vec![new])).topics.remove(0);
    assert_eq!(created.error_code, 0);
    let answered = created.configs.unwrap();
    for (name, value) in given {
        let found = answered.iter().find(|config| *config.name == *name).unwrap();
        assert_eq!(found.value.as_deref(), Some(value), "{name}");
    }
    assert!(answered.is_sorted_by_key(|config| config.name.to_string()));
    let described = configs(&bootstrap, &name);
    assert_eq!(described["retention.ms"], "7", "as it is read");
    assert_eq!(described["internal.segment.bytes"], "100", "described where a topic has it");
    let plain = topic(&bootstrap, "plain", 1, &[]);
    assert!(!configs(&bootstrap, &plain).contains_key("internal.segment.bytes"));
}

#[test]
fn topics_to_delete_that_are_neither_named_nor_numbered_are_each_answered() {
    let broker = broker();
    let nothing = DeleteTopicState::default().with_name(None);
    let request = DeleteTopicsRequest::default().with_topics(vec![nothing.clone(), nothing]);
    let answered = Connection::open(&broker.bootstrap()).call(6, &request).responses;
    assert_eq!(answered.iter().map(|topic| topic.error_code).collect::<Vec<_>>(), [42, 42]);
}

#[test]
fn the_brokers_settings_are_altered_within_kafkas_bounds() {
    let broker = broker();
    let mut connection = Connection::open(&broker.bootstrap());
    let mut set = |name: &str, value: &str| {
        let config = AlterableConfig::default().with_name(text(name)).with_value(Some(text(value)));
        let resource = AlterConfigsResource::default().with_resource_type(4).with_configs(vec![config]);
        let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]).with_validate_only(true);
        connection.call(1, &request).responses[0].error_code
    };
    let (fine, invalid) = (0, 42);
    for (name, value, code) in [
        ("num.io.threads", "16", fine),
        ("num.io.threads", "17", invalid),
        ("num.io.threads", "4", fine),
        ("num.io.threads", "3", invalid),
        ("log.cleaner.threads", "0", invalid),
        ("log.retention.ms", "0", invalid),
        ("log.retention.ms", "-1", fine),
        ("log.roll.ms", "0", invalid),
        ("log.roll.jitter.ms", "-1", invalid),
        ("leader.replication.throttled.rate", "0", fine),
        ("leader.replication.throttled.rate", "-1", invalid),
        ("follower.replication.throttled.rate", "fast", invalid),
    ] {
        assert_eq!(set(name, value), code, "{name}={value}");
    }
}

#[test]
fn the_metadata_log_is_no_partition_of_the_log_directory() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "sized", 1, &[]);
    let asked =
        |name: &str| DescribableLogDirTopic::default().with_topic(TopicName(text(name))).with_partitions(vec![0]);
    let topics = vec![asked("__cluster_metadata"), asked(&topic)];
    let answer = Connection::open(&bootstrap).call(4, &DescribeLogDirsRequest::default().with_topics(Some(topics)));
    let found: Vec<_> = answer.results[0].topics.iter().map(|found| found.name.to_string()).collect();
    assert_eq!(found, [topic]);
}

/// A group.
const GROUP: i8 = 32;

/// The error code of setting one value of a resource.
fn set(connection: &mut Connection, kind: i8, resource: &str, name: &str, value: &str) -> i16 {
    let config = AlterableConfig::default().with_name(text(name)).with_value(Some(text(value)));
    let resource = AlterConfigsResource::default()
        .with_resource_type(kind)
        .with_resource_name(text(resource))
        .with_configs(vec![config]);
    let request = IncrementalAlterConfigsRequest::default().with_resources(vec![resource]);
    connection.call(1, &request).responses[0].error_code
}

/// The value and the source of one setting, or the error code.
fn described(connection: &mut Connection, kind: i8, resource: &str, name: &str) -> Result<(String, i8), i16> {
    let resource = DescribeConfigsResource::default().with_resource_type(kind).with_resource_name(text(resource));
    let request = DescribeConfigsRequest::default()
        .with_resources(vec![resource.with_configuration_keys(Some(vec![text(name)]))]);
    let mut result = connection.call(4, &request).results.remove(0);
    if result.error_code != 0 {
        return Err(result.error_code);
    }
    let setting = result.configs.remove(0);
    Ok((setting.value.unwrap_or_default().to_string(), setting.config_source))
}

#[test]
fn a_group_has_settings_before_it_exists() {
    let broker = broker();
    let mut connection = Connection::open(&broker.bootstrap());
    let group = fresh("group");
    let (session, interval) = ("consumer.session.timeout.ms", "consumer.assignment.interval.ms");
    let listed = |connection: &mut Connection| {
        let request = ListConfigResourcesRequest::default().with_resource_types(vec![GROUP]);
        let found = connection.call(1, &request).config_resources;
        found.iter().filter(|found| *found.resource_name == *group).count()
    };
    // Sources: 3 the cluster's dynamic settings, 5 a default, 8 the group's own.
    assert_eq!(described(&mut connection, GROUP, &group, session), Ok(("45000".to_owned(), 5)));
    assert_eq!(listed(&mut connection), 0);
    // Errors: 40 INVALID_CONFIG, 42 INVALID_REQUEST.
    for (name, value, code) in [
        (session, "44999", 40),
        (session, "60001", 40),
        (session, "soon", 40),
        ("consumer.heartbeat.interval.ms", "4999", 40),
        ("share.auto.offset.reset", "by_duration:-PT1H", 40),
        ("no.such.setting", "1", 40),
        (session, "50000", 0),
    ] {
        assert_eq!(set(&mut connection, GROUP, &group, name, value), code, "{name}={value}");
    }
    assert_eq!(described(&mut connection, GROUP, &group, session), Ok(("50000".to_owned(), 8)));
    assert_eq!(listed(&mut connection), 1);
    assert_eq!(set(&mut connection, GROUP, "", session, "50000"), 42);
    assert_eq!(described(&mut connection, GROUP, "", session), Err(42));
    // What the broker is altered to is what its groups have, within the broker's own bounds.
    assert_eq!(set(&mut connection, 4, "", "group.consumer.assignment.interval.ms", "15001"), 42);
    assert_eq!(set(&mut connection, 4, "", "group.consumer.assignment.interval.ms", "2000"), 0);
    assert_eq!(described(&mut connection, GROUP, &group, interval), Ok(("2000".to_owned(), 3)));
    // librdkafka's AlterConfigs sets all there is: what it does not name goes back to its default.
    let admin = Admin::new(&broker.bootstrap());
    let change = AlterConfig::new(ResourceSpecifier::Group(&group)).set(interval, "7");
    admin.wait(admin.client.alter_configs([&change], &Admin::options())).unwrap();
    assert_eq!(described(&mut connection, GROUP, &group, interval), Ok(("7".to_owned(), 8)));
    assert_eq!(described(&mut connection, GROUP, &group, session), Ok(("45000".to_owned(), 5)));
}
