#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;

use super::control::{leader_change, snapshot_footer, snapshot_header};
use super::*;

fn hex(text: &str) -> Vec<u8> {
    text.as_bytes().chunks(2).map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

/// Records that Apache Kafka 4.3.1 wrote, with what they say.
fn written_by_kafka() -> Vec<(&'static str, MetadataRecord)> {
    let directory = Uuid::from_u128(0x08af_5c97_c3ca_4a0a_e2f5_5f01_17fc_add6);
    let topic = TopicId(Uuid::from_u128(0xedeb_6845_6bf3_4e70_859e_10e5_1d22_eeb3));
    let one = vec![NodeId(1)];
    vec![
        (
            "01170001001212426f6f747374726170207265636f726473",
            MetadataRecord::BeginTransaction { name: Some("Bootstrap records".to_owned()) },
        ),
        (
            "010c00116d657461646174612e76657273696f6e001e00",
            MetadataRecord::FeatureLevel { name: "metadata.version".to_owned(), level: 30 },
        ),
        (
            "0104000401146d696e2e696e73796e632e7265706c69636173023100",
            MetadataRecord::Config {
                resource_type: 4,
                resource_name: String::new(),
                name: "min.insync.replicas".to_owned(),
                value: Some("1".to_owned()),
            },
        ),
        ("01180000", MetadataRecord::EndTransaction),
        ("01140000", MetadataRecord::NoOp),
        (
            "01110000000001000000000000000b010001ff",
            MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChange {
                broker: NodeId(1),
                epoch: 11,
                fenced: Some(false),
                ..Default::default()
            }),
        ),
        (
            "01110300000001000000000000000b01030101",
            MetadataRecord::BrokerRegistrationChange(BrokerRegistrationChange {
                broker: NodeId(1),
                epoch: 11,
                cordoned_log_dirs: Some(vec![]),
                ..Default::default()
            }),
        ),
        ("010200037431edeb68456bf34e70859e10e51d22eeb300", MetadataRecord::Topic { name: "t1".to_owned(), id: topic }),
        (
            "01030200000001edeb68456bf34e70859e10e51d22eeb3020000000102000000010101000000010000000000000000\
             0208af5c97c3ca4a0ae2f55f0117fcadd600",
            MetadataRecord::Partition(PartitionRecord {
                partition: PartitionIndex(1),
                topic,
                replicas: one.clone(),
                isr: one,
                removing: vec![],
                adding: vec![],
                leader: NodeId(1),
                leader_recovery_state: 0,
                leader_epoch: LeaderEpoch(0),
                partition_epoch: 0,
                directories: vec![directory],
                eligible_leaders: None,
                last_known_eligible: None,
            }),
        ),
        (
            "010f0000000001000000000000000b00000000000003e800",
            MetadataRecord::ProducerIds { broker: NodeId(1), broker_epoch: 11, next: 1000 },
        ),
        (
            "0109000082650b81964a96b144e0767efd098a00",
            MetadataRecord::RemoveTopic { id: TopicId(Uuid::from_u128(0x0082_650b_8196_4a96_b144_e076_7efd_098a)) },
        ),
        (
            "0100040000000100e0e55b47555d4f4eaad0cedf35050e80000000000000000b020a504c41494e544558540a3132372e302e\
             302e316b000000000214747261\
             6e73616374696f6e2e76657273696f6e00000002000001000100110208af5c97c3ca4a0ae2f55f0117fcadd6",
            MetadataRecord::RegisterBroker(RegisterBroker {
                broker: NodeId(1),
                incarnation: Uuid::from_u128(0xe0e5_5b47_555d_4f4e_aad0_cedf_3505_0e80),
                epoch: 11,
                endpoints: vec![Endpoint {
                    name: "PLAINTEXT".to_owned(),
                    host: "127.0.0.1".to_owned(),
                    port: 27392,
                    security_protocol: 0,
                }],
                features: vec![FeatureRange { name: "transaction.version".to_owned(), min: 0, max: 2 }],
                rack: None,
                fenced: true,
                in_controlled_shutdown: false,
                log_dirs: vec![directory],
                cordoned_log_dirs: None,
            }),
        ),
    ]
}

#[test]
fn records_of_kafka_are_read_and_written_byte_for_byte() {
    for (bytes, record) in written_by_kafka() {
        let bytes = hex(bytes);
        assert_eq!(MetadataRecord::decode(&bytes).as_ref(), Ok(&record));
        assert_eq!(record.to_bytes(), bytes, "{record:?}");
    }
}

#[test]
fn control_records_are_those_of_kafka() {
    assert_eq!(leader_change(NodeId(1)).key, hex("00000002"));
    assert_eq!(leader_change(NodeId(1)).value, hex("00000000000102000000010002000000010000"));
    assert_eq!(snapshot_header(0).key, hex("00000003"));
    assert_eq!(snapshot_header(0).value, hex("0000000000000000000000"));
    assert_eq!(snapshot_footer().value, hex("000000"));
}

