//! Certificates and keys from PEM, given as files or as properties.

use std::fs;

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};

use crate::config::{CommonConfig, ConfigError};

/// Returns the trusted certificates, if the properties name any.
pub(super) fn trusted(
    config: &CommonConfig,
) -> Result<Option<Vec<CertificateDer<'static>>>, ConfigError> {
    const FILE: &str = "ssl.truststore.location";
    const TEXT: &str = "ssl.truststore.certificates";
    let (file, text) = (&config.ssl_truststore_location, &config.ssl_truststore_certificates);
    match (file, text) {
        (None, None) => Ok(None),
        (Some(_), Some(_)) => Err(both(FILE, TEXT)),
        (Some(path), None) => certificates(FILE, path, &read(FILE, path)?).map(Some),
        (None, Some(text)) => certificates(TEXT, IN_MEMORY, text).map(Some),
    }
}

/// A chain of certificates, this client's own first, and its key.
pub(super) type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Returns this client's own certificate and key, if the properties name them.
pub(super) fn identity(config: &CommonConfig) -> Result<Option<Identity>, ConfigError> {
    const FILE: &str = "ssl.keystore.location";
    const CHAIN: &str = "ssl.keystore.certificate.chain";
    const KEY: &str = "ssl.keystore.key";
    let chain = config.ssl_keystore_certificate_chain.as_deref();
    let key = Some(config.ssl_keystore_key.reveal()).filter(|key| !key.is_empty());
    match (&config.ssl_keystore_location, chain, key) {
        (None, None, None) => Ok(None),
        (Some(path), None, None) => {
            let text = read(FILE, path)?;
            Ok(Some((certificates(FILE, path, &text)?, private_key(FILE, path, &text)?)))
        }
        (None, Some(chain), Some(key)) => {
            let chain = certificates(CHAIN, IN_MEMORY, chain)?;
            Ok(Some((chain, private_key(KEY, IN_MEMORY, key)?)))
        }
        (Some(_), _, _) => Err(both(FILE, CHAIN)),
        (None, _, _) => Err(ConfigError::Conflict {
            reason: format!("`{CHAIN}` and `{KEY}` go together: one is missing"),
        }),
    }
}

fn certificates(
    name: &'static str,
    shown: &str,
    text: &str,
) -> Result<Vec<CertificateDer<'static>>, ConfigError> {
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(text.as_bytes()).collect();
    match found {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => {
            Err(invalid(name, shown, "it has no certificate in PEM form (`BEGIN CERTIFICATE`)"))
        }
        Err(error) => Err(invalid(name, shown, &error.to_string())),
    }
}

fn private_key(
    name: &'static str,
    shown: &str,
    text: &str,
) -> Result<PrivateKeyDer<'static>, ConfigError> {
    if text.contains("BEGIN ENCRYPTED PRIVATE KEY") || text.contains("Proc-Type: 4,ENCRYPTED") {
        let next = "its key is protected by a password: write it as it is with \
                    `openssl pkcs8 -topk8 -nocrypt`, readable by its owner alone";
        return Err(invalid(name, shown, next));
    }
    PrivateKeyDer::from_pem_slice(text.as_bytes()).map_err(|error| {
        invalid(name, shown, &format!("it has no private key in PEM form: {error}"))
    })
}

fn read(name: &'static str, path: &str) -> Result<String, ConfigError> {
    let unreadable = |error| invalid(name, path, &format!("it cannot be read: {error}"));
    fs::read_to_string(path).map_err(unreadable)
}

fn both(one: &str, other: &str) -> ConfigError {
    ConfigError::Conflict { reason: format!("`{one}` and `{other}` are both set: one will do") }
}

pub(super) fn invalid(name: &'static str, shown: &str, reason: &str) -> ConfigError {
    ConfigError::InvalidValue { name, value: shown.to_owned(), reason: reason.to_owned() }
}

/// What errors show of a certificate or key that stands in the property itself.
const IN_MEMORY: &str = "(in memory)";
