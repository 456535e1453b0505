//! Requests that a group refuses, with Kafka's codes, and crowds of members that come to nothing.

use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::offset_delete_request::{OffsetDeleteRequestPartition, OffsetDeleteRequestTopic};
use kafka_protocol::messages::offset_fetch_request::OffsetFetchRequestGroup;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, DeleteGroupsRequest, DescribeGroupsRequest,
    FindCoordinatorRequest, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    OffsetCommitRequest, OffsetDeleteRequest, OffsetFetchRequest, SyncGroupRequest, SyncGroupResponse,
};

use crate::group::{group_id, text, topic_name, wanted_offsets};
use crate::group_crash::describe;
use crate::groups::quick;
use crate::harness::{against_kafka, broker, fresh, own_broker, topic};
use crate::wire::Connection;

const NONE: i16 = 0;
const UNKNOWN_TOPIC_OR_PARTITION: i16 = 3;
const OFFSET_METADATA_TOO_LARGE: i16 = 12;
const ILLEGAL_GENERATION: i16 = 22;
const INCONSISTENT_GROUP_PROTOCOL: i16 = 23;
const INVALID_GROUP_ID: i16 = 24;
const UNKNOWN_MEMBER_ID: i16 = 25;
const INVALID_SESSION_TIMEOUT: i16 = 26;
const INVALID_REQUEST: i16 = 42;
const NON_EMPTY_GROUP: i16 = 68;
const GROUP_ID_NOT_FOUND: i16 = 69;
const MEMBER_ID_REQUIRED: i16 = 79;
const GROUP_MAX_SIZE_REACHED: i16 = 81;
const FENCED_INSTANCE_ID: i16 = 82;
const GROUP_SUBSCRIBED_TO_TOPIC: i16 = 86;
const FENCED_MEMBER_EPOCH: i16 = 110;
const UNRELEASED_INSTANCE_ID: i16 = 111;
const UNSUPPORTED_ASSIGNOR: i16 = 112;
const STALE_MEMBER_EPOCH: i16 = 113;

/// A connection that asks for one group.
pub struct Asker {
    pub connection: Connection,
    group: String,
}

impl Asker {
    /// With a coordinator that is ready, which Kafka's is not at once.
    pub fn new(bootstrap: &str, group: &str) -> Self {
        let mut asker = Self { connection: Connection::open(bootstrap), group: group.to_owned() };
        let find = FindCoordinatorRequest::default().with_coordinator_keys(vec![text(group)]);
        while asker.connection.call(4, &find).coordinators[0].error_code != NONE
            || matches!(asker.fetch(None, -1), 14..=16)
        {
            assert!(against_kafka(), "the coordinator is not there");
        }
        asker
    }

    pub fn join(&mut self, member: &str, instance: Option<&str>) -> JoinGroupResponse {
        self.join_with(member, instance, |request| request)
    }

