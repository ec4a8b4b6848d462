//! The uniform assignor where members subscribe to different topics.
//!
//! 1. Everyone keeps what it has of the topics it subscribes to.
//! 2. Topic by topic, partitions nobody has go to the subscriber with the fewest. Topics with the most
//!    partitions for each subscriber come first: they leave the least choice.
//! 3. Topic by topic, partitions go from the subscriber with the most to the one with the fewest,
//!    until no topic improves. A move can unbalance a topic that was looked at before, so the walk
//!    starts anew, [`ROUNDS_MAX`] times at most.

use std::cmp::{Ordering, Reverse};
use std::collections::BTreeMap;

use kohort_protocol::Uuid;

use super::balance::Balance;
use super::{AssignError, GroupAssignment, GroupSpec, PartitionId, Topic, Topics, collect};

/// How often all topics are walked over. When the subscribers of each topic want the same, one walk
/// makes it even and a second finds that out. Otherwise a walk takes about half of what is uneven,
/// and the rest is not worth its time; Kafka has the same limit.
const ROUNDS_MAX: usize = 16;

pub(super) fn assign(
    group: &GroupSpec,
    topics: &dyn Topics,
) -> Result<GroupAssignment, AssignError> {
    let mut state = State::new(group, topics)?;
    state.keep(group);
    state.give_out();
    state.even_out();
    state.topics.sort_by_key(|subscribed| subscribed.topic.id);
    Ok(collect(group, state.topics.iter().map(|subscribed| &subscribed.topic)))
}

struct State {
    /// In the order in which they are given out.
    topics: Vec<Subscribed>,
    /// How many partitions each member has.
    sizes: Vec<usize>,
}

struct Subscribed {
    topic: Topic,
    /// The places of those who subscribe to the topic, in ascending order.
    subscribers: Vec<usize>,
}

impl State {
    fn new(group: &GroupSpec, topics: &dyn Topics) -> Result<Self, AssignError> {
        let mut subscribers: BTreeMap<Uuid, Vec<usize>> = BTreeMap::new();
        for (place, member) in group.members.values().enumerate() {
            for topic in &*member.topics {
                subscribers.entry(*topic).or_default().push(place);
            }
        }
        let mut topics = subscribers
            .into_iter()
            .map(|(id, subscribers)| Ok(Subscribed { topic: Topic::new(id, topics)?, subscribers }))
            .collect::<Result<Vec<_>, AssignError>>()?;
        topics.sort_by(Subscribed::in_turn);
        Ok(Self { topics, sizes: vec![0; group.members.len()] })
    }

    fn keep(&mut self, group: &GroupSpec) {
        let places: BTreeMap<Uuid, usize> =
            self.topics.iter().enumerate().map(|(place, of)| (of.topic.id, place)).collect();
        for (member, spec) in group.members.values().enumerate() {
            for PartitionId { topic, index } in spec.target.iter() {
                let Some(place) = places.get(&topic) else { continue };
                let subscribed = spec.topics.contains(&topic);
                if subscribed && self.topics[*place].topic.claim(index, member).is_some() {
                    self.sizes[member] += 1;
                }
            }
        }
    }

    fn give_out(&mut self) {
        for Subscribed { topic, subscribers } in &mut self.topics {
            if topic.owners.iter().all(Option::is_some) {
                continue;
            }
            let mut balance = Balance::new(subscribers, &self.sizes);
            for owner in topic.owners.iter_mut().filter(|owner| owner.is_none()) {
                let member = balance.next_poorest(&self.sizes);
                *owner = Some(member as u32);
                self.sizes[member] += 1;
            }
        }
    }

    fn even_out(&mut self) {
        // The topic that was the last to have partitions moved, or where the walk began: once round
        // without a move is the end.
        let mut last_moved = None;
        for _ in 0..ROUNDS_MAX {
            for place in 0..self.topics.len() {
                let Subscribed { topic, subscribers } = &mut self.topics[place];
                if subscribers.len() < 2 {
                    continue;
                }
                if last_moved == Some(place) {
                    return;
                }
                let moved = even_out(topic, subscribers, &mut self.sizes);
                if moved || last_moved.is_none() {
                    last_moved = Some(place);
                }
            }
        }
    }
}

impl Subscribed {
    /// Orders topics as they are given out: by partitions for each subscriber, the most first; then
    /// by subscribers, the fewest first; then as Kafka orders ids.
    fn in_turn(&self, other: &Self) -> Ordering {
        let shares = |one: &Self, by: &Self| one.topic.owners.len() * by.subscribers.len();
        shares(other, self)
            .cmp(&shares(self, other))
            .then(self.subscribers.len().cmp(&other.subscribers.len()))
            .then_with(|| kafka_order(self.topic.id).cmp(&kafka_order(other.topic.id)))
    }
}

/// Kafka compares an id as two signed numbers.
fn kafka_order(id: Uuid) -> (i64, i64) {
    let bits = u128::from_be_bytes(id.0);
    ((bits >> 64) as i64, bits as i64)
}

/// Moves partitions of one topic from those who have the most to those who have the fewest. Returns
/// whether one was moved.
fn even_out(topic: &mut Topic, subscribers: &[usize], sizes: &mut [usize]) -> bool {
    let has = |member: &usize| sizes[*member];
    let (most, fewest) = (subscribers.iter().map(has).max(), subscribers.iter().map(has).min());
    if most <= fewest.map(|fewest| fewest + 1) {
        return false;
    }
    let mut balance = Balance::new(subscribers, sizes);
    // Each subscriber's partitions, the last on top.
    let mut owned: Vec<(Option<u32>, Reverse<usize>)> =
        topic.owners.iter().enumerate().map(|(place, owner)| (*owner, Reverse(place))).collect();
    owned.sort_unstable();
    let start = |member: usize| {
        owned.partition_point(|(owner, _)| owner.is_none_or(|owner| (owner as usize) < member))
    };
    // How many of its partitions each member has lost already.
    let mut taken: BTreeMap<usize, usize> = BTreeMap::new();
    let mut moved = false;
    loop {
        let gives = |member: usize| {
            let next = start(member) + taken.get(&member).copied().unwrap_or(0);
            match owned.get(next) {
                Some((Some(owner), Reverse(place))) if *owner as usize == member => Some(*place),
                _ => None,
            }
        };
        let Some((richest, place)) = balance.next_richest(sizes, gives) else { return moved };
        *taken.entry(richest).or_default() += 1;
        let poorest = balance.next_poorest(sizes);
        if balance.is_even() {
            return moved;
        }
        topic.owners[place] = Some(poorest as u32);
        sizes[richest] -= 1;
        sizes[poorest] += 1;
        moved = true;
    }
}
