//! The inputs of a scenario.
//!
//! ```text
//! config group.max.size=2                 set, and load the shard anew
//! group-config g consumer.session.timeout.ms=50s    what is set for one group; the others likewise
//! topics t:2 u:1#2                        the cluster's topics: partitions, and which incarnation
//! join a v5 member=a-1 topics=t           JoinGroup by client `a`; v, session, rebalance, type,
//!                                         protocols, metadata, note, instance, reason, group may follow,
//!                                         and owned=t/0,t/1 for what it claims to have
//! sync a gen=1 member=a-1 assign=a-1:A,b-1:B   type and protocol may follow, null for none
//! heartbeat a gen=1 member=a-1            hold=3s may follow
//! leave a member=a-1 | leave a a-1 @i     by field (v2), or a list of member, member@instance
//! commit a gen=1 member=a-1 t/0=42 t/1=43:text
//! fetch a t/0 t/1 | fetch a all           for group=..; repeat group=.. for more groups
//! delete-offsets a t/0
//! describe a g h | list a states=.. types=.. | delete-groups a g h
//! close 2                                 the peer closes connection 2; via=2 with a request says it
//!                                         came over that one, and not over connection 1
//! signs a b | signs                       new connections of these client ids have shown nothing yet
//! replaced a b | replaced                 others have begun under these client ids
//! beat .. | describe-consumer ..          see `consumer_input.rs`
//! advance 10s                             let time pass, timers go off when they are due
//! clock 1h                                somebody sets the clock so far ahead of where it began
//! restart                                 lose everything but the log
//! fail-append KAFKA_STORAGE_ERROR         the next append fails
//! log group g .. | log group-tombstone g | log offset-tombstone g t/0 | log unknown 99
//! ```
//!
//! The group is `g` unless said otherwise; of names, `-` is the empty one, `blank` one of spaces and `long` one of
//! 40 000 bytes. A label may end in `'` to tell a retry from the original.

use std::collections::BTreeSet;

use bytes::Bytes;
use kohort_coordinator::{
    ConnectionId, GroupConfig, GroupProperties, GroupRequest, MetadataImage, MigrationPolicy,
    Timestamp, TopicImage,
};
use kohort_protocol::messages::consumer_protocol::ConsumerProtocolSubscription;
use kohort_protocol::messages::group_records::{
    GroupMetadataKey, GroupMetadataValue, MemberMetadata, OffsetCommitKey,
};
use kohort_protocol::messages::join_group::JoinGroupRequestProtocol;
use kohort_protocol::messages::leave_group::MemberIdentity;
use kohort_protocol::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kohort_protocol::messages::offset_delete::{
    OffsetDeleteRequestPartition, OffsetDeleteRequestTopic,
};
use kohort_protocol::messages::offset_fetch::{
    OffsetFetchRequestGroup, OffsetFetchRequestTopic, OffsetFetchRequestTopics,
};
use kohort_protocol::messages::sync_group::SyncGroupRequestAssignment;
use kohort_protocol::messages::{
    DeleteGroupsRequest, DescribeGroupsRequest, HeartbeatRequest, JoinGroupRequest,
    LeaveGroupRequest, ListGroupsRequest, OffsetCommitRequest, OffsetDeleteRequest,
    OffsetFetchRequest, SyncGroupRequest,
};
use kohort_protocol::{ErrorCode, Uuid};

use super::{Names, consumer_input};

/// One line, understood.
pub(super) enum Input {
    Config(Box<dyn Fn(&mut GroupConfig)>),
    Topics(MetadataImage),
    Group(std::sync::Arc<str>, GroupProperties),
    Request { label: String, version: i16, connection: ConnectionId, request: GroupRequest },
    Close(ConnectionId),
    Signs(BTreeSet<String>),
    Replaced(BTreeSet<String>),
    Advance(Timestamp),
    Clock(Timestamp),
    Restart,
    FailAppend(ErrorCode),
    Log(Bytes, Option<Bytes>),
}

pub(super) type Parsed<T> = Result<T, String>;

pub(super) fn input(line: &str, names: &Names) -> Parsed<Input> {
    let (verb, rest) = line.split_once(' ').unwrap_or((line, ""));
    match verb {
        "config" => config(rest),
        "group-config" => group_config(rest),
        "topics" => Ok(Input::Topics(rest.split_whitespace().map(topic).collect::<Parsed<_>>()?)),
        "advance" => Ok(Input::Advance(duration(rest)?)),
        "clock" => Ok(Input::Clock(duration(rest)?)),
        "close" => Ok(Input::Close(ConnectionId(number(rest)?))),
        "signs" => Ok(Input::Signs(rest.split_whitespace().map(str::to_owned).collect())),
        "replaced" => Ok(Input::Replaced(rest.split_whitespace().map(str::to_owned).collect())),
        "restart" => Ok(Input::Restart),
        "fail-append" => Ok(Input::FailAppend(error(rest)?)),
        "log" => log(rest),
        _ => request(verb, Words::new(rest, names)),
    }
}

