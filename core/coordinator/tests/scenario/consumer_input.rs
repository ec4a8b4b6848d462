//! The inputs about consumer groups.
//!
//! ```text
//! beat a epoch=0 member=a topics=t        ConsumerGroupHeartbeat by client `a`; v, regex, owned,
//!                                         rebalance, instance, rack, assignor, group may follow. One that
//!                                         joins owns nothing and takes a minute, unless it says otherwise
//! beat a epoch=2 member=a owned=t/0,u/1   `owned=-` says that it owns nothing
//! describe-consumer a g h
//! log consumer-epoch g epoch=3 | log consumer-member g m topics=t | log consumer-target-epoch g epoch=3
//! log consumer-target g m owned=t/0 | log consumer-current g m epoch=3 owned=t/0 | log consumer-topics g
//! log consumer-epoch-tombstone g ..       the same for the other kinds
//! ```

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kohort_coordinator::{
    ConsumerRecord, CurrentAssignment, GroupEpoch, GroupRecord, GroupRequest, MemberMetadata,
    TargetEpoch,
};
use kohort_protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequestTopicPartitions;
use kohort_protocol::messages::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolAssignmentTopicPartition,
    ConsumerProtocolSubscriptionTopicPartition,
};
use kohort_protocol::messages::{ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest};

use super::parse::{Parsed, Words, number, partition, topic_id};

pub(super) fn beat(words: &Words<'_>) -> Parsed<GroupRequest> {
    let member_epoch = words.number("epoch", 0)?;
    let joins = member_epoch == 0;
    let topics = match words.option("topics") {
        Some("-") => Some(Vec::new()),
        Some(_) => Some(words.list("topics")),
        None => None,
    };
    let owned = match words.option("owned") {
        Some("-") => Some(Vec::new()),
        Some(_) => Some(owned(words)?),
        None => joins.then(Vec::new),
    };
    Ok(ConsumerGroupHeartbeatRequest {
        hold_ms: words.millis("hold", 0)?,
        group_id: words.group(),
        member_id: words.member(),
        member_epoch,
        instance_id: words.instance(),
        rack_id: words.rack(),
        rebalance_timeout_ms: words.millis("rebalance", if joins { 60_000 } else { -1 })?,
        subscribed_topic_names: topics,
        subscribed_topic_regex: words.option("regex").map(|regex| match regex {
            "-" => String::new(),
            regex => regex.to_owned(),
        }),
        server_assignor: words.option("assignor").map(str::to_owned),
        topic_partitions: owned,
    }
    .into())
}

pub(super) fn describe(words: &Words<'_>) -> GroupRequest {
    ConsumerGroupDescribeRequest {
        group_ids: words.plain.iter().map(|group| (*group).to_owned()).collect(),
        include_authorized_operations: words.option("operations").is_some(),
    }
    .into()
}

fn owned(words: &Words<'_>) -> Parsed<Vec<ConsumerGroupHeartbeatRequestTopicPartitions>> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for place in words.option("owned").into_iter().flat_map(|list| list.split(',')) {
        let (topic, index) = partition(place)?;
        topics.entry(topic).or_default().push(index);
    }
    let topic = |(topic, partitions): (&str, Vec<i32>)| {
        let topic_id = topic_id(&named(topic))?;
        Ok(ConsumerGroupHeartbeatRequestTopicPartitions { topic_id, partitions })
    };
    topics.into_iter().map(topic).collect()
}

fn there<T>(gone: bool, value: T) -> Option<T> {
    (!gone).then_some(value)
}

/// The id of topic `t` is `t#1` unless another incarnation is meant.
fn named(topic: &str) -> String {
    if topic.contains('#') { topic.to_owned() } else { format!("{topic}#1") }
}

/// Reads what a classic member claims to have: `t/0,t/1`.
pub(super) fn claimed(places: &str) -> Parsed<Vec<ConsumerProtocolSubscriptionTopicPartition>> {
    let claim = |place| {
        let (topic, index) = partition(place)?;
        Ok(ConsumerProtocolSubscriptionTopicPartition {
            topic: topic.to_owned(),
            partitions: vec![index],
        })
    };
    places.split(',').map(claim).collect()
}

/// Writes an assignment as consumers do: `t/0+t/1`.
pub(super) fn assignment(partitions: &str) -> Parsed<Bytes> {
    let mut topics: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for place in partitions.split('+') {
        let (topic, index) = partition(place)?;
        topics.entry(topic).or_default().push(index);
    }
    let topic = |(topic, partitions): (&str, Vec<i32>)| ConsumerProtocolAssignmentTopicPartition {
        topic: topic.to_owned(),
        partitions,
    };
    let assigned_partitions = topics.into_iter().map(topic).collect();
    let assignment = ConsumerProtocolAssignment { assigned_partitions, user_data: None };
    assignment.to_bytes(1).map_err(|error| error.to_string())
}

/// Reads a record of a consumer group; `None` if it is of another kind.
pub(super) fn log(kind: &str, words: &Words<'_>) -> Parsed<Option<(Bytes, Option<Bytes>)>> {
    let Some(kind) = kind.strip_prefix("consumer-") else {
        return Ok(None);
    };
    let (kind, gone) = kind.strip_suffix("-tombstone").map_or((kind, false), |kind| (kind, true));
    let word = |at: usize| words.plain.get(at).copied().ok_or("too short");
    let member = || -> Parsed<Arc<str>> { Ok(words.names.long(word(2)?).into()) };
    let epoch = words.number("epoch", 0)?;
    let partitions = || -> Parsed<Vec<kohort_assignor::server::PartitionId>> {
        let topics = owned(words)?;
        let partition = |of: &ConsumerGroupHeartbeatRequestTopicPartitions| {
            let topic = of.topic_id;
            let id = move |index| kohort_assignor::server::PartitionId { topic, index };
            of.partitions.clone().into_iter().map(id)
        };
        Ok(topics.iter().flat_map(partition).collect())
    };
    let record = match kind {
        "epoch" => ConsumerRecord::Epoch(there(gone, GroupEpoch { epoch, metadata_hash: 0 })),
        "topics" => ConsumerRecord::OldTopics(!gone),
        "target-epoch" => {
            ConsumerRecord::TargetEpoch(there(gone, TargetEpoch { epoch, made_at: 0 }))
        }
        "member" => {
            let metadata = MemberMetadata {
                topics: words.list("topics").into_iter().map(Arc::from).collect(),
                instance_id: words.instance().map(Arc::from),
                client_id: "old".into(),
                client_host: "/old".into(),
                rebalance_timeout_ms: 60_000,
                ..MemberMetadata::default()
            };
            ConsumerRecord::Member(member()?, there(gone, Arc::new(metadata)))
        }
        "target" => ConsumerRecord::Target(
            member()?,
            there(gone, Arc::new(partitions()?.into_iter().collect())),
        ),
        "current" => {
            let assigned = partitions()?.into_iter().map(|partition| (partition, epoch)).collect();
            let current = CurrentAssignment {
                epoch,
                previous_epoch: number(words.option("previous").unwrap_or("0"))?,
                assigned,
                ..CurrentAssignment::default()
            };
            ConsumerRecord::Current(member()?, there(gone, Arc::new(current)))
        }
        other => return Err(format!("unknown record consumer-{other}")),
    };
    let record = GroupRecord::Consumer { group: word(1)?.into(), record };
    let encoded = record.encoded().map_err(|error| error.to_string())?;
    Ok(encoded.into_iter().next())
}
