//! Committing, fetching, deleting and expiring offsets: what the groups have to say to it.

use std::sync::Arc;

use super::{Group, Shard};
use crate::group::GroupId;
use crate::group::consumer::CommitCheck;
use crate::group::offsets::{Commit, CommitApi, ExpiresFrom, TxnCommit};
use crate::group::records::{CommittedOffset, Record};
use crate::group::turn::Turn;
use crate::types::{PartitionIndex, TopicId};
use crate::wire::ErrorCode;

/// The first version of OffsetCommit whose sender knows of groups that are not there.
const KNOWS_NOT_FOUND: i16 = 9;

/// Who asks for a group's offsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OffsetReader<'a> {
    /// The group.
    pub group: &'a str,
    /// The member, where it tells.
    pub member_id: Option<&'a str>,
    /// Its epoch; -1 where it does not tell.
    pub member_epoch: i32,
    /// Whether offsets that a transaction may still change are to be held back.
    pub require_stable: bool,
}

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
    /// The offset of each partition, where there is one, or why it is held back.
    pub partitions: Vec<(PartitionIndex, Result<Option<CommittedOffset>, ErrorCode>)>,
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
        let (records, codes) = self.decide_commit(turn, CommitApi::Plain(api_version), commit)?;
        self.emit(turn, records);
        Ok(codes)
    }

    /// TxnOffsetCommit: a code for each partition, or one for all. The turn's records belong to the producer's
    /// transaction, and what they say is pending until that ends (rule 19). Whether the producer may write to a
    /// transaction, its coordinator has to say before.
    pub fn txn_commit(&mut self, turn: &mut Turn<'_>, txn: &TxnCommit) -> Result<Vec<ErrorCode>, ErrorCode> {
        let (records, codes) = self.decide_commit(turn, CommitApi::Txn, &txn.commit)?;
        for record in &records {
            self.apply_pending(txn.producer_id, record);
        }
        turn.records.extend(records);
        turn.transaction = Some((txn.producer_id, txn.producer_epoch));
        Ok(codes)
    }

    /// The records of a commit, and a code for each partition. One that is stale refuses all.
    fn decide_commit(
        &mut self,
        turn: &mut Turn<'_>,
        api: CommitApi,
        commit: &Commit,
    ) -> Result<(Vec<Record>, Vec<ErrorCode>), ErrorCode> {
        let check = self.validate_commit(turn, api, commit)?;
        let mut records = Vec::new();
        let mut codes = Vec::with_capacity(commit.partitions.len());
        for partition in &commit.partitions {
            if metadata_length(&partition.metadata) > turn.config.offset_metadata_max_bytes {
                codes.push(ErrorCode::OFFSET_METADATA_TOO_LARGE);
                continue;
            }
            check.partition(partition.topic_id, partition.partition)?;
            codes.push(ErrorCode::NONE);
            records.push(partition.record(&commit.group, turn.now.wall, commit.retention_ms));
        }
        Ok((records, codes))
    }

    fn validate_commit(
        &mut self,
        turn: &mut Turn<'_>,
        api: CommitApi,
        commit: &Commit,
    ) -> Result<CommitCheck<'_>, ErrorCode> {
        let (member, instance) = (commit.member_id.as_str(), commit.instance_id.as_deref());
        match (self.groups.get_mut(&commit.group), api) {
            (Some(Group::Classic(group)), _) => {
                group.validate_commit(member, instance, commit.generation, api == CommitApi::Txn)?;
                // One in a transaction does not keep the member's session.
                if api != CommitApi::Txn {
                    group.committed(turn, member);
                }
                Ok(CommitCheck::DONE)
            }
            (Some(Group::Consumer(group)), _) => group.validate_commit(member, instance, commit.generation, api),
            // A client that assigns to itself.
            (None, _) if commit.generation < 0 => Ok(CommitCheck::DONE),
            (None, CommitApi::Plain(KNOWS_NOT_FOUND..)) => Err(ErrorCode::GROUP_ID_NOT_FOUND),
            (None, _) => Err(ErrorCode::ILLEGAL_GENERATION),
        }
    }

    /// OffsetFetch for some topics.
    pub fn fetch(&self, reader: &OffsetReader<'_>, topics: &[WantedTopic]) -> Result<Vec<FetchedTopic>, ErrorCode> {
        self.validate_fetch(reader)?;
        let fetched = |topic: &WantedTopic| FetchedTopic {
            name: Arc::clone(&topic.name),
            id: topic.id,
            partitions: topic.partitions.iter().map(|index| (*index, self.fetched(reader, topic, *index))).collect(),
        };
        Ok(topics.iter().map(fetched).collect())
    }

    /// UNSTABLE_OFFSET_COMMIT while a transaction may still change the offset, for those who want to wait for its end
    /// (KIP-447).
    fn fetched(
        &self,
        reader: &OffsetReader<'_>,
        topic: &WantedTopic,
        partition: PartitionIndex,
    ) -> Result<Option<CommittedOffset>, ErrorCode> {
        if reader.require_stable && self.offsets.is_pending(reader.group, &topic.name, partition) {
            return Err(ErrorCode::UNSTABLE_OFFSET_COMMIT);
        }
        Ok(self.offsets.get(reader.group, &topic.name, topic.id, partition).cloned())
    }

    /// OffsetFetch for all topics that have offsets; partitions of which nothing was committed but what is pending are
    /// not among them.
    pub fn fetch_all(&self, turn: &Turn<'_>, reader: &OffsetReader<'_>) -> Result<Vec<FetchedTopic>, ErrorCode> {
        self.validate_fetch(reader)?;
        let wanted = self.offsets.committed(reader.group).map(|(name, partitions)| WantedTopic {
            name: Arc::clone(name),
            id: turn.image.topic(name).map_or(TopicId::ZERO, |topic| topic.id),
            partitions,
        });
        let mut topics = self.fetch(reader, &wanted.collect::<Vec<_>>())?;
        for topic in &mut topics {
            topic.partitions.retain(|(_, offset)| *offset != Ok(None));
        }
        topics.retain(|topic| !topic.partitions.is_empty());
        Ok(topics)
    }

    fn validate_fetch(&self, reader: &OffsetReader<'_>) -> Result<(), ErrorCode> {
        match self.groups.get(reader.group) {
            Some(Group::Consumer(group)) => group.validate_fetch(reader.member_id, reader.member_epoch),
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
    /// Takes one offset back, and what is pending of it; GROUP_SUBSCRIBED_TO_TOPIC while a member reads its topic.
    pub fn delete(&mut self, turn: &mut Turn<'_>, topic: &str, partition: PartitionIndex) -> ErrorCode {
        let group = self.shard.groups.get(&self.group);
        if group.is_some_and(|group| group.is_subscribed_to(topic)) {
            return ErrorCode::GROUP_SUBSCRIBED_TO_TOPIC;
        }
        if self.shard.offsets.contains(&self.group, topic, partition) {
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
