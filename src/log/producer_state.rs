//! Idempotent and transactional producers: what happens on a duplicate, a gap, a new epoch (rules 7-10), what may be
//! written into a transaction and what ends it (rules 11-13).
//!
//! [`ProducerStates::decide`] answers whether a batch continues what its producer wrote before and changes nothing;
//! [`ProducerStates::apply`] takes over a batch that is in the log and is the only thing that changes an entry.
//! Recovery is `apply` over the batches after the newest snapshot.

mod transactions;
mod verification;

use std::collections::HashMap;

pub use self::transactions::Aborted;
use self::transactions::Transactions;
pub use self::verification::VerificationGuard;
use self::verification::Verifications;
use super::{AppendError, Origin};
use crate::types::{Offset, ProducerEpoch, ProducerId, Sequence, TimestampMs};
use crate::wire::batch::BatchHeader;
use crate::wire::control::{Control, EndMarker};

/// How many batches per producer are remembered: as many as a client may have in flight (rule 7).
pub const REMEMBERED_BATCHES: usize = 5;

/// "No coordinator wrote a marker yet", as snapshots hold it.
const NO_COORDINATOR_EPOCH: i32 = -1;
/// From this level of the feature `transaction.version` on every transaction has an epoch of its own.
const OWN_EPOCHS_SINCE: i16 = 2;

/// What to do with a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It is new: append it.
    Append,
    /// It was appended before: acknowledge it again, write nothing (rule 7).
    Duplicate(RememberedBatch),
}

/// A batch that a producer wrote.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RememberedBatch {
    /// Sequence of its last record; -1 for a batch that the broker wrote on the producer's behalf.
    pub last_sequence: Sequence,
    /// Last offset minus base offset; the same for the sequences.
    pub offset_delta: i32,
    /// Offset of its last record.
    pub last_offset: Offset,
    /// Its largest timestamp.
    pub timestamp: TimestampMs,
}

impl RememberedBatch {
    /// Offset of its first record.
    pub fn base_offset(&self) -> Offset {
        self.last_offset.plus(-i64::from(self.offset_delta))
    }

    /// Sequence of its first record.
    pub fn base_sequence(&self) -> Sequence {
        let sequence = i64::from(self.last_sequence.0) - i64::from(self.offset_delta);
        // Sequences wrap from i32::MAX to 0, so the step back from 0 lands on i32::MAX.
        Sequence(if sequence < 0 { (sequence + i64::from(i32::MAX) + 1) as i32 } else { sequence as i32 })
    }
}

/// What is known of one producer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProducerEntry {
    batches: [RememberedBatch; REMEMBERED_BATCHES],
    remembered: u8,
    epoch: ProducerEpoch,
    coordinator_epoch: i32,
    last_timestamp: TimestampMs,
    /// When it last wrote, by the broker's clock: what expiry goes by. A producer that fills in old records is not idle.
    last_activity: TimestampMs,
    transaction_start: Option<Offset>,
}

impl ProducerEntry {
    fn new(epoch: ProducerEpoch) -> Self {
        Self {
            batches: [RememberedBatch::default(); REMEMBERED_BATCHES],
            remembered: 0,
            epoch,
            coordinator_epoch: NO_COORDINATOR_EPOCH,
            last_timestamp: TimestampMs::NONE,
            last_activity: TimestampMs::NONE,
            transaction_start: None,
        }
    }

    /// Its remembered batches, the oldest first.
    pub fn batches(&self) -> &[RememberedBatch] {
        self.batches.get(..usize::from(self.remembered)).unwrap_or_default()
    }

    /// Its current epoch.
    pub fn epoch(&self) -> ProducerEpoch {
        self.epoch
    }

    /// Epoch of the coordinator that last ended a transaction of it; -1 for none.
    pub fn coordinator_epoch(&self) -> i32 {
        self.coordinator_epoch
    }

    /// Largest timestamp of its last batch.
    pub fn last_timestamp(&self) -> TimestampMs {
        self.last_timestamp
    }

    /// First offset of its open transaction.
    pub fn transaction_start(&self) -> Option<Offset> {
        self.transaction_start
    }

    /// Sequence of its last record; -1 when none is remembered.
    pub fn last_sequence(&self) -> Sequence {
        self.batches().last().map_or(Sequence::NONE, |batch| batch.last_sequence)
    }

