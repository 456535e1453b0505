//! The transactional ids of one partition of `__transaction_state`, and what requests do to them.

use std::collections::{BTreeSet, HashMap};

use super::TransactionalId;
use super::records::Record;
use super::transaction::{self, State, Transaction, TransactionVersion};
use super::turn::{Ending, Turn};
use crate::types::{ProducerEpoch, ProducerId, TopicPartition};
use crate::wire::ErrorCode;

/// The most ids that one turn forgets, so that its records fit in a batch.
pub const EXPIRED_AT_ONCE: usize = 1000;

/// A producer with its epoch.
pub type Producer = (ProducerId, ProducerEpoch);

/// InitProducerId for a transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Init {
    /// Which id.
    pub id: TransactionalId,
    /// How long its transactions may take; milliseconds.
    pub timeout_ms: i32,
    /// Who the client was, where it goes on after an error (KIP-360).
    pub expected: Option<Producer>,
}

/// EndTxn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct End {
    /// Which id.
    pub id: TransactionalId,
    /// Who ends it.
    pub producer: Producer,
    /// How.
    pub commit: bool,
    /// The protocol of the client.
    pub version: TransactionVersion,
}

/// What ListTransactions asks for; every filter that is set must fit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// Only of these producers; all where there is none.
    pub producers: BTreeSet<ProducerId>,
    /// Only in the states of these names; all where nothing was asked for.
    pub states: Option<BTreeSet<String>>,
    /// Only those that began more than so many milliseconds ago; all where it is negative.
    pub longer_than_ms: i64,
}

/// The state of one partition of `__transaction_state`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Shard {
    transactions: HashMap<TransactionalId, Transaction>,
}

impl Shard {
    /// Takes over what is in the log.
    pub fn apply(&mut self, record: &Record) {
        match &record.value {
            Some(value) => self.transactions.insert(TransactionalId::clone(&record.id), value.clone()),
            None => self.transactions.remove(&record.id),
        };
    }

    /// The log was replayed: what was decided is carried out (rule 15).
    pub fn loaded(&self, turn: &mut Turn<'_>) {
        turn.endings.extend(self.transactions.iter().filter_map(|(id, transaction)| transaction.ending(id)));
    }

    /// What is known of an id.
    pub fn get(&self, id: &str) -> Option<&Transaction> {
        self.transactions.get(id)
    }

    fn put(&mut self, turn: &mut Turn<'_>, id: &TransactionalId, value: Option<Transaction>) {
        let record = Record { id: TransactionalId::clone(id), value };
        self.apply(&record);
        turn.endings.extend(record.value.as_ref().and_then(|value| value.ending(id)));
        turn.records.push(record);
    }

    /// InitProducerId: the producer and epoch that hold the id from now on (rule 17).
    ///
    /// # Errors
    /// INVALID_REQUEST, INVALID_TRANSACTION_TIMEOUT, PRODUCER_FENCED where another producer holds the id meanwhile,
    /// CONCURRENT_TRANSACTIONS while a transaction ends (one that is open is made to), COORDINATOR_NOT_AVAILABLE where no
    /// producer id can be had.
    pub fn init(&mut self, turn: &mut Turn<'_>, request: &Init) -> Result<Producer, ErrorCode> {
        if request.id.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        if !(1..=turn.config.max_timeout_ms).contains(&request.timeout_ms) {
            return Err(ErrorCode::INVALID_TRANSACTION_TIMEOUT);
        }
        let current = match self.transactions.get(&request.id) {
            Some(current) => current.clone(),
            None => Transaction::new(new_id(turn)?, request.timeout_ms, turn.now),
        };
        if !request.expected.is_none_or(|expected| may_continue(&current, expected)) {
            return Err(ErrorCode::PRODUCER_FENCED);
        }
        match current.state {
            State::PrepareCommit | State::PrepareAbort => Err(ErrorCode::CONCURRENT_TRANSACTIONS),
            State::Ongoing => {
                self.abort(turn, &request.id)?;
                Err(ErrorCode::CONCURRENT_TRANSACTIONS)
            }
            State::Empty | State::CompleteCommit | State::CompleteAbort => {
                let next = begun(turn, &current, request)?;
                let producer = (next.producer, next.epoch);
                self.put(turn, &request.id, Some(next));
                Ok(producer)
            }
        }
    }

    /// AddPartitionsToTxn, and what writing to a partition does under KIP-890.
    ///
    /// # Errors
    /// INVALID_REQUEST, INVALID_PRODUCER_ID_MAPPING, PRODUCER_FENCED, CONCURRENT_TRANSACTIONS while the transaction before
    /// is being ended.
    pub fn add_partitions(
        &mut self,
        turn: &mut Turn<'_>,
        id: &TransactionalId,
        producer: Producer,
        partitions: &[TopicPartition],
        version: TransactionVersion,
    ) -> Result<(), ErrorCode> {
        let current = self.held_by(id, producer)?;
        if current.state.is_prepared() {
            return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
        }
        let is_new = |partition: &&TopicPartition| !current.partitions.contains(*partition);
        let mut added = partitions.iter().filter(is_new).peekable();
        if current.state == State::Ongoing && added.peek().is_none() {
            return Ok(());
        }
        let next = current.with_partitions(added.cloned(), version, turn.now);
        self.put(turn, id, Some(next));
        Ok(())
    }

