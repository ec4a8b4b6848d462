//! Sticky without stopping the world (KIP-429).
//!
//! Members join while they still own and read their partitions, and say so in the subscription.
//! A partition that should move is therefore given to nobody at first:
//!
//! 1. The leader finds that partition 4 should move from A to B, and leaves it out of both.
//! 2. A sees that 4 is gone, stops reading it, commits, and joins again without it.
//! 3. Nobody claims 4 now, so the leader gives it to B.
//!
//! Members that claim the same partition in the same generation cannot both be right, so neither
//! gets it before both have given it up.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::sticky_core::{Claims, NO_GENERATION, Problem};
use crate::{Assignment, Assignor, ClusterTopics, MemberId, MemberSubscription, RebalanceProtocol};

/// Kafka's `cooperative-sticky`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CooperativeStickyAssignor {
    generation_id: i32,
}

impl CooperativeStickyAssignor {
    /// The name members agree on.
    pub const NAME: &str = "cooperative-sticky";
}

impl Default for CooperativeStickyAssignor {
    fn default() -> Self {
        Self { generation_id: NO_GENERATION }
    }
}

impl Assignor for CooperativeStickyAssignor {
    fn name(&self) -> &str {
        Self::NAME
    }

    fn protocols(&self) -> &[RebalanceProtocol] {
        &[RebalanceProtocol::Cooperative, RebalanceProtocol::Eager]
    }

    /// Returns the generation, for leaders older than the subscription's own field for it.
    fn subscription_user_data(&self) -> Option<Bytes> {
        Some(Bytes::copy_from_slice(&self.generation_id.to_be_bytes()))
    }

    fn assign(
        &self,
        topics: &ClusterTopics,
        members: &BTreeMap<MemberId, MemberSubscription>,
    ) -> BTreeMap<MemberId, Assignment> {
        let claims: Vec<Claims> = members.values().map(claims_of).collect();
        let problem = Problem::new(topics, members, &claims);
        let mut owners = problem.solve();
        problem.withhold_what_moves(&mut owners);
        problem.assignments(&owners)
    }

    fn on_assignment(&mut self, _assignment: &Assignment, generation_id: i32) {
        self.generation_id = generation_id;
    }
}

fn claims_of(member: &MemberSubscription) -> Claims {
    let in_user_data = || {
        let data = member.user_data.as_ref()?.first_chunk()?;
        Some(i32::from_be_bytes(*data))
    };
    Claims {
        partitions: member.owned_partitions.clone(),
        generation_id: member.generation_id.or_else(in_user_data).unwrap_or(NO_GENERATION),
    }
}
