//! Snappy: blocks in Xerial's framing, which Java clients write, or one bare block, which others may.

use super::DecompressError;

/// What Xerial's stream begins with; two version numbers follow, 4 bytes each.
const MAGIC: &[u8; 8] = b"\x82SNAPPY\0";
const HEADER_LEN: usize = MAGIC.len() + 8;
/// Bytes in a block before compression, as Kafka's producer writes them.
const BLOCK: usize = 32 * 1024;
/// A copy of 64 bytes takes 3: no block can expand more.
const MAX_RATIO: usize = 22;

const CORRUPT: DecompressError = DecompressError::Corrupt("snappy");

pub(super) fn decompress(bytes: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut out = Vec::new();
    if !bytes.starts_with(MAGIC) {
        block(bytes, limit, &mut out)?;
        return Ok(out);
    }
    let mut rest = bytes.get(HEADER_LEN..).ok_or(CORRUPT)?;
    while let Some((length, after)) = rest.split_first_chunk::<4>() {
        let (packed, after) = after.split_at_checked(u32::from_be_bytes(*length) as usize).ok_or(CORRUPT)?;
        block(packed, limit, &mut out)?;
        rest = after;
    }
    if rest.is_empty() { Ok(out) } else { Err(CORRUPT) }
}

/// Decompresses one block to the end of `out`.
fn block(packed: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
    let claimed = snap::raw::decompress_len(packed).map_err(|_| CORRUPT)?;
    if claimed > packed.len().saturating_mul(MAX_RATIO) {
        return Err(CORRUPT);
    }
    let start = out.len();
    let end = start.saturating_add(claimed);
    if end > limit {
        return Err(DecompressError::TooLarge { limit });
    }
    out.resize(end, 0);
    let space = out.get_mut(start..).unwrap_or_default();
    let written = snap::raw::Decoder::new().decompress(packed, space).map_err(|_| CORRUPT)?;
    out.truncate(start + written);
    Ok(())
}

pub(super) fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut out = Vec::with_capacity(HEADER_LEN + bytes.len() / 2);
    out.extend_from_slice(MAGIC);
    // Version 1, readable by version 1.
    out.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 1]);
    let mut encoder = snap::raw::Encoder::new();
    for block in bytes.chunks(BLOCK) {
        let packed = encoder.compress_vec(block)?;
        out.extend_from_slice(&(packed.len() as u32).to_be_bytes());
        out.extend_from_slice(&packed);
    }
    Ok(out)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_block_is_read_too() {
        let packed = snap::raw::Encoder::new().compress_vec(b"bare bare bare").unwrap();
        assert_eq!(decompress(&packed, 100).unwrap(), b"bare bare bare");
    }

    #[test]
    fn a_length_that_no_block_can_reach_reserves_nothing() {
        // Claims 1 GiB in 6 bytes.
        let lie = [0x80, 0x80, 0x80, 0x80, 0x04, 0];
        assert_eq!(decompress(&lie, usize::MAX), Err(CORRUPT));
    }

    #[test]
    fn the_best_ratio_is_within_the_bound() {
        let packed = snap::raw::Encoder::new().compress_vec(&vec![0; 1 << 20]).unwrap();
        assert!(packed.len() * MAX_RATIO > 1 << 20);
        assert_eq!(decompress(&packed, 1 << 20).unwrap().len(), 1 << 20);
    }

    #[test]
    fn torn_frames_are_corrupt() {
        let packed = compress(&[5; 100]).unwrap();
        for length in 1..packed.len() {
            let torn = decompress(&packed[..length], 1000);
            // The header alone is an empty stream.
            assert_eq!(torn.is_ok(), length == HEADER_LEN, "{length}");
        }
    }
}
