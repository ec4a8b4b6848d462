//! What `__consumer_offsets` tells of a group: what it committed and when, and its generations.
//!
//! The topic is compacted, but its newest part still has everything, on Kafka as well. So the last
//! commits of a partition are there to be read, and nobody has to wait for new ones.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kohort::TopicPartition;
use kohort_broker::group_events::{
    CauseEvent, GroupEvent, MemberEvent, MovedPartition, RebalanceEvent, SCHEMA_VERSION,
};
use kohort_protocol::Uuid;
use kohort_protocol::messages::consumer_protocol::ConsumerProtocolAssignment;
use kohort_protocol::messages::group_records::{
    GroupMetadataValue, GroupRecordKey, MemberMetadata, OffsetCommitValue,
};

use super::epochs::Epochs;
use super::verdict::{Commit, WINDOW, WINDOW_MS};

/// What was read of one group so far.
#[derive(Debug, Default)]
pub(crate) struct History {
    group: String,
    /// The time of the first record that was read, of whatever group.
    first_ms: Option<i64>,
    /// The last commits of each partition, oldest first.
    pub(crate) commits: BTreeMap<TopicPartition, Vec<Commit>>,
    last: Option<GroupMetadataValue>,
    /// The same of a group of the new protocol.
    epochs: Epochs,
}

impl History {
    pub(crate) fn of(group: &str) -> Self {
        Self { group: group.to_owned(), ..Self::default() }
    }

    pub(crate) fn group(&self) -> &str {
        &self.group
    }

    /// Returns since when every commit was read, if all since this time was, and perhaps more.
    pub(crate) fn reaches_back_to(&self, since_ms: i64) -> i64 {
        self.first_ms.map_or(since_ms, |first_ms| first_ms.min(since_ms))
    }

    /// Learns how topics are called: some records know only their ids.
    pub(crate) fn name_topics(&mut self, names: impl IntoIterator<Item = (Uuid, String)>) {
        self.epochs.names.extend(names);
    }

    /// Takes in a record. Returns the rebalance that it ends, if it does; the first generation that is
    /// seen has nothing to be compared with.
    pub(crate) fn take_in(
        &mut self,
        timestamp: i64,
        key: Option<&[u8]>,
        value: Option<&[u8]>,
    ) -> Option<GroupEvent> {
        self.first_ms.get_or_insert(timestamp);
        let key = GroupRecordKey::from_bytes(&Bytes::copy_from_slice(key?)).ok()?;
        let value = value.map(Bytes::copy_from_slice);
        match key {
            GroupRecordKey::OffsetCommit(key) if key.group == self.group => {
                let partition = TopicPartition::new(&*key.topic, key.partition);
                let value = value.and_then(|value| OffsetCommitValue::from_bytes(&value).ok());
                self.commit(partition, value);
                None
            }
            GroupRecordKey::GroupMetadata(key) if key.group == self.group => {
                let value = GroupMetadataValue::from_bytes(&value?).ok()?;
                self.generation(timestamp, value)
            }
            key => {
                let rebalance = self.epochs.take_in(&self.group, timestamp, key, value.as_ref());
                rebalance.map(|rebalance| GroupEvent::Rebalance(Box::new(rebalance)))
            }
        }
    }

    fn commit(&mut self, partition: TopicPartition, value: Option<OffsetCommitValue>) {
        let Some(value) = value else {
            self.commits.remove(&partition);
            return;
        };
        let commits = self.commits.entry(partition).or_default();
        let commit = Commit { at_ms: value.commit_timestamp, offset: value.offset, lag: None };
        // Several within a second are one: it is the trend that counts. What goes back is no part of it.
        match commits.last_mut() {
            Some(last) if commit.at_ms - last.at_ms < APART_MS && commit.offset >= last.offset => {
                last.offset = commit.offset;
            }
            _ => commits.push(commit),
        }
        commits.retain(|earlier| commit.at_ms - earlier.at_ms <= WINDOW_MS);
        if commits.len() > WINDOW {
            commits.remove(0);
        }
    }

