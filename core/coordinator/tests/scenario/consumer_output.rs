//! The outputs about consumer groups.

use kohort_assignor::server::PartitionSet;
use kohort_coordinator::{ConsumerRecord, CurrentAssignment, MemberMetadata, OwnedPartitions};
use kohort_protocol::Uuid;
use kohort_protocol::messages::consumer_group_describe::Assignment;
use kohort_protocol::messages::{ConsumerGroupDescribeResponse, ConsumerGroupHeartbeatResponse};

use super::Names;
use super::print::{Line, duration, topic};

pub(super) fn record(names: &mut Names, group: &str, record: &ConsumerRecord) -> String {
    let line = |what: &str| Line::new(format!("append {what} {group}"));
    match record {
        ConsumerRecord::Epoch(None) => line("EpochTombstone").0,
        ConsumerRecord::Epoch(Some(value)) => line("Epoch").word(value.epoch).0,
        ConsumerRecord::OldTopics(there) => line("OldTopics").word(there).0,
        ConsumerRecord::Member(member, value) => {
            let member = names.short(member);
            match value {
                None => line("MemberTombstone").word(member).0,
                Some(value) => metadata(line("Member").word(member), value),
            }
        }
        ConsumerRecord::TargetEpoch(None) => line("TargetEpochTombstone").0,
        ConsumerRecord::TargetEpoch(Some(value)) => {
            line("TargetEpoch").word(value.epoch).word(format!("at={}", duration(value.made_at))).0
        }
        ConsumerRecord::Target(member, value) => {
            let member = names.short(member);
            match value {
                None => line("TargetTombstone").word(member).0,
                Some(value) => line("Target").word(member).word(set(value)).0,
            }
        }
        ConsumerRecord::Current(member, value) => {
            let member = names.short(member);
            match value {
                None => line("CurrentTombstone").word(member).0,
                Some(value) => current(line("Current").word(member), value),
            }
        }
        ConsumerRecord::Regex(regex, None) => line("RegexTombstone").word(regex).0,
        ConsumerRecord::Regex(regex, Some(value)) => {
            let topics: Vec<_> = value.topics.iter().map(|topic| &**topic).collect();
            line("Regex").word(regex).word(format!("topics={}", topics.join(","))).0
        }
    }
}

fn metadata(line: Line, value: &MemberMetadata) -> String {
    let topics: Vec<_> = value.topics.iter().map(|topic| &**topic).collect();
    let line = line
        .text("topics", &topics.join(","))
        .option("regex", value.regex.as_deref())
        .option("instance", value.instance_id.as_deref())
        .option("rack", value.rack_id.as_deref())
        .option("assignor", value.assignor.as_deref())
        .word(format!("client={} host={}", value.client_id, value.client_host))
        .word(format!("rebalance={}", duration(value.rebalance_timeout_ms.into())));
    match &value.classic {
        None => line.0,
        Some(classic) => {
            let protocols: Vec<_> = classic.protocols.iter().map(|(name, _)| &**name).collect();
            line.word(format!("classic={}", protocols.join(",")))
                .word(format!("session={}", duration(classic.session_timeout_ms.into())))
                .0
        }
    }
}

fn current(line: Line, value: &CurrentAssignment) -> String {
    line.word(format!("epoch={} previous={}", value.epoch, value.previous_epoch))
        .word(format!("{:?}", value.state))
        .text("assigned", &owned(&value.assigned))
        .text("revoking", &owned(&value.revoking))
        .0
}

/// `t#1:0,2` is partitions 0 and 2 of topic `t#1`.
fn set(partitions: &PartitionSet) -> String {
    if partitions.is_empty() {
        return "nothing".to_owned();
    }
    let topics = partitions.by_topic().map(|(id, indexes)| by_topic(id, &indexes));
    topics.collect::<Vec<_>>().join(" ")
}

/// `t#1:0@3` is partition 0 of topic `t#1`, given in epoch 3.
fn owned(partitions: &OwnedPartitions) -> String {
    let of_topic = |(id, indexes, epochs): (Uuid, Vec<i32>, Vec<i32>)| {
        let each = indexes.iter().zip(&epochs).map(|(index, epoch)| format!("{index}@{epoch}"));
        format!("{}:{}", topic(id), each.collect::<Vec<_>>().join(","))
    };
    partitions.by_topic().map(of_topic).collect::<Vec<_>>().join(" ")
}

fn by_topic(id: Uuid, indexes: &[i32]) -> String {
    let indexes: Vec<_> = indexes.iter().map(ToString::to_string).collect();
    format!("{}:{}", topic(id), indexes.join(","))
}

pub(super) fn heartbeat(line: Line, r: &ConsumerGroupHeartbeatResponse) -> Vec<String> {
    let line = line
        .error(r.error_code)
        .option("member", r.member_id.as_deref())
        .field("epoch", r.member_epoch, 0)
        .field("interval", duration(r.heartbeat_interval_ms.into()), "0ms".to_owned());
    let line = match &r.assignment {
        None => line,
        Some(assignment) if assignment.topic_partitions.is_empty() => line.word("owns=nothing"),
        Some(assignment) => {
            let topics = assignment.topic_partitions.iter();
            let topics: Vec<_> =
                topics.map(|topic| by_topic(topic.topic_id, &topic.partitions)).collect();
            line.word(format!("owns={}", topics.join(",")))
        }
    };
    vec![if r.holds { line.word("holds") } else { line }.0]
}

pub(super) fn describe(line: Line, r: &ConsumerGroupDescribeResponse) -> Vec<String> {
    let mut lines = vec![line.0];
    for group in &r.groups {
        let line = Line::new(format!("  group {}", group.group_id))
            .error(group.error_code)
            .text("state", &group.group_state)
            .field("epoch", group.group_epoch, 0)
            .field("target-epoch", group.assignment_epoch, 0)
            .text("assignor", &group.assignor_name)
            .field("operations", group.authorized_operations, i32::MIN);
        lines.push(line.0);
        for member in &group.members {
            let kind = match member.member_type {
                0 => "classic",
                1 => "",
                _ => "unknown",
            };
            let line = Line::new(format!("    member {}", member.member_id))
                .text("kind", kind)
                .option("instance", member.instance_id.as_deref())
                .option("rack", member.rack_id.as_deref())
                .word(format!("epoch={}", member.member_epoch))
                .word(format!("client={} host={}", member.client_id, member.client_host))
                .text("topics", &member.subscribed_topic_names.join(","))
                .text("regex", member.subscribed_topic_regex.as_deref().unwrap_or("null"))
                .text("owns", &assignment(&member.assignment))
                .text("target", &assignment(&member.target_assignment));
            lines.push(line.0);
        }
    }
    lines
}

fn assignment(assignment: &Assignment) -> String {
    let topic = |topic: &kohort_protocol::messages::consumer_group_describe::TopicPartitions| {
        let indexes: Vec<_> = topic.partitions.iter().map(ToString::to_string).collect();
        format!("{}:{}", topic.topic_name, indexes.join(","))
    };
    assignment.topic_partitions.iter().map(topic).collect::<Vec<_>>().join(",")
}