    fn set_epoch(&mut self, epoch: ProducerEpoch) {
        if self.epoch != epoch {
            self.epoch = epoch;
            self.batches = Default::default();
            self.remembered = 0;
        }
    }

    fn remember(&mut self, batch: RememberedBatch) {
        let count = usize::from(self.remembered);
        if count == REMEMBERED_BATCHES {
            self.batches.rotate_left(1);
        } else {
            self.remembered += 1;
        }
        if let Some(slot) = self.batches.get_mut(count.min(REMEMBERED_BATCHES - 1)) {
            *slot = batch;
        }
    }

    fn duplicate_of(&self, header: &BatchHeader) -> Option<RememberedBatch> {
        if header.producer_epoch != self.epoch {
            return None;
        }
        let (first, last) = (header.base_sequence, header.last_sequence());
        self.batches().iter().find(|batch| batch.last_sequence == last && batch.base_sequence() == first).copied()
    }
}

/// One entry of a producer snapshot file: one batch of one producer.
///
/// A producer with several remembered batches has several entries in a row, the oldest first. Kafka writes only the
/// newest, and lets a later entry replace an earlier one of the same producer, so it reads what is written here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProducerSnapshotEntry {
    /// Whose entry it is.
    pub producer_id: ProducerId,
    /// The producer's epoch.
    pub epoch: ProducerEpoch,
    /// Sequence of the batch's last record; -1 for none.
    pub last_sequence: Sequence,
    /// Offset of the batch's last record; -1 for none.
    pub last_offset: Offset,
    /// Last offset minus base offset.
    pub offset_delta: i32,
    /// Largest timestamp.
    pub timestamp: TimestampMs,
    /// Epoch of the last transaction coordinator; -1 for none.
    pub coordinator_epoch: i32,
    /// First offset of the open transaction.
    pub transaction_start: Option<Offset>,
}

/// All producers of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProducerStates {
    producers: HashMap<ProducerId, ProducerEntry>,
    transactions: Transactions,
    /// Only in memory: who asks for one before a restart gets no answer.
    verifications: Verifications,
    end_offset: Offset,
}

impl ProducerStates {
    /// No producers, for a log that begins at `start`.
    pub fn new(start: Offset) -> Self {
        Self { end_offset: start, ..Self::default() }
    }

    /// Whether a batch may be appended, without changing anything.
    ///
    /// `header` is the batch as it came: its offsets do not matter, its epoch and sequences do. `control` is what it says
    /// if it is a control batch.
    pub fn decide(
        &self,
        header: &BatchHeader,
        control: Option<Control>,
        origin: Origin,
    ) -> Result<Decision, AppendError> {
        if !header.has_producer() {
            return Ok(Decision::Append);
        }
        let entry = self.producers.get(&header.producer_id);
        match (origin, control) {
            (Origin::Broker, _) => {}
            (Origin::Marker { transaction_version }, Some(Control::End(marker))) => {
                check_marker(entry, header, marker, transaction_version)?;
            }
            (Origin::Marker { .. }, _) => return Err(not_a_marker()),
            (Origin::Coordinator { guard }, _) => {
                self.check_transaction(entry, header, guard)?;
                check_epoch(entry, header)?;
                check_outside(entry, header)?;
            }
            (Origin::Client { guard, .. }, _) => {
                if let Some(original) = entry.and_then(|entry| entry.duplicate_of(header)) {
                    return Ok(Decision::Duplicate(original));
                }
                self.check_transaction(entry, header, guard)?;
                check_epoch(entry, header)?;
                self.check_verified_sequence(entry, header)?;
                check_sequence(entry, header)?;
                check_outside(entry, header)?;
            }
        }
        Ok(Decision::Append)
    }

    /// Rule 11: nothing is written into a transaction that the coordinator does not know to be open here.
    fn check_transaction(
        &self,
        entry: Option<&ProducerEntry>,
        header: &BatchHeader,
        guard: VerificationGuard,
    ) -> Result<(), AppendError> {
        if !header.is_transactional() || is_open(entry, header.producer_epoch) || guard == VerificationGuard::WAIVED {
            return Ok(());
        }
        check_epoch(entry, header)?;
        if self.verifications.is_guarded_by(header.producer_id, guard) {
            return Ok(());
        }
        Err(AppendError::InvalidTxnState("Record was not part of an ongoing transaction".to_owned()))
    }

