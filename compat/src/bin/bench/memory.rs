//! The machine's memory before something is measured that fills the page cache.

use std::io::{self, Write};

/// Fills this much of the page cache and empties it again. A virtual machine gets its memory from the host page by
/// page, at the first touch, and may hand back what is free for a few seconds: whichever broker came after a pause
/// would pay for it, up to 2.5 s of processor time per GB.
pub fn touch(bytes: u64) -> io::Result<()> {
    let mut file = tempfile::tempfile()?;
    let chunk = vec![0; 8 << 20];
    for _ in 0..bytes.div_ceil(chunk.len() as u64) {
        file.write_all(&chunk)?;
    }
    Ok(())
}
