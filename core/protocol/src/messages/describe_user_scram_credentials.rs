//! DescribeUserScramCredentials (key 50), request and response.

use crate::message::message;
use crate::ErrorCode;

message! {
    pub struct DescribeUserScramCredentialsRequest: DescribeUserScramCredentials [0..=0, flexible 0..] {
        users: Option<Vec<UserName>> [0.., nullable 0..] = Some(Vec::new()),
    }

    pub struct UserName {
        name: String [0..],
    }
}

message! {
    pub struct DescribeUserScramCredentialsResponse: DescribeUserScramCredentials [0..=0, flexible 0..] {
        throttle_time_ms: i32 [0..],
        error_code: ErrorCode [0..],
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
        results: Vec<DescribeUserScramCredentialsResult> [0..],
    }

    pub struct DescribeUserScramCredentialsResult {
        user: String [0..],
        error_code: ErrorCode [0..],
        error_message: Option<String> [0.., nullable 0..] = Some(String::new()),
        credential_infos: Vec<CredentialInfo> [0..],
    }

    pub struct CredentialInfo {
        mechanism: i8 [0..],
        iterations: i32 [0..],
    }
}
