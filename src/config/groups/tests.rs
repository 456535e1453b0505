//! Settings of groups, against what Apache Kafka 4.3.1 answered (`testdata/`).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::BTreeMap;

use super::super::layers::{Given, Origin, Source, Start};
use super::super::{Described, StartBuilder, Type, describe_broker, describe_group};
use super::*;

fn rows(text: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    text.lines().filter(|line| !line.starts_with('#')).map(|line| line.split('\t').collect())
}

fn overrides(pairs: &[(&str, &str)]) -> Overrides {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn build(pairs: &[(&str, &str)]) -> Result<(BrokerConfig, Vec<Note>), ConfigError> {
    let given = |value: &str| Given { value: value.to_owned(), origin: Origin::Set };
    BrokerConfig::build(pairs.iter().map(|(name, value)| ((*name).to_owned(), given(value))).collect::<Start>())
}

fn broker(pairs: &[(&str, &str)]) -> BrokerConfig {
    build(pairs).unwrap().0
}

fn find<'a>(described: &'a [Described], name: &str) -> &'a Described {
    described.iter().find(|described| described.name == name).unwrap()
}

fn synonyms(described: &Described) -> Vec<(&str, &str, Source)> {
    let one = |synonym: &'_ super::super::DescribedSynonym| (synonym.value.clone(), synonym.source);
    let values: Vec<_> = described.synonyms.iter().map(one).collect();
    let named = described.synonyms.iter().zip(&values);
    named.map(|(synonym, (_, source))| (&*synonym.name, synonym.value.as_deref().unwrap(), *source)).collect()
}

#[test]
fn group_settings_are_kafkas() {
    let described = describe_group(&broker(&[]), Dynamic::default(), &Overrides::new()).unwrap();
    let expected: Vec<_> = rows(include_str!("../testdata/group_settings.tsv")).collect();
    assert_eq!(described.len(), expected.len());
    for (ours, kafkas) in described.iter().zip(expected) {
        let kind = ours.kind.map(Type::name).unwrap_or_default().to_uppercase();
        let below: Vec<_> = synonyms(ours).iter().map(|(name, value, _)| format!("{name}={value}(D);")).collect();
        let value = ours.value.as_deref().unwrap();
        assert_eq!([&*ours.name, &kind, value, &below.concat()].as_slice(), kafkas);
        assert!(!ours.read_only && !ours.sensitive && ours.source == Source::Default);
    }
}

#[test]
fn values_are_taken_and_refused_as_kafka_does() {
    let config = broker(&[]);
    let mut groups: BTreeMap<&str, Overrides> = BTreeMap::new();
    let mut seen = 0;
    for row in rows(include_str!("../testdata/group_values.tsv")) {
        let [group, name, value, code] = row[..] else { panic!("{row:?}") };
        let mut after = groups.get(group).cloned().unwrap_or_default();
        after.insert(name.to_owned(), value.to_owned());
        let valid = validate_group(&config, Dynamic::default(), &after);
        assert_eq!(valid.is_ok(), code == "NONE", "{name}={value}: {valid:?}");
        if valid.is_ok() {
            groups.insert(group, after);
        }
        seen += 1;
    }
    assert!(seen > 50);
}

#[test]
fn refusals_name_setting_value_and_bound() {
    let config = broker(&[
        ("group.consumer.min.session.timeout.ms", "5000"),
        ("group.consumer.session.timeout.ms", "20000"),
        ("group.consumer.max.heartbeat.interval.ms", "18000"),
    ]);
    let refused = |pairs: &[(&str, &str)]| {
        validate_group(&config, Dynamic::default(), &overrides(pairs)).map_err(|error| error.to_string())
    };
    assert_eq!(refused(&[("consumer.session.timeout.ms", "5001")]), Ok(()));
    for (pairs, sentence) in [
        (
            &[("consumer.session.timeout.ms", "5000")][..],
            "consumer.session.timeout.ms=5000 must be greater than consumer.heartbeat.interval.ms=5000",
        ),
        (
            &[("consumer.session.timeout.ms", "4999")],
            "consumer.session.timeout.ms=4999 must be greater than or equal to \
             group.consumer.min.session.timeout.ms=5000",
        ),
        (
            &[("consumer.heartbeat.interval.ms", "18001")],
            "consumer.heartbeat.interval.ms=18001 must be less than or equal to \
             group.consumer.max.heartbeat.interval.ms=18000",
        ),
        (
            &[("consumer.session.timeout", "1")],
            "Unknown group config name: consumer.session.timeout (did you mean consumer.session.timeout.ms?)",
        ),
    ] {
        assert_eq!(refused(pairs).unwrap_err(), sentence);
    }
}

