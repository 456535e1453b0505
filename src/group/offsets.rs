//! Committed offsets: what a group has processed of each partition.
//!
//! They move only by records, so that what a client was told is what a restart finds.

mod partition;

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use super::GroupId;
use super::records::{CommittedOffset, Record};
use crate::types::{LeaderEpoch, Offset, PartitionIndex, ProducerEpoch, ProducerId, TimestampMs, TopicId};
use partition::PartitionOffset;

/// What a commit says of one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CommitPartition {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The topic's id; zero where it is not known.
    pub topic_id: TopicId,
    /// Which partition.
    pub partition: PartitionIndex,
    /// The next record to process.
    pub offset: Offset,
    /// The leader epoch of the last record that was processed.
    pub leader_epoch: LeaderEpoch,
    /// What the client wants to keep with it.
    pub metadata: Arc<str>,
}

/// A request to commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Commit {
    /// The group.
    pub group: GroupId,
    /// The member; empty for a client without membership.
    pub member_id: String,
    /// `group.instance.id` of a static member.
    pub instance_id: Option<String>,
    /// The member's generation (classic) or epoch (consumer protocol); -1 for a client without membership.
    pub generation: i32,
    /// How long to keep the offsets, where an old client (below v5) says so. Milliseconds.
    pub retention_ms: Option<i64>,
    /// What to commit.
    pub partitions: Vec<CommitPartition>,
}

/// A request to commit within a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TxnCommit {
    /// What to commit, for whom.
    pub commit: Commit,
    /// The producer whose transaction it is.
    pub producer_id: ProducerId,
    /// Which of its incarnations.
    pub producer_epoch: ProducerEpoch,
}

/// The request that commits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CommitApi {
    /// OffsetCommit, of this version.
    Plain(i16),
    /// TxnOffsetCommit.
    Txn,
}

impl CommitPartition {
    /// The record of it.
    pub fn record(&self, group: &GroupId, now: TimestampMs, retention_ms: Option<i64>) -> Record {
        let value = CommittedOffset {
            offset: self.offset,
            leader_epoch: self.leader_epoch,
            metadata: Arc::clone(&self.metadata),
            commit_timestamp: now,
            expire_timestamp: retention_ms.map_or(TimestampMs::NONE, |ms| TimestampMs(now.0.saturating_add(ms))),
            topic_id: self.topic_id,
        };
        Record::Offset(Arc::clone(group), Arc::clone(&self.topic), self.partition, Some(value))
    }
}

/// From when on the retention of a group's offsets counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ExpiresFrom {
    /// The group is in use: nothing expires.
    Never,
    /// From the commit, for topics that no member subscribes to.
    Commit,
    /// From when the group became empty, if that is known; else from the commit.
    EmptySince(Option<TimestampMs>),
}

/// The offsets of all groups of a shard, those of transactions that have not ended among them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Offsets {
    groups: HashMap<GroupId, BTreeMap<Arc<str>, TopicOffsets>>,
    /// What is pending, by the producer whose transaction it is.
    open: HashMap<ProducerId, BTreeSet<Place>>,
}

/// The offsets of one topic, by partition; none of them is empty.
type TopicOffsets = BTreeMap<PartitionIndex, PartitionOffset>;

/// A partition, as a group reads it.
type Place = (GroupId, Arc<str>, PartitionIndex);

impl Offsets {
    /// Takes over what a record says.
    pub fn apply(
        &mut self,
        group: &GroupId,
        topic: &Arc<str>,
        partition: PartitionIndex,
        value: Option<&CommittedOffset>,
    ) {
        match value {
            Some(value) => self.known(group, topic, partition).commit(value.clone()),
            None => self.remove(group, topic, partition),
        }
    }

    /// Takes over what a record of a producer's transaction says: it counts once the transaction is committed.
    pub fn apply_pending(
        &mut self,
        producer: ProducerId,
        group: &GroupId,
        topic: &Arc<str>,
        partition: PartitionIndex,
        value: &CommittedOffset,
    ) {
        self.known(group, topic, partition).commit_pending(producer, value.clone());
        self.open.entry(producer).or_default().insert((Arc::clone(group), Arc::clone(topic), partition));
    }

    /// A producer's transaction has ended, well or not (rule 19).
    pub fn end_transaction(&mut self, producer: ProducerId, commit: bool) {
        for (group, topic, partition) in self.open.remove(&producer).unwrap_or_default() {
            let known = self.known(&group, &topic, partition);
            known.end_transaction(producer, commit);
            if known.is_empty() {
                self.remove(&group, &topic, partition);
            }
        }
    }

    fn known(&mut self, group: &GroupId, topic: &Arc<str>, partition: PartitionIndex) -> &mut PartitionOffset {
        let topics = self.groups.entry(Arc::clone(group)).or_default();
        topics.entry(Arc::clone(topic)).or_default().entry(partition).or_default()
    }

