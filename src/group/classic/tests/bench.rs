//! A group with its clock, its log and the answers that it gave.

use std::collections::BTreeMap;

use bytes::Bytes;
use kafka_protocol::messages::join_group_request::JoinGroupRequestProtocol;
use kafka_protocol::messages::leave_group_request::MemberIdentity;
use kafka_protocol::messages::sync_group_request::SyncGroupRequestAssignment;
use kafka_protocol::messages::{
    GroupId as WireGroupId, HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest,
    LeaveGroupResponse, SyncGroupRequest, SyncGroupResponse,
};

use super::super::replies::text;
use super::super::{ClassicGroup, ClassicState};
use crate::group::records::{ClassicGroupValue, Record};
use crate::group::test_support::World;
use crate::group::timers::Timer;
use crate::group::turn::{Client, Released, Steady, Ticket, Turn};
use crate::group::{GroupId, MemberId};
use crate::wire::ErrorCode;

pub const SESSION_MS: i32 = 10_000;
pub const REBALANCE_MS: i32 = 60_000;

/// A JoinGroup request and its version.
#[derive(Clone, Debug)]
pub struct Join {
    pub version: i16,
    pub member: String,
    pub instance: Option<String>,
    pub protocol_type: &'static str,
    pub protocols: Vec<(&'static str, Vec<u8>)>,
    pub session_ms: i32,
    pub rebalance_ms: i32,
}

impl Join {
    pub fn of(member: &str) -> Self {
        Self {
            version: 9,
            member: member.to_owned(),
            instance: None,
            protocol_type: "consumer",
            protocols: vec![("range", b"r".to_vec())],
            session_ms: SESSION_MS,
            rebalance_ms: REBALANCE_MS,
        }
    }

    pub fn instance(mut self, instance: &str) -> Self {
        self.instance = Some(instance.to_owned());
        self
    }

    pub fn version(mut self, version: i16) -> Self {
        self.version = version;
        self
    }

    pub fn protocols(mut self, names: &[&'static str]) -> Self {
        self.protocols = names.iter().map(|name| (*name, b"m".to_vec())).collect();
        self
    }

    pub fn request(&self) -> JoinGroupRequest {
        let protocols = self.protocols.iter().map(|(name, metadata)| {
            JoinGroupRequestProtocol::default().with_name(text(name)).with_metadata(Bytes::copy_from_slice(metadata))
        });
        JoinGroupRequest::default()
            .with_group_id(WireGroupId(text("g")))
            .with_member_id(text(&self.member))
            .with_group_instance_id(self.instance.as_deref().map(text))
            .with_protocol_type(text(self.protocol_type))
            .with_protocols(protocols.collect())
            .with_session_timeout_ms(self.session_ms)
            .with_rebalance_timeout_ms(self.rebalance_ms)
    }
}

pub fn client(api_version: i16) -> Client {
    Client { id: "c".to_owned(), host: "/127.0.0.1".to_owned(), api_version }
}

/// A SyncGroup request of a member, with assignments where it leads.
pub fn sync_request(member: &str, generation: i32, given: &[(&str, &str)]) -> SyncGroupRequest {
    let given = given.iter().map(|(id, bytes)| {
        SyncGroupRequestAssignment::default()
            .with_member_id(text(id))
            .with_assignment(Bytes::copy_from_slice(bytes.as_bytes()))
    });
    SyncGroupRequest::default()
        .with_group_id(WireGroupId(text("g")))
        .with_generation_id(generation)
        .with_member_id(text(member))
        .with_assignments(given.collect())
}

pub struct Bench {
    pub world: World,
    pub group: ClassicGroup,
    pub log: Vec<ClassicGroupValue>,
    pub answers: BTreeMap<Ticket, Released>,
}

impl Bench {
    pub fn new() -> Self {
        let world = World::new();
        let group = ClassicGroup::new(id(), world.now);
        Self { world, group, log: Vec::new(), answers: BTreeMap::new() }
    }