#[test]
fn a_groups_value_stands_over_the_brokers() {
    let config = broker(&[("group.consumer.session.timeout.ms", "46000")]);
    let own = overrides(&[("consumer.session.timeout.ms", " 51000 "), ("share.isolation.level", "read_committed")]);
    let cluster = overrides(&[("group.consumer.assignment.interval.ms", "2000")]);
    let dynamic = Dynamic { cluster: &cluster, ..Dynamic::default() };
    let described = describe_group(&config, dynamic, &own).unwrap();
    let session = find(&described, "consumer.session.timeout.ms");
    assert_eq!((session.value.as_deref(), session.source.code()), (Some("51000"), 8));
    let below = "group.consumer.session.timeout.ms";
    assert_eq!(
        synonyms(session),
        [
            ("consumer.session.timeout.ms", "51000", Source::DynamicGroup),
            (below, "46000", Source::StaticBroker),
            (below, "45000", Source::Default),
        ]
    );
    let assignment = find(&described, "consumer.assignment.interval.ms");
    assert_eq!((assignment.value.as_deref(), assignment.source), (Some("2000"), Source::DynamicDefaultBroker));
    let isolation = find(&described, "share.isolation.level");
    assert_eq!(
        synonyms(isolation),
        [
            ("share.isolation.level", "read_committed", Source::DynamicGroup),
            ("share.isolation.level", "read_uncommitted", Source::Default),
        ]
    );
}

#[test]
fn every_setting_reaches_the_groups() {
    let config = broker(&[
        ("group.min.session.timeout.ms", "1"),
        ("group.max.session.timeout.ms", "2"),
        ("group.initial.rebalance.delay.ms", "3"),
        ("group.max.size", "4"),
        ("group.consumer.max.size", "5"),
        ("group.consumer.assignors", "range"),
        ("group.consumer.migration.policy", "Upgrade"),
        ("group.consumer.min.session.timeout.ms", "10"),
        ("group.consumer.session.timeout.ms", "11"),
        ("group.consumer.max.session.timeout.ms", "12"),
        ("group.consumer.min.heartbeat.interval.ms", "6"),
        ("group.consumer.heartbeat.interval.ms", "7"),
        ("group.consumer.max.heartbeat.interval.ms", "8"),
        ("group.consumer.min.assignment.interval.ms", "13"),
        ("group.consumer.assignment.interval.ms", "14"),
        ("group.consumer.max.assignment.interval.ms", "15"),
        ("group.consumer.regex.refresh.interval.ms", "10000"),
        ("offset.metadata.max.bytes", "16"),
        ("offsets.retention.minutes", "17"),
        ("offsets.retention.check.interval.ms", "18"),
        ("offsets.commit.timeout.ms", "19"),
        ("offsets.topic.num.partitions", "20"),
        ("offsets.topic.segment.bytes", "21"),
        ("offsets.topic.compression.codec", "4"),
    ]);
    let expected = GroupsConfig {
        min_session_timeout_ms: 1,
        max_session_timeout_ms: 2,
        initial_rebalance_delay_ms: 3,
        max_size: 4,
        consumer_max_size: 5,
        assignors: vec![Assignor::Range],
        migration: MigrationPolicy::Upgrade,
        session_timeout: Bounded { default: 11, min: 10, max: 12 },
        heartbeat_interval: Bounded { default: 7, min: 6, max: 8 },
        assignment_interval: Bounded { default: 14, min: 13, max: 15 },
        regex_refresh_interval_ms: 10_000,
        max_record_bytes: 1_048_588,
        offset_metadata_max_bytes: 16,
        offsets_retention_ms: 17 * 60_000,
        offsets_retention_check_ms: 18,
        commit_timeout_ms: 19,
        topic_partitions: 20,
        topic_segment_bytes: 21,
        topic_compression: Compression::Zstd,
    };
    assert_eq!(config.groups, expected);
}

#[test]
fn what_does_not_fit_together_stops_the_start() {
    for (pairs, sentence) in [
        (
            &[("group.consumer.session.timeout.ms", "44000")][..],
            "group.consumer.session.timeout.ms=44000 must be greater than or equal to \
             group.consumer.min.session.timeout.ms=45000",
        ),
        (
            &[("group.consumer.max.session.timeout.ms", "44999")],
            "group.consumer.max.session.timeout.ms=44999 must be greater than or equal to \
             group.consumer.min.session.timeout.ms=45000",
        ),
        (
            &[("group.consumer.heartbeat.interval.ms", "15001")],
            "group.consumer.heartbeat.interval.ms=15001 must be less than or equal to \
             group.consumer.max.heartbeat.interval.ms=15000",
        ),
        (
            &[("group.consumer.max.heartbeat.interval.ms", "50000"), ("group.consumer.heartbeat.interval.ms", "45000")],
            "group.consumer.session.timeout.ms=45000 must be greater than group.consumer.heartbeat.interval.ms=45000",
        ),
        (
            &[("group.streams.num.standby.replicas", "3")],
            "group.streams.num.standby.replicas=3 must be less than or equal to group.streams.max.standby.replicas=2",
        ),
        (
            &[("group.consumer.assignors", "uniform,org.example.Mine")],
            "group.consumer.assignors=uniform,org.example.Mine: org.example.Mine is not built in, and Ottla cannot run \
             Java classes; name uniform, range or both",
        ),
        (
            &[("group.consumer.assignors", "")],
            "Invalid value  for configuration group.consumer.assignors: must be a list that is not empty and names \
             nothing twice",
        ),
        (
            &[("group.consumer.assignors", "range,range")],
            "Invalid value range,range for configuration group.consumer.assignors: must be a list that is not empty and \
             names nothing twice",
        ),
        (
            &[("offsets.topic.compression.codec", "5")],
            "Invalid value 5 for configuration offsets.topic.compression.codec: must be 0 to 4",
        ),
        (
            &[("group.consumer.migration.policy", "sideways")],
            "Invalid value sideways for configuration group.consumer.migration.policy: must be one of disabled, \
             downgrade, upgrade, bidirectional (in any case)",
        ),
        (
            &[("group.consumer.regex.refresh.interval.ms", "9999")],
            "Invalid value 9999 for configuration group.consumer.regex.refresh.interval.ms: must be at least 10000",
        ),
    ] {
        assert_eq!(build(pairs).unwrap_err().to_string(), sentence);
    }
}