/// The words of a line: `key=value` options, and the others in their order.
pub(super) struct Words<'a> {
    options: Vec<(&'a str, &'a str)>,
    pub(super) plain: Vec<&'a str>,
    pub(super) names: &'a Names,
}

impl<'a> Words<'a> {
    fn new(line: &'a str, names: &'a Names) -> Self {
        let (mut options, mut plain) = (Vec::new(), Vec::new());
        for word in line.split_whitespace() {
            match word.split_once('=') {
                Some((key, value)) if !key.contains('/') => options.push((key, value)),
                _ => plain.push(word),
            }
        }
        Self { options, plain, names }
    }

    pub(super) fn option(&self, key: &str) -> Option<&'a str> {
        let found = self.options.iter().rev().find(|(name, _)| *name == key);
        found.map(|(_, value)| *value)
    }

    pub(super) fn text(&self, key: &str) -> Option<String> {
        self.option(key).map(|value| value.replace('_', " "))
    }

    pub(super) fn number<T: std::str::FromStr>(&self, key: &str, default: T) -> Parsed<T> {
        self.option(key).map_or(Ok(default), number)
    }

    pub(super) fn millis(&self, key: &str, default: i32) -> Parsed<i32> {
        if self.option(key) == Some("-1") {
            return Ok(-1);
        }
        self.option(key).map_or(Ok(default), |value| duration(value).map(|ms| ms as i32))
    }

    pub(super) fn list(&self, key: &str) -> Vec<String> {
        let items = self.option(key).into_iter().flat_map(|value| value.split(','));
        items.map(str::to_owned).collect()
    }

    pub(super) fn group(&self) -> String {
        named(self.option("group").unwrap_or("g"))
    }

    pub(super) fn member(&self) -> String {
        named(&self.names.long(self.option("member").unwrap_or_default()))
    }

    pub(super) fn instance(&self) -> Option<String> {
        self.option("instance").map(named)
    }

    pub(super) fn rack(&self) -> Option<String> {
        self.option("rack").map(named)
    }
}

/// Returns what a word of a scenario stands for where a name is wanted.
fn named(word: &str) -> String {
    match word {
        "-" => String::new(),
        "blank" => " \t ".to_owned(),
        "long" => "x".repeat(40_000),
        word => word.to_owned(),
    }
}

fn request(verb: &str, mut words: Words<'_>) -> Parsed<Input> {
    if words.plain.is_empty() {
        return Err("who asks?".to_owned());
    }
    let label = words.plain.remove(0).to_owned();
    let version = match words.plain.first().and_then(|word| word.strip_prefix('v')) {
        Some(version) if version.parse::<i16>().is_ok() => {
            words.plain.remove(0);
            Some(number(version)?)
        }
        _ => None,
    };
    let (newest, request) = match verb {
        "join" => (9, join(&words)?),
        "sync" => (5, sync(&words)?),
        "heartbeat" => (4, heartbeat(&words)?),
        "leave" => (5, leave(&words)),
        "commit" => (9, commit(&words, version.unwrap_or(9))?),
        "fetch" => (9, fetch(&words, version.unwrap_or(9))?),
        "delete-offsets" => (0, delete_offsets(&words)?),
        "describe" => (6, describe(&words)),
        "list" => (5, list(&words)),
        "delete-groups" => (2, delete_groups(&words)),
        "beat" => (1, consumer_input::beat(&words)?),
        "describe-consumer" => (1, consumer_input::describe(&words)),
        _ => return Err(format!("unknown input {verb}")),
    };
    let connection = ConnectionId(words.number("via", 1)?);
    Ok(Input::Request { label, version: version.unwrap_or(newest), connection, request })
}

