//! How long partitions that changed hands went unserved: from when their last owner gave them up to the
//! first fetch of the new one.
//!
//! A fetch does not say which member it is of. It says a client id, comes from an address, and names a
//! partition only when a client begins to read it; so the first one by the new owner's name after its
//! assignment is taken for it. That is as much as a broker can see.
//!
//! A member of a consumer group reads what it is given while the others are still on their way, and the rebalance
//! is told when the last one is there. So what it was given is watched from then on, and what was seen
//! meanwhile counts when the rebalance is told: a partition that was fetched by then need not be named by
//! another fetch, and in a session it would not be.
//!
//! A rebalance that follows soon cuts nothing short: what it does not move is waited for as before, and told
//! with what it does. What moves again before it was read has been unread all the while.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::group::{Given, Move, Owner, Rebalance, Who};
use crate::shard::Timestamp;

/// The partitions whose new owners have not been seen to fetch, and those of which it is not yet told that they
/// moved.
#[derive(Debug, Default)]
pub struct Handovers {
    /// What past rebalances moved, by their groups.
    told: BTreeMap<Arc<str>, Pending>,
    /// What rebalances under way have moved so far.
    untold: BTreeMap<Arc<str>, Untold>,
}

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
    /// Who the members are that it names, as far as the rebalance said.
    pub members: BTreeMap<Arc<str>, Who>,
}

impl Handover {
    /// Returns it with the times of what is not served moved by so many milliseconds, as
    /// [`Rebalance::moved_by`] does.
    #[must_use]
    pub fn moved_by(mut self, ahead: i64) -> Self {
        self.unserved.iter_mut().for_each(|it| it.move_by(ahead));
        self
    }
}

/// A topic's name and a partition.
type Place = (Arc<str>, i32);

#[derive(Debug)]
struct Pending {
    waiting: BTreeMap<Place, Awaited>,
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

/// What is seen of a group's partitions before it is told that they moved.
#[derive(Debug)]
struct Untold {
    places: BTreeMap<Place, Seen>,
    /// When all of it is forgotten, unless it is told before or more is given.
    deadline: Timestamp,
}

/// A partition that somebody was given.
#[derive(Debug)]
struct Seen {
    /// By whom it is to be fetched; nobody, if it was taken away again before it was.
    owner: Option<Owner>,
    since: Timestamp,
    fetched: Option<Timestamp>,
}

impl Handovers {
    /// Takes in that somebody was given partitions in a rebalance that goes on.
    pub fn given(&mut self, given: &Given) {
        if self.untold.len() >= GROUPS_MAX && !self.untold.contains_key(&given.group) {
            return;
        }
        let untold = self.untold.entry(given.group.clone()).or_insert_with(Untold::new);
        untold.deadline = given.at + UNTOLD_MS_MAX;
        let mut last = self.told.get_mut(&given.group);
        for moved in &given.moves {
            let place = moved.place();
            let unread = last.as_mut().and_then(|last| last.move_again(&place, moved));
            let (Some(owner), Some(since)) = (moved.to.clone(), moved.unserved_since) else {
                continue;
            };
            let since = untold.unread(&place).into_iter().chain(unread).fold(since, Timestamp::min);
            if untold.places.len() < Rebalance::MAX_MOVES || untold.places.contains_key(&place) {
                untold.places.insert(place, Seen { owner: Some(owner), since, fetched: None });
            }
        }
    }

