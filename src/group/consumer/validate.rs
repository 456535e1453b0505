//! Who may commit and fetch offsets of the group, and when it may be deleted.

use super::{ConsumerGroup, ConsumerState, Member};
use crate::types::{PartitionIndex, TopicId};
use crate::wire::ErrorCode;

/// The first version of OffsetCommit whose sender knows of member epochs.
const COMMIT_WITH_MEMBER_EPOCH: i16 = 9;

/// What is left to check of a commit, partition by partition (KIP-1251).
#[derive(Clone, Copy, Debug)]
pub struct CommitCheck<'a>(Option<(&'a Member, i32)>);

impl CommitCheck<'_> {
    /// Whether a member whose epoch is behind its group's may commit to a partition: it may if it has held the
    /// partition since then. Kafka refuses the whole request if one partition is refused.
    ///
    /// STALE_MEMBER_EPOCH, or ILLEGAL_GENERATION for a member of the classic protocol.
    pub fn partition(&self, topic: TopicId, partition: PartitionIndex) -> Result<(), ErrorCode> {
        let Some((member, epoch)) = self.0 else { return Ok(()) };
        match member.assignment_epoch(topic, partition) {
            Some(assigned) if epoch >= assigned => Ok(()),
            _ => Err(stale(member)),
        }
    }
}

fn stale(member: &Member) -> ErrorCode {
    if member.is_classic() { ErrorCode::ILLEGAL_GENERATION } else { ErrorCode::STALE_MEMBER_EPOCH }
}

impl ConsumerGroup {
    /// Whether offsets may be committed; each partition is then to be checked with what this gives.
    ///
    /// Without a member (epoch below 0) only while the group is empty, or in a transaction that names none. Otherwise
    /// UNKNOWN_MEMBER_ID; UNSUPPORTED_VERSION for a member of the consumer protocol that does not know of member
    /// epochs; STALE_MEMBER_EPOCH (ILLEGAL_GENERATION for a member of the classic protocol) for an epoch that is ahead.
    pub fn validate_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        member_epoch: i32,
        transactional: bool,
        api_version: i16,
    ) -> Result<CommitCheck<'_>, ErrorCode> {
        let nobody = member_epoch == -1 && member_id.is_empty() && instance_id.is_none();
        if (member_epoch < 0 && self.is_empty()) || (transactional && nobody) {
            return Ok(CommitCheck(None));
        }
        let member = self.member(member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if !transactional && !member.is_classic() && api_version < COMMIT_WITH_MEMBER_EPOCH {
            return Err(ErrorCode::UNSUPPORTED_VERSION);
        }
        match member_epoch.cmp(&member.current.epoch) {
            std::cmp::Ordering::Equal => Ok(CommitCheck(None)),
            std::cmp::Ordering::Greater => Err(stale(member)),
            std::cmp::Ordering::Less => Ok(CommitCheck(Some((member, member_epoch)))),
        }
    }

    /// Whether offsets may be fetched: by anybody who names no member and no epoch, else by a member at its epoch.
    ///
    /// UNKNOWN_MEMBER_ID, STALE_MEMBER_EPOCH (ILLEGAL_GENERATION for a member of the classic protocol).
    pub fn validate_fetch(&self, member_id: Option<&str>, member_epoch: i32) -> Result<(), ErrorCode> {
        let Some(id) = member_id else {
            return if member_epoch < 0 { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) };
        };
        let member = self.member(id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        if member_epoch == member.current.epoch { Ok(()) } else { Err(stale(member)) }
    }

    /// Whether the group may be deleted: NON_EMPTY_GROUP while it has members.
    pub fn validate_delete(&self) -> Result<(), ErrorCode> {
        if self.state() == ConsumerState::Empty { Ok(()) } else { Err(ErrorCode::NON_EMPTY_GROUP) }
    }
}
