//! The first exchanges on a connection: TLS, which versions both sides know, and who we are.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use kohort_protocol::messages::api_versions::{ApiVersionsRequest, ApiVersionsResponse};
use kohort_protocol::{ApiKey, DecodeError, ErrorCode, Message, Request, frame};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::answer::{decode_body, wanted};
use super::security::{Ask, authenticate};
use super::stream::{Stream, is_end};
use super::{ApiVersions, ConnectionOptions, NetError, TlsFailure};

/// A stream that is ready for requests.
pub(super) struct Established {
    pub(super) stream: Stream,
    pub(super) versions: ApiVersions,
    /// After how long we must authenticate again, if ever.
    pub(super) session: Option<Duration>,
}

/// Connects, trying the addresses of the name in turn; each has the whole set-up time for itself,
/// so that one which swallows packets does not hide those after it. The one that answered last goes first.
pub(super) async fn establish(
    host: &str,
    port: u16,
    address: &Arc<str>,
    options: &ConnectionOptions,
) -> Result<Established, NetError> {
    let lookup = tokio::net::lookup_host((host, port));
    let resolved = resolved_within(options.setup_timeout, lookup).await;
    let resolved = resolved.map_err(|reason| unresolved(address, reason))?;
    establish_at(resolved, host, address, options).await
}

/// Waits for the addresses of a name, for so long as an address has to answer.
async fn resolved_within<T>(
    timeout: Duration,
    lookup: impl Future<Output = io::Result<T>>,
) -> io::Result<T> {
    tokio::time::timeout(timeout, lookup).await.unwrap_or_else(|_| {
        let reason = format!("no name server answered within {timeout:?}");
        Err(io::Error::new(io::ErrorKind::TimedOut, reason))
    })
}

fn unresolved(address: &Arc<str>, reason: io::Error) -> NetError {
    NetError::Resolve { address: address.clone(), reason: Arc::new(reason) }
}

async fn establish_at(
    candidates: impl Iterator<Item = SocketAddr>,
    host: &str,
    address: &Arc<str>,
    options: &ConnectionOptions,
) -> Result<Established, NetError> {
    let too_long =
        || NetError::ConnectTimeout { address: address.clone(), timeout: options.setup_timeout };
    let mut last = unresolved(address, io::Error::other("the name has no address"));
    let known = &options.dialer.known;
    for candidate in known.first(address, candidates.collect()) {
        let set_up = set_up(candidate, host, address, options);
        let outcome = tokio::time::timeout(options.setup_timeout, set_up).await;
        match outcome.unwrap_or_else(|_| Err(too_long())) {
            Ok(established) => {
                known.answered(address, candidate);
                return Ok(established);
            }
            // The other addresses lead to the same broker, which will say the same.
            Err(error) if error.is_refusal() => return Err(error),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn set_up(
    candidate: SocketAddr,
    host: &str,
    address: &Arc<str>,
    options: &ConnectionOptions,
) -> Result<Established, NetError> {
    let tcp = options.dialer.connect(candidate).await.map_err(|reason| NetError::Connect {
        address: address.clone(),
        reason: Arc::new(reason),
    })?;
    let stream = match &options.security.tls {
        None => Stream::Tcp(tcp),
        Some(config) => Stream::encrypt(tcp, config.clone(), host, address).await?,
    };
    let mut bare = Bare { stream, address, options, asked: 0 };
    let versions = negotiate(&mut bare).await?;
    let session = match &options.security.sasl {
        None => None,
        Some(sasl) => authenticate(&mut bare, sasl, &versions, address).await?,
    };
    Ok(Established { stream: bare.stream, versions, session })
}

/// A stream before its connection's task has it: one request at a time.
struct Bare<'a> {
    stream: Stream,
    address: &'a Arc<str>,
    options: &'a ConnectionOptions,
    asked: u32,
}

impl Ask for Bare<'_> {
    async fn ask<R: Request + Sync>(
        &mut self,
        version: i16,
        request: &R,
    ) -> Result<R::Response, NetError> {
        let frame = self.exchange(version, request).await?;
        decode_body(&frame, version).map_err(|reason| self.malformed(R::API_KEY, reason))
    }
}

impl Bare<'_> {
    /// Sends a request and returns the frame of its answer.
    async fn exchange<R: Request>(&mut self, version: i16, request: &R) -> Result<Bytes, NetError> {
        let client_id = Some(&*self.options.client_id);
        let frame = frame::encode_request(request, version, HANDSHAKE_CORRELATION, client_id)
            .map_err(|reason| NetError::Unwritable { address: self.address.clone(), reason })?;
        self.stream.write_all(&frame).await.map_err(|error| self.broken(error))?;
        self.stream.flush().await.map_err(|error| self.broken(error))?;
        let mut received = BytesMut::new();
        loop {
            let limit = self.options.response_bytes_max;
            match frame::split_frame(&mut received, limit) {
                Ok(Some(frame)) => {
                    self.asked += 1;
                    return Ok(frame);
                }
                Ok(None) => {}
                // A plaintext client hears of TLS by an alert: content type 21, version 3.x.
                Err(_) if self.options.security.tls.is_none() && received.starts_with(&[21, 3]) => {
                    return Err(NetError::WantsTls { address: self.address.clone() });
                }
                Err(reason) => return Err(self.malformed(R::API_KEY, reason)),
            }
            received.reserve(wanted(&received));
            match self.stream.read_buf(&mut received).await {
                Ok(0) => return Err(self.closed()),
                Ok(_) => {}
                Err(error) => return Err(self.broken(error)),
            }
        }
    }

    /// What an end at this point means.
    fn closed(&self) -> NetError {
        let address = self.address.clone();
        let protocol = self.options.security.protocol();
        match (self.asked, protocol.has_tls()) {
            (0, false) => NetError::ClosedInHandshake {
                address,
                during: "the first request",
                hint: "a listener with TLS does that; see `security.protocol`",
            },
            _ => NetError::ClosedByPeer { address },
        }
    }

    fn broken(&self, reason: io::Error) -> NetError {
        let address = self.address.clone();
        match TlsFailure::of(&reason, self.options.security.tls.as_deref()) {
            Some(failure) => NetError::Tls { address, failure },
            None if is_end(&reason) => self.closed(),
            None => NetError::Broken { address, reason: Arc::new(reason) },
        }
    }

    fn malformed(&self, api: ApiKey, reason: DecodeError) -> NetError {
        NetError::Malformed { address: self.address.clone(), api, reason }
    }
}

