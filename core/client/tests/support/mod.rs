//! A cluster that is a value: it answers what a consumer's machine asks at once, and keeps what the
//! machine wanted done.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kohort_assignor::RangeAssignor;
use kohort_client_core::consumer::fetcher::FetchConfig;
use kohort_client_core::consumer::machine::Application;
use kohort_client_core::consumer::membership::{GroupRequest, GroupResponse, MembershipConfig};
use kohort_client_core::consumer::{
    Action, AssignmentEpoch, ConsumerMachine, IsolationLevel, MachineConfig, OffsetReset, Position,
    Timestamp, TopicName, TopicPartition,
};
use kohort_client_core::metadata::{MetadataScope, MetadataView};
use kohort_protocol::messages::consumer_group_heartbeat::{
    Assignment, ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
    ConsumerGroupHeartbeatResponseTopicPartitions,
};
use kohort_protocol::messages::heartbeat::HeartbeatResponse;
use kohort_protocol::messages::join_group::{JoinGroupResponse, JoinGroupResponseMember};
use kohort_protocol::messages::leave_group::LeaveGroupResponse;
use kohort_protocol::messages::list_offsets::{
    ListOffsetsPartitionResponse, ListOffsetsResponse, ListOffsetsTopicResponse,
};
use kohort_protocol::messages::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};
use kohort_protocol::messages::offset_fetch::{
    OffsetFetchResponse, OffsetFetchResponseGroup, OffsetFetchResponsePartitions,
    OffsetFetchResponseTopics,
};
use kohort_protocol::messages::sync_group::SyncGroupResponse;
use kohort_protocol::{ErrorCode, Uuid};

/// A topic of the cluster.
#[derive(Debug, Clone)]
pub struct Topic {
    pub id: u8,
    pub partitions: i32,
    pub internal: bool,
    pub error: ErrorCode,
    /// The leader of every partition.
    pub leader: i32,
    pub leader_epoch: i32,
    /// The nodes that hold a copy of every partition.
    pub replicas: Vec<i32>,
}

impl Topic {
    pub fn new(id: u8, partitions: i32) -> Self {
        Self {
            id,
            partitions,
            internal: false,
            error: ErrorCode::NONE,
            leader: 1,
            leader_epoch: 5,
            replicas: Vec::new(),
        }
    }
}

/// An application that is polling, holds nothing, and says this of what it took.
pub struct Taken {
    pub consumed: Option<Position>,
    pub processed: Vec<(TopicPartition, AssignmentEpoch, Position)>,
    /// Whether a commit of it is on its way.
    pub is_committing: bool,
    /// Since when it has not polled, unless it waits in a poll.
    pub idle_since: Option<Timestamp>,
}

/// One that says nothing of it.
pub const POLLING: Taken =
    Taken { consumed: None, processed: Vec::new(), is_committing: false, idle_since: None };

impl Application for Taken {
    fn buffered(&self, _partition: &TopicPartition) -> usize {
        0
    }

    fn used_bytes(&self) -> i64 {
        0
    }

    fn kept_bytes(&self) -> i64 {
        0
    }

    fn starves(&self, _partition: Option<&TopicPartition>) -> bool {
        false
    }

    fn consumed(&self, _partition: &TopicPartition) -> Option<Position> {
        self.consumed
    }

    fn processed(&self) -> Vec<(TopicPartition, AssignmentEpoch, Position)> {
        self.processed.clone()
    }

    fn is_committing(&self) -> bool {
        self.is_committing
    }

    fn idle_since(&self) -> Option<Timestamp> {
        self.idle_since
    }
}

