//! The new group protocol (KIP-848, `group.protocol=consumer`) with real clients: the life of a group,
//! both assignors, patterns, static members, the broker killed meanwhile, and a group that goes from
//! the classic protocol to the new one and back while it reads.

use std::collections::BTreeSet;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use serde_json::{Value, json};

use crate::groups::{Group, JOIN_TIMEOUT, LEAVE_TIMEOUT};
use crate::hub::Client;
use crate::restart;
use crate::suite::{Test, World};

/// Returns the tests, for each client that speaks the protocol.
pub(crate) fn tests() -> Vec<Test> {
    let mut tests = Vec::new();
    for client in [Client::Java, Client::Librdkafka, Client::FranzGo, Client::Kohort] {
        tests.push(test(
            client,
            "a_group_of_the_new_protocol_survives_join_leave_kill_and_resume",
            live,
        ));
        tests.push(test(
            client,
            "a_sigkill_of_the_broker_leaves_members_of_the_new_protocol_where_they_were",
            restart::kill_under_the_new_protocol,
        ));
    }
    for client in [Client::Java, Client::Librdkafka] {
        tests.push(test(client, "the_range_assignor_of_the_broker_gives_neighbours", range));
        tests.push(test(client, "a_pattern_matched_by_the_broker_takes_topics_that_come", regex));
        tests.push(test(
            client,
            "a_static_member_of_the_new_protocol_returns_to_what_it_had",
            keep_place,
        ));
    }
    tests.push(test(
        Client::Java,
        "a_pattern_matched_by_the_client_takes_topics_that_come",
        pattern,
    ));
    tests.push(Test::new(
        "mixed::ours_java_and_librdkafka_share_a_group_of_the_new_protocol",
        share,
    ));
    tests.push(Test::new(
        "mixed::a_group_goes_to_the_new_protocol_and_back_while_it_reads",
        migrate,
    ));
    tests
}

fn test(client: Client, what: &str, run: fn(&mut World, Client) -> Result<()>) -> Test {
    Test::new(format!("{}::{what}", client.name()), move |world| run(world, client))
}

fn live(world: &mut World, client: Client) -> Result<()> {
    let name = format!("new-{}", client.name());
    Group::new(world, client, &name)?.with(consumer(&[])).live(&json!({}))
}

/// Members of three clients: each record is read by exactly one, while they join and leave.
fn share(world: &mut World) -> Result<()> {
    let clients = [("ours", Client::Kohort), ("java", Client::Java), ("rd", Client::Librdkafka)];
    let drivers: Vec<_> = clients
        .iter()
        .map(|(name, client)| Ok((*name, world.hub.driver(*client)?)))
        .collect::<Result<_>>()?;
    let mut group = Group::new(world, Client::Java, "new-mixed")?.with(consumer(&[]));
    group.produce()?;
    for (name, driver) in &drivers {
        group.start(*driver, name, None)?;
    }
    let shares = [("ours", 2), ("java", 2), ("rd", 2)];
    group.await_shares(&shares, JOIN_TIMEOUT).context("all three join")?;
    group.produce()?;
    group.await_commits()?;
    group.stop(drivers[0].1, "ours")?;
    group
        .await_shares(&[("ours", 0), ("java", 3), ("rd", 3)], LEAVE_TIMEOUT)
        .context("ours leaves")?;
    group.produce()?;
    group.await_commits()?;
    group.start(drivers[0].1, "next", None)?;
    let shares = [("next", 2), ("java", 2), ("rd", 2)];
    group.await_shares(&shares, JOIN_TIMEOUT).context("another of ours joins")?;
    group.stop(drivers[1].1, "java")?;
    group.stop(drivers[2].1, "rd")?;
    let shares = [("next", 6), ("java", 0), ("rd", 0)];
    group.await_shares(&shares, LEAVE_TIMEOUT).context("the others leave")?;
    group.produce()?;
    group.await_commits()?;
    group.stop(drivers[0].1, "next")?;
    group.check_committed()?;
    group.check_read_exactly_once()
}

