//! Who is in the group and which protocols they share: nothing here waits, answers or writes by itself, except that a
//! member which goes takes its timers and its waiting requests along.

use std::collections::{BTreeMap, BTreeSet};

use super::super::MemberId;
use super::super::timers::Timer;
use super::super::turn::Turn;
use super::member::{Member, Offer};
use super::{ClassicGroup, ClassicState, replies};
use crate::wire::ErrorCode;
use crate::wire::consumer_protocol;

/// The protocol type of consumers.
pub const CONSUMER: &str = "consumer";

impl ClassicGroup {
    /// Takes a member in; the first one decides the protocol type, and leads.
    pub(super) fn add(&mut self, id: &MemberId, member: Member, protocol_type: &str) {
        if self.members.is_empty() {
            self.protocol_type = Some(protocol_type.to_owned());
        }
        if let Some(instance) = &member.instance_id {
            self.statics.insert(instance.clone(), id.clone());
        }
        self.leader.get_or_insert_with(|| id.clone());
        self.awaiting_join += usize::from(member.join.is_some());
        self.count(&member, true);
        self.members.insert(id.clone(), member);
        self.pending.remove(id);
    }

    /// Drops a member, or a pending one, and answers what it waits for: it is to come back as a new member.
    pub(super) fn remove(&mut self, turn: &mut Turn<'_>, id: &str) {
        let id: MemberId = id.into();
        if let Some(mut member) = self.members.remove(&id) {
            self.count(&member, false);
            self.awaiting_join -= usize::from(member.join.is_some());
            let gone = ErrorCode::UNKNOWN_MEMBER_ID;
            replies::release_join(turn, member.join.take(), replies::join_error("", gone));
            // Kafka never answers a member that left while it waited for its assignment.
            replies::release_sync(turn, member.sync.take(), replies::sync_error(gone));
            if let Some(instance) = &member.instance_id {
                self.statics.remove(instance);
            }
        }
        if self.is_leader(&id) {
            self.leader = self.members.keys().next().cloned();
        }
        self.pending.remove(&id);
        self.pending_sync.remove(&id);
        turn.timers.cancel(&self.id, Timer::PendingJoin(id.clone()));
        turn.timers.cancel(&self.id, Timer::Session(id));
    }

    /// Takes over what a member offers with its new join, which waits from now on in place of an older one.
    pub(super) fn update(&mut self, turn: &mut Turn<'_>, id: &MemberId, offer: Offer) {
        let Some(mut member) = self.members.remove(id) else { return };
        self.count(&member, false);
        member.protocols = offer.protocols;
        member.rebalance_timeout_ms = offer.rebalance_timeout_ms;
        member.session_timeout_ms = offer.session_timeout_ms;
        self.awaiting_join += usize::from(member.join.is_none());
        let older = member.join.replace(offer.waiting);
        // Kafka forgets the older one; a client that still listens is to ask again.
        replies::release_join(turn, older, replies::join_error(id, ErrorCode::REBALANCE_IN_PROGRESS));
        self.count(&member, true);
        self.members.insert(id.clone(), member);
    }

    /// Gives a static member's place to a new incarnation of it; what the old one waits for is fenced.
    pub(super) fn replace_static(&mut self, turn: &mut Turn<'_>, instance: &str, old: &MemberId, new: &MemberId) {
        let Some(mut member) = self.members.remove(old) else { return };
        let fenced = ErrorCode::FENCED_INSTANCE_ID;
        self.awaiting_join -= usize::from(member.join.is_some());
        let join = replies::without_protocol(replies::join_error(old, fenced));
        replies::release_join(turn, member.join.take(), join);
        replies::release_sync(turn, member.sync.take(), replies::sync_error(fenced));
        member.is_new = false;
        if self.is_leader(old) {
            self.leader = Some(new.clone());
        }
        // Kafka goes on waiting for a sync of the old name, and rebalances when that does not come.
        if self.pending_sync.remove(old) {
            self.pending_sync.insert(new.clone());
        }
        self.statics.insert(instance.to_owned(), new.clone());
        turn.timers.cancel(&self.id, Timer::Session(old.clone()));
        self.members.insert(new.clone(), member);
        self.heard_of(turn, new);
    }

