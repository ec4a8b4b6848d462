//! How much one fetch asks a broker for.
//!
//! Enough to keep the way busy, and no more. What comes in small answers is still in the processor's cache
//! when it is read, lies in little memory, which is soon used again, and the first records are there early.
//! On a long way a small answer costs a round trip like a large one: there the answers grow until one takes
//! longer to send than to ask for, or the broker's share of the budget is spent.

use crate::consumer::types::Timestamp;

/// What the next fetch from one broker may bring.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    window: i64,
}

/// The first answer: the first records should not have to wait for the last ones.
const FIRST_BYTES: i64 = 256 * 1024;
/// What a nearby broker is asked for: what asking costs is little beside it.
const NEAR_BYTES: i64 = 2 * 1024 * 1024;
/// An answer that takes longer is worth making larger.
const SLOW_MS: i64 = 4;
/// One that takes no longer need not be as large.
const QUICK_MS: i64 = 1;

impl Default for Pace {
    fn default() -> Self {
        Self { window: FIRST_BYTES }
    }
}

impl Pace {
    /// Returns what to ask for, at most `share` and best not less than `least`.
    pub(super) fn bytes(self, least: i64, share: i64) -> i64 {
        self.window.max(least).min(share)
    }

    /// Takes that a fetch for `asked` brought `bytes` in that time. One that brought less than half had
    /// all there was, and says nothing.
    pub(super) fn answered(&mut self, asked: i64, bytes: i64, took_ms: Timestamp) {
        if bytes < asked / 2 || asked < self.window {
            return;
        }
        self.window = if self.window < NEAR_BYTES {
            NEAR_BYTES
        } else if took_ms >= SLOW_MS {
            (self.window * 2).min(i64::from(i32::MAX))
        } else if took_ms <= QUICK_MS {
            (self.window / 2).max(NEAR_BYTES)
        } else {
            self.window
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHARE: i64 = 8 << 20;

    fn after(took_ms: &[i64]) -> i64 {
        let mut pace = Pace::default();
        for took_ms in took_ms {
            let asked = pace.bytes(1, SHARE);
            pace.answered(asked, asked, *took_ms);
        }
        pace.bytes(1, SHARE)
    }

    #[test]
    fn answers_begin_small_and_grow_only_where_the_way_is_long() {
        assert_eq!(after(&[]), 256 << 10);
        assert_eq!(after(&[0, 0, 0]), 2 << 20);
        assert_eq!(after(&[50; 10]), SHARE);
        assert_eq!(after(&[50, 50, 50, 0, 0, 0, 0]), 2 << 20);
    }

    #[test]
    fn an_answer_with_all_there_was_says_nothing_of_the_way() {
        let mut pace = Pace::default();
        pace.answered(256 << 10, 1000, 500);
        assert_eq!(pace.bytes(1, SHARE), 256 << 10);
    }

    #[test]
    fn neither_what_a_broker_waits_for_nor_its_share_is_lost() {
        let pace = Pace::default();
        assert_eq!(pace.bytes(2 << 20, SHARE), 2 << 20);
        assert_eq!(pace.bytes(2 << 20, 100_000), 100_000);
    }
}
