//! How committed offsets end: their retention passes, or their topic is deleted.
//!
//! `offsets.retention.minutes` counts, in a classic group (KIP-211, KIP-496):
//!
//! - *Empty, had members*: since it became empty, for all offsets.
//! - *Stable consumers*: since the commit, for topics that no member subscribes to. If the
//!   subscriptions cannot be read, nothing expires.
//! - *Rebalancing*: never (KAFKA-13636).
//! - *Never had members*: since the commit.
//!
//! In a consumer group it counts since the commit, for topics that no member subscribes to, whatever
//! the group's state.
//!
//! An offset that names its own end (commits of version 2 to 4) has that end instead. A group that
//! is empty and has no offsets left goes, too.
//!
//! Both searches may find more than fits into one batch of the log. They stop at
//! [`MAX_TOMBSTONES`] and go on with the next timeout, from where they were.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::Arc;

use kohort_protocol::Uuid;

use super::StoredOffset;
use crate::group::classic::{ClassicGroup, ClassicState};
use crate::group::entry::{GroupEntry, Groups};
use crate::group::record::GroupRecord;
use crate::group::turn::Turn;
use crate::metadata::MetadataImage;
use crate::shard::Timestamp;

/// The search for expired offsets, group after group.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// The group to go on with, when the last round stopped half-way.
    next: Option<Arc<str>>,
}

impl Sweep {
    /// Adds tombstones of what is expired to the outcome. Returns whether that was all.
    pub(crate) fn run(&mut self, groups: &Groups, turn: &mut Turn<'_>) -> bool {
        let from = self.next.take().map_or(Bound::Unbounded, Bound::Included);
        for (id, entry) in groups.range::<Arc<str>, _>((from, Bound::Unbounded)) {
            let before = turn.outcome.records.len();
            let fits = before < MAX_TOMBSTONES;
            if !fits || !add_tombstones(turn, expired(entry, turn.wall, turn.config)) {
                self.next = Some(id.clone());
                break;
            }
            let removed = turn.outcome.records.len() - before;
            if entry.offsets.len() > removed || !entry.group.is_idle() {
                continue;
            }
            turn.outcome.records.extend(entry.group.tombstones(id));
        }
        self.next.is_none()
    }
}

/// The search for offsets of topics that are gone.
#[derive(Debug, Default)]
pub(crate) struct TopicSweep {
    /// Whether there may be such offsets.
    due: bool,
    /// The names of deleted topics, for offsets that were committed without a topic id.
    names: BTreeSet<Arc<str>>,
}

impl TopicSweep {
    /// Notes which topics are in the old image, if there is one, and not in the new.
    ///
    /// Without an old image the shard was just loaded, and the tombstones of earlier deletions may
    /// have been lost in a crash.
    pub(crate) fn note(&mut self, old: Option<&MetadataImage>, new: &MetadataImage) {
        self.due |= old.is_none();
        let gone = old.into_iter().flat_map(MetadataImage::topics);
        for topic in gone.filter(|topic| new.topic_by_id(topic.id).is_none()) {
            self.due = true;
            self.names.insert(topic.name.clone());
        }
    }

    /// Adds tombstones of such offsets to the outcome. Returns whether that was all.
    pub(crate) fn run(&mut self, groups: &Groups, turn: &mut Turn<'_>) -> bool {
        if !self.due {
            return true;
        }
        let (image, names) = (turn.image, &self.names);
        let gone = |topic: &str, offset: &StoredOffset| match offset.topic_id {
            Uuid::ZERO => names.contains(topic),
            id => image.is_gone(id),
        };
        let offsets = groups.iter().flat_map(|(id, entry)| entry.offsets.tombstones(id, gone));
        self.due = !add_tombstones(turn, offsets);
        if !self.due {
            self.names.clear();
        }
        !self.due
    }
}

/// Adds as many tombstones as one batch takes. Returns whether those were all.
fn add_tombstones(turn: &mut Turn<'_>, mut tombstones: impl Iterator<Item = GroupRecord>) -> bool {
    let room = MAX_TOMBSTONES.saturating_sub(turn.outcome.records.len());
    turn.outcome.records.extend(tombstones.by_ref().take(room));
    tombstones.next().is_none()
}

fn expired<'a>(
    entry: &'a GroupEntry,
    now: Timestamp,
    config: &'a crate::config::GroupConfig,
) -> impl Iterator<Item = GroupRecord> + 'a {
    let group = &entry.group;
    let retention = group.classic().map_or(Retention::SinceCommit, Retention::of);
    entry.offsets.tombstones(&entry.id, move |topic, offset| {
        !group.is_subscribed_to(topic)
            && retention.is_over(offset, now, config.offsets_retention_ms)
    })
}

/// From when on the retention of a group's offsets counts.
#[derive(Clone, Copy)]
enum Retention {
    SinceCommit,
    Since(Timestamp),
    Forever,
}

impl Retention {
    fn of(group: &ClassicGroup) -> Self {
        match group.state() {
            _ if group.protocol_type().is_none() => Self::SinceCommit,
            ClassicState::Empty => group.state_since().map_or(Self::SinceCommit, Self::Since),
            ClassicState::Stable { .. } if group.knows_subscriptions() => Self::SinceCommit,
            _ => Self::Forever,
        }
    }

    fn is_over(self, offset: &StoredOffset, now: Timestamp, retention_ms: i64) -> bool {
        let since = match self {
            Self::Forever => return false,
            Self::SinceCommit => offset.commit_timestamp,
            Self::Since(timestamp) => timestamp,
        };
        match offset.expire_timestamp() {
            Some(expiry) => now >= expiry,
            None => now.saturating_sub(since) >= retention_ms,
        }
    }
}

/// How many tombstones go into one batch: at up to some 300 bytes each they stay well below the
/// megabyte that a batch may have by default.
const MAX_TOMBSTONES: usize = 2_000;
