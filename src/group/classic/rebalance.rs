//! From generation to generation: how a rebalance begins, whom it waits for and how it ends.

use bytes::Bytes;

use super::super::config::GroupsConfig;
use super::super::records::ClassicGroupValue;
use super::super::timers::Timer;
use super::super::turn::Turn;
use super::super::{GroupId, MemberId};
use super::{ClassicGroup, ClassicState, InitialDelay, replies};
use crate::wire::ErrorCode;

impl ClassicGroup {
    /// Begins a rebalance, or ends the one that runs if it was this that it waited for.
    pub(super) fn rebalance_or_complete(&mut self, turn: &mut Turn<'_>) {
        match self.state {
            ClassicState::Empty | ClassicState::CompletingRebalance | ClassicState::Stable => {
                self.prepare_rebalance(turn);
            }
            ClassicState::PreparingRebalance => self.maybe_complete_join(turn),
        }
    }

    /// Begins a rebalance of a group that is not in one: its members are to join again.
    pub fn rebalance(&mut self, turn: &mut Turn<'_>) {
        if self.state != ClassicState::PreparingRebalance {
            self.prepare_rebalance(turn);
        }
    }

    pub(super) fn prepare_rebalance(&mut self, turn: &mut Turn<'_>) {
        if self.state == ClassicState::CompletingRebalance {
            self.reset_assignments(turn, ErrorCode::REBALANCE_IN_PROGRESS);
        }
        self.pending_sync.clear();
        turn.timers.cancel(&self.id, Timer::Sync);
        let is_initial = self.is_empty();
        self.transition(turn.now, ClassicState::PreparingRebalance);
        if is_initial {
            let delay_ms = turn.config.initial_rebalance_delay_ms;
            let remaining_ms = self.rebalance_timeout_ms().saturating_sub(delay_ms).max(0);
            self.wait_initially(turn, InitialDelay { delay_ms, remaining_ms });
        } else if self.all_joined() {
            self.complete_join(turn);
        } else {
            self.wait_for_joins(turn);
        }
    }

    fn wait_initially(&mut self, turn: &mut Turn<'_>, initial: InitialDelay) {
        self.initial = Some(initial);
        turn.timers.set(&self.id, Timer::Join, turn.now.steady.plus_ms(initial.delay_ms.into()));
    }

    fn wait_for_joins(&mut self, turn: &mut Turn<'_>) {
        self.initial = None;
        let end = turn.now.steady.plus_ms(self.rebalance_timeout_ms().into());
        turn.timers.set(&self.id, Timer::Join, end);
    }

    /// Ends the join phase if everybody is there. The first one of a group lasts as long as its delay.
    pub(super) fn maybe_complete_join(&mut self, turn: &mut Turn<'_>) {
        let is_initial = self.previous == ClassicState::Empty;
        if self.state == ClassicState::PreparingRebalance && !is_initial && self.all_joined() {
            self.complete_join(turn);
        }
    }

    /// Ends the join phase without those who are not there; static members keep their place until their session ends.
    fn complete_join(&mut self, turn: &mut Turn<'_>) {
        turn.timers.cancel(&self.id, Timer::Join);
        self.initial = None;
        let absent = self.members.iter().filter(|(_, member)| member.join.is_none() && member.instance_id.is_none());
        let absent: Vec<MemberId> = absent.map(|(id, _)| id.clone()).collect();
        for id in absent {
            self.remove(turn, &id);
        }
        if !self.elect_leader() && !self.members.is_empty() {
            // Nobody came; sessions will end, or somebody comes after all.
            self.wait_for_joins(turn);
            return;
        }
        self.begin_generation(turn);
        if self.is_empty() {
            let value = self.to_record();
            self.write(turn, value);
        } else {
            self.answer_joins(turn);
            let end = turn.now.steady.plus_ms(self.rebalance_timeout_ms().into());
            turn.timers.set(&self.id, Timer::Sync, end);
        }
    }

    /// The leader stays if it is there, or else hands over to a member that is. False if there is no leader or nobody
    /// came.
    fn elect_leader(&mut self) -> bool {
        let Some(leader) = &self.leader else { return false };
        if self.members.get(leader).is_some_and(|member| member.join.is_some()) {
            return true;
        }
        let present = self.members.iter().find(|(_, member)| member.join.is_some());
        let Some((id, _)) = present else { return false };
        self.leader = Some(id.clone());
        true
    }

    fn begin_generation(&mut self, turn: &Turn<'_>) {
        self.generation = self.generation.wrapping_add(1);
        self.protocol = self.select_protocol();
        self.subscribed = self.subscribed_topics();
        let empty = self.members.is_empty();
        self.transition(turn.now, if empty { ClassicState::Empty } else { ClassicState::CompletingRebalance });
        self.pending_sync.clear();
    }

    fn answer_joins(&mut self, turn: &mut Turn<'_>) {
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in ids {
            let answer = self.joined(&id);
            if let Some(member) = self.members.get_mut(&id) {
                member.is_new = false;
                let waiting = member.join.take();
                self.awaiting_join -= usize::from(waiting.is_some());
                replies::release_join(turn, waiting, answer);
            }
            self.heard_of(turn, &id);
            self.pending_sync.insert(id);
        }
    }

