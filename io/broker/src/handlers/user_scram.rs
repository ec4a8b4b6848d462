//! DescribeUserScramCredentials (key 50) and AlterUserScramCredentials (key 51), version 0: users' SCRAM
//! credentials (KIP-554).
//!
//! * Credentials are durable before the answer. Nobody has to log in yet: SASL is not served.

use crate::cluster::scram::alter_credentials;
use crate::cluster::state::ClusterState;
use crate::node::Node;
use crate::request::{Answer, Context};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::alter_user_scram_credentials::AlterUserScramCredentialsResult;
use kohort_protocol::messages::describe_user_scram_credentials::{
    CredentialInfo, DescribeUserScramCredentialsResult,
};
use kohort_protocol::messages::{
    AlterUserScramCredentialsRequest, AlterUserScramCredentialsResponse,
    DescribeUserScramCredentialsRequest, DescribeUserScramCredentialsResponse,
};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) fn alter(
    node: &Arc<Node>,
    context: Context,
    request: AlterUserScramCredentialsRequest,
) -> Answer {
    let node = Arc::clone(node);
    context.answer_later(async move {
        let AlterUserScramCredentialsRequest { deletions, upsertions } = request;
        // One outcome for each user, in the order of their names.
        let users: BTreeSet<String> = deletions
            .iter()
            .map(|deletion| &deletion.name)
            .chain(upsertions.iter().map(|upsertion| &upsertion.name))
            .cloned()
            .collect();
        let decide = move |state: &ClusterState| {
            let outcomes = alter_credentials(state, &deletions, &upsertions);
            outcomes.into_iter().map(|(_, outcome)| outcome).collect()
        };
        let outcomes = node.controller.decide(users.len(), decide, false).await;
        let results = users.into_iter().zip(outcomes).map(|(user, outcome)| {
            let (error_code, error_message) = match outcome {
                Ok(()) => (ErrorCode::NONE, None),
                Err(error) => (error.code, error.message),
            };
            AlterUserScramCredentialsResult { user, error_code, error_message }
        });
        AlterUserScramCredentialsResponse {
            results: results.collect(),
            ..AlterUserScramCredentialsResponse::default()
        }
    })
}

pub(crate) fn describe(
    node: &Arc<Node>,
    context: Context,
    request: DescribeUserScramCredentialsRequest,
) -> Answer {
    let state = node.metadata.state.read();
    let mut known: BTreeMap<&str, Vec<CredentialInfo>> = BTreeMap::new();
    for ((user, mechanism), credential) in &state.scram {
        let (mechanism, iterations) = (*mechanism as i8, credential.iterations);
        known.entry(user).or_default().push(CredentialInfo { mechanism, iterations });
    }
    let mut wanted: BTreeMap<&str, usize> = BTreeMap::new();
    for user in request.users.iter().flatten() {
        *wanted.entry(&user.name).or_default() += 1;
    }
    if wanted.is_empty() {
        wanted = known.keys().map(|user| (*user, 1)).collect();
    }
    let results = wanted.into_iter().map(|(user, times)| {
        let result = DescribeUserScramCredentialsResult {
            user: user.to_owned(),
            ..DescribeUserScramCredentialsResult::default()
        };
        let failed = |error_code, what: &str| DescribeUserScramCredentialsResult {
            error_code,
            error_message: Some(format!("{what}: {user}")),
            ..result.clone()
        };
        match known.get(user) {
            _ if times > 1 => {
                failed(ErrorCode::DUPLICATE_RESOURCE, "the user comes twice in the request")
            }
            None => failed(ErrorCode::RESOURCE_NOT_FOUND, "the user has no credential"),
            Some(infos) => {
                DescribeUserScramCredentialsResult { credential_infos: infos.clone(), ..result }
            }
        }
    });
    context.answer(&DescribeUserScramCredentialsResponse {
        results: results.collect(),
        ..DescribeUserScramCredentialsResponse::default()
    })
}