fn join(words: &Words<'_>) -> Parsed<GroupRequest> {
    let metadata = match words.option("metadata") {
        Some(raw) => Bytes::copy_from_slice(raw.as_bytes()),
        None => ConsumerProtocolSubscription {
            topics: words.list("topics"),
            user_data: words.option("note").map(|note| Bytes::copy_from_slice(note.as_bytes())),
            owned_partitions: words
                .option("owned")
                .map_or(Ok(Vec::new()), consumer_input::claimed)?,
            ..ConsumerProtocolSubscription::default()
        }
        .to_bytes(1)
        .map_err(|error| error.to_string())?,
    };
    let protocols = words.option("protocols").unwrap_or("range");
    let protocol =
        |name: &str| JoinGroupRequestProtocol { name: name.to_owned(), metadata: metadata.clone() };
    Ok(JoinGroupRequest {
        group_id: words.group(),
        session_timeout_ms: words.millis("session", 10_000)?,
        rebalance_timeout_ms: words.millis("rebalance", 60_000)?,
        member_id: words.member(),
        group_instance_id: words.instance(),
        protocol_type: words.option("type").unwrap_or("consumer").to_owned(),
        protocols: protocols.split(',').filter(|name| !name.is_empty()).map(protocol).collect(),
        reason: words.text("reason"),
    }
    .into())
}

fn sync(words: &Words<'_>) -> Parsed<GroupRequest> {
    let spoken = |key: &str, default: &str| {
        let word = words.option(key).unwrap_or(default);
        (word != "null").then(|| word.to_owned())
    };
    let assign = |item: String| {
        let (member, assignment) = item.split_once(':').ok_or("an assignment is member:text")?;
        let assignment = match assignment.strip_prefix('@') {
            None => Bytes::copy_from_slice(assignment.as_bytes()),
            Some(partitions) => consumer_input::assignment(partitions)?,
        };
        Ok(SyncGroupRequestAssignment { member_id: words.names.long(member), assignment })
    };
    Ok(SyncGroupRequest {
        group_id: words.group(),
        generation_id: words.number("gen", -1)?,
        member_id: words.member(),
        group_instance_id: words.instance(),
        protocol_type: spoken("type", "consumer"),
        protocol_name: spoken("protocol", "range"),
        assignments: words.list("assign").into_iter().map(assign).collect::<Parsed<_>>()?,
    }
    .into())
}

fn heartbeat(words: &Words<'_>) -> Parsed<GroupRequest> {
    Ok(HeartbeatRequest {
        group_id: words.group(),
        generation_id: words.number("gen", -1)?,
        member_id: words.member(),
        group_instance_id: words.instance(),
        hold_ms: words.millis("hold", 0)?,
    }
    .into())
}

fn leave(words: &Words<'_>) -> GroupRequest {
    let identity = |word: &&str| {
        let (member, instance) = match word.split_once('@') {
            Some((member, instance)) => (member, Some(instance.to_owned())),
            None => (*word, None),
        };
        MemberIdentity {
            member_id: words.names.long(member),
            group_instance_id: instance,
            reason: words.text("reason"),
        }
    };
    LeaveGroupRequest {
        group_id: words.group(),
        member_id: words.member(),
        members: words.plain.iter().map(identity).collect(),
    }
    .into()
}

fn commit(words: &Words<'_>, version: i16) -> Parsed<GroupRequest> {
    let mut request = OffsetCommitRequest {
        group_id: words.group(),
        generation_id_or_member_epoch: words.number("gen", -1)?,
        member_id: words.member(),
        group_instance_id: words.instance(),
        retention_time_ms: words.option("retention").map_or(Ok(-1), duration)?,
        topics: Vec::new(),
    };
    for word in &words.plain {
        let (place, value) = word.split_once('=').ok_or("a commit is topic/partition=offset")?;
        let (topic, partition_index) = partition(place)?;
        let (offset, text) = match value.split_once(':') {
            Some((offset, text)) => (offset, repeated(text)?),
            None => (value, String::new()),
        };
        let (name, topic_id) = name_or_id(topic, version)?;
        request.topics.push(OffsetCommitRequestTopic {
            name,
            topic_id,
            partitions: vec![OffsetCommitRequestPartition {
                partition_index,
                committed_offset: number(offset)?,
                committed_leader_epoch: words.number("epoch", -1)?,
                committed_metadata: Some(text),
            }],
        });
    }
    Ok(request.into())
}

