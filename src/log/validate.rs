//! Whether a client's batch may be appended (rules 1-6), and what of it the broker changes first.
//!
//! A plain batch is walked once, record by record, in place: that costs a few nanoseconds a record and keeps out what
//! no consumer could read. A compressed batch stays opaque (rule 6) unless a rule asks about single records: a
//! compacted topic (keys), timestamps that the header does not prove to be allowed, or another codec for the topic.
//! Kafka decompresses every batch; what is given up here is that a batch of rubbish is noticed by its consumers only.

use bytes::BytesMut;

use super::config::LogConfig;
use super::producer_state::not_a_marker;
use super::record_walk::walk;
use super::{AppendError, Origin};
use crate::types::{Offset, TimestampMs};
use crate::wire::batch::{
    BatchError, BatchHeader, Compression, HEADER_LEN, LOG_OVERHEAD, TimestampType, check_crc, set_max_timestamp,
};
use crate::wire::control::Control;
use crate::wire::records::{self, BatchBuilder, Records};

/// Position of the magic byte.
const MAGIC_AT: usize = 16;
/// Smallest length that Kafka accepts for anything that might be a batch: the overhead of message format 0.
const SMALLEST_LENGTH: i32 = 14;
/// The first Produce version with Zstandard.
const ZSTD_SINCE: i16 = 7;
/// What records may expand to where they have to be looked at, whatever their codec makes of them.
const MAX_EXPANDED: usize = 64 << 20;
/// How many records at fault are named.
const MAX_NAMED: usize = 1000;

/// A batch that may be appended once it has its offset and leader epoch.
#[derive(Debug)]
pub struct Validated {
    /// Exactly one batch.
    pub batch: BytesMut,
    /// Its header.
    pub header: BatchHeader,
    /// What it says, if it is a control batch.
    pub control: Option<Control>,
    /// The broker's time under LogAppendTime, else -1: what the response says.
    pub log_append_time: TimestampMs,
}

/// Checks a batch and brings it into the topic's shape: time of the append, true largest timestamp, codec.
pub fn validate(
    mut batch: BytesMut,
    config: &LogConfig,
    origin: Origin,
    now: TimestampMs,
) -> Result<Validated, AppendError> {
    let header = match origin {
        Origin::Client { version, .. } => {
            let header = only_batch(&mut batch, version)?;
            if header.base_offset != Offset(0) {
                return Err(invalid(format!("the base offset of a new batch must be 0, not {}", header.base_offset)));
            }
            check_message_size(&batch, config)?;
            check_crc(&batch).map_err(corrupt)?;
            check_header(&header)?;
            header
        }
        Origin::Coordinator { .. } | Origin::Marker { .. } | Origin::Broker => {
            let header = BatchHeader::parse(&batch).map_err(corrupt)?;
            if header.size() != batch.len() {
                return Err(corrupt(BatchError::Truncated));
            }
            // The limit is for clients: what the broker writes has no other way to be smaller.
            header
        }
    };
    let control = header.is_control().then(|| Control::of(&header, &batch)).transpose();
    let control = control.map_err(|error| invalid(error.to_string()))?;
    if matches!(origin, Origin::Marker { .. }) && !(header.has_producer() && matches!(control, Some(Control::End(_)))) {
        return Err(not_a_marker());
    }
    let source = header.compression().ok_or_else(|| {
        invalid(format!("the batch's attributes {:#06x} name a codec that does not exist", header.attributes))
    })?;
    let target = config.compression.unwrap_or(source);
    // A plain marker stays as it is.
    let in_place = target == source || (source == Compression::None && header.is_control());
    let rules = Rules::new(&header, config, now);
    if in_place {
        adjust(&mut batch, &header, source, origin, &rules)?;
    } else {
        batch = rebuild(&batch, &header, target, config, &rules)?;
        check_message_size(&batch, config)?;
    }
    if batch.len() as u64 > config.segment_bytes {
        return Err(AppendError::LargerThanSegment { size: batch.len(), limit: config.segment_bytes as usize });
    }
    let header = BatchHeader::parse(&batch).map_err(corrupt)?;
    Ok(Validated { batch, header, control, log_append_time: rules.log_append_time() })
}

/// Rule 1: exactly one batch of magic 2. What Kafka takes for the torn beginning of another one is cut off, as it does.
fn only_batch(bytes: &mut BytesMut, version: i16) -> Result<BatchHeader, AppendError> {
    let not_one = AppendError::NotOneBatch;
    let size = whole_batch(bytes)?.ok_or_else(|| not_one("the request holds no whole batch".to_owned()))?;
    let header = match BatchHeader::parse(bytes) {
        Err(BatchError::UnsupportedMagic(magic)) => {
            return Err(not_one(format!("only message format 2 is accepted by this API version, not {magic}")));
        }
        parsed => parsed.map_err(corrupt)?,
    };
    if header.compression() == Some(Compression::Zstd) && version < ZSTD_SINCE {
        return Err(AppendError::UnsupportedCompression(format!(
            "Zstandard needs Produce version {ZSTD_SINCE}, this request has version {version}"
        )));
    }
    if whole_batch(bytes.get(size..).unwrap_or_default())?.is_some() {
        return Err(not_one("a partition of a request holds exactly one batch".to_owned()));
    }
    bytes.truncate(size);
    Ok(header)
}

