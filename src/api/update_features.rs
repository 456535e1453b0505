//! UpdateFeatures (v0-v2): raises and lowers the levels of the cluster's features (KIP-584).
//!
//! v0 can only raise: Kafka overlooks its `allow_downgrade`. v1 says which way, and can ask without changing anything
//! (KIP-778). v2 has no answer for each feature (KIP-1022): as all are changed or none, it would say nothing new.

use std::sync::Arc;

use kafka_protocol::messages::update_features_request::FeatureUpdateKey;
use kafka_protocol::messages::update_features_response::UpdatableFeatureResult;
use kafka_protocol::messages::{ApiKey, UpdateFeaturesRequest, UpdateFeaturesResponse};
use kafka_protocol::protocol::StrBytes;

use super::reply::{later, not_written, now, sentence};
use super::{Refused, Reply, Request};
use crate::broker::Broker;
use crate::metadata::features::{self, Update, UpgradeType};
use crate::wire::ErrorCode;
use crate::wire::message::decode_request;

const API: ApiKey = ApiKey::UpdateFeatures;
/// The first version with one answer for all features.
const ONE_ANSWER: i16 = 2;

/// Decides and writes; answers once the levels are durable.
pub fn handle(broker: &Arc<Broker>, request: Request) -> Result<Reply, Refused> {
    let header = request.header;
    let body: UpdateFeaturesRequest = decode_request(API, header.api_version, request.body.freeze())?;
    let updates: Vec<Update> = body.feature_updates.iter().map(update).collect();
    let decided = broker.metadata.write(|context| {
        let mut decision = features::update(context, &updates);
        if body.validate_only {
            decision.records.clear();
        }
        decision
    });
    match decided {
        Ok((Ok(()), durable)) => {
            let named = if header.api_version < ONE_ANSWER { body.feature_updates } else { Vec::new() };
            Ok(later(API, &header, durable, |flushed| match flushed {
                Ok(()) => {
                    let response = UpdateFeaturesResponse::default().with_error_message(None);
                    response.with_results(named.into_iter().map(updated).collect())
                }
                Err(error) => refused(not_written(&error)),
            }))
        }
        Ok((Err(refusal), durable)) => {
            Ok(later(API, &header, durable, move |_| refused((refusal.code, refusal.message.unwrap_or_default()))))
        }
        Err(error) => now(API, &header, &refused(not_written(&error))),
    }
}

fn update(asked: &FeatureUpdateKey) -> Update {
    Update {
        feature: asked.feature.to_string(),
        level: asked.max_version_level,
        upgrade_type: UpgradeType::of(asked.upgrade_type),
    }
}

fn updated(asked: FeatureUpdateKey) -> UpdatableFeatureResult {
    UpdatableFeatureResult::default()
        .with_feature(asked.feature)
        // Kafka sends the code's name in place of null.
        .with_error_message(Some(StrBytes::from_static_str(ErrorCode::NONE.name())))
}

