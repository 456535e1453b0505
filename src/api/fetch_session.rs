//! Incremental fetch sessions (KIP-227, semantics rule 27): which partitions a consumer follows, and what it was told.
//!
//! A session spares the client from repeating its partitions and the broker from repeating what did not change.
//! The cache is bounded by `max.incremental.fetch.session.cache.slots`; without a free slot a client is served without a session.

use std::collections::{BTreeMap, HashMap};

use crate::types::{LeaderEpoch, Offset, PartitionIndex, TimestampMs};
use crate::wire::ErrorCode;
use crate::wire::produce::TopicRef;

/// The session id that means "none".
pub const NO_SESSION: i32 = 0;
/// The session epoch of a request that lists everything and asks for a session.
pub const INITIAL_EPOCH: i32 = 0;
/// The session epoch of a request that closes its session, or never wanted one.
pub const FINAL_EPOCH: i32 = -1;
/// Partitions that all sessions together may follow, as a multiple of the slots: what they take is then bounded, too.
const PARTITIONS_PER_SLOT: usize = 250;
/// A session idle for longer may be replaced by any other (Kafka's `MIN_INCREMENTAL_FETCH_SESSION_EVICTION_MS`).
const EVICTION_MS: i64 = 120_000;

/// One partition that a client follows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FetchKey {
    /// The topic as the client names it.
    pub topic: TopicRef,
    /// The partition.
    pub partition: PartitionIndex,
}

/// What the client wants of a partition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FetchPosition {
    /// The next offset.
    pub offset: Offset,
    /// At most so many bytes.
    pub max_bytes: usize,
    /// The leader epoch that the client knows, or -1.
    pub current_leader_epoch: LeaderEpoch,
    /// The epoch of the last record that the client has, or -1.
    pub last_fetched_epoch: LeaderEpoch,
}

/// What decides whether a partition must be answered again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answered {
    /// Its high watermark.
    pub high_watermark: Offset,
    /// Its log start.
    pub log_start: Offset,
    /// Whether records are sent.
    pub has_records: bool,
    /// Whether it must be sent whatever the watermarks say: an error, or a diverging epoch.
    pub must_send: bool,
    /// Whether it failed.
    pub failed: bool,
}

/// How a request is served.
#[derive(Debug, PartialEq, Eq)]
pub enum Context {
    /// Everything is answered, nothing is remembered.
    Sessionless,
    /// Everything is answered; a session is made of it if there is room.
    Full,
    /// Only changes are answered.
    Incremental {
        /// The session.
        id: i32,
        /// The session's epoch once this request is counted.
        epoch: i32,
    },
}

#[derive(Debug)]
struct Followed {
    key: FetchKey,
    position: FetchPosition,
    high_watermark: Offset,
    log_start: Offset,
}

#[derive(Debug)]
struct Session {
    /// The epoch that the next request must carry.
    epoch: i32,
    by_id: bool,
    last_used: TimestampMs,
    /// Partitions in the order they are read: those that just had records go last, so that all get their turn.
    order: BTreeMap<u64, Followed>,
    places: HashMap<FetchKey, u64>,
    next_place: u64,
}

impl Session {
    fn follow(&mut self, key: FetchKey, position: FetchPosition) {
        if let Some(followed) = self.places.get(&key).and_then(|place| self.order.get_mut(place)) {
            followed.position = position;
            return;
        }
        let place = self.next_place;
        self.next_place += 1;
        self.places.insert(key.clone(), place);
        self.order.insert(place, Followed { key, position, high_watermark: Offset(-1), log_start: Offset(-1) });
    }

    fn forget(&mut self, key: &FetchKey) {
        if let Some(place) = self.places.remove(key) {
            self.order.remove(&place);
        }
    }

    fn move_to_end(&mut self, key: &FetchKey) {
        let Some(place) = self.places.get_mut(key) else { return };
        if let Some(followed) = self.order.remove(place) {
            *place = self.next_place;
            self.next_place += 1;
            self.order.insert(*place, followed);
        }
    }

    /// Notes what is about to be answered; says whether it needs to be.
    fn note(&mut self, key: &FetchKey, answered: &Answered) -> bool {
        let Some(followed) = self.places.get(key).and_then(|place| self.order.get_mut(place)) else {
            return true;
        };
        let changed = followed.high_watermark != answered.high_watermark || followed.log_start != answered.log_start;
        // After an error the partition is sent again as soon as it is well.
        followed.high_watermark = if answered.failed { Offset(-1) } else { answered.high_watermark };
        followed.log_start = answered.log_start;
        if answered.has_records {
            self.move_to_end(key);
        }
        changed || answered.has_records || answered.must_send
    }
}

