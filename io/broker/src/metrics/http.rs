//! The listener for `/metrics` and `/health`: as much HTTP as GET needs.
//!
//! Written here rather than taken from an HTTP crate: what a scraper sends is one short request
//! without a body, and the whole of the answer's framing is a length or chunks. Everything is bounded:
//! the connections, the size of a request's head, the time for each step, and the scrapes at once.
//! A connection carries one request; what is not a GET of a known path is answered so and closed.

use super::health;
use super::page::Page;
use super::scrape;
use crate::log_pace::LastingPace;
use crate::node::Node;
use bytes::Bytes;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock, Weak};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{Semaphore, mpsc};
use tokio::task::{JoinHandle, spawn_blocking};
use tokio::time::timeout;
use tracing::{debug, warn};

/// Connections at once; those beyond are closed. Scrapers and probes are few.
const CONNECTIONS_MAX: usize = 16;
/// Scrapes written at once; more are told to come back.
const SCRAPES_MAX: usize = 2;
/// A request's head, which holds its line and headers.
const HEAD_MAX: usize = 8 * 1024;
/// How long a peer may take to send its head, or to take one piece of the answer.
const STEP: Duration = Duration::from_secs(10);
/// Pieces of a scrape that are written ahead of what the peer has taken.
const PIECES_AHEAD: usize = 4;
/// How long to rest when the system hands out no connection.
const ACCEPT_REST: Duration = Duration::from_millis(100);

/// The listener. It ends when this is dropped.
#[derive(Debug)]
pub(crate) struct HttpServer {
    pub(crate) address: SocketAddr,
    node: Arc<OnceLock<Weak<Node>>>,
    accepting: JoinHandle<()>,
}

impl HttpServer {
    /// Listens on `address`. Until [`serve`](Self::serve) is called, the broker is starting.
    pub(crate) fn start(listener: TcpListener) -> io::Result<Self> {
        let address = listener.local_addr()?;
        let node = Arc::default();
        let accepting = tokio::spawn(accept(listener, Arc::clone(&node)));
        Ok(Self { address, node, accepting })
    }

    /// Tells it of the broker, once there is one.
    pub(crate) fn serve(&self, node: &Arc<Node>) {
        let _ = self.node.set(Arc::downgrade(node));
    }
}

impl Drop for HttpServer {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, node: Arc<OnceLock<Weak<Node>>>) {
    let connections = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let scrapes = Arc::new(Semaphore::new(SCRAPES_MAX));
    let mut refusals = LastingPace::default();
    loop {
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                if let Some(times) = refusals.note(std::time::Instant::now()) {
                    warn!(%error, times, "a connection for metrics could not be accepted");
                }
                tokio::time::sleep(ACCEPT_REST).await;
                continue;
            }
        };
        let Ok(permit) = Arc::clone(&connections).try_acquire_owned() else { continue };
        let (node, scrapes) = (Arc::clone(&node), Arc::clone(&scrapes));
        tokio::spawn(async move {
            if let Err(error) = answer(stream, &node, &scrapes).await {
                debug!(%error, "a connection for metrics ended early");
            }
            drop(permit);
        });
    }
}

/// What a request asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Metrics,
    Live,
    Ready,
}

/// How an answer's body is told from what follows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    /// HTTP/1.1: in chunks, so that an answer cut short is noticed.
    Chunked,
    /// HTTP/1.0: up to the connection's end.
    UntilClosed,
}

async fn answer(
    mut stream: TcpStream,
    node: &OnceLock<Weak<Node>>,
    scrapes: &Arc<Semaphore>,
) -> io::Result<()> {
    let head = timeout(STEP, read_head(&mut stream)).await??;
    let (asked, framing) = match parse(&head) {
        Ok(request) => request,
        Err(status) => return send(&mut stream, status, "text/plain", status).await,
    };
    let node = node.get().and_then(Weak::upgrade);
    match asked {
        Asked::Live | Asked::Ready => {
            let troubles = health::troubles(node.as_deref());
            let healthy = match asked {
                Asked::Live => health::is_alive(&troubles),
                _ => health::is_ready(&troubles),
            };
            let status = if healthy { OK } else { UNAVAILABLE };
            let body = health::json(healthy, &troubles);
            send(&mut stream, status, "application/json", &body).await
        }
        Asked::Metrics => {
            let (Some(node), Ok(permit)) = (node, Arc::clone(scrapes).try_acquire_owned()) else {
                return send(&mut stream, UNAVAILABLE, "text/plain", "try again\n").await;
            };
            let (pieces, written) = mpsc::channel(PIECES_AHEAD);
            let writing = spawn_blocking(move || {
                scrape::write(&node, Page::new(pieces));
                drop(permit);
            });
            stream_pieces(&mut stream, framing, written).await?;
            writing.await.map_err(io::Error::other)
        }
    }
}

/// Reads up to the empty line after a request's headers, or as much as is looked at.
async fn read_head(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut head = Vec::with_capacity(512);
    while !head.windows(4).any(|end| end == b"\r\n\r\n") {
        if head.len() >= HEAD_MAX || stream.read_buf(&mut head).await? == 0 {
            break;
        }
    }
    Ok(head)
}

