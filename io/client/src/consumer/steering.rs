//! Where reading goes on, and whether: seeks, pauses, positions.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::command::{Command, SeekTo};
use super::{Consumer, ConsumerError, Position, TopicPartition, lookup};

impl Consumer {
    /// Reads on at `offset`. Records taken by earlier polls stay valid.
    ///
    /// # Errors
    /// [`ConsumerError::NegativeOffset`], and [`ConsumerError::NotAssigned`]. An offset past the partition's
    /// end is noticed later: `auto.offset.reset` says what happens then.
    pub async fn seek(&self, partition: &TopicPartition, offset: i64) -> Result<(), ConsumerError> {
        if offset < 0 {
            return Err(ConsumerError::NegativeOffset { partition: partition.clone(), offset });
        }
        self.seek_to(partition, SeekTo::Position(Position::at(offset))).await
    }

    /// Reads these partitions from their start.
    ///
    /// # Errors
    /// [`ConsumerError::NotAssigned`] for the first of them that is not; those before it are sought. That an
    /// offset cannot be found is told by polls.
    pub async fn seek_to_beginning(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<(), ConsumerError> {
        for partition in partitions {
            self.seek_to(&partition, SeekTo::Time(lookup::EARLIEST)).await?;
        }
        Ok(())
    }

    /// Reads only what is produced to these partitions from now on.
    ///
    /// # Errors
    /// As [`seek_to_beginning`](Self::seek_to_beginning).
    pub async fn seek_to_end(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<(), ConsumerError> {
        for partition in partitions {
            self.seek_to(&partition, SeekTo::Time(lookup::LATEST)).await?;
        }
        Ok(())
    }

    /// Reads on at the first record not older than `timestamp` (Unix milliseconds), or at the end if
    /// there is none.
    ///
    /// # Errors
    /// As [`seek_to_beginning`](Self::seek_to_beginning).
    pub async fn seek_to_time(
        &self,
        partition: &TopicPartition,
        timestamp: i64,
    ) -> Result<(), ConsumerError> {
        self.seek_to(partition, SeekTo::Time(timestamp.max(0))).await
    }

    /// Stops delivering these partitions; what is buffered of them is kept. Polling goes on.
    ///
    /// # Errors
    /// [`ConsumerError::NotAssigned`] if one of them is not; then none is paused.
    pub async fn pause(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<(), ConsumerError> {
        self.set_paused(partitions, true).await
    }

    /// Delivers these partitions again.
    ///
    /// # Errors
    /// As [`pause`](Self::pause).
    pub async fn resume(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<(), ConsumerError> {
        self.set_paused(partitions, false).await
    }

    /// Returns the paused partitions.
    pub fn paused(&self) -> BTreeSet<TopicPartition> {
        self.shared.buffer.lock().paused().cloned().collect()
    }

    /// Returns the owned partitions: none from [`unsubscribe`](Self::unsubscribe) on.
    pub fn assignment(&self) -> BTreeSet<TopicPartition> {
        if self.shared.unsubscribed.load(Ordering::SeqCst) {
            return BTreeSet::new();
        }
        self.shared.buffer.lock().owned().map(|(partition, _)| partition.clone()).collect()
    }

    /// Returns the offset the next poll goes on at; `None` when the partition is not owned or its
    /// offset is still being looked up.
    pub fn position(&self, partition: &TopicPartition) -> Option<i64> {
        self.shared.buffer.lock().given(partition)?.1.map(|position| position.offset)
    }

    /// Returns how many offsets are between the position and the end of the partition; `None` before
    /// the first answer to a fetch.
    pub fn lag(&self, partition: &TopicPartition) -> Option<i64> {
        let buffer = self.shared.buffer.lock();
        let position = buffer.given(partition)?.1?.offset;
        let ends = buffer.watermarks(partition)?;
        let stable = self.settings.read_committed && ends.last_stable_offset >= 0;
        let end = if stable { ends.last_stable_offset } else { ends.high_watermark };
        (end >= 0).then(|| (end - position).max(0))
    }

    async fn seek_to(&self, partition: &TopicPartition, to: SeekTo) -> Result<(), ConsumerError> {
        if self.ask(|done| Command::Seek(partition.clone(), to, done)).await? {
            Ok(())
        } else {
            Err(ConsumerError::NotAssigned { partition: partition.clone() })
        }
    }

    async fn set_paused(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
        paused: bool,
    ) -> Result<(), ConsumerError> {
        let partitions = partitions.into_iter().collect();
        let outcome = self.ask(|done| Command::Pause(partitions, paused, done)).await?;
        outcome.map_err(|partition| ConsumerError::NotAssigned { partition })
    }
}
