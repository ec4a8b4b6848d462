//! `kohort consume` in a group that does not go its way.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::io::{BufRead as _, BufReader, Read as _};

use common::wire::Wire;
use common::{Broker, unique, wait};
use kohort_protocol::messages::describe_groups::DescribeGroupsRequest;
use kohort_protocol::messages::join_group::{JoinGroupRequest, JoinGroupRequestProtocol};
use kohort_protocol::messages::leave_group::LeaveGroupRequest;
use kohort_protocol::messages::sync_group::SyncGroupRequest;
use rustix::process::{Pid, Signal, kill_process};

/// The group's state, and the ids of its members.
fn described(wire: &mut Wire, group: &str) -> (String, Vec<String>) {
    let request = DescribeGroupsRequest {
        groups: vec![group.to_owned()],
        ..DescribeGroupsRequest::default()
    };
    let group = wire.call(&request, 0).groups.remove(0);
    (group.group_state, group.members.into_iter().map(|member| member.member_id).collect())
}

fn leave(wire: &mut Wire, group: &str, member_id: &str) {
    let (group_id, member_id) = (group.to_owned(), member_id.to_owned());
    wire.call(&LeaveGroupRequest { group_id, member_id, members: Vec::new() }, 0);
}

/// 1. The member has written a part of what it polled, and waits for whoever reads its stdout.
/// 2. Another one joins, the member is put out, and the group goes on without it.
/// 3. It hears of that, joins again and has to wait; what it has written it cannot commit.
/// 4. The other one leaves: the member writes all of it again.
#[test]
fn a_member_that_is_put_out_of_its_group_says_so_and_goes_on() {
    let broker = Broker::to_test_with();
    let (topic, group) = (&*unique("t"), &*unique("g"));
    broker.create(topic);
    // A poll's worth of it is more than a pipe holds.
    let lines: String = (0..100).map(|number| format!("{number:08000}\n")).collect();
    broker.stdout(&["produce", topic], &lines);
    let mut member = broker.spawn(&["consume", topic, "--group", group, "--from-beginning"]);
    let mut stdout = BufReader::new(member.stdout.take().unwrap());
    let mut first = String::new();
    stdout.read_line(&mut first).unwrap();

    let mut wire = Wire::connect(&broker.address);
    let (_, members) = described(&mut wire, group);
    let join = JoinGroupRequest {
        group_id: group.to_owned(),
        session_timeout_ms: 60_000,
        rebalance_timeout_ms: 60_000,
        protocol_type: "consumer".to_owned(),
        protocols: ["range", "cooperative-sticky"]
            .map(|name| JoinGroupRequestProtocol { name: name.to_owned(), ..Default::default() })
            .into(),
        ..JoinGroupRequest::default()
    };
    let mut other = Wire::connect(&broker.address);
    let joining = std::thread::spawn(move || (other.call(&join, 2), other));
    let rebalances = |wire: &mut Wire| described(wire, group).0 == "PreparingRebalance";
    broker.until("the group waits for the member", || rebalances(&mut wire));
    leave(&mut wire, group, &members[0]);
    let (joined, mut other) = joining.join().unwrap();
    let sync = SyncGroupRequest {
        group_id: group.to_owned(),
        generation_id: joined.generation_id,
        member_id: joined.member_id.clone(),
        ..SyncGroupRequest::default()
    };
    other.call(&sync, 0);
    broker.until("the member has joined again", || rebalances(&mut wire));

    // It writes the rest of its poll, and everything anew once it is in the group.
    let reader = std::thread::spawn(move || {
        let mut line = String::new();
        while line != first {
            line.clear();
            assert!(stdout.read_line(&mut line).unwrap() > 0, "the end came first");
        }
        stdout
    });
    let mut stderr = BufReader::new(member.stderr.take().unwrap());
    let mut said = String::new();
    stderr.read_line(&mut said).unwrap();
    assert!(said.contains(&format!("`{topic}-0` was taken from this member")), "{said}");
    leave(&mut wire, group, &joined.member_id);
    let mut stdout = reader.join().unwrap();
    let rest = std::thread::spawn(move || stdout.read_to_end(&mut Vec::new()).unwrap());
    kill_process(Pid::from_raw(member.id().cast_signed()).unwrap(), Signal::INT).unwrap();
    assert_eq!(wait(&mut member), Some(0));
    rest.join().unwrap();
}
