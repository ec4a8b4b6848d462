//! Rebalances in plain sentences.

use kohort_broker::group_events::{
    GroupEvent, HandoverEvent, MovedPartition, RebalanceEvent, RevocationEvent,
};

use super::member_id::Names;
use crate::datetime::rfc3339;

/// Tells one event in one line, or several for what moved.
pub(crate) fn tell(event: &GroupEvent) -> String {
    tell_last(event, false)
}

/// Tells the last event of a group in the same way. If the group is stable by now, whatever was going on has
/// ended, also where nobody could tell of that: the broker may have been started anew meanwhile.
pub(crate) fn tell_last(event: &GroupEvent, is_stable: bool) -> String {
    match event {
        GroupEvent::Rebalance(event) => rebalance(event, is_stable),
        GroupEvent::Handover(event) => handover(event),
        _ => format!(
            "something happened to `{}` that this version knows nothing about",
            event.group()
        ),
    }
}

/// Returns the last event of a group for programs: by the same rule nothing follows it in a stable group.
pub(crate) fn last_event(event: &GroupEvent, is_stable: bool) -> GroupEvent {
    let mut event = event.clone();
    if let GroupEvent::Rebalance(rebalance) = &mut event {
        rebalance.unfinished &= !is_stable;
    }
    event
}

fn rebalance(event: &RebalanceEvent, is_stable: bool) -> String {
    let names = Names::new(&event.members);
    let mut causes: Vec<String> =
        event.causes.iter().map(|cause| names.in_text(&cause.text)).collect();
    if event.omitted_causes > 0 {
        causes.push(format!("{} more", event.omitted_causes));
    }
    if causes.is_empty() && !event.continues {
        causes.push("it is not known why".to_owned());
    }
    if event.continues {
        causes.insert(0, "goes on".to_owned());
    }
    let before = event.members_before.len() + event.omitted_before;
    let after = event.members_after.len() + event.omitted_after;
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
    if event.unfinished && is_stable {
        text.push_str("; members were still on their way then, and have arrived since");
    } else if event.unfinished {
        text.push_str("; members are still on their way");
        text.push_str(&still_revoking(event, &names));
    } else if event.started_ms < event.ended_ms {
        text.push_str(&format!("; took {}", seconds(event.ended_ms - event.started_ms)));
        text.push_str(&slowest(event, &names));
    }
    text.push_str(&revoking(event, &names));
    let moved = moves(&event.moved, event.omitted_moves, &names);
    if !moved.is_empty() {
        text.push_str(&format!("; {moved}"));
    }
    text
}

/// Tells whom the others waited for, if it was anybody, and not to let go of something: that is told apart. In the
/// consumer protocol nobody waits for a join.
fn slowest(event: &RebalanceEvent, names: &Names) -> String {
    let Some(slowest) = &event.slowest else { return String::new() };
    if event.members_before.len() + event.members_after.len() <= 2 {
        return String::new();
    }
    let member = names.of(&slowest.member);
    let waited = |since_ms: i64| seconds(slowest.joined_ms - since_ms);
    let since_ms = slowest.since_ms.unwrap_or(event.started_ms);
    match (slowest.delay.as_str(), event.protocol.as_str()) {
        ("revoking", _) => String::new(),
        ("", "consumer") => format!(", until {member} had what it was to have"),
        ("learning", _) => {
            format!(", {} of it until {member} had what it was to have", waited(since_ms))
        }
        ("assigning", _) => {
            format!(", {} of it until {member} had made the assignment", waited(since_ms))
        }
        _ if event.joined_ms > event.started_ms => {
            format!(", {} of it until {member} had joined", waited(event.started_ms))
        }
        _ => String::new(),
    }
}

/// Tells how long members took to give up what others were to have, and who took longest.
fn revoking(event: &RebalanceEvent, names: &Names) -> String {
    let (Some(first), Some(last)) = (event.revoking_ms, event.revoked_ms) else {
        return String::new();
    };
    let mut done =
        event.revocations.iter().filter_map(|it| Some((it, it.revoked_ms? - it.asked_ms)));
    let (Some((longest, ms)), true) = (done.next(), last > first) else { return String::new() };
    let before = if last <= event.started_ms { " before it" } else { "" };
    let whole = seconds(last - first);
    let of_it = if ms == last - first { String::new() } else { format!("{} of it ", seconds(ms)) };
    let member = names.of(&longest.member);
    let is_there = event.omitted_after > 0 || event.members_after.contains(&longest.member);
    let end =
        if is_there { format!("had let go of {}", places(longest)) } else { "was gone".to_owned() };
    format!("; revoking{before} took {whole}, {of_it}until {member} {end}")
}

/// Tells who has not yet given up what others are to have, first of all.
fn still_revoking(event: &RebalanceEvent, names: &Names) -> String {
    let waiting = event.revocations.iter().find(|it| it.revoked_ms.is_none());
    waiting.map_or_else(String::new, |waiting| {
        let ms = event.ended_ms - waiting.asked_ms;
        let (member, places) = (names.of(&waiting.member), places(waiting));
        format!(": {member} was told {} ago to let go of {places}", seconds(ms))
    })
}

