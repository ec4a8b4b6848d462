//! What a group shard tells the outside besides its answers: every rebalance, explained.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use super::revocation::Revocation;
use super::who::Who;
use crate::shard::Timestamp;

/// Something for the shell to make known.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum GroupEffect {
    /// A rebalance ended, or a part of it is told.
    Rebalance(Box<Rebalance>),
    /// A member was given partitions in a rebalance that goes on.
    Given(Box<Given>),
    /// A member has been absent for the grace since its connection closed. Unlike the others this is
    /// a question, to be answered at once, whatever becomes of the records before it: with
    /// [`GroupShard::handle_signs`](crate::GroupShard::handle_signs), by what
    /// [`Clients::signs`](crate::Clients::signs) says.
    SeekSigns {
        /// The group.
        group: Arc<str>,
        /// The member.
        member: Arc<str>,
        /// The client id it joined with.
        client_id: Arc<str>,
        /// The address it joined from.
        client_host: Arc<str>,
        /// When its connection closed.
        since: Timestamp,
    },
}

/// One rebalance from its first cause to its end, however many generations it took; or a part of it, if it takes
/// long.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rebalance {
    /// The group.
    pub group: Arc<str>,
    /// The group's type in Kafka's words: `classic` or `consumer`.
    pub group_type: &'static str,
    /// The generation it led to; of a consumer group, its epoch.
    pub generation: i32,
    /// What caused it, the first cause first; at most [`Rebalance::MAX_CAUSES`].
    pub causes: Vec<RebalanceCause>,
    /// How many more causes there were.
    pub omitted_causes: usize,
    /// When the first cause appeared.
    pub started: Timestamp,
    /// When the last join phase ended: every member was there or was given up.
    pub joined: Timestamp,
    /// When the leader's assignment arrived, or the group turned out to be empty.
    pub ended: Timestamp,
    /// The member the last join phase waited for longest, and when it came; of a consumer group, the one that
    /// took the last step.
    pub last_to_join: Option<(Arc<str>, Timestamp)>,
    /// What members were asked to give up before others could have it: first who is still waited for, then who
    /// took longest; at most [`Rebalance::MAX_REVOCATIONS`]. In the classic protocol, what a cooperative
    /// group's generation before took.
    pub revocations: Vec<Revocation>,
    /// How many more there were.
    pub omitted_revocations: usize,
    /// From when the first member was asked to when the last one had given up.
    pub revoking: Option<(Timestamp, Timestamp)>,
    /// The members before, by id.
    pub members_before: Vec<Arc<str>>,
    /// The members after, by id; none if the group is empty now.
    pub members_after: Vec<Arc<str>>,
    /// Who they are, and the others that this names; at most [`Rebalance::MAX_MEMBERS`].
    pub members: BTreeMap<Arc<str>, Who>,
    /// How many more it names.
    pub omitted_members: usize,
    /// Who made the assignment.
    pub leader: Option<Arc<str>>,
    /// The partitions that changed hands, those that were given to somebody first; at most
    /// [`Rebalance::MAX_MOVES`].
    pub moves: Vec<Move>,
    /// How many more moved.
    pub omitted_moves: usize,
    /// It goes on with what the group's last one, which was unfinished, told of.
    pub continues: bool,
    /// Members were still on their way when it was told; the next one goes on with it.
    pub unfinished: bool,
    /// It is none: a static member came back and took over what it had under another id. Nobody else did
    /// anything, and the generation is the one before.
    pub is_take_over: bool,
}

/// What somebody was given in a rebalance that goes on. It is told with the rebalance; whoever watches for first
/// fetches begins here, as the member may fetch long before the others are where they are to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Given {
    /// The group.
    pub group: Arc<str>,
    /// When it was given.
    pub at: Timestamp,
    /// The partitions that somebody had before; at most [`Rebalance::MAX_MOVES`].
    pub moves: Vec<Move>,
}

