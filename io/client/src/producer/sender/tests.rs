//! How the sender ends.

use std::time::Duration;

use kohort_client_core::metadata::{MetadataScope, MetadataView};
use kohort_protocol::messages::metadata::{
    MetadataResponse, MetadataResponseBroker, MetadataResponsePartition, MetadataResponseTopic,
};

use crate::producer::{CloseError, Producer, ProducerRecord, SendError};

/// A picture in which topic `t` has one partition.
fn view() -> MetadataView {
    let partitions = vec![MetadataResponsePartition { leader_id: 1, ..Default::default() }];
    let topic = MetadataResponseTopic { name: Some("t".into()), partitions, ..Default::default() };
    let broker =
        MetadataResponseBroker { node_id: 1, host: "127.0.0.1".into(), port: 1, rack: None };
    let answer =
        MetadataResponse { brokers: vec![broker], topics: vec![topic], ..Default::default() };
    MetadataView::default().merge(&answer, 13, MetadataScope::SomeTopics).0
}

#[tokio::test]
async fn a_sender_that_ends_before_its_time_leaves_nobody_waiting() {
    // Nobody listens there.
    let producer = Producer::builder().set("bootstrap.servers", "127.0.0.1:1").build().unwrap();
    producer.handle.shared.learn(&view());
    let record = || ProducerRecord::to("t").value("v").partition(0);
    let delivery = producer.send(record()).await.unwrap();
    // As after a panic, what the sender was doing is dropped where it stood.
    producer.handle.driver.stop();
    let told = async {
        assert!(matches!(delivery.await, Err(SendError::Closed)));
        producer.flush().await;
        assert!(matches!(producer.send(record()).await, Err(SendError::Closed)));
        let closed = producer.close(Duration::MAX).await;
        assert_eq!(closed, Err(CloseError::Failed { records: 1 }));
    };
    tokio::time::timeout(Duration::from_secs(30), told).await.unwrap();
}

#[tokio::test]
async fn a_close_says_how_many_records_it_gave_up() {
    let producer = Producer::builder().set("bootstrap.servers", "127.0.0.1:1").build().unwrap();
    producer.handle.shared.learn(&view());
    let mut deliveries = Vec::new();
    for _ in 0..3 {
        let record = ProducerRecord::to("t").value("v").partition(0);
        deliveries.push(producer.send(record).await.unwrap());
    }
    let waited = Duration::from_millis(1);
    let gave_up = Err(CloseError::Timeout { waited, records: 3 });
    assert_eq!(producer.close(waited).await, gave_up);
    assert_eq!(producer.close(Duration::MAX).await, gave_up, "and says so again");
    assert_eq!(producer.metrics().record_error_total, 3);
    for delivery in deliveries {
        assert!(matches!(delivery.await, Err(SendError::Closed)));
    }
}
