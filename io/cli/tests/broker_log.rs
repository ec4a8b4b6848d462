//! The log of `kohort broker` on a stderr that takes nothing: the broker serves, counts and stops.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::io::{ErrorKind, PipeReader, PipeWriter, Read as _, Write as _};
use std::net::TcpStream;
use std::process::Stdio;

use common::{Broker, broker_command, own_address};
use rustix::fs::{OFlags, fcntl_getfl, fcntl_setfl};
use rustix::process::Signal;

/// A broker that logs into `stderr` and answers `/metrics` at the address that comes with it.
fn broker_into(data: &std::path::Path, stderr: impl Into<Stdio>) -> (Broker, String) {
    let address = own_address().to_string();
    let metrics = format!("metrics.listener={address}");
    let mut command = broker_command(data, &[&metrics, "group.initial.rebalance.delay.ms=0"]);
    command.stderr(stderr);
    (Broker::spawned(command), address)
}

/// Whatever the broker logs of it, topics are created and groups consume.
fn use_all_of(broker: &Broker) {
    broker.stdout(&["topic", "create", "orders", "--partitions", "1"], "");
    broker.stdout(&["produce", "orders"], "one\n");
    let read = ["consume", "orders", "--group", "readers", "--max-messages", "1"];
    let from_start = [&read[..], &["--from-beginning"]].concat();
    assert!(broker.stdout(&from_start, "").contains("one"));
    broker.stdout(&["topic", "delete", "orders"], "");
}

fn dropped(address: &str) -> u64 {
    let mut page = String::new();
    let mut stream = TcpStream::connect(address).unwrap();
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    stream.read_to_string(&mut page).unwrap();
    let lines = page.lines().find_map(|line| line.strip_prefix("kohort_log_lines_dropped_total "));
    lines.expect(&page).parse().unwrap()
}

/// A pipe that takes nothing more until somebody reads.
fn full_pipe() -> (PipeReader, PipeWriter) {
    let (reader, mut writer) = std::io::pipe().unwrap();
    let flags = fcntl_getfl(&writer).unwrap();
    fcntl_setfl(&writer, flags | OFlags::NONBLOCK).unwrap();
    for size in [4096, 1] {
        let full = loop {
            if let Err(error) = writer.write_all(&vec![b'x'; size]) {
                break error;
            }
        };
        assert_eq!(full.kind(), ErrorKind::WouldBlock);
    }
    fcntl_setfl(&writer, flags).unwrap();
    (reader, writer)
}

#[test]
fn a_broker_whose_log_nobody_reads_any_more_serves_and_stops_cleanly() {
    let data = tempfile::tempdir().unwrap();
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let (broker, metrics) = broker_into(data.path(), writer);
    use_all_of(&broker);
    broker.until("what is not written is counted", || dropped(&metrics) > 0);
    assert_eq!(broker.terminate(), Some(0));
}

#[test]
fn a_broker_whose_logs_reader_rests_serves_and_stops_cleanly() {
    let data = tempfile::tempdir().unwrap();
    let (_reader, writer) = full_pipe();
    let (broker, _metrics) = broker_into(data.path(), writer);
    use_all_of(&broker);
    assert_eq!(broker.terminate(), Some(0));
}

#[test]
fn a_second_signal_ends_a_broker_whose_logs_reader_rests() {
    let data = tempfile::tempdir().unwrap();
    let (_reader, writer) = full_pipe();
    let (broker, _metrics) = broker_into(data.path(), writer);
    broker.signal(Signal::TERM);
    broker.signal(Signal::INT);
    assert!(matches!(broker.wait(), Some(0 | 143)), "it stopped before the second, or by it");
}

#[test]
fn a_broker_that_is_refused_ends_although_nobody_reads_why() {
    let data = tempfile::tempdir().unwrap();
    let (_reader, writer) = full_pipe();
    let mut command = broker_command(data.path(), &["num.partitions=0"]);
    let mut child = command.stderr(writer).spawn().unwrap();
    drop(command);
    assert_eq!(common::wait(&mut child), Some(1));
}

#[test]
fn the_last_words_of_a_broker_that_stops_are_in_its_log() {
    let data = tempfile::tempdir().unwrap();
    let (mut reader, writer) = std::io::pipe().unwrap();
    let (broker, metrics) = broker_into(data.path(), writer);
    assert_eq!(dropped(&metrics), 0);
    assert_eq!(broker.terminate(), Some(0));
    let mut log = String::new();
    reader.read_to_string(&mut log).unwrap();
    assert!(log.lines().next_back().unwrap().contains("broker stopped"), "{log}");
}