/// A partition that changed hands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Move {
    /// The topic's name.
    pub topic: Arc<str>,
    /// The partition.
    pub partition: i32,
    /// The member that had it last, if any did.
    pub from: Option<Arc<str>>,
    /// Who has it now; nobody, for the time being, in the middle of a cooperative rebalance.
    pub to: Option<Owner>,
    /// Since when nobody has served it, as far as the coordinator can tell.
    pub unserved_since: Option<Timestamp>,
}

/// A member that a partition was given to, and by what its fetches are known.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// The member's id.
    pub member: Arc<str>,
    /// The client id it joined with.
    pub client_id: Arc<str>,
    /// The address it joined from.
    pub client_host: Arc<str>,
}

impl Rebalance {
    /// A thousand members that restart together are one story, not a thousand.
    pub const MAX_CAUSES: usize = 32;

    /// A line for each of ten thousand partitions would be read by nobody.
    pub const MAX_MOVES: usize = 1_000;

    /// As many as can take part in these moves.
    pub const MAX_MEMBERS: usize = 1_000;

    /// Who was slower than the others is among the first.
    pub const MAX_REVOCATIONS: usize = 32;
}

/// Why a group rebalances, and since when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RebalanceCause {
    /// When it happened.
    pub at: Timestamp,
    /// What happened.
    pub kind: CauseKind,
}

/// What happened to a group that makes it rebalance.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum CauseKind {
    /// A new member joined.
    MemberJoined {
        /// Who.
        member: Arc<str>,
        /// Why, in the client's words (KIP-800).
        reason: Option<Arc<str>>,
    },
    /// A member left of its own accord.
    MemberLeft {
        /// Who.
        member: Arc<str>,
        /// Why, in the client's words (KIP-800).
        reason: Option<Arc<str>>,
    },
    /// A member was removed by somebody else: an administrator.
    MemberRemoved {
        /// Who.
        member: Arc<str>,
        /// Its instance id, if it was removed by that.
        instance: Option<Arc<str>>,
        /// Why, in the administrator's words.
        reason: Option<Arc<str>>,
    },
    /// A member was silent for longer than its session timeout.
    MemberExpired {
        /// Who.
        member: Arc<str>,
        /// When its connection closed, or when it was last heard if that is not known.
        since: Timestamp,
    },
    /// A member's connection closed without a leave, and it did not come back within the grace.
    MemberDisconnected {
        /// Who.
        member: Arc<str>,
        /// When its connection closed.
        since: Timestamp,
    },
    /// A member did not rejoin within the rebalance timeout and was dropped.
    MemberDidNotRejoin {
        /// Who.
        member: Arc<str>,
    },
    /// A member joined but did not ask for its assignment within the rebalance timeout.
    MemberDidNotSync {
        /// Who.
        member: Arc<str>,
    },
    /// A member did not give its partitions up within its rebalance timeout.
    MemberDidNotRevoke {
        /// Who.
        member: Arc<str>,
    },
    /// Topics that the group subscribes to appeared, went away or grew.
    SubscribedTopicsChanged {
        /// Which, as far as is known: of what changed while the coordinator was away it is not.
        topics: Vec<Arc<str>>,
        /// How many more.
        omitted: usize,
    },
    /// A member subscribed to other topics.
    SubscriptionChanged {
        /// Who.
        member: Arc<str>,
        /// Why, in the client's words (KIP-800).
        reason: Option<Arc<str>>,
    },
    /// A member of a cooperative group rejoined without partitions that it had: the assignment took them from
    /// it, and now they can be given to somebody (KIP-429).
    GaveUpPartitions {
        /// Who.
        member: Arc<str>,
        /// Why, in the client's words (KIP-800).
        reason: Option<Arc<str>>,
    },
    /// A member rejoined with other metadata, which names the same topics or cannot be read.
    MetadataChanged {
        /// Who.
        member: Arc<str>,
        /// Why, in the client's words (KIP-800).
        reason: Option<Arc<str>>,
    },
    /// The leader rejoined a stable group, which asks for a new assignment.
    LeaderRejoined {
        /// Who.
        member: Arc<str>,
        /// Why, in the client's words (KIP-800).
        reason: Option<Arc<str>>,
    },
    /// The leader rejoined after subscribed topics appeared, went away or grew.
    TopicsChanged {
        /// The leader.
        member: Arc<str>,
        /// The topics that changed.
        topics: Vec<Arc<str>>,
    },
    /// A static member came back under a new member id.
    StaticMemberReplaced {
        /// Its instance id.
        instance: Arc<str>,
        /// The member id before.
        old: Arc<str>,
        /// The member id now.
        new: Arc<str>,
    },
    /// The group went over to the other protocol, with the members that are in it.
    ProtocolChanged {
        /// The protocol it has now: `classic` or `consumer`.
        to: &'static str,
    },
    /// The group was loaded with more members than the configuration allows now.
    OverCapacity {
        /// How many members it has.
        members: usize,
    },
}

