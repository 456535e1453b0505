//! Transaction indexes that were lost or damaged: they are told from the log again (rule 32).
//!
//! Above the recovery point the scan notes every abort anew. Below it an index is trusted, as the offset index is, if
//! what it holds can be true. An index without entries has no file: that it was lost shows only where the offset index
//! is gone too, as when somebody deletes all indexes to have them built anew.

use std::io;

use super::super::scan::{ScanError, Scanner};
use super::{Listing, Loader};
use crate::log::producer_state::{Aborted, ProducerStates};
use crate::types::Offset;

impl Loader<'_> {
    /// Sees to the transaction indexes up to `trusted_until`, before anything else is changed in the folder.
    pub(super) fn repair_aborted(
        &mut self,
        listing: &Listing,
        log_start: Offset,
        trusted_until: Offset,
    ) -> Result<(), ScanError> {
        let mut lost = self.lost_aborted(listing)?;
        lost.retain(|base| *base < trusted_until);
        let (Some(&first), Some(&last)) = (lost.first(), lost.last()) else { return Ok(()) };
        let now = self.opening.now;
        let mut states = ProducerStates::new(log_start);
        let snapshot = self.newest_snapshot(first, &listing.snapshots)?;
        let from = snapshot.as_ref().map_or(log_start, |(offset, _)| *offset);
        if let Some((offset, entries)) = snapshot {
            states.restore(&entries, offset, now);
        }
        // From where the producers are known, to the end of the last index that is lost.
        let begin = self.segment_for(from);
        for state in self.segments.iter().skip(begin).take_while(|state| state.segment.base() <= last) {
            let mut scanner = Scanner::new(state.segment.log()?.as_ref(), state.size);
            let (mut position, mut next, mut aborted) = (0, state.segment.base(), Vec::<Aborted>::new());
            // What follows may be torn.
            while next < trusted_until
                && let Some(found) = scanner.header(position)?
            {
                if found.header.last_offset() >= from {
                    aborted.extend(states.apply(&found.header, scanner.control(&found)?, now));
                }
                (position, next) = (found.end(), found.header.next_offset());
            }
            if lost.binary_search(&state.segment.base()).is_ok() {
                state.segment.replace_aborted(&aborted)?;
            }
        }
        Ok(())
    }

    /// Base offsets of the segments whose transaction index cannot be trusted.
    fn lost_aborted(&self, listing: &Listing) -> io::Result<Vec<Offset>> {
        let mut lost = Vec::new();
        let ends = self.segments.iter().skip(1).map(|state| state.segment.base()).chain([Offset(i64::MAX)]);
        for (state, end) in self.segments.iter().zip(ends) {
            let base = state.segment.base();
            if listing.offset_indexes.binary_search(&base).is_err() {
                lost.push(base);
                continue;
            }
            if listing.transaction_indexes.binary_search(&base).is_err() {
                continue;
            }
            match state.segment.with_aborted(|index| index.check(base, end)) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                    tracing::warn!("{} is built anew: {error}", state.segment.path(".txnindex").display());
                    lost.push(base);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(lost)
    }
}
