//! How connections begin and end: idle ones, slow ones, ones that are cut at any byte, and how a client
//! finds its cluster again.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::io::{Read as _, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use kohort::cluster::{Cluster, ClusterOptions};
use kohort::config::{AdminConfig, Properties as _};
use kohort::net::{BrokerConnection, ConnectionOptions, Driver, NetError};
use kohort_protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse,
};
use kohort_protocol::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker,
};
use kohort_protocol::{ApiKey, ErrorCode, Message as _, frame};
use support::secured::Listener;

/// A request as it came: its API, version and correlation id.
fn read_request(stream: &mut TcpStream) -> Option<(i16, i16, i32)> {
    let mut prefix = [0; 4];
    stream.read_exact(&mut prefix).ok()?;
    let mut body = vec![0; usize::try_from(i32::from_be_bytes(prefix)).unwrap()];
    stream.read_exact(&mut body).ok()?;
    let number = |at: usize| i16::from_be_bytes(*body[at..].first_chunk().unwrap());
    Some((number(0), number(2), i32::from_be_bytes(*body[4..].first_chunk().unwrap())))
}

fn versions() -> ApiVersionsResponse {
    let api =
        |api: ApiKey, max_version| ApiVersion { api_key: api as i16, min_version: 0, max_version };
    let api_keys = vec![
        api(ApiKey::ApiVersions, ApiVersionsRequest::VERSIONS.max),
        api(ApiKey::Metadata, MetadataRequest::VERSIONS.max),
    ];
    ApiVersionsResponse { api_keys, ..Default::default() }
}

/// Answers ApiVersions, and every other request with `metadata`; `None` leaves it without an answer.
fn serve(
    stream: &mut TcpStream,
    mut metadata: impl FnMut() -> Option<MetadataResponse>,
) -> Option<()> {
    loop {
        let (api, version, id) = read_request(stream)?;
        let frame = if api == ApiKey::ApiVersions as i16 {
            frame::encode_response(&versions(), version, id).unwrap()
        } else {
            match metadata() {
                Some(metadata) => frame::encode_response(&metadata, version, id).unwrap(),
                None => continue,
            }
        };
        stream.write_all(&frame).ok()?;
    }
}

fn cluster_of(brokers: &[(i32, u16)]) -> MetadataResponse {
    let broker = |(node_id, port): &(i32, u16)| MetadataResponseBroker {
        node_id: *node_id,
        host: "127.0.0.1".to_owned(),
        port: i32::from(*port),
        ..Default::default()
    };
    MetadataResponse { brokers: brokers.iter().map(broker).collect(), ..Default::default() }
}

/// Listens, and hands each connection with its number to `serve` on a thread of its own.
fn listen(serve: impl Fn(usize, TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let serve = Arc::new(serve);
    std::thread::spawn(move || {
        for (number, stream) in listener.incoming().enumerate() {
            let serve = serve.clone();
            std::thread::spawn(move || serve(number, stream.unwrap()));
        }
    });
    port
}

/// Longer than any of this takes.
const PATIENCE: Duration = Duration::from_secs(20);

/// Opens a connection, asks one thing and returns what came of it.
async fn ask(driver: &Driver, port: u16) -> Result<MetadataResponse, NetError> {
    let work = async move {
        let options = ConnectionOptions::default();
        let connection = BrokerConnection::open("127.0.0.1", port, options).await?;
        connection.send(&MetadataRequest::default()).await
    };
    tokio::time::timeout(PATIENCE, driver.run(work)).await.expect("it ends").unwrap()
}

#[tokio::test]
async fn a_connection_cut_at_any_byte_of_an_answer_ends_in_an_error_and_never_hangs() {
    let metadata = cluster_of(&[(1, 9092), (2, 9093)]);
    // What a whole conversation is: both answers, as they are written below.
    let whole = {
        let version = |api: &'static str| match api {
            "versions" => ApiVersionsRequest::VERSIONS.max,
            _ => MetadataRequest::VERSIONS.max,
        };
        let versions = frame::encode_response(&versions(), version("versions"), 0).unwrap();
        let answer = frame::encode_response(&metadata, version("metadata"), 1).unwrap();
        versions.len() + answer.len()
    };
    let answer = metadata.clone();
    let port = listen(move |cut, mut stream| {
        let mut left = cut;
        while let Some((api, version, id)) = read_request(&mut stream) {
            let frame = if api == ApiKey::ApiVersions as i16 {
                frame::encode_response(&versions(), version, id).unwrap()
            } else {
                frame::encode_response(&answer, version, id).unwrap()
            };
            let now = left.min(frame.len());
            // Byte by byte: the client sees every prefix.
            stream.set_nodelay(true).unwrap();
            if stream.write_all(&frame[..now]).is_err() || now < frame.len() {
                return;
            }
            left -= now;
        }
    });
    let driver = Driver::start("test").unwrap();
    for cut in 0..whole {
        let error = ask(&driver, port).await.unwrap_err();
        assert!(error.is_retriable(), "cut at {cut} of {whole}: {error}");
    }
    let answer = ask(&driver, port).await.unwrap();
    assert_eq!(answer.brokers.len(), metadata.brokers.len(), "nothing is missing at the end");
}

