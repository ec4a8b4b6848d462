//! One step of a member towards its target: the heart of KIP-848, as one pure function.
//!
//! ```text
//!   assigned  ∩ target                          kept, each partition in the epoch it was given
//!   assigned  − target                          to give up: the member stays in its epoch until it
//!                                               reports what it owns without them
//!   target    − assigned, nobody else's         given now, in the target's epoch
//!   target    − assigned, somebody else's       waited for, in the target's epoch
//! ```
//!
//! A partition is *somebody else's* from the moment another member is given it until that member has
//! said that it gave it up, or is gone; what a member still has to give up counts as its own. That alone
//! keeps a partition from having two owners, whatever is lost or comes late.
//!
//! Giving up comes first: as long as a member holds anything that it must not keep, it gets nothing new
//! and does not reach the next epoch. So an acknowledgement cannot be overtaken: when the target moves on
//! meanwhile, the member goes on from what it has acknowledged. If the new target gives back what the
//! member was about to give up, it is simply its own again.
//!
//! A member reports what it owns only when that changed; `None` in [`Step::owned`] says that it did not
//! report, which acknowledges nothing.
//!
//! Follows KIP-848, "Assignment Process"; Kafka's `CurrentAssignmentBuilder`.

use kohort_assignor::server::{PartitionId, PartitionSet};
use kohort_protocol::Uuid;

use super::partitions::OwnedPartitions;
use super::record::{CurrentAssignment, MemberState};

/// What one step depends on.
pub(crate) struct Step<'a> {
    /// Where the member stands.
    pub(crate) current: &'a CurrentAssignment,
    /// The epoch of the target assignment.
    pub(crate) target_epoch: i32,
    /// The member's part of it.
    pub(crate) target: &'a PartitionSet,
    /// Whether the member subscribes to a topic. What it does not subscribe to it must not keep, even
    /// if an older target says so.
    pub(crate) subscribes: &'a dyn Fn(Uuid) -> bool,
    /// Whether it has subscribed to something else just now.
    pub(crate) resubscribed: bool,
    /// What the member reports to own, if it does.
    pub(crate) owned: Option<&'a PartitionSet>,
    /// Whether a partition is another member's.
    pub(crate) taken: &'a dyn Fn(PartitionId) -> bool,
}

/// The member is in a state that we do not know and has to begin anew.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MustRejoin;

/// Takes one step: returns where the member stands then, or `None` if it is where it was.
pub(crate) fn reconcile(step: &Step<'_>) -> Result<Option<CurrentAssignment>, MustRejoin> {
    let current = step.current;
    let next = match current.state {
        MemberState::Stable if current.epoch == step.target_epoch => {
            step.resubscribed.then(|| step.unsubscribe()).flatten()
        }
        MemberState::UnrevokedPartitions if step.still_owns(&current.revoking) => {
            step.resubscribed.then(|| step.unsubscribe()).flatten()
        }
        MemberState::Stable
        | MemberState::UnrevokedPartitions
        | MemberState::UnreleasedPartitions => Some(step.advance(current.epoch)),
        MemberState::Unknown if step.owned.is_some_and(PartitionSet::is_empty) => {
            Some(step.advance(step.target_epoch))
        }
        MemberState::Unknown => return Err(MustRejoin),
    };
    // An epoch that follows itself is no step.
    Ok(next.filter(|next| {
        CurrentAssignment { previous_epoch: current.previous_epoch, ..next.clone() } != *current
    }))
}

