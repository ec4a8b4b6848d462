//! Fetch sessions (KIP-227): the broker remembers what was asked, so a request says only what changed
//! since the one before, and the answer leaves out partitions with nothing new.
//!
//! ```text
//!              ┌─ answer with an id ─► epoch 1, 2, 3 … ─┐
//!  epoch 0 ────┤                                        ├─ error, no answer ─► epoch 0
//!  (all named) └─ answer without one: epoch 0 again ────┘
//! ```
//!
//! A request without an answer may or may not have reached the broker, so what it remembers is unknown
//! and everything is said again; the old id goes along, for the broker to forget that session. Epochs
//! make a request that overtook or repeats another one an error, never a wrong answer. A consumer that
//! closes says so (epoch -1), or else its sessions keep others from having one until they are evicted.

use std::collections::BTreeMap;

use kohort_protocol::messages::fetch::{FetchPartition, FetchTopic, ForgottenTopic};
use kohort_protocol::{ErrorCode, Uuid};

use crate::consumer::types::TopicPartition;

/// What one broker remembers of our requests, as far as we know.
#[derive(Debug, Default)]
pub(super) struct FetchSession {
    /// 0 while there is none.
    id: i32,
    /// The next request's: 0 asks for a session and names every partition.
    epoch: i32,
    /// What the broker was told of each partition.
    told: BTreeMap<TopicPartition, Wanted>,
}

/// What a request says of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) topic_id: Uuid,
    pub(super) offset: i64,
    pub(super) leader_epoch: i32,
    pub(super) bytes_max: i32,
}

/// The part of a request that a session decides.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Named {
    pub(super) session_id: i32,
    pub(super) session_epoch: i32,
    pub(super) topics: Vec<FetchTopic>,
    pub(super) forgotten: Vec<ForgottenTopic>,
}

impl FetchSession {
    /// Writes the next request for `wanted`, which a broker fills in the order given.
    pub(super) fn name(&mut self, wanted: &[(TopicPartition, Wanted)]) -> Named {
        let mut named =
            Named { session_id: self.id, session_epoch: self.epoch, ..Named::default() };
        if self.epoch == NEW {
            self.told.clear();
        }
        let mut told = std::mem::take(&mut self.told);
        for (partition, wanted) in wanted {
            match told.remove(partition) {
                Some(before) if before == *wanted => {}
                before => {
                    // A topic created anew is another topic to a broker that goes by ids.
                    if let Some(before) = before.filter(|it| it.topic_id != wanted.topic_id) {
                        forget(&mut named.forgotten, partition, before.topic_id);
                    }
                    add(&mut named.topics, partition, wanted);
                }
            }
            self.told.insert(partition.clone(), *wanted);
        }
        for (partition, before) in told {
            forget(&mut named.forgotten, &partition, before.topic_id);
        }
        named
    }

    /// Takes what an answer says of the session. Returns whether the broker only asks to begin anew,
    /// which is worth trying at once.
    pub(super) fn answered(&mut self, error: ErrorCode, session_id: i32) -> bool {
        let was_new = self.epoch == NEW;
        match error {
            ErrorCode::NONE if session_id == 0 => {
                // The broker keeps no sessions, or has no room for one more.
                self.id = 0;
                self.epoch = NEW;
            }
            ErrorCode::NONE if was_new => {
                self.id = session_id;
                self.epoch = 1;
            }
            ErrorCode::NONE if session_id == self.id => {
                self.epoch = if self.epoch == i32::MAX { 1 } else { self.epoch + 1 };
            }
            ErrorCode::FETCH_SESSION_ID_NOT_FOUND => {
                self.id = 0;
                self.epoch = NEW;
            }
            _ => self.epoch = NEW,
        }
        !was_new && BEGIN_ANEW.contains(&error)
    }

    /// Takes that a request was not answered.
    pub(super) fn unanswered(&mut self) {
        self.epoch = NEW;
    }

    /// Ends the session: returns what has the broker forget it, if there is one to forget.
    pub(super) fn close(self) -> Option<Named> {
        let closes = Named { session_id: self.id, session_epoch: FINAL, ..Named::default() };
        (self.id != 0).then_some(closes)
    }
}

/// Adds a partition; those of one topic that follow each other share its entry, and a topic may have
/// several.
fn add(topics: &mut Vec<FetchTopic>, partition: &TopicPartition, wanted: &Wanted) {
    let entry = FetchPartition {
        partition: partition.partition,
        current_leader_epoch: wanted.leader_epoch,
        fetch_offset: wanted.offset,
        partition_max_bytes: wanted.bytes_max,
        ..FetchPartition::default()
    };
    match topics.last_mut() {
        Some(topic) if *topic.topic == *partition.topic && topic.topic_id == wanted.topic_id => {
            topic.partitions.push(entry);
        }
        _ => topics.push(FetchTopic {
            topic: partition.topic.to_string(),
            topic_id: wanted.topic_id,
            partitions: vec![entry],
        }),
    }
}

fn forget(topics: &mut Vec<ForgottenTopic>, partition: &TopicPartition, topic_id: Uuid) {
    match topics.last_mut() {
        Some(topic) if *topic.topic == *partition.topic && topic.topic_id == topic_id => {
            topic.partitions.push(partition.partition);
        }
        _ => topics.push(ForgottenTopic {
            topic: partition.topic.to_string(),
            topic_id,
            partitions: vec![partition.partition],
        }),
    }
}

