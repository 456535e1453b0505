//! What transactions act by, made from the broker's settings.

use super::build::{BrokerConfig, Note, Reader};
use super::def::ConfigError;
use super::layers::{Dynamic, Layers};
use crate::txn::config::TransactionsConfig;

const VERIFICATION: &str = "transaction.partition.verification.enable";

impl BrokerConfig {
    /// Whether first writes into transactions are checked, as it is set now.
    pub fn verifies_transactions(&self, dynamic: Dynamic<'_>) -> bool {
        // The only one of the settings of transactions that can be altered while the broker runs.
        let now = Layers { start: &self.start, dynamic }.get(VERIFICATION).map(|text| text.trim().parse().ok());
        now.flatten().unwrap_or(self.transactions.verification)
    }
}

/// Checks and types the settings.
pub(super) fn build(reader: &Reader<'_>, notes: &mut Vec<Note>) -> Result<TransactionsConfig, ConfigError> {
    let replicas: i64 = reader.number("transaction.state.log.replication.factor")?;
    if replicas > 1 {
        notes.push(Note::Warning(format!(
            "transaction.state.log.replication.factor={replicas}: one broker can hold one replica, so that \
             __transaction_state has one"
        )));
    }
    Ok(TransactionsConfig {
        max_timeout_ms: reader.number("transaction.max.timeout.ms")?,
        timeout_check_ms: reader.number("transaction.abort.timed.out.transaction.cleanup.interval.ms")?,
        id_expiration_ms: reader.number("transactional.id.expiration.ms")?,
        id_expiration_check_ms: reader.number("transaction.remove.expired.transaction.cleanup.interval.ms")?,
        verification: reader.boolean(VERIFICATION)?,
        longest_wait_ms: reader.number("add.partitions.to.txn.retry.backoff.max.ms")?,
        topic_partitions: reader.number("transaction.state.log.num.partitions")?,
        topic_segment_bytes: reader.number("transaction.state.log.segment.bytes")?,
    })
}