#[tokio::test]
async fn an_idle_connection_is_closed_and_one_in_use_is_not() {
    let port = listen(|_, mut stream| {
        let _ = serve(&mut stream, || Some(cluster_of(&[])));
    });
    let driver = Driver::start("test").unwrap();
    let work = async move {
        let idle_max = Duration::from_millis(300);
        let options = ConnectionOptions { idle_max, ..Default::default() };
        let idle = loop {
            let mut last_use = Instant::now();
            let used = BrokerConnection::open("127.0.0.1", port, options.clone()).await.unwrap();
            let idle = BrokerConnection::open("127.0.0.1", port, options.clone()).await.unwrap();
            let kept = loop {
                let now = Instant::now();
                let answer = used.send(&MetadataRequest::default()).await;
                if answer.is_err() || idle.is_closed() {
                    break answer.is_ok();
                }
                last_use = now;
            };
            if kept {
                break idle;
            }
            // On a busy machine it may have been idle itself; then all begins anew.
            assert!(last_use.elapsed() >= idle_max, "it was in use");
        };
        let late = idle.send(&MetadataRequest::default()).await.unwrap_err();
        assert!(matches!(late, NetError::Closed { .. }) && late.is_retriable(), "{late:?}");
    };
    tokio::time::timeout(PATIENCE, driver.run(work)).await.expect("it ends").unwrap();
}

#[tokio::test]
async fn a_connection_nobody_holds_ends_after_its_last_answer() {
    let (ended, at_end) = tokio::sync::oneshot::channel();
    let ended = Mutex::new(Some(ended));
    let port = listen(move |_, mut stream| {
        let answer = || {
            std::thread::sleep(Duration::from_millis(50));
            Some(cluster_of(&[(1, 9092)]))
        };
        let _ = serve(&mut stream, answer);
        let _ = ended.lock().unwrap().take().map(|ended| ended.send(()));
    });
    let driver = Driver::start("test").unwrap();
    let work = async move {
        let options = ConnectionOptions::default();
        let connection = BrokerConnection::open("127.0.0.1", port, options).await?;
        let (version, request) = (MetadataRequest::VERSIONS.max, MetadataRequest::default());
        let first = connection.start(version, &request, PATIENCE)?;
        let second = connection.start(version, &request, PATIENCE)?;
        drop(connection);
        Ok::<_, NetError>([first.await?, second.await?])
    };
    let answers = driver.run(work).await.unwrap().unwrap();
    assert!(answers.iter().all(|answer| answer.brokers.len() == 1), "{answers:?}");
    tokio::time::timeout(PATIENCE, at_end).await.expect("the socket is closed").unwrap();
}

