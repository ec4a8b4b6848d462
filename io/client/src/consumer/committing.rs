//! Committing what was read, or chosen offsets.

use kohort_client_core::consumer::AssignmentEpoch;
use kohort_client_core::panics::caught;

use super::commits::Offset;
use super::{Commit, CommitError, Consumer, OffsetAndMetadata, Position, TopicPartition};
use crate::net::unbound;

impl Consumer {
    /// Commits what was given so far and waits until it is done: every record of the latest poll
    /// counts as processed.
    ///
    /// # Errors
    /// [`CommitError::Partitions`] for what was not committed in `default.api.timeout.ms`, was refused, or is
    /// another member's by now; [`CommitError::NoGroup`]; [`CommitError::Closed`] if the consumer closed first.
    pub async fn commit_sync(&self) -> Result<(), CommitError> {
        self.commits.commit(self.given(), None).await
    }

    /// Commits these offsets and waits until it is done. An offset is the next one to read. It may lie
    /// before what was committed already: what is asked for is committed, and whoever reads there next goes back.
    ///
    /// # Errors
    /// As [`commit_sync`](Self::commit_sync), and [`CommitError::NegativeOffset`], before anything is committed.
    pub async fn commit_offsets_sync(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Result<(), CommitError> {
        self.commits.commit(self.with_epochs(offsets), None).await
    }

    /// Commits what was given so far. The commit happens whether or not its future is awaited, and
    /// commits complete in the order they were made.
    pub fn commit_async(&self) -> Commit {
        self.commits.commit(self.given(), None)
    }

    /// Commits these offsets; see [`commit_async`](Self::commit_async).
    pub fn commit_offsets_async(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Commit {
        self.commits.commit(self.with_epochs(offsets), None)
    }

    /// Commits what was given so far and calls `callback` with the outcome, in the order of the
    /// commits. It runs on the consumer's thread, so it must not block. One that panics is logged as an
    /// error, and the consumer goes on.
    pub fn commit_with(&self, callback: impl FnOnce(Result<(), CommitError>) + Send + 'static) {
        self.commits.start(self.given(), None, |outcome| {
            if let Err(said) = caught(|| unbound(|| callback(outcome))) {
                tracing::error!(said, "the callback of a commit panicked");
            }
        });
    }

    fn given(&self) -> Vec<Offset> {
        let given = self.shared.buffer.lock().all_given();
        let offset = |(partition, epoch, position): (TopicPartition, AssignmentEpoch, Position)| {
            let offset = OffsetAndMetadata {
                offset: position.offset,
                leader_epoch: position.leader_epoch,
                metadata: String::new(),
            };
            (partition, offset, Some(epoch))
        };
        given.into_iter().map(offset).collect()
    }

    fn with_epochs(
        &self,
        offsets: impl IntoIterator<Item = (TopicPartition, OffsetAndMetadata)>,
    ) -> Vec<Offset> {
        let buffer = self.shared.buffer.lock();
        let with_epoch = |(partition, offset): (TopicPartition, OffsetAndMetadata)| {
            let epoch = buffer.given(&partition).map(|(epoch, _)| epoch);
            (partition, offset, epoch)
        };
        offsets.into_iter().map(with_epoch).collect()
    }
}
