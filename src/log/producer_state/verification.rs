//! Which transactions are being verified with their coordinator before their first record is taken (rule 11, KIP-890).
//!
//! Between the question to the coordinator and the append the transaction may end, and another one of the same producer
//! begin that does not know this partition. So the append has to carry the guard that was given out when the question
//! was asked, and what ends that transaction takes the guard away.

use std::collections::HashMap;

use crate::types::{ProducerEpoch, ProducerId, Sequence, TimestampMs};
use crate::wire::batch::BatchHeader;

/// How many producers may be verified at one time in one partition. A verification takes milliseconds, so that the
/// oldest of so many is one that nobody waits for.
const MOST_VERIFIED: usize = 10_000;

/// Names one verification. No two of a partition have the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct VerificationGuard(u64);

impl VerificationGuard {
    /// Nothing was verified.
    pub const NONE: Self = Self(0);
    /// Nothing has to be (`transaction.partition.verification.enable=false`).
    pub const WAIVED: Self = Self(u64::MAX);
}

/// A verification that was begun.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verification {
    pub guard: VerificationGuard,
    /// When it was begun.
    since: TimestampMs,
    epoch: ProducerEpoch,
    /// The lowest sequence that was to be appended: one above it would overtake it, and have it refused for ever.
    pub lowest_sequence: Sequence,
    /// The append adds the partition to the transaction by itself (transactions version 2).
    pub adds_partition: bool,
}

/// The verifications of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Verifications {
    begun: HashMap<ProducerId, Verification>,
    /// The last guard that was given out.
    last: u64,
}

impl Verifications {
    /// Begins one, or joins one of this producer.
    pub fn begin(
        &mut self,
        producer: ProducerId,
        epoch: ProducerEpoch,
        sequence: Sequence,
        adds_partition: bool,
        now: TimestampMs,
    ) -> VerificationGuard {
        if let Some(known) = self.begun.get_mut(&producer) {
            if epoch > known.epoch || (epoch == known.epoch && sequence < known.lowest_sequence) {
                (known.epoch, known.lowest_sequence) = (epoch, sequence);
            }
            return known.guard;
        }
        self.make_room();
        self.last += 1;
        let guard = VerificationGuard(self.last);
        let begun = Verification { guard, since: now, epoch, lowest_sequence: sequence, adds_partition };
        self.begun.insert(producer, begun);
        guard
    }

    fn make_room(&mut self) {
        if self.begun.len() < MOST_VERIFIED {
            return;
        }
        let oldest = self.begun.iter().min_by_key(|(_, begun)| begun.since).map(|(producer, _)| *producer);
        oldest.and_then(|producer| self.begun.remove(&producer));
    }

    pub fn get(&self, producer: ProducerId) -> Option<&Verification> {
        self.begun.get(&producer)
    }

    /// Whether this guard is the one that was given out for the producer.
    pub fn is_guarded_by(&self, producer: ProducerId, guard: VerificationGuard) -> bool {
        guard != VerificationGuard::NONE && self.get(producer).is_some_and(|begun| begun.guard == guard)
    }

    /// Takes over a transactional batch that is in the log: the transaction is open, or it ended.
    pub fn settle(&mut self, header: &BatchHeader) {
        // Where every transaction has an epoch of its own, a marker of the epoch that is being verified ended the
        // transaction before.
        let ended_the_one_before =
            |begun: &Verification| begun.adds_partition && header.is_control() && header.producer_epoch == begun.epoch;
        if !self.get(header.producer_id).is_some_and(ended_the_one_before) {
            self.begun.remove(&header.producer_id);
        }
    }

    /// Forgets those that began so long ago.
    pub fn expire(&mut self, now: TimestampMs, expiration_ms: i64) {
        self.begun.retain(|_, begun| now.0.saturating_sub(begun.since.0) < expiration_ms);
    }

    /// Forgets all; what was given out before is not given out again.
    pub fn clear(&mut self) {
        self.begun.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_kept_and_the_oldest_goes() {
        let mut all = Verifications::default();
        let mut begin = |n: i64| all.begin(ProducerId(n), ProducerEpoch(0), Sequence(0), true, TimestampMs(n));
        let guards: Vec<_> = (0..=MOST_VERIFIED as i64).map(&mut begin).collect();
        assert_eq!(all.begun.len(), MOST_VERIFIED);
        assert!(!all.is_guarded_by(ProducerId(0), guards[0]));
        assert!((1..=MOST_VERIFIED).all(|n| all.is_guarded_by(ProducerId(n as i64), guards[n])));
    }

    #[test]
    fn no_guard_is_given_out_twice() {
        let mut all = Verifications::default();
        let begin =
            |all: &mut Verifications| all.begin(ProducerId(1), ProducerEpoch(0), Sequence(0), true, TimestampMs(0));
        let first = begin(&mut all);
        assert_eq!(begin(&mut all), first, "as long as it lasts it is the same");
        all.clear();
        assert_ne!(begin(&mut all), first);
        assert!(!all.is_guarded_by(ProducerId(1), VerificationGuard::NONE));
        assert!(!all.is_guarded_by(ProducerId(2), VerificationGuard::NONE));
    }
}
