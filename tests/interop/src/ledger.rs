//! What a group as a whole has read and committed, by what its members tell.

use std::collections::{BTreeMap, BTreeSet};

/// Partitions and offsets of one group.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    read: BTreeMap<i64, BTreeSet<i64>>,
    committed: BTreeMap<i64, i64>,
    /// How many records were read once more, none of them committed before.
    pub(crate) again: usize,
    /// Records that were read though the group had committed behind them.
    pub(crate) went_back: Vec<String>,
}

impl Ledger {
    /// Takes in that a member read a record.
    pub(crate) fn read(&mut self, member: &str, partition: i64, offset: i64) {
        let behind = self.committed.get(&partition).copied().unwrap_or_default();
        if offset < behind {
            let text = format!("{member} read {partition} @{offset} after a commit of {behind}");
            self.went_back.push(text);
        } else if !self.read.entry(partition).or_default().insert(offset) {
            self.again += 1;
        }
    }

    /// Takes in that a member committed.
    pub(crate) fn committed(&mut self, partition: i64, offset: i64) {
        let behind = self.committed.entry(partition).or_default();
        *behind = offset.max(*behind);
    }

    /// Returns the first of these records that nobody read.
    pub(crate) fn lacks(&self, written: &[(i64, i64, i64)]) -> Option<(i64, i64)> {
        let is_read = |partition, offset| {
            self.read.get(partition).is_some_and(|offsets| offsets.contains(offset))
        };
        let lacking = written.iter().find(|(partition, offset, _)| !is_read(partition, offset));
        lacking.map(|(partition, offset, _)| (*partition, *offset))
    }
}
