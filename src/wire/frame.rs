//! Frame lengths (semantics rule 34).
