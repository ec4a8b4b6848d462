//! `kohort broker` as a process: how it starts, refuses and stops.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use common::{Broker, broker_command, words};

#[test]
fn sigterm_stops_it_cleanly_with_status_zero() {
    let data = tempfile::tempdir().unwrap();
    assert_eq!(Broker::start(data.path(), &[]).terminate(), Some(0));
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