/// Writes what a member was to give up: the first of it, and how much more.
fn places(revocation: &RevocationEvent) -> String {
    let count = revocation.partitions.len() + revocation.omitted_partitions;
    match revocation.partitions.first() {
        None => partitions(count),
        Some(first) if count == 1 => format!("{}:{}", first.topic, first.partition),
        Some(first) => format!("{}:{} and {} more", first.topic, first.partition, count - 1),
    }
}

fn handover(event: &HandoverEvent) -> String {
    let names = Names::new(&event.members);
    let mut parts = Vec::new();
    if let Some(slowest) = event.served.iter().max_by_key(|served| served.unserved_ms) {
        let served = event.served.len() + event.omitted_served;
        let count = partitions(served);
        let is = if served == 1 { "is" } else { "are" };
        parts.push(format!(
            "{count} that moved {is} read again; {}:{} had been without a reader for {}",
            slowest.topic,
            slowest.partition,
            seconds(slowest.unserved_ms)
        ));
    }
    if let Some(first) = event.unserved.first() {
        let count = partitions(event.unserved.len() + event.omitted_unserved);
        let to = first.to.as_deref().map_or_else(|| "nobody".to_owned(), |id| names.of(id));
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
fn moves(moved: &[MovedPartition], omitted: usize, names: &Names) -> String {
    let mut ways: Vec<(Option<&str>, Option<&str>, usize)> = Vec::new();
    for partition in moved {
        let (from, to) = (partition.from.as_deref(), partition.to.as_deref());
        match ways.iter_mut().find(|way| (way.0, way.1) == (from, to)) {
            Some(way) => way.2 += 1,
            None => ways.push((from, to, 1)),
        }
    }
    let name = |id: Option<&str>| id.map_or_else(|| "nobody".to_owned(), |id| names.of(id));
    let mut told: Vec<String> = ways
        .iter()
        .take(WAYS_MAX)
        .map(|(from, to, count)| match (from, to) {
            (None, Some(to)) => format!("{} new to {}", partitions(*count), names.of(to)),
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
    use kohort_broker::group_events::{CauseEvent, MemberEvent, RevokedPartition, SlowestMember};

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
            started_ms: 1_000,
            joined_ms: 1_520,
            ended_ms: 1_530,
            slowest: Some(slowest(A, "joining", 1_000, 1_520)),
            members_before: vec![A.to_owned(), B.to_owned()],
            members_after: vec![A.to_owned()],
            leader: Some(A.to_owned()),
            moved: vec![moved(0), moved(1)],
            ..RebalanceEvent::default()
        };
        assert_eq!(
            of(event.clone()),
            "1970-01-01T00:00:01.530Z generation 7: member b-777777.. closed its connection without \
             leaving; 1 member after 2; took 530 ms, 520 ms of it until a-2f1c9a.. had joined; \
             2 partitions from b-777777.. to a-2f1c9a.."
        );
        let leader = Some(slowest(A, "assigning", 1_100, 1_530));
        let slow_leader = RebalanceEvent { slowest: leader, ..event.clone() };
        let sentence = of(slow_leader);
        assert!(
            sentence
                .contains("; took 530 ms, 430 ms of it until a-2f1c9a.. had made the assignment; ")
        );
        // In the consumer protocol everybody is there from the start.
        let slowest = Some(slowest(A, "learning", 1_500, 1_530));
        let event = RebalanceEvent { protocol: "consumer".to_owned(), slowest, ..event };
        let part = RebalanceEvent { slowest: None, unfinished: true, ..event.clone() };
        let rest = RebalanceEvent { causes: Vec::new(), continues: true, ..event.clone() };
        let end = "2 partitions from b-777777.. to a-2f1c9a..";
        let why = "member b-777777.. closed its connection without leaving; 1 member after 2";
        for (event, told) in [
            (event, format!("{why}; took 530 ms, 30 ms of it until a-2f1c9a.. had what it was to have")),
            (part, format!("{why}; members are still on their way")),
            (
                rest,
                "goes on; 1 member after 2; took 530 ms, 30 ms of it until a-2f1c9a.. had what it was \
                 to have"
                    .to_owned(),
            ),
        ] {
            assert_eq!(
                of(event),
                format!("1970-01-01T00:00:01.530Z epoch 7: {told}; {end}")
            );
        }
    }

    #[test]
    fn what_an_event_or_the_line_has_no_room_for_is_counted() {
        let from = |number: usize| MovedPartition {
            topic: "t".to_owned(),
            partition: 0,
            from: Some(format!("m{number}")),
            to: None,
            unserved_since_ms: None,
        };
        // Of the seventh member two went.
        let event = RebalanceEvent {
            members_before: vec![A.to_owned()],
            omitted_before: 11,
            members_after: vec![A.to_owned(), B.to_owned()],
            omitted_after: 20,
            moved: (0..WAYS_MAX).chain([WAYS_MAX; 2]).map(from).collect(),
            omitted_moves: 3,
            ..RebalanceEvent::default()
        };
        let told = of(event);
        assert!(told.contains("; 22 members after 12; "), "{told}");
        assert!(told.ends_with(", 1 partition from m5 to nobody, 5 more moved"), "{told}");
        let unserved = vec![from(1)];
        let event = HandoverEvent { unserved, omitted_unserved: 4, ..HandoverEvent::default() };
        let told = tell(&GroupEvent::Handover(event));
        assert!(told.contains(": 5 partitions that moved had not been read"), "{told}");
    }

    fn of(event: RebalanceEvent) -> String {
        tell(&GroupEvent::Rebalance(Box::new(event)))
    }

    fn slowest(member: &str, delay: &str, since_ms: i64, joined_ms: i64) -> SlowestMember {
        SlowestMember {
            member: member.to_owned(),
            joined_ms,
            delay: delay.to_owned(),
            since_ms: Some(since_ms),
        }
    }

    fn revocation(
        member: &str,
        asked_ms: i64,
        revoked_ms: Option<i64>,
        of: &[i32],
    ) -> RevocationEvent {
        let partition =
            |partition: &i32| RevokedPartition { topic: "t".to_owned(), partition: *partition };
        RevocationEvent {
            member: member.to_owned(),
            asked_ms,
            revoked_ms,
            partitions: of.iter().map(partition).collect(),
            omitted_partitions: 0,
        }
    }

    #[test]
    fn who_holds_what_others_are_to_have_is_told() {
        let uuid = "06225775-8a42-4e1c-892f-86f54b35b073";
        let who = MemberEvent {
            client_id: "orders".to_owned(),
            client_host: "/127.0.0.1".to_owned(),
            instance_id: None,
        };
        let event = RebalanceEvent {
            protocol: "consumer".to_owned(),
            generation: 3,
            causes: vec![CauseEvent {
                at_ms: 0,
                what: "joined".to_owned(),
                member: Some("b".to_owned()),
                text: "member b joined".to_owned(),
            }],
            ended_ms: 3_130,
            revoking_ms: Some(50),
            revoked_ms: Some(3_100),
            slowest: Some(slowest(uuid, "revoking", 100, 3_100)),
            revocations: vec![
                revocation(uuid, 100, Some(3_100), &[1]),
                revocation("c", 50, Some(60), &[2, 3, 4]),
            ],
            members_before: vec![uuid.to_owned(), "c".to_owned()],
            members_after: vec![uuid.to_owned(), "b".to_owned(), "c".to_owned()],
            members: [(uuid.to_owned(), who)].into(),
            ..RebalanceEvent::default()
        };
        let begin = "1970-01-01T00:00:03.130Z epoch 3: member b joined; 3 members after 2; ";
        assert_eq!(
            of(event.clone()),
            format!(
                "{begin}took 3.1 s; revoking took 3.0 s, 3.0 s of it until orders-062257.. had let go of t:1"
            )
        );
        // One alone, and a new one that was slower: it had to hear of it.
        let alone = RebalanceEvent {
            revoked_ms: Some(60),
            revocations: vec![revocation("c", 50, Some(60), &[2, 3, 4])],
            slowest: Some(slowest("b", "learning", 60, 3_130)),
            ..event.clone()
        };
        assert_eq!(
            of(alone),
            format!(
                "{begin}took 3.1 s, 3.0 s of it until b had what it was to have; revoking took 10 ms, \
                 until c had let go of t:2 and 2 more"
            )
        );
        // A cooperative group's members let go before the generation that hands it out.
        let later = RebalanceEvent { started_ms: 3_120, ..event.clone() };
        assert!(
            of(later).contains("; took 10 ms; revoking before it took 3.0 s, 3.0 s of it until ")
        );
        let gone = RebalanceEvent { members_after: vec!["b".to_owned()], ..event.clone() };
        assert!(
            of(gone).contains("; revoking took 3.0 s, 3.0 s of it until orders-062257.. was gone")
        );
        let part = RebalanceEvent {
            unfinished: true,
            slowest: None,
            revoking_ms: None,
            revoked_ms: None,
            revocations: vec![revocation(uuid, 100, None, &[1])],
            ..event
        };
        let last = tell_last(&GroupEvent::Rebalance(Box::new(part.clone())), true);
        let arrived = "members were still on their way then, and have arrived since";
        assert_eq!(last, format!("{begin}{arrived}"));
        for is_stable in [true, false] {
            let unfinished = RebalanceEvent { unfinished: !is_stable, ..part.clone() };
            let told = last_event(&GroupEvent::Rebalance(Box::new(part.clone())), is_stable);
            assert_eq!(told, GroupEvent::Rebalance(Box::new(unfinished)));
        }
        assert_eq!(
            of(part),
            format!(
                "{begin}members are still on their way: orders-062257.. was told 3.0 s ago to let go of t:1"
            )
        );
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
            ..HandoverEvent::default()
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
