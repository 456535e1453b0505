//! Kafka's checkpoint files (a version, a count, one entry a line), and how a small file is replaced as a whole (rule 32).

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::str::FromStr;

use super::disk::Disk;
use crate::log::leader_epochs::EpochStart;
use crate::types::{LeaderEpoch, Offset, PartitionIndex, TopicPartition};

/// The only version there is.
const VERSION: &str = "0";

/// A file holds what its format does not allow. Whoever reads the file adds its path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(pub String);

/// `recovery-point-offset-checkpoint`, `log-start-offset-checkpoint`: one offset per partition.
pub fn encode_offsets<'a>(entries: impl IntoIterator<Item = (&'a TopicPartition, Offset)>) -> Vec<u8> {
    encode(entries.into_iter().map(|(of, offset)| format!("{} {} {offset}", of.topic, of.partition)))
}

/// Reads what [`encode_offsets`] writes; an empty file holds nothing.
pub fn decode_offsets(bytes: &[u8]) -> Result<Vec<(TopicPartition, Offset)>, Malformed> {
    decode(bytes, |line| {
        let mut fields = line.split_whitespace();
        let topic = fields.next()?;
        let partition = PartitionIndex(number(fields.next())?);
        let offset = Offset(number(fields.next())?);
        fields.next().is_none().then(|| (TopicPartition::new(topic, partition), offset))
    })
}

/// `leader-epoch-checkpoint`: where each leader epoch begins.
pub fn encode_epochs(entries: &[EpochStart]) -> Vec<u8> {
    encode(entries.iter().map(|entry| format!("{} {}", entry.epoch, entry.start)))
}

/// Reads what [`encode_epochs`] writes; an empty file holds nothing.
pub fn decode_epochs(bytes: &[u8]) -> Result<Vec<EpochStart>, Malformed> {
    decode(bytes, |line| {
        let mut fields = line.split_whitespace();
        let epoch = LeaderEpoch(number(fields.next())?);
        let start = Offset(number(fields.next())?);
        fields.next().is_none().then_some(EpochStart { epoch, start })
    })
}

/// Replaces a file so that a crash leaves the old content or the new one, and the new one once this returns:
/// temporary file, fsync, rename, fsync of the folder.
pub fn replace_file(disk: &dyn Disk, path: &Path, content: &[u8]) -> io::Result<()> {
    let mut temporary = path.as_os_str().to_owned();
    temporary.push(".tmp");
    let temporary = Path::new(&temporary);
    let file = disk.open(temporary)?;
    file.set_len(0)?;
    file.write_all_at(content, 0)?;
    file.sync_data()?;
    disk.rename(temporary, path)?;
    path.parent().map_or(Ok(()), |folder| disk.sync_dir(folder))
}

/// Reads a small file as a whole; `None` where there is none.
pub fn read_file(disk: &dyn Disk, path: &Path) -> io::Result<Option<Vec<u8>>> {
    if !disk.exists(path) {
        return Ok(None);
    }
    let file = disk.open(path)?;
    let mut content = vec![0; usize::try_from(file.len()?).map_err(io::Error::other)?];
    let read = file.read_at(&mut content, 0)?;
    content.truncate(read);
    Ok(Some(content))
}

fn encode(lines: impl Iterator<Item = String>) -> Vec<u8> {
    let mut body = String::new();
    let mut count = 0_usize;
    for line in lines {
        body.push_str(&line);
        body.push('\n');
        count += 1;
    }
    let mut file = String::with_capacity(body.len() + 16);
    // Writing into a String cannot fail.
    let _ = write!(file, "{VERSION}\n{count}\n{body}");
    file.into_bytes()
}

fn decode<T>(bytes: &[u8], entry: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Malformed> {
    let text = std::str::from_utf8(bytes).map_err(|error| Malformed(error.to_string()))?;
    let mut lines = text.lines();
    match lines.next() {
        None => return Ok(Vec::new()),
        Some(VERSION) => {}
        Some(other) => return Err(Malformed(format!("version {other:?} is not known, only {VERSION} is"))),
    }
    let Some(count) = lines.next() else { return Ok(Vec::new()) };
    let expected: usize = count.parse().map_err(|_| Malformed(format!("{count:?} is no count of entries")))?;
    let entries: Vec<T> = lines
        .map(|line| entry(line).ok_or_else(|| Malformed(format!("{line:?} is no entry"))))
        .collect::<Result<_, _>>()?;
    if entries.len() != expected {
        return Err(Malformed(format!("{expected} entries are announced, {} are there", entries.len())));
    }
    Ok(entries)
}

fn number<T: FromStr>(field: Option<&str>) -> Option<T> {
    field?.parse().ok()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn offsets_are_kafkas() {
        let file = b"0\n3\nt1 1 381\nt1 0 381\nt2 0 1\n";
        let entries = decode_offsets(file).unwrap();
        assert_eq!(entries[1], (TopicPartition::new("t1", PartitionIndex(0)), Offset(381)));
        assert_eq!(encode_offsets(entries.iter().map(|(of, offset)| (of, *offset))), file);
    }

    #[test]
    fn epochs_are_kafkas() {
        let file = b"0\n2\n0 0\n3 1665\n";
        let entries = decode_epochs(file).unwrap();
        assert_eq!(entries[1], EpochStart { epoch: LeaderEpoch(3), start: Offset(1665) });
        assert_eq!(encode_epochs(&entries), file);
        assert_eq!(encode_epochs(&[]), b"0\n0\n");
    }

    #[test]
    fn a_file_that_was_only_created_is_empty() {
        assert_eq!(decode_offsets(b""), Ok(vec![]));
        assert_eq!(decode_epochs(b"0\n"), Ok(vec![]));
    }

    #[test]
    fn damage_is_found() {
        for bad in
            ["1\n0\n", "0\nx\n", "0\n2\nt 0 1\n", "0\n1\nt 0\n", "0\n1\nt 0 1 2\n", "0\n1\nt x 1\n", "0\n0\nt 0 1\n"]
        {
            assert!(decode_offsets(bad.as_bytes()).is_err(), "{bad:?}");
        }
        assert!(decode_offsets(&[b'0', b'\n', 0xff]).is_err());
        assert!(decode_epochs(b"0\n1\n1 2 3\n").is_err());
    }
}
