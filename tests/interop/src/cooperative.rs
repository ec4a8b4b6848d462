//! Our client under the cooperative-sticky assignor, three members in processes of their own, while a
//! producer is at work: what a member retains in a rebalance keeps flowing, and a member that dies
//! costs the others nothing.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::json;

use crate::groups::{JOIN_TIMEOUT, LEAVE_TIMEOUT, SHORT_SESSION, TAKE_OVER_TIMEOUT};
use crate::hub::{Client, DriverId, Hub};
use crate::suite::{Test, World};

/// Returns the test.
pub(crate) fn tests() -> Vec<Test> {
    vec![Test::new("kohort::retained_partitions_flow_through_every_cooperative_rebalance", live)]
}

fn live(world: &mut World) -> Result<()> {
    let hub = &mut world.hub;
    let standing = hub.driver(Client::Kohort)?;
    let doomed = hub.start_driver(Client::Kohort)?;
    hub.create(standing, NAME, PARTITIONS)?;
    hub.call(
        standing,
        json!({ "cmd": "load.start", "load": NAME, "topic": NAME, "partitions": PARTITIONS }),
    )?;
    start(hub, standing, "a")?;
    await_shares(hub, &[("a", 6)], JOIN_TIMEOUT).context("the first joins")?;

    let before = Retained::of(hub, &["a"]);
    start(hub, standing, "b")?;
    await_shares(hub, &[("a", 3), ("b", 3)], JOIN_TIMEOUT).context("a second joins")?;
    before.check(hub, 3).context("a second joins")?;

    let before = Retained::of(hub, &["a", "b"]);
    start(hub, doomed, "c")?;
    let shares = [("a", 2), ("b", 2), ("c", 2)];
    await_shares(hub, &shares, JOIN_TIMEOUT).context("a third joins")?;
    before.check(hub, 2).context("a third joins")?;

    let before = Retained::of(hub, &["a", "b"]);
    hub.kill(doomed)?;
    hub.member(&name("c")).owned.clear();
    await_shares(hub, &[("a", 3), ("b", 3)], TAKE_OVER_TIMEOUT).context("the third is killed")?;
    before.check(hub, 0).context("the third is killed")?;

    let before = Retained::of(hub, &["a"]);
    hub.call(standing, json!({ "cmd": "member.stop", "member": name("b") }))?;
    await_shares(hub, &[("a", 6)], LEAVE_TIMEOUT).context("the second leaves")?;
    before.check(hub, 0).context("the second leaves")?;

    hub.call(standing, json!({ "cmd": "load.stop", "load": NAME }))?;
    hub.wait("everything acked is read", READ_TIMEOUT, |hub| missed(hub) == 0)?;
    hub.call(standing, json!({ "cmd": "member.stop", "member": name("a") }))?;
    for member in ["a", "b", "c"] {
        let view = hub.member(&name(member));
        ensure!(view.problems.is_empty(), "`{member}` met {:?}", view.problems);
        ensure!(view.losses == 0, "`{member}` was fenced {} times", view.losses);
    }
    Ok(())
}

/// What some members owned, had given back and had read at a moment.
struct Retained {
    members: Vec<(String, BTreeSet<i64>, usize, usize)>,
}

impl Retained {
    fn of(hub: &mut Hub, members: &[&str]) -> Self {
        let mut look = |member: &&str| {
            let view = hub.member(&name(member));
            (name(member), view.owned.clone(), view.given_back.len(), view.records.len())
        };
        Self { members: members.iter().map(&mut look).collect() }
    }

    /// Checks that since then so many partitions were given back in all, and that those that were not
    /// are read from: a rebalance may be over before the next record is there.
    fn check(&self, hub: &mut Hub, given_back: usize) -> Result<()> {
        let read = |hub: &Hub| {
            self.members.iter().all(|(member, owned, returns, reads)| {
                let view = &hub.members[member];
                let returned = &view.given_back[*returns..];
                let mut kept = owned.iter().filter(|partition| !returned.contains(partition));
                kept.all(|kept| view.records[*reads..].iter().any(|(of, _)| of == kept))
            })
        };
        hub.wait("every partition that was retained is read", READ_TIMEOUT, read)?;
        let mut all_given_back = 0;
        for (member, _, returns, _) in &self.members {
            all_given_back += hub.member(member).given_back[*returns..].len();
        }
        ensure!(
            all_given_back == given_back,
            "{all_given_back} partitions were given back, not {given_back}"
        );
        Ok(())
    }
}

fn name(member: &str) -> String {
    format!("{NAME}-{member}")
}

fn start(hub: &mut Hub, driver: DriverId, member: &str) -> Result<()> {
    let mut command = json!({
        "cmd": "member.start",
        "member": name(member),
        "group": NAME,
        "topic": NAME,
        "strategy": "cooperative-sticky",
    });
    // The one that is killed is to be missed soon; a busy machine may keep the others from their heartbeats.
    if member == "c" {
        command["session_ms"] = json!(SHORT_SESSION);
    }
    hub.call(driver, command)?;
    Ok(())
}

/// Waits until the members own so many partitions, and together each.
fn await_shares(hub: &mut Hub, shares: &[(&str, usize)], timeout: Duration) -> Result<()> {
    hub.wait(&format!("the shares are {shares:?}"), timeout, |hub| {
        let owned = |member: &str| hub.members.get(&name(member)).map(|view| &view.owned);
        let all: BTreeSet<i64> =
            shares.iter().filter_map(|(member, _)| owned(member)).flatten().copied().collect();
        all.len() as u64 == PARTITIONS
            && shares
                .iter()
                .all(|(member, share)| owned(member).is_some_and(|it| it.len() == *share))
    })
}

/// Returns how many acknowledged records no member has read.
fn missed(hub: &Hub) -> usize {
    let members = ["a", "b", "c"].map(|member| hub.members.get(&name(member)));
    let read: BTreeSet<(i64, i64)> =
        members.into_iter().flatten().flat_map(|view| view.records.iter().copied()).collect();
    let acked = hub.loads.get(NAME).into_iter().flat_map(|load| load.acked.iter());
    acked.filter(|(partition, offset, _)| !read.contains(&(*partition, *offset))).count()
}

const NAME: &str = "cooperative";
const PARTITIONS: u64 = 6;
const READ_TIMEOUT: Duration = Duration::from_secs(30);
