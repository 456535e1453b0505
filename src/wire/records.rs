//! The records inside a batch: walking them in place, and building batches (for the broker's own records).
