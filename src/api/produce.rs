//! Produce (v3-v13): check, append, acknowledge (semantics rules 1-10).
//!
//! v4 storage errors; v5 log start; v7 zstd; v8 record errors and messages; v9 flexible; v10 leader hints;
//! v11-v12 transactions of KIP-890; v13 topic ids.

mod verify;

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use kafka_protocol::messages::produce_response::{
    BatchIndexAndErrorMessage, PartitionProduceResponse, TopicProduceResponse,
};
use kafka_protocol::messages::{ApiKey, ProduceResponse, TopicName};
use tokio::time::{Instant, timeout_at};

use self::verify::{Unverified, Verdicts, Verification};
use super::reply::{append_error, sentence, text};
use super::{Refused, Reply, Request, Response};
use crate::broker::{Broker, Found};
use crate::clock;
use crate::log::{AppendError, Appended, Origin};
use crate::metadata::topic_name::is_internal;
use crate::storage::partition_log::Durable;
use crate::types::{Offset, PartitionIndex, TimestampMs};
use crate::wire::batch::BatchHeader;
use crate::wire::message::encode_response;
use crate::wire::produce::{ProduceRequest, ProduceTopic, TopicRef, decode};
use crate::wire::{ErrorCode, WireError};

/// Kafka with one replica acknowledges at once, so that a shorter timeout never shows there; here it must not end before
/// a disk that is well has answered.
const SHORTEST_TIMEOUT: Duration = Duration::from_secs(1);
/// Only this client id may write to internal topics, as in Kafka.
const ADMIN_CLIENT_ID: &str = "__admin_client";

/// One topic's outcomes.
struct TopicOutcome {
    topic: TopicRef,
    partitions: Vec<Outcome>,
}

/// What became of one partition's batch.
struct Outcome {
    index: PartitionIndex,
    error: ErrorCode,
    base_offset: Offset,
    log_append_time: TimestampMs,
    log_start_offset: Offset,
    message: Option<String>,
    record_errors: Vec<(i32, String)>,
    /// Still to come before an acks=all answer may leave.
    durable: Option<Durable>,
}

/// Stage one: every batch has its offset, or its error.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let version = request.header.api_version;
    let correlation_id = request.header.correlation_id;
    let body = decode(version, request.body)?;
    let is_admin = request.header.client_id.as_deref() == Some(ADMIN_CLIENT_ID);
    let job = Job { version, correlation_id, is_admin };
    let verification = match refuse_whole(&body) {
        Some(refused) => Err(refused),
        None => verify::verify(broker, version, &body),
    };
    match verification {
        Err(refused) => job.run(broker, body, &Err(refused)),
        Ok(Verification::Done(verdicts)) => job.run(broker, body, &Ok(verdicts)),
        Ok(Verification::Waits(verdicts)) => {
            let broker = Arc::clone(broker);
            Ok(Reply::Staged(Box::pin(async move {
                let verdicts = verdicts.await;
                job.run(&broker, body, &Ok(verdicts))
            })))
        }
    }
}

/// What of a request is needed to carry it out and to answer it.
#[derive(Clone, Copy)]
struct Job {
    version: i16,
    correlation_id: i32,
    is_admin: bool,
}

impl Job {
    /// Appends all batches, once it is known which of them may be.
    fn run(
        self,
        broker: &Broker,
        body: ProduceRequest,
        verdicts: &Result<Verdicts, Unverified>,
    ) -> Result<Reply, Refused> {
        let Self { version, correlation_id, .. } = self;
        let (acks, timeout_ms) = (body.acks, body.timeout_ms);
        let mut outcomes = self.append_all(broker, body, verdicts);
        match acks {
            0 => close_on_error(&outcomes),
            -1 => {
                let topics = broker.metadata.settled();
                Ok(Reply::Later(Box::pin(async move {
                    acknowledge(topics, &mut outcomes, Duration::from_millis(timeout_ms.max(0) as u64)).await;
                    Ok(respond(version, correlation_id, outcomes)?)
                })))
            }
            _ => Ok(Reply::Now(respond(version, correlation_id, outcomes)?)),
        }
    }