impl CauseKind {
    /// Returns what happened, in one word.
    pub fn name(&self) -> &'static str {
        match self {
            Self::MemberJoined { .. } => "joined",
            Self::MemberLeft { .. } => "left",
            Self::MemberRemoved { .. } => "removed",
            Self::MemberExpired { .. } => "expired",
            Self::MemberDisconnected { .. } => "disconnected",
            Self::MemberDidNotRejoin { .. } => "did-not-rejoin",
            Self::MemberDidNotSync { .. } => "did-not-sync",
            Self::MemberDidNotRevoke { .. } => "did-not-revoke",
            Self::SubscribedTopicsChanged { .. } => "subscribed-topics-changed",
            Self::SubscriptionChanged { .. } => "subscription-changed",
            Self::GaveUpPartitions { .. } => "gave-up-partitions",
            Self::MetadataChanged { .. } => "metadata-changed",
            Self::LeaderRejoined { .. } => "leader-rejoined",
            Self::TopicsChanged { .. } => "topics-changed",
            Self::StaticMemberReplaced { .. } => "static-member-replaced",
            Self::ProtocolChanged { .. } => "protocol-changed",
            Self::OverCapacity { .. } => "over-capacity",
        }
    }

    /// Returns the member it is about; of two the one that is there now.
    pub fn member(&self) -> Option<&Arc<str>> {
        match self {
            Self::MemberJoined { member, .. }
            | Self::SubscriptionChanged { member, .. }
            | Self::GaveUpPartitions { member, .. }
            | Self::MetadataChanged { member, .. }
            | Self::LeaderRejoined { member, .. }
            | Self::TopicsChanged { member, .. } => Some(member),
            Self::StaticMemberReplaced { new, .. } => Some(new),
            Self::SubscribedTopicsChanged { .. }
            | Self::ProtocolChanged { .. }
            | Self::OverCapacity { .. } => None,
            _ => self.member_gone(),
        }
    }

    /// Returns since when the member that this took out has done nothing, where it tells.
    pub(crate) fn silent_since(&self) -> Option<Timestamp> {
        match self {
            Self::MemberExpired { since, .. } | Self::MemberDisconnected { since, .. } => {
                Some(*since)
            }
            _ => None,
        }
    }

    /// Returns the member that this took out of the group, if it did.
    pub fn member_gone(&self) -> Option<&Arc<str>> {
        match self {
            Self::MemberLeft { member, .. }
            | Self::MemberRemoved { member, .. }
            | Self::MemberExpired { member, .. }
            | Self::MemberDisconnected { member, .. }
            | Self::MemberDidNotRejoin { member }
            | Self::MemberDidNotSync { member }
            | Self::MemberDidNotRevoke { member } => Some(member),
            _ => None,
        }
    }
}

