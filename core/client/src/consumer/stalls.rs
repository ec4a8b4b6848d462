//! Which owned partitions wait, for what, and since when: no partition may stop without a reason that
//! can be told.
//!
//! A partition waits when it is neither being fetched nor buffered nor paused; nor is one being fetched whose
//! fetches fail, one after another: the first sound answer ends that wait. That is nothing for a
//! moment; from [`STALL_AFTER_MS`] on it is a stall, which is told once and counted by its reason.

use std::collections::BTreeMap;

use super::fetcher::FetchStatus;
use super::types::{Timestamp, TopicPartition};

/// See the [module](self).
#[derive(Debug, Default)]
pub struct Stalls {
    waiting: BTreeMap<TopicPartition, Waiting>,
    look_at: Timestamp,
    counters: StallCounters,
}

/// How often partitions stalled, and for how long.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StallCounters {
    /// How many stalls began, by the reason they began with (see [`FetchStatus::name`]).
    pub begun: BTreeMap<&'static str, u64>,
    /// How many of them are over.
    pub ended: u64,
    /// How long the longest one lasted, in milliseconds.
    pub longest_ms: i64,
}

/// A partition that has stalled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stall {
    /// The partition.
    pub partition: TopicPartition,
    /// What it waits for.
    pub reason: FetchStatus,
    /// How long it has waited, in milliseconds.
    pub waiting_ms: i64,
}

#[derive(Debug)]
struct Waiting {
    since: Timestamp,
    reason: FetchStatus,
    told: bool,
}

/// How long a partition may wait before that counts as a stall: longer than any back-off, and than a
/// change of leader takes.
pub const STALL_AFTER_MS: i64 = 5_000;
/// How often the partitions are looked at.
const LOOK_EVERY_MS: i64 = 1_000;

impl Stalls {
    /// Whether it is time to look again.
    pub fn is_due(&self, now: Timestamp) -> bool {
        now >= self.look_at
    }

    /// Returns when to look again.
    pub fn look_at(&self) -> Timestamp {
        self.look_at
    }

    /// Looks at what all owned partitions are doing; returns those that stall from now on.
    pub fn look(
        &mut self,
        now: Timestamp,
        partitions: BTreeMap<TopicPartition, FetchStatus>,
    ) -> Vec<Stall> {
        self.look_at = now + LOOK_EVERY_MS;
        let mut begun = Vec::new();
        let mut before = std::mem::take(&mut self.waiting);
        for (partition, reason) in partitions {
            if !reason.is_waiting() {
                continue;
            }
            let mut waiting =
                before.remove(&partition).unwrap_or(Waiting { since: now, reason, told: false });
            waiting.reason = reason;
            let waiting_ms = now - waiting.since;
            if waiting_ms >= STALL_AFTER_MS {
                self.counters.longest_ms = self.counters.longest_ms.max(waiting_ms);
                if !waiting.told {
                    waiting.told = true;
                    *self.counters.begun.entry(reason.name()).or_default() += 1;
                    begun.push(Stall { partition: partition.clone(), reason, waiting_ms });
                }
            }
            self.waiting.insert(partition, waiting);
        }
        self.counters.ended += before.values().filter(|waiting| waiting.told).count() as u64;
        begun
    }

    /// Returns the partitions that stall, as of the last look.
    pub fn stalled(&self, now: Timestamp) -> Vec<Stall> {
        let stalled = |(partition, waiting): (&TopicPartition, &Waiting)| {
            waiting.told.then(|| Stall {
                partition: partition.clone(),
                reason: waiting.reason,
                waiting_ms: now - waiting.since,
            })
        };
        self.waiting.iter().filter_map(stalled).collect()
    }

    /// Returns what was counted so far.
    pub fn counters(&self) -> &StallCounters {
        &self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn look(stalls: &mut Stalls, now: Timestamp, status: FetchStatus) -> Vec<Stall> {
        stalls.look(now, [(TopicPartition::new("t", 0), status)].into())
    }

    #[test]
    fn a_partition_that_waits_for_long_is_told_once_with_its_reason_and_counted() {
        let mut stalls = Stalls::default();
        assert!(look(&mut stalls, 0, FetchStatus::FindingPosition).is_empty());
        assert!(look(&mut stalls, 4_999, FetchStatus::NoLeader).is_empty());
        let told = look(&mut stalls, 5_000, FetchStatus::NoLeader);
        let partition = TopicPartition::new("t", 0);
        assert_eq!(told, [Stall { partition, reason: FetchStatus::NoLeader, waiting_ms: 5_000 }]);
        assert!(look(&mut stalls, 6_000, FetchStatus::NoLeader).is_empty(), "it was told");
        assert_eq!(stalls.stalled(7_000)[0].waiting_ms, 7_000);
        assert!(look(&mut stalls, 8_000, FetchStatus::InFlight).is_empty());
        let expected =
            StallCounters { begun: [("no leader", 1)].into(), ended: 1, longest_ms: 6_000 };
        assert_eq!(stalls.counters(), &expected);
        assert!(stalls.stalled(8_000).is_empty());
    }

    #[test]
    fn fetching_buffering_and_pausing_are_no_waiting_and_begin_the_count_anew() {
        for status in [FetchStatus::InFlight, FetchStatus::Buffered, FetchStatus::Paused] {
            let mut stalls = Stalls::default();
            look(&mut stalls, 0, FetchStatus::BackingOff);
            look(&mut stalls, 4_000, status);
            assert!(look(&mut stalls, 6_000, FetchStatus::BackingOff).is_empty());
            assert!(look(&mut stalls, 10_999, FetchStatus::BackingOff).is_empty());
            assert_eq!(look(&mut stalls, 11_000, FetchStatus::BackingOff).len(), 1);
        }
    }
}
