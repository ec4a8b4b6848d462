//! Whether the broker tells of committed offsets what it was told, by what passes between it and its clients.
//!
//! A group that reads what it had committed may be told wrong by the broker, or may have been told right by
//! it and go astray by itself. So each answer to OffsetFetch is held against the commits: of a partition it
//! may name the last commit that was accepted before the question, or any that was under way since then. That
//! is by the order in which commits go to the broker, not by that of its answers, some of which are lost.
//!
//! Topics are not told apart, as groups here have one. Versions of OffsetFetch below 8 are not listened to.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use bytes::Bytes;
use kohort_protocol::header::{RequestHeader, decode_response_header};
use kohort_protocol::messages::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
use kohort_protocol::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
use kohort_protocol::{ApiKey, ErrorCode, Message, Reader};

/// What all connections together have heard.
#[derive(Debug, Default)]
pub(crate) struct Witness {
    groups: BTreeMap<String, BTreeMap<i32, Commits>>,
    next: u64,
    /// What is asked and not yet answered: what an answer may name.
    asked: BTreeMap<u64, BTreeMap<String, Possible>>,
    /// How many offsets the broker has told.
    pub(crate) told: usize,
    /// Those it should not have told.
    pub(crate) wrong: Vec<String>,
}

/// What may be told of the partitions of a group. Of others there is nothing to tell.
type Possible = BTreeMap<i32, BTreeSet<i64>>;

/// The commits of one partition that may be what is stored, in the order in which they went to the broker.
#[derive(Debug, Default)]
struct Commits {
    /// The first is the last that was accepted.
    accepted: bool,
    sent: Vec<(u64, i64)>,
}

impl Commits {
    fn possible(&self) -> BTreeSet<i64> {
        let none = (!self.accepted).then_some(NO_OFFSET);
        self.sent.iter().map(|(_, offset)| *offset).chain(none).collect()
    }

    fn answered(&mut self, number: u64, error: ErrorCode) {
        let Ok(at) = self.sent.binary_search_by_key(&number, |(number, _)| *number) else { return };
        if error.is_ok() {
            self.accepted = true;
            self.sent.drain(..at);
        } else {
            self.sent.remove(at);
        }
    }
}

impl Witness {
    fn commit(&mut self, request: OffsetCommitRequest) -> Asked {
        self.next += 1;
        let group = self.groups.entry(request.group_id.clone()).or_default();
        for partition in request.topics.iter().flat_map(|topic| &topic.partitions) {
            let (index, offset) = (partition.partition_index, partition.committed_offset);
            group.entry(index).or_default().sent.push((self.next, offset));
            for possible in self.asked.values_mut().filter_map(|it| it.get_mut(&request.group_id)) {
                possible.entry(index).or_insert_with(|| [NO_OFFSET].into()).insert(offset);
            }
        }
        Asked::Commit(self.next, request.group_id)
    }

    fn committed(&mut self, number: u64, group: &str, response: &OffsetCommitResponse) {
        let Some(group) = self.groups.get_mut(group) else { return };
        for partition in response.topics.iter().flat_map(|topic| &topic.partitions) {
            if let Some(commits) = group.get_mut(&partition.partition_index) {
                commits.answered(number, partition.error_code);
            }
        }
    }

    fn fetch(&mut self, request: OffsetFetchRequest) -> Asked {
        self.next += 1;
        let possible = |group: &String| {
            let known = self.groups.get(group).into_iter().flatten();
            known.map(|(partition, commits)| (*partition, commits.possible())).collect()
        };
        let groups = request.groups.iter().map(|group| &group.group_id);
        let asked = groups.map(|group| (group.clone(), possible(group))).collect();
        self.asked.insert(self.next, asked);
        Asked::Fetch(self.next)
    }

    fn fetched(&mut self, number: u64, response: OffsetFetchResponse) {
        let Some(asked) = self.asked.remove(&number) else { return };
        let nothing = BTreeSet::from([NO_OFFSET]);
        for group in response.groups.into_iter().filter(|group| group.error_code.is_ok()) {
            let Some(possible) = asked.get(&group.group_id) else { continue };
            let partitions = group.topics.iter().flat_map(|topic| &topic.partitions);
            for partition in partitions.filter(|partition| partition.error_code.is_ok()) {
                let (index, offset) = (partition.partition_index, partition.committed_offset);
                let possible = possible.get(&index).unwrap_or(&nothing);
                self.told += 1;
                if !possible.contains(&offset) {
                    let group = &group.group_id;
                    let text = format!("{group} was told {offset} of {index}, not of {possible:?}");
                    self.wrong.push(text);
                }
            }
        }
    }
}

