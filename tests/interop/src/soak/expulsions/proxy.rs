//! A TCP proxy that does to connections what networks do.
//!
//! One thread runs all of it. Every connection is a *link*: the client's socket and the one to the
//! broker. What arrives is passed on as it came, and so is how either side ends its own (an orderly end
//! as one, a reset as one), until the link is struck by a [`Fault`]. A link that is stalled when it is
//! struck is stalled no more.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};

use super::witness::{Ear, Witness};

/// What may happen to a link.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Fault {
    /// Both sides get a reset.
    Reset,
    /// The client gets a reset, the broker an orderly end.
    ResetClient,
    /// The broker gets a reset, the client an orderly end.
    ResetBroker,
    /// Both sides get an orderly end.
    Close,
    /// The broker gets an orderly end, while its answers still go to the client.
    HalfCloseToBroker,
    /// The client gets an orderly end, while its requests still go to the broker.
    HalfCloseToClient,
    /// Nothing is passed on for a while.
    Stall(Duration),
}

impl Fault {
    /// Returns its name, for counting.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Reset => "reset",
            Self::ResetClient => "reset to the client",
            Self::ResetBroker => "reset to the broker",
            Self::Close => "close",
            Self::HalfCloseToBroker => "half-close to the broker",
            Self::HalfCloseToClient => "half-close to the client",
            Self::Stall(_) => "stall",
        }
    }
}

/// A link as the one who strikes sees it.
#[derive(Debug, Clone)]
pub(crate) struct LinkView {
    pub(crate) id: u64,
    /// The client id of its first request; empty until that came.
    pub(crate) client_id: String,
    /// The client's port, which tells its process.
    pub(crate) port: u16,
    /// How long nothing has come over it, from either side.
    pub(crate) idle: Duration,
}

/// The proxy. Its links end when this is dropped.
#[derive(Debug)]
pub(crate) struct Proxy {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    target: SocketAddr,
    links: Mutex<BTreeMap<u64, Arc<Link>>>,
    witness: Arc<Mutex<Witness>>,
    ended: AtomicBool,
    begun: Instant,
}

#[derive(Debug)]
struct Link {
    port: u16,
    client_id: Mutex<String>,
    /// When something came over it last, in milliseconds since the proxy began.
    last: AtomicU64,
    /// Until when nothing is passed on, likewise.
    stalled: AtomicU64,
    ear: Mutex<Ear>,
    strikes: mpsc::Sender<Fault>,
}

impl Proxy {
    /// Listens on a port, for a broker that may come later.
    pub(crate) fn start(port: u16, target: SocketAddr) -> Result<Self> {
        let shared = Arc::new(Shared {
            target,
            links: Mutex::default(),
            witness: Arc::default(),
            ended: AtomicBool::new(false),
            begun: Instant::now(),
        });
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let listener = runtime
            .block_on(TcpListener::bind(("127.0.0.1", port)))
            .with_context(|| format!("the proxy cannot listen on {port}"))?;
        let serving = Arc::clone(&shared);
        thread::Builder::new()
            .name("proxy".to_owned())
            .spawn(move || runtime.block_on(serve(listener, serving)))?;
        Ok(Self { shared })
    }

    /// Returns the links there are.
    pub(crate) fn links(&self) -> Vec<LinkView> {
        let now = self.shared.now();
        let links = lock(&self.shared.links);
        let view = |(id, link): (&u64, &Arc<Link>)| LinkView {
            id: *id,
            client_id: lock(&link.client_id).clone(),
            port: link.port,
            idle: Duration::from_millis(now.saturating_sub(link.last.load(Ordering::Relaxed))),
        };
        links.iter().map(view).collect()
    }

    /// Returns how many committed offsets the broker has told, and those it should not have told.
    pub(crate) fn told(&self) -> (usize, Vec<String>) {
        let witness = lock(&self.shared.witness);
        (witness.told, witness.wrong.clone())
    }

