//! Users' SCRAM credentials: what is kept of a password, and what a request to change them leads to
//! (KIP-554, RFC 5802).
//!
//! Of a password only what verifies it is kept: salt, iterations, stored key and server key. The
//! client sends the password salted; the keys are made of that here, so that the log holds nothing
//! somebody could log in with.

use super::api_error::ApiError;
use super::record::MetadataRecord;
use super::scram_credential::ScramMechanism;
use super::state::ClusterState;
use bytes::Bytes;
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::alter_user_scram_credentials::{
    ScramCredentialDeletion, ScramCredentialUpsertion,
};
use std::collections::BTreeMap;

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
            ScramCredentialUpsertion {
                salted_password: vec![0; SECRET_MAX + 1].into(),
                ..upsertion("f", 1, 4096)
            },
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
            ("f", unacceptable),
            ("gone", ErrorCode::RESOURCE_NOT_FOUND),
        ];
        assert_eq!(codes, expected);
    }
}