/// One connection, listened to.
#[derive(Debug)]
pub(crate) struct Ear {
    witness: Arc<Mutex<Witness>>,
    requests: Frames,
    answers: Frames,
    /// By version and correlation id.
    asked: BTreeMap<i32, (i16, Asked)>,
}

/// What an answer is awaited to, by its number.
#[derive(Debug)]
enum Asked {
    Commit(u64, String),
    Fetch(u64),
}

impl Ear {
    pub(crate) fn new(witness: Arc<Mutex<Witness>>) -> Self {
        let (requests, answers) = (Frames::default(), Frames::default());
        Self { witness, requests, answers, asked: BTreeMap::new() }
    }

    /// Hears what a client sends, before it is passed on.
    pub(crate) fn request(&mut self, bytes: &[u8]) {
        self.requests.add(bytes);
        while let Some(frame) = self.requests.next() {
            let mut reader = Reader::new(&frame);
            let Ok(header) = RequestHeader::decode(&mut reader) else { continue };
            let (version, id) = (header.api_version, header.correlation_id);
            let mut witness = lock(&self.witness);
            let asked = match ApiKey::from_i16(header.api_key) {
                Some(ApiKey::OffsetCommit) => {
                    OffsetCommitRequest::decode(&mut reader, version).map(|it| witness.commit(it))
                }
                Some(ApiKey::OffsetFetch) if version >= FIRST_VERSION_WITH_GROUPS => {
                    OffsetFetchRequest::decode(&mut reader, version).map(|it| witness.fetch(it))
                }
                _ => continue,
            };
            self.asked.extend(asked.map(|asked| (id, (version, asked))));
        }
    }

    /// Hears what the broker answers.
    pub(crate) fn answer(&mut self, bytes: &[u8]) {
        self.answers.add(bytes);
        while let Some(frame) = self.answers.next() {
            let id = frame.first_chunk().map(|id| i32::from_be_bytes(*id));
            let Some((version, asked)) = id.and_then(|id| self.asked.remove(&id)) else { continue };
            let mut reader = Reader::new(&frame);
            let mut witness = lock(&self.witness);
            match asked {
                Asked::Commit(number, group) => {
                    let response = body(&mut reader, ApiKey::OffsetCommit, version);
                    response.map(|it| witness.committed(number, &group, &it))
                }
                Asked::Fetch(number) => {
                    let response = body(&mut reader, ApiKey::OffsetFetch, version);
                    response.map(|it| witness.fetched(number, it))
                }
            };
        }
    }
}

impl Drop for Ear {
    fn drop(&mut self) {
        let mut witness = lock(&self.witness);
        for (_, asked) in self.asked.values() {
            if let Asked::Fetch(number) = asked {
                witness.asked.remove(number);
            }
        }
    }
}

fn body<M: Message>(reader: &mut Reader<'_>, key: ApiKey, version: i16) -> Option<M> {
    decode_response_header(reader, key, version).ok()?;
    M::decode(reader, version).ok()
}

/// What came one way, to be taken out frame by frame.
#[derive(Debug, Default)]
struct Frames(Vec<u8>);

impl Frames {
    fn add(&mut self, bytes: &[u8]) {
        self.0.extend_from_slice(bytes);
    }

    fn next(&mut self) -> Option<Bytes> {
        let length = usize::try_from(i32::from_be_bytes(*self.0.first_chunk()?)).ok()?;
        let frame = self.0.get(4..4 + length)?.to_vec();
        self.0.drain(..4 + length);
        Some(frame.into())
    }
}

fn lock(witness: &Mutex<Witness>) -> MutexGuard<'_, Witness> {
    witness.lock().expect("nobody panics while holding it")
}

const NO_OFFSET: i64 = -1;
const FIRST_VERSION_WITH_GROUPS: i16 = 8;

#[cfg(test)]
mod tests {
    use kohort_protocol::frame::{encode_request, encode_response};
    use kohort_protocol::messages::offset_commit::{
        OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponsePartition,
        OffsetCommitResponseTopic,
    };
    use kohort_protocol::messages::offset_fetch::{
        OffsetFetchRequestGroup, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
        OffsetFetchResponseTopics,
    };

    use super::*;

    const VERSION: i16 = 9;

    /// A connection over which partition 3 of one group is spoken of, byte by byte.
    struct Talk {
        witness: Arc<Mutex<Witness>>,
        ear: Ear,
        id: i32,
    }

    impl Talk {
        fn new() -> Self {
            let witness = Arc::default();
            Self { ear: Ear::new(Arc::clone(&witness)), witness, id: 0 }
        }

