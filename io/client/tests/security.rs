//! TLS and SASL against brokers that follow a script: what is accepted, and in which words the rest
//! is refused. `tests/interop` has the same against Apache Kafka.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use std::io::{Read as _, Write as _};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use kohort::admin::Admin;
use kohort::config::{AdminConfig, Properties};
use kohort::consumer::{Consumer, PollError};
use kohort::net::{
    AuthenticationFailure, BrokerConnection, Driver, NetError, Security, TlsFailure,
};
use kohort::producer::{Producer, ProducerRecord, SendError};
use kohort_client_core::sasl::SaslError;
use kohort_protocol::ApiKey;
use kohort_protocol::messages::metadata::MetadataRequest;
use kohort_protocol::messages::sasl_authenticate::SaslAuthenticateResponse;
use support::certificates::{Authority, Identity};
use support::secured::{Listener, Secured, Verdict, accepted, alice, refused};

/// Opens one connection as these properties say and asks for metadata.
async fn attempt(host: &str, port: u16, properties: &[(&str, &str)]) -> Result<(), NetError> {
    let mut config = AdminConfig::default();
    for (name, value) in properties {
        config.set(name, value).unwrap();
    }
    let options = kohort::net::ConnectionOptions {
        security: Security::new(&config.common).unwrap(),
        ..Default::default()
    };
    let host = host.to_owned();
    let driver = Driver::start("test").unwrap();
    let work = async move {
        let connection = BrokerConnection::open(&host, port, options).await?;
        connection.send(&MetadataRequest::default()).await.map(drop)
    };
    driver.run(work).await.unwrap()
}

async fn refusal(host: &str, port: u16, properties: &[(&str, &str)]) -> NetError {
    attempt(host, port, properties).await.unwrap_err()
}

/// The failure of TLS, which trying again does not mend.
fn tls(error: NetError) -> TlsFailure {
    assert!(error.is_refusal() && !error.is_retriable(), "{error}");
    match error {
        NetError::Tls { failure, .. } => failure,
        other => panic!("{other}"),
    }
}

fn tls_listener(identity: &Identity, clients: Option<&Authority>) -> u16 {
    Listener { tls: Some(identity.serve(clients)), ..Default::default() }.start().port
}

#[tokio::test]
async fn a_certificate_of_a_trusted_ca_for_this_name_is_accepted_from_memory_and_file() {
    let authority = Authority::new("ca");
    let port = tls_listener(&authority.server(&["localhost", "127.0.0.1"]), None);
    let in_memory = [("security.protocol", "SSL"), ("ssl.truststore.certificates", &authority.pem)];
    for host in ["localhost", "127.0.0.1"] {
        attempt(host, port, &in_memory).await.unwrap();
    }
    let folder = support::folder();
    let path = folder.join("ca.pem");
    std::fs::write(&path, &authority.pem).unwrap();
    let in_file =
        [("security.protocol", "SSL"), ("ssl.truststore.location", path.to_str().unwrap())];
    attempt("localhost", port, &in_file).await.unwrap();
    for version in ["TLSv1.2", "TLSv1.3"] {
        let one = [in_memory[0], in_memory[1], ("ssl.enabled.protocols", version)];
        attempt("localhost", port, &one).await.unwrap();
    }
}

#[tokio::test]
async fn a_certificate_that_is_not_good_is_refused_with_the_reason() {
    let (authority, other) = (Authority::new("ca"), Authority::new("other"));
    let with_ca =
        |ca: &'static str| [("security.protocol", "SSL"), ("ssl.truststore.certificates", ca)];
    let trusting = with_ca(authority.pem.clone().leak());

    let good = tls_listener(&authority.server(&["localhost"]), None);
    let error = refusal("localhost", good, &with_ca(other.pem.leak())).await;
    assert!(error.to_string().contains("`ssl.truststore.location`"), "{error}");
    assert_eq!(tls(error), TlsFailure::UnknownIssuer);

    let elsewhere = tls_listener(&authority.server(&["kafka.example"]), None);
    let error = refusal("localhost", elsewhere, &trusting).await;
    assert!(error.to_string().contains("kafka.example"), "{error}");
    let presented = vec!["kafka.example".to_owned()];
    assert_eq!(tls(error), TlsFailure::WrongName { presented });
    let any_name = [trusting[0], trusting[1], ("ssl.endpoint.identification.algorithm", "")];
    attempt("localhost", elsewhere, &any_name).await.unwrap();

    let expired = tls_listener(&authority.expired_server(&["localhost"]), None);
    assert_eq!(tls(refusal("localhost", expired, &trusting).await), TlsFailure::Expired);
    let any_name_expired = tls(refusal("localhost", expired, &any_name).await);
    assert_eq!(any_name_expired, TlsFailure::Expired, "only the name is left unchecked");
}