    /// One turn: its records go to the log, its answers to those that were given.
    pub fn turn<R>(&mut self, act: impl FnOnce(&mut ClassicGroup, &mut Turn<'_>) -> R) -> (Ticket, R) {
        let mut turn = self.world.turn();
        let result = act(&mut self.group, &mut turn);
        let ticket = turn.ticket;
        for record in turn.records {
            let Record::Classic(group, Some(value)) = record else { panic!("{record:?}") };
            assert_eq!(group, id());
            self.log.push(value);
        }
        for (ticket, answer) in turn.released {
            assert!(self.answers.insert(ticket, answer).is_none(), "{ticket:?} is answered twice");
        }
        (ticket, result)
    }

    pub fn join(&mut self, join: &Join) -> Ticket {
        let (ticket, answer) = self.turn(|group, turn| group.join(turn, &client(join.version), &join.request()));
        if let Some(answer) = answer {
            assert!(self.answers.insert(ticket, Released::Join(answer)).is_none(), "{ticket:?} is answered twice");
        }
        ticket
    }

    /// The answer to a join that is over.
    pub fn joined(&self, ticket: Ticket) -> JoinGroupResponse {
        match self.answers.get(&ticket) {
            Some(Released::Join(answer)) => answer.clone(),
            other => panic!("{ticket:?} has {other:?}"),
        }
    }

    pub fn waits(&self, ticket: Ticket) -> bool {
        !self.answers.contains_key(&ticket)
    }

    pub fn join_code(&mut self, join: &Join) -> ErrorCode {
        let ticket = self.join(join);
        ErrorCode(self.joined(ticket).error_code)
    }

    /// A new dynamic member's two joins; its name and the ticket of the second.
    pub fn enter(&mut self, join: Join) -> (String, Ticket) {
        let first = self.join(&Join { member: String::new(), ..join.clone() });
        let answer = self.joined(first);
        assert_eq!(ErrorCode(answer.error_code), ErrorCode::MEMBER_ID_REQUIRED);
        let member = answer.member_id.to_string();
        let ticket = self.join(&Join { member: member.clone(), ..join });
        (member, ticket)
    }

    pub fn sync(&mut self, version: i16, request: &SyncGroupRequest) -> Ticket {
        let (ticket, answer) = self.turn(|group, turn| group.sync(turn, &client(version), request));
        if let Some(answer) = answer {
            assert!(self.answers.insert(ticket, Released::Sync(answer)).is_none(), "{ticket:?} is answered twice");
        }
        ticket
    }

    /// The answer to a sync that is over.
    pub fn synced(&self, ticket: Ticket) -> SyncGroupResponse {
        match self.answers.get(&ticket) {
            Some(Released::Sync(answer)) => answer.clone(),
            other => panic!("{ticket:?} has {other:?}"),
        }
    }

    pub fn sync_code(&mut self, request: &SyncGroupRequest) -> ErrorCode {
        let ticket = self.sync(5, request);
        ErrorCode(self.synced(ticket).error_code)
    }

    pub fn heartbeat(&mut self, member: &str, generation: i32) -> ErrorCode {
        self.beat(member, None, generation)
    }

    pub fn beat(&mut self, member: &str, instance: Option<&str>, generation: i32) -> ErrorCode {
        let request = HeartbeatRequest::default()
            .with_member_id(text(member))
            .with_group_instance_id(instance.map(text))
            .with_generation_id(generation);
        self.turn(|group, turn| group.heartbeat(turn, &request)).1
    }

    /// LeaveGroup of members and instances.
    pub fn leave(&mut self, members: &[(&str, Option<&str>)]) -> Vec<ErrorCode> {
        let members = members.iter().map(|(id, instance)| {
            MemberIdentity::default().with_member_id(text(id)).with_group_instance_id(instance.map(text))
        });
        let request = LeaveGroupRequest::default().with_members(members.collect());
        let answer = self.leave_with(5, &request);
        assert_eq!(answer.error_code, 0);
        answer.members.iter().map(|member| ErrorCode(member.error_code)).collect()
    }

    pub fn leave_with(&mut self, version: i16, request: &LeaveGroupRequest) -> LeaveGroupResponse {
        self.turn(|group, turn| group.leave(turn, &client(version), request)).1
    }

    /// Time passes; what is due on the way happens when it is due.
    pub fn pass(&mut self, ms: i64) {
        let end = self.world.now.steady.plus_ms(ms);
        while let Some(at) = self.world.timers.next().filter(|at| *at <= end) {
            self.move_to(at);
            if let Some((_, timer)) = self.world.timers.pop(at) {
                self.turn(|group, turn| group.on_timer(turn, &timer));
            }
        }
        self.move_to(end);
    }

    fn move_to(&mut self, at: Steady) {
        let ms = at.0.saturating_sub(self.world.now.steady.0);
        self.world.advance(ms.try_into().unwrap());
    }

    pub fn due(&self, timer: &Timer) -> Option<u64> {
        let at = self.world.timers.due(&id(), timer)?;
        Some(at.0 - self.world.now.steady.0)
    }

    pub fn session(&self, member: &str) -> Option<u64> {
        self.due(&Timer::Session(MemberId::from(member)))
    }

    pub fn state(&self) -> ClassicState {
        self.group.state()
    }

    /// So many members that have joined one generation; the leader first.
    pub fn completing(count: usize) -> (Self, Vec<String>) {
        let mut bench = Self::new();
        let entered: Vec<(String, Ticket)> = (0..count).map(|_| bench.enter(Join::of(""))).collect();
        bench.pass(0);
        let (leaders, followers): (Vec<_>, Vec<_>) =
            entered.into_iter().map(|(id, _)| id).partition(|id| bench.group.is_leader(id));
        assert_eq!(bench.state(), ClassicState::CompletingRebalance);
        (bench, leaders.into_iter().chain(followers).collect())
    }

    /// The same, with assignments `a0`, `a1`, ... in the order of the names that are returned.
    pub fn stable(count: usize) -> (Self, Vec<String>) {
        let (mut bench, ids) = Self::completing(count);
        let given: Vec<String> = (0..count).map(|at| format!("a{at}")).collect();
        let given: Vec<(&str, &str)> = ids.iter().zip(&given).map(|(id, bytes)| (&**id, &**bytes)).collect();
        let generation = bench.group.generation();
        assert_eq!(bench.sync_code(&sync_request(&ids[0], generation, &given)), ErrorCode::NONE);
        for id in &ids[1..] {
            assert_eq!(bench.sync_code(&sync_request(id, generation, &[])), ErrorCode::NONE);
        }
        assert_eq!(bench.state(), ClassicState::Stable);
        (bench, ids)
    }

    /// What a restart makes of the group.
    pub fn restart(&mut self) {
        self.world.timers.cancel_all(&id());
        self.group = match self.log.last() {
            Some(value) => ClassicGroup::from_record(id(), value),
            None => ClassicGroup::new(id(), self.world.now),
        };
        self.turn(ClassicGroup::loaded);
    }
}

pub fn id() -> GroupId {
    "g".into()
}