/// Understands a request's head, or returns the status it is refused with.
fn parse(head: &[u8]) -> Result<(Asked, Framing), &'static str> {
    let end = head.windows(4).position(|end| end == b"\r\n\r\n");
    let end = end.ok_or(if head.len() >= HEAD_MAX { HEAD_TOO_LARGE } else { BAD_REQUEST })?;
    let head = std::str::from_utf8(&head[..end]).map_err(|_| BAD_REQUEST)?;
    let line = head.split("\r\n").next().unwrap_or_default();
    let mut words = line.split(' ');
    let (Some(method), Some(target), Some(version), None) =
        (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(BAD_REQUEST);
    };
    let framing = match version {
        "HTTP/1.1" => Framing::Chunked,
        "HTTP/1.0" => Framing::UntilClosed,
        _ => return Err(BAD_REQUEST),
    };
    if method != "GET" {
        return Err(METHOD_NOT_ALLOWED);
    }
    let path = target.split('?').next().unwrap_or_default();
    let asked = match path {
        "/metrics" => Asked::Metrics,
        "/health/live" => Asked::Live,
        "/health" | "/health/ready" => Asked::Ready,
        _ => return Err(NOT_FOUND),
    };
    Ok((asked, framing))
}

const OK: &str = "200 OK";
const BAD_REQUEST: &str = "400 Bad Request";
const NOT_FOUND: &str = "404 Not Found";
const METHOD_NOT_ALLOWED: &str = "405 Method Not Allowed";
const HEAD_TOO_LARGE: &str = "431 Request Header Fields Too Large";
const UNAVAILABLE: &str = "503 Service Unavailable";

async fn send(stream: &mut TcpStream, status: &str, kind: &str, body: &str) -> io::Result<()> {
    let allow = if status == METHOD_NOT_ALLOWED { "Allow: GET\r\n" } else { "" };
    let length = body.len();
    let answer = format!(
        "HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {length}\r\n{allow}\
         Connection: close\r\n\r\n{body}"
    );
    put(stream, answer.as_bytes()).await?;
    stream.shutdown().await
}

/// Sends a scrape while it is written.
async fn stream_pieces(
    stream: &mut TcpStream,
    framing: Framing,
    mut pieces: mpsc::Receiver<Bytes>,
) -> io::Result<()> {
    let encoding = match framing {
        Framing::Chunked => "Transfer-Encoding: chunked\r\n",
        Framing::UntilClosed => "",
    };
    let head = format!(
        "HTTP/1.1 {OK}\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n{encoding}\
         Connection: close\r\n\r\n"
    );
    put(stream, head.as_bytes()).await?;
    while let Some(piece) = pieces.recv().await {
        if framing == Framing::UntilClosed {
            put(stream, &piece).await?;
            continue;
        }
        put(stream, format!("{:x}\r\n", piece.len()).as_bytes()).await?;
        put(stream, &piece).await?;
        put(stream, b"\r\n").await?;
    }
    if framing == Framing::Chunked {
        put(stream, b"0\r\n\r\n").await?;
    }
    stream.shutdown().await
}

/// Sends `bytes`, for which a peer has only so long.
async fn put(stream: &mut TcpStream, bytes: &[u8]) -> io::Result<()> {
    timeout(STEP, stream.write_all(bytes)).await?
}

#[cfg(test)]
mod tests {
    use super::*;

    fn get(path: &str) -> Result<(Asked, Framing), &'static str> {
        parse(format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").as_bytes())
    }

    #[test]
    fn a_get_of_a_known_path_is_understood_whatever_else_it_says() {
        for (path, asked) in [
            ("/metrics", Asked::Metrics),
            ("/metrics?name[]=x", Asked::Metrics),
            ("/health", Asked::Ready),
            ("/health/ready", Asked::Ready),
            ("/health/live", Asked::Live),
        ] {
            assert_eq!(get(path), Ok((asked, Framing::Chunked)));
        }
        let old = parse(b"GET /metrics HTTP/1.0\r\n\r\n");
        assert_eq!(old, Ok((Asked::Metrics, Framing::UntilClosed)));
    }

    #[test]
    fn what_is_not_one_is_refused_with_its_status() {
        for (head, status) in [
            (&b"POST /metrics HTTP/1.1\r\n\r\n"[..], METHOD_NOT_ALLOWED),
            (b"GET / HTTP/1.1\r\n\r\n", NOT_FOUND),
            (b"GET /metrics/../x HTTP/1.1\r\n\r\n", NOT_FOUND),
            (b"GET /metrics HTTP/2\r\n\r\n", BAD_REQUEST),
            (b"GET  /metrics HTTP/1.1\r\n\r\n", BAD_REQUEST),
            (b"GET /metrics\r\n\r\n", BAD_REQUEST),
            (b"GET /metrics HTTP/1.1\r\n", BAD_REQUEST),
            (b"\xff\xfe\r\n\r\n", BAD_REQUEST),
            (b"", BAD_REQUEST),
            (&[b'x'; HEAD_MAX], HEAD_TOO_LARGE),
        ] {
            assert_eq!(parse(head), Err(status), "{}", String::from_utf8_lossy(head));
        }
    }
}