        fn send(&mut self, request: &impl kohort_protocol::Request) -> i32 {
            self.id += 1;
            let frame = encode_request(request, VERSION, self.id, Some("client")).unwrap();
            frame.iter().for_each(|byte| self.ear.request(&[*byte]));
            self.id
        }

        fn commit(&mut self, committed_offset: i64) -> i32 {
            let partition = OffsetCommitRequestPartition {
                partition_index: 3,
                committed_offset,
                ..OffsetCommitRequestPartition::default()
            };
            let topic = OffsetCommitRequestTopic {
                partitions: vec![partition],
                ..OffsetCommitRequestTopic::default()
            };
            self.send(&OffsetCommitRequest {
                group_id: "g".to_owned(),
                topics: vec![topic],
                ..OffsetCommitRequest::default()
            })
        }

        fn answer_commit(&mut self, id: i32, error_code: ErrorCode) {
            let partition = OffsetCommitResponsePartition { partition_index: 3, error_code };
            let topic = OffsetCommitResponseTopic {
                partitions: vec![partition],
                ..OffsetCommitResponseTopic::default()
            };
            let response =
                OffsetCommitResponse { topics: vec![topic], ..OffsetCommitResponse::default() };
            let frame = encode_response(&response, VERSION, id).unwrap();
            frame.iter().for_each(|byte| self.ear.answer(&[*byte]));
        }

        fn ask(&mut self) -> i32 {
            let group = OffsetFetchRequestGroup {
                group_id: "g".to_owned(),
                ..OffsetFetchRequestGroup::default()
            };
            self.send(&OffsetFetchRequest { groups: vec![group], ..OffsetFetchRequest::default() })
        }

        fn tell(&mut self, id: i32, committed_offset: i64) {
            let partition = OffsetFetchResponsePartitions {
                partition_index: 3,
                committed_offset,
                ..OffsetFetchResponsePartitions::default()
            };
            let topic = OffsetFetchResponseTopics {
                partitions: vec![partition],
                ..OffsetFetchResponseTopics::default()
            };
            let group = OffsetFetchResponseGroup {
                group_id: "g".to_owned(),
                topics: vec![topic],
                ..OffsetFetchResponseGroup::default()
            };
            let response =
                OffsetFetchResponse { groups: vec![group], ..OffsetFetchResponse::default() };
            let frame = encode_response(&response, VERSION, id).unwrap();
            frame.iter().for_each(|byte| self.ear.answer(&[*byte]));
        }

        /// Asks, and returns which of these offsets may be told.
        fn allowed(&mut self, offsets: impl IntoIterator<Item = i64>) -> Vec<i64> {
            let mut allowed = Vec::new();
            for offset in offsets {
                let id = self.ask();
                self.tell(id, offset);
                if lock(&self.witness).wrong.drain(..).next().is_none() {
                    allowed.push(offset);
                }
            }
            allowed
        }
    }

    #[test]
    fn the_last_accepted_commit_and_those_since_may_be_told() {
        let mut talk = Talk::new();
        assert_eq!(talk.allowed(-1..9), [-1]);
        let first = talk.commit(4);
        assert_eq!(talk.allowed(-1..9), [-1, 4]);
        talk.answer_commit(first, ErrorCode::NONE);
        assert_eq!(talk.allowed(-1..9), [4]);
        let (second, third) = (talk.commit(5), talk.commit(7));
        assert_eq!(talk.allowed(-1..9), [4, 5, 7]);
        talk.answer_commit(third, ErrorCode::NONE);
        assert_eq!(talk.allowed(-1..9), [7]);
        // Its answer was on the way for longer than the next one's.
        talk.answer_commit(second, ErrorCode::NONE);
        assert_eq!(talk.allowed(-1..9), [7]);
        let refused = talk.commit(8);
        talk.answer_commit(refused, ErrorCode::STALE_MEMBER_EPOCH);
        assert_eq!(talk.allowed(-1..9), [7]);
        let told = lock(&talk.witness).told;
        assert_eq!(told, 70);
    }

    #[test]
    fn what_is_committed_between_question_and_answer_may_be_told() {
        for told in [4, 5, 6] {
            let mut talk = Talk::new();
            let first = talk.commit(4);
            talk.answer_commit(first, ErrorCode::NONE);
            let asked = talk.ask();
            for offset in [5, 6] {
                let id = talk.commit(offset);
                talk.answer_commit(id, ErrorCode::NONE);
            }
            talk.tell(asked, told);
            let wrong = lock(&talk.witness).wrong.clone();
            assert_eq!(wrong, [""; 0]);
            assert_eq!(talk.allowed(-1..9), [6]);
        }
    }
}
