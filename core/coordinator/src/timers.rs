//! Timers as a value: what is due is popped in order of its deadline, and nothing waits.
//!
//! An [`Alarm`] lives in the thing that may time out (a member, a group); [`Timers`] is the queue
//! of a whole shard. The deadline that counts is the alarm's. The queue only promises to look at
//! the alarm no later than that, which makes the common case, a heartbeat that pushes a session's
//! deadline further out, a store to one field:
//!
//! ```text
//! heartbeat at 3 s:   alarm.due  10 s ──► 13 s        queue: unchanged, still 10 s
//! time is 10 s:       queue pops, alarm.due is 13 s   queue: re-queued at 13 s
//! time is 13 s:       queue pops, alarm.due is 13 s   fires
//! ```
//!
//! The price is one idle wake-up per alarm and period.

use std::collections::BTreeMap;

use crate::shard::Timestamp;

/// Where an entry sits in the queue. The counter orders equal deadlines by when they were queued.
type Slot = (Timestamp, u64);

/// A deadline that can be moved and cancelled.
#[derive(Debug, Default)]
pub(crate) struct Alarm {
    due: Option<Timestamp>,
    queued: Option<Slot>,
}

impl Alarm {
    /// Tells whether it is to go off.
    pub(crate) fn is_armed(&self) -> bool {
        self.due.is_some()
    }
}

/// The queue of one shard's alarms; `K` names the owner of an alarm.
#[derive(Debug)]
pub(crate) struct Timers<K> {
    queue: BTreeMap<Slot, K>,
    next: u64,
}

impl<K> Timers<K> {
    /// Returns when to look at the queue next.
    pub(crate) fn poll_timeout(&self) -> Option<Timestamp> {
        self.queue.keys().next().map(|slot| slot.0)
    }

    /// Arms `alarm` to go off at `due`, whatever it was armed to before.
    pub(crate) fn arm(&mut self, alarm: &mut Alarm, due: Timestamp, key: impl FnOnce() -> K) {
        alarm.due = Some(due);
        if let Some(queued) = alarm.queued {
            if queued.0 <= due {
                return;
            }
            self.queue.remove(&queued);
        }
        self.enqueue(alarm, due, key());
    }

    /// Disarms `alarm`. Its owner may be dropped afterwards.
    pub(crate) fn disarm(&mut self, alarm: &mut Alarm) {
        alarm.due = None;
        if let Some(queued) = alarm.queued.take() {
            self.queue.remove(&queued);
        }
    }

    /// Pops the owner of the first entry that is due, to be settled with [`Timers::ring`].
    pub(crate) fn pop_due(&mut self, now: Timestamp) -> Option<K> {
        let entry = self.queue.first_entry()?;
        (entry.key().0 <= now).then(|| entry.remove())
    }

    /// Tells whether the alarm just popped goes off now; otherwise queues it again.
    pub(crate) fn ring(
        &mut self,
        alarm: &mut Alarm,
        now: Timestamp,
        key: impl FnOnce() -> K,
    ) -> bool {
        alarm.queued = None;
        match alarm.due {
            Some(due) if due <= now => {
                alarm.due = None;
                true
            }
            Some(due) => {
                self.enqueue(alarm, due, key());
                false
            }
            None => false,
        }
    }

    fn enqueue(&mut self, alarm: &mut Alarm, at: Timestamp, key: K) {
        let slot = (at, self.next);
        self.next += 1;
        self.queue.insert(slot, key);
        alarm.queued = Some(slot);
    }
}

impl<K> Default for Timers<K> {
    fn default() -> Self {
        Self { queue: BTreeMap::new(), next: 0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs the queue up to `now` and returns who went off.
    fn run(timers: &mut Timers<usize>, alarms: &mut [Alarm], now: Timestamp) -> Vec<usize> {
        let mut rung = Vec::new();
        while let Some(key) = timers.pop_due(now) {
            if timers.ring(&mut alarms[key], now, || key) {
                rung.push(key);
            }
        }
        rung
    }

    fn two() -> (Timers<usize>, [Alarm; 2]) {
        (Timers::default(), [Alarm::default(), Alarm::default()])
    }

    #[test]
    fn alarms_go_off_in_order_of_deadline_then_of_arming() {
        let (mut timers, mut alarms) = two();
        timers.arm(&mut alarms[1], 10, || 1);
        timers.arm(&mut alarms[0], 10, || 0);
        assert!(run(&mut timers, &mut alarms, 9).is_empty());
        assert_eq!(run(&mut timers, &mut alarms, 10), [1, 0]);
        assert_eq!(timers.poll_timeout(), None);
    }

    #[test]
    fn moving_a_deadline_out_leaves_the_queue_alone_and_still_rings_once() {
        let (mut timers, mut alarms) = two();
        timers.arm(&mut alarms[0], 10, || 0);
        timers.arm(&mut alarms[0], 13, || unreachable!("the entry at 10 serves"));
        assert_eq!(timers.poll_timeout(), Some(10));
        assert!(run(&mut timers, &mut alarms, 12).is_empty());
        assert_eq!(timers.poll_timeout(), Some(13));
        assert_eq!(run(&mut timers, &mut alarms, 20), [0]);
        assert!(run(&mut timers, &mut alarms, 30).is_empty());
    }

    #[test]
    fn moving_a_deadline_in_takes_effect_at_once() {
        let (mut timers, mut alarms) = two();
        timers.arm(&mut alarms[0], 300, || 0);
        timers.arm(&mut alarms[0], 10, || 0);
        assert_eq!(run(&mut timers, &mut alarms, 10), [0]);
        assert_eq!(timers.poll_timeout(), None);
    }

    #[test]
    fn a_disarmed_alarm_leaves_nothing_behind() {
        let (mut timers, mut alarms) = two();
        timers.arm(&mut alarms[0], 10, || 0);
        timers.disarm(&mut alarms[0]);
        assert_eq!(alarms[0].due, None);
        assert_eq!(timers.poll_timeout(), None);
    }
}
