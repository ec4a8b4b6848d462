//! The times in what is told of groups, as the time of day.

use super::event::{CauseKind, Move, Rebalance};
use crate::shard::Timestamp;

impl Rebalance {
    /// Returns it with every time in it moved by so many milliseconds. The shard's time does not follow when
    /// somebody sets the clock; who reads of a rebalance looks at a clock.
    #[must_use]
    pub fn moved_by(mut self, ahead: i64) -> Self {
        let to_wall = |time: &mut Timestamp| *time += ahead;
        for cause in &mut self.causes {
            to_wall(&mut cause.at);
            match &mut cause.kind {
                CauseKind::MemberExpired { since, .. }
                | CauseKind::MemberDisconnected { since, .. } => to_wall(since),
                _ => {}
            }
        }
        for time in [&mut self.started, &mut self.joined, &mut self.ended] {
            to_wall(time);
        }
        self.last_to_join.iter_mut().for_each(|(_, at)| to_wall(at));
        if let Some((from, to)) = &mut self.revoking {
            [from, to].into_iter().for_each(to_wall);
        }
        for revocation in &mut self.revocations {
            to_wall(&mut revocation.asked);
            revocation.done.iter_mut().for_each(to_wall);
        }
        self.moves.iter_mut().for_each(|it| it.move_by(ahead));
        self
    }
}

impl Move {
    /// Moves the time in it.
    pub(crate) fn move_by(&mut self, ahead: i64) {
        if let Some(since) = &mut self.unserved_since {
            *since += ahead;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;

    use super::*;
    use crate::group::event::RebalanceCause;
    use crate::group::revocation::Revocation;

    fn rebalance_at(time: Timestamp) -> Rebalance {
        let member: Arc<str> = "m".into();
        let since = time;
        let kinds = [
            CauseKind::MemberExpired { member: member.clone(), since },
            CauseKind::MemberDisconnected { member: member.clone(), since },
            CauseKind::MemberDidNotSync { member: member.clone() },
        ];
        Rebalance {
            group: "g".into(),
            group_type: "classic",
            generation: 2,
            causes: kinds.map(|kind| RebalanceCause { at: time, kind }).into(),
            omitted_causes: 0,
            started: time,
            joined: time,
            ended: time,
            last_to_join: Some((member.clone(), time)),
            revocations: vec![Revocation {
                member,
                asked: time,
                done: Some(time),
                partitions: Vec::new(),
                omitted_partitions: 0,
            }],
            omitted_revocations: 0,
            revoking: Some((time, time)),
            members_before: Vec::new(),
            members_after: Vec::new(),
            members: BTreeMap::new(),
            omitted_members: 0,
            leader: None,
            moves: vec![Move {
                topic: "t".into(),
                partition: 0,
                from: None,
                to: None,
                unserved_since: Some(time),
            }],
            omitted_moves: 0,
            continues: false,
            unfinished: false,
            is_take_over: false,
        }
    }

    #[test]
    fn a_rebalance_is_told_with_the_time_of_day() {
        assert_eq!(rebalance_at(1_000).moved_by(500), rebalance_at(1_500));
        assert_eq!(rebalance_at(1_000).moved_by(-500), rebalance_at(500));
    }
}
