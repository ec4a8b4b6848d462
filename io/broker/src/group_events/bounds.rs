//! How large events and their batches may be: any consumer can read them, with the settings it comes with.
//!
//! An event of a thousand members fits as it is, unless their names are long. Of one that is too large that goes first
//! which a reader misses least, and its `omitted_` fields say how much:
//!
//! ```text
//! who the members are ─► moves, half by half ─► ids of members, half by half ─► causes
//! ```

use super::schema::{GroupEvent, HandoverEvent, RebalanceEvent};
use std::collections::BTreeMap;

/// How large an event may be: with its key and the head of its batch it stays below Kafka's own
/// `max.message.bytes`, 1 048 588.
const EVENT_BYTES_MAX: usize = 960 * 1024;
/// How large a batch may be, unless it is of one event.
const BATCH_BYTES_MAX: usize = EVENT_BYTES_MAX;
/// Lists as short as that stay whole: names may have 32 kB, and so few of them fit.
const FEW: usize = 2;

/// Returns an event as it is written, with its group, without what makes it too large.
pub(super) fn fit(event: GroupEvent) -> (String, Vec<u8>) {
    let group = event.group().to_owned();
    (group, fit_in(event, EVENT_BYTES_MAX))
}

fn fit_in(mut event: GroupEvent, most: usize) -> Vec<u8> {
    loop {
        let bytes = serde_json::to_vec(&event).expect("an event has nothing that JSON has not");
        let shrunk = bytes.len() > most
            && match &mut event {
                GroupEvent::Rebalance(event) => shrink_rebalance(event),
                GroupEvent::Handover(event) => shrink_handover(event),
            };
        if !shrunk {
            return bytes;
        }
    }
}

/// Leaves something out. Returns whether there was anything left to.
fn shrink_rebalance(event: &mut RebalanceEvent) -> bool {
    if !event.members.is_empty() {
        event.omitted_members += event.members.len();
        event.members = BTreeMap::new();
    } else if event.moved.len() > FEW {
        event.omitted_moves += halve(&mut event.moved);
    } else if event.members_before.len().max(event.members_after.len()) > FEW {
        event.omitted_before += halve(&mut event.members_before);
        event.omitted_after += halve(&mut event.members_after);
    } else if event.causes.len().max(event.revocations.len()) > FEW {
        event.omitted_causes += halve(&mut event.causes);
        event.omitted_revocations += halve(&mut event.revocations);
    } else {
        return false;
    }
    true
}

fn shrink_handover(event: &mut HandoverEvent) -> bool {
    if !event.members.is_empty() {
        event.members = BTreeMap::new();
    } else if event.served.len().max(event.unserved.len()) > FEW {
        event.omitted_served += halve(&mut event.served);
        event.omitted_unserved += halve(&mut event.unserved);
    } else {
        return false;
    }
    true
}

/// Leaves out the second half of a list that is not short. Returns how many that are.
fn halve<T>(list: &mut Vec<T>) -> usize {
    let before = list.len();
    list.truncate((before / 2).max(FEW).min(before));
    before - list.len()
}

/// Puts events into batches, in their order.
pub(super) fn batches(
    events: impl Iterator<Item = (String, Vec<u8>)>,
) -> Vec<Vec<(String, Vec<u8>)>> {
    let mut batches: Vec<Vec<_>> = Vec::new();
    let mut bytes = 0;
    for (group, value) in events {
        let size = group.len() + value.len();
        bytes += size;
        match batches.last_mut() {
            Some(batch) if bytes <= BATCH_BYTES_MAX => batch.push((group, value)),
            _ => {
                bytes = size;
                batches.push(vec![(group, value)]);
            }
        }
    }
    batches
}

#[cfg(test)]
mod tests {
    use super::*;
    use kohort_coordinator::{CauseKind, Move, Owner, Rebalance, RebalanceCause, Who};
    use std::sync::Arc;

    /// A rebalance in which each of so many members is given a partition of another.
    fn rebalance(members: usize, client_id: &str) -> Rebalance {
        let id = |index: usize| -> Arc<str> {
            format!("{client_id}-00000000-0000-4000-8000-{:012}", index % members).into()
        };
        let all = || (0..members).map(id);
        let who = || Who {
            client_id: client_id.into(),
            client_host: "/192.168.100.100".into(),
            instance_id: Some(client_id.into()),
        };
        let moved = |index: usize| Move {
            topic: "a-topic-with-quite-a-name".into(),
            partition: index as i32,
            from: Some(id(index + 1)),
            to: Some(Owner {
                member: id(index),
                client_id: client_id.into(),
                client_host: "/h".into(),
            }),
            unserved_since: Some(1_700_000_000_000),
        };
        let cause = |member| RebalanceCause {
            at: 1_700_000_000_000,
            kind: CauseKind::MemberJoined { member, reason: None },
        };
        Rebalance {
            group: "g".into(),
            group_type: "classic",
            generation: 1,
            causes: all().take(Rebalance::MAX_CAUSES).map(cause).collect(),
            omitted_causes: 0,
            started: 0,
            joined: 0,
            ended: 0,
            last_to_join: None,
            revocations: Vec::new(),
            omitted_revocations: 0,
            revoking: None,
            members_before: all().collect(),
            members_after: all().collect(),
            members: all().take(Rebalance::MAX_MEMBERS).map(|id| (id, who())).collect(),
            omitted_members: 0,
            leader: None,
            moves: (0..members.min(Rebalance::MAX_MOVES)).map(moved).collect(),
            omitted_moves: 0,
            continues: false,
            unfinished: false,
            is_take_over: false,
        }
    }

    fn fitted(rebalance: &Rebalance) -> (usize, RebalanceEvent) {
        let (_, bytes) = fit(GroupEvent::from(rebalance));
        match serde_json::from_slice(&bytes) {
            Ok(GroupEvent::Rebalance(event)) => (bytes.len(), *event),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_thousand_members_are_told_whole() {
        let (size, event) = fitted(&rebalance(1_000, "a-service-of-a-department"));
        assert!(size < 800_000, "{size} bytes");
        assert_eq!(
            (event.members.len(), event.moved.len(), event.omitted_members),
            (1_000, 1_000, 0)
        );
    }

    #[test]
    fn what_is_too_large_is_told_in_part_and_says_how_much_that_is() {
        for (members, name) in [(12_000, 20), (1_000, 200), (12, 30_000)] {
            let (size, event) = fitted(&rebalance(members, &"x".repeat(name)));
            assert!(size <= EVENT_BYTES_MAX, "{members} members: {size} bytes");
            assert_eq!(event.members_after.len() + event.omitted_after, members);
            assert_eq!(event.members_before.len() + event.omitted_before, members);
            let named = event.members.len() + event.omitted_members;
            assert_eq!(named, members.min(Rebalance::MAX_MEMBERS), "{members} members");
            assert_eq!(event.moved.len() + event.omitted_moves, members.min(Rebalance::MAX_MOVES));
        }
    }

    #[test]
    fn batches_are_no_larger_than_an_event_may_be() {
        let event = |size: usize| ("g".to_owned(), vec![0; size]);
        let events = [10, 20, EVENT_BYTES_MAX, 30, EVENT_BYTES_MAX - 40, 40];
        let batches = batches(events.into_iter().map(event));
        let sizes: Vec<Vec<usize>> = batches
            .iter()
            .map(|batch| batch.iter().map(|(_, value)| value.len()).collect())
            .collect();
        assert_eq!(
            sizes,
            [vec![10, 20], vec![EVENT_BYTES_MAX], vec![30, EVENT_BYTES_MAX - 40], vec![40]]
        );
    }
}
