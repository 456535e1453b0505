//! Leader epochs of a log and where each begins (rule 29).