#[tokio::test]
async fn a_broker_that_takes_a_connection_and_says_nothing_is_given_up() {
    let port = listen(|_, mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    let driver = Driver::start("test").unwrap();
    let work = async move {
        let setup_timeout = Duration::from_millis(50);
        let options = ConnectionOptions { setup_timeout, ..Default::default() };
        BrokerConnection::open("127.0.0.1", port, options).await.map(drop)
    };
    let error = driver.run(work).await.unwrap().unwrap_err();
    assert!(matches!(error, NetError::ConnectTimeout { .. }), "{error:?}");
}

/// Follows a cluster with these properties beside the server.
fn follow(port: u16, properties: &[(&str, &str)]) -> (Driver, Cluster) {
    let mut config = AdminConfig::default();
    config.set("bootstrap.servers", &format!("127.0.0.1:{port}")).unwrap();
    config.set("retry.backoff.ms", "5").unwrap();
    config.set("reconnect.backoff.ms", "5").unwrap();
    for (name, value) in properties {
        config.set(name, value).unwrap();
    }
    let driver = Driver::start("test").unwrap();
    let options = ClusterOptions { seed: Some(1), ..ClusterOptions::default() };
    let cluster = Cluster::start(&driver, &config.common, options).unwrap();
    (driver, cluster)
}

/// Waits until the picture has this node.
async fn until_node(cluster: &Cluster, node: i32) {
    let mut views = cluster.subscribe();
    let seen = views.wait_for(|view| view.broker(node).is_some());
    tokio::time::timeout(PATIENCE, seen).await.expect("the node is found").unwrap();
}

/// A cluster that has moved: the bootstrap address first leads to an old node, whose answer is
/// `old`, and from its second connection on to node 2.
fn moved(old: impl Fn(u16) -> MetadataResponse + Send + Sync + 'static) -> u16 {
    let new = Listener::default().start().port;
    let first = AtomicUsize::new(0);
    listen(move |_, mut stream| {
        let _ = serve(&mut stream, || match first.fetch_add(1, Ordering::SeqCst) {
            0 => Some(old(new)),
            _ => Some(cluster_of(&[(2, new)])),
        });
    })
}

/// Waits until a client that knows node 7 alone has found node 2 by its bootstrap address.
async fn starts_over(port: u16, properties: &[(&str, &str)]) {
    let (driver, cluster) = follow(port, properties);
    until_node(&cluster, 7).await;
    cluster.refresh_soon();
    until_node(&cluster, 2).await;
    drop(driver);
}

#[tokio::test]
async fn a_client_starts_over_when_no_broker_it_knows_can_be_reached() {
    // The first answer names a node that is gone.
    let port = moved(|_| cluster_of(&[(7, 1)]));
    starts_over(port, &[]).await;
}

#[tokio::test]
async fn a_client_starts_over_when_the_brokers_it_knows_are_silent_for_too_long() {
    // The first answer names a node that takes requests and answers none.
    let silent = listen(|_, mut stream| {
        let _ = serve(&mut stream, || None);
    });
    let port = moved(move |_| cluster_of(&[(7, silent)]));
    let trigger = [("metadata.recovery.rebootstrap.trigger.ms", "200")];
    // The request itself may take 30 s; the trigger does not wait for it.
    starts_over(port, &trigger).await;
}

#[tokio::test]
async fn a_client_starts_over_when_a_broker_says_so() {
    let told = listen(|_, mut stream| {
        let error_code = ErrorCode::REBOOTSTRAP_REQUIRED;
        let _ = serve(&mut stream, || Some(MetadataResponse { error_code, ..cluster_of(&[]) }));
    });
    let port = moved(move |_| cluster_of(&[(7, told)]));
    starts_over(port, &[]).await;
}

#[tokio::test]
async fn without_recovery_a_client_keeps_to_the_brokers_it_knows() {
    let port = moved(|_| cluster_of(&[(7, 1)]));
    let (driver, cluster) = follow(port, &[("metadata.recovery.strategy", "none")]);
    until_node(&cluster, 7).await;
    for _ in 0..3 {
        let asked = cluster.clone();
        let error = driver.run(async move { asked.refresh().await }).await.unwrap().unwrap_err();
        assert!(error.is_retriable(), "{error}");
    }
    assert!(cluster.view().broker(2).is_none());
}

/// What a broker says whose quota is exceeded, and how a client asks it.
fn throttled_by(time: Duration) -> MetadataResponse {
    MetadataResponse {
        throttle_time_ms: i32::try_from(time.as_millis()).unwrap(),
        ..MetadataResponse::default()
    }
}

#[tokio::test]
async fn what_was_asked_before_a_broker_throttles_has_that_much_longer_until_its_answer() {
    let timeout = Duration::from_secs(1);
    let port = listen(move |_, mut stream| {
        let mut answers = 0;
        let _ = serve(&mut stream, || {
            answers += 1;
            if answers == 1 {
                return Some(throttled_by(PATIENCE));
            }
            // So late that it is too late, but for the throttling.
            std::thread::sleep(2 * timeout);
            Some(MetadataResponse::default())
        });
    });
    let driver = Driver::start("test").unwrap();
    let options = ConnectionOptions::default();
    let throttles = options.throttles.clone();
    let work = async move {
        let connection = BrokerConnection::open("127.0.0.1", port, options).await?;
        let (version, request) = (MetadataRequest::VERSIONS.max, MetadataRequest::default());
        let first = connection.start(version, &request, timeout)?;
        let second = connection.start(version, &request, timeout)?;
        first.await?;
        second.await
    };
    driver.run(work).await.unwrap().unwrap();
    let told = kohort::net::Throttled { answers: 1, total: PATIENCE, longest: PATIENCE };
    assert_eq!(throttles.by_api(), [(ApiKey::Metadata, told)].into());
    let muted: Vec<_> = throttles.now().into_keys().collect();
    assert_eq!(muted, [Arc::from(format!("127.0.0.1:{port}"))]);
}

#[tokio::test]
async fn nothing_is_sent_while_a_broker_reads_nothing_and_that_time_does_not_count() {
    let (throttling, timeout) = (Duration::from_millis(1_500), Duration::from_secs(1));
    let came: Arc<Mutex<Vec<Instant>>> = Arc::default();
    let noted = came.clone();
    let port = listen(move |_, mut stream| {
        let _ = serve(&mut stream, || {
            let mut came = noted.lock().unwrap();
            came.push(Instant::now());
            Some(throttled_by(if came.len() == 1 { throttling } else { Duration::ZERO }))
        });
    });
    let driver = Driver::start("test").unwrap();
    let work = async move {
        let connection =
            BrokerConnection::open("127.0.0.1", port, ConnectionOptions::default()).await?;
        let (version, request) = (MetadataRequest::VERSIONS.max, MetadataRequest::default());
        connection.send_at(version, &request, timeout).await?;
        connection.send_at(version, &request, timeout).await
    };
    driver.run(work).await.unwrap().unwrap();
    let came = came.lock().unwrap();
    assert!(came.len() == 2 && came[1] - came[0] >= throttling, "{came:?}");
}
