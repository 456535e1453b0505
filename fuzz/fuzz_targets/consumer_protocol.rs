//! What classic consumers tell each other: any bytes give an answer, and what is read reads back.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use ottla::wire::consumer_protocol::{ConsumerAssignment, ConsumerSubscription, NEWEST};

fuzz_target!(|input: &[u8]| {
    let bytes = Bytes::copy_from_slice(input);
    if let Ok(subscription) = ConsumerSubscription::decode(&bytes) {
        assert_eq!(ConsumerSubscription::decode(&subscription.encode(NEWEST)), Ok(subscription));
    }
    if let Ok(assignment) = ConsumerAssignment::decode(&bytes) {
        assert_eq!(ConsumerAssignment::decode(&assignment.encode(NEWEST)), Ok(assignment));
    }
});