#[tokio::test]
async fn a_broker_may_ask_for_our_certificate() {
    let (authority, other) = (Authority::new("ca"), Authority::new("other"));
    let port = tls_listener(&authority.server(&["localhost"]), Some(&authority));
    let plain = [("security.protocol", "SSL"), ("ssl.truststore.certificates", &*authority.pem)];
    for version in ["TLSv1.2", "TLSv1.3"] {
        let version = ("ssl.enabled.protocols", version);
        let none = [plain[0], plain[1], version];
        let error = refusal("localhost", port, &none).await;
        // TLS 1.2 has no alert of its own for it.
        let failure = tls(error);
        let wanted = matches!(failure, TlsFailure::CertificateRequired | TlsFailure::Other { .. });
        assert!(wanted, "{failure}");
        let with = |identity: &Identity| {
            let chain: &'static str = identity.chain.clone().leak();
            let key: &'static str = identity.key.clone().leak();
            [
                plain[0],
                plain[1],
                version,
                ("ssl.keystore.certificate.chain", chain),
                ("ssl.keystore.key", key),
            ]
        };
        attempt("localhost", port, &with(&authority.client("alice"))).await.unwrap();
        let failure = tls(refusal("localhost", port, &with(&other.client("mallory"))).await);
        assert!(matches!(failure, TlsFailure::CertificateRefused { .. }), "{failure}");
    }
    let alice = authority.client("alice");
    let folder = support::folder();
    let path = folder.join("alice.pem");
    std::fs::write(&path, format!("{}{}", alice.key, alice.chain)).unwrap();
    let file = ("ssl.keystore.location", path.to_str().unwrap());
    attempt("localhost", port, &[plain[0], plain[1], file]).await.unwrap();
}

#[tokio::test]
async fn tls_to_a_plaintext_port_and_the_other_way_round_say_so() {
    let authority = Authority::new("ca");
    let trusting = [("security.protocol", "SSL"), ("ssl.truststore.certificates", &*authority.pem)];
    let plaintext = Listener::default().start().port;
    let error = refusal("localhost", plaintext, &trusting).await;
    assert!(matches!(error, NetError::ClosedInHandshake { .. }), "{error:?}");
    assert!(error.to_string().contains("`security.protocol`"), "{error}");

    // What answers in anything but TLS, answers in no TLS.
    let talkative = answers_with(b"HTTP/1.1 400 Bad Request\r\n\r\n");
    assert_eq!(tls(refusal("localhost", talkative, &trusting).await), TlsFailure::NotTls);

    let encrypted = tls_listener(&authority.server(&["localhost"]), None);
    let error = refusal("localhost", encrypted, &[]).await;
    let told = matches!(error, NetError::WantsTls { .. } | NetError::ClosedInHandshake { .. });
    assert!(told, "{error:?}");
    // An alert of TLS: that no message was expected.
    let error = refusal("localhost", answers_with(&[21, 3, 3, 0, 2, 2, 10]), &[]).await;
    assert!(matches!(error, NetError::WantsTls { .. }) && error.is_refusal(), "{error:?}");
}

/// Listens, answers the first bytes with these and hangs up.
fn answers_with(bytes: &'static [u8]) -> u16 {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.unwrap();
            let _ = stream.read(&mut [0; 512]);
            let _ = stream.write_all(bytes);
            let _ = stream.shutdown(std::net::Shutdown::Write);
            // What is read to its end is not reset.
            let _ = stream.read_to_end(&mut Vec::new());
        }
    });
    port
}

