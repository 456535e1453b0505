//! Topics for a test or a measurement, made by librdkafka.

use std::io;
use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

/// How long a broker may take, which may have only just started.
const PATIENCE: Duration = Duration::from_mins(1);

/// Creates topics with so many partitions each.
///
/// # Errors
/// The broker cannot be reached, or refuses one of them.
pub fn create(bootstrap: &str, names: &[&str], partitions: i32) -> io::Result<()> {
    let mut config = ClientConfig::new();
    let admin: AdminClient<DefaultClientContext> =
        config.set("bootstrap.servers", bootstrap).create().map_err(io::Error::other)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let topics: Vec<_> = names.iter().map(|name| NewTopic::new(name, partitions, TopicReplication::Fixed(1))).collect();
    let options = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    let created = runtime.block_on(admin.create_topics(&topics, &options)).map_err(io::Error::other)?;
    for result in created {
        result.map_err(|(name, code)| io::Error::other(format!("{name}: {code}")))?;
    }
    Ok(())
}
