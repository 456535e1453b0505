#![allow(clippy::unwrap_used)]

mod transactions;

use std::collections::BTreeMap;

use kafka_protocol::messages::consumer_group_heartbeat_response::ConsumerGroupHeartbeatResponse;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::{ConsumerGroupHeartbeatRequest, GroupId as WireGroupId, JoinGroupRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use proptest::prelude::*;

use super::*;
use crate::group::offsets::{Commit, CommitPartition};
use crate::group::records::CommittedOffset;
use crate::group::test_support::World;
use crate::types::{LeaderEpoch, Offset, PartitionIndex};

const GROUP: &str = "g";
const DAY: i64 = 24 * 60 * 60 * 1000;

/// A shard, and what was written to its log.
struct Bench {
    world: World,
    shard: Shard,
    log: Vec<Logged>,
}

#[derive(Clone, Debug)]
enum Logged {
    Plain(Record),
    Pending(ProducerId, Record),
    Marker(ProducerId, bool),
}

impl Logged {
    fn replay(&self, shard: &mut Shard) {
        match self {
            Self::Plain(record) => shard.apply(record),
            Self::Pending(producer, record) => shard.apply_pending(*producer, record),
            Self::Marker(producer, commit) => shard.end_transaction(*producer, *commit),
        }
    }
}

impl Bench {
    fn new() -> Self {
        let mut world = World::new();
        world.topic("t", 4);
        world.topic("u", 4);
        Self { world, shard: Shard::default(), log: Vec::new() }
    }

    fn turn<T>(&mut self, op: impl FnOnce(&mut Shard, &mut Turn<'_>) -> T) -> T {
        let mut turn = self.world.turn();
        let result = op(&mut self.shard, &mut turn);
        let logged = |record| match turn.transaction {
            None => Logged::Plain(record),
            Some((producer, _)) => Logged::Pending(producer, record),
        };
        self.log.extend(turn.records.into_iter().map(logged));
        result
    }

    fn replayed(&self) -> Shard {
        let mut shard = Shard::default();
        self.log.iter().for_each(|logged| logged.replay(&mut shard));
        shard
    }

    fn restart(&mut self) {
        self.world.timers = crate::group::timers::Timers::default();
        self.shard = self.replayed();
        self.turn(Shard::loaded);
    }

    fn advance(&mut self, ms: i64) {
        self.world.advance(ms);
        self.turn(Shard::tick);
    }

    fn commit(
        &mut self,
        generation: i32,
        member: &str,
        topic: &str,
        partition: i32,
        offset: i64,
    ) -> Result<(), ErrorCode> {
        let commit = Commit {
            group: GROUP.into(),
            member_id: member.to_owned(),
            instance_id: None,
            generation,
            retention_ms: None,
            partitions: vec![self.partition(topic, partition, offset, "")],
        };
        let codes = self.turn(|shard, turn| shard.commit(turn, 9, &commit))?;
        if codes[0] == ErrorCode::NONE { Ok(()) } else { Err(codes[0]) }
    }

    fn partition(&self, topic: &str, partition: i32, offset: i64, metadata: &str) -> CommitPartition {
        CommitPartition {
            topic: topic.into(),
            topic_id: self.world.image.topic(topic).unwrap().id,
            partition: PartitionIndex(partition),
            offset: Offset(offset),
            leader_epoch: LeaderEpoch(0),
            metadata: metadata.into(),
        }
    }

    /// All offsets of the group.
    fn committed(&mut self) -> BTreeMap<(String, i32), i64> {
        let reader = OffsetReader { group: GROUP, member_id: None, member_epoch: -1, require_stable: false };
        let topics = self.turn(|shard, turn| shard.fetch_all(turn, &reader)).unwrap();
        let of_topic = |topic: FetchedTopic| {
            let name = topic.name.to_string();
            let offset = |offset: Result<Option<CommittedOffset>, ErrorCode>| offset.unwrap().unwrap().offset.0;
            topic.partitions.into_iter().map(move |(index, known)| ((name.clone(), index.0), offset(known)))
        };
        topics.into_iter().flat_map(of_topic).collect()
    }

    fn join(&mut self) -> i16 {
        let client = Client { id: "c".to_owned(), host: "/h".to_owned(), api_version: 3 };
        let protocol = JoinGroupRequestProtocol::default().with_name(StrBytes::from_static_str("range"));
        let request = JoinGroupRequest::default()
            .with_group_id(WireGroupId(StrBytes::from_static_str(GROUP)))
            .with_session_timeout_ms(6000)
            .with_rebalance_timeout_ms(6000)
            .with_protocol_type(StrBytes::from_static_str("consumer"))
            .with_protocols(vec![protocol]);
        self.turn(|shard, turn| shard.join(turn, &client, &request)).map_or(0, |answer| answer.error_code)
    }

    fn heartbeat(&mut self, epoch: i32) -> Result<ConsumerGroupHeartbeatResponse, Refusal> {
        let client = Client { id: "c".to_owned(), host: "/h".to_owned(), api_version: 1 };
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(WireGroupId(StrBytes::from_static_str(GROUP)))
            .with_member_id(StrBytes::from_static_str("m"))
            .with_member_epoch(epoch)
            .with_rebalance_timeout_ms(6000)
            .with_subscribed_topic_names(Some(vec![TopicName(StrBytes::from_static_str("t"))]))
            .with_topic_partitions((epoch == 0).then(Vec::new));
        self.turn(|shard, turn| shard.consumer_heartbeat(turn, &client, &request))
    }

    fn kind(&self) -> Option<(&'static str, String)> {
        self.shard.list().into_iter().next().map(|listed| (listed.kind, listed.state))
    }
}

fn offsets(values: &[(&str, i32, i64)]) -> BTreeMap<(String, i32), i64> {
    values.iter().map(|(topic, partition, offset)| (((*topic).to_owned(), *partition), *offset)).collect()
}

#[test]
fn a_client_without_membership_makes_a_simple_group_that_a_restart_finds_again() {
    let mut bench = Bench::new();
    bench.commit(-1, "", "t", 0, 5).unwrap();
    bench.commit(-1, "", "t", 0, 3).unwrap();
    bench.commit(-1, "", "u", 1, 7).unwrap();
    for _ in 0..2 {
        assert_eq!(bench.committed(), offsets(&[("t", 0, 3), ("u", 1, 7)]));
        assert_eq!(bench.kind(), Some(("classic", "Empty".to_owned())));
        bench.restart();
    }
}

#[test]
fn commits_of_members_of_no_group_are_refused_as_their_version_knows() {
    let mut bench = Bench::new();
    assert_eq!(bench.commit(3, "m", "t", 0, 5), Err(ErrorCode::GROUP_ID_NOT_FOUND));
    let commit = Commit {
        group: GROUP.into(),
        member_id: "m".to_owned(),
        instance_id: None,
        generation: 3,
        retention_ms: None,
        partitions: vec![bench.partition("t", 0, 5, "")],
    };
    assert_eq!(bench.turn(|shard, turn| shard.commit(turn, 8, &commit)), Err(ErrorCode::ILLEGAL_GENERATION));
    assert!(bench.log.is_empty());
}

#[test]
fn too_long_metadata_is_refused_for_its_partition_alone() {
    let mut bench = Bench::new();
    let commit = Commit {
        group: GROUP.into(),
        member_id: String::new(),
        instance_id: None,
        generation: -1,
        retention_ms: None,
        partitions: vec![
            bench.partition("t", 0, 1, &"x".repeat(4096)),
            bench.partition("t", 1, 2, &"x".repeat(4097)),
            // Two UTF-16 units each, four bytes.
            bench.partition("t", 2, 3, &"😀".repeat(2048)),
            bench.partition("t", 3, 4, &"😀".repeat(2049)),
        ],
    };
    let codes = bench.turn(|shard, turn| shard.commit(turn, 9, &commit)).unwrap();
    let large = ErrorCode::OFFSET_METADATA_TOO_LARGE;
    assert_eq!(codes, [ErrorCode::NONE, large, ErrorCode::NONE, large]);
    assert_eq!(bench.committed(), offsets(&[("t", 0, 1), ("t", 2, 3)]));
}

#[test]
fn a_simple_group_goes_with_its_last_offset() {
    let mut bench = Bench::new();
    bench.commit(-1, "", "t", 0, 5).unwrap();
    bench.advance(DAY);
    bench.commit(-1, "", "u", 0, 6).unwrap();
    bench.advance(6 * DAY - 1);
    bench.turn(Shard::expire_offsets);
    assert_eq!(bench.committed(), offsets(&[("t", 0, 5), ("u", 0, 6)]));
    bench.advance(1);
    bench.turn(Shard::expire_offsets);
    assert_eq!(bench.committed(), offsets(&[("u", 0, 6)]));
    bench.advance(DAY);
    bench.turn(Shard::expire_offsets);
    assert_eq!(bench.kind(), None);
    bench.restart();
    assert_eq!(bench.kind(), None);
}

#[test]
fn an_empty_group_takes_the_protocol_of_whoever_comes_next_and_keeps_its_offsets() {
    let mut bench = Bench::new();
    // Otherwise a group with members takes those of both protocols.
    bench.world.config.migration = crate::group::config::MigrationPolicy::Disabled;
    bench.commit(-1, "", "t", 0, 5).unwrap();
    let joined = bench.heartbeat(0).unwrap();
    assert_eq!(bench.kind(), Some(("consumer", "Stable".to_owned())));
    assert_ne!(bench.join(), 0, "its subscription cannot be read");
    bench.restart();
    assert_eq!(bench.kind(), Some(("consumer", "Stable".to_owned())));
    assert!(bench.heartbeat(joined.member_epoch).is_ok());
    bench.heartbeat(-1).unwrap();
    assert_eq!(bench.kind(), Some(("consumer", "Empty".to_owned())));
    assert_eq!(bench.join(), 0);
    assert_eq!(bench.kind().unwrap().0, "classic");
    assert_eq!(bench.committed(), offsets(&[("t", 0, 5)]));
    bench.restart();
    assert_eq!(bench.kind(), Some(("classic", "Empty".to_owned())), "members that never synced are forgotten");
    assert_eq!(bench.committed(), offsets(&[("t", 0, 5)]));
}

#[test]
fn a_refused_heartbeat_leaves_everything_as_it_was() {
    let mut bench = Bench::new();
    assert_eq!(bench.heartbeat(4).unwrap_err().code, ErrorCode::GROUP_ID_NOT_FOUND);
    bench.world.config.consumer_max_size = 0;
    bench.commit(-1, "", "t", 0, 5).unwrap();
    let written = bench.log.len();
    assert_eq!(bench.heartbeat(0).unwrap_err().code, ErrorCode::GROUP_MAX_SIZE_REACHED);
    assert_eq!((bench.kind(), bench.log.len()), (Some(("classic", "Empty".to_owned())), written));
}

#[test]
fn groups_with_members_are_not_deleted_and_their_topics_offsets_neither() {
    let mut bench = Bench::new();
    let deletion = |bench: &mut Bench, topic: &str| {
        bench.turn(|shard, turn| {
            let mut deletion = shard.delete_offsets(GROUP)?;
            Ok(deletion.delete(turn, topic, PartitionIndex(0)))
        })
    };
    assert_eq!(deletion(&mut bench, "t"), Err(ErrorCode::GROUP_ID_NOT_FOUND));
    assert_eq!(bench.turn(|shard, turn| shard.delete(turn, GROUP)), Err(ErrorCode::GROUP_ID_NOT_FOUND));
    bench.commit(-1, "", "t", 0, 5).unwrap();
    bench.commit(-1, "", "u", 0, 6).unwrap();
    bench.heartbeat(0).unwrap();
    assert_eq!(bench.turn(|shard, turn| shard.delete(turn, GROUP)), Err(ErrorCode::NON_EMPTY_GROUP));
    assert_eq!(deletion(&mut bench, "t"), Ok(ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC));
    assert_eq!(deletion(&mut bench, "u"), Ok(ErrorCode::NONE));
    bench.heartbeat(-1).unwrap();
    assert_eq!(bench.committed(), offsets(&[("t", 0, 5)]));
    assert_eq!(bench.turn(|shard, turn| shard.delete(turn, GROUP)), Ok(()));
    assert_eq!((bench.kind(), bench.committed()), (None, BTreeMap::new()));
    assert_eq!(bench.world.timers, crate::group::timers::Timers::default());
    bench.restart();
    assert_eq!((bench.kind(), bench.committed()), (None, BTreeMap::new()));
}

#[derive(Clone, Debug)]
enum Step {
    Commit(usize, i32, i64),
    Join,
    Leave,
    Expire(i64),
    DeleteGroup,
    DeleteOffset(usize, i32),
    Restart,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0_usize..2, 0_i32..4, 0_i64..100).prop_map(|(topic, index, offset)| Step::Commit(topic, index, offset)),
        2 => Just(Step::Join),
        2 => Just(Step::Leave),
        2 => (0_i64..8).prop_map(|days| Step::Expire(days * DAY)),
        1 => Just(Step::DeleteGroup),
        1 => (0_usize..2, 0_i32..4).prop_map(|(topic, index)| Step::DeleteOffset(topic, index)),
        2 => Just(Step::Restart),
    ]
}

