//! The control records of KRaft: the leader of an epoch, and the first and last record of a snapshot.

use bytes::{Bytes, BytesMut};

use crate::types::NodeId;
use crate::wire::field_writer::Writer;

/// A control record, as key and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ControlRecord {
    /// Schema version and type.
    pub key: Bytes,
    /// The message.
    pub value: Bytes,
}

/// First record of every epoch: who leads it. The only voter elected itself.
pub fn leader_change(leader: NodeId) -> ControlRecord {
    control(2, |out| {
        out.i16(0);
        out.i32(leader.0);
        for _voters_then_granting in 0..2 {
            out.array(&[leader], |out, voter| {
                out.i32(voter.0);
                out.no_tags();
            });
        }
        out.no_tags();
    })
}

/// First record of a snapshot; `last_timestamp` is that of the last record of the log that the snapshot contains.
pub fn snapshot_header(last_timestamp: i64) -> ControlRecord {
    control(3, |out| {
        out.i16(0);
        out.i64(last_timestamp);
        out.no_tags();
    })
}

/// Last record of a snapshot: without it the snapshot is not whole.
pub fn snapshot_footer() -> ControlRecord {
    control(4, |out| {
        out.i16(0);
        out.no_tags();
    })
}

fn control(kind: i16, body: impl FnOnce(&mut Writer<'_>)) -> ControlRecord {
    let (mut key, mut value) = (BytesMut::new(), BytesMut::new());
    let mut writer = Writer::new(&mut key);
    writer.i16(0);
    writer.i16(kind);
    body(&mut Writer::new(&mut value));
    ControlRecord { key: key.freeze(), value: value.freeze() }
}
