//! When a segment is full (rule 30).
