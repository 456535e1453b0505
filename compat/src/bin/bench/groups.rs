//! How long groups take to settle, and how many commits a second a coordinator takes.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use kafka_protocol::messages::offset_commit_request::{OffsetCommitRequestPartition, OffsetCommitRequestTopic};
use kafka_protocol::messages::{FindCoordinatorRequest, GroupId, OffsetCommitRequest, TopicName};
use kafka_protocol::protocol::StrBytes;
use tokio::task::JoinSet;

use crate::members::{Connection, Progress, classic, consumer};

/// How often members of a group that is watched are heard of: what is measured is the coordinator, not their waiting.
const BEAT: Duration = Duration::from_millis(10);
/// The same, of members that are many.
const SLOW_BEAT: Duration = Duration::from_secs(1);
/// How long anything may take.
const PATIENCE: Duration = Duration::from_mins(2);
/// Connections that commit at one time, each for a group of its own.
const COMMITTERS: usize = 16;

/// The protocol of a group's members.
#[derive(Clone, Copy, Debug)]
pub enum Protocol {
    /// JoinGroup and SyncGroup.
    Classic,
    /// ConsumerGroupHeartbeat (KIP-848).
    Consumer,
}

/// What one measurement runs on.
pub fn runtime() -> io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()
}

/// What comes of the future, or an error that names what took too long.
pub async fn within_patience<T>(what: &str, future: impl Future<Output = T>) -> io::Result<T> {
    let late = || io::Error::new(io::ErrorKind::TimedOut, format!("{what}: not within {PATIENCE:?}"));
    tokio::time::timeout(PATIENCE, future).await.map_err(|_| late())
}

/// What a coordinator is of.
#[derive(Clone, Copy, Debug)]
pub enum CoordinatorOf {
    /// Groups.
    Groups,
    /// Transactions.
    Transactions,
}

/// Asks for a coordinator until there is one: Kafka makes its topic at the first question.
pub fn wait_for_coordinator(address: SocketAddr, of: CoordinatorOf) -> io::Result<()> {
    runtime()?.block_on(within_patience("a coordinator", async {
        let request = find_coordinator(of);
        let mut connection = Connection::open(address).await?;
        loop {
            let answer = connection.call(4, &request).await?;
            if answer.coordinators.iter().all(|coordinator| coordinator.error_code == 0) {
                return Ok(());
            }
            // tidy: may sleep: nothing tells when another process is ready
            tokio::time::sleep(BEAT).await;
        }
    }))?
}

/// Of a coordinator, whichever.
pub fn find_coordinator(of: CoordinatorOf) -> FindCoordinatorRequest {
    let key_type = match of {
        CoordinatorOf::Groups => 0,
        CoordinatorOf::Transactions => 1,
    };
    let keys = vec![StrBytes::from_static_str("first")];
    FindCoordinatorRequest::default().with_key_type(key_type).with_coordinator_keys(keys)
}

/// Milliseconds from the join of one more member to a group of so many until all have what is theirs.
pub fn rebalance(
    address: SocketAddr,
    protocol: Protocol,
    members: usize,
    topic: &str,
    partitions: usize,
) -> io::Result<f64> {
    runtime()?.block_on(async {
        let group = format!("rebalance-{protocol:?}-{members}");
        let progress = Progress::new();
        let mut tasks = JoinSet::new();
        let mut join = |number: usize, connection: Connection| match protocol {
            Protocol::Classic => {
                tasks.spawn(classic(connection, group.clone(), number, BEAT, progress.clone()));
            }
            Protocol::Consumer => {
                tasks.spawn(consumer(connection, group.clone(), number, BEAT, topic.to_owned(), progress.clone()));
            }
        };
        let held = |members| match protocol {
            Protocol::Classic => members,
            Protocol::Consumer => partitions,
        };
        for number in 0..members {
            join(number, Connection::open(address).await?);
        }
        let one_more = Connection::open(address).await?;
        within_patience("a new group", progress.settled(members, held(members))).await?;
        let started = Instant::now();
        join(members, one_more);
        within_patience("a rebalance", progress.settled(members + 1, held(members + 1))).await?;
        Ok(started.elapsed().as_secs_f64() * 1e3)
    })
}

/// Seconds until so many groups of so many classic members have settled.
pub fn settle(address: SocketAddr, groups: usize, members: usize) -> io::Result<f64> {
    runtime()?.block_on(async {
        // One after the other, each once the one before is served: a listener's queue is short, and who does not fit into
        // it tries again a second later.
        let mut connections = Vec::new();
        for _ in 0..groups * members {
            let mut connection = Connection::open(address).await?;
            connection.call(4, &find_coordinator(CoordinatorOf::Groups)).await?;
            connections.push(connection);
        }
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        let all: Vec<_> = (0..groups).map(|_| Progress::new()).collect();
        for (number, connection) in connections.into_iter().enumerate() {
            let (group, number) = (number / members, number % members);
            let Some(progress) = all.get(group) else { continue };
            tasks.spawn(classic(connection, format!("settle-{group}"), number, SLOW_BEAT, progress.clone()));
        }
        for progress in all {
            within_patience("a group", progress.settled(members, members)).await?;
        }
        Ok(started.elapsed().as_secs_f64())
    })
}

/// Commits a second, of clients that each wait for the answer before they commit again.
pub fn commits(address: SocketAddr, topic: &str, during: Duration) -> io::Result<f64> {
    runtime()?.block_on(async {
        let started = Instant::now();
        let mut tasks = JoinSet::new();
        for number in 0..COMMITTERS {
            let topic = topic.to_owned();
            tasks.spawn(async move {
                let mut connection = Connection::open(address).await?;
                let mut count = 0_u32;
                while started.elapsed() < during {
                    let answer = connection.call(8, &commit(number, &topic, i64::from(count))).await?;
                    let codes = answer.topics.iter().flat_map(|topic| &topic.partitions);
                    if let Some(code) = codes.map(|partition| partition.error_code).find(|code| *code != 0) {
                        return Err(io::Error::other(format!("commit: error code {code}")));
                    }
                    count += 1;
                }
                Ok(count)
            });
        }
        let mut total = 0.0;
        while let Some(count) = tasks.join_next().await {
            total += f64::from(count??);
        }
        Ok(total / started.elapsed().as_secs_f64())
    })
}

fn commit(group: usize, topic: &str, offset: i64) -> OffsetCommitRequest {
    let partition = OffsetCommitRequestPartition::default().with_partition_index(0).with_committed_offset(offset);
    let topic = OffsetCommitRequestTopic::default()
        .with_name(TopicName(StrBytes::from_string(topic.to_owned())))
        .with_partitions(vec![partition]);
    OffsetCommitRequest::default()
        .with_group_id(GroupId(StrBytes::from_string(format!("commits-{group}"))))
        .with_generation_id_or_member_epoch(-1)
        .with_topics(vec![topic])
}