    fn join_with(
        &mut self,
        member: &str,
        instance: Option<&str>,
        change: impl FnOnce(JoinGroupRequest) -> JoinGroupRequest,
    ) -> JoinGroupResponse {
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_member_id(text(member))
            .with_group_instance_id(instance.map(text))
            .with_session_timeout_ms(30_000)
            .with_rebalance_timeout_ms(30_000)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol("range")]);
        self.connection.call(9, &change(request))
    }

    /// A member that is alone in its group, and stable; its id and generation.
    pub fn alone(&mut self, instance: Option<&str>) -> (String, i32) {
        let mut joined = self.join("", instance);
        if instance.is_none() {
            assert_eq!(joined.error_code, MEMBER_ID_REQUIRED);
            let member = joined.member_id.to_string();
            joined = self.join(&member, None);
        }
        assert_eq!(joined.error_code, NONE);
        let (member, generation) = (joined.member_id.to_string(), joined.generation_id);
        assert_eq!(self.sync(&member, instance, generation, b"all").error_code, NONE);
        (member, generation)
    }

    fn sync(&mut self, member: &str, instance: Option<&str>, generation: i32, all: &[u8]) -> SyncGroupResponse {
        self.sync_as(member, instance, generation, ("consumer", "range"), all)
    }

    fn sync_as(
        &mut self,
        member: &str,
        instance: Option<&str>,
        generation: i32,
        (kind, protocol): (&str, &str),
        all: &[u8],
    ) -> SyncGroupResponse {
        let assignment = SyncGroupRequestAssignment::default()
            .with_member_id(text(member))
            .with_assignment(bytes::Bytes::copy_from_slice(all));
        let request = SyncGroupRequest::default()
            .with_group_id(group_id(&self.group))
            .with_member_id(text(member))
            .with_group_instance_id(instance.map(text))
            .with_generation_id(generation)
            .with_protocol_type(Some(text(kind)))
            .with_protocol_name(Some(text(protocol)))
            .with_assignments(vec![assignment]);
        self.connection.call(5, &request)
    }

    fn heartbeat(&mut self, member: &str, instance: Option<&str>, generation: i32) -> i16 {
        let request = HeartbeatRequest::default()
            .with_group_id(group_id(&self.group))
            .with_member_id(text(member))
            .with_group_instance_id(instance.map(text))
            .with_generation_id(generation);
        self.connection.call(4, &request).error_code
    }

    /// The code of the whole answer, and the member's.
    fn leave(&mut self, member: &str, instance: Option<&str>) -> (i16, Option<i16>) {
        let member = MemberIdentity::default().with_member_id(text(member)).with_group_instance_id(instance.map(text));
        let request = LeaveGroupRequest::default().with_group_id(group_id(&self.group)).with_members(vec![member]);
        let answer = self.connection.call(5, &request);
        (answer.error_code, answer.members.first().map(|member| member.error_code))
    }

    fn commit(&mut self, version: i16, topic: &str, (member, generation): (&str, i32)) -> i16 {
        self.commit_with(version, topic, &[0], (member, None, generation), "")[0]
    }

    fn commit_with(
        &mut self,
        version: i16,
        topic: &str,
        partitions: &[i32],
        (member, instance, generation): (&str, Option<&str>, i32),
        metadata: &str,
    ) -> Vec<i16> {
        let partition = |index: &i32| {
            OffsetCommitRequestPartition::default()
                .with_partition_index(*index)
                .with_committed_offset(7)
                .with_committed_metadata(Some(text(metadata)))
        };
        let topic = OffsetCommitRequestTopic::default()
            .with_name(topic_name(topic))
            .with_partitions(partitions.iter().map(partition).collect());
        let request = OffsetCommitRequest::default()
            .with_group_id(group_id(&self.group))
            .with_member_id(text(member))
            .with_group_instance_id(instance.map(text))
            .with_generation_id_or_member_epoch(generation)
            .with_topics(vec![topic]);
        let mut answer = self.connection.call(version, &request);
        let mut partitions = answer.topics.remove(0).partitions;
        partitions.sort_by_key(|partition| partition.partition_index);
        partitions.iter().map(|partition| partition.error_code).collect()
    }

    /// The code of an OffsetFetch.
    fn fetch(&mut self, member: Option<&str>, epoch: i32) -> i16 {
        let group = OffsetFetchRequestGroup::default()
            .with_group_id(group_id(&self.group))
            .with_member_id(member.map(text))
            .with_member_epoch(epoch)
            .with_topics(Some(wanted_offsets("nowhere", &[0])));
        self.connection.call(9, &OffsetFetchRequest::default().with_groups(vec![group])).groups[0].error_code
    }

    /// The code of all, and that of the partition.
    fn delete_offset(&mut self, topic: &str) -> (i16, Option<i16>) {
        self.delete_offset_of(topic, 0)
    }

    fn delete_offset_of(&mut self, topic: &str, index: i32) -> (i16, Option<i16>) {
        let partition = OffsetDeleteRequestPartition::default().with_partition_index(index);
        let topic = OffsetDeleteRequestTopic::default().with_name(topic_name(topic)).with_partitions(vec![partition]);
        let request = OffsetDeleteRequest::default().with_group_id(group_id(&self.group)).with_topics(vec![topic]);
        let answer = self.connection.call(0, &request);
        (answer.error_code, answer.topics.first().map(|topic| topic.partitions[0].error_code))
    }

    fn delete(&mut self) -> i16 {
        let request = DeleteGroupsRequest::default().with_groups_names(vec![group_id(&self.group)]);
        self.connection.call(2, &request).results[0].error_code
    }

    /// A heartbeat of the consumer protocol; with epoch 0 it joins.
    fn beat(&mut self, member: &str, epoch: i32, topic: &str) -> ConsumerGroupHeartbeatResponse {
        self.beat_with(member, epoch, topic, |request| request)
    }

    fn beat_with(
        &mut self,
        member: &str,
        epoch: i32,
        topic: &str,
        change: impl FnOnce(ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatRequest,
    ) -> ConsumerGroupHeartbeatResponse {
        let request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(group_id(&self.group))
            .with_member_id(text(member))
            .with_member_epoch(epoch)
            .with_rebalance_timeout_ms(10_000)
            .with_subscribed_topic_names(Some(vec![topic_name(topic)]))
            .with_topic_partitions(Some(Vec::new()));
        self.connection.call(1, &change(request))
    }
}

