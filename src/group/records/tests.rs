#![allow(clippy::unwrap_used)]

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use uuid::Uuid;

use super::*;

fn text() -> impl Strategy<Value = String> {
    "[a-z0-9.é-]{0,12}"
}

fn bytes() -> impl Strategy<Value = Bytes> {
    vec(any::<u8>(), 0..20).prop_map(Bytes::from)
}

fn shared() -> impl Strategy<Value = Arc<str>> {
    text().prop_map(Arc::from)
}

fn topic_id() -> impl Strategy<Value = TopicId> {
    (1_u128..50).prop_map(|id| TopicId(Uuid::from_u128(id)))
}

fn index() -> impl Strategy<Value = PartitionIndex> {
    (0_i32..9).prop_map(PartitionIndex)
}

fn offset() -> impl Strategy<Value = CommittedOffset> {
    (any::<i64>(), any::<i32>(), shared(), any::<i64>(), prop_oneof![Just(-1), 0..i64::MAX], topic_id()).prop_map(
        |(offset, epoch, metadata, commit, expire, topic_id)| {
            // The version that can say when it expires can say neither epoch nor id.
            let expires = expire != -1;
            CommittedOffset {
                offset: Offset(offset),
                leader_epoch: LeaderEpoch(if expires { -1 } else { epoch }),
                metadata,
                commit_timestamp: TimestampMs(commit),
                expire_timestamp: TimestampMs(expire),
                topic_id: if expires { TopicId::ZERO } else { topic_id },
            }
        },
    )
}

fn classic_member() -> impl Strategy<Value = ClassicMemberValue> {
    (text(), any::<Option<String>>(), text(), text(), 0..i32::MAX, any::<i32>(), bytes(), bytes()).prop_map(
        |(member_id, instance_id, client_id, client_host, rebalance, session, subscription, assignment)| {
            ClassicMemberValue {
                member_id,
                instance_id,
                client_id,
                client_host,
                rebalance_timeout_ms: rebalance,
                session_timeout_ms: session,
                subscription,
                assignment,
            }
        },
    )
}

fn classic_group() -> impl Strategy<Value = ClassicGroupValue> {
    (text(), any::<i32>(), any::<Option<String>>(), any::<Option<String>>(), any::<i64>(), vec(classic_member(), 0..4))
        .prop_map(|(protocol_type, generation, protocol, leader, state_timestamp, members)| ClassicGroupValue {
            protocol_type,
            generation,
            protocol,
            leader,
            state_timestamp,
            members,
        })
}

fn member() -> impl Strategy<Value = MemberValue> {
    let classic = (any::<i32>(), vec((text(), bytes()), 0..3))
        .prop_map(|(session_timeout_ms, protocols)| ClassicMember { session_timeout_ms, protocols });
    let names = proptest::collection::btree_set(text(), 0..4);
    (
        any::<Option<String>>(),
        any::<Option<String>>(),
        text(),
        text(),
        names,
        any::<Option<String>>(),
        any::<i32>(),
        any::<Option<String>>(),
        proptest::option::of(classic),
    )
        .prop_map(
            |(instance_id, rack_id, client_id, client_host, names, topic_regex, timeout, assignor, classic)| {
                MemberValue {
                    instance_id,
                    rack_id,
                    client_id,
                    client_host,
                    topic_names: names.into_iter().collect(),
                    topic_regex,
                    rebalance_timeout_ms: timeout,
                    server_assignor: assignor,
                    classic,
                }
            },
        )
}

fn current() -> impl Strategy<Value = CurrentAssignment> {
    let given = || btree_map(topic_id(), btree_map(index(), any::<i32>(), 0..4), 0..3);
    let state = prop_oneof![
        Just(MemberState::Stable),
        Just(MemberState::UnrevokedPartitions),
        Just(MemberState::UnreleasedPartitions),
        Just(MemberState::Unknown)
    ];
    (any::<i32>(), any::<i32>(), state, given(), given()).prop_map(
        |(epoch, previous_epoch, state, assigned, pending_revocation)| CurrentAssignment {
            epoch,
            previous_epoch,
            state,
            assigned,
            pending_revocation,
        },
    )
}

