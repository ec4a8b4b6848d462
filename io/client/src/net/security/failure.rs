//! Why TLS could not be agreed on, and what to do about it.

use std::io;

use rustls::{AlertDescription, CertificateError, ClientConfig, Error, InvalidMessage};
use thiserror::Error;

/// Why TLS could not be agreed on. Its text names the next step.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum TlsFailure {
    /// No CA we trust signed the broker's certificate.
    #[error(
        "no CA we trust signed its certificate: add the certificate of its CA to \
         `ssl.truststore.location`"
    )]
    UnknownIssuer,
    /// The certificate is for other names.
    #[error(
        "its certificate is for {}, not for this name: connect under a name it is for, or have it \
         issued anew (`ssl.endpoint.identification.algorithm=` accepts any)",
        names(presented)
    )]
    WrongName {
        /// The names it is for, where they are told.
        presented: Vec<String>,
    },
    /// The certificate is out of date.
    #[error("its certificate has expired: the broker needs a new one")]
    Expired,
    /// The certificate is of the future.
    #[error("its certificate is not valid yet: compare the clocks of both machines")]
    NotValidYet,
    /// The certificate is bad in another way.
    #[error("its certificate is not accepted: {reason}")]
    BadCertificate {
        /// In rustls' words.
        reason: String,
    },
    /// The broker wants a certificate of ours, and was given none.
    #[error(
        "it wants a certificate from its clients: name this client's in `ssl.keystore.location`"
    )]
    CertificateRequired,
    /// The broker did not accept our certificate.
    #[error(
        "it refuses this client's certificate ({alert}): it must be signed by a CA that the \
         broker trusts, and be in date"
    )]
    CertificateRefused {
        /// In the words of the protocol.
        alert: String,
    },
    /// What answers does not speak TLS.
    #[error(
        "it does not speak TLS on this port: set `security.protocol` to what the listener speaks, \
         or use the port of its TLS listener"
    )]
    NotTls,
    /// There is no version or cipher both sides know, or something else.
    #[error("TLS cannot be agreed on: {reason}")]
    Other {
        /// In the words of rustls or the protocol.
        reason: String,
    },
}

impl TlsFailure {
    /// Returns what rustls has against a connection, if an error of the stream comes from there.
    /// `ours` is what the connection was made with.
    pub(in crate::net) fn of(error: &io::Error, ours: Option<&ClientConfig>) -> Option<Self> {
        let failure = Self::of_error(error)?;
        let has_certificate = ours.is_some_and(|it| it.client_auth_cert_resolver.has_certs());
        // Some brokers, Kafka's among them, call a certificate that is not there a bad one.
        let missing = matches!(failure, Self::CertificateRefused { .. }) && !has_certificate;
        Some(if missing { Self::CertificateRequired } else { failure })
    }

    fn of_error(error: &io::Error) -> Option<Self> {
        let inner = error.get_ref()?.downcast_ref::<Error>()?;
        Some(match inner {
            Error::InvalidCertificate(reason) => Self::of_certificate(reason),
            Error::AlertReceived(alert) => Self::of_alert(*alert),
            Error::InvalidMessage(
                InvalidMessage::InvalidContentType
                | InvalidMessage::UnknownProtocolVersion
                | InvalidMessage::MessageTooLarge,
            ) => Self::NotTls,
            other => Self::Other { reason: other.to_string() },
        })
    }

    fn of_certificate(reason: &CertificateError) -> Self {
        match reason {
            CertificateError::UnknownIssuer => Self::UnknownIssuer,
            CertificateError::NotValidForName => Self::WrongName { presented: Vec::new() },
            CertificateError::NotValidForNameContext { presented, .. } => {
                // `DnsName("kafka-1")`: the name is what stands in quotes.
                let bare = |name: &String| {
                    let quoted = name.split_once('"').and_then(|(_, rest)| rest.split_once('"'));
                    quoted.map_or_else(|| name.clone(), |(name, _)| name.to_owned())
                };
                Self::WrongName { presented: presented.iter().map(bare).collect() }
            }
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => Self::Expired,
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::NotValidYet
            }
            other => Self::BadCertificate { reason: other.to_string() },
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::CertificateRequired => Self::CertificateRequired,
            AlertDescription::BadCertificate
            | AlertDescription::UnsupportedCertificate
            | AlertDescription::CertificateRevoked
            | AlertDescription::CertificateExpired
            | AlertDescription::CertificateUnknown
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied => {
                Self::CertificateRefused { alert: format!("{alert:?}") }
            }
            AlertDescription::ProtocolVersion => Self::Other {
                reason: "there is no version both sides know (`ssl.enabled.protocols`)".to_owned(),
            },
            other => Self::Other { reason: format!("the broker says {other:?}") },
        }
    }
}

fn names(presented: &[String]) -> String {
    if presented.is_empty() { "other names".to_owned() } else { presented.join(", ") }
}