    fn append_all(
        self,
        broker: &Broker,
        body: ProduceRequest,
        verdicts: &Result<Verdicts, Unverified>,
    ) -> Vec<TopicOutcome> {
        let ProduceRequest { acks, topics, .. } = body;
        let append = |topic: &TopicRef, index, records: Option<BytesMut>| {
            // What a transaction's coordinator says counts before what acks says and whose topic it is.
            let verdict = verdicts.as_ref().map_err(Clone::clone).and_then(|verdicts| verdicts.of(topic, index));
            let appended = verdict.map_err(|error| Outcome::unverified(index, error)).and_then(|guard| {
                let found = find(broker, topic, index, acks, self.is_admin);
                let found = found.map_err(|error| Outcome::failed(index, error))?;
                append(&found, Origin::Client { version: self.version, guard }, index, records)
            });
            appended.map_or_else(
                |outcome| outcome,
                |(appended, durable)| Outcome::appended(index, appended, (acks == -1).then_some(durable)),
            )
        };
        last_of_each(topics)
            .into_iter()
            // Kafka counts by partitions: a topic without any is not answered.
            .filter(|topic| !topic.partitions.is_empty())
            .map(|topic| TopicOutcome {
                partitions: topic
                    .partitions
                    .into_iter()
                    .map(|partition| append(&topic.topic, partition.index, partition.records))
                    .collect(),
                topic: topic.topic,
            })
            .collect()
    }
}

/// When is it acknowledged? acks=1: when it has its offset. acks=all: when its log says that it is durable,
/// and with it the topics themselves where they were created only now; or with an error after the client's timeout.
async fn acknowledge(topics: Option<Durable>, outcomes: &mut [TopicOutcome], timeout: Duration) {
    let deadline = Instant::now() + timeout.max(SHORTEST_TIMEOUT);
    let topics = match topics {
        Some(created) => by(deadline, created).await,
        None => Ok(()),
    };
    for outcome in outcomes.iter_mut().flat_map(|topic| &mut topic.partitions) {
        let Some(durable) = outcome.durable.take() else { continue };
        let ended = if topics.is_ok() { by(deadline, durable).await } else { topics };
        outcome.error = ended.err().unwrap_or(outcome.error);
    }
}

async fn by(deadline: Instant, durable: Durable) -> Result<(), ErrorCode> {
    match timeout_at(deadline, durable).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(failed)) => {
            tracing::error!("an append could not be made durable: {failed}");
            Err(ErrorCode::KAFKA_STORAGE_ERROR)
        }
        Err(_) => Err(ErrorCode::REQUEST_TIMED_OUT),
    }
}

/// A producer that wants no answer learns of an error by losing its connection.
fn close_on_error(outcomes: &[TopicOutcome]) -> Result<Reply, Refused> {
    let failed = outcomes.iter().flat_map(|topic| &topic.partitions).find(|outcome| outcome.error != ErrorCode::NONE);
    match failed {
        None => Ok(Reply::Nothing),
        Some(outcome) => {
            Err(Refused::Close(format!("acks=0 and partition {} failed with {}", outcome.index, outcome.error.name())))
        }
    }
}

/// Of a partition that a request names twice, Kafka takes the last batch.
fn last_of_each(mut topics: Vec<ProduceTopic>) -> Vec<ProduceTopic> {
    if topics.iter().map(|topic| topic.partitions.len()).sum::<usize>() < 2 {
        return topics;
    }
    let mut seen = HashSet::new();
    for ProduceTopic { topic, partitions } in topics.iter_mut().rev() {
        let all = std::mem::take(partitions).into_iter().rev();
        partitions.extend(all.filter(|partition| seen.insert((topic.clone(), partition.index))));
        partitions.reverse();
    }
    topics
}

/// The error that all partitions get, before any is looked at.
fn refuse_whole(body: &ProduceRequest) -> Option<Unverified> {
    let transactional = || {
        let batches = body.topics.iter().flat_map(|topic| &topic.partitions).filter_map(|p| p.records.as_deref());
        batches.filter_map(|bytes| BatchHeader::parse(bytes).ok()).any(|header| header.is_transactional())
    };
    // Without its transactional id a producer cannot show that it may use one.
    let refused = Unverified { code: ErrorCode::TRANSACTIONAL_ID_AUTHORIZATION_FAILED, message: None };
    (body.transactional_id.is_none() && transactional()).then_some(refused)
}