#[test]
fn records_of_unknown_kinds_are_carried_unchanged() {
    let acl = hex("0112000102030405");
    let record = MetadataRecord::decode(&acl).unwrap();
    assert_eq!(record.support(), Support::Kept("ACLs"));
    assert_eq!(record.to_bytes(), acl);
    assert_eq!(MetadataRecord::decode(&hex("01630000")).unwrap().support(), Support::Unknown);
    assert_eq!(
        MetadataRecord::decode(&hex("011c00145f5f7472616e73616374696f6e5f737461746500")).unwrap().support(),
        Support::Full
    );
}

#[test]
fn newer_versions_are_refused_by_name_and_number() {
    assert_eq!(MetadataRecord::decode(&hex("020c00")), Err(RecordError::Frame(2)));
    let newer = RecordError::Version { kind: 3, version: 3, max: 2 };
    assert_eq!(MetadataRecord::decode(&hex("010303")), Err(newer.clone()));
    assert_eq!(newer.to_string(), "a metadata record of kind 3 has version 3; this version of Ottla reads up to 2");
}

#[test]
fn bytes_after_a_record_and_cut_records_are_refused() {
    for (bytes, _) in written_by_kafka() {
        let mut bytes = hex(bytes);
        for end in 0..bytes.len() {
            assert!(MetadataRecord::decode(&bytes[..end]).is_err());
        }
        bytes.push(0);
        assert!(MetadataRecord::decode(&bytes).is_err());
    }
}

#[test]
fn older_versions_lack_the_later_fields() {
    // Version 0 of a partition has no directories.
    let v0 = hex("01030000000001edeb68456bf34e70859e10e51d22eeb302000000010200000001010100000001000000000000000000");
    let MetadataRecord::Partition(partition) = MetadataRecord::decode(&v0).unwrap() else { panic!("another kind") };
    assert!(partition.directories.is_empty());
    assert_eq!(partition.leader, NodeId(1));
}

fn nodes() -> impl Strategy<Value = Vec<NodeId>> {
    proptest::collection::vec((-1_i32..9).prop_map(NodeId), 0..4)
}

fn ids() -> impl Strategy<Value = Vec<Uuid>> {
    proptest::collection::vec(any::<u128>().prop_map(Uuid::from_u128), 0..3)
}

fn record() -> impl Strategy<Value = MetadataRecord> {
    let topic = || any::<u128>().prop_map(|id| TopicId(Uuid::from_u128(id)));
    let text = || proptest::option::of("\\PC{0,200}");
    let changes = (
        proptest::option::of(nodes()),
        proptest::option::of((-1_i32..9).prop_map(NodeId)),
        proptest::option::of(nodes()),
        proptest::option::of(nodes()),
        proptest::option::of(0_i8..2),
        proptest::option::of(ids()),
        proptest::option::of(nodes()),
    );
    prop_oneof![
        ("\\PC{0,300}", topic()).prop_map(|(name, id)| MetadataRecord::Topic { name, id }),
        (any::<i8>(), "\\PC{0,9}", "\\PC{0,9}", text()).prop_map(|(resource_type, resource_name, name, value)| {
            MetadataRecord::Config { resource_type, resource_name, name, value }
        }),
        text().prop_map(|name| MetadataRecord::BeginTransaction { name }),
        text().prop_map(|reason| MetadataRecord::AbortTransaction { reason }),
        (any::<i32>(), any::<i64>())
            .prop_map(|(broker, epoch)| MetadataRecord::UnregisterBroker { broker: NodeId(broker), epoch }),
        (any::<i32>(), topic(), changes).prop_map(
            |(partition, topic, (isr, leader, replicas, adding, leader_recovery_state, directories, eligible))| {
                MetadataRecord::PartitionChange(PartitionChange {
                    partition: PartitionIndex(partition),
                    topic,
                    isr,
                    leader,
                    replicas,
                    removing: None,
                    adding,
                    leader_recovery_state,
                    directories,
                    eligible_leaders: eligible,
                    last_known_eligible: None,
                })
            }
        ),
        (any::<i32>(), topic(), nodes(), nodes(), ids(), proptest::option::of(nodes()), 0_i8..2).prop_map(
            |(partition, topic, replicas, isr, directories, eligible_leaders, leader_recovery_state)| {
                MetadataRecord::Partition(PartitionRecord {
                    partition: PartitionIndex(partition),
                    topic,
                    replicas,
                    isr,
                    removing: vec![],
                    adding: vec![NodeId(7)],
                    leader: NodeId(3),
                    leader_recovery_state,
                    leader_epoch: LeaderEpoch(5),
                    partition_epoch: 6,
                    directories,
                    eligible_leaders,
                    last_known_eligible: None,
                })
            }
        ),
    ]
}

proptest! {
    #[test]
    fn what_is_written_reads_back(record in record()) {
        prop_assert_eq!(MetadataRecord::decode(&record.to_bytes()), Ok(record));
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes: Vec<u8>, kind in 0_u8..30, version in 0_u8..5) {
        let framed = [&[1, kind, version][..], &bytes].concat();
        if let Ok(record) = MetadataRecord::decode(&framed) {
            // Whatever was accepted survives being written again.
            prop_assert_eq!(MetadataRecord::decode(&record.to_bytes()), Ok(record));
        }
    }
}
