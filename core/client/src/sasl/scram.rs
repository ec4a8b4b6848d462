//! SCRAM: both sides prove that they know the password, and neither tells it (RFC 5802, RFC 7677).
//!
//! ```text
//!  client first   n,,n=<name>,r=<our nonce>
//!  server first   r=<our nonce + its own>,s=<salt>,i=<iterations>
//!  client final   c=biws,r=<both nonces>,p=<our proof>
//!  server final   v=<its proof>                 or e=<why not>
//! ```
//!
//! As Kafka does, names and passwords are taken as UTF-8 and not prepared any further (no SASLprep).

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac as _};
use sha2::{Digest as _, Sha256, Sha512};

use super::{Mechanism, SaslError, ScramHash, Step};

/// The most iterations we compute: about a second of work. A server that asks for more wants our
/// time, not our password; Kafka's brokers allow up to 16 384.
pub const ITERATIONS_MAX: u32 = 1_000_000;
/// The least that RFC 7677 allows, and Kafka's clients accept.
const ITERATIONS_MIN: u32 = 4096;
/// `n,,` in base64: no channel binding, no other identity.
const NO_BINDING: &str = "biws";

pub(super) struct Scram {
    hash: ScramHash,
    password: String,
    nonce: String,
    first_bare: String,
    state: State,
}

#[derive(Debug)]
enum State {
    AwaitFirst,
    AwaitFinal { server_key: Vec<u8>, auth_message: String },
    Over,
}

impl Scram {
    pub(super) fn new(hash: ScramHash, username: &str, password: &str, nonce: &[u8]) -> Self {
        let nonce = STANDARD.encode(nonce);
        let name = username.replace('=', "=3D").replace(',', "=2C");
        let first_bare = format!("n={name},r={nonce}");
        Self { hash, password: password.to_owned(), nonce, first_bare, state: State::AwaitFirst }
    }

    pub(super) fn first(&mut self) -> Vec<u8> {
        format!("n,,{}", self.first_bare).into_bytes()
    }

    pub(super) fn next(&mut self, challenge: &[u8]) -> Result<Step, SaslError> {
        match std::mem::replace(&mut self.state, State::Over) {
            State::AwaitFirst => self.prove(challenge).map(Step::Send),
            State::AwaitFinal { server_key, auth_message } => {
                self.verify(challenge, &server_key, &auth_message).map(|()| Step::Done)
            }
            State::Over => Err(SaslError::PastTheEnd { mechanism: self.hash.mechanism() }),
        }
    }

    /// Answers the server's first message with our proof.
    fn prove(&mut self, challenge: &[u8]) -> Result<Vec<u8>, SaslError> {
        let malformed = |reason| self.malformed("first", reason);
        let text = std::str::from_utf8(challenge).map_err(|_| malformed("it is not UTF-8"))?;
        let mut fields = text.split(',');
        let mut field = |name: &str| {
            fields.next().and_then(|field| field.strip_prefix(name)?.strip_prefix('='))
        };
        // An `m=` in the first place is an extension that must be understood; none are.
        let nonce = field("r").ok_or_else(|| malformed("it has no nonce"))?;
        let salt = field("s").ok_or_else(|| malformed("it has no salt"))?;
        let iterations = field("i").ok_or_else(|| malformed("it has no iterations"))?;
        if !nonce.starts_with(&self.nonce) || nonce.len() == self.nonce.len() {
            return Err(malformed("its nonce does not continue ours"));
        }
        let salt = STANDARD.decode(salt).map_err(|_| malformed("its salt is not base64"))?;
        let iterations: u32 =
            iterations.parse().map_err(|_| malformed("its iterations are no number"))?;
        if !(ITERATIONS_MIN..=ITERATIONS_MAX).contains(&iterations) {
            return Err(SaslError::Iterations {
                iterations,
                min: ITERATIONS_MIN,
                max: ITERATIONS_MAX,
            });
        }

        let salted = salted_password(self.hash, &self.password, &salt, iterations);
        let client_key = self.mac(&salted, b"Client Key");
        let stored_key = self.digest(&client_key);
        let without_proof = format!("c={NO_BINDING},r={nonce}");
        let auth_message = format!("{},{text},{without_proof}", self.first_bare);
        let signature = self.mac(&stored_key, auth_message.as_bytes());
        let proof: Vec<u8> = client_key.iter().zip(&signature).map(|(a, b)| a ^ b).collect();
        let server_key = self.mac(&salted, b"Server Key");
        self.state = State::AwaitFinal { server_key, auth_message };
        Ok(format!("{without_proof},p={}", STANDARD.encode(proof)).into_bytes())
    }

