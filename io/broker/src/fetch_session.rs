//! Incremental fetch sessions (KIP-227).
//!
//! A consumer of many partitions need not name them all in every Fetch: the broker remembers what a
//! session reads, requests name only what changed, and responses only what has news. Each session
//! counts its requests; a request out of count is refused and the client begins anew.
//!
//! The cache is bounded by `max.incremental.fetch.session.cache.slots`. When it is full, a new session
//! takes the place of the one unused for longest, if that has been unused for [`EVICT_AFTER_MS`];
//! otherwise the client simply gets no session and goes on naming everything.

use crate::clock::Timestamp;
use kohort_protocol::messages::FetchRequest;
use kohort_protocol::messages::fetch::FetchPartition;
use kohort_protocol::{ErrorCode, Uuid};
use parking_lot::Mutex;
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// A session unused for this long may give way to another, as in Kafka.
const EVICT_AFTER_MS: i64 = 120_000;
const NO_SESSION: i32 = 0;
const INITIAL_EPOCH: i32 = 0;
const FINAL_EPOCH: i32 = -1;

/// How a request names a topic: by id from version 13, by name before.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum TopicKey {
    Name(Arc<str>),
    Id(Uuid),
}

/// A partition to read.
#[derive(Debug, Clone)]
pub(crate) struct Wanted {
    pub(crate) topic: TopicKey,
    pub(crate) partition: FetchPartition,
}

/// What a response said of a partition last, to tell news from none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Told {
    pub(crate) high_watermark: i64,
    pub(crate) log_start_offset: i64,
    pub(crate) failed: bool,
}

/// What a Fetch is to read, and how its response is to be cut.
#[derive(Debug)]
pub(crate) struct Plan {
    pub(crate) wanted: Vec<Wanted>,
    pub(crate) kind: PlanKind,
}

#[derive(Debug)]
pub(crate) enum PlanKind {
    /// Everything is answered and nothing remembered.
    Sessionless,
    /// Everything is answered, and a session begins if there is room.
    Full,
    /// What has news is answered.
    Incremental(Arc<Mutex<Session>>),
}

/// One session.
#[derive(Debug)]
pub(crate) struct Session {
    id: i32,
    epoch: i32,
    uses_ids: bool,
    last_used: Timestamp,
    /// The partitions in the order they are read: those that had records last are read last.
    partitions: BTreeMap<u64, Remembered>,
    places: HashMap<(TopicKey, i32), u64>,
    next_place: u64,
}

#[derive(Debug)]
struct Remembered {
    wanted: Wanted,
    told: Option<Told>,
}

/// All sessions.
#[derive(Debug, Default)]
pub(crate) struct FetchSessions(Mutex<HashMap<i32, Arc<Mutex<Session>>>>);

