//! DescribeUserScramCredentials (key 50): which users have SCRAM credentials (KIP-554).

use crate::message::message;
use crate::ErrorCode;

message! {
    /// Asks which SCRAM credentials users have. Passwords are never told.
    pub struct DescribeUserScramCredentialsRequest: DescribeUserScramCredentials [0..=0, flexible 0..] {
        /// The users of interest; null or empty for all.
        users: Option<Vec<UserName>> [0.., nullable 0..] = Some(Vec::new()),
    }

    /// A user of interest.
    pub struct UserName {
        /// The user.
        name: String [0..],
    }
}

message! {
    /// Lists users and their kinds of credentials.
    pub struct DescribeUserScramCredentialsResponse: DescribeUserScramCredentials [0..=0, flexible 0..] {
        /// How many milliseconds the client shall wait before its next request, because of a quota.
        throttle_time_ms: i32 [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
        /// The answer for each user.
        results: Vec<DescribeUserScramCredentialsResult> [0..],
    }

    /// The answer for one user.
    pub struct DescribeUserScramCredentialsResult {
        /// The user.
        user: String [0..],
        /// What went wrong, if anything did.
        error_code: ErrorCode [0..],
        /// What went wrong in words, or null.
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
        /// The user's credentials.
        credential_infos: Vec<CredentialInfo> [0..],
    }

    /// A credential: its mechanism and its cost.
    pub struct CredentialInfo {
        /// The mechanism: 1 SCRAM-SHA-256, 2 SCRAM-SHA-512.
        mechanism: i8 [0..],
        /// How often the password is hashed.
        iterations: i32 [0..],
    }
}
