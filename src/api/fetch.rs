//! Fetch (v4-v18): register, read, wait if it is too little, read on (semantics rules 25-27).
//!
//! v4 isolation level; v5 log start; v7 sessions; v9 leader epochs; v10 zstd; v12 diverging epochs;
//! v13 topic ids; v15 replica state; v16 leaders' addresses; v17 directory ids; v18 the fetcher's high watermark.
//! Consumers are served; nobody replicates from this broker, so a fetch with a replica id is refused.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::{ApiKey, FetchRequest};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::fetch_session::{Answered, Context, FetchKey, FetchPosition, NO_SESSION, SessionRequest};
use super::reply::address;
use super::{Peer, Refused, Reply, Request, Response};
use crate::broker::{Broker, Found};
use crate::clock;
use crate::storage::disk::FileSlice;
use crate::storage::partition_log::{AbortedTransaction, LogOffsets, ReadBound, ReadError, ReadResult};
use crate::types::{LeaderEpoch, NodeId, Offset, PartitionIndex, TopicId};
use crate::wire::ErrorCode;
use crate::wire::fetch::{FetchResponse, FetchedPartition, FetchedTopic, NodeEndpoint, StoredBytes, encode};
use crate::wire::message::decode_request;
use crate::wire::produce::TopicRef;

/// Whoever asks to wait longer is answered with what is there, and asks again. Kafka would close the connection as idle.
const LONGEST_WAIT: Duration = Duration::from_mins(5);
/// From this version on topics are named by id.
const FIRST_WITH_TOPIC_IDS: i16 = 13;
/// From this version on a client with an outdated leader learns of the current one at once (KIP-951).
const FIRST_WITH_LEADERS: i16 = 16;

/// One request, understood.
struct Plan {
    version: i16,
    correlation_id: i32,
    peer: Arc<Peer>,
    context: Context,
    bound: ReadBound,
    /// A replica's fetch, not a consumer's.
    from_replica: bool,
    min_bytes: usize,
    max_bytes: usize,
    wanted: Vec<(FetchKey, FetchPosition)>,
}

/// What was read so far.
struct Pass {
    partitions: Vec<Progress>,
    bytes: usize,
    /// An error, a divergence, the end of a segment, no room for more: to be answered at once.
    urgent: bool,
}

/// How far one partition is read.
struct Progress {
    fetched: FetchedPartition<FileSlice>,
    /// Where reading goes on.
    next: Offset,
    /// There is more than the client takes of this partition.
    is_full: bool,
}

/// What is read of a partition next.
#[derive(Clone, Copy)]
struct Ask {
    from: Offset,
    room: usize,
    at_least_one: bool,
}

/// Stage one: reads at once, and waits in stage two where that is too little.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let version = request.header.api_version;
    let correlation_id = request.header.correlation_id;
    let body: FetchRequest = decode_request(ApiKey::Fetch, version, request.body.freeze())?;
    let max_wait = Duration::from_millis(body.max_wait_ms.max(0) as u64).min(LONGEST_WAIT);
    let plan = match plan(broker, version, correlation_id, request.peer, &body) {
        Ok(plan) => plan,
        Err(error) => return Ok(Reply::Now(refuse(version, correlation_id, error))),
    };
    let mut pass = Pass::new(&plan);
    pass.read_on(broker, &plan, None);
    if max_wait.is_zero() || plan.is_answered_by(&pass) {
        return Ok(Reply::Now(answer(broker, &plan, pass)));
    }
    let broker = Arc::clone(broker);
    let deadline = Instant::now() + max_wait;
    let holds = plan.wanted.len() * size_of::<(FetchKey, FetchPosition, Progress)>();
    let answer = async move {
        loop {
            // A fresh watcher each time: partitions forget one as soon as it is dropped.
            let watcher = Arc::new(Notify::new());
            pass.read_on(&broker, &plan, Some(&watcher));
            let is_over = plan.is_answered_by(&pass) || broker.is_stopping();
            if is_over || timeout_at(deadline, watcher.notified()).await.is_err() {
                return Ok(answer(&broker, &plan, pass));
            }
        }
    };
    Ok(Reply::Parked(Box::pin(answer), holds))
}