impl FetchSessions {
    /// Finds out what a request wants to read.
    pub(crate) fn plan(
        &self,
        request: &FetchRequest,
        version: i16,
        now: Timestamp,
    ) -> Result<Plan, ErrorCode> {
        let (id, epoch) = (request.session_id, request.session_epoch);
        if epoch == INITIAL_EPOCH || epoch == FINAL_EPOCH {
            if id != NO_SESSION {
                self.0.lock().remove(&id);
            }
            let kind = if epoch == FINAL_EPOCH { PlanKind::Sessionless } else { PlanKind::Full };
            return Ok(Plan { wanted: named(request, version), kind });
        }
        let session =
            self.0.lock().get(&id).cloned().ok_or(ErrorCode::FETCH_SESSION_ID_NOT_FOUND)?;
        let mut current = session.lock();
        if current.epoch != epoch {
            return Err(ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        }
        if current.uses_ids != (version >= 13) {
            return Err(ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        }
        current.update(request, version);
        if current.places.is_empty() {
            drop(current);
            self.0.lock().remove(&id);
            // What the request names and forgets is read once more, as by Kafka.
            return Ok(Plan { wanted: named(request, version), kind: PlanKind::Sessionless });
        }
        current.last_used = now;
        current.epoch = if epoch == i32::MAX { 1 } else { epoch + 1 };
        let wanted = current.partitions.values().map(|known| known.wanted.clone()).collect();
        drop(current);
        Ok(Plan { wanted, kind: PlanKind::Incremental(session) })
    }

    /// Begins a session for what was read in full; zero when there is no room for one.
    pub(crate) fn begin(
        &self,
        read: Vec<(Wanted, Told)>,
        uses_ids: bool,
        slots: usize,
        now: Timestamp,
    ) -> i32 {
        let mut sessions = self.0.lock();
        if !make_room(&mut sessions, slots, now) {
            return NO_SESSION;
        }
        let id = loop {
            let id = (crate::random::word() as i32) & i32::MAX;
            if id != NO_SESSION && !sessions.contains_key(&id) {
                break id;
            }
        };
        let mut session = Session {
            id,
            epoch: 1,
            uses_ids,
            last_used: now,
            partitions: BTreeMap::new(),
            places: HashMap::new(),
            next_place: 0,
        };
        for (wanted, told) in read {
            session.put(wanted, Some(told));
        }
        sessions.insert(id, Arc::new(Mutex::new(session)));
        id
    }
}

fn make_room(
    sessions: &mut HashMap<i32, Arc<Mutex<Session>>>,
    slots: usize,
    now: Timestamp,
) -> bool {
    if sessions.len() < slots {
        return true;
    }
    let oldest = sessions
        .iter()
        .filter_map(|(id, session)| Some((session.try_lock()?.last_used, *id)))
        .min();
    match oldest {
        Some((last_used, id)) if now - last_used > EVICT_AFTER_MS => {
            sessions.remove(&id);
            true
        }
        _ => false,
    }
}

impl Session {
    pub(crate) fn id(&self) -> i32 {
        self.id
    }

    /// Returns whether `told` is news for a partition, and takes note of it. A partition with
    /// records moves to the end of the order.
    pub(crate) fn note(&mut self, wanted: &Wanted, told: Told, has_records: bool) -> bool {
        let key = (wanted.topic.clone(), wanted.partition.partition);
        let Some(place) = self.places.get(&key).copied() else { return true };
        let Some(known) = self.partitions.get_mut(&place) else { return true };
        let news = has_records || told.failed || known.told != Some(told);
        // A failure is told again until it is over.
        known.told = (!told.failed).then_some(told);
        if has_records && let Some(known) = self.partitions.remove(&place) {
            self.partitions.insert(self.next_place, known);
            self.places.insert(key, self.next_place);
            self.next_place += 1;
        }
        news
    }

    fn update(&mut self, request: &FetchRequest, version: i16) {
        for wanted in named(request, version) {
            let key = (wanted.topic.clone(), wanted.partition.partition);
            match self.places.get(&key).and_then(|place| self.partitions.get_mut(place)) {
                Some(known) => known.wanted = wanted,
                None => self.put(wanted, None),
            }
        }
        for topic in &request.forgotten_topics_data {
            let topic_key = key_of(&topic.topic, topic.topic_id, version);
            for partition in &topic.partitions {
                if let Some(place) = self.places.remove(&(topic_key.clone(), *partition)) {
                    self.partitions.remove(&place);
                }
            }
        }
    }

    fn put(&mut self, wanted: Wanted, told: Option<Told>) {
        let key = (wanted.topic.clone(), wanted.partition.partition);
        if let Some(old) = self.places.insert(key, self.next_place) {
            self.partitions.remove(&old);
        }
        self.partitions.insert(self.next_place, Remembered { wanted, told });
        self.next_place += 1;
    }
}

/// Returns the partitions a request names.
fn named(request: &FetchRequest, version: i16) -> Vec<Wanted> {
    let mut wanted = Vec::new();
    for topic in &request.topics {
        let key = key_of(&topic.topic, topic.topic_id, version);
        for partition in &topic.partitions {
            wanted.push(Wanted { topic: key.clone(), partition: partition.clone() });
        }
    }
    wanted
}

fn key_of(name: &str, id: Uuid, version: i16) -> TopicKey {
    if version >= 13 { TopicKey::Id(id) } else { TopicKey::Name(name.into()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kohort_protocol::messages::fetch::{FetchTopic, ForgottenTopic};

    const TOLD: Told = Told { high_watermark: 5, log_start_offset: 0, failed: false };

    fn request(id: i32, epoch: i32, partitions: &[i32]) -> FetchRequest {
        let partitions = partitions
            .iter()
            .map(|partition| FetchPartition { partition: *partition, ..FetchPartition::default() })
            .collect();
        FetchRequest {
            session_id: id,
            session_epoch: epoch,
            topics: vec![FetchTopic { topic: "t".into(), partitions, ..FetchTopic::default() }],
            ..FetchRequest::default()
        }
    }

    fn begun(sessions: &FetchSessions, partitions: &[i32]) -> i32 {
        let plan = sessions.plan(&request(0, 0, partitions), 12, 0).unwrap();
        let read = plan.wanted.into_iter().map(|wanted| (wanted, TOLD)).collect();
        sessions.begin(read, false, 10, 0)
    }

    fn order(plan: &Plan) -> Vec<i32> {
        plan.wanted.iter().map(|wanted| wanted.partition.partition).collect()
    }

    #[test]
    fn a_session_remembers_and_forgets_partitions() {
        let sessions = FetchSessions::default();
        let id = begun(&sessions, &[0, 1]);
        let plan = sessions.plan(&request(id, 1, &[2]), 12, 0).unwrap();
        assert_eq!(order(&plan), [0, 1, 2]);
        let mut forgetting = request(id, 2, &[]);
        forgetting.forgotten_topics_data = vec![ForgottenTopic {
            topic: "t".into(),
            partitions: vec![0],
            ..ForgottenTopic::default()
        }];
        assert_eq!(order(&sessions.plan(&forgetting, 12, 0).unwrap()), [1, 2]);
    }

    #[test]
    fn a_session_left_with_nothing_ends_and_what_the_request_names_is_read_without_one() {
        for (named, read) in [(&[][..], &[][..]), (&[0], &[0])] {
            let sessions = FetchSessions::default();
            let id = begun(&sessions, &[0]);
            let mut last = request(id, 1, named);
            last.forgotten_topics_data = vec![ForgottenTopic {
                topic: "t".into(),
                partitions: vec![0],
                ..ForgottenTopic::default()
            }];
            let plan = sessions.plan(&last, 12, 0).unwrap();
            assert!(matches!(plan.kind, PlanKind::Sessionless), "{plan:?}");
            assert_eq!(order(&plan), read);
            let ended = sessions.plan(&request(id, 2, &[0]), 12, 0).unwrap_err();
            assert_eq!(ended, ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        }
    }

    #[test]
    fn requests_out_of_count_and_unknown_sessions_are_refused() {
        let sessions = FetchSessions::default();
        let id = begun(&sessions, &[0]);
        let refused =
            |id, epoch, version| sessions.plan(&request(id, epoch, &[]), version, 0).unwrap_err();
        assert_eq!(refused(id, 2, 12), ErrorCode::INVALID_FETCH_SESSION_EPOCH);
        assert_eq!(refused(id ^ 1, 1, 12), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
        assert_eq!(refused(id, 1, 13), ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR);
        sessions.plan(&request(id, -1, &[]), 12, 0).unwrap();
        assert_eq!(refused(id, 1, 12), ErrorCode::FETCH_SESSION_ID_NOT_FOUND);
    }

    #[test]
    fn only_news_is_told_and_who_had_records_is_read_last() {
        let sessions = FetchSessions::default();
        let id = begun(&sessions, &[0, 1]);
        let plan = sessions.plan(&request(id, 1, &[]), 12, 0).unwrap();
        let PlanKind::Incremental(session) = &plan.kind else { panic!("{plan:?}") };
        let mut session = session.lock();
        assert!(!session.note(&plan.wanted[0], TOLD, false));
        assert!(session.note(&plan.wanted[0], Told { high_watermark: 6, ..TOLD }, false));
        assert!(session.note(&plan.wanted[0], Told { high_watermark: 6, ..TOLD }, true));
        let failed = Told { failed: true, ..TOLD };
        assert!(session.note(&plan.wanted[1], failed, false));
        assert!(session.note(&plan.wanted[1], failed, false));
        drop(session);
        assert_eq!(order(&sessions.plan(&request(id, 2, &[]), 12, 0).unwrap()), [1, 0]);
    }

    #[test]
    fn a_full_cache_gives_no_session_until_one_is_old() {
        let sessions = FetchSessions::default();
        let wanted = sessions.plan(&request(0, 0, &[0]), 12, 0).unwrap().wanted;
        let read = || wanted.iter().cloned().map(|wanted| (wanted, TOLD)).collect();
        let old = sessions.begin(read(), false, 2, 5);
        let young = sessions.begin(read(), false, 2, 6);
        assert_eq!(sessions.begin(read(), false, 2, 5 + EVICT_AFTER_MS), 0);
        let new = sessions.begin(read(), false, 2, 6 + EVICT_AFTER_MS);
        let has = |id| sessions.0.lock().contains_key(&id);
        assert_eq!([old, young, new].map(has), [false, true, true]);
    }

    #[test]
    fn after_the_highest_count_a_session_goes_on_with_1() {
        let sessions = FetchSessions::default();
        let id = begun(&sessions, &[0]);
        sessions.0.lock()[&id].lock().epoch = i32::MAX;
        for epoch in [i32::MAX, 1, 2] {
            sessions.plan(&request(id, epoch, &[]), 12, 0).unwrap();
        }
    }
}
