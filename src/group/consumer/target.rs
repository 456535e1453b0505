//! The target assignment: when it is made anew, and with what.

use std::collections::{BTreeMap, BTreeSet};

use super::{ConsumerGroup, Member};
use crate::group::MemberId;
use crate::group::assignor::{self, MemberSpec};
use crate::group::config::Assignor;
use crate::group::records::{ConsumerEpoch, Partitions, Record, TargetEpoch};
use crate::group::turn::Turn;
use crate::metadata::image::{Image, Topic};
use crate::types::TopicId;

impl ConsumerGroup {
    /// Bumps the group epoch if that is asked for, or if the topics that the group reads changed since it last looked.
    /// Costs nothing while no topic changed, and as much as the group reads topics otherwise.
    pub fn refresh_metadata(&mut self, turn: &mut Turn<'_>, bump: bool) {
        let version = turn.image.topics_version();
        if !bump && self.seen.metadata == Some(version) {
            return;
        }
        if bump || self.metadata_hash(turn.image) != self.epoch.metadata_hash {
            self.bump(turn);
        }
        self.seen.metadata = Some(version);
    }

    /// The next group epoch, for the topics as they are.
    pub fn bump(&mut self, turn: &mut Turn<'_>) {
        let epoch = self.epoch.epoch.saturating_add(1);
        let metadata_hash = self.metadata_hash(turn.image);
        self.emit(turn, Record::ConsumerEpoch(self.id.clone(), Some(ConsumerEpoch { epoch, metadata_hash })));
    }

    /// A hash over the topics that the group reads (KIP-1101): names, ids and numbers of partitions. Apache Kafka's is
    /// another one, so a folder that changes hands costs each group one more rebalance, which moves nothing.
    fn metadata_hash(&self, image: &Image) -> i64 {
        let mut topics = self.read_topics(image).peekable();
        if topics.peek().is_none() {
            return 0;
        }
        let mut hash = Fnv::default();
        for topic in topics {
            hash.number(topic.name.len() as u64);
            hash.bytes(topic.name.as_bytes());
            hash.bytes(topic.id.0.as_bytes());
            hash.number(topic.partitions.len() as u64);
        }
        hash.finish().cast_signed()
    }

    /// The existing topics that a member subscribes to, by name.
    fn read_topics<'a>(&'a self, image: &'a Image) -> impl Iterator<Item = &'a Topic> {
        self.subscribed.keys().filter_map(|name| image.topic(name).map(|topic| &**topic))
    }

    /// Makes a new target assignment if the group changed since the last and that is long enough ago (KIP-1263).
    /// Whether it did. Costs as much as there are members, topics and partitions.
    pub fn update_target(&mut self, turn: &mut Turn<'_>, interval_ms: i32) -> bool {
        if self.epoch.epoch <= self.target_epoch.epoch || !self.may_assign(turn.now.wall.0, interval_ms) {
            return false;
        }
        let fallback = turn.config.assignors.first().copied().unwrap_or(Assignor::Uniform);
        let assignor = self.preferred_assignor().and_then(Assignor::of).unwrap_or(fallback);
        let assignment = self.assign(turn.image, assignor);
        for (id, partitions) in assignment {
            if self.targets.get(&id) != Some(&partitions) {
                self.emit(turn, Record::Target(self.id.clone(), id, Some(partitions)));
            }
        }
        let value = TargetEpoch { epoch: self.epoch.epoch, timestamp: turn.now.wall.0 };
        self.emit(turn, Record::TargetEpoch(self.id.clone(), Some(value)));
        true
    }

    /// A clock that was set back must not keep the group waiting for as long.
    fn may_assign(&self, now: i64, interval_ms: i32) -> bool {
        let last = self.target_epoch.timestamp;
        last == 0 || interval_ms == 0 || now < last || now >= last.saturating_add(i64::from(interval_ms))
    }

    /// The assignor that most members ask for. Of two that as many ask for, the one that Kafka takes: uniform.
    pub fn preferred_assignor(&self) -> Option<&str> {
        self.assignors.iter().max_by(|a, b| a.1.cmp(b.1).then_with(|| a.0.cmp(b.0))).map(|(name, _)| name.as_str())
    }

    /// What every member is to own.
    fn assign(&self, image: &Image, assignor: Assignor) -> BTreeMap<MemberId, Partitions> {
        let topics: BTreeMap<TopicId, u32> =
            self.read_topics(image).map(|topic| (topic.id, topic.partitions.len() as u32)).collect();
        // Most members of most groups subscribe to the same.
        let mut subscriptions: BTreeMap<(&[String], Option<&str>), BTreeSet<TopicId>> = BTreeMap::new();
        let nothing = Partitions::new();
        let mut specs = BTreeMap::new();
        for (id, member) in &self.members {
            let subscription = subscriptions
                .entry((&member.told.topic_names, member.regex()))
                .or_insert_with(|| self.topics_of(image, member));
            let spec = MemberSpec {
                rack: member.told.rack_id.as_deref(),
                instance_id: member.told.instance_id.as_deref(),
                topics: subscription.clone(),
                owned: self.targets.get(id).unwrap_or(&nothing),
            };
            specs.insert(id.clone(), spec);
        }
        let mut assignment = assignor::assign(assignor, &specs, &topics);
        // A member that is given nothing is told so.
        self.members
            .keys()
            .map(|id| {
                let mut partitions = assignment.remove(id).unwrap_or_default();
                partitions.retain(|_, partitions| !partitions.is_empty());
                for partitions in partitions.values_mut() {
                    partitions.sort_unstable();
                }
                (id.clone(), partitions)
            })
            .collect()
    }

    fn topics_of(&self, image: &Image, member: &Member) -> BTreeSet<TopicId> {
        let resolved = member.regex().and_then(|regex| self.resolved.get(regex));
        let names = member.told.topic_names.iter().chain(resolved.into_iter().flat_map(|resolved| &resolved.topics));
        names.filter_map(|name| image.topic(name)).map(|topic| topic.id).collect()
    }
}

/// FNV-1a with 64 bits, and a last step that spreads what only touched its low bits.
struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Fnv {
    fn bytes(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }

    fn number(&mut self, number: u64) {
        self.bytes(&number.to_be_bytes());
    }

    const fn finish(self) -> u64 {
        let hash = (self.0 ^ (self.0 >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
        let hash = (hash ^ (hash >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
        hash ^ (hash >> 33)
    }
}
