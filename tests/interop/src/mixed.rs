//! One group whose members are different clients: Java's, librdkafka and ours, at their defaults, which
//! have the range assignor in common. Ours joins first and so leads the group: it assigns for the
//! others and is killed while it does. Each record is read by exactly one member throughout.

use anyhow::{Context, Result};

use crate::groups::{Group, JOIN_TIMEOUT, LEAVE_TIMEOUT, SHORT_SESSION, TAKE_OVER_TIMEOUT};
use crate::hub::Client;
use crate::suite::{Test, World};

/// Returns the test.
pub(crate) fn tests() -> Vec<Test> {
    vec![Test::new("mixed::ours_java_and_librdkafka_share_a_group_and_survive_our_death", live)]
}

fn live(world: &mut World) -> Result<()> {
    let java = world.hub.driver(Client::Java)?;
    let librdkafka = world.hub.driver(Client::Librdkafka)?;
    let ours = world.hub.driver(Client::Kohort)?;
    let doomed = world.hub.start_driver(Client::Kohort)?;
    let mut group = Group::new(world, Client::Java, "mixed")?;
    group.produce()?;
    group.start(doomed, "ours", Some(SHORT_SESSION))?;
    group.await_shares(&[("ours", 6)], JOIN_TIMEOUT).context("ours joins and leads")?;
    group.start(java, "java", None)?;
    group.start(librdkafka, "librdkafka", None)?;
    let shares = [("ours", 2), ("java", 2), ("librdkafka", 2)];
    group.await_shares(&shares, JOIN_TIMEOUT).context("the others join")?;
    group.produce()?;
    group.await_commits()?;

    group.kill(doomed, "ours")?;
    let shares = [("ours", 0), ("java", 3), ("librdkafka", 3)];
    group.await_shares(&shares, TAKE_OVER_TIMEOUT).context("ours is killed")?;
    group.produce()?;
    group.await_commits()?;

    // Now one of the others leads, and ours follows.
    group.start(ours, "next", None)?;
    let shares = [("next", 2), ("java", 2), ("librdkafka", 2)];
    group.await_shares(&shares, JOIN_TIMEOUT).context("another of ours joins")?;
    group.produce()?;
    group.await_commits()?;

    group.stop(java, "java")?;
    group.stop(librdkafka, "librdkafka")?;
    let shares = [("next", 6), ("java", 0), ("librdkafka", 0)];
    group.await_shares(&shares, LEAVE_TIMEOUT).context("the others leave")?;
    group.produce()?;
    group.await_commits()?;
    group.stop(ours, "next")?;
    group.check_committed()?;
    group.check_read_exactly_once()
}
