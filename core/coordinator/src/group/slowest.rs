//! Whom a rebalance waited for longest, and who is named in it.
//!
//! | delay | of | from | to |
//! |---|---|---|---|
//! | revoking | who was asked to give partitions up | told to | said that it did, or gone |
//! | joining | the last one to join, in the classic protocol | the first cause | its join |
//! | assigning | the leader, in the classic protocol | the end of the join phase | its assignment |
//! | learning | the last one to take a step, in the consumer protocol | everything was free for it | its step |
//!
//! The longest one counts, and of two as long the one that is above. A member that could not be given
//! anything before another let it go has not waited for itself: that is why a step counts from then on only.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::event::{CauseKind, Rebalance};
use super::who::Who;
use crate::shard::Timestamp;

/// The member that a rebalance waited for longest.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slowest {
    /// Who.
    pub member: Arc<str>,
    /// What it was waited for.
    pub delay: Delay,
    /// Since when.
    pub since: Timestamp,
    /// Until when.
    pub until: Timestamp,
}

/// What a member is waited for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delay {
    /// To let go of what was taken from it.
    Revoking,
    /// To join.
    Joining,
    /// To make the assignment.
    Assigning,
    /// To hear of what it has now.
    Learning,
}

impl Delay {
    /// Returns it in one word.
    pub fn name(self) -> &'static str {
        match self {
            Self::Revoking => "revoking",
            Self::Joining => "joining",
            Self::Assigning => "assigning",
            Self::Learning => "learning",
        }
    }
}

impl Rebalance {
    /// Returns the member that it waited for longest. While it goes on nobody knows.
    pub fn slowest(&self) -> Option<Slowest> {
        if self.is_take_over || self.unfinished {
            return None;
        }
        let revoking = self.revocations.iter().find_map(|revocation| {
            Some(Slowest {
                member: revocation.member.clone(),
                delay: Delay::Revoking,
                since: revocation.asked,
                until: revocation.done?,
            })
        });
        let last = self.last_to_join.clone();
        let is_classic = self.group_type == "classic";
        let joining = last.map(|(member, until)| {
            let free = self.revoking.map_or(self.joined, |(_, revoked)| revoked.max(self.joined));
            let (delay, since) =
                if is_classic { (Delay::Joining, self.started) } else { (Delay::Learning, free) };
            Slowest { member, delay, since, until }
        });
        let assigning = self.leader.clone().filter(|_| is_classic && joining.is_some());
        let assigning = assigning.map(|member| Slowest {
            member,
            delay: Delay::Assigning,
            since: self.joined,
            until: self.ended,
        });
        let all = [assigning, joining, revoking].into_iter().flatten();
        all.max_by_key(|it| it.until - it.since)
    }

    /// Takes down who the members are that it names, as far as they are known: first those it says most of, and no
    /// more than [`Rebalance::MAX_MEMBERS`].
    pub(super) fn introduce(&mut self, known: impl Fn(&Arc<str>) -> Option<Who>) {
        let (mut members, mut omitted, mut seen) = (BTreeMap::new(), 0, BTreeSet::new());
        for id in self.named() {
            if !seen.insert(id) {
                continue;
            }
            if members.len() == Self::MAX_MEMBERS {
                omitted += 1;
            } else if let Some(who) = known(id) {
                members.insert(id.clone(), who);
            }
        }
        (self.members, self.omitted_members) = (members, omitted);
    }

