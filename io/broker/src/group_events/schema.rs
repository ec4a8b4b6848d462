//! What an event of a group looks like in its topic: one JSON object, told about in `docs/groups.md`.
//!
//! Readers pass over fields they do not know. One that changes its meaning gets another name, and
//! `version` another number.

use kohort_coordinator::{Handover, Move, Rebalance, RebalanceCause, Revocation, Slowest, Who};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::sync::Arc;

/// The version of the schema.
pub const SCHEMA_VERSION: u32 = 1;

/// One record of the topic of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum GroupEvent {
    /// A rebalance ended.
    Rebalance(Box<RebalanceEvent>),
    /// The partitions that a rebalance moved are read by their new owners, or are not.
    Handover(HandoverEvent),
}

/// How a group came to a new assignment.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct RebalanceEvent {
    /// [`SCHEMA_VERSION`].
    pub version: u32,
    /// The group.
    pub group: String,
    /// `classic` or `consumer`.
    pub protocol: String,
    /// The generation, or the group's epoch.
    pub generation: i32,
    /// What caused it, the first cause first.
    pub causes: Vec<CauseEvent>,
    /// How many causes there were besides.
    #[serde(default)]
    pub omitted_causes: usize,
    /// When the first cause appeared, in Unix milliseconds as are all times.
    pub started_ms: i64,
    /// When everybody had joined or was given up; in a group of the consumer protocol, where nobody waits for that,
    /// when the last target assignment was made.
    pub joined_ms: i64,
    /// When the first member was told to give partitions up, if anybody was and has.
    #[serde(default)]
    pub revoking_ms: Option<i64>,
    /// When the last one had given up.
    #[serde(default)]
    pub revoked_ms: Option<i64>,
    /// When the assignment was there.
    pub ended_ms: i64,
    /// The member the others waited for longest.
    pub slowest: Option<SlowestMember>,
    /// What members were told to give up: who has not is first, and then who took longest.
    #[serde(default)]
    pub revocations: Vec<RevocationEvent>,
    /// How many there were besides.
    #[serde(default)]
    pub omitted_revocations: usize,
    /// The members before, by id.
    pub members_before: Vec<String>,
    /// The members after.
    pub members_after: Vec<String>,
    /// How many more there were before.
    #[serde(default)]
    pub omitted_before: usize,
    /// How many more there are after.
    #[serde(default)]
    pub omitted_after: usize,
    /// Who the members are that it names, by id.
    #[serde(default)]
    pub members: BTreeMap<String, MemberEvent>,
    /// How many more it names.
    #[serde(default)]
    pub omitted_members: usize,
    /// Who made the assignment.
    pub leader: Option<String>,
    /// The partitions that changed hands.
    pub moved: Vec<MovedPartition>,
    /// How many moved besides.
    #[serde(default)]
    pub omitted_moves: usize,
    /// Whether it goes on with what the group's last one, which was unfinished, told of.
    #[serde(default)]
    pub continues: bool,
    /// Whether members were still on their way when it was told.
    #[serde(default)]
    pub unfinished: bool,
    /// Whether nobody rebalanced: a static member took over what it had under another id.
    #[serde(default)]
    pub take_over: bool,
}

/// One cause of a rebalance.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CauseEvent {
    /// When it happened.
    pub at_ms: i64,
    /// What happened, in one word.
    pub what: String,
    /// Which member it was about.
    pub member: Option<String>,
    /// The same as a clause.
    pub text: String,
}

/// What is known of a member besides its id.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MemberEvent {
    /// The client id it joined with.
    pub client_id: String,
    /// The address it joined from.
    pub client_host: String,
    /// The name of a static member.
    pub instance_id: Option<String>,
}

/// How long a member took to give partitions up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevocationEvent {
    /// Its id.
    pub member: String,
    /// When it was told to.
    pub asked_ms: i64,
    /// When it said that it had, or was gone; null if it is still waited for.
    pub revoked_ms: Option<i64>,
    /// The first of them.
    pub partitions: Vec<RevokedPartition>,
    /// How many more.
    #[serde(default)]
    pub omitted_partitions: usize,
}

/// A partition that a member was told to give up.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RevokedPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
}

/// The member that was waited for longest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlowestMember {
    /// Its id.
    pub member: String,
    /// When it was waited for no longer: it had joined, or done what it was waited for.
    pub joined_ms: i64,
    /// What it was waited for: `joining`, `assigning`, `revoking` or `learning`; empty in events of before it was told.
    #[serde(default)]
    pub delay: String,
    /// Since when.
    #[serde(default)]
    pub since_ms: Option<i64>,
}

/// A partition that changed hands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MovedPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Who had it.
    pub from: Option<String>,
    /// Who has it now; null: nobody yet.
    pub to: Option<String>,
    /// Since when nobody has read it, as far as the broker can tell.
    pub unserved_since_ms: Option<i64>,
}

/// How long the partitions that a rebalance moved were read by nobody.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct HandoverEvent {
    /// [`SCHEMA_VERSION`].
    pub version: u32,
    /// The group.
    pub group: String,
    /// `classic` or `consumer`; empty in events of before it was told.
    #[serde(default)]
    pub protocol: String,
    /// The generation of the rebalance it is about, or the group's epoch.
    pub generation: i32,
    /// When this was known.
    pub at_ms: i64,
    /// What its new owner has begun to fetch, in that order.
    pub served: Vec<ServedPartition>,
    /// What its new owner has not, in half a minute or before it moved again.
    pub unserved: Vec<MovedPartition>,
    /// How many more were served.
    #[serde(default)]
    pub omitted_served: usize,
    /// How many more were not.
    #[serde(default)]
    pub omitted_unserved: usize,
    /// Who the members are that it names, by id.
    #[serde(default)]
    pub members: BTreeMap<String, MemberEvent>,
}

