//! SaslAuthenticate (key 36), request and response.

use bytes::Bytes;

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct SaslAuthenticateRequest: SaslAuthenticate [0..=2, flexible 2..] {
        auth_bytes: Bytes [0..],
    }
}

message! {
    pub struct SaslAuthenticateResponse: SaslAuthenticate [0..=2, flexible 2..] {
        error_code: ErrorCode [0..],
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
        auth_bytes: Bytes [0..],
        session_lifetime_ms: i64 [1..],
    }
}