fn protocol(name: &str) -> JoinGroupRequestProtocol {
    JoinGroupRequestProtocol::default().with_name(text(name))
}

#[test]
fn a_classic_group_knows_its_members_and_their_generation() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "generations", 1, &[]);
    let mut asker = Asker::new(&bootstrap, &fresh("generations"));
    assert_eq!(asker.heartbeat("nobody", None, 1), UNKNOWN_MEMBER_ID);
    assert_eq!(asker.sync("nobody", None, 1, b"").error_code, UNKNOWN_MEMBER_ID);
    assert_eq!(asker.leave("nobody", None), (NONE, Some(UNKNOWN_MEMBER_ID)));
    assert_eq!(asker.join("nobody", None).error_code, UNKNOWN_MEMBER_ID);
    assert_eq!(asker.commit(8, &topic, ("nobody", 1)), ILLEGAL_GENERATION);
    assert_eq!(asker.commit(9, &topic, ("nobody", 1)), GROUP_ID_NOT_FOUND);
    assert_eq!(asker.delete_offset(&topic).0, GROUP_ID_NOT_FOUND);
    assert_eq!(asker.delete(), GROUP_ID_NOT_FOUND);

    let (member, generation) = asker.alone(None);
    assert_eq!(asker.heartbeat("nobody", None, generation), UNKNOWN_MEMBER_ID);
    assert_eq!(asker.sync("nobody", None, generation, b"").error_code, UNKNOWN_MEMBER_ID);
    assert_eq!(asker.join("nobody", None).error_code, UNKNOWN_MEMBER_ID);
    assert_eq!(asker.commit(9, &topic, ("nobody", generation)), UNKNOWN_MEMBER_ID);
    assert_eq!(asker.commit(9, &topic, ("", -1)), UNKNOWN_MEMBER_ID, "without membership, in a group with members");
    for wrong in [generation - 1, generation + 1] {
        assert_eq!(asker.heartbeat(&member, None, wrong), ILLEGAL_GENERATION);
        assert_eq!(asker.sync(&member, None, wrong, b"").error_code, ILLEGAL_GENERATION);
        assert_eq!(asker.commit(9, &topic, (&member, wrong)), ILLEGAL_GENERATION);
    }
    assert_eq!(asker.heartbeat(&member, None, generation), NONE);
    assert_eq!(asker.commit(9, &topic, (&member, generation)), NONE);
    assert_eq!(asker.delete(), NON_EMPTY_GROUP);
    assert_eq!(asker.leave(&member, None), (NONE, Some(NONE)));
    assert_eq!(asker.commit(9, &topic, (&member, generation)), UNKNOWN_MEMBER_ID);
    assert_eq!(asker.commit(9, &topic, ("", -1)), NONE, "without membership, in an empty group");
    assert_eq!(asker.delete(), NONE);
    assert_eq!(asker.delete(), GROUP_ID_NOT_FOUND);
}

#[test]
fn an_older_instance_is_fenced_everywhere() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "instances", 1, &[]);
    let mut asker = Asker::new(&bootstrap, &fresh("instances"));
    let one = Some("one");
    let (older, generation) = asker.alone(one);
    let joined = asker.join("", one);
    let newer = joined.member_id.to_string();
    assert_eq!((joined.error_code, joined.generation_id), (NONE, generation), "no rebalance");
    assert_ne!(newer, older);
    assert_eq!(asker.sync(&newer, one, generation, b"").assignment, &b"all"[..]);
    assert_eq!(asker.heartbeat(&older, one, generation), FENCED_INSTANCE_ID);
    assert_eq!(asker.sync(&older, one, generation, b"").error_code, FENCED_INSTANCE_ID);
    assert_eq!(asker.join(&older, one).error_code, FENCED_INSTANCE_ID);
    assert_eq!(asker.commit_with(9, &topic, &[0], (&older, one, generation), ""), [FENCED_INSTANCE_ID]);
    assert_eq!(asker.leave(&older, one), (NONE, Some(FENCED_INSTANCE_ID)));
    assert_eq!(asker.heartbeat(&newer, Some("two"), generation), UNKNOWN_MEMBER_ID);
    assert_eq!(asker.heartbeat(&newer, one, generation), NONE);
    assert_eq!(asker.leave("", one), (NONE, Some(NONE)), "an administrator needs no member id");
}

