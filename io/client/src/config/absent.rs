//! Properties of Java's clients that ours do not have, and what to do in their place. The nearest name
//! would mislead: `value.serializer` is not a slip of the pen for another one.
//!
//! The list is that of Apache Kafka 4.3's consumer, producer and admin client, without
//! what only their tests use.

/// Returns what to do in place of a property of Java's.
pub(super) fn instead_of(name: &str) -> Option<&'static str> {
    let is = |pattern: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    let entry = ABSENT.iter().find(|(patterns, _)| patterns.iter().any(|pattern| is(pattern)));
    entry.map(|(_, instead)| *instead)
}

/// Names, or how they begin, and what to do.
const ABSENT: &[(&[&str], &str)] = &[
    (
        &["key.serializer", "value.serializer", "key.deserializer", "value.deserializer"],
        "keys and values are bytes; how they are made is chosen in code, see `kohort::codec`",
    ),
    (
        &["transactional.id", "transaction.timeout.ms", "transaction.two.phase.commit.enable"],
        "this producer has no transactions; a consumer reads what others wrote in them \
         (`isolation.level`)",
    ),
    (
        &["interceptor.classes"],
        "records are looked at in code: before they are sent, and after they are polled",
    ),
    (&["partitioner.class"], "a partitioner is chosen in code, see `ProducerBuilder::partitioner`"),
    (
        &["metadata.max.idle.ms"],
        "a producer follows a topic that it has written to for as long as it lives",
    ),
    (
        &["metric.reporters", "metrics.*", "enable.metrics.push", "auto.include.jmx.reporter"],
        "counters are read in code, see `Consumer::metrics` and `Producer::metrics`",
    ),
    (&["share.acknowledgement.mode", "share.acquire.mode"], "there is no consumer of share groups"),
    (
        &["bootstrap.controllers"],
        "brokers are asked, and forward: name them in `bootstrap.servers`",
    ),
    (&["config.providers"], "values stand for themselves: fill them in before they are given here"),
    (
        &["ssl.keystore.password", "ssl.truststore.password", "ssl.key.password"],
        "stores are PEM without a password: write a key as it is with \
         `openssl pkcs8 -topk8 -nocrypt`, readable by its owner alone",
    ),
    (
        &[
            "ssl.protocol",
            "ssl.provider",
            "ssl.cipher.suites",
            "ssl.engine.factory.class",
            "ssl.keymanager.algorithm",
            "ssl.trustmanager.algorithm",
            "ssl.secure.random.implementation",
            "security.providers",
        ],
        "TLS is rustls, with its ciphers and random numbers; `ssl.enabled.protocols` names versions",
    ),
    (&["sasl.kerberos.*"], "Kerberos is not spoken here; see `sasl.mechanism` for what is"),
    (
        &["sasl.client.callback.handler.class", "sasl.login.*", "sasl.oauthbearer.*"],
        "tokens come from a provider given in code, see `token_provider` of the builders, or from \
         the file that `sasl.oauthbearer.token.endpoint.url` names",
    ),
];
