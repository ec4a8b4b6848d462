//! SASL from the client's side: what to send next, and whether the server proved itself.
//!
//! ```text
//!  Exchange::first ──► server ──► Exchange::next ──► Step::Send ──► server ──► … ──► Step::Done
//! ```
//!
//! An [`Exchange`] is one authentication. Whoever carries the bytes decides nothing; what may fail
//! here is a server that does not follow the mechanism, or that does not know our secret either
//! (SCRAM only). Random bytes are handed in.
//!
//! Left out: GSSAPI, which needs a Kerberos library, and channel binding, which Kafka has none of.

mod oauth_bearer;
mod plain;
mod scram;

use std::fmt;

use thiserror::Error;

pub use oauth_bearer::{OAuthToken, UnsecuredClaims, unsecured_token};
pub use scram::{ITERATIONS_MAX, salted_password};

/// A mechanism, under the name that goes over the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Mechanism {
    /// The password as it is: only over TLS (RFC 4616).
    Plain,
    /// Neither side learns the password from the other; SHA-256 (RFC 5802, RFC 7677).
    ScramSha256,
    /// As above with SHA-512.
    ScramSha512,
    /// A token that somebody else issued (RFC 7628).
    OAuthBearer,
}

impl Mechanism {
    /// Returns the registered name.
    pub fn name(self) -> &'static str {
        match self {
            Self::Plain => "PLAIN",
            Self::ScramSha256 => "SCRAM-SHA-256",
            Self::ScramSha512 => "SCRAM-SHA-512",
            Self::OAuthBearer => "OAUTHBEARER",
        }
    }
}

impl fmt::Display for Mechanism {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What to do after a message of the server.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// Send this and wait for the answer.
    Send(Vec<u8>),
    /// Both sides are satisfied.
    Done,
}

/// Why an exchange cannot go on.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum SaslError {
    /// The server's message is not one of this mechanism.
    #[error("the server's {message} message is not {mechanism}: {reason}")]
    Malformed {
        /// The mechanism.
        mechanism: Mechanism,
        /// Which message.
        message: &'static str,
        /// What is wrong with it.
        reason: &'static str,
    },
    /// The server's answer to our proof says no.
    #[error("the server refused the proof: {reason}")]
    Refused {
        /// In the server's words.
        reason: String,
    },
    /// The server did not prove that it knows the password: it is not who it seems to be.
    #[error("the server did not prove that it knows the password too")]
    ServerUnproven,
    /// The server wants a key derived with too little or too much work.
    #[error("the server asks for {iterations} iterations, and {min} to {max} are sensible")]
    Iterations {
        /// What it asks for.
        iterations: u32,
        /// The least that protects a password.
        min: u32,
        /// The most that is not an attack on our time.
        max: u32,
    },
    /// The name, the token or an extension has a byte that the mechanism cannot carry.
    #[error("the {what} has a character that {mechanism} cannot carry")]
    Unwritable {
        /// The mechanism.
        mechanism: Mechanism,
        /// Of what.
        what: &'static str,
    },
    /// The server sent more than the mechanism has.
    #[error("the server goes on after the end of {mechanism}")]
    PastTheEnd {
        /// The mechanism.
        mechanism: Mechanism,
    },
}

/// One authentication under way.
#[derive(Debug)]
pub struct Exchange(Kind);

#[derive(Debug)]
enum Kind {
    Plain(plain::Plain),
    Scram(Box<scram::Scram>),
    OAuthBearer(oauth_bearer::OAuthBearer),
}

impl Exchange {
    /// Starts PLAIN.
    pub fn plain(username: &str, password: &str) -> Result<Self, SaslError> {
        Ok(Self(Kind::Plain(plain::Plain::new(username, password)?)))
    }

    /// Starts SCRAM. `nonce` is at least 18 random bytes that were never used before.
    pub fn scram(hash: ScramHash, username: &str, password: &str, nonce: &[u8]) -> Self {
        Self(Kind::Scram(Box::new(scram::Scram::new(hash, username, password, nonce))))
    }

    /// Starts OAUTHBEARER.
    pub fn oauth_bearer(token: &OAuthToken) -> Result<Self, SaslError> {
        Ok(Self(Kind::OAuthBearer(oauth_bearer::OAuthBearer::new(token)?)))
    }

    /// Returns the message that opens the exchange.
    pub fn first(&mut self) -> Vec<u8> {
        match &mut self.0 {
            Kind::Plain(plain) => plain.first(),
            Kind::Scram(scram) => scram.first(),
            Kind::OAuthBearer(bearer) => bearer.first(),
        }
    }

    /// Takes the server's next message. For SCRAM this derives a key, some milliseconds of work.
    pub fn next(&mut self, challenge: &[u8]) -> Result<Step, SaslError> {
        match &mut self.0 {
            Kind::Plain(plain) => plain.next(challenge),
            Kind::Scram(scram) => scram.next(challenge),
            Kind::OAuthBearer(bearer) => bearer.next(challenge),
        }
    }
}

/// The hash of a SCRAM mechanism.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ScramHash {
    /// SHA-256.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl ScramHash {
    /// Returns the mechanism with this hash.
    pub fn mechanism(self) -> Mechanism {
        match self {
            Self::Sha256 => Mechanism::ScramSha256,
            Self::Sha512 => Mechanism::ScramSha512,
        }
    }
}
