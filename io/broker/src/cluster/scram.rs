//! Users' SCRAM credentials: what is kept of a password, and what a request to change them leads to
//! (KIP-554, RFC 5802).
//!
//! Of a password only what verifies it is kept: salt, iterations, stored key and server key. The
//! client sends the password salted; the keys are made of that here, so that the log holds nothing
//! somebody could log in with.

use super::decide::ApiError;
use super::record::MetadataRecord;
use super::state::ClusterState;
use bytes::Bytes;
use hmac::{Hmac, Mac};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::alter_user_scram_credentials::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use sha2::{Digest, Sha256, Sha512};
use std::collections::BTreeMap;
use std::fmt;

/// What verifies a password.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct ScramCredential {
    pub(crate) salt: Bytes,
    pub(crate) stored_key: Bytes,
    pub(crate) server_key: Bytes,
    pub(crate) iterations: i32,
}

impl fmt::Debug for ScramCredential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The keys and the salt stay out of every log.
        f.debug_struct("ScramCredential")
            .field("iterations", &self.iterations)
            .finish_non_exhaustive()
    }
}

/// A way to hash a password, in the wire's numbering.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[repr(i8)]
pub(crate) enum ScramMechanism {
    Sha256 = 1,
    Sha512 = 2,
}

impl ScramMechanism {
    pub(crate) fn from_i8(number: i8) -> Option<Self> {
        [Self::Sha256, Self::Sha512].into_iter().find(|mechanism| *mechanism as i8 == number)
    }

    fn hash(self, data: &[u8]) -> Bytes {
        match self {
            Self::Sha256 => Bytes::copy_from_slice(&Sha256::digest(data)),
            Self::Sha512 => Bytes::copy_from_slice(&Sha512::digest(data)),
        }
    }

    fn hmac(self, key: &[u8], data: &[u8]) -> Bytes {
        const ANY_KEY: &str = "a key of any length will do";
        match self {
            Self::Sha256 => {
                let mac = Hmac::<Sha256>::new_from_slice(key).expect(ANY_KEY);
                Bytes::copy_from_slice(&mac.chain_update(data).finalize().into_bytes())
            }
            Self::Sha512 => {
                let mac = Hmac::<Sha512>::new_from_slice(key).expect(ANY_KEY);
                Bytes::copy_from_slice(&mac.chain_update(data).finalize().into_bytes())
            }
        }
    }

    /// Makes a credential of a salted password (RFC 5802, section 3).
    fn credential(self, salted_password: &[u8], salt: Bytes, iterations: i32) -> ScramCredential {
        let client_key = self.hmac(salted_password, b"Client Key");
        ScramCredential {
            salt,
            stored_key: self.hash(&client_key),
            server_key: self.hmac(salted_password, b"Server Key"),
            iterations,
        }
    }
}

/// The least that Kafka takes for both mechanisms, and the most.
const ITERATIONS: std::ops::RangeInclusive<i32> = 4096..=16_384;
/// The longest salt or salted password that is taken: real ones have tens of bytes.
const SECRET_MAX: usize = 4096;
/// The longest user name, as the log's strings have it.
const USER_MAX: usize = i16::MAX as usize;

/// What becomes of one user.
pub(crate) type UserOutcome = (String, Result<Vec<MetadataRecord>, ApiError>);

/// Returns for each user named the records that change the credentials, or why not.
pub(crate) fn alter_credentials(
    state: &ClusterState,
    deletions: &[ScramCredentialDeletion],
    upsertions: &[ScramCredentialUpsertion],
) -> Vec<UserOutcome> {
    let mut outcomes: BTreeMap<&str, Result<Vec<MetadataRecord>, ApiError>> = BTreeMap::new();
    let mut put = |user, outcome| {
        outcomes
            .entry(user)
            .and_modify(|earlier| {
                let message = "the user's credential comes twice in the request";
                *earlier = Err(ApiError::new(ErrorCode::DUPLICATE_RESOURCE, message));
            })
            .or_insert(outcome);
    };
    for deletion in deletions {
        put(deletion.name.as_str(), delete(state, deletion));
    }
    for upsertion in upsertions {
        put(upsertion.name.as_str(), upsert(upsertion));
    }
    outcomes.into_iter().map(|(user, outcome)| (user.to_owned(), outcome)).collect()
}

fn delete(
    state: &ClusterState,
    deletion: &ScramCredentialDeletion,
) -> Result<Vec<MetadataRecord>, ApiError> {
    let mechanism = check(&deletion.name, deletion.mechanism)?;
    if !state.scram.contains_key(&(deletion.name.clone(), mechanism)) {
        return Err(ApiError::new(
            ErrorCode::RESOURCE_NOT_FOUND,
            "the user has no such credential",
        ));
    }
    Ok(vec![MetadataRecord::Scram { user: deletion.name.clone(), mechanism, credential: None }])
}

