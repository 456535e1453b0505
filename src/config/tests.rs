//! The tables and the answers made from them, against what Apache Kafka 4.3.1 answered (`testdata/`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use super::def::{Effect, Rule, Value};
use super::layers::{Dynamic, Given, Origin, Overrides, Source, Start};
use super::*;
use crate::log::config::LogConfig;
use crate::storage::CleanerSettings;
use crate::wire::batch::{Compression, TimestampType};

fn rows(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect())
}

fn start(pairs: &[(&str, &str)]) -> Start {
    let given = |value: &str| Given { value: value.to_owned(), origin: Origin::File };
    pairs.iter().map(|(name, value)| ((*name).to_owned(), given(value))).collect()
}

fn overrides(pairs: &[(&str, &str)]) -> Overrides {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn build(pairs: &[(&str, &str)]) -> Result<(BrokerConfig, Vec<Note>), ConfigError> {
    BrokerConfig::build(start(pairs))
}

fn broker(pairs: &[(&str, &str)]) -> BrokerConfig {
    build(pairs).unwrap().0
}

fn refusal(pairs: &[(&str, &str)]) -> String {
    build(pairs).unwrap_err().to_string()
}

fn warnings(pairs: &[(&str, &str)]) -> Vec<String> {
    let notes = build(pairs).unwrap().1;
    notes.into_iter().filter_map(|note| if let Note::Warning(text) = note { Some(text) } else { None }).collect()
}

fn letter(source: Source) -> &'static str {
    match source {
        Source::DynamicTopic => "T",
        Source::DynamicBroker => "B",
        Source::DynamicDefaultBroker => "C",
        Source::StaticBroker => "S",
        Source::Default => "D",
        Source::DynamicGroup => "G",
    }
}

fn synonyms(described: &Described) -> String {
    let one = |synonym: &DescribedSynonym| {
        format!("{}={}({});", synonym.name, synonym.value.as_deref().unwrap_or("null"), letter(synonym.source))
    };
    described.synonyms.iter().map(one).collect()
}

#[test]
fn tables_are_sorted_and_their_defaults_are_values_they_take() {
    let sorted = |names: Vec<&str>| names.windows(2).all(|pair| pair[0] < pair[1]);
    assert!(sorted(topic::SETTINGS.iter().map(|entry| entry.setting.name).collect()));
    assert!(sorted(broker::SETTINGS.iter().map(|setting| setting.name).collect()));
    assert!(sorted(known::SETTINGS.iter().map(|setting| setting.name).collect()));
    assert!(sorted(known::UNDESCRIBED.to_vec()));
    assert!(sorted(broker::INTERNAL.iter().map(|setting| setting.name).collect()));
    assert!(sorted(group::SETTINGS.iter().map(|entry| entry.setting.name).collect()));
    let topics = topic::SETTINGS.iter().map(|entry| &entry.setting);
    let groups = group::SETTINGS.iter().map(|entry| &entry.setting);
    for setting in topics.chain(groups).chain(broker::all()).chain(broker::INTERNAL) {
        assert!(!setting.doc.is_empty(), "{} has no documentation", setting.name);
        if let Some(default) = setting.default
            && setting.rule != Rule::NonEmpty
        {
            assert!(setting.parse(default).is_ok(), "{}: {default}", setting.name);
        }
    }
    for synonym in topic::SETTINGS.iter().flat_map(|entry| entry.synonyms) {
        assert!(super::broker::find(synonym.name).is_some(), "{}", synonym.name);
    }
    for name in group::SETTINGS.iter().flat_map(|entry| [entry.broker, entry.min, entry.max]).flatten() {
        assert!(super::broker::find(name).is_some(), "{name}");
    }
}

#[test]
fn topic_settings_are_kafkas() {
    let described = describe_topic(&broker(&[]), Dynamic::default(), &Overrides::new()).unwrap();
    let expected: Vec<_> = rows(include_str!("testdata/topic_settings.tsv")).collect();
    assert_eq!(described.len(), expected.len());
    for (ours, kafkas) in described.iter().zip(expected) {
        let kind = ours.kind.map(Type::name).unwrap_or_default().to_uppercase();
        let ours = [&*ours.name, &kind, ours.value.as_deref().unwrap(), &synonyms(ours)].map(str::to_owned);
        assert_eq!(ours.as_slice(), kafkas);
    }
}

