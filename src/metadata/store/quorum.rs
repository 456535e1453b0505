//! The files beside the metadata log that Apache Kafka wants to find: who leads which epoch, and what a log begins with.

use std::io;

use bytes::BytesMut;

use crate::metadata::bootstrap;
use crate::metadata::records::control::{ControlRecord, snapshot_footer, snapshot_header};
use crate::types::{LeaderEpoch, NodeId, Offset, TimestampMs};
use crate::wire::batch::Compression;
use crate::wire::records::BatchBuilder;

/// In the folder of the metadata log: the leader of the current epoch.
pub const QUORUM_STATE: &str = "quorum-state";
/// In the data folder: the features that `format` chose.
pub const BOOTSTRAP: &str = "bootstrap.checkpoint";

/// `quorum-state` of a quorum of one, in the bytes that Kafka writes for a fixed set of voters.
pub fn encode_state(node: NodeId, epoch: LeaderEpoch) -> Vec<u8> {
    format!(
        r#"{{"clusterId":"","leaderId":{node},"leaderEpoch":{epoch},"votedId":-1,"appliedOffset":0,"currentVoters":[{{"voterId":{node}}}],"data_version":0}}"#
    )
    .into_bytes()
}

/// The epoch in `quorum-state`, whichever version of it.
pub fn decode_epoch(content: &[u8]) -> Option<LeaderEpoch> {
    let text = std::str::from_utf8(content).ok()?;
    let (_, value) = text.split_once("\"leaderEpoch\"")?;
    let value = value.trim_start().strip_prefix(':')?.trim_start();
    let end = value.find(|c: char| !c.is_ascii_digit()).unwrap_or(value.len());
    value.get(..end)?.parse().ok().map(LeaderEpoch)
}

/// `bootstrap.checkpoint`: a snapshot that holds the finalized features.
pub fn encode_bootstrap(now: TimestampMs) -> io::Result<BytesMut> {
    let mut file = BytesMut::new();
    let mut offset = Offset(0);
    let mut add = |batch: BatchBuilder| {
        let next = offset.plus(batch.len() as i64);
        if let Some(batch) = batch.build(offset, Compression::None, 0)? {
            file.extend_from_slice(&batch);
        }
        offset = next;
        io::Result::Ok(())
    };
    add(control_batch(&snapshot_header(0), now))?;
    let mut records = BatchBuilder::new();
    for record in bootstrap::features() {
        records.push(now, None, Some(&record.to_bytes()), std::iter::empty());
    }
    add(records)?;
    add(control_batch(&snapshot_footer(), now))?;
    Ok(file)
}

/// A batch with one control record.
pub fn control_batch(record: &ControlRecord, now: TimestampMs) -> BatchBuilder {
    let mut batch = BatchBuilder::new().control();
    batch.push(now, Some(&record.key), Some(&record.value), std::iter::empty());
    batch
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::metadata::records::MetadataRecord;
    use crate::wire::batch::{BatchHeader, check_crc};
    use crate::wire::records::{Records, section};

    #[test]
    fn the_epoch_is_read_whoever_wrote_it() {
        let ours = encode_state(NodeId(1), LeaderEpoch(7));
        assert_eq!(decode_epoch(&ours), Some(LeaderEpoch(7)));
        let kafkas = br#"{"clusterId":"","leaderId":1,"leaderEpoch":1,"votedId":-1,"appliedOffset":0,"currentVoters":[{"voterId":1}],"data_version":0}"#;
        assert_eq!(encode_state(NodeId(1), LeaderEpoch(1)), kafkas);
        let newer = br#"{ "leaderId": 1, "leaderEpoch": 12, "votedId": -1, "data_version": 1 }"#;
        assert_eq!(decode_epoch(newer), Some(LeaderEpoch(12)));
        assert_eq!(decode_epoch(b"{}"), None);
        assert_eq!(decode_epoch(b"\"leaderEpoch\":99999999999"), None);
    }

    #[test]
    fn the_bootstrap_snapshot_is_three_batches_in_a_row() {
        let file = encode_bootstrap(TimestampMs(5)).unwrap();
        let (mut rest, mut kinds, mut next, mut records) = (&file[..], Vec::new(), Offset(0), Vec::new());
        while !rest.is_empty() {
            let header = BatchHeader::parse(rest).unwrap();
            let (batch, after) = rest.split_at(header.size());
            check_crc(batch).unwrap();
            assert_eq!(header.base_offset, next);
            next = header.next_offset();
            kinds.push(header.is_control());
            if !header.is_control() {
                let section = section(batch, 1 << 20).unwrap();
                let values =
                    Records::new(&section, header.record_count).map(|record| record.unwrap().value.unwrap().to_vec());
                records.extend(values.map(|value| MetadataRecord::decode(&value).unwrap()));
            }
            rest = after;
        }
        assert_eq!(kinds, [true, false, true]);
        assert_eq!(records, bootstrap::features());
    }
}
