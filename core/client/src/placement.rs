//! On which processor a client's thread belongs: near the application, or wherever there is room.
//!
//! What passes between the two threads of a client crosses from one processor's cache to the other's if they
//! run apart; near each other they share one processor's time. Mostly near is cheaper and as fast. But when
//! both have much to do and a processor has nothing to do, apart brings more. Which it is cannot be known
//! beforehand, so both are tried, for a third of a second every ten, and apart has to bring a quarter more.

/// Decides; see the [module](self).
#[derive(Debug, Clone, Default)]
pub struct Placement {
    /// Where the application was seen last.
    seen: Option<usize>,
    seen_at: i64,
    /// Where the thread is bound to.
    bound: Option<usize>,
    phase: Phase,
}

/// What the thread is to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It is to stay on this processor.
    Near(usize),
    /// It may run on any.
    Apart,
}

#[derive(Debug, Clone, Copy, Default)]
enum Phase {
    /// The application has not been there.
    #[default]
    Waiting,
    Settled {
        near: bool,
        until: i64,
    },
    Trying(Trial),
}

/// Windows of time in turn, the first of them near.
#[derive(Debug, Clone, Copy)]
struct Trial {
    window: usize,
    since: i64,
    /// The bytes that had passed when the window began.
    from: u64,
    /// The sums of bytes a millisecond near and apart.
    rates: [u64; 2],
}

/// An application that does not come by for so many milliseconds is busy with something else, maybe all of
/// its processor.
const ABSENT_MS: i64 = 100;
/// What a beginning says nothing about.
const SETTLING_MS: i64 = 200;
const WINDOW_MS: i64 = 50;
const WINDOWS: usize = 6;
const HOLD_MS: i64 = 10_000;
/// Bytes a millisecond that a part of any processor has time for.
const LITTLE: u64 = 10_000;
/// When so little passes it may soon be more.
const QUIET_MS: i64 = 1_000;

impl Placement {
    /// Takes in where the application was `seen` since the last look, if it was there, and how many `bytes`
    /// have passed in all.
    pub fn look(&mut self, now: i64, seen: Option<usize>, bytes: u64) -> Option<Change> {
        let Some(at) = seen else {
            if now - self.seen_at > ABSENT_MS {
                (self.seen, self.phase) = (None, Phase::Waiting);
                return self.part();
            }
            return None;
        };
        self.seen_at = now;
        // Whoever moves about all the time is not followed.
        let stays = self.seen.replace(at) == Some(at);
        if !self.wants_near(now, bytes) || !stays {
            return self.part();
        }
        (self.bound.replace(at) != Some(at)).then_some(Change::Near(at))
    }

    fn part(&mut self) -> Option<Change> {
        self.bound.take().map(|_| Change::Apart)
    }

    fn wants_near(&mut self, now: i64, bytes: u64) -> bool {
        match &mut self.phase {
            Phase::Waiting => {
                self.phase = Phase::Settled { near: true, until: now + SETTLING_MS };
                true
            }
            Phase::Settled { near, until } if now < *until => *near,
            Phase::Settled { .. } => {
                let trial = Trial { window: 0, since: now, from: bytes, rates: [0; 2] };
                self.phase = Phase::Trying(trial);
                true
            }
            Phase::Trying(trial) => {
                if let Some((near, hold)) = trial.advance(now, bytes) {
                    self.phase = Phase::Settled { near, until: now + hold };
                    return near;
                }
                trial.window.is_multiple_of(2)
            }
        }
    }
}

impl Trial {
    /// Goes on to the next window if this one is over; returns the outcome after the last, and for how many
    /// milliseconds it holds.
    fn advance(&mut self, now: i64, bytes: u64) -> Option<(bool, i64)> {
        let took = now - self.since;
        if took < WINDOW_MS {
            return None;
        }
        let rate = (bytes - self.from) / took.unsigned_abs();
        if rate < LITTLE {
            return Some((true, QUIET_MS));
        }
        self.rates[self.window % 2] += rate;
        self.window += 1;
        (self.since, self.from) = (now, bytes);
        let [near, apart] = self.rates;
        (self.window == WINDOWS).then_some((apart <= near + near / 4, HOLD_MS))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Looks every millisecond until `end`, with the application always at the processor of the moment and so
    /// many bytes a millisecond near and apart. Returns the changes and when they came.
    fn run(
        placement: &mut Placement,
        end: i64,
        at: impl Fn(i64) -> Option<usize>,
        rates: [u64; 2],
    ) -> Vec<(i64, Change)> {
        let (mut bytes, mut changes) = (0, Vec::new());
        for now in 1..=end {
            changes.extend(placement.look(now, at(now), bytes).map(|change| (now, change)));
            bytes += rates[usize::from(placement.bound.is_none())];
        }
        changes
    }

    fn last(changes: &[(i64, Change)]) -> Option<Change> {
        changes.last().map(|(_, change)| *change)
    }

    #[test]
    fn the_thread_goes_where_the_application_stays() {
        let mut placement = Placement::default();
        let moves = |now| Some(if now < 50 { 3 } else { 5 });
        let changes = run(&mut placement, 60, moves, [0; 2]);
        let expected = [(2, Change::Near(3)), (50, Change::Apart), (51, Change::Near(5))];
        assert_eq!(changes, expected);
    }

    #[test]
    fn whoever_moves_about_is_not_followed() {
        let mut placement = Placement::default();
        assert_eq!(run(&mut placement, 1_000, |now| Some(now as usize % 2), [50_000; 2]), []);
    }

    #[test]
    fn while_the_application_is_busy_elsewhere_the_thread_is_free() {
        let mut placement = Placement::default();
        let changes = run(&mut placement, 1_000, |now| (now < 10).then_some(1), [0; 2]);
        assert_eq!(changes, [(2, Change::Near(1)), (110, Change::Apart)]);
    }

    #[test]
    fn apart_is_kept_where_it_brings_more_than_a_quarter_more_and_tried_again_later() {
        for (apart, kept) in [(30_000, 0), (37_500, 0), (40_000, 1), (60_000, 1)] {
            let mut placement = Placement::default();
            let changes = run(&mut placement, 1_000, |_| Some(0), [30_000, apart]);
            let expected = [Change::Near(0), Change::Apart][kept];
            assert_eq!(last(&changes), Some(expected), "{apart} instead of 30 000: {changes:?}");
            let later = run(&mut placement.clone(), 20_000, |_| Some(0), [30_000, 30_000]);
            assert_eq!(last(&later), Some(Change::Near(0)), "{later:?}");
        }
    }

    #[test]
    fn when_little_passes_nothing_is_tried() {
        let mut placement = Placement::default();
        let changes = run(&mut placement, 60_000, |_| Some(0), [100, 100]);
        assert_eq!(changes, [(2, Change::Near(0))]);
    }
}
