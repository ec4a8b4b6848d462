//! The demo's last words: what was checked, and whether it holds.

use crate::output::thousands;

use super::ledger::Ledger;

/// How the demo ended.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Verdict {
    /// What does not hold, in words; empty when all does.
    pub(crate) broken: Vec<String>,
}

/// Compares what was produced with what was processed and with what the broker holds as committed.
pub(crate) fn judge(ledger: &Ledger, expected: u64, group_lag: Option<i64>) -> Verdict {
    let mut broken = Vec::new();
    let mut must_be_zero = |count: u64, what: &str| {
        if count > 0 {
            broken.push(format!("{} {what}", thousands(count)));
        }
    };
    must_be_zero(expected - ledger.produced_count().min(expected), "records were not acknowledged");
    must_be_zero(ledger.lag(), "acknowledged records were never processed");
    must_be_zero(ledger.unknown(), "processed records were never produced");
    must_be_zero(
        ledger.double_ownerships().len() as u64,
        "times a partition was owned by two members at once",
    );
    must_be_zero(
        ledger.outside_ownership(),
        "records were processed without owning their partition",
    );
    match group_lag {
        Some(0) => {}
        Some(lag) => broken.push(format!("the broker still holds a lag of {lag} for the group")),
        None => broken.push("the broker holds no committed offset for some partition".to_owned()),
    }
    Verdict { broken }
}

/// Names what is measured per key.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// What a key is, in the plural: `airports`.
    pub(crate) keys: String,
    /// What is averaged, with its unit: `average delay in minutes`.
    pub(crate) measure: String,
}

/// Writes the summary.
pub(crate) fn summary(ledger: &Ledger, verdict: &Verdict, subject: &Subject) -> String {
    let doubles = ledger.double_ownerships();
    let longest = ledger.moves().iter().filter_map(|m| m.unserved_micros).max();
    let rows = [
        ("records produced", thousands(ledger.produced_count()), "acknowledged, so on disk"),
        ("processed", thousands(ledger.processed_count()), "different records"),
        ("re-read after the crash", thousands(ledger.reread()), "processed but not yet committed"),
        ("lost", thousands(ledger.lag()), "sets of (partition, offset) compared"),
        ("owned by two at once", thousands(doubles.len() as u64), "partitions, at any time"),
    ];
    let mut out = String::from("\n");
    for (name, count, note) in rows {
        out.push_str(&format!("  {name:<26}{count:>8}   {note}\n"));
    }
    if let Some(longest) = longest {
        let seconds = longest as f64 / 1e6;
        out.push_str(&format!(
            "  longest unserved          {seconds:>7.1} s   a partition without an owner at work\n"
        ));
    }
    let least = (ledger.processed_count() / 1000).max(1);
    let top = ledger.top_keys(10, least);
    out.push_str(&format!(
        "\n  the ten {} with the highest {} (of at least {least} records)\n",
        subject.keys, subject.measure
    ));
    for (key, total) in top {
        let average = total.average().map_or_else(|| "-".to_owned(), |a| format!("{a:.1}"));
        out.push_str(&format!("  {key:<26}{average:>8}   {} records\n", thousands(total.count)));
    }
    for double in &doubles {
        out.push_str(&format!(
            "\n  partition {} was owned by {} and {} at once for {} µs",
            double.partition, double.members[0], double.members[1], double.micros
        ));
    }
    out.push_str(&if verdict.broken.is_empty() {
        "\n  the check holds: nothing lost, nothing owned twice\n".to_owned()
    } else {
        format!("\n  THE CHECK FAILS: {}\n", verdict.broken.join("; "))
    });
    out
}

#[cfg(test)]
mod tests {
    use super::super::event::{MemberEvent, What, Worked};
    use super::*;

    fn ledger(offsets: &[i64]) -> Ledger {
        let mut ledger = Ledger::default();
        ledger.produced(0, 0);
        ledger.produced(0, 1);
        ledger.apply("a", &MemberEvent { at: 1, what: What::Assigned { partitions: vec![0] } });
        let records = offsets.iter().map(|o| Worked(*o, "DFW".into(), Some(3.0))).collect();
        ledger.apply("a", &MemberEvent { at: 2, what: What::Processed { partition: 0, records } });
        ledger
    }

    #[test]
    fn the_check_holds_only_when_every_set_is_equal_and_committed() {
        assert_eq!(judge(&ledger(&[0, 1]), 2, Some(0)).broken, Vec::<String>::new());
        assert_eq!(
            judge(&ledger(&[0, 0]), 3, Some(1)).broken,
            [
                "1 records were not acknowledged",
                "1 acknowledged records were never processed",
                "the broker still holds a lag of 1 for the group",
            ]
        );
        assert_eq!(
            judge(&ledger(&[0, 1, 2]), 2, None).broken,
            [
                "1 processed records were never produced",
                "the broker holds no committed offset for some partition",
            ]
        );
    }
}
