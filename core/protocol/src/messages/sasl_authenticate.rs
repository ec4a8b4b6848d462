//! SaslAuthenticate (key 36): the steps of an authentication (KIP-152).

use bytes::Bytes;

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Carries the client's side of the exchange.
    pub struct SaslAuthenticateRequest: SaslAuthenticate [0..=2, flexible 2..] {
        /// The mechanism's own bytes.
        auth_bytes: Bytes [0..],
    }
}

message! {
    /// Carries the broker's side of the exchange.
    pub struct SaslAuthenticateResponse: SaslAuthenticate [0..=2, flexible 2..] {
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
        /// The mechanism's own bytes.
        auth_bytes: Bytes [0..],
        /// After how many milliseconds the client must authenticate again; 0 for never.
        session_lifetime_ms: i64 [1..],
    }
}
