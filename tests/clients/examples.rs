//! The examples of the repository show what they say; they fail by themselves where that does not happen.

// Each example is a program of its own, and both load what they share.
#![allow(clippy::duplicate_mod)]

use crate::harness::broker;

#[allow(dead_code)]
#[path = "../../examples/at_least_once.rs"]
mod at_least_once;
#[allow(dead_code)]
#[path = "../../examples/at_most_once.rs"]
mod at_most_once;
#[allow(dead_code)]
#[path = "../../examples/exactly_once.rs"]
mod exactly_once;

#[test]
fn a_commit_before_processing_loses_the_record_in_flight() {
    at_most_once::show(&broker().bootstrap()).unwrap();
}

#[test]
fn a_commit_after_processing_processes_the_record_in_flight_twice() {
    at_least_once::show(&broker().bootstrap()).unwrap();
}

#[test]
fn a_commit_within_the_transaction_of_the_result_counts_the_record_in_flight_once() {
    exactly_once::show(&broker().bootstrap()).unwrap();
}
