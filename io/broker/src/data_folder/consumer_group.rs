//! The records of groups of the new protocol (KIP-848), in words.

use bytes::Bytes;
use kohort_protocol::messages::group_records::GroupRecordKey;
use kohort_protocol::messages::group_records::consumer_group::{
    ConsumerGroupCurrentMemberAssignmentValue, ConsumerGroupMemberMetadataValue,
    ConsumerGroupMetadataValue, ConsumerGroupPartitionMetadataValue,
    ConsumerGroupRegularExpressionValue, ConsumerGroupTargetAssignmentMemberValue,
    ConsumerGroupTargetAssignmentMetadataValue, TopicPartitions,
};
use kohort_protocol::{DecodeError, Uuid};
use std::fmt::Write as _;

/// Says what a record of such a group means; `None` if it is none.
pub(super) fn describe(key: &GroupRecordKey, value: Option<&Bytes>) -> Option<String> {
    let (subject, said, deleted) = match key {
        GroupRecordKey::ConsumerGroupMetadata(key) => {
            (group(&key.group_id), value.map(metadata), "is deleted")
        }
        GroupRecordKey::ConsumerGroupPartitionMetadata(key) => {
            (group(&key.group_id), value.map(partition_metadata), "keeps no list of its topics")
        }
        GroupRecordKey::ConsumerGroupMemberMetadata(key) => {
            (member(&key.group_id, &key.member_id), value.map(member_metadata), "is gone")
        }
        GroupRecordKey::ConsumerGroupTargetAssignmentMetadata(key) => {
            (group(&key.group_id), value.map(target_metadata), "has no target assignment")
        }
        GroupRecordKey::ConsumerGroupTargetAssignmentMember(key) => {
            (member(&key.group_id, &key.member_id), value.map(target), "has no target")
        }
        GroupRecordKey::ConsumerGroupCurrentMemberAssignment(key) => {
            (member(&key.group_id, &key.member_id), value.map(current), "has no assignment")
        }
        GroupRecordKey::ConsumerGroupRegularExpression(key) => (
            format!("pattern {:?} of {}", key.regular_expression, group(&key.group_id)),
            value.map(regular_expression),
            "is no longer needed",
        ),
        GroupRecordKey::OffsetCommit(_)
        | GroupRecordKey::GroupMetadata(_)
        | GroupRecordKey::Unknown(_) => return None,
    };
    Some(match said {
        None => format!("{subject} {deleted}"),
        Some(Ok(said)) => format!("{subject} {said}"),
        Some(Err(error)) => format!("{subject} with what cannot be read: {error}"),
    })
}

fn group(group: &str) -> String {
    format!("group `{group}`")
}

fn member(group: &str, member: &str) -> String {
    format!("member `{member}` of group `{group}`")
}

fn metadata(value: &Bytes) -> Result<String, DecodeError> {
    let value = ConsumerGroupMetadataValue::from_bytes(value)?;
    let mut text = format!("is at epoch {}", value.epoch);
    if value.metadata_hash != 0 {
        let _ = write!(text, ", topics hash {:#018x}", value.metadata_hash);
    }
    Ok(text)
}

fn partition_metadata(value: &Bytes) -> Result<String, DecodeError> {
    let value = ConsumerGroupPartitionMetadataValue::from_bytes(value)?;
    let mut text = "has the topics".to_owned();
    for topic in &value.topics {
        let _ = write!(text, " {} ({} partitions)", topic.topic_name, topic.num_partitions);
    }
    Ok(text)
}

fn member_metadata(value: &Bytes) -> Result<String, DecodeError> {
    let value = ConsumerGroupMemberMetadataValue::from_bytes(value)?;
    let mut text = format!("is {} on {}", value.client_id, value.client_host);
    for (what, name) in [
        ("instance", &value.instance_id),
        ("rack", &value.rack_id),
        ("assignor", &value.server_assignor),
        ("pattern", &value.subscribed_topic_regex),
    ] {
        if let Some(name) = name {
            let _ = write!(text, ", {what} {name:?}");
        }
    }
    let _ = write!(text, ", topics {:?}", value.subscribed_topic_names);
    let _ = write!(text, ", rebalance timeout {} ms", value.rebalance_timeout_ms);
    if let Some(classic) = &value.classic_member_metadata {
        let _ = write!(text, ", classic with session timeout {} ms", classic.session_timeout_ms);
        for protocol in &classic.supported_protocols {
            let _ = write!(text, " and {}", protocol.name);
        }
    }
    Ok(text)
}

