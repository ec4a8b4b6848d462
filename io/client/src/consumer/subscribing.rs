//! What is read: topics of a group, a pattern of them, or chosen partitions; and what the application hears of that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use kohort_client_core::consumer::Regex;
use tokio::sync::mpsc;

use super::command::Command;
use super::events::EVENTS_WAITING_MAX;
use super::{Consumer, ConsumerError, RebalanceEvents, TopicPartition, pattern};

impl Consumer {
    /// Joins the group for these topics, in place of whatever was subscribed or assigned before.
    /// Joining goes on in the background; no topics leave the group.
    ///
    /// # Errors
    /// [`ConsumerError::NoGroup`], and [`ConsumerError::Closed`]. What the group refuses is told by polls.
    pub fn subscribe<T: AsRef<str>>(
        &self,
        topics: impl IntoIterator<Item = T>,
    ) -> Result<(), ConsumerError> {
        if self.settings.group_id.is_none() {
            return Err(ConsumerError::NoGroup);
        }
        let topics: BTreeSet<_> =
            topics.into_iter().map(|topic| Arc::from(topic.as_ref())).collect();
        self.want(!topics.is_empty());
        self.send(Command::Subscribe(topics, None))
    }

    /// Joins the group for whichever topics match a regular expression, now and later, in place of
    /// whatever was subscribed or assigned before. The whole name has to match; new topics are noticed
    /// within `metadata.max.age.ms`, by each member in its own time. The broker's own topics match only without
    /// `exclude.internal.topics`. While no topic matches, the consumer is outside the group.
    ///
    /// With `group.protocol=consumer` a topic that appears can move partitions of the others: members see it
    /// one after the other, and the coordinator, which evens out how much each of them has, gives all of it to
    /// the first that did and what that one had to the rest. So it is with Java's consumer. With
    /// [`subscribe_regex`](Self::subscribe_regex) the coordinator sees it for all of them at once.
    ///
    /// ```no_run
    /// # fn f(consumer: &kohort::consumer::Consumer) -> Result<(), kohort::consumer::ConsumerError> {
    /// consumer.subscribe_pattern(r"orders-(eu|us)-\d+")?;
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// [`ConsumerError::Pattern`], and as [`subscribe`](Self::subscribe).
    pub fn subscribe_pattern(&self, pattern: &str) -> Result<(), ConsumerError> {
        if self.settings.group_id.is_none() {
            return Err(ConsumerError::NoGroup);
        }
        let pattern = pattern::compile(pattern, self.settings.exclude_internal_topics)?;
        self.want(true);
        self.send(Command::SubscribePattern(pattern))
    }

    /// Joins the group for whichever topics match a regular expression of RE2's syntax, now and later, in
    /// place of whatever was subscribed or assigned before. The coordinator matches it, as soon as it hears
    /// of new topics (`group.protocol=consumer`); in a classic group this is
    /// [`subscribe_pattern`](Self::subscribe_pattern).
    ///
    /// # Errors
    /// As [`subscribe`](Self::subscribe). In a classic group [`ConsumerError::Pattern`]; elsewhere the coordinator says
    /// what is no expression, and polls tell it.
    pub fn subscribe_regex(&self, regex: &str) -> Result<(), ConsumerError> {
        if self.settings.group_id.is_none() {
            return Err(ConsumerError::NoGroup);
        }
        let here = pattern::compile(regex, self.settings.exclude_internal_topics);
        let here = match here {
            Err(error) if self.settings.matches_here => return Err(error),
            here => here.ok(),
        };
        self.want(true);
        self.send(Command::SubscribeRegex(Regex { text: regex.into(), here }))
    }

    /// Returns the topics subscribed to or assigned from: of a pattern, those that match by now;
    /// none of an expression that the coordinator matches.
    ///
    /// # Errors
    /// [`ConsumerError::Closed`] and [`ConsumerError::Failed`], once the consumer is one of both.
    pub async fn subscription(&self) -> Result<BTreeSet<Arc<str>>, ConsumerError> {
        Ok(self.ask(Command::Status).await?.topics)
    }

    /// Leaves the group, or drops the assigned partitions. Once it returns, nothing is assigned and nothing
    /// more is polled. The goodbye follows in the background: what was processed is committed first if auto
    /// commit is on, and a [`RevocationGuard`](super::RevocationGuard) or a [`PartitionStream`](super::PartitionStream) that is still there may commit what
    /// it has until it is dropped.
    ///
    /// # Errors
    /// [`ConsumerError::Closed`] and [`ConsumerError::Failed`], once the consumer is one of both.
    pub async fn unsubscribe(&self) -> Result<(), ConsumerError> {
        if self.settings.group_id.is_some() {
            self.want(false);
            return self.ask(|done| Command::Subscribe(BTreeSet::new(), Some(done))).await;
        }
        self.assign([]).await
    }

    /// Reads these partitions, with no group sharing them out. With a `group.id`, reading starts at
    /// its committed offsets, and commits work. Partitions assigned before go on where they are.
    ///
    /// # Errors
    /// [`ConsumerError::Closed`] and [`ConsumerError::Failed`], once the consumer is one of both. Partitions that
    /// are not there are told by polls.
    pub async fn assign(
        &self,
        partitions: impl IntoIterator<Item = TopicPartition>,
    ) -> Result<(), ConsumerError> {
        let partitions: BTreeSet<_> = partitions.into_iter().collect();
        self.want(!partitions.is_empty());
        self.ask(|done| Command::Assign(partitions, done)).await
    }

    /// Starts to receive what happens to the partitions, in place of an earlier receiver. From here on
    /// a revocation waits for its guard to be dropped, not for the next poll.
    ///
    /// So a receiver that is kept has to be read: a guard that lies in it unread holds up the whole group, until
    /// `max.poll.interval.ms` is over and the partitions are lost. Drop the receiver to listen no more.
    ///
    /// # Errors
    /// [`ConsumerError::Closed`] and [`ConsumerError::Failed`], once the consumer is one of both.
    pub fn rebalance_events(&self) -> Result<RebalanceEvents, ConsumerError> {
        let (sender, receiver) = mpsc::channel(EVENTS_WAITING_MAX);
        self.send(Command::Listen(sender))?;
        Ok(RebalanceEvents { receiver })
    }

    /// Asks the group for a rebalance.
    ///
    /// # Errors
    /// [`ConsumerError::Closed`] and [`ConsumerError::Failed`], once the consumer is one of both.
    pub fn enforce_rebalance(&self, reason: &str) -> Result<(), ConsumerError> {
        self.send(Command::Rejoin(reason.to_owned()))
    }

    /// Notes whether anything is to be read from here on: what is asked next has to know, although the
    /// task has not heard of it yet.
    fn want(&self, anything: bool) {
        self.shared.wanted.store(anything, Ordering::SeqCst);
    }
}