/// Agrees on versions (KIP-511): asks in our highest ApiVersions version; a broker that does not
/// know it answers in version 0, with the versions it does know.
async fn negotiate(bare: &mut Bare<'_>) -> Result<ApiVersions, NetError> {
    let mut version = ApiVersionsRequest::VERSIONS.max;
    loop {
        let response = ask_versions(bare, version).await?;
        if response.error_code != ErrorCode::UNSUPPORTED_VERSION {
            return Ok(ApiVersions::new(&response));
        }
        let theirs = ApiVersions::new(&response).range(ApiKey::ApiVersions);
        let lower = theirs.map_or(0, |theirs| theirs.max);
        if lower >= version {
            return Err(NetError::UnsupportedVersion {
                address: bare.address.clone(),
                api: ApiKey::ApiVersions,
                ours: ApiVersionsRequest::VERSIONS,
                theirs,
            });
        }
        version = lower;
    }
}

async fn ask_versions(bare: &mut Bare<'_>, version: i16) -> Result<ApiVersionsResponse, NetError> {
    let request = ApiVersionsRequest {
        client_software_name: env!("CARGO_PKG_NAME").to_owned(),
        client_software_version: env!("CARGO_PKG_VERSION").to_owned(),
    };
    let frame = bare.exchange(version, &request).await?;
    // The header (an id, no tags) and then the error come first in every version.
    let refused = frame.get(4..6) == Some(&ErrorCode::UNSUPPORTED_VERSION.0.to_be_bytes());
    let answered_in = if refused { 0 } else { version };
    decode_body(&frame, answered_in).map_err(|reason| bare.malformed(ApiKey::ApiVersions, reason))
}

