//! The broker's settings of transactions.

/// What the coordinator acts by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TransactionsConfig {
    /// `transaction.max.timeout.ms`: the longest timeout that a producer may ask for.
    pub max_timeout_ms: i32,
    /// `transaction.abort.timed.out.transaction.cleanup.interval.ms`: how often transactions past their timeout are
    /// looked for.
    pub timeout_check_ms: i64,
    /// `transactional.id.expiration.ms`: how long an id that is not used is remembered.
    pub id_expiration_ms: i64,
    /// `transaction.remove.expired.transaction.cleanup.interval.ms`: how often such ids are looked for.
    pub id_expiration_check_ms: i64,
    /// `transaction.partition.verification.enable`: whether a first write into a transaction is checked with its
    /// coordinator (KIP-890).
    pub verification: bool,
    /// `add.partitions.to.txn.retry.backoff.max.ms`: how long a request for the next transaction waits for the end of the
    /// one before.
    pub longest_wait_ms: i64,
    /// `transaction.state.log.num.partitions`.
    pub topic_partitions: i32,
    /// `transaction.state.log.segment.bytes`.
    pub topic_segment_bytes: i32,
}

impl Default for TransactionsConfig {
    /// Kafka's defaults.
    fn default() -> Self {
        Self {
            max_timeout_ms: 15 * 60 * 1000,
            timeout_check_ms: 10 * 1000,
            id_expiration_ms: 7 * 24 * 60 * 60 * 1000,
            id_expiration_check_ms: 60 * 60 * 1000,
            verification: true,
            longest_wait_ms: 100,
            topic_partitions: 50,
            topic_segment_bytes: 100 << 20,
        }
    }
}
