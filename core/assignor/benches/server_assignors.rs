//! How long the coordinator's assignors take: `cargo bench -p kohort-assignor`.
//!
//! A thousand members share fifty topics of two hundred partitions each; one leaves, and comes back.
//! In the uneven case members leave out a topic each.
#![allow(clippy::print_stdout, reason = "a bench tells its figures on stdout")]
#![allow(clippy::disallowed_methods, clippy::disallowed_types, reason = "what is measured is time")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::{Duration, Instant};

use kohort_assignor::server::{GroupSpec, MemberSpec, by_name};
use kohort_protocol::Uuid;

const MEMBERS: usize = 1_000;
const TOPICS: usize = 50;
const PARTITIONS: i32 = 200;
const RUNS: usize = 21;

fn main() {
    println!("{MEMBERS} members, {TOPICS} topics of {PARTITIONS} partitions; median of {RUNS}");
    for name in ["uniform", "range"] {
        for even in [true, false] {
            measure(name, even);
        }
    }
}

fn measure(name: &str, even: bool) {
    let assignor = by_name(name).expect("an assignor of Kafka's");
    let ids: Vec<Uuid> = (1..=TOPICS as u128).map(|topic| Uuid(topic.to_be_bytes())).collect();
    let topics: BTreeMap<Uuid, i32> = ids.iter().map(|id| (*id, PARTITIONS)).collect();
    let wanted: Vec<Arc<BTreeSet<Uuid>>> = (0..TOPICS)
        .map(|left_out| {
            let wants = |place: &usize| even || *place != left_out;
            Arc::new((0..TOPICS).filter(wants).map(|place| ids[place]).collect())
        })
        .collect();
    let member = |place: usize| MemberSpec {
        topics: wanted[if even { 0 } else { place % TOPICS }].clone(),
        ..MemberSpec::default()
    };
    let mut group = GroupSpec {
        members: (0..MEMBERS).map(|place| (format!("m{place:04}").into(), member(place))).collect(),
    };
    let run = |group: &mut GroupSpec| -> Duration {
        let start = Instant::now();
        let target = assignor.assign(group, &topics).expect("all topics exist");
        let took = start.elapsed();
        for (id, partitions) in target.members {
            group.members.get_mut(&id).expect("a member").target = partitions;
        }
        took
    };
    let first = run(&mut group);
    let (mut leaves, mut joins) = (Vec::new(), Vec::new());
    for turn in 0..RUNS {
        let place = turn * 41 % MEMBERS;
        group.members.remove(format!("m{place:04}").as_str());
        leaves.push(run(&mut group));
        group.members.insert(format!("m{place:04}").into(), member(place));
        joins.push(run(&mut group));
    }
    leaves.sort();
    joins.sort();
    println!(
        "{name:8} {}: all join {first:>9.2?}, one leaves {:>9.2?}, one joins {:>9.2?}",
        if even { "same topics " } else { "other topics" },
        leaves[RUNS / 2],
        joins[RUNS / 2],
    );
}
