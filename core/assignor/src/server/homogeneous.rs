//! The uniform assignor where all members subscribe to the same topics.
//!
//! With p partitions and m members everyone may have p / m partitions, and p mod m members one more.
//! Who has more gives the surplus back; who has less is filled up, first with partitions nobody had,
//! then with those given back. Whoever has the one more already keeps it: the extra is offered to a
//! member that does not use it only when the members left are no more than the extras left.

use super::{AssignError, GroupAssignment, GroupSpec, PartitionId, Topic, Topics, collect};

pub(super) fn assign(
    group: &GroupSpec,
    topics: &dyn Topics,
) -> Result<GroupAssignment, AssignError> {
    let Some(first) = group.members.values().next() else {
        return Ok(GroupAssignment::default());
    };
    // In the order of ids, so that a topic can be found by its id.
    let mut subscribed =
        first.topics.iter().map(|id| Topic::new(*id, topics)).collect::<Result<Vec<_>, _>>()?;

    let Kept { room, given_back } = keep_within_quota(group, &mut subscribed);
    let mut free = Vec::new();
    for (topic, state) in subscribed.iter().enumerate() {
        for (partition, owner) in state.owners.iter().enumerate() {
            if owner.is_none() {
                free.push((topic, partition));
            }
        }
    }
    // What was given back has an owner still, so that it is not among those nobody had.
    free.extend(given_back);
    let mut free = free.into_iter();
    for (member, room) in room {
        for (topic, partition) in free.by_ref().take(room) {
            subscribed[topic].owners[partition] = Some(member as u32);
        }
    }
    debug_assert!(free.next().is_none(), "quotas add up to all partitions");
    Ok(collect(group, &subscribed))
}

/// What is left to do once everyone has kept what it may.
struct Kept {
    /// Members and how many more partitions each shall have.
    room: Vec<(usize, usize)>,
    /// Partitions, by topic and number, that their owners must do without.
    given_back: Vec<(usize, usize)>,
}

fn keep_within_quota(group: &GroupSpec, topics: &mut [Topic]) -> Kept {
    let total: usize = topics.iter().map(|topic| topic.owners.len()).sum();
    let count = group.members.len();
    let quota = total / count;
    // How many members may still get one more than the quota.
    let mut extras = total % count;
    let mut kept = Kept { room: Vec::new(), given_back: Vec::new() };
    for (place, member) in group.members.values().enumerate() {
        let mut has_extra = extras > 0;
        let mut room = quota + usize::from(has_extra);
        for PartitionId { topic, index } in member.target.iter() {
            let Ok(topic) = topics.binary_search_by_key(&topic, |topic| topic.id) else { continue };
            let Some(partition) = topics[topic].claim(index, place) else { continue };
            if room > 0 {
                room -= 1;
            } else {
                kept.given_back.push((topic, partition));
            }
        }
        if room > 0 && has_extra && count - place > extras {
            room -= 1;
            has_extra = false;
        }
        if room > 0 {
            kept.room.push((place, room));
        }
        extras -= usize::from(has_extra);
    }
    kept
}
