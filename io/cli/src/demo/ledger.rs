//! The demo's bookkeeping, and its proof: what was produced, who owned which partition when, what
//! was processed, and so what was lost, read twice, or owned by two members at once.
//!
//! The ledger compares sets of (partition, offset), not counts: a lost record and one read twice do
//! not cancel out. It takes times from the events, so the order in which the pipes of different
//! members are read does not matter.

use std::collections::{BTreeMap, BTreeSet};

use super::event::{MemberEvent, What};

/// A stretch of time in which one member owned a partition.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Ownership {
    pub(crate) member: String,
    pub(crate) from: u64,
    /// When it ended; `None` while it lasts.
    pub(crate) to: Option<u64>,
    /// When this owner worked on its first record.
    pub(crate) first_record: Option<u64>,
    /// When it last worked on one.
    pub(crate) last_record: Option<u64>,
}

/// Two members owned one partition at the same time.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct DoubleOwnership {
    pub(crate) partition: i32,
    pub(crate) members: [String; 2],
    pub(crate) micros: u64,
}

/// A partition went from one owner to another.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Move {
    pub(crate) partition: i32,
    pub(crate) from: String,
    pub(crate) to: String,
    /// When the old owner stopped.
    pub(crate) at: u64,
    /// From the old owner's end to the new owner's first record; `None` until there is one.
    pub(crate) unserved_micros: Option<u64>,
}

/// How often a key occurred, and the average of its measured value.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct KeyTotal {
    pub(crate) count: u64,
    pub(crate) sum: f64,
    pub(crate) measured: u64,
}

impl KeyTotal {
    /// The average of the measured values, where there was any.
    pub(crate) fn average(&self) -> Option<f64> {
        (self.measured > 0).then(|| self.sum / self.measured as f64)
    }
}

/// The books.
#[derive(Debug, Default)]
pub(crate) struct Ledger {
    produced: BTreeSet<(i32, i64)>,
    processed: BTreeSet<(i32, i64)>,
    deliveries: u64,
    reread: u64,
    owners: BTreeMap<i32, Vec<Ownership>>,
    committed: BTreeMap<i32, i64>,
    keys: BTreeMap<String, KeyTotal>,
    by_member: BTreeMap<String, u64>,
    outside_ownership: u64,
}

impl Ledger {
    /// Enters a record that the broker acknowledged.
    pub(crate) fn produced(&mut self, partition: i32, offset: i64) {
        self.produced.insert((partition, offset));
    }

    /// Enters what a member did.
    pub(crate) fn apply(&mut self, member: &str, event: &MemberEvent) {
        match &event.what {
            What::Assigned { partitions } => {
                for &partition in partitions {
                    self.owners.entry(partition).or_default().push(Ownership {
                        member: member.to_owned(),
                        from: event.at,
                        to: None,
                        first_record: None,
                        last_record: None,
                    });
                }
            }
            What::Revoked { partitions } | What::Lost { partitions } => {
                for &partition in partitions {
                    if let Some(ownership) = self.open(member, partition) {
                        ownership.to = Some(event.at);
                    }
                }
            }
            What::Processed { partition, records } => {
                match self.open(member, *partition) {
                    Some(ownership) => {
                        ownership.first_record.get_or_insert(event.at);
                        ownership.last_record = Some(event.at);
                    }
                    None => self.outside_ownership += records.len() as u64,
                }
                *self.by_member.entry(member.to_owned()).or_default() += records.len() as u64;
                for record in records {
                    self.deliveries += 1;
                    if !self.processed.insert((*partition, record.0)) {
                        self.reread += 1;
                        continue;
                    }
                    let total = self.keys.entry(record.1.clone()).or_default();
                    total.count += 1;
                    if let Some(value) = record.2 {
                        total.sum += value;
                        total.measured += 1;
                    }
                }
            }
            What::Committed { partition, offset } => {
                self.committed.insert(*partition, *offset);
            }
            What::Failed { .. } => {}
        }
    }

    /// Ends all that a member owned, because its process ended at `at` without a word.
    pub(crate) fn ended(&mut self, member: &str, at: u64) {
        for ownership in self.owners.values_mut().flatten() {
            if ownership.member == member && ownership.to.is_none() {
                ownership.to = Some(at);
            }
        }
    }