/// A consumer's machine and the cluster around it.
pub struct World {
    pub now: Timestamp,
    pub machine: ConsumerMachine,
    pub topics: BTreeMap<&'static str, Topic>,
    /// What the group has committed.
    pub committed: BTreeMap<TopicPartition, i64>,
    /// The leader epoch of what is committed, or -1.
    pub committed_epoch: i32,
    /// Whether the group's leader is told to keep an assignment that it is given back here.
    pub kept_assignment: Option<Vec<TopicPartition>>,
    /// What a heartbeat of the consumer protocol is answered with instead of an assignment.
    pub consumer_error: Option<ErrorCode>,
    /// What a search for the coordinator is refused with.
    pub coordinator_error: Option<ErrorCode>,
    /// The version the picture of the cluster comes in.
    pub metadata_version: i16,
    /// The nodes that are up: node 1 is in the rack `r1`, and so on.
    pub nodes: Vec<i32>,
    /// What a question for offsets by time is refused with.
    pub list_error: Option<ErrorCode>,
    subscribed: Vec<String>,
    view: MetadataView,
    generation: i32,
    /// What the machine wanted and this world does not answer by itself.
    pub done: Vec<Action>,
}

impl World {
    pub fn new(reset: OffsetReset) -> Self {
        Self::with(reset, |_| {})
    }

    pub fn with(reset: OffsetReset, change: impl FnOnce(&mut MachineConfig)) -> Self {
        let mut config = MachineConfig {
            group: Some(MembershipConfig {
                group_id: "g".to_owned(),
                session_timeout_ms: 45_000,
                rebalance_timeout_ms: 60_000,
                heartbeat_interval_ms: 3_000,
                retry_backoff_ms: 100,
                retry_backoff_max_ms: 100,
                assignors: vec![Box::new(RangeAssignor)],
                seed: 1,
                ..MembershipConfig::default()
            }),
            reset,
            fetch: FetchConfig {
                max_wait_ms: 500,
                min_bytes: 1,
                max_bytes: 50 << 20,
                partition_max_bytes: 1 << 20,
                budget_bytes: 16 << 20,
                isolation: IsolationLevel::ReadUncommitted,
                rack: String::new(),
                retry_backoff_ms: 100,
                preferred_replica_ms: 300_000,
            },
            auto_commit_interval_ms: None,
            max_poll_interval_ms: 300_000,
            api_timeout_ms: 60_000,
            retry_backoff_ms: 100,
            retry_backoff_max_ms: 100,
            seed: 1,
        };
        change(&mut config);
        Self {
            now: 1_000_000,
            machine: ConsumerMachine::new(config),
            topics: BTreeMap::new(),
            committed: BTreeMap::new(),
            committed_epoch: -1,
            kept_assignment: None,
            consumer_error: None,
            coordinator_error: None,
            metadata_version: 13,
            nodes: vec![1, 2],
            list_error: None,
            subscribed: Vec::new(),
            view: MetadataView::default(),
            generation: 0,
            done: Vec::new(),
        }
    }

    pub fn topic(mut self, name: &'static str, topic: Topic) -> Self {
        self.topics.insert(name, topic);
        self
    }

    pub fn subscribe(&mut self, topics: &[&str]) {
        let topics = topics.iter().map(|topic| TopicName::from(*topic)).collect();
        let actions = self.machine.handle_subscribe(self.now, topics);
        self.run(actions);
    }

    pub fn assign(&mut self, partitions: &[TopicPartition]) {
        let partitions = partitions.iter().cloned().collect();
        let actions = self.machine.handle_assign(self.now, partitions, &POLLING);
        self.run(actions);
    }

    /// Shows the machine every topic there is.
    pub fn refresh_all(&mut self) {
        let names: Vec<_> = self.topics.keys().copied().collect();
        self.refresh(&names, MetadataScope::AllTopics);
    }

