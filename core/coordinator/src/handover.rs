//! How long partitions that changed hands went unserved: from when their last owner gave them up to the
//! first fetch of the new one.
//!
//! A fetch does not say which member it is of. It says a client id, comes from an address, and names a
//! partition only when a client begins to read it; so the first one by the new owner's name after its
//! assignment is taken for it. That is as much as a broker can see.
//!
//! A rebalance that follows soon cuts nothing short: what it does not move is waited for as before, and told
//! with what it does. What moves again before it was read has been unread all the while.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::group::{Move, Owner, Rebalance};
use crate::shard::Timestamp;

/// The partitions of past rebalances whose new owners have not been seen to fetch.
#[derive(Debug, Default)]
pub struct Handovers(BTreeMap<Arc<str>, Pending>);

/// What a rebalance moved, and how long that took.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Handover {
    /// The group.
    pub group: Arc<str>,
    /// The group's type in Kafka's words: `classic` or `consumer`.
    pub group_type: &'static str,
    /// The generation in which the partitions moved.
    pub generation: i32,
    /// What was fetched by its new owner, in that order, and after how many milliseconds.
    pub served: Vec<(Move, Timestamp)>,
    /// What was not, in the time that is waited for, or before it moved again.
    pub unserved: Vec<Move>,
}

#[derive(Debug)]
struct Pending {
    waiting: BTreeMap<(Arc<str>, i32), Awaited>,
    handover: Handover,
}

/// A partition whose new owner has not been seen to fetch.
#[derive(Debug)]
struct Awaited {
    owner: Owner,
    since: Timestamp,
    /// Until when its fetch is waited for.
    deadline: Timestamp,
    moved: Move,
}

impl Handovers {
    /// Takes in a rebalance that ended. Returns what there is to tell of the group's last one: what was fetched
    /// since, and what moved again before it was.
    pub fn rebalanced(&mut self, rebalance: &Rebalance) -> Option<Handover> {
        let mut last = self.0.remove(&rebalance.group);
        let mut waiting = BTreeMap::new();
        for moved in &rebalance.moves {
            let place = (moved.topic.clone(), moved.partition);
            let unread = last.as_mut().and_then(|last| last.move_again(&place));
            let unread = unread.filter(|(owner, _)| moved.from.as_ref() == Some(&owner.member));
            let (Some(owner), Some(since)) = (moved.to.clone(), moved.unserved_since) else {
                continue;
            };
            let since = unread.map_or(since, |(_, unread)| unread.min(since));
            let (moved, deadline) = (moved.clone(), rebalance.ended + PATIENCE_MS);
            waiting.insert(place, Awaited { owner, since, deadline, moved });
        }
        let over = last.and_then(|mut last| {
            // Those of the new rebalance come first, if there are too many.
            let room = Rebalance::MAX_MOVES.saturating_sub(waiting.len());
            let carried: Vec<_> = last.waiting.keys().take(room).cloned().collect();
            for place in carried {
                waiting.extend(last.waiting.remove_entry(&place));
            }
            last.end()
        });
        if !waiting.is_empty() && self.0.len() < GROUPS_MAX {
            let handover = Handover {
                group: rebalance.group.clone(),
                group_type: rebalance.group_type,
                generation: rebalance.generation,
                served: Vec::new(),
                unserved: Vec::new(),
            };
            self.0.insert(rebalance.group.clone(), Pending { waiting, handover });
        }
        over
    }

    /// Takes in that a client began to read a partition. Returns the rebalances of which everything is
    /// known now.
    pub fn fetched(
        &mut self,
        now: Timestamp,
        topic: &Arc<str>,
        partition: i32,
        client_id: &str,
        client_host: &str,
    ) -> Vec<Handover> {
        let place = (topic.clone(), partition);
        for pending in self.0.values_mut() {
            let by_owner = |it: &Awaited| {
                *it.owner.client_id == *client_id && *it.owner.client_host == *client_host
            };
            if pending.waiting.get(&place).is_some_and(by_owner)
                && let Some(Awaited { since, moved, .. }) = pending.waiting.remove(&place)
            {
                pending.handover.served.push((moved, (now - since).max(0)));
            }
        }
        self.take_over()
    }