#[test]
fn what_is_probably_not_meant_is_a_warning() {
    let warnings = |pairs: &[(&str, &str)]| {
        let words = |note: Note| match note {
            Note::Warning(text) => text,
            Note::Info(text) => panic!("{text}"),
        };
        build(pairs).unwrap().1.into_iter().map(words).collect::<Vec<_>>()
    };
    assert_eq!(warnings(&[("offsets.topic.replication.factor", "1"), ("group.max.size", "5")]), [""; 0]);
    let replicas = warnings(&[("offsets.topic.replication.factor", "3")]);
    assert!(
        replicas[0].contains("offsets.topic.replication.factor=3: one broker can hold one replica"),
        "{replicas:?}"
    );
    let sessions = warnings(&[("group.max.session.timeout.ms", "5000")]);
    assert!(sessions[0].contains("group.min.session.timeout.ms=6000 is more than"), "{sessions:?}");
}

#[test]
fn a_group_waits_for_members_where_kafkas_file_is_given() {
    const NAME: &str = "group.initial.rebalance.delay.ms";
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("server.properties");
    let started = |text: &str, set: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let start = StartBuilder::default().file(&file).unwrap();
        let start = set.iter().fold(start, |start, set| start.assignment(set).unwrap());
        let (config, notes) = BrokerConfig::build(start.finish()).unwrap();
        assert_eq!(notes, []);
        let described = describe_broker(&config, Dynamic::default()).unwrap();
        let described = find(&described, NAME);
        let synonyms: Vec<_> =
            synonyms(described).iter().map(|(_, value, source)| format!("{value}{source:?}")).collect();
        (config.groups.initial_rebalance_delay_ms, described.value.clone().unwrap(), synonyms.join(" "))
    };
    let of = |delay: i32, synonyms: &str| (delay, delay.to_string(), synonyms.to_owned());
    assert_eq!(started("num.partitions=2", &[]), of(3000, "3000Default"));
    assert_eq!(started("group.initial.rebalance.delay.ms=0", &[]), of(0, "0StaticBroker 0Default"));
    assert_eq!(started("", &["group.initial.rebalance.delay.ms=7"]), of(7, "7StaticBroker 0Default"));
    let alone = broker(&[]);
    assert_eq!(alone.groups.initial_rebalance_delay_ms, 0);
    let described = describe_broker(&alone, Dynamic::default()).unwrap();
    assert_eq!(synonyms(find(&described, NAME)), [(NAME, "0", Source::Default)]);
    assert_eq!(broker(&[(NAME, "-5")]).groups.initial_rebalance_delay_ms, 0);
}

#[test]
fn the_assignment_interval_can_be_altered_while_the_broker_runs() {
    let config = broker(&[]);
    assert!(matches!(config.groups_now(Dynamic::default()), Cow::Borrowed(_)));
    let (cluster, own) = (overrides(&[(ASSIGNMENT_INTERVAL, "2000")]), overrides(&[(ASSIGNMENT_INTERVAL, " 7 ")]));
    let now = |dynamic| config.groups_now(dynamic).assignment_interval;
    let bounds = config.groups.assignment_interval;
    let everywhere = Dynamic { cluster: &cluster, ..Dynamic::default() };
    assert_eq!(now(everywhere), Bounded { default: 2000, ..bounds });
    assert_eq!(now(Dynamic { broker: &own, ..everywhere }), Bounded { default: 7, ..bounds });
    assert_eq!(validate_groups(&config, everywhere), Ok(()));
    let high = overrides(&[(ASSIGNMENT_INTERVAL, "15001")]);
    assert!(validate_groups(&config, Dynamic { broker: &high, ..everywhere }).is_err());
}