    /// What is pending goes too: it was committed before.
    fn remove(&mut self, group: &GroupId, topic: &Arc<str>, partition: PartitionIndex) {
        let Some(topics) = self.groups.get_mut(group) else { return };
        let Some(partitions) = topics.get_mut(topic) else { return };
        let removed = partitions.remove(&partition);
        if partitions.is_empty() {
            topics.remove(topic);
        }
        if topics.is_empty() {
            self.groups.remove(group);
        }
        for producer in removed.iter().flat_map(PartitionOffset::producers) {
            self.close(producer, &(Arc::clone(group), Arc::clone(topic), partition));
        }
    }

    fn close(&mut self, producer: ProducerId, place: &Place) {
        if let Some(places) = self.open.get_mut(&producer) {
            places.remove(place);
            if places.is_empty() {
                self.open.remove(&producer);
            }
        }
    }

    fn find(&self, group: &str, topic: &str, partition: PartitionIndex) -> Option<&PartitionOffset> {
        self.groups.get(group)?.get(topic)?.get(&partition)
    }

    /// The offset of one partition. One that was committed for an earlier topic of that name counts for nothing;
    /// an id of zero on either side is any.
    pub fn get(&self, group: &str, topic: &str, id: TopicId, partition: PartitionIndex) -> Option<&CommittedOffset> {
        let committed = self.find(group, topic, partition)?.committed.as_ref()?;
        is_same_topic(committed.topic_id, id).then_some(committed)
    }

    /// Whether a transaction that has not ended has committed an offset of the partition.
    pub fn is_pending(&self, group: &str, topic: &str, partition: PartitionIndex) -> bool {
        self.find(group, topic, partition).is_some_and(PartitionOffset::is_pending)
    }

    /// Whether there is an offset of the partition, be it only a pending one.
    pub fn contains(&self, group: &str, topic: &str, partition: PartitionIndex) -> bool {
        self.find(group, topic, partition).is_some()
    }

    /// The partitions of which a group has committed an offset that counts, by topic.
    pub fn committed(&self, group: &str) -> impl Iterator<Item = (&Arc<str>, Vec<PartitionIndex>)> {
        let committed = |partitions: &TopicOffsets| {
            let committed = partitions.iter().filter(|(_, known)| known.committed.is_some());
            committed.map(|(index, _)| *index).collect()
        };
        self.of_group(group).map(move |(topic, partitions)| (topic, committed(partitions)))
    }

    fn of_group(&self, group: &str) -> impl Iterator<Item = (&Arc<str>, &TopicOffsets)> {
        self.groups.get(group).into_iter().flatten()
    }

    /// Whether a group has no offsets, pending ones neither.
    pub fn is_empty(&self, group: &str) -> bool {
        !self.groups.contains_key(group)
    }

    /// Records that take back all offsets of a group.
    pub fn tombstones(&self, group: &GroupId) -> Vec<Record> {
        let partitions = |(topic, partitions): (&Arc<str>, &TopicOffsets)| {
            let topic = Arc::clone(topic);
            partitions.keys().map(move |index| tombstone(group, &topic, *index)).collect::<Vec<_>>()
        };
        self.of_group(group).flat_map(partitions).collect()
    }

    /// Records that take back what has expired of a group's offsets. What a transaction may still change stays.
    pub fn expired(
        &self,
        group: &GroupId,
        from: ExpiresFrom,
        (now, retention_ms): (TimestampMs, i64),
        is_subscribed: impl Fn(&str) -> bool,
    ) -> Vec<Record> {
        let is_expired = |known: &PartitionOffset| {
            let committed = known.committed.as_ref().filter(|_| !known.is_pending());
            committed.is_some_and(|offset| is_expired(offset, from, now, retention_ms))
        };
        let mut records = Vec::new();
        for (topic, partitions) in self.of_group(group).filter(|(topic, _)| !is_subscribed(topic)) {
            let expired = partitions.iter().filter(|(_, known)| is_expired(known));
            records.extend(expired.map(|(index, _)| tombstone(group, topic, *index)));
        }
        records
    }

    /// Records that take back the offsets of topics that were deleted.
    pub fn of_deleted(&self, deleted: &[(Arc<str>, TopicId)]) -> Vec<Record> {
        let is_of = |known: &PartitionOffset, id| known.values().any(|offset| is_same_topic(offset.topic_id, id));
        let mut records = Vec::new();
        for (group, topics) in &self.groups {
            for (name, id) in deleted {
                let partitions = topics.get(name).into_iter().flatten();
                let gone = partitions.filter(|(_, known)| is_of(known, *id));
                records.extend(gone.map(|(index, _)| tombstone(group, name, *index)));
            }
        }
        records
    }
}

fn tombstone(group: &GroupId, topic: &Arc<str>, partition: PartitionIndex) -> Record {
    Record::Offset(Arc::clone(group), Arc::clone(topic), partition, None)
}

fn is_same_topic(a: TopicId, b: TopicId) -> bool {
    a == TopicId::ZERO || b == TopicId::ZERO || a == b
}

