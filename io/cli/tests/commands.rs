//! The verbs against a broker: stdout is data, stderr is words, the exit status means something.
//!
//! The broker is one of ours for each test, or a shared one at `KOHORT_TEST_BOOTSTRAP`, such as Apache
//! Kafka: hence the unique names.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _};

use common::{Broker, kohort, unique, wait, words};
use rustix::process::{Pid, Signal, kill_process};

#[test]
fn topics_are_created_listed_described_and_deleted() {
    let broker = Broker::to_test_with();
    let run = unique("");
    let (a, b) = (format!("a{run}"), format!("b{run}"));
    let listed = |expected: &[&String]| {
        broker.until(&format!("{expected:?} are listed"), || {
            let all = broker.stdout(&["topic", "list"], "");
            all.lines().filter(|name| name.ends_with(&run)).eq(expected.iter().copied())
        });
    };
    broker.stdout(&["topic", "create", &b, "--partitions", "2"], "");
    broker.stdout(&["topic", "create", &a, "--config", "retention.ms=60000"], "");
    listed(&[&a, &b]);
    broker.until("both partitions are described", || {
        let described = String::from_utf8(broker.run(&["topic", "describe", &b], "").stdout);
        let row = format!("{b} ");
        described.unwrap().lines().filter(|line| line.starts_with(&row)).count() == 2
    });
    let described = broker.stdout(&["topic", "describe", &a], "");
    let config: Vec<&str> =
        described.lines().last().map(|line| line.split_whitespace().collect()).unwrap_or_default();
    assert_eq!(config, [&a, "retention.ms", "60000"], "{described}");
    broker.stdout(&["topic", "delete", &a, &b], "");
    listed(&[]);
}

#[test]
fn a_topic_gets_more_partitions_and_other_configs() {
    let broker = Broker::to_test_with();
    let topic = unique("grows");
    let configs = ["--config", "retention.ms=60000", "--config", "cleanup.policy=compact"];
    broker.stdout(&[&["topic", "create", &topic][..], &configs].concat(), "");
    let change = ["--config", "retention.ms=70000", "--delete-config", "cleanup.policy"];
    broker.stdout(&[&["topic", "alter", &topic, "-p", "3"][..], &change].concat(), "");
    broker.until("there are 3 partitions and one config", || {
        let described = broker.run(&["topic", "describe", &topic], "").stdout;
        let rows = String::from_utf8(described).unwrap();
        let rows = rows.lines().filter(|line| line.starts_with(&topic));
        let rows: Vec<Vec<&str>> =
            rows.map(|row| row.split_whitespace().skip(1).collect()).collect();
        rows.len() == 4 && rows[3] == ["retention.ms", "70000"]
    });
}

#[test]
fn refusals_name_the_object() {
    let broker = Broker::to_test_with();
    let topic = unique("orders");
    broker.create(&topic);
    for (arguments, named) in [
        (&["topic", "create", &topic][..], &*topic),
        (&["topic", "create", "no/slashes"], "no/slashes"),
        (&["topic", "create", &unique("c"), "--config", "retention.msec=1"], "retention.msec"),
        (&["topic", "describe", "order"], "order"),
        (&["topic", "delete", "missing"], "missing"),
        (&["topic", "alter", &topic, "--partitions", "1"], &topic),
        (&["topic", "alter", &topic, "--config", "retention.ms=soon"], "retention.ms"),
        (&["topic", "alter", "missing", "--partitions", "2"], "missing"),
        (&["group", "describe", "nobody"], "nobody"),
        (&["group", "events", "nobody"], "nobody"),
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
fn an_offset_below_zero_is_refused_with_what_to_say_instead() {
    let reset = ["group", "reset", "g", "--all-topics", "--to-offset", "-5"];
    let output = kohort(&reset, "", &[]);
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(2), "{told}");
    assert!(told.contains("an offset is 0 or more; --shift-by goes back"), "{told}");
}

#[test]
fn properties_come_from_a_file_and_the_command_line_goes_before_it() {
    let broker = Broker::to_test_with();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("client.properties");
    let list = |text: &str, more: &[&str]| {
        std::fs::write(&file, text).unwrap();
        let arguments = ["topic", "list", "--command-config", file.to_str().unwrap()];
        kohort(&[&arguments[..], more].concat(), "", &[])
    };
    let servers = format!("bootstrap.servers={}\n# a producer's\nacks=1\n", broker.address);
    assert!(list(&servers, &[]).status.success());
    let nobody = "bootstrap.servers=127.0.0.1:1\n";
    let options = ["--bootstrap-server", &broker.address];
    assert!(list(nobody, &options).status.success());
    let refused = list(&format!("{servers}security.protocoll=SSL\n"), &[]);
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused).contains("the nearest is `security.protocol`"), "{}", words(&refused));
}

