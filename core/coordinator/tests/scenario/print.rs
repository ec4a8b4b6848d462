//! The outputs of a scenario: everything a client or the log would see, with defaults left out.

use std::fmt::Write as _;

use bytes::Bytes;
use kohort_coordinator::{
    CauseKind, ClassicMemberMetadata, CommittedOffset, Delay, GroupEffect, GroupRecord,
    GroupResponse, Move, RebalanceCause, Revocation, Slowest, Timestamp,
};
use kohort_protocol::messages::consumer_protocol::{
    ConsumerProtocolAssignment, ConsumerProtocolSubscription,
};
use kohort_protocol::messages::{
    DeleteGroupsResponse, DescribeGroupsResponse, HeartbeatResponse, JoinGroupResponse,
    LeaveGroupResponse, ListGroupsResponse, OffsetCommitResponse, OffsetDeleteResponse,
    OffsetFetchResponse, SyncGroupResponse,
};
use kohort_protocol::{ErrorCode, Message, Reader, Uuid, Writer};

use super::{Names, consumer_output};

/// One line of output under construction.
pub(super) struct Line(pub(super) String);

impl Line {
    pub(super) fn new(start: impl Into<String>) -> Self {
        Self(start.into())
    }

    pub(super) fn word(mut self, word: impl std::fmt::Display) -> Self {
        let _ = write!(self.0, " {word}");
        self
    }

    /// Adds a field unless it has its default.
    pub(super) fn field<T: PartialEq + std::fmt::Display>(
        self,
        name: &str,
        value: T,
        default: T,
    ) -> Self {
        if value == default { self } else { self.word(format!("{name}={value}")) }
    }

    pub(super) fn text(self, name: &str, value: &str) -> Self {
        self.field(name, value, "")
    }

    pub(super) fn option(self, name: &str, value: Option<&str>) -> Self {
        match value {
            Some(value) => self.word(format!("{name}={value}")),
            None => self,
        }
    }

    pub(super) fn error(self, error: ErrorCode) -> Self {
        self.field("error", error.name(), "NONE")
    }

    pub(super) fn flag(self, name: &str, value: bool) -> Self {
        if value { self.word(name) } else { self }
    }
}

pub(super) fn record(names: &mut Names, record: &GroupRecord) -> Vec<String> {
    match record {
        GroupRecord::OffsetCommit { group, topic, offsets } => {
            let line = |(partition, value): &(i32, CommittedOffset)| {
                let line = format!("append OffsetCommit {group} {topic}/{partition}");
                offset(Line::new(line), value)
            };
            offsets.iter().map(line).collect()
        }
        GroupRecord::OffsetCommitTombstone { group, topic, partition } => {
            vec![format!("append OffsetCommitTombstone {group} {topic}/{partition}")]
        }
        GroupRecord::GroupMetadata { group, value } => {
            let leader = value.leader.as_ref().map(|leader| names.short(leader));
            let line = Line::new(format!("append GroupMetadata {group}"))
                .field("gen", value.generation, -1)
                .option("type", value.protocol_type.as_deref())
                .option("protocol", value.protocol.as_deref())
                .option("leader", leader.as_deref())
                .option("since", value.state_timestamp.map(duration).as_deref());
            let members = value.members.iter().map(|member| stored_member(names, member));
            std::iter::once(line.0).chain(members).collect()
        }
        GroupRecord::GroupMetadataTombstone { group } => {
            vec![format!("append GroupMetadataTombstone {group}")]
        }
        GroupRecord::Consumer { group, record } => {
            vec![consumer_output::record(names, group, record)]
        }
        GroupRecord::Unknown { kind } => vec![format!("append Unknown {kind}")],
    }
}

fn offset(line: Line, value: &CommittedOffset) -> String {
    line.word(format!("offset={}", value.offset))
        .field("epoch", value.leader_epoch, -1)
        .option("metadata", value.metadata.as_deref())
        .word(format!("at={}", duration(value.commit_timestamp)))
        .option("expires", value.expire_timestamp.map(duration).as_deref())
        .text("topic", &topic(value.topic_id))
        .0
}