/// The epoch of a request that asks for a session.
const NEW: i32 = 0;
/// The epoch of a request that ends one.
const FINAL: i32 = -1;

/// The errors that are about the session alone.
const BEGIN_ANEW: [ErrorCode; 3] = [
    ErrorCode::FETCH_SESSION_ID_NOT_FOUND,
    ErrorCode::INVALID_FETCH_SESSION_EPOCH,
    ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR,
];

#[cfg(test)]
mod tests {
    use super::*;

    fn wanted(offsets: &[(i32, i64)]) -> Vec<(TopicPartition, Wanted)> {
        let wanted = |(index, offset): &(i32, i64)| {
            let wanted = Wanted {
                topic_id: Uuid([1; 16]),
                offset: *offset,
                leader_epoch: 5,
                bytes_max: 1 << 20,
            };
            (TopicPartition::new("t", *index), wanted)
        };
        offsets.iter().map(wanted).collect()
    }

    /// The epoch, what is named with its offset, and what is forgotten.
    type Said = (i32, i32, Vec<(i32, i64)>, Vec<i32>);

    fn said(session: &mut FetchSession, offsets: &[(i32, i64)]) -> Said {
        let named = session.name(&wanted(offsets));
        let partitions = named.topics.iter().flat_map(|topic| &topic.partitions);
        let partitions = partitions.map(|it| (it.partition, it.fetch_offset)).collect();
        let forgotten = named.forgotten.iter().flat_map(|topic| topic.partitions.clone()).collect();
        (named.session_id, named.session_epoch, partitions, forgotten)
    }

    #[test]
    fn a_session_says_only_what_changed_and_what_is_not_wanted_any_more() {
        let mut session = FetchSession::default();
        let all = vec![(0, 10), (1, 20), (2, 30)];
        assert_eq!(said(&mut session, &all), (0, 0, all, vec![]));
        session.answered(ErrorCode::NONE, 7);
        let moved = [(1, 20), (0, 15), (3, 0)];
        assert_eq!(said(&mut session, &moved), (7, 1, vec![(0, 15), (3, 0)], vec![2]));
        session.answered(ErrorCode::NONE, 7);
        assert_eq!(said(&mut session, &moved), (7, 2, vec![], vec![]));
    }

    #[test]
    fn a_broker_that_keeps_no_session_is_told_everything_each_time() {
        let mut session = FetchSession::default();
        for _ in 0..2 {
            assert_eq!(said(&mut session, &[(0, 10)]), (0, 0, vec![(0, 10)], vec![]));
            session.answered(ErrorCode::NONE, 0);
        }
    }

    #[test]
    fn a_request_without_an_answer_begins_anew_and_has_the_old_session_forgotten() {
        let mut session = FetchSession::default();
        said(&mut session, &[(0, 10)]);
        session.answered(ErrorCode::NONE, 7);
        said(&mut session, &[(0, 11), (1, 0)]);
        session.unanswered();
        assert_eq!(said(&mut session, &[(0, 11)]), (7, 0, vec![(0, 11)], vec![]));
        session.answered(ErrorCode::NONE, 8);
        assert_eq!(said(&mut session, &[(0, 11)]), (8, 1, vec![], vec![]));
    }

    #[test]
    fn session_errors_begin_anew_at_once_but_not_for_ever() {
        for (error, kept_id) in [
            (ErrorCode::FETCH_SESSION_ID_NOT_FOUND, 0),
            (ErrorCode::INVALID_FETCH_SESSION_EPOCH, 7),
            (ErrorCode::FETCH_SESSION_TOPIC_ID_ERROR, 7),
        ] {
            let mut session = FetchSession::default();
            said(&mut session, &[(0, 10)]);
            assert!(!session.answered(ErrorCode::NONE, 7));
            said(&mut session, &[(0, 10)]);
            assert!(session.answered(error, 0), "{error}");
            assert_eq!(said(&mut session, &[(0, 10)]), (kept_id, 0, vec![(0, 10)], vec![]));
            assert!(!session.answered(error, 0), "a new session met {error}");
        }
    }

    #[test]
    fn an_answer_of_another_session_begins_anew() {
        let mut session = FetchSession::default();
        said(&mut session, &[(0, 10)]);
        session.answered(ErrorCode::NONE, 7);
        said(&mut session, &[(0, 10)]);
        session.answered(ErrorCode::NONE, 9);
        assert_eq!(said(&mut session, &[(0, 10)]), (7, 0, vec![(0, 10)], vec![]));
    }

    #[test]
    fn a_topic_created_anew_is_forgotten_under_its_old_id() {
        let mut session = FetchSession::default();
        said(&mut session, &[(0, 10)]);
        session.answered(ErrorCode::NONE, 7);
        let mut anew = wanted(&[(0, 0)]);
        anew[0].1.topic_id = Uuid([2; 16]);
        let named = session.name(&anew);
        assert_eq!(named.topics[0].topic_id, Uuid([2; 16]));
        assert_eq!(named.forgotten[0].topic_id, Uuid([1; 16]));
    }
}
