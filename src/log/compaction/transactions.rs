//! Which transactions of a log were aborted, learnt from the headers of its batches and from its markers.

use std::collections::HashMap;

use super::LARGEST_SECTION;
use crate::types::{Offset, ProducerId};
use crate::wire::batch::BatchHeader;
use crate::wire::reader::Reader;
use crate::wire::records::{self, Records, RecordsError};

/// What a control batch says (rule 12).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marker {
    /// The transaction ends and does not count.
    Abort,
    /// The transaction ends and counts.
    Commit,
    /// Something that does not end a transaction.
    Other,
    /// A marker that was emptied: its transaction is gone.
    Emptied,
}

impl Marker {
    /// Reads a whole control batch.
    pub fn of(header: &BatchHeader, batch: &[u8]) -> Result<Self, RecordsError> {
        if header.record_count == 0 {
            return Ok(Self::Emptied);
        }
        let section = records::section(batch, LARGEST_SECTION)?;
        let first = Records::new(&section, header.record_count).next().transpose()?;
        Ok(Self::of_key(first.and_then(|record| record.key).unwrap_or_default()))
    }

    /// Reads the key of a control record.
    pub fn of_key(key: &[u8]) -> Self {
        let mut key = Reader::new(key);
        match (key.i16(), key.i16()) {
            (Ok(_version), Ok(0)) => Self::Abort,
            (Ok(_version), Ok(1)) => Self::Commit,
            _ => Self::Other,
        }
    }
}

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
    pub fn marker(&mut self, header: &BatchHeader, marker: Marker) {
        if marker == Marker::Other {
            return;
        }
        let first = self.open.remove(&header.producer_id);
        if let (Some(first), Marker::Abort) = (first, marker) {
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
