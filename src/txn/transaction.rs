//! One transactional id: who holds it, and where its transaction stands.
//!
//! Each step gives the whole next state, which is what the log gets.

use std::collections::BTreeSet;

use super::TransactionalId;
use super::turn::Ending;
use crate::types::{ProducerEpoch, ProducerId, TimestampMs, TopicPartition};
use crate::wire::ErrorCode;

/// A producer gets no epoch above this one less: the last is kept for fencing it.
const LAST_EPOCH: ProducerEpoch = ProducerEpoch(i16::MAX);

/// A level of the feature `transaction.version`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct TransactionVersion(pub i16);

impl TransactionVersion {
    /// What clients before KIP-890 speak.
    pub const CLASSIC: Self = Self(0);
    /// KIP-890: partitions are added by writing to them, and every transaction has an epoch of its own.
    pub const KIP_890: Self = Self(2);

    /// Whether every transaction ends with a new epoch, which is what tells it from the next one (KIP-890).
    pub const fn bumps_epoch(self) -> bool {
        self.0 >= Self::KIP_890.0
    }

    /// Whether records have tagged fields.
    pub const fn writes_flexible(self) -> bool {
        self.0 >= 1
    }
}

/// Where a transaction stands, with Kafka's numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(i8)]
pub enum State {
    /// There was none since the producer began.
    Empty = 0,
    /// Partitions were added.
    Ongoing = 1,
    /// It is decided: markers are being written.
    PrepareCommit = 2,
    /// It is decided: markers are being written.
    PrepareAbort = 3,
    /// All markers are written.
    CompleteCommit = 4,
    /// All markers are written.
    CompleteAbort = 5,
}

impl State {
    const ALL: [Self; 6] = [
        Self::Empty,
        Self::Ongoing,
        Self::PrepareCommit,
        Self::PrepareAbort,
        Self::CompleteCommit,
        Self::CompleteAbort,
    ];

    /// By its number.
    pub fn of(number: i8) -> Option<Self> {
        Self::ALL.into_iter().find(|state| *state as i8 == number)
    }

    /// Its name in answers and filters.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Ongoing => "Ongoing",
            Self::PrepareCommit => "PrepareCommit",
            Self::PrepareAbort => "PrepareAbort",
            Self::CompleteCommit => "CompleteCommit",
            Self::CompleteAbort => "CompleteAbort",
        }
    }

    /// Whether a filter may ask for this name. Two of Kafka's states exist only between two of its locks.
    pub fn is_known(name: &str) -> bool {
        matches!(name, "Dead" | "PrepareEpochFence") || Self::ALL.into_iter().any(|state| state.name() == name)
    }

    /// Whether it is decided and not over.
    pub const fn is_prepared(self) -> bool {
        matches!(self, Self::PrepareCommit | Self::PrepareAbort)
    }

    /// Whether nothing is open: only then may the id expire (rule 18).
    pub const fn is_idle(self) -> bool {
        matches!(self, Self::Empty | Self::CompleteCommit | Self::CompleteAbort)
    }

    /// Whether it is a commit, where it is decided.
    pub const fn commits(self) -> Option<bool> {
        match self {
            Self::PrepareCommit | Self::CompleteCommit => Some(true),
            Self::PrepareAbort | Self::CompleteAbort => Some(false),
            Self::Empty | Self::Ongoing => None,
        }
    }
}

/// What is known of a transactional id.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// The producer that holds it.
    pub producer: ProducerId,
    /// The producer as of the step before.
    pub previous_producer: ProducerId,
    /// The producer that takes over when the markers are written, because this one has no epoch left; -1 for none.
    pub next_producer: ProducerId,
    /// Its epoch; -1 until it is first told.
    pub epoch: ProducerEpoch,
    /// The epoch before, where the producer that holds the id had it itself; -1 otherwise. A restart forgets it.
    pub last_epoch: ProducerEpoch,
    /// How long a transaction may take; milliseconds.
    pub timeout_ms: i32,
    /// Where it stands.
    pub state: State,
    /// Where it wrote, or was about to.
    pub partitions: BTreeSet<TopicPartition>,
    /// When its first partition was added; -1 when there is none.
    pub start: TimestampMs,
    /// When this became so.
    pub last_update: TimestampMs,
    /// The protocol of the client that made it so.
    pub client_version: TransactionVersion,
}

impl Transaction {
    /// An id that was not known.
    pub fn new(producer: ProducerId, timeout_ms: i32, now: TimestampMs) -> Self {
        Self {
            producer,
            previous_producer: ProducerId::NONE,
            next_producer: ProducerId::NONE,
            epoch: ProducerEpoch::NONE,
            last_epoch: ProducerEpoch::NONE,
            timeout_ms,
            state: State::Empty,
            partitions: BTreeSet::new(),
            start: TimestampMs::NONE,
            last_update: now,
            client_version: TransactionVersion::CLASSIC,
        }
    }

    /// Whether its producer has no epoch left.
    pub fn is_exhausted(&self) -> bool {
        is_exhausted(self.epoch)
    }

    fn step(&self, now: TimestampMs) -> Self {
        Self { previous_producer: self.producer, last_update: now, ..self.clone() }
    }

