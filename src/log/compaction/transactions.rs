//! Which transactions of a log were aborted, learnt from the headers of its batches and from its markers.

use std::collections::HashMap;

use crate::types::{Offset, ProducerId};
use crate::wire::batch::BatchHeader;
use crate::wire::control::{Control, EndMarker};

/// A transaction that was aborted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Aborted {
    first: Offset,
    marker: Offset,
}

/// The aborted transactions of a log that still have records, and those whose marker was not met yet.
#[derive(Debug, Default)]
pub struct Transactions {
    /// In order of offsets.
    aborted: HashMap<ProducerId, Vec<Aborted>>,
    /// Where they begin.
    open: HashMap<ProducerId, Offset>,
}

impl Transactions {
    /// Notes a batch of records; batches come in order.
    pub fn data(&mut self, header: &BatchHeader) {
        if header.is_transactional() {
            self.open.entry(header.producer_id).or_insert(header.base_offset);
        }
    }

    /// Notes a control batch.
    pub fn control(&mut self, header: &BatchHeader, control: Control) {
        if control == Control::Other {
            return;
        }
        let first = self.open.remove(&header.producer_id);
        if let (Some(first), Control::End(EndMarker { commit: false, .. })) = (first, control) {
            let aborted = Aborted { first, marker: header.base_offset };
            self.aborted.entry(header.producer_id).or_default().push(aborted);
        }
    }

    /// Whether the end of a transaction with records is still to come.
    pub fn is_any_open(&self) -> bool {
        !self.open.is_empty()
    }

    /// Whether a transactional batch of records belongs to an aborted transaction.
    pub fn is_aborted(&self, header: &BatchHeader) -> bool {
        let Some(all) = self.aborted.get(&header.producer_id).filter(|_| header.is_transactional()) else {
            return false;
        };
        let next = all.partition_point(|aborted| aborted.marker < header.base_offset);
        all.get(next).is_some_and(|aborted| aborted.first <= header.base_offset)
    }
}