    /// A member's join is answered by who asks for this.
    pub(super) fn stop_waiting(&mut self, id: &MemberId) {
        if let Some(member) = self.members.get_mut(id) {
            self.awaiting_join -= usize::from(member.join.take().is_some());
        }
    }

    /// Takes assignments back and tells those who wait for them why.
    pub(super) fn reset_assignments(&mut self, turn: &mut Turn<'_>, code: ErrorCode) {
        for member in self.members.values_mut() {
            member.assignment = Bytes::new();
        }
        let waiting: Vec<MemberId> =
            self.members.iter().filter(|(_, member)| member.sync.is_some()).map(|(id, _)| id.clone()).collect();
        for id in waiting {
            let waiting = self.members.get_mut(&id).and_then(|member| member.sync.take());
            replies::release_sync(turn, waiting, replies::sync_error(code));
            self.heard_of(turn, &id);
        }
    }

    /// Something is due. A timer of what is over does nothing.
    pub fn on_timer(&mut self, turn: &mut Turn<'_>, timer: &Timer) {
        match timer {
            Timer::Session(id) => self.session_ended(turn, id),
            Timer::PendingJoin(id) if self.pending.contains(id) => self.drop_and_go_on(turn, id),
            Timer::Join if self.state == ClassicState::PreparingRebalance => self.join_ended(turn),
            Timer::Sync => self.sync_ended(turn),
            _ => {}
        }
    }

    fn session_ended(&mut self, turn: &mut Turn<'_>, id: &MemberId) {
        // One that is excused is given a new session when its wait is over.
        if self.members.get(id).is_some_and(|member| !member.is_excused()) {
            self.drop_and_go_on(turn, id);
        }
    }

    /// Drops a member or a pending one; the group rebalances without it, or waits no longer for it.
    fn drop_and_go_on(&mut self, turn: &mut Turn<'_>, id: &MemberId) {
        let was_member = self.members.contains_key(id);
        self.remove(turn, id);
        match self.state {
            ClassicState::Stable | ClassicState::CompletingRebalance if was_member => self.prepare_rebalance(turn),
            ClassicState::PreparingRebalance if self.all_joined() => self.complete_join(turn),
            _ => {}
        }
    }

    /// Members were waited for long enough, unless more came during the initial delay (KIP-134).
    fn join_ended(&mut self, turn: &mut Turn<'_>) {
        match self.initial {
            Some(initial) if self.member_added && initial.remaining_ms != 0 => {
                self.member_added = false;
                let delay_ms = turn.config.initial_rebalance_delay_ms.min(initial.remaining_ms);
                let remaining_ms = initial.remaining_ms.saturating_sub(initial.delay_ms).max(0);
                self.wait_initially(turn, InitialDelay { delay_ms, remaining_ms });
            }
            _ => self.complete_join(turn),
        }
    }

    /// Whoever has not asked for its assignment by now is dropped, the leader too.
    fn sync_ended(&mut self, turn: &mut Turn<'_>) {
        let runs = matches!(self.state, ClassicState::CompletingRebalance | ClassicState::Stable);
        if !runs || self.pending_sync.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.pending_sync) {
            self.remove(turn, &id);
        }
        self.prepare_rebalance(turn);
    }

    /// Everything of the log is read: sessions begin. A group that is larger than a new limit rebalances, which gives
    /// its members the time to commit.
    pub fn loaded(&mut self, turn: &mut Turn<'_>) {
        let ids: Vec<MemberId> = self.members.keys().cloned().collect();
        for id in &ids {
            self.heard_of(turn, id);
        }
        if ids.len() > turn.config.max_size {
            self.prepare_rebalance(turn);
        }
    }

    /// Answers everybody who waits, because it becomes a consumer group.
    pub fn release_all(&mut self, turn: &mut Turn<'_>) {
        let code = ErrorCode::REBALANCE_IN_PROGRESS;
        for (id, member) in &mut self.members {
            replies::release_join(turn, member.join.take(), replies::join_error(id, code));
            replies::release_sync(turn, member.sync.take(), replies::sync_error(code));
        }
        self.awaiting_join = 0;
    }
}

/// Whether a group's record is within what the log takes in one batch.
pub(super) fn fits(id: &GroupId, value: &ClassicGroupValue, config: &GroupsConfig) -> bool {
    /// More than what a batch, a record, its key and the value's own fields take without their strings.
    const FIXED: usize = 160;
    /// Likewise for a member.
    const PER_MEMBER: usize = 32;
    let text = |text: &Option<String>| text.as_ref().map_or(0, String::len);
    let members = value.members.iter().map(|member| {
        PER_MEMBER
            + member.member_id.len()
            + text(&member.instance_id)
            + member.client_id.len()
            + member.client_host.len()
            + member.subscription.len()
            + member.assignment.len()
    });
    let own = FIXED + id.len() + value.protocol_type.len() + text(&value.protocol) + text(&value.leader);
    own + members.sum::<usize>() <= config.max_record_bytes
}
