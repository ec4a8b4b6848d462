//! Our client on Apache Kafka's secured listeners: TLS, mutual TLS, SASL with each mechanism, sessions
//! that end, access rules, and in which words each refusal is told.

mod certificates;
mod kafka;

use std::collections::BTreeMap;

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use kohort::admin::{
    AclFilter, AclOperation, AclRule, Admin, CredentialChange, NewTopic, ResourceType,
    ScramMechanism,
};
use kohort::cluster::ClusterError;
use kohort::config::{AdminConfig, Properties as _};
use kohort::consumer::Consumer;
use kohort::net::{
    AuthenticationFailure, BrokerConnection, ConnectionOptions, Driver, NetError, Security,
    TlsFailure,
};
use kohort::producer::{Producer, ProducerRecord, SendError};
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::metadata::MetadataRequest;

use self::kafka::{PASSWORD, Secured};
use crate::places::Places;

/// Runs everything on one Kafka; returns whether all passed.
pub(crate) fn run(places: &Places) -> Result<bool> {
    let kafka = Secured::start(places)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(prepare(&kafka)).context("the secured Kafka could not be prepared")?;
    let mut passed = true;
    for (name, test) in TESTS {
        let started = Instant::now();
        let outcome = runtime.block_on(async {
            let timed = tokio::time::timeout(PATIENCE, test(&kafka, places));
            timed.await.unwrap_or_else(|_| bail!("not done within {PATIENCE:?}"))
        });
        let seconds = started.elapsed().as_secs_f64();
        match outcome {
            Ok(()) => println!("test security::{name} ... ok ({seconds:.1} s)"),
            Err(error) => {
                println!("test security::{name} ... FAILED ({seconds:.1} s)\n    {error:?}");
                passed = false;
            }
        }
    }
    Ok(passed)
}

/// Nothing here takes this long unless it hangs.
const PATIENCE: Duration = Duration::from_secs(90);

type Future<'a> = std::pin::Pin<Box<dyn std::future::Future<Output = Result<()>> + 'a>>;
type Body = for<'a> fn(&'a Secured, &'a Places) -> Future<'a>;

const TESTS: &[(&str, Body)] = &[
    ("records_go_through_tls", |kafka, _| Box::pin(tls(kafka))),
    ("bad_certificates_are_refused", |kafka, _| Box::pin(bad_certificates(kafka))),
    ("kafka_asks_for_our_certificate", |kafka, _| Box::pin(mutual(kafka))),
    ("every_mechanism_lets_us_in", |kafka, _| Box::pin(mechanisms(kafka))),
    ("every_mechanism_refuses_a_wrong_secret", |kafka, _| Box::pin(wrong_secrets(kafka))),
    ("the_wrong_protocol_is_told", |kafka, _| Box::pin(wrong_protocols(kafka))),
    ("a_session_is_renewed_in_band", |kafka, _| Box::pin(renewal(kafka))),
    ("access_rules_are_told_and_changed", |kafka, _| Box::pin(access(kafka))),
    ("the_command_line_reads_a_file", |kafka, _| Box::pin(command_line(kafka))),
];