/// A partition that its new owner reads.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ServedPartition {
    /// The topic.
    pub topic: String,
    /// The partition.
    pub partition: i32,
    /// Who had it.
    pub from: Option<String>,
    /// Who has it now.
    pub to: Option<String>,
    /// For how long nobody read it.
    pub unserved_ms: i64,
}

impl GroupEvent {
    /// Returns the group it is about.
    pub fn group(&self) -> &str {
        match self {
            Self::Rebalance(event) => &event.group,
            Self::Handover(event) => &event.group,
        }
    }
}

impl From<&Rebalance> for GroupEvent {
    fn from(rebalance: &Rebalance) -> Self {
        let ids = |members: &[Arc<str>]| members.iter().map(ToString::to_string).collect();
        Self::Rebalance(Box::new(RebalanceEvent {
            version: SCHEMA_VERSION,
            group: rebalance.group.to_string(),
            protocol: rebalance.group_type.to_owned(),
            generation: rebalance.generation,
            causes: rebalance.causes.iter().map(CauseEvent::from).collect(),
            omitted_causes: rebalance.omitted_causes,
            started_ms: rebalance.started,
            joined_ms: rebalance.joined,
            ended_ms: rebalance.ended,
            revoking_ms: rebalance.revoking.map(|(first, _)| first),
            revoked_ms: rebalance.revoking.map(|(_, last)| last),
            slowest: rebalance.slowest().as_ref().map(SlowestMember::from),
            revocations: rebalance.revocations.iter().map(RevocationEvent::from).collect(),
            omitted_revocations: rebalance.omitted_revocations,
            members_before: ids(&rebalance.members_before),
            members_after: ids(&rebalance.members_after),
            omitted_before: 0,
            omitted_after: 0,
            members: introduced(&rebalance.members),
            omitted_members: rebalance.omitted_members,
            leader: rebalance.leader.as_deref().map(str::to_owned),
            moved: rebalance.moves.iter().map(MovedPartition::from).collect(),
            omitted_moves: rebalance.omitted_moves,
            continues: rebalance.continues,
            unfinished: rebalance.unfinished,
            take_over: rebalance.is_take_over,
        }))
    }
}

/// Returns who members are, by their ids.
fn introduced(members: &BTreeMap<Arc<str>, Who>) -> BTreeMap<String, MemberEvent> {
    members.iter().map(|(id, who)| (id.to_string(), MemberEvent::from(who))).collect()
}

impl From<&Who> for MemberEvent {
    fn from(who: &Who) -> Self {
        Self {
            client_id: who.client_id.to_string(),
            client_host: who.client_host.to_string(),
            instance_id: who.instance_id.as_deref().map(str::to_owned),
        }
    }
}

impl From<&Slowest> for SlowestMember {
    fn from(slowest: &Slowest) -> Self {
        Self {
            member: slowest.member.to_string(),
            joined_ms: slowest.until,
            delay: slowest.delay.name().to_owned(),
            since_ms: Some(slowest.since),
        }
    }
}

impl From<&Revocation> for RevocationEvent {
    fn from(revocation: &Revocation) -> Self {
        let partition = |(topic, partition): &(Arc<str>, i32)| RevokedPartition {
            topic: topic.to_string(),
            partition: *partition,
        };
        Self {
            member: revocation.member.to_string(),
            asked_ms: revocation.asked,
            revoked_ms: revocation.done,
            partitions: revocation.partitions.iter().map(partition).collect(),
            omitted_partitions: revocation.omitted_partitions,
        }
    }
}

impl From<&RebalanceCause> for CauseEvent {
    fn from(cause: &RebalanceCause) -> Self {
        Self {
            at_ms: cause.at,
            what: cause.kind.name().to_owned(),
            member: cause.kind.member().map(ToString::to_string),
            text: cause.kind.to_string(),
        }
    }
}

impl From<&Move> for MovedPartition {
    fn from(moved: &Move) -> Self {
        Self {
            topic: moved.topic.to_string(),
            partition: moved.partition,
            from: moved.from.as_deref().map(str::to_owned),
            to: moved.to.as_ref().map(|owner| owner.member.to_string()),
            unserved_since_ms: moved.unserved_since,
        }
    }
}

impl HandoverEvent {
    /// Tells of a handover as it was known at `at_ms`.
    pub(crate) fn new(at_ms: i64, handover: &Handover) -> Self {
        let served = |(moved, unserved_ms): &(Move, i64)| {
            let MovedPartition { topic, partition, from, to, .. } = MovedPartition::from(moved);
            ServedPartition { topic, partition, from, to, unserved_ms: *unserved_ms }
        };
        Self {
            version: SCHEMA_VERSION,
            group: handover.group.to_string(),
            protocol: handover.group_type.to_owned(),
            generation: handover.generation,
            at_ms,
            served: handover.served.iter().map(served).collect(),
            unserved: handover.unserved.iter().map(MovedPartition::from).collect(),
            omitted_served: 0,
            omitted_unserved: 0,
            members: introduced(&handover.members),
        }
    }
}
