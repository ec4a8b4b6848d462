//! One of the two brokers: requests with its own topic ids, and its answers made comparable.

use std::collections::{BTreeMap, BTreeSet};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use kohort_protocol::messages::consumer_group_describe::{Assignment, DescribedGroup, Member};
use kohort_protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequestTopicPartitions;
use kohort_protocol::messages::create_partitions::CreatePartitionsTopic;
use kohort_protocol::messages::create_topics::CreatableTopic;
use kohort_protocol::messages::delete_topics::DeleteTopicState;
use kohort_protocol::messages::metadata::MetadataRequestTopic;
use kohort_protocol::messages::offset_commit::{
    OffsetCommitRequestPartition, OffsetCommitRequestTopic,
};
use kohort_protocol::messages::offset_fetch::{OffsetFetchRequestGroup, OffsetFetchRequestTopics};
use kohort_protocol::messages::{
    ConsumerGroupDescribeRequest, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    CreatePartitionsRequest, CreateTopicsRequest, DeleteGroupsRequest, DeleteTopicsRequest,
    DescribeGroupsRequest, FindCoordinatorRequest, ListGroupsRequest, MetadataRequest,
    OffsetCommitRequest, OffsetFetchRequest,
};
use kohort_protocol::{ErrorCode, Uuid};
use serde_json::{Value, json};

use crate::bench::link::Link;
use crate::broker::Broker;

use super::member::{Beat, Partition};

/// A broker with a connection to it.
pub(super) struct Side {
    pub(super) link: Link,
    /// The ids that this side has made for classic members, by their letters.
    pub(super) classic_ids: BTreeMap<char, String>,
    /// What is put before the names of groups, when both sides are the same broker.
    prefix: &'static str,
    names: BTreeMap<Uuid, String>,
    ids: BTreeMap<String, Uuid>,
}

/// What a member learns from an answer to its heartbeat.
#[derive(Debug, Clone)]
pub(super) struct Learnt {
    pub(super) error: ErrorCode,
    pub(super) epoch: i32,
    pub(super) assignment: Option<BTreeSet<Partition>>,
}

impl Side {
    pub(super) fn new(broker: &Broker, prefix: &'static str) -> Result<Self> {
        Ok(Self {
            link: Link::connect(&broker.address())?,
            classic_ids: BTreeMap::new(),
            prefix,
            names: BTreeMap::new(),
            ids: BTreeMap::new(),
        })
    }

    /// Creates the topics and waits until there are leaders and a coordinator.
    pub(super) fn prepare(&mut self, topics: &[(&str, i32)]) -> Result<()> {
        self.make_topics(topics)?;
        self.await_coordinator()
    }

    fn make_topics(&mut self, topics: &[(&str, i32)]) -> Result<()> {
        let topic = |(name, partitions): &(&str, i32)| CreatableTopic {
            name: (*name).to_owned(),
            num_partitions: *partitions,
            replication_factor: 1,
            ..CreatableTopic::default()
        };
        let create = CreateTopicsRequest {
            topics: topics.iter().map(topic).collect(),
            timeout_ms: 30_000,
            ..CreateTopicsRequest::default()
        };
        for created in self.link.call(&create, 7)?.topics {
            let error = created.error_code;
            let there = error == ErrorCode::TOPIC_ALREADY_EXISTS;
            ensure!(error.is_ok() || there, "{} was not created: {error}", created.name);
        }
        let wanted: Vec<String> = topics.iter().map(|(name, _)| (*name).to_owned()).collect();
        self.until_ok(|side| {
            let topics = wanted.iter().map(|name| MetadataRequestTopic {
                name: Some(name.clone()),
                ..MetadataRequestTopic::default()
            });
            let request =
                MetadataRequest { topics: Some(topics.collect()), ..MetadataRequest::default() };
            let answer = side.link.call(&request, 12)?;
            for topic in &answer.topics {
                let name = topic.name.clone().unwrap_or_default();
                side.names.insert(topic.topic_id, name.clone());
                side.ids.insert(name, topic.topic_id);
            }
            let of_topics = answer.topics.iter().map(|topic| topic.error_code);
            let partitions = answer.topics.iter().flat_map(|topic| &topic.partitions);
            let mut errors = of_topics.chain(partitions.map(|partition| partition.error_code));
            Ok(errors.find(|error| !error.is_ok()).unwrap_or(ErrorCode::NONE))
        })
    }

