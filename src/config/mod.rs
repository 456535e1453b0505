//! Every broker and topic setting under Kafka's own name, with default, type and doc; files, KAFKA_* variables, flags.

/// The broker's settings, checked and typed.
#[derive(Clone, Debug)]
pub struct BrokerConfig {}
