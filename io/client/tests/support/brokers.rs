//! Brokers of our own, each on a thread of its own, and a proxy that cuts connections to one.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};

use kohort_client_core::backoff::Jitter;

use super::folder::{Folder, folder, goes_with_the_process};

/// Returns the servers to test against: those of `KOHORT_TEST_BOOTSTRAP`, else a broker of our own
/// that lives as long as the process.
pub fn bootstrap() -> String {
    static OWN: OnceLock<String> = OnceLock::new();
    std::env::var("KOHORT_TEST_BOOTSTRAP").unwrap_or_else(|_| {
        OWN.get_or_init(|| {
            let data = folder();
            goes_with_the_process(&data);
            let broker = OwnBroker::start(data, own_address(), None);
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
        let target = SocketAddr::from(([127, 0, 0, 1], target.parse().unwrap()));
        return (None, CuttingProxy::start(listener, target, 42));
    }
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let broker = OwnBroker::start(folder(), own_address(), Some(port));
    let proxy = CuttingProxy::start(listener, broker.address, 42);
    (Some(broker), proxy)
}

/// Returns an address that stays this caller's while nobody listens there. A free port of 127.0.0.1 may be
/// given to anybody meanwhile, for a listener as for a connection; of the other addresses of this machine
/// nobody is given a port unasked.
pub fn own_address() -> SocketAddr {
    static NEXT_PORT: AtomicU16 = AtomicU16::new(9092);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    ([127, 1 + high, middle, low], NEXT_PORT.fetch_add(1, Ordering::Relaxed)).into()
}

/// A broker on a thread of its own; it stops when this is dropped.
pub struct OwnBroker {
    address: SocketAddr,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    /// It may go once the broker has stopped.
    _data: Folder,
}

impl OwnBroker {
    pub fn start(data: Folder, address: SocketAddr, advertised: Option<u16>) -> Self {
        Self::start_with(data, address, advertised, &[])
    }

    /// The same, with further properties.
    pub fn start_with(
        data: Folder,
        address: SocketAddr,
        advertised: Option<u16>,
        properties: &'static [(&str, &str)],
    ) -> Self {
        let (ready, started) = std::sync::mpsc::channel();
        let (stop, stopped) = tokio::sync::oneshot::channel();
        let path = data.to_path_buf();
        let thread = std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build();
            runtime.unwrap().block_on(async {
                let mut builder =
                    kohort_broker::Broker::builder().listen(address.to_string()).data_dir(&path);
                for (name, value) in PROPERTIES.iter().chain(properties) {
                    builder = builder.set(name, value);
                }
                if let Some(port) = advertised {
                    let listener = format!("PLAINTEXT://127.0.0.1:{port}");
                    builder = builder.set("advertised.listeners", &listener);
                }
                let broker = builder.start().await.unwrap();
                ready.send(()).unwrap();
                let _ = stopped.await;
                broker.shutdown().await.unwrap();
            });
        });
        started.recv().unwrap();
        Self { address, stop: Some(stop), thread: Some(thread), _data: data }
    }

    pub fn servers(&self) -> String {
        self.address.to_string()
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
    fn start(listener: TcpListener, target: SocketAddr, seed: u64) -> Self {
        let cuts = Arc::new(AtomicUsize::new(0));
        let cutting = Arc::new(AtomicBool::new(false));
        let port = listener.local_addr().unwrap().port();
        let (counted, cuts_now) = (cuts.clone(), cutting.clone());
        std::thread::spawn(move || {
            let mut random = Jitter::seeded(seed);
            for client in listener.incoming() {
                let client = client.unwrap();
                let Ok(server) = TcpStream::connect(target) else { continue };
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

/// No test waits for members that do not come, and a member that falls silent is missed soon.
/// `tests/interop/src/client.rs` gives Kafka the same.
const PROPERTIES: [(&str, &str); 2] =
    [("group.initial.rebalance.delay.ms", "0"), ("group.min.session.timeout.ms", "1000")];