impl Plan {
    fn is_answered_by(&self, pass: &Pass) -> bool {
        // Also when nothing is asked for.
        let all_unknown = || pass.partitions.iter().all(|progress| is_unknown(progress.fetched.error));
        pass.urgent || pass.available(self) >= self.min_bytes || all_unknown()
    }

    fn by_id(&self) -> bool {
        self.version >= FIRST_WITH_TOPIC_IDS
    }
}

fn plan(
    broker: &Broker,
    version: i16,
    correlation_id: i32,
    peer: Arc<Peer>,
    body: &FetchRequest,
) -> Result<Plan, ErrorCode> {
    let by_id = version >= FIRST_WITH_TOPIC_IDS;
    // A name is shared by the topic's partitions: there may be many of both.
    let topic_ref = |name: &str, id: uuid::Uuid| {
        if by_id { TopicRef::Id(TopicId(id)) } else { TopicRef::Name(name.into()) }
    };
    let mut partitions = Vec::new();
    for topic in &body.topics {
        let topic_ref = topic_ref(&topic.topic, topic.topic_id);
        for partition in &topic.partitions {
            let key = FetchKey { topic: topic_ref.clone(), partition: PartitionIndex(partition.partition) };
            let position = FetchPosition {
                offset: Offset(partition.fetch_offset),
                max_bytes: partition.partition_max_bytes.max(0) as usize,
                current_leader_epoch: epoch(partition.current_leader_epoch),
                last_fetched_epoch: epoch(partition.last_fetched_epoch),
            };
            partitions.push((key, position));
        }
    }
    let mut forgotten = Vec::new();
    for topic in &body.forgotten_topics_data {
        let topic_ref = topic_ref(&topic.topic, topic.topic_id);
        forgotten.extend(
            topic
                .partitions
                .iter()
                .map(|partition| FetchKey { topic: topic_ref.clone(), partition: PartitionIndex(*partition) }),
        );
    }
    let request = SessionRequest { id: body.session_id, epoch: body.session_epoch, by_id, partitions, forgotten };
    let (context, wanted) = broker.fetch_sessions.lock().begin(request, clock::now())?;
    let max_bytes = (body.max_bytes.max(0) as usize).min(broker.config.limits.fetch_max_bytes);
    let replica = if version >= 15 { body.replica_state.replica_id.0 } else { body.replica_id.0 };
    Ok(Plan {
        version,
        correlation_id,
        peer,
        context,
        bound: if body.isolation_level == 1 { ReadBound::LastStable } else { ReadBound::HighWatermark },
        from_replica: replica >= 0,
        min_bytes: (body.min_bytes.max(0) as usize).min(max_bytes),
        max_bytes,
        wanted,
    })
}

/// An epoch as a reader tells it: every negative one means that it knows none.
fn epoch(told: i32) -> LeaderEpoch {
    LeaderEpoch(told.max(LeaderEpoch::NONE.0))
}

/// Whether a partition's error says that there is none.
fn is_unknown(error: ErrorCode) -> bool {
    matches!(error, ErrorCode::UNKNOWN_TOPIC_OR_PARTITION | ErrorCode::UNKNOWN_TOPIC_ID)
}

impl Pass {
    fn new(plan: &Plan) -> Self {
        let unread = |(key, position): &(FetchKey, FetchPosition)| Progress {
            fetched: failed(key.partition, ErrorCode::NONE),
            next: position.offset,
            is_full: false,
        };
        Self { partitions: plan.wanted.iter().map(unread).collect(), bytes: 0, urgent: false }
    }

