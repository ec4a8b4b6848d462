//! SCRAM credentials of users (KIP-554).

use std::collections::BTreeMap;

use bytes::Bytes;
use kohort_client_core::sasl::{ScramHash, salted_password};
use kohort_protocol::messages::alter_user_scram_credentials::{
    AlterUserScramCredentialsRequest, ScramCredentialDeletion, ScramCredentialUpsertion,
};
use kohort_protocol::messages::describe_user_scram_credentials::{
    DescribeUserScramCredentialsRequest, UserName,
};

use super::changes::{Changes, Rules};
use super::error::check;
use super::{Admin, AdminError, Session};
use crate::config::Secret;
use crate::net::NetError;

pub use kohort_client_core::sasl::ScramHash as ScramMechanism;

/// What is known of one of a user's credentials; the password is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ScramCredential {
    /// Which mechanism it is for.
    pub mechanism: ScramMechanism,
    /// How much work a guess costs.
    pub iterations: i32,
}

/// A change of one credential.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum CredentialChange {
    /// Sets a password. It does not leave this process: what is sent is derived from it.
    Set {
        /// For which mechanism.
        mechanism: ScramMechanism,
        /// The password.
        password: Secret,
        /// How much work a guess shall cost: 4096 to 16384.
        iterations: u32,
    },
    /// Removes it.
    Remove(ScramMechanism),
}

impl CredentialChange {
    /// Sets a password, with the least work that Kafka allows.
    pub fn set(mechanism: ScramMechanism, password: impl Into<String>) -> Self {
        Self::Set { mechanism, password: Secret::new(password), iterations: 4096 }
    }
}

impl Admin {
    /// Returns the credentials of some users, or of all that have any.
    ///
    /// # Errors
    /// `RESOURCE_NOT_FOUND` for a user who has none.
    pub async fn describe_user_credentials(
        &self,
        users: Option<Vec<String>>,
    ) -> Result<BTreeMap<String, Result<Vec<ScramCredential>, AdminError>>, AdminError> {
        self.run(move |session| {
            let users = users.clone();
            async move { session.describe_user_credentials(users).await }
        })
        .await
    }

    /// Changes one credential of each user: Kafka takes no more than one for a user at a time.
    ///
    /// # Errors
    /// `RESOURCE_NOT_FOUND` for a user whose credential to remove is not there, `UNACCEPTABLE_CREDENTIAL` for one whose
    /// iterations Kafka does not take.
    pub async fn alter_user_credentials(
        &self,
        changes: BTreeMap<String, CredentialChange>,
    ) -> Result<BTreeMap<String, Result<(), AdminError>>, AdminError> {
        let users: Vec<String> = changes.keys().cloned().collect();
        // Deriving takes its time on purpose, and attempts need not repeat it.
        let derive = async { tokio::task::spawn_blocking(move || request(changes)).await };
        let request = self.driver.run(derive).await?.map_err(|_| NetError::DriverGone)?;
        let rules = Rules {
            what: |user: &String| what(user),
            passes: AdminError::was_not_begun,
            denial: None,
        };
        self.change(users, rules, move |session, changes| {
            let request = request.clone();
            async move { session.alter_user_credentials(request, &changes).await }
        })
        .await
    }
}

impl Session {
    async fn describe_user_credentials(
        &self,
        users: Option<Vec<String>>,
    ) -> Result<BTreeMap<String, Result<Vec<ScramCredential>, AdminError>>, AdminError> {
        let named = |names: Vec<String>| names.into_iter().map(|name| UserName { name }).collect();
        let request = DescribeUserScramCredentialsRequest { users: users.map(named) };
        let answer = self.ask_any(&request).await?;
        check(answer.error_code, answer.error_message, || "the credentials of users".to_owned())?;
        let mut described = BTreeMap::new();
        for user in answer.results {
            let what = || what(&user.user);
            let credentials = check(user.error_code, user.error_message, what).map(|()| {
                let known = user.credential_infos.into_iter().filter_map(|info| {
                    let mechanism = mechanism(info.mechanism)?;
                    Some(ScramCredential { mechanism, iterations: info.iterations })
                });
                known.collect()
            });
            described.insert(user.user, credentials);
        }
        Ok(described)
    }

    async fn alter_user_credentials(
        &self,
        mut request: AlterUserScramCredentialsRequest,
        changes: &Changes<String, ()>,
    ) -> Result<(), AdminError> {
        let remaining = changes.remaining();
        request.deletions.retain(|it| remaining.contains(&it.name));
        request.upsertions.retain(|it| remaining.contains(&it.name));
        for result in self.ask_controller(&request).await?.results {
            let outcome = check(result.error_code, result.error_message, || what(&result.user));
            changes.note(result.user, outcome);
        }
        Ok(())
    }
}

fn request(changes: BTreeMap<String, CredentialChange>) -> AlterUserScramCredentialsRequest {
    let mut request = AlterUserScramCredentialsRequest::default();
    for (name, change) in changes {
        match change {
            CredentialChange::Remove(mechanism) => request
                .deletions
                .push(ScramCredentialDeletion { name, mechanism: number(mechanism) }),
            CredentialChange::Set { mechanism, password, iterations } => {
                let salt = crate::random::bytes::<24>();
                let salted = salted_password(mechanism, password.reveal(), &salt, iterations);
                request.upsertions.push(ScramCredentialUpsertion {
                    name,
                    mechanism: number(mechanism),
                    iterations: i32::try_from(iterations).unwrap_or(i32::MAX),
                    salt: Bytes::copy_from_slice(&salt),
                    salted_password: Bytes::from(salted),
                });
            }
        }
    }
    request
}

/// Kafka's number of a mechanism.
fn number(mechanism: ScramHash) -> i8 {
    match mechanism {
        ScramHash::Sha256 => 1,
        ScramHash::Sha512 => 2,
    }
}

fn mechanism(number: i8) -> Option<ScramHash> {
    match number {
        1 => Some(ScramHash::Sha256),
        2 => Some(ScramHash::Sha512),
        _ => None,
    }
}

fn what(user: &str) -> String {
    format!("the credentials of user `{user}`")
}
