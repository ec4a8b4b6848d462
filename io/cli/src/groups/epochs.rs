//! What `__consumer_offsets` tells of a group of the new protocol (KIP-848): its epochs, and by them who came
//! and went and what moved.
//!
//! Members and their target assignments are records of their own. The record of the target's epoch
//! comes after all of them, so that is when the group is compared with what it was.

use std::collections::{BTreeMap, BTreeSet};

use bytes::Bytes;
use kohort_broker::group_events::{
    CauseEvent, MemberEvent, MovedPartition, RebalanceEvent, SCHEMA_VERSION,
};
use kohort_protocol::Uuid;
use kohort_protocol::messages::group_records::GroupRecordKey;
use kohort_protocol::messages::group_records::consumer_group::{
    ConsumerGroupMemberMetadataValue, ConsumerGroupMetadataValue,
    ConsumerGroupTargetAssignmentMemberValue, ConsumerGroupTargetAssignmentMetadataValue,
};

/// A group as its records tell it.
#[derive(Debug, Default)]
pub(super) struct Epochs {
    now: State,
    /// As it was when the last rebalance was told.
    told: Option<State>,
    /// The names of topics, which the records do not have.
    pub(super) names: BTreeMap<Uuid, String>,
}

#[derive(Debug, Clone, Default)]
struct State {
    epoch: i32,
    members: BTreeMap<String, Option<MemberEvent>>,
    targets: BTreeMap<String, BTreeSet<(Uuid, i32)>>,
}

impl Epochs {
    /// Takes in a record of the group. Returns the rebalance that it ends, if it does; the first epoch that
    /// is seen has nothing to be compared with.
    pub(super) fn take_in(
        &mut self,
        group: &str,
        at_ms: i64,
        key: GroupRecordKey,
        value: Option<&Bytes>,
    ) -> Option<RebalanceEvent> {
        match key {
            GroupRecordKey::ConsumerGroupMemberMetadata(key) if key.group_id == group => {
                match value {
                    Some(value) => self.now.members.insert(key.member_id, who(value)),
                    None => self.now.members.remove(&key.member_id),
                };
                None
            }
            GroupRecordKey::ConsumerGroupTargetAssignmentMember(key) if key.group_id == group => {
                let target = value
                    .and_then(|it| ConsumerGroupTargetAssignmentMemberValue::from_bytes(it).ok());
                match target {
                    Some(target) => self.now.targets.insert(key.member_id, places(&target)),
                    None => self.now.targets.remove(&key.member_id),
                };
                None
            }
            // A group that nobody is left in may get no new target.
            GroupRecordKey::ConsumerGroupMetadata(key)
                if key.group_id == group && self.now.members.is_empty() =>
            {
                let value = ConsumerGroupMetadataValue::from_bytes(value?).ok()?;
                self.ended(group, at_ms, value.epoch)
            }
            GroupRecordKey::ConsumerGroupTargetAssignmentMetadata(key) if key.group_id == group => {
                let value = ConsumerGroupTargetAssignmentMetadataValue::from_bytes(value?).ok()?;
                self.ended(group, at_ms, value.assignment_epoch)
            }
            _ => None,
        }
    }

    fn ended(&mut self, group: &str, at_ms: i64, epoch: i32) -> Option<RebalanceEvent> {
        self.now.epoch = epoch;
        let before = self.told.replace(self.now.clone())?;
        (before.epoch != epoch).then(|| self.compare(group, at_ms, &before))
    }

    /// Returns what can be told by the group before and after.
    fn compare(&self, group: &str, at_ms: i64, before: &State) -> RebalanceEvent {
        let after = &self.now;
        let cause = |what: &str, member: &String, text: String| CauseEvent {
            at_ms,
            what: what.to_owned(),
            member: Some(member.clone()),
            text,
        };
        let came = after.members.keys().filter(|id| !before.members.contains_key(*id));
        let came = came.map(|id| cause("joined", id, format!("member {id} is new")));
        let gone = before.members.keys().filter(|id| !after.members.contains_key(*id));
        let gone = gone.map(|id| cause("gone", id, format!("member {id} is gone")));
        let causes = came.chain(gone).collect();
        let (owned, owns) = (owners(before), owners(after));
        let all: BTreeSet<_> = owned.keys().chain(owns.keys()).copied().collect();
        let moved = all.into_iter().filter(|place| owned.get(place) != owns.get(place));
        let moved = moved.map(|place| MovedPartition {
            topic: self.names.get(&place.0).cloned().unwrap_or_else(|| place.0.to_string()),
            partition: place.1,
            from: owned.get(&place).map(|id| (*id).clone()),
            to: owns.get(&place).map(|id| (*id).clone()),
            unserved_since_ms: None,
        });
        let known = before.members.iter().chain(&after.members);
        let known = known.filter_map(|(id, who)| Some((id.clone(), who.clone()?)));
        let members = known.collect();
        RebalanceEvent {
            version: SCHEMA_VERSION,
            group: group.to_owned(),
            protocol: "consumer".to_owned(),
            generation: after.epoch,
            causes,
            started_ms: at_ms,
            joined_ms: at_ms,
            ended_ms: at_ms,
            moved: moved.collect(),
            members_before: before.members.keys().cloned().collect(),
            members_after: after.members.keys().cloned().collect(),
            members,
            ..RebalanceEvent::default()
        }
    }
}

