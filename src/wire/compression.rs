//! The four codecs, with a bound on what they may expand to.
//!
//! What is decompressed grows as bytes are produced, or by what the codec can at most make of the bytes that are there;
//! a length that the data claims never reserves anything.

mod lz4;
mod snappy;

use std::borrow::Cow;
use std::io::{Read, Write};

use super::batch::Compression;

/// Why bytes could not be decompressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DecompressError {
    /// They expand to more than is allowed.
    #[error("the records expand to more than {limit} bytes")]
    TooLarge {
        /// What is allowed.
        limit: usize,
    },
    /// They are not what their codec writes.
    #[error("the records are not valid {0}")]
    Corrupt(&'static str),
}

/// Windows of up to 128 MiB are accepted, as by zstd itself and so by Kafka: that is address space until it is written.
const ZSTD_MAX_WINDOW_LOG: u32 = 27;

/// Decompresses `bytes` to at most `limit` bytes.
pub fn decompress(codec: Compression, bytes: &[u8], limit: usize) -> Result<Cow<'_, [u8]>, DecompressError> {
    let out = match codec {
        Compression::None if bytes.len() > limit => return Err(DecompressError::TooLarge { limit }),
        Compression::None => return Ok(Cow::Borrowed(bytes)),
        Compression::Gzip => read(flate2::bufread::MultiGzDecoder::new(bytes), "gzip", limit)?,
        Compression::Snappy => snappy::decompress(bytes, limit)?,
        Compression::Lz4 => lz4::decompress(bytes, limit)?,
        Compression::Zstd => {
            let corrupt = |_| DecompressError::Corrupt("zstd");
            let mut decoder = zstd::stream::read::Decoder::with_buffer(bytes).map_err(corrupt)?;
            decoder.window_log_max(ZSTD_MAX_WINDOW_LOG).map_err(corrupt)?;
            read(decoder, "zstd", limit)?
        }
    };
    Ok(Cow::Owned(out))
}

/// Reads a decoder to its end, or to the first byte above the limit.
fn read(decoder: impl Read, name: &'static str, limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut out = Vec::new();
    let mut bounded = decoder.take(limit as u64 + 1);
    bounded.read_to_end(&mut out).map_err(|_| DecompressError::Corrupt(name))?;
    if out.len() > limit { Err(DecompressError::TooLarge { limit }) } else { Ok(out) }
}

/// Compresses `bytes` as Kafka's own producer frames them.
///
/// `level` is that of `compression.gzip.level` (-1 for the default) or `compression.zstd.level`. Snappy has none, and
/// LZ4 is always written at its fast level: what reads it cannot tell.
pub fn compress(codec: Compression, level: i32, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    match codec {
        Compression::None => Ok(bytes.to_vec()),
        Compression::Gzip => {
            let level = u32::try_from(level).map_or_else(|_| flate2::Compression::default(), flate2::Compression::new);
            let mut encoder = flate2::write::GzEncoder::new(Vec::new(), level);
            encoder.write_all(bytes)?;
            encoder.finish()
        }
        Compression::Snappy => snappy::compress(bytes),
        Compression::Lz4 => lz4::compress(bytes),
        Compression::Zstd => zstd::bulk::compress(bytes, level),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const CODECS: [Compression; 5] =
        [Compression::None, Compression::Gzip, Compression::Snappy, Compression::Lz4, Compression::Zstd];

    #[test]
    fn every_codec_reads_back_small_large_and_empty() {
        let noise: Vec<u8> = (0..300_000_u32).map(|index| (index.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        for codec in CODECS {
            for bytes in [&[][..], b"a", &vec![7; 200_000], &noise, b"the quick brown fox"] {
                let packed = compress(codec, 3, bytes).unwrap();
                assert_eq!(decompress(codec, &packed, bytes.len()).unwrap(), bytes, "{codec:?} {}", bytes.len());
            }
        }
    }

    #[test]
    fn expansion_stops_at_the_limit() {
        for codec in CODECS {
            let packed = compress(codec, 1, &vec![0; 1_000_000]).unwrap();
            let refused = decompress(codec, &packed, 999_999);
            assert_eq!(refused, Err(DecompressError::TooLarge { limit: 999_999 }), "{codec:?}");
            assert!(decompress(codec, &packed, 1_000_000).is_ok());
        }
    }

    #[test]
    fn levels_out_of_range_still_compress() {
        for level in [-1, 0, 1, 9, 22, i32::MIN, i32::MAX] {
            let gzip = level.clamp(-1, 9);
            let packed = compress(Compression::Gzip, gzip, b"abc").unwrap();
            assert_eq!(decompress(Compression::Gzip, &packed, 3).unwrap(), &b"abc"[..]);
            let packed = compress(Compression::Zstd, level, b"abc").unwrap();
            assert_eq!(decompress(Compression::Zstd, &packed, 3).unwrap(), &b"abc"[..]);
        }
    }

    #[test]
    fn a_zstd_frame_from_a_stream_with_a_large_window_is_read() {
        let mut encoder = zstd::stream::write::Encoder::new(Vec::new(), 22).unwrap();
        encoder.window_log(27).unwrap();
        encoder.write_all(b"records").unwrap();
        let packed = encoder.finish().unwrap();
        assert_eq!(decompress(Compression::Zstd, &packed, 100).unwrap(), &b"records"[..]);
    }

    proptest! {
        #[test]
        fn damaged_data_never_panics(
            codec in 1_usize..5,
            bytes in proptest::collection::vec(0_u8..4, 0..3000),
            damage in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..3),
            cut in any::<prop::sample::Index>(),
        ) {
            let codec = CODECS[codec];
            let mut packed = compress(codec, 1, &bytes).unwrap();
            packed.push(0);
            for (place, value) in damage {
                let place = place.index(packed.len());
                packed[place] = value;
            }
            packed.truncate(cut.index(packed.len()) + 1);
            if let Ok(out) = decompress(codec, &packed, 4000) {
                prop_assert!(out.len() <= 4000);
            }
        }

        #[test]
        fn any_bytes_give_an_answer(codec in 1_usize..5, bytes: Vec<u8>) {
            let _ = decompress(CODECS[codec], &bytes, 4000);
        }
    }
}