proptest! {
    /// A committed offset is lost or moved by a client's own commit or deletion, or by expiry, and by nothing else.
    #[test]
    fn offsets_are_what_was_committed(steps in proptest::collection::vec(step(), 1..60)) {
        const TOPICS: [&str; 2] = ["t", "u"];
        let mut bench = Bench::new();
        let mut model: BTreeMap<(String, i32), (i64, i64)> = BTreeMap::new();
        // The epoch of the member of the consumer protocol, while there is one.
        let mut member: Option<i32> = None;
        for step in steps {
            match step {
                Step::Commit(topic, index, offset) => {
                    let (generation, id) = member.map_or((-1, ""), |epoch| (epoch, "m"));
                    bench.commit(generation, id, TOPICS[topic], index, offset).unwrap();
                    model.insert((TOPICS[topic].to_owned(), index), (offset, bench.world.now.wall.0));
                }
                Step::Join if member.is_none() => member = Some(bench.heartbeat(0).unwrap().member_epoch),
                Step::Leave if member.is_some() => {
                    bench.heartbeat(-1).unwrap();
                    member = None;
                }
                Step::Join | Step::Leave => {}
                Step::Expire(ms) => {
                    bench.advance(ms);
                    if ms > 0 {
                        // Its session has ended.
                        member = None;
                    }
                    bench.turn(Shard::expire_offsets);
                    let now = bench.world.now.wall.0;
                    let is_kept = |topic: &str, at: i64| now - at < 7 * DAY || (member.is_some() && topic == "t");
                    model.retain(|(topic, _), (_, at)| is_kept(topic, *at));
                }
                Step::DeleteGroup => {
                    let deleted = bench.turn(|shard, turn| shard.delete(turn, GROUP)).is_ok();
                    prop_assert!(!(deleted && member.is_some()));
                    if deleted {
                        model.clear();
                    }
                }
                Step::DeleteOffset(topic, index) => {
                    let code = bench.turn(|shard, turn| {
                        let deletion = shard.delete_offsets(GROUP);
                        deletion.map(|mut deletion| deletion.delete(turn, TOPICS[topic], PartitionIndex(index)))
                    });
                    if code == Ok(ErrorCode::NONE) {
                        model.remove(&(TOPICS[topic].to_owned(), index));
                    }
                }
                Step::Restart => bench.restart(),
            }
            let expected = model.iter().map(|(key, (offset, _))| (key.clone(), *offset)).collect();
            prop_assert_eq!(bench.committed(), expected);
        }
    }
}
