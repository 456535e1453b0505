//! The APIs that this broker answers: key, versions, handler. ApiVersions lists exactly these.

use kafka_protocol::messages::ApiKey;

use super::Handler;

/// One API.
pub struct Api {
    /// Which.
    pub key: ApiKey,
    /// Lowest version answered.
    pub min: i16,
    /// Highest version answered.
    pub max: i16,
    /// Stage one.
    pub handler: Handler,
}

/// All APIs, by key.
pub const APIS: &[Api] = &[];

/// The API of a key.
pub fn find(key: i16) -> Option<&'static Api> {
    APIS.iter().find(|api| api.key as i16 == key)
}