type Pairs = Vec<(&'static str, String)>;

fn pairs<const N: usize>(pairs: [(&'static str, &str); N]) -> Pairs {
    pairs.map(|(name, value)| (name, value.to_owned())).to_vec()
}

fn ssl(ca: &str) -> Pairs {
    pairs([("security.protocol", "SSL"), ("ssl.truststore.location", ca)])
}

fn sasl(mechanism: &str, user: &str, password: &str) -> Pairs {
    pairs([
        ("security.protocol", "SASL_PLAINTEXT"),
        ("sasl.mechanism", mechanism),
        ("sasl.username", user),
        ("sasl.password", password),
    ])
}

fn with(mut properties: Pairs, more: Pairs) -> Pairs {
    for (name, value) in more {
        properties.retain(|(there, _)| *there != name);
        properties.push((name, value));
    }
    properties
}

async fn prepare(kafka: &Secured) -> Result<()> {
    let admin = admin(&kafka.plain(), &Pairs::new())?;
    admin.create_topic(NewTopic::new("flights").partitions(1)).await?;
    // The same user with the same password by each hash.
    for mechanism in [ScramMechanism::Sha256, ScramMechanism::Sha512] {
        let change = CredentialChange::set(mechanism, PASSWORD);
        let set = admin.alter_user_credentials(BTreeMap::from([("alice".to_owned(), change)]));
        for (_, result) in set.await? {
            result?;
        }
    }
    Ok(())
}

fn admin(servers: &str, properties: &Pairs) -> Result<Admin> {
    let mut config = AdminConfig::default();
    config.set("bootstrap.servers", servers)?;
    for (name, value) in properties {
        config.set(name, value)?;
    }
    Ok(Admin::new(config)?)
}

/// Opens one connection and asks for metadata.
async fn attempt(server: &str, properties: &Pairs) -> Result<Result<(), NetError>> {
    let mut config = AdminConfig::default();
    for (name, value) in properties {
        config.set(name, value)?;
    }
    let security = Security::new(&config.common)?;
    let options = ConnectionOptions { security, ..Default::default() };
    let (host, port) = server.rsplit_once(':').context("a server is host:port")?;
    let (host, port) = (host.to_owned(), port.parse()?);
    let driver = Driver::start("test")?;
    let work = async move {
        let connection = BrokerConnection::open(&host, port, options).await?;
        connection.send(&MetadataRequest::default()).await.map(drop)
    };
    Ok(driver.run(work).await?)
}

/// Returns how an attempt is refused.
async fn refusal(server: &str, properties: &Pairs) -> Result<NetError> {
    match attempt(server, properties).await? {
        Ok(()) => bail!("{server} lets {properties:?} in"),
        Err(error) => {
            println!("    told: {error}");
            Ok(error)
        }
    }
}

/// Writes a record and reads it as a member of a group.
async fn round_trip(servers: &str, properties: &Pairs, group: &str) -> Result<()> {
    let mut producer = Producer::builder().set("bootstrap.servers", servers);
    let mut consumer = Consumer::builder()
        .bootstrap_servers(servers)
        .group_id(group)
        .set("auto.offset.reset", "earliest");
    for (name, value) in properties {
        producer = producer.set(name, value);
        consumer = consumer.set(name, value);
    }
    let (producer, consumer) = (producer.build()?, consumer.build()?);
    producer.send(ProducerRecord::to("flights").value(group)).await?.await?;
    consumer.subscribe(["flights"])?;
    loop {
        let records = consumer.poll(Duration::from_secs(1)).await?;
        if records.iter().any(|record| record.value == Some(group.as_bytes())) {
            break;
        }
    }
    consumer.commit_sync().await?;
    consumer.close(PATIENCE).await?;
    producer.close(PATIENCE).await?;
    Ok(())
}

async fn tls(kafka: &Secured) -> Result<()> {
    round_trip(&kafka.listener("TLS"), &ssl(&kafka.ca), "by-tls").await
}

async fn bad_certificates(kafka: &Secured) -> Result<()> {
    let tls = kafka.listener("TLS");
    let wrong_ca = refusal(&tls, &ssl(&kafka.other_ca)).await?;
    ensure!(matches!(wrong_ca, NetError::Tls { failure: TlsFailure::UnknownIssuer, .. }));
    let by_address = tls.replace("localhost", "127.0.0.1");
    let wrong_name = refusal(&by_address, &ssl(&kafka.ca)).await?;
    ensure!(matches!(wrong_name, NetError::Tls { failure: TlsFailure::WrongName { .. }, .. }));
    let any_name = pairs([("ssl.endpoint.identification.algorithm", "")]);
    attempt(&by_address, &with(ssl(&kafka.ca), any_name)).await??;
    let expired = refusal(&kafka.listener("EXPIRED"), &ssl(&kafka.ca)).await?;
    ensure!(matches!(expired, NetError::Tls { failure: TlsFailure::Expired, .. }));
    Ok(())
}

async fn mutual(kafka: &Secured) -> Result<()> {
    let listener = kafka.listener("MUTUAL");
    let keystore = |file: &str| pairs([("ssl.keystore.location", file)]);
    for version in ["TLSv1.2", "TLSv1.3"] {
        let base = with(ssl(&kafka.ca), pairs([("ssl.enabled.protocols", version)]));
        let none = refusal(&listener, &base).await?;
        let required = TlsFailure::CertificateRequired;
        ensure!(matches!(&none, NetError::Tls { failure, .. } if *failure == required), "{none:?}");
        let stranger = refusal(&listener, &with(base.clone(), keystore(&kafka.stranger))).await?;
        let NetError::Tls { failure: TlsFailure::CertificateRefused { .. }, .. } = stranger else {
            bail!("{stranger:?}");
        };
        attempt(&listener, &with(base, keystore(&kafka.client))).await??;
    }
    Ok(())
}

/// What each mechanism needs, with the right secret or a wrong one.
fn secrets(mechanism: &str, right: bool) -> Pairs {
    if mechanism == "OAUTHBEARER" {
        // A token that is over is as good as a wrong password.
        let lifetime = if right { "3600" } else { "0" };
        let line = format!(
            "org.apache.kafka.common.security.oauthbearer.OAuthBearerLoginModule required \
             unsecuredLoginStringClaim_sub=\"alice\" unsecuredLoginLifetimeSeconds=\"{lifetime}\";"
        );
        return pairs([
            ("security.protocol", "SASL_PLAINTEXT"),
            ("sasl.mechanism", mechanism),
            ("sasl.jaas.config", &line),
        ]);
    }
    sasl(mechanism, "alice", if right { PASSWORD } else { "wrong" })
}

const MECHANISMS: [&str; 4] = ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"];

async fn mechanisms(kafka: &Secured) -> Result<()> {
    for mechanism in MECHANISMS {
        let clear = secrets(mechanism, true);
        round_trip(&kafka.listener("SASL"), &clear, &format!("{mechanism}-clear")).await?;
        let inside_tls = with(
            clear,
            pairs([("security.protocol", "SASL_SSL"), ("ssl.truststore.location", &kafka.ca)]),
        );
        round_trip(&kafka.listener("SASLTLS"), &inside_tls, &format!("{mechanism}-tls")).await?;
    }
    Ok(())
}

async fn wrong_secrets(kafka: &Secured) -> Result<()> {
    for mechanism in MECHANISMS {
        let error = refusal(&kafka.listener("SASL"), &secrets(mechanism, false)).await?;
        let NetError::Authentication {
            failure: AuthenticationFailure::Refused { code, .. }, ..
        } = &error
        else {
            bail!("{mechanism}: {error:?}");
        };
        ensure!(*code == ErrorCode::SASL_AUTHENTICATION_FAILED, "{mechanism}: {error}");
        ensure!(error.is_refusal() && !error.is_retriable());
    }
    let error = refusal(&kafka.listener("BRIEF"), &secrets("SCRAM-SHA-256", true)).await?;
    let NetError::Authentication { failure: AuthenticationFailure::NotOffered { offered }, .. } =
        &error
    else {
        bail!("{error:?}");
    };
    ensure!(offered == &["PLAIN"], "{offered:?}");
    Ok(())
}

async fn wrong_protocols(kafka: &Secured) -> Result<()> {
    let plain = kafka.plain();
    let tls_to_plain = refusal(&plain, &ssl(&kafka.ca)).await?;
    let told = matches!(
        tls_to_plain,
        NetError::ClosedInHandshake { .. } | NetError::Tls { failure: TlsFailure::NotTls, .. }
    );
    ensure!(told, "{tls_to_plain:?}");
    let plain_to_tls = refusal(&kafka.listener("TLS"), &Pairs::new()).await?;
    let told =
        matches!(plain_to_tls, NetError::WantsTls { .. } | NetError::ClosedInHandshake { .. });
    ensure!(told, "{plain_to_tls:?}");
    let sasl_to_plain = refusal(&plain, &secrets("PLAIN", true)).await?;
    let NetError::Authentication { failure: AuthenticationFailure::NotSasl, .. } = sasl_to_plain
    else {
        bail!("{sasl_to_plain:?}");
    };
    let plain_to_sasl = refusal(&kafka.listener("SASL"), &Pairs::new()).await?;
    ensure!(matches!(plain_to_sasl, NetError::ClosedInHandshake { .. }), "{plain_to_sasl:?}");
    Ok(())
}

/// Asks on one connection until its session has ended some times; Kafka hangs up on whoever asks on
/// without having proved anew who they are.
async fn renewal(kafka: &Secured) -> Result<()> {
    let mut config = AdminConfig::default();
    for (name, value) in secrets("PLAIN", true) {
        config.set(name, &value)?;
    }
    let security = Security::new(&config.common)?;
    let options = ConnectionOptions { security, ..Default::default() };
    let server = kafka.listener("BRIEF");
    let port = server.rsplit_once(':').context("a server is host:port")?.1.parse()?;
    let driver = Driver::start("test")?;
    let work = async move {
        let connection = BrokerConnection::open("localhost", port, options).await?;
        while connection.authentications() < 4 {
            connection.send(&MetadataRequest::default()).await?;
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        Ok::<_, NetError>(())
    };
    driver.run(work).await??;
    Ok(())
}

/// `bob` may do nothing, is told so, and may then do what he is allowed to.
async fn access(kafka: &Secured) -> Result<()> {
    let servers = kafka.listener("SASL");
    let mut builder = Producer::builder().set("bootstrap.servers", &servers);
    for (name, value) in sasl("PLAIN", "bob", PASSWORD) {
        builder = builder.set(name, &value);
    }
    let producer = builder.build()?;
    let send = || async {
        let delivery = producer.send(ProducerRecord::to("flights").value("from bob")).await?;
        delivery.await.map(drop)
    };
    let Err(SendError::UnknownTopic { reason: ClusterError::Refused { code, .. }, .. }) =
        send().await
    else {
        bail!("bob may write");
    };
    ensure!(code == ErrorCode::TOPIC_AUTHORIZATION_FAILED, "{code}");
    let admin = admin(&kafka.plain(), &Pairs::new())?;
    let rule =
        AclRule::allow("User:bob", AclOperation::Write, ResourceType::Topic, "fli").prefixed();
    for result in admin.create_acls(vec![rule.clone()]).await? {
        result?;
    }
    let bobs = AclFilter::default().principal("User:bob");
    while admin.describe_acls(bobs.clone()).await? != [rule.clone()] {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    loop {
        match send().await {
            Ok(()) => break,
            Err(SendError::UnknownTopic { .. } | SendError::Refused { .. }) => {}
            Err(error) => return Err(error.into()),
        }
    }
    let removed = admin.delete_acls(vec![bobs.clone()]).await?;
    let removed: Vec<_> = removed.into_iter().collect::<Result<_, _>>()?;
    ensure!(removed.len() == 1 && removed[0].len() == 1 && removed[0][0].0 == rule, "{removed:?}");
    while !admin.describe_acls(bobs.clone()).await?.is_empty() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    producer.close(PATIENCE).await?;
    Ok(())
}

/// `kohort topic list` with everything in a file, as Kafka's tools have it.
async fn command_line(kafka: &Secured) -> Result<()> {
    let file = kafka.folder.path().join("client.properties");
    let text = format!(
        "bootstrap.servers={}\nsecurity.protocol=SASL_SSL\nssl.truststore.location={}\n\
         sasl.mechanism=SCRAM-SHA-512\n\
         sasl.jaas.config=org.apache.kafka.common.security.scram.ScramLoginModule required \\\n  \
         username=\"alice\" \\\n  password=\"{PASSWORD}\";\n",
        kafka.listener("SASLTLS"),
        kafka.ca,
    );
    std::fs::write(&file, text)?;
    let output =
        tokio::process::Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
            .args(["run", "--quiet", "--package", "kohort-cli", "--", "topic", "list"])
            .arg("--command-config")
            .arg(&file)
            .output()
            .await?;
    let (stdout, stderr) =
        (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    ensure!(output.status.success(), "{stderr}");
    ensure!(stdout.lines().any(|line| line == "flights"), "{stdout}");
    Ok(())
}