fn stored_member(names: &mut Names, member: &ClassicMemberMetadata) -> String {
    Line::new(format!("  member {}", names.short(&member.member_id)))
        .option("instance", member.instance_id.as_deref())
        .word(format!("client={} host={}", member.client_id, member.client_host))
        .word(format!("session={}", duration(member.session_timeout_ms.into())))
        .word(format!("rebalance={}", duration(member.rebalance_timeout_ms.into())))
        .text("subscription", &subscription(&member.subscription))
        .text("assignment", &text(&member.assignment))
        .0
}

pub(super) fn effect(names: &mut Names, effect: &GroupEffect) -> Vec<String> {
    let rebalance = match effect {
        GroupEffect::Rebalance(rebalance) => rebalance,
        GroupEffect::SeekSigns { group, member, client_id, client_host, since } => {
            let line = Line::new(format!("seek {group} {}", names.short(member)))
                .word(format!("client={client_id} host={client_host}"))
                .word(format!("since={}", duration(*since)));
            return vec![line.0];
        }
        GroupEffect::Given(given) => {
            let head = Line::new(format!("given {}", given.group));
            let head = head.word(format!("at={}", duration(given.at))).0;
            let moves = given.moves.iter().map(|one| moved(names, one));
            return std::iter::once(head).chain(moves).collect();
        }
        _ => return vec![format!("{effect:?}")],
    };
    let causes: Vec<_> = rebalance.causes.iter().map(|cause| self::cause(names, cause)).collect();
    let mut list = |members: &[std::sync::Arc<str>]| {
        let members: Vec<_> = members.iter().map(|member| names.short(member)).collect();
        if members.is_empty() { "none".to_owned() } else { members.join(",") }
    };
    let (before, after) = (list(&rebalance.members_before), list(&rebalance.members_after));
    let leader = rebalance.leader.as_ref().map(|leader| names.short(leader));
    let last = rebalance
        .last_to_join
        .as_ref()
        .map(|(member, at)| format!("{}@{}", names.short(member), duration(*at)));
    let slowest = rebalance.slowest();
    let is_last = |delay| matches!(delay, Delay::Joining | Delay::Learning);
    let slowest = slowest.filter(|slowest| !is_last(slowest.delay)).map(|slowest| {
        let Slowest { member, delay, since, until } = slowest;
        format!("{},{},{}", names.short(&member), delay.name(), duration(until - since))
    });
    // Who each of them is may be known from the group no longer.
    let mut named: std::collections::BTreeSet<_> = rebalance.members_before.iter().collect();
    named.extend(&rebalance.members_after);
    named.extend(rebalance.causes.iter().filter_map(|cause| cause.kind.member()));
    named.retain(|id| !rebalance.members.contains_key(*id));
    let strangers: Vec<_> = named.into_iter().map(|id| names.short(id)).collect();
    let line = Line::new(format!("rebalance {} gen={}", rebalance.group, rebalance.generation))
        .word(format!("started={}", duration(rebalance.started)))
        .word(format!("joined={}", duration(rebalance.joined)))
        .word(format!("ended={}", duration(rebalance.ended)))
        .option("last", last.as_deref())
        .option("slowest", slowest.as_deref())
        .word(format!("members={before}->{after}"))
        .option("leader", leader.as_deref())
        .field("omitted", rebalance.omitted_causes, 0)
        .field("continues", rebalance.continues, false)
        .field("unfinished", rebalance.unfinished, false)
        .field("take-over", rebalance.is_take_over, false)
        .text("strangers", &strangers.join(","));
    let revoked = rebalance.revocations.iter().map(|one| revoked(names, one));
    let revoked: Vec<_> = revoked.collect();
    let moves: Vec<_> = rebalance.moves.iter().map(|one| moved(names, one)).collect();
    std::iter::once(line.0).chain(causes).chain(revoked).chain(moves).collect()
}

fn revoked(names: &mut Names, revocation: &Revocation) -> String {
    let partitions = revocation.partitions.iter();
    let partitions: Vec<_> = partitions.map(|(topic, index)| format!("{topic}/{index}")).collect();
    Line::new(format!("  revoked {}", names.short(&revocation.member)))
        .word(partitions.join(","))
        .word(format!("asked={}", duration(revocation.asked)))
        .option("done", revocation.done.map(duration).as_deref())
        .0
}

