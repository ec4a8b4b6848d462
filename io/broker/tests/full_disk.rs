//! A broker whose files may not grow, which to it is a full disk. Alone in its process, since the limit is one
//! of all of it.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod common;

use std::collections::BTreeSet;
use std::time::Duration;

use common::{Client, PATIENCE, batch, produce_request, start};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::create_partitions::CreatePartitionsTopic;
use kohort_protocol::messages::create_topics::CreatableTopic;
use kohort_protocol::messages::{CreatePartitionsRequest, CreateTopicsRequest, ProduceRequest};
use rustix::process::{Resource, Rlimit, Signal, getrlimit, setrlimit};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{sleep, timeout};

#[tokio::test]
async fn on_a_full_disk_nothing_is_acknowledged_or_made_until_there_is_room() {
    // Or the system would end the process.
    let _handled = signal(SignalKind::from_raw(Signal::XFSZ.as_raw())).unwrap();
    let limit_before = getrlimit(Resource::Fsize);
    setrlimit(Resource::Fsize, Rlimit { current: Some(1 << 20), ..limit_before }).unwrap();
    let running = start().await;
    let mut client = running.client().await;
    client.create_topic("t", 1).await;
    // Soon neither the log nor the segment has room for another: their files may not be larger.
    let records = batch(&[&"x".repeat(900_000)]);
    let request = ProduceRequest { timeout_ms: 0, ..produce_request("t", 0, -1, records.clone()) };
    let mut acked = 0;
    let late = loop {
        let mut answer = client.call(&request, 12).await.responses.remove(0);
        let answer = answer.partition_responses.remove(0);
        if !answer.error_code.is_ok() {
            break answer;
        }
        assert_eq!(answer.base_offset, acked);
        acked += 1;
    };
    assert_eq!((late.error_code, late.base_offset), (ErrorCode::REQUEST_TIMED_OUT, -1));
    // From here on it is known before anything waits.
    let refused = client.produce("t", 0, records.clone()).await;
    assert_eq!(refused.error_code, ErrorCode::KAFKA_STORAGE_ERROR);
    let why = (ErrorCode::KAFKA_STORAGE_ERROR, "the disk is full");
    for (code, message) in [create(&mut client).await, grow(&mut client).await] {
        assert!(code == why.0 && message.contains(why.1), "{code}: {message}");
    }
    setrlimit(Resource::Fsize, limit_before).unwrap();
    let taken = async {
        loop {
            let answer = client.produce("t", 0, records.clone()).await;
            if answer.error_code.is_ok() {
                return answer.base_offset;
            }
            sleep(Duration::from_millis(10)).await;
        }
    };
    let taken = timeout(PATIENCE, taken).await.expect("there is room again");
    assert_eq!(taken, acked + 1, "what was late has been written by then");
    let made: BTreeSet<_> = [create(&mut client).await.0, grow(&mut client).await.0].into();
    assert_eq!(made, [ErrorCode::NONE].into());
}

/// Asks for another topic.
async fn create(client: &mut Client) -> (ErrorCode, String) {
    let topic = CreatableTopic {
        name: "u".to_owned(),
        num_partitions: 1,
        replication_factor: -1,
        ..CreatableTopic::default()
    };
    let request = CreateTopicsRequest { topics: vec![topic], ..CreateTopicsRequest::default() };
    let result = client.call(&request, 7).await.topics.remove(0);
    (result.error_code, result.error_message.unwrap_or_default())
}

/// Asks for another partition.
async fn grow(client: &mut Client) -> (ErrorCode, String) {
    let topic = CreatePartitionsTopic { name: "t".to_owned(), count: 2, assignments: None };
    let request =
        CreatePartitionsRequest { topics: vec![topic], ..CreatePartitionsRequest::default() };
    let result = client.call(&request, 3).await.results.remove(0);
    (result.error_code, result.error_message.unwrap_or_default())
}
