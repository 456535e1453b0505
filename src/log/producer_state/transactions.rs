//! The transactions of a partition that hold back the last stable offset (rule 13).

use std::collections::{BTreeMap, BTreeSet};

use crate::types::{Offset, ProducerId};

/// A transaction that was aborted, as the transaction index has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Aborted {
    /// Whose it was.
    pub producer_id: ProducerId,
    /// Its first record.
    pub first_offset: Offset,
    /// Its marker.
    pub last_offset: Offset,
    /// The last stable offset once it had ended, as if its marker were replicated: a transaction that ended later
    /// begins at or after it.
    pub last_stable_offset: Offset,
}

/// Transactions that are open, and those that ended but whose end no reader has seen.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Transactions {
    /// First offsets of those that are open.
    open: BTreeSet<Offset>,
    /// Where the markers lie of those that ended, by their first offsets.
    unreplicated: BTreeMap<Offset, Offset>,
}

impl Transactions {
    /// One begins.
    pub fn begin(&mut self, first: Offset) {
        self.open.insert(first);
    }

    /// One turns out not to be open.
    pub fn forget(&mut self, first: Offset) {
        self.open.remove(&first);
    }

    /// One ends with a marker at this offset; the last stable offset that follows.
    pub fn end(&mut self, first: Offset, marker: Offset) -> Offset {
        self.open.remove(&first);
        self.unreplicated.insert(first, marker);
        self.first_open().unwrap_or(marker.plus(1))
    }

    /// Readers see what is below `high_watermark`.
    pub fn replicated(&mut self, high_watermark: Offset) {
        if !self.unreplicated.is_empty() {
            self.unreplicated.retain(|_, marker| *marker >= high_watermark);
        }
    }

    /// First offset of the oldest open transaction.
    pub fn first_open(&self) -> Option<Offset> {
        self.open.first().copied()
    }

    /// The first offset that is undecided, or decided by a marker that readers do not see yet.
    pub fn first_unstable(&self) -> Option<Offset> {
        let unreplicated = self.unreplicated.first_key_value().map(|(&first, _)| first);
        [self.first_open(), unreplicated].into_iter().flatten().min()
    }
}
