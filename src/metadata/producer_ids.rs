//! Producer ids: given out from blocks, each of which is in the log before its first id is.

use super::decide::{Context, Decision};
use super::records::MetadataRecord;
use crate::types::ProducerId;

/// Ids in a block.
const BLOCK: i64 = 1000;

/// What is left of a block. A broker that stops loses the rest of its block, so that no id is ever given out twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Block {
    next: i64,
    end: i64,
}

impl Block {
    /// The next id, while there is one.
    pub fn take(&mut self) -> Option<ProducerId> {
        (self.next < self.end).then(|| {
            self.next += 1;
            ProducerId(self.next - 1)
        })
    }
}

/// Takes the next block.
pub fn next_block(context: Context<'_>) -> Decision<Block> {
    let first = context.image.next_producer_id();
    let block = Block { next: first, end: first.saturating_add(BLOCK) };
    let record = MetadataRecord::ProducerIds {
        broker: context.node(),
        broker_epoch: context.image.broker(context.node()).map_or(-1, |broker| broker.epoch),
        next: block.end,
    };
    Decision { records: vec![record], reply: block }
}
