//! SaslHandshake (key 17): client and broker agree on a mechanism (KIP-43).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Names the mechanism the client wants to use.
    pub struct SaslHandshakeRequest: SaslHandshake [0..=1] {
        /// The SASL mechanism.
        mechanism: String [0..],
    }
}

message! {
    /// Says whether the broker has it.
    pub struct SaslHandshakeResponse: SaslHandshake [0..=1] {
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// The mechanisms the broker has.
        mechanisms: Vec<String> [0..],
    }
}
