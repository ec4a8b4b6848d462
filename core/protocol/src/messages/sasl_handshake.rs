//! SaslHandshake (key 17), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct SaslHandshakeRequest: SaslHandshake [0..=1] {
        mechanism: String [0..],
    }
}

message! {
    pub struct SaslHandshakeResponse: SaslHandshake [0..=1] {
        error_code: ErrorCode [0..],
        mechanisms: Vec<String> [0..],
    }
}
