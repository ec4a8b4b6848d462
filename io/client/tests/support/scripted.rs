//! A broker that says what a test has it say.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};

use kohort_protocol::messages::api_versions::{ApiVersion, ApiVersionsResponse};
use kohort_protocol::{ApiKey, frame};

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
