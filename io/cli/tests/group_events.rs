//! What happened to a group and how it is doing, told by the command line.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::io::{BufRead as _, BufReader};
use std::process::Child;

use common::wire::Wire;
use common::{Broker, unique, wait, words};

/// Starts a consumer of a group and waits for its first record.
fn consumer(broker: &Broker, topic: &str, group: &str) -> Child {
    let mut child = broker.spawn(&["consume", topic, "--group", group, "--from-beginning"]);
    let mut first = String::new();
    BufReader::new(child.stdout.take().unwrap()).read_line(&mut first).unwrap();
    assert_eq!(first, "0\n");
    child
}

/// Tells the group's rebalances once there are so many.
fn told(broker: &Broker, group: &str, count: usize) -> Vec<String> {
    let mut told = Vec::new();
    broker.until("the rebalances are told", || {
        let text = broker.stdout(&["group", "events", group], "");
        let tells = |line: &&str| line.contains("generation ") || line.contains("epoch ");
        told = text.lines().filter(tells).map(str::to_owned).collect();
        told.len() >= count
    });
    told
}

#[test]
fn a_killed_member_is_told_with_what_it_left_behind() {
    // On a broker of our own: Kafka would wait for the session.
    let folder = tempfile::tempdir().unwrap();
    let properties = ["group.initial.rebalance.delay.ms=0", "group.disconnect.grace.ms=50"];
    let broker = Broker::start(folder.path(), &properties);
    let (topic, group) = (&*unique("t"), &*unique("g"));
    broker.create(topic);
    broker.stdout(&["produce", topic], "0\n");
    let mut child = consumer(&broker, topic, group);
    child.kill().unwrap();
    child.wait().unwrap();
    broker.until("nobody is left", || {
        let described = broker.run(&["group", "describe", group], "");
        words(&described).contains("is Empty")
    });
    let gone = " closed its connection without leaving; the group is empty";
    let mut lines = Vec::new();
    broker.until("the death is told", || {
        lines = told(&broker, group, 2);
        lines.iter().any(|line| line.contains(gone))
    });
    let line = lines.iter().find(|line| line.contains(gone)).unwrap();
    assert!(line.contains("; 1 partition from kohort-"), "{line}");
    assert!(line.ends_with(" to nobody"), "{line}");
    let described = words(&broker.run(&["group", "describe", group], ""));
    assert!(described.contains("last rebalance ") && described.contains(gone), "{described}");
    let json = broker.stdout(&["group", "events", group, "--json"], "");
    let first: serde_json::Value = serde_json::from_str(json.lines().next().unwrap()).unwrap();
    assert_eq!((&first["event"], &first["group"]), (&"rebalance".into(), &group.into()), "{first}");
}

#[test]
fn a_groups_rebalances_and_its_verdict_are_told_of_any_cluster() {
    tell("classic");
}

#[test]
fn those_of_a_group_of_the_new_protocol_are_told_of_any_cluster() {
    tell("consumer");
}

fn tell(protocol: &str) {
    let broker = Broker::to_test_with();
    let (topic, group) = (&*unique("t"), &*unique("g"));
    broker.create(topic);
    broker.stdout(&["produce", topic], "0\n1\n");
    let protocol = format!("group.protocol={protocol}");
    for _ in 0..2 {
        let how = ["--group", group, "--from-beginning", "--max-messages", "1", "-X", &protocol];
        broker.stdout(&[&["consume", topic], &how[..]].concat(), "");
    }
    let lines = told(&broker, group, 2);
    let ended = lines.iter().find(|line| line.contains("the group is empty"));
    let ended = ended.unwrap_or_else(|| panic!("nobody is left, and that is told: {lines:?}"));
    // Who went and what that one had; of Kafka's groups no more is known than that.
    assert!(ended.contains("1 partition from "), "{ended}");
    broker.stdout(&["produce", topic], "2\n");
    let described = broker.run(&["group", "describe", group], "");
    let said = words(&described);
    assert!(said.contains("verdict NO MEMBERS: nobody is in the group, and 1 records"), "{said}");
    let table = String::from_utf8(described.stdout).unwrap();
    let row: Vec<&str> =
        table.lines().find(|line| line.starts_with(topic)).unwrap().split_whitespace().collect();
    assert_eq!(row[..5], [topic, "0", "2", "3", "1"], "{table}");
    assert!(row[5].parse::<u64>().is_ok(), "the age in seconds: {table}");
}

