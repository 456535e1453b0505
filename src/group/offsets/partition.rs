//! The offset of one partition, and what transactions would make of it (rule 19).

use super::super::records::CommittedOffset;
use crate::types::ProducerId;

/// What a group has committed of one partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct PartitionOffset {
    /// What counts.
    pub(super) committed: Option<CommittedOffset>,
    /// What transactions that have not ended would make of it, in the order of the log; one for each producer.
    pending: Vec<Pending>,
}

/// An offset that was committed within a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Pending {
    producer: ProducerId,
    /// `None` where something later in the log already counts: the end of the transaction changes nothing any more.
    value: Option<CommittedOffset>,
}

impl PartitionOffset {
    /// A commit outside of transactions.
    pub(super) fn commit(&mut self, value: CommittedOffset) {
        self.committed = Some(value);
        outrun(&mut self.pending);
    }

    /// A commit within a producer's transaction takes the place of the one before.
    pub(super) fn commit_pending(&mut self, producer: ProducerId, value: CommittedOffset) {
        self.pending.retain(|pending| pending.producer != producer);
        self.pending.push(Pending { producer, value: Some(value) });
    }

    /// The end of a producer's transaction. Of several transactions the one counts whose commit is the last in the log,
    /// whichever ends first.
    pub(super) fn end_transaction(&mut self, producer: ProducerId, commit: bool) {
        let Some(at) = self.pending.iter().position(|pending| pending.producer == producer) else { return };
        let ended = self.pending.remove(at);
        if let Some(value) = ended.value.filter(|_| commit) {
            self.committed = Some(value);
            let (older, _) = self.pending.split_at_mut(at);
            outrun(older);
        }
    }

    /// Whether a transaction may still change it.
    pub(super) fn is_pending(&self) -> bool {
        !self.pending.is_empty()
    }

    /// Whether nothing is left of it.
    pub(super) fn is_empty(&self) -> bool {
        self.committed.is_none() && self.pending.is_empty()
    }

    /// The producers whose transactions may still change it.
    pub(super) fn producers(&self) -> impl Iterator<Item = ProducerId> {
        self.pending.iter().map(|pending| pending.producer)
    }

    /// Everything that counts or may come to count.
    pub(super) fn values(&self) -> impl Iterator<Item = &CommittedOffset> {
        self.committed.iter().chain(self.pending.iter().filter_map(|pending| pending.value.as_ref()))
    }
}

fn outrun(pending: &mut [Pending]) {
    for pending in pending {
        pending.value = None;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LeaderEpoch, Offset, TimestampMs, TopicId};

    const A: ProducerId = ProducerId(1);
    const B: ProducerId = ProducerId(2);

    fn value(offset: i64) -> CommittedOffset {
        CommittedOffset {
            offset: Offset(offset),
            leader_epoch: LeaderEpoch::NONE,
            metadata: "".into(),
            commit_timestamp: TimestampMs(0),
            expire_timestamp: TimestampMs::NONE,
            topic_id: TopicId::ZERO,
        }
    }

    fn with(offset: i64) -> PartitionOffset {
        let mut known = PartitionOffset::default();
        known.commit(value(offset));
        known
    }

    fn committed(known: &PartitionOffset) -> Option<i64> {
        known.committed.as_ref().map(|value| value.offset.0)
    }

    #[test]
    fn a_pending_offset_counts_once_its_transaction_is_committed() {
        let mut known = with(1);
        known.commit_pending(A, value(2));
        assert_eq!((committed(&known), known.is_pending()), (Some(1), true));
        known.end_transaction(B, true);
        assert_eq!((committed(&known), known.is_pending()), (Some(1), true));
        let mut aborted = known.clone();
        aborted.end_transaction(A, false);
        assert_eq!(aborted, with(1));
        known.end_transaction(A, true);
        assert_eq!(known, with(2));
    }

    #[test]
    fn the_last_pending_offset_of_a_producer_is_the_one_that_counts() {
        let mut known = PartitionOffset::default();
        known.commit_pending(A, value(2));
        known.commit_pending(A, value(3));
        known.end_transaction(A, true);
        assert_eq!(known, with(3));
    }

    #[test]
    fn a_commit_after_the_pending_one_wins_and_the_partition_is_pending_all_the_same() {
        let mut known = PartitionOffset::default();
        known.commit_pending(A, value(2));
        known.commit(value(1));
        assert!(known.is_pending());
        known.end_transaction(A, true);
        assert_eq!(known, with(1));
        known.commit_pending(A, value(5));
        known.commit(value(4));
        known.commit_pending(A, value(6));
        known.end_transaction(A, true);
        assert_eq!(known, with(6));
    }

    #[test]
    fn of_two_transactions_the_later_commit_wins_whichever_ends_first() {
        for (first, second) in [(A, B), (B, A)] {
            let mut known = PartitionOffset::default();
            known.commit_pending(A, value(2));
            known.commit_pending(B, value(1));
            known.end_transaction(first, true);
            known.end_transaction(second, true);
            assert_eq!(known, with(1));
        }
        // The first to commit commits once more.
        let mut known = PartitionOffset::default();
        known.commit_pending(A, value(2));
        known.commit_pending(B, value(1));
        known.commit_pending(A, value(3));
        known.end_transaction(A, true);
        known.end_transaction(B, true);
        assert_eq!(known, with(3));
    }

    #[test]
    fn an_aborted_transaction_stands_in_nobodys_way() {
        let mut known = PartitionOffset::default();
        known.commit_pending(A, value(2));
        known.commit_pending(B, value(1));
        known.end_transaction(B, false);
        assert_eq!(known.values().count(), 1);
        known.end_transaction(A, true);
        assert_eq!(known, with(2));
    }
}
