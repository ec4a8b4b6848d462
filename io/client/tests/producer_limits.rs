//! The producer where something is too large, too slow or not its to decide: batches above a topic's
//! limit, brokers that are gone, memory that is used up, partitioners of the application's own.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::net::TcpListener;
use std::time::Duration;

use kohort::admin::{Admin, NewTopic};
use kohort::cluster::ClusterError;
use kohort::config::{AdminConfig, ProducerConfig, Properties};
use kohort::net::NetError;
use kohort::producer::{
    Deliveries, Partitioner, Producer, ProducerBuilder, ProducerRecord, RoundRobin, SendError,
    TopicPartitions,
};
use support::{OwnBroker, PATIENCE, bootstrap, create_topic, own_address, read_all, unique};

fn builder(servers: &str, properties: &[(&str, &str)]) -> ProducerBuilder {
    let builder = Producer::builder().set("bootstrap.servers", servers);
    properties.iter().fold(builder, |builder, (name, value)| builder.set(name, value))
}

/// A value no codec makes much smaller.
fn noise(seed: usize, len: usize) -> Vec<u8> {
    let mut state = seed as u64 + 1;
    let next = |state: &mut u64| {
        *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963);
        (*state >> 56) as u8
    };
    (0..len).map(|_| next(&mut state)).collect()
}

async fn create_small_topic(servers: &str, name: &str) {
    let config = AdminConfig::from_pairs([("bootstrap.servers", servers)]).unwrap();
    let admin = Admin::new(config).unwrap();
    let topic = NewTopic::new(name).partitions(1).replication_factor(1);
    admin.create_topic(topic.config("max.message.bytes", "2000")).await.unwrap();
}

#[tokio::test]
async fn batches_too_large_for_their_topic_are_split_until_it_takes_them() {
    let servers = bootstrap();
    for codec in ["none", "lz4", "zstd"] {
        let topic = unique(codec);
        create_small_topic(&servers, &topic).await;
        let properties = [("compression.type", codec), ("linger.ms", "50")];
        let producer = builder(&servers, &properties).build().unwrap();
        let mut deliveries = Vec::new();
        for number in 0..400 {
            let value = noise(number, 100 + number % 7);
            deliveries.push(producer.send(ProducerRecord::to(&topic).value(&value)).await.unwrap());
        }
        producer.flush().await;
        assert_eq!(producer.buffered_bytes(), 0, "a flush waits for every part");
        for (offset, delivery) in (0..).zip(deliveries) {
            assert_eq!(delivery.await.unwrap().offset, offset, "{codec}");
        }
        let records = read_all(&servers, &topic, 0).await;
        let values: Vec<Vec<u8>> = records.into_iter().map(|it| it.2.unwrap()).collect();
        let sent: Vec<Vec<u8>> = (0..400).map(|it| noise(it, 100 + it % 7)).collect();
        assert_eq!(values, sent, "{codec}");
    }
}

#[tokio::test]
async fn only_the_record_that_is_too_large_by_itself_fails() {
    let servers = bootstrap();
    let topic = unique("one-too-large");
    create_small_topic(&servers, &topic).await;
    let producer = builder(&servers, &[("linger.ms", "50")]).build().unwrap();
    let mut deliveries = Vec::new();
    for number in 0..20 {
        let value = noise(number, if number == 7 { 3000 } else { 100 });
        deliveries.push(producer.send(ProducerRecord::to(&topic).value(&value)).await.unwrap());
    }
    for (number, delivery) in deliveries.into_iter().enumerate() {
        match delivery.await {
            Ok(_) => assert_ne!(number, 7),
            Err(SendError::RefusedTooLarge { topic: told, partition, bytes, limit }) => {
                assert_eq!((number, &*told, partition, limit), (7, &*topic, 0, Some(2000)));
                assert!((3000..3100).contains(&bytes), "{bytes}");
            }
            Err(error) => panic!("{error}"),
        }
    }
    producer.close(Duration::from_secs(20)).await.unwrap();
    assert_eq!(read_all(&servers, &topic, 0).await.len(), 19);
}