#[test]
fn of_a_group_that_commits_without_members_it_is_told_when_it_did() {
    let broker = Broker::to_test_with();
    let (topic, group) = (&*unique("t"), &*unique("g"));
    broker.create(topic);
    broker.stdout(&["produce", topic], "0\n1\n");
    let reset = ["group", "reset", group, "--topic", topic, "--to-offset", "1", "--execute"];
    broker.stdout(&reset, "");
    let said = words(&broker.run(&["group", "describe", group], ""));
    let verdict = "verdict NO MEMBERS: nobody is in the group, and 1 records wait; offsets are committed without \
                   members, the last time ";
    assert!(said.contains(verdict), "{said}");
}

#[test]
fn records_that_were_deleted_are_lag_and_nobody_waits_for_them() {
    let broker = Broker::to_test_with();
    let (topic, group) = (&*unique("t"), &*unique("g"));
    broker.create(topic);
    broker.stdout(&["produce", topic], "0\n1\n2\n3\n4\n5\n6\n7\n8\n9\n");
    let consume = ["consume", topic, "--group", group, "--from-beginning", "--max-messages"];
    broker.stdout(&[&consume[..], &["3"]].concat(), "");
    let mut wire = Wire::connect(&broker.address);
    for (deleted, lag, waiting) in [(5, "7", "5"), (10, "7", "0")] {
        wire.delete_below(topic, deleted);
        let described = broker.run(&["group", "describe", group], "");
        let said = words(&described);
        let verdict =
            format!("verdict NO MEMBERS: nobody is in the group, and {waiting} records wait\n");
        assert!(said.contains(&verdict), "{deleted}: {said}");
        let table = String::from_utf8(described.stdout).unwrap();
        let row = table.lines().find(|line| line.starts_with(topic)).unwrap();
        let row: Vec<&str> = row.split_whitespace().collect();
        // Lag is Kafka's difference of offsets; that nothing is old is told beside it.
        assert_eq!(row[..5], [topic, "0", "3", "10", lag], "{table}");
        assert!(waiting != "0" || row[5] == "0", "{table}");
    }
}

#[test]
fn who_follows_a_group_is_told_that_it_is_not_there_yet_and_what_happens_then() {
    let broker = Broker::to_test_with();
    let (topic, group) = (&*unique("t"), &*unique("g"));
    broker.create(topic);
    broker.stdout(&["produce", topic], "0\n1\n");
    let mut follower = broker.spawn(&["group", "events", group, "--follow"]);
    let mut said = String::new();
    BufReader::new(follower.stderr.take().unwrap()).read_line(&mut said).unwrap();
    assert_eq!(said, format!("there is no group `{group}` so far; it is waited for\n"));
    let mut stdout = BufReader::new(follower.stdout.take().unwrap());
    let how = ["--group", group, "--from-beginning", "--max-messages", "1"];
    let take = || broker.stdout(&[&["consume", topic], &how[..]].concat(), "");
    // Of a foreign Kafka a rebalance is told once there is another to compare it with.
    take();
    take();
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    assert!(first.contains(" member kohort-"), "{first}");
    // Once the reader is gone, the next event ends it, and that is no failure.
    drop(stdout);
    broker.stdout(&["produce", topic], "2\n3\n");
    take();
    assert_eq!(wait(&mut follower), Some(0));
}