    /// Takes in a rebalance that is told. Returns what there is to tell of the group's last one: what was
    /// fetched since, and what moved again before it was.
    pub fn rebalanced(&mut self, rebalance: &Rebalance) -> Option<Handover> {
        let mut last = self.told.remove(&rebalance.group);
        let mut untold = self.untold.remove(&rebalance.group).unwrap_or_else(Untold::new);
        let (mut waiting, mut fetched) = (BTreeMap::new(), Vec::new());
        for moved in &rebalance.moves {
            let place = moved.place();
            let unread = last.as_mut().and_then(|last| last.move_again(&place, moved));
            let unread = untold.unread(&place).into_iter().chain(unread).min();
            let seen = untold.places.remove(&place).filter(|seen| seen.owner == moved.to);
            let Some(owner) = moved.to.clone() else {
                if let Some(since) = unread {
                    untold.places.insert(place, Seen { owner: None, since, fetched: None });
                    untold.deadline = rebalance.ended + UNTOLD_MS_MAX;
                }
                continue;
            };
            let Some(since) = moved.unserved_since else { continue };
            if let Some(Seen { since, fetched: Some(at), .. }) = seen {
                fetched.push((at, (moved.clone(), (at - since).max(0))));
                continue;
            }
            let since = unread.map_or(since, |unread| unread.min(since));
            let (moved, deadline) = (moved.clone(), rebalance.ended + PATIENCE_MS);
            waiting.insert(place, Awaited { owner, since, deadline, moved });
        }
        // Who was given something back that was his has not moved anything.
        untold.places.retain(|_, seen| seen.owner.is_none());
        if !untold.places.is_empty() {
            self.untold.insert(rebalance.group.clone(), untold);
        }
        let mut members = rebalance.members_that_moved();
        let over = last.and_then(|mut last| {
            // Those of the new rebalance come first, if there are too many.
            let room = Rebalance::MAX_MOVES.saturating_sub(waiting.len());
            let carried: Vec<_> = last.waiting.keys().take(room).cloned().collect();
            for place in carried {
                let Some(awaited) = last.waiting.remove(&place) else { continue };
                for id in awaited.moved.members() {
                    if let Some((id, who)) = last.handover.members.get_key_value(id) {
                        members.entry(id.clone()).or_insert_with(|| who.clone());
                    }
                }
                waiting.insert(place, awaited);
            }
            last.end()
        });
        if (!waiting.is_empty() || !fetched.is_empty()) && self.told.len() < GROUPS_MAX {
            fetched.sort_by_key(|(at, _)| *at);
            let handover = Handover {
                group: rebalance.group.clone(),
                group_type: rebalance.group_type,
                generation: rebalance.generation,
                served: fetched.into_iter().map(|(_, served)| served).collect(),
                unserved: Vec::new(),
                members,
            };
            self.told.insert(rebalance.group.clone(), Pending { waiting, handover });
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
        let is_them =
            |owner: &Owner| *owner.client_id == *client_id && *owner.client_host == *client_host;
        for untold in self.untold.values_mut() {
            if let Some(seen) = untold.places.get_mut(&place)
                && seen.owner.as_ref().is_some_and(is_them)
            {
                seen.fetched.get_or_insert(now);
            }
        }
        for pending in self.told.values_mut() {
            if pending.waiting.get(&place).is_some_and(|it| is_them(&it.owner))
                && let Some(Awaited { since, moved, .. }) = pending.waiting.remove(&place)
            {
                pending.handover.served.push((moved, (now - since).max(0)));
            }
        }
        self.take_over()
    }

    /// Tells whether somebody's first fetch is waited for.
    pub fn awaits_fetches(&self) -> bool {
        let unseen = |seen: &Seen| seen.owner.is_some() && seen.fetched.is_none();
        !self.told.is_empty()
            || self.untold.values().any(|untold| untold.places.values().any(unseen))
    }

    /// Tells whether there is nothing to wait for and nothing to remember.
    pub fn is_empty(&self) -> bool {
        self.told.is_empty() && self.untold.is_empty()
    }

    /// Returns when [`Handovers::handle_timeout`] is to be called next.
    pub fn poll_timeout(&self) -> Option<Timestamp> {
        let waiting = self.told.values().flat_map(|pending| pending.waiting.values());
        let deadlines = waiting.map(|awaited| awaited.deadline);
        deadlines.chain(self.untold.values().map(|untold| untold.deadline)).min()
    }

    /// Gives up partitions that have been waited for long enough. Returns the rebalances of which nothing else
    /// is waited for.
    pub fn handle_timeout(&mut self, now: Timestamp) -> Vec<Handover> {
        self.untold.retain(|_, untold| untold.deadline > now);
        for pending in self.told.values_mut() {
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
        let over = self.told.iter().filter(|(_, pending)| pending.waiting.is_empty());
        let over: Vec<Arc<str>> = over.map(|(group, _)| group.clone()).collect();
        over.iter().filter_map(|group| self.told.remove(group)?.end()).collect()
    }
}

impl Untold {
    fn new() -> Self {
        Self { places: BTreeMap::new(), deadline: Timestamp::MAX }
    }

    /// Returns since when nobody has read a partition, if that was before whoever was given it last let it go.
    fn unread(&self, place: &Place) -> Option<Timestamp> {
        self.places.get(place).filter(|seen| seen.fetched.is_none()).map(|seen| seen.since)
    }
}

impl Move {
    fn place(&self) -> Place {
        (self.topic.clone(), self.partition)
    }

    /// Returns the ids of the members that it is between.
    fn members(&self) -> impl Iterator<Item = &Arc<str>> {
        self.from.iter().chain(self.to.as_ref().map(|to| &to.member))
    }
}

impl Rebalance {
    /// Returns who the members are that partitions moved between.
    fn members_that_moved(&self) -> BTreeMap<Arc<str>, Who> {
        let named: BTreeSet<_> = self.moves.iter().flat_map(Move::members).collect();
        let known = self.members.iter().filter(|(id, _)| named.contains(id));
        known.map(|(id, who)| (id.clone(), who.clone())).collect()
    }
}

impl Pending {
    /// Takes in that a partition moves again. Returns since when nobody has read it, if it goes from the owner
    /// who was not seen to.
    fn move_again(&mut self, place: &Place, again: &Move) -> Option<Timestamp> {
        let Awaited { owner, since, moved, .. } = self.waiting.remove(place)?;
        self.handover.unserved.push(moved);
        (again.from.as_ref() == Some(&owner.member)).then_some(since)
    }

    /// Returns what there is to tell, if there is anything.
    fn end(mut self) -> Option<Handover> {
        self.handover.unserved.extend(self.waiting.into_values().map(|awaited| awaited.moved));
        let Handover { served, unserved, members, .. } = &mut self.handover;
        let moves = served.iter().map(|(moved, _)| moved).chain(unserved.iter());
        let named: BTreeSet<_> = moves.flat_map(Move::members).collect();
        members.retain(|id, _| named.contains(id));
        let told = !served.is_empty() || !unserved.is_empty();
        told.then_some(self.handover)
    }
}

/// How long the new owners' fetches are waited for.
const PATIENCE_MS: Timestamp = 30_000;

/// Of more groups that rebalance within that time, no handovers are told.
const GROUPS_MAX: usize = 1_000;

/// How long it may take until it is told that a partition moved: longer than a part of a rebalance lasts, which
/// is told after three heartbeats at most. What is told later is lost with its coordinator.
const UNTOLD_MS_MAX: Timestamp = 60_000;

#[cfg(test)]
mod tests;