fn moved(names: &mut Names, moved: &Move) -> String {
    let name = |names: &mut Names, id: Option<&std::sync::Arc<str>>| {
        id.map_or_else(|| "nobody".to_owned(), |id| names.short(id))
    };
    let from = name(names, moved.from.as_ref());
    let to = name(names, moved.to.as_ref().map(|owner| &owner.member));
    Line::new(format!("  moved {}/{} {from}->{to}", moved.topic, moved.partition))
        .option("unserved-since", moved.unserved_since.map(duration).as_deref())
        .0
}

fn cause(names: &mut Names, cause: &RebalanceCause) -> String {
    let (what, member, reason) = match &cause.kind {
        CauseKind::MemberJoined { member, reason } => ("joined", Some(member), reason.as_deref()),
        CauseKind::MemberLeft { member, reason } => ("left", Some(member), reason.as_deref()),
        CauseKind::MemberRemoved { member, reason, .. } => {
            ("removed", Some(member), reason.as_deref())
        }
        CauseKind::MemberExpired { member, .. } => ("expired", Some(member), None),
        CauseKind::MemberDisconnected { member, .. } => ("disconnected", Some(member), None),
        CauseKind::MemberDidNotRejoin { member } => ("did-not-rejoin", Some(member), None),
        CauseKind::MemberDidNotSync { member } => ("did-not-sync", Some(member), None),
        CauseKind::SubscriptionChanged { member, reason } => {
            ("subscription-changed", Some(member), reason.as_deref())
        }
        CauseKind::GaveUpPartitions { member, reason } => {
            ("gave-up-partitions", Some(member), reason.as_deref())
        }
        CauseKind::MetadataChanged { member, reason } => {
            ("metadata-changed", Some(member), reason.as_deref())
        }
        CauseKind::LeaderRejoined { member, reason } => {
            ("leader-rejoined", Some(member), reason.as_deref())
        }
        CauseKind::TopicsChanged { member, .. } => ("topics-changed", Some(member), None),
        CauseKind::StaticMemberReplaced { new, .. } => ("static-member-replaced", Some(new), None),
        CauseKind::MemberDidNotRevoke { member } => ("did-not-revoke", Some(member), None),
        CauseKind::SubscribedTopicsChanged { .. } => ("subscribed-topics-changed", None, None),
        CauseKind::OverCapacity { .. } => ("over-capacity", None, None),
        CauseKind::ProtocolChanged { .. } => ("protocol-changed", None, None),
        _ => ("?", None, None),
    };
    let line = Line::new(format!("  cause {what}"));
    let line = match member {
        Some(member) => line.word(names.short(member)),
        None => line,
    };
    let line = match &cause.kind {
        CauseKind::MemberRemoved { instance: Some(instance), .. } => {
            line.text("instance", instance)
        }
        CauseKind::StaticMemberReplaced { instance, old, .. } => {
            line.text("instance", instance).text("old", &names.short(old))
        }
        CauseKind::TopicsChanged { topics, .. }
        | CauseKind::SubscribedTopicsChanged { topics, .. } => {
            line.text("topics", &topics.join(","))
        }
        CauseKind::ProtocolChanged { to } => line.text("to", to),
        CauseKind::OverCapacity { members } => line.word(format!("members={members}")),
        _ => line,
    };
    line.word(format!("at={}", duration(cause.at))).option("reason", reason).0
}

