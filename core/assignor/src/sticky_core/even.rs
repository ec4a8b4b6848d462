//! The common case: every member subscribes to the same topics.
//!
//! Of p partitions each of m members gets p / m, and p mod m members get one more. Members keep what
//! they owned up to that, those with the larger share first come first served; the rest fills up the
//! others. This moves no partition that could have stayed.
//!
//! Where racks count, a member keeps only what is near it, and what is free goes to members that are
//! near first, beginning with the partitions that the fewest members are near; the quotas hold all
//! the same.

use std::collections::VecDeque;

use super::{Member, Owners, Previous, Problem};

pub(super) fn solve(problem: &Problem<'_>) -> Owners {
    let members = problem.members.len();
    let quota = problem.partition_count / members;
    let mut extras = problem.partition_count % members;
    let mut owners: Owners = vec![None; problem.partition_count];
    let mut below = VecDeque::new();
    let mut at_quota = VecDeque::new();

    let mut counts = vec![0; members];
    for (member, mut owned) in owned_by_member(problem).into_iter().enumerate() {
        if owned.len() > quota && extras > 0 {
            extras -= 1;
            owned.truncate(quota + 1);
        } else {
            owned.truncate(quota);
        }
        if owned.len() < quota {
            below.push_back(member);
        } else if owned.len() == quota {
            at_quota.push_back(member);
        }
        counts[member] = owned.len();
        for partition in owned {
            owners[partition] = Some(member);
        }
    }

    let free = owners.iter().enumerate().filter(|(_, owner)| owner.is_none());
    let mut free: Vec<usize> = free.map(|(partition, _)| partition).collect();
    if let Some(racks) = &problem.racks {
        free.sort_by_key(|partition| racks.near(*partition));
        if extras == 0 {
            at_quota.clear();
        }
        let mut turn = 0;
        free.retain(|partition| {
            let near = |member: &Member| racks.is_near(*member, *partition);
            let mut turns = (0..below.len()).map(|step| (turn + step) % below.len());
            let member = if let Some(place) = turns.find(|place| near(&below[*place])) {
                let member = below[place];
                turn = place + 1;
                if counts[member] + 1 == quota {
                    below.remove(place);
                    turn = place;
                    if extras > 0 {
                        at_quota.push_back(member);
                    }
                }
                turn = if below.is_empty() { 0 } else { turn % below.len() };
                member
            } else if let Some(place) = at_quota.iter().position(near) {
                let member = at_quota.remove(place).expect("the place was just found");
                extras -= 1;
                if extras == 0 {
                    at_quota.clear();
                }
                member
            } else {
                return true;
            };
            owners[*partition] = Some(member);
            counts[member] += 1;
            false
        });

        // What nobody near has room for stays where it was if there is room: to move it would win nothing.
        free.retain(|partition| {
            let Previous::Owner(member) = problem.previous[*partition] else { return true };
            if let Some(place) = below.iter().position(|it| *it == member) {
                counts[member] += 1;
                if counts[member] == quota {
                    below.remove(place);
                    at_quota.push_back(member);
                }
            } else if extras > 0
                && let Some(place) = at_quota.iter().position(|it| *it == member)
            {
                at_quota.remove(place);
                counts[member] += 1;
                extras -= 1;
            } else {
                return true;
            }
            owners[*partition] = Some(member);
            false
        });
    }

    for partition in free {
        // Those below the quota take turns; once all have it, one more each for the extras.
        let member = below
            .pop_front()
            .or_else(|| at_quota.pop_front())
            .expect("the quotas add up to the partitions");
        owners[partition] = Some(member);
        counts[member] += 1;
        if counts[member] < quota {
            below.push_back(member);
        } else if counts[member] == quota {
            at_quota.push_back(member);
        }
    }
    owners
}

/// Returns each member's previous partitions, low indexes first: what a member loses are then the
/// high ones of all topics rather than one whole topic.
fn owned_by_member(problem: &Problem<'_>) -> Vec<Vec<usize>> {
    let mut owned = vec![Vec::new(); problem.members.len()];
    for topic in &problem.topics {
        for index in 0..topic.partitions {
            if let Previous::Owner(member) = problem.previous[topic.start + index]
                && !problem.racks.as_ref().is_some_and(|it| it.is_far(member, topic.start + index))
            {
                owned[member].push((index, topic.start + index));
            }
        }
    }
    owned
        .into_iter()
        .map(|mut partitions| {
            partitions.sort_unstable();
            partitions.into_iter().map(|(_, number)| number).collect()
        })
        .collect()
}
