//! What a client may send, and what becomes of it. The cases were put to Apache Kafka 4.3.1 first; where the answer
//! differs, the test says so.

use bytes::{BufMut, BytesMut};
use proptest::prelude::*;

use super::*;
use crate::log::VerificationGuard;
use crate::types::{ProducerEpoch, ProducerId, Sequence};
use crate::wire::control::{EndMarker, end_marker_batch};

const NOW: i64 = 1_700_000_000_000;
const HOUR_MS: i64 = 3_600_000;
const CODECS: [Compression; 4] = [Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

type Timed<'a> = (i64, Option<&'a [u8]>);

const TWO: [Timed<'static>; 2] = [(NOW, Some(b"k")), (NOW, Some(b"k"))];

/// Builds batches, right or wrong: every field of the header can be made to lie.
#[derive(Clone)]
struct Sent {
    header: BatchHeader,
    section: Vec<u8>,
}

impl Sent {
    fn new(records: &[Timed<'_>]) -> Self {
        Self::compressed(records, Compression::None)
    }

    fn compressed(records: &[Timed<'_>], codec: Compression) -> Self {
        let mut builder = BatchBuilder::new();
        for (timestamp, key) in records {
            builder.push(TimestampMs(*timestamp), *key, Some(b"value"), [].into_iter());
        }
        let batch = builder.build(Offset(0), codec, 1).unwrap().unwrap();
        let header = BatchHeader::parse(&batch).unwrap();
        Self { header, section: batch[HEADER_LEN..].to_vec() }
    }

    fn header(mut self, change: impl FnOnce(&mut BatchHeader)) -> Self {
        change(&mut self.header);
        self
    }

    fn section(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.section);
        self
    }

    fn bytes(&self) -> BytesMut {
        self.header.encode(&self.section)
    }
}

fn client(version: i16) -> Origin {
    Origin::Client { version, guard: VerificationGuard::NONE }
}

fn validated(bytes: impl AsRef<[u8]>, config: &LogConfig) -> Result<Validated, AppendError> {
    validate(BytesMut::from(bytes.as_ref()), config, client(11), TimestampMs(NOW))
}

fn sent(sent: &Sent, config: &LogConfig) -> Result<Validated, AppendError> {
    validated(sent.bytes(), config)
}

fn error(case: &str, result: Result<Validated, AppendError>) -> AppendError {
    match result {
        Ok(validated) => panic!("{case}: accepted as {:?}", validated.header),
        Err(error) => error,
    }
}

#[track_caller]
fn is_invalid_record(case: &str, result: Result<Validated, AppendError>) {
    let error = error(case, result);
    assert!(matches!(error, AppendError::InvalidRecord { .. }), "{case}: {error:?}");
}

#[track_caller]
fn is_not_one_batch(case: &str, result: Result<Validated, AppendError>) {
    let error = error(case, result);
    assert!(matches!(error, AppendError::NotOneBatch(_)), "{case}: {error:?}");
}

#[track_caller]
fn is_corrupt(case: &str, result: Result<Validated, AppendError>) {
    let error = error(case, result);
    assert!(matches!(error, AppendError::Corrupt(_)), "{case}: {error:?}");
}

/// The numbers of the records at fault, and whether it was for a timestamp.
#[track_caller]
fn faults(result: Result<Validated, AppendError>) -> (Vec<i32>, bool) {
    match result.expect_err("refused") {
        AppendError::InvalidRecord { records, .. } => (records.into_iter().map(|(index, _)| index).collect(), false),
        AppendError::InvalidTimestamp { records, .. } => (records.into_iter().map(|(index, _)| index).collect(), true),
        other => panic!("{other:?}"),
    }
}

fn compact() -> LogConfig {
    LogConfig { compact: true, ..LogConfig::default() }
}

fn stamped() -> LogConfig {
    LogConfig { timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() }
}

fn to(codec: Compression) -> LogConfig {
    LogConfig { compression: Some(codec), ..LogConfig::default() }
}

#[test]
fn a_good_batch_is_not_touched() {
    for sent in CODECS.map(|codec| Sent::compressed(&TWO, codec)).into_iter().chain([Sent::new(&TWO)]) {
        let bytes = sent.bytes();
        let validated = validated(&bytes, &LogConfig::default()).unwrap();
        assert_eq!(validated.batch, bytes);
        assert_eq!(validated.header, BatchHeader::parse(&bytes).unwrap());
        assert_eq!(validated.log_append_time, TimestampMs::NONE);
    }
}

#[test]
fn a_request_holds_exactly_one_batch() {
    let (config, good) = (LogConfig::default(), Sent::new(&TWO).bytes().to_vec());
    is_not_one_batch("nothing", validated([], &config));
    is_not_one_batch("two", validated([&good[..], &good].concat(), &config));
    for cut in [1, 11, 12, 16, 17, 40, good.len() - 1] {
        is_not_one_batch("cut short", validated(&good[..cut], &config));
    }
    // Kafka cuts off what looks like the beginning of another batch, and trips over what does not.
    for torn in [&good[..5], &good[..13], &good[..good.len() - 1]] {
        assert_eq!(validated([&good[..], torn].concat(), &config).unwrap().batch, good);
    }
    is_corrupt("zeros", validated([&good[..], &[0; 30]].concat(), &config));
}

#[test]
fn lengths_formats_and_checksums_must_be_right() {
    let (config, good) = (LogConfig::default(), Sent::new(&TWO).bytes().to_vec());
    let with = |at: usize, bytes: &[u8]| {
        let mut bad = good.clone();
        bad[at..at + bytes.len()].copy_from_slice(bytes);
        validated(bad, &config)
    };
    is_corrupt("negative length", with(8, &(-1_i32).to_be_bytes()));
    is_corrupt("shorter than any format", with(8, &13_i32.to_be_bytes()));
    is_corrupt("shorter than this format", with(8, &20_i32.to_be_bytes()));
    is_corrupt("format 3", with(MAGIC_AT, &[3]));
    is_corrupt("format 255", with(MAGIC_AT, &[255]));
    is_not_one_batch("format 1", with(MAGIC_AT, &[1]));
    is_corrupt("flipped bit", with(good.len() - 3, &[good[good.len() - 3] ^ 1]));
    is_corrupt("flipped checksum", with(17, &[good[17] ^ 1]));
    is_invalid_record("base offset", with(0, &5_i64.to_be_bytes()));
    // Kafka answers UNKNOWN_SERVER_ERROR.
    is_invalid_record("codec 5", sent(&Sent::new(&TWO).header(|header| header.attributes |= 5), &config));
}

#[test]
fn sizes_are_limited_before_anything_else_is_looked_at() {
    let mut bytes = Sent::new(&TWO).bytes();
    let config = LogConfig { max_message_bytes: bytes.len() - 1, ..LogConfig::default() };
    let refused = AppendError::TooLarge { size: bytes.len(), limit: bytes.len() - 1 };
    assert_eq!(error("good", validated(&bytes, &config)), refused);
    bytes[17] ^= 1;
    assert_eq!(error("bad checksum", validated(&bytes, &config)), refused);
    bytes[0] = 1;
    is_invalid_record("bad base offset", validated(&bytes, &config));
    let bytes = Sent::new(&TWO).bytes();
    let limit = bytes.len() - 1;
    let config = LogConfig { segment_bytes: limit as u64, ..LogConfig::default() };
    let refused = AppendError::LargerThanSegment { size: bytes.len(), limit };
    assert_eq!(error("segment", validated(&bytes, &config)), refused);
    let exact = LogConfig { max_message_bytes: bytes.len(), segment_bytes: bytes.len() as u64, ..config };
    assert!(validated(&bytes, &exact).is_ok());
}

#[test]
fn zstd_needs_version_7() {
    let zstd = Sent::compressed(&TWO, Compression::Zstd).bytes();
    let validate = |version| validate(zstd.clone(), &LogConfig::default(), client(version), TimestampMs(NOW));
    assert!(matches!(validate(6), Err(AppendError::UnsupportedCompression(_))));
    assert!(validate(7).is_ok());
}

#[test]
fn headers_must_agree_with_themselves() {
    let config = LogConfig::default();
    let with = |change: fn(&mut BatchHeader)| sent(&Sent::new(&TWO).header(change), &config);
    is_invalid_record("count below", with(|header| header.record_count = 1));
    is_invalid_record("count above", with(|header| header.record_count = 3));
    is_invalid_record("delta above", with(|header| header.last_offset_delta = 5));
    is_invalid_record("no records", with(|header| (header.record_count, header.last_offset_delta) = (0, -1)));
    is_invalid_record(
        "overflow",
        with(|header| {
            (header.record_count, header.last_offset_delta) = (i32::MIN, i32::MAX);
        }),
    );
    is_invalid_record("control", with(|header| header.attributes |= 0x20));
    is_invalid_record("no sequence", with(|header| header.producer_id = ProducerId(5)));
    let idempotent = with(|header| (header.producer_id, header.base_sequence) = (ProducerId(5), Sequence(0)));
    assert!(idempotent.is_ok());
    // Bits without a meaning, and one whose meaning is not the client's business, stay as they are.
    let odd = Sent::new(&TWO).header(|header| header.attributes |= 0x4140).bytes();
    assert_eq!(validated(&odd, &config).unwrap().batch, odd);
}

#[test]
fn plain_records_must_be_whole() {
    let config = LogConfig::default();
    let counts = |count: i32| {
        Sent::new(&TWO).header(|header| {
            (header.record_count, header.last_offset_delta) = (count, count - 1);
        })
    };
    is_invalid_record("one record too few announced", sent(&counts(1), &config));
    is_invalid_record("one record too many announced", sent(&counts(3), &config));
    is_invalid_record("a count that would last for ever", sent(&counts(i32::MAX), &config));
    is_invalid_record("a length beyond the end", sent(&Sent::new(&TWO).section(|section| section[0] = 0x7e), &config));
    is_invalid_record("a byte too many", sent(&Sent::new(&TWO).section(|section| section.push(0)), &config));
    // Deltas are not looked at, as in Kafka: consumers skip what is before the offset that they asked for.
    let gaps = Sent::new(&TWO).section(|section| section[3] = 10);
    assert!(sent(&gaps, &config).is_ok());
}

#[test]
fn a_compressed_batch_is_opened_only_for_a_rule() {
    for codec in CODECS {
        let rubbish = Sent::compressed(&TWO, codec).section(|section| *section = vec![0xff; 50]);
        assert!(sent(&rubbish, &LogConfig::default()).is_ok(), "{codec:?}: consumers will notice");
        is_invalid_record("compact", sent(&rubbish, &compact()));
        is_invalid_record("recompress", sent(&rubbish, &to(Compression::None)));
        let past = LogConfig { timestamp_before_max_ms: 1, ..LogConfig::default() };
        is_invalid_record("past", sent(&rubbish, &past));
        let future = rubbish.header(|header| header.max_timestamp = TimestampMs(NOW + HOUR_MS + 1));
        is_invalid_record("future", sent(&future, &LogConfig::default()));
    }
}

#[test]
fn a_compacted_topic_requires_keys() {
    let mixed = [(NOW, Some(&b""[..])), (NOW, None), (NOW, Some(b"k")), (NOW, None)];
    for codec in CODECS.into_iter().chain([Compression::None]) {
        let batch = Sent::compressed(&mixed, codec);
        assert_eq!(faults(sent(&batch, &compact())), (vec![1, 3], false), "{codec:?}");
        assert!(sent(&batch, &LogConfig::default()).is_ok());
        assert!(sent(&Sent::compressed(&mixed[..1], codec), &compact()).is_ok(), "an empty key is a key");
    }
    let both = [(NOW, None), (NOW + 2 * HOUR_MS, None), (NOW + 2 * HOUR_MS, Some(&b"k"[..]))];
    assert_eq!(faults(sent(&Sent::new(&both), &compact())), (vec![0, 1, 2], true), "INVALID_TIMESTAMP wins");
    let message = error("faults", sent(&Sent::new(&both), &compact())).to_string();
    assert!(message.starts_with("3 records") && message.contains("record 0: a compacted topic"), "{message}");
}

#[test]
fn only_so_many_faults_are_named() {
    let many = vec![(NOW, None); MAX_NAMED + 5];
    let error = error("many", sent(&Sent::new(&many), &compact()));
    let AppendError::InvalidRecord { message, records } = error else { panic!("{error:?}") };
    assert_eq!(records.len(), MAX_NAMED);
    assert!(message.starts_with("1005 records"), "{message}");
}

#[test]
fn create_times_are_bounded_in_both_directions() {
    let bounded = LogConfig { timestamp_before_max_ms: 1000, timestamp_after_max_ms: 500, ..LogConfig::default() };
    let times = [NOW - 1000, NOW - 1001, NOW, -1, NOW + 500, NOW + 501, -2];
    let records: Vec<_> = times.iter().map(|&timestamp| (timestamp, None)).collect();
    for codec in CODECS.into_iter().chain([Compression::None]) {
        let batch = Sent::compressed(&records, codec);
        assert_eq!(faults(sent(&batch, &bounded)), (vec![1, 5, 6], true), "{codec:?}");
        let open = LogConfig { timestamp_before_max_ms: i64::MAX, ..bounded.clone() };
        assert_eq!(faults(sent(&batch, &open)), (vec![5], true), "{codec:?}");
        let ever = LogConfig { timestamp_after_max_ms: i64::MAX, ..open };
        assert!(sent(&batch, &ever).is_ok());
    }
}

#[test]
fn a_largest_timestamp_that_lies_is_corrected() {
    let default = LogConfig::default();
    let low = Sent::new(&[(NOW, None), (NOW + 5, None)]).header(|header| header.max_timestamp = TimestampMs(NOW - 1));
    let corrected = sent(&low, &default).unwrap();
    assert_eq!(corrected.header.max_timestamp, TimestampMs(NOW + 5));
    check_crc(&corrected.batch).unwrap();
    for codec in CODECS.into_iter().chain([Compression::None]) {
        let high = Sent::compressed(&TWO, codec).header(|header| header.max_timestamp = TimestampMs(NOW + 9 * HOUR_MS));
        assert_eq!(sent(&high, &default).unwrap().header.max_timestamp, TimestampMs(NOW), "{codec:?}");
    }
    let hidden = Sent::new(&[(NOW + 2 * HOUR_MS, None)]).header(|header| header.max_timestamp = TimestampMs(NOW));
    assert_eq!(faults(sent(&hidden, &default)), (vec![0], true));
}

#[test]
fn log_append_time_is_the_brokers_to_set() {
    for codec in CODECS.into_iter().chain([Compression::None]) {
        let batch = Sent::compressed(&[(5, None), (NOW * 2, None)], codec);
        let validated = sent(&batch, &stamped()).unwrap();
        assert_eq!(validated.log_append_time, TimestampMs(NOW));
        assert_eq!(validated.header.max_timestamp, TimestampMs(NOW));
        assert_eq!(validated.header.timestamp_type(), TimestampType::LogAppendTime);
        check_crc(&validated.batch).unwrap();
        assert_eq!(validated.batch[HEADER_LEN..], batch.section, "deltas stay as they are");
        let marked = batch.header(|header| header.attributes |= 0x08);
        assert_eq!(faults(sent(&marked, &stamped())), (vec![0, 1], true), "{codec:?}");
    }
}

#[test]
fn a_mark_of_log_append_time_is_taken_off_under_create_time() {
    for codec in CODECS.into_iter().chain([Compression::None]) {
        let marked = Sent::compressed(&TWO, codec).header(|header| header.attributes |= 0x08);
        let validated = sent(&marked, &LogConfig::default()).unwrap();
        assert_eq!(validated.header.timestamp_type(), TimestampType::CreateTime, "{codec:?}");
        check_crc(&validated.batch).unwrap();
        // All records have the batch's largest timestamp then; without one they are refused.
        let untimed = marked.clone().header(|header| header.max_timestamp = TimestampMs::NONE);
        assert_eq!(faults(sent(&untimed, &LogConfig::default())), (vec![0, 1], true));
        let future = marked.header(|header| header.max_timestamp = TimestampMs(NOW + HOUR_MS + 1));
        assert_eq!(faults(sent(&future, &LogConfig::default())), (vec![0, 1], true));
    }
}

#[test]
fn another_codec_of_the_topic_is_applied() {
    let records = [(NOW - 7, Some(&b"a"[..])), (NOW - 9, None), (NOW - 3, Some(b""))];
    for source in CODECS.into_iter().chain([Compression::None]) {
        for target in CODECS.into_iter().chain([Compression::None]) {
            let original = Sent::compressed(&records, source).header(|header| {
                header.producer_id = ProducerId(9);
                header.producer_epoch = ProducerEpoch(2);
                header.base_sequence = Sequence(77);
                header.attributes |= 0x10;
            });
            let validated = sent(&original, &to(target)).unwrap();
            let header = validated.header;
            assert_eq!(header.compression(), Some(target), "{source:?} to {target:?}");
            check_crc(&validated.batch).unwrap();
            let expected = BatchHeader {
                batch_length: header.batch_length,
                crc: header.crc,
                attributes: header.attributes,
                partition_leader_epoch: header.partition_leader_epoch,
                ..original.header
            };
            assert_eq!(header, expected);
            assert!(header.is_transactional());
            let plain = Sent::new(&records).section;
            assert_eq!(records::section(&validated.batch, 1000).unwrap(), plain, "{source:?} to {target:?}");
        }
    }
}

#[test]
fn another_codec_counts_offsets_and_timestamps_anew() {
    let mut sparse = BatchBuilder::new();
    sparse.push_at(3, TimestampMs(NOW), Some(b"k"), None, [].into_iter());
    let pairs = [(&b"h"[..], None), (b"h", Some(&b"v"[..]))];
    sparse.push_at(9, TimestampMs(NOW + 4), Some(b"k"), None, pairs.into_iter());
    let mut sparse = sparse.build(Offset(0), Compression::Gzip, 1).unwrap().unwrap();
    let mut header = BatchHeader::parse(&sparse).unwrap();
    (header.last_offset_delta, header.max_timestamp) = (1, TimestampMs(NOW + 999));
    sparse = header.encode(&sparse[HEADER_LEN..]);
    let validated = validated(&sparse, &to(Compression::None)).unwrap();
    assert_eq!(validated.header.max_timestamp, TimestampMs(NOW + 4));
    let section = records::section(&validated.batch, 1000).unwrap();
    let records: Vec<_> = Records::new(&section, 2).map(Result::unwrap).collect();
    assert_eq!([records[0].offset_delta, records[1].offset_delta], [0, 1]);
    let headers: Vec<_> = records[1].headers.clone().collect();
    assert_eq!(headers, pairs);
}

#[test]
fn a_batch_that_grew_too_large_is_refused() {
    let zeros = vec![0; 5000];
    let mut builder = BatchBuilder::new();
    builder.push(TimestampMs(NOW), None, Some(&zeros), [].into_iter());
    let packed = builder.build(Offset(0), Compression::Gzip, 6).unwrap().unwrap();
    let config = LogConfig { max_message_bytes: 1000, ..to(Compression::None) };
    assert!(packed.len() < 1000);
    assert!(matches!(validated(&packed, &config), Err(AppendError::TooLarge { limit: 1000, .. })));
}

#[test]
fn log_append_time_and_another_codec_go_together() {
    let config = LogConfig { compression: Some(Compression::Zstd), ..stamped() };
    let validated = sent(&Sent::new(&[(5, None), (7, None)]), &config).unwrap();
    assert_eq!(validated.header.max_timestamp, TimestampMs(NOW));
    assert_eq!(validated.header.timestamp_type(), TimestampType::LogAppendTime);
    assert_eq!(validated.header.base_timestamp, TimestampMs(5));
    check_crc(&validated.batch).unwrap();
}

#[test]
fn the_broker_may_write_markers() {
    let end = EndMarker { commit: true, coordinator_epoch: 4 };
    let marker = end_marker_batch(ProducerId(5), ProducerEpoch(0), end, TimestampMs(NOW));
    for origin in [Origin::Broker, Origin::Marker { transaction_version: 2 }] {
        let validate = |bytes: BytesMut, config: &LogConfig| validate(bytes, config, origin, TimestampMs(NOW));
        for config in [LogConfig::default(), to(Compression::Gzip)] {
            let validated = validate(marker.clone(), &config).unwrap();
            assert_eq!((validated.batch, validated.control), (marker.clone(), Some(Control::End(end))));
        }
        let stamped = validate(marker.clone(), &stamped()).unwrap();
        assert_eq!(stamped.log_append_time, TimestampMs(NOW));
        let mut long = marker.clone();
        long.put_u8(0);
        assert!(matches!(validate(long, &LogConfig::default()), Err(AppendError::Corrupt(_))));
    }
}

#[test]
fn what_ends_a_transaction_is_a_marker_of_its_producer() {
    let origin = Origin::Marker { transaction_version: 2 };
    let validate = |bytes: BytesMut| validate(bytes, &LogConfig::default(), origin, TimestampMs(NOW));
    let control = |header: &mut BatchHeader| header.attributes |= 0x30;
    let no_marker = Sent::new(&TWO).header(|header| header.producer_id = ProducerId(5));
    let no_producer = Sent::new(&[(NOW, Some(&[0, 0, 0, 2]))]).header(control);
    let end = EndMarker { commit: true, coordinator_epoch: 4 };
    let nobodys = end_marker_batch(ProducerId::NONE, ProducerEpoch(0), end, TimestampMs(NOW));
    let unreadable = Sent::new(&TWO).header(control);
    for batch in [no_marker.bytes(), no_producer.bytes(), nobodys, unreadable.bytes()] {
        assert!(matches!(validate(batch), Err(AppendError::InvalidRecord { .. })));
    }
}

proptest! {
    #[test]
    fn any_bytes_give_an_answer(
        damage in proptest::collection::vec((0..120_usize, any::<u8>()), 0..6),
        codec in 0..5_usize,
        right_checksum in any::<bool>(),
        target in 0..6_usize,
        compact in any::<bool>(),
        broker in any::<bool>(),
    ) {
        let codecs = [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];
        let mut bytes = Sent::compressed(&[(NOW, Some(b"key")), (NOW + 1, None)], codecs[codec]).bytes();
        for (at, value) in damage {
            if let Some(byte) = bytes.get_mut(at) {
                *byte = value;
            }
        }
        if right_checksum && let Ok(header) = BatchHeader::parse(&bytes) {
            set_max_timestamp(&mut bytes, header.timestamp_type(), header.max_timestamp);
        }
        let config = LogConfig { compact, compression: codecs.get(target).copied(), ..LogConfig::default() };
        let origin = if broker { Origin::Broker } else { client(11) };
        if let Ok(validated) = validate(bytes, &config, origin, TimestampMs(NOW)) {
            prop_assert_eq!(validated.header.size(), validated.batch.len());
            if !broker {
                prop_assert!(check_crc(&validated.batch).is_ok());
            }
        }
    }
}