pub(super) fn response(
    names: &mut Names,
    label: &str,
    version: i16,
    response: &GroupResponse,
) -> Vec<String> {
    let start = |api: &str| Line::new(format!("reply {label} {api}"));
    match response {
        GroupResponse::JoinGroup(r) => join(names, start("JoinGroup"), version, &sent(r, version)),
        GroupResponse::SyncGroup(r) => {
            let SyncGroupResponse {
                throttle_time_ms: _,
                error_code,
                protocol_type,
                protocol_name,
                assignment,
            } = sent(r, version);
            let line = start("SyncGroup")
                .error(error_code)
                .option("type", protocol_type.as_deref())
                .option("protocol", protocol_name.as_deref())
                .text("assignment", &text(&assignment));
            vec![line.0]
        }
        GroupResponse::Heartbeat(r) => {
            let r: HeartbeatResponse = sent(r, version);
            vec![start("Heartbeat").error(r.error_code).0]
        }
        GroupResponse::LeaveGroup(r) => {
            let r: LeaveGroupResponse = sent(r, version);
            let members = r.members.iter().map(|member| {
                let id = names.short(&member.member_id);
                let instance = member.group_instance_id.as_deref();
                let id = if id.is_empty() { "-".to_owned() } else { id };
                Line::new(format!("  member {id}"))
                    .option("instance", instance)
                    .error(member.error_code)
                    .0
            });
            let members: Vec<_> = members.collect();
            std::iter::once(start("LeaveGroup").error(r.error_code).0).chain(members).collect()
        }
        GroupResponse::OffsetCommit(r) => {
            let r: OffsetCommitResponse = sent(r, version);
            let partitions = r.topics.iter().flat_map(|t| {
                let name = named(&t.name, t.topic_id);
                t.partitions.iter().map(move |p| {
                    let line = Line::new(format!("  {name}/{}", p.partition_index));
                    line.error(p.error_code).0
                })
            });
            std::iter::once(start("OffsetCommit").0).chain(partitions).collect()
        }
        GroupResponse::OffsetFetch(r) => fetch(start("OffsetFetch"), &sent(r, version)),
        GroupResponse::OffsetDelete(r) => {
            let r: OffsetDeleteResponse = sent(r, version);
            let partitions = r.topics.iter().flat_map(|t| {
                t.partitions.iter().map(|p| {
                    let line = Line::new(format!("  {}/{}", t.name, p.partition_index));
                    line.error(p.error_code).0
                })
            });
            let line = start("OffsetDelete").error(r.error_code);
            std::iter::once(line.0).chain(partitions).collect()
        }
        GroupResponse::DescribeGroups(r) => {
            describe(names, start("DescribeGroups"), &sent(r, version))
        }
        GroupResponse::ListGroups(r) => {
            let r: ListGroupsResponse = sent(r, version);
            let groups = r.groups.iter().map(|group| {
                Line::new(format!("  group {}", group.group_id))
                    .text("type", &group.protocol_type)
                    .text("state", &group.group_state)
                    .text("kind", &group.group_type)
                    .0
            });
            std::iter::once(start("ListGroups").error(r.error_code).0).chain(groups).collect()
        }
        GroupResponse::DeleteGroups(r) => {
            let r: DeleteGroupsResponse = sent(r, version);
            let results = r.results.iter().map(|result| {
                Line::new(format!("  group {}", result.group_id)).error(result.error_code).0
            });
            std::iter::once(start("DeleteGroups").0).chain(results).collect()
        }
        GroupResponse::ConsumerGroupHeartbeat(r) => {
            consumer_output::heartbeat(start("Beat"), &sent(r, version))
        }
        GroupResponse::ConsumerGroupDescribe(r) => {
            consumer_output::describe(start("DescribeConsumer"), &sent(r, version))
        }
    }
}

fn join(names: &mut Names, line: Line, version: i16, r: &JoinGroupResponse) -> Vec<String> {
    let nothing = if version < 7 { Some("") } else { None };
    let protocol = r.protocol_name.as_deref();
    let line = line
        .error(r.error_code)
        .field("gen", r.generation_id, -1)
        .option("type", r.protocol_type.as_deref())
        .option("protocol", protocol.filter(|_| protocol != nothing))
        .text("leader", &names.short(&r.leader))
        .flag("skip-assignment", r.skip_assignment)
        .text("member", &names.short(&r.member_id));
    let members: Vec<_> = r
        .members
        .iter()
        .map(|member| {
            Line::new(format!("  member {}", names.short(&member.member_id)))
                .option("instance", member.group_instance_id.as_deref())
                .text("metadata", &subscription(&member.metadata))
                .0
        })
        .collect();
    std::iter::once(line.0).chain(members).collect()
}

