//! OAUTHBEARER: a token that somebody else issued (RFC 7628, KIP-255, KIP-342).

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::{Mechanism, SaslError, Step};

/// A bearer token, and what is sent along with it.
#[derive(Clone, PartialEq, Eq)]
pub struct OAuthToken {
    /// The token as it goes into an `Authorization: Bearer` header.
    pub value: String,
    /// Names and values for the broker's own use (KIP-342).
    pub extensions: BTreeMap<String, String>,
}

impl OAuthToken {
    /// Returns a token without extensions.
    pub fn new(value: impl Into<String>) -> Self {
        Self { value: value.into(), extensions: BTreeMap::new() }
    }
}

/// Whoever has the token is its owner, so it is not shown.
impl fmt::Debug for OAuthToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OAuthToken").field("extensions", &self.extensions).finish_non_exhaustive()
    }
}

/// What an unsecured token says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UnsecuredClaims<'a> {
    /// Who the bearer is (`sub`).
    pub subject: &'a str,
    /// When it was issued, in Unix seconds (`iat`).
    pub issued_at: i64,
    /// When it ends, in Unix seconds (`exp`).
    pub expires_at: i64,
}

/// Makes a token that nobody signed. A broker takes it only in a test set-up.
pub fn unsecured_token(claims: &UnsecuredClaims<'_>) -> OAuthToken {
    let UnsecuredClaims { subject, issued_at, expires_at } = claims;
    let body =
        format!(r#"{{"sub":{},"iat":{issued_at},"exp":{expires_at}}}"#, json_string(subject));
    let encoded = |text: &str| URL_SAFE_NO_PAD.encode(text);
    OAuthToken::new(format!("{}.{}.", encoded(r#"{"alg":"none"}"#), encoded(&body)))
}

fn json_string(text: &str) -> String {
    let mut out = String::from('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            c if c < ' ' => out.push_str(&format!("\\u{:04x}", u32::from(c))),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[derive(Debug)]
pub(super) struct OAuthBearer {
    state: State,
}

enum State {
    First(Vec<u8>),
    AwaitVerdict,
    /// The server said no in JSON; the mechanism wants one more message before it ends.
    Refused,
    Over,
}

impl fmt::Debug for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::First(_) => "First",
            Self::AwaitVerdict => "AwaitVerdict",
            Self::Refused => "Refused",
            Self::Over => "Over",
        })
    }
}

impl OAuthBearer {
    pub(super) fn new(token: &OAuthToken) -> Result<Self, SaslError> {
        let unwritable = |what| SaslError::Unwritable { mechanism: Mechanism::OAuthBearer, what };
        let token_bytes = |c: char| c.is_ascii_graphic();
        if token.value.is_empty() || !token.value.chars().all(token_bytes) {
            return Err(unwritable("token"));
        }
        let mut message = format!("n,,\x01auth=Bearer {}\x01", token.value);
        for (name, value) in &token.extensions {
            let named = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphabetic());
            // `auth` is where the token itself goes.
            if !named || name == "auth" {
                return Err(unwritable("name of an extension"));
            }
            let valued = |c: char| c.is_ascii_graphic() || matches!(c, ' ' | '\t' | '\r' | '\n');
            if !value.chars().all(valued) {
                return Err(unwritable("value of an extension"));
            }
            message.push_str(&format!("{name}={value}\x01"));
        }
        message.push('\x01');
        Ok(Self { state: State::First(message.into_bytes()) })
    }

    pub(super) fn first(&mut self) -> Vec<u8> {
        match std::mem::replace(&mut self.state, State::AwaitVerdict) {
            State::First(message) => message,
            State::AwaitVerdict | State::Refused | State::Over => Vec::new(),
        }
    }

    pub(super) fn next(&mut self, challenge: &[u8]) -> Result<Step, SaslError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::AwaitVerdict if challenge.is_empty() => Ok(Step::Done),
            State::AwaitVerdict => {
                self.state = State::Refused;
                Ok(Step::Send(vec![1]))
            }
            State::Refused => {
                let reason = String::from_utf8_lossy(challenge).into_owned();
                Err(SaslError::Refused { reason })
            }
            State::First(_) | State::Over => {
                Err(SaslError::PastTheEnd { mechanism: Mechanism::OAuthBearer })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_token_and_its_extensions_are_framed_as_in_the_rfc() {
        let mut token = OAuthToken::new("vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==");
        token.extensions.insert("traceId".to_owned(), "123".to_owned());
        let mut bearer = OAuthBearer::new(&token).unwrap();
        assert_eq!(
            bearer.first(),
            b"n,,\x01auth=Bearer vF9dft4qmTc2Nvb3RlckBhbHRhdmlzdGEuY29tCg==\x01traceId=123\x01\x01"
        );
        assert_eq!(bearer.next(b""), Ok(Step::Done));
        assert!(bearer.next(b"").is_err());
    }

    #[test]
    fn a_refusal_is_acknowledged_before_it_is_final() {
        let mut bearer = OAuthBearer::new(&OAuthToken::new("t")).unwrap();
        bearer.first();
        let verdict = bearer.next(br#"{"status":"invalid_token"}"#);
        assert_eq!(verdict, Ok(Step::Send(vec![1])));
        assert_eq!(bearer.next(b"no"), Err(SaslError::Refused { reason: "no".to_owned() }));
    }

    #[test]
    fn what_would_end_a_field_is_refused() {
        assert!(OAuthBearer::new(&OAuthToken::new("a\x01b")).is_err());
        assert!(OAuthBearer::new(&OAuthToken::new("")).is_err());
        for (name, value) in [("auth", "x"), ("a-b", "x"), ("", "x"), ("a", "x\x01y")] {
            let mut token = OAuthToken::new("t");
            token.extensions.insert(name.to_owned(), value.to_owned());
            assert!(OAuthBearer::new(&token).is_err(), "{name}={value}");
        }
    }

    #[test]
    fn an_unsecured_token_has_a_header_claims_and_no_signature() {
        let token =
            unsecured_token(&UnsecuredClaims { subject: "a\"b\n c", issued_at: 1, expires_at: 2 });
        let parts: Vec<&str> = token.value.split('.').collect();
        let text = |part: &str| String::from_utf8(URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap();
        assert_eq!(text(parts[0]), r#"{"alg":"none"}"#);
        assert_eq!(text(parts[1]), r#"{"sub":"a\"b\u000a c","iat":1,"exp":2}"#);
        assert_eq!(parts[2], "");
        assert!(!format!("{token:?}").contains(parts[1]), "a token is a secret");
    }
}