fn target_metadata(value: &Bytes) -> Result<String, DecodeError> {
    let value = ConsumerGroupTargetAssignmentMetadataValue::from_bytes(value)?;
    let mut text = format!("has a target assignment of epoch {}", value.assignment_epoch);
    if value.assignment_timestamp != 0 {
        let _ = write!(text, ", time {}", value.assignment_timestamp);
    }
    Ok(text)
}

fn target(value: &Bytes) -> Result<String, DecodeError> {
    let value = ConsumerGroupTargetAssignmentMemberValue::from_bytes(value)?;
    let mut text = "shall own".to_owned();
    list(&mut text, value.topic_partitions.iter().map(|of| (of.topic_id, &of.partitions[..])));
    Ok(text)
}

fn current(value: &Bytes) -> Result<String, DecodeError> {
    let value = ConsumerGroupCurrentMemberAssignmentValue::from_bytes(value)?;
    let state = match value.state {
        0 => "stable".to_owned(),
        1 => "to revoke".to_owned(),
        2 => "waiting for others to revoke".to_owned(),
        other => format!("in state {other}"),
    };
    let mut text = format!(
        "is at epoch {} after {}, {state}, owns",
        value.member_epoch, value.previous_member_epoch,
    );
    let of = |list: &'_ [TopicPartitions], text: &mut String| {
        self::list(text, list.iter().map(|of| (of.topic_id, &of.partitions[..])));
    };
    of(&value.assigned_partitions, &mut text);
    if !value.partitions_pending_revocation.is_empty() {
        text.push_str(", gives up");
        of(&value.partitions_pending_revocation, &mut text);
    }
    Ok(text)
}

fn regular_expression(value: &Bytes) -> Result<String, DecodeError> {
    let value = ConsumerGroupRegularExpressionValue::from_bytes(value)?;
    Ok(format!(
        "stands for {:?}, metadata version {}, time {}",
        value.topics, value.version, value.timestamp,
    ))
}

/// Lists partitions by topic. The records have the topics' ids only.
fn list<'a>(text: &mut String, topics: impl Iterator<Item = (Uuid, &'a [i32])>) {
    let mut nothing = true;
    for (topic_id, partitions) in topics.filter(|(_, partitions)| !partitions.is_empty()) {
        nothing = false;
        let _ = write!(text, " {topic_id}:{partitions:?}");
    }
    if nothing {
        text.push_str(" nothing");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kohort_protocol::messages::group_records::consumer_group::{
        ConsumerGroupCurrentMemberAssignmentKey, ConsumerGroupMemberMetadataKey,
    };

    #[test]
    fn a_member_s_records_are_told_in_words() {
        let key = GroupRecordKey::ConsumerGroupMemberMetadata(ConsumerGroupMemberMetadataKey {
            group_id: "g".to_owned(),
            member_id: "m".to_owned(),
        });
        let value = ConsumerGroupMemberMetadataValue {
            client_id: "c".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            rack_id: Some("r".to_owned()),
            subscribed_topic_names: vec!["t".to_owned()],
            rebalance_timeout_ms: 5,
            classic_member_metadata: None,
            ..Default::default()
        };
        let value = value.to_bytes(0).expect("a value");
        assert_eq!(
            describe(&key, Some(&value)).expect("a record of ours"),
            "member `m` of group `g` is c on /127.0.0.1, rack \"r\", topics [\"t\"], \
             rebalance timeout 5 ms",
        );
        assert_eq!(
            describe(&key, None).expect("a record of ours"),
            "member `m` of group `g` is gone",
        );
        let torn = describe(&key, Some(&value.slice(..3))).expect("a record of ours");
        assert!(torn.starts_with("member `m` of group `g` with what cannot be read: "), "{torn}");
    }

    #[test]
    fn what_a_member_owns_and_gives_up_is_told_by_topic() {
        let key = ConsumerGroupCurrentMemberAssignmentKey {
            group_id: "g".to_owned(),
            member_id: "m".to_owned(),
        };
        let value = ConsumerGroupCurrentMemberAssignmentValue {
            member_epoch: 4,
            previous_member_epoch: 3,
            state: 1,
            partitions_pending_revocation: vec![TopicPartitions {
                topic_id: Uuid([1; 16]),
                partitions: vec![0, 2],
                ..Default::default()
            }],
            ..Default::default()
        };
        let key = GroupRecordKey::ConsumerGroupCurrentMemberAssignment(key);
        let value = value.to_bytes(0).expect("a value");
        assert_eq!(
            describe(&key, Some(&value)).expect("a record of ours"),
            "member `m` of group `g` is at epoch 4 after 3, to revoke, owns nothing, gives up \
             AQEBAQEBAQEBAQEBAQEBAQ:[0, 2]",
        );
    }
}