    /// Sequences as far as a verification knows better than the log.
    fn check_verified_sequence(&self, entry: Option<&ProducerEntry>, header: &BatchHeader) -> Result<(), AppendError> {
        let Some(verification) = self.verifications.get(header.producer_id) else { return Ok(()) };
        let (producer, first) = (header.producer_id, header.base_sequence);
        let is_known = entry.is_some_and(|entry| !entry.batches().is_empty());
        if verification.adds_partition && first != Sequence(0) && !is_known {
            // Where every transaction has an epoch of its own, a producer is known from its first record on.
            return Err(AppendError::OutOfOrderSequence(format!(
                "producer {producer} began with sequence {first} instead of 0"
            )));
        }
        let lowest = verification.lowest_sequence;
        if first > lowest {
            return Err(AppendError::OutOfOrderSequence(format!(
                "producer {producer} sent sequence {first} before {lowest}, whose verification failed or goes on"
            )));
        }
        Ok(())
    }

    /// Begins to verify with the coordinator that a transaction is open here (rule 11); `None` where it is known to be.
    ///
    /// `sequence` is that of the first record to append, -1 for none. `adds_partition` says that the verification adds
    /// the partition to the transaction: Produce from v12 on, TxnOffsetCommit from v5 on.
    pub fn begin_verification(
        &mut self,
        producer: ProducerId,
        epoch: ProducerEpoch,
        sequence: Sequence,
        adds_partition: bool,
        now: TimestampMs,
    ) -> Result<Option<VerificationGuard>, AppendError> {
        let entry = self.producers.get(&producer);
        if let Some(entry) = entry.filter(|entry| epoch < entry.epoch) {
            return Err(old_epoch(producer, epoch, entry.epoch));
        }
        if is_open(entry, epoch) {
            return Ok(None);
        }
        Ok(Some(self.verifications.begin(producer, epoch, sequence, adds_partition, now)))
    }

    /// Takes over a batch that is in the log; every batch goes through here, also one without a producer.
    ///
    /// `header` carries the offsets that the batch got, `control` is what it says if it is a control batch. Nothing is
    /// checked: what is in the log counts. `now` is the broker's time, also while a log is recovered.
    /// Where the batch aborts a transaction, that is returned for the transaction index.
    pub fn apply(&mut self, header: &BatchHeader, control: Option<Control>, now: TimestampMs) -> Option<Aborted> {
        self.end_offset = header.next_offset();
        if !header.has_producer() || (header.is_control() && matches!(control, None | Some(Control::Other))) {
            return None;
        }
        let entry =
            self.producers.entry(header.producer_id).or_insert_with(|| ProducerEntry::new(header.producer_epoch));
        entry.set_epoch(header.producer_epoch);
        entry.last_timestamp = header.max_timestamp;
        entry.last_activity = now;
        if header.is_transactional() {
            self.verifications.settle(header);
        }
        if header.is_control() {
            return self.end_transaction(header, control);
        }
        entry.remember(RememberedBatch {
            last_sequence: header.last_sequence(),
            offset_delta: header.last_offset_delta,
            last_offset: header.last_offset(),
            timestamp: header.max_timestamp,
        });
        if header.is_transactional() && entry.transaction_start.is_none() {
            entry.transaction_start = Some(header.base_offset);
            self.transactions.begin(header.base_offset);
        }
        None
    }

    /// A marker ends the transaction, if one is open; it has no sequence and is not remembered.
    fn end_transaction(&mut self, header: &BatchHeader, control: Option<Control>) -> Option<Aborted> {
        let entry = self.producers.get_mut(&header.producer_id)?;
        let marker = match control {
            Some(Control::End(marker)) => Some(marker),
            _ => None,
        };
        if let Some(marker) = marker {
            entry.coordinator_epoch = marker.coordinator_epoch;
        }
        let first_offset = entry.transaction_start.take()?;
        let last_offset = header.base_offset;
        let last_stable_offset = self.transactions.end(first_offset, last_offset);
        let aborted = Aborted { producer_id: header.producer_id, first_offset, last_offset, last_stable_offset };
        marker.is_some_and(|marker| !marker.commit).then_some(aborted)
    }

    /// What readers see ends here now: transactions whose markers lie below hold back the last stable offset no more.
    pub fn replicated(&mut self, high_watermark: Offset) {
        self.transactions.replicated(high_watermark);
    }

