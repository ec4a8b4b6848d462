//! What happens to a member's partitions, as events an application may wait for.
//!
//! A revocation is an event with a guard: the application finishes with the partitions, commits,
//! and drops the guard. There is no callback that could deadlock. An application that does not
//! listen needs nothing: its partitions are taken back when it polls next, since then it has
//! finished with what it was given, and what it processed is committed if auto commit is on.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use kohort_client_core::consumer::fetcher::FetchStatus;
use kohort_client_core::consumer::membership::LostReason;
use kohort_client_core::consumer::{RequestId, TopicPartition};
use kohort_protocol::ErrorCode;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::shared::Shared;

/// An event of the group.
#[derive(Debug)]
#[non_exhaustive]
pub enum RebalanceEvent {
    /// A rebalance started.
    Rebalancing {
        /// Why.
        reason: String,
    },
    /// A generation is complete, or under the consumer protocol a new assignment is known.
    Assigned {
        /// What is new.
        added: BTreeSet<TopicPartition>,
        /// All this consumer owns.
        owned: BTreeSet<TopicPartition>,
        /// The generation, or the member's epoch.
        generation: i32,
    },
    /// Partitions have to be given back: drop the guard when done with them.
    Revoking(RevocationGuard),
    /// They were given back.
    Revoked {
        /// The partitions.
        partitions: BTreeSet<TopicPartition>,
    },
    /// They belong to others already: what was not committed will be read again by them.
    Lost {
        /// The partitions.
        partitions: BTreeSet<TopicPartition>,
        /// Why.
        reason: LostReason,
    },
    /// A new leader's log lacks records that the application was given or was about to be (an unclean
    /// election, KIP-320): what is at their offsets now are others. Reading goes on where the logs part,
    /// or where `auto.offset.reset` says if nobody knows; with `none`, poll reports it instead.
    Truncated {
        /// The partition.
        partition: TopicPartition,
        /// The next offset the application would have been given.
        offset: i64,
        /// The first offset known to differ.
        diverges_at: Option<i64>,
    },
    /// Topics were deleted and created again while this consumer owned these partitions of them. What it
    /// had of the old ones is dropped, and reading starts as it does for partitions just assigned.
    Recreated {
        /// The partitions.
        partitions: BTreeSet<TopicPartition>,
    },
    /// The coordinator cannot run this group by the consumer protocol (`group.protocol=auto`): the member
    /// speaks the classic one from now on.
    Downgraded {
        /// What the coordinator said.
        code: ErrorCode,
    },
    /// A partition has not been fetched, buffered or paused for some seconds. Told once; when it goes on,
    /// nothing is told. A listener that wants only this needs no more than to drop the other events.
    Stalled {
        /// The partition.
        partition: TopicPartition,
        /// What it waits for.
        reason: FetchStatus,
        /// For how long it has waited.
        waiting: Duration,
    },
    /// The application did not poll for longer than `max.poll.interval.ms`, so the consumer left its
    /// group. It joins again with the next poll.
    PollIntervalExceeded {
        /// How long it had not polled.
        idle: Duration,
    },
}

impl fmt::Display for RebalanceEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rebalancing { reason } => write!(f, "the group rebalances: {reason}"),
            Self::Assigned { added, owned, generation } => {
                write!(f, "assigned {} in generation {generation}, ", show(added))?;
                write!(f, "owning {} in all", owned.len())
            }
            Self::Revoking(guard) => write!(f, "the group wants {} back", show(&guard.partitions)),
            Self::Revoked { partitions } => write!(f, "gave {} back", show(partitions)),
            Self::Lost { partitions, reason } => write!(f, "lost {}: {reason}", show(partitions)),
            Self::Truncated { partition, offset, .. } => {
                write!(f, "the log of `{partition}` was cut before offset {offset}")
            }
            Self::Recreated { partitions } => {
                write!(f, "{} were deleted and created again", show(partitions))
            }
            Self::Downgraded { code } => {
                write!(f, "the member speaks the classic protocol from now on: {code}")
            }
            Self::Stalled { partition, reason, waiting } => {
                write!(f, "`{partition}` has waited for {waiting:?}: {reason}")
            }
            Self::PollIntervalExceeded { idle } => {
                write!(f, "left the group after {idle:?} without a poll")
            }
        }
    }
}

