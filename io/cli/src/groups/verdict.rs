//! How a group is doing, told from what it committed: Burrow's rules, which need no thresholds.
//!
//! Of each partition there is a window of the last commits, each with the lag it had then. A partition
//! without lag is fine, whatever it did, and so is one whose lag is no record that could be read: it was
//! deleted, or is the mark of a transaction. Of one that has lag:
//!
//! | verdict | when |
//! |---|---|
//! | STOPPED | nothing was committed for longer than the window spans, and the oldest unread record is older than a minute |
//! | REWIND | a commit went back, and the window has not caught up with where it was |
//! | STALLED | it commits, and always the same offset |
//! | WARN | it moves on, and its lag has not become less between any two commits |
//! | OK | otherwise |
//!
//! The group has the worst of them, but NO MEMBERS, when it is empty, explains all. FLAPPING, when it rebalances
//! again and again, is told besides: it may explain the other, or hide it. Each comes with a sentence that says what it was seen
//! by. Burrow: `core/internal/evaluator/caching.go`.

use std::fmt;

use super::story::seconds;

/// How many commits of a partition are looked at: Burrow's `intervals`.
pub(crate) const WINDOW: usize = 10;

/// Commits that were made longer before the last one say nothing of its pace: the group was away meanwhile,
/// or had nothing to do.
pub(crate) const WINDOW_MS: i64 = 10 * 60_000;

/// With fewer commits than that, nothing is said about how lag develops.
const COMMITS_FOR_A_TREND: usize = 3;

/// Silence that is shorter says nothing: clients commit every five seconds, and some every thirty.
const SILENCE_MS_MIN: i64 = 60_000;

/// As many rebalances within [`FLAPPING_WITHIN_MS`] are too many.
const FLAPPING: usize = 3;
pub(crate) const FLAPPING_WITHIN_MS: i64 = 5 * 60_000;

/// How a partition or a group is doing, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Verdict {
    Ok,
    Warn,
    Rewind,
    Stalled,
    Stopped,
    Flapping,
    NoMembers,
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Ok => "OK",
            Self::Warn => "WARN",
            Self::Rewind => "REWIND",
            Self::Stalled => "STALLED",
            Self::Stopped => "STOPPED",
            Self::Flapping => "FLAPPING",
            Self::NoMembers => "NO MEMBERS",
        })
    }
}

/// One commit of a partition.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Commit {
    pub(crate) at_ms: i64,
    pub(crate) offset: i64,
    /// How many records were ahead then, if that can be told.
    pub(crate) lag: Option<i64>,
}

/// What is there to be read ahead of what is committed. Lag is a difference of offsets, and not every
/// offset has a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Waiting {
    /// Nobody looked, or there was no answer in time. All of the lag counts as records, and as old.
    #[default]
    Unknown,
    /// No record: what is ahead was deleted, compacted away or aborted, or marks the end of transactions.
    Nothing,
    /// No record that a reader of committed data may be given: a transaction has not ended.
    Held,
    /// Records, the oldest of which has this age in milliseconds.
    Records(i64),
}

/// What is known of one partition.
#[derive(Debug, Clone, Default)]
pub(crate) struct PartitionFacts {
    /// `topic:3`.
    pub(crate) name: String,
    /// The last commits, oldest first; at most [`WINDOW`] within [`WINDOW_MS`].
    pub(crate) commits: Vec<Commit>,
    /// Offsets ahead of what is committed, without those whose records were deleted; `None` if nothing is
    /// committed.
    pub(crate) lag: Option<i64>,
    /// What is to be read there.
    pub(crate) waiting: Waiting,
}

/// What is known of a group.
#[derive(Debug, Clone, Default)]
pub(crate) struct GroupFacts {
    pub(crate) now_ms: i64,
    pub(crate) members: usize,
    /// When a group that never had a member committed last, if that is known: whoever is assigned partitions by
    /// hand does.
    pub(crate) committed_alone_ms: Option<i64>,
    /// Since when every commit is known; `None` if commits cannot be known.
    pub(crate) commits_since_ms: Option<i64>,
    /// When it rebalanced as told by [`unsettles`](super::unrest::unsettles), as far back as is known.
    pub(crate) rebalances_ms: Vec<i64>,
    pub(crate) partitions: Vec<PartitionFacts>,
}

