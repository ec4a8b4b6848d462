//! The same seeded lives of groups of the new protocol (KIP-848) on Apache Kafka and on our broker,
//! by requests of our own making: every field of every answer is compared.
//!
//! Both brokers are asked in step, and what a member does next follows from what Kafka answered, so
//! the first answer that differs is the one to look at. What is compared is made comparable first:
//! topic ids become names, lists without an order are sorted. Member ids are one letter each, and a
//! group has one topic under the uniform assignor: Kafka walks its hash tables there, and so they
//! are walked in the order of the ids.
//!
//! What may differ, and why, is listed in [`INTENDED`]; nothing else may.

mod classic;
mod life;
mod member;
mod side;
mod states;

use std::ops::Range;
use std::time::Instant;

use anyhow::{Result, ensure};

use crate::broker::{Broker, Kind, Properties};
use crate::places::Places;

use life::Life;
use side::Side;
use states::{STATES, States};

/// What differs on purpose.
pub(crate) const INTENDED: &[(&str, &str)] = &[
    (
        "the words of an error, but for those of descriptions",
        "an error's code is Kafka's, the sentence with it our own; that there is one is compared. What is said \
         of a group that cannot be described is told to people as it is, and is Kafka's",
    ),
    (
        "the heartbeat interval, unless it was set",
        "ours is shorter while a group is small or unsettled, so that members hear of changes soon; \
         both brokers are told one here",
    ),
    (
        "the group between a leave and the next heartbeat",
        "Kafka makes the new target when the next member is heard of, ours at once, so that members who \
         hold a heartbeat learn of it; what the next heartbeat is told is compared",
    ),
    (
        "the uniform assignor where members name the same topics but for some that do not exist",
        "Kafka compares what they name, and divides as for different wants; ours compares what there \
         is. Both are even and sticky; such groups are left out",
    ),
    (
        "how long a member is taken in the epoch before its own",
        "Kafka writes a record for each heartbeat of a member that waits for partitions, and forgets \
         the epoch before with the first; ours writes none, and remembers it until the next step. A life \
         ends where that shows",
    ),
    (
        "what a member is told that has partitions to give up, or was given some, and says nothing of \
         what it owns",
        "Kafka tells it once, and a client that repeats its heartbeat as it was, because the answer was \
         lost, never hears of it; ours tells it again, until it says what it owns",
    ),
    (
        "a dynamic classic member that joins a group of the new protocol under an id the group does not \
         know, and claims partitions",
        "it was put out and has not noticed. Kafka lets it in with what it claims, though another may have \
         that by now; ours says UNKNOWN_MEMBER_ID, so that it gives everything up first",
    ),
    (
        "a member of the new protocol whose group went over to the classic one, and that may turn it back",
        "Kafka says GROUP_ID_NOT_FOUND, which ends Java's client and librdkafka; ours says \
         UNKNOWN_MEMBER_ID, and it joins again: with a grace of half a second it may only have lost its connection",
    ),
    (
        "how a pattern is resolved",
        "Kafka does it on another thread and in an epoch of its own, ours in the heartbeat that brings \
         it; what comes of it is compared",
    ),
    (
        "a static member that joins again under the id it has",
        "its first join's answer was lost: Kafka says UNRELEASED_INSTANCE_ID, which ends Java's client; \
         ours takes it for what it is. Another id is refused by both",
    ),
];

/// Runs the lives of these seeds; returns whether all answers were alike. With Kafka as the broker
/// under test, Kafka is compared with itself: what differs then is the fault of the test.
pub(crate) fn run(places: &Places, under_test: Kind, seeds: Range<u64>) -> Result<bool> {
    let started = Instant::now();
    let kafka = Broker::start_with(Kind::Kafka, places, PROPERTIES)?;
    let ours = match under_test {
        Kind::Kafka => None,
        Kind::Kohort => Some(Broker::start_with(Kind::Kohort, places, PROPERTIES)?),
    };
    let count = seeds.end - seeds.start;
    println!(
        "{count} lives on Apache Kafka and on {}; on purpose these differ:",
        under_test.name()
    );
    for (what, why) in INTENDED {
        println!("  {what}: {why}");
    }
    let other = ours.as_ref().unwrap_or(&kafka);
    let mut sides = [Side::new(&kafka, "")?, Side::new(other, "other-")?];
    for side in &mut sides {
        side.prepare(TOPICS)?;
    }
    let first = seeds.start;
    let mut answers = 0;
    let mut failed = Vec::new();
    for (kind, seed) in seeds.flat_map(|seed| KINDS.map(|kind| (kind, seed))) {
        let mut life = Life::new(&mut sides, seed);
        let outcome = match kind {
            "new" => life.live(),
            "mixed" if seed % 2 == 0 => {
                life = life.with_classic_members(&['z']);
                life.live()
            }
            "mixed" => {
                life = life.with_classic_members(&['x', 'y', 'z']);
                life.live()
            }
            "topics" if seed == first => life.live_while_topics_change(),
            _ => continue,
        };
        answers += life.answers();
        if let Err(error) = outcome {
            println!("{kind} seed {seed} ... DIFFERS\n{error:#}");
            failed.push(format!("{kind} {seed}"));
            if failed.len() == FAILURES_MAX {
                break;
            }
        }
    }
    let mut states = States::new(&mut sides);
    for kind in STATES {
        if let Err(error) = states.live(kind) {
            println!("{kind} ... DIFFERS\n{error:#}");
            failed.push(kind.to_owned());
        }
    }
    answers += states.answers();
    ensure!(answers > 0, "nothing was compared");
    println!(
        "{answers} answers compared in {:.1} s; lives that differ: {failed:?}",
        started.elapsed().as_secs_f64()
    );
    Ok(failed.is_empty())
}

/// What is lived: groups of the new protocol, groups with a classic member as well, and one group whose
/// topics change.
const KINDS: [&str; 3] = ["new", "mixed", "topics"];
/// The topics that groups live on, with their partitions.
const TOPICS: &[(&str, i32)] = &[("apples", 4), ("berries", 3), ("cherries", 7)];
/// One failure tells more than many after it.
const FAILURES_MAX: usize = 5;
/// What depends on the time is taken out: assignments are made at once, and no session ends but where
/// that is the subject. Kafka's node has one with its own controller.
const PROPERTIES: Properties = &[
    ("broker.session.timeout.ms", "30000"),
    ("group.consumer.min.session.timeout.ms", "5500"),
    ("group.consumer.assignment.interval.ms", "0"),
    ("group.consumer.heartbeat.interval.ms", "5000"),
    ("group.initial.rebalance.delay.ms", "0"),
    ("offsets.topic.num.partitions", "4"),
];