/// The size of the batch that `bytes` begin with, if all of it is there.
fn whole_batch(bytes: &[u8]) -> Result<Option<usize>, AppendError> {
    let Some(overhead) = bytes.first_chunk::<LOG_OVERHEAD>() else { return Ok(None) };
    let [.., a, b, c, d] = *overhead;
    let length = i32::from_be_bytes([a, b, c, d]);
    if length < SMALLEST_LENGTH {
        return Err(corrupt(BatchError::BadLength(length)));
    }
    match bytes.get(MAGIC_AT) {
        Some(&magic) if magic > 2 => Err(corrupt(BatchError::UnsupportedMagic(magic as i8))),
        Some(_) => {
            let size = LOG_OVERHEAD.saturating_add(length as usize);
            Ok((bytes.len() >= size).then_some(size))
        }
        None => Ok(None),
    }
}

/// Rule 3.
fn check_message_size(batch: &[u8], config: &LogConfig) -> Result<(), AppendError> {
    if batch.len() > config.max_message_bytes {
        return Err(AppendError::TooLarge { size: batch.len(), limit: config.max_message_bytes });
    }
    Ok(())
}

/// Rule 4, as far as the header goes.
fn check_header(header: &BatchHeader) -> Result<(), AppendError> {
    let (last, count) = (header.last_offset_delta, header.record_count);
    if count <= 0 || i64::from(last) + 1 != i64::from(count) {
        return Err(invalid(format!(
            "the last offset delta {last} and the record count {count} contradict each other"
        )));
    }
    if header.is_control() {
        return Err(invalid("clients may not write control batches".to_owned()));
    }
    if header.has_producer() && header.base_sequence.0 < 0 {
        return Err(invalid(format!(
            "producer {} sent a batch without a sequence ({})",
            header.producer_id, header.base_sequence
        )));
    }
    Ok(())
}

/// What single records must fulfil.
#[derive(Clone, Copy, Debug)]
struct Rules {
    keys_required: bool,
    kind: TimestampType,
    now: TimestampMs,
    /// Timestamps that are allowed under CreateTime.
    earliest: i64,
    latest: i64,
    base: i64,
    /// What every record's timestamp is, where the client marked the batch as LogAppendTime.
    fixed: Option<i64>,
}

impl Rules {
    fn new(header: &BatchHeader, config: &LogConfig, now: TimestampMs) -> Self {
        Self {
            keys_required: config.compact,
            kind: config.timestamp_type,
            now,
            earliest: match config.timestamp_before_max_ms {
                i64::MAX => i64::MIN,
                before => now.0.saturating_sub(before),
            },
            latest: now.0.saturating_add(config.timestamp_after_max_ms),
            base: header.base_timestamp.0,
            fixed: (header.timestamp_type() == TimestampType::LogAppendTime).then_some(header.max_timestamp.0),
        }
    }

    fn log_append_time(&self) -> TimestampMs {
        match self.kind {
            TimestampType::CreateTime => TimestampMs::NONE,
            TimestampType::LogAppendTime => self.now,
        }
    }

    /// A record's timestamp, as a consumer would read it off this batch.
    #[inline]
    fn timestamp(&self, delta: i64) -> i64 {
        self.fixed.unwrap_or(self.base.wrapping_add(delta))
    }

    /// Rule 5: whether a timestamp is refused.
    #[inline]
    fn refuses(&self, timestamp: i64) -> bool {
        if self.kind == TimestampType::CreateTime && timestamp != TimestampMs::NONE.0 {
            timestamp < self.earliest || timestamp > self.latest
        } else {
            // The time of the append is for the broker to set.
            self.fixed.is_some()
        }
    }

    /// Whether the header of a compressed batch shows that no record breaks a rule.
    fn proven_by(&self, header: &BatchHeader) -> bool {
        let times = match (self.kind, self.fixed) {
            (_, Some(fixed)) => !self.refuses(fixed),
            (TimestampType::LogAppendTime, None) => true,
            // The first record's timestamp is no lower bound, so a bound to the past always takes a look.
            (TimestampType::CreateTime, None) => self.earliest == i64::MIN && header.max_timestamp.0 <= self.latest,
        };
        times && !self.keys_required
    }

    /// Walks plain records; the largest timestamp when all of them are allowed.
    fn check(&self, section: &[u8], count: i32) -> Result<TimestampMs, AppendError> {
        let mut max = TimestampMs::NONE.0;
        let mut faults = Faults::default();
        let walked = walk(section, count, |index, record| {
            let timestamp = self.timestamp(record.timestamp_delta);
            max = max.max(timestamp);
            let keyless = self.keys_required && !record.has_key;
            if keyless || self.refuses(timestamp) {
                self.fault(&mut faults, index, keyless, timestamp);
            }
        });
        walked.map_err(|error| invalid(error.to_string()))?;
        faults.into_result().map(|()| TimestampMs(max))
    }