    /// Returns the ids of the members that it names.
    fn named(&self) -> impl Iterator<Item = &Arc<str>> {
        let replaced = self.causes.iter().filter_map(|cause| match &cause.kind {
            CauseKind::StaticMemberReplaced { old, .. } => Some(old),
            _ => None,
        });
        let moved = self.moves.iter();
        let moved = moved.flat_map(|it| it.from.iter().chain(it.to.as_ref().map(|to| &to.member)));
        let revoking = self.revocations.iter().map(|revocation| &revocation.member);
        let causes = self.causes.iter().filter_map(|cause| cause.kind.member());
        let slowest = self.last_to_join.iter().map(|(member, _)| member).chain(&self.leader);
        let members = self.members_after.iter().chain(&self.members_before);
        causes.chain(replaced).chain(revoking).chain(slowest).chain(moved).chain(members)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::group::revocation::Revocation;

    fn rebalance(group_type: &'static str) -> Rebalance {
        Rebalance {
            group: "g".into(),
            group_type,
            generation: 2,
            causes: Vec::new(),
            omitted_causes: 0,
            started: 1_000,
            joined: 1_000,
            ended: 4_200,
            last_to_join: Some(("b".into(), 4_200)),
            revocations: Vec::new(),
            omitted_revocations: 0,
            revoking: None,
            members_before: vec!["a".into()],
            members_after: vec!["a".into(), "b".into()],
            members: BTreeMap::new(),
            omitted_members: 0,
            leader: None,
            moves: Vec::new(),
            omitted_moves: 0,
            continues: false,
            unfinished: false,
            is_take_over: false,
        }
    }

    fn revoked(rebalance: Rebalance, asked: Timestamp, done: Timestamp) -> Rebalance {
        let revocation = Revocation {
            member: "a".into(),
            asked,
            done: Some(done),
            partitions: Vec::new(),
            omitted_partitions: 0,
        };
        Rebalance { revocations: vec![revocation], revoking: Some((asked, done)), ..rebalance }
    }

    fn slowest(rebalance: &Rebalance) -> Option<(String, Delay, Timestamp)> {
        let slowest = rebalance.slowest()?;
        Some((slowest.member.to_string(), slowest.delay, slowest.until - slowest.since))
    }

    #[test]
    fn who_waits_for_others_to_let_go_is_not_slow() {
        let held_up = revoked(rebalance("consumer"), 1_100, 4_100);
        assert_eq!(slowest(&held_up), Some(("a".to_owned(), Delay::Revoking, 3_000)));
        // It let go at once, and the new one took its time to hear of it.
        let quick = revoked(rebalance("consumer"), 1_100, 1_200);
        assert_eq!(slowest(&quick), Some(("b".to_owned(), Delay::Learning, 3_000)));
        let nothing_moved = rebalance("consumer");
        assert_eq!(slowest(&nothing_moved), Some(("b".to_owned(), Delay::Learning, 3_200)));
    }

    #[test]
    fn a_classic_group_waits_for_joins_for_its_leader_and_for_those_who_let_go_before() {
        let last_to_join = Some(("b".into(), 1_500));
        let classic = Rebalance {
            joined: 1_500,
            last_to_join,
            leader: Some("a".into()),
            ..rebalance("classic")
        };
        assert_eq!(slowest(&classic), Some(("a".to_owned(), Delay::Assigning, 2_700)));
        let quick_leader = Rebalance { ended: 1_510, ..classic.clone() };
        assert_eq!(slowest(&quick_leader), Some(("b".to_owned(), Delay::Joining, 500)));
        let second_generation = revoked(quick_leader, 0, 1_000);
        assert_eq!(slowest(&second_generation), Some(("a".to_owned(), Delay::Revoking, 1_000)));
        let empty = Rebalance { last_to_join: None, leader: None, ..classic };
        assert_eq!(slowest(&empty), None);
    }

    #[test]
    fn nobody_is_slow_before_the_end_or_where_nobody_waits() {
        let held_up = revoked(rebalance("consumer"), 1_100, 4_100);
        assert_eq!(slowest(&Rebalance { unfinished: true, ..held_up.clone() }), None);
        assert_eq!(slowest(&Rebalance { is_take_over: true, ..held_up }), None);
    }

    #[test]
    fn so_many_members_are_introduced_and_no_more() {
        let who = |id: &Arc<str>| {
            let name: Arc<str> = format!("client-{id}").into();
            (&**id != "b").then(|| Who {
                client_id: name,
                client_host: "/h".into(),
                instance_id: None,
            })
        };
        let mut some = rebalance("consumer");
        some.introduce(who);
        assert_eq!(some.members.keys().map(|id| &**id).collect::<Vec<_>>(), ["a"]);
        assert_eq!((&*some.members["a"].client_id, some.omitted_members), ("client-a", 0));
        let mut many = rebalance("consumer");
        many.last_to_join = Some(("z".into(), 4_200));
        many.members_after =
            (0..Rebalance::MAX_MEMBERS).map(|it| format!("m-{it}").into()).collect();
        many.introduce(who);
        assert_eq!((many.members.len(), many.omitted_members), (Rebalance::MAX_MEMBERS, 2));
        assert!(many.members.contains_key("z"), "who is told about comes first");
    }
}