/// Where Ottla differs on purpose: other defaults, and no change at run time where the server would not take it.
const OTHER_DEFAULTS: &[&str] = &[
    "broker.id",
    "controller.listener.names",
    "group.initial.rebalance.delay.ms",
    "listeners",
    "log.dir",
    "node.id",
    "offsets.topic.replication.factor",
    "transaction.state.log.replication.factor",
    "process.roles",
    "queued.max.request.bytes",
    "socket.receive.buffer.bytes",
    "socket.send.buffer.bytes",
];
const ONLY_AT_START: &[&str] = &[
    "listener.security.protocol.map",
    "listeners",
    "max.connections",
    "max.connections.per.ip",
    "max.connections.per.ip.overrides",
    "producer.id.expiration.ms",
];

#[test]
fn broker_settings_are_kafkas_but_for_the_named_differences() {
    let described = describe_broker(&broker(&[]), Dynamic::default()).unwrap();
    let own: Vec<_> = described.iter().filter(|ours| ours.name.starts_with("ottla.")).collect();
    assert_eq!(own.len(), 3);
    let mut ours = described.iter().filter(|ours| !ours.name.starts_with("ottla."));
    for kafkas in rows(include_str!("testdata/broker_settings.tsv")) {
        let ours = ours.next().unwrap();
        assert_eq!(ours.name, kafkas[0]);
        assert_eq!(ours.kind.map(Type::name).unwrap_or_default().to_uppercase(), kafkas[1], "{}", ours.name);
        let same_default = ours.value.as_deref().unwrap_or("null") == kafkas[2];
        assert_eq!(same_default, !OTHER_DEFAULTS.contains(&&*ours.name), "{}: {:?}", ours.name, ours.value);
        let same_update = ours.read_only == (kafkas[3] == "ro");
        assert_eq!(same_update, !ONLY_AT_START.contains(&&*ours.name), "{}", ours.name);
        assert_eq!(ours.sensitive, kafkas[4] == "secret", "{}", ours.name);
    }
    assert!(ours.next().is_none());
}

#[test]
fn topic_values_are_taken_and_refused_as_kafka_does() {
    let mut table = rows(include_str!("testdata/accepted_values.tsv"));
    let values: Vec<&str> = table.next().unwrap()[1].split('|').collect();
    for row in table {
        let accepted: Vec<&str> =
            values.iter().zip(row[1].bytes()).filter(|(_, bit)| *bit == b'1').map(|(v, _)| *v).collect();
        let setting = topic::definition(row[0]).unwrap();
        let ours: Vec<&str> = values.iter().copied().filter(|value| setting.parse(value).is_ok()).collect();
        assert_eq!(ours, accepted, "{}", row[0]);
    }
}

#[test]
fn values_and_synonyms_follow_every_alteration_as_in_kafka() {
    let config = broker(&[
        ("node.id", "1"),
        ("log.retention.minutes", "60"),
        ("log.roll.hours", "2"),
        ("log.segment.bytes", "2097152"),
        ("log.flush.scheduler.interval.ms", "5000"),
        ("log.cleanup.policy", "compact,delete"),
    ]);
    let (mut own, mut cluster, mut topic) = (Overrides::new(), Overrides::new(), Overrides::new());
    let mut table = rows(include_str!("testdata/layers.tsv")).peekable();
    for step in 0..4 {
        match step {
            1 => cluster.extend(overrides(&[
                ("log.retention.ms", "7200000"),
                ("message.max.bytes", "2000000"),
                ("compression.type", "zstd"),
                ("log.flush.interval.ms", "777"),
            ])),
            2 => own.extend(overrides(&[
                ("log.retention.ms", "1800000"),
                ("log.roll.ms", "60000"),
                ("compression.type", "lz4"),
                ("log.cleanup.policy", "delete , compact"),
            ])),
            3 => topic.extend(overrides(&[
                ("retention.ms", " 1000 "),
                ("compression.type", "gzip"),
                ("cleanup.policy", "delete , compact"),
                ("min.cleanable.dirty.ratio", "1"),
            ])),
            _ => {}
        }
        let dynamic = Dynamic { broker: &own, cluster: &cluster };
        let topics = describe_topic(&config, dynamic, &topic).unwrap();
        let brokers = describe_broker(&config, dynamic).unwrap();
        for (resource, described) in [("topic", &topics), ("broker", &brokers)] {
            let tag = format!("{resource}{step}");
            let mut seen = 0;
            while let Some(row) = table.next_if(|row| row[0] == tag) {
                let ours = described.iter().find(|described| described.name == row[1]).unwrap();
                let value = ours.value.as_deref().unwrap_or("null");
                let ours = [tag.as_str(), &*ours.name, value, letter(ours.source), &synonyms(ours)].map(str::to_owned);
                assert_eq!(ours.as_slice(), row);
                seen += 1;
            }
            assert!(seen > 8, "{tag}");
        }
    }
    assert!(table.next().is_none());
    let described = describe_cluster(Dynamic { broker: &own, cluster: &cluster });
    let names: Vec<_> = described.iter().map(|described| &*described.name).collect();
    assert_eq!(names, ["compression.type", "log.flush.interval.ms", "log.retention.ms", "message.max.bytes"]);
}

