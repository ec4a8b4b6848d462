//! Deadlines that are noticed late.
//!
//! A process that was stopped, a machine that is overloaded, a disk that takes seconds: then a shard hears for
//! a while of nothing, and after that of the deadlines first, since what its members sent meanwhile has to be read
//! before it is heard. So a deadline that is noticed late is put off by as much again, five seconds at most, once.
//! Who was alive all the while is heard by then; who was not goes a little later than it had to.

use crate::shard::Timestamp;

/// Whether deadlines are acted on when they are noticed.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum Patience {
    /// They are noticed in time.
    #[default]
    OnTime,
    /// One was not: they are put off until then.
    PutOff(Timestamp),
    /// They have been put off, and are acted on until none is due.
    Spent,
}

impl Patience {
    /// Returns when to look for a deadline that is due at `due`.
    pub fn look_at(self, due: Timestamp) -> Timestamp {
        match self {
            Self::PutOff(until) => due.max(until),
            Self::OnTime | Self::Spent => due,
        }
    }

    /// Tells whether what is due may be acted on now; the first of it was due at `due`.
    pub fn may_act(&mut self, due: Timestamp, now: Timestamp) -> bool {
        *self = match *self {
            Self::OnTime if now - due > LATE_MS => {
                Self::PutOff(now + (now - due).min(PUT_OFF_MS_MAX))
            }
            Self::PutOff(until) if now >= until => Self::Spent,
            same => same,
        };
        !matches!(self, Self::PutOff(_))
    }

    /// Takes in that nothing is due any more.
    pub fn done(&mut self) {
        *self = match *self {
            Self::Spent => Self::OnTime,
            same => same,
        };
    }
}

/// Timers of a shard that has something to do ring within a few milliseconds.
const LATE_MS: i64 = 100;
/// What was sent to a stopped process is read within this time, and sessions are seldom shorter.
const PUT_OFF_MS_MAX: i64 = 5_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_noticed_in_time_is_acted_on() {
        let mut patience = Patience::default();
        assert!(patience.may_act(1_000, 1_000));
        assert!(patience.may_act(1_000, 1_100));
        assert_eq!(patience.look_at(2_000), 2_000);
    }

    #[test]
    fn what_is_noticed_late_is_put_off_by_as_much_and_five_seconds_at_most() {
        for (late, put_off) in [(101, 101), (3_000, 3_000), (50_000, 5_000)] {
            let mut patience = Patience::default();
            let now = 1_000 + late;
            assert!(!patience.may_act(1_000, now));
            assert_eq!(patience.look_at(1_000), now + put_off);
            assert_eq!(patience.look_at(100_000), 100_000, "what is due later is not");
            assert!(!patience.may_act(1_000, now + put_off - 1));
            assert!(patience.may_act(1_000, now + put_off));
        }
    }

    #[test]
    fn it_is_put_off_once_however_late_it_is_noticed_again() {
        let mut patience = Patience::default();
        assert!(!patience.may_act(1_000, 2_000));
        assert!(patience.may_act(1_000, 9_000));
        assert!(patience.may_act(1_000, 9_500), "there is more of it than one batch takes");
        patience.done();
        assert!(!patience.may_act(10_000, 10_500), "that is another one");
    }

    #[test]
    fn what_was_heard_while_it_was_put_off_leaves_nothing_due() {
        let mut patience = Patience::default();
        assert!(!patience.may_act(1_000, 3_000));
        assert_eq!(patience.look_at(45_000), 45_000);
        assert!(patience.may_act(45_000, 45_001));
        patience.done();
        assert_eq!(patience, Patience::OnTime);
    }
}
