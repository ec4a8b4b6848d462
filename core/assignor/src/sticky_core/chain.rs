//! Where no single move helps, a chain of moves may.
//!
//! Let A own three partitions of topic t, B, who also subscribes to t, two of topic u, and C, who
//! subscribes to u alone, one. Neither A to B nor B to C lessens a difference, but both together do. A
//! breadth-first search from a full member, along "owns a partition of a topic that the next one
//! subscribes to", finds the shortest such chain; without one the division is as level as the
//! subscriptions allow.

use std::collections::{BTreeMap, VecDeque};

use super::{Member, Owners, Problem};

/// Applies chains until none helps.
pub(super) fn level(problem: &Problem<'_>, owners: &mut Owners, counts: &mut [usize]) {
    // For each member, what it owns of each topic.
    let mut held: Vec<BTreeMap<usize, Vec<usize>>> = vec![BTreeMap::new(); counts.len()];
    for (index, topic) in problem.topics.iter().enumerate() {
        let owned = owners.iter().enumerate().skip(topic.start).take(topic.partitions);
        for (number, owner) in owned {
            if let Some(owner) = owner {
                held[*owner].entry(index).or_default().push(number);
            }
        }
    }
    let mut fullest_first: Vec<Member> = (0..counts.len()).collect();
    let mut searches = 0;
    // A chain may open the way for another that was looked for before, hence the outer loop.
    let mut moved = true;
    while std::mem::take(&mut moved) {
        fullest_first.sort_by_key(|member| std::cmp::Reverse(counts[*member]));
        for &start in &fullest_first {
            if searches == MAX_SEARCHES {
                return;
            }
            let least = counts.iter().min().copied().unwrap_or(0);
            if counts[start] <= least + 1 {
                continue;
            }
            searches += 1;
            let Some(steps) = find(problem, &held, counts, start) else {
                continue;
            };
            moved = true;
            counts[start] -= 1;
            counts[steps[steps.len() - 1].to] += 1;
            for Step { from, topic, to } in steps {
                let number = give(&mut held[from], topic);
                held[to].entry(topic).or_default().push(number);
                owners[number] = Some(to);
            }
        }
    }
}

/// How many searches one assignment may cost. Groups in practice are level before the first one.
const MAX_SEARCHES: usize = 2000;

struct Step {
    from: Member,
    topic: usize,
    to: Member,
}

/// Finds the shortest chain from `start` to a member with at least two partitions less.
fn find(
    problem: &Problem<'_>,
    held: &[BTreeMap<usize, Vec<usize>>],
    counts: &[usize],
    start: Member,
) -> Option<Vec<Step>> {
    let mut came_from: Vec<Option<(Member, usize)>> = vec![None; counts.len()];
    let mut topic_seen = vec![false; problem.topics.len()];
    let mut queue = VecDeque::from([start]);
    while let Some(from) = queue.pop_front() {
        for &topic in held[from].keys() {
            // Whoever subscribes was already reached through the topic's first owner.
            if std::mem::replace(&mut topic_seen[topic], true) {
                continue;
            }
            for &to in &problem.topics[topic].subscribers {
                if to == start || came_from[to].is_some() {
                    continue;
                }
                came_from[to] = Some((from, topic));
                if counts[to] + 1 < counts[start] {
                    return Some(walk_back(&came_from, to));
                }
                queue.push_back(to);
            }
        }
    }
    None
}

fn walk_back(came_from: &[Option<(Member, usize)>], end: Member) -> Vec<Step> {
    let mut steps = Vec::new();
    let mut to = end;
    while let Some((from, topic)) = came_from[to] {
        steps.push(Step { from, topic, to });
        to = from;
    }
    steps.reverse();
    steps
}

fn give(held: &mut BTreeMap<usize, Vec<usize>>, topic: usize) -> usize {
    let partitions = held.get_mut(&topic).expect("the chain goes along what is owned");
    let number = partitions.pop().expect("topics without partitions are removed");
    if partitions.is_empty() {
        held.remove(&topic);
    }
    number
}