#[test]
fn settings_that_are_only_ever_altered_are_described() {
    let own = overrides(&[("leader.replication.throttled.rate", "5"), ("plugin.secret", "hunter2")]);
    let cluster = overrides(&[("leader.replication.throttled.rate", "7")]);
    let dynamic = Dynamic { broker: &own, cluster: &cluster };
    let described = describe_broker(&broker(&[]), dynamic).unwrap();
    let find = |name: &str| described.iter().find(|described| described.name == name).unwrap();
    let rate = find("leader.replication.throttled.rate");
    assert_eq!((rate.value.as_deref(), rate.kind, rate.read_only), (Some("5"), Some(Type::Long), false));
    assert_eq!(synonyms(rate), "leader.replication.throttled.rate=5(B);leader.replication.throttled.rate=7(C);");
    // What only a plugin knows might be a secret.
    let plugins = find("plugin.secret");
    assert_eq!((plugins.value.as_deref(), plugins.kind), (None, None));
    assert!(plugins.read_only && plugins.sensitive);
    assert_eq!(synonyms(plugins), "plugin.secret=null(B);");
    assert!(described.is_sorted_by_key(|described| &described.name));
    let cluster = describe_cluster(dynamic);
    assert_eq!(cluster.iter().map(synonyms).collect::<Vec<_>>(), ["leader.replication.throttled.rate=7(C);"]);
}

#[test]
fn without_overrides_a_log_has_kafkas_defaults() {
    assert_eq!(log_config(&broker(&[]), Dynamic::default(), &Overrides::new()).unwrap(), LogConfig::default());
    assert_eq!(
        log_config(&BrokerConfig::default(), Dynamic::default(), &Overrides::new()).unwrap(),
        LogConfig::default()
    );
}

