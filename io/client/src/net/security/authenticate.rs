//! The SASL exchange over a connection (KIP-43, KIP-152), and again on a living one (KIP-368).

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kohort_client_core::sasl::{Exchange, Mechanism, SaslError, Step};
use kohort_protocol::messages::sasl_authenticate::{
    SaslAuthenticateRequest, SaslAuthenticateResponse,
};
use kohort_protocol::messages::sasl_handshake::SaslHandshakeRequest;
use kohort_protocol::{ApiKey, ErrorCode, Message, Request, VersionRange};

use super::Sasl;
use super::credentials::StartError;
use crate::net::{ApiVersions, AuthenticationFailure, NetError};

/// Carries one request at a time: a bare stream at first, later the connection's own task.
pub(in crate::net) trait Ask {
    /// Sends a request and waits for its answer.
    fn ask<R: Request + Sync>(
        &mut self,
        version: i16,
        request: &R,
    ) -> impl Future<Output = Result<R::Response, NetError>> + Send;
}

/// Proves who we are. Returns after how long that must be done again, if ever.
pub(in crate::net) async fn authenticate(
    carrier: &mut impl Ask,
    sasl: &Sasl,
    versions: &ApiVersions,
    address: &Arc<str>,
) -> Result<Option<Duration>, NetError> {
    let mechanism = sasl.mechanism;
    let failed =
        |failure| NetError::Authentication { address: address.clone(), mechanism, failure };
    agree_on_mechanism(carrier, mechanism, versions, address).await?;
    let version = common::<SaslAuthenticateRequest>(versions, address)?;
    let mut exchange = sasl.start().await.map_err(|error| match error {
        StartError::Sasl(reason) => failed(AuthenticationFailure::Protocol(reason)),
        StartError::Source(reason) => failed(AuthenticationFailure::NoToken(Arc::from(reason))),
    })?;
    let mut message = exchange.first();
    loop {
        let request = SaslAuthenticateRequest { auth_bytes: Bytes::from(message) };
        let answer: SaslAuthenticateResponse = carrier.ask(version, &request).await?;
        if answer.error_code != ErrorCode::NONE {
            return Err(failed(AuthenticationFailure::Refused {
                who: sasl.who(),
                code: answer.error_code,
                message: answer.error_message.filter(|text| !text.is_empty()),
            }));
        }
        let step = advance(exchange, answer.auth_bytes).await;
        let (next, step) = step.ok_or(NetError::DriverGone)?;
        exchange = next;
        match step.map_err(|reason| failed(AuthenticationFailure::Protocol(reason)))? {
            Step::Send(bytes) => message = bytes,
            Step::Done => {
                let lifetime = u64::try_from(answer.session_lifetime_ms).unwrap_or(0);
                return Ok((lifetime > 0).then(|| Duration::from_millis(lifetime)));
            }
        }
    }
}

/// Takes the server's message, off the client's thread: SCRAM takes its time on purpose, and a
/// heartbeat must not wait for it. `None` if the client has ended.
async fn advance(
    mut exchange: Exchange,
    challenge: Bytes,
) -> Option<(Exchange, Result<Step, SaslError>)> {
    let advance = move || {
        let step = exchange.next(&challenge);
        (exchange, step)
    };
    tokio::task::spawn_blocking(advance).await.ok()
}

async fn agree_on_mechanism(
    carrier: &mut impl Ask,
    mechanism: Mechanism,
    versions: &ApiVersions,
    address: &Arc<str>,
) -> Result<(), NetError> {
    let failed =
        |failure| NetError::Authentication { address: address.clone(), mechanism, failure };
    // Kafka's listeners without SASL list it and then refuse it; others leave it out.
    if versions.range(ApiKey::SaslHandshake).is_none() {
        return Err(failed(AuthenticationFailure::NotSasl));
    }
    // Version 0 is followed by bare tokens instead of requests.
    let ours = VersionRange::new(1, SaslHandshakeRequest::VERSIONS.max);
    let version = versions
        .highest::<SaslHandshakeRequest>(ours)
        .ok_or_else(|| unsupported(address, ApiKey::SaslHandshake, ours, versions))?;
    let request = SaslHandshakeRequest { mechanism: mechanism.name().to_owned() };
    let answer = carrier.ask(version, &request).await?;
    let failure = match answer.error_code {
        ErrorCode::NONE => return Ok(()),
        ErrorCode::UNSUPPORTED_SASL_MECHANISM => {
            AuthenticationFailure::NotOffered { offered: answer.mechanisms }
        }
        // A listener without SASL is in no state to hear of it.
        ErrorCode::ILLEGAL_SASL_STATE => AuthenticationFailure::NotSasl,
        code => {
            AuthenticationFailure::Refused { who: "the mechanism".to_owned(), code, message: None }
        }
    };
    Err(failed(failure))
}

fn common<R: Request>(versions: &ApiVersions, address: &Arc<str>) -> Result<i16, NetError> {
    versions
        .highest::<R>(R::VERSIONS)
        .ok_or_else(|| unsupported(address, R::API_KEY, R::VERSIONS, versions))
}

fn unsupported(
    address: &Arc<str>,
    api: ApiKey,
    ours: VersionRange,
    versions: &ApiVersions,
) -> NetError {
    NetError::UnsupportedVersion {
        address: address.clone(),
        api,
        ours,
        theirs: versions.range(api),
    }
}