    /// What `min.bytes` is compared with: of a partition that has more than the client takes, all that it takes counts,
    /// though the batch that does not fit is left out.
    fn available(&self, plan: &Plan) -> usize {
        let partitions = plan.wanted.iter().zip(&self.partitions);
        partitions.map(|((_, at), progress)| if progress.is_full { at.max_bytes } else { progress.held() }).sum()
    }

    /// Reads all partitions in order, each from where it was left. The first batch of all may exceed both limits
    /// (rule 26).
    fn read_on(&mut self, broker: &Broker, plan: &Plan, watcher: Option<&Arc<Notify>>) {
        for ((key, position), progress) in plan.wanted.iter().zip(&mut self.partitions) {
            let held = progress.held();
            let left = plan.max_bytes.saturating_sub(self.bytes);
            let room = left.min(position.max_bytes.saturating_sub(held));
            let ask = Ask { from: progress.next, room, at_least_one: self.bytes == 0 };
            match read_partition(broker, plan, key, position, ask, watcher) {
                Ok(Read::Records(result, aborted)) => {
                    self.urgent |= result.is_full && room == left;
                    self.urgent |= !progress.extend(plan, result, &aborted);
                }
                Ok(Read::Diverging(diverging, offsets)) => {
                    let nothing = ReadResult { records: None, next_offset: progress.next, offsets, is_full: false };
                    progress.fetched = fetched(plan, key.partition, nothing);
                    progress.fetched.diverging_epoch = Some(diverging);
                    self.urgent = true;
                }
                // What was read before a damaged batch is sound; the next fetch learns of the damage.
                Err(Refusal { error: ErrorCode::CORRUPT_MESSAGE | ErrorCode::KAFKA_STORAGE_ERROR, .. }) if held > 0 => {
                    self.urgent = true;
                }
                Err(refusal) => {
                    // A reader that asks for what never was waits for the rest like any other, or it would ask without
                    // a pause. What goes away meanwhile is told at once.
                    let was_unknown = watcher.is_none() || progress.fetched.error == refusal.error;
                    self.urgent |= !(was_unknown && is_unknown(refusal.error));
                    progress.fetched = failed(key.partition, refusal.error);
                    progress.fetched.current_leader = refusal.told_from(plan.version, broker.config.node_id);
                }
            }
            self.bytes = self.bytes - held + progress.held();
        }
    }
}

impl Progress {
    fn held(&self) -> usize {
        self.fetched.records.as_ref().map_or(0, StoredBytes::len)
    }

    /// Adds what was read next; `false` when it does not lie behind what is there, because a new segment began.
    fn extend(&mut self, plan: &Plan, result: ReadResult, aborted: &[AbortedTransaction]) -> bool {
        let next = result.next_offset;
        self.is_full = result.is_full;
        let mut fetched = fetched(plan, self.fetched.index, result);
        if let Some(known) = &mut fetched.aborted {
            // Those that began before were told of with the records that are there: all had ended by then.
            let told_below = if self.held() > 0 { self.next } else { Offset(0) };
            *known = self.fetched.aborted.take().unwrap_or_default();
            let new = aborted.iter().filter(|new| new.first_offset >= told_below);
            known.extend(new.map(|new| (new.producer_id, new.first_offset)));
        }
        let follows = match (self.fetched.records.take(), fetched.records.take()) {
            (Some(mut held), Some(more)) => {
                let follows = held.is_followed_by(&more);
                held.length += if follows { more.length } else { 0 };
                fetched.records = Some(held);
                follows
            }
            (held, more) => {
                fetched.records = held.or(more);
                true
            }
        };
        self.fetched = fetched;
        if follows {
            self.next = next;
        }
        follows
    }
}

/// What a partition gave.
enum Read {
    /// For `read_committed` with the transactions among them that do not count.
    Records(ReadResult, Vec<AbortedTransaction>),
    Diverging((LeaderEpoch, Offset), LogOffsets),
}

/// Why a partition is not read.
struct Refusal {
    error: ErrorCode,
    /// The current leader's epoch, where the partition is known.
    leader_epoch: Option<LeaderEpoch>,
}