/// A verdict and what it was seen by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Judgement {
    pub(crate) verdict: Verdict,
    /// A sentence; empty if all is well.
    pub(crate) evidence: String,
}

/// Judges a group: returns what is to be said of it, of which there is always something.
pub(crate) fn judge(facts: &GroupFacts) -> Vec<Judgement> {
    let mut judged = Vec::new();
    if facts.members == 0 {
        judged.push(Judgement { verdict: Verdict::NoMembers, evidence: nobody_reads(facts) });
    }
    let recent = |at: &&i64| facts.now_ms - **at <= FLAPPING_WITHIN_MS;
    let rebalances = facts.rebalances_ms.iter().filter(recent).count();
    if rebalances >= FLAPPING {
        let minutes = FLAPPING_WITHIN_MS / 60_000;
        let evidence = format!("{rebalances} rebalances in the last {minutes} minutes");
        judged.push(Judgement { verdict: Verdict::Flapping, evidence });
    }
    if facts.members == 0 {
        return judged;
    }
    let partitions = facts.partitions.iter();
    let partitions = partitions.map(|partition| judge_partition(facts, partition));
    // Of equals the first is shown that says something.
    let rank = |judgement: &Judgement| (judgement.verdict, !judgement.evidence.is_empty());
    let worst = partitions.rev().max_by_key(rank);
    let worst = worst.unwrap_or(Judgement { verdict: Verdict::Ok, evidence: String::new() });
    if judged.is_empty() || worst.verdict != Verdict::Ok {
        judged.push(worst);
    }
    judged
}

fn nobody_reads(facts: &GroupFacts) -> String {
    if facts.partitions.is_empty() {
        return "nobody is in the group, and nothing is committed".to_owned();
    }
    let there = |it: &&PartitionFacts| it.waiting != Waiting::Nothing;
    let lag: i64 = facts.partitions.iter().filter(there).filter_map(|it| it.lag).sum();
    let commits = facts.committed_alone_ms.map_or_else(String::new, |at_ms| {
        let ago = seconds((facts.now_ms - at_ms).max(0));
        format!("; offsets are committed without members, the last time {ago} ago")
    });
    format!("nobody is in the group, and {lag} records wait{commits}")
}

/// Judges one partition of a group.
pub(crate) fn judge_partition(group: &GroupFacts, facts: &PartitionFacts) -> Judgement {
    let (verdict, evidence) = rule(group, facts);
    let evidence =
        if evidence.is_empty() { evidence } else { format!("{} {evidence}", facts.name) };
    Judgement { verdict, evidence }
}