    /// Forgets producers that have been silent for `expiration_ms` (`producer.id.expiration.ms`), unless a transaction
    /// of theirs is open (rule 9), and verifications that nobody finished. Returns how many producers.
    pub fn expire(&mut self, now: TimestampMs, expiration_ms: i64) -> usize {
        self.verifications.expire(now, expiration_ms);
        let before = self.producers.len();
        self.producers.retain(|_, entry| {
            entry.transaction_start.is_some() || now.0.saturating_sub(entry.last_activity.0) < expiration_ms
        });
        before - self.producers.len()
    }

    /// Forgets everything; the log now ends at `end`.
    pub fn clear(&mut self, end: Offset) {
        let mut verifications = std::mem::take(&mut self.verifications);
        verifications.clear();
        *self = Self { verifications, ..Self::new(end) };
    }

    /// Replaces everything by the content of a snapshot that was taken at `end`.
    ///
    /// A snapshot does not say when a producer last wrote, only which time its records carry, and that may be long ago
    /// where old data is copied. So each has its whole time again, from `now` on.
    pub fn restore(&mut self, entries: &[ProducerSnapshotEntry], end: Offset, now: TimestampMs) {
        self.clear(end);
        for saved in entries {
            let entry = self.producers.entry(saved.producer_id).or_insert_with(|| ProducerEntry::new(saved.epoch));
            entry.set_epoch(saved.epoch);
            entry.coordinator_epoch = saved.coordinator_epoch;
            entry.last_timestamp = saved.timestamp;
            entry.last_activity = now;
            if saved.last_offset.0 >= 0 {
                entry.remember(RememberedBatch {
                    last_sequence: saved.last_sequence,
                    offset_delta: saved.offset_delta,
                    last_offset: saved.last_offset,
                    timestamp: saved.timestamp,
                });
            }
            if entry.transaction_start != saved.transaction_start {
                if let Some(start) = entry.transaction_start {
                    self.transactions.forget(start);
                }
                if let Some(start) = saved.transaction_start {
                    self.transactions.begin(start);
                }
                entry.transaction_start = saved.transaction_start;
            }
        }
    }

    /// What a snapshot at [`Self::end_offset`] holds: all remembered batches (rule 7), ordered by producer id.
    pub fn snapshot(&self) -> Vec<ProducerSnapshotEntry> {
        let mut producers: Vec<_> = self.producers.iter().collect();
        producers.sort_unstable_by_key(|(id, _)| **id);
        let mut entries = Vec::with_capacity(producers.len());
        for (&producer_id, entry) in producers {
            let saved = ProducerSnapshotEntry {
                producer_id,
                epoch: entry.epoch,
                last_sequence: Sequence::NONE,
                last_offset: Offset(-1),
                offset_delta: 0,
                timestamp: entry.last_timestamp,
                coordinator_epoch: entry.coordinator_epoch,
                transaction_start: entry.transaction_start,
            };
            if entry.batches().is_empty() {
                entries.push(saved);
            }
            let last = entry.batches().len().saturating_sub(1);
            entries.extend(entry.batches().iter().enumerate().map(|(i, batch)| ProducerSnapshotEntry {
                last_sequence: batch.last_sequence,
                last_offset: batch.last_offset,
                offset_delta: batch.offset_delta,
                // Kafka drops expired entries one by one while it reads, and must not drop a newer batch and keep an
                // older one: so none is younger than the last.
                timestamp: if i == last { entry.last_timestamp } else { batch.timestamp.min(entry.last_timestamp) },
                ..saved
            }));
        }
        entries
    }

    /// Offset after the last batch that was applied: what the state stands for.
    pub fn end_offset(&self) -> Offset {
        self.end_offset
    }

    /// First offset of the oldest open transaction.
    pub fn first_open_transaction(&self) -> Option<Offset> {
        self.transactions.first_open()
    }

    /// First offset of the oldest transaction that is open, or that ended at or after the high watermark: it bounds the
    /// last stable offset (rule 13).
    pub fn first_unstable(&self) -> Option<Offset> {
        self.transactions.first_unstable()
    }

    /// What is known of a producer.
    pub fn get(&self, producer: ProducerId) -> Option<&ProducerEntry> {
        self.producers.get(&producer)
    }

