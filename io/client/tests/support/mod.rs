//! What the tests share: brokers to talk to, consumers, topics and what is in them.
#![allow(dead_code, unreachable_pub, unused_imports, reason = "each test binary uses a part of it")]

mod brokers;
pub mod certificates;
mod consumers;
mod folder;
pub mod nodes;
mod old;
mod scripted;
pub mod secured;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use kohort::cluster::{Cluster, ClusterOptions};
use kohort::config::{AdminConfig, Properties};
use kohort::net::{Driver, Purpose};
use kohort_client_core::metadata::MetadataView;
use kohort_protocol::VersionRange;
use kohort_protocol::compression::Decompressor;
use kohort_protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use kohort_protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use kohort_protocol::records::batches;

pub use self::brokers::{CuttingProxy, OwnBroker, bootstrap, own_address, proxied};
pub use self::consumers::{
    PATIENCE, SHORT_SESSION, cooperative_member, member, member_by, member_with_session, own,
    partitions, poll_until, produce, read_until, shared_out, values,
};
pub use self::folder::{Folder, folder};
pub use self::old::{Answers, OldBroker};
pub use self::scripted::Scripted;

/// Returns a topic name no other test uses.
pub fn unique(name: &str) -> String {
    static COUNT: AtomicUsize = AtomicUsize::new(0);
    let since = std::time::UNIX_EPOCH.elapsed().unwrap();
    format!("{name}-{:x}-{}", since.as_nanos(), COUNT.fetch_add(1, Ordering::Relaxed))
}

/// Connects to the servers.
pub fn connect(servers: &str) -> (Driver, Cluster) {
    let config = AdminConfig::from_pairs([("bootstrap.servers", servers)]).unwrap();
    let driver = Driver::start("test").unwrap();
    let options = ClusterOptions { seed: Some(1), ..ClusterOptions::default() };
    let cluster = Cluster::start(&driver, &config.common, options).unwrap();
    (driver, cluster)
}

/// Creates a topic and waits until its partitions have leaders.
pub async fn create_topic(servers: &str, topic: &str, partitions: i32) {
    let (driver, cluster) = connect(servers);
    let name = topic.to_owned();
    let work = async move {
        let request = CreateTopicsRequest {
            topics: vec![CreatableTopic {
                name: name.clone(),
                num_partitions: partitions,
                replication_factor: 1,
                ..Default::default()
            }],
            timeout_ms: 10_000,
            ..Default::default()
        };
        let connection = cluster.any_connection().await.unwrap();
        let answer = connection.send(&request).await.unwrap();
        assert!(answer.topics[0].error_code.is_ok(), "{answer:?}");
        let mut views = cluster.subscribe();
        cluster.follow_topics([&name]);
        let ready = |view: &Arc<MetadataView>| {
            view.topic(&name).is_some_and(|topic| topic.partitions.iter().all(|it| it.leader >= 0))
        };
        views.wait_for(ready).await.unwrap();
    };
    driver.run(work).await.unwrap();
}

type Record = (i64, Option<Vec<u8>>, Option<Vec<u8>>);

/// Reads a partition from its start to its end: offset, key and value of each record.
pub async fn read_all(servers: &str, topic: &str, partition: i32) -> Vec<Record> {
    read_at_least(servers, topic, partition, 0).await
}

/// Reads a partition to its end, which comes after `count` records at the earliest.
pub async fn read_at_least(
    servers: &str,
    topic: &str,
    partition: i32,
    count: usize,
) -> Vec<Record> {
    let (driver, cluster) = connect(servers);
    let topic = topic.to_owned();
    let work = async move {
        let mut views = cluster.subscribe();
        cluster.follow_topics([&topic]);
        let view = views.wait_for(|view| view.leader(&topic, partition).is_some()).await;
        let leader = view.unwrap().leader(&topic, partition).unwrap().id;
        let connection = cluster.connection(leader, Purpose::Fetch).await.unwrap();
        let version = connection.version_within::<FetchRequest>(VersionRange::new(4, 12)).unwrap();
        let mut read: Vec<Record> = Vec::new();
        loop {
            let fetch_offset = read.last().map_or(0, |record| record.0 + 1);
            let request = FetchRequest {
                max_wait_ms: 100,
                topics: vec![FetchTopic {
                    topic: topic.clone(),
                    partitions: vec![FetchPartition {
                        partition,
                        fetch_offset,
                        partition_max_bytes: 1 << 20,
                        ..Default::default()
                    }],
                    ..Default::default()
                }],
                ..Default::default()
            };
            let timeout = std::time::Duration::from_secs(10);
            let answer = connection.send_at(version, &request, timeout).await.unwrap();
            let data = &answer.responses[0].partitions[0];
            assert!(data.error_code.is_ok(), "{}", data.error_code);
            let bytes = data.records.clone().unwrap_or_default();
            for batch in batches(&bytes) {
                let batch = batch.unwrap();
                batch.verify_crc().unwrap();
                let mut buffer = Vec::new();
                let mut decompressor = Decompressor::new();
                for record in batch.records(&mut decompressor, &mut buffer, 1 << 24).unwrap() {
                    let record = record.unwrap();
                    if record.offset >= fetch_offset {
                        let owned = |bytes: Option<&[u8]>| bytes.map(<[u8]>::to_vec);
                        read.push((record.offset, owned(record.key), owned(record.value)));
                    }
                }
            }
            let end = read.last().map_or(0, |record| record.0 + 1);
            if end >= data.high_watermark && read.len() >= count {
                return read;
            }
        }
    };
    driver.run(work).await.unwrap()
}

/// Polls a future without any runtime around it.
pub fn block_on<F: Future>(future: F) -> F::Output {
    struct Unpark(std::thread::Thread);
    impl std::task::Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Arc::new(Unpark(std::thread::current())).into();
    let mut cx = std::task::Context::from_waker(&waker);
    let mut future = std::pin::pin!(future);
    loop {
        if let std::task::Poll::Ready(value) = future.as_mut().poll(&mut cx) {
            return value;
        }
        std::thread::park();
    }
}

/// Asks again until the answer is there: for what a cluster takes over a moment after it said yes.
pub async fn until<T, F: Future<Output = Option<T>>>(ask: impl Fn() -> F) -> T {
    let patience = std::time::Duration::from_secs(20);
    let asking = async {
        loop {
            if let Some(value) = ask().await {
                return value;
            }
            tokio::task::yield_now().await;
        }
    };
    tokio::time::timeout(patience, asking).await.expect("it comes about within 20 s")
}