    /// Checks the proof that the server has the key too.
    fn verify(
        &self,
        challenge: &[u8],
        server_key: &[u8],
        auth_message: &str,
    ) -> Result<(), SaslError> {
        let malformed = |reason| self.malformed("final", reason);
        let text = std::str::from_utf8(challenge).map_err(|_| malformed("it is not UTF-8"))?;
        let first = text.split(',').next().unwrap_or_default();
        if let Some(reason) = first.strip_prefix("e=") {
            return Err(SaslError::Refused { reason: reason.to_owned() });
        }
        let proof = first.strip_prefix("v=").ok_or_else(|| malformed("it has no proof"))?;
        let proof = STANDARD.decode(proof).map_err(|_| malformed("its proof is not base64"))?;
        let genuine = match self.hash {
            ScramHash::Sha256 => keyed::<Hmac<Sha256>>(server_key)
                .chain_update(auth_message)
                .verify_slice(&proof)
                .is_ok(),
            ScramHash::Sha512 => keyed::<Hmac<Sha512>>(server_key)
                .chain_update(auth_message)
                .verify_slice(&proof)
                .is_ok(),
        };
        if genuine { Ok(()) } else { Err(SaslError::ServerUnproven) }
    }

    fn mac(&self, key: &[u8], message: &[u8]) -> Vec<u8> {
        match self.hash {
            ScramHash::Sha256 => {
                keyed::<Hmac<Sha256>>(key).chain_update(message).finalize().into_bytes().to_vec()
            }
            ScramHash::Sha512 => {
                keyed::<Hmac<Sha512>>(key).chain_update(message).finalize().into_bytes().to_vec()
            }
        }
    }

    fn digest(&self, bytes: &[u8]) -> Vec<u8> {
        match self.hash {
            ScramHash::Sha256 => Sha256::digest(bytes).to_vec(),
            ScramHash::Sha512 => Sha512::digest(bytes).to_vec(),
        }
    }

    fn malformed(&self, message: &'static str, reason: &'static str) -> SaslError {
        let mechanism: Mechanism = self.hash.mechanism();
        SaslError::Malformed { mechanism, message, reason }
    }
}

impl fmt::Debug for Scram {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let state = match self.state {
            State::AwaitFirst => "AwaitFirst",
            State::AwaitFinal { .. } => "AwaitFinal",
            State::Over => "Over",
        };
        f.debug_struct("Scram")
            .field("hash", &self.hash)
            .field("state", &state)
            .finish_non_exhaustive()
    }
}

/// Stretches a password into the key that both sides work with (`Hi` of the RFC: PBKDF2 with one
/// block). It is also what AlterUserScramCredentials carries.
pub fn salted_password(hash: ScramHash, password: &str, salt: &[u8], iterations: u32) -> Vec<u8> {
    let password = password.as_bytes();
    match hash {
        ScramHash::Sha256 => stretch(&keyed::<Hmac<Sha256>>(password), salt, iterations),
        ScramHash::Sha512 => stretch(&keyed::<Hmac<Sha512>>(password), salt, iterations),
    }
}

fn keyed<M: hmac::digest::KeyInit>(key: &[u8]) -> M {
    M::new_from_slice(key).unwrap_or_else(|_| unreachable!("HMAC takes keys of any length"))
}

