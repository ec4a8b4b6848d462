//! How long partitions that changed hands went unserved: from when their last owner gave them up to the
//! first fetch of the new one.
//!
//! A fetch does not say which member it is of. It says a client id, comes from an address, and names a
//! partition only when a client begins to read it; so the first one by the new owner's name after its
//! assignment is taken for it. That is as much as a broker can see.

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
    /// The generation in which the partitions moved.
    pub generation: i32,
    /// What was fetched by its new owner, in that order, and after how many milliseconds.
    pub served: Vec<(Move, Timestamp)>,
    /// What was not, in the time that is waited for, or before it moved again.
    pub unserved: Vec<Move>,
}

#[derive(Debug)]
struct Pending {
    deadline: Timestamp,
    waiting: BTreeMap<(Arc<str>, i32), (Owner, Timestamp, Move)>,
    handover: Handover,
}

impl Handovers {
    /// Takes in a rebalance that ended. Returns what there is to tell of the group's last one.
    pub fn rebalanced(&mut self, rebalance: &Rebalance) -> Option<Handover> {
        let over = self.0.remove(&rebalance.group).map(Pending::end);
        let mut waiting = BTreeMap::new();
        for moved in &rebalance.moves {
            let (Some(owner), Some(since)) = (moved.to.clone(), moved.unserved_since) else {
                continue;
            };
            waiting.insert((moved.topic.clone(), moved.partition), (owner, since, moved.clone()));
        }
        if !waiting.is_empty() && self.0.len() < GROUPS_MAX {
            let handover = Handover {
                group: rebalance.group.clone(),
                generation: rebalance.generation,
                served: Vec::new(),
                unserved: Vec::new(),
            };
            let deadline = rebalance.ended + PATIENCE_MS;
            self.0.insert(rebalance.group.clone(), Pending { deadline, waiting, handover });
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
            let by_owner = |(owner, ..): &(Owner, Timestamp, Move)| {
                *owner.client_id == *client_id && *owner.client_host == *client_host
            };
            if pending.waiting.get(&place).is_some_and(by_owner)
                && let Some((_, since, moved)) = pending.waiting.remove(&place)
            {
                pending.handover.served.push((moved, (now - since).max(0)));
            }
        }
        self.take_over(|pending| pending.waiting.is_empty())
    }

    /// Tells whether anything is waited for.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Returns when [`Handovers::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        self.0.values().map(|pending| pending.deadline).min()
    }

    /// Returns the rebalances that have been waited for long enough.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Vec<Handover> {
        self.take_over(|pending| pending.deadline <= now)
    }

    fn take_over(&mut self, which: impl Fn(&Pending) -> bool) -> Vec<Handover> {
        let over: Vec<Arc<str>> =
            self.0.iter().filter(|(_, it)| which(it)).map(|(group, _)| group.clone()).collect();
        over.iter().filter_map(|group| self.0.remove(group)).map(Pending::end).collect()
    }
}

impl Pending {
    fn end(mut self) -> Handover {
        self.handover.unserved = self.waiting.into_values().map(|(.., moved)| moved).collect();
        self.handover
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