    /// The open ownership of `partition` by `member`.
    fn open(&mut self, member: &str, partition: i32) -> Option<&mut Ownership> {
        self.owners
            .get_mut(&partition)?
            .iter_mut()
            .rev()
            .find(|o| o.member == member && o.to.is_none())
    }

    /// The partitions a member owns now, ascending.
    pub(crate) fn owned_by(&self, member: &str) -> Vec<i32> {
        let owns =
            |list: &Vec<Ownership>| list.iter().any(|o| o.member == member && o.to.is_none());
        self.owners.iter().filter(|(_, list)| owns(list)).map(|(p, _)| *p).collect()
    }

    /// How many records a member has worked on.
    pub(crate) fn worked_by(&self, member: &str) -> u64 {
        self.by_member.get(member).copied().unwrap_or(0)
    }

    /// Acknowledged records not yet processed.
    pub(crate) fn lag(&self) -> u64 {
        self.produced.difference(&self.processed).count() as u64
    }

    /// How many records were acknowledged.
    pub(crate) fn produced_count(&self) -> u64 {
        self.produced.len() as u64
    }

    /// How many different records were processed.
    pub(crate) fn processed_count(&self) -> u64 {
        self.processed.len() as u64
    }

    /// How many deliveries were of a record already processed.
    pub(crate) fn reread(&self) -> u64 {
        self.reread
    }

    /// Records processed by a member that did not own their partition.
    pub(crate) fn outside_ownership(&self) -> u64 {
        self.outside_ownership
    }

    /// Processed records that nobody produced.
    pub(crate) fn unknown(&self) -> u64 {
        self.processed.difference(&self.produced).count() as u64
    }

    /// Acknowledged records beyond what the members say they have committed.
    pub(crate) fn uncommitted(&self) -> u64 {
        let beyond = |(partition, offset): &&(i32, i64)| {
            self.committed.get(partition).is_none_or(|committed| offset >= committed)
        };
        self.produced.iter().filter(beyond).count() as u64
    }

    /// Every partition that changed hands, by the time at which it did.
    pub(crate) fn moves(&self) -> Vec<Move> {
        let mut moves = Vec::new();
        for (partition, list) in &self.owners {
            for pair in in_order(list).windows(2) {
                let [old, new] = pair else { continue };
                let (Some(ended), true) = (old.to, old.member != new.member) else { continue };
                moves.push(Move {
                    partition: *partition,
                    from: old.member.clone(),
                    to: new.member.clone(),
                    at: ended,
                    unserved_micros: new.first_record.map(|first| first.saturating_sub(ended)),
                });
            }
        }
        moves.sort_by_key(|m| (m.at, m.partition));
        moves
    }

    /// Every partition that two members owned at one time.
    pub(crate) fn double_ownerships(&self) -> Vec<DoubleOwnership> {
        let mut doubles = Vec::new();
        for (partition, list) in &self.owners {
            let ordered = in_order(list);
            for (at, one) in ordered.iter().enumerate() {
                for other in &ordered[at + 1..] {
                    let end = one.to.unwrap_or(u64::MAX).min(other.to.unwrap_or(u64::MAX));
                    if one.member != other.member && other.from < end {
                        doubles.push(DoubleOwnership {
                            partition: *partition,
                            members: [one.member.clone(), other.member.clone()],
                            micros: end - other.from,
                        });
                    }
                }
            }
        }
        doubles
    }

    /// The keys with the highest average, best first; keys with fewer than `least` records are too
    /// few to mean anything.
    pub(crate) fn top_keys(&self, count: usize, least: u64) -> Vec<(&str, &KeyTotal)> {
        let mut keys: Vec<_> = self
            .keys
            .iter()
            .filter(|(_, total)| total.count >= least)
            .map(|(key, total)| (key.as_str(), total))
            .collect();
        keys.sort_by(|(a, x), (b, y)| {
            let measure = |t: &KeyTotal| t.average().unwrap_or(t.count as f64);
            measure(y).total_cmp(&measure(x)).then_with(|| a.cmp(b))
        });
        keys.truncate(count);
        keys
    }
}

