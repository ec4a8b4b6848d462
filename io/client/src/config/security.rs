//! The types of the security properties: protocols, mechanisms, secrets, and Java's login lines.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use kohort_client_core::sasl::Mechanism;

use super::value::{Value, words};
use crate::net::TokenProvider;

words! {
    /// What a listener speaks.
    pub enum SecurityProtocol {
        /// Everything as it is.
        Plaintext = "PLAINTEXT" | "plaintext",
        /// TLS.
        Ssl = "SSL" | "ssl",
        /// SASL without encryption.
        SaslPlaintext = "SASL_PLAINTEXT" | "sasl_plaintext",
        /// SASL inside TLS.
        SaslSsl = "SASL_SSL" | "sasl_ssl",
    }
}

impl SecurityProtocol {
    /// Returns whether the connection is encrypted.
    pub fn has_tls(self) -> bool {
        matches!(self, Self::Ssl | Self::SaslSsl)
    }

    /// Returns whether the client authenticates by SASL.
    pub fn has_sasl(self) -> bool {
        matches!(self, Self::SaslPlaintext | Self::SaslSsl)
    }
}

impl fmt::Display for SecurityProtocol {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text())
    }
}

words! {
    /// How a certificate's name is held against the server's.
    pub enum EndpointIdentification {
        /// The certificate must be for the host that is connected to.
        Https = "https",
        /// Any name will do: whoever has any certificate of the trusted CAs can be the broker.
        None = "none" | "",
    }
}

words! {
    /// A version of TLS.
    pub enum TlsVersion {
        /// TLS 1.2.
        Tls12 = "TLSv1.2" | "tlsv1.2",
        /// TLS 1.3.
        Tls13 = "TLSv1.3" | "tlsv1.3",
    }
}

words! {
    /// How certificates and keys are stored.
    pub enum StoreType {
        /// As text, in files or in the property itself.
        Pem = "PEM" | "pem",
    }
}

words! {
    /// How the addresses of a name are used.
    pub enum DnsLookup {
        /// In turn, until one takes the connection.
        UseAllDnsIps = "use_all_dns_ips",
    }
}

impl Value for Option<Mechanism> {
    const KIND: &'static str = "one of `PLAIN` `SCRAM-SHA-256` `SCRAM-SHA-512` `OAUTHBEARER`";

    fn parse(text: &str) -> Result<Self, String> {
        match text.to_ascii_uppercase().as_str() {
            "" => Ok(None),
            "PLAIN" => Ok(Some(Mechanism::Plain)),
            "SCRAM-SHA-256" => Ok(Some(Mechanism::ScramSha256)),
            "SCRAM-SHA-512" => Ok(Some(Mechanism::ScramSha512)),
            "OAUTHBEARER" => Ok(Some(Mechanism::OAuthBearer)),
            _ => Err(format!("it is {}", Self::KIND)),
        }
    }

    fn text(&self) -> String {
        self.map(Mechanism::name).unwrap_or_default().to_owned()
    }
}

/// A text that is not shown: neither by `Debug` nor in an error.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct Secret(String);

impl Secret {
    /// Hides a text.
    pub fn new(text: impl Into<String>) -> Self {
        Self(text.into())
    }

    /// Returns the text.
    pub fn reveal(&self) -> &str {
        &self.0
    }

    /// Returns whether nothing is set.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_empty() { "none" } else { HIDDEN })
    }
}

impl Value for Secret {
    const KIND: &'static str = "secret text";
    const SECRET: bool = true;

    fn parse(text: &str) -> Result<Self, String> {
        Ok(Self(text.to_owned()))
    }

    fn text(&self) -> String {
        if self.0.is_empty() { String::new() } else { HIDDEN.to_owned() }
    }
}

/// What is shown in a secret's place, as Kafka does.
pub(crate) const HIDDEN: &str = "[hidden]";

/// Where OAUTHBEARER gets its tokens, if that is no property.
#[derive(Clone, Default)]
pub struct TokenSource(pub(crate) Option<Arc<dyn TokenProvider>>);

impl fmt::Debug for TokenSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.0.is_some() { "a provider" } else { "none" })
    }
}

impl PartialEq for TokenSource {
    fn eq(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }
}

/// What `sasl.jaas.config` says: the login module, and its options.
pub(crate) struct JaasEntry {
    /// The last part of the class name, such as `PlainLoginModule`.
    pub(crate) module: String,
    pub(crate) options: BTreeMap<String, String>,
}

impl JaasEntry {
    /// Reads `class flag name="value" …;`.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let body = text.trim().strip_suffix(';').ok_or("a login line ends in `;`")?;
        let mut words = split_words(body)?.into_iter();
        let class = words.next().ok_or("a login line begins with the module's class")?;
        let flag = words.next().unwrap_or_default();
        if !["required", "requisite", "sufficient", "optional"].contains(&flag.as_str()) {
            return Err("after the module's class comes `required`".to_owned());
        }
        let mut options = BTreeMap::new();
        for word in words {
            let (name, value) =
                word.split_once('=').ok_or("an option of a login line is name=\"value\"")?;
            options.insert(name.to_owned(), value.to_owned());
        }
        let module = class.rsplit(['.', '$']).next().unwrap_or_default().to_owned();
        Ok(Self { module, options })
    }
}

/// Splits at blanks outside of quotes, and takes the quotes and backslashes away.
fn split_words(text: &str) -> Result<Vec<String>, String> {
    let mut words = Vec::new();
    let mut word: Option<String> = None;
    let mut quote = None;
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        match (c, quote) {
            ('\\', Some(_)) => {
                let next = chars.next().ok_or("a login line ends in a backslash")?;
                word.get_or_insert_default().push(next);
            }
            (c, Some(open)) if c == open => quote = None,
            ('"' | '\'', None) => {
                quote = Some(c);
                word.get_or_insert_default();
            }
            (c, None) if c.is_whitespace() => words.extend(word.take()),
            (c, _) => word.get_or_insert_default().push(c),
        }
    }
    if quote.is_some() {
        return Err("a quote in the login line is not closed".to_owned());
    }
    words.extend(word);
    Ok(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_login_line_is_read_as_java_reads_it() {
        let line = "org.apache.kafka.common.security.scram.ScramLoginModule required\n  \
                    username=\"alice\" password=\"a \\\"b\\\" =c;\" flag='x y';";
        let entry = JaasEntry::parse(line).unwrap();
        assert_eq!(entry.module, "ScramLoginModule");
        let options: Vec<_> =
            entry.options.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(options, [("flag", "x y"), ("password", "a \"b\" =c;"), ("username", "alice")]);
    }

    #[test]
    fn a_login_line_that_is_none_is_refused() {
        for bad in [
            "",
            ";",
            "a.B required",
            "a.B;",
            "a.B maybe x=\"y\";",
            "a.B required x;",
            "a.B required x=\"y;",
        ] {
            assert!(JaasEntry::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_secret_is_not_shown() {
        let secret = Secret::new("sesame");
        assert_eq!(format!("{secret:?} {}", secret.text()), "[hidden] [hidden]");
        assert_eq!(secret.reveal(), "sesame");
    }
}