impl From<ErrorCode> for Refusal {
    fn from(error: ErrorCode) -> Self {
        Self { error, leader_epoch: None }
    }
}

impl Refusal {
    /// The leader that a client with an outdated one is told.
    fn told_from(&self, version: i16, leader: NodeId) -> Option<(NodeId, LeaderEpoch)> {
        let is_outdated = matches!(self.error, ErrorCode::NOT_LEADER_OR_FOLLOWER | ErrorCode::FENCED_LEADER_EPOCH);
        self.leader_epoch.filter(|_| is_outdated && version >= FIRST_WITH_LEADERS).map(|epoch| (leader, epoch))
    }
}

fn read_partition(
    broker: &Broker,
    plan: &Plan,
    key: &FetchKey,
    position: &FetchPosition,
    ask: Ask,
    watcher: Option<&Arc<Notify>>,
) -> Result<Read, Refusal> {
    let found = broker.find_by_ref(&key.topic, key.partition)?;
    let refused = |error| Refusal { error, leader_epoch: Some(found.leader_epoch) };
    found.check_leader_epoch(position.current_leader_epoch).map_err(refused)?;
    if plan.from_replica {
        // Kafka asks a replica that it does not know to come back when metadata has caught up.
        let knows_epoch = position.current_leader_epoch != LeaderEpoch::NONE;
        let error = if knows_epoch { ErrorCode::UNKNOWN_LEADER_EPOCH } else { ErrorCode::NOT_LEADER_OR_FOLLOWER };
        return Err(refused(error));
    }
    if let Some(watcher) = watcher {
        found.log.watch(watcher);
    }
    if let Some(diverging) = divergence(&found, position)? {
        return Ok(Read::Diverging(diverging, found.log.offsets()));
    }
    let read = || -> Result<Read, ReadError> {
        let result = found.log.read(ask.from, ask.room, plan.bound, ask.at_least_one)?;
        let aborted = match plan.bound {
            ReadBound::LastStable => found.log.aborted_transactions(ask.from, result.next_offset)?,
            ReadBound::HighWatermark | ReadBound::LogEnd => Vec::new(),
        };
        Ok(Read::Records(result, aborted))
    };
    Ok(read().map_err(|error| read_error_code(&found.topic.name, key.partition, &error))?)
}

/// Where the reader's history leaves ours, if it told its last epoch (KIP-595).
fn divergence(found: &Found, position: &FetchPosition) -> Result<Option<(LeaderEpoch, Offset)>, ErrorCode> {
    if position.last_fetched_epoch == LeaderEpoch::NONE {
        return Ok(None);
    }
    let (epoch, end) = found.epoch_end_offset(position.last_fetched_epoch).ok_or(ErrorCode::OFFSET_OUT_OF_RANGE)?;
    let diverges = epoch < position.last_fetched_epoch || end < position.offset;
    Ok(diverges.then_some((epoch, end)))
}

/// The code of a failed read. What is wrong with the disk is logged: the client learns only that it is not its fault.
pub(super) fn read_error_code(topic: &str, partition: PartitionIndex, error: &ReadError) -> ErrorCode {
    match error {
        ReadError::OutOfRange { .. } => ErrorCode::OFFSET_OUT_OF_RANGE,
        ReadError::Corrupt { .. } => {
            tracing::error!(topic, %partition, %error, "a stored batch is corrupt and is not delivered");
            ErrorCode::CORRUPT_MESSAGE
        }
        ReadError::Storage(_) => {
            tracing::error!(topic, %partition, %error, "the partition's log cannot be read");
            ErrorCode::KAFKA_STORAGE_ERROR
        }
    }
}

fn fetched(plan: &Plan, index: PartitionIndex, result: ReadResult) -> FetchedPartition<FileSlice> {
    FetchedPartition {
        index,
        error: ErrorCode::NONE,
        high_watermark: result.offsets.high_watermark,
        last_stable_offset: result.offsets.last_stable,
        log_start_offset: result.offsets.log_start,
        diverging_epoch: None,
        current_leader: None,
        aborted: (plan.bound == ReadBound::LastStable).then(Vec::new),
        records: result.records,
    }
}

