//! Listeners, connections, ordered replies, memory limits.
