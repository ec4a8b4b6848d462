//! The general case: members subscribe to different topics.
//!
//! 1. Members keep what they owned and still subscribe to.
//! 2. What is free goes to the subscriber with the fewest partitions, topics with few subscribers
//!    first, because they have the least choice.
//! 3. Topic by topic, a partition moves from the fullest owner to the emptiest subscriber while that
//!    lessens the difference of the two, best one that is new to its owner. This ends when no single move
//!    helps.
//! 4. Chains of moves level what is left, and bring back what need not have moved, see [`chain`].
//!
//! Where racks count, what is free goes to a subscriber near it if there is one, and what moves is best
//! near where it goes and far from where it was. Nothing moves for the sake of racks alone, other than in
//! Kafka: what one rebalance brought near, the next might take away to level the counts.
//!
//! Every move makes the sum of the squared counts smaller, so step 3 ends; [`MAX_PASSES`] makes it
//! end soon on groups built to be slow.

use std::cmp::Reverse;
use std::collections::{BTreeSet, BinaryHeap};

use super::{Member, Owners, Previous, Problem, Topic, chain};

pub(super) fn solve(problem: &Problem<'_>) -> Owners {
    let mut division = Division {
        problem,
        owners: vec![None; problem.partition_count],
        counts: vec![0; problem.members.len()],
    };
    division.keep_what_was_owned();
    let mut order: Vec<&Topic<'_>> =
        problem.topics.iter().filter(|topic| topic.partitions > 0).collect();
    order.sort_by_key(|topic| topic.subscribers.len());
    for topic in &order {
        division.give_out_what_is_free(topic);
    }
    // A topic with one subscriber has no choice.
    order.retain(|topic| topic.subscribers.len() > 1);
    for _ in 0..MAX_PASSES {
        let mut moved = false;
        for topic in &order {
            moved |= division.level(topic);
        }
        if !moved {
            break;
        }
    }
    chain::level(problem, &mut division.owners, &mut division.counts);
    chain::bring_home(problem, &mut division.owners, &mut division.counts);
    division.owners
}

/// How often all topics are looked through. A move in one topic may allow one in another, so the
/// number bounds the length of such chains; groups in practice need two or three passes.
const MAX_PASSES: usize = 64;

struct Division<'p> {
    problem: &'p Problem<'p>,
    owners: Owners,
    counts: Vec<usize>,
}

impl Division<'_> {
    fn keep_what_was_owned(&mut self) {
        for topic in &self.problem.topics {
            for number in topic.start..topic.start + topic.partitions {
                if let Previous::Owner(member) = self.problem.previous[number]
                    && topic.subscribers.binary_search(&member).is_ok()
                {
                    self.owners[number] = Some(member);
                    self.counts[member] += 1;
                }
            }
        }
    }

    fn give_out_what_is_free(&mut self, topic: &Topic<'_>) {
        self.give_to_the_near(topic);
        let mut emptiest: BinaryHeap<Reverse<(usize, Member)>> = topic
            .subscribers
            .iter()
            .map(|member| Reverse((self.counts[*member], *member)))
            .collect();
        for owner in &mut self.owners[topic.start..][..topic.partitions] {
            if owner.is_some() {
                continue;
            }
            let mut top =
                emptiest.peek_mut().expect("a topic is listed because somebody subscribes to it");
            let Reverse((count, member)) = &mut *top;
            *count += 1;
            *owner = Some(*member);
            self.counts[*member] = *count;
        }
    }

    fn give_to_the_near(&mut self, topic: &Topic<'_>) {
        let Some(racks) = &self.problem.racks else { return };
        for number in topic.start..topic.start + topic.partitions {
            let near = topic.subscribers.iter().filter(|member| racks.is_near(**member, number));
            if self.owners[number].is_none()
                && let Some(member) = near.min_by_key(|member| self.counts[**member])
            {
                self.owners[number] = Some(*member);
                self.counts[*member] += 1;
            }
        }
    }

    /// Moves partitions of one topic and returns whether any moved.
    fn level(&mut self, topic: &Topic<'_>) -> bool {
        // Of each subscriber the partitions, those that are new to it last.
        let mut held: Vec<Vec<usize>> = vec![Vec::new(); topic.subscribers.len()];
        for new in [false, true] {
            for number in topic.start..topic.start + topic.partitions {
                let owner = self.owners[number].expect("everything was given out before");
                if new == (self.problem.previous[number] != Previous::Owner(owner)) {
                    held[place_of(topic, owner)].push(number);
                }
            }
        }
        let key =
            |division: &Self, place: usize| (division.counts[topic.subscribers[place]], place);
        let mut receivers: BTreeSet<(usize, usize)> =
            (0..held.len()).map(|place| key(self, place)).collect();
        let mut givers: BTreeSet<(usize, usize)> = (0..held.len())
            .filter(|place| !held[*place].is_empty())
            .map(|place| key(self, place))
            .collect();
        let mut moved = false;
        while let (Some(&(most, from)), Some(&(least, to))) = (givers.last(), receivers.first()) {
            if most <= least + 1 {
                break;
            }
            let number =
                self.take_one(&mut held[from], topic.subscribers[from], topic.subscribers[to]);
            self.owners[number] = Some(topic.subscribers[to]);
            self.counts[topic.subscribers[from]] -= 1;
            self.counts[topic.subscribers[to]] += 1;
            moved = true;

            receivers.remove(&(most, from));
            receivers.insert((most - 1, from));
            receivers.remove(&(least, to));
            receivers.insert((least + 1, to));
            givers.remove(&(most, from));
            if !held[from].is_empty() {
                givers.insert((most - 1, from));
            }
            givers.remove(&(least, to));
            held[to].push(number);
            givers.insert((least + 1, to));
        }
        moved
    }

    /// Picks what moves: best what is new to its owner, of that what is best for its rack, then the last.
    fn take_one(&self, held: &mut Vec<usize>, from: Member, to: Member) -> usize {
        let mut at = held.len() - 1;
        if let Some(racks) = &self.problem.racks {
            let worth = |number: usize| {
                let near = |member| i8::from(racks.is_near(member, number));
                (self.problem.previous[number] != Previous::Owner(from), near(to) - near(from))
            };
            at = (0..held.len()).max_by_key(|at| worth(held[*at])).unwrap_or(at);
        }
        held.remove(at)
    }
}

fn place_of(topic: &Topic<'_>, member: Member) -> usize {
    topic.subscribers.binary_search(&member).expect("only subscribers own partitions of a topic")
}