fn rule(group: &GroupFacts, facts: &PartitionFacts) -> (Verdict, String) {
    let lag = facts.lag.unwrap_or(0);
    let age_ms = match facts.waiting {
        Waiting::Nothing => {
            let evidence = "has nothing left to read: its lag is what was deleted, compacted away or \
                            aborted, and the marks of transactions";
            return (Verdict::Ok, evidence.to_owned());
        }
        Waiting::Held => {
            let evidence = "has read all it may: what is ahead waits for a transaction to end";
            return (Verdict::Ok, evidence.to_owned());
        }
        _ if lag <= 0 => return (Verdict::Ok, String::new()),
        Waiting::Records(age_ms) => Some(age_ms),
        Waiting::Unknown => None,
    };
    // Records that came just now are not late, however long ago the last commit was.
    let is_late = age_ms.is_none_or(|age_ms| age_ms > SILENCE_MS_MIN);
    let (Some(first), Some(last)) = (facts.commits.first(), facts.commits.last()) else {
        // What is committed was committed before all that is known.
        let silent_ms = group.commits_since_ms.map_or(0, |since_ms| group.now_ms - since_ms);
        if silent_ms > SILENCE_MS_MIN && is_late {
            let silent = seconds(silent_ms);
            let evidence =
                format!("has committed nothing for more than {silent}, and {lag} records wait");
            return (Verdict::Stopped, evidence);
        }
        return (Verdict::Ok, String::new());
    };
    let silent_ms = group.now_ms - last.at_ms;
    let span_ms = (last.at_ms - first.at_ms).max(SILENCE_MS_MIN);
    if silent_ms > span_ms && is_late {
        let evidence =
            format!("has committed nothing for {}, and {lag} records wait", seconds(silent_ms));
        return (Verdict::Stopped, evidence);
    }
    let mut furthest = first.offset;
    for commit in &facts.commits {
        furthest = furthest.max(commit.offset);
    }
    let went_back = facts.commits.windows(2).any(|pair| pair[1].offset < pair[0].offset);
    if went_back && last.offset < furthest {
        let evidence = format!("went back from offset {furthest} and is at {}", last.offset);
        return (Verdict::Rewind, evidence);
    }
    // Where transactions are written, the lag of who has read everything is their last mark. That all
    // that waits came after the last commit tells the same.
    let caught_up = age_ms.is_some_and(|age_ms| age_ms < silent_ms);
    if caught_up || facts.commits.iter().any(|commit| commit.lag.is_some_and(|lag| lag <= 0)) {
        return (Verdict::Ok, String::new());
    }
    let count = facts.commits.len();
    if count < COMMITS_FOR_A_TREND {
        return (Verdict::Ok, String::new());
    }
    if facts.commits.iter().all(|commit| commit.offset == first.offset) {
        let evidence = format!(
            "has committed offset {} {count} times over, and {lag} records wait",
            first.offset
        );
        return (Verdict::Stalled, evidence);
    }
    let lags: Option<Vec<i64>> = facts.commits.iter().map(|commit| commit.lag).collect();
    if lags.is_some_and(|lags| lags.windows(2).all(|pair| pair[1] >= pair[0])) {
        let evidence = format!(
            "moves on, but its lag of {lag} has not become less in the last {count} commits"
        );
        return (Verdict::Warn, evidence);
    }
    (Verdict::Ok, String::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_000_000;

    /// Judges a partition of a group whose commits are known for 647 seconds back.
    fn judged(facts: &PartitionFacts) -> Judgement {
        let since_ms = Some(NOW - 647_000);
        let group = GroupFacts { now_ms: NOW, commits_since_ms: since_ms, ..GroupFacts::default() };
        judge_partition(&group, facts)
    }

    /// Commits ten seconds apart, the last one five seconds ago: (offset, lag).
    fn facts(commits: &[(i64, i64)], lag: i64) -> PartitionFacts {
        let count = commits.len() as i64;
        let commit = |(number, (offset, lag)): (i64, &(i64, i64))| Commit {
            at_ms: NOW - 5_000 - (count - 1 - number) * 10_000,
            offset: *offset,
            lag: Some(*lag),
        };
        PartitionFacts {
            name: "t:0".to_owned(),
            commits: (0..).zip(commits).map(commit).collect(),
            lag: Some(lag),
            waiting: Waiting::Records(120_000),
        }
    }

    #[test]
    fn each_rule_by_its_window() {
        use Verdict::{Ok, Rewind, Stalled, Stopped, Warn};
        let silent = |mut facts: PartitionFacts, for_ms: i64| {
            for commit in &mut facts.commits {
                commit.at_ms -= for_ms;
            }
            facts
        };
        let fresh = |mut facts: PartitionFacts| {
            facts.waiting = Waiting::Records(10);
            facts
        };
        let cases = [
            ("no lag", facts(&[(1, 9), (1, 9), (1, 9)], 0), Ok),
            ("no commit is known", facts(&[], 7), Stopped),
            ("no commit is known, what waits is new", fresh(facts(&[], 7)), Ok),
            ("no commit is known, and no lag", facts(&[], 0), Ok),
            ("nothing committed", PartitionFacts { lag: None, ..facts(&[], 0) }, Ok),
            ("moving, lag shrinks once", facts(&[(1, 9), (5, 7), (9, 8)], 8), Ok),
            ("moving, lag grows", facts(&[(1, 7), (5, 8), (9, 9)], 9), Warn),
            ("moving, lag stays", facts(&[(1, 9), (5, 9), (9, 9)], 9), Warn),
            ("caught up within the window", facts(&[(1, 7), (5, 0), (9, 9)], 9), Ok),
            ("the same again and again", facts(&[(5, 7), (5, 8), (5, 9)], 9), Stalled),
            ("twice is no trend", facts(&[(5, 7), (5, 8)], 9), Ok),
            ("went back", facts(&[(9, 1), (2, 8), (3, 7)], 9), Rewind),
            ("went back and caught up", facts(&[(5, 5), (2, 8), (9, 1)], 1), Ok),
            ("silent", silent(facts(&[(1, 7), (5, 8)], 9), 90_000), Stopped),
            ("silent for less than a minute", silent(facts(&[(1, 7), (5, 8)], 9), 40_000), Ok),
            ("silent, what waits is new", fresh(silent(facts(&[(1, 7)], 9), 90_000)), Ok),
            ("silent for less than its window", silent(facts(&[(1, 0); 10], 9), 80_000), Ok),
        ];
        for (name, facts, verdict) in cases {
            assert_eq!(judged(&facts).verdict, verdict, "{name}");
        }
    }

    #[test]
    fn evidence_is_a_sentence_with_the_facts() {
        let told = judged(&facts(&[(5, 7), (5, 8), (5, 9)], 9));
        assert_eq!(told.evidence, "t:0 has committed offset 5 3 times over, and 9 records wait");
        let told = judged(&facts(&[(9, 1), (2, 8), (3, 7)], 9));
        assert_eq!(told.evidence, "t:0 went back from offset 9 and is at 3");
    }

    fn said(judgement: Judgement) -> String {
        format!("{}: {}", judgement.verdict, judgement.evidence)
    }

    #[test]
    fn a_group_that_stopped_stays_so_when_its_last_commit_is_older_than_what_is_known() {
        let mut partition = facts(&[(10, 90)], 90);
        partition.commits[0].at_ms = NOW - 585_000;
        let stopped = "STOPPED: t:0 has committed nothing for 9 min 45 s, and 90 records wait";
        assert_eq!(said(judged(&partition)), stopped);
        partition.commits.clear();
        let stopped =
            "STOPPED: t:0 has committed nothing for more than 10 min 47 s, and 90 records wait";
        assert_eq!(said(judged(&partition)), stopped);
        // Where commits cannot be read, nothing is known of them.
        let group = GroupFacts { now_ms: NOW, ..GroupFacts::default() };
        assert_eq!(said(judge_partition(&group, &partition)), "OK: ");
    }

    #[test]
    fn lag_that_is_no_record_to_be_read_is_told_and_is_no_fault() {
        let waits = |waiting: Waiting, lag: i64| {
            let mut partition = facts(&[(10, 90)], lag);
            partition.commits[0].at_ms = NOW - 585_000;
            said(judged(&PartitionFacts { waiting, ..partition }))
        };
        let nothing = "OK: t:0 has nothing left to read: its lag is what was deleted, compacted away or \
                       aborted, and the marks of transactions";
        assert_eq!(waits(Waiting::Nothing, 0), nothing, "all of it was deleted");
        assert_eq!(waits(Waiting::Nothing, 1), nothing, "the mark of a transaction");
        let held = "OK: t:0 has read all it may: what is ahead waits for a transaction to end";
        assert_eq!(waits(Waiting::Held, 5), held);
        let stopped = "STOPPED: t:0 has committed nothing for 9 min 45 s, and 5 records wait";
        assert_eq!(waits(Waiting::Records(400_000), 5), stopped);
        assert_eq!(waits(Waiting::Unknown, 5), stopped, "it may be as old as it looks");
    }

    #[test]
    fn who_reads_transactions_to_their_last_mark_does_not_fall_behind() {
        // Of each transaction the mark stays ahead of what is committed, and another came since.
        let mut partition = facts(&[(1, 1), (5, 1), (9, 1)], 3);
        partition.waiting = Waiting::Records(4_000);
        assert_eq!(said(judged(&partition)), "OK: ");
        partition.waiting = Waiting::Records(6_000);
        let warned =
            "WARN: t:0 moves on, but its lag of 3 has not become less in the last 3 commits";
        assert_eq!(said(judged(&partition)), warned, "it was there at the last commit");
    }

    #[test]
    fn a_partition_that_is_paused_has_stopped_and_the_others_have_not() {
        let mut paused = facts(&[(4, 5)], 9);
        paused.commits[0].at_ms = NOW - 100_000;
        paused.name = "t:1".to_owned();
        let group = GroupFacts {
            now_ms: NOW,
            members: 1,
            partitions: vec![facts(&[(1, 9), (5, 7), (9, 8)], 8), paused],
            ..GroupFacts::default()
        };
        let told: Vec<String> = judge(&group).into_iter().map(said).collect();
        let stopped = "STOPPED: t:1 has committed nothing for 1 min 40 s, and 9 records wait";
        assert_eq!(told, [stopped]);
    }

    #[test]
    fn of_a_group_without_commits_or_whose_topics_are_gone_nothing_is_held_against_it() {
        let mut group = GroupFacts { now_ms: NOW, members: 1, ..GroupFacts::default() };
        let told =
            |group: &GroupFacts| -> Vec<String> { judge(group).into_iter().map(said).collect() };
        assert_eq!(told(&group), ["OK: "]);
        // Of several partitions that are fine, one that has something to say is heard.
        let deleted = PartitionFacts { waiting: Waiting::Nothing, ..facts(&[], 0) };
        group.partitions = vec![facts(&[(9, 0)], 0), deleted];
        assert!(told(&group)[0].starts_with("OK: t:0 has nothing left to read"));
        group.members = 0;
        group.partitions[1].lag = Some(1);
        assert_eq!(told(&group), ["NO MEMBERS: nobody is in the group, and 0 records wait"]);
        group.committed_alone_ms = Some(NOW - 3_000);
        let by_hand = "NO MEMBERS: nobody is in the group, and 0 records wait; offsets are committed without \
                       members, the last time 3.0 s ago";
        assert_eq!(told(&group), [by_hand]);
    }

    #[test]
    fn a_group_has_the_worst_of_its_partitions_unless_something_explains_it() {
        let stalled = facts(&[(5, 7), (5, 8), (5, 9)], 9);
        let warned = facts(&[(1, 7), (5, 8), (9, 9)], 9);
        let mut group = GroupFacts {
            now_ms: NOW,
            members: 2,
            partitions: vec![warned, stalled],
            rebalances_ms: vec![NOW - 400_000, NOW - 200_000, NOW - 100_000],
            ..GroupFacts::default()
        };
        let verdicts = |group: &GroupFacts| -> Vec<Verdict> {
            judge(group).iter().map(|judgement| judgement.verdict).collect()
        };
        assert_eq!(verdicts(&group), [Verdict::Stalled]);
        let mut other = group.partitions[1].clone();
        other.name = "t:9".to_owned();
        group.partitions.push(other);
        let told = judge(&group).remove(0).evidence;
        assert!(told.starts_with("t:0 has committed offset 5"), "of equals the first: {told}");
        group.partitions.pop();
        group.rebalances_ms.push(NOW);
        assert_eq!(verdicts(&group), [Verdict::Flapping, Verdict::Stalled]);
        assert_eq!(judge(&group)[0].evidence, "3 rebalances in the last 5 minutes");
        let partitions = std::mem::take(&mut group.partitions);
        assert_eq!(verdicts(&group), [Verdict::Flapping]);
        group = GroupFacts { members: 0, partitions, ..group };
        assert_eq!(judge(&group)[0].evidence, "nobody is in the group, and 18 records wait");
        assert_eq!(verdicts(&group), [Verdict::NoMembers, Verdict::Flapping]);
        group.partitions.clear();
        group.rebalances_ms.clear();
        assert_eq!(verdicts(&group), [Verdict::NoMembers]);
        group.members = 1;
        assert_eq!(verdicts(&group), [Verdict::Ok]);
    }
}
