//! What the tests share: a broker to talk to, and a scripted one that misbehaves.
#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part of it")]

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use kohort::cluster::{Cluster, ClusterOptions};
use kohort::config::{AdminConfig, Properties};
use kohort::net::{Driver, Purpose};
use kohort_client_core::backoff::Jitter;
use kohort_client_core::metadata::MetadataView;
use kohort_protocol::compression::Decompressor;
use kohort_protocol::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use kohort_protocol::messages::create_topics::{CreatableTopic, CreateTopicsRequest};
use kohort_protocol::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};
use kohort_protocol::records::batches;
use kohort_protocol::{ApiKey, VersionRange, frame};

/// Returns the servers to test against: those of `KOHORT_TEST_BOOTSTRAP`, else a broker of our own
/// that lives as long as the process.
pub fn bootstrap() -> String {
    static OWN: OnceLock<String> = OnceLock::new();
    std::env::var("KOHORT_TEST_BOOTSTRAP").unwrap_or_else(|_| {
        OWN.get_or_init(|| {
            let broker = OwnBroker::start(folder(), 0, None);
            let servers = broker.servers();
            std::mem::forget(broker);
            servers
        })
        .clone()
    })
}

/// A broker that advertises a proxy in place of itself, and the proxy. With
/// `KOHORT_TEST_PROXIED=19394:19395` it is a listener on the first port that advertises the second.
pub fn proxied() -> (Option<OwnBroker>, CuttingProxy) {
    if let Ok(ports) = std::env::var("KOHORT_TEST_PROXIED") {
        let (target, listen) = ports.split_once(':').unwrap();
        let listener = TcpListener::bind(("127.0.0.1", listen.parse::<u16>().unwrap())).unwrap();
        return (None, CuttingProxy::start(listener, target.parse().unwrap(), 42));
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let broker = OwnBroker::start(folder(), 0, Some(port));
    let proxy = CuttingProxy::start(listener, broker.port, 42);
    (Some(broker), proxy)
}

/// Returns an empty folder inside the build's own.
pub fn folder() -> PathBuf {
    tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap().keep()
}

/// A broker on a thread of its own; it stops when this is dropped.
pub struct OwnBroker {
    pub port: u16,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl OwnBroker {
    pub fn start(data: PathBuf, port: u16, advertised: Option<u16>) -> Self {
        let (ready, started) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime.unwrap().block_on(async {
                let mut builder = kohort_broker::Broker::builder()
                    .listen(format!("127.0.0.1:{port}"))
                    .data_dir(&data);
                if let Some(port) = advertised {
                    let listener = format!("PLAINTEXT://127.0.0.1:{port}");
                    builder = builder.set("advertised.listeners", &listener);
                }
                let broker = builder.start().await.unwrap();
                ready.send(broker.local_addr().port()).unwrap();
                let _ = stopped.await;
                broker.shutdown().await.unwrap();
            });
        });
        let port = started.recv().unwrap();
        Self { port, stop: Some(stop), thread: Some(thread) }
    }

    pub fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for OwnBroker {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A proxy that cuts each connection after some bytes of the broker's answers.
pub struct CuttingProxy {
    port: u16,
    cutting: Arc<AtomicBool>,
    cuts: Arc<AtomicUsize>,
}

impl CuttingProxy {
    fn start(listener: TcpListener, target: u16, seed: u64) -> Self {
        let cuts = Arc::new(AtomicUsize::new(0));
        let cutting = Arc::new(AtomicBool::new(false));
        let port = listener.local_addr().unwrap().port();
        let (counted, cuts_now) = (cuts.clone(), cutting.clone());
        std::thread::spawn(move || {
            let mut random = Jitter::seeded(seed);
            for client in listener.incoming() {
                let client = client.unwrap();
                let Ok(server) = TcpStream::connect(("127.0.0.1", target)) else { continue };
                // Enough for the handshake most of the time, and some answers after it.
                let budget = 500 + (random.next_u64() % 8000) as usize;
                let budget = if cuts_now.load(Ordering::Relaxed) { budget } else { usize::MAX };
                let (from_client, to_server) =
                    (client.try_clone().unwrap(), server.try_clone().unwrap());
                std::thread::spawn(move || forward(from_client, to_server, usize::MAX));
                let counted = counted.clone();
                std::thread::spawn(move || {
                    forward(server, client, budget);
                    counted.fetch_add(1, Ordering::Relaxed);
                });
            }
        });
        Self { port, cutting, cuts }
    }

    pub fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Decides whether connections made from now on are cut.
    pub fn cut(&self, cut: bool) {
        self.cutting.store(cut, Ordering::Relaxed);
    }

    pub fn cuts(&self) -> usize {
        self.cuts.load(Ordering::Relaxed)
    }
}

/// Copies until the end or until the budget is used up, then closes both sides.
fn forward(mut from: TcpStream, mut to: TcpStream, mut budget: usize) {
    let mut buffer = [0; 4096];
    while budget > 0 {
        let most = buffer.len().min(budget);
        match from.read(&mut buffer[..most]) {
            Ok(read) if read > 0 && to.write_all(&buffer[..read]).is_ok() => budget -= read,
            _ => break,
        }
    }
    let _ = from.shutdown(std::net::Shutdown::Both);
    let _ = to.shutdown(std::net::Shutdown::Both);
}

/// A broker of one connection: it agrees on versions (in version 0 only, after refusing the
/// client's), then follows its script.
pub struct Scripted {
    port: u16,
}

type Answer = Box<dyn Fn(i32) -> Reaction + Send>;

enum Reaction {
    Bytes(Vec<u8>),
    Silence,
    Close,
}

impl Scripted {
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Answers each request with a frame of what `body` makes of its correlation id, or not at all.
    pub fn answer(body: impl Fn(i32) -> Option<Vec<u8>> + Send + 'static) -> Self {
        Self::run(Box::new(move |id| match body(id) {
            Some(body) => {
                let mut bytes = (body.len() as i32).to_be_bytes().to_vec();
                bytes.extend(body);
                Reaction::Bytes(bytes)
            }
            None => Reaction::Silence,
        }))
    }

    /// Answers the first request with these bytes.
    pub fn raw(mut bytes: Vec<u8>) -> Self {
        // Enough for any prefix to be followed by something.
        bytes.extend([0; 16]);
        Self::run(Box::new(move |_| Reaction::Bytes(bytes.clone())))
    }

    /// Closes the connection at the first request.
    pub fn close() -> Self {
        Self::run(Box::new(|_| Reaction::Close))
    }

    fn run(react: Answer) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let (version, _) = read_request(&mut stream).unwrap();
            assert_eq!(version, 4, "the client asks in its highest version first");
            stream.write_all(&versions(kohort_protocol::ErrorCode::UNSUPPORTED_VERSION)).unwrap();
            let (version, _) = read_request(&mut stream).unwrap();
            assert_eq!(version, 0, "and then in the one the broker named");
            stream.write_all(&versions(kohort_protocol::ErrorCode::NONE)).unwrap();
            while let Some((_, id)) = read_request(&mut stream) {
                match react(id) {
                    Reaction::Bytes(bytes) => {
                        let _ = stream.write_all(&bytes);
                    }
                    Reaction::Silence => {}
                    Reaction::Close => return,
                }
            }
        });
        Self { port }
    }
}

/// Reads a request; returns its version and correlation id, or `None` at the end.
fn read_request(stream: &mut TcpStream) -> Option<(i16, i32)> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).ok()?;
    let mut body = vec![0; i32::from_be_bytes(prefix) as usize];
    stream.read_exact(&mut body).ok()?;
    let version = i16::from_be_bytes(*body[2..].first_chunk().unwrap());
    let id = i32::from_be_bytes(*body[4..].first_chunk().unwrap());
    Some((version, id))
}

fn versions(error_code: kohort_protocol::ErrorCode) -> Vec<u8> {
    let api =
        |api: ApiKey, max_version| ApiVersion { api_key: api as i16, min_version: 0, max_version };
    let api_keys = vec![api(ApiKey::ApiVersions, 0), api(ApiKey::Metadata, 5)];
    let response = ApiVersionsResponse { error_code, api_keys, ..Default::default() };
    frame::encode_response(&response, 0, 0).unwrap().to_vec()
}

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
    let cluster = Cluster::start(&driver, &config.common, options);
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