#[test]
fn a_log_takes_each_override() {
    let given = overrides(&[
        ("cleanup.policy", "compact"),
        ("compression.gzip.level", "4"),
        ("compression.lz4.level", "5"),
        ("compression.type", "zstd"),
        ("compression.zstd.level", "6"),
        ("delete.retention.ms", "20"),
        ("file.delete.delay.ms", "7"),
        ("flush.messages", "8"),
        ("flush.ms", "9"),
        ("index.interval.bytes", "10"),
        ("max.compaction.lag.ms", "22"),
        ("max.message.bytes", "11"),
        ("message.timestamp.after.max.ms", "12"),
        ("message.timestamp.before.max.ms", "13"),
        ("message.timestamp.type", "LogAppendTime"),
        ("min.cleanable.dirty.ratio", "0.25"),
        ("min.compaction.lag.ms", "21"),
        ("preallocate", "true"),
        ("retention.bytes", "14"),
        ("retention.ms", "15"),
        ("segment.bytes", "1048576"),
        ("segment.index.bytes", "17"),
        ("segment.jitter.ms", "18"),
        ("segment.ms", "19"),
    ]);
    let expected = LogConfig {
        segment_bytes: 1_048_576,
        segment_ms: 19,
        segment_jitter_ms: 18,
        segment_index_bytes: 17,
        index_interval_bytes: 10,
        max_message_bytes: 11,
        timestamp_type: TimestampType::LogAppendTime,
        timestamp_before_max_ms: 13,
        timestamp_after_max_ms: 12,
        compression: Some(Compression::Zstd),
        gzip_level: 4,
        lz4_level: 5,
        zstd_level: 6,
        compact: true,
        delete: false,
        min_cleanable_ratio: 0.25,
        min_compaction_lag_ms: 21,
        max_compaction_lag_ms: 22,
        delete_retention_ms: 20,
        retention_ms: 15,
        retention_bytes: 14,
        flush_messages: 8,
        flush_ms: 9,
        file_delete_delay_ms: 7,
        preallocate: true,
    };
    assert_eq!(log_config(&broker(&[]), Dynamic::default(), &given).unwrap(), expected);
    let small = log_config(&broker(&[]), Dynamic::default(), &overrides(&[("internal.segment.bytes", "100")])).unwrap();
    assert_eq!(small.segment_bytes, 100);
}

#[test]
fn the_cleaner_takes_what_was_given_and_what_was_altered() {
    let settings = cleaner_settings(&broker(&[]), Dynamic::default());
    assert_eq!(settings, CleanerSettings { enabled: true, ..CleanerSettings::default() });
    let given = broker(&[
        ("log.cleaner.enable", "false"),
        ("log.cleaner.backoff.ms", "1"),
        ("log.cleaner.dedupe.buffer.size", "2"),
        ("log.cleaner.io.max.bytes.per.second", "3.5"),
    ]);
    let altered = overrides(&[("log.cleaner.backoff.ms", "4")]);
    let settings = cleaner_settings(&given, Dynamic { cluster: &altered, ..Dynamic::default() });
    let expected = CleanerSettings { enabled: false, backoff_ms: 4, dedupe_bytes: 2, bytes_per_second: 3.5 };
    assert_eq!(settings, expected);
}

#[test]
fn retention_is_milliseconds_over_minutes_over_hours() {
    let retention = |pairs: &[(&str, &str)]| {
        log_config(&broker(pairs), Dynamic::default(), &Overrides::new()).unwrap().retention_ms
    };
    let (ms, minutes, hours) =
        (("log.retention.ms", "5"), ("log.retention.minutes", "2"), ("log.retention.hours", "3"));
    assert_eq!(retention(&[hours]), 3 * 3_600_000);
    assert_eq!(retention(&[hours, minutes]), 2 * 60_000);
    assert_eq!(retention(&[hours, minutes, ms]), 5);
    assert_eq!(retention(&[("log.retention.hours", "-1")]), -1);
    assert_eq!(retention(&[("log.retention.ms", "-7")]), -1);
    assert!(refusal(&[("log.retention.hours", "0")]).contains("log.retention.hours"));
    assert!(refusal(&[("log.roll.ms", "0")]).contains("at least 1"));
}

#[test]
fn topics_are_validated_by_name_value_and_combination() {
    let check = |pairs: &[(&str, &str)]| {
        validate_topic(&broker(&[]), Dynamic::default(), &overrides(pairs)).map_err(|error| error.to_string())
    };
    assert_eq!(check(&[("retention.ms", "-1"), ("internal.segment.bytes", "10")]), Ok(()));
    assert_eq!(
        check(&[("retention.mss", "1")]).unwrap_err(),
        "Unknown topic config name: retention.mss (did you mean retention.ms?)"
    );
    assert_eq!(
        check(&[("retention.ms", "-2")]).unwrap_err(),
        "Invalid value -2 for configuration retention.ms: must be at least -1"
    );
    assert!(check(&[("min.compaction.lag.ms", "2"), ("max.compaction.lag.ms", "1")]).unwrap_err().contains("(2) >"));
    assert!(check(&[("remote.storage.enable", "true")]).unwrap_err().contains("Tiered Storage"));
    let broker = broker(&[("log.cleaner.max.compaction.lag.ms", "10")]);
    let topic = overrides(&[("min.compaction.lag.ms", "11")]);
    assert!(validate_topic(&broker, Dynamic::default(), &topic).is_err());
}

