//! How the task ends.

use std::time::Duration;

use super::Command;
use crate::consumer::{Consumer, ConsumerError, PollError, StreamEnd, StreamError, TopicPartition};

#[tokio::test]
async fn a_panic_of_ours_ends_polls_streams_and_calls_with_an_error() {
    // Nobody listens there.
    let consumer = Consumer::builder().bootstrap_servers("127.0.0.1:1").build().unwrap();
    let partition = TopicPartition::new("t", 0);
    consumer.assign([partition.clone()]).await.unwrap();
    let mut stream = consumer.stream(&partition).unwrap();
    let panics = async { consumer.send(Command::Panic).unwrap() };
    let told = async { tokio::join!(biased; consumer.poll(Duration::MAX), stream.next(), panics) };
    let (poll, read, ()) = tokio::time::timeout(Duration::from_secs(30), told).await.unwrap();
    assert!(matches!(poll, Err(PollError::Failed)), "{poll:?}");
    assert!(matches!(read, Err(StreamError::Ended(StreamEnd::Failed))), "{read:?}");
    let called = consumer.assign([partition]).await;
    assert!(matches!(called, Err(ConsumerError::Failed)), "{called:?}");
    let asked = consumer.next_stream().await;
    assert!(matches!(asked, Err(PollError::Failed)), "{asked:?}");
}
