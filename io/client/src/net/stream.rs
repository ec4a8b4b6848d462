//! The transports a connection runs over, and opening one.

use std::collections::BTreeMap;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use parking_lot::Mutex;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpSocket, TcpStream};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::{NetError, TlsFailure};

/// A byte stream to a broker.
#[derive(Debug)]
#[non_exhaustive]
pub enum Stream {
    /// Plain TCP.
    Tcp(TcpStream),
    /// TLS over TCP.
    Tls(Box<TlsStream<TcpStream>>),
}

/// How streams are opened.
#[derive(Debug, Clone, Default)]
pub struct Dialer {
    /// The size of the socket's send buffer, or the system's choice.
    pub send_buffer: Option<u32>,
    /// The size of the socket's receive buffer, or the system's choice.
    pub receive_buffer: Option<u32>,
    /// Which of a name's addresses to try first.
    pub(crate) known: KnownAddresses,
}

/// The address by which each name, with its port, was reached last. Connections of one client share it: where the
/// first of a name's addresses swallows packets, only one of them waits until that is given up.
#[derive(Debug, Clone, Default)]
pub(crate) struct KnownAddresses(Arc<Mutex<BTreeMap<String, SocketAddr>>>);

/// More names than a cluster has brokers: whoever meets more of them forgets them, which only costs time.
const KNOWN_ADDRESSES_MAX: usize = 1024;

impl KnownAddresses {
    /// Puts the address that answered last in front, and leaves the others in their order.
    pub(super) fn first(&self, name: &str, mut candidates: Vec<SocketAddr>) -> Vec<SocketAddr> {
        let known = self.0.lock().get(name).copied();
        candidates.sort_by_key(|candidate| known != Some(*candidate));
        candidates
    }

    pub(super) fn answered(&self, name: &str, address: SocketAddr) {
        let mut known = self.0.lock();
        if known.len() >= KNOWN_ADDRESSES_MAX {
            known.clear();
        }
        known.insert(name.to_owned(), address);
    }
}

impl Dialer {
    /// Connects to one address.
    pub(super) async fn connect(&self, address: SocketAddr) -> io::Result<TcpStream> {
        let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
        if let Some(size) = self.send_buffer {
            socket.set_send_buffer_size(size)?;
        }
        if let Some(size) = self.receive_buffer {
            socket.set_recv_buffer_size(size)?;
        }
        socket.set_keepalive(true)?;
        // A small request must not wait for the acknowledgement of the one before.
        socket.set_nodelay(true)?;
        socket.connect(address).await
    }
}

impl Stream {
    /// Agrees on TLS with whoever is at the other end.
    pub(super) async fn encrypt(
        tcp: TcpStream,
        config: Arc<rustls::ClientConfig>,
        host: &str,
        address: &Arc<str>,
    ) -> Result<Self, NetError> {
        let refused = |failure| NetError::Tls { address: address.clone(), failure };
        let name = ServerName::try_from(host.to_owned()).map_err(|_| {
            refused(TlsFailure::Other { reason: format!("`{host}` is no name a certificate has") })
        })?;
        match TlsConnector::from(config.clone()).connect(name, tcp).await {
            Ok(stream) => Ok(Self::Tls(Box::new(stream))),
            Err(error) => Err(match TlsFailure::of(&error, Some(&config)) {
                Some(failure) => refused(failure),
                None if is_end(&error) => NetError::ClosedInHandshake {
                    address: address.clone(),
                    during: "the TLS handshake",
                    hint: "a listener without TLS does that; see `security.protocol`",
                },
                None => NetError::Broken { address: address.clone(), reason: Arc::new(error) },
            }),
        }
    }
}

/// Whether the peer closed the connection, in one way or the other.
pub(super) fn is_end(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe
    )
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_read(cx, buffer),
            Self::Tls(stream) => Pin::new(stream).poll_read(cx, buffer),
        }
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write(cx, bytes),
            Self::Tls(stream) => Pin::new(stream).poll_write(cx, bytes),
        }
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
            Self::Tls(stream) => Pin::new(stream).poll_write_vectored(cx, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Self::Tcp(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_flush(cx),
            Self::Tls(stream) => Pin::new(stream).poll_flush(cx),
        }
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        match self.get_mut() {
            Self::Tcp(stream) => Pin::new(stream).poll_shutdown(cx),
            Self::Tls(stream) => Pin::new(stream).poll_shutdown(cx),
        }
    }
}
