//! Taking records: by polls, which partitions share, or by a stream for each partition.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use kohort_client_core::consumer::reader::{Limit, Reader};
use tokio::time::Instant;

use super::command::Command;
use super::credits::Unpacking;
use super::records::Part;
use super::streams::BATCHES;
use super::{Consumer, ConsumerError, PartitionStream, PollError, Records, TopicPartition};

impl Consumer {
    /// Waits up to `timeout` for records and returns what is there, at most `max.poll.records`;
    /// none when the time is up.
    ///
    /// Polling again says that the records of earlier polls are processed: auto commit goes by that.
    /// A member that does not poll for `max.poll.interval.ms` leaves its group, and returns with the
    /// next poll. Cancel-safe.
    ///
    /// # Errors
    /// [`PollError::NotSubscribed`] at once if nothing is subscribed to or assigned.
    pub async fn poll(&self, timeout: Duration) -> Result<Records, PollError> {
        self.poll_up_to(Limit::records(self.settings.max_poll_records), timeout).await
    }

    /// Polls for whole batches: `max.poll.records` does not limit them, and the answer has at least
    /// one batch and about a quarter of a megabyte. The least costly way to read; see
    /// [`Records::batches`].
    ///
    /// # Errors
    /// As [`poll`](Self::poll).
    pub async fn batches(&self, timeout: Duration) -> Result<Records, PollError> {
        self.poll_up_to(BATCHES, timeout).await
    }

    async fn poll_up_to(&self, limit: Limit, timeout: Duration) -> Result<Records, PollError> {
        let mut deadline = Instant::now().checked_add(timeout);
        let _polling = self.shared.polling();
        self.begin_poll();
        if let Some(why) = self.shared.nothing_to_come() {
            return Err(why);
        }
        loop {
            let ready = self.shared.ready.notified();
            tokio::pin!(ready);
            // From here on no wake-up is missed, although nobody waits yet.
            ready.as_mut().enable();
            let room = self.shared.credits.room.notified();
            tokio::pin!(room);
            room.as_mut().enable();
            if let Some(records) = self.take(limit)? {
                return Ok(records);
            }
            let lasting = self.shared.lasting_fault();
            if lasting.is_some() && deadline.is_none() {
                deadline = Some(Instant::now() + TOLD_AGAIN_AFTER);
            }
            if deadline.is_some_and(|deadline| Instant::now() >= deadline) {
                let refusal = self.cluster.unheard_refusal(&self.heard).map(PollError::from);
                return refusal.or(lasting).map_or_else(|| Ok(Records::default()), Err);
            }
            tokio::select! {
                () = &mut ready => {}
                () = &mut room => {}
                () = self.wait_until(deadline) => {}
                refusal = self.cluster.refused_anew(&self.heard) => return Err(refusal.into()),
            }
        }
    }

    /// Takes a partition out of the polls, to be read apart: by another task or thread, say.
    ///
    /// # Errors
    /// [`ConsumerError::NotAssigned`], also for a partition that has a stream.
    pub fn stream(&self, partition: &TopicPartition) -> Result<PartitionStream, ConsumerError> {
        let stream = self.take_apart(partition);
        stream.ok_or_else(|| ConsumerError::NotAssigned { partition: partition.clone() })
    }

    /// Waits for a partition that no stream has yet and takes it out of the polls. Called again and
    /// again, it gives a stream for each partition that is assigned, now and later. Cancel-safe.
    ///
    /// # Errors
    /// What [`poll`](Self::poll) tells of the group, of topics and of the cluster; what is wrong with a
    /// partition is told by its stream. [`PollError::NotSubscribed`] as from [`poll`](Self::poll). Whoever of several calls and polls comes first hears it.
    pub async fn next_stream(&self) -> Result<PartitionStream, PollError> {
        if let Some(why) = self.shared.nothing_to_come() {
            return Err(why);
        }
        let _waiting = self.shared.streams.wait();
        let mut tell_at = None;
        loop {
            let owned = self.shared.streams.owned.notified();
            tokio::pin!(owned);
            // From here on no wake-up is missed, although nobody waits yet.
            owned.as_mut().enable();
            if let Some(end) = self.shared.ended() {
                return Err(end);
            }
            let free = self.shared.buffer.lock().first_not_apart().cloned();
            if let Some(partition) = free {
                if let Some(stream) = self.take_apart(&partition) {
                    return Ok(stream);
                }
                continue;
            }
            if let Some(fault) = self.shared.take_common_fault() {
                return Err(fault);
            }
            if let Some(lasting) = self.shared.lasting_fault()
                && Instant::now()
                    >= *tell_at.get_or_insert_with(|| Instant::now() + TOLD_AGAIN_AFTER)
            {
                return Err(lasting);
            }
            tokio::select! {
                () = owned => {}
                () = self.wait_until(tell_at) => {}
                refusal = self.cluster.refused_anew(&self.heard) => return Err(refusal.into()),
            }
        }
    }

