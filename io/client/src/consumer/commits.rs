//! Commits on their way to the consumer's thread, from whoever makes them.

use std::collections::BTreeMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::{Context, Poll};
use std::time::Duration;

use kohort_client_core::consumer::committer::CommitFailure;
use kohort_client_core::consumer::{AssignmentEpoch, OffsetAndMetadata, TopicPartition};
use tokio::sync::{mpsc, oneshot};

use super::command::Command;
use super::error::{CommitError, CommitRefusal};
use super::shared::Shared;

/// What is to be committed, and the ownership it belongs to.
pub(super) type Offset = (TopicPartition, OffsetAndMetadata, Option<AssignmentEpoch>);

/// Makes commits for a consumer.
#[derive(Debug, Clone)]
pub(super) struct Commits {
    pub(super) shared: Arc<Shared>,
    /// Weak, so that what outlives the consumer does not keep it from closing.
    pub(super) commands: mpsc::WeakUnboundedSender<Command>,
    pub(super) has_group: bool,
}

impl Commits {
    /// Commits offsets; the future tells the outcome to whoever wants it.
    pub(super) fn commit(&self, offsets: Vec<Offset>, timeout: Option<Duration>) -> Commit {
        let (sender, done) = oneshot::channel();
        self.start(offsets, timeout, |outcome| {
            // Nobody has to wait for a commit.
            let _ = sender.send(outcome);
        });
        Commit { done }
    }

    /// Commits offsets and calls `done` with the outcome.
    pub(super) fn start(
        &self,
        offsets: Vec<Offset>,
        timeout: Option<Duration>,
        done: impl FnOnce(Result<(), CommitError>) + Send + 'static,
    ) {
        if !self.has_group {
            return done(Err(CommitError::NoGroup));
        }
        // The coordinator would take -1 for none, and others as they are.
        if let Some((partition, it, _)) = offsets.iter().find(|(_, it, _)| it.offset < 0) {
            let (partition, offset) = (partition.clone(), it.offset);
            return done(Err(CommitError::NegativeOffset { partition, offset }));
        }
        // Before anything tells that it is processed: see `Application::is_committing`.
        self.shared.commits_sent.fetch_add(1, Ordering::SeqCst);
        let mut buffer = self.shared.buffer.lock();
        for (partition, offset, epoch) in &offsets {
            if let Some(epoch) = epoch {
                buffer.committed(partition, *epoch, offset.offset);
            }
        }
        drop(buffer);
        let mut done = Outcome(Some(done));
        let done = move |failures: Vec<(TopicPartition, CommitFailure)>| {
            if failures.is_empty() {
                return done.tell(Ok(()));
            }
            let failures =
                failures.into_iter().map(|(partition, why)| (partition, why.into())).collect();
            done.tell(Err(CommitError::Partitions { failures }));
        };
        // A command that cannot be sent, or is dropped later, tells that the consumer is closed.
        if let Some(commands) = self.commands.upgrade() {
            let _ = commands.send(Command::Commit { offsets, timeout, done: Box::new(done) });
        }
    }
}

/// Tells the outcome of a commit in any case: if nobody else does, the consumer was closed.
struct Outcome<F: FnOnce(Result<(), CommitError>)>(Option<F>);

impl<F: FnOnce(Result<(), CommitError>)> Outcome<F> {
    fn tell(&mut self, outcome: Result<(), CommitError>) {
        if let Some(done) = self.0.take() {
            done(outcome);
        }
    }
}

impl<F: FnOnce(Result<(), CommitError>)> Drop for Outcome<F> {
    fn drop(&mut self) {
        self.tell(Err(CommitError::Closed));
    }
}

/// A commit under way: awaits its outcome. Dropping it does not undo the commit.
#[must_use = "the commit happens anyway; await it to know whether it succeeded"]
pub struct Commit {
    done: oneshot::Receiver<Result<(), CommitError>>,
}

impl Commit {
    /// A commit that is refused before anybody is asked.
    pub(super) fn refused(partition: TopicPartition, why: CommitRefusal) -> Self {
        let (sender, done) = oneshot::channel();
        let failures = BTreeMap::from([(partition, why)]);
        // The receiver is here.
        let _ = sender.send(Err(CommitError::Partitions { failures }));
        Self { done }
    }
}

impl Future for Commit {
    type Output = Result<(), CommitError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.done).poll(cx).map(|outcome| outcome.unwrap_or(Err(CommitError::Closed)))
    }
}

impl fmt::Debug for Commit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Commit").finish_non_exhaustive()
    }
}
