//! What a classic group knows of one member.

use bytes::Bytes;
use kafka_protocol::messages::JoinGroupRequest;

use super::super::records::ClassicMemberValue;
use super::super::turn::{Client, Ticket, Turn};

/// A request of a member that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Waiting {
    /// Names the request.
    pub ticket: Ticket,
    /// Its version, which decides how "no protocol" is written in the answer.
    pub api_version: i16,
}

/// A member of a classic group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// `group.instance.id` of a static member (KIP-345).
    pub instance_id: Option<String>,
    /// `client.id`.
    pub client_id: String,
    /// Its address.
    pub client_host: String,
    /// How long a rebalance waits for it; milliseconds.
    pub rebalance_timeout_ms: i32,
    /// How long it may be silent; milliseconds.
    pub session_timeout_ms: i32,
    /// The protocols that it supports, the one it likes best first, with what it tells about itself under each.
    pub protocols: Vec<(String, Bytes)>,
    /// What the leader gave it; empty before that.
    pub assignment: Bytes,
    /// It has not completed a join yet: only then may it be dropped while it waits.
    pub(super) is_new: bool,
    pub(super) join: Option<Waiting>,
    pub(super) sync: Option<Waiting>,
}

impl Member {
    /// A dynamic member that comes over from a consumer group: it waits for nothing, and what it owns is set with
    /// [`super::ClassicGroup::set_assignment`]. Static ones are given their `instance_id` by the caller.
    pub fn migrated(
        client_id: String,
        client_host: String,
        rebalance_timeout_ms: i32,
        session_timeout_ms: i32,
        protocols: Vec<(String, Bytes)>,
    ) -> Self {
        Self {
            instance_id: None,
            client_id,
            client_host,
            rebalance_timeout_ms,
            session_timeout_ms,
            protocols,
            assignment: Bytes::new(),
            is_new: false,
            join: None,
            sync: None,
        }
    }

    /// As a record has it, under the one protocol that the record knows.
    pub(super) fn from_record(value: &ClassicMemberValue, protocol: &str) -> Self {
        let rebalance =
            if value.rebalance_timeout_ms == -1 { value.session_timeout_ms } else { value.rebalance_timeout_ms };
        Self {
            instance_id: value.instance_id.clone(),
            client_id: value.client_id.clone(),
            client_host: value.client_host.clone(),
            rebalance_timeout_ms: rebalance,
            session_timeout_ms: value.session_timeout_ms,
            protocols: vec![(protocol.to_owned(), value.subscription.clone())],
            assignment: value.assignment.clone(),
            is_new: false,
            join: None,
            sync: None,
        }
    }

    /// What it told about itself under a protocol; empty where it does not support it.
    pub fn metadata(&self, protocol: &str) -> Bytes {
        self.protocols.iter().find(|(name, _)| name == protocol).map(|(_, bytes)| bytes.clone()).unwrap_or_default()
    }

    /// Whether it needs no heartbeat: it waits for others. A new member has to come back now and then all the same,
    /// because nobody would notice that it went away (its connection is not read while its request waits).
    pub(super) fn is_excused(&self) -> bool {
        !self.is_new && (self.join.is_some() || self.sync.is_some())
    }
}

/// What a JoinGroup request offers, copied out of the request's own buffer so that the group does not hold that.
#[derive(Clone, Debug)]
pub(super) struct Offer {
    pub instance_id: Option<String>,
    pub rebalance_timeout_ms: i32,
    pub session_timeout_ms: i32,
    pub protocols: Vec<(String, Bytes)>,
    pub waiting: Waiting,
}

impl Offer {
    pub fn new(turn: &Turn<'_>, client: &Client, request: &JoinGroupRequest) -> Self {
        // Version 0 knows one timeout for both.
        let one_timeout = client.api_version == 0;
        Self {
            instance_id: request.group_instance_id.as_ref().map(|id| id.as_str().to_owned()),
            rebalance_timeout_ms: if one_timeout { request.session_timeout_ms } else { request.rebalance_timeout_ms },
            session_timeout_ms: request.session_timeout_ms,
            protocols: protocols(request),
            waiting: Waiting { ticket: turn.ticket, api_version: client.api_version },
        }
    }

    /// A member that joins for the first time with this offer.
    pub fn into_member(self, client: &Client) -> Member {
        Member {
            instance_id: self.instance_id,
            client_id: client.id.clone(),
            client_host: client.host.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            protocols: self.protocols,
            assignment: Bytes::new(),
            is_new: true,
            join: Some(self.waiting),
            sync: None,
        }
    }
}

/// The protocols of a request. One that is named twice counts once: Kafka counts it twice, and then finds no
/// protocol that all members share.
pub fn protocols(request: &JoinGroupRequest) -> Vec<(String, Bytes)> {
    let mut seen = std::collections::HashSet::new();
    let first = request.protocols.iter().filter(|protocol| seen.insert(protocol.name.as_str()));
    first.map(|protocol| (protocol.name.as_str().to_owned(), Bytes::copy_from_slice(&protocol.metadata))).collect()
}
