//! Sends the machine's requests and brings the answers back to the task.
//!
//! A join and a sync are held back by the coordinator until others have come, so they have a
//! connection of their own: commits and a leave never wait behind them. A heartbeat that may be held
//! goes over that one, too, on which nothing else happens meanwhile; whatever follows it lets it go.
//! Fetches have another one per broker.

use std::sync::Arc;
use std::time::Duration;

use kohort_client_core::consumer::RequestId;
use kohort_client_core::consumer::fetcher::FetchPlan;
use kohort_client_core::consumer::membership::{GroupRequest, GroupResponse, STATIC_MEMBERS_FROM};
use kohort_client_core::metadata::Broker;
use kohort_protocol::messages::api_versions::ApiVersionsRequest;
use kohort_protocol::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse,
};
use kohort_protocol::messages::fetch::{FetchRequest, FetchResponse};
use kohort_protocol::messages::join_group::{
    JoinGroupRequest, JoinGroupResponse, JoinGroupResponseMember,
};
use kohort_protocol::messages::list_offsets::{ListOffsetsRequest, ListOffsetsResponse};
use kohort_protocol::messages::offset_commit::{OffsetCommitRequest, OffsetCommitResponse};
use kohort_protocol::messages::offset_fetch::{OffsetFetchRequest, OffsetFetchResponse};
use kohort_protocol::messages::offset_for_leader_epoch::{
    OffsetForLeaderEpochRequest, OffsetForLeaderEpochResponse,
};
use kohort_protocol::{ErrorCode, Request, Uuid, VersionRange};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::cluster::{Cluster, ClusterError, CoordinatorKind};
use crate::net::{Driver, Purpose};

/// An answer, or `None` where there was none.
pub(super) enum Reply {
    Coordinator(RequestId, Result<Broker, ErrorCode>),
    Group(RequestId, Option<GroupResponse>),
    Commit(RequestId, Option<OffsetCommitResponse>),
    Offsets(RequestId, Option<OffsetFetchResponse>),
    Listed(RequestId, Option<ListOffsetsResponse>),
    EpochEnds(RequestId, Result<OffsetForLeaderEpochResponse, ErrorCode>),
    Fetched {
        node: i32,
        id: RequestId,
        answer: Option<FetchResponse>,
    },
    SessionsClosed,
    GroupTopics {
        id: RequestId,
        members: Vec<JoinGroupResponseMember>,
    },
    /// There will be none, by a mistake of ours.
    Panicked,
}

pub(super) struct Requests {
    pub(super) driver: Driver,
    pub(super) cluster: Cluster,
    pub(super) group_id: Arc<str>,
    pub(super) request_timeout: Duration,
    /// A heartbeat that takes longer than this is given up, while there is still time for another one
    /// before the session ends.
    pub(super) heartbeat_timeout: Duration,
    /// A join may take as long as the slowest member takes to give back.
    pub(super) join_timeout: Duration,
    pub(super) fetch_timeout: Duration,
    pub(super) replies: mpsc::UnboundedSender<Reply>,
}

impl Requests {
    pub(super) fn find_coordinator(&self, id: RequestId) {
        let (cluster, group) = (self.cluster.clone(), self.group_id.clone());
        self.reply_with(async move {
            let found = cluster.find_coordinator(CoordinatorKind::Group, &group).await;
            Reply::Coordinator(
                id,
                found.map_err(|error| {
                    tracing::debug!(%error, "the coordinator was not found");
                    match error {
                        ClusterError::Refused { code, .. } => code,
                        _ => ErrorCode::COORDINATOR_NOT_AVAILABLE,
                    }
                }),
            )
        });
    }

    pub(super) fn group(&self, id: RequestId, coordinator: Option<Broker>, request: GroupRequest) {
        let cluster = self.cluster.clone();
        let (prompt, patient) = (self.heartbeat_timeout, self.join_timeout);
        self.reply_with(async move {
            let parked = Purpose::Coordinator;
            let answer = match request {
                GroupRequest::Join(request) => {
                    join(&cluster, coordinator, &request, patient).await.map(GroupResponse::Join)
                }
                GroupRequest::Sync(sync) => ask(&cluster, coordinator, parked, &sync, patient)
                    .await
                    .map(GroupResponse::Sync),
                GroupRequest::Heartbeat(beat) => {
                    // A held one has nothing behind it but the join it leads to.
                    let hold = Duration::from_millis(beat.hold_ms.max(0).unsigned_abs().into());
                    let purpose = if hold.is_zero() { Purpose::General } else { parked };
                    ask(&cluster, coordinator, purpose, &beat, prompt.saturating_add(hold))
                        .await
                        .map(GroupResponse::Heartbeat)
                }
                GroupRequest::Probe => {
                    let probe = ApiVersionsRequest::default();
                    ask(&cluster, coordinator, Purpose::General, &probe, prompt)
                        .await
                        .map(|_| GroupResponse::Probe)
                }
                GroupRequest::ConsumerHeartbeat(beat) => {
                    consumer_heartbeat(&cluster, coordinator, &beat, prompt)
                        .await
                        .map(GroupResponse::ConsumerHeartbeat)
                }
                GroupRequest::Leave(leave) => {
                    ask(&cluster, coordinator, Purpose::General, &leave, prompt)
                        .await
                        .map(GroupResponse::Leave)
                }
            };
            Reply::Group(id, answer)
        });
    }