    /// The producer begins, or begins again, with the next epoch. `expected` is the epoch that it had, where it says so.
    ///
    /// # Errors
    /// PRODUCER_FENCED where the id went to another producer meanwhile.
    pub fn initialized(
        &self,
        expected: Option<ProducerEpoch>,
        timeout_ms: i32,
        now: TimestampMs,
    ) -> Result<Self, ErrorCode> {
        let next = ProducerEpoch(self.epoch.0.saturating_add(1));
        let (epoch, last_epoch) = match expected {
            None => (next, ProducerEpoch::NONE),
            Some(expected) if self.epoch == ProducerEpoch::NONE || expected == self.epoch => (next, self.epoch),
            // It is told again: another producer would have made the last epoch unknown.
            Some(expected) if expected == self.last_epoch => (self.epoch, self.last_epoch),
            Some(_) => return Err(ErrorCode::PRODUCER_FENCED),
        };
        Ok(Self { epoch, last_epoch, ..self.step(now).begun(timeout_ms) })
    }

    /// As [`Self::initialized`] when no epoch is left: another producer id.
    #[must_use]
    pub fn rotated(&self, producer: ProducerId, keeps_last: bool, timeout_ms: i32, now: TimestampMs) -> Self {
        let last_epoch = if keeps_last { self.epoch } else { ProducerEpoch::NONE };
        Self { producer, epoch: ProducerEpoch(0), last_epoch, ..self.step(now).begun(timeout_ms) }
    }

    fn begun(self, timeout_ms: i32) -> Self {
        Self { timeout_ms, state: State::Empty, partitions: BTreeSet::new(), start: TimestampMs::NONE, ..self }
    }

    /// More partitions belong to it; the first begin it.
    #[must_use]
    pub fn with_partitions(
        &self,
        added: impl IntoIterator<Item = TopicPartition>,
        client_version: TransactionVersion,
        now: TimestampMs,
    ) -> Self {
        let start = if self.state.is_idle() { now } else { self.start };
        let mut next = Self { state: State::Ongoing, start, client_version, ..self.step(now) };
        next.partitions.extend(added);
        next
    }

    /// It is decided. `next_producer` takes over where the epochs of this one are used up (KIP-890).
    #[must_use]
    pub fn prepared(
        &self,
        commit: bool,
        client_version: TransactionVersion,
        next_producer: ProducerId,
        now: TimestampMs,
    ) -> Self {
        let state = if commit { State::PrepareCommit } else { State::PrepareAbort };
        // One that wrote nowhere begins where it ends.
        let start = if self.state == State::Ongoing { self.start } else { now };
        let (epoch, last_epoch) = if client_version.bumps_epoch() {
            (self.fencing_epoch(), self.epoch)
        } else {
            (self.epoch, self.last_epoch)
        };
        Self { next_producer, epoch, last_epoch, state, start, client_version, ..self.step(now) }
    }

    /// Its producer is shut out: nobody is told of the epoch that it has now.
    #[must_use]
    pub fn fenced(&self) -> Self {
        Self { epoch: self.fencing_epoch(), last_epoch: ProducerEpoch::NONE, ..self.clone() }
    }

    fn fencing_epoch(&self) -> ProducerEpoch {
        ProducerEpoch(self.epoch.0.saturating_add(1)).min(LAST_EPOCH)
    }

    /// All markers are written.
    #[must_use]
    pub fn completed(&self, now: TimestampMs) -> Self {
        let commits = self.state.commits() == Some(true);
        let state = if commits { State::CompleteCommit } else { State::CompleteAbort };
        let rotates = self.client_version.bumps_epoch() && self.next_producer != ProducerId::NONE;
        let (producer, epoch) =
            if rotates { (self.next_producer, ProducerEpoch(0)) } else { (self.producer, self.epoch) };
        Self { state, producer, epoch, next_producer: ProducerId::NONE, partitions: BTreeSet::new(), ..self.step(now) }
    }

    /// Whether this is the producer that takes over when the markers are written. EndTxn told the client of it before:
    /// it may come early, and is no stranger.
    pub fn goes_to(&self, (producer, epoch): (ProducerId, ProducerEpoch)) -> bool {
        let next = (self.next_producer, ProducerEpoch(0));
        self.state.is_prepared() && self.next_producer != ProducerId::NONE && next == (producer, epoch)
    }

    /// Whether it is open for longer than its producer allowed (rule 18). One with the largest timeout never ends by
    /// itself (KIP-939).
    pub fn is_timed_out(&self, now: TimestampMs) -> bool {
        let due = self.start.0.saturating_add(i64::from(self.timeout_ms));
        self.state == State::Ongoing && self.timeout_ms != i32::MAX && due < now.0
    }

    /// Whether nobody has used the id for so long (rule 18).
    pub fn is_expired(&self, now: TimestampMs, expiration_ms: i64) -> bool {
        self.state.is_idle() && self.last_update.0 <= now.0.saturating_sub(expiration_ms)
    }

    /// What is still to be written of it, where it is decided.
    pub fn ending(&self, id: &TransactionalId) -> Option<Ending> {
        let commit = self.state.commits().filter(|_| self.state.is_prepared())?;
        Some(Ending {
            id: TransactionalId::clone(id),
            producer: self.producer,
            epoch: self.epoch,
            commit,
            version: self.client_version,
            partitions: self.partitions.clone(),
        })
    }
}

/// Whether a producer gets no epoch after this one.
pub fn is_exhausted(epoch: ProducerEpoch) -> bool {
    epoch.0 >= LAST_EPOCH.0 - 1
}