    /// Whether partitions belong to the transaction: a code for each (rule 11).
    ///
    /// # Errors
    /// As [`Self::add_partitions`].
    pub fn verify(
        &self,
        id: &TransactionalId,
        producer: Producer,
        partitions: &[TopicPartition],
    ) -> Result<Vec<ErrorCode>, ErrorCode> {
        let current = self.held_by(id, producer)?;
        if current.state.is_prepared() {
            return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
        }
        let code = |partition| {
            if current.partitions.contains(partition) { ErrorCode::NONE } else { ErrorCode::TRANSACTION_ABORTABLE }
        };
        Ok(partitions.iter().map(code).collect())
    }

    fn held_by(&self, id: &TransactionalId, (producer, epoch): Producer) -> Result<&Transaction, ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        let current = self.transactions.get(id).ok_or(ErrorCode::INVALID_PRODUCER_ID_MAPPING)?;
        if current.goes_to((producer, epoch)) {
            return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
        }
        if current.producer != producer {
            return Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
        }
        if current.epoch == epoch { Ok(current) } else { Err(ErrorCode::PRODUCER_FENCED) }
    }

    /// EndTxn (rule 16): the producer and epoch of the next transaction under KIP-890.
    ///
    /// # Errors
    /// As [`Self::add_partitions`]; INVALID_TXN_STATE where there is nothing to end, or it ended the other way.
    pub fn end(&mut self, turn: &mut Turn<'_>, request: &End) -> Result<Producer, ErrorCode> {
        if request.id.is_empty() {
            return Err(ErrorCode::INVALID_REQUEST);
        }
        let current = self.transactions.get(&request.id).ok_or(ErrorCode::INVALID_PRODUCER_ID_MAPPING)?;
        let decision =
            if request.version.bumps_epoch() { end_kip_890(current, request)? } else { end_classic(current, request)? };
        let next = match decision {
            EndTxn::Again => current.clone(),
            EndTxn::Now => {
                let current = current.clone();
                let rotates = request.version.bumps_epoch() && current.is_exhausted();
                let next_producer = if rotates { new_id(turn)? } else { ProducerId::NONE };
                let prepared = current.prepared(request.commit, request.version, next_producer, turn.now);
                self.put(turn, &request.id, Some(prepared.clone()));
                prepared.completed(turn.now)
            }
        };
        Ok((next.producer, next.epoch))
    }

    /// All markers of a transaction are written.
    pub fn complete(&mut self, turn: &mut Turn<'_>, ending: &Ending) {
        let is_it = |current: &&Transaction| {
            current
                .ending(&ending.id)
                .is_some_and(|mine| (mine.producer, mine.epoch) == (ending.producer, ending.epoch))
        };
        if let Some(current) = self.transactions.get(&ending.id).filter(is_it) {
            let next = current.completed(turn.now);
            self.put(turn, &ending.id, Some(next));
        }
    }

    /// Aborts the transactions that are past their timeout, and shuts their producers out (rule 18).
    pub fn abort_timed_out(&mut self, turn: &mut Turn<'_>) {
        let late = self.transactions.iter().filter(|(_, transaction)| transaction.is_timed_out(turn.now));
        let late: Vec<TransactionalId> = late.map(|(id, _)| TransactionalId::clone(id)).collect();
        for id in late {
            // One that gets no producer id now is looked at again next time.
            if self.abort(turn, &id).is_ok() {
                tracing::info!("the transaction of {id} took longer than its producer allowed and is aborted");
            }
        }
    }

    fn abort(&mut self, turn: &mut Turn<'_>, id: &TransactionalId) -> Result<(), ErrorCode> {
        let Some(current) = self.transactions.get(id).cloned() else { return Ok(()) };
        let version = turn.version;
        let prepared = if version.bumps_epoch() {
            let next_producer = if current.is_exhausted() { new_id(turn)? } else { ProducerId::NONE };
            // The new epoch shuts the producer out (KAFKA-19367: one is enough).
            current.prepared(false, version, next_producer, turn.now)
        } else {
            current.fenced().prepared(false, TransactionVersion::CLASSIC, ProducerId::NONE, turn.now)
        };
        self.put(turn, id, Some(prepared));
        Ok(())
    }

    /// Forgets ids that nobody has used for long, so many at once; how many those were.
    pub fn expire(&mut self, turn: &mut Turn<'_>) -> usize {
        let expiration_ms = turn.config.id_expiration_ms;
        let expired = self.transactions.iter().filter(|(_, value)| value.is_expired(turn.now, expiration_ms));
        let expired: Vec<_> = expired.map(|(id, _)| TransactionalId::clone(id)).take(EXPIRED_AT_ONCE).collect();
        for id in &expired {
            self.put(turn, id, None);
        }
        expired.len()
    }

    /// ListTransactions: those that a filter lets through.
    pub fn list(&self, turn: &Turn<'_>, filter: &Filter) -> Vec<(TransactionalId, ProducerId, State)> {
        let fits = |transaction: &Transaction| {
            let age = turn.now.0.saturating_sub(transaction.start.0);
            (filter.producers.is_empty() || filter.producers.contains(&transaction.producer))
                && filter.states.as_ref().is_none_or(|states| states.contains(transaction.state.name()))
                && (filter.longer_than_ms < 0 || age > filter.longer_than_ms)
        };
        let listed = self.transactions.iter().filter(|(_, transaction)| fits(transaction));
        listed.map(|(id, value)| (TransactionalId::clone(id), value.producer, value.state)).collect()
    }
}

