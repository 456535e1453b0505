//! Ottla and Apache Kafka as processes that are started, stopped, killed and measured in the same way,
//! so that a test or a measurement can be put to either of them.

pub mod broker;
pub mod kafka;
pub mod probe;
pub mod process;
pub mod topics;

pub use broker::{Broker, Durability, Program, Settings};
pub use kafka::Kafka;
pub use process::Process;
