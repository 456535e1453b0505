//! Reading batches for a fetch: find the first, verify each, hand out a range of the file.

use std::sync::Arc;

use super::disk::FileSlice;
use super::log_manager::Durability;
use super::partition::LocalPartition;
use super::partition_log::{AbortedTransaction, LogOffsets, ReadBound, ReadError, ReadResult};
use super::scan::{Found, ScanError, Scanner};
use super::segment::Segment;
use crate::types::Offset;

/// How many readers' places a partition remembers.
const CURSORS: usize = 8;

/// Where reads ended: the next one of the same reader begins there.
#[derive(Debug, Default)]
pub(super) struct Cursors {
    places: [Option<Cursor>; CURSORS],
    next: usize,
}

#[derive(Clone, Copy, Debug)]
struct Cursor {
    offset: Offset,
    /// Base offset and version: a position means nothing in a segment that was compacted since.
    segment: (Offset, u32),
    position: u64,
}

impl Cursors {
    fn position_for(&self, segment: (Offset, u32), offset: Offset) -> Option<u64> {
        let found = self.places.iter().flatten().find(|place| place.offset == offset && place.segment == segment);
        found.map(|place| place.position)
    }

    /// `from` is where the reader was, `to` where it will be: its old place is taken over.
    fn advance(&mut self, from: Offset, to: Cursor) {
        let old = self.places.iter().position(|place| place.is_some_and(|place| place.offset == from));
        let slot = old.unwrap_or(self.next);
        if old.is_none() {
            self.next = (self.next + 1) % CURSORS;
        }
        if let Some(place) = self.places.get_mut(slot) {
            *place = Some(to);
        }
    }

    pub fn clear(&mut self) {
        *self = Self::default();
    }
}

/// What a read needs to know, taken under the lock.
struct Plan {
    segment: Arc<Segment>,
    size: u64,
    /// A position at or before the batch, where one is remembered.
    position: Option<u64>,
    offsets: LogOffsets,
    limit: Offset,
    /// Where the next segment begins, if there is one.
    next_segment: Option<Offset>,
    interval: u64,
}

/// The batches that a read hands out.
struct Range {
    position: u64,
    length: usize,
    next_offset: Offset,
    /// The next batch may be seen, but does not fit.
    is_full: bool,
}

impl LocalPartition {
    pub(super) fn read_batches(
        &self,
        from: Offset,
        max_bytes: usize,
        bound: ReadBound,
        at_least_one: bool,
    ) -> Result<ReadResult, ReadError> {
        // Where to look: further on once a segment has nothing. Not by counting segments, which compaction joins.
        let mut at = from;
        loop {
            let plan = self.plan_read(from, at, bound)?;
            let nothing = ReadResult { records: None, next_offset: from, offsets: plan.offsets, is_full: false };
            if from >= plan.limit {
                return Ok(nothing);
            }
            let range = self.range(&plan, at, max_bytes, at_least_one).map_err(|error| read_error(at, error))?;
            match range {
                Search::Found(range) => return self.result(from, &plan, &range),
                Search::TooLarge => return Ok(ReadResult { is_full: true, ..nothing }),
                Search::Hidden => return Ok(nothing),
                // Only a segment that is read to its end leads to the next one (rule 26).
                Search::End => match plan.next_segment {
                    Some(next) => at = at.max(next),
                    None => return Ok(nothing),
                },
            }
        }
    }

    /// Goes on to later segments until none can hold another one: a transaction may end long after it began.
    pub(super) fn find_aborted(&self, from: Offset, to: Offset) -> Result<Vec<AbortedTransaction>, ReadError> {
        if from >= to {
            return Ok(Vec::new());
        }
        let segments: Vec<Arc<Segment>> = {
            let state = self.state.lock();
            let first = state.segment_for(from);
            state.segments.iter().skip(first).map(|state| Arc::clone(&state.segment)).collect()
        };
        let mut found = Vec::new();
        for segment in segments {
            let is_complete = segment.with_aborted(|index| index.collect(from, to, &mut found));
            let storage = |error| ReadError::Storage(format!("{}: {error}", segment.path(".txnindex").display()));
            if is_complete.map_err(storage)? {
                break;
            }
        }
        let told = found
            .iter()
            .map(|aborted| AbortedTransaction { producer_id: aborted.producer_id, first_offset: aborted.first_offset });
        Ok(told.collect())
    }

