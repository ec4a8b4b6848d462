//! Members of a consumer group (KIP-848): they heartbeat as often as they are told, let go of what they
//! are to let go of at once, and say so.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use kohort_protocol::messages::ConsumerGroupHeartbeatRequest;
use kohort_protocol::messages::consumer_group_heartbeat::ConsumerGroupHeartbeatRequestTopicPartitions;
use kohort_protocol::{ErrorCode, Uuid};
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;

use super::peer::{PATIENCE, Peer};

/// A member has these partitions from now on.
#[derive(Debug)]
pub(super) struct Owns {
    number: usize,
    partitions: BTreeSet<i32>,
    at: Instant,
}

/// What all members of a group share.
#[derive(Debug, Clone)]
pub(super) struct Shared {
    pub(super) group: Arc<str>,
    pub(super) topic: Arc<str>,
    pub(super) owns: mpsc::UnboundedSender<Owns>,
    /// How many members are to leave.
    pub(super) leaving: watch::Receiver<usize>,
    /// Heartbeats that were answered.
    pub(super) beats: Arc<AtomicU64>,
}

/// A member: what it says next.
#[derive(Debug)]
pub(super) struct Member(ConsumerGroupHeartbeatRequest);

/// What a member is told.
#[derive(Debug)]
pub(super) struct Told {
    /// When it is to say something again.
    pub(super) interval: Duration,
    /// What it has from now on, if that changed.
    pub(super) owns: Option<BTreeSet<i32>>,
}

impl Member {
    /// Returns the member of that number, which has not joined yet.
    pub(super) fn new(group: &str, topic: &str, number: usize) -> Self {
        let id = Uuid(((number as u128 + 1) << 64 | 0x4000).to_be_bytes());
        Self(ConsumerGroupHeartbeatRequest {
            group_id: group.to_owned(),
            member_id: id.to_string(),
            rebalance_timeout_ms: 300_000,
            subscribed_topic_names: Some(vec![topic.to_owned()]),
            topic_partitions: Some(Vec::new()),
            ..ConsumerGroupHeartbeatRequest::default()
        })
    }

    /// Joins or heartbeats. What it is told to have it has, and says so the next time.
    pub(super) async fn beat(&mut self, peer: &mut Peer) -> Result<Told> {
        let request = &mut self.0;
        let answer = loop {
            let answer = peer.call(request, 1).await?;
            match answer.error_code {
                ErrorCode::NONE => break answer,
                code if code.is_retriable() => tokio::time::sleep(RETRY).await,
                code => bail!("a heartbeat was answered with {code}: {:?}", answer.error_message),
            }
        };
        request.member_epoch = answer.member_epoch;
        request.rebalance_timeout_ms = -1;
        request.subscribed_topic_names = None;
        request.topic_partitions = None;
        let interval = Duration::from_millis(answer.heartbeat_interval_ms.unsigned_abs().into());
        let Some(assignment) = answer.assignment else {
            return Ok(Told { interval, owns: None });
        };
        let topics = assignment.topic_partitions.into_iter();
        let topics: Vec<_> = topics
            .map(|topic| ConsumerGroupHeartbeatRequestTopicPartitions {
                topic_id: topic.topic_id,
                partitions: topic.partitions,
            })
            .collect();
        let owns = topics.iter().flat_map(|topic| topic.partitions.iter().copied()).collect();
        request.topic_partitions = Some(topics);
        Ok(Told { interval, owns: Some(owns) })
    }

    /// Leaves the group.
    pub(super) async fn leave(&mut self, peer: &mut Peer) -> Result<()> {
        self.0.member_epoch = -1;
        peer.call(&self.0, 1).await?;
        Ok(())
    }
}

/// Runs one member until it is told to leave.
pub(super) async fn run(mut peer: Peer, number: usize, mut shared: Shared) -> Result<()> {
    let mut member = Member::new(&shared.group, &shared.topic, number);
    loop {
        let sent = Instant::now();
        let Told { interval, owns } = member.beat(&mut peer).await?;
        shared.beats.fetch_add(1, Ordering::Relaxed);
        if let Some(partitions) = owns {
            let _ = shared.owns.send(Owns { number, partitions, at: Instant::now() });
            continue;
        }
        let rest = interval.saturating_sub(sent.elapsed());
        let leaves = shared.leaving.wait_for(|leaving| number < *leaving);
        let leaves = async { leaves.await.map(|_| ()) };
        match timeout(rest, leaves).await {
            Ok(Ok(())) => return member.leave(&mut peer).await,
            Ok(Err(_)) => return Ok(()),
            Err(_) => {}
        }
    }
}

/// Waits until the members that are left own all partitions and each its share; returns when.
pub(super) async fn settled(
    owns: &mut mpsc::UnboundedReceiver<Owns>,
    owned: &mut [BTreeSet<i32>],
    gone: usize,
    partitions: usize,
) -> Result<Instant> {
    owned[..gone].iter_mut().for_each(BTreeSet::clear);
    let all = async {
        while let Some(Owns { number, partitions: now, at }) = owns.recv().await {
            if number >= gone {
                owned[number] = now;
            }
            let members = owned.len() - gone;
            let (least, most) = (partitions / members, partitions.div_ceil(members));
            let sum: usize = owned.iter().map(BTreeSet::len).sum();
            let even = || owned[gone..].iter().all(|of| (least..=most).contains(&of.len()));
            if sum == partitions && even() {
                let distinct: BTreeSet<i32> = owned.iter().flatten().copied().collect();
                if distinct.len() == partitions {
                    return Ok(at);
                }
            }
        }
        bail!("the members ended")
    };
    timeout(PATIENCE, all).await?
}

const RETRY: Duration = Duration::from_millis(100);
