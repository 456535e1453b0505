//! Whether a batch may open its producer's transaction in a partition (rule 11).
//!
//! The transaction's coordinator is asked before the first batch of a transaction is appended, so that no batch that
//! comes late opens a transaction which nobody ends. Producers of KIP-890's protocol (v12) add the partition by writing to
//! it: then it is asked to add it, and that is durable before the batch is in the log. What the log gives as a guard
//! meanwhile is worth nothing once the transaction has ended.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::pin::Pin;

use crate::api::reply::append_error;
use crate::broker::{Broker, Found};
use crate::coordinator::Outcome;
use crate::log::VerificationGuard;
use crate::txn::shard::Producer;
use crate::types::{PartitionIndex, Sequence, TopicPartition};
use crate::wire::ErrorCode;
use crate::wire::batch::BatchHeader;
use crate::wire::produce::{ProduceRequest, TopicRef};

/// The first version whose clients know TRANSACTION_ABORTABLE.
const KNOWS_ABORTABLE: i16 = 11;
/// The first version that adds partitions by writing to them.
const ADDS_PARTITIONS: i16 = 12;

/// Why a batch may not be appended, with a message where Kafka gives one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Unverified {
    pub code: ErrorCode,
    pub message: Option<String>,
}

type Key = (TopicRef, PartitionIndex);

/// What came of it.
#[derive(Debug)]
pub(super) struct Verdicts {
    /// For the partitions where there was something to ask.
    asked: HashMap<Key, Result<VerificationGuard, Unverified>>,
    /// For all others.
    otherwise: VerificationGuard,
}

impl Verdicts {
    /// What the append into a partition has to show.
    pub fn of(&self, topic: &TopicRef, index: PartitionIndex) -> Result<VerificationGuard, Unverified> {
        if self.asked.is_empty() {
            return Ok(self.otherwise);
        }
        self.asked.get(&(topic.clone(), index)).cloned().unwrap_or(Ok(self.otherwise))
    }

    fn all(otherwise: VerificationGuard) -> Self {
        Self { asked: HashMap::new(), otherwise }
    }
}

/// Verdicts now, or when the coordinator has answered.
pub(super) enum Verification {
    Done(Verdicts),
    Waits(Pin<Box<dyn Future<Output = Verdicts> + Send>>),
}

/// A partition that the coordinator is asked about.
struct Asked {
    key: Key,
    partition: TopicPartition,
    guard: VerificationGuard,
}

/// The header of a batch that belongs to a transaction.
fn transactional(records: Option<&[u8]>) -> Option<BatchHeader> {
    let header = BatchHeader::parse(records?).ok()?;
    (header.is_transactional() && header.has_producer()).then_some(header)
}

/// Asks the coordinator, where the log cannot tell by itself.
///
/// # Errors
/// INVALID_PRODUCER_ID_MAPPING where a request speaks for several producers.
pub(super) fn verify(broker: &Broker, version: i16, body: &ProduceRequest) -> Result<Verification, Unverified> {
    let nothing = Ok(Verification::Done(Verdicts::all(VerificationGuard::NONE)));
    let Some(id) = &body.transactional_id else { return nothing };
    let batches = body.topics.iter().flat_map(|topic| topic.partitions.iter().map(move |at| (&topic.topic, at)));
    // What is not there is no matter of transactions.
    let batches = batches.filter_map(|(topic, at)| {
        let header = transactional(at.records.as_deref())?;
        Some(((topic.clone(), at.index), broker.find_by_ref(topic, at.index).ok()?, header))
    });
    let batches: Vec<_> = batches.collect();
    let producers: HashSet<Producer> =
        batches.iter().map(|(.., header)| (header.producer_id, header.producer_epoch)).collect();
    let mut producers = producers.into_iter();
    let Some(producer) = producers.next() else { return nothing };
    if producers.next().is_some() {
        let message = "Transactional records contained more than one producer ID".to_owned();
        return Err(Unverified { code: ErrorCode::INVALID_PRODUCER_ID_MAPPING, message: Some(message) });
    }
    let adds = version >= ADDS_PARTITIONS;
    if !broker.transactions.has_to_be_asked(adds) {
        return Ok(Verification::Done(Verdicts::all(VerificationGuard::WAIVED)));
    }
    let mut verdicts = Verdicts::all(VerificationGuard::NONE);
    let mut asked = Vec::new();
    for (key, found, header) in batches {
        match begin(&found, adds, producer, header.base_sequence, &key) {
            Ok(Some(unknown)) => asked.push(unknown),
            Ok(None) => {}
            Err(code) => {
                verdicts.asked.insert(key, Err(Unverified { code, message: None }));
            }
        }
    }
    if asked.is_empty() {
        return Ok(Verification::Done(verdicts));
    }
    let partitions = asked.iter().map(|asked| asked.partition.clone()).collect();
    Ok(match broker.transactions.take_part(id, producer, partitions, adds) {
        Outcome::Now(answer) => {
            verdicts.take(version, asked, answer.flatten());
            Verification::Done(verdicts)
        }
        Outcome::Later(answer) => Verification::Waits(Box::pin(async move {
            verdicts.take(version, asked, answer.await.flatten());
            verdicts
        })),
    })
}

/// What has to be asked about a partition: nothing where the transaction is open in it.
fn begin(
    found: &Found,
    adds: bool,
    (producer, epoch): Producer,
    sequence: Sequence,
    key: &Key,
) -> Result<Option<Asked>, ErrorCode> {
    let begun = found.log.begin_verification(producer, epoch, sequence, adds);
    let guard = begun.map_err(|error| append_error(&error))?;
    let partition = TopicPartition::new(found.topic.name.clone(), key.1);
    Ok(guard.map(|guard| Asked { key: key.clone(), partition, guard }))
}

impl Verdicts {
    fn take(&mut self, version: i16, asked: Vec<Asked>, answer: Result<Vec<ErrorCode>, ErrorCode>) {
        let codes = answer.unwrap_or_else(|code| vec![code; asked.len()]);
        for (asked, code) in asked.into_iter().zip(codes) {
            let verdict = if code == ErrorCode::NONE { Ok(asked.guard) } else { Err(unverified(version, code)) };
            self.asked.insert(asked.key, verdict);
        }
    }
}

/// What a client is told of the coordinator's answer: something that it knows, and that makes it do what is right.
fn unverified(version: i16, code: ErrorCode) -> Unverified {
    match code {
        ErrorCode::PRODUCER_FENCED => Unverified { code: ErrorCode::INVALID_PRODUCER_EPOCH, message: None },
        ErrorCode::TRANSACTION_ABORTABLE if version < KNOWS_ABORTABLE => Unverified {
            code: ErrorCode::INVALID_TXN_STATE,
            message: Some("Partition was not added to the transaction".to_owned()),
        },
        ErrorCode::CONCURRENT_TRANSACTIONS if version >= ADDS_PARTITIONS => Unverified { code, message: None },
        // Older clients try again after this one, and do not look for another broker.
        ErrorCode::COORDINATOR_LOAD_IN_PROGRESS
        | ErrorCode::COORDINATOR_NOT_AVAILABLE
        | ErrorCode::NOT_COORDINATOR
        | ErrorCode::CONCURRENT_TRANSACTIONS => Unverified {
            code: ErrorCode::NOT_ENOUGH_REPLICAS,
            message: Some(format!(
                "Unable to verify the partition has been added to the transaction. Underlying error: {}",
                code.name()
            )),
        },
        code => Unverified { code, message: None },
    }
}
