//! Apache Kafka with a listener of each kind of security.

use anyhow::Result;
use tempfile::TempDir;

use super::certificates::{Authority, write};
use crate::broker::{Broker, Listener};
use crate::places::{Places, free_port};

/// The broker, and what a client needs to be let in.
pub(super) struct Secured {
    broker: Broker,
    listeners: Vec<Listener>,
    pub(super) folder: TempDir,
    /// A file with the certificate of the CA that signed the broker's.
    pub(super) ca: String,
    /// A file with the certificate of another CA.
    pub(super) other_ca: String,
    /// A file with a client's key and certificate.
    pub(super) client: String,
    /// As above, signed by the other CA.
    pub(super) stranger: String,
}

/// Name and protocol of each listener.
const LISTENERS: [(&str, &str); 6] = [
    ("TLS", "SSL"),
    ("MUTUAL", "SSL"),
    ("EXPIRED", "SSL"),
    ("SASL", "SASL_PLAINTEXT"),
    ("SASLTLS", "SASL_SSL"),
    ("BRIEF", "SASL_PLAINTEXT"),
];

impl Secured {
    pub(super) fn start(places: &Places) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("kohort-security-").tempdir()?;
        let (authority, other) = (Authority::new("ca")?, Authority::new("another ca")?);
        let file = |name: &str, text: &str| write(folder.path(), name, text);
        let broker = file("broker.pem", &authority.issue("broker", "localhost", 2100)?)?;
        let expired = file("expired.pem", &authority.issue("broker", "localhost", 2020)?)?;
        let ca = file("ca.pem", &authority.pem)?;
        let other_ca = file("other-ca.pem", &other.pem)?;
        let client = file("client.pem", &authority.issue("carol", "client", 2100)?)?;
        let stranger = file("stranger.pem", &other.issue("mallory", "client", 2100)?)?;
        let mut listeners = Vec::new();
        for (name, protocol) in LISTENERS {
            let port = free_port()?;
            listeners.push(Listener { name, protocol, port, advertised: port });
        }
        let properties = properties(&broker, &expired, &ca);
        let broker = Broker::start_kafka_with_listeners(places, listeners.clone(), properties)?;
        Ok(Self { broker, listeners, folder, ca, other_ca, client, stranger })
    }

    /// Returns the address of the listener without security, where everybody may do everything.
    pub(super) fn plain(&self) -> String {
        self.broker.address()
    }

    /// Returns `localhost:port` of a listener.
    pub(super) fn listener(&self, name: &str) -> String {
        let port = self.listeners.iter().find(|it| it.name == name).map_or(0, |it| it.port);
        format!("localhost:{port}")
    }
}

/// The passwords, one for each mechanism, that a mix-up would show.
pub(super) const PASSWORD: &str = "sesame";

fn properties(broker: &str, expired: &str, ca: &str) -> Vec<(String, String)> {
    const MODULES: &str = "org.apache.kafka.common.security";
    let mut properties = vec![
        ("ssl.keystore.type".to_owned(), "PEM".to_owned()),
        ("ssl.keystore.location".to_owned(), broker.to_owned()),
        ("ssl.truststore.type".to_owned(), "PEM".to_owned()),
        ("ssl.truststore.location".to_owned(), ca.to_owned()),
        ("listener.name.expired.ssl.keystore.type".to_owned(), "PEM".to_owned()),
        ("listener.name.expired.ssl.keystore.location".to_owned(), expired.to_owned()),
        ("listener.name.mutual.ssl.client.auth".to_owned(), "required".to_owned()),
        (
            "authorizer.class.name".to_owned(),
            "org.apache.kafka.metadata.authorizer.StandardAuthorizer".to_owned(),
        ),
        // Whoever has not said who they are, and the broker itself.
        ("super.users".to_owned(), "User:ANONYMOUS;User:broker;User:alice".to_owned()),
        // Long enough for a handshake on a busy machine, short enough to see some end.
        ("listener.name.brief.plain.connections.max.reauth.ms".to_owned(), "2000".to_owned()),
        ("listener.name.brief.sasl.enabled.mechanisms".to_owned(), "PLAIN".to_owned()),
    ];
    let mut login = |listener: &str, mechanism: &str, line: String| {
        let name = format!("listener.name.{listener}.{mechanism}.sasl.jaas.config");
        properties.push((name, line));
    };
    for listener in ["sasl", "sasltls", "brief"] {
        let users = format!("user_alice=\"{PASSWORD}\" user_bob=\"{PASSWORD}\"");
        login(listener, "plain", format!("{MODULES}.plain.PlainLoginModule required {users};"));
        if listener == "brief" {
            continue;
        }
        for mechanism in ["scram-sha-256", "scram-sha-512"] {
            login(listener, mechanism, format!("{MODULES}.scram.ScramLoginModule required;"));
        }
        let claim = "unsecuredLoginStringClaim_sub=\"broker\"";
        login(
            listener,
            "oauthbearer",
            format!("{MODULES}.oauthbearer.OAuthBearerLoginModule required {claim};"),
        );
    }
    for listener in ["sasl", "sasltls"] {
        properties.push((
            format!("listener.name.{listener}.sasl.enabled.mechanisms"),
            "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER".to_owned(),
        ));
    }
    properties
}
