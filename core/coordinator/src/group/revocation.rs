//! How long members take to let go of what a rebalance takes from them.
//!
//! A member is *asked* when it is answered with less than it has, and is *done* when it says that it has let
//! go, or is gone. Between the two the others wait for it, whatever it does meanwhile; before it was asked it
//! could not know.
//!
//! ```text
//!  target ──► answer with less ──────────────────► "I own no more than that"
//!             asked                                done
//! ```

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::shard::Timestamp;

/// What one member was asked to give up, as it is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Revocation {
    /// Who.
    pub member: Arc<str>,
    /// When it was told.
    pub asked: Timestamp,
    /// When it said that it did, or was gone; nothing if it is still waited for.
    pub done: Option<Timestamp>,
    /// The topics and partitions, in order; at most [`Revocation::MAX_PARTITIONS`].
    pub partitions: Vec<(Arc<str>, i32)>,
    /// How many more.
    pub omitted_partitions: usize,
}

impl Revocation {
    /// They are examples: all of them are among the moves.
    pub const MAX_PARTITIONS: usize = 8;

    /// Returns how long the others waited for it by then, in milliseconds.
    pub fn lasted(&self, now: Timestamp) -> Timestamp {
        (self.done.unwrap_or(now) - self.asked).max(0)
    }
}

/// The revocations of a rebalance under way, with partitions as its protocol knows them.
#[derive(Debug, Clone)]
pub(crate) struct Revocations<P> {
    asked: BTreeMap<Arc<str>, Asked<P>>,
    /// The longest one of each member.
    done: BTreeMap<Arc<str>, (Asked<P>, Timestamp)>,
}

#[derive(Debug, Clone)]
struct Asked<P> {
    at: Timestamp,
    partitions: BTreeSet<P>,
}

/// The revocations of a rebalance as they are told.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Told {
    /// Those that are still waited for, and then the longest first.
    pub(crate) revocations: Vec<Revocation>,
    pub(crate) omitted: usize,
    /// From when somebody was asked first to when the last one was done.
    pub(crate) span: Option<(Timestamp, Timestamp)>,
}

impl<P> Default for Revocations<P> {
    fn default() -> Self {
        Self { asked: BTreeMap::new(), done: BTreeMap::new() }
    }
}

impl<P: Ord + Clone> Revocations<P> {
    /// Notes that a member is told to give partitions up. One that is asked for more while it is at it has been
    /// waited for since the first time.
    pub(crate) fn ask(
        &mut self,
        now: Timestamp,
        member: &Arc<str>,
        partitions: impl IntoIterator<Item = P>,
    ) {
        let asked = self.asked.entry(member.clone());
        let asked = asked.or_insert_with(|| Asked { at: now, partitions: BTreeSet::new() });
        asked.partitions.extend(partitions);
    }

    /// Notes that a member has let go of all that it was asked for, or is gone.
    pub(crate) fn finish(&mut self, now: Timestamp, member: &str) {
        let Some((member, asked)) = self.asked.remove_entry(member) else { return };
        let lasted = now - asked.at;
        if self.done.get(&member).is_none_or(|(longest, until)| until - longest.at < lasted) {
            self.done.insert(member, (asked, now));
        }
    }

    /// Notes that a member may keep what it was asked for.
    pub(crate) fn call_off(&mut self, member: &str) {
        self.asked.remove(member);
    }

    /// Returns what goes on after a part of it is told.
    pub(crate) fn going_on(&self) -> Self {
        Self { asked: self.asked.clone(), done: BTreeMap::new() }
    }

    /// Returns what there is to tell, at most so many of them. A partition without a name is of a topic that is
    /// gone.
    pub(crate) fn told(
        &self,
        most: usize,
        name_of: impl Fn(&P) -> Option<(Arc<str>, i32)>,
    ) -> Told {
        let revocation = |member: &Arc<str>, asked: &Asked<P>, done| {
            let mut named = asked.partitions.iter().filter_map(&name_of);
            let partitions: Vec<_> = named.by_ref().take(Revocation::MAX_PARTITIONS).collect();
            let omitted_partitions = named.count();
            Revocation {
                member: member.clone(),
                asked: asked.at,
                done,
                partitions,
                omitted_partitions,
            }
        };
        let asked = self.asked.iter().map(|(member, asked)| (member, asked, None));
        let done = self.done.iter().map(|(member, (asked, at))| (member, asked, Some(*at)));
        let mut all: Vec<_> = asked.chain(done).collect();
        all.sort_by_key(|(_, asked, done)| match done {
            None => (0, asked.at),
            Some(done) => (1, asked.at - done),
        });
        let first = self.done.values().map(|(asked, _)| asked.at).min();
        let last = self.done.values().map(|(_, at)| *at).max();
        Told {
            omitted: all.len().saturating_sub(most),
            span: first.zip(last),
            revocations: all
                .into_iter()
                .take(most)
                .map(|(member, asked, done)| revocation(member, asked, done))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(revocations: &Revocations<i32>, most: usize) -> Told {
        revocations.told(most, |index| (*index < 100).then(|| ("t".into(), *index)))
    }

    fn revocation(
        member: &str,
        asked: Timestamp,
        done: Option<Timestamp>,
        of: &[i32],
    ) -> Revocation {
        Revocation {
            member: member.into(),
            asked,
            done,
            partitions: of.iter().map(|index| ("t".into(), *index)).collect(),
            omitted_partitions: 0,
        }
    }

    #[test]
    fn who_took_longest_is_told_first_and_who_is_waited_for_before_that() {
        let mut revocations = Revocations::default();
        for (member, at) in [("a", 10), ("b", 20), ("c", 30)] {
            revocations.ask(at, &member.into(), [1]);
        }
        revocations.finish(25, "b");
        revocations.finish(50, "a");
        revocations.finish(60, "nobody");
        let c = revocation("c", 30, None, &[1]);
        let (a, b) = (revocation("a", 10, Some(50), &[1]), revocation("b", 20, Some(25), &[1]));
        let expected =
            Told { revocations: vec![c.clone(), a.clone(), b], omitted: 0, span: Some((10, 50)) };
        assert_eq!(told(&revocations, 9), expected);
        let expected = Told { revocations: vec![c.clone(), a], omitted: 1, span: Some((10, 50)) };
        assert_eq!(told(&revocations, 2), expected);
        let expected = Told { revocations: vec![c], omitted: 0, span: None };
        assert_eq!(told(&revocations.going_on(), 9), expected, "a part of it is told");
    }

    #[test]
    fn who_is_asked_again_is_waited_for_since_the_first_time() {
        let mut revocations = Revocations::default();
        revocations.ask(10, &"a".into(), [1, 100]);
        revocations.ask(40, &"a".into(), [2]);
        revocations.finish(50, "a");
        // A second time it is quicker, and then it may keep what it has.
        revocations.ask(60, &"a".into(), [3]);
        revocations.finish(61, "a");
        revocations.ask(70, &"a".into(), [4]);
        revocations.call_off("a");
        assert_eq!(told(&revocations, 9).revocations, [revocation("a", 10, Some(50), &[1, 2])]);
    }

    #[test]
    fn partitions_beyond_the_limit_are_counted_only() {
        let mut revocations = Revocations::default();
        revocations.ask(0, &"a".into(), 0..20);
        let told = told(&revocations, 9).revocations.remove(0);
        assert_eq!((told.partitions.len(), told.omitted_partitions), (8, 12));
        assert_eq!((told.lasted(7), Revocation { done: Some(3), ..told }.lasted(7)), (7, 3));
    }
}