#[tokio::test]
async fn a_broker_that_is_gone_ends_in_a_timeout_and_full_memory_in_its_own_error() {
    let broker = OwnBroker::start(support::folder(), own_address(), None);
    let topic = unique("gone");
    let servers = broker.servers();
    create_topic(&servers, &topic, 1).await;
    let times = [
        ("linger.ms", "0"),
        ("request.timeout.ms", "500"),
        ("delivery.timeout.ms", "1500"),
        ("max.block.ms", "100"),
        ("buffer.memory", "20000"),
    ];
    let producer = builder(&servers, &times).build().unwrap();
    support::until(|| async { producer.partitions(&topic).await.ok() }).await;
    let first = producer.send(ProducerRecord::to(&topic).value("x")).await.unwrap();
    assert_eq!(first.await.unwrap().offset, 0);
    drop(broker);
    let value = [0; 1000];
    let mut deliveries = Vec::new();
    let error = loop {
        match producer.send(ProducerRecord::to(&topic).value(&value)).await {
            Ok(delivery) => deliveries.push(delivery),
            Err(error) => break error,
        }
    };
    let limit = 20_000;
    assert!(matches!(&error, SendError::NoMemory { limit: told, .. } if *told == limit), "{error}");
    assert!(error.is_retriable());
    for delivery in deliveries {
        let error = delivery.await.unwrap_err();
        let SendError::Timeout { topic: told, partition, waited, cause } = &error else {
            panic!("{error}");
        };
        assert_eq!((&**told, *partition, waited.as_millis()), (&*topic, 0, 1500));
        let cause = cause.as_ref().expect("it is known what keeps the broker away").to_string();
        assert!(cause.contains(&servers), "{cause}");
    }
    assert_eq!(producer.buffered_bytes(), 0);
}