impl Step<'_> {
    /// Goes towards the target as far as it can be gone.
    fn advance(&self, epoch: i32) -> CurrentAssignment {
        let current = self.current;
        let wanted = |partition: PartitionId| (self.subscribes)(partition.topic);
        let keeps = |partition: PartitionId| self.target.contains(partition) && wanted(partition);
        let (kept, excess): (Vec<_>, Vec<_>) =
            current.assigned.iter().partition(|(partition, _)| keeps(*partition));
        let (kept, excess): (OwnedPartitions, OwnedPartitions) =
            (kept.into_iter().collect(), excess.into_iter().collect());
        if self.still_owns(&excess) {
            return self.revoke(epoch, kept, excess);
        }
        let missing = |partition: &PartitionId| wanted(*partition) && !kept.contains(*partition);
        let (taken, free): (Vec<_>, Vec<_>) =
            self.target.iter().filter(missing).partition(|partition| (self.taken)(*partition));
        let given = free.into_iter().map(|partition| (partition, self.target_epoch));
        CurrentAssignment {
            epoch: self.target_epoch,
            previous_epoch: current.epoch,
            state: if taken.is_empty() {
                MemberState::Stable
            } else {
                MemberState::UnreleasedPartitions
            },
            assigned: kept.iter().chain(given).collect(),
            revoking: OwnedPartitions::default(),
        }
    }

    /// Takes from the member what it no longer subscribes to, though its target is what it was: a new
    /// one may be a while in coming.
    fn unsubscribe(&self) -> Option<CurrentAssignment> {
        let current = self.current;
        let (kept, dropped): (Vec<_>, Vec<_>) =
            current.assigned.iter().partition(|(partition, _)| (self.subscribes)(partition.topic));
        if dropped.is_empty() {
            return None;
        }
        let kept: OwnedPartitions = kept.into_iter().collect();
        let revoking: OwnedPartitions = current.revoking.iter().chain(dropped).collect();
        if self.still_owns(&revoking) {
            return Some(self.revoke(current.epoch, kept, revoking));
        }
        // It has given them up before it said that it no longer wants them.
        Some(CurrentAssignment { previous_epoch: current.epoch, assigned: kept, ..current.clone() })
    }

    fn revoke(
        &self,
        epoch: i32,
        assigned: OwnedPartitions,
        revoking: OwnedPartitions,
    ) -> CurrentAssignment {
        CurrentAssignment {
            epoch,
            previous_epoch: self.current.epoch,
            state: MemberState::UnrevokedPartitions,
            assigned,
            revoking,
        }
    }

    /// Tells whether the member may still be working on any of the partitions.
    fn still_owns(&self, partitions: &OwnedPartitions) -> bool {
        match self.owned {
            None => !partitions.is_empty(),
            Some(owned) => partitions.partitions().any(|partition| owned.contains(partition)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use MemberState::{Stable, Unknown, UnreleasedPartitions, UnrevokedPartitions};

    /// One step: what the member has and is told, and where it stands then. Partitions are numbers of
    /// one topic; `has` and `revoking` give the epoch of each.
    struct Case {
        name: &'static str,
        at: (i32, MemberState),
        has: Owned,
        revoking: Owned,
        target: (i32, &'static [i32]),
        owned: Option<&'static [i32]>,
        taken: &'static [i32],
        resubscribed: bool,
        wants: bool,
        /// `None`: it stays where it is.
        next: Option<(i32, MemberState, Owned, Owned)>,
    }

    /// Partitions with their epochs.
    type Owned = &'static [(i32, i32)];

    const CASE: Case = Case {
        name: "",
        at: (1, Stable),
        has: &[],
        revoking: &[],
        target: (2, &[]),
        owned: None,
        taken: &[],
        resubscribed: false,
        wants: true,
        next: None,
    };

    const TOPIC: Uuid = Uuid([7; 16]);

    fn set(indexes: &[i32]) -> PartitionSet {
        indexes.iter().map(|index| PartitionId { topic: TOPIC, index: *index }).collect()
    }

    fn owned(partitions: &[(i32, i32)]) -> OwnedPartitions {
        let id = |index| PartitionId { topic: TOPIC, index };
        partitions.iter().map(|(index, epoch)| (id(*index), *epoch)).collect()
    }

    fn check(case: &Case) {
        let current = CurrentAssignment {
            epoch: case.at.0,
            previous_epoch: 0,
            state: case.at.1,
            assigned: owned(case.has),
            revoking: owned(case.revoking),
        };
        let reported = case.owned.map(set);
        let next = reconcile(&Step {
            current: &current,
            target_epoch: case.target.0,
            target: &set(case.target.1),
            subscribes: &|_| case.wants,
            resubscribed: case.resubscribed,
            owned: reported.as_ref(),
            taken: &|partition| case.taken.contains(&partition.index),
        });
        let expected = case.next.map(|(epoch, state, has, revoking)| CurrentAssignment {
            epoch,
            previous_epoch: case.at.0,
            state,
            assigned: owned(has),
            revoking: owned(revoking),
        });
        assert_eq!(next, Ok(expected), "{}", case.name);
    }

    #[test]
    fn a_member_takes_one_step_at_a_time() {
        for case in [
            Case { name: "there already", target: (1, &[0]), has: &[(0, 1)], ..CASE },
            Case {
                name: "nothing moves: only the epoch goes up",
                has: &[(0, 1)],
                target: (2, &[0]),
                next: Some((2, Stable, &[(0, 1)], &[])),
                ..CASE
            },
            Case {
                name: "what is free is given at once, in the target's epoch",
                has: &[(0, 1)],
                target: (3, &[0, 1]),
                next: Some((3, Stable, &[(0, 1), (1, 3)], &[])),
                ..CASE
            },
            Case {
                name: "what is taken is waited for, in the new epoch",
                has: &[(0, 1)],
                target: (2, &[0, 1, 2]),
                taken: &[1],
                next: Some((2, UnreleasedPartitions, &[(0, 1), (2, 2)], &[])),
                ..CASE
            },
            Case {
                name: "giving up comes first, in the old epoch",
                has: &[(0, 1), (1, 1)],
                target: (2, &[1, 2]),
                next: Some((1, UnrevokedPartitions, &[(1, 1)], &[(0, 1)])),
                ..CASE
            },
            Case {
                name: "what it does not own any more it need not give up",
                has: &[(0, 1), (1, 1)],
                target: (2, &[1, 2]),
                owned: Some(&[1]),
                next: Some((2, Stable, &[(1, 1), (2, 2)], &[])),
                ..CASE
            },
            Case {
                name: "silence acknowledges nothing",
                at: (1, UnrevokedPartitions),
                has: &[(1, 1)],
                revoking: &[(0, 1)],
                target: (2, &[1]),
                ..CASE
            },
            Case {
                name: "owning it still acknowledges nothing",
                at: (1, UnrevokedPartitions),
                has: &[(1, 1)],
                revoking: &[(0, 1)],
                target: (2, &[1]),
                owned: Some(&[0, 1]),
                ..CASE
            },
            Case {
                name: "an acknowledgement leads to the newest target",
                at: (1, UnrevokedPartitions),
                has: &[(1, 1)],
                revoking: &[(0, 1)],
                target: (5, &[1, 2]),
                owned: Some(&[1]),
                next: Some((5, Stable, &[(1, 1), (2, 5)], &[])),
                ..CASE
            },
            Case {
                name: "what the newest target gives back is given anew",
                at: (1, UnrevokedPartitions),
                has: &[(1, 1)],
                revoking: &[(0, 1)],
                target: (3, &[0, 1]),
                owned: Some(&[1]),
                next: Some((3, Stable, &[(0, 3), (1, 1)], &[])),
                ..CASE
            },
            Case {
                name: "an acknowledgement may lead to more to give up",
                at: (1, UnrevokedPartitions),
                has: &[(1, 1), (2, 1)],
                revoking: &[(0, 1)],
                target: (3, &[2]),
                owned: Some(&[1, 2]),
                next: Some((1, UnrevokedPartitions, &[(2, 1)], &[(1, 1)])),
                ..CASE
            },
            Case {
                name: "one that waits asks again at each heartbeat, in vain",
                at: (2, UnreleasedPartitions),
                has: &[(0, 1)],
                target: (2, &[0, 1]),
                taken: &[1],
                ..CASE
            },
            Case {
                name: "and is given what others have let go of",
                at: (2, UnreleasedPartitions),
                has: &[(0, 1)],
                target: (2, &[0, 1]),
                next: Some((2, Stable, &[(0, 1), (1, 2)], &[])),
                ..CASE
            },
            Case {
                name: "one that waits may have to give up for a newer target",
                at: (2, UnreleasedPartitions),
                has: &[(0, 1)],
                target: (3, &[1]),
                taken: &[1],
                next: Some((2, UnrevokedPartitions, &[], &[(0, 1)])),
                ..CASE
            },
            Case {
                name: "what it no longer subscribes to goes, whatever the target says",
                has: &[(0, 1)],
                target: (2, &[0, 1]),
                wants: false,
                next: Some((1, UnrevokedPartitions, &[], &[(0, 1)])),
                ..CASE
            },
            Case {
                name: "and at once, before there is another target",
                has: &[(0, 1)],
                target: (1, &[0]),
                resubscribed: true,
                wants: false,
                next: Some((1, UnrevokedPartitions, &[], &[(0, 1)])),
                ..CASE
            },
            Case {
                name: "added to what it is giving up already",
                at: (1, UnrevokedPartitions),
                has: &[(1, 1)],
                revoking: &[(0, 1)],
                target: (2, &[1]),
                resubscribed: true,
                wants: false,
                next: Some((1, UnrevokedPartitions, &[], &[(0, 1), (1, 1)])),
                ..CASE
            },
            Case {
                name: "what it let go of before it said so is gone",
                has: &[(0, 1)],
                target: (1, &[0]),
                owned: Some(&[]),
                resubscribed: true,
                wants: false,
                next: Some((1, Stable, &[], &[])),
                ..CASE
            },
            Case {
                name: "a static member that was away takes up what it had",
                at: (-2, Stable),
                has: &[(0, 0)],
                target: (4, &[0]),
                next: Some((4, Stable, &[(0, 0)], &[])),
                ..CASE
            },
            Case {
                name: "from an unknown state only with empty hands",
                at: (3, Unknown),
                has: &[(0, 1)],
                target: (4, &[0]),
                owned: Some(&[]),
                next: Some((4, Stable, &[(0, 1)], &[])),
                ..CASE
            },
        ] {
            check(&case);
        }
    }

    #[test]
    fn a_member_in_an_unknown_state_has_to_begin_anew() {
        let current = CurrentAssignment { state: Unknown, ..CurrentAssignment::default() };
        let step = Step {
            current: &current,
            target_epoch: 1,
            target: &PartitionSet::default(),
            subscribes: &|_| true,
            resubscribed: false,
            owned: None,
            taken: &|_| false,
        };
        assert_eq!(reconcile(&step), Err(MustRejoin));
    }
}
