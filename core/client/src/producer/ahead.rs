//! How far an application may run ahead of the sender.
//!
//! An application fills batches faster than they can be sent. Left alone it is all of `buffer.memory`
//! ahead after some milliseconds and stays there: whatever the sender then touches has left the
//! processor's caches long ago, and so has the memory that comes back to be filled. Nothing is sent earlier
//! for it. So the application waits for the sender as long as that is quick:
//!
//! 1. With so many bytes in batches that wait behind the one before (`limit`), no further batch is opened.
//! 2. When half of it is taken, the application goes on.
//! 3. A sender that does not get that far in [`PATIENCE_MS`] is held up itself: the limit doubles and the
//!    application goes on, up to `buffer.memory` in the end, as Kafka's producer would.
//! 4. While those who wait see the sender get on well, a limit that was raised falls by half, again and
//!    again.
//!
//! Batches that nothing waits behind do not count: they may be open, and their linger is not over.

/// The limit and who waits for it.
#[derive(Debug)]
pub(super) struct RunAhead {
    least: usize,
    most: usize,
    limit: usize,
    /// Bytes in batches with another one behind them.
    backlog: usize,
    /// How many bytes of the backlog were taken so far.
    taken: u64,
    /// Since when somebody waits, and what was taken until then.
    refused: Option<(i64, u64)>,
}

impl RunAhead {
    pub(super) fn new(least: usize, most: usize) -> Self {
        let least = least.min(most);
        Self { least, most, limit: least, backlog: 0, taken: 0, refused: None }
    }

    /// Counts a batch that now has another one behind it.
    pub(super) fn closed(&mut self, bytes: usize) {
        self.backlog += bytes;
    }

    /// Takes a batch off the count again.
    pub(super) fn taken(&mut self, bytes: usize) {
        self.backlog -= bytes;
        self.taken += bytes as u64;
    }

    /// Returns whether the application has to wait before it opens a batch.
    pub(super) fn refuses(&mut self, now: i64) -> bool {
        let refuses = self.backlog >= self.limit && self.limit < self.most;
        if refuses {
            self.note_waiting(now);
        }
        refuses
    }

    /// Notes that somebody waits, for whatever reason.
    pub(super) fn note_waiting(&mut self, now: i64) {
        self.refused.get_or_insert((now, self.taken));
    }

    /// Returns whether those who wait may go on.
    pub(super) fn resumes(&mut self, now: i64) -> bool {
        let Some((since, taken_before)) = self.refused else { return false };
        let in_time = now.saturating_sub(since) < PATIENCE_MS;
        if self.backlog > self.limit / 2 {
            if in_time {
                return false;
            }
            if self.taken - taken_before >= self.least as u64 / 2 {
                self.limit = (self.limit / 2).max(self.least);
                self.refused = Some((now, self.taken));
                return false;
            }
            self.limit = self.limit.saturating_mul(2).min(self.most);
        } else if in_time {
            self.limit = (self.limit / 2).max(self.least);
        }
        self.refused = None;
        true
    }

    /// Returns until when the sender has to look, whether anything else happens or not.
    pub(super) fn look_by(&self, now: i64) -> Option<i64> {
        let since = self.refused.map_or(now, |(since, _)| since);
        let near = self.backlog > self.limit / 2 && self.limit < self.most;
        (near || self.refused.is_some()).then(|| since.saturating_add(PATIENCE_MS))
    }
}

/// How long an application waits for a sender that does not get on: some times what half a megabyte takes one
/// that is not held up, and more than a loaded machine lets threads wait for their turn.
const PATIENCE_MS: i64 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    fn at_its_limit(most: usize) -> RunAhead {
        let mut ahead = RunAhead::new(100, most);
        ahead.closed(100);
        assert!(ahead.refuses(0));
        ahead
    }

    #[test]
    fn an_application_goes_on_when_half_of_its_lead_is_gone() {
        let mut ahead = at_its_limit(1000);
        ahead.taken(40);
        assert!(!ahead.resumes(1));
        ahead.taken(10);
        assert!(ahead.resumes(2));
        assert!(!ahead.refuses(2));
        assert!(!ahead.resumes(2), "nobody waits");
    }

    #[test]
    fn a_sender_that_is_held_up_lets_the_application_go_on_up_to_its_memory() {
        let mut ahead = at_its_limit(400);
        assert_eq!(ahead.look_by(0), Some(PATIENCE_MS));
        assert!(!ahead.resumes(PATIENCE_MS - 1));
        assert!(ahead.resumes(PATIENCE_MS));
        ahead.closed(100);
        assert!(ahead.refuses(20));
        assert!(ahead.resumes(20 + PATIENCE_MS));
        ahead.closed(1000);
        assert!(!ahead.refuses(50), "now the memory alone is the limit");
        assert_eq!(ahead.look_by(50), None);
    }

    #[test]
    fn a_raised_limit_falls_while_the_sender_gets_on() {
        let mut ahead = at_its_limit(400);
        for now in [20, 40] {
            ahead.refuses(now);
            assert!(ahead.resumes(now + PATIENCE_MS));
            ahead.closed(100);
        }
        assert_eq!(ahead.limit, 400);
        ahead.closed(100);
        // There is no memory left, say.
        ahead.note_waiting(60);
        ahead.taken(60);
        assert!(!ahead.resumes(60 + PATIENCE_MS), "it goes well: better to wait");
        assert_eq!(ahead.limit, 200);
        ahead.taken(260);
        assert!(ahead.resumes(61 + PATIENCE_MS));
        assert_eq!(ahead.limit, 100);
    }
}
