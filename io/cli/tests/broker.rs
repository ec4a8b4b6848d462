//! `kohort broker` as a process: how it starts, refuses and stops.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{Broker, broker_command, words};
use rustix::process::Signal;

#[test]
fn sigterm_stops_it_cleanly_with_status_zero() {
    let data = tempfile::tempdir().unwrap();
    assert_eq!(Broker::start(data.path(), &[]).terminate(), Some(0));
}

#[test]
fn sighup_stops_it_cleanly_as_well() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(data.path(), &[]);
    broker.signal(Signal::HUP);
    assert_eq!(broker.wait(), Some(0));
}

#[test]
fn a_file_that_may_not_grow_does_not_kill_it() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(data.path(), &[]);
    broker.signal(Signal::XFSZ);
    assert_eq!(broker.terminate(), Some(0));
}

#[test]
fn a_second_broker_on_a_folder_is_refused_by_name() {
    let data = tempfile::tempdir().unwrap();
    let _first = Broker::start(data.path(), &[]);
    let second = broker_command(data.path(), &[]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    assert!(words(&second).contains(data.path().to_str().unwrap()), "{}", words(&second));
    assert!(second.stdout.is_empty());
}

#[test]
fn a_folder_whose_lock_file_was_removed_stays_its_brokers() {
    let data = tempfile::tempdir().unwrap();
    let _first = Broker::start(data.path(), &[]);
    std::fs::remove_file(data.path().join(".lock")).unwrap();
    let second = broker_command(data.path(), &[]).output().unwrap();
    assert_eq!(second.status.code(), Some(1));
    let folder = data.path().to_str().unwrap();
    for verb in ["verify", "repair"] {
        let refused = common::kohort(&["log", verb, "--data", folder], "", &[]);
        assert_eq!(refused.status.code(), Some(1), "{verb}");
        assert!(words(&refused).contains("in use"), "{verb}: {}", words(&refused));
    }
}

#[test]
fn a_start_tells_that_it_made_the_data_folder_and_no_later_one_does() {
    let parent = tempfile::tempdir().unwrap();
    let data = parent.path().join("data");
    let said = Broker::start(&data, &[]).kill();
    let made = said.lines().find(|line| line.contains("a new data folder was made"));
    assert!(made.expect(&said).contains(data.to_str().unwrap()), "{said}");
    let said = Broker::start(&data, &[]).kill();
    assert!(!said.contains("a new data folder was made"), "{said}");
}

#[test]
fn an_unknown_property_is_refused_with_the_nearest_name() {
    let data = tempfile::tempdir().unwrap();
    let refused =
        broker_command(data.path(), &["group.initial.rebalance.delay=0"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused).contains("group.initial.rebalance.delay.ms"), "{}", words(&refused));
}

#[test]
fn a_value_out_of_range_is_refused_with_its_name() {
    let data = tempfile::tempdir().unwrap();
    let refused = broker_command(data.path(), &["num.partitions=0"]).output().unwrap();
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused).contains("num.partitions"), "{}", words(&refused));
}

#[test]
fn a_port_in_use_is_refused_by_name() {
    let data = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let refused = common::kohort(
        &["broker", "--listen", &address, "--data", data.path().to_str().unwrap()],
        "",
        &[],
    );
    assert_eq!(refused.status.code(), Some(1));
    assert!(words(&refused).contains(&address), "{}", words(&refused));
}

#[test]
fn a_kafka_brokers_own_file_starts_a_broker() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("data");
    let file = folder.path().join("server.properties");
    let text = format!(
        "# one node that is broker and controller\nprocess.roles=broker,controller\nnode.id=7\n\
         controller.quorum.bootstrap.servers=localhost:9093\n\
         listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093\n\
         inter.broker.listener.name=PLAINTEXT\ncontroller.listener.names=CONTROLLER\n\
         advertised.listeners=PLAINTEXT://localhost:9092,CONTROLLER://localhost:9093\n\
         listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,SSL:SSL\n\
         num.network.threads=3\nsocket.send.buffer.bytes=102400\nlog.dirs={}\nnum.partitions=2\n\
         offsets.topic.replication.factor=1\ntransaction.state.log.min.isr=1\n",
        data.display()
    );
    std::fs::write(&file, text).unwrap();
    let path = file.to_str().unwrap();
    let set = ["--set", "listeners=PLAINTEXT://127.0.0.1:0,CONTROLLER://127.0.0.1:0"];
    let broker =
        Broker::spawned(common::command(&[&["broker", "--config", path], &set[..]].concat()));
    assert!(data.is_dir());
    let said = broker.kill();
    let inert =
        said.lines().filter(|line| line.contains("change nothing here")).collect::<Vec<_>>();
    assert_eq!(inert.len(), 1, "{said}");
    for name in ["num.network.threads", "controller.quorum.bootstrap.servers", "(CONTROLLER)"] {
        assert!(inert[0].contains(name), "{name} in {said}");
    }
    assert!(!inert[0].contains("num.partitions"), "{said}");

    std::fs::write(&file, "num.partitions=1\nnum.partitons=2\n").unwrap();
    let refused = common::kohort(&["broker", "--config", path], "", &[]);
    assert_eq!(refused.status.code(), Some(1));
    let said = words(&refused);
    assert!(said.contains("server.properties") && said.contains("line 2"), "{said}");
    assert!(said.contains("num.partitions"), "{said}");
}

#[test]
fn topics_and_records_are_there_again_after_sigkill() {
    let data = tempfile::tempdir().unwrap();
    let broker = Broker::start(data.path(), &[]);
    broker.stdout(&["topic", "create", "orders", "--partitions", "3"], "");
    broker.stdout(&["produce", "orders", "-K", ":"], "a:1\nb:2\nc:3\n");
    drop(broker);
    let broker = Broker::start(data.path(), &[]);
    let text = broker.stdout(
        &["consume", "orders", "--from-beginning", "--max-messages", "3", "-f", "%k=%s\n"],
        "",
    );
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    assert_eq!(lines, ["a=1", "b=2", "c=3"]);
}