    fn await_coordinator(&mut self) -> Result<()> {
        self.until_ok(|side| {
            let request = FindCoordinatorRequest {
                coordinator_keys: vec!["g".to_owned()],
                ..FindCoordinatorRequest::default()
            };
            let answer = side.link.call(&request, 4)?;
            Ok(answer.coordinators.first().context("a coordinator was asked for")?.error_code)
        })?;
        // Each partition of the committed offsets is loaded by itself.
        for number in 0..64 {
            self.until_ok(|side| {
                let request = DescribeGroupsRequest {
                    groups: vec![format!("load-{number}")],
                    ..DescribeGroupsRequest::default()
                };
                let answer = side.link.call(&request, 5)?;
                Ok(answer.groups.first().context("a group was asked for")?.error_code)
            })?;
        }
        Ok(())
    }

    fn until_ok(&mut self, mut ask: impl FnMut(&mut Self) -> Result<ErrorCode>) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let code = ask(self)?;
            if code.is_ok() {
                return Ok(());
            }
            if Instant::now() > deadline {
                bail!("still {code} after {PATIENCE:?}");
            }
            thread::sleep(PAUSE);
        }
    }

    /// Sends a heartbeat.
    pub(super) fn beat(&mut self, beat: &Beat, version: i16) -> Result<(Value, Learnt)> {
        let owned = beat.owned.as_ref().map(|owned| {
            let mut by_topic: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
            for (topic, partition) in owned {
                by_topic.entry(topic).or_default().push(*partition);
            }
            let of = |(topic, partitions)| ConsumerGroupHeartbeatRequestTopicPartitions {
                topic_id: self.id(topic),
                partitions,
            };
            by_topic.into_iter().map(of).collect()
        });
        let request = ConsumerGroupHeartbeatRequest {
            group_id: self.group(&beat.group),
            member_id: beat.member.clone(),
            member_epoch: beat.epoch,
            instance_id: beat.instance.clone(),
            rack_id: beat.rack.clone(),
            rebalance_timeout_ms: beat.timeout,
            subscribed_topic_names: beat.topics.clone(),
            subscribed_topic_regex: beat.regex.clone(),
            server_assignor: beat.assignor.clone(),
            topic_partitions: owned,
            ..ConsumerGroupHeartbeatRequest::default()
        };
        let answer = self.link.call(&request, version)?;
        Ok(self.heartbeat(answer))
    }

    fn heartbeat(&self, answer: ConsumerGroupHeartbeatResponse) -> (Value, Learnt) {
        let assignment = answer.assignment.map(|assignment| {
            let topics = assignment.topic_partitions.into_iter();
            topics
                .flat_map(|of| {
                    let name = self.name(of.topic_id);
                    of.partitions.into_iter().map(move |partition| (name.clone(), partition))
                })
                .collect::<BTreeSet<_>>()
        });
        let comparable = json!({
            "throttle": answer.throttle_time_ms,
            "error": answer.error_code.to_string(),
            "message": answer.error_message.is_some(),
            "member": answer.member_id,
            "epoch": answer.member_epoch,
            "interval": answer.heartbeat_interval_ms,
            "assignment": assignment,
        });
        let learnt = Learnt { error: answer.error_code, epoch: answer.member_epoch, assignment };
        (comparable, learnt)
    }

    /// Commits one offset as a member.
    pub(super) fn commit(
        &mut self,
        group: &str,
        member: (&str, i32),
        place: &Partition,
        offset: i64,
        version: i16,
    ) -> Result<Value> {
        let topic = self.commit_topic(place.clone(), offset, version);
        let request = OffsetCommitRequest {
            group_id: self.group(group),
            generation_id_or_member_epoch: member.1,
            member_id: member.0.to_owned(),
            topics: vec![topic],
            ..OffsetCommitRequest::default()
        };
        let answer = self.link.call(&request, version)?;
        let topics = answer.topics.iter().map(|topic| {
            let name = if version < 10 { topic.name.clone() } else { self.name(topic.topic_id) };
            let partitions = topic.partitions.iter().map(|partition| {
                json!([partition.partition_index, partition.error_code.to_string()])
            });
            json!([name, partitions.collect::<Vec<_>>()])
        });
        Ok(json!({ "topics": topics.collect::<Vec<_>>() }))
    }

    /// Returns the part of a commit that is about one partition.
    pub(super) fn commit_topic(
        &self,
        (topic, partition): Partition,
        offset: i64,
        version: i16,
    ) -> OffsetCommitRequestTopic {
        let partitions = vec![OffsetCommitRequestPartition {
            partition_index: partition,
            committed_offset: offset,
            ..OffsetCommitRequestPartition::default()
        }];
        let topic_id = if version < 10 { Uuid::ZERO } else { self.id(&topic) };
        let name = if version < 10 { topic } else { String::new() };
        OffsetCommitRequestTopic { name, topic_id, partitions }
    }

    /// Reads the committed offsets of a topic.
    pub(super) fn fetch(
        &mut self,
        group: &str,
        member: Option<(&str, i32)>,
        topic: &str,
        version: i16,
    ) -> Result<Value> {
        let mut topics =
            OffsetFetchRequestTopics { partition_indexes: vec![0, 1, 2], ..Default::default() };
        if version < 10 {
            topic.clone_into(&mut topics.name);
        } else {
            topics.topic_id = self.id(topic);
        }
        let request = OffsetFetchRequest {
            groups: vec![OffsetFetchRequestGroup {
                group_id: self.group(group),
                member_id: member.map(|(id, _)| id.to_owned()),
                member_epoch: member.map_or(-1, |(_, epoch)| epoch),
                topics: Some(vec![topics]),
            }],
            ..OffsetFetchRequest::default()
        };
        let answer = self.link.call(&request, version)?;
        let group = answer.groups.first().context("a group was asked for")?;
        let topics = group.topics.iter().map(|topic| {
            let name = if version < 10 { topic.name.clone() } else { self.name(topic.topic_id) };
            let partitions = topic.partitions.iter().map(|partition| {
                json!([
                    partition.partition_index,
                    partition.committed_offset,
                    partition.committed_leader_epoch,
                    partition.metadata,
                    partition.error_code.to_string(),
                ])
            });
            json!([name, partitions.collect::<Vec<_>>()])
        });
        let topics: Vec<Value> = topics.collect();
        Ok(json!({ "error": group.error_code.to_string(), "topics": topics }))
    }

    /// Describes the group in every way there is.
    pub(super) fn describe(&mut self, group: &str) -> Result<Value> {
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![self.group(group)],
            include_authorized_operations: true,
        };
        let answer = self.link.call(&request, 1)?;
        let described = answer.groups.first().context("a group was asked for")?;
        let as_consumer = self.described(described);

        let request = DescribeGroupsRequest {
            groups: vec![self.group(group)],
            include_authorized_operations: true,
        };
        let answer = self.link.call(&request, 6)?;
        let described = answer.groups.first().context("a group was asked for")?;
        let own = self.group(group);
        let as_classic = json!({
            "error": described.error_code.to_string(),
            "message": described.error_message.as_ref().map(|why| why.replace(&own, group)),
            "state": described.group_state,
            "type": described.protocol_type,
            "protocol": described.protocol_data,
            "members": described.members.len(),
            "operations": described.authorized_operations,
        });

        let answer = self.link.call(&ListGroupsRequest::default(), 5)?;
        let listed = answer.groups.iter().filter(|listed| listed.group_id == self.group(group));
        let listed = listed
            .map(|listed| json!([listed.protocol_type, listed.group_state, listed.group_type]));
        Ok(json!({
            "consumer": as_consumer,
            "classic": as_classic,
            "listed": listed.collect::<Vec<_>>(),
        }))
    }

    fn described(&self, group: &DescribedGroup) -> Value {
        let mut members: Vec<&Member> = group.members.iter().collect();
        let named = |member: &Member| self.named(&member.member_id);
        members.sort_by_key(|member| named(member));
        let member = |member: &Member| {
            let mut topics = member.subscribed_topic_names.clone();
            topics.sort();
            json!({
                "id": named(member),
                "instance": member.instance_id,
                "rack": member.rack_id,
                "epoch": member.member_epoch,
                "client": member.client_id,
                "host": member.client_host,
                "topics": topics,
                "regex": member.subscribed_topic_regex,
                "assigned": self.partitions(&member.assignment),
                "target": self.partitions(&member.target_assignment),
                "type": member.member_type,
            })
        };
        json!({
            "error": group.error_code.to_string(),
            "message": group.error_message.as_ref().map(|why| why.replace(&group.group_id, "g")),
            "state": group.group_state,
            "epoch": group.group_epoch,
            "target epoch": group.assignment_epoch,
            "assignor": group.assignor_name,
            "members": members.into_iter().map(member).collect::<Vec<_>>(),
            "operations": group.authorized_operations,
        })
    }

    fn partitions(&self, assignment: &Assignment) -> Value {
        let mut all = BTreeSet::new();
        for of in &assignment.topic_partitions {
            // The name beside the id must be its own.
            let same = self.name(of.topic_id) == of.topic_name;
            let name = if same { of.topic_name.clone() } else { format!("{}?", of.topic_name) };
            all.extend(of.partitions.iter().map(|partition| (name.clone(), *partition)));
        }
        json!(all)
    }

    /// Creates a topic and waits until it has a leader.
    pub(super) fn create_topic(&mut self, name: &str, partitions: i32) -> Result<()> {
        self.make_topics(&[(name, partitions)])
    }

    /// Gives a topic more partitions.
    pub(super) fn grow_topic(&mut self, name: &str, count: i32) -> Result<()> {
        let topic = CreatePartitionsTopic { name: name.to_owned(), count, assignments: None };
        let request = CreatePartitionsRequest {
            topics: vec![topic],
            timeout_ms: 30_000,
            ..CreatePartitionsRequest::default()
        };
        let answer = self.link.call(&request, 3)?;
        let error = answer.results.first().context("a topic was to grow")?.error_code;
        ensure!(error.is_ok(), "{name} did not grow: {error}");
        Ok(())
    }

    /// Deletes a topic.
    pub(super) fn delete_topic(&mut self, name: &str) -> Result<()> {
        let topic = DeleteTopicState { name: Some(name.to_owned()), ..DeleteTopicState::default() };
        let request = DeleteTopicsRequest {
            topics: vec![topic],
            timeout_ms: 30_000,
            ..DeleteTopicsRequest::default()
        };
        let answer = self.link.call(&request, 6)?;
        let error = answer.responses.first().context("a topic was to go")?.error_code;
        ensure!(error.is_ok(), "{name} was not deleted: {error}");
        Ok(())
    }

    /// Has a member say that it lives until the group has another epoch than `epoch`: topics change
    /// a moment later for the coordinator.
    pub(super) fn beat_until_epoch_is_not(&mut self, beat: &Beat, epoch: i32) -> Result<()> {
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![self.group(&beat.group)],
            ..Default::default()
        };
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.beat(beat, 1)?;
            let answer = self.link.call(&request, 1)?;
            if answer.groups.first().is_some_and(|group| group.group_epoch != epoch) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the group stays in epoch {epoch}");
            thread::sleep(PAUSE);
        }
    }

    /// Waits until the coordinator knows a topic: a member that asks for it gets it.
    pub(super) fn await_topic(&mut self, topic: &str) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let join = Beat {
                group: "probe".to_owned(),
                member: "p".to_owned(),
                timeout: 60_000,
                topics: Some(vec![topic.to_owned()]),
                owned: Some(BTreeSet::new()),
                ..Beat::default()
            };
            let (_, learnt) = self.beat(&join, 1)?;
            self.beat(&Beat { epoch: -1, ..join }, 1)?;
            if learnt.assignment.is_some_and(|assignment| !assignment.is_empty()) {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "the coordinator does not know {topic}");
            thread::sleep(PAUSE);
        }
    }

    /// Returns the group's epoch.
    pub(super) fn epoch(&mut self, group: &str) -> Result<i32> {
        let request = ConsumerGroupDescribeRequest {
            group_ids: vec![self.group(group)],
            ..Default::default()
        };
        let answer = self.link.call(&request, 1)?;
        Ok(answer.groups.first().context("a group was asked for")?.group_epoch)
    }

    /// Deletes the group.
    pub(super) fn delete(&mut self, group: &str) -> Result<Value> {
        let request = DeleteGroupsRequest { groups_names: vec![self.group(group)] };
        let answer = self.link.call(&request, 2)?;
        let results = answer.results.iter().map(|result| {
            json!([result.group_id == self.group(group), result.error_code.to_string()])
        });
        Ok(json!(results.collect::<Vec<_>>()))
    }

    /// Returns the id of a classic member; empty if it has none.
    pub(super) fn classic_id(&self, letter: char) -> String {
        self.classic_ids.get(&letter).cloned().unwrap_or_default()
    }

    /// Returns how a member is shown: a classic one by its letter.
    pub(super) fn named(&self, id: &str) -> String {
        let classic = self.classic_ids.iter().find(|(_, own)| *own == id);
        classic.map_or_else(|| id.to_owned(), |(letter, _)| letter.to_string())
    }

    /// Returns the name a group has on this side.
    pub(super) fn group(&self, group: &str) -> String {
        if group.is_empty() { String::new() } else { format!("{}{group}", self.prefix) }
    }

    fn id(&self, topic: &str) -> Uuid {
        self.ids.get(topic).copied().unwrap_or(Uuid([9; 16]))
    }

    fn name(&self, id: Uuid) -> String {
        self.names.get(&id).cloned().unwrap_or_else(|| format!("unknown {id}"))
    }
}

const PATIENCE: Duration = Duration::from_secs(30);
const PAUSE: Duration = Duration::from_millis(20);
