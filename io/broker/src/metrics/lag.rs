//! Groups and their lag, in records and in seconds.
//!
//! Committed offsets come from the shards, a stretch of groups at a time, and only then the ends of
//! the logs: the other way round lag could be negative. Lag in seconds is the age of the oldest record
//! that the group has not read, by the record's own timestamp; a record in the middle of a batch counts
//! as old as the batch's first. Near the end of a log that is found in memory. Elsewhere a few headers
//! are read through the index, once for each committed offset: what was found is remembered for as long
//! as the offset stays, and what one scrape may read is bounded, so that the first scrapes after a
//! start may leave some out.

use super::page::Page;
use super::{KnownTimes, table};
use crate::cluster::topics::Topic;
use crate::groups::Surveys;
use crate::node::Node;
use kohort_coordinator::SurveyedGroup;
use kohort_protocol::Uuid;
use kohort_storage::{PartitionLog, RecordTime};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;

/// Committed offsets that are listed one by one. Sums cover all.
const OFFSETS_MAX: usize = 200_000;
/// Group ids longer than this are left out: a client chooses them, and each is repeated many times.
const GROUP_ID_MAX: usize = 512;
/// Offsets of one shard that are looked at in one turn of its task.
const OFFSETS_PER_TURN: usize = 1000;
/// Times that one scrape may look for on disk.
const LOOKUPS_MAX: usize = 500;

/// A committed offset of a group.
struct Row {
    group: usize,
    topic: Arc<str>,
    partition: i32,
    offset: i64,
    lag: Option<i64>,
    lag_ms: Option<i64>,
}

/// A group, and what its offsets come to by topic: offsets and lag.
struct GroupRow {
    id: Arc<str>,
    members: usize,
    sums: BTreeMap<Arc<str>, (i64, i64)>,
}

/// Everything a scrape tells of groups.
struct Survey<'a> {
    node: &'a Node,
    now: i64,
    groups: Vec<GroupRow>,
    rows: Vec<Row>,
    states: BTreeMap<&'static str, usize>,
    group_count: usize,
    offset_count: usize,
    lookups: usize,
    deferred: usize,
    times: KnownTimes,
    topics: HashMap<Arc<str>, Option<Arc<Topic>>>,
}

/// Writes the metrics of groups.
pub(super) fn write(node: &Node, page: &mut Page) {
    let mut survey = Survey {
        node,
        now: node.clock.wall(),
        groups: Vec::new(),
        rows: Vec::new(),
        states: BTreeMap::new(),
        group_count: 0,
        offset_count: 0,
        lookups: 0,
        deferred: 0,
        times: KnownTimes::new(),
        topics: HashMap::new(),
    };
    for shard in node.groups.surveys() {
        survey.take_shard(&shard);
    }
    let Survey { groups, rows, states, group_count, offset_count, deferred, times, .. } = survey;
    *node.metrics.times.lock() = times;
    write_counts(node, page, &states, group_count, offset_count);
    page.single(&table::GROUP_OFFSETS_OMITTED, offset_count.saturating_sub(rows.len()));
    page.single(&table::LAG_DEFERRED, deferred);
    write_groups(page, &groups);
    write_rows(page, &groups, &rows);
}

fn write_counts(
    node: &Node,
    page: &mut Page,
    states: &BTreeMap<&'static str, usize>,
    group_count: usize,
    offset_count: usize,
) {
    let counters = &node.metrics.groups;
    let in_state = |name| states.get(name).copied().unwrap_or(0);
    page.single(&table::GROUPS, group_count);
    page.single(&table::GROUP_OFFSETS, offset_count);
    page.single(&table::GROUPS_EMPTY, in_state("Empty"));
    page.single(&table::GROUPS_PREPARING, in_state("PreparingRebalance"));
    page.single(&table::GROUPS_COMPLETING, in_state("CompletingRebalance"));
    page.single(&table::GROUPS_STABLE, in_state("Stable"));
    page.single(&table::GROUPS_LOADING, counters.loading.count());
    page.single(&table::GROUPS_DAMAGED, counters.damaged.lock().len());
    page.single(&table::REBALANCES, counters.rebalances.get());
    page.single(&table::OFFSET_COMMITS, counters.commits.get());
    page.single(&table::MEMBERS_EXPIRED, counters.expired_members.get());
    page.single(&table::MEMBERS_DISCONNECTED, counters.disconnected_members.get());
}