/// The partition to append to. That it is there counts before what acks says.
fn find(
    broker: &Broker,
    topic: &TopicRef,
    index: PartitionIndex,
    acks: i16,
    is_admin: bool,
) -> Result<Found, ErrorCode> {
    let found = broker.find_by_ref(topic, index)?;
    if !(-1..=1).contains(&acks) {
        return Err(ErrorCode::INVALID_REQUIRED_ACKS);
    }
    if is_internal(&found.topic.name) && !is_admin {
        return Err(ErrorCode::INVALID_TOPIC_EXCEPTION);
    }
    Ok(found)
}

fn append(
    found: &Found,
    origin: Origin,
    index: PartitionIndex,
    records: Option<BytesMut>,
) -> Result<(Appended, Durable), Outcome> {
    let name = &*found.topic.name;
    match found.log.append(records.unwrap_or_default(), origin, clock::now()) {
        Ok(appended) => {
            let durable = found.log.durable(appended.last_offset);
            Ok((appended, durable))
        }
        Err(error) => {
            tracing::debug!(topic = name, partition = %index, %error, "a batch is refused");
            Err(Outcome::refused(index, error, found.log.offsets().log_start))
        }
    }
}

impl Outcome {
    fn appended(index: PartitionIndex, appended: Appended, durable: Option<Durable>) -> Self {
        Self {
            index,
            error: ErrorCode::NONE,
            base_offset: appended.base_offset,
            log_append_time: appended.log_append_time,
            log_start_offset: appended.log_start_offset,
            message: None,
            record_errors: Vec::new(),
            durable,
        }
    }

    fn failed(index: PartitionIndex, error: ErrorCode) -> Self {
        Self {
            index,
            error,
            base_offset: Offset(-1),
            log_append_time: TimestampMs::NONE,
            log_start_offset: Offset(-1),
            message: None,
            record_errors: Vec::new(),
            durable: None,
        }
    }

    fn unverified(index: PartitionIndex, error: Unverified) -> Self {
        Self { message: error.message, ..Self::failed(index, error.code) }
    }

    /// As Kafka answers: errors about the batch's content tell the log's start, and only faults of single
    /// records a message.
    fn refused(index: PartitionIndex, error: AppendError, log_start_offset: Offset) -> Self {
        let code = append_error(&error);
        let plain = Self::failed(index, code);
        match error {
            AppendError::InvalidRecord { message, records } | AppendError::InvalidTimestamp { message, records } => {
                let message = (!records.is_empty()).then_some(message);
                Self { log_start_offset, message, record_errors: records, ..plain }
            }
            AppendError::OutOfOrderSequence(_)
            | AppendError::InvalidProducerEpoch(_)
            | AppendError::InvalidTxnState(_)
            | AppendError::UnsupportedFormat(_) => Self { log_start_offset, ..plain },
            _ => plain,
        }
    }
}

fn respond(version: i16, correlation_id: i32, outcomes: Vec<TopicOutcome>) -> Result<Response, WireError> {
    let responses = outcomes.into_iter().map(topic_response).collect();
    let body = ProduceResponse::default().with_responses(responses);
    Ok(encode_response(ApiKey::Produce, version, correlation_id, &body)?.into())
}

fn topic_response(outcome: TopicOutcome) -> TopicProduceResponse {
    let response = TopicProduceResponse::default()
        .with_partition_responses(outcome.partitions.into_iter().map(partition_response).collect());
    match outcome.topic {
        TopicRef::Name(name) => response.with_name(TopicName(text(&name))),
        TopicRef::Id(id) => response.with_topic_id(id.0),
    }
}

fn partition_response(outcome: Outcome) -> PartitionProduceResponse {
    let record_errors = outcome.record_errors.into_iter().map(|(index, message)| {
        BatchIndexAndErrorMessage::default()
            .with_batch_index(index)
            .with_batch_index_error_message(Some(sentence(message)))
    });
    PartitionProduceResponse::default()
        .with_index(outcome.index.0)
        .with_error_code(outcome.error.0)
        .with_base_offset(outcome.base_offset.0)
        .with_log_append_time_ms(outcome.log_append_time.0)
        .with_log_start_offset(outcome.log_start_offset.0)
        .with_record_errors(record_errors.collect())
        .with_error_message(outcome.message.map(sentence))
}

#[cfg(test)]
mod tests;
