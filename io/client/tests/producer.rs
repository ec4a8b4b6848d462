//! The producer against a broker.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::collections::BTreeMap;
use std::time::Duration;

use kohort::producer::{Producer, ProducerRecord, SendError};
use kohort_protocol::records::Header;
use support::{
    OwnBroker, bootstrap, create_topic, own_address, proxied, read_all, read_at_least, unique,
};

fn producer(servers: &str, properties: &[(&str, &str)]) -> Producer {
    let builder = Producer::builder().set("bootstrap.servers", servers);
    properties
        .iter()
        .fold(builder, |builder, (name, value)| builder.set(name, value))
        .build()
        .unwrap()
}

const SOON: Duration = Duration::from_secs(20);

#[tokio::test]
async fn every_codec_is_written_and_read_back_byte_for_byte() {
    let servers = bootstrap();
    for codec in ["none", "gzip", "snappy", "lz4", "zstd"] {
        let topic = unique(codec);
        create_topic(&servers, &topic, 1).await;
        let producer = producer(&servers, &[("compression.type", codec)]);
        let mut deliveries = Vec::new();
        for number in 0..1000_u32 {
            let key = format!("key-{number}");
            let value = format!("value {number} ").repeat(7);
            let number = number.to_be_bytes();
            let headers = [Header { key: b"n", value: Some(&number) }];
            let record = ProducerRecord::to(&topic).key(&key).value(&value).headers(&headers);
            deliveries.push(producer.send(record.timestamp(1_000)).await.unwrap());
        }
        for (expected, delivery) in (0..).zip(deliveries) {
            let written = delivery.await.unwrap();
            assert_eq!((written.offset, written.timestamp), (expected, 1_000), "{codec}");
        }
        producer.close(SOON).await.unwrap();
        let records = read_all(&servers, &topic, 0).await;
        assert_eq!(records.len(), 1000, "{codec}");
        for (number, (offset, key, value)) in records.iter().enumerate() {
            assert_eq!(*offset, number as i64);
            assert_eq!(key.as_deref(), Some(format!("key-{number}").as_bytes()));
            assert_eq!(value.as_deref(), Some(format!("value {number} ").repeat(7).as_bytes()));
        }
    }
}

#[tokio::test]
async fn records_of_many_partitions_keep_their_order_and_are_written_once() {
    let servers = bootstrap();
    let topic = unique("order");
    create_topic(&servers, &topic, 6).await;
    let small = [("batch.size", "500"), ("linger.ms", "0"), ("buffer.memory", "20000")];
    let producer = producer(&servers, &small);
    let mut senders = tokio::task::JoinSet::new();
    for sender in 0..4 {
        let (producer, topic) = (producer.clone(), topic.clone());
        senders.spawn(async move {
            for number in 0..2000 {
                let value = format!("{sender} {number}");
                let partition = number % 6;
                let record = ProducerRecord::to(&topic).value(&value).partition(partition);
                drop(producer.send(record).await.unwrap());
            }
        });
    }
    senders.join_all().await;
    producer.flush().await;
    assert_eq!(producer.buffered_bytes(), 0);
    for partition in 0..6 {
        let mut last: BTreeMap<String, i32> = BTreeMap::new();
        let mut count = 0;
        for (_, _, value) in read_all(&servers, &topic, partition).await {
            let text = String::from_utf8(value.unwrap()).unwrap();
            let (sender, number) = text.split_once(' ').unwrap();
            let number: i32 = number.parse().unwrap();
            let before = last.insert(sender.to_owned(), number);
            assert!(before.is_none_or(|before| before < number), "{before:?} then {number}");
            count += 1;
        }
        let expected = 4 * (0..2000).filter(|number| number % 6 == partition).count();
        assert_eq!(count, expected);
    }
}

#[tokio::test]
async fn each_level_of_acks_is_written() {
    let servers = bootstrap();
    for (acks, offset) in [("0", -1), ("1", 0), ("all", 0)] {
        let topic = unique("acks");
        create_topic(&servers, &topic, 1).await;
        let producer = producer(&servers, &[("acks", acks), ("enable.idempotence", "false")]);
        let delivery = producer.send(ProducerRecord::to(&topic).value("x")).await.unwrap();
        assert_eq!(delivery.await.unwrap().offset, offset, "acks={acks}");
        producer.close(SOON).await.unwrap();
        // Without acks, nobody said yet that it is there.
        assert_eq!(read_at_least(&servers, &topic, 0, 1).await.len(), 1);
    }
}

#[tokio::test]
async fn a_missing_topic_is_created_and_a_bad_name_is_refused() {
    let servers = bootstrap();
    let producer = producer(&servers, &[]);
    let topic = unique("created");
    let written =
        producer.send(ProducerRecord::to(&topic).value("x")).await.unwrap().await.unwrap();
    assert_eq!(written.offset, 0);
    let error = producer.send(ProducerRecord::to("no/such name").value("x")).await.unwrap_err();
    assert!(matches!(error, SendError::UnknownTopic { .. }), "{error}");
    assert!(!error.is_retriable());
    let error = producer.send(ProducerRecord::to(&topic).partition(99)).await.unwrap_err();
    assert!(matches!(error, SendError::UnknownPartition { partition: 99, .. }), "{error}");
}