    fn plan_read(&self, from: Offset, at: Offset, bound: ReadBound) -> Result<Plan, ReadError> {
        let interval = self.config.read().index_interval_bytes;
        let state = self.state.lock();
        if state.deleted {
            return Err(ReadError::Storage(format!("{} is being deleted", self.name)));
        }
        let offsets = state.offsets();
        if from < offsets.log_start || from > offsets.log_end {
            return Err(ReadError::OutOfRange { offset: from, start: offsets.log_start, end: offsets.log_end });
        }
        let number = state.segment_for(at);
        let next_segment = state.segments.get(number + 1).map(|next| next.segment.base());
        let Some(found) = state.segments.get(number) else {
            return Err(ReadError::Storage(format!("{} has no segments", self.name)));
        };
        let segment = Arc::clone(&found.segment);
        let position = if next_segment.is_none() { state.recent.position_for(at) } else { None };
        let limit = state.limit(bound, &offsets);
        let size = found.size;
        drop(state);
        let identity = (segment.base(), segment.version());
        let position = position.or_else(|| self.cursors.lock().position_for(identity, at));
        Ok(Plan { segment, size, position, offsets, limit, next_segment, interval })
    }

    fn range(&self, plan: &Plan, from: Offset, max_bytes: usize, at_least_one: bool) -> Result<Search, ScanError> {
        let file = plan.segment.log()?;
        let mut scanner = Scanner::new(file.as_ref(), plan.size);
        let hint = match plan.position {
            Some(position) => position,
            None => plan.segment.with_index(plan.size, plan.interval, |index| index.position_for(from))?,
        };
        let first = match find(&mut scanner, hint, from) {
            // A remembered place is exact: the next batch begins there, be there a gap in the offsets, or the segment ends.
            Ok(first) if plan.position.is_some() => first,
            Ok(Some(first)) if hint == 0 || first.position > hint || first.header.base_offset <= from => Some(first),
            Ok(None) if hint == 0 => None,
            Err(ScanError::Io(error)) => return Err(error.into()),
            Err(error) if hint == 0 => return Err(error),
            // The index leads astray: walk from the segment's beginning.
            _ => find(&mut scanner, 0, from)?,
        };
        let Some(first) = first else { return Ok(Search::End) };
        if first.header.next_offset() > plan.limit {
            return Ok(Search::Hidden);
        }
        if first.header.size() > max_bytes && !at_least_one {
            return Ok(Search::TooLarge);
        }
        let verify = self.shared.durability != Durability::Memory;
        collect(&mut scanner, first, max_bytes, plan.limit, verify).map(Search::Found)
    }

    fn result(&self, from: Offset, plan: &Plan, range: &Range) -> Result<ReadResult, ReadError> {
        let file = plan.segment.log().map_err(|error| ReadError::Storage(error.to_string()))?;
        let position = range.position + range.length as u64;
        let segment = (plan.segment.base(), plan.segment.version());
        let cursor = Cursor { offset: range.next_offset, segment, position };
        self.cursors.lock().advance(from, cursor);
        let records = FileSlice { file: Arc::clone(file), position: range.position, length: range.length };
        let Range { next_offset, is_full, .. } = *range;
        Ok(ReadResult { records: Some(records), next_offset, offsets: plan.offsets, is_full })
    }
}

enum Search {
    Found(Range),
    /// There is a batch, but it does not fit.
    TooLarge,
    /// There is a batch, but readers may not see it yet.
    Hidden,
    /// The segment holds nothing at or after the offset.
    End,
}

/// The first batch from `position` on that ends after `from`.
pub(super) fn find(scanner: &mut Scanner<'_>, mut position: u64, from: Offset) -> Result<Option<Found>, ScanError> {
    while let Some(found) = scanner.header(position)? {
        if found.header.next_offset() > from {
            return Ok(Some(found));
        }
        position = found.end();
    }
    Ok(None)
}

/// As many whole batches as fit. The first was found to be allowed; a damaged one later ends the range before it.
fn collect(
    scanner: &mut Scanner<'_>,
    first: Found,
    max_bytes: usize,
    limit: Offset,
    verify: bool,
) -> Result<Range, ScanError> {
    let begin = first.position;
    if verify {
        scanner.verify(&first)?;
    }
    let mut last = first;
    let mut is_full = false;
    while let Ok(Some(next)) = scanner.next_batch(&last, verify) {
        let length = next.end() - begin;
        if next.header.next_offset() > limit {
            break;
        }
        if length > max_bytes as u64 {
            is_full = true;
            break;
        }
        if verify && scanner.verify(&next).is_err() {
            break;
        }
        last = next;
    }
    let length = usize::try_from(last.end() - begin).unwrap_or(usize::MAX);
    Ok(Range { position: begin, length, next_offset: last.header.next_offset(), is_full })
}

pub(super) fn read_error(from: Offset, error: ScanError) -> ReadError {
    match error {
        ScanError::Io(error) => ReadError::Storage(error.to_string()),
        ScanError::Invalid { .. } => ReadError::Corrupt { offset: from, reason: error.to_string() },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_segment_that_was_rewritten_since_is_not_used() {
        let mut cursors = Cursors::default();
        let place = |version| Cursor { offset: Offset(7), segment: (Offset(0), version), position: 99 };
        cursors.advance(Offset(5), place(0));
        assert_eq!(cursors.position_for((Offset(0), 0), Offset(7)), Some(99));
        assert_eq!(cursors.position_for((Offset(0), 1), Offset(7)), None);
    }
}
