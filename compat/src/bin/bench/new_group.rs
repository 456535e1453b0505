//! The first record of a group that nobody knows yet, asked for as the client libraries ask, without their timers: every
//! request follows the answer before it.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kafka_protocol::messages::fetch_request::{FetchPartition, FetchTopic};
use kafka_protocol::messages::list_offsets_request::{ListOffsetsPartition, ListOffsetsTopic};
use kafka_protocol::messages::offset_fetch_request::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopics as FetchedTopic,
};
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, FetchRequest, GroupId, JoinGroupResponse, ListOffsetsRequest, OffsetFetchRequest,
    TopicName,
};
use kafka_protocol::protocol::StrBytes;

use crate::groups::{self, CoordinatorOf, Protocol};
use crate::members::{self, Connection};

const MEMBER_ID_REQUIRED: i16 = 79;
const EARLIEST: i64 = -2;
/// How long a consumer waits until it asks again what it was assigned, when it was assigned nothing yet.
const BEAT: Duration = Duration::from_millis(1);

/// Milliseconds from connecting until the first record of partition 0 is there.
pub fn first_record(address: SocketAddr, topic: &str, group: &str, protocol: Protocol) -> io::Result<f64> {
    groups::runtime()?.block_on(groups::within_patience("a first record", async {
        let started = Instant::now();
        let mut connection = Connection::open(address).await?;
        connection.call(4, &groups::find_coordinator(CoordinatorOf::Groups)).await?;
        match protocol {
            Protocol::Classic => join_classic(&mut connection, group).await?,
            Protocol::Consumer => join_consumer(&mut connection, group, topic).await?,
        }
        fetch(&mut connection, group, topic).await?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    }))?
}

/// Joins as its only member, and so its leader.
async fn join_classic(connection: &mut Connection, group: &str) -> io::Result<()> {
    let mut answer = JoinGroupResponse::default().with_error_code(MEMBER_ID_REQUIRED);
    while answer.error_code == MEMBER_ID_REQUIRED {
        answer = connection.call(5, &members::join(group, &answer.member_id)).await?;
    }
    expect_none("join", answer.error_code)?;
    let synced = connection.call(3, &members::sync(group, &answer)).await?;
    expect_none("sync", synced.error_code)
}

/// Joins, and asks on until partitions are assigned.
async fn join_consumer(connection: &mut Connection, group: &str, topic: &str) -> io::Result<()> {
    let mut request = members::first_heartbeat(group, "member", topic);
    loop {
        let answer = connection.call(1, &request).await?;
        expect_none("heartbeat", answer.error_code)?;
        if answer.assignment.is_some_and(|assignment| !assignment.topic_partitions.is_empty()) {
            return Ok(());
        }
        request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(request.group_id)
            .with_member_id(request.member_id)
            .with_member_epoch(answer.member_epoch)
            .with_rebalance_timeout_ms(-1);
        // tidy: may sleep: nothing tells when the coordinator of another process has assigned
        tokio::time::sleep(BEAT).await;
    }
}

/// Asks what is committed, which is nothing, then where the partition begins, and reads there.
async fn fetch(connection: &mut Connection, group: &str, topic: &str) -> io::Result<()> {
    let name = TopicName(StrBytes::from_string(topic.to_owned()));
    let committed = OffsetFetchRequestGroup::default()
        .with_group_id(GroupId(StrBytes::from_string(group.to_owned())))
        .with_topics(Some(vec![FetchedTopic::default().with_name(name.clone()).with_partition_indexes(vec![0])]));
    connection.call(8, &OffsetFetchRequest::default().with_groups(vec![committed])).await?;
    let first = ListOffsetsTopic::default()
        .with_name(name.clone())
        .with_partitions(vec![ListOffsetsPartition::default().with_current_leader_epoch(-1).with_timestamp(EARLIEST)]);
    let request = ListOffsetsRequest::default().with_replica_id((-1).into()).with_topics(vec![first]);
    let answer = connection.call(7, &request).await?;
    let start = answer.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.offset).next();
    let partition = FetchPartition::default()
        .with_current_leader_epoch(-1)
        .with_fetch_offset(start.unwrap_or(0))
        .with_partition_max_bytes(1 << 20);
    let request = FetchRequest::default()
        .with_replica_id((-1).into())
        .with_max_wait_ms(500)
        .with_min_bytes(1)
        .with_max_bytes(1 << 20)
        .with_session_epoch(-1)
        .with_topics(vec![FetchTopic::default().with_topic(name).with_partitions(vec![partition])]);
    let answer = connection.call(11, &request).await?;
    let mut partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
    let has_records = partitions.any(|partition| partition.records.as_ref().is_some_and(|records| !records.is_empty()));
    if has_records { Ok(()) } else { Err(io::Error::other("a fetch without records")) }
}

fn expect_none(what: &str, code: i16) -> io::Result<()> {
    if code == 0 { Ok(()) } else { Err(io::Error::other(format!("{what}: error code {code}"))) }
}