#[tokio::test]
async fn a_record_too_large_for_its_topic_fails_alone_with_the_topics_limit() {
    let servers = bootstrap();
    let topic = unique("refused");
    create_topic(&servers, &topic, 1).await;
    let limits = [("max.request.size", "3MiB")];
    let producer = producer(&servers, &limits);
    let large = vec![b'x'; 2_000_000];
    let refused = producer.send(ProducerRecord::to(&topic).value(&large)).await.unwrap();
    let error = refused.await.unwrap_err();
    let told = match &error {
        SendError::RefusedTooLarge { topic, partition, bytes, limit } => {
            (&**topic, *partition, *bytes > 2_000_000, *limit)
        }
        _ => panic!("{error}"),
    };
    assert_eq!(told, (&*topic, 0, true, Some(1_048_588)));
    let fine = producer.send(ProducerRecord::to(&topic).value("x")).await.unwrap();
    assert_eq!(fine.await.unwrap().offset, 0);
    let huge = vec![b'x'; 4_000_000];
    let error = producer.send(ProducerRecord::to(&topic).value(&huge)).await.unwrap_err();
    assert!(matches!(error, SendError::RecordTooLarge { .. }), "{error}");
}

#[tokio::test]
async fn nobody_to_write_to_is_told_in_time() {
    let times = [("max.block.ms", "300")];
    let producer = producer("127.0.0.1:1", &times);
    let error = producer.send(ProducerRecord::to("t").value("x")).await.unwrap_err();
    assert!(matches!(error, SendError::UnknownTopic { .. }), "{error}");
    assert!(error.is_retriable());
    producer.close(Duration::from_secs(1)).await.unwrap();
    let error = producer.send(ProducerRecord::to("t").value("x")).await.unwrap_err();
    assert!(matches!(error, SendError::Closed), "{error}");
}

#[test]
fn sending_needs_no_runtime_around_it_and_a_dropped_producer_still_delivers() {
    let servers = bootstrap();
    let topic = unique("dropped");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(create_topic(&servers, &topic, 1));
    let producer = producer(&servers, &[("linger.ms", "1h"), ("delivery.timeout.ms", "2h")]);
    let deliveries = support::block_on(async {
        let mut deliveries = Vec::new();
        for _ in 0..10 {
            deliveries.push(producer.send(ProducerRecord::to(&topic).value("x")).await.unwrap());
        }
        deliveries
    });
    drop(producer);
    for (offset, delivery) in (0..).zip(deliveries) {
        assert_eq!(support::block_on(delivery).unwrap().offset, offset);
    }
}

/// Answers are lost at every byte, after the broker wrote the batch or before.
#[tokio::test]
async fn connections_cut_at_any_byte_neither_lose_nor_repeat_nor_reorder_records() {
    let (_broker, proxy) = proxied();
    let topic = unique("cut");
    create_topic(&proxy.servers(), &topic, 3).await;
    proxy.cut(true);
    let properties = [("batch.size", "1"), ("linger.ms", "0"), ("retry.backoff.ms", "5")];
    let producer = producer(&proxy.servers(), &properties);
    let mut deliveries = Vec::new();
    for number in 0..6000 {
        let value = number.to_string();
        let record = ProducerRecord::to(&topic).value(&value).partition(number % 3);
        deliveries.push(producer.send(record).await.unwrap());
        if number % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    let mut offsets: BTreeMap<(i32, i64), usize> = BTreeMap::new();
    for (number, delivery) in deliveries.into_iter().enumerate() {
        let written = delivery.await.unwrap();
        if written.offset >= 0 {
            offsets.insert((written.partition, written.offset), number);
        }
    }
    assert!(proxy.cuts() > 5, "only {} connections were cut", proxy.cuts());
    proxy.cut(false);
    for partition in 0..3 {
        let records = read_all(&proxy.servers(), &topic, partition).await;
        let values = records.iter().map(|(_, _, value)| {
            String::from_utf8_lossy(value.as_deref().unwrap()).parse::<usize>().unwrap()
        });
        let expected: Vec<usize> = (0..6000).filter(|it| it % 3 == partition as usize).collect();
        assert_eq!(values.collect::<Vec<_>>(), expected);
        for (offset, _, value) in &records {
            if let Some(number) = offsets.get(&(partition, *offset)) {
                assert_eq!(value.as_deref(), Some(number.to_string().as_bytes()));
            }
        }
    }
}

#[tokio::test]
async fn records_survive_a_restart_of_the_broker_once_and_in_order() {
    let (data, address) = (support::folder(), own_address());
    let broker = OwnBroker::start(data.clone(), address, None);
    let servers = broker.servers();
    let topic = unique("restart");
    create_topic(&servers, &topic, 1).await;
    let producer = producer(&servers, &[("batch.size", "200"), ("linger.ms", "0")]);
    let mut deliveries = Vec::new();
    let mut broker = Some(broker);
    for number in 0..3000 {
        let value = number.to_string();
        deliveries.push(producer.send(ProducerRecord::to(&topic).value(&value)).await.unwrap());
        if number % 1000 == 500 {
            broker = None;
        }
        if number % 1000 == 700 {
            assert!(broker.is_none());
            broker = Some(OwnBroker::start(data.clone(), address, None));
        }
    }
    for delivery in deliveries {
        delivery.await.unwrap();
    }
    let records = read_all(&servers, &topic, 0).await;
    let values: Vec<String> =
        records.into_iter().map(|it| String::from_utf8(it.2.unwrap()).unwrap()).collect();
    assert_eq!(values, (0..3000).map(|it| it.to_string()).collect::<Vec<_>>());
}