    /// Shows the machine these topics.
    pub fn refresh_some(&mut self, names: &[&'static str]) {
        self.refresh(names, MetadataScope::SomeTopics);
    }

    fn refresh(&mut self, names: &[&'static str], scope: MetadataScope) {
        let broker = |node_id| MetadataResponseBroker {
            node_id,
            host: "h".to_owned(),
            port: node_id,
            rack: Some(format!("r{node_id}")),
        };
        let topics = names.iter().map(|name| {
            let Some(topic) = self.topics.get(name) else {
                return MetadataResponseTopic {
                    name: Some((*name).to_owned()),
                    error_code: ErrorCode::UNKNOWN_TOPIC_OR_PARTITION,
                    ..Default::default()
                };
            };
            let partition = |index| MetadataResponsePartition {
                partition_index: index,
                leader_id: topic.leader,
                leader_epoch: topic.leader_epoch,
                replica_nodes: topic.replicas.clone(),
                ..Default::default()
            };
            MetadataResponseTopic {
                name: Some((*name).to_owned()),
                topic_id: Uuid([topic.id; 16]),
                error_code: topic.error,
                is_internal: topic.internal,
                partitions: (0..topic.partitions).map(partition).collect(),
                ..Default::default()
            }
        });
        let response = MetadataResponse {
            brokers: self.nodes.iter().copied().map(broker).collect(),
            topics: topics.collect(),
            ..Default::default()
        };
        self.view = self.view.merge(&response, self.metadata_version, scope).0;
        let view = Arc::new(self.view.clone());
        let actions = self.machine.handle_metadata(self.now, view);
        self.run(actions);
    }

    /// Lets time pass.
    pub fn pass(&mut self, ms: i64) {
        self.now += ms;
        self.run(Vec::new());
    }

    /// Carries out actions, and what follows from them, until the machine is at rest.
    pub fn run(&mut self, mut actions: Vec<Action>) {
        for _ in 0..100 {
            if actions.is_empty() {
                actions = self.machine.advance(self.now, &POLLING);
                if actions.is_empty() {
                    return;
                }
            }
            let mut next = Vec::new();
            for action in actions {
                match self.answer(&action) {
                    Some(answered) => next.extend(answered),
                    None => self.done.push(action),
                }
            }
            actions = next;
        }
        panic!("the machine does not come to rest");
    }

    /// Answers what a cluster answers; `None` is for the test to look at.
    fn answer(&mut self, action: &Action) -> Option<Vec<Action>> {
        let now = self.now;
        Some(match action {
            Action::LeaderLearnt { partition, node, epoch } => {
                let (topic, index) = (&partition.topic, partition.partition);
                self.view = self.view.with_leader(topic, index, *node, *epoch);
                return None;
            }
            Action::LeaderDenied { partition, node } => {
                let (topic, index) = (&partition.topic, partition.partition);
                self.view = self.view.with_denial(topic, index, *node);
                return None;
            }
            Action::FindCoordinator(id) => {
                let found = self.coordinator_error.map_or(Ok(1), Err);
                self.machine.handle_coordinator(now, *id, found)
            }
            Action::Group { id, request, .. } => {
                let answer = self.group(request);
                self.machine.handle_group(now, *id, Some(answer))
            }
            Action::Assign { id, members, .. } => {
                self.machine.handle_group_topics(now, *id, members.clone())
            }
            Action::FetchCommitted { id, request, .. } => {
                let asked = request.groups[0].topics.clone().unwrap_or_default();
                let topic =
                    |topic: &kohort_protocol::messages::offset_fetch::OffsetFetchRequestTopics| {
                        let partition = |index: &i32| OffsetFetchResponsePartitions {
                            partition_index: *index,
                            committed_offset: self
                                .committed
                                .get(&TopicPartition::new(topic.name.as_str(), *index))
                                .copied()
                                .unwrap_or(-1),
                            committed_leader_epoch: self.committed_epoch,
                            ..Default::default()
                        };
                        OffsetFetchResponseTopics {
                            name: topic.name.clone(),
                            topic_id: topic.topic_id,
                            partitions: topic.partition_indexes.iter().map(partition).collect(),
                        }
                    };
                let group = OffsetFetchResponseGroup {
                    group_id: "g".to_owned(),
                    topics: asked.iter().map(topic).collect(),
                    ..Default::default()
                };
                let answer = OffsetFetchResponse { groups: vec![group], ..Default::default() };
                self.machine.handle_offsets(now, *id, Some(answer))
            }
            Action::ListOffsets { id, request, .. } => {
                let topic = |topic: &kohort_protocol::messages::list_offsets::ListOffsetsTopic| {
                    let partition =
                        |it: &kohort_protocol::messages::list_offsets::ListOffsetsPartition| {
                            ListOffsetsPartitionResponse {
                                partition_index: it.partition_index,
                                error_code: self.list_error.unwrap_or(ErrorCode::NONE),
                                // The end is at 100, and what is asked for by time at half of it.
                                offset: match it.timestamp {
                                    -2 => 0,
                                    -1 => 100,
                                    _ => 50,
                                },
                                ..Default::default()
                            }
                        };
                    ListOffsetsTopicResponse {
                        name: topic.name.clone(),
                        partitions: topic.partitions.iter().map(partition).collect(),
                    }
                };
                let topics = request.topics.iter().map(topic).collect();
                let answer = ListOffsetsResponse { topics, ..Default::default() };
                self.machine.handle_listed(now, *id, Some(answer))
            }
            Action::Event(kohort_client_core::consumer::machine::GroupEvent::Revoking {
                ticket,
                ..
            }) => self.machine.handle_given_back(now, *ticket, &POLLING),
            _ => return None,
        })
    }

    fn group(&mut self, request: &GroupRequest) -> GroupResponse {
        match request {
            GroupRequest::Join(join) => {
                self.generation += 1;
                let member = JoinGroupResponseMember {
                    member_id: "m".to_owned(),
                    metadata: join.protocols[0].metadata.clone(),
                    ..Default::default()
                };
                GroupResponse::Join(JoinGroupResponse {
                    generation_id: self.generation,
                    protocol_name: Some(join.protocols[0].name.clone()),
                    leader: "m".to_owned(),
                    member_id: "m".to_owned(),
                    members: vec![member],
                    skip_assignment: self.kept_assignment.is_some(),
                    ..Default::default()
                })
            }
            GroupRequest::Sync(sync) => {
                let assignment = match &self.kept_assignment {
                    Some(partitions) => kohort_assignor::Assignment {
                        partitions: partitions.clone(),
                        user_data: None,
                    }
                    .to_bytes(3)
                    .unwrap(),
                    None => sync.assignments[0].assignment.clone(),
                };
                GroupResponse::Sync(SyncGroupResponse { assignment, ..Default::default() })
            }
            GroupRequest::Heartbeat(_) => GroupResponse::Heartbeat(HeartbeatResponse::default()),
            GroupRequest::Leave(_) => GroupResponse::Leave(LeaveGroupResponse::default()),
            GroupRequest::Probe => GroupResponse::Probe,
            GroupRequest::ConsumerHeartbeat(beat) => self.consumer_heartbeat(beat),
        }
    }

    /// Gives the only member of a consumer group what its topics have.
    fn consumer_heartbeat(&mut self, beat: &ConsumerGroupHeartbeatRequest) -> GroupResponse {
        if let Some(code) = self.consumer_error {
            return GroupResponse::ConsumerHeartbeat(ConsumerGroupHeartbeatResponse {
                error_code: code,
                ..Default::default()
            });
        }
        if let Some(names) = &beat.subscribed_topic_names {
            self.subscribed.clone_from(names);
        }
        if beat.member_epoch >= 0 {
            self.generation = self.generation.max(1);
        }
        let topics =
            self.topics.iter().filter(|(name, _)| self.subscribed.iter().any(|it| it == *name));
        let topic = |(_, topic): (&&str, &Topic)| ConsumerGroupHeartbeatResponseTopicPartitions {
            topic_id: Uuid([topic.id; 16]),
            partitions: (0..topic.partitions).collect(),
        };
        let assignment = Assignment { topic_partitions: topics.map(topic).collect() };
        GroupResponse::ConsumerHeartbeat(ConsumerGroupHeartbeatResponse {
            member_id: Some(beat.member_id.clone()),
            member_epoch: if beat.member_epoch < 0 { beat.member_epoch } else { self.generation },
            heartbeat_interval_ms: 5_000,
            assignment: (beat.member_epoch >= 0).then_some(assignment),
            ..Default::default()
        })
    }

    /// Takes what was done since the last call and matches `pick`.
    pub fn take<T>(&mut self, pick: impl Fn(&Action) -> Option<T>) -> Vec<T> {
        std::mem::take(&mut self.done).iter().filter_map(pick).collect()
    }

    /// Returns what is owned, and where it is read from once that is known.
    pub fn owned(&self) -> BTreeSet<TopicPartition> {
        self.machine.status(self.now, &POLLING).into_keys().collect()
    }
}
