//! What decisions have in common: what they are made from, and what comes out.

use std::collections::BTreeSet;
use std::sync::Arc;

use uuid::Uuid;

use super::image::{Image, Overrides, Resource, ResourceType};
use super::records::MetadataRecord;
use crate::config::{BrokerConfig, Dynamic};
use crate::types::NodeId;

/// The most partitions that one request may create, and records that one decision may write: Kafka's limits.
pub const MAX_RECORDS: usize = 10_000;

static NOTHING: Overrides = Overrides::new();

/// What decisions are made from.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// The metadata as it stands.
    pub image: &'a Image,
    /// What the broker was started with.
    pub config: &'a BrokerConfig,
    /// The id of the data folder, which partitions are assigned to.
    pub directory: Uuid,
    /// Topics that are gone from the image while their folders are not: their names are not free yet.
    pub deleting: &'a BTreeSet<Arc<str>>,
}

impl<'a> Context<'a> {
    /// This broker.
    pub fn node(&self) -> NodeId {
        self.config.node_id
    }

    /// The broker's settings that were altered at run time.
    pub fn dynamic(&self) -> Dynamic<'a> {
        dynamic(self.image, self.config.node_id)
    }
}

/// The broker's settings that were altered at run time.
pub fn dynamic(image: &Image, node: NodeId) -> Dynamic<'_> {
    let overrides = |resource: &Resource| image.overrides(resource).unwrap_or(&NOTHING);
    Dynamic {
        broker: overrides(&Resource::new(ResourceType::BROKER, node.to_string())),
        cluster: overrides(&Resource::all_brokers()),
    }
}

/// A topic's own settings.
pub fn topic_overrides<'a>(image: &'a Image, topic: &str) -> &'a Overrides {
    image.overrides(&Resource::new(ResourceType::TOPIC, topic)).unwrap_or(&NOTHING)
}

/// A group's own settings.
pub fn group_overrides<'a>(image: &'a Image, group: &str) -> &'a Overrides {
    image.overrides(&Resource::new(ResourceType::GROUP, group)).unwrap_or(&NOTHING)
}

/// What is to be written, and what is to be answered once it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decision<T> {
    /// To append to the metadata log, all or none.
    pub records: Vec<MetadataRecord>,
    /// To answer.
    pub reply: T,
}

/// The items that occur more than once.
pub(super) fn duplicates<'a, T: Ord + ?Sized>(items: impl Iterator<Item = &'a T>) -> BTreeSet<&'a T> {
    let mut seen = BTreeSet::new();
    items.filter(|item| !seen.insert(*item)).collect()
}