fn failed(index: PartitionIndex, error: ErrorCode) -> FetchedPartition<FileSlice> {
    FetchedPartition {
        index,
        error,
        high_watermark: Offset(-1),
        last_stable_offset: Offset(-1),
        log_start_offset: Offset(-1),
        diverging_epoch: None,
        current_leader: None,
        // Kafka sends a list here where it never came to read.
        aborted: is_unknown(error).then(Vec::new),
        records: None,
    }
}

/// Settles the session and encodes what is sent.
fn answer(broker: &Broker, plan: &Plan, pass: Pass) -> Response {
    let results: Vec<_> = plan
        .wanted
        .iter()
        .zip(&pass.partitions)
        .map(|((key, position), progress)| (key.clone(), *position, answered(&progress.fetched)))
        .collect();
    let fresh_id = uuid::Uuid::new_v4().as_u128() as i32;
    let settled = broker.fetch_sessions.lock().finish(&plan.context, plan.by_id(), &results, clock::now(), fresh_id);
    let (session_id, sent) = match settled {
        Ok(settled) => settled,
        Err(error) => return refuse(plan.version, plan.correlation_id, error),
    };
    let partitions = plan.wanted.iter().map(|(key, _)| key).zip(pass.partitions).zip(sent);
    let mut partitions: Vec<_> =
        partitions.filter(|(_, sent)| *sent).map(|((key, progress), _)| (key, progress.fetched)).collect();
    partitions.sort_by_key(|(_, fetched)| rank(fetched.error));
    let mut topics: Vec<FetchedTopic<FileSlice>> = Vec::new();
    let mut names_leader = false;
    for (key, fetched) in partitions {
        names_leader |= fetched.current_leader.is_some();
        match topics.last_mut() {
            Some(last) if last.topic == key.topic => last.partitions.push(fetched),
            _ => topics.push(FetchedTopic { topic: key.topic.clone(), partitions: vec![fetched] }),
        }
    }
    // Replicas know where the brokers are.
    let leaders = if names_leader && !plan.from_replica { vec![endpoint(broker, &plan.peer)] } else { Vec::new() };
    let response = FetchResponse { throttle_time_ms: 0, error: ErrorCode::NONE, session_id, topics, leaders };
    Response(encode(plan.version, plan.correlation_id, response))
}

/// Kafka's order: what is not there comes last, and of that the ids that nobody has first.
fn rank(error: ErrorCode) -> u8 {
    match error {
        ErrorCode::UNKNOWN_TOPIC_OR_PARTITION => 2,
        ErrorCode::UNKNOWN_TOPIC_ID => 1,
        _ => 0,
    }
}

/// Where this broker is, as Metadata tells the same client.
fn endpoint(broker: &Broker, peer: &Peer) -> NodeEndpoint {
    let (host, port) = address(broker, peer);
    let rack = broker.config.rack.as_deref().map(Box::from);
    NodeEndpoint { node: broker.config.node_id, host: Box::from(&*host), port, rack }
}

fn answered(fetched: &FetchedPartition<FileSlice>) -> Answered {
    let failed = fetched.error != ErrorCode::NONE;
    Answered {
        high_watermark: fetched.high_watermark,
        log_start: fetched.log_start_offset,
        has_records: fetched.records.is_some(),
        must_send: failed || fetched.diverging_epoch.is_some(),
        failed,
    }
}

fn refuse(version: i16, correlation_id: i32, error: ErrorCode) -> Response {
    let response =
        FetchResponse { throttle_time_ms: 0, error, session_id: NO_SESSION, topics: Vec::new(), leaders: Vec::new() };
    Response(encode(version, correlation_id, response))
}

#[cfg(test)]
mod tests;