fn stretch<M: hmac::Mac + Clone>(keyed: &M, salt: &[u8], iterations: u32) -> Vec<u8> {
    let one = |message: &[&[u8]]| {
        let mut mac = keyed.clone();
        for part in message {
            mac.update(part);
        }
        mac.finalize().into_bytes()
    };
    let mut last = one(&[salt, &1_u32.to_be_bytes()]);
    let mut all = last.to_vec();
    for _ in 1..iterations {
        last = one(&[&last]);
        all.iter_mut().zip(&last).for_each(|(all, last)| *all ^= last);
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The nonce of the RFC's examples is text; ours is base64 of bytes.
    fn exchange(hash: ScramHash, nonce: &str) -> Scram {
        let mut scram = Scram::new(hash, "user", "pencil", b"");
        nonce.clone_into(&mut scram.nonce);
        scram.first_bare = format!("n=user,r={nonce}");
        scram
    }

    fn sent(step: Result<Step, SaslError>) -> String {
        match step.unwrap() {
            Step::Send(bytes) => String::from_utf8(bytes).unwrap(),
            Step::Done => panic!("the exchange is over"),
        }
    }

    #[test]
    fn the_exchange_of_rfc_7677_is_reproduced() {
        let mut scram = exchange(ScramHash::Sha256, "rOprNGfwEbeRWgbNEkqO");
        assert_eq!(scram.first(), b"n,,n=user,r=rOprNGfwEbeRWgbNEkqO");
        let answer = scram.next(
            b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096",
        );
        assert_eq!(
            sent(answer),
            "c=biws,r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
             p=dHzbZapWIk4jUhN+Ute9ytag9zjfMHgsqmmiz7AndVQ="
        );
        let end = scram.next(b"v=6rriTRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
        assert_eq!(end, Ok(Step::Done));
        assert!(scram.next(b"v=x").is_err());
    }

    const SHA512_FIRST: &[u8] = b"r=rOprNGfwEbeRWgbNEkqO%hvYDpWUa2RaTCAfuxFIlj)hNlF$k0,\
                                  s=W22ZaJ0SNY7soEsUEjb6gQ==,i=4096";

    #[test]
    fn sha_512_gives_what_another_implementation_gives() {
        // Computed with Python's hashlib and hmac from the RFC's inputs.
        let mut scram = exchange(ScramHash::Sha512, "rOprNGfwEbeRWgbNEkqO");
        let answer = sent(scram.next(SHA512_FIRST));
        let proof = "gMGXRcevScNtxZ6/8lQYpGtnsNAc3mGcmNomv+xnoOMw+3R2xNJdMNnzMlTN\
                     8PPC6wdp6dybEmDYXYTxwnYPJQ==";
        assert!(answer.ends_with(&format!(",p={proof}")), "{answer}");
        let end = "v=ZQnYEgWQMFmmsM8aQMF0nDDCy/AgCzkwk8CmMZYcMg0vSVlKDanekLtifDSe\
                   VGT4+5ZxXnJq199RVG2rR7N7Zw==";
        assert_eq!(scram.next(end.as_bytes()), Ok(Step::Done));
    }

    #[test]
    fn a_server_without_the_password_is_not_believed() {
        for hash in [ScramHash::Sha256, ScramHash::Sha512] {
            let mut scram = exchange(hash, "rOprNGfwEbeRWgbNEkqO");
            scram.next(SHA512_FIRST).unwrap();
            let end = scram.next(b"v=AAAATRBi23WpRR/wtup+mMhUZUn/dB5nLTJRsjl95G4=");
            assert_eq!(end, Err(SaslError::ServerUnproven), "{hash:?}");
        }
    }

    #[test]
    fn a_refusal_keeps_the_servers_word() {
        let mut scram = exchange(ScramHash::Sha512, "rOprNGfwEbeRWgbNEkqO");
        scram.next(SHA512_FIRST).unwrap();
        let reason = "invalid-proof".to_owned();
        assert_eq!(scram.next(b"e=invalid-proof"), Err(SaslError::Refused { reason }));
    }

    #[test]
    fn separators_in_a_name_are_escaped() {
        let mut scram = Scram::new(ScramHash::Sha256, "a=b,c", "p", b"nonce");
        assert_eq!(scram.first(), b"n,,n=a=3Db=2Cc,r=bm9uY2U=");
    }

    #[test]
    fn messages_that_break_the_mechanism_are_refused() {
        let first = [
            "",
            "m=ext,r=abcX,s=AAAA,i=4096",
            "r=abcX",
            "r=abcX,s=AAAA",
            "r=abcX,s=!,i=4096",
            "r=abcX,s=AAAA,i=many",
            "r=abc,s=AAAA,i=4096",
            "r=xyzX,s=AAAA,i=4096",
            "r=abcX,s=AAAA,i=1",
            "r=abcX,s=AAAA,i=4294967295",
        ];
        for message in first {
            let mut scram = exchange(ScramHash::Sha256, "abc");
            assert!(scram.next(message.as_bytes()).is_err(), "{message}");
            assert!(scram.next(message.as_bytes()).is_err(), "it is over");
        }
        let mut scram = exchange(ScramHash::Sha256, "abc");
        assert!(scram.next(&[0xff, 0xfe]).is_err());
        for last in ["", "v=!", "x=AAAA"] {
            let mut scram = exchange(ScramHash::Sha256, "abc");
            scram.next(b"r=abcX,s=AAAA,i=4096").unwrap();
            assert!(scram.next(last.as_bytes()).is_err(), "{last}");
        }
    }

    #[test]
    fn a_password_is_not_shown() {
        let shown = format!("{:?}", Scram::new(ScramHash::Sha256, "alice", "sesame", b"n"));
        assert!(!shown.contains("sesame"), "{shown}");
    }
}