#[test]
fn members_speak_one_protocol() {
    let broker = broker();
    let mut asker = Asker::new(&broker.bootstrap(), &fresh("protocols"));
    let refused = |answer: JoinGroupResponse| assert_eq!(answer.error_code, INCONSISTENT_GROUP_PROTOCOL);
    refused(asker.join_with("", None, |request| request.with_protocols(Vec::new())));
    refused(asker.join_with("", None, |request| request.with_protocol_type(text(""))));
    let (member, generation) = asker.alone(None);
    for instance in [None, Some("one")] {
        refused(asker.join_with("", instance, |request| request.with_protocol_type(text("connect"))));
        refused(asker.join_with("", instance, |request| request.with_protocols(vec![protocol("sticky")])));
        refused(asker.join_with("", instance, |request| request.with_protocols(Vec::new())));
    }
    for said in [("connect", "range"), ("consumer", "sticky")] {
        let answer = asker.sync_as(&member, None, generation, said, b"");
        assert_eq!(answer.error_code, INCONSISTENT_GROUP_PROTOCOL, "{said:?}");
    }
    assert_eq!(asker.heartbeat(&member, None, generation), NONE);
    // A member of the other protocol may come (KIP-848), but not where the members cannot be read as consumers.
    let answer = asker.beat("member-aaaaaaaaaaaaaaaaaaaa", 0, "t");
    assert_eq!(answer.error_code, GROUP_ID_NOT_FOUND, "{:?}", answer.error_message);
}

#[test]
fn a_session_is_within_the_brokers_bounds() {
    let broker = broker();
    let mut asker = Asker::new(&broker.bootstrap(), &fresh("sessions"));
    for timeout in [i32::MIN, -1, 0, 5_999, 1_800_001, i32::MAX] {
        let answer = asker.join_with("", None, |request| request.with_session_timeout_ms(timeout));
        assert_eq!(answer.error_code, INVALID_SESSION_TIMEOUT, "{timeout}");
    }
    for timeout in [6_000, 1_800_000] {
        let answer = asker.join_with("", None, |request| request.with_session_timeout_ms(timeout));
        assert_eq!(answer.error_code, MEMBER_ID_REQUIRED, "{timeout}");
    }
}

#[test]
fn commits_name_what_is_there_and_no_more_than_they_may() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "commits", 2, &[]);
    let mut asker = Asker::new(&bootstrap, &fresh("commits"));
    let simple = ("", None, -1);
    assert_eq!(asker.commit_with(9, &topic, &[0], simple, &"x".repeat(4096)), [NONE]);
    assert_eq!(asker.commit_with(9, &topic, &[0], simple, &"x".repeat(4097)), [OFFSET_METADATA_TOO_LARGE]);
    assert_eq!(asker.commit_with(9, &topic, &[0], simple, &"ü".repeat(4096)), [NONE], "characters, not bytes");
    assert_eq!(asker.commit_with(9, &fresh("nowhere"), &[0], simple, ""), [UNKNOWN_TOPIC_OR_PARTITION]);
    let codes = asker.commit_with(9, &topic, &[0, 1, 2], simple, "");
    assert_eq!(codes, [NONE, NONE, UNKNOWN_TOPIC_OR_PARTITION]);
    // What is not there is said without a look at the member, or at the group.
    assert_eq!(asker.commit_with(9, &topic, &[5], ("nobody", None, 3), ""), [UNKNOWN_TOPIC_OR_PARTITION]);
    let codes = asker.commit_with(9, &topic, &[1, 2], ("nobody", None, 3), "");
    assert_eq!(codes, [UNKNOWN_MEMBER_ID, UNKNOWN_TOPIC_OR_PARTITION]);
    assert_eq!(asker.delete_offset_of(&topic, 5), (NONE, Some(UNKNOWN_TOPIC_OR_PARTITION)));
    assert_eq!(asker.delete_offset_of(&fresh("nowhere"), 0), (NONE, Some(UNKNOWN_TOPIC_OR_PARTITION)));
    assert_eq!(asker.delete_offset_of(&topic, 0), (NONE, Some(NONE)));
    let mut missing = Asker::new(&bootstrap, &fresh("missing"));
    assert_eq!(missing.delete_offset_of(&topic, 5), (GROUP_ID_NOT_FOUND, None), "a deletion does ask the group");
    assert_eq!(missing.delete_offset_of(&fresh("nowhere"), 5), (GROUP_ID_NOT_FOUND, None));
    // What the leader assigns is not the broker's business.
    let (_, generation) = asker.alone(Some("one"));
    let joined = asker.join("", Some("one"));
    let unknown = asker.sync(&joined.member_id, Some("one"), generation, b"").assignment;
    assert_eq!(unknown, &b"all"[..]);
}