    pub(super) fn commit(
        &self,
        id: RequestId,
        coordinator: Option<Broker>,
        request: OffsetCommitRequest,
    ) {
        let (cluster, timeout) = (self.cluster.clone(), self.request_timeout);
        self.reply_with(async move {
            let unnamed = request.topics.iter().any(|topic| topic.topic_id == Uuid::ZERO);
            let wanted = versions::<OffsetCommitRequest>(unnamed);
            let answer =
                ask_within(&cluster, coordinator, Purpose::General, &request, wanted, timeout);
            Reply::Commit(id, answer.await)
        });
    }

    pub(super) fn offsets(
        &self,
        id: RequestId,
        coordinator: Option<Broker>,
        request: OffsetFetchRequest,
    ) {
        let (cluster, timeout) = (self.cluster.clone(), self.request_timeout);
        self.reply_with(async move {
            let topics = request.groups.iter().flat_map(|group| group.topics.iter().flatten());
            let unnamed = topics.into_iter().any(|topic| topic.topic_id == Uuid::ZERO);
            let wanted = versions::<OffsetFetchRequest>(unnamed);
            let answer =
                ask_within(&cluster, coordinator, Purpose::General, &request, wanted, timeout);
            Reply::Offsets(id, answer.await)
        });
    }

    pub(super) fn list_offsets(&self, id: RequestId, node: i32, request: ListOffsetsRequest) {
        let (cluster, timeout) = (self.cluster.clone(), self.request_timeout);
        self.reply_with(async move {
            let leader = cluster.view().broker(node).cloned();
            Reply::Listed(id, ask(&cluster, leader, Purpose::General, &request, timeout).await)
        });
    }

    pub(super) fn epoch_ends(
        &self,
        id: RequestId,
        node: i32,
        request: OffsetForLeaderEpochRequest,
    ) {
        let (cluster, timeout) = (self.cluster.clone(), self.request_timeout);
        self.reply_with(async move {
            let answer = async {
                let view = cluster.view();
                let leader = view.broker(node).ok_or(ErrorCode::BROKER_NOT_AVAILABLE)?;
                let connected = cluster.connection_to(leader, Purpose::General).await;
                let connection = connected.map_err(|_| ErrorCode::NETWORK_EXCEPTION)?;
                let wanted = since::<OffsetForLeaderEpochRequest>(EPOCH_ENDS_FROM);
                let version = connection
                    .version_within::<OffsetForLeaderEpochRequest>(wanted)
                    .map_err(|_| ErrorCode::UNSUPPORTED_VERSION)?;
                let answer = connection.send_at(version, &request, timeout).await;
                answer.map_err(|_| ErrorCode::NETWORK_EXCEPTION)
            };
            Reply::EpochEnds(id, answer.await)
        });
    }

    pub(super) fn fetch(&self, plan: FetchPlan) {
        let (cluster, timeout) = (self.cluster.clone(), self.fetch_timeout);
        self.reply_with(async move {
            let leader = cluster.view().broker(plan.node).cloned();
            let answer = ask(&cluster, leader, Purpose::Fetch, &plan.request, timeout).await;
            Reply::Fetched { node: plan.node, id: plan.id, answer }
        });
    }

    /// Ends fetch sessions. Not on the connection they are used on: an answer may be held back there.
    pub(super) fn close_sessions(&self, sessions: Vec<(i32, FetchRequest)>) {
        let cluster = self.cluster.clone();
        self.reply_with(async move {
            let mut closes = JoinSet::new();
            for (node, request) in sessions {
                let cluster = cluster.clone();
                let leader = cluster.view().broker(node).cloned();
                let close = async move {
                    let _ = ask(&cluster, leader, Purpose::General, &request, GOODBYE).await;
                };
                closes.spawn(tokio::time::timeout(GOODBYE, close));
            }
            closes.join_all().await;
            Reply::SessionsClosed
        });
    }

    /// Gets a picture for the leader to assign by; what it has to cover was said before.
    pub(super) fn group_topics(&self, id: RequestId, members: Vec<JoinGroupResponseMember>) {
        let cluster = self.cluster.clone();
        self.reply_with(async move {
            if let Err(error) = cluster.refresh().await {
                tracing::warn!(%error, "the group's partitions are assigned by older metadata");
            }
            Reply::GroupTopics { id, members }
        });
    }

