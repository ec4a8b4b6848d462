//! AlterUserScramCredentials (key 51), request and response.

use bytes::Bytes;

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct AlterUserScramCredentialsRequest: AlterUserScramCredentials [0..=0, flexible 0..] {
        deletions: Vec<ScramCredentialDeletion> [0..],
        upsertions: Vec<ScramCredentialUpsertion> [0..],
    }

    pub struct ScramCredentialDeletion {
        name: String [0..],
        mechanism: i8 [0..],
    }

    pub struct ScramCredentialUpsertion {
        name: String [0..],
        mechanism: i8 [0..],
        iterations: i32 [0..],
        salt: Bytes [0..],
        salted_password: Bytes [0..],
    }
}

message! {
    pub struct AlterUserScramCredentialsResponse: AlterUserScramCredentials [0..=0, flexible 0..] {
        throttle_time_ms: i32 [0..],
        results: Vec<AlterUserScramCredentialsResult> [0..],
    }

    pub struct AlterUserScramCredentialsResult {
        user: String [0..],
        error_code: ErrorCode [0..],
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
    }
}
