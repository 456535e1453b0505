//! Committing, fetching, deleting and expiring offsets: what the groups have to say to it.

use std::sync::Arc;

use super::{Group, Shard};
use crate::group::GroupId;
use crate::group::offsets::{Commit, CommitPartition, ExpiresFrom};
use crate::group::records::{CommittedOffset, Record};
use crate::group::turn::Turn;
use crate::types::{PartitionIndex, TopicId};
use crate::wire::ErrorCode;

/// The first version of OffsetCommit and OffsetFetch whose sender knows of groups that are not there.
const KNOWS_NOT_FOUND: i16 = 9;

/// A topic whose offsets are asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedTopic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id; zero where it is not known.
    pub id: TopicId,
    /// Which partitions.
    pub partitions: Vec<PartitionIndex>,
}

/// The offsets of a topic, in the order in which they were asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FetchedTopic {
    /// Its name.
    pub name: Arc<str>,
    /// Its id, as it was asked for.
    pub id: TopicId,
    /// The offset of each partition, where there is one.
    pub partitions: Vec<(PartitionIndex, Option<CommittedOffset>)>,
}

/// Offsets of one group that are being deleted.
#[derive(Debug)]
pub struct OffsetDeletion<'a> {
    shard: &'a mut Shard,
    group: GroupId,
}

impl Shard {
    /// OffsetCommit: a code for each partition, or one for all.
    pub fn commit(
        &mut self,
        turn: &mut Turn<'_>,
        api_version: i16,
        commit: &Commit,
    ) -> Result<Vec<ErrorCode>, ErrorCode> {
        self.validate_commit(turn, api_version, commit)?;
        let max_metadata = turn.config.offset_metadata_max_bytes;
        let is_too_large = |partition: &CommitPartition| metadata_length(&partition.metadata) > max_metadata;
        let taken = commit.partitions.iter().filter(|partition| !is_too_large(partition));
        let record = |partition: &CommitPartition| partition.record(&commit.group, turn.now.wall, commit.retention_ms);
        let records = taken.map(record).collect();
        self.emit(turn, records);
        let code = |partition| {
            if is_too_large(partition) { ErrorCode::OFFSET_METADATA_TOO_LARGE } else { ErrorCode::NONE }
        };
        Ok(commit.partitions.iter().map(code).collect())
    }

    fn validate_commit(&mut self, turn: &mut Turn<'_>, api_version: i16, commit: &Commit) -> Result<(), ErrorCode> {
        let (member, instance) = (commit.member_id.as_str(), commit.instance_id.as_deref());
        match self.groups.get_mut(&commit.group) {
            Some(Group::Classic(group)) => {
                group.validate_commit(member, instance, commit.generation, false)?;
                group.committed(turn, member);
                Ok(())
            }
            Some(Group::Consumer(group)) => {
                let check = group.validate_commit(member, instance, commit.generation, false, api_version)?;
                let mut partitions = commit.partitions.iter();
                partitions.try_for_each(|partition| check.partition(partition.topic_id, partition.partition))
            }
            // A client that assigns to itself.
            None if commit.generation < 0 => Ok(()),
            None if api_version >= KNOWS_NOT_FOUND => Err(ErrorCode::GROUP_ID_NOT_FOUND),
            None => Err(ErrorCode::ILLEGAL_GENERATION),
        }
    }

    /// OffsetFetch for some topics.
    pub fn fetch(
        &self,
        group: &str,
        member: (Option<&str>, i32),
        topics: &[WantedTopic],
    ) -> Result<Vec<FetchedTopic>, ErrorCode> {
        self.validate_fetch(group, member)?;
        let fetched = |topic: &WantedTopic| {
            let offset = |index: &PartitionIndex| self.offsets.get(group, &topic.name, topic.id, *index).cloned();
            FetchedTopic {
                name: Arc::clone(&topic.name),
                id: topic.id,
                partitions: topic.partitions.iter().map(|index| (*index, offset(index))).collect(),
            }
        };
        Ok(topics.iter().map(fetched).collect())
    }

    /// OffsetFetch for all topics that have offsets.
    pub fn fetch_all(
        &self,
        turn: &Turn<'_>,
        group: &str,
        member: (Option<&str>, i32),
    ) -> Result<Vec<FetchedTopic>, ErrorCode> {
        self.validate_fetch(group, member)?;
        let wanted = self.offsets.of_group(group).map(|(name, partitions)| WantedTopic {
            name: Arc::clone(name),
            id: turn.image.topic(name).map_or(TopicId::ZERO, |topic| topic.id),
            partitions: partitions.keys().copied().collect(),
        });
        let mut topics = self.fetch(group, member, &wanted.collect::<Vec<_>>())?;
        for topic in &mut topics {
            topic.partitions.retain(|(_, offset)| offset.is_some());
        }
        topics.retain(|topic| !topic.partitions.is_empty());
        Ok(topics)
    }

    fn validate_fetch(&self, group: &str, (member, epoch): (Option<&str>, i32)) -> Result<(), ErrorCode> {
        match self.groups.get(group) {
            Some(Group::Consumer(group)) => group.validate_fetch(member, epoch),
            Some(Group::Classic(_)) | None => Ok(()),
        }
    }

    /// OffsetDelete: refused as a whole with GROUP_ID_NOT_FOUND or NON_EMPTY_GROUP; else to be done by partition.
    pub fn delete_offsets(&mut self, group: &str) -> Result<OffsetDeletion<'_>, ErrorCode> {
        let (id, known) = self.groups.get_key_value(group).ok_or(ErrorCode::GROUP_ID_NOT_FOUND)?;
        if let Group::Classic(group) = known {
            group.validate_offset_delete()?;
        }
        let group = Arc::clone(id);
        Ok(OffsetDeletion { shard: self, group })
    }

    /// Takes back offsets that have expired, and groups without members of which nothing is left.
    pub fn expire_offsets(&mut self, turn: &mut Turn<'_>) {
        let ids: Vec<GroupId> = self.groups.keys().cloned().collect();
        for id in ids {
            let records = self.expired(turn, &id);
            self.emit(turn, records);
            if self.offsets.is_empty(&id) && self.groups.get(&id).is_some_and(Group::is_empty) {
                self.remove(turn, &id);
            }
        }
    }

    fn expired(&self, turn: &Turn<'_>, id: &GroupId) -> Vec<Record> {
        let Some(group) = self.groups.get(id) else { return Vec::new() };
        let from = match group {
            Group::Classic(group) => group.offset_expiry(),
            Group::Consumer(_) => ExpiresFrom::Commit,
        };
        let time = (turn.now.wall, turn.config.offsets_retention_ms);
        self.offsets.expired(id, from, time, |topic| group.is_subscribed_to(topic))
    }
}

impl OffsetDeletion<'_> {
    /// Takes one offset back; GROUP_SUBSCRIBED_TO_TOPIC while a member reads its topic.
    pub fn delete(&mut self, turn: &mut Turn<'_>, topic: &str, partition: PartitionIndex) -> ErrorCode {
        let group = self.shard.groups.get(&self.group);
        if group.is_some_and(|group| group.is_subscribed_to(topic)) {
            return ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC;
        }
        if self.shard.offsets.get(&self.group, topic, TopicId::ZERO, partition).is_some() {
            let record = Record::Offset(Arc::clone(&self.group), topic.into(), partition, None);
            self.shard.emit(turn, vec![record]);
        }
        ErrorCode::NONE
    }
}

/// Java's length of a text: the setting counts UTF-16 units.
fn metadata_length(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.encode_utf16().count() }
}