#[test]
fn a_group_without_a_name() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "nameless", 1, &[]);
    // Kafka's tools may commit for it: that was so before groups had coordinators.
    let mut asker = Asker::new(&bootstrap, "");
    assert_eq!(asker.join("", None).error_code, INVALID_GROUP_ID);
    assert_eq!(asker.sync("member", None, 1, b"").error_code, INVALID_GROUP_ID);
    assert_eq!(asker.heartbeat("member", None, 1), INVALID_GROUP_ID);
    assert_eq!(asker.leave("member", None).0, INVALID_GROUP_ID);
    assert_eq!(asker.delete_offset(&topic).0, INVALID_GROUP_ID);
    assert_eq!(asker.delete(), GROUP_ID_NOT_FOUND);
    assert_eq!(asker.beat("member-aaaaaaaaaaaaaaaaaaaa", 0, &topic).error_code, INVALID_REQUEST);
    assert_eq!(describe(&mut asker.connection, "").error_code, INVALID_GROUP_ID);
    let request = DescribeGroupsRequest::default().with_groups(vec![group_id("")]);
    let described = asker.connection.call(5, &request).groups.remove(0);
    assert_eq!((described.error_code, described.group_state.as_str()), (NONE, "Dead"));
    assert_eq!(asker.fetch(None, -1), NONE);
    assert_eq!(asker.commit(9, &topic, ("", -1)), NONE);
    assert_eq!(asker.delete(), NONE);
}

#[test]
fn a_consumer_group_knows_its_members_and_their_epochs() {
    let broker = broker();
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "epochs", 1, &[]);
    let mut asker = Asker::new(&bootstrap, &fresh("epochs"));
    let (member, nobody) = ("member-aaaaaaaaaaaaaaaaaaaa", "member-bbbbbbbbbbbbbbbbbbbb");
    assert_eq!(asker.beat(member, 3, &topic).error_code, GROUP_ID_NOT_FOUND);
    let bad: [fn(ConsumerGroupHeartbeatRequest) -> ConsumerGroupHeartbeatRequest; 5] = [
        |request| request.with_rebalance_timeout_ms(-1),
        |request| request.with_subscribed_topic_names(None),
        |request| request.with_topic_partitions(None),
        |request| request.with_topic_partitions(Some(vec![TopicPartitions::default()])),
        |request| request.with_instance_id(Some(text(""))),
    ];
    for change in bad {
        assert_eq!(asker.beat_with(member, 0, &topic, change).error_code, INVALID_REQUEST);
    }
    let unknown = |request: ConsumerGroupHeartbeatRequest| request.with_server_assignor(Some(text("sticky")));
    assert_eq!(asker.beat_with(member, 0, &topic, unknown).error_code, UNSUPPORTED_ASSIGNOR);

    let one = |request: ConsumerGroupHeartbeatRequest| request.with_instance_id(Some(text("one")));
    let joined = asker.beat_with(member, 0, &topic, one);
    let epoch = joined.member_epoch;
    assert_eq!((joined.error_code, joined.assignment.unwrap().topic_partitions.len()), (NONE, 1));
    assert_eq!(asker.beat_with(nobody, 0, &topic, one).error_code, UNRELEASED_INSTANCE_ID);
    assert_eq!(asker.beat(nobody, epoch, &topic).error_code, UNKNOWN_MEMBER_ID);
    assert_eq!(asker.beat_with(nobody, epoch, &topic, one).error_code, FENCED_INSTANCE_ID);
    assert_eq!(asker.beat_with(member, epoch + 1, &topic, one).error_code, FENCED_MEMBER_EPOCH);
    for wrong in [epoch - 1, epoch + 1] {
        assert_eq!(asker.commit(9, &topic, (member, wrong)), STALE_MEMBER_EPOCH);
        assert_eq!(asker.fetch(Some(member), wrong), STALE_MEMBER_EPOCH);
    }
    assert_eq!(asker.commit(9, &topic, (nobody, epoch)), UNKNOWN_MEMBER_ID);
    assert_eq!(asker.fetch(Some(nobody), epoch), UNKNOWN_MEMBER_ID);
    assert_eq!(asker.commit(9, &topic, (member, epoch)), NONE);
    assert_eq!(asker.fetch(Some(member), epoch), NONE);
    assert_eq!(asker.delete_offset(&topic), (NONE, Some(GROUP_SUBSCRIBED_TO_TOPIC)));
    assert_eq!(asker.delete(), NON_EMPTY_GROUP);
    assert_eq!(asker.heartbeat(member, None, epoch), UNKNOWN_MEMBER_ID, "it does not speak the classic protocol");
    assert_eq!(asker.beat_with(member, -1, &topic, one).error_code, NONE);
    assert_eq!(asker.delete(), NONE);
}