/// The correlation id of everything before the connection's task counts its own.
const HANDSHAKE_CORRELATION: i32 = 0;
#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::{Ipv4Addr, TcpListener};

    use kohort_protocol::messages::api_versions::ApiVersion;
    use rustix::net::sockopt;

    use super::*;
    use crate::net::stream::Dialer;

    /// Listens, and tells one client after the other which versions it has: those of ApiVersions.
    fn broker() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut length = [0; 4];
                stream.read_exact(&mut length).unwrap();
                let mut request = vec![0; u32::from_be_bytes(length) as usize];
                stream.read_exact(&mut request).unwrap();
                let max_version = ApiVersionsRequest::VERSIONS.max;
                let served =
                    ApiVersion { api_key: ApiKey::ApiVersions as i16, max_version, min_version: 0 };
                let answer = ApiVersionsResponse { api_keys: vec![served], ..Default::default() };
                let frame =
                    frame::encode_response(&answer, max_version, HANDSHAKE_CORRELATION).unwrap();
                stream.write_all(&frame).unwrap();
                // Until the client is done.
                let _ = stream.read(&mut length);
            }
        });
        address
    }

    fn connect(
        candidates: &[SocketAddr],
        options: &ConnectionOptions,
    ) -> Result<Established, NetError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let candidates = candidates.iter().copied();
        runtime.block_on(establish_at(candidates, "a-name", &Arc::from("a-name:9092"), options))
    }

    #[test]
    fn the_next_address_of_a_name_is_tried_when_one_refuses() {
        let options = ConnectionOptions::default();
        // Nobody listens there.
        let refusing = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let open = broker();
        let established = connect(&[refusing, open], &options).unwrap();
        let Stream::Tcp(stream) = &established.stream else { panic!("no TLS was asked for") };
        assert_eq!(stream.peer_addr().unwrap(), open);
        let failed = connect(&[refusing, refusing], &options).map(|_| ()).unwrap_err();
        assert!(matches!(failed, NetError::Connect { .. }), "{failed}");
        assert!(failed.is_retriable());
    }

    #[tokio::test]
    async fn a_name_that_is_looked_up_in_vain_is_told_so_and_given_more_time_the_next_time() {
        let never = std::future::pending::<io::Result<()>>();
        let reason = resolved_within(Duration::from_millis(1), never).await.unwrap_err();
        let error = unresolved(&Arc::from("kafka:9092"), reason);
        let told = "`kafka:9092` cannot be resolved: no name server answered within 1ms";
        assert_eq!(error.to_string(), told);
        assert!(error.took_too_long());
        let nowhere = unresolved(&Arc::from("kafka:9092"), io::Error::other("it is not known"));
        assert!(!nowhere.took_too_long());
    }

    #[test]
    fn the_address_of_a_name_that_answered_last_is_tried_first() {
        let options = ConnectionOptions::default();
        let reached = |candidates: &[SocketAddr], options: &ConnectionOptions| {
            let established = connect(candidates, options).unwrap();
            let Stream::Tcp(stream) = &established.stream else { panic!("no TLS was asked for") };
            stream.peer_addr().unwrap()
        };
        let refusing = SocketAddr::from((Ipv4Addr::LOCALHOST, 1));
        let (first, second) = (broker(), broker());
        assert_eq!(reached(&[refusing, second], &options), second);
        assert_eq!(reached(&[first, second], &options.clone()), second, "another connection");
        assert_eq!(reached(&[refusing, first], &options), first, "the name leads elsewhere");
        assert_eq!(reached(&[second, first], &options), first);
    }

    #[test]
    fn sockets_have_the_buffers_that_are_asked_for() {
        let sizes = |dialer: Dialer| {
            let options = ConnectionOptions { dialer, ..ConnectionOptions::default() };
            let established = connect(&[broker()], &options).unwrap();
            let Stream::Tcp(stream) = &established.stream else { panic!("no TLS was asked for") };
            let send = sockopt::socket_send_buffer_size(stream).unwrap();
            (send, sockopt::socket_recv_buffer_size(stream).unwrap())
        };
        let (send, receive) = sizes(Dialer {
            send_buffer: Some(20_000),
            receive_buffer: Some(30_000),
            ..Dialer::default()
        });
        // Linux makes twice as much of it for its own needs.
        assert!((20_000..=40_000).contains(&send), "{send}");
        assert!((30_000..=60_000).contains(&receive), "{receive}");
        assert_ne!(sizes(Dialer::default()), (send, receive));
    }
}
