//! How much one fetch asks a broker for.
//!
//! Enough to keep the way busy, and no more. What comes in small answers is still in the processor's cache
//! when it is read, lies in little memory, which is soon used again, and the first records are there early.
//! On a long way a small answer costs a round trip like a large one: there the answers grow as long as larger
//! ones bring more in the same time, or the broker's share of the budget is spent. That a machine is busy
//! makes answers slow as well, but then larger ones are slower still.
//!
//! On a way that carries little, none may take so long that its request times out: the same would be asked again,
//! and nothing ever come of it. So what is asked for is at most what came in [`LONG_MS`], and less after no answer.

use crate::consumer::types::Timestamp;

/// What the next fetch from one broker may bring.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    window: i64,
    /// What came since the window was changed: answers, bytes, milliseconds.
    answers: i64,
    bytes: i64,
    took_ms: i64,
    /// What a window half as large brought in a second, while this one is on trial.
    before: Option<i64>,
    /// How many answers no larger window is tried, after one that was not worth it.
    rest: i64,
}

/// The first answer: the first records should not have to wait for the last ones.
const FIRST_BYTES: i64 = 256 * 1024;
/// What a nearby broker is asked for: what asking costs is little beside it.
const NEAR_BYTES: i64 = 2 * 1024 * 1024;
/// An answer that takes longer may be worth making larger.
const SLOW_MS: i64 = 4;
/// One that takes no longer need not be as large.
const QUICK_MS: i64 = 1;
/// One that takes longer is too large: soon enough for the records, and long before any usual
/// `request.timeout.ms`, since the way may be shared the next time.
const LONG_MS: i64 = 5_000;
/// What is asked for at least. Smaller answers would be little else than their headers, and a broker returns one
/// batch however little was asked for.
const LEAST_BYTES: i64 = 16 * 1024;
/// After so many answers the window is thought about.
const ANSWERS: i64 = 4;
/// How many answers a window that was not worth it is left alone for.
const REST: i64 = 256;

impl Default for Pace {
    fn default() -> Self {
        Self { window: FIRST_BYTES, answers: 0, bytes: 0, took_ms: 0, before: None, rest: 0 }
    }
}

impl Pace {
    /// Returns what to ask for, at most `share` and best not less than `least`.
    pub(super) fn bytes(&mut self, least: i64, share: i64) -> i64 {
        if self.window > share.max(NEAR_BYTES) {
            self.change(share.max(NEAR_BYTES));
        }
        self.window.max(least).min(share)
    }

    /// Takes that a fetch for `asked` brought `bytes` in that time. One that brought less than half had
    /// all there was, and says nothing.
    pub(super) fn answered(&mut self, asked: i64, bytes: i64, took_ms: Timestamp) {
        if bytes < asked / 2 || asked < self.window {
            return;
        }
        let most = (bytes.saturating_mul(LONG_MS) / took_ms.max(1)).max(LEAST_BYTES);
        if self.window < NEAR_BYTES || self.window > most {
            self.change(self.window.max(NEAR_BYTES).min(most));
            return;
        }
        self.answers += 1;
        self.bytes += bytes;
        self.took_ms += took_ms.max(0);
        self.rest = (self.rest - 1).max(0);
        if self.answers == ANSWERS {
            self.think();
        }
    }

    /// Takes that no answer came. If that is because it was too large, a smaller one may.
    pub(super) fn unanswered(&mut self) {
        self.change((self.window / 4).max(LEAST_BYTES));
    }

    fn think(&mut self) {
        let each = self.took_ms / self.answers;
        let per_second = self.bytes.saturating_mul(1000) / self.took_ms.max(1);
        match self.before.take() {
            // A third more is worth it.
            Some(before) if per_second < before + before / 3 => {
                self.rest = REST;
                self.change(self.window / 2);
            }
            _ if (SLOW_MS..=LONG_MS / 2).contains(&each) && self.rest == 0 => {
                self.change((self.window * 2).min(i64::from(i32::MAX)));
                self.before = Some(per_second);
            }
            _ if each <= QUICK_MS => self.change((self.window / 2).max(NEAR_BYTES)),
            _ => self.change(self.window),
        }
    }

    fn change(&mut self, window: i64) {
        *self = Self { window, rest: self.rest, ..Self::default() };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: i64 = 8 << 20;

    /// What is asked for after so many answers, each of which takes as long as told by its size.
    fn after(pace: &mut Pace, answers: usize, took_ms: impl Fn(i64) -> i64) -> i64 {
        for _ in 0..answers {
            let asked = pace.bytes(1, SHARE);
            pace.answered(asked, asked, took_ms(asked));
        }
        pace.bytes(1, SHARE)
    }

    #[test]
    fn answers_begin_small_and_grow_only_where_the_way_is_long() {
        let mut pace = Pace::default();
        assert_eq!(after(&mut pace, 0, |_| 0), 256 << 10);
        assert_eq!(after(&mut pace, 50, |_| 0), 2 << 20);
        assert_eq!(after(&mut pace, 50, |_| 50), SHARE, "each costs a round trip");
        assert_eq!(after(&mut pace, 50, |_| 0), 2 << 20);
    }

    #[test]
    fn a_machine_that_is_slow_with_every_byte_is_asked_for_no_more_of_them() {
        let mut pace = Pace::default();
        let slow = |bytes: i64| 2 + bytes * 3 / (1 << 20);
        let asked: Vec<i64> = (0..300).map(|_| after(&mut pace, 1, slow)).collect();
        let large = asked.iter().filter(|asked| **asked > 2 << 20).count();
        assert!((1..=3 * ANSWERS as usize).contains(&large), "tried, and seldom: {large}");
    }

    #[test]
    fn no_answer_takes_long_on_a_way_that_carries_little() {
        for bytes_per_ms in [4, 12, 125, 400] {
            let mut pace = Pace::default();
            let slow = |bytes: i64| 20 + bytes / bytes_per_ms;
            let took: Vec<i64> = (0..300).map(|_| slow(after(&mut pace, 1, slow))).collect();
            let longest = *took.iter().max().unwrap();
            assert!(longest <= LONG_MS + 100, "{longest} ms at {bytes_per_ms} bytes a millisecond");
            assert!(took[299] > LONG_MS / 3, "nor is it asked for crumbs: {} ms", took[299]);
        }
    }

    #[test]
    fn what_brings_no_answer_is_not_asked_for_again() {
        let mut pace = Pace::default();
        after(&mut pace, 50, |_| 50);
        let asked: Vec<i64> = (0..6).map(|_| (pace.unanswered(), pace.bytes(1, SHARE)).1).collect();
        assert_eq!(asked, [2 << 20, 512 << 10, 128 << 10, 32 << 10, 16 << 10, 16 << 10]);
        assert_eq!(after(&mut pace, 1, |_| 1), 2 << 20, "it was away, and not slow");
    }

    #[test]
    fn an_answer_with_all_there_was_says_nothing_of_the_way() {
        let mut pace = Pace::default();
        pace.answered(256 << 10, 1000, 500);
        assert_eq!(pace.bytes(1, SHARE), 256 << 10);
    }

    #[test]
    fn neither_what_a_broker_waits_for_nor_its_share_is_lost() {
        let mut pace = Pace::default();
        assert_eq!(pace.bytes(2 << 20, SHARE), 2 << 20);
        assert_eq!(pace.bytes(2 << 20, 100_000), 100_000);
    }
}
