//! When a segment is full and the next batch opens a new one (rule 30).

use super::config::LogConfig;
use crate::types::{Offset, TimestampMs};
use crate::wire::batch::BatchHeader;

/// Bytes of an offset-index entry.
const OFFSET_ENTRY: u64 = 8;
/// Bytes of a time-index entry.
const TIME_ENTRY: u64 = 12;

/// What the decision needs to know of the active segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ActiveSegment {
    /// Offset that it is named after.
    pub base_offset: Offset,
    /// Its size in bytes.
    pub size: u64,
    /// When it was created, by the broker's clock.
    pub created: TimestampMs,
    /// Largest timestamp of its first batch; -1 where that has none, or there is no batch.
    pub first_batch_timestamp: TimestampMs,
    /// Its share of `segment.jitter.ms`, drawn once by [`jitter`].
    pub jitter_ms: i64,
    /// Entries in its offset index.
    pub offset_entries: u64,
    /// Entries in its time index.
    pub time_entries: u64,
}

/// Whether `batch`, offsets and timestamps assigned, must go into a new segment.
pub fn should_roll(segment: &ActiveSegment, batch: &BatchHeader, config: &LogConfig, now: TimestampMs) -> bool {
    let full = segment.size.saturating_add(batch.size() as u64) > config.segment_bytes;
    let aged = segment.size > 0 && age(segment, batch.max_timestamp, now) > config.max_segment_ms() - segment.jitter_ms;
    full || aged || indexes_full(segment, config) || !fits_relative(segment.base_offset, batch.last_offset())
}

/// Draws a segment's jitter from a random number: uniform in `0..min(segment.jitter.ms, segment.ms)`.
pub fn jitter(config: &LogConfig, random: u64) -> i64 {
    let bound = config.segment_jitter_ms.min(config.segment_ms);
    u64::try_from(bound).ok().and_then(|bound| random.checked_rem(bound)).map_or(0, |drawn| drawn as i64)
}

/// Whether an index can hold this offset: entries are relative to the segment's base, in 31 bits.
pub fn fits_relative(base: Offset, offset: Offset) -> bool {
    offset.0.checked_sub(base.0).is_some_and(|relative| (0..=i64::from(i32::MAX)).contains(&relative))
}

/// By the timestamps of the records where they have any, so that a replayed old log rolls as the original did.
fn age(segment: &ActiveSegment, incoming: TimestampMs, now: TimestampMs) -> i64 {
    if segment.first_batch_timestamp.0 >= 0 {
        incoming.0.saturating_sub(segment.first_batch_timestamp.0)
    } else {
        now.0.saturating_sub(segment.created.0)
    }
}

/// The time index keeps its last place free for the entry that closing the segment writes.
fn indexes_full(segment: &ActiveSegment, config: &LogConfig) -> bool {
    segment.offset_entries >= config.segment_index_bytes / OFFSET_ENTRY
        || segment.time_entries + 1 >= config.segment_index_bytes / TIME_ENTRY
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{LeaderEpoch, ProducerEpoch, ProducerId, Sequence};

    fn segment() -> ActiveSegment {
        ActiveSegment {
            base_offset: Offset(100),
            size: 1000,
            created: TimestampMs(50),
            first_batch_timestamp: TimestampMs(1_000),
            jitter_ms: 0,
            offset_entries: 0,
            time_entries: 0,
        }
    }

    fn config() -> LogConfig {
        LogConfig { segment_bytes: 2000, segment_ms: 500, segment_index_bytes: 240, ..LogConfig::default() }
    }

    fn batch(size: i32, last_offset: i64, max_timestamp: i64) -> BatchHeader {
        BatchHeader {
            base_offset: Offset(last_offset),
            batch_length: size - 12,
            partition_leader_epoch: LeaderEpoch(0),
            crc: 0,
            attributes: 0,
            last_offset_delta: 0,
            base_timestamp: TimestampMs(max_timestamp),
            max_timestamp: TimestampMs(max_timestamp),
            producer_id: ProducerId::NONE,
            producer_epoch: ProducerEpoch::NONE,
            base_sequence: Sequence::NONE,
            record_count: 1,
        }
    }

    fn rolls(segment: &ActiveSegment, batch: &BatchHeader, now: i64) -> bool {
        should_roll(segment, batch, &config(), TimestampMs(now))
    }

    #[test]
    fn by_size_with_the_incoming_batch() {
        assert!(!rolls(&segment(), &batch(1000, 101, 1_000), 0));
        assert!(rolls(&segment(), &batch(1001, 101, 1_000), 0));
    }

    #[test]
    fn by_the_age_of_the_first_batch() {
        assert!(!rolls(&segment(), &batch(100, 101, 1_500), 9_999));
        assert!(rolls(&segment(), &batch(100, 101, 1_501), 0));
        let jittered = ActiveSegment { jitter_ms: 100, ..segment() };
        assert!(!rolls(&jittered, &batch(100, 101, 1_400), 0));
        assert!(rolls(&jittered, &batch(100, 101, 1_401), 0));
    }

    #[test]
    fn a_compacted_topic_ends_its_segments_in_time_for_their_compaction() {
        let config = LogConfig { compact: true, max_compaction_lag_ms: 200, ..config() };
        assert!(!should_roll(&segment(), &batch(100, 101, 1_200), &config, TimestampMs(0)));
        assert!(should_roll(&segment(), &batch(100, 101, 1_201), &config, TimestampMs(0)));
        let other = LogConfig { compact: false, ..config };
        assert!(!should_roll(&segment(), &batch(100, 101, 1_201), &other, TimestampMs(0)));
    }

    #[test]
    fn by_its_creation_where_records_have_no_timestamp() {
        let plain = ActiveSegment { first_batch_timestamp: TimestampMs::NONE, ..segment() };
        assert!(!rolls(&plain, &batch(100, 101, -1), 550));
        assert!(rolls(&plain, &batch(100, 101, -1), 551));
        assert!(!rolls(&ActiveSegment { size: 0, ..plain }, &batch(100, 101, -1), 551));
    }

    #[test]
    fn by_full_indexes() {
        assert!(!rolls(&ActiveSegment { offset_entries: 29, ..segment() }, &batch(100, 101, 1_000), 0));
        assert!(rolls(&ActiveSegment { offset_entries: 30, ..segment() }, &batch(100, 101, 1_000), 0));
        assert!(!rolls(&ActiveSegment { time_entries: 18, ..segment() }, &batch(100, 101, 1_000), 0));
        assert!(rolls(&ActiveSegment { time_entries: 19, ..segment() }, &batch(100, 101, 1_000), 0));
    }

    #[test]
    fn by_an_offset_that_no_index_entry_holds() {
        let largest = 100 + i64::from(i32::MAX);
        assert!(!rolls(&segment(), &batch(100, largest, 1_000), 0));
        assert!(rolls(&segment(), &batch(100, largest + 1, 1_000), 0));
    }

    #[test]
    fn jitter_stays_below_both_settings() {
        let config = LogConfig { segment_jitter_ms: 700, segment_ms: 500, ..LogConfig::default() };
        assert!((0..2000).all(|random| (0..500).contains(&jitter(&config, random))));
        assert_eq!(jitter(&LogConfig::default(), 12_345), 0);
    }
}