    fn generation(&mut self, timestamp: i64, value: GroupMetadataValue) -> Option<GroupEvent> {
        let before = self.last.replace(value)?;
        let after = self.last.as_ref()?;
        if before.generation == after.generation {
            return None;
        }
        let rebalance = compare(&self.group, timestamp, &before, after);
        Some(GroupEvent::Rebalance(Box::new(rebalance)))
    }
}

/// Returns what can be told of a rebalance by the group before and after it.
fn compare(
    group: &str,
    timestamp: i64,
    before: &GroupMetadataValue,
    after: &GroupMetadataValue,
) -> RebalanceEvent {
    let ids = |group: &GroupMetadataValue| -> BTreeSet<String> {
        group.members.iter().map(|member| member.member_id.clone()).collect()
    };
    let (old, new) = (ids(before), ids(after));
    let cause = |what: &str, member: &String, text: String| CauseEvent {
        at_ms: timestamp,
        what: what.to_owned(),
        member: Some(member.clone()),
        text,
    };
    let came = new.difference(&old).map(|id| cause("joined", id, format!("member {id} is new")));
    let gone = old.difference(&new).map(|id| cause("gone", id, format!("member {id} is gone")));
    let causes = came.chain(gone).collect();
    let (owned, owns) = (owners(&before.members), owners(&after.members));
    let places: BTreeSet<&(String, i32)> = owned.keys().chain(owns.keys()).collect();
    let moved = places.into_iter().filter(|place| owned.get(*place) != owns.get(*place));
    let moved = moved.map(|place| MovedPartition {
        topic: place.0.clone(),
        partition: place.1,
        from: owned.get(place).cloned(),
        to: owns.get(place).cloned(),
        unserved_since_ms: None,
    });
    RebalanceEvent {
        version: SCHEMA_VERSION,
        group: group.to_owned(),
        protocol: "classic".to_owned(),
        generation: after.generation,
        causes,
        started_ms: timestamp,
        joined_ms: timestamp,
        ended_ms: timestamp,
        moved: moved.collect(),
        members_before: old.into_iter().collect(),
        members_after: new.into_iter().collect(),
        leader: after.leader.clone().filter(|leader| !leader.is_empty()),
        members: before.members.iter().chain(&after.members).map(who).collect(),
        ..RebalanceEvent::default()
    }
}

fn who(member: &MemberMetadata) -> (String, MemberEvent) {
    let who = MemberEvent {
        client_id: member.client_id.clone(),
        client_host: member.client_host.clone(),
        instance_id: member.group_instance_id.clone(),
    };
    (member.member_id.clone(), who)
}

fn owners(members: &[MemberMetadata]) -> BTreeMap<(String, i32), String> {
    let mut owners = BTreeMap::new();
    for member in members {
        let Ok(assignment) = ConsumerProtocolAssignment::from_bytes(&member.assignment) else {
            continue;
        };
        for topic in assignment.assigned_partitions {
            for partition in topic.partitions {
                owners.insert((topic.topic.clone(), partition), member.member_id.clone());
            }
        }
    }
    owners
}