fn range(world: &mut World, client: Client) -> Result<()> {
    let driver = world.hub.driver(client)?;
    let name = format!("range-{}", client.name());
    let mut group =
        Group::new(world, client, &name)?.with(consumer(&[("group.remote.assignor", "range")]));
    for member in ["a", "b", "c"] {
        group.start(driver, member, None)?;
    }
    group.await_shares(&[("a", 2), ("b", 2), ("c", 2)], JOIN_TIMEOUT)?;
    for member in ["a", "b", "c"] {
        let name = group.name(member);
        let owned: Vec<i64> = group.hub.member(&name).owned.iter().copied().collect();
        ensure!(owned[0] % 2 == 0 && owned[1] == owned[0] + 1, "{member} owns {owned:?}");
    }
    for member in ["a", "b", "c"] {
        group.stop(driver, member)?;
    }
    Ok(())
}

fn regex(world: &mut World, client: Client) -> Result<()> {
    // librdkafka knows a pattern by its first letter; the broker's must match the whole name anyhow.
    let regex = format!("^regex-{}-[a-z]+", client.name());
    subscribe_by_pattern(world, client, "regex", &json!({ "regex": regex }), &[])
}

fn pattern(world: &mut World, client: Client) -> Result<()> {
    let pattern = json!({ "pattern": format!("pattern-{}-[a-z]+", client.name()) });
    subscribe_by_pattern(world, client, "pattern", &pattern, &[("metadata.max.age.ms", "500")])
}

/// A member whose pattern matches one topic of two, and one more that comes later. Topics are told apart
/// by how many partitions they have.
fn subscribe_by_pattern(
    world: &mut World,
    client: Client,
    what: &str,
    subscription: &Value,
    settings: &[(&str, &str)],
) -> Result<()> {
    let driver = world.hub.driver(client)?;
    let name = format!("{what}-{}", client.name());
    let hub = &mut world.hub;
    hub.create(driver, &format!("{name}-first"), 2)?;
    hub.create(driver, &format!("{name}-0"), 6)?;
    let mut command = consumer(settings);
    for (field, value) in
        [("cmd", "member.start"), ("member", &*name), ("group", &*name), ("topic", "")]
    {
        command[field] = json!(value);
    }
    for (field, value) in subscription.as_object().into_iter().flatten() {
        command[field] = value.clone();
    }
    hub.call(driver, command)?;
    let owns = |count: i64| {
        let name = name.clone();
        move |hub: &crate::hub::Hub| {
            hub.members.get(&name).is_some_and(|member| member.owned == (0..count).collect())
        }
    };
    hub.wait("the topic that is there is taken", PATTERN_TIMEOUT, owns(2))?;
    hub.create(driver, &format!("{name}-second"), 4)?;
    hub.wait("the topic that comes is taken", PATTERN_TIMEOUT, owns(4))?;
    hub.call(driver, json!({ "cmd": "member.stop", "member": name }))?;
    let problems = &hub.member(&name).problems;
    ensure!(problems.is_empty(), "the member met {problems:?}");
    Ok(())
}

fn keep_place(world: &mut World, client: Client) -> Result<()> {
    let driver = world.hub.driver(client)?;
    let name = format!("static-{}", client.name());
    let mut group = Group::new(world, client, &name)?;
    let place = |instance: &str| consumer(&[("group.instance.id", instance)]);
    group.produce()?;
    group.start_with(driver, "a", &place("one"))?;
    group.start_with(driver, "b", &place("two"))?;
    group.await_shares(&[("a", 3), ("b", 3)], JOIN_TIMEOUT)?;
    group.await_commits()?;
    let (a, b, again) = (group.name("a"), group.name("b"), group.name("again"));
    let had = group.hub.member(&a).owned.clone();
    let before = (group.hub.member(&b).assignments, group.hub.member(&b).given_back.len());

    group.stop(driver, "a")?;
    group.hub.member(&a).owned.clear();
    group.produce()?;
    group.start_with(driver, "again", &place("one"))?;
    group.await_shares(&[("again", 3), ("b", 3)], JOIN_TIMEOUT).context("it comes back")?;
    group.await_commits()?;
    let got: BTreeSet<i64> = group.hub.member(&again).owned.clone();
    ensure!(got == had, "it had {had:?} and got {got:?}");
    let after = (group.hub.member(&b).assignments, group.hub.member(&b).given_back.len());
    ensure!(before == after, "the other member was rebalanced: {before:?}, then {after:?}");
    group.stop(driver, "again")?;
    group.stop(driver, "b")?;
    group.check_read_exactly_once()
}

