//! Partitions that are read apart: one stream each, which a task or a thread may take away.
//!
//! A stream belongs to one ownership of its partition. When that ends, the stream ends with a reason,
//! and what is committed through it is refused: a worker that is late cannot move a partition that is
//! somebody else's by now. A revocation waits until the streams of its partitions are dropped, so
//! whoever reads one may finish, commit and drop it, within the group's deadline.
//!
//! A stream is told what a poll would be told of its partition. What concerns no partition that is owned (the
//! group, a topic that cannot be read) is told to whoever waits for a stream.
//!
//! Each stream has a share of the memory to itself. One that nobody reads from is left out of fetches
//! when its share is full; the others go on.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use kohort_client_core::consumer::buffer::Apart;
use kohort_client_core::consumer::reader::{Limit, Opened, Reader};
use kohort_client_core::consumer::{AssignmentEpoch, OffsetAndMetadata, Position, TopicPartition};
use thiserror::Error;
use tokio::sync::mpsc;

use super::command::Command;
use super::commits::{Commit, Commits};
use super::credits::Unpacking;
use super::error::{CommitRefusal, PollError};
use super::records::{Part, Records};
use super::shared::Shared;
use super::signals::{Signal, StreamEnd};
use crate::cluster::{Cluster, Heard};

/// One partition, read apart from the consumer's polls. Dropping it hands the partition back to them, or to
/// the next stream.
///
/// What a stream was given has to be processed, or it is given again: when a stream is dropped, by a worker that
/// panics or returns early as well, reading goes on after the last record its reader is *done with* in this
/// ownership. Done with is what
/// - was given before the latest call of [`next`](Self::next): asking for more says so;
/// - lies before an offset committed, through the stream or the consumer, whether or not the commit succeeds.
///
/// If there is none of either, reading goes back to where the stream began, or to the latest seek. Whoever stops
/// without either, but is done with everything, says so by [`release`](Self::release).
///
/// ```no_run
/// use kohort::consumer::{Consumer, PartitionStream, StreamError};
///
/// # async fn f(consumer: Consumer) -> Result<(), Box<dyn std::error::Error>> {
/// async fn work(mut stream: PartitionStream) -> Result<(), StreamError> {
///     loop {
///         let records = stream.next().await?;
///         for record in &records {
///             println!("{} @{}", stream.partition(), record.offset);
///         }
///         let _ = stream.commit().await; // refused once the partition is somebody else's
///     }
/// }
/// loop {
///     tokio::spawn(work(consumer.next_stream().await?));
/// }
/// # }
/// ```
pub struct PartitionStream {
    partition: TopicPartition,
    epoch: AssignmentEpoch,
    shared: Arc<Shared>,
    signal: Arc<Signal>,
    reader: Reader,
    commits: Commits,
    commands: mpsc::WeakUnboundedSender<Command>,
    cluster: Cluster,
    /// The refusals of the cluster that were told.
    heard: Heard,
}

