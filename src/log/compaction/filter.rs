//! What of a batch stays.
//!
//! A batch that loses nothing is kept byte for byte. One that loses records keeps its offsets, its producer's epoch and
//! sequences and its codec. One that loses all of them goes, or is kept empty where somebody needs what its header says.

use std::collections::{HashMap, HashSet};
use std::hash::BuildHasher;
use std::ops::Range;

use bytes::BytesMut;

use super::{KeyMap, LARGEST_SECTION, Transactions};
use crate::types::{Offset, ProducerEpoch, ProducerId, TimestampMs};
use crate::wire::batch::{BatchHeader, Compression, TimestampType};
use crate::wire::compression;
use crate::wire::control::Control;
use crate::wire::records::{self, Record, Records, RecordsError};

/// Where a producer's last batch lies: its sequence is needed as long as the producer is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LastBatch {
    /// Last offset of its last batch of records.
    Records(Offset),
    /// It wrote nothing under its current epoch: the markers of that epoch are what fences older ones.
    Marker(ProducerEpoch),
}

/// What a pass goes by.
#[derive(Clone, Copy, Debug)]
pub struct Rules<'a, S> {
    /// The latest offset of each key, up to where the pass goes.
    pub keys: &'a KeyMap<S>,
    /// The transactions of the log.
    pub transactions: &'a Transactions,
    /// Last batches of the producers that are known.
    pub producers: &'a HashMap<ProducerId, LastBatch>,
    /// Where the part of the log ends that may be cleaned: the batch before it stays, so that its offsets are known.
    pub end: Offset,
    /// `delete.retention.ms`.
    pub delete_retention_ms: i64,
    /// When the pass began.
    pub now: TimestampMs,
}

/// What stays of a batch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// The batch as it is.
    Whole,
    /// This batch.
    Rewritten(BytesMut),
    /// Nothing.
    Nothing,
}

/// Goes over the batches of a log, in order.
#[derive(Debug)]
pub struct Filter<'a, S> {
    rules: Rules<'a, S>,
    /// Producers with records of a transaction since their last marker.
    observed: HashSet<ProducerId>,
    /// Offsets of abort markers whose transactions still had records.
    aborts: Vec<Offset>,
    scratch: Vec<u8>,
}

/// The records of a batch that stay.
#[derive(Debug)]
struct Survivors {
    /// Where they lie in the section; neighbours are one range.
    places: Vec<Range<usize>>,
    count: i32,
    /// Nothing else was there.
    all: bool,
    tombstones: bool,
    max_timestamp: TimestampMs,
}

impl<'a, S: BuildHasher> Filter<'a, S> {
    /// Before the first batch of the log.
    pub fn new(rules: Rules<'a, S>) -> Self {
        Self { rules, observed: HashSet::new(), aborts: Vec::new(), scratch: Vec::new() }
    }

    /// Abort markers met since this was asked last whose transactions a reader still has to be told of.
    pub fn take_aborts(&mut self) -> Vec<Offset> {
        std::mem::take(&mut self.aborts)
    }

