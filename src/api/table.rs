//! The APIs that this broker answers: key, versions, handler. ApiVersions lists exactly these.

use kafka_protocol::messages::ApiKey;

use super::{Handler, api_versions};

/// One API.
#[derive(Debug)]
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
pub const APIS: &[Api] = &[
    //
    api(ApiKey::ApiVersions, 0, 4, api_versions::handle),
];

/// The API of a key.
pub fn find(key: i16) -> Option<&'static Api> {
    let position = POSITIONS.get(usize::try_from(key).ok()?)?;
    APIS.get(usize::from(*position))
}

/// Keys above this are none that Kafka 4.3 knows.
const KEYS: usize = 128;
const NOWHERE: u8 = u8::MAX;

/// Where each key stands in `APIS`.
const POSITIONS: [u8; KEYS] = {
    let mut positions = [NOWHERE; KEYS];
    let mut next = 0;
    while next < APIS.len() {
        positions[APIS[next].key as usize] = next as u8;
        next += 1;
    }
    positions
};

const fn api(key: ApiKey, min: i16, max: i16, handler: Handler) -> Api {
    Api { key, min, max, handler }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_api_is_found_by_its_key_and_no_other() {
        for key in i16::MIN..=i16::MAX {
            let listed = APIS.iter().find(|api| api.key as i16 == key).map(|api| api.key);
            assert_eq!(find(key).map(|api| api.key), listed, "{key}");
        }
    }

    #[test]
    fn the_table_is_in_the_order_of_keys_and_no_range_is_empty() {
        assert!(APIS.windows(2).all(|pair| (pair[0].key as i16) < pair[1].key as i16));
        assert!(APIS.iter().all(|api| 0 <= api.min && api.min <= api.max));
    }
}