    /// Strikes a link. Returns whether it was there to be struck.
    pub(crate) fn strike(&self, id: u64, fault: Fault) -> bool {
        let links = lock(&self.shared.links);
        let Some(link) = links.get(&id) else { return false };
        let until = match fault {
            Fault::Stall(time) => self.shared.now() + time.as_millis() as u64,
            _ => 0,
        };
        link.stalled.store(until, Ordering::Relaxed);
        until > 0 || link.strikes.try_send(fault).is_ok()
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.shared.ended.store(true, Ordering::Relaxed);
    }
}

impl Shared {
    fn now(&self) -> u64 {
        self.begun.elapsed().as_millis() as u64
    }
}

async fn serve(listener: TcpListener, shared: Arc<Shared>) {
    for id in 0.. {
        let accepted = loop {
            if shared.ended.load(Ordering::Relaxed) {
                return;
            }
            if let Ok(accepted) = timeout(LOOK, listener.accept()).await {
                break accepted;
            }
        };
        let Ok((client, from)) = accepted else { continue };
        let (strikes, struck) = mpsc::channel(STRIKES);
        let link = Arc::new(Link {
            port: from.port(),
            client_id: Mutex::default(),
            last: AtomicU64::new(shared.now()),
            stalled: AtomicU64::new(0),
            ear: Mutex::new(Ear::new(Arc::clone(&shared.witness))),
            strikes,
        });
        lock(&shared.links).insert(id, Arc::clone(&link));
        let shared = Arc::clone(&shared);
        tokio::spawn(async move {
            // A broker that is away refuses the connection, and so does the proxy.
            if let Ok(broker) = TcpStream::connect(shared.target).await {
                carry(client, broker, &link, &shared, struck).await;
            } else {
                reset(client);
            }
            lock(&shared.links).remove(&id);
        });
    }
}

/// Passes on what comes until the link ends, by itself or by a strike.
async fn carry(
    mut client: TcpStream,
    mut broker: TcpStream,
    link: &Link,
    shared: &Shared,
    mut struck: mpsc::Receiver<Fault>,
) {
    let _ = client.set_nodelay(true);
    let _ = broker.set_nodelay(true);
    let fault = {
        let (mut from_client, mut to_client) = client.split();
        let (mut from_broker, mut to_broker) = broker.split();
        let requests = pass(&mut from_client, &mut to_broker, link, shared, true);
        let answers = pass(&mut from_broker, &mut to_client, link, shared, false);
        let (mut requests, mut answers) = (Some(Box::pin(requests)), Some(Box::pin(answers)));
        let fault = tokio::select! {
            ended = async { tokio::try_join!(go_on(&mut requests), go_on(&mut answers)) } => match ended {
                // Both sides have been told already.
                Ok(_) => return,
                // A side that was reset, or is gone: the other one is reset as well.
                Err(_) => Fault::Reset,
            },
            fault = struck.recv() => fault.unwrap_or(Fault::Reset),
        };
        // A half-closed link is not struck again.
        lock(&shared.links).retain(|_, other| !std::ptr::eq(&raw const **other, link));
        match fault {
            Fault::HalfCloseToBroker => {
                // What the client still sends is heard by nobody; it is told when the broker is done.
                drop(requests);
                let _ = to_broker.shutdown().await;
                let _ = timeout(PATIENCE, go_on(&mut answers)).await;
                return;
            }
            Fault::HalfCloseToClient => {
                drop(answers);
                let _ = to_client.shutdown().await;
                let _ = timeout(PATIENCE, go_on(&mut requests)).await;
                return;
            }
            // Either way may be dropped in the middle of a frame: then the link is over, and so is the frame.
            fault => fault,
        }
    };
    match fault {
        Fault::ResetClient => {
            reset(client);
            end(broker).await;
        }
        Fault::ResetBroker => {
            reset(broker);
            end(client).await;
        }
        Fault::Close => {
            tokio::join!(end(client), end(broker));
        }
        _ => {
            reset(client);
            reset(broker);
        }
    }
}