    /// Tells whether anything is waited for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns when [`Handovers::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let waiting = self.0.values().flat_map(|pending| pending.waiting.values());
        waiting.map(|awaited| awaited.deadline).min()
    }

    /// Gives up partitions that have been waited for long enough. Returns the rebalances of which nothing else
    /// is waited for.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Vec<Handover> {
        for pending in self.0.values_mut() {
            let Pending { waiting, handover } = pending;
            waiting.retain(|_, awaited| {
                let late = awaited.deadline <= now;
                handover.unserved.extend(late.then(|| awaited.moved.clone()));
                !late
            });
        }
        self.take_over()
    }

    /// Takes out the rebalances of which nothing is waited for any more.
    fn take_over(&mut self) -> Vec<Handover> {
        let over = self.0.iter().filter(|(_, pending)| pending.waiting.is_empty());
        let over: Vec<Arc<str>> = over.map(|(group, _)| group.clone()).collect();
        over.iter().filter_map(|group| self.0.remove(group)?.end()).collect()
    }
}

impl Pending {
    /// Takes in that a partition moves again. Returns who had it and since when nobody had read it, if its
    /// owner was not seen to.
    fn move_again(&mut self, place: &(Arc<str>, i32)) -> Option<(Owner, Timestamp)> {
        let Awaited { owner, since, moved, .. } = self.waiting.remove(place)?;
        self.handover.unserved.push(moved);
        Some((owner, since))
    }

    /// Returns what there is to tell, if there is anything.
    fn end(mut self) -> Option<Handover> {
        self.handover.unserved.extend(self.waiting.into_values().map(|awaited| awaited.moved));
        let told = !self.handover.served.is_empty() || !self.handover.unserved.is_empty();
        told.then_some(self.handover)
    }
}

/// How long the new owners' fetches are waited for.
const PATIENCE_MS: Timestamp = 30_000;