    #[cold]
    fn fault(&self, faults: &mut Faults, index: i32, keyless: bool, timestamp: i64) {
        faults.total += 1;
        faults.timestamp |= !keyless;
        if faults.named.len() == MAX_NAMED {
            return;
        }
        let message = if keyless {
            "a compacted topic takes no record without a key".to_owned()
        } else if self.fixed.is_some() && (self.kind == TimestampType::LogAppendTime || timestamp < 0) {
            "the batch is marked as LogAppendTime, which only the broker may do".to_owned()
        } else {
            format!("timestamp {timestamp} is outside of the allowed range {}..={}", self.earliest, self.latest)
        };
        faults.named.push((index, message));
    }
}

/// Records that break a rule.
#[derive(Debug, Default)]
struct Faults {
    named: Vec<(i32, String)>,
    total: usize,
    timestamp: bool,
}

impl Faults {
    /// Rule 4: one bad record rejects its batch; INVALID_TIMESTAMP wins over INVALID_RECORD.
    fn into_result(self) -> Result<(), AppendError> {
        let Some((first, why)) = self.named.first() else { return Ok(()) };
        let message = format!("{} records of the batch were refused; record {first}: {why}", self.total);
        let records = self.named;
        Err(if self.timestamp {
            AppendError::InvalidTimestamp { message, records }
        } else {
            AppendError::InvalidRecord { message, records }
        })
    }
}

/// Checks the records as far as the rules ask for it, and sets the largest timestamp and what it means (rule 5).
fn adjust(
    batch: &mut BytesMut,
    header: &BatchHeader,
    source: Compression,
    origin: Origin,
    rules: &Rules,
) -> Result<(), AppendError> {
    let trusted = !matches!(origin, Origin::Client { .. }) || (source != Compression::None && rules.proven_by(header));
    let max = if trusted {
        header.max_timestamp
    } else if source == Compression::None {
        rules.check(batch.get(HEADER_LEN..).unwrap_or_default(), header.record_count)?
    } else {
        rules.check(&expanded(batch)?, header.record_count)?
    };
    let max = match rules.kind {
        TimestampType::CreateTime => max,
        TimestampType::LogAppendTime => rules.now,
    };
    if header.timestamp_type() != rules.kind || header.max_timestamp != max {
        set_max_timestamp(batch, rules.kind, max);
    }
    Ok(())
}

/// `compression.type` other than `producer`: the same records in the topic's codec. Offsets and timestamps are counted
/// anew, as Kafka does: a batch may have come with gaps.
fn rebuild(
    batch: &[u8],
    header: &BatchHeader,
    target: Compression,
    config: &LogConfig,
    rules: &Rules,
) -> Result<BytesMut, AppendError> {
    let section = expanded(batch)?;
    rules.check(&section, header.record_count)?;
    let mut builder = BatchBuilder::new().leader_epoch(header.partition_leader_epoch).producer(
        header.producer_id,
        header.producer_epoch,
        header.base_sequence,
    );
    if header.is_transactional() {
        builder = builder.transactional();
    }
    if header.is_control() {
        builder = builder.control();
    }
    for record in Records::new(&section, header.record_count) {
        let record = record.map_err(|error| invalid(error.to_string()))?;
        let timestamp = TimestampMs(rules.timestamp(record.timestamp_delta));
        builder.push(timestamp, record.key, record.value, record.headers);
    }
    let level = match target {
        Compression::Gzip => config.gzip_level,
        Compression::Lz4 => config.lz4_level,
        Compression::Zstd => config.zstd_level,
        Compression::None | Compression::Snappy => 0,
    };
    let built = builder.build(header.base_offset, target, level);
    let mut built = built
        .map_err(|error| AppendError::Storage(format!("the records could not be compressed: {error}")))?
        .ok_or_else(|| invalid("the batch holds no records".to_owned()))?;
    if rules.kind == TimestampType::LogAppendTime {
        set_max_timestamp(&mut built, rules.kind, rules.now);
    }
    Ok(built)
}

/// The records of a batch, decompressed. Bytes that do not decompress are refused for good: Kafka answers
/// UNKNOWN_SERVER_ERROR, and a code that tells the client to try again would make it do so for ever.
fn expanded(batch: &[u8]) -> Result<std::borrow::Cow<'_, [u8]>, AppendError> {
    records::section(batch, MAX_EXPANDED.max(batch.len())).map_err(|error| invalid(error.to_string()))
}

fn invalid(message: String) -> AppendError {
    AppendError::InvalidRecord { message, records: Vec::new() }
}

fn corrupt(error: BatchError) -> AppendError {
    AppendError::Corrupt(error.to_string())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests;