#[test]
fn what_consume_writes_as_json_produce_reads_back() {
    let broker = Broker::to_test_with();
    let (from, to) = (unique("from"), unique("to"));
    broker.create(&from);
    broker.create(&to);
    let input = concat!(
        r#"{"key":"k1","payload":"v1","ts":1700000000001,"headers":[["h","x"],["h",null]]}"#,
        "\n",
        r#"{"key":null,"payload":{"base64":"/wA="},"ts":1700000000002,"headers":[]}"#,
        "\n",
        r#"{"key":"k3","payload":null,"ts":1700000000003,"headers":[]}"#,
        "\n",
    );
    broker.stdout(&["produce", &from, "--json"], input);
    let consume =
        |topic: &str| broker.stdout(&["consume", topic, "--from-beginning", "-e", "--json"], "");
    let first = consume(&from);
    assert_eq!(first.lines().count(), 3, "{first}");
    broker.stdout(&["produce", &to, "--json"], &first);
    assert_eq!(consume(&to), first.replace(&from, &to));
}

#[test]
fn records_appear_as_they_arrive() {
    let broker = Broker::to_test_with();
    let topic = unique("live");
    broker.create(&topic);
    let mut consumer = broker.spawn(&["consume", &topic, "--from-beginning"]);
    let mut lines = BufReader::new(consumer.stdout.take().unwrap()).lines();
    for word in ["one", "two", "three"] {
        broker.stdout(&["produce", &topic], &format!("{word}\n"));
        assert_eq!(lines.next().unwrap().unwrap(), word);
    }
    kill_process(Pid::from_raw(consumer.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    assert_eq!(wait(&mut consumer), Some(0));
}

#[test]
fn a_group_resumes_where_it_stopped_and_can_be_reset() {
    let broker = Broker::to_test_with();
    let (topic, group) = (&*unique("t"), &*unique("g"));
    broker.create(topic);
    broker.stdout(&["produce", topic], "0\n1\n2\n3\n4\n5\n");
    let take = |count: &str| {
        let how = ["--group", group, "--from-beginning", "--max-messages", count];
        broker.stdout(&[&["consume", topic], &how[..]].concat(), "")
    };
    let listed = || broker.stdout(&["group", "list"], "").matches(group).count();
    assert_eq!(take("2"), "0\n1\n");
    assert_eq!(take("3"), "2\n3\n4\n");
    assert_eq!(listed(), 1);
    let described = broker.stdout(&["group", "describe", group], "");
    let row: Vec<&str> =
        described.lines().find(|l| l.starts_with(topic)).unwrap().split_whitespace().collect();
    assert_eq!(row[..5], [topic, "0", "5", "6", "1"], "{described}");
    let json = |arguments: &[&str]| -> Vec<serde_json::Value> {
        let told = broker.stdout(&[arguments, &["--json"]].concat(), "");
        told.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let mut listed_json = json(&["group", "list"]);
    listed_json.retain(|listed| listed["group"] == group);
    assert_eq!((listed_json.len(), &listed_json[0]["state"]), (1, &"Empty".into()));
    let [described] = &json(&["group", "describe", group])[..] else { panic!("it is one object") };
    let partition = serde_json::json!({
        "topic": topic,
        "partition": 0,
        "committed_offset": 5,
        "end_offset": 6,
        "lag": 1,
        "lag_ms": described["partitions"][0]["lag_ms"],
        "member": null,
    });
    assert_eq!(described["partitions"], serde_json::json!([partition]), "{described}");
    assert_eq!(described["members"], serde_json::json!([]), "{described}");
    assert_eq!(described["verdicts"][0]["verdict"], "NO MEMBERS", "{described}");
    let reset = &["group", "reset", group, "--topic", topic, "--to-offset", "1"];
    broker.stdout(reset, "");
    assert_eq!(take("1"), "5\n", "without --execute nothing changes");
    broker.stdout(&[&reset[..], &["--execute"]].concat(), "");
    assert_eq!(take("1"), "1\n");
    broker.stdout(&["group", "delete", group], "");
    assert_eq!(listed(), 0);
}

#[test]
fn a_group_goes_to_a_time_by_an_age_and_to_the_offsets_of_a_file() {
    let broker = Broker::to_test_with();
    let (topic, group) = (&*unique("t"), &*unique("g"));
    broker.create(topic);
    broker.stdout(&["produce", topic], "0\n1\n2\n3\n");
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("offsets.csv");
    std::fs::write(&file, format!("{topic},0,2\n\"other\",{topic},0,3\n")).unwrap();
    let plan = |to: &[&str]| {
        let reset = ["group", "reset", group, "--execute"];
        let shown = broker.stdout(&[&reset[..], to].concat(), "");
        let row = shown.lines().find(|line| line.starts_with(topic)).unwrap().to_owned();
        row.split_whitespace().nth(3).unwrap().to_owned()
    };
    assert_eq!(plan(&["--topic", topic, "--to-datetime", "2001-01-01T00:00:00.000"]), "0");
    assert_eq!(plan(&["--topic", topic, "--to-datetime", "2101-01-01T00:00:00+01:00"]), "4");
    assert_eq!(plan(&["--topic", topic, "--by-duration", "P1D"]), "0");
    assert_eq!(plan(&["--from-file", file.to_str().unwrap()]), "2");
    assert_eq!(plan(&["--all-topics", "--shift-by", "1"]), "3");
    let current =
        broker.stdout(&["group", "reset", "nobody", "--topic", topic, "--to-current"], "");
    let row = format!("{topic}  0  -  4  -");
    let squeezed = current.lines().any(|line| line.split_whitespace().eq(row.split_whitespace()));
    assert!(squeezed, "as by Kafka's tool, to the end: {current}");
    std::fs::write(&file, format!("{topic},0,2\n{topic},0,-2\n")).unwrap();
    let refusal = broker.refusal(&["group", "reset", group, "--from-file", file.to_str().unwrap()]);
    assert!(
        refusal.contains("offsets.csv:2: partition and offset are numbers from 0 on"),
        "{refusal}"
    );
    let refusal = broker.refusal(&["group", "reset", "nobody", "--topic", topic, "--shift-by=-1"]);
    assert!(
        refusal.contains(&format!("for {topic}-0; name others with --topic TOPIC:P")),
        "{refusal}"
    );
}

#[test]
fn a_reset_of_a_group_at_work_is_refused() {
    let broker = Broker::to_test_with();
    let (topic, group) = (&*unique("t"), &*unique("g"));
    broker.create(topic);
    broker.stdout(&["produce", topic], "0\n");
    let mut consumer = broker.spawn(&["consume", topic, "--group", group, "--from-beginning"]);
    let mut stdout = BufReader::new(consumer.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();
    let refusal =
        broker.refusal(&["group", "reset", group, "--topic", topic, "--to-earliest", "--execute"]);
    assert!(refusal.contains(group) && refusal.contains("Stable"), "{refusal}");
    consumer.kill().unwrap();
    consumer.wait().unwrap();
}

#[test]
fn output_that_has_no_room_is_a_failure_that_names_it() {
    let broker = Broker::to_test_with();
    let topic = unique("t");
    broker.create(&topic);
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let mut command = common::command(&["topic", "describe", &topic]);
    command.env("KOHORT_BOOTSTRAP_SERVERS", &broker.address).stdout(full);
    let output = command.output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains("cannot write to stdout: No space left"), "{}", words(&output));
}

#[test]
fn a_broker_that_is_not_there_is_named() {
    let nobody = "127.0.0.1:1";
    let output =
        kohort(&["topic", "list", "--timeout", "1s"], "", &[("KOHORT_BOOTSTRAP_SERVERS", nobody)]);
    assert_eq!(output.status.code(), Some(1));
    assert!(words(&output).contains(nobody), "{}", words(&output));
    let mut none = String::new();
    output.stdout.as_slice().read_to_string(&mut none).unwrap();
    assert_eq!(none, "");
}