/// Of more groups that rebalance within that time, no handovers are told.
const GROUPS_MAX: usize = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn rebalance(generation: i32, ended: Timestamp, partitions: &[i32]) -> Rebalance {
        let owner = Owner { member: "b-1".into(), client_id: "b".into(), client_host: "/h".into() };
        let moved = |partition: &i32| Move {
            topic: "t".into(),
            partition: *partition,
            from: Some("a-1".into()),
            to: Some(owner.clone()),
            unserved_since: Some(ended - 10),
        };
        Rebalance {
            group: "g".into(),
            group_type: "classic",
            generation,
            causes: Vec::new(),
            omitted_causes: 0,
            started: 0,
            joined: 0,
            ended,
            last_to_join: None,
            members_before: Vec::new(),
            members_after: Vec::new(),
            leader: None,
            moves: partitions.iter().map(moved).collect(),
            omitted_moves: 0,
        }
    }

    /// A generation, what was served after how long, and what was not.
    type Summary = (i32, Vec<(i32, Timestamp)>, Vec<i32>);

    fn told(handovers: &[Handover]) -> Vec<Summary> {
        let served = |it: &Handover| it.served.iter().map(|(m, ms)| (m.partition, *ms)).collect();
        let unserved = |it: &Handover| it.unserved.iter().map(|moved| moved.partition).collect();
        handovers.iter().map(|it| (it.generation, served(it), unserved(it))).collect()
    }

    #[test]
    fn a_handover_is_told_when_the_last_partition_is_fetched_by_its_owner() {
        let mut handovers = Handovers::default();
        assert_eq!(handovers.rebalanced(&rebalance(2, 100, &[0, 1])), None);
        let topic: Arc<str> = "t".into();
        assert!(handovers.fetched(103, &topic, 0, "b", "/h").is_empty());
        // Somebody else, another place, and the same once more.
        assert!(handovers.fetched(104, &topic, 1, "a", "/h").is_empty());
        assert!(handovers.fetched(104, &topic, 2, "b", "/h").is_empty());
        assert!(handovers.fetched(104, &topic, 0, "b", "/h").is_empty());
        let over = handovers.fetched(105, &topic, 1, "b", "/h");
        assert_eq!(told(&over), [(2, vec![(0, 13), (1, 15)], vec![])]);
        assert!(handovers.is_empty());
    }

    #[test]
    fn a_rebalance_that_follows_cuts_short_only_what_it_moves() {
        let mut handovers = Handovers::default();
        let topic: Arc<str> = "t".into();
        handovers.rebalanced(&rebalance(2, 100, &[0, 1, 2]));
        handovers.fetched(105, &topic, 2, "b", "/h");
        // What was read by then is told; the rest is waited for, be there other moves or none.
        let over = handovers.rebalanced(&rebalance(3, 200, &[3]));
        assert_eq!(told(over.as_slice()), [(2, vec![(2, 15)], vec![])]);
        assert_eq!(handovers.rebalanced(&rebalance(4, 300, &[])), None);
        assert!(handovers.fetched(310, &topic, 0, "b", "/h").is_empty());
        assert!(handovers.fetched(320, &topic, 3, "b", "/h").is_empty());
        assert_eq!(handovers.poll_timeout(), Some(100 + PATIENCE_MS));
        let over = handovers.fetched(330, &topic, 1, "b", "/h");
        assert_eq!(told(&over), [(4, vec![(0, 220), (3, 130), (1, 240)], vec![])]);
    }

    #[test]
    fn what_moves_on_unread_has_been_unread_since_it_moved_first() {
        let mut handovers = Handovers::default();
        let topic: Arc<str> = "t".into();
        handovers.rebalanced(&rebalance(2, 100, &[0]));
        let mut next = rebalance(3, 5_000, &[0]);
        next.moves[0].from = Some("b-1".into());
        let over = handovers.rebalanced(&next);
        assert_eq!(told(over.as_slice()), [(2, vec![], vec![0])]);
        let over = handovers.fetched(5_005, &topic, 0, "b", "/h");
        assert_eq!(told(&over), [(3, vec![(0, 4_915)], vec![])]);
    }

    #[test]
    fn what_is_carried_on_is_bounded_and_has_the_time_that_it_had() {
        let mut handovers = Handovers::default();
        let many: Vec<i32> = (0..Rebalance::MAX_MOVES as i32).collect();
        handovers.rebalanced(&rebalance(2, 100, &many));
        // One of the new rebalance takes the place of one that is not moved.
        let over = handovers.rebalanced(&rebalance(3, 200, &[-1]));
        assert_eq!(told(over.as_slice()), [(2, vec![], vec![many.len() as i32 - 1])]);
        assert!(handovers.handle_timeout(100 + PATIENCE_MS).is_empty());
        let over = handovers.handle_timeout(200 + PATIENCE_MS);
        assert_eq!(over[0].unserved.len(), Rebalance::MAX_MOVES);
        assert!(handovers.is_empty());
    }

    #[test]
    fn what_nobody_fetches_is_told_when_it_moves_again_or_after_a_while() {
        let mut handovers = Handovers::default();
        handovers.rebalanced(&rebalance(2, 100, &[0]));
        let over = handovers.rebalanced(&rebalance(3, 200, &[0, 1]));
        assert_eq!(told(over.as_slice()), [(2, vec![], vec![0])]);
        assert_eq!(handovers.poll_timeout(), Some(200 + PATIENCE_MS));
        assert!(handovers.handle_timeout(201).is_empty());
        let over = handovers.handle_timeout(200 + PATIENCE_MS);
        assert_eq!(told(&over), [(3, vec![], vec![0, 1])]);
        assert_eq!(handovers.rebalanced(&rebalance(4, 300, &[])), None);
        assert!(handovers.is_empty());
    }
}
