//! Moving a log's start and dropping the segments below it (DeleteRecords).

use std::sync::Arc;

use super::log_manager::Durability;
use super::partition::LocalPartition;
use super::partition_log::{PartitionLog, ReadError};
use super::state::State;
use crate::clock;
use crate::types::Offset;

impl LocalPartition {
    /// Waits for the disk, unlike appends and reads: the new start is durable before a file goes.
    pub(super) fn move_log_start(&self, before: Offset) -> Result<Offset, ReadError> {
        let storage = |error: std::io::Error| ReadError::Storage(format!("deleting records of {}: {error}", self.name));
        let config = self.config();
        let mut maintenance = self.maintenance.lock();
        let (gone, start, watchers, flush) = {
            let mut state = self.state.lock();
            if state.deleted {
                return Err(ReadError::Storage(format!("{} is being deleted", self.name)));
            }
            let offsets = state.offsets();
            if before > offsets.high_watermark || before.0 < 0 {
                return Err(ReadError::OutOfRange {
                    offset: before,
                    start: offsets.log_start,
                    end: offsets.high_watermark,
                });
            }
            // A start that was moved before is made durable again: it may have failed then.
            let start = before.max(offsets.log_start);
            let whole_active = state.log_end == start && state.segments.last().is_some_and(|active| active.size > 0);
            if whole_active && state.failed.is_none() {
                self.roll(&mut state, &config, clock::now()).map_err(storage)?;
            }
            state.log_start = start;
            state.epochs_dirty |= state.epochs.truncate_from_start(start);
            let flush = self.ask_for_flush(&mut state);
            (below(&mut state, start), start, state.watchers.take(), flush)
        };
        watchers.notify();
        self.cursors.lock().clear();
        if flush && let Some(me) = self.me.upgrade() {
            self.shared.workers.flush(me);
        }
        if self.shared.durability != Durability::Memory {
            self.shared.checkpoints.move_log_start(&self.name, start).map_err(storage)?;
        }
        for segment in gone {
            segment.remove().map_err(storage)?;
            maintenance.snapshots.retain(|offset| *offset != segment.base());
        }
        Ok(start)
    }
}

/// Takes out the segments that end at or below `start`; the active one stays.
fn below(state: &mut State, start: Offset) -> Vec<Arc<super::segment::Segment>> {
    let kept = state.segments.partition_point(|segment| segment.segment.base() <= start).saturating_sub(1);
    state.segments.drain(..kept).map(|state| state.segment).collect()
}
