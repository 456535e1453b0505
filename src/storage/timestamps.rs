//! Looking records up by time (rule 28): the time index finds the place, the batches' headers the batch, and only that
//! batch's records are walked.

use std::sync::Arc;

use super::partition::LocalPartition;
use super::partition_log::{OffsetAndTimestamp, ReadError};
use super::read::read_error;
use super::scan::{Found, ScanError, Scanner};
use super::segment::{MaxTimestamp, Segment};
use crate::types::{Offset, TimestampMs};
use crate::wire::batch::TimestampType;
use crate::wire::records::{self, Records};

/// What the records of one batch may expand to; a batch that claims more is refused, not unpacked.
const LARGEST_SECTION: usize = 256 << 20;

/// The log as a lookup sees it.
struct View {
    segments: Vec<Viewed>,
    log_start: Offset,
    /// Nothing from here on is visible yet.
    limit: Offset,
    interval: u64,
}

struct Viewed {
    segment: Arc<Segment>,
    size: u64,
    max_timestamp: Max,
}

/// A segment's largest timestamp.
enum Max {
    /// Known of the active segment.
    Known(Option<MaxTimestamp>),
    /// The others have it in their index.
    Indexed,
}

impl LocalPartition {
    /// The first visible record at or after `target`.
    pub(super) fn find_timestamp(&self, target: TimestampMs) -> Result<Option<OffsetAndTimestamp>, ReadError> {
        let view = self.view();
        for viewed in &view.segments {
            let error = |error| read_error(viewed.segment.base(), error);
            let largest = view.max_timestamp(viewed).map_err(error)?;
            if largest.is_none_or(|largest| largest.timestamp < target) {
                continue;
            }
            if let Some(found) = view.first_at(viewed, target).map_err(error)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    /// The first record that carries the largest timestamp, as Kafka answers it: in the first segment that has it.
    pub(super) fn find_max_timestamp(&self) -> Result<Option<OffsetAndTimestamp>, ReadError> {
        let view = self.view();
        let mut largest: Option<(MaxTimestamp, &Viewed)> = None;
        for viewed in &view.segments {
            let error = |error| read_error(viewed.segment.base(), error);
            if let Some(max) = view.max_timestamp(viewed).map_err(error)?
                && largest.is_none_or(|(known, _)| max.timestamp > known.timestamp)
            {
                largest = Some((max, viewed));
            }
        }
        let Some((max, viewed)) = largest else { return Ok(None) };
        view.first_at(viewed, max.timestamp).map_err(|error| read_error(viewed.segment.base(), error))
    }

    fn view(&self) -> View {
        let interval = self.config.read().index_interval_bytes;
        let state = self.state.lock();
        let last = state.segments.len().saturating_sub(1);
        let viewed = state.segments.iter().enumerate().map(|(at, segment)| Viewed {
            segment: Arc::clone(&segment.segment),
            size: segment.size,
            max_timestamp: if at == last { Max::Known(state.tail.max_timestamp()) } else { Max::Indexed },
        });
        View { segments: viewed.collect(), log_start: state.log_start, limit: state.high_watermark, interval }
    }
}

impl View {
    fn max_timestamp(&self, viewed: &Viewed) -> Result<Option<MaxTimestamp>, ScanError> {
        match viewed.max_timestamp {
            Max::Known(Some(max)) if max.offset >= self.limit => self.max_visible(viewed),
            Max::Known(known) => Ok(known),
            Max::Indexed => viewed.segment.with_index(viewed.size, self.interval, |index| Ok(index.last_timestamp())),
        }
    }

    /// The active segment's largest timestamp may be one that readers cannot see yet.
    fn max_visible(&self, viewed: &Viewed) -> Result<Option<MaxTimestamp>, ScanError> {
        let mut scanner = Scanner::new(viewed.segment.log()?.as_ref(), viewed.size);
        let (mut position, mut max) = (0, None);
        while let Some(found) = scanner.header(position)?.filter(|found| found.header.next_offset() <= self.limit) {
            MaxTimestamp::include(&mut max, &found);
            position = found.end();
        }
        Ok(max)
    }

    fn first_at(&self, viewed: &Viewed, target: TimestampMs) -> Result<Option<OffsetAndTimestamp>, ScanError> {
        let mut position = viewed.segment.with_index(viewed.size, self.interval, |index| {
            let from = index.offset_for_time(target)?;
            index.position_for(from.max(self.log_start))
        })?;
        let file = viewed.segment.log()?;
        let mut scanner = Scanner::new(file.as_ref(), viewed.size);
        while let Some(found) = scanner.header(position)? {
            if found.header.next_offset() > self.limit {
                return Ok(None);
            }
            if found.header.max_timestamp >= target && found.header.last_offset() >= self.log_start {
                scanner.verify(&found)?;
                let record = self.record_at(&scanner.copy(&found)?, &found, target)?;
                if record.is_some() {
                    return Ok(record);
                }
            }
            position = found.end();
        }
        Ok(None)
    }

    fn record_at(
        &self,
        batch: &[u8],
        found: &Found,
        target: TimestampMs,
    ) -> Result<Option<OffsetAndTimestamp>, ScanError> {
        let header = &found.header;
        let invalid = |reason: String| ScanError::Invalid { position: found.position, reason };
        let section = records::section(batch, LARGEST_SECTION).map_err(|error| invalid(error.to_string()))?;
        for record in Records::new(&section, header.record_count) {
            let record = record.map_err(|error| invalid(error.to_string()))?;
            // Under LogAppendTime every record's timestamp is the batch's.
            let timestamp = match header.timestamp_type() {
                TimestampType::LogAppendTime => header.max_timestamp,
                TimestampType::CreateTime => {
                    TimestampMs(header.base_timestamp.0.saturating_add(record.timestamp_delta))
                }
            };
            let offset = header.base_offset.plus(i64::from(record.offset_delta));
            if timestamp >= target && offset >= self.log_start {
                return Ok(Some(OffsetAndTimestamp { offset, timestamp, leader_epoch: header.partition_leader_epoch }));
            }
        }
        Ok(None)
    }
}