fn fetch(words: &Words<'_>, version: i16) -> Parsed<GroupRequest> {
    let all = words.plain.contains(&"all");
    let places = words.plain.iter().filter(|word| **word != "all");
    let places = places.map(|word| partition(word)).collect::<Parsed<Vec<_>>>()?;
    let mut request = OffsetFetchRequest::default();
    if version < 8 {
        let topic = |(topic, partition): &(&str, i32)| OffsetFetchRequestTopic {
            name: (*topic).to_owned(),
            partition_indexes: vec![*partition],
        };
        request.group_id = words.group();
        request.topics = (!all).then(|| places.iter().map(topic).collect());
        return Ok(request.into());
    }
    let named = words.options.iter().filter(|(name, _)| *name == "group");
    let mut groups: Vec<&str> = named.map(|(_, group)| *group).collect();
    if groups.is_empty() {
        groups.push("g");
    }
    for group in groups {
        let topic = |(topic, partition): &(&str, i32)| {
            let (name, topic_id) = name_or_id(topic, version)?;
            Ok(OffsetFetchRequestTopics { name, topic_id, partition_indexes: vec![*partition] })
        };
        let topics = places.iter().map(topic).collect::<Parsed<_>>()?;
        request.groups.push(OffsetFetchRequestGroup {
            group_id: group.to_owned(),
            member_id: words.option("member").map(|member| words.names.long(member)),
            member_epoch: words.number("epoch", -1)?,
            topics: (!all).then_some(topics),
        });
    }
    Ok(request.into())
}

fn delete_offsets(words: &Words<'_>) -> Parsed<GroupRequest> {
    let topic = |word: &&str| {
        let (topic, partition_index) = partition(word)?;
        Ok(OffsetDeleteRequestTopic {
            name: topic.to_owned(),
            partitions: vec![OffsetDeleteRequestPartition { partition_index }],
        })
    };
    Ok(OffsetDeleteRequest {
        group_id: words.group(),
        topics: words.plain.iter().map(topic).collect::<Parsed<_>>()?,
    }
    .into())
}

fn describe(words: &Words<'_>) -> GroupRequest {
    DescribeGroupsRequest {
        groups: words.plain.iter().map(|group| (*group).to_owned()).collect(),
        include_authorized_operations: words.option("operations").is_some(),
    }
    .into()
}

fn list(words: &Words<'_>) -> GroupRequest {
    ListGroupsRequest { states_filter: words.list("states"), types_filter: words.list("types") }
        .into()
}

fn delete_groups(words: &Words<'_>) -> GroupRequest {
    DeleteGroupsRequest {
        groups_names: words.plain.iter().map(|group| (*group).to_owned()).collect(),
    }
    .into()
}

fn config(text: &str) -> Parsed<Input> {
    let (name, value) = text.split_once('=').ok_or("a setting is name=value")?;
    if name == "group.consumer.migration.policy" {
        let policy = MigrationPolicy::by_name(value).ok_or("no such policy")?;
        return Ok(Input::Config(Box::new(move |c| c.consumer_migration_policy = policy)));
    }
    let value = if value == "-1" { -1 } else { duration(value)? };
    let change: Box<dyn Fn(&mut GroupConfig)> = match name {
        "group.consumer.session.timeout.ms" => {
            Box::new(move |c| c.consumer_session_timeout_ms = value as i32)
        }
        "group.consumer.heartbeat.interval.ms" => {
            Box::new(move |c| c.consumer_heartbeat_interval_ms = Some(value as i32))
        }
        "group.consumer.assignment.interval.ms" => {
            Box::new(move |c| c.consumer_assignment_interval_ms = Some(value as i32))
        }
        "group.consumer.max.size" => Box::new(move |c| c.consumer_max_size = value as usize),
        "group.max.size" => Box::new(move |c| c.group_max_size = value as usize),
        "group.initial.rebalance.delay.ms" => {
            Box::new(move |c| c.group_initial_rebalance_delay_ms = value as i32)
        }
        "group.disconnect.grace.ms" => {
            Box::new(move |c| c.group_disconnect_grace_ms = value as i32)
        }
        "group.disconnect.grace.static" => {
            Box::new(move |c| c.group_disconnect_grace_static = value != 0)
        }
        "group.initial.rebalance.quiet.ms" => {
            Box::new(move |c| c.group_initial_rebalance_quiet_ms = value as i32)
        }
        "offset.metadata.max.bytes" => {
            Box::new(move |c| c.offset_metadata_max_bytes = value as usize)
        }
        "offsets.retention.minutes" => Box::new(move |c| c.offsets_retention_ms = value * 60_000),
        "offsets.retention.check.interval.ms" => {
            Box::new(move |c| c.offsets_retention_check_interval_ms = value)
        }
        _ => return Err(format!("unknown setting {name}")),
    };
    Ok(Input::Config(change))
}