fn fetch(line: Line, r: &OffsetFetchResponse) -> Vec<String> {
    let mut lines = vec![line.error(r.error_code).0];
    for topic in &r.topics {
        for p in &topic.partitions {
            let line = Line::new(format!("  {}/{}", topic.name, p.partition_index));
            lines.push(
                line.word(format!("offset={}", p.committed_offset))
                    .field("epoch", p.committed_leader_epoch, -1)
                    .text("metadata", p.metadata.as_deref().unwrap_or("null"))
                    .error(p.error_code)
                    .0,
            );
        }
    }
    for group in &r.groups {
        lines.push(Line::new(format!("  group {}", group.group_id)).error(group.error_code).0);
        for topic in &group.topics {
            let name = named(&topic.name, topic.topic_id);
            for p in &topic.partitions {
                let line = Line::new(format!("    {name}/{}", p.partition_index));
                lines.push(
                    line.word(format!("offset={}", p.committed_offset))
                        .field("epoch", p.committed_leader_epoch, -1)
                        .text("metadata", p.metadata.as_deref().unwrap_or("null"))
                        .error(p.error_code)
                        .0,
                );
            }
        }
    }
    lines
}

fn describe(names: &mut Names, line: Line, r: &DescribeGroupsResponse) -> Vec<String> {
    let mut lines = vec![line.0];
    for group in &r.groups {
        let line = Line::new(format!("  group {}", group.group_id))
            .error(group.error_code)
            .option("message", group.error_message.as_deref())
            .text("state", &group.group_state)
            .text("type", &group.protocol_type)
            .text("protocol", &group.protocol_data)
            .field("operations", group.authorized_operations, i32::MIN);
        lines.push(line.0);
        for member in &group.members {
            let line = Line::new(format!("    member {}", names.short(&member.member_id)))
                .option("instance", member.group_instance_id.as_deref())
                .word(format!("client={} host={}", member.client_id, member.client_host))
                .text("metadata", &subscription(&member.member_metadata))
                .text("assignment", &text(&member.member_assignment));
            lines.push(line.0);
        }
    }
    lines
}

/// Returns the response as a client reads it: written and read in its version.
fn sent<T: Message>(response: &T, version: i16) -> T {
    let mut writer = Writer::new();
    response.encode(&mut writer, version).unwrap();
    let frame = writer.into_bytes();
    let mut reader = Reader::new(&frame);
    let response = T::decode(&mut reader, version).unwrap();
    reader.expect_end().unwrap();
    response
}

pub(super) fn duration(timestamp: Timestamp) -> String {
    let units = [(86_400_000, "d"), (3_600_000, "h"), (60_000, "min"), (1_000, "s")];
    for (unit, name) in units {
        if timestamp >= unit && timestamp % unit == 0 {
            return format!("{}{name}", timestamp / unit);
        }
    }
    format!("{timestamp}ms")
}

fn subscription(metadata: &Bytes) -> String {
    match ConsumerProtocolSubscription::from_bytes(metadata) {
        Ok(subscription) => {
            let note = subscription.user_data.as_ref().map(|note| format!("+{}", text(note)));
            format!("<{}{}>", subscription.topics.join(","), note.unwrap_or_default())
        }
        Err(_) => text(metadata),
    }
}

/// An assignment in the consumers' own format is told by its partitions.
fn text(bytes: &Bytes) -> String {
    if bytes.len() > 6
        && bytes[0] == 0
        && let Ok(assignment) = ConsumerProtocolAssignment::from_bytes(bytes)
    {
        let topics = assignment.assigned_partitions.iter().map(|topic| {
            let indexes: Vec<_> = topic.partitions.iter().map(ToString::to_string).collect();
            format!("{}:{}", topic.topic, indexes.join(","))
        });
        return format!("<{}>", topics.collect::<Vec<_>>().join(" "));
    }
    String::from_utf8_lossy(bytes).into_owned()
}

pub(super) fn topic(id: Uuid) -> String {
    String::from_utf8_lossy(&id.0).trim_end_matches('\0').to_owned()
}

fn named(name: &str, id: Uuid) -> String {
    if name.is_empty() { topic(id) } else { name.to_owned() }
}
