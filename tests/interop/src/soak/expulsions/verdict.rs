//! What was found, and whether all was well.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use serde_json::json;

use super::audit::DOOMED;
use super::{FEED, Run};
use crate::hub::Hub;
use crate::ledger::Ledger;

impl Run {
    pub(super) fn audit(&mut self) -> Result<()> {
        let before = self.audit.found.len();
        // Its connections are ended by the broker as others are.
        let _ = self.audit.describe(&self.expected());
        self.audit.take_in()?;
        for found in &self.audit.found[before..] {
            self.tell_with_what_was_done(&format!("EXPELLED {found}"));
        }
        let (_, wrong) = self.proxy.told();
        for text in wrong.iter().skip(std::mem::replace(&mut self.told_wrong, wrong.len())) {
            self.tell_with_what_was_done(&format!("TOLD WRONG {text}"));
        }
        let back = |(group, ledger): (&String, &Ledger)| {
            Some((group.clone(), ledger.went_back.first()?.clone()))
        };
        let back: Vec<(String, String)> = self.hub.ledgers.iter().filter_map(back).collect();
        for (group, first) in back {
            let found = format!("WENT BACK {group}: {first}, to begin with");
            if self.went_back.insert(group) {
                self.tell_with_what_was_done(&found);
            }
        }
        Ok(())
    }

    pub(super) fn tell_with_what_was_done(&self, found: &str) {
        println!("{:6.1} min: {found}", self.minutes());
        for (at, what) in &self.recent {
            println!("             at {at}: {what}");
        }
    }

    pub(super) fn report(&self) {
        let acked = self.hub.loads.get(FEED).map_or(0, |load| load.acked.len());
        let again: usize = self.hub.ledgers.values().map(|ledger| ledger.again).sum();
        let back: usize = self.hub.ledgers.values().map(|ledger| ledger.went_back.len()).sum();
        let (told, wrong) = self.proxy.told();
        println!(
            "{:6.1} min: {acked} records; {} rebalances; read again {again}, of these committed {back}; \
             offsets told {told}, of these wrong {}; expelled {}; leaves not heard {}; {}",
            self.minutes(),
            self.audit.rebalances,
            wrong.len(),
            self.audit.found.len(),
            self.audit.lost_leaves,
            counted(&self.counts),
        );
    }

    /// Has everybody read to the end, and tells what was wrong.
    pub(super) fn end(&mut self) -> Result<bool> {
        self.resume_if_due(true)?;
        self.hub.call(self.feeder, json!({ "cmd": "load.stop", "load": FEED }))?;
        let written = self.hub.loads.entry(FEED.to_owned()).or_default().acked.clone();
        let lacking = |hub: &Hub| {
            let lacks = |(group, ledger): (&String, &Ledger)| {
                let (partition, offset) = ledger.lacks(&written)?;
                Some(format!("{group} lacks {partition} @{offset}"))
            };
            hub.ledgers.iter().find_map(lacks)
        };
        let read = self.hub.wait("all is read", READ_PATIENCE, |hub| lacking(hub).is_none());
        let mut wrong: Vec<String> = lacking(&self.hub).into_iter().collect();
        if read.is_err() {
            println!("{:?}", self.hub);
        }
        self.audit()?;
        self.report();
        for (group, ledger) in &self.hub.ledgers {
            wrong.extend(ledger.went_back.iter().map(|text| format!("{group}: {text}")));
        }
        let problems = self.hub.loads.values().flat_map(|load| &load.problems);
        wrong.extend(problems.map(|problem| format!("the feed: {problem}")));
        for (name, member) in &self.hub.members {
            let doomed = name.starts_with(DOOMED);
            if member.losses > 0 && !doomed {
                println!("{name} was told {} times that its partitions are lost", member.losses);
            }
            let failed = member.problems.iter().filter(|it| it.contains("\"failed\"") && !doomed);
            wrong.extend(failed.map(|problem| format!("{name}: {problem}")));
        }
        wrong.extend(self.proxy.told().1.iter().map(|text| format!("told wrong: {text}")));
        wrong.extend(self.audit.found.iter().map(|found| format!("expelled: {found}")));
        if self.stuck > 0 {
            wrong.push(format!("groups did not come to rest, {} times", self.stuck));
        }
        for text in &wrong {
            println!("WRONG: {text}");
        }
        println!(
            "{} records read by {} groups, {} rebalances, {} expelled: {}",
            written.len(),
            self.hub.ledgers.len(),
            self.audit.rebalances,
            self.audit.found.len(),
            if wrong.is_empty() { "passed" } else { "FAILED" },
        );
        Ok(wrong.is_empty())
    }
}

fn counted(counts: &BTreeMap<String, usize>) -> String {
    let counts: Vec<String> =
        counts.iter().map(|(what, count)| format!("{count} {what}")).collect();
    counts.join(", ")
}

const READ_PATIENCE: Duration = Duration::from_secs(120);