    /// All producers, in no order.
    pub fn iter(&self) -> impl Iterator<Item = (ProducerId, &ProducerEntry)> {
        self.producers.iter().map(|(&id, entry)| (id, entry))
    }

    /// How many producers there are.
    pub fn len(&self) -> usize {
        self.producers.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.producers.is_empty()
    }
}

/// Whether a transaction of the producer is open under this epoch.
fn is_open(entry: Option<&ProducerEntry>, epoch: ProducerEpoch) -> bool {
    entry.is_some_and(|entry| entry.transaction_start.is_some() && entry.epoch == epoch)
}

/// Rule 8: a lower epoch is an earlier incarnation of the producer.
fn check_epoch(entry: Option<&ProducerEntry>, header: &BatchHeader) -> Result<(), AppendError> {
    let current = entry.map_or(ProducerEpoch::NONE, ProducerEntry::epoch);
    if header.producer_epoch < current {
        return Err(old_epoch(header.producer_id, header.producer_epoch, current));
    }
    Ok(())
}

fn old_epoch(producer: ProducerId, epoch: ProducerEpoch, current: ProducerEpoch) -> AppendError {
    AppendError::InvalidProducerEpoch(format!(
        "producer {producer} wrote with epoch {epoch}, but its epoch is {current} by now"
    ))
}

/// Rule 10: while a transaction is open, its producer writes nothing outside of it.
fn check_outside(entry: Option<&ProducerEntry>, header: &BatchHeader) -> Result<(), AppendError> {
    let is_open = entry.is_some_and(|entry| entry.transaction_start.is_some());
    if header.is_transactional() || !is_open {
        return Ok(());
    }
    Err(AppendError::InvalidTxnState(format!("producer {} wrote outside of its open transaction", header.producer_id)))
}

/// Rule 12: whether a transaction is ended by who may end it.
///
/// Where every transaction has an epoch of its own, the coordinator raises it before it writes the marker: a marker that
/// does not is late, and would end a transaction that it knows nothing of. Only one that was written already, and is
/// written again because its coordinator did not learn of it, has the current epoch: then no transaction is open.
fn check_marker(
    entry: Option<&ProducerEntry>,
    header: &BatchHeader,
    marker: EndMarker,
    transaction_version: i16,
) -> Result<(), AppendError> {
    check_epoch(entry, header)?;
    let current = entry.map_or(ProducerEpoch::NONE, ProducerEntry::epoch);
    let is_open = entry.is_some_and(|entry| entry.transaction_start.is_some());
    if transaction_version >= OWN_EPOCHS_SINCE && header.producer_epoch == current && is_open {
        return Err(AppendError::InvalidProducerEpoch(format!(
            "a marker of producer {} has epoch {current}, which is that of its open transaction",
            header.producer_id
        )));
    }
    let known = entry.map_or(NO_COORDINATOR_EPOCH, ProducerEntry::coordinator_epoch);
    if marker.coordinator_epoch < known {
        return Err(AppendError::CoordinatorFenced(format!(
            "a marker of producer {} is of coordinator epoch {}, but the epoch is {known} by now",
            header.producer_id, marker.coordinator_epoch
        )));
    }
    Ok(())
}

/// A transaction is ended by a marker only.
pub(super) fn not_a_marker() -> AppendError {
    AppendError::InvalidRecord { message: "the batch does not end a transaction".to_owned(), records: Vec::new() }
}

/// Rule 8: a new epoch begins at 0; otherwise the sequence goes on where the last batch ended.
fn check_sequence(entry: Option<&ProducerEntry>, header: &BatchHeader) -> Result<(), AppendError> {
    // Rule 9: nothing is known of it (or no longer), so any first sequence is accepted.
    let Some(entry) = entry.filter(|entry| entry.epoch != ProducerEpoch::NONE) else { return Ok(()) };
    let first = header.base_sequence;
    if header.producer_epoch != entry.epoch {
        if first == Sequence(0) {
            return Ok(());
        }
        return Err(AppendError::OutOfOrderSequence(format!(
            "producer {} began its new epoch {} (after {}) with sequence {first} instead of 0",
            header.producer_id, header.producer_epoch, entry.epoch
        )));
    }
    let expected = entry.last_sequence().plus(1);
    if first == expected {
        return Ok(());
    }
    Err(AppendError::OutOfOrderSequence(format!(
        "producer {} sent sequence {first} where {expected} was expected",
        header.producer_id
    )))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod transaction_tests;
