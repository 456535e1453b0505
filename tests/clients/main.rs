//! The broker from outside: stock clients and raw sockets against the binary.
//!
//! The same cases judge Apache Kafka, so that a case is known to be right before it judges Ottla:
//! `OTTLA_TEST_AGAINST=kafka` starts Apache Kafka wherever a test starts a broker, and
//! `OTTLA_TEST_BOOTSTRAP=host:port` puts the cases that need nothing but an address to a running broker.
//! One test binary, because every one of them links librdkafka.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod group;
mod harness;
mod journal;
mod raw_producer;
mod transaction;
mod wire;

mod admin;
mod bad_input;
mod crash;
mod dataset;
mod examples;
mod fetch;
mod group_crash;
mod group_errors;
mod group_load;
mod groups;
mod produce;
mod serve;
mod transaction_crash;
mod transaction_errors;
mod transactions;
