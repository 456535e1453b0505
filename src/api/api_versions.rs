//! ApiVersions (v0-v4): what this broker answers, so that clients choose their versions.
//!
//! v1 throttle time; v2 throttled after the answer; v3 compact, the client's name and version, features (KIP-511,
//! KIP-584); v4 lists features whose lowest version is 0 (KAFKA-17011). Versions above are answered in v0 with the
//! range of this API (semantics rule 35), so that newer clients can fall back.
//!
//! A feature is listed only when what it promises works, whatever the metadata log finalizes: clients that see
//! `transaction.version` 2 commit in another way (KIP-890), those that see `group.version` 1 may join by the consumer
//! protocol (KIP-848).

use std::collections::BTreeMap;
use std::sync::Arc;

use kafka_protocol::messages::api_versions_response::{ApiVersion, FinalizedFeatureKey, SupportedFeatureKey};
use kafka_protocol::messages::{ApiKey, ApiVersionsRequest, ApiVersionsResponse};
use kafka_protocol::protocol::StrBytes;

use super::reply::{now, settled};
use super::table::APIS;
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::metadata::bootstrap::{GROUP_VERSION, METADATA_VERSION, TRANSACTION_VERSION};
use crate::wire::ErrorCode;
use crate::wire::message::{decode_request, encode_response};

const API: ApiKey = ApiKey::ApiVersions;
/// The first version that carries the client's software and the features.
const FLEXIBLE: i16 = 3;
/// The first version that carries features whose lowest version is 0.
const ZERO_FEATURES: i16 = 4;

/// Feature names with the lowest and highest level that works here, by name.
const FEATURES: &[(&str, i16, i16)] = &[(GROUP_VERSION, 0, 1), (METADATA_VERSION, 7, 30), (TRANSACTION_VERSION, 0, 2)];

/// Answers at once, but for features while a change of the metadata is not durable yet.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let software: ApiVersionsRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let named = is_software(&software.client_software_name) && is_software(&software.client_software_version);
    let response = supported(header.api_version);
    if header.api_version < FLEXIBLE {
        return now(API, &header, &response);
    }
    if !named {
        return now(API, &header, &ApiVersionsResponse::default().with_error_code(ErrorCode::INVALID_REQUEST.0));
    }
    let response = {
        let image = broker.metadata.image();
        // Clients take features for newer than those that they know where this number is higher.
        response.with_finalized_features_epoch(image.end().0).with_finalized_features(finalized(image.features()))
    };
    settled(broker, API, &header, response)
}

/// The answer to a version that is not supported.
pub fn unsupported(correlation_id: i32) -> Result<Reply, Refused> {
    let own = APIS.iter().filter(|api| api.key == API);
    let own = own.map(|api| range(api.key, api.min, api.max)).collect();
    let response = ApiVersionsResponse::default().with_error_code(ErrorCode::UNSUPPORTED_VERSION.0).with_api_keys(own);
    Ok(Reply::Now(encode_response(API, 0, correlation_id, &response)?.into()))
}

fn supported(version: i16) -> ApiVersionsResponse {
    let apis = APIS.iter().map(|api| range(api.key, listed_min(api.key, api.min), api.max));
    let features = FEATURES.iter().filter(|(_, min, _)| *min > 0 || version >= ZERO_FEATURES);
    let features = features.map(|&(name, min, max)| {
        SupportedFeatureKey::default()
            .with_name(StrBytes::from_static_str(name))
            .with_min_version(min)
            .with_max_version(max)
    });
    let response = ApiVersionsResponse::default().with_api_keys(apis.collect());
    if version < FLEXIBLE { response } else { response.with_supported_features(features.collect()) }
}

/// The finalized levels of the features that are listed.
fn finalized(levels: &BTreeMap<String, i16>) -> Vec<FinalizedFeatureKey> {
    let listed = FEATURES.iter().filter_map(|&(name, ..)| Some((name, *levels.get(name)?)));
    let keys = listed.map(|(name, level)| {
        FinalizedFeatureKey::default()
            .with_name(StrBytes::from_static_str(name))
            .with_max_version_level(level)
            .with_min_version_level(level)
    });
    keys.collect()
}

/// As Kafka does: librdkafka takes a broker that does not list Produce v0 for one without compression (KAFKA-18659),
/// so 0 is listed though 3 is the lowest that is answered.
fn listed_min(key: ApiKey, min: i16) -> i16 {
    if key == ApiKey::Produce { 0 } else { min }
}

fn range(key: ApiKey, min: i16, max: i16) -> ApiVersion {
    ApiVersion::default().with_api_key(key as i16).with_min_version(min).with_max_version(max)
}

/// Whether this can be the name or the version of a client's software: letters and digits, and between them also
/// hyphens and dots.
fn is_software(text: &str) -> bool {
    let bytes = text.as_bytes();
    let ends = [bytes.first(), bytes.last()];
    ends.iter().all(|end| end.is_some_and(u8::is_ascii_alphanumeric))
        && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::wire::fetch::Piece;

    #[test]
    fn software_is_named_as_kafka_allows() {
        for good in ["a", "7", "pro.be-1", "apache-kafka-java", "3.9.0"] {
            assert!(is_software(good), "{good}");
        }
        for bad in ["", "-a", "a b", "-", "1.", ".", "\u{e9}", "a_b", "unknown?"] {
            assert!(!is_software(bad), "{bad}");
        }
    }

    #[test]
    fn features_are_listed_from_v3_and_those_from_zero_from_v4() {
        assert!(supported(2).supported_features.is_empty());
        assert!(supported(3).supported_features.iter().all(|feature| feature.min_version > 0));
        assert_eq!(supported(4).supported_features.len(), FEATURES.len());
        assert_eq!(supported(4).api_keys.len(), APIS.len());
        // Java's clients and librdkafka join by the consumer protocol where they see this one.
        let group =
            supported(4).supported_features.into_iter().find(|feature| &*feature.name == GROUP_VERSION).unwrap();
        assert_eq!((group.min_version, group.max_version), (0, 1));
    }

    #[test]
    fn only_listed_features_are_finalized() {
        let levels = [("group.version", 1), ("metadata.version", 29), ("share.version", 1)];
        let found = finalized(&levels.map(|(name, level)| (name.to_owned(), level)).into());
        let found = found.iter().map(|key| (&*key.name, key.min_version_level, key.max_version_level));
        assert_eq!(found.collect::<Vec<_>>(), [("group.version", 1, 1), ("metadata.version", 29, 29)]);
    }

    #[test]
    fn an_unsupported_version_is_answered_in_v0() {
        let Ok(Reply::Now(response)) = unsupported(7) else { panic!("no answer") };
        let Some(Piece::Bytes(frame)) = response.0.first() else { panic!("no bytes") };
        // Length, correlation id, UNSUPPORTED_VERSION, one API: 18, 0 to 4. Apache Kafka 4.3.1 sends the same bytes.
        let expected = [0, 0, 0, 16, 0, 0, 0, 7, 0, 35, 0, 0, 0, 1, 0, 18, 0, 0, 0, 4];
        assert_eq!(frame[..], expected);
    }
}
