//! Who may commit and fetch offsets of the group, and when it may be deleted.

use super::{ConsumerGroup, ConsumerState, Member};
use crate::group::offsets::CommitApi;
use crate::types::{PartitionIndex, TopicId};
use crate::wire::ErrorCode;

/// The first version of OffsetCommit whose sender knows of member epochs.
const COMMIT_WITH_MEMBER_EPOCH: i16 = 9;

/// What is left to check of a commit, partition by partition (KIP-1251).
#[derive(Clone, Copy, Debug)]
pub struct CommitCheck<'a>(Option<Late<'a>>);

/// A member that commits with an epoch that is behind its own.
#[derive(Clone, Copy, Debug)]
struct Late<'a> {
    member: &'a Member,
    epoch: i32,
    refused: ErrorCode,
}

impl CommitCheck<'_> {
    /// Nothing is left to check.
    pub const DONE: Self = Self(None);

    /// Whether a member whose epoch is behind its group's may commit to a partition: it may if it has held the
    /// partition since then. Kafka refuses the whole request if one partition is refused.
    ///
    /// STALE_MEMBER_EPOCH; ILLEGAL_GENERATION for a member of the classic protocol, or in a transaction.
    pub fn partition(&self, topic: TopicId, partition: PartitionIndex) -> Result<(), ErrorCode> {
        let Some(late) = self.0 else { return Ok(()) };
        match late.member.assignment_epoch(topic, partition) {
            Some(assigned) if late.epoch >= assigned => Ok(()),
            _ => Err(late.refused),
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
    /// epochs; for an epoch that is ahead STALE_MEMBER_EPOCH, or ILLEGAL_GENERATION for a member of the classic
    /// protocol and in a transaction, whose request knows of generations alone.
    pub fn validate_commit(
        &self,
        member_id: &str,
        instance_id: Option<&str>,
        member_epoch: i32,
        api: CommitApi,
    ) -> Result<CommitCheck<'_>, ErrorCode> {
        let nobody = member_epoch == -1 && member_id.is_empty() && instance_id.is_none();
        if (member_epoch < 0 && self.is_empty()) || (api == CommitApi::Txn && nobody) {
            return Ok(CommitCheck::DONE);
        }
        let member = self.member(member_id).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
        let refused = match api {
            CommitApi::Plain(version) if !member.is_classic() && version < COMMIT_WITH_MEMBER_EPOCH => {
                return Err(ErrorCode::UNSUPPORTED_VERSION);
            }
            CommitApi::Plain(_) => stale(member),
            CommitApi::Txn => ErrorCode::ILLEGAL_GENERATION,
        };
        match member_epoch.cmp(&member.current.epoch) {
            std::cmp::Ordering::Equal => Ok(CommitCheck::DONE),
            std::cmp::Ordering::Greater => Err(refused),
            std::cmp::Ordering::Less => Ok(CommitCheck(Some(Late { member, epoch: member_epoch, refused }))),
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