/// Two classic members of two clients; members of the new protocol come, the classic ones go; then the
/// other way round. At each step every partition has one owner, and in the end every record was read
/// once.
fn migrate(world: &mut World) -> Result<()> {
    let java = world.hub.driver(Client::Java)?;
    let librdkafka = world.hub.driver(Client::Librdkafka)?;
    let franz_go = world.hub.driver(Client::FranzGo)?;
    let mut group = Group::new(world, Client::Java, "migrate")?;
    let new = consumer(&[]);
    group.produce()?;
    group.start(java, "java", None)?;
    group.start(librdkafka, "librdkafka", None)?;
    group.await_shares(&[("java", 3), ("librdkafka", 3)], JOIN_TIMEOUT).context("classic")?;
    group.produce()?;
    group.await_commits()?;

    group.start_with(java, "java-new", &new)?;
    let shares = [("java", 2), ("librdkafka", 2), ("java-new", 2)];
    group.await_shares(&shares, JOIN_TIMEOUT).context("a member of the new protocol joins")?;
    group.produce()?;
    group.await_commits()?;
    group.stop(java, "java")?;
    group.start_with(librdkafka, "librdkafka-new", &new)?;
    let shares = [("java", 0), ("librdkafka", 2), ("java-new", 2), ("librdkafka-new", 2)];
    group.await_shares(&shares, JOIN_TIMEOUT).context("one classic member is left")?;
    group.produce()?;
    group.await_commits()?;
    group.stop(librdkafka, "librdkafka")?;
    let shares = [("librdkafka", 0), ("java-new", 3), ("librdkafka-new", 3)];
    group.await_shares(&shares, LEAVE_TIMEOUT).context("no classic member is left")?;
    group.produce()?;
    group.await_commits()?;

    group.start(franz_go, "franz-go", None)?;
    let shares = [("franz-go", 2), ("java-new", 2), ("librdkafka-new", 2)];
    group.await_shares(&shares, JOIN_TIMEOUT).context("a classic member joins")?;
    group.produce()?;
    group.await_commits()?;
    group.stop(java, "java-new")?;
    group.stop(librdkafka, "librdkafka-new")?;
    let shares = [("franz-go", 6), ("java-new", 0), ("librdkafka-new", 0)];
    group.await_shares(&shares, LEAVE_TIMEOUT).context("the classic member is left alone")?;
    group.produce()?;
    group.await_commits()?;
    group.start_with(java, "java-last", &classic(COOPERATIVE))?;
    let shares = [("franz-go", 3), ("java-last", 3)];
    group.await_shares(&shares, JOIN_TIMEOUT).context("the group is classic again")?;
    group.produce()?;
    group.await_commits()?;
    group.stop(franz_go, "franz-go")?;
    group.stop(java, "java-last")?;
    // franz-go tells of each generation it was too late for, which is no fault.
    let name = group.name("franz-go");
    group.hub.member(&name).problems.retain(|told| !told.contains("unable to join group session"));
    group.check_committed()?;
    group.check_read_exactly_once()
}

/// The fields of a member of the new protocol, with more properties.
fn consumer(more: &[(&str, &str)]) -> Value {
    let mut settings = json!({ "group.protocol": "consumer" });
    for (name, value) in more {
        settings[*name] = json!(value);
    }
    json!({ "settings": settings })
}

/// The fields of a classic member.
fn classic(strategy: &str) -> Value {
    json!({ "settings": { "partition.assignment.strategy": strategy } })
}

/// Java names its assignors by their classes.
const COOPERATIVE: &str = "org.apache.kafka.clients.consumer.CooperativeStickyAssignor";
/// Kafka looks for topics that match once in ten seconds.
const PATTERN_TIMEOUT: Duration = Duration::from_secs(40);