fn is_expired(offset: &CommittedOffset, from: ExpiresFrom, now: TimestampMs, retention_ms: i64) -> bool {
    // An old client said itself how long.
    if offset.expire_timestamp != TimestampMs::NONE {
        return from != ExpiresFrom::Never && now >= offset.expire_timestamp;
    }
    let since = match from {
        ExpiresFrom::Never => return false,
        ExpiresFrom::Commit => offset.commit_timestamp,
        ExpiresFrom::EmptySince(since) => since.unwrap_or(offset.commit_timestamp),
    };
    now.0.saturating_sub(since.0) >= retention_ms
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;

    const P0: PartitionIndex = PartitionIndex(0);

    fn offset(offset: i64, committed: i64, topic: u128) -> CommittedOffset {
        CommittedOffset {
            offset: Offset(offset),
            leader_epoch: LeaderEpoch(0),
            metadata: "".into(),
            commit_timestamp: TimestampMs(committed),
            expire_timestamp: TimestampMs::NONE,
            topic_id: TopicId(Uuid::from_u128(topic)),
        }
    }

    fn with(values: &[(&str, i32, CommittedOffset)]) -> (Offsets, GroupId) {
        let group = GroupId::from("g");
        let mut offsets = Offsets::default();
        for (topic, partition, value) in values {
            offsets.apply(&group, &(*topic).into(), PartitionIndex(*partition), Some(value));
        }
        (offsets, group)
    }

    #[test]
    fn offsets_of_an_earlier_topic_count_for_nothing() {
        let (offsets, _) = with(&[("t", 0, offset(5, 0, 1)), ("old", 0, offset(6, 0, 0))]);
        let id = |id| TopicId(Uuid::from_u128(id));
        assert!(offsets.get("g", "t", id(1), P0).is_some());
        assert!(offsets.get("g", "t", TopicId::ZERO, P0).is_some());
        assert!(offsets.get("g", "t", id(2), P0).is_none());
        assert!(offsets.get("g", "old", id(2), P0).is_some());
        assert!(offsets.get("g", "t", id(1), PartitionIndex(1)).is_none());
    }

    #[test]
    fn nothing_is_left_of_a_group_whose_last_offset_goes() {
        let (mut offsets, group) = with(&[("t", 0, offset(5, 0, 1)), ("t", 1, offset(6, 0, 1))]);
        for record in offsets.tombstones(&group) {
            let Record::Offset(group, topic, partition, value) = record else { continue };
            assert!(!offsets.is_empty("g"));
            offsets.apply(&group, &topic, partition, value.as_ref());
        }
        assert_eq!(offsets, Offsets::default());
    }

    #[test]
    fn offsets_expire_from_the_commit_or_from_when_the_group_became_empty() {
        let mut own = offset(7, 100, 1);
        own.expire_timestamp = TimestampMs(150);
        let (offsets, group) = with(&[("t", 0, offset(5, 100, 1)), ("u", 0, offset(6, 200, 2)), ("v", 0, own)]);
        let expired = |from, now| {
            let records = offsets.expired(&group, from, (TimestampMs(now), 1000), |topic| topic == "w");
            records
                .into_iter()
                .filter_map(|record| match record {
                    Record::Offset(_, topic, ..) => Some(topic.to_string()),
                    _ => None,
                })
                .collect::<Vec<_>>()
        };
        assert_eq!(expired(ExpiresFrom::Never, 9000), Vec::<String>::new());
        assert_eq!(expired(ExpiresFrom::Commit, 149), Vec::<String>::new());
        assert_eq!(expired(ExpiresFrom::Commit, 1099), ["v"]);
        assert_eq!(expired(ExpiresFrom::Commit, 1100), ["t", "v"]);
        assert_eq!(expired(ExpiresFrom::Commit, 1200), ["t", "u", "v"]);
        assert_eq!(expired(ExpiresFrom::EmptySince(Some(TimestampMs(500))), 1499), ["v"]);
        assert_eq!(expired(ExpiresFrom::EmptySince(Some(TimestampMs(500))), 1500), ["t", "u", "v"]);
        assert_eq!(expired(ExpiresFrom::EmptySince(None), 1100), ["t", "v"]);
    }

    #[test]
    fn offsets_of_subscribed_topics_stay() {
        let (offsets, group) = with(&[("t", 0, offset(5, 100, 1)), ("u", 0, offset(6, 100, 2))]);
        let records = offsets.expired(&group, ExpiresFrom::Commit, (TimestampMs(5000), 1000), |topic| topic == "t");
        assert_eq!(records, [tombstone(&group, &"u".into(), P0)]);
    }

    #[test]
    fn deleted_topics_take_their_offsets_with_them() {
        let (offsets, group) = with(&[("t", 0, offset(5, 0, 1)), ("u", 0, offset(6, 0, 0)), ("v", 0, offset(6, 0, 4))]);
        let id = |id| TopicId(Uuid::from_u128(id));
        let mut records = offsets.of_deleted(&[("t".into(), id(1)), ("u".into(), id(2)), ("v".into(), id(3))]);
        records.sort_by_key(|record| format!("{record:?}"));
        assert_eq!(records, [tombstone(&group, &"t".into(), P0), tombstone(&group, &"u".into(), P0)]);
    }
}
