//! Fetch (v4-v18): register, read, wait if it is too little, read again (semantics rules 25-27).
//!
//! v4 isolation level; v5 log start; v7 sessions; v9 leader epochs; v10 zstd; v12 diverging epochs;
//! v13 topic ids; v15 replica state; v17 directory ids; v18 the fetcher's high watermark.
//! Consumers are served; nobody replicates from this broker, so a fetch with a replica id is refused.

use std::sync::Arc;
use std::time::Duration;

use kafka_protocol::messages::{ApiKey, FetchRequest};
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use super::fetch_session::{Answered, Context, FetchKey, FetchPosition, NO_SESSION, SessionRequest};
use super::{Refused, Reply, Request, Response};
use crate::broker::{Broker, Found};
use crate::clock;
use crate::storage::disk::FileSlice;
use crate::storage::partition_log::{ReadBound, ReadError, ReadResult};
use crate::types::{LeaderEpoch, Offset, PartitionIndex, TopicId};
use crate::wire::ErrorCode;
use crate::wire::fetch::{FetchResponse, FetchedPartition, FetchedTopic, StoredBytes, encode};
use crate::wire::message::decode_request;
use crate::wire::produce::TopicRef;

/// From this version on topics are named by id.
const FIRST_WITH_TOPIC_IDS: i16 = 13;

/// One request, understood.
struct Plan {
    version: i16,
    correlation_id: i32,
    context: Context,
    bound: ReadBound,
    /// A replica's fetch, not a consumer's.
    from_replica: bool,
    min_bytes: usize,
    max_bytes: usize,
    wanted: Vec<(FetchKey, FetchPosition)>,
}

/// What one reading of all partitions gave.
struct Pass {
    partitions: Vec<FetchedPartition<FileSlice>>,
    bytes: usize,
    /// An error or a divergence: to be answered at once.
    urgent: bool,
}

/// Stage one: reads at once, and waits in stage two where that is too little.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let version = request.header.api_version;
    let correlation_id = request.header.correlation_id;
    let body: FetchRequest = decode_request(ApiKey::Fetch, version, request.body.freeze())?;
    let max_wait = Duration::from_millis(body.max_wait_ms.max(0) as u64);
    let plan = match plan(broker, version, correlation_id, &body) {
        Ok(plan) => plan,
        Err(error) => return Ok(Reply::Now(refuse(version, correlation_id, error))),
    };
    let pass = read(broker, &plan, None);
    if max_wait.is_zero() || plan.is_answered_by(&pass) {
        return Ok(Reply::Now(answer(broker, &plan, pass)));
    }
    let broker = Arc::clone(broker);
    let deadline = Instant::now() + max_wait;
    Ok(Reply::Later(Box::pin(async move {
        loop {
            // A fresh watcher each time: partitions forget one as soon as it is dropped.
            let watcher = Arc::new(Notify::new());
            let pass = read(&broker, &plan, Some(&watcher));
            if plan.is_answered_by(&pass) || timeout_at(deadline, watcher.notified()).await.is_err() {
                return Ok(answer(&broker, &plan, pass));
            }
        }
    })))
}

impl Plan {
    fn is_answered_by(&self, pass: &Pass) -> bool {
        pass.urgent || pass.bytes >= self.min_bytes || self.wanted.is_empty()
    }

    fn by_id(&self) -> bool {
        self.version >= FIRST_WITH_TOPIC_IDS
    }
}

fn plan(broker: &Broker, version: i16, correlation_id: i32, body: &FetchRequest) -> Result<Plan, ErrorCode> {
    let by_id = version >= FIRST_WITH_TOPIC_IDS;
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
                current_leader_epoch: LeaderEpoch(partition.current_leader_epoch),
                last_fetched_epoch: LeaderEpoch(partition.last_fetched_epoch),
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
        context,
        bound: if body.isolation_level == 1 { ReadBound::LastStable } else { ReadBound::HighWatermark },
        from_replica: replica >= 0,
        min_bytes: (body.min_bytes.max(0) as usize).min(max_bytes),
        max_bytes,
        wanted,
    })
}

