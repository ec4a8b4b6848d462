//! Moving what a group has committed, by all the ways of `kafka-consumer-groups --reset-offsets`.

use std::collections::BTreeMap;
use std::time::Duration;

use kohort_protocol::TopicPartition;

use super::{Admin, AdminError, CommittedOffset, OffsetSpec};
use crate::clock;

/// Where a group's committed offsets are to go. Wherever that is, an offset is kept within what the
/// partition holds.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum ResetTo {
    /// The first record that is still there.
    Earliest,
    /// The end: only new records will be read.
    Latest,
    /// Where it is now: the same is committed again. Where nothing is committed it goes to the end, as by
    /// Kafka's tool.
    Current,
    /// This offset, in each partition.
    Offset(i64),
    /// These offsets; partitions that it does not name are left out.
    Offsets(BTreeMap<TopicPartition, i64>),
    /// By so many records, back if negative.
    Shift(i64),
    /// The first record at or after this time in Unix milliseconds; the end, if there is none.
    AtOrAfter(i64),
    /// The first record that is no older than this; the end, if there is none.
    NoOlderThan(Duration),
}

/// What a reset does to one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedReset {
    /// What is committed now, if anything is.
    pub current: Option<i64>,
    /// What is to be committed.
    pub offset: i64,
    /// Why that is not what was asked for, if it is not.
    pub adjusted: Option<Adjusted>,
}

/// Why a reset goes elsewhere than it was asked to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Adjusted {
    /// The offset asked for is before the first record that is still there, or past the end.
    OutOfRange {
        /// The offset asked for.
        wanted: i64,
    },
    /// No record is as young as that: it goes to the end.
    NoSuchRecord,
    /// Nothing is committed to stay at: it goes to the end.
    NothingCommitted,
}

impl Admin {
    /// Says where a reset would take a group, and changes nothing. Without `partitions` it is about
    /// those that [`ResetTo::Offsets`] names, or all that the group has committed offsets for.
    ///
    /// # Errors
    /// [`AdminError::NothingCommitted`] for [`ResetTo::Shift`] where the group has committed nothing, and
    /// whatever keeps a partition's offsets from being found.
    pub async fn plan_reset(
        &self,
        group: &str,
        partitions: Option<Vec<TopicPartition>>,
        to: &ResetTo,
    ) -> Result<BTreeMap<TopicPartition, PlannedReset>, AdminError> {
        let committed = self.group_offsets(group).await?;
        let partitions: Vec<TopicPartition> = match (partitions, to) {
            (Some(mut partitions), ResetTo::Offsets(offsets)) => {
                partitions.retain(|partition| offsets.contains_key(partition));
                partitions
            }
            (Some(partitions), _) => partitions,
            (None, ResetTo::Offsets(offsets)) => offsets.keys().cloned().collect(),
            (None, _) => committed.keys().cloned().collect(),
        };
        let starts = self.offsets_at(&partitions, OffsetSpec::Earliest).await?;
        let ends = self.offsets_at(&partitions, OffsetSpec::Latest).await?;
        let time = match to {
            ResetTo::AtOrAfter(time) => Some(*time),
            ResetTo::NoOlderThan(age) => {
                let age = i64::try_from(age.as_millis()).unwrap_or(i64::MAX);
                Some(clock::now_ms().saturating_sub(age).max(0))
            }
            _ => None,
        };
        let times = match time {
            Some(time) => self.offsets_at(&partitions, OffsetSpec::AtOrAfter(time)).await?,
            None => BTreeMap::new(),
        };
        let mut plan = BTreeMap::new();
        for partition in partitions {
            let bound = |offsets: &Offsets, which: &str| {
                let offset = offsets.get(&partition).copied().flatten();
                let what = || format!("the {which} of {partition}");
                offset.ok_or_else(|| AdminError::Unanswered { what: what() })
            };
            let known = Known {
                current: committed.get(&partition).map(|committed| committed.offset),
                start: bound(&starts, "first offset")?,
                end: bound(&ends, "end")?,
                at_time: times.get(&partition).copied().flatten(),
            };
            let planned = known.plan(&partition, to).ok_or_else(|| {
                let (group, partition) = (group.to_owned(), partition.clone());
                AdminError::NothingCommitted { group, partition }
            })?;
            plan.insert(partition, planned);
        }
        Ok(plan)
    }