/// What EndTxn has to do.
enum EndTxn {
    /// Nothing: it was done before, and is told again.
    Again,
    Now,
}

fn end_classic(current: &Transaction, request: &End) -> Result<EndTxn, ErrorCode> {
    if current.producer != request.producer.0 {
        return Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
    }
    if current.epoch != request.producer.1 {
        return Err(ErrorCode::PRODUCER_FENCED);
    }
    let ends_so = current.state.commits() == Some(request.commit);
    match current.state {
        State::Ongoing => Ok(EndTxn::Now),
        State::PrepareCommit | State::PrepareAbort if ends_so => Err(ErrorCode::CONCURRENT_TRANSACTIONS),
        State::CompleteCommit | State::CompleteAbort if ends_so => Ok(EndTxn::Again),
        _ => Err(ErrorCode::INVALID_TXN_STATE),
    }
}

/// With an epoch for each transaction a repeated request is known by its epoch, which is the one before. Only if the
/// transaction was ended so: after one of the classic protocol it is that of a producer that was shut out.
fn end_kip_890(current: &Transaction, request: &End) -> Result<EndTxn, ErrorCode> {
    if current.goes_to(request.producer) {
        return Err(ErrorCode::CONCURRENT_TRANSACTIONS);
    }
    let (producer, epoch) = request.producer;
    let is_current = current.epoch == epoch;
    let was_bumped = current.client_version.bumps_epoch() && i32::from(current.epoch.0) == i32::from(epoch.0) + 1;
    let was_rotated = current.previous_producer == producer
        && transaction::is_exhausted(epoch)
        && epoch.0 != i16::MAX
        && current.epoch == ProducerEpoch(0);
    if current.producer != producer && !was_rotated {
        return Err(ErrorCode::INVALID_PRODUCER_ID_MAPPING);
    }
    let is_valid = match current.state {
        State::Empty | State::Ongoing => is_current,
        State::PrepareCommit | State::PrepareAbort => was_bumped,
        State::CompleteCommit | State::CompleteAbort => is_current || was_bumped || was_rotated,
    };
    if !is_valid {
        return Err(ErrorCode::PRODUCER_FENCED);
    }
    let ends_so = current.state.commits() == Some(request.commit);
    let is_repeated = was_bumped || was_rotated;
    match current.state {
        State::Ongoing => Ok(EndTxn::Now),
        State::PrepareCommit | State::PrepareAbort if ends_so => Err(ErrorCode::CONCURRENT_TRANSACTIONS),
        State::CompleteCommit | State::CompleteAbort if is_repeated && ends_so => Ok(EndTxn::Again),
        // A producer may abort what it did not begin: whatever it sent and is still on its way is shut out.
        State::Empty | State::CompleteCommit | State::CompleteAbort if !is_repeated && !request.commit => {
            Ok(EndTxn::Now)
        }
        _ => Err(ErrorCode::INVALID_TXN_STATE),
    }
}

/// Whether a producer that says who it was may go on with the id (KIP-360).
fn may_continue(current: &Transaction, (producer, epoch): Producer) -> bool {
    // The id was just made: its producer was forgotten, and gets a new identity.
    current.epoch == ProducerEpoch::NONE
        || producer == current.producer
        || current.goes_to((producer, epoch))
        // It may ask again for what it did not hear: another producer id, because its epochs were used up.
        || (producer == current.previous_producer && transaction::is_exhausted(epoch))
}

fn begun(turn: &mut Turn<'_>, current: &Transaction, request: &Init) -> Result<Transaction, ErrorCode> {
    let expected = request.expected.map(|(_, epoch)| epoch);
    if current.is_exhausted() && expected.is_none_or(|expected| expected == current.epoch) {
        let producer = new_id(turn)?;
        return Ok(current.rotated(producer, expected.is_some(), request.timeout_ms, turn.now));
    }
    current.initialized(expected, request.timeout_ms, turn.now)
}

fn new_id(turn: &mut Turn<'_>) -> Result<ProducerId, ErrorCode> {
    (turn.ids)().ok_or(ErrorCode::COORDINATOR_NOT_AVAILABLE)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests;