impl fmt::Display for CauseKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MemberJoined { member, reason } => {
                write!(f, "member {member} joined{}", because(reason.as_deref()))
            }
            Self::MemberLeft { member, reason } => {
                write!(f, "member {member} left{}", because(reason.as_deref()))
            }
            Self::MemberRemoved { member, instance, reason } => {
                let instance = instance.as_deref();
                let instance = instance.map_or_else(String::new, |it| format!(" ({it})"));
                write!(f, "member {member}{instance} was removed{}", because(reason.as_deref()))
            }
            Self::MemberExpired { member, .. } => {
                write!(f, "member {member} was silent for longer than its session timeout")
            }
            Self::MemberDisconnected { member, .. } => {
                write!(f, "member {member} closed its connection without leaving")
            }
            Self::MemberDidNotRejoin { member } => {
                write!(f, "member {member} did not rejoin within the rebalance timeout")
            }
            Self::MemberDidNotSync { member } => {
                write!(f, "member {member} did not ask for its assignment in time")
            }
            Self::MemberDidNotRevoke { member } => {
                write!(f, "member {member} did not give its partitions up in time")
            }
            Self::SubscribedTopicsChanged { topics, .. } if topics.is_empty() => {
                write!(f, "subscribed topics changed")
            }
            Self::SubscribedTopicsChanged { topics, omitted } => {
                write!(f, "subscribed topics changed: {}", topics.join(" "))?;
                if *omitted > 0 { write!(f, " and {omitted} more") } else { Ok(()) }
            }
            Self::SubscriptionChanged { member, reason } => {
                write!(f, "member {member} changed its subscription{}", because(reason.as_deref()))
            }
            Self::GaveUpPartitions { member, reason } => {
                write!(
                    f,
                    "member {member} gave up partitions, as asked{}",
                    because(reason.as_deref())
                )
            }
            Self::MetadataChanged { member, reason } => {
                write!(
                    f,
                    "member {member} rejoined with other metadata{}",
                    because(reason.as_deref())
                )
            }
            Self::LeaderRejoined { member, reason } => {
                write!(f, "leader {member} rejoined{}", because(reason.as_deref()))
            }
            Self::TopicsChanged { topics, .. } => {
                write!(f, "topics changed: {}", topics.join(" "))
            }
            Self::StaticMemberReplaced { instance, old, new } => {
                write!(f, "static member {instance} came back as {new} in place of {old}")
            }
            Self::ProtocolChanged { to } => {
                write!(f, "the group went over to the {to} protocol")
            }
            Self::OverCapacity { members } => {
                write!(f, "the group has {members} members, more than it may have")
            }
        }
    }
}

/// What a client gave as its reason, in brackets.
fn because(reason: Option<&str>) -> String {
    reason.map_or_else(String::new, |reason| format!(" ({reason})"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cause_reads_as_a_clause() {
        let member: Arc<str> = "m-1".into();
        let joined = CauseKind::MemberJoined { member: member.clone(), reason: None };
        assert_eq!(joined.to_string(), "member m-1 joined");
        let left = CauseKind::MemberLeft { member, reason: Some("the consumer is closed".into()) };
        assert_eq!(left.to_string(), "member m-1 left (the consumer is closed)");
        let topics = vec!["a".into(), "b".into()];
        let changed = CauseKind::TopicsChanged { member: "m-1".into(), topics };
        assert_eq!(changed.to_string(), "topics changed: a b");
        let subscribed = |topics: &[&str], omitted| {
            let topics = topics.iter().map(|topic| Arc::from(*topic)).collect();
            CauseKind::SubscribedTopicsChanged { topics, omitted }.to_string()
        };
        assert_eq!(subscribed(&[], 0), "subscribed topics changed");
        assert_eq!(subscribed(&["a", "b"], 0), "subscribed topics changed: a b");
        assert_eq!(subscribed(&["a"], 7), "subscribed topics changed: a and 7 more");
    }
}
