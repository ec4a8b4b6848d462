//! What an event of a group looks like in its topic: one JSON object, told about in `docs/groups.md`.
//!
//! Readers pass over fields they do not know. One that changes its meaning gets another name, and
//! `version` another number.

use kohort_coordinator::{Handover, Move, Rebalance, RebalanceCause};
use serde::{Deserialize, Serialize};

/// The version of the schema.
pub const SCHEMA_VERSION: u32 = 1;

/// One record of the topic of events.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "kebab-case")]
#[non_exhaustive]
pub enum GroupEvent {
    /// A rebalance ended.
    Rebalance(RebalanceEvent),
    /// The partitions that a rebalance moved are read by their new owners, or are not.
    Handover(HandoverEvent),
}

/// How a group came to a new assignment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
    /// When everybody had joined or was given up.
    pub joined_ms: i64,
    /// When the assignment was there.
    pub ended_ms: i64,
    /// The member the others waited for longest.
    pub slowest: Option<SlowestMember>,
    /// The members before, by id.
    pub members_before: Vec<String>,
    /// The members after.
    pub members_after: Vec<String>,
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

/// The member that joined last.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlowestMember {
    /// Its id.
    pub member: String,
    /// When it had joined.
    pub joined_ms: i64,
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
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
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
        let ids =
            |members: &[std::sync::Arc<str>]| members.iter().map(ToString::to_string).collect();
        Self::Rebalance(RebalanceEvent {
            version: SCHEMA_VERSION,
            group: rebalance.group.to_string(),
            protocol: rebalance.group_type.to_owned(),
            generation: rebalance.generation,
            causes: rebalance.causes.iter().map(CauseEvent::from).collect(),
            omitted_causes: rebalance.omitted_causes,
            started_ms: rebalance.started,
            joined_ms: rebalance.joined,
            ended_ms: rebalance.ended,
            slowest: rebalance.last_to_join.as_ref().map(|(member, joined_ms)| SlowestMember {
                member: member.to_string(),
                joined_ms: *joined_ms,
            }),
            members_before: ids(&rebalance.members_before),
            members_after: ids(&rebalance.members_after),
            leader: rebalance.leader.as_deref().map(str::to_owned),
            moved: rebalance.moves.iter().map(MovedPartition::from).collect(),
            omitted_moves: rebalance.omitted_moves,
            continues: rebalance.continues,
            unfinished: rebalance.unfinished,
            take_over: rebalance.is_take_over,
        })
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
        }
    }
}