    /// What stays of the next batch, whose checksum was verified.
    pub fn batch(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<Kept, RecordsError> {
        let is_obsolete = self.is_obsolete(header, batch)?;
        let is_past_horizon = header.delete_horizon().is_some_and(|horizon| horizon <= self.rules.now);
        if is_obsolete && (!header.is_control() || is_past_horizon) {
            return Ok(self.nothing_of(header));
        }
        let section = records::section(batch, LARGEST_SECTION)?;
        let survivors = self.survivors(header, &section)?;
        if survivors.count == 0 {
            return Ok(self.nothing_of(header));
        }
        // A marker's time runs from when its transaction is gone, a tombstone's from when it is first compacted.
        let gets_horizon = (survivors.tombstones || is_obsolete) && !header.has_delete_horizon();
        if survivors.all && !gets_horizon {
            return Ok(Kept::Whole);
        }
        self.rewrite(header, &section, &survivors, gets_horizon).map(Kept::Rewritten)
    }

    /// Whether nobody needs what the batch says: records that were aborted, or a marker without records before it.
    fn is_obsolete(&mut self, header: &BatchHeader, batch: &[u8]) -> Result<bool, RecordsError> {
        if !header.is_control() {
            if header.is_transactional() {
                self.observed.insert(header.producer_id);
            }
            return Ok(self.rules.transactions.is_aborted(header));
        }
        match Control::of(header, batch)? {
            Control::Other => Ok(false),
            Control::Emptied => Ok(true),
            Control::End(marker) => {
                let had_records = self.observed.remove(&header.producer_id);
                if had_records && !marker.commit {
                    self.aborts.push(header.base_offset);
                }
                Ok(!had_records)
            }
        }
    }

    /// What stays of a batch without records.
    fn nothing_of(&self, header: &BatchHeader) -> Kept {
        let last = self.rules.producers.get(&header.producer_id).filter(|_| header.has_producer());
        let is_last_of_producer = last.is_some_and(|last| match last {
            LastBatch::Records(offset) => header.last_offset() == *offset,
            LastBatch::Marker(epoch) => header.is_control() && header.producer_epoch == *epoch,
        });
        match is_last_of_producer || header.next_offset() == self.rules.end {
            false => Kept::Nothing,
            true if header.record_count == 0 => Kept::Whole,
            true => Kept::Rewritten(header.emptied().encode(&[])),
        }
    }

    fn survivors(&self, header: &BatchHeader, section: &[u8]) -> Result<Survivors, RecordsError> {
        let mut survivors =
            Survivors { places: Vec::new(), count: 0, all: true, tombstones: false, max_timestamp: TimestampMs::NONE };
        let mut records = Records::new(section, header.record_count);
        let mut begin = 0;
        while let Some(record) = records.next() {
            let record = record?;
            let end = records.position();
            if self.survives(header, &record) {
                match survivors.places.last_mut() {
                    Some(last) if last.end == begin => last.end = end,
                    _ => survivors.places.push(begin..end),
                }
                survivors.count += 1;
                survivors.tombstones |= record.value.is_none();
                survivors.max_timestamp = survivors.max_timestamp.max(timestamp(header, &record));
            } else {
                survivors.all = false;
            }
            begin = end;
        }
        Ok(survivors)
    }

    fn survives(&self, header: &BatchHeader, record: &Record<'_>) -> bool {
        let offset = header.base_offset.plus(i64::from(record.offset_delta));
        if header.is_control() || offset >= self.rules.keys.end() {
            return true;
        }
        // As Kafka does: what has no key has no place in a compacted log.
        let Some(key) = record.key else { return false };
        let is_latest = self.rules.keys.latest(key).is_none_or(|latest| offset >= latest);
        let keeps_tombstones = header.delete_horizon().is_none_or(|horizon| self.rules.now < horizon);
        is_latest && (record.value.is_some() || keeps_tombstones)
    }

    fn rewrite(
        &mut self,
        header: &BatchHeader,
        section: &[u8],
        survivors: &Survivors,
        gets_horizon: bool,
    ) -> Result<BytesMut, RecordsError> {
        let kept = survivors.places.iter().filter_map(|place| section.get(place.clone()));
        let mut plain: Vec<u8> = kept.flatten().copied().collect();
        let mut rewritten = BatchHeader { record_count: survivors.count, ..*header };
        if header.timestamp_type() == TimestampType::CreateTime {
            rewritten.max_timestamp = survivors.max_timestamp;
        }
        if gets_horizon {
            let horizon = TimestampMs(self.rules.now.0.saturating_add(self.rules.delete_retention_ms));
            plain = self.rebase(header, &plain, survivors.count, horizon)?;
            rewritten = rewritten.with_delete_horizon(horizon);
        }
        let packed = match header.compression().ok_or(RecordsError::UnknownCodec(header.attributes))? {
            Compression::None => plain,
            codec => compression::compress(codec, default_level(codec), &plain)?,
        };
        Ok(rewritten.encode(&packed))
    }

    /// The same records, their timestamps counted from another base.
    fn rebase(
        &mut self,
        header: &BatchHeader,
        section: &[u8],
        count: i32,
        base: TimestampMs,
    ) -> Result<Vec<u8>, RecordsError> {
        let mut rebased = Vec::with_capacity(section.len());
        for record in Records::new(section, count) {
            let record = record?;
            let delta = timestamp(header, &record).0.wrapping_sub(base.0);
            let deltas = (record.offset_delta, delta);
            records::put_record(&mut rebased, &mut self.scratch, deltas, record.key, record.value, record.headers);
        }
        Ok(rebased)
    }
}

fn timestamp(header: &BatchHeader, record: &Record<'_>) -> TimestampMs {
    match header.timestamp_type() {
        TimestampType::LogAppendTime => header.max_timestamp,
        TimestampType::CreateTime => TimestampMs(header.base_timestamp.0.wrapping_add(record.timestamp_delta)),
    }
}

/// Kafka's own default; which level a batch came with is not known.
fn default_level(codec: Compression) -> i32 {
    if codec == Compression::Zstd { 3 } else { -1 }
}