    fn reply_with(&self, reply: impl Future<Output = Reply> + Send + 'static) {
        let replies = Replies(self.replies.clone());
        self.driver.spawn(async move {
            let reply = reply.await;
            // A task that has ended wants no answers.
            let _ = replies.0.send(reply);
        });
    }
}

/// Where a reply goes, or word that there will be none: the machine would wait for it for ever.
struct Replies(mpsc::UnboundedSender<Reply>);

impl Drop for Replies {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let _ = self.0.send(Reply::Panicked);
        }
    }
}

/// Joins a classic group. A broker without static members refuses one as it were: what it does not know is
/// left out of its request, and it would take the member for a dynamic one.
async fn join(
    cluster: &Cluster,
    coordinator: Option<Broker>,
    request: &JoinGroupRequest,
    timeout: Duration,
) -> Option<JoinGroupResponse> {
    let connection = cluster.connection_to(&coordinator?, Purpose::Coordinator).await.ok()?;
    let is_static = request.group_instance_id.is_some();
    match connection.version::<JoinGroupRequest>() {
        Ok(version) if is_static && version < STATIC_MEMBERS_FROM => Some(JoinGroupResponse {
            error_code: ErrorCode::UNSUPPORTED_VERSION,
            ..JoinGroupResponse::default()
        }),
        Ok(version) => {
            let answer = connection.send_at(version, request, timeout).await;
            answer.inspect_err(|error| tracing::debug!(%error, "no answer to a join")).ok()
        }
        Err(error) => {
            tracing::debug!(%error, "no join");
            None
        }
    }
}

/// Sends a heartbeat of the consumer protocol. A broker that has it not, or not with what this one
/// says, refuses it as it were.
async fn consumer_heartbeat(
    cluster: &Cluster,
    coordinator: Option<Broker>,
    beat: &ConsumerGroupHeartbeatRequest,
    timeout: Duration,
) -> Option<ConsumerGroupHeartbeatResponse> {
    // Nothing but heartbeats goes over it: one that is held has only others behind it, which let it go.
    let connection = cluster.connection_to(&coordinator?, Purpose::Coordinator).await.ok()?;
    let hold = Duration::from_millis(beat.hold_ms.max(0).unsigned_abs().into());
    let timeout = timeout.saturating_add(hold);
    let regex = beat.subscribed_topic_regex.as_ref().is_some_and(|regex| !regex.is_empty());
    let version = connection.version::<ConsumerGroupHeartbeatRequest>().ok();
    match version.filter(|version| *version >= REGEX_FROM || !regex) {
        Some(version) => {
            let answer = connection.send_at(version, beat, timeout).await;
            answer.inspect_err(|error| tracing::debug!(%error, "no answer to a heartbeat")).ok()
        }
        None => Some(ConsumerGroupHeartbeatResponse {
            error_code: ErrorCode::UNSUPPORTED_VERSION,
            ..ConsumerGroupHeartbeatResponse::default()
        }),
    }
}

/// How long the end of a fetch session may take: the broker forgets it in any case, only later.
const GOODBYE: Duration = Duration::from_secs(1);
/// The version of OffsetForLeaderEpoch that a consumer may ask in: for those before, brokers want the right
/// to act for the cluster, and refuse whoever has only the right to read.
const EPOCH_ENDS_FROM: i16 = 3;
/// The version of ConsumerGroupHeartbeat that brought expressions.
const REGEX_FROM: i16 = 1;

async fn ask<R: Request>(
    cluster: &Cluster,
    broker: Option<Broker>,
    purpose: Purpose,
    request: &R,
    timeout: Duration,
) -> Option<R::Response> {
    ask_within(cluster, broker, purpose, request, R::VERSIONS, timeout).await
}

/// Asks in one of the `wanted` versions.
async fn ask_within<R: Request>(
    cluster: &Cluster,
    broker: Option<Broker>,
    purpose: Purpose,
    request: &R,
    wanted: VersionRange,
    timeout: Duration,
) -> Option<R::Response> {
    let connection = match cluster.connection_to(&broker?, purpose).await {
        Ok(connection) => connection,
        Err(error) => {
            tracing::debug!(%error, api = ?R::API_KEY, "no connection");
            return None;
        }
    };
    let answer = match connection.version_within::<R>(wanted) {
        Ok(version) => connection.send_at(version, request, timeout).await,
        Err(error) => Err(error),
    };
    answer.inspect_err(|error| tracing::debug!(%error, api = ?R::API_KEY, "no answer")).ok()
}

/// Returns the versions of a commit, or of a question for what is committed. Later ones name topics by id
/// alone, which does not do for those of which only the name is known.
fn versions<R: Request>(by_name: bool) -> VersionRange {
    let max = if by_name { R::VERSIONS.max.min(9) } else { R::VERSIONS.max };
    VersionRange::new(R::VERSIONS.min, max)
}

/// Returns the versions of a request from this one on.
fn since<R: Request>(min: i16) -> VersionRange {
    VersionRange::new(min, R::VERSIONS.max)
}