fn write_groups(page: &mut Page, groups: &[GroupRow]) {
    let mut series = page.family(&table::GROUP_MEMBERS);
    for group in groups {
        series.value(&[&group.id], group.members);
    }
    let mut series = page.family(&table::GROUP_OFFSET_SUM);
    for group in groups {
        for (topic, (offsets, _)) in &group.sums {
            series.value(&[&group.id, topic], offsets);
        }
    }
    let mut series = page.family(&table::GROUP_LAG_SUM);
    for group in groups {
        for (topic, (_, lag)) in &group.sums {
            series.value(&[&group.id, topic], lag);
        }
    }
}

fn write_rows(page: &mut Page, groups: &[GroupRow], rows: &[Row]) {
    let mut series = page.family(&table::GROUP_CURRENT_OFFSET);
    for row in rows {
        series.value(&[&groups[row.group].id, &row.topic, &row.partition], row.offset);
    }
    if page.is_abandoned() {
        return;
    }
    let mut series = page.family(&table::GROUP_LAG);
    for row in rows {
        if let Some(lag) = row.lag {
            series.value(&[&groups[row.group].id, &row.topic, &row.partition], lag);
        }
    }
    if page.is_abandoned() {
        return;
    }
    let mut series = page.family(&table::GROUP_LAG_SECONDS);
    for row in rows {
        if let Some(ms) = row.lag_ms {
            let seconds = ms as f64 / 1000.0;
            series.value(&[&groups[row.group].id, &row.topic, &row.partition], seconds);
        }
    }
}

impl Survey<'_> {
    fn take_shard(&mut self, shard: &Surveys) {
        let mut last = None;
        // A shard that loads or stops answers nothing, and has no groups for now.
        while let Some(groups) = shard.ask(last.take(), OFFSETS_PER_TURN) {
            let Some(group) = groups.last() else { return };
            last = Some(Arc::clone(&group.id));
            for group in groups {
                self.take_group(group);
            }
        }
    }

    fn take_group(&mut self, group: SurveyedGroup) {
        self.group_count += 1;
        self.offset_count += group.offsets.len();
        *self.states.entry(group.state).or_default() += 1;
        if group.id.len() > GROUP_ID_MAX || self.groups.len() >= OFFSETS_MAX {
            return;
        }
        let mut sums: BTreeMap<Arc<str>, (i64, i64)> = BTreeMap::new();
        for (topic, partition, offset) in group.offsets {
            let (lag, lag_ms) = match self.log(&topic, partition) {
                Some((log, id)) => {
                    let unread = offset.max(log.log_start_offset());
                    let lag = (log.high_watermark() - unread).max(0);
                    (Some(lag), self.age(&log, (id, partition, unread), lag))
                }
                None => (None, None),
            };
            let sum = sums.entry(Arc::clone(&topic)).or_default();
            sum.0 += offset;
            sum.1 += lag.unwrap_or(0);
            if self.rows.len() < OFFSETS_MAX {
                let group = self.groups.len();
                self.rows.push(Row { group, topic, partition, offset, lag, lag_ms });
            }
        }
        self.groups.push(GroupRow { id: group.id, members: group.members, sums });
    }

    /// Returns the log of a partition, and its topic's id, if it is there.
    fn log(&mut self, topic: &Arc<str>, partition: i32) -> Option<(Arc<PartitionLog>, Uuid)> {
        let topics = &self.node.metadata.topics;
        let known = self.topics.entry(Arc::clone(topic)).or_insert_with(|| topics.named(topic));
        let topic = known.as_ref()?;
        Some((Arc::clone(&topic.partition(partition)?.log), topic.id))
    }

    /// Returns how long ago the record at that place was written, in ms.
    fn age(&mut self, log: &PartitionLog, place: (Uuid, i32, i64), lag: i64) -> Option<i64> {
        if lag == 0 {
            return Some(0);
        }
        let time = match log.time_in_memory(place.2).ok()? {
            RecordTime::OnDisk => self.time_on_disk(log, place)?,
            time => time,
        };
        match time {
            RecordTime::Known(time) => Some((self.now - time).max(0)),
            RecordTime::OnDisk | RecordTime::Unknown => None,
        }
    }

    fn time_on_disk(&mut self, log: &PartitionLog, place: (Uuid, i32, i64)) -> Option<RecordTime> {
        let remembered = self.times.get(&place).copied();
        let remembered = remembered.or_else(|| self.node.metrics.times.lock().get(&place).copied());
        let time = match remembered {
            Some(time) => time,
            None if self.lookups >= LOOKUPS_MAX => {
                self.deferred += 1;
                return None;
            }
            None => {
                self.lookups += 1;
                log.time_of(place.2).ok()?
            }
        };
        if self.times.len() < OFFSETS_MAX {
            self.times.insert(place, time);
        }
        Some(time)
    }
}