fn sasl(mechanism: &'static str) -> Vec<(&'static str, &'static str)> {
    vec![
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", mechanism),
        ("sasl.username", "alice"),
        ("sasl.password", "sesame"),
    ]
}

fn authentication(error: NetError) -> AuthenticationFailure {
    assert!(error.is_refusal() && !error.is_retriable(), "{error}");
    match error {
        NetError::Authentication { failure, .. } => failure,
        other => panic!("{other}"),
    }
}

#[tokio::test]
async fn a_password_is_accepted_from_properties_and_from_javas_login_line() {
    let authority = Authority::new("ca");
    let identity = authority.server(&["localhost"]);
    let broker = Listener { tls: Some(identity.serve(None)), ..alice() }.start();
    let line = "org.apache.kafka.common.security.plain.PlainLoginModule required \
                username=\"alice\" password=\"sesame\";";
    let common = [
        ("security.protocol", "SASL_SSL"),
        ("ssl.truststore.certificates", &*authority.pem),
        ("sasl.mechanism", "PLAIN"),
    ];
    for secrets in [
        vec![("sasl.username", "alice"), ("sasl.password", "sesame")],
        vec![("sasl.jaas.config", line)],
    ] {
        let properties = [&common[..], &secrets].concat();
        attempt("localhost", broker.port, &properties).await.unwrap();
    }
}

#[tokio::test]
async fn a_wrong_password_names_the_user_and_keeps_the_brokers_words() {
    let broker = alice().start();
    let mut properties = sasl("PLAIN");
    properties[3].1 = "wrong";
    let error = refusal("localhost", broker.port, &properties).await;
    assert_eq!(
        error.to_string(),
        format!(
            "localhost:{}: PLAIN: user `alice` is refused: SASL_AUTHENTICATION_FAILED \
             (Authentication failed: Invalid username or password); check the name and the \
             password or token in `sasl.*`",
            broker.port
        )
    );
    assert!(matches!(authentication(error), AuthenticationFailure::Refused { .. }));
}

#[tokio::test]
async fn a_mechanism_that_is_not_offered_is_told_with_those_that_are() {
    let broker = alice().start();
    let error = refusal("localhost", broker.port, &sasl("SCRAM-SHA-256")).await;
    assert!(error.to_string().contains("offers PLAIN instead"), "{error}");
    assert!(matches!(authentication(error), AuthenticationFailure::NotOffered { .. }));
}

#[tokio::test]
async fn sasl_to_a_listener_without_and_the_other_way_round_say_so() {
    let error = refusal("localhost", Listener::default().start().port, &sasl("PLAIN")).await;
    assert!(matches!(authentication(error), AuthenticationFailure::NotSasl));
    let error = refusal("localhost", alice().start().port, &[]).await;
    assert!(matches!(error, NetError::ClosedInHandshake { .. }), "{error:?}");
    assert!(error.to_string().contains("SASL"), "{error}");
}

fn with_verdict(mechanism: &'static str, verdict: Verdict) -> Secured {
    Listener { mechanisms: vec![mechanism], verdict: Some(verdict), ..Default::default() }.start()
}

fn says(bytes: impl Into<Vec<u8>>) -> SaslAuthenticateResponse {
    SaslAuthenticateResponse { auth_bytes: Bytes::from(bytes.into()), ..Default::default() }
}

#[tokio::test]
async fn a_listener_that_does_not_list_sasl_is_one_without() {
    let port = Listener { lists_no_sasl: true, ..Default::default() }.start().port;
    let error = refusal("127.0.0.1", port, &sasl("PLAIN")).await;
    assert!(matches!(authentication(error), AuthenticationFailure::NotSasl));
    // As our broker is one.
    let mut consumer = Consumer::builder().bootstrap_servers(&support::bootstrap()).group_id("g");
    for (name, value) in sasl("PLAIN") {
        consumer = consumer.set(name, value);
    }
    let consumer = consumer.build().unwrap();
    consumer.subscribe(["topic"]).unwrap();
    let error = consumer.poll(FOR_EVER).await.unwrap_err();
    assert!(error.to_string().contains("does not authenticate by SASL"), "{error}");
}

