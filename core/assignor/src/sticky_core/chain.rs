//! Where no single move helps, a chain of moves may.
//!
//! Let A own three partitions of topic t, B, who also subscribes to t, two of topic u, and C, who
//! subscribes to u alone, one. Neither A to B nor B to C lessens a difference, but both together do. A
//! breadth-first search from a full member, along "owns a partition of a topic that the next one
//! subscribes to", finds the shortest such chain; without one the division is as level as the
//! subscriptions allow.
//!
//! A division that is level may still have moved more than it had to. Let A have lost a partition to B, and
//! got one that C lost: if B can take that one, A can have its own back, and the counts stay. The same search
//! finds it, from A along partitions that moved anyway, of which none costs another move.

use std::collections::{BTreeMap, VecDeque};

use super::{Member, Owners, Previous, Problem};

/// Applies chains until none makes the counts more level.
pub(super) fn level(problem: &Problem<'_>, owners: &mut Owners, counts: &mut [usize]) {
    let mut held = Held::of(problem, owners, |_, _| true);
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
            let emptier = |to: Member| counts[to] + 1 < counts[start];
            let Some(steps) = held.find(problem, start, emptier) else { continue };
            moved = true;
            counts[start] -= 1;
            counts[steps[steps.len() - 1].to] += 1;
            held.follow(steps, owners, |_, _| true);
        }
    }
}

/// Gives partitions back to who had them where that leaves the counts as level as they are. Each time one moves
/// less, so it ends.
pub(super) fn bring_home(problem: &Problem<'_>, owners: &mut Owners, counts: &mut [usize]) {
    let mut lost = lost_by_member(problem, owners);
    if lost.iter().all(Vec::is_empty) {
        return;
    }
    let is_new = |number: usize, owner| problem.previous[number] != Previous::Owner(owner);
    let mut new = Held::of(problem, owners, is_new);
    let mut searches = 0;
    let mut moved = true;
    while std::mem::take(&mut moved) {
        for (home, lost) in lost.iter_mut().enumerate() {
            while searches < MAX_SEARCHES {
                lost.retain(|(_, number)| owners[*number] != Some(home));
                let owner = |(_, number): &(usize, usize)| owners[*number].expect("it moved");
                let mut is_away = vec![false; counts.len()];
                for it in &*lost {
                    is_away[owner(it)] = true;
                }
                let Some(fullest) = lost.iter().map(owner).max_by_key(|it| counts[*it]) else {
                    break;
                };
                let (away, steps) = if counts[home] < counts[fullest] {
                    (fullest, Vec::new())
                } else {
                    let ends = |to: Member| counts[to] < counts[fullest] || is_away[to];
                    searches += 1;
                    let Some(steps) = new.find(problem, home, ends) else { break };
                    let end = steps[steps.len() - 1].to;
                    (if is_away[end] { end } else { fullest }, steps)
                };
                let (topic, number) =
                    *lost.iter().find(|it| owner(it) == away).expect("it has one");
                moved = true;
                new.forget(away, topic, number);
                owners[number] = Some(home);
                counts[away] -= 1;
                counts[steps.last().map_or(home, |step| step.to)] += 1;
                new.follow(steps, owners, is_new);
            }
        }
    }
}

/// Returns what each member had and could still have: topic and partition.
fn lost_by_member(problem: &Problem<'_>, owners: &Owners) -> Vec<Vec<(usize, usize)>> {
    let mut lost = vec![Vec::new(); problem.members.len()];
    for (index, topic) in problem.topics.iter().enumerate() {
        let places = owners.iter().zip(&problem.previous).enumerate();
        for (number, (owner, previous)) in places.skip(topic.start).take(topic.partitions) {
            if let Previous::Owner(home) = *previous
                && *owner != Some(home)
                && topic.subscribers.binary_search(&home).is_ok()
            {
                lost[home].push((index, number));
            }
        }
    }
    lost
}

/// How many searches one assignment may cost. Groups in practice are level before the first one.
const MAX_SEARCHES: usize = 2000;

struct Step {
    from: Member,
    topic: usize,
    to: Member,
}

/// Partitions of each member, by topic.
struct Held(Vec<BTreeMap<usize, Vec<usize>>>);

impl Held {
    fn of(problem: &Problem<'_>, owners: &Owners, which: impl Fn(usize, Member) -> bool) -> Self {
        let mut held = vec![BTreeMap::<usize, Vec<usize>>::new(); problem.members.len()];
        for (index, topic) in problem.topics.iter().enumerate() {
            let owned = owners.iter().enumerate().skip(topic.start).take(topic.partitions);
            for (number, owner) in owned {
                if let Some(owner) = owner.filter(|owner| which(number, *owner)) {
                    held[owner].entry(index).or_default().push(number);
                }
            }
        }
        Self(held)
    }

    /// Finds the shortest chain from `start` to a member where it may end.
    fn find(
        &self,
        problem: &Problem<'_>,
        start: Member,
        ends: impl Fn(Member) -> bool,
    ) -> Option<Vec<Step>> {
        if self.0[start].is_empty() {
            return None;
        }
        let mut came_from: Vec<Option<(Member, usize)>> = vec![None; self.0.len()];
        let mut topic_seen = vec![false; problem.topics.len()];
        let mut queue = VecDeque::from([start]);
        while let Some(from) = queue.pop_front() {
            for &topic in self.0[from].keys() {
                // Whoever subscribes was already reached through the topic's first owner.
                if std::mem::replace(&mut topic_seen[topic], true) {
                    continue;
                }
                for &to in &problem.topics[topic].subscribers {
                    if to == start || came_from[to].is_some() {
                        continue;
                    }
                    came_from[to] = Some((from, topic));
                    if ends(to) {
                        return Some(walk_back(&came_from, to));
                    }
                    queue.push_back(to);
                }
            }
        }
        None
    }

    /// Moves a partition with each step, and keeps `which` it is to know.
    fn follow(
        &mut self,
        steps: Vec<Step>,
        owners: &mut Owners,
        which: impl Fn(usize, Member) -> bool,
    ) {
        for Step { from, topic, to } in steps {
            let number = self.take(from, topic);
            owners[number] = Some(to);
            if which(number, to) {
                self.0[to].entry(topic).or_default().push(number);
            }
        }
    }

    fn take(&mut self, member: Member, topic: usize) -> usize {
        let partitions =
            self.0[member].get_mut(&topic).expect("the chain goes along what is owned");
        let number = partitions.pop().expect("topics without partitions are removed");
        if partitions.is_empty() {
            self.0[member].remove(&topic);
        }
        number
    }

    fn forget(&mut self, member: Member, topic: usize, number: usize) {
        if let Some(partitions) = self.0[member].get_mut(&topic) {
            partitions.retain(|it| *it != number);
            if partitions.is_empty() {
                self.0[member].remove(&topic);
            }
        }
    }
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