const APART_MS: i64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;
    use kohort_protocol::messages::consumer_protocol::ConsumerProtocolAssignmentTopicPartition;
    use kohort_protocol::messages::group_records::{GroupMetadataKey, OffsetCommitKey};

    fn commit(history: &mut History, group: &str, at_ms: i64, offset: i64) {
        let key = OffsetCommitKey { group: group.to_owned(), topic: "t".to_owned(), partition: 0 };
        let value =
            OffsetCommitValue { offset, commit_timestamp: at_ms, ..OffsetCommitValue::default() };
        let (key, value) = (key.to_bytes().unwrap(), value.to_bytes(4).unwrap());
        assert_eq!(history.take_in(at_ms, Some(&key), Some(&value)), None);
    }

    #[test]
    fn the_last_commits_of_a_partition_are_kept_a_second_apart() {
        let mut history = History::of("g");
        for second in 0..20 {
            commit(&mut history, "g", second * 1_000, second * 10);
            commit(&mut history, "g", second * 1_000 + 400, second * 10 + 5);
            commit(&mut history, "other", second * 1_000, 1);
        }
        let commits = &history.commits[&TopicPartition::new("t", 0)];
        assert_eq!((commits.len(), commits[0].offset, commits[9].offset), (WINDOW, 105, 195));
        let key = OffsetCommitKey { group: "g".to_owned(), topic: "t".to_owned(), partition: 0 };
        history.take_in(0, Some(&key.to_bytes().unwrap()), None);
        assert!(history.commits.is_empty());
        // What is no record of ours changes nothing.
        assert_eq!(history.take_in(0, Some(b"?"), Some(b"?")), None);
    }

    #[test]
    fn a_group_that_was_away_is_judged_by_what_it_did_since() {
        let mut history = History::of("g");
        let hour = 60 * 60_000;
        for (at_ms, offset) in [(0, 10), (5_000, 20), (hour, 30), (hour + 5_000, 40)] {
            commit(&mut history, "g", at_ms, offset);
        }
        let at = |at_ms: i64, offset: i64| Commit { at_ms, offset, lag: None };
        let commits = &history.commits[&TopicPartition::new("t", 0)];
        assert_eq!(*commits, [at(hour, 30), at(hour + 5_000, 40)]);
    }

    #[test]
    fn it_is_known_since_when_all_was_read() {
        let mut history = History::of("g");
        assert_eq!(history.reaches_back_to(700), 700, "there was nothing since");
        commit(&mut history, "other", 200, 1);
        commit(&mut history, "other", 900, 1);
        assert_eq!(history.reaches_back_to(700), 200);
        assert_eq!(history.reaches_back_to(100), 100, "the first record since then came later");
    }

    #[test]
    fn a_commit_that_goes_back_is_kept_however_soon_it_comes() {
        let mut history = History::of("g");
        for (at_ms, offset) in [(0, 10), (300, 30), (700, 4), (900, 8)] {
            commit(&mut history, "g", at_ms, offset);
        }
        let at = |at_ms: i64, offset: i64| Commit { at_ms, offset, lag: None };
        assert_eq!(history.commits[&TopicPartition::new("t", 0)], [at(0, 30), at(700, 8)]);
    }

    #[test]
    fn generations_are_compared_to_tell_who_came_and_what_moved() {
        let group = |generation: i32, members: &[(&str, &[i32])]| GroupMetadataValue {
            protocol_type: "consumer".to_owned(),
            generation,
            members: members
                .iter()
                .map(|(id, partitions)| MemberMetadata {
                    member_id: (*id).to_owned(),
                    assignment: ConsumerProtocolAssignment {
                        assigned_partitions: vec![ConsumerProtocolAssignmentTopicPartition {
                            topic: "t".to_owned(),
                            partitions: partitions.to_vec(),
                        }],
                        ..ConsumerProtocolAssignment::default()
                    }
                    .to_bytes(1)
                    .unwrap(),
                    ..MemberMetadata::default()
                })
                .collect(),
            ..GroupMetadataValue::default()
        };
        let key = GroupMetadataKey { group: "g".to_owned() }.to_bytes().unwrap();
        let mut history = History::of("g");
        let mut take_in = |at: i64, value: GroupMetadataValue| {
            history.take_in(at, Some(&key), Some(&value.to_bytes(3).unwrap()))
        };
        assert_eq!(take_in(1, group(1, &[("a", &[0, 1])])), None);
        assert_eq!(take_in(2, group(1, &[("a", &[0, 1])])), None);
        let Some(GroupEvent::Rebalance(event)) = take_in(3, group(2, &[("a", &[0]), ("b", &[1])]))
        else {
            panic!("a new generation is a rebalance");
        };
        assert_eq!(
            (event.generation, event.ended_ms, &*event.causes[0].text),
            (2, 3, "member b is new")
        );
        let moved: Vec<_> =
            event.moved.iter().map(|m| (m.partition, m.from.as_deref(), m.to.as_deref())).collect();
        assert_eq!(moved, [(1, Some("a"), Some("b"))]);
    }
}
