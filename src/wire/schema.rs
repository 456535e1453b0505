//! The shape of every request body, and the walk that checks bytes against it.