/// Names some of the partitions, and how many more there are.
fn show(partitions: &BTreeSet<TopicPartition>) -> String {
    let named: Vec<_> = partitions.iter().take(SHOWN_MAX).map(|it| format!("`{it}`")).collect();
    let more = partitions.len() - named.len();
    match (named.is_empty(), more) {
        (true, _) => "no partitions".to_owned(),
        (false, 0) => named.join(", "),
        (false, more) => format!("{} and {more} more", named.join(", ")),
    }
}

/// How many partitions an event names when it is shown, so that a line stays a line.
const SHOWN_MAX: usize = 5;

/// Partitions the group wants back. Dropping it says that the application is done with them.
#[derive(Debug)]
pub struct RevocationGuard {
    pub(super) ticket: RequestId,
    pub(super) partitions: BTreeSet<TopicPartition>,
    pub(super) deadline: Instant,
    pub(super) done: GivenBack,
    pub(super) shared: Arc<Shared>,
}

/// Tells the consumer's task that the application is done.
pub(super) struct GivenBack(pub(super) Box<dyn Fn(RequestId) + Send + Sync>);

impl fmt::Debug for GivenBack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("GivenBack")
    }
}

impl RevocationGuard {
    /// Returns the partitions. They are delivered no more; their offsets can still be committed.
    pub fn partitions(&self) -> &BTreeSet<TopicPartition> {
        &self.partitions
    }

    /// Returns how much time is left before the group goes on and the partitions are lost.
    pub fn time_left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }
}

impl Drop for RevocationGuard {
    fn drop(&mut self) {
        if self.ticket != UNDELIVERED {
            // What is committed from here on leaves these partitions out.
            self.shared.buffer.lock().give_back(|it| self.partitions.contains(it));
        }
        (self.done.0)(self.ticket);
    }
}

/// Receives a consumer's [`RebalanceEvent`]s.
#[derive(Debug)]
pub struct RebalanceEvents {
    pub(super) receiver: mpsc::Receiver<RebalanceEvent>,
}

impl RebalanceEvents {
    /// Waits for the next event; `None` when the consumer is closed. Cancel-safe.
    pub async fn next(&mut self) -> Option<RebalanceEvent> {
        self.receiver.recv().await
    }

    /// Returns an event that is there already.
    pub fn try_next(&mut self) -> Option<RebalanceEvent> {
        self.receiver.try_recv().ok()
    }
}

/// The ticket of a guard that could not be delivered: nobody has finished with anything.
pub(super) const UNDELIVERED: RequestId = RequestId(0);

/// How many events may wait. A listener that lags behind by more misses some, and revocations go on
/// as if nobody listened.
pub(super) const EVENTS_WAITING_MAX: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_shown_as_a_sentence_that_names_a_few_partitions() {
        let of = |count| (0..count).map(|index| TopicPartition::new("t", index)).collect();
        let lost = |count, reason| RebalanceEvent::Lost { partitions: of(count), reason };
        for (event, shown) in [
            (lost(1, LostReason::PollInterval), "lost `t-0`: the application did not poll in time"),
            (
                lost(7, LostReason::RevocationTimedOut),
                "lost `t-0`, `t-1`, `t-2`, `t-3`, `t-4` and 2 more: they were not given back in time",
            ),
            (
                RebalanceEvent::Assigned { added: of(0), owned: of(2), generation: 3 },
                "assigned no partitions in generation 3, owning 2 in all",
            ),
            (
                RebalanceEvent::Stalled {
                    partition: TopicPartition::new("t", 1),
                    reason: FetchStatus::Refused(ErrorCode::TOPIC_AUTHORIZATION_FAILED),
                    waiting: Duration::from_secs(5),
                },
                "`t-1` has waited for 5s: refused (TOPIC_AUTHORIZATION_FAILED)",
            ),
        ] {
            assert_eq!(event.to_string(), shown);
        }
    }
}