/// Returns what a member said of itself.
fn who(value: &Bytes) -> Option<MemberEvent> {
    let value = ConsumerGroupMemberMetadataValue::from_bytes(value).ok()?;
    Some(MemberEvent {
        client_id: value.client_id,
        client_host: value.client_host,
        instance_id: value.instance_id,
    })
}

fn places(target: &ConsumerGroupTargetAssignmentMemberValue) -> BTreeSet<(Uuid, i32)> {
    let topics = target.topic_partitions.iter();
    topics.flat_map(|of| of.partitions.iter().map(|partition| (of.topic_id, *partition))).collect()
}

fn owners(state: &State) -> BTreeMap<(Uuid, i32), &String> {
    let targets = state.targets.iter();
    targets.flat_map(|(id, places)| places.iter().map(move |place| (*place, id))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use kohort_protocol::messages::group_records::consumer_group::{
        ConsumerGroupMemberMetadataKey, ConsumerGroupMetadataKey,
        ConsumerGroupTargetAssignmentMemberKey, ConsumerGroupTargetAssignmentMetadataKey,
        TopicPartition,
    };

    fn member(epochs: &mut Epochs, id: &str, target: Option<&[i32]>) {
        let key = ConsumerGroupMemberMetadataKey { group_id: "g".into(), member_id: id.into() };
        let key = GroupRecordKey::ConsumerGroupMemberMetadata(key);
        let there = target.map(|_| {
            let value = ConsumerGroupMemberMetadataValue {
                client_id: format!("client-{id}"),
                client_host: "/h".into(),
                ..Default::default()
            };
            value.to_bytes(0).expect("a short value is written")
        });
        assert_eq!(epochs.take_in("g", 1, key, there.as_ref()), None);
        let key =
            ConsumerGroupTargetAssignmentMemberKey { group_id: "g".into(), member_id: id.into() };
        let key = GroupRecordKey::ConsumerGroupTargetAssignmentMember(key);
        let value = target.map(|partitions| {
            let topic_partitions =
                vec![TopicPartition { topic_id: Uuid([7; 16]), partitions: partitions.to_vec() }];
            let value = ConsumerGroupTargetAssignmentMemberValue { topic_partitions };
            value.to_bytes(0).expect("a short value is written")
        });
        assert_eq!(epochs.take_in("g", 1, key, value.as_ref()), None);
    }

    fn assigned(epochs: &mut Epochs, group: &str, epoch: i32) -> Option<RebalanceEvent> {
        let key = ConsumerGroupTargetAssignmentMetadataKey { group_id: group.into() };
        let value = ConsumerGroupTargetAssignmentMetadataValue {
            assignment_epoch: epoch,
            ..ConsumerGroupTargetAssignmentMetadataValue::default()
        };
        let value = value.to_bytes(0).expect("a short value is written");
        let key = GroupRecordKey::ConsumerGroupTargetAssignmentMetadata(key);
        epochs.take_in("g", 2, key, Some(&value))
    }

    #[test]
    fn epochs_are_compared_to_tell_who_came_and_what_moved() {
        let mut epochs = Epochs::default();
        epochs.names.insert(Uuid([7; 16]), "t".to_owned());
        member(&mut epochs, "a", Some(&[0, 1]));
        assert_eq!(assigned(&mut epochs, "g", 1), None);
        assert_eq!(assigned(&mut epochs, "other", 5), None);
        member(&mut epochs, "a", Some(&[0]));
        member(&mut epochs, "b", Some(&[1]));
        let event = assigned(&mut epochs, "g", 2).expect("a new epoch is a rebalance");
        assert_eq!((event.generation, &*event.causes[0].text), (2, "member b is new"));
        let moved: Vec<_> = event.moved.iter().map(|it| (&*it.topic, it.partition)).collect();
        assert_eq!(moved, [("t", 1)]);
        assert_eq!(event.moved[0].to.as_deref(), Some("b"));
        let known: Vec<_> =
            event.members.iter().map(|(id, who)| (&**id, &*who.client_id)).collect();
        assert_eq!(known, [("a", "client-a"), ("b", "client-b")]);
    }

    #[test]
    fn the_last_member_s_going_is_told_once() {
        let mut epochs = Epochs::default();
        member(&mut epochs, "a", Some(&[0]));
        assigned(&mut epochs, "g", 1);
        let epoch = |epochs: &mut Epochs, group: &str| {
            let key = ConsumerGroupMetadataKey { group_id: group.into() };
            let value = ConsumerGroupMetadataValue { epoch: 2, ..Default::default() };
            let value = value.to_bytes(0).expect("a short value is written");
            let key = GroupRecordKey::ConsumerGroupMetadata(key);
            epochs.take_in("g", 2, key, Some(&value))
        };
        assert_eq!(epoch(&mut epochs, "g"), None, "its members' new target is to come");
        member(&mut epochs, "a", None);
        assert_eq!(epoch(&mut epochs, "other"), None);
        let event = epoch(&mut epochs, "g").expect("nobody is left");
        assert_eq!((&*event.causes[0].text, event.members_after.len()), ("member a is gone", 0));
        assert_eq!(assigned(&mut epochs, "g", 2), None);
    }
}
