//! One member of a classic group.

use std::sync::Arc;

use bytes::Bytes;
use kohort_protocol::messages::consumer_protocol::ConsumerProtocolSubscription;
use kohort_protocol::messages::join_group::JoinGroupRequestProtocol;
use kohort_protocol::{DecodeError, Reader};

use crate::group::hold::Held;
use crate::group::own::own;
use crate::group::presence::Presence;
use crate::group::record::ClassicMemberMetadata;
use crate::group::who::Who;
use crate::outcome::ReplyTo;
use crate::timers::Alarm;

/// One member: what it said when it joined, and the request of its that waits for an answer.
///
/// All of it is soft state; what the log keeps of a member is its [`ClassicMemberMetadata`].
#[derive(Debug)]
pub(crate) struct ClassicMember {
    pub(super) id: Arc<str>,
    /// The name of a static member (KIP-345).
    pub(super) instance_id: Option<Arc<str>>,
    pub(super) client_id: Arc<str>,
    pub(super) client_host: Arc<str>,
    pub(super) session_timeout_ms: i32,
    pub(super) rebalance_timeout_ms: i32,
    pub(super) protocols: Protocols,
    pub(super) session: Alarm,
    pub(super) presence: Presence,
    pub(super) held: Held,
    /// It has not been answered its first JoinGroup yet. Until then it cannot send heartbeats, so
    /// it may be expired even while parked (KAFKA-7610).
    pub(super) is_new: bool,
    pub(super) parked: Parked,
}

/// One who was given an id with MEMBER_ID_REQUIRED and has not come back with it yet.
#[derive(Debug, Default)]
pub(crate) struct PendingMember {
    pub(super) session: Alarm,
    pub(super) presence: Presence,
}

/// A request that is answered later.
#[derive(Debug, Default)]
pub(super) enum Parked {
    /// Nothing waits.
    #[default]
    Nothing,
    /// A JoinGroup waits for the end of the join phase.
    Join {
        from: ReplyTo,
        /// The version to answer in.
        version: i16,
    },
    /// A SyncGroup waits for the leader's assignment.
    Sync { from: ReplyTo },
}

impl ClassicMember {
    /// Returns by what people know it.
    pub(super) fn who(&self) -> Who {
        Who {
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            instance_id: self.instance_id.clone(),
        }
    }

    /// Rebuilds a member of a stable group from what the log keeps of it: only the metadata for
    /// the chosen protocol is known.
    pub(super) fn from_metadata(metadata: &ClassicMemberMetadata, protocol: &Arc<str>) -> Self {
        Self {
            id: metadata.member_id.clone(),
            instance_id: metadata.instance_id.clone(),
            client_id: metadata.client_id.clone(),
            client_host: metadata.client_host.clone(),
            session_timeout_ms: metadata.session_timeout_ms,
            rebalance_timeout_ms: metadata.rebalance_timeout_ms,
            protocols: Protocols(vec![(protocol.clone(), metadata.subscription.clone())]),
            session: Alarm::default(),
            presence: Presence::default(),
            held: Held::default(),
            is_new: false,
            parked: Parked::Nothing,
        }
    }

    /// Returns what the log is to keep of the member.
    pub(super) fn to_metadata(&self, protocol: &str, assignment: Bytes) -> ClassicMemberMetadata {
        ClassicMemberMetadata {
            member_id: self.id.clone(),
            instance_id: self.instance_id.clone(),
            client_id: self.client_id.clone(),
            client_host: self.client_host.clone(),
            rebalance_timeout_ms: self.rebalance_timeout_ms,
            session_timeout_ms: self.session_timeout_ms,
            subscription: self.protocols.metadata(protocol).cloned().unwrap_or_default(),
            assignment,
        }
    }

    pub(super) fn is_static(&self) -> bool {
        self.instance_id.is_some()
    }

    pub(super) fn awaits_join(&self) -> bool {
        matches!(self.parked, Parked::Join { .. })
    }

    pub(super) fn awaits_sync(&self) -> bool {
        matches!(self.parked, Parked::Sync { .. })
    }
}

/// The protocols a member can speak, most wanted first, each with its metadata.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Protocols(Vec<(Arc<str>, Bytes)>);

impl Protocols {
    /// Takes the protocols of a JoinGroup. A name given twice counts once.
    pub(super) fn from_request(protocols: &[JoinGroupRequestProtocol]) -> Self {
        let mut known: Vec<(Arc<str>, Bytes)> = Vec::with_capacity(protocols.len().min(8));
        for protocol in protocols {
            if known.iter().all(|(name, _)| **name != *protocol.name) {
                known.push((protocol.name.as_str().into(), own(&protocol.metadata)));
            }
        }
        Self(known)
    }

    pub(super) fn from_list(protocols: Vec<(Arc<str>, Bytes)>) -> Self {
        Self(protocols)
    }

    pub(super) fn to_vec(&self) -> Vec<(Arc<str>, Bytes)> {
        self.0.clone()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        self.0.iter().map(|(name, _)| name)
    }

    pub(super) fn metadata(&self, protocol: &str) -> Option<&Bytes> {
        let found = self.0.iter().find(|(name, _)| **name == *protocol);
        found.map(|(_, metadata)| metadata)
    }
}

/// Reads the topics of a `consumer` member's metadata.
///
/// The bytes are between the members and none of the coordinator's business, so only the part that
/// all versions share is read, and whoever calls it must do without an answer.
pub(super) fn subscribed_topics(metadata: &Bytes) -> Result<Vec<String>, DecodeError> {
    let mut reader = Reader::new(metadata);
    reader.read_i16()?;
    Ok(ConsumerProtocolSubscription::decode(&mut reader, 0)?.topics)
}
