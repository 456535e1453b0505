//! Members of groups that answer as fast as they can, without a client library's own waiting: what is measured is the
//! coordinator.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kafka_protocol::messages::consumer_group_heartbeat_request::TopicPartitions;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    ConsumerGroupHeartbeatRequest, GroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, SyncGroupRequest,
    TopicName,
};
use kafka_protocol::protocol::{Request, StrBytes};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::frames;

const REBALANCE_IN_PROGRESS: i16 = 27;
const LARGEST_ANSWER: usize = 16 << 20;

/// One connection, one request at a time.
pub struct Connection {
    stream: TcpStream,
    correlation_id: i32,
}

impl Connection {
    /// Connects.
    pub async fn open(address: SocketAddr) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        Ok(Self { stream, correlation_id: 0 })
    }

    /// Asks and waits for the answer.
    pub async fn call<R: Request>(&mut self, version: i16, request: &R) -> io::Result<R::Response> {
        self.correlation_id += 1;
        let frame = frames::encode(version, self.correlation_id, request)?;
        self.stream.write_all(&frame).await?;
        let length = usize::try_from(self.stream.read_u32().await?).map_err(io::Error::other)?;
        let mut answer = vec![0; length.min(LARGEST_ANSWER)];
        self.stream.read_exact(&mut answer).await?;
        frames::decode::<R>(version, answer.into())
    }
}

/// Who is how far in one group: each member tells the generation (or epoch) that it has come to, and what it holds.
pub struct Progress(watch::Sender<BTreeMap<usize, (i32, usize)>>);

impl Progress {
    /// Of a group without members.
    pub fn new() -> Arc<Self> {
        Arc::new(Self(watch::Sender::new(BTreeMap::new())))
    }

    fn tell(&self, member: usize, generation: i32, held: usize) {
        self.0.send_modify(|members| {
            members.insert(member, (generation, held));
        });
    }

    /// Waits until so many members are of one generation and hold so much together.
    pub async fn settled(&self, members: usize, held: usize) {
        let is_settled = |state: &BTreeMap<usize, (i32, usize)>| {
            let first = state.values().next().map(|(generation, _)| *generation);
            state.len() == members
                && state.values().all(|(generation, _)| Some(*generation) == first)
                && state.values().map(|(_, held)| held).sum::<usize>() == held
        };
        // The sender is here as long as whoever waits.
        let _ = self.0.subscribe().wait_for(is_settled).await;
    }
}

fn text(text: &str) -> StrBytes {
    StrBytes::from_string(text.to_owned())
}

/// A member of the classic protocol, for as long as it is polled. It holds one thing, whatever the leader gives it.
pub async fn classic(
    mut connection: Connection,
    group: String,
    number: usize,
    beat: Duration,
    progress: Arc<Progress>,
) -> io::Result<()> {
    let mut member_id = StrBytes::default();
    loop {
        let joined = connection.call(3, &join(&group, &member_id)).await?;
        member_id = joined.member_id.clone();
        if joined.error_code != 0 {
            continue;
        }
        let synced = connection.call(3, &sync(&group, &joined)).await?;
        if synced.error_code != 0 {
            continue;
        }
        progress.tell(number, joined.generation_id, 1);
        let heartbeat = HeartbeatRequest::default()
            .with_group_id(GroupId(text(&group)))
            .with_generation_id(joined.generation_id)
            .with_member_id(member_id.clone());
        loop {
            let code = connection.call(3, &heartbeat).await?.error_code;
            if code == REBALANCE_IN_PROGRESS {
                break;
            }
            if code != 0 {
                return Err(io::Error::other(format!("heartbeat: error code {code}")));
            }
            // tidy: may sleep: this is the member's heartbeat interval
            tokio::time::sleep(beat).await;
        }
    }
}

/// The request of a member that joins.
pub fn join(group: &str, member_id: &StrBytes) -> JoinGroupRequest {
    let protocol = JoinGroupRequestProtocol::default()
        .with_name(StrBytes::from_static_str("range"))
        // A subscription to nothing, of version 0.
        .with_metadata(Bytes::from_static(&[0, 0, 0, 0, 0, 0, 0xff, 0xff, 0xff, 0xff]));
    JoinGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_session_timeout_ms(60_000)
        .with_rebalance_timeout_ms(60_000)
        .with_member_id(member_id.clone())
        .with_protocol_type(StrBytes::from_static_str("consumer"))
        .with_protocols(vec![protocol])
}

/// The request that follows the answer to a join.
pub fn sync(group: &str, joined: &JoinGroupResponse) -> SyncGroupRequest {
    let assignment = |id: StrBytes| {
        SyncGroupRequestAssignment::default().with_member_id(id).with_assignment(Bytes::from_static(&[0; 10]))
    };
    SyncGroupRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_generation_id(joined.generation_id)
        .with_member_id(joined.member_id.clone())
        .with_assignments(joined.members.iter().map(|member| assignment(member.member_id.clone())).collect())
}

/// The request of a member of the consumer protocol that joins.
pub fn first_heartbeat(group: &str, member_id: &str, topic: &str) -> ConsumerGroupHeartbeatRequest {
    ConsumerGroupHeartbeatRequest::default()
        .with_group_id(GroupId(text(group)))
        .with_member_id(text(member_id))
        .with_rebalance_timeout_ms(60_000)
        .with_subscribed_topic_names(Some(vec![TopicName(text(topic))]))
        .with_topic_partitions(Some(Vec::new()))
}

/// A member of the consumer protocol, for as long as it is polled. It gives up at once what it is to give up.
pub async fn consumer(
    mut connection: Connection,
    group: String,
    number: usize,
    beat: Duration,
    topic: String,
    progress: Arc<Progress>,
) -> io::Result<()> {
    let mut request = first_heartbeat(&group, &format!("member-{number:06}"), &topic);
    let mut held: Vec<TopicPartitions> = Vec::new();
    loop {
        let answer = connection.call(1, &request).await?;
        if answer.error_code != 0 {
            return Err(io::Error::other(format!("heartbeat: error code {}", answer.error_code)));
        }
        if let Some(assignment) = &answer.assignment {
            let given = assignment.topic_partitions.iter().map(|topic| {
                TopicPartitions::default().with_topic_id(topic.topic_id).with_partitions(topic.partitions.clone())
            });
            held = given.collect();
        }
        let changed = answer.assignment.is_some();
        request = ConsumerGroupHeartbeatRequest::default()
            .with_group_id(request.group_id)
            .with_member_id(request.member_id)
            .with_member_epoch(answer.member_epoch)
            .with_rebalance_timeout_ms(-1)
            .with_topic_partitions(changed.then(|| held.clone()));
        progress.tell(number, answer.member_epoch, held.iter().map(|topic| topic.partitions.len()).sum());
        if !changed {
            // tidy: may sleep: this is the member's heartbeat interval
            tokio::time::sleep(beat).await;
        }
    }
}