#[test]
fn a_group_is_no_larger_than_it_may_be() {
    let settings = quick().set("group.max.size", "1").set("group.consumer.max.size", "2");
    let broker = own_broker(settings);
    let bootstrap = broker.bootstrap();
    let topic = topic(&bootstrap, "sizes", 1, &[]);
    let mut asker = Asker::new(&bootstrap, &fresh("consumers"));
    for number in 0..2 {
        assert_eq!(asker.beat(&format!("member-aaaaaaaaaaaaaaaaaaaa{number}"), 0, &topic).error_code, NONE);
    }
    assert_eq!(asker.beat("member-bbbbbbbbbbbbbbbbbbbb", 0, &topic).error_code, GROUP_MAX_SIZE_REACHED);

    let mut asker = Asker::new(&bootstrap, &fresh("classic"));
    asker.alone(Some("one"));
    assert_eq!(asker.join("", None).error_code, GROUP_MAX_SIZE_REACHED);
    assert_eq!(asker.join("", Some("two")).error_code, GROUP_MAX_SIZE_REACHED);
    assert_eq!(asker.join("", Some("one")).error_code, GROUP_MAX_SIZE_REACHED, "without its id it is nobody");
}

#[test]
fn crowds_that_join_and_vanish_leave_the_group_to_others() {
    let mut broker = own_broker(quick());
    let bootstrap = broker.bootstrap();
    let name = fresh("crowds");
    let mut asker = Asker::new(&bootstrap, &name);
    let before = broker.process().unwrap().resident().unwrap();
    let short = |request: JoinGroupRequest| request.with_session_timeout_ms(1_000).with_rebalance_timeout_ms(1_000);
    for number in 0..10_000 {
        // They are given an id and do not come back with it; half of them each for a group of their own.
        asker.group = if number % 2 == 0 { name.clone() } else { fresh("crowd") };
        assert_eq!(asker.join_with("", None, short).error_code, MEMBER_ID_REQUIRED);
    }
    asker.group.clone_from(&name);
    // These do join, and are gone before anybody answers.
    for _ in 0..300 {
        let id = asker.join_with("", None, short).member_id;
        let mut joining = Connection::open(&bootstrap);
        let request = JoinGroupRequest::default()
            .with_group_id(group_id(&name))
            .with_member_id(id)
            .with_protocol_type(text("consumer"))
            .with_protocols(vec![protocol("range").with_metadata(vec![0; 2_000].into())]);
        let request = short(request);
        joining.send(&crate::wire::frame(11, 9, 1, &crate::wire::body(9, &request)));
    }
    let joined = asker.join("", Some("one"));
    assert_eq!(joined.error_code, NONE);
    let mut generation = joined.generation_id;
    // It may have to wait for those who joined with it, once more.
    let member = joined.member_id.to_string();
    while asker.sync(&member, Some("one"), generation, b"all").error_code != NONE
        || asker.heartbeat(&member, Some("one"), generation) != NONE
        || members(&mut asker) > 1
    {
        generation = asker.join(&member, Some("one")).generation_id;
    }
    let after = broker.process().unwrap().resident().unwrap();
    println!("resident: {} KiB before, {} KiB after", before / 1024, after / 1024);
    assert!(against_kafka() || after < before + (64 << 20), "from {before} to {after} bytes");
}

fn members(asker: &mut Asker) -> usize {
    let request = DescribeGroupsRequest::default().with_groups(vec![group_id(&asker.group)]);
    asker.connection.call(5, &request).groups[0].members.len()
}
