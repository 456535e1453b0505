//! LZ4 frames. The blocks are decompressed here one by one: `lz4_flex`'s own frame reader reserves what the frame's
//! first bytes claim as its block size, twice.

use std::io::Write;

use lz4_flex::block::{DecompressError as BlockError, decompress_into, decompress_into_with_dict};
use lz4_flex::frame::{BlockMode, BlockSize, FrameEncoder, FrameInfo};

use super::DecompressError;

const MAGIC: u32 = 0x184D_2204;
/// A length byte adds at most 255 to a match.
const MAX_RATIO: usize = 255;
/// How far back a block that depends on earlier ones may reach.
const WINDOW: usize = 64 * 1024;

const CORRUPT: DecompressError = DecompressError::Corrupt("LZ4");

/// What a frame says of its blocks.
struct Descriptor {
    independent: bool,
    block_checksums: bool,
    content_checksum: bool,
    max_block: usize,
}

/// Takes bytes off the front.
fn take<'a>(rest: &mut &'a [u8], len: usize) -> Result<&'a [u8], DecompressError> {
    let (taken, after) = rest.split_at_checked(len).ok_or(CORRUPT)?;
    *rest = after;
    Ok(taken)
}

fn u32_le(rest: &mut &[u8]) -> Result<u32, DecompressError> {
    let (taken, after) = rest.split_first_chunk::<4>().ok_or(CORRUPT)?;
    *rest = after;
    Ok(u32::from_le_bytes(*taken))
}

/// Reads a frame's head. Its own checksum is not looked at: the batch's covers it, and old clients got it wrong.
fn descriptor(rest: &mut &[u8]) -> Result<Descriptor, DecompressError> {
    if u32_le(rest)? != MAGIC {
        return Err(CORRUPT);
    }
    let &[flags, block] = take(rest, 2)? else { return Err(CORRUPT) };
    let (version, dictionary) = (flags >> 6, flags & 0x01 != 0);
    let max_block = match block >> 4 & 0x07 {
        size @ 4..=7 => 1_usize << (8 + 2 * size),
        _ => return Err(CORRUPT),
    };
    if version != 1 || dictionary {
        return Err(CORRUPT);
    }
    let content_size = if flags & 0x08 == 0 { 0 } else { 8 };
    take(rest, content_size + 1)?;
    Ok(Descriptor {
        independent: flags & 0x20 != 0,
        block_checksums: flags & 0x10 != 0,
        content_checksum: flags & 0x04 != 0,
        max_block,
    })
}

/// Decompresses one frame; what follows it is ignored, as Kafka does. The checksums in it are not checked: the batch's
/// own checksum covers all of these bytes.
pub(super) fn decompress(bytes: &[u8], limit: usize) -> Result<Vec<u8>, DecompressError> {
    let mut rest = bytes;
    let frame = descriptor(&mut rest)?;
    let mut out = Vec::new();
    loop {
        let word = u32_le(&mut rest)?;
        if word == 0 {
            break;
        }
        let is_plain = word & 0x8000_0000 != 0;
        let packed = take(&mut rest, (word & 0x7fff_ffff) as usize)?;
        if packed.len() > frame.max_block {
            return Err(CORRUPT);
        }
        if is_plain {
            if out.len() + packed.len() > limit {
                return Err(DecompressError::TooLarge { limit });
            }
            out.extend_from_slice(packed);
        } else {
            block(&frame, packed, limit, &mut out)?;
        }
        take(&mut rest, if frame.block_checksums { 4 } else { 0 })?;
    }
    take(&mut rest, if frame.content_checksum { 4 } else { 0 })?;
    Ok(out)
}

/// Decompresses one block to the end of `out`.
fn block(frame: &Descriptor, packed: &[u8], limit: usize, out: &mut Vec<u8>) -> Result<(), DecompressError> {
    let start = out.len();
    let possible = frame.max_block.min(packed.len().saturating_mul(MAX_RATIO));
    let allowed = limit.saturating_sub(start);
    out.resize(start + possible.min(allowed), 0);
    let (before, space) = out.split_at_mut(start);
    let written = if frame.independent {
        decompress_into(packed, space)
    } else {
        decompress_into_with_dict(packed, space, before.get(start.saturating_sub(WINDOW)..).unwrap_or_default())
    };
    match written {
        Ok(written) => {
            out.truncate(start + written);
            Ok(())
        }
        Err(BlockError::OutputTooSmall { .. }) if allowed < possible => Err(DecompressError::TooLarge { limit }),
        Err(_) => Err(CORRUPT),
    }
}

/// One frame of independent blocks of 64 KiB without checksums, as Kafka's producer writes it.
pub(super) fn compress(bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let info = FrameInfo::new().block_size(BlockSize::Max64KB).block_mode(BlockMode::Independent);
    let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
    encoder.write_all(bytes)?;
    Ok(encoder.finish()?)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn framed(info: FrameInfo, bytes: &[u8]) -> Vec<u8> {
        let mut encoder = FrameEncoder::with_frame_info(info, Vec::new());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn every_kind_of_frame_is_read() {
        let text: Vec<u8> = (0..400_000_u32).map(|index| (index / 7 % 251) as u8).collect();
        for size in [BlockSize::Max64KB, BlockSize::Max256KB, BlockSize::Max1MB, BlockSize::Max4MB] {
            for mode in [BlockMode::Independent, BlockMode::Linked] {
                for checksums in [false, true] {
                    let info = FrameInfo::new()
                        .block_size(size)
                        .block_mode(mode)
                        .block_checksums(checksums)
                        .content_checksum(checksums)
                        .content_size(checksums.then_some(text.len() as u64));
                    assert!(decompress(&framed(info, &text), text.len()).unwrap() == text);
                }
            }
        }
    }

    #[test]
    fn what_follows_the_frame_is_ignored() {
        let mut packed = compress(b"abc").unwrap();
        packed.extend_from_slice(b"tail");
        assert_eq!(decompress(&packed, 3).unwrap(), b"abc");
    }

    #[test]
    fn a_large_block_size_reserves_nothing() {
        // 4 MiB blocks, one of two bytes.
        let frame = [0x04, 0x22, 0x4d, 0x18, 0x60, 0x70, 0, 2, 0, 0, 0, 0x10, b'x', 0, 0, 0, 0];
        let out = decompress(&frame, usize::MAX).unwrap();
        assert_eq!(out, b"x");
        assert!(out.capacity() <= 2 * MAX_RATIO);
    }

    #[test]
    fn torn_frames_are_corrupt() {
        let packed = compress(&[5; 100]).unwrap();
        for length in 0..packed.len() {
            assert_eq!(decompress(&packed[..length], 1000), Err(CORRUPT), "{length}");
        }
    }
}