/// What a producer says of a topic when it has waited long enough.
async fn gives_up(properties: &[(&str, &str)], servers: &str) -> ClusterError {
    // Long enough for an attempt, on a busy machine as well.
    let producer = builder(servers, properties).set("max.block.ms", "2000").build().unwrap();
    match producer.send(ProducerRecord::to("topic")).await.unwrap_err() {
        SendError::UnknownTopic { reason, .. } => reason,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_send_that_reaches_no_server_says_why() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let servers = silent.local_addr().unwrap().to_string();
    let authority = support::certificates::Authority::new("ca");
    let encrypted =
        [("security.protocol", "SSL"), ("ssl.truststore.certificates", &*authority.pem)];
    let bootstrap = bootstrap();
    let (unanswered, refused, misunderstood) = tokio::join!(
        gives_up(&[], &servers),
        gives_up(&[], "127.0.0.1:1"),
        gives_up(&encrypted, &bootstrap)
    );
    assert!(matches!(unanswered, ClusterError::NoAnswer { .. }), "{unanswered}");
    assert!(unanswered.to_string().contains(&servers), "{unanswered}");
    let by_system =
        matches!(&refused, ClusterError::Unreachable { last: NetError::Connect { .. }, .. });
    assert!(by_system && refused.is_retriable(), "{refused}");
    let told = misunderstood.to_string();
    assert!(told.contains("a listener without TLS does that"), "{told}");
}

#[tokio::test]
async fn records_that_fail_are_counted_though_nobody_holds_their_deliveries() {
    let servers = bootstrap();
    let topic = unique("dropped");
    create_small_topic(&servers, &topic).await;
    let producer = builder(&servers, &[]).build().unwrap();
    let written = producer.send(ProducerRecord::to(&topic).value("x")).await.unwrap();
    written.await.unwrap();
    for number in 0..5 {
        let value = noise(number, 4_000);
        drop(producer.send(ProducerRecord::to(&topic).value(&value)).await.unwrap());
    }
    producer.close(PATIENCE).await.unwrap();
    let metrics = producer.metrics();
    assert_eq!(metrics.record_error_total, 5);
    assert!(metrics.record_send_total >= 6 && metrics.byte_total > 20_000, "{metrics:?}");
    assert!(metrics.request_total > 1 && metrics.batch_send_total > 1, "{metrics:?}");
    assert!(metrics.request_latency_max >= metrics.request_latency_avg, "{metrics:?}");
    assert!(!metrics.request_latency_avg.is_zero(), "{metrics:?}");
    assert_eq!((metrics.buffered_bytes, metrics.buffer_available_bytes), (0, 32 << 20));
}

#[tokio::test]
async fn a_typed_configuration_goes_with_what_the_builder_takes_and_no_time_is_too_long() {
    let servers = bootstrap();
    let topic = unique("typed");
    create_topic(&servers, &topic, 3).await;
    let config = ProducerConfig::default()
        .delivery_timeout(Duration::MAX.into())
        .max_block(Duration::MAX)
        .partitioner_availability_timeout(Duration::MAX);
    let producer = ProducerBuilder::from(config)
        .bootstrap_servers(&servers)
        .with(|mut config| {
            config.common.request_timeout = Duration::MAX;
            config.common.connections_max_idle = Duration::MAX;
            config.common.connection_setup_timeout = Duration::MAX;
            config.common.metadata_max_age = Duration::MAX;
            config.common.metadata_rebootstrap_trigger = Duration::MAX;
            config.common.retry_backoff_max = Duration::MAX;
            config.common.reconnect_backoff_max = Duration::MAX;
            config
        })
        .partitioner(ByValue)
        .build()
        .unwrap();
    assert_eq!(producer.partitions(&topic).await.unwrap(), 3);
    let delivery = producer.send(ProducerRecord::to(&topic).value("2")).await.unwrap();
    assert_eq!(delivery.await.unwrap().partition, 2);
    producer.close(Duration::MAX).await.unwrap();

    let mut config = AdminConfig::from_pairs([("bootstrap.servers", servers)]).unwrap();
    config.common.default_api_timeout = Duration::MAX;
    let admin = Admin::new(config).unwrap();
    assert!(admin.describe_topics(vec![topic.clone()]).await.unwrap()[&topic].is_ok());
}

#[tokio::test]
async fn fewer_acks_need_nothing_else_to_be_set() {
    let servers = bootstrap();
    let topic = unique("acks");
    create_topic(&servers, &topic, 1).await;
    for acks in ["1", "0"] {
        let producer = builder(&servers, &[("acks", acks)]).build().unwrap();
        producer.send(ProducerRecord::to(&topic).value("x")).await.unwrap().await.unwrap();
    }
}

#[tokio::test]
async fn a_negative_timestamp_is_refused() {
    let producer = builder(&bootstrap(), &[]).build().unwrap();
    for wrong in [-1, -5, i64::MIN] {
        let record = ProducerRecord::to("topic").timestamp(wrong);
        let error = producer.send(record).await.unwrap_err();
        let SendError::InvalidTimestamp { timestamp, .. } = &error else { panic!("{error}") };
        assert!(*timestamp == wrong && !error.is_retriable(), "{error}");
    }
}

/// Sends each record where its value says.
#[derive(Debug)]
struct ByValue;

impl Partitioner for ByValue {
    fn partition(
        &mut self,
        _: &str,
        _: Option<&[u8]>,
        value: Option<&[u8]>,
        view: TopicPartitions<'_>,
    ) -> Option<i32> {
        assert_eq!(view.partition_count, 3);
        std::str::from_utf8(value?).ok()?.parse().ok()
    }
}

#[tokio::test]
async fn a_partitioner_of_ones_own_decides_unless_the_record_or_nobody_does() {
    let servers = bootstrap();
    let topic = unique("by-value");
    create_topic(&servers, &topic, 3).await;
    let producer = builder(&servers, &[]).partitioner(ByValue).build().unwrap();
    let send = async |record: ProducerRecord<'_>| producer.send(record).await;
    let partition = async |record| send(record).await.unwrap().await.unwrap().partition;
    assert_eq!(partition(ProducerRecord::to(&topic).value("2")).await, 2);
    assert_eq!(partition(ProducerRecord::to(&topic).value("0").key("k")).await, 0);
    assert_eq!(partition(ProducerRecord::to(&topic).value("2").partition(1)).await, 1);
    let by_key = kohort::producer::partition_for_key(b"JFK", 3);
    assert_eq!(partition(ProducerRecord::to(&topic).value("x").key("JFK")).await, by_key);
    let error = send(ProducerRecord::to(&topic).value("7")).await.unwrap_err();
    let expected = matches!(error, SendError::UnknownPartition { partition: 7, partitions: 3, .. });
    assert!(expected, "{error}");
}

#[tokio::test]
async fn deliveries_tell_of_every_record_batch_by_batch() {
    let servers = bootstrap();
    let topic = unique("deliveries");
    create_topic(&servers, &topic, 3).await;
    let producer = builder(&servers, &[("batch.size", "500")]);
    let producer = producer.partitioner(RoundRobin::default()).build().unwrap();
    let mut deliveries = Deliveries::new();
    for _ in 0..3000 {
        deliveries
            .add(producer.send(ProducerRecord::to(&topic).value("0123456789")).await.unwrap());
    }
    assert_eq!(deliveries.records(), 3000);
    let (mut ends, mut batches) = ([0; 3], 0);
    while let Some(batch) = deliveries.next().await {
        let batch = batch.unwrap();
        let end = &mut ends[batch.partition as usize];
        assert_eq!(batch.first_offset, *end, "in their order");
        *end += i64::from(batch.records);
        batches += 1;
    }
    assert_eq!(ends, [1000; 3]);
    assert!(batches < 1000, "{batches}");
}
