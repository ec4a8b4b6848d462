//! Members of a classic group: they join, sync, heartbeat, and join again when told to.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::consumer_protocol::ConsumerProtocolSubscription;
use kohort_protocol::messages::join_group::JoinGroupRequestProtocol;
use kohort_protocol::messages::leave_group::MemberIdentity;
use kohort_protocol::messages::sync_group::SyncGroupRequestAssignment;
use kohort_protocol::messages::{
    HeartbeatRequest, JoinGroupRequest, JoinGroupResponse, LeaveGroupRequest, SyncGroupRequest,
};
use tokio::sync::{mpsc, watch};
use tokio::time::{sleep, timeout};

use super::peer::{PATIENCE, Peer};

/// The heartbeat interval of clients at their defaults.
pub(super) const HEARTBEAT: Duration = Duration::from_secs(3);

/// A member that has its assignment.
#[derive(Debug)]
pub(super) struct Synced {
    pub(super) generation: i32,
    pub(super) at: Instant,
}

/// What all members of a group share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) group: Arc<str>,
    pub(super) synced: mpsc::UnboundedSender<Synced>,
    /// How many members are to leave.
    pub(super) leaving: watch::Receiver<usize>,
    /// Heartbeats that were answered.
    pub(super) beats: Arc<AtomicU64>,
}

/// A member in its group.
#[derive(Debug)]
pub(super) struct Member {
    pub(super) group: Arc<str>,
    pub(super) id: String,
    pub(super) generation: i32,
    session_ms: i32,
}

impl Member {
    /// Returns one that has not joined yet, with a client's default session.
    pub(super) fn new(group: Arc<str>) -> Self {
        Self { group, id: String::new(), generation: -1, session_ms: SESSION_MS }
    }

    /// Returns one that nobody misses for some minutes, while others are brought into theirs.
    pub(super) fn patient(group: Arc<str>) -> Self {
        Self { session_ms: PATIENT_SESSION_MS, ..Self::new(group) }
    }

    pub(super) fn heartbeat(&self) -> HeartbeatRequest {
        HeartbeatRequest {
            group_id: self.group.to_string(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            ..HeartbeatRequest::default()
        }
    }

    /// Joins as often as it takes to get an assignment.
    pub(super) async fn join_until_synced(&mut self, peer: &mut Peer) -> Result<()> {
        while !self.join(peer).await? {}
        Ok(())
    }

    /// Joins, with the id it has if it has one, and takes its assignment; `false` if the group
    /// rebalanced meanwhile.
    async fn join(&mut self, peer: &mut Peer) -> Result<bool> {
        let joined = loop {
            let joined: JoinGroupResponse = peer.call(&self.join_request()?, 9).await?;
            match joined.error_code {
                ErrorCode::NONE => break joined,
                ErrorCode::MEMBER_ID_REQUIRED => self.id = joined.member_id,
                ErrorCode::UNKNOWN_MEMBER_ID => self.id.clear(),
                code if code.is_retriable() => sleep(RETRY).await,
                code => bail!("a join was answered with {code}"),
            }
        };
        self.generation = joined.generation_id;
        let assignments = joined.members.iter().map(|member| SyncGroupRequestAssignment {
            member_id: member.member_id.clone(),
            ..SyncGroupRequestAssignment::default()
        });
        let request = SyncGroupRequest {
            group_id: self.group.to_string(),
            generation_id: self.generation,
            member_id: self.id.clone(),
            protocol_type: Some("consumer".to_owned()),
            protocol_name: Some("range".to_owned()),
            assignments: assignments.collect(),
            ..SyncGroupRequest::default()
        };
        let synced = peer.call(&request, 5).await?;
        Ok(synced.error_code.is_ok())
    }

    pub(super) async fn leave(&self, peer: &mut Peer) -> Result<()> {
        let member = MemberIdentity { member_id: self.id.clone(), ..MemberIdentity::default() };
        let request = LeaveGroupRequest {
            group_id: self.group.to_string(),
            members: vec![member],
            ..LeaveGroupRequest::default()
        };
        peer.call(&request, 5).await?;
        Ok(())
    }

    fn join_request(&self) -> Result<JoinGroupRequest> {
        let topics = vec!["topic".to_owned()];
        let subscription = ConsumerProtocolSubscription { topics, ..Default::default() };
        Ok(JoinGroupRequest {
            group_id: self.group.to_string(),
            session_timeout_ms: self.session_ms,
            rebalance_timeout_ms: 300_000,
            member_id: self.id.clone(),
            protocol_type: "consumer".to_owned(),
            protocols: vec![JoinGroupRequestProtocol {
                name: "range".to_owned(),
                metadata: subscription.to_bytes(1)?,
            }],
            ..JoinGroupRequest::default()
        })
    }
}

/// Runs one member until it is told to leave. It waits for `first_rest` before its first heartbeat, so that
/// those of all members are spread over the interval, as they are once members have run for a while.
pub(super) async fn run(
    mut peer: Peer,
    number: usize,
    first_rest: Duration,
    mut shared: Shared,
) -> Result<()> {
    let mut member = Member::new(shared.group.clone());
    let mut rest = first_rest;
    loop {
        member.join_until_synced(&mut peer).await?;
        let synced = Synced { generation: member.generation, at: Instant::now() };
        let _ = shared.synced.send(synced);
        loop {
            let leaves = shared.leaving.wait_for(|leaving| number < *leaving);
            let leaves = async { leaves.await.map(|_| ()) };
            match timeout(rest, leaves).await {
                Ok(Ok(())) => return member.leave(&mut peer).await,
                // Nobody is left to say so: the case is over.
                Ok(Err(_)) => return Ok(()),
                Err(_) => {}
            }
            rest = HEARTBEAT;
            let code = peer.call(&member.heartbeat(), 4).await?.error_code;
            shared.beats.fetch_add(1, Ordering::Relaxed);
            if !code.is_ok() {
                break;
            }
        }
    }
}

/// Waits until `count` members have synced in one generation; returns when the last had, and which.
pub(super) async fn settled(
    synced: &mut mpsc::UnboundedReceiver<Synced>,
    count: usize,
    newer_than: i32,
) -> Result<(Instant, i32)> {
    let all = async {
        let (mut generation, mut members) = (newer_than, 0);
        while let Some(one) = synced.recv().await {
            if one.generation > generation {
                (generation, members) = (one.generation, 0);
            }
            members += usize::from(one.generation == generation && generation > newer_than);
            if members == count {
                return Ok((one.at, generation));
            }
        }
        bail!("the members ended")
    };
    timeout(PATIENCE, all).await?
}

const RETRY: Duration = Duration::from_millis(100);
/// A client's default.
const SESSION_MS: i32 = 45_000;
/// Longer than a case takes, and within what brokers allow.
const PATIENT_SESSION_MS: i32 = 600_000;