#[tokio::test]
async fn a_broker_that_does_not_know_the_password_is_not_believed() {
    let impostor = with_verdict(
        "SCRAM-SHA-512",
        Arc::new(|_, message, bytes: &[u8]| {
            if message > 1 {
                return says("v=AAAA");
            }
            let first = std::str::from_utf8(bytes).unwrap();
            let nonce = first.rsplit_once("r=").unwrap().1;
            says(format!("r={nonce}and-mine,s=c2FsdA==,i=4096"))
        }),
    );
    let error = refusal("localhost", impostor.port, &sasl("SCRAM-SHA-512")).await;
    let failure = authentication(error);
    let unproven = AuthenticationFailure::Protocol(SaslError::ServerUnproven);
    assert_eq!(failure.to_string(), unproven.to_string());
}

#[tokio::test]
async fn a_token_is_taken_from_a_file_anew_each_time() {
    let broker = with_verdict(
        "OAUTHBEARER",
        Arc::new(|_, message, bytes: &[u8]| match (message, bytes) {
            (1, b"n,,\x01auth=Bearer good\x01\x01") => accepted(),
            (1, _) => says(r#"{"status":"invalid_token"}"#),
            _ => refused("invalid_token"),
        }),
    );
    let folder = support::folder();
    let path = folder.join("token");
    let url = format!("file://{}", path.display());
    let properties = [
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", "OAUTHBEARER"),
        ("sasl.oauthbearer.token.endpoint.url", &url),
    ];
    let error = refusal("localhost", broker.port, &properties).await;
    assert!(error.is_retriable(), "the file may come: {error}");
    std::fs::write(&path, "bad\n").unwrap();
    let error = refusal("localhost", broker.port, &properties).await;
    assert!(matches!(authentication(error), AuthenticationFailure::Refused { .. }));
    std::fs::write(&path, "good\n").unwrap();
    attempt("localhost", broker.port, &properties).await.unwrap();
}

/// Opens a connection as alice.
async fn connection(port: u16) -> BrokerConnection {
    let config = AdminConfig::from_pairs(sasl("PLAIN")).unwrap();
    let security = Security::new(&config.common).unwrap();
    let options = kohort::net::ConnectionOptions { security, ..Default::default() };
    BrokerConnection::open("127.0.0.1", port, options).await.unwrap()
}

/// A session so short that many pass in a test.
const SESSION_MS: i64 = 50;

#[tokio::test]
async fn a_session_that_ends_is_renewed_on_the_same_connection() {
    let verdict =
        |_, _, _: &[u8]| SaslAuthenticateResponse { session_lifetime_ms: SESSION_MS, ..accepted() };
    let broker = with_verdict("PLAIN", Arc::new(verdict));
    let port = broker.port;
    let driver = Driver::start("test").unwrap();
    let work = async move {
        let connection = connection(port).await;
        assert_eq!(connection.authentications(), 1);
        while connection.authentications() < 4 {
            connection.send(&MetadataRequest::default()).await.unwrap();
        }
    };
    driver.run(work).await.unwrap();
    let seen = broker.seen();
    let count = |api| seen.iter().filter(|it| **it == api).count();
    assert_eq!(count(ApiKey::ApiVersions), 1, "there was one connection");
    let exchanges = seen.windows(2).filter(|it| it[0] == ApiKey::SaslHandshake);
    assert!(
        exchanges.clone().all(|it| it[1] == ApiKey::SaslAuthenticate),
        "nothing comes between the messages of an exchange: {seen:?}"
    );
    assert!(exchanges.count() >= 4);
    assert!(count(ApiKey::Metadata) > 0);
}

#[tokio::test]
async fn a_renewal_that_is_refused_ends_the_connection_with_the_reason() {
    let verdict = |exchange, _, _: &[u8]| match exchange {
        1 => SaslAuthenticateResponse { session_lifetime_ms: SESSION_MS, ..accepted() },
        _ => refused("the password was changed"),
    };
    let broker = with_verdict("PLAIN", Arc::new(verdict));
    let driver = Driver::start("test").unwrap();
    let work = async move {
        let connection = connection(broker.port).await;
        loop {
            if let Err(error) = connection.send(&MetadataRequest::default()).await {
                return error;
            }
        }
    };
    let error = driver.run(work).await.unwrap();
    assert!(error.to_string().contains("the password was changed"), "{error}");
    assert!(matches!(authentication(error), AuthenticationFailure::Refused { .. }));
}

/// Longer than any test may take.
const FOR_EVER: Duration = Duration::from_secs(3600);

#[tokio::test]
async fn every_client_reports_a_refusal_at_once() {
    let servers = alice().start().servers();
    let mut properties = sasl("PLAIN");
    properties[3].1 = "wrong";
    properties.push(("bootstrap.servers", servers.leak()));

    let mut consumer = Consumer::builder().set("group.id", "g");
    for (name, value) in &properties {
        consumer = consumer.set(name, value);
    }
    let consumer = consumer.build().unwrap();
    consumer.subscribe(["topic"]).unwrap();
    let error = consumer.poll(FOR_EVER).await.unwrap_err();
    assert!(matches!(&error, PollError::Cluster(error) if error.is_refusal()), "{error}");
    assert!(error.to_string().contains("user `alice` is refused"), "{error}");
    let _ = consumer.close(Duration::from_secs(5)).await;

    let mut producer = Producer::builder().set("max.block.ms", "24h");
    for (name, value) in &properties {
        producer = producer.set(name, value);
    }
    let producer = producer.build().unwrap();
    let error = producer.send(ProducerRecord::to("topic").value("x")).await.unwrap_err();
    assert!(
        matches!(&error, SendError::UnknownTopic { reason, .. } if reason.is_refusal()),
        "{error}"
    );

    let mut config = AdminConfig::from_pairs(properties).unwrap();
    config.common.default_api_timeout = FOR_EVER;
    let error = Admin::new(config).unwrap().list_topics().await.unwrap_err();
    assert!(!error.is_retriable(), "{error}");
    assert!(error.to_string().contains("user `alice` is refused"), "{error}");
}

#[test]
fn what_is_missing_or_unreadable_ends_the_start_and_names_the_property() {
    let reason = |pairs: &[(&str, &str)]| {
        let config = AdminConfig::from_pairs(pairs.iter().copied()).unwrap();
        Security::new(&config.common).unwrap_err().to_string()
    };
    let ssl = ("security.protocol", "SSL");
    let certificate = Authority::new("ca").pem;
    let cases = [
        (
            reason(&[ssl, ("ssl.truststore.location", "/no/such/file")]),
            "`/no/such/file` cannot be `ssl.truststore.location`: it cannot be read: No such file",
        ),
        (reason(&[ssl, ("ssl.truststore.certificates", "x")]), "no certificate in PEM form"),
        (
            reason(&[
                ssl,
                ("ssl.truststore.certificates", &certificate),
                ("ssl.keystore.certificate.chain", &certificate),
            ]),
            "`ssl.keystore.key` go together",
        ),
        (
            reason(&[
                ssl,
                ("ssl.truststore.certificates", &certificate),
                ("ssl.keystore.certificate.chain", &certificate),
                ("ssl.keystore.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----"),
            ]),
            "openssl pkcs8",
        ),
        (
            reason(&[
                ("security.protocol", "SASL_SSL"),
                ("sasl.mechanism", "PLAIN"),
                ("ssl.truststore.certificates", &certificate),
            ]),
            "`sasl.username`",
        ),
        (
            reason(&[
                ("security.protocol", "SASL_PLAINTEXT"),
                ("sasl.mechanism", "PLAIN"),
                ("sasl.jaas.config", "a.ScramLoginModule required;"),
            ]),
            "needs `PlainLoginModule`",
        ),
        (
            reason(&[
                ("security.protocol", "SASL_PLAINTEXT"),
                ("sasl.mechanism", "OAUTHBEARER"),
                ("sasl.oauthbearer.token.endpoint.url", "https://x"),
            ]),
            "only `file:`",
        ),
        (
            reason(&[("security.protocol", "SASL_PLAINTEXT"), ("sasl.mechanism", "OAUTHBEARER")]),
            "a source of tokens",
        ),
    ];
    for (reason, expected) in cases {
        assert!(reason.contains(expected), "{reason}");
    }
}