fn upsert(upsertion: &ScramCredentialUpsertion) -> Result<Vec<MetadataRecord>, ApiError> {
    let mechanism = check(&upsertion.name, upsertion.mechanism)?;
    let unacceptable = |message| ApiError::new(ErrorCode::UNACCEPTABLE_CREDENTIAL, message);
    if upsertion.iterations < *ITERATIONS.start() {
        return Err(unacceptable("too few iterations"));
    }
    if upsertion.iterations > *ITERATIONS.end() {
        return Err(unacceptable("too many iterations"));
    }
    if upsertion.salt.len().max(upsertion.salted_password.len()) > SECRET_MAX {
        return Err(unacceptable("the salt or the salted password is too long"));
    }
    // A slice of the frame would keep the whole frame in memory.
    let salt = Bytes::copy_from_slice(&upsertion.salt);
    let credential = mechanism.credential(&upsertion.salted_password, salt, upsertion.iterations);
    let (user, credential) = (upsertion.name.clone(), Some(credential));
    Ok(vec![MetadataRecord::Scram { user, mechanism, credential }])
}

fn check(user: &str, mechanism: i8) -> Result<ScramMechanism, ApiError> {
    if user.is_empty() || user.len() > USER_MAX {
        let message = if user.is_empty() {
            "the user's name is empty"
        } else {
            "the user's name is too long"
        };
        return Err(ApiError::new(ErrorCode::UNACCEPTABLE_CREDENTIAL, message));
    }
    ScramMechanism::from_i8(mechanism).ok_or_else(|| {
        ApiError::new(ErrorCode::UNSUPPORTED_SASL_MECHANISM, "there is no such mechanism")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hex(bytes: &[u8]) -> String {
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn keys_are_made_as_rfc_5802_says() {
        // RFC 7677's example: user, password "pencil", 4096 iterations; its salted password by PBKDF2.
        let salted = "c4a49510323ab4f952cac1fa99441939e78ea74d6be81ddf7096e87513dc615d";
        let salted: Vec<u8> = (0..salted.len())
            .step_by(2)
            .map(|at| u8::from_str_radix(&salted[at..at + 2], 16).unwrap())
            .collect();
        let credential = ScramMechanism::Sha256.credential(&salted, Bytes::new(), 4096);
        let server_key = "c1f3cbc1c13a9d35a14c0990eed97629ea225863e566a4314ab99f3f00e5d9d5";
        assert_eq!(hex(&credential.server_key), server_key);
        assert_eq!(credential.stored_key.len(), 32);
        let credential = ScramMechanism::Sha512.credential(b"x", Bytes::new(), 4096);
        assert_eq!((credential.stored_key.len(), credential.server_key.len()), (64, 64));
        assert!(!format!("{credential:?}").contains("key"));
    }

    #[test]
    fn changes_are_refused_for_kafkas_reasons() {
        let upsertion = |user: &str, mechanism, iterations| ScramCredentialUpsertion {
            name: user.to_owned(),
            mechanism,
            iterations,
            salt: Bytes::from_static(b"salt"),
            salted_password: Bytes::from_static(b"salted"),
        };
        let deletion = ScramCredentialDeletion { name: "gone".to_owned(), mechanism: 1 };
        let upsertions = [
            upsertion("", 1, 4096),
            upsertion("a", 3, 4096),
            upsertion("b", 1, 4095),
            upsertion("c", 2, 16_385),
            upsertion("d", 1, 4096),
            upsertion("d", 2, 4096),
            upsertion("e", 2, 4096),
        ];
        let outcomes = alter_credentials(&ClusterState::default(), &[deletion], &upsertions);
        let codes: Vec<_> = outcomes
            .iter()
            .map(|(user, outcome)| {
                let code = outcome.as_ref().map_or_else(|error| error.code, |_| ErrorCode::NONE);
                (user.as_str(), code)
            })
            .collect();
        let unacceptable = ErrorCode::UNACCEPTABLE_CREDENTIAL;
        let expected = [
            ("", unacceptable),
            ("a", ErrorCode::UNSUPPORTED_SASL_MECHANISM),
            ("b", unacceptable),
            ("c", unacceptable),
            ("d", ErrorCode::DUPLICATE_RESOURCE),
            ("e", ErrorCode::NONE),
            ("gone", ErrorCode::RESOURCE_NOT_FOUND),
        ];
        assert_eq!(codes, expected);
    }
}
