//! What reaches a shard.

use kohort_coordinator::{ConnectionId, GroupCall, GroupResponse, SurveyedGroup};
use kohort_protocol::ErrorCode;
use std::sync::Arc;
use tokio::sync::oneshot;

/// One request to a shard, and where its answer goes.
#[derive(Debug)]
pub(crate) struct ShardCall {
    pub(crate) call: GroupCall,
    pub(crate) reply: oneshot::Sender<GroupResponse>,
    /// It shows whose its connection is, or that its member is new.
    pub(crate) shows: bool,
}

impl ShardCall {
    /// Answers that the request is not served here and now.
    pub(crate) fn refuse(self, error: ErrorCode) {
        let version = self.call.context.api_version;
        // Whoever asked may be gone.
        let _ = self.reply.send(self.call.request.refuse(version, error));
    }
}

/// What reaches a shard by its queue.
#[derive(Debug)]
pub(crate) enum ShardMessage {
    /// In a box, since it passes through many hands: a call is some 300 bytes.
    Call(Box<ShardCall>),
    /// The peer closed a connection, after what it had sent over it.
    ConnectionClosed(ConnectionId),
}

impl ShardMessage {
    /// Answers, if somebody waits, that nothing is served here and now.
    pub(crate) fn refuse(self, error: ErrorCode) {
        if let Self::Call(call) = self {
            call.refuse(error);
        }
    }

    pub(crate) fn into_call(self) -> Option<Box<ShardCall>> {
        match self {
            Self::Call(call) => Some(call),
            Self::ConnectionClosed(_) => None,
        }
    }
}

impl From<Box<ShardCall>> for ShardMessage {
    fn from(call: Box<ShardCall>) -> Self {
        Self::Call(call)
    }
}

/// A question about what there is in a shard; see [`survey`](kohort_coordinator::GroupShard::survey).
#[derive(Debug)]
pub(crate) struct Survey {
    pub(crate) after: Option<Arc<str>>,
    pub(crate) offsets_max: usize,
    pub(crate) reply: oneshot::Sender<Vec<SurveyedGroup>>,
}
