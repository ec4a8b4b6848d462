//! AlterUserScramCredentials (key 51): SCRAM passwords are set or removed (KIP-554).

use bytes::Bytes;

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Sets and removes SCRAM credentials.
    pub struct AlterUserScramCredentialsRequest: AlterUserScramCredentials [0..=0, flexible 0..] {
        /// The credentials to remove.
        deletions: Vec<ScramCredentialDeletion> [0..],
        /// The credentials to set.
        upsertions: Vec<ScramCredentialUpsertion> [0..],
    }

    /// A credential to remove.
    pub struct ScramCredentialDeletion {
        /// The user.
        name: String [0..],
        /// The mechanism: 1 SCRAM-SHA-256, 2 SCRAM-SHA-512.
        mechanism: i8 [0..],
    }

    /// A credential to set.
    pub struct ScramCredentialUpsertion {
        /// The user.
        name: String [0..],
        /// The mechanism: 1 SCRAM-SHA-256, 2 SCRAM-SHA-512.
        mechanism: i8 [0..],
        /// How often the password is hashed.
        iterations: i32 [0..],
        /// The salt.
        salt: Bytes [0..],
        /// The password, hashed by the client.
        salted_password: Bytes [0..],
    }
}

message! {
    /// Says for each user whether the credentials were changed.
    pub struct AlterUserScramCredentialsResponse: AlterUserScramCredentials [0..=0, flexible 0..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// The outcome for each.
        results: Vec<AlterUserScramCredentialsResult> [0..],
    }

    /// The outcome for one user.
    pub struct AlterUserScramCredentialsResult {
        /// The user.
        user: String [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
    }
}