fn in_order(list: &[Ownership]) -> Vec<&Ownership> {
    let mut ordered: Vec<&Ownership> = list.iter().collect();
    ordered.sort_by_key(|o| o.from);
    ordered
}

#[cfg(test)]
mod tests {
    use super::super::event::Worked;
    use super::*;

    fn at(at: u64, what: What) -> MemberEvent {
        MemberEvent { at, what }
    }

    fn assigned(time: u64, partition: i32) -> MemberEvent {
        at(time, What::Assigned { partitions: vec![partition] })
    }

    fn revoked(time: u64, partition: i32) -> MemberEvent {
        at(time, What::Revoked { partitions: vec![partition] })
    }

    fn processed(time: u64, partition: i32, offsets: &[i64]) -> MemberEvent {
        let records = offsets.iter().map(|o| Worked(*o, format!("k{}", o % 2), Some(*o as f64)));
        at(time, What::Processed { partition, records: records.collect() })
    }

    #[test]
    fn a_lost_record_is_not_hidden_by_one_read_twice() {
        let mut ledger = Ledger::default();
        for offset in 0..4 {
            ledger.produced(0, offset);
        }
        ledger.apply("a", &assigned(1, 0));
        ledger.apply("a", &processed(2, 0, &[0, 1, 1, 2]));
        assert_eq!((ledger.lag(), ledger.reread(), ledger.processed_count()), (1, 1, 3));
    }

    #[test]
    fn a_move_is_unserved_from_the_old_owners_end_to_the_new_owners_first_record() {
        let mut ledger = Ledger::default();
        ledger.apply("a", &assigned(10, 0));
        ledger.apply("a", &processed(20, 0, &[0]));
        ledger.ended("a", 30);
        ledger.apply("b", &assigned(80, 0));
        ledger.apply("b", &processed(95, 0, &[1]));
        assert_eq!(
            ledger.moves(),
            [Move {
                partition: 0,
                from: "a".into(),
                to: "b".into(),
                at: 30,
                unserved_micros: Some(65)
            }]
        );
        assert_eq!(ledger.double_ownerships(), []);
    }

    #[test]
    fn two_owners_at_once_are_seen_whatever_the_order_of_arrival() {
        let mut ledger = Ledger::default();
        ledger.apply("b", &assigned(50, 3));
        ledger.apply("a", &assigned(10, 3));
        ledger.apply("a", &revoked(60, 3));
        assert_eq!(
            ledger.double_ownerships(),
            [DoubleOwnership { partition: 3, members: ["a".into(), "b".into()], micros: 10 }]
        );
    }

    #[test]
    fn a_hand_over_without_overlap_is_none() {
        let mut ledger = Ledger::default();
        ledger.apply("a", &assigned(10, 3));
        ledger.apply("a", &revoked(60, 3));
        ledger.apply("b", &assigned(60, 3));
        assert_eq!(ledger.double_ownerships(), []);
        assert_eq!((ledger.owned_by("a"), ledger.owned_by("b")), (vec![], vec![3]));
    }

    #[test]
    fn what_is_beyond_the_commit_is_uncommitted() {
        let mut ledger = Ledger::default();
        (0..3).for_each(|offset| ledger.produced(1, offset));
        assert_eq!(ledger.uncommitted(), 3);
        ledger.apply("a", &at(1, What::Committed { partition: 1, offset: 2 }));
        assert_eq!(ledger.uncommitted(), 1);
    }

    #[test]
    fn a_record_processed_after_revocation_is_outside_ownership() {
        let mut ledger = Ledger::default();
        ledger.apply("a", &assigned(10, 3));
        ledger.apply("a", &revoked(20, 3));
        ledger.apply("a", &processed(30, 3, &[7, 8]));
        assert_eq!(ledger.outside_ownership(), 2);
    }

    #[test]
    fn the_keys_with_the_highest_average_come_first() {
        let mut ledger = Ledger::default();
        ledger.apply("a", &assigned(0, 0));
        ledger.apply("a", &processed(1, 0, &[0, 1, 2, 3]));
        let top: Vec<_> =
            ledger.top_keys(5, 1).into_iter().map(|(k, t)| (k, t.average(), t.count)).collect();
        assert_eq!(top, [("k1", Some(2.0), 2), ("k0", Some(1.0), 2)]);
    }
}