/// Why a stream gave no records.
#[derive(Debug, Clone, Error)]
#[non_exhaustive]
pub enum StreamError {
    /// The stream is over.
    #[error(transparent)]
    Ended(#[from] StreamEnd),
    /// The partition cannot be read now, as a poll would tell. The stream goes on once the cause is gone:
    /// after a seek, say.
    #[error(transparent)]
    Poll(#[from] PollError),
}

impl StreamError {
    /// Returns whether the same call may succeed later without anybody changing configuration, rights or
    /// code: see [`PollError::is_retriable`]. A stream that has ended gives nothing more.
    pub fn is_retriable(&self) -> bool {
        match self {
            Self::Ended(_) => false,
            Self::Poll(error) => error.is_retriable(),
        }
    }
}

impl PartitionStream {
    pub(super) fn take(
        shared: &Arc<Shared>,
        partition: &TopicPartition,
        commits: Commits,
        commands: mpsc::WeakUnboundedSender<Command>,
        cluster: Cluster,
        reader: Reader,
    ) -> Option<Self> {
        // Both under the buffer's lock: whoever ends ownerships holds it as well.
        let mut buffer = shared.buffer.lock();
        let epoch = buffer.set_apart(partition)?;
        let signal = shared.streams.add(partition, epoch);
        drop(buffer);
        if let Some(commands) = commands.upgrade() {
            // A closed consumer's streams have ended.
            let _ = commands.send(Command::Apart(partition.clone(), epoch, true));
        }
        Some(Self {
            partition: partition.clone(),
            epoch,
            shared: shared.clone(),
            signal,
            reader,
            commits,
            commands,
            cluster,
            heard: Heard::default(),
        })
    }

    /// Returns the partition.
    pub fn partition(&self) -> &TopicPartition {
        &self.partition
    }

    /// Waits for records and returns what is there, as whole batches. Asking for more says that the
    /// records before are processed: auto commit goes by that. Cancel-safe.
    ///
    /// # Errors
    /// [`StreamError::Ended`] from the end of the ownership on. [`StreamError::Poll`] where a poll would
    /// fail: without an offset to start from, over damaged data, when brokers refuse the partition, its
    /// topic or this client. Like a poll's, each is told once, except for what lasts.
    pub async fn next(&mut self) -> Result<Records, StreamError> {
        let signal = self.signal.clone();
        let _reading = self.shared.reading();
        self.shared.buffer.lock().processed_apart(&self.partition, self.epoch);
        loop {
            let ready = signal.ready.notified();
            tokio::pin!(ready);
            // From here on no wake-up is missed, although nobody waits yet.
            ready.as_mut().enable();
            let shared = self.shared.clone();
            let room = shared.credits.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if let Some(end) = *signal.end.lock() {
                return Err(end.into());
            }
            if let Some(records) = self.take_now()? {
                return Ok(records);
            }
            if let Some(fault) = shared.take_fault_of(&self.partition) {
                return Err(fault.into());
            }
            let _waiting = signal.wait();
            shared.credits.look_again();
            tokio::select! {
                () = ready => {}
                () = room => {}
                refusal = self.cluster.refused_anew(&self.heard) => {
                    return Err(PollError::from(refusal).into());
                }
            }
        }
    }

    /// Hands the partition back and says that all that was given is processed: reading goes on after it,
    /// and auto commit takes it. Nothing is committed by this itself.
    pub fn release(self) {
        self.shared.buffer.lock().processed_apart(&self.partition, self.epoch);
    }

    /// Returns the next offset after what was given; `None` while it is being looked up.
    pub fn position(&self) -> Option<i64> {
        self.given().map(|position| position.offset)
    }

    /// Commits what was given so far. It happens whether or not it is awaited, and is refused once the
    /// partition is owned no more.
    pub fn commit(&self) -> Commit {
        let given = self.given();
        self.commit_position(given.map(|given| OffsetAndMetadata {
            offset: given.offset,
            leader_epoch: given.leader_epoch,
            metadata: String::new(),
        }))
    }

    /// Commits an offset, which is the next one to read; see [`commit`](Self::commit).
    pub fn commit_offset(&self, offset: impl Into<OffsetAndMetadata>) -> Commit {
        self.commit_position(Some(offset.into()))
    }

    fn commit_position(&self, offset: Option<OffsetAndMetadata>) -> Commit {
        let owned = self.shared.buffer.lock().given(&self.partition).map(|(epoch, _)| epoch);
        if owned != Some(self.epoch) {
            return Commit::refused(self.partition.clone(), CommitRefusal::NotOwned);
        }
        let offset = offset.map(|offset| (self.partition.clone(), offset, Some(self.epoch)));
        self.commits.commit(offset.into_iter().collect(), None)
    }

    fn given(&self) -> Option<Position> {
        let buffer = self.shared.buffer.lock();
        let (epoch, given) = buffer.given(&self.partition)?;
        given.filter(|_| epoch == self.epoch)
    }

    /// Takes what is there, without waiting.
    fn take_now(&mut self) -> Result<Option<Records>, StreamError> {
        loop {
            let taken = self.shared.buffer.lock().take_apart(&self.partition, self.epoch);
            let chunk = match taken {
                Apart::Chunk(chunk) => *chunk,
                Apart::Nothing => return Ok(None),
                Apart::Ended => {
                    let end = *self.signal.end.lock();
                    return Err(end.unwrap_or(StreamEnd::Unassigned).into());
                }
            };
            let sequence = chunk.delivery.position_epoch;
            let unpacking = Unpacking::new(&self.shared.credits, self.signal.may_exceed());
            let opened = self.reader.open(chunk, BATCHES, &unpacking);
            let Opened { batches, records: count, position, rest, error, no_room, .. } = opened;
            let mut buffer = self.shared.buffer.lock();
            if !buffer.give(&self.partition, sequence, position, count > 0) {
                continue;
            }
            if let Some(rest) = rest {
                buffer.put_back(rest);
            }
            drop(buffer);
            self.shared.credits.look_again();
            if count > 0 {
                let parts = vec![Part::new(self.partition.clone(), batches)];
                let unread = Arc::new(AtomicUsize::new(1));
                let lease = Some(self.signal.lease.clone());
                return Ok(Some(Records { parts, count, unread, _lease: lease }));
            }
            if let Some(error) = error {
                return Err(StreamError::Poll(error.into()));
            }
            if no_room {
                return Ok(None);
            }
        }
    }
}

impl Drop for PartitionStream {
    fn drop(&mut self) {
        {
            let mut buffer = self.shared.buffer.lock();
            self.shared.streams.remove(&self.partition, self.epoch);
            buffer.rejoin(&self.partition, self.epoch);
        }
        // There may be records for a poll, or something to be told.
        self.shared.ready.notify_waiters();
        self.shared.streams.owned.notify_waiters();
        if let Some(commands) = self.commands.upgrade() {
            let _ = commands.send(Command::Apart(self.partition.clone(), self.epoch, false));
        }
    }
}

impl fmt::Debug for PartitionStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PartitionStream")
            .field("partition", &self.partition)
            .field("epoch", &self.epoch)
            .finish_non_exhaustive()
    }
}

/// Enough records for what is done once for each poll not to matter, and few enough to be in the
/// processor's cache still, from when they were checked, when they are read.
pub(super) const BATCHES: Limit = Limit { records: usize::MAX, bytes: 256 * 1024 };