fn refused((code, message): (ErrorCode, String)) -> UpdateFeaturesResponse {
    UpdateFeaturesResponse::default().with_error_code(code.0).with_error_message(Some(sentence(message)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use kafka_protocol::messages::{
        ApiVersionsRequest, ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, GroupId,
    };

    use super::*;
    use crate::api::test_support::{TestBroker, text};
    use crate::metadata::bootstrap::{GROUP_VERSION, TRANSACTION_VERSION};

    const UPGRADE: i8 = 1;
    const DOWNGRADE: i8 = 2;

    fn request(feature: &str, level: i16, upgrade_type: i8) -> UpdateFeaturesRequest {
        let update = FeatureUpdateKey::default()
            .with_feature(text(feature))
            .with_max_version_level(level)
            .with_upgrade_type(upgrade_type);
        UpdateFeaturesRequest::default().with_feature_updates(vec![update]).with_timeout_ms(1000)
    }

    /// What ApiVersions says of a feature, and its epoch.
    async fn finalized(broker: &TestBroker, feature: &str) -> (Option<i16>, i64) {
        let software = ApiVersionsRequest::default()
            .with_client_software_name(text("test"))
            .with_client_software_version(text("1"));
        let versions = broker.call(4, &software).await;
        let level = versions.finalized_features.iter().find(|found| &*found.name == feature);
        (level.map(|found| found.max_version_level), versions.finalized_features_epoch)
    }

    #[tokio::test]
    async fn clients_are_told_of_a_changed_level_with_a_higher_epoch() {
        let broker = TestBroker::new();
        let (level, before) = finalized(&broker, TRANSACTION_VERSION).await;
        assert_eq!(level, Some(2));
        let response = broker.call(1, &request(TRANSACTION_VERSION, 1, DOWNGRADE)).await;
        assert_eq!((response.error_code, response.error_message), (0, None));
        let [result] = &response.results[..] else { panic!("{:?}", response.results) };
        assert_eq!((&*result.feature, result.error_code), (TRANSACTION_VERSION, 0));
        assert_eq!(result.error_message.as_deref(), Some("NONE"));
        let (level, after) = finalized(&broker, TRANSACTION_VERSION).await;
        assert_eq!(level, Some(1));
        assert!(after > before);
        broker.call(2, &request(TRANSACTION_VERSION, 0, DOWNGRADE)).await;
        assert_eq!(finalized(&broker, TRANSACTION_VERSION).await.0, None);
    }

    #[tokio::test]
    async fn v2_answers_for_all_and_a_refusal_has_no_results_in_any_version() {
        let broker = TestBroker::new();
        let response = broker.call(2, &request(TRANSACTION_VERSION, 2, UPGRADE)).await;
        assert_eq!((response.error_code, response.error_message, response.results), (0, None, Vec::new()));
        for version in 0..=2 {
            let response = broker.call(version, &request(TRANSACTION_VERSION, 7, UPGRADE)).await;
            assert_eq!(response.error_code, ErrorCode::INVALID_UPDATE_VERSION.0);
            assert!(response.error_message.unwrap().ends_with("Local controller 1 only supports versions 0-2"));
            assert_eq!(response.results, []);
        }
    }

    /// As Apache Kafka 4.3.1 has it.
    #[tokio::test]
    async fn v0_cannot_lower_a_level_whatever_it_allows() {
        let broker = TestBroker::new();
        let mut lower = request(TRANSACTION_VERSION, 1, UPGRADE);
        lower.feature_updates[0].allow_downgrade = true;
        let response = broker.call(0, &lower).await;
        assert_eq!(response.error_code, ErrorCode::INVALID_UPDATE_VERSION.0);
        assert_eq!(finalized(&broker, TRANSACTION_VERSION).await.0, Some(2));
    }

    #[tokio::test]
    async fn a_request_that_only_asks_changes_nothing() {
        let broker = TestBroker::new();
        let before = finalized(&broker, TRANSACTION_VERSION).await;
        let asks = request(TRANSACTION_VERSION, 1, DOWNGRADE).with_validate_only(true);
        assert_eq!(broker.call(1, &asks).await.error_code, 0);
        assert_eq!(finalized(&broker, TRANSACTION_VERSION).await, before);
        let asks = request(TRANSACTION_VERSION, 1, UPGRADE).with_validate_only(true);
        assert_eq!(broker.call(1, &asks).await.error_code, ErrorCode::INVALID_UPDATE_VERSION.0);
    }

    #[tokio::test]
    async fn without_group_version_nobody_may_use_the_consumer_protocol() {
        let broker = TestBroker::new();
        let group = GroupId(text("g"));
        let heartbeat = ConsumerGroupHeartbeatRequest::default().with_group_id(group.clone());
        let describe = ConsumerGroupDescribeRequest::default().with_group_ids(vec![group]);
        let codes = async || {
            let described = broker.call(1, &describe).await;
            (broker.call(1, &heartbeat).await.error_code, described.groups[0].error_code)
        };
        let unsupported = ErrorCode::UNSUPPORTED_VERSION.0;
        broker.call(2, &request(GROUP_VERSION, 0, DOWNGRADE)).await;
        assert_eq!(codes().await, (unsupported, unsupported));
        broker.call(2, &request(GROUP_VERSION, 1, UPGRADE)).await;
        let (joins, described) = codes().await;
        assert!(joins != unsupported && described != unsupported);
    }
}