    /// Waits until then, or for ever.
    async fn wait_until(&self, time: Option<Instant>) {
        match time {
            Some(time) => drop(self.driver.sleep_until(time).await),
            None => std::future::pending().await,
        }
    }

    fn take_apart(&self, partition: &TopicPartition) -> Option<PartitionStream> {
        let (commits, commands) = (self.commits.clone(), self.commands.downgrade());
        let reader = Reader::new(self.settings.reader);
        let cluster = self.cluster.clone();
        PartitionStream::take(&self.shared, partition, commits, commands, cluster, reader)
    }

    /// Says that the records of earlier polls are processed, and what waited for that.
    fn begin_poll(&self) {
        self.shared.whereabouts.note();
        self.shared.buffer.lock().begin_poll();
        let waiting = self.shared.revocation.lock().take();
        if let Some(ticket) = waiting {
            self.shared.buffer.lock().give_back(|_| true);
            let _ = self.commands.send(Command::GiveBack(ticket));
        }
        if self.shared.away.swap(false, Ordering::SeqCst) {
            let _ = self.commands.send(Command::Back);
        }
    }

    /// Takes what is there, without waiting.
    fn take(&self, limit: Limit) -> Result<Option<Records>, PollError> {
        if let Some(end) = self.shared.ended() {
            return Err(end);
        }
        let mut reader = self.reader.lock();
        let mut parts: Vec<Part> = Vec::new();
        let (mut count, mut bytes, mut taken) = (0, 0, 0);
        let mut broken = None;
        let unpacking = Unpacking::new(&self.shared.credits, self.shared.may_exceed());
        while count < limit.records && bytes < limit.bytes {
            let Some(chunk) = self.shared.buffer.lock().take() else { break };
            let (partition, epoch) =
                (chunk.delivery.partition.clone(), chunk.delivery.position_epoch);
            let room = Limit { records: limit.records - count, bytes: limit.bytes - bytes };
            taken += chunk.delivery.records.len() as i64;
            let opened = reader.open(chunk, room, &unpacking);
            let mut buffer = self.shared.buffer.lock();
            let has_records = opened.records > 0;
            taken -= opened.rest.as_ref().map_or(0, |rest| rest.delivery.records.len() as i64);
            if !buffer.give(&partition, epoch, opened.position, has_records) {
                continue;
            }
            match opened.rest {
                Some(rest) if opened.error.is_some() => buffer.put_back_last(rest),
                Some(rest) => buffer.put_back(rest),
                None => {}
            }
            drop(buffer);
            if has_records {
                count += opened.records;
                bytes += opened.bytes;
                parts.push(Part::new(partition, opened.batches));
            }
            if let Some(error) = opened.error {
                broken = Some(error);
                break;
            }
            if opened.no_room {
                break;
            }
        }
        drop(reader);
        self.shared.credits.took(taken);
        if !parts.is_empty() {
            let unread = Arc::new(AtomicUsize::new(parts.len()));
            *self.shared.unread.lock() = unread.clone();
            let lease = Some(self.shared.lease.clone());
            return Ok(Some(Records { parts, count, unread, _lease: lease }));
        }
        self.shared.credits.look_again();
        match broken.map(PollError::Corrupt).or_else(|| self.shared.take_fault()) {
            Some(error) => Err(error),
            None => Ok(None),
        }
    }
}

/// How long whoever sets no time waits until what ended the membership is told again: the longest back-off
/// between two attempts, if there were any.
const TOLD_AGAIN_AFTER: Duration = Duration::from_secs(1);