/// Reads all partitions in order: the first one that has records may exceed both limits by one batch (rule 26).
fn read(broker: &Broker, plan: &Plan, watcher: Option<&Arc<Notify>>) -> Pass {
    let mut pass = Pass { partitions: Vec::with_capacity(plan.wanted.len()), bytes: 0, urgent: false };
    for (key, position) in &plan.wanted {
        let budget = plan.max_bytes.saturating_sub(pass.bytes);
        let fetched = match read_partition(broker, plan, key, position, budget, pass.bytes == 0, watcher) {
            Ok(fetched) => fetched,
            Err(error) => failed(key.partition, error),
        };
        pass.bytes += fetched.records.as_ref().map_or(0, StoredBytes::len);
        pass.urgent |= fetched.error != ErrorCode::NONE || fetched.diverging_epoch.is_some();
        pass.partitions.push(fetched);
    }
    pass
}

fn read_partition(
    broker: &Broker,
    plan: &Plan,
    key: &FetchKey,
    position: &FetchPosition,
    budget: usize,
    at_least_one: bool,
    watcher: Option<&Arc<Notify>>,
) -> Result<FetchedPartition<FileSlice>, ErrorCode> {
    let found = broker.find_by_ref(&key.topic, key.partition)?;
    found.check_leader_epoch(position.current_leader_epoch)?;
    if plan.from_replica {
        // Kafka asks a replica that it does not know to come back when metadata has caught up.
        let knows_epoch = position.current_leader_epoch != LeaderEpoch::NONE;
        return Err(if knows_epoch { ErrorCode::UNKNOWN_LEADER_EPOCH } else { ErrorCode::NOT_LEADER_OR_FOLLOWER });
    }
    if let Some(watcher) = watcher {
        found.log.watch(watcher);
    }
    if let Some(diverging) = divergence(&found, position)? {
        let nothing = ReadResult { records: None, next_offset: position.offset, offsets: found.log.offsets() };
        return Ok(FetchedPartition { diverging_epoch: Some(diverging), ..fetched(plan, key.partition, nothing) });
    }
    let result = found
        .log
        .read(position.offset, position.max_bytes.min(budget), plan.bound, at_least_one)
        .map_err(|error| read_error_code(&found.topic.name, key.partition, &error))?;
    Ok(fetched(plan, key.partition, result))
}

/// Where the reader's history leaves ours, if it told its last epoch (KIP-595).
fn divergence(found: &Found, position: &FetchPosition) -> Result<Option<(LeaderEpoch, Offset)>, ErrorCode> {
    if position.last_fetched_epoch == LeaderEpoch::NONE {
        return Ok(None);
    }
    let (epoch, end) = found.log.epoch_end_offset(position.last_fetched_epoch).ok_or(ErrorCode::OFFSET_OUT_OF_RANGE)?;
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
        aborted: None,
        records: None,
    }
}

/// Settles the session and encodes what is sent.
fn answer(broker: &Broker, plan: &Plan, pass: Pass) -> Response {
    let results: Vec<_> = plan
        .wanted
        .iter()
        .zip(&pass.partitions)
        .map(|((key, position), fetched)| (key.clone(), *position, answered(fetched)))
        .collect();
    let fresh_id = uuid::Uuid::new_v4().as_u128() as i32;
    let settled = broker.fetch_sessions.lock().finish(&plan.context, plan.by_id(), &results, clock::now(), fresh_id);
    let (session_id, sent) = match settled {
        Ok(settled) => settled,
        Err(error) => return refuse(plan.version, plan.correlation_id, error),
    };
    let mut topics: Vec<FetchedTopic<FileSlice>> = Vec::new();
    for (((key, _), fetched), sent) in plan.wanted.iter().zip(pass.partitions).zip(sent) {
        if !sent {
            continue;
        }
        match topics.last_mut() {
            Some(last) if last.topic == key.topic => last.partitions.push(fetched),
            _ => topics.push(FetchedTopic { topic: key.topic.clone(), partitions: vec![fetched] }),
        }
    }
    respond(plan.version, plan.correlation_id, ErrorCode::NONE, session_id, topics)
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
    respond(version, correlation_id, error, NO_SESSION, Vec::new())
}

fn respond(
    version: i16,
    correlation_id: i32,
    error: ErrorCode,
    session_id: i32,
    topics: Vec<FetchedTopic<FileSlice>>,
) -> Response {
    Response(encode(version, correlation_id, FetchResponse { throttle_time_ms: 0, error, session_id, topics }))
}
