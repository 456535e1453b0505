//! Every broker and topic setting under Kafka's own name, with default, type and doc; files, KAFKA_* variables, flags.
