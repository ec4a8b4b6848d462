//! What reaches a shard, and what comes back.

use crate::counters::UnderWay;
use kohort_coordinator::{ConnectionId, GroupCall, GroupResponse, SurveyedGroup};
use kohort_protocol::ErrorCode;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
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
    /// Puts a call into a box, since it passes through many hands and is some 300 bytes, and returns it with
    /// its answer to come.
    pub(crate) fn new(call: GroupCall, shows: bool) -> (Box<Self>, PendingAnswer) {
        let (reply, answer) = PendingAnswer::new();
        (Box::new(Self { call, reply, shows }), answer)
    }

    /// Answers that the request is not served here and now.
    pub(crate) fn refuse(self, error: ErrorCode) {
        let version = self.call.context.api_version;
        // Whoever asked may be gone.
        let _ = self.reply.send(self.call.request.refuse(version, error));
    }
}

/// One shard's answer, to come.
#[derive(Debug)]
pub(crate) struct PendingAnswer(oneshot::Receiver<GroupResponse>);

impl PendingAnswer {
    pub(super) fn new() -> (oneshot::Sender<GroupResponse>, Self) {
        let (reply, receiver) = oneshot::channel();
        (reply, Self(receiver))
    }
}

impl Future for PendingAnswer {
    /// There is none if the shard panicked.
    type Output = Option<GroupResponse>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(context).map(Result::ok)
    }
}

/// What becomes of a call that was decided.
#[derive(Debug)]
pub(crate) enum Decided {
    /// It is answered.
    Now(GroupResponse),
    /// It is answered when something is durable, or when others have come.
    Later(PendingAnswer),
}

/// What reaches a shard by its queue.
#[derive(Debug)]
pub(crate) enum ShardMessage {
    Call(Box<ShardCall>),
    /// The peer closed a connection, after what it had sent over it.
    ConnectionClosed(ConnectionId),
}

/// A message in the queue, or waiting for room in it.
#[derive(Debug)]
pub(crate) struct Queued {
    pub(super) message: ShardMessage,
    /// Its place in the line, to be given up when it has been decided: until then nobody passes it by.
    pub(super) place: UnderWay,
}

impl Queued {
    /// Answers, if somebody waits, that nothing is served here and now.
    pub(crate) fn refuse(self, error: ErrorCode) {
        if let Some(call) = self.into_call() {
            call.refuse(error);
        }
    }

    pub(crate) fn into_call(self) -> Option<Box<ShardCall>> {
        match self.message {
            ShardMessage::Call(call) => Some(call),
            ShardMessage::ConnectionClosed(_) => None,
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
