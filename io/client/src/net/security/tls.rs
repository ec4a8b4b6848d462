//! TLS by rustls, with ring for the arithmetic: a bare machine with cargo and cc builds both.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::ring;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    SupportedProtocolVersion,
};

use super::pem::{self, invalid};
use crate::config::{CommonConfig, ConfigError, EndpointIdentification, TlsVersion};

/// Makes rustls' configuration from the properties.
pub(super) fn client_config(config: &CommonConfig) -> Result<ClientConfig, ConfigError> {
    let roots = Arc::new(roots(config)?);
    let provider = Arc::new(ring::default_provider());
    let versions = versions(config);
    let unusable = |what: &'static str| {
        move |error: Error| ConfigError::Conflict { reason: format!("{what}: {error}") }
    };
    let builder = ClientConfig::builder_with_provider(provider.clone())
        .with_protocol_versions(&versions)
        .map_err(unusable("`ssl.enabled.protocols`"))?;
    let verifier = WebPkiServerVerifier::builder_with_provider(roots, provider)
        .build()
        .map_err(|error| ConfigError::Conflict { reason: error.to_string() })?;
    let builder = match config.ssl_endpoint_identification {
        EndpointIdentification::Https => builder.with_webpki_verifier(verifier),
        EndpointIdentification::None => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(AnyName(verifier)))
        }
    };
    match pem::identity(config)? {
        Some((chain, key)) => builder
            .with_client_auth_cert(chain, key)
            .map_err(unusable("the key and the certificate in `ssl.keystore.*`")),
        None => Ok(builder.with_no_client_auth()),
    }
}

fn versions(config: &CommonConfig) -> Vec<&'static SupportedProtocolVersion> {
    let version = |version: &TlsVersion| match version {
        TlsVersion::Tls12 => &rustls::version::TLS12,
        TlsVersion::Tls13 => &rustls::version::TLS13,
    };
    config.ssl_enabled_protocols.iter().map(version).collect()
}

fn roots(config: &CommonConfig) -> Result<RootCertStore, ConfigError> {
    let mut roots = RootCertStore::empty();
    if let Some(trusted) = pem::trusted(config)? {
        for certificate in trusted {
            roots.add(certificate).map_err(|error| {
                invalid("ssl.truststore.*", "a certificate", &error.to_string())
            })?;
        }
        return Ok(roots);
    }
    // Of the system's many, some may be of a kind that nobody uses any more.
    roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
    if roots.is_empty() {
        let reason = "the system has no trusted certificates: name your CA's in \
                      `ssl.truststore.location`";
        return Err(ConfigError::Conflict { reason: reason.to_owned() });
    }
    Ok(roots)
}

/// Checks everything but the name: `ssl.endpoint.identification.algorithm` is empty.
#[derive(Debug)]
struct AnyName(Arc<WebPkiServerVerifier>);

impl ServerCertVerifier for AnyName {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verdict =
            self.0.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now);
        match verdict {
            // The name is held against the certificate last, when its chain is known to be good.
            Err(Error::InvalidCertificate(
                CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
            )) => Ok(ServerCertVerified::assertion()),
            verdict => verdict,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls12_signature(message, cert, dss)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &CertificateDer<'_>,
        dss: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.0.verify_tls13_signature(message, cert, dss)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