#[test]
fn defaults_in_code_and_in_the_tables_are_the_same() {
    let (built, notes) = build(&[]).unwrap();
    assert_eq!(format!("{built:?}"), format!("{:?}", BrokerConfig::default()));
    assert_eq!(notes, []);
}

#[test]
fn values_become_typed() {
    let config = broker(&[
        ("broker.id", "7"),
        ("broker.rack", "r1"),
        ("log.dirs", "/data"),
        ("ottla.durability", "os"),
        ("max.connections.per.ip.overrides", "127.0.0.1:5,[::1]:6"),
        ("connections.max.idle.ms", "-1"),
        ("queued.max.request.bytes", "-1"),
        ("socket.send.buffer.bytes", "1000"),
        ("auto.create.topics.enable", "FALSE"),
    ]);
    assert_eq!(config.node_id.0, 7);
    assert_eq!(config.rack.as_deref(), Some("r1"));
    assert_eq!(config.storage.dir, std::path::Path::new("/data"));
    assert_eq!(config.storage.durability, crate::storage::Durability::Os);
    let limits = [("127.0.0.1".parse().unwrap(), 5), ("::1".parse().unwrap(), 6)];
    assert_eq!(config.limits.connections_per_ip_overrides, limits);
    assert_eq!((config.limits.idle, config.limits.queued_request_bytes), (None, None));
    assert_eq!((config.socket.send_buffer, config.socket.receive_buffer), (Some(1000), None));
    assert!(!config.topics.auto_create);
    let described = describe_broker(&config, Dynamic::default()).unwrap();
    let id = described.iter().find(|described| described.name == "node.id").unwrap();
    assert_eq!((id.value.as_deref(), id.source), (Some("7"), Source::StaticBroker));
}

#[test]
fn bad_values_name_the_setting_the_value_and_what_is_allowed() {
    for (pairs, words) in [
        (&[("num.partitions", "0")][..], ["num.partitions", " 0 ", "at least 1"]),
        (&[("num.partitions", "many")], ["num.partitions", "many", "whole number"]),
        (&[("num.partitions", "99999999999")], ["num.partitions", "99999999999", "2147483647"]),
        (&[("delete.topic.enable", "yes")], ["delete.topic.enable", "yes", "true or false"]),
        (&[("ottla.durability", "disk")], ["ottla.durability", "disk", "fsync, os, memory"]),
        (&[("compression.type", "br")], ["compression.type", "br", "zstd"]),
        (&[("log.dirs", "/a,/b")], ["log.dirs", "/a,/b", "one folder"]),
        (&[("default.replication.factor", "70000")], ["default.replication.factor", "70000", "range"]),
        (&[("node.id", "1"), ("broker.id", "2")], ["node.id=1", "broker.id=2", "one of them"]),
        (&[("max.connections.per.ip.overrides", "host:1")], ["overrides", "host:1", "address:count"]),
        (&[("queued.max.request.bytes", "5")], ["queued.max.request.bytes=5", "socket.request.max.bytes", "-1"]),
    ] {
        let error = refusal(pairs);
        for word in words {
            assert!(error.contains(word), "{word} in {error}");
        }
    }
}

#[test]
fn what_cannot_be_had_is_refused_with_a_sentence() {
    for (pairs, word) in [
        (&[("controller.quorum.voters", "1@a:1,2@b:1,3@c:1")][..], "single node"),
        (&[("controller.quorum.voters", "2@a:1")], "single node"),
        (&[("controller.quorum.bootstrap.servers", "a:1,b:1")], "single node"),
        (&[("process.roles", "controller")], "its own controller"),
        (&[("listeners", "SSL://:9093")], "PLAINTEXT only"),
        (&[("authorizer.class.name", "org.apache.kafka.metadata.authorizer.StandardAuthorizer")], "no ACLs"),
        (&[("remote.log.storage.system.enable", "true")], "tiered storage"),
        (&[("config.providers", "file")], "providers"),
    ] {
        let error = refusal(pairs);
        assert!(error.contains(word), "{word} in {error}");
    }
}

