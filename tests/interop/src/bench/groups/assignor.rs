//! The uniform assignor alone: one of many members leaves.
//!
//! Ours is called in this process, Kafka's in a JVM of its own (`java/AssignorTimes.java`), which has seen
//! as many departures before it measures. Neither has anything of the coordinator around it.

use std::collections::{BTreeMap, BTreeSet};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Instant;

use anyhow::{Context as _, Result, ensure};
use kohort_assignor::server::{GroupSpec, MemberSpec, PartitionId, by_name};
use kohort_protocol::Uuid;

use crate::bench::target::Column;
use crate::places::Places;

/// Returns how many milliseconds the assignor takes, and how many partitions went from one member that
/// stays to another.
pub(super) fn one_leaves(column: Column, places: &Places) -> Result<Vec<f64>> {
    if column == Column::Kohort { Ok(ours()?.into()) } else { kafka(places) }
}

fn kafka(places: &Places) -> Result<Vec<f64>> {
    let output = Command::new("java")
        .args(["-cp", &places.class_path()])
        .arg(places.sources.join("java/AssignorTimes.java"))
        .args([MEMBERS, TOPICS, PARTITIONS as usize, RUNS].map(|number| number.to_string()))
        .stdin(Stdio::null())
        .stderr(places.log("assignor-times")?)
        .output()?;
    ensure!(output.status.success(), "AssignorTimes ended with {}", output.status);
    let text = String::from_utf8(output.stdout)?;
    let words = text.split_whitespace().map(str::parse);
    words.collect::<Result<_, _>>().with_context(|| format!("AssignorTimes said {text:?}"))
}

fn ours() -> Result<[f64; 2]> {
    let assignor = by_name("uniform").context("an assignor of Kafka's")?;
    let ids: BTreeSet<Uuid> = (1..=TOPICS as u128).map(|id| Uuid(id.to_be_bytes())).collect();
    let topics: BTreeMap<Uuid, i32> = ids.iter().map(|id| (*id, PARTITIONS)).collect();
    let topics_of_all = Arc::new(ids);
    let newcomer = || MemberSpec { topics: topics_of_all.clone(), ..MemberSpec::default() };
    let id = |member: usize| -> Arc<str> { format!("m{member:04}").into() };
    let mut group =
        GroupSpec { members: (0..MEMBERS).map(|member| (id(member), newcomer())).collect() };
    let divide = |group: &mut GroupSpec| -> Result<f64> {
        let started = Instant::now();
        let target = assignor.assign(group, &topics)?;
        let took = started.elapsed();
        for (member, partitions) in target.members {
            group.members.get_mut(&member).context("a member")?.target = partitions;
        }
        Ok(took.as_secs_f64() * 1e3)
    };
    divide(&mut group)?;
    let (mut times, mut needless) = (Vec::new(), 0);
    for run in 0..2 * RUNS {
        let leaver = id(run * 41 % MEMBERS);
        group.members.remove(&leaver);
        let before = owners(&group);
        let took = divide(&mut group)?;
        if run >= RUNS {
            times.push(took);
            let after = owners(&group);
            let moved =
                before.iter().filter(|(partition, owner)| after.get(partition) != Some(owner));
            needless = needless.max(moved.count());
        }
        group.members.insert(leaver, newcomer());
        divide(&mut group)?;
    }
    times.sort_by(f64::total_cmp);
    Ok([times[RUNS / 2], needless as f64])
}

fn owners(group: &GroupSpec) -> BTreeMap<PartitionId, Arc<str>> {
    let members = group.members.iter();
    members.flat_map(|(id, of)| of.target.iter().map(|partition| (partition, id.clone()))).collect()
}

const MEMBERS: usize = 1_000;
const TOPICS: usize = 50;
const PARTITIONS: i32 = 200;
const RUNS: usize = 21;