/// Carries on one way of a link until it has ended, and again after it was left in the middle.
async fn go_on(way: &mut Option<Pin<Box<impl Future<Output = io::Result<()>>>>>) -> io::Result<()> {
    if let Some(going) = way {
        going.as_mut().await?;
        *way = None;
    }
    Ok(())
}

/// Passes on what comes from one side, and its end.
async fn pass(
    from: &mut (impl AsyncRead + Unpin),
    to: &mut (impl AsyncWrite + Unpin),
    link: &Link,
    shared: &Shared,
    is_request: bool,
) -> io::Result<()> {
    let mut buffer = vec![0; BUFFER];
    let mut first = is_request;
    loop {
        let count = from.read(&mut buffer).await?;
        while shared.now() < link.stalled.load(Ordering::Relaxed) {
            sleep(LOOK).await;
        }
        link.last.store(shared.now(), Ordering::Relaxed);
        if count == 0 {
            return to.shutdown().await;
        }
        if first {
            first = false;
            if let Some(client_id) = client_id(&buffer[..count]) {
                *lock(&link.client_id) = client_id;
            }
        }
        let hear = if is_request { Ear::request } else { Ear::answer };
        hear(&mut lock(&link.ear), &buffer[..count]);
        to.write_all(&buffer[..count]).await?;
    }
}

/// Returns the client id of a request: behind its length, key, version and number.
fn client_id(frame: &[u8]) -> Option<String> {
    let length = frame.get(12..14)?;
    let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
    Some(String::from_utf8_lossy(frame.get(14..14 + length)?).into_owned())
}

/// Ends a connection by a reset.
fn reset(stream: TcpStream) {
    let _ = stream.set_zero_linger();
}

/// Ends a connection in an orderly way: what still comes is taken in, or the system would reset it.
async fn end(mut stream: TcpStream) {
    let _ = stream.shutdown().await;
    let mut rest = vec![0; BUFFER];
    let taken = async { while stream.read(&mut rest).await.is_ok_and(|count| count > 0) {} };
    let _ = timeout(PATIENCE, taken).await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().expect("nobody panics while holding it")
}

const BUFFER: usize = 16 * 1024;
/// More strikes than one find their link gone.
const STRIKES: usize = 1;
const LOOK: Duration = Duration::from_millis(20);
/// How long a half-closed link may go on.
const PATIENCE: Duration = Duration::from_secs(20);

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::places::free_port;

    /// A client that heard of the end of its connection only when the stall is over would be back too late,
    /// and a request that came then would come after what the client has sent since.
    #[test]
    fn a_strike_ends_a_stall() {
        for fault in [Fault::HalfCloseToBroker, Fault::HalfCloseToClient] {
            let broker = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = free_port().unwrap();
            let proxy = Proxy::start(port, broker.local_addr().unwrap()).unwrap();
            let mut client = TcpStream::connect(("127.0.0.1", port)).unwrap();
            let (mut broker, _) = broker.accept().unwrap();
            for side in [&client, &broker] {
                side.set_read_timeout(Some(PATIENCE / 4)).unwrap();
            }
            client.write_all(b"a").unwrap();
            broker.read_exact(&mut [0]).unwrap();

            assert!(proxy.strike(0, Fault::Stall(10 * PATIENCE)));
            let to_broker = fault == Fault::HalfCloseToBroker;
            let sent: &[u8] = if to_broker { b"" } else { b"b" };
            client.write_all(sent).unwrap();
            let (told, mut other) = if to_broker { (broker, client) } else { (client, broker) };
            assert!(proxy.strike(0, fault));
            // Who is told ends its own side, of which the other one is told.
            let mut rest = Vec::new();
            (&told).read_to_end(&mut rest).unwrap();
            drop(told);
            other.read_to_end(&mut rest).unwrap();
            assert_eq!(rest, sent, "{fault:?}");
        }
    }
}
