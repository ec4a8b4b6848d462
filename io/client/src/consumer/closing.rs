//! The end: what is to be committed is, and the group hears of it.

use std::time::Duration;

use tokio::sync::oneshot;

use super::command::Command;
use super::{CloseError, Consumer, GroupMembershipOperation};

/// How to close a consumer.
#[derive(Debug, Clone, Copy)]
pub struct CloseOptions {
    /// How long it may take to commit and to say goodbye.
    pub timeout: Duration,
    /// Whether to leave the group or to remain in it, for a quick restart. The partitions of a member that remains
    /// are read by nobody until it is back or its session ends. On Kohort that counts on a static member
    /// (`group.instance.id`): a dynamic one that says nothing cannot be told from one that died, and is removed
    /// soon after its connection has closed (`group.disconnect.grace.ms`).
    pub operation: GroupMembershipOperation,
}

impl Default for CloseOptions {
    fn default() -> Self {
        Self { timeout: Duration::from_secs(30), operation: GroupMembershipOperation::Default }
    }
}

impl Consumer {
    /// Commits if auto commit is on, leaves the group (a static member does not) and ends. What was given by earlier polls counts
    /// as processed, and the latest poll's [`Records`](super::Records) do if all of them were read to the end, in whichever
    /// way; if only some were, none of that poll do. A part of `timeout` is kept for leaving.
    /// Whoever shares the consumer is told so, and another call returns the same. Dropping the future does
    /// not stop it.
    ///
    /// # Errors
    /// [`CloseError`]: something was not committed, or `timeout` was too short. The consumer is closed all
    /// the same.
    pub async fn close(&self, timeout: Duration) -> Result<(), CloseError> {
        self.close_with(CloseOptions { timeout, ..CloseOptions::default() }).await
    }

    /// Closes as [`close`](Self::close) does, with more to choose.
    ///
    /// # Errors
    /// As [`close`](Self::close).
    pub async fn close_with(&self, options: CloseOptions) -> Result<(), CloseError> {
        let CloseOptions { timeout, operation } = options;
        let (done, closed) = oneshot::channel();
        // Without a task to take it, it is closed already.
        let _ = self.commands.send(Command::Close { operation, timeout, done });
        let before = || self.shared.close_outcome.get().cloned().unwrap_or(Err(CloseError::Failed));
        closed.await.unwrap_or_else(|_| before())
    }
}
