//! Rebalances in plain sentences.

use kohort_broker::group_events::{GroupEvent, HandoverEvent, MovedPartition, RebalanceEvent};

use super::member_id::{short, shortened};
use crate::datetime::rfc3339;

/// Tells one event in one line, or several for what moved.
pub(crate) fn tell(event: &GroupEvent) -> String {
    match event {
        GroupEvent::Rebalance(event) => rebalance(event),
        GroupEvent::Handover(event) => handover(event),
        _ => format!(
            "something happened to `{}` that this version knows nothing about",
            event.group()
        ),
    }
}

fn rebalance(event: &RebalanceEvent) -> String {
    let mut causes: Vec<String> = event.causes.iter().map(|cause| shortened(&cause.text)).collect();
    if event.omitted_causes > 0 {
        causes.push(format!("{} more", event.omitted_causes));
    }
    if causes.is_empty() && !event.continues {
        causes.push("it is not known why".to_owned());
    }
    if event.continues {
        causes.insert(0, "goes on".to_owned());
    }
    let (before, after) = (event.members_before.len(), event.members_after.len());
    let members = match (before, after) {
        (_, 0) => "the group is empty".to_owned(),
        (before, after) if before == after => format!("{} as before", members(after)),
        (before, after) => format!("{} after {before}", members(after)),
    };
    let counted = counted(&event.protocol);
    let mut text = format!(
        "{} {counted} {}: {}; {members}",
        rfc3339(event.ended_ms),
        event.generation,
        causes.join(", ")
    );
    if event.unfinished {
        text.push_str("; members are still on their way");
    } else if event.started_ms < event.ended_ms {
        text.push_str(&format!("; took {}", seconds(event.ended_ms - event.started_ms)));
        text.push_str(&slowest(event));
    }
    let moved = moves(&event.moved, event.omitted_moves);
    if !moved.is_empty() {
        text.push_str(&format!("; {moved}"));
    }
    text
}

/// Tells whom the others waited for, if it was anybody. In a consumer group nobody waits for a join.
fn slowest(event: &RebalanceEvent) -> String {
    let Some(slowest) = &event.slowest else { return String::new() };
    if event.members_before.len() + event.members_after.len() <= 2 {
        return String::new();
    }
    let member = short(&slowest.member);
    if event.protocol == "consumer" {
        return format!(", until {member} had what it was to have");
    }
    let waited = seconds(slowest.joined_ms - event.started_ms);
    if event.joined_ms > event.started_ms {
        format!(", {waited} of it until {member} had joined")
    } else {
        String::new()
    }
}

fn handover(event: &HandoverEvent) -> String {
    let mut parts = Vec::new();
    if let Some(slowest) = event.served.iter().max_by_key(|served| served.unserved_ms) {
        let count = partitions(event.served.len());
        let is = if event.served.len() == 1 { "is" } else { "are" };
        parts.push(format!(
            "{count} that moved {is} read again; {}:{} had been without a reader for {}",
            slowest.topic,
            slowest.partition,
            seconds(slowest.unserved_ms)
        ));
    }
    if let Some(first) = event.unserved.first() {
        let count = partitions(event.unserved.len());
        let to = first.to.as_deref().map_or_else(|| "nobody".to_owned(), short);
        parts.push(format!(
            "{count} that moved had not been read when this was told, first {}:{} of {to}",
            first.topic, first.partition
        ));
    }
    let counted = counted(&event.protocol);
    format!("{} {counted} {}: {}", rfc3339(event.at_ms), event.generation, parts.join("; "))
}

/// Returns what a group's assignments are counted by.
fn counted(protocol: &str) -> &'static str {
    if protocol == "consumer" { "epoch" } else { "generation" }
}

/// Tells moves by who gave to whom.
fn moves(moved: &[MovedPartition], omitted: usize) -> String {
    let mut ways: Vec<(Option<&str>, Option<&str>, usize)> = Vec::new();
    for partition in moved {
        let (from, to) = (partition.from.as_deref(), partition.to.as_deref());
        match ways.iter_mut().find(|way| (way.0, way.1) == (from, to)) {
            Some(way) => way.2 += 1,
            None => ways.push((from, to, 1)),
        }
    }
    let name = |id: Option<&str>| id.map_or_else(|| "nobody".to_owned(), short);
    let mut told: Vec<String> = ways
        .iter()
        .take(WAYS_MAX)
        .map(|(from, to, count)| match (from, to) {
            (None, Some(to)) => format!("{} new to {}", partitions(*count), short(to)),
            (from, to) => format!("{} from {} to {}", partitions(*count), name(*from), name(*to)),
        })
        .collect();
    let rest: usize = ways.iter().skip(WAYS_MAX).map(|way| way.2).sum::<usize>() + omitted;
    if rest > 0 {
        told.push(format!("{rest} more moved"));
    }
    told.join(", ")
}

/// More than that nobody reads in a line.
const WAYS_MAX: usize = 6;