fn group_config(text: &str) -> Parsed<Input> {
    let names = Names::default();
    let words = Words::new(text, &names);
    let group = words.plain.first().ok_or("which group?")?;
    let millis = |name: &str| words.option(name).map(duration).transpose();
    let millis = |name: &str| millis(name).map(|value| value.map(|value| value as i32));
    let own = GroupProperties {
        consumer_session_timeout_ms: millis("consumer.session.timeout.ms")?,
        consumer_heartbeat_interval_ms: millis("consumer.heartbeat.interval.ms")?,
        consumer_assignment_interval_ms: millis("consumer.assignment.interval.ms")?,
    };
    Ok(Input::Group((*group).into(), own))
}

fn topic(word: &str) -> Parsed<TopicImage> {
    let (name, partitions) = word.split_once(':').ok_or("a topic is name:partitions")?;
    let (partitions, incarnation) = partitions.split_once('#').unwrap_or((partitions, "1"));
    Ok(TopicImage {
        name: name.into(),
        id: topic_id(&format!("{name}#{incarnation}"))?,
        partitions: number(partitions)?,
    })
}

/// The id of `t#1` is its text, so that it can be printed again.
pub(super) fn topic_id(text: &str) -> Parsed<Uuid> {
    let mut bytes = [0; 16];
    let target = bytes.get_mut(..text.len()).ok_or("topic name too long")?;
    target.copy_from_slice(text.as_bytes());
    Ok(Uuid(bytes))
}

fn name_or_id(topic: &str, version: i16) -> Parsed<(String, Uuid)> {
    if version >= 10 {
        Ok((String::new(), topic_id(topic)?))
    } else {
        Ok((topic.to_owned(), Uuid::ZERO))
    }
}

fn log(text: &str) -> Parsed<Input> {
    let names = Names::default();
    let words = Words::new(text, &names);
    let word = |index: usize| words.plain.get(index).copied().ok_or("too short");
    let failed = |error: kohort_protocol::EncodeError| error.to_string();
    let group_key =
        |group: &str| GroupMetadataKey { group: group.to_owned() }.to_bytes().map_err(failed);
    if let Some((key, value)) = consumer_input::log(word(0)?, &words)? {
        return Ok(Input::Log(key, value));
    }
    let (key, value) = match word(0)? {
        "group" => {
            let member = |member_id: String| MemberMetadata {
                group_instance_id: words.instance(),
                client_id: "old".to_owned(),
                client_host: "/old".to_owned(),
                session_timeout: 10_000,
                subscription: Bytes::from_static(b"junk"),
                assignment: Bytes::from(format!("for {member_id}")),
                member_id,
                ..MemberMetadata::default()
            };
            let value = GroupMetadataValue {
                protocol_type: "consumer".to_owned(),
                generation: words.number("gen", 1)?,
                protocol: Some("range".to_owned()),
                leader: words.option("leader").map(str::to_owned),
                current_state_timestamp: -1,
                members: words.list("members").into_iter().map(member).collect(),
            };
            let version = words.number("version", 3)?;
            (group_key(word(1)?)?, Some(value.to_bytes(version).map_err(failed)?))
        }
        "group-tombstone" => (group_key(word(1)?)?, None),
        "offset-tombstone" => {
            let (topic, partition) = partition(word(2)?)?;
            let key =
                OffsetCommitKey { group: word(1)?.to_owned(), topic: topic.to_owned(), partition };
            (key.to_bytes().map_err(failed)?, None)
        }
        "unknown" => {
            let kind: i16 = number(word(1)?)?;
            (Bytes::copy_from_slice(&kind.to_be_bytes()), Some(Bytes::from_static(b"x")))
        }
        other => return Err(format!("unknown record {other}")),
    };
    Ok(Input::Log(key, value))
}

pub(super) fn partition(place: &str) -> Parsed<(&str, i32)> {
    let (topic, partition) = place.split_once('/').ok_or("a partition is topic/number")?;
    Ok((topic, number(partition)?))
}

/// `x*5000` is five thousand times x.
fn repeated(text: &str) -> Parsed<String> {
    match text.split_once('*') {
        Some((unit, count)) => Ok(unit.repeat(number(count)?)),
        None => Ok(text.replace('_', " ")),
    }
}

fn duration(text: &str) -> Parsed<Timestamp> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = match &text[digits.len()..] {
        "" | "ms" => 1,
        "s" => 1_000,
        "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        unit => return Err(format!("unknown unit {unit}")),
    };
    Ok(number::<Timestamp>(digits)? * unit)
}

fn error(name: &str) -> Parsed<ErrorCode> {
    let mut codes = (-1..200).map(ErrorCode);
    codes.find(|code| code.name() == name).ok_or_else(|| format!("unknown error {name}"))
}

pub(super) fn number<T: std::str::FromStr>(text: &str) -> Parsed<T> {
    text.parse().map_err(|_| format!("{text} is no number"))
}