    /// Starts a member's session anew.
    pub(super) fn heard_of(&self, turn: &mut Turn<'_>, id: &MemberId) {
        if let Some(member) = self.members.get(id) {
            let end = turn.now.steady.plus_ms(member.session_timeout_ms.into());
            turn.timers.set(&self.id, Timer::Session(id.clone()), end);
        }
    }

    pub(super) fn is_leader(&self, id: &str) -> bool {
        self.leader.as_deref() == Some(id)
    }

    /// Whether everybody who is known waits in a join.
    pub(super) fn all_joined(&self) -> bool {
        self.members.len() == self.awaiting_join && self.pending.is_empty()
    }

    /// The longest of the members' rebalance timeouts; milliseconds.
    pub(super) fn rebalance_timeout_ms(&self) -> i32 {
        self.members.values().map(|member| member.rebalance_timeout_ms).fold(0, i32::max)
    }

    /// Whether the group's name for the instance, if one is given, is the member's, and it is a member.
    pub(super) fn validate_member(&self, id: &str, instance: Option<&str>) -> Result<(), ErrorCode> {
        if let Some(instance) = instance {
            let known = self.statics.get(instance).ok_or(ErrorCode::UNKNOWN_MEMBER_ID)?;
            if known.as_ref() != id {
                return Err(ErrorCode::FENCED_INSTANCE_ID);
            }
        }
        if self.members.contains_key(id) { Ok(()) } else { Err(ErrorCode::UNKNOWN_MEMBER_ID) }
    }

    /// Whether a member with these protocols could be in the group: all others share one of them.
    pub(super) fn supports<'a>(&self, protocol_type: &str, mut names: impl Iterator<Item = &'a str>) -> bool {
        if self.state == ClassicState::Empty {
            return !protocol_type.is_empty() && names.next().is_some();
        }
        let shared = |name| self.supported.get(name).copied().unwrap_or(0) == self.members.len();
        self.protocol_type.as_deref() == Some(protocol_type) && names.any(shared)
    }

    pub(super) fn count(&mut self, member: &Member, more: bool) {
        for (name, _) in &member.protocols {
            let count = self.supported.entry(name.clone()).or_default();
            *count = if more { *count + 1 } else { count.saturating_sub(1) };
            if *count == 0 {
                self.supported.remove(name);
            }
        }
    }

    /// The protocol that most members like best among those that all support.
    pub(super) fn select_protocol(&self) -> Option<String> {
        let mut votes: BTreeMap<&str, usize> = BTreeMap::new();
        for member in self.members.values() {
            let shared = |name: &str| self.supported.get(name) == Some(&self.members.len());
            if let Some((name, _)) = member.protocols.iter().find(|(name, _)| shared(name)) {
                *votes.entry(name).or_default() += 1;
            }
        }
        let most = votes.values().max()?;
        let buckets = buckets(votes.len());
        let winners = votes.iter().filter(|(_, count)| *count == most).map(|(name, _)| *name);
        winners.min_by_key(|name| bucket(name, buckets)).map(str::to_owned)
    }

    /// The topics that consumers subscribe to, where that can be known.
    pub(super) fn subscribed_topics(&self) -> Option<BTreeSet<String>> {
        if self.protocol_type.as_deref() != Some(CONSUMER) {
            return None;
        }
        if self.members.is_empty() {
            return Some(BTreeSet::new());
        }
        let protocol = self.protocol.as_deref()?;
        let mut topics = BTreeSet::new();
        for member in self.members.values() {
            consumer_protocol::add_topics(&member.metadata(protocol), &mut topics).ok()?;
        }
        Some(topics)
    }
}

/// How many buckets Java's hash map has for so many keys.
fn buckets(keys: usize) -> u32 {
    let mut buckets = 16_u32;
    while keys > buckets as usize / 4 * 3 && buckets < 1 << 30 {
        buckets *= 2;
    }
    buckets
}

/// Where Java's hash map puts a string. Of protocols with as many votes Kafka takes the first in that order.
fn bucket(name: &str, buckets: u32) -> u32 {
    let hash = name.encode_utf16().fold(0_u32, |hash, unit| hash.wrapping_mul(31).wrapping_add(unit.into()));
    (hash ^ (hash >> 16)) & (buckets - 1)
}

/// A new member's name: that of its instance or client, made unique.
pub(super) fn member_id(turn: &Turn<'_>, client_id: &str, instance: Option<&str>) -> MemberId {
    format!("{}-{}", instance.unwrap_or(client_id), turn.fresh).into()
}
