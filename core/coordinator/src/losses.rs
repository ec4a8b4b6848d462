//! How often members lost their connections of late: the more often, the longer a client that lives
//! waits before it opens the next.
//!
//! | loss in a row | librdkafka comes back after | is waited for |
//! |---|---|---|
//! | first | nothing, or 0.1 s | the grace |
//! | second | up to 0.3 s | 1 s |
//! | third | up to 0.6 s | 2 s |
//! | *n*th | its `reconnect.backoff.ms`, doubled each time, up to `reconnect.backoff.max.ms` (10 s), and half as much | twice as long as before, up to 16 s |
//!
//! Losses are in a row while each connection lives less than fifteen seconds; after ten every client we
//! know begins at the front again. Java waits a second at most, franz-go two and a half.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use crate::shard::Timestamp;

/// The members that lost a connection in the last half minute.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    last: BTreeMap<Arc<str>, Loss>,
    /// The same in the order of time, and what later ones took the place of.
    in_order: VecDeque<(Timestamp, Arc<str>)>,
}

#[derive(Debug)]
struct Loss {
    at: Timestamp,
    /// Which one it is in a row.
    row: u32,
}

impl Losses {
    /// Takes in that a member lost a connection that was opened at `opened`. `carried_on` tells that it
    /// was a member when the broker started, and so may have tried for long to open it.
    pub(crate) fn add(
        &mut self,
        now: Timestamp,
        member: &Arc<str>,
        opened: Timestamp,
        carried_on: bool,
    ) {
        let at_most = now - REMEMBERED_MS;
        while self.in_order.len() >= KEPT_MAX
            || self.in_order.front().is_some_and(|(at, _)| *at < at_most)
        {
            let Some((at, member)) = self.in_order.pop_front() else { break };
            if self.last.get(&member).is_some_and(|loss| loss.at == at) {
                self.last.remove(&member);
            }
        }
        let row = match self.last.get(member) {
            // It has more than one, and a process that dies loses all of them.
            Some(before) if now - before.at <= SEEN_APART_MS => before.row,
            _ if now - opened >= YOUNG_MS => 1,
            Some(before) => before.row + 1,
            None if carried_on => ROW_MAX,
            None => 1,
        };
        self.last.insert(member.clone(), Loss { at: now, row: row.min(ROW_MAX) });
        self.in_order.push_back((now, member.clone()));
    }

    /// Tells whether a member that lost its connection at `since` may be waiting before it opens another.
    pub(crate) fn may_wait(&self, now: Timestamp, member: &str, since: Timestamp) -> bool {
        self.last.get(member).is_some_and(|loss| {
            let wait_ms = FIRST_WAIT_MS << (loss.row - 1);
            loss.row > 1 && loss.at >= since - SEEN_APART_MS && now < since + wait_ms
        })
    }
}

const FIRST_WAIT_MS: Timestamp = 500;
/// From then on it is sixteen seconds.
const ROW_MAX: u32 = 6;
/// A connection that lived longer was no attempt in a row.
const YOUNG_MS: Timestamp = 15_000;
const REMEMBERED_MS: Timestamp = 30_000;
const KEPT_MAX: usize = 4_096;
/// How far apart the ends of connections that were closed together may be heard of.
const SEEN_APART_MS: Timestamp = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn member() -> Arc<str> {
        Arc::from("m")
    }

    #[test]
    fn each_loss_of_a_young_connection_doubles_the_time_that_its_member_is_waited_for() {
        let mut losses = Losses::default();
        losses.add(60_000, &member(), 1_000, false);
        assert!(!losses.may_wait(60_001, "m", 60_000), "the first is like any other");
        let mut now = 60_000;
        for wait in [1_000, 2_000, 4_000, 8_000, 16_000, 16_000] {
            now += 1_300;
            losses.add(now, &member(), now - 1_200, false);
            assert!(losses.may_wait(now + wait - 1, "m", now), "{wait}");
            assert!(!losses.may_wait(now + wait, "m", now), "{wait}");
        }
        assert!(!losses.may_wait(now, "n", now));
        losses.add(now + 20_000, &member(), now + 100, false);
        assert!(!losses.may_wait(now + 20_001, "m", now + 20_000), "that one lived long");
    }

    #[test]
    fn what_is_closed_together_is_one_loss() {
        let mut losses = Losses::default();
        losses.add(5_000, &member(), 1_000, false);
        losses.add(5_010, &member(), 1_000, false);
        assert!(!losses.may_wait(5_500, "m", 5_000));
    }

    #[test]
    fn one_that_was_a_member_when_the_broker_started_may_have_tried_for_long() {
        let mut losses = Losses::default();
        losses.add(5_000, &member(), 1_000, true);
        assert!(losses.may_wait(20_999, "m", 5_000));
        assert!(!losses.may_wait(21_000, "m", 5_000));
    }

    #[test]
    fn a_loss_is_forgotten_after_half_a_minute_and_when_there_are_too_many() {
        let mut losses = Losses::default();
        losses.add(1_000, &member(), 900, false);
        losses.add(31_001, &Arc::from("n"), 31_000, false);
        assert_eq!((losses.last.len(), losses.in_order.len()), (1, 1));
        for number in 0..KEPT_MAX {
            losses.add(31_001, &Arc::from(number.to_string()), 31_000, false);
        }
        assert_eq!((losses.last.len(), losses.in_order.len()), (KEPT_MAX, KEPT_MAX));
        assert!(!losses.last.contains_key("n"));
    }
}