fn record() -> impl Strategy<Value = Record> {
    use proptest::option::of;
    let partitions = btree_map(
        topic_id(),
        proptest::collection::btree_set(index(), 0..4).prop_map(|set| set.into_iter().collect::<Vec<_>>()),
        0..3,
    );
    let epoch = (any::<i32>(), any::<i64>()).prop_map(|(epoch, metadata_hash)| ConsumerEpoch { epoch, metadata_hash });
    let target = (any::<i32>(), any::<i64>()).prop_map(|(epoch, timestamp)| TargetEpoch { epoch, timestamp });
    let regex = (proptest::collection::btree_set(text(), 0..4), any::<i64>(), any::<i64>()).prop_map(
        |(topics, version, timestamp)| ResolvedRegex { topics: topics.into_iter().collect(), version, timestamp },
    );
    prop_oneof![
        (shared(), shared(), index(), of(offset())).prop_map(|(g, t, p, v)| Record::Offset(g, t, p, v)),
        (shared(), of(classic_group())).prop_map(|(g, v)| Record::Classic(g, v)),
        (shared(), of(epoch)).prop_map(|(g, v)| Record::ConsumerEpoch(g, v)),
        shared().prop_map(Record::PartitionMetadataGone),
        (shared(), shared(), of(member())).prop_map(|(g, m, v)| Record::Member(g, m, v)),
        (shared(), of(target)).prop_map(|(g, v)| Record::TargetEpoch(g, v)),
        (shared(), shared(), of(partitions)).prop_map(|(g, m, v)| Record::Target(g, m, v)),
        (shared(), shared(), of(current())).prop_map(|(g, m, v)| Record::Current(g, m, v)),
        (shared(), shared(), of(regex)).prop_map(|(g, r, v)| Record::Regex(g, r, v)),
    ]
}

proptest! {
    #[test]
    fn records_read_back(record in record()) {
        let encoded = record.encode();
        let decoded = Record::decode(&encoded.key, encoded.value.as_deref()).unwrap();
        prop_assert_eq!(decoded, Some(record));
    }

    #[test]
    fn any_bytes_give_an_answer(kind in -1_i16..20, rest: Vec<u8>, value: Option<Vec<u8>>) {
        let key = [&kind.to_be_bytes()[..], &rest].concat();
        let _ = Record::decode(&key, value.as_deref());
    }

    #[test]
    fn a_damaged_value_never_panics(record in record(), at: prop::sample::Index, byte: u8) {
        let encoded = record.encode();
        let Some(value) = encoded.value else { return Ok(()) };
        let mut value = value.to_vec();
        let at = at.index(value.len());
        value[at] = byte;
        let _ = Record::decode(&encoded.key, Some(&value));
        let _ = Record::decode(&encoded.key, Some(&value[..at]));
    }
}

#[test]
fn an_offset_is_written_as_kafka_writes_it() {
    let record = Record::Offset(
        "g".into(),
        "t".into(),
        PartitionIndex(3),
        Some(CommittedOffset {
            offset: Offset(42),
            leader_epoch: LeaderEpoch(7),
            metadata: "m".into(),
            commit_timestamp: TimestampMs(1000),
            expire_timestamp: TimestampMs::NONE,
            topic_id: TopicId(Uuid::from_u128(9)),
        }),
    );
    let encoded = record.encode();
    assert_eq!(&encoded.key[..], [0, 1, 0, 1, b'g', 0, 1, b't', 0, 0, 0, 3]);
    let mut value = vec![0, 4, 0, 0, 0, 0, 0, 0, 0, 42, 0, 0, 0, 7, 2, b'm', 0, 0, 0, 0, 0, 0, 3, 232, 1, 0, 16];
    value.extend([0; 15]);
    value.push(9);
    assert_eq!(&encoded.value.unwrap()[..], value);
}

#[test]
fn a_member_is_written_as_kafka_writes_it() {
    let member = MemberValue {
        instance_id: None,
        rack_id: None,
        client_id: "c".into(),
        client_host: "h".into(),
        topic_names: vec!["t".into()],
        topic_regex: Some(String::new()),
        rebalance_timeout_ms: 300_000,
        server_assignor: None,
        classic: None,
    };
    let encoded = Record::Member("g".into(), "m".into(), Some(member)).encode();
    assert_eq!(&encoded.key[..], [0, 5, 0, 1, b'g', 0, 1, b'm']);
    let value = [0, 0, 0, 0, 2, b'c', 2, b'h', 2, 2, b't', 1, 0, 4, 0x93, 0xe0, 0, 1, 0, 1, 0];
    assert_eq!(&encoded.value.unwrap()[..], value);
}

#[test]
fn a_newer_version_and_an_unknown_kind_are_told_apart() {
    assert_eq!(Record::decode(&[0, 12, 0, 1, b'g'], Some(&[0, 0])), Ok(None));
    assert!(Record::decode(&[0, 3, 0, 1, b'g'], Some(&[0, 1, 0, 0, 0, 1, 0])).is_err());
    assert_eq!(Record::decode(&[0, 3, 0, 1, b'g'], None), Ok(Some(Record::ConsumerEpoch("g".into(), None))));
}
