//! A broker with TLS and SASL that says what a test has it say.

use std::sync::Arc;

use bytes::Bytes;
use kohort_protocol::header::RequestHeader;
use kohort_protocol::messages::api_versions::{
    ApiVersion, ApiVersionsRequest, ApiVersionsResponse,
};
use kohort_protocol::messages::metadata::{
    MetadataRequest, MetadataResponse, MetadataResponseBroker,
};
use kohort_protocol::messages::sasl_authenticate::{
    SaslAuthenticateRequest, SaslAuthenticateResponse,
};
use kohort_protocol::messages::sasl_handshake::{SaslHandshakeRequest, SaslHandshakeResponse};
use kohort_protocol::{ApiKey, ErrorCode, Message, Reader, frame};
use parking_lot::Mutex;
use rustls::ServerConfig;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpListener;

/// What a listener of the broker does.
#[derive(Clone, Default)]
pub struct Listener {
    pub tls: Option<Arc<ServerConfig>>,
    /// The mechanisms it offers; none for a listener without SASL.
    pub mechanisms: Vec<&'static str>,
    /// Whether it leaves SASL out of what it serves.
    pub lists_no_sasl: bool,
    /// Answers the messages of an exchange.
    pub verdict: Option<Verdict>,
}

/// Answers one message of the client: the exchange's number on this connection, the message's
/// number in it, and its bytes.
pub type Verdict = Arc<dyn Fn(usize, usize, &[u8]) -> SaslAuthenticateResponse + Send + Sync>;

/// A running broker. It lives as long as the process.
pub struct Secured {
    pub port: u16,
    seen: Arc<Mutex<Vec<ApiKey>>>,
}

impl Listener {
    pub fn start(self) -> Secured {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let seen = Arc::new(Mutex::new(Vec::new()));
        let noted = seen.clone();
        std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
            runtime.unwrap().block_on(async {
                let listener = TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (rules, noted) = (self.clone(), noted.clone());
                    tokio::spawn(async move {
                        match rules.tls.clone() {
                            None => rules.serve(stream, port, &noted).await,
                            Some(tls) => {
                                let acceptor = tokio_rustls::TlsAcceptor::from(tls);
                                match acceptor.accept(stream).await {
                                    Ok(stream) => rules.serve(stream, port, &noted).await,
                                    Err(_) => None,
                                }
                            }
                        }
                    });
                }
            });
        });
        Secured { port, seen }
    }

    /// Serves one connection until it ends.
    async fn serve(
        &self,
        mut stream: impl AsyncRead + AsyncWrite + Unpin,
        port: u16,
        seen: &Mutex<Vec<ApiKey>>,
    ) -> Option<()> {
        let mut exchange = 0;
        let mut message = 0;
        loop {
            let length = stream.read_i32().await.ok()?;
            // As Kafka does with what is no request: TLS, for one, begins with 22.
            let length = usize::try_from(length).ok().filter(|length| *length < 1 << 20)?;
            let mut body = vec![0; length];
            stream.read_exact(&mut body).await.ok()?;
            let body = Bytes::from(body);
            let mut reader = Reader::new(&body);
            let header = RequestHeader::decode(&mut reader).ok()?;
            let api = ApiKey::from_i16(header.api_key)?;
            let (version, id) = (header.api_version, header.correlation_id);
            seen.lock().push(api);
            let answer = match api {
                ApiKey::ApiVersions => {
                    let mut versions = versions();
                    versions.api_keys.retain(|served| {
                        !self.lists_no_sasl || served.api_key != ApiKey::SaslHandshake as i16
                    });
                    frame::encode_response(&versions, version, id)
                }
                ApiKey::SaslHandshake => {
                    exchange += 1;
                    message = 0;
                    let request = SaslHandshakeRequest::decode(&mut reader, version).ok()?;
                    let offered = |name: &&str| *name == request.mechanism;
                    let error_code = match &self.mechanisms {
                        none if none.is_empty() => ErrorCode::ILLEGAL_SASL_STATE,
                        some if some.iter().any(offered) => ErrorCode::NONE,
                        _ => ErrorCode::UNSUPPORTED_SASL_MECHANISM,
                    };
                    let mechanisms = self.mechanisms.iter().map(ToString::to_string).collect();
                    let answer = SaslHandshakeResponse { error_code, mechanisms };
                    frame::encode_response(&answer, version, id)
                }
                ApiKey::SaslAuthenticate => {
                    message += 1;
                    let request = SaslAuthenticateRequest::decode(&mut reader, version).ok()?;
                    let verdict = self.verdict.as_ref()?;
                    let answer = verdict(exchange, message, &request.auth_bytes);
                    frame::encode_response(&answer, version, id)
                }
                // A listener with SASL hangs up on whoever asks before.
                _ if !self.mechanisms.is_empty() && exchange == 0 => return None,
                _ => frame::encode_response(&itself(port), version, id),
            };
            stream.write_all(&answer.ok()?).await.ok()?;
            stream.flush().await.ok()?;
        }
    }
}

impl Secured {
    pub fn servers(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// What was asked so far, over all connections.
    pub fn seen(&self) -> Vec<ApiKey> {
        self.seen.lock().clone()
    }
}

fn versions() -> ApiVersionsResponse {
    let api = |api: ApiKey, min_version, max_version| ApiVersion {
        api_key: api as i16,
        min_version,
        max_version,
    };
    let api_keys = vec![
        api(ApiKey::ApiVersions, 0, ApiVersionsRequest::VERSIONS.max),
        api(ApiKey::Metadata, 4, MetadataRequest::VERSIONS.max),
        api(ApiKey::SaslHandshake, 0, 1),
        api(ApiKey::SaslAuthenticate, 0, 2),
    ];
    ApiVersionsResponse { api_keys, ..Default::default() }
}

/// The picture of a cluster of one.
fn itself(port: u16) -> MetadataResponse {
    MetadataResponse {
        brokers: vec![MetadataResponseBroker {
            node_id: 1,
            host: "127.0.0.1".to_owned(),
            port: i32::from(port),
            ..Default::default()
        }],
        controller_id: 1,
        ..Default::default()
    }
}

/// Says yes to the last message of an exchange.
pub fn accepted() -> SaslAuthenticateResponse {
    SaslAuthenticateResponse::default()
}

/// Says no, as Kafka does.
pub fn refused(message: &str) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse {
        error_code: ErrorCode::SASL_AUTHENTICATION_FAILED,
        error_message: Some(message.to_owned()),
        ..Default::default()
    }
}

/// Takes `alice` with the password `sesame` by PLAIN.
pub fn alice() -> Listener {
    let verdict = |_, _, bytes: &[u8]| match bytes {
        b"\0alice\0sesame" => accepted(),
        _ => refused("Authentication failed: Invalid username or password"),
    };
    Listener { mechanisms: vec!["PLAIN"], verdict: Some(Arc::new(verdict)), ..Default::default() }
}