#[test]
fn what_has_no_effect_is_said_by_name() {
    let notes = warnings(&[
        ("num.io.threads", "8"),
        ("log.retention.hours", "168"),
        ("num.partition", "3"),
        ("frobnicate", "1"),
        ("super.users", "User:a"),
    ]);
    let all = notes.join("\n");
    for expected in [
        "num.io.threads, super.users",
        "without effect in this version of Ottla: log.retention.hours",
        "did you mean num.partitions?",
    ] {
        assert!(all.contains(expected), "{expected} in {all}");
    }
    assert!(notes.iter().any(|note| note == "unknown setting frobnicate (from the configuration file) is ignored"));
    assert_eq!(warnings(&[("num.partitions", "3")]), [""; 0]);
}

#[test]
fn kafkas_combined_mode_file_starts_unchanged() {
    let text = "process.roles=broker,controller\nnode.id=1\ncontroller.quorum.voters=1@localhost:9093\n\
                listeners=PLAINTEXT://:9092,CONTROLLER://:9093\ninter.broker.listener.name=PLAINTEXT\n\
                advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
                controller.listener.names=CONTROLLER\n\
                listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL\n\
                num.network.threads=3\nlog.dirs=/tmp/kraft-combined-logs\nshare.coordinator.state.topic.min.isr=1\n";
    let pairs = properties::parse(text).unwrap();
    let pairs: Vec<_> = pairs.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
    let (config, notes) = build(&pairs).unwrap();
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.advertised("PLAINTEXT").unwrap().host, "localhost");
    assert!(notes.iter().any(|note| matches!(note, Note::Info(text) if text.contains("CONTROLLER"))));
}

#[test]
fn later_ways_of_giving_win() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.properties");
    std::fs::write(&file, "num.partitions=1\nnode.id=2\nbroker.rack=a\nlog.dirs=/f\n").unwrap();
    let variables = [("KAFKA_NODE_ID", "3"), ("KAFKA_BROKER_RACK", "b"), ("KAFKA_LOG_DIRS", "/e"), ("HOME", "/")];
    let start = StartBuilder::default()
        .file(&file)
        .unwrap()
        .environment(variables.iter().map(|(name, value)| (name.into(), value.into())))
        .assignment("broker.rack=c")
        .unwrap()
        .assignment(" log.dirs = /s=1 ")
        .unwrap()
        .flag("log.dirs", "/flag")
        .finish();
    let value = |name: &str| (start[name].value.as_str(), start[name].origin);
    assert_eq!(value("num.partitions"), ("1", Origin::File));
    assert_eq!(value("group.initial.rebalance.delay.ms"), ("3000", Origin::KafkaDefault));
    assert_eq!(value("node.id"), ("3", Origin::Environment));
    assert_eq!(value("broker.rack"), ("c", Origin::Set));
    assert_eq!(value("log.dirs"), ("/flag", Origin::Flag));
    assert!(StartBuilder::default().assignment("x").is_err());
    assert!(StartBuilder::default().file(&folder.path().join("none")).unwrap_err().to_string().contains("none"));
}

#[test]
fn secrets_are_never_told() {
    let config = broker(&[("ssl.keystore.password", "hunter2")]);
    let described = describe_broker(&config, Dynamic::default()).unwrap();
    let secret = described.iter().find(|described| described.name == "ssl.keystore.password").unwrap();
    assert!(secret.sensitive && secret.value.is_none());
    assert_eq!(secret.synonyms.first().map(|synonym| synonym.value.clone()), Some(None));
    assert!(!format!("{described:?}").contains("hunter2"));
}

#[test]
fn doubles_are_written_as_java_does() {
    for (value, text) in [(0.5, "0.5"), (1.0, "1.0"), (f64::MAX, "1.7976931348623157E308")] {
        assert_eq!(Value::Double(value).to_string(), text);
    }
}

#[test]
fn what_acts_is_not_among_what_does_nothing() {
    for setting in known::SETTINGS {
        assert_eq!(setting.effect, Effect::Nothing);
        assert!(super::broker::SETTINGS.iter().all(|other| other.name != setting.name), "{}", setting.name);
    }
}
