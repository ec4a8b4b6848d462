//! The verbs against a broker: stdout is data, stderr is words, the exit status means something.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _};

use common::{Broker, kohort, wait, words};
use rustix::process::{Pid, Signal, kill_process};

fn broker(data: &tempfile::TempDir) -> Broker {
    Broker::start(data.path(), &["group.initial.rebalance.delay.ms=0"])
}

#[test]
fn topics_are_created_listed_described_and_deleted() {
    let data = tempfile::tempdir().unwrap();
    let broker = broker(&data);
    broker.stdout(&["topic", "create", "b", "--partitions", "2"], "");
    broker.stdout(&["topic", "create", "a", "--config", "retention.ms=60000"], "");
    assert_eq!(broker.stdout(&["topic", "list"], ""), "a\nb\n");
    let described = broker.stdout(&["topic", "describe", "b"], "");
    assert_eq!(described.lines().filter(|l| l.starts_with("b ")).count(), 2, "{described}");
    broker.stdout(&["topic", "delete", "a", "b"], "");
    assert_eq!(broker.stdout(&["topic", "list"], ""), "");
}

#[test]
fn refusals_name_the_object() {
    let data = tempfile::tempdir().unwrap();
    let broker = broker(&data);
    broker.stdout(&["topic", "create", "orders"], "");
    for (arguments, named) in [
        (&["topic", "create", "orders"][..], "orders"),
        (&["topic", "create", "no/slashes"], "no/slashes"),
        (&["topic", "create", "c", "--config", "retention.msec=1"], "retention.msec"),
        (&["topic", "describe", "order"], "order"),
        (&["topic", "delete", "missing"], "missing"),
        (&["group", "describe", "nobody"], "nobody"),
        (&["group", "delete", "nobody"], "nobody"),
        (&["consume", "missing", "--from-beginning", "-e"], "missing"),
    ] {
        let refusal = broker.refusal(arguments);
        assert!(refusal.contains(named), "{arguments:?}: {refusal}");
    }
}

#[test]
fn a_wrong_command_line_ends_with_status_two() {
    for arguments in [&["topic", "crate"][..], &["consume"], &["group", "reset", "g"]] {
        assert_eq!(kohort(arguments, "", &[]).status.code(), Some(2), "{arguments:?}");
    }
}

#[test]
fn what_consume_writes_as_json_produce_reads_back() {
    let data = tempfile::tempdir().unwrap();
    let broker = broker(&data);
    broker.stdout(&["topic", "create", "from"], "");
    broker.stdout(&["topic", "create", "to"], "");
    let input = concat!(
        r#"{"key":"k1","payload":"v1","ts":1700000000001,"headers":[["h","x"],["h",null]]}"#,
        "\n",
        r#"{"key":null,"payload":{"base64":"/wA="},"ts":1700000000002,"headers":[]}"#,
        "\n",
        r#"{"key":"k3","payload":null,"ts":1700000000003,"headers":[]}"#,
        "\n",
    );
    broker.stdout(&["produce", "from", "--json"], input);
    let consume =
        |topic| broker.stdout(&["consume", topic, "--from-beginning", "-e", "--json"], "");
    let first = consume("from");
    assert_eq!(first.lines().count(), 3, "{first}");
    broker.stdout(&["produce", "to", "--json"], &first);
    assert_eq!(consume("to"), first.replace(r#""topic":"from""#, r#""topic":"to""#));
}

#[test]
fn records_appear_as_they_arrive() {
    let data = tempfile::tempdir().unwrap();
    let broker = broker(&data);
    broker.stdout(&["topic", "create", "live"], "");
    let mut consumer = broker.spawn(&["consume", "live", "--from-beginning"]);
    let mut lines = BufReader::new(consumer.stdout.take().unwrap()).lines();
    for word in ["one", "two", "three"] {
        broker.stdout(&["produce", "live"], &format!("{word}\n"));
        assert_eq!(lines.next().unwrap().unwrap(), word);
    }
    kill_process(Pid::from_raw(consumer.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    assert_eq!(wait(&mut consumer), Some(0));
}

#[test]
fn a_group_resumes_where_it_stopped_and_can_be_reset() {
    let data = tempfile::tempdir().unwrap();
    let broker = broker(&data);
    broker.stdout(&["topic", "create", "t"], "");
    broker.stdout(&["produce", "t"], "0\n1\n2\n3\n4\n5\n");
    let take = |count: &str| {
        broker.stdout(
            &["consume", "t", "--group", "g", "--from-beginning", "--max-messages", count],
            "",
        )
    };
    assert_eq!(take("2"), "0\n1\n");
    assert_eq!(take("3"), "2\n3\n4\n");
    assert_eq!(broker.stdout(&["group", "list"], "").lines().count(), 2);
    let described = broker.stdout(&["group", "describe", "g"], "");
    let row: Vec<&str> =
        described.lines().find(|l| l.starts_with("t ")).unwrap().split_whitespace().collect();
    assert_eq!(row[..5], ["t", "0", "5", "6", "1"], "{described}");
    let reset = &["group", "reset", "g", "--topic", "t", "--to-offset", "1"];
    broker.stdout(reset, "");
    assert_eq!(take("1"), "5\n", "without --execute nothing changes");
    broker.stdout(&[&reset[..], &["--execute"]].concat(), "");
    assert_eq!(take("1"), "1\n");
    broker.stdout(&["group", "delete", "g"], "");
    assert_eq!(broker.stdout(&["group", "list"], "").lines().count(), 1);
}

#[test]
fn a_reset_of_a_group_at_work_is_refused() {
    let data = tempfile::tempdir().unwrap();
    let broker = broker(&data);
    broker.stdout(&["topic", "create", "t"], "");
    broker.stdout(&["produce", "t"], "0\n");
    let mut consumer = broker.spawn(&["consume", "t", "--group", "g", "--from-beginning"]);
    let mut stdout = BufReader::new(consumer.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    let refusal =
        broker.refusal(&["group", "reset", "g", "--topic", "t", "--to-earliest", "--execute"]);
    assert!(refusal.contains("`g`") && refusal.contains("Stable"), "{refusal}");
    consumer.kill().unwrap();
    consumer.wait().unwrap();
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let output = kohort(
        &["topic", "list", "--timeout", "1s"],
        "",
        &[("KOHORT_BOOTSTRAP_SERVERS", &free.to_string())],
    );
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains(&free.to_string()), "{}", words(&output));
    let mut none = String::new();
    output.stdout.as_slice().read_to_string(&mut none).unwrap();
    assert_eq!(none, "");
}