fn partitions(count: usize) -> String {
    if count == 1 { "1 partition".to_owned() } else { format!("{count} partitions") }
}

/// Writes how many members there are.
pub(crate) fn members(count: usize) -> String {
    if count == 1 { "1 member".to_owned() } else { format!("{count} members") }
}

/// Writes a span of time as people say it.
pub(crate) fn seconds(ms: i64) -> String {
    match ms {
        ..1_000 => format!("{ms} ms"),
        1_000..60_000 => format!("{}.{} s", ms / 1_000, ms % 1_000 / 100),
        60_000..7_200_000 => format!("{} min {} s", ms / 60_000, ms % 60_000 / 1_000),
        _ => format!("{} h {} min", ms / 3_600_000, ms % 3_600_000 / 60_000),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use kohort_broker::group_events::{CauseEvent, SlowestMember};

    const A: &str = "a-2f1c9a00-0000-4000-8000-000000000000";
    const B: &str = "b-77777777-0000-4000-8000-000000000000";

    #[test]
    fn a_rebalance_is_told_in_a_sentence() {
        let moved = |partition| MovedPartition {
            topic: "t".to_owned(),
            partition,
            from: Some(B.to_owned()),
            to: Some(A.to_owned()),
            unserved_since_ms: None,
        };
        let event = RebalanceEvent {
            version: 1,
            group: "g".to_owned(),
            protocol: "classic".to_owned(),
            generation: 7,
            causes: vec![CauseEvent {
                at_ms: 500,
                what: "disconnected".to_owned(),
                member: Some(B.to_owned()),
                text: format!("member {B} closed its connection without leaving"),
            }],
            omitted_causes: 0,
            started_ms: 1_000,
            joined_ms: 1_520,
            ended_ms: 1_530,
            slowest: Some(SlowestMember { member: A.to_owned(), joined_ms: 1_520 }),
            members_before: vec![A.to_owned(), B.to_owned()],
            members_after: vec![A.to_owned()],
            leader: Some(A.to_owned()),
            moved: vec![moved(0), moved(1)],
            omitted_moves: 0,
            continues: false,
            unfinished: false,
            take_over: false,
        };
        assert_eq!(
            tell(&GroupEvent::Rebalance(event.clone())),
            "1970-01-01T00:00:01.530Z generation 7: member b-777777.. closed its connection without \
             leaving; 1 member after 2; took 530 ms, 520 ms of it until a-2f1c9a.. had joined; \
             2 partitions from b-777777.. to a-2f1c9a.."
        );
        // In a consumer group everybody is there from the start, and the last one to take a step is the slowest.
        let slowest = Some(SlowestMember { member: A.to_owned(), joined_ms: 1_530 });
        let event = RebalanceEvent { protocol: "consumer".to_owned(), slowest, ..event };
        let part = RebalanceEvent { slowest: None, unfinished: true, ..event.clone() };
        let rest = RebalanceEvent { causes: Vec::new(), continues: true, ..event.clone() };
        let end = "2 partitions from b-777777.. to a-2f1c9a..";
        let why = "member b-777777.. closed its connection without leaving; 1 member after 2";
        for (event, told) in [
            (event, format!("{why}; took 530 ms, until a-2f1c9a.. had what it was to have")),
            (part, format!("{why}; members are still on their way")),
            (
                rest,
                "goes on; 1 member after 2; took 530 ms, until a-2f1c9a.. had what it was to have"
                    .to_owned(),
            ),
        ] {
            assert_eq!(
                tell(&GroupEvent::Rebalance(event)),
                format!("1970-01-01T00:00:01.530Z epoch 7: {told}; {end}")
            );
        }
    }

    #[test]
    fn a_handover_counts_as_its_rebalance_does() {
        let served = kohort_broker::group_events::ServedPartition {
            topic: "t".to_owned(),
            partition: 1,
            from: Some(B.to_owned()),
            to: Some(A.to_owned()),
            unserved_ms: 158,
        };
        let event = |protocol: &str| HandoverEvent {
            version: 1,
            group: "g".to_owned(),
            protocol: protocol.to_owned(),
            generation: 5,
            at_ms: 1_000,
            served: vec![served.clone()],
            unserved: Vec::new(),
        };
        let told = "1 partition that moved is read again; t:1 had been without a reader for 158 ms";
        for (protocol, counted) in [("consumer", "epoch 5"), ("classic", "generation 5")] {
            assert_eq!(
                tell(&GroupEvent::Handover(event(protocol))),
                format!("1970-01-01T00:00:01.000Z {counted}: {told}")
            );
        }
    }

    #[test]
    fn spans_are_written_as_people_say_them() {
        assert_eq!(seconds(999), "999 ms");
        assert_eq!(seconds(12_340), "12.3 s");
        assert_eq!(seconds(61_000), "1 min 1 s");
        assert_eq!(seconds(7_260_000), "2 h 1 min");
    }
}