/// What the request carried of session and partitions.
#[derive(Debug)]
pub struct SessionRequest {
    /// The session id, or 0.
    pub id: i32,
    /// The session epoch.
    pub epoch: i32,
    /// Whether topics are named by id (v13+).
    pub by_id: bool,
    /// The partitions listed.
    pub partitions: Vec<(FetchKey, FetchPosition)>,
    /// The partitions no longer wanted.
    pub forgotten: Vec<FetchKey>,
}

/// All sessions of a broker.
#[derive(Debug)]
pub struct FetchSessions {
    slots: usize,
    sessions: HashMap<i32, Session>,
}

impl FetchSessions {
    /// A cache of at most `slots` sessions.
    pub fn new(slots: usize) -> Self {
        Self { slots, sessions: HashMap::new() }
    }

    /// Finds out how a request is served and which partitions it reads, in order.
    pub fn begin(
        &mut self,
        request: SessionRequest,
        now: TimestampMs,
    ) -> Result<(Context, Vec<(FetchKey, FetchPosition)>), ErrorCode> {
        let SessionRequest { id, epoch, by_id, partitions, forgotten } = request;
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            // A full request ends the session that it names, whatever comes of itself.
            self.sessions.remove(&id);
            let context = if epoch == FINAL_EPOCH { Context::Sessionless } else { Context::Full };
            return Ok((context, each_once(partitions)));
        }
        let session = self.sessions.get(&id).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        if session.epoch != epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if session.by_id != by_id {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        let news = partitions.iter().filter(|(key, _)| !session.places.contains_key(key)).count();
        if news > 0 && self.followed() + news > self.slots.saturating_mul(PARTITIONS_PER_SLOT) {
            // The client goes on with a full request.
            self.sessions.remove(&id);
            return Err(ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        }
        let session = self.sessions.get_mut(&id).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        for (key, position) in &partitions {
            session.follow(key.clone(), *position);
        }
        for key in &forgotten {
            session.forget(key);
        }
        if session.order.is_empty() {
            self.sessions.remove(&id);
            return Ok((Context::Sessionless, partitions));
        }
        session.last_used = now;
        session.epoch = next_epoch(epoch);
        let wanted = session.order.values().map(|followed| (followed.key.clone(), followed.position)).collect();
        Ok((Context::Incremental { id, epoch: session.epoch }, wanted))
    }

    /// Settles the session for an answer: its id, and which of the results are sent.
    ///
    /// `fresh_id` is a random number for a session made now; it is not used when it is taken.
    pub fn finish(
        &mut self,
        context: &Context,
        by_id: bool,
        results: &[(FetchKey, FetchPosition, Answered)],
        now: TimestampMs,
        fresh_id: i32,
    ) -> Result<(i32, Vec<bool>), ErrorCode> {
        match context {
            Context::Sessionless => Ok((NO_SESSION, vec![true; results.len()])),
            Context::Full => Ok((self.create(by_id, results, now, fresh_id), vec![true; results.len()])),
            Context::Incremental { id, epoch } => {
                let session = self.sessions.get_mut(id).ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
                if session.epoch != *epoch {
                    return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
                }
                let sent = results.iter().map(|(key, _, answered)| session.note(key, answered)).collect();
                Ok((*id, sent))
            }
        }
    }

    fn create(
        &mut self,
        by_id: bool,
        results: &[(FetchKey, FetchPosition, Answered)],
        now: TimestampMs,
        fresh_id: i32,
    ) -> i32 {
        let id = fresh_id & i32::MAX;
        if id == NO_SESSION || self.sessions.contains_key(&id) || !self.make_room(results.len(), now) {
            return NO_SESSION;
        }
        let mut session = Session {
            epoch: next_epoch(INITIAL_EPOCH),
            by_id,
            last_used: now,
            order: BTreeMap::new(),
            places: HashMap::new(),
            next_place: 0,
        };
        for (key, position, answered) in results {
            session.follow(key.clone(), *position);
            session.note(key, answered);
        }
        self.sessions.insert(id, session);
        id
    }

    fn followed(&self) -> usize {
        self.sessions.values().map(|session| session.order.len()).sum()
    }

    /// A full cache gives up its longest idle session if that is stale, else its smallest one for a larger newcomer.
    fn make_room(&mut self, partitions: usize, now: TimestampMs) -> bool {
        let most = self.slots.saturating_mul(PARTITIONS_PER_SLOT);
        if self.sessions.len() < self.slots && self.followed() + partitions <= most {
            return true;
        }
        if partitions > most {
            return false;
        }
        let stale = self
            .sessions
            .iter()
            .min_by_key(|(_, session)| session.last_used)
            .filter(|(_, session)| now.0.saturating_sub(session.last_used.0) > EVICTION_MS)
            .map(|(id, _)| *id);
        let victim = stale.or_else(|| {
            self.sessions
                .iter()
                .min_by_key(|(_, session)| session.order.len())
                .filter(|(_, session)| session.order.len() < partitions)
                .map(|(id, _)| *id)
        });
        victim.is_some_and(|id| self.sessions.remove(&id).is_some()) && self.make_room(partitions, now)
    }
}

/// The last mention of a partition counts, at the place of the first.
fn each_once(partitions: Vec<(FetchKey, FetchPosition)>) -> Vec<(FetchKey, FetchPosition)> {
    if partitions.len() < 2 {
        return partitions;
    }
    let mut places: HashMap<FetchKey, usize> = HashMap::with_capacity(partitions.len());
    let mut kept: Vec<(FetchKey, FetchPosition)> = Vec::with_capacity(partitions.len());
    for (key, position) in partitions {
        if let Some((_, known)) = places.get(&key).and_then(|place| kept.get_mut(*place)) {
            *known = position;
        } else {
            places.insert(key.clone(), kept.len());
            kept.push((key, position));
        }
    }
    kept
}

/// After `i32::MAX` comes 1: 0 and -1 have a meaning of their own.
fn next_epoch(epoch: i32) -> i32 {
    if epoch == i32::MAX { 1 } else { epoch + 1 }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    const NOW: TimestampMs = TimestampMs(1_000_000);

    fn key(partition: i32) -> FetchKey {
        FetchKey { topic: TopicRef::Name("t".into()), partition: PartitionIndex(partition) }
    }

    fn at(offset: i64) -> FetchPosition {
        FetchPosition {
            offset: Offset(offset),
            max_bytes: 100,
            current_leader_epoch: LeaderEpoch::NONE,
            last_fetched_epoch: LeaderEpoch::NONE,
        }
    }

    fn quiet(high_watermark: i64) -> Answered {
        Answered {
            high_watermark: Offset(high_watermark),
            log_start: Offset(0),
            has_records: false,
            must_send: false,
            failed: false,
        }
    }

    fn request(id: i32, epoch: i32, partitions: Vec<(FetchKey, FetchPosition)>) -> SessionRequest {
        SessionRequest { id, epoch, by_id: false, partitions, forgotten: Vec::new() }
    }

    /// A session over partitions 0 and 1, each answered with high watermark 5.
    fn with_session(slots: usize) -> (FetchSessions, i32) {
        let mut sessions = FetchSessions::new(slots);
        let (context, wanted) =
            sessions.begin(request(0, INITIAL_EPOCH, vec![(key(0), at(5)), (key(1), at(5))]), NOW).unwrap();
        assert_eq!(context, Context::Full);
        let results: Vec<_> = wanted.into_iter().map(|(key, at)| (key, at, quiet(5))).collect();
        let (id, sent) = sessions.finish(&context, false, &results, NOW, 77).unwrap();
        assert_eq!(sent, [true, true]);
        (sessions, id)
    }

    #[test]
    fn an_incremental_answer_carries_only_what_changed() {
        let (mut sessions, id) = with_session(10);
        assert_eq!(id, 77);
        let (context, wanted) = sessions.begin(request(id, 1, vec![]), NOW).unwrap();
        assert_eq!(wanted.len(), 2);
        let results = vec![(key(0), at(5), quiet(5)), (key(1), at(5), quiet(6))];
        assert_eq!(sessions.finish(&context, false, &results, NOW, 1).unwrap(), (77, vec![false, true]));
    }

    #[test]
    fn a_partition_with_records_is_read_last_next_time() {
        let (mut sessions, id) = with_session(10);
        let (context, _) = sessions.begin(request(id, 1, vec![]), NOW).unwrap();
        let full = Answered { has_records: true, ..quiet(9) };
        let results = vec![(key(0), at(5), full), (key(1), at(5), quiet(5))];
        sessions.finish(&context, false, &results, NOW, 1).unwrap();
        let (_, wanted) = sessions.begin(request(id, 2, vec![]), NOW).unwrap();
        assert_eq!(wanted.iter().map(|(key, _)| key.partition.0).collect::<Vec<_>>(), [1, 0]);
    }

    #[test]
    fn after_an_error_a_partition_is_sent_again_when_it_is_well() {
        let (mut sessions, id) = with_session(10);
        let (context, _) = sessions.begin(request(id, 1, vec![]), NOW).unwrap();
        let failed = Answered { must_send: true, failed: true, ..quiet(-1) };
        sessions.finish(&context, false, &[(key(0), at(5), failed)], NOW, 1).unwrap();
        let (context, _) = sessions.begin(request(id, 2, vec![]), NOW).unwrap();
        let (_, sent) = sessions.finish(&context, false, &[(key(0), at(5), quiet(5))], NOW, 1).unwrap();
        assert_eq!(sent, [true]);
    }

    #[test]
    fn wrong_ids_epochs_and_naming_are_told_apart() {
        let (mut sessions, id) = with_session(10);
        let error = |result: Result<_, _>| result.map(|(_, wanted): (Context, Vec<_>)| wanted.len()).unwrap_err();
        assert_eq!(error(sessions.begin(request(5, 1, vec![]), NOW)), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        assert_eq!(error(sessions.begin(request(id, 2, vec![]), NOW)), ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        let by_id = SessionRequest { by_id: true, ..request(id, 1, vec![]) };
        assert_eq!(error(sessions.begin(by_id, NOW)), ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
    }

    #[test]
    fn the_final_epoch_closes_the_session() {
        let (mut sessions, id) = with_session(10);
        let (context, _) = sessions.begin(request(id, FINAL_EPOCH, vec![]), NOW).unwrap();
        assert_eq!(context, Context::Sessionless);
        assert!(sessions.begin(request(id, 1, vec![]), NOW).is_err());
    }

    #[test]
    fn a_session_that_forgets_everything_ends() {
        let (mut sessions, id) = with_session(10);
        let forget = SessionRequest { forgotten: vec![key(0), key(1)], ..request(id, 1, vec![]) };
        assert_eq!(sessions.begin(forget, NOW).unwrap().0, Context::Sessionless);
        assert!(sessions.begin(request(id, 2, vec![]), NOW).is_err());
    }

    #[test]
    fn a_full_cache_gives_way_to_larger_or_after_staleness() {
        let (mut sessions, first) = with_session(1);
        let one = vec![(key(0), at(0), quiet(0))];
        assert_eq!(sessions.finish(&Context::Full, false, &one, NOW, 5).unwrap().0, NO_SESSION);
        let three: Vec<_> = (0..3).map(|p| (key(p), at(0), quiet(0))).collect();
        assert_eq!(sessions.finish(&Context::Full, false, &three, NOW, 6).unwrap().0, 6);
        assert!(sessions.begin(request(first, 1, vec![]), NOW).is_err());
        let later = TimestampMs(NOW.0 + EVICTION_MS + 1);
        assert_eq!(sessions.finish(&Context::Full, false, &one, later, 7).unwrap().0, 7);
    }

    #[test]
    fn epochs_skip_zero_when_they_wrap() {
        assert_eq!(next_epoch(i32::MAX), 1);
    }

    #[test]
    fn sessions_are_bounded_by_their_partitions_too() {
        let mut sessions = FetchSessions::new(1);
        let many = |range: std::ops::Range<i32>| range.map(|index| (key(index), at(0))).collect::<Vec<_>>();
        let results =
            |range: std::ops::Range<i32>| range.map(|index| (key(index), at(0), quiet(0))).collect::<Vec<_>>();
        let most = PARTITIONS_PER_SLOT as i32;
        let (none, _) = sessions.finish(&Context::Full, false, &results(0..most + 1), NOW, 5).unwrap();
        assert_eq!(none, NO_SESSION, "too large for a session of its own");
        let (id, _) = sessions.finish(&Context::Full, false, &results(0..most - 1), NOW, 5).unwrap();
        assert_eq!(id, 5);
        let more = |epoch, partitions| SessionRequest { id, epoch, by_id: false, partitions, forgotten: Vec::new() };
        assert!(sessions.begin(more(1, many(0..most)), NOW).is_ok());
        let refused = sessions.begin(more(2, many(most..most + 1)), NOW);
        assert_eq!(refused.unwrap_err(), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        assert_eq!(sessions.followed(), 0);
    }
}
