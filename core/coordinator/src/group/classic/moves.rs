//! Which partitions a rebalance moved, from whom to whom, and since when nobody served them.
//!
//! The assignments are between the members; they are read here only to tell the story, and what
//! cannot be read moves nothing. A cooperative rebalance takes a partition away in one generation
//! and gives it to somebody in a later one, so what nobody owns is remembered until then.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use kohort_protocol::messages::consumer_protocol::ConsumerProtocolAssignment;

use super::member::ClassicMember;
use super::state::ClassicGroup;
use super::story::{GivenUp, Owners};
use crate::group::causes::{Causes, Place};
use crate::group::event::{CauseKind, Move, Owner, Rebalance, RebalanceCause};
use crate::group::revocation::Told;
use crate::shard::Timestamp;

impl ClassicGroup {
    /// Returns how long members took to rejoin without what the generation before took from them, if that is what
    /// this one is about: an eager group's assignment that leaves something out asks nobody to rejoin.
    pub(super) fn revocations(&mut self, causes: &Causes, given_up: &GivenUp) -> Told {
        let mut asked = std::mem::take(&mut self.revocations);
        let follows =
            |cause: &RebalanceCause| matches!(cause.kind, CauseKind::GaveUpPartitions { .. });
        if !causes.noted.iter().any(follows) {
            return Told::default();
        }
        for (member, at) in given_up {
            asked.finish(*at, member);
        }
        asked.told(Rebalance::MAX_REVOCATIONS, |place| Some(place.clone()))
    }

    /// Compares who had what with what is assigned now. Returns the moves, in order, and how many
    /// more there were.
    pub(super) fn moves(
        &mut self,
        now: Timestamp,
        given_up: &GivenUp,
        before: Owners,
        assignment: impl Fn(&ClassicMember) -> Bytes,
    ) -> (Vec<Move>, usize) {
        if !self.is_consumer_group() {
            return (Vec::new(), 0);
        }
        let mut after: BTreeMap<Place, &ClassicMember> = BTreeMap::new();
        for member in self.members.values() {
            for place in places(&assignment(member)) {
                after.insert(place, member);
            }
        }
        let mut orphans = std::mem::take(&mut self.orphans);
        let mut moves = Vec::new();
        for (place, member) in &after {
            let from = match before.get(place) {
                Some(from) if *from == member.id => continue,
                Some(from) => Some((from.clone(), given_up.get(from).copied().unwrap_or(now))),
                None => orphans.remove(place),
            };
            let (from, unserved_since) = from.unzip();
            let to = Some(Owner {
                member: member.id.clone(),
                client_id: member.client_id.clone(),
                client_host: member.client_host.clone(),
            });
            let (topic, partition) = place.clone();
            moves.push(Move { topic, partition, from, to, unserved_since });
        }
        for (place, from) in before.into_iter().filter(|(place, _)| !after.contains_key(place)) {
            // Its owner serves it until it hears of its assignment, if it is still there.
            let since = given_up.get(&from).copied().filter(|_| !self.members.contains_key(&from));
            let since = since.unwrap_or(now);
            if self.members.contains_key(&from) {
                self.revocations.ask(now, &from, [place.clone()]);
            }
            let (topic, partition) = place.clone();
            moves.push(Move {
                topic,
                partition,
                from: Some(from.clone()),
                to: None,
                unserved_since: Some(since),
            });
            orphans.insert(place, (from, since));
        }
        self.orphans = orphans;
        let omitted = moves.len().saturating_sub(Rebalance::MAX_MOVES);
        moves.truncate(Rebalance::MAX_MOVES);
        (moves, omitted)
    }
}

/// Returns the partitions of a member's assignment, or none if it cannot be read.
pub(super) fn places(assignment: &Bytes) -> Vec<Place> {
    let Ok(assignment) = ConsumerProtocolAssignment::from_bytes(assignment) else {
        return Vec::new();
    };
    let topics = assignment.assigned_partitions.into_iter();
    topics
        .flat_map(|topic| {
            let name: Arc<str> = topic.topic.into();
            topic.partitions.into_iter().map(move |partition| (name.clone(), partition))
        })
        .collect()
}