    /// Moves what a group without members has committed, and says where to, partition by partition.
    ///
    /// # Errors
    /// Those of [`plan_reset`](Self::plan_reset), and for each partition those of
    /// [`alter_group_offsets`](Self::alter_group_offsets).
    pub async fn reset_group_offsets(
        &self,
        group: &str,
        partitions: Option<Vec<TopicPartition>>,
        to: &ResetTo,
    ) -> Result<BTreeMap<TopicPartition, Result<PlannedReset, AdminError>>, AdminError> {
        let mut plan = self.plan_reset(group, partitions, to).await?;
        let offset = |planned: &PlannedReset| CommittedOffset {
            offset: planned.offset,
            ..CommittedOffset::default()
        };
        let offsets = plan.iter().map(|(partition, p)| (partition.clone(), offset(p))).collect();
        let altered = self.alter_group_offsets(group, offsets).await?;
        let with_plan = |(partition, result): (TopicPartition, Result<(), AdminError>)| {
            let planned = plan.remove(&partition)?;
            Some((partition, result.map(|()| planned)))
        };
        Ok(altered.into_iter().filter_map(with_plan).collect())
    }

    async fn offsets_at(
        &self,
        partitions: &[TopicPartition],
        spec: OffsetSpec,
    ) -> Result<Offsets, AdminError> {
        let wanted = partitions.iter().map(|partition| (partition.clone(), spec)).collect();
        let listed = self.list_offsets(wanted).await?.into_iter();
        listed.map(|(partition, listed)| Ok((partition, listed?.offset))).collect()
    }
}

/// One offset of each partition, where there is such a one.
type Offsets = BTreeMap<TopicPartition, Option<i64>>;

/// What is known of a partition before a reset.
struct Known {
    current: Option<i64>,
    start: i64,
    end: i64,
    at_time: Option<i64>,
}

impl Known {
    /// Returns where the partition goes; nothing if that depends on what is committed, and nothing is.
    fn plan(&self, partition: &TopicPartition, to: &ResetTo) -> Option<PlannedReset> {
        let wanted = match to {
            ResetTo::Earliest => Some(self.start),
            ResetTo::Latest => Some(self.end),
            ResetTo::Current => self.current,
            ResetTo::Offset(offset) => Some(*offset),
            ResetTo::Offsets(offsets) => Some(*offsets.get(partition)?),
            ResetTo::Shift(by) => Some(self.current?.saturating_add(*by)),
            ResetTo::AtOrAfter(_) | ResetTo::NoOlderThan(_) => self.at_time,
        };
        // The two were asked one after the other: records may have gone in between.
        let offset = wanted.unwrap_or(self.end).min(self.end).max(self.start);
        let adjusted = match wanted {
            None if *to == ResetTo::Current => Some(Adjusted::NothingCommitted),
            None => Some(Adjusted::NoSuchRecord),
            Some(wanted) if wanted != offset => Some(Adjusted::OutOfRange { wanted }),
            Some(_) => None,
        };
        Some(PlannedReset { current: self.current, offset, adjusted })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_was_emptied_while_it_was_looked_at_is_read_from_its_new_start() {
        let known = Known { current: None, start: 30, end: 20, at_time: None };
        let planned = known.plan(&TopicPartition::new("t", 0), &ResetTo::Latest);
        let adjusted = Some(Adjusted::OutOfRange { wanted: 20 });
        assert_eq!(planned, Some(PlannedReset { current: None, offset: 30, adjusted }));
    }

    #[test]
    fn a_reset_goes_where_it_is_told_and_stays_within_the_partition() {
        let partition = TopicPartition::new("t", 0);
        let known = |current, at_time| Known { current, start: 10, end: 20, at_time };
        let exactly = |offset| Some((offset, None));
        let beyond = |wanted, offset| Some((offset, Some(Adjusted::OutOfRange { wanted })));
        let offsets = ResetTo::Offsets(BTreeMap::from([(partition.clone(), 12)]));
        let others = ResetTo::Offsets(BTreeMap::new());
        for (to, known, expected) in [
            (ResetTo::Earliest, known(None, None), exactly(10)),
            (ResetTo::Latest, known(None, None), exactly(20)),
            (ResetTo::Current, known(Some(15), None), exactly(15)),
            (ResetTo::Current, known(Some(5), None), beyond(5, 10)),
            (ResetTo::Current, known(None, Some(17)), Some((20, Some(Adjusted::NothingCommitted)))),
            (ResetTo::Offset(20), known(None, None), exactly(20)),
            (ResetTo::Offset(21), known(None, None), beyond(21, 20)),
            (offsets, known(None, None), exactly(12)),
            (others, known(None, None), None),
            (ResetTo::Shift(-3), known(Some(15), None), exactly(12)),
            (ResetTo::Shift(i64::MIN), known(Some(-1), None), beyond(i64::MIN, 10)),
            (ResetTo::Shift(1), known(None, None), None),
            (ResetTo::AtOrAfter(1), known(None, Some(17)), exactly(17)),
            (
                ResetTo::NoOlderThan(Duration::ZERO),
                known(Some(11), None),
                Some((20, Some(Adjusted::NoSuchRecord))),
            ),
        ] {
            let planned = known.plan(&partition, &to);
            let current = known.current;
            let expected =
                expected.map(|(offset, adjusted)| PlannedReset { current, offset, adjusted });
            assert_eq!(planned, expected, "{to:?}");
        }
    }
}
