//! The tables: every property of every role.
//!
//! Names, defaults and ranges are those of Apache Kafka 4.3's clients; where ours differ, the
//! entry says so.

use std::sync::Arc;
use std::time::Duration;

use kohort_client_core::sasl::Mechanism;

use super::absent::instead_of;
use super::librdkafka;
use super::security::{
    DnsLookup, EndpointIdentification, Secret, SecurityProtocol, StoreType, TlsVersion, TokenSource,
};
use super::table::{Table, nearest, properties};
use super::value::{
    Acks, AssignmentStrategy, ByteSize, Codec, DeliveryTimeout, GroupProtocol, HostPort,
    Idempotence, IsolationLevel, OffsetReset, RecoveryStrategy,
};
use super::{ConfigError, Properties, Property};
use crate::net::TokenProvider;

properties! {
    /// The properties every client has.
    pub struct CommonConfig {
        #[doc = "Servers to learn the cluster from; not all of them need to be up."]
        "bootstrap.servers" => bootstrap_servers: Vec<HostPort> = "";
        #[doc = "What the broker's log, metrics and quotas call this client, and what a member's id begins with. Where it is not set it is `consumer-<group>-<n>` (of a static member its `group.instance.id` in place of the number), `producer-<n>` or `adminclient-<n>`, counted per process."]
        "client.id" => client_id: String = "";
        #[doc = "The rack this client is in, for reading from a replica nearby."]
        "client.rack" => client_rack: Option<String> = "";
        #[doc = "How long one request may take before its connection counts as lost."]
        "request.timeout.ms" => request_timeout: Duration = "30000" in 1 ..= 2_147_483_647;
        #[doc = "How long an operation may take with all its retries."]
        "default.api.timeout.ms" => default_api_timeout: Duration = "60000" in 0 ..= 2_147_483_647;
        #[doc = "The wait before the first retry of a request; doubles with each."]
        "retry.backoff.ms" => retry_backoff: Duration = "100" in 0 ..= 3_600_000;
        #[doc = "The longest wait before a retry of a request."]
        "retry.backoff.max.ms" => retry_backoff_max: Duration = "1000" in 0 ..= 3_600_000;
        #[doc = "The wait before connecting again to a broker that refused; doubles with each."]
        "reconnect.backoff.ms" => reconnect_backoff: Duration = "50" in 0 ..= 3_600_000;
        #[doc = "The longest wait before connecting again (Kafka: 1000, which most of a broker's restart is spent on)."]
        "reconnect.backoff.max.ms" => reconnect_backoff_max: Duration = "200" in 0 ..= 3_600_000;
        #[doc = "How long connecting to one address may take, TLS, ApiVersions and SASL included."]
        "socket.connection.setup.timeout.ms" => connection_setup_timeout: Duration = "10000" in 1 ..= 3_600_000;
        #[doc = "The longest it may take after attempts that took too long; each doubles the time."]
        "socket.connection.setup.timeout.max.ms" => connection_setup_timeout_max: Duration = "30000" in 1 ..= 3_600_000;
        #[doc = "How the addresses of a name are used: all, in turn, looked up anew each time."]
        "client.dns.lookup" => client_dns_lookup: DnsLookup = "use_all_dns_ips";
        #[doc = "A connection nothing was sent on for this long is closed."]
        "connections.max.idle.ms" => connections_max_idle: Duration = "540000" in 1 ..= 2_147_483_647;
        #[doc = "The size of the socket's send buffer (Kafka: 131072, which turns off the kernel's tuning)."]
        "send.buffer.bytes" => send_buffer: Option<ByteSize> = "-1";
        #[doc = "The size of the socket's receive buffer (Kafka: 65536, which turns off the kernel's tuning)."]
        "receive.buffer.bytes" => receive_buffer: Option<ByteSize> = "-1";
        #[doc = "Whether the client's thread keeps to the processor of the application's while that is cheaper and no slower (Linux; not in Kafka)."]
        "network.thread.near.application" => thread_near_application: bool = "true";
        #[doc = "Metadata older than this is asked for again, error or not."]
        "metadata.max.age.ms" => metadata_max_age: Duration = "300000" in 0 ..= 86_400_000;
        #[doc = "What to do when no known broker can be reached."]
        "metadata.recovery.strategy" => metadata_recovery_strategy: RecoveryStrategy = "rebootstrap";
        #[doc = "Without metadata from any known broker for this long, it starts again from `bootstrap.servers` if so."]
        "metadata.recovery.rebootstrap.trigger.ms" => metadata_rebootstrap_trigger: Duration = "300000" in 0 ..= 2_147_483_647;
        #[doc = "What the servers' listeners speak."]
        "security.protocol" => security_protocol: SecurityProtocol = "PLAINTEXT";
        #[doc = "How the certificates in `ssl.truststore.*` are stored (Kafka: JKS; convert with `keytool -exportcert -rfc`)."]
        "ssl.truststore.type" => ssl_truststore_type: StoreType = "PEM";
        #[doc = "A file with the certificates of the CAs that are trusted; without any, the system's are."]
        "ssl.truststore.location" => ssl_truststore_location: Option<String> = "";
        #[doc = "These certificates themselves, in place of a file."]
        "ssl.truststore.certificates" => ssl_truststore_certificates: Option<String> = "";
        #[doc = "How `ssl.keystore.*` is stored (Kafka: JKS)."]
        "ssl.keystore.type" => ssl_keystore_type: StoreType = "PEM";
        #[doc = "A file with this client's private key and the chain of its certificate, for brokers that ask for one."]
        "ssl.keystore.location" => ssl_keystore_location: Option<String> = "";
        #[doc = "The chain itself, in place of a file."]
        "ssl.keystore.certificate.chain" => ssl_keystore_certificate_chain: Option<String> = "";
        #[doc = "The private key itself, in place of a file."]
        "ssl.keystore.key" => ssl_keystore_key: Secret = "";
        #[doc = "`https` holds the broker's certificate against the name it was reached under; `none`, or nothing, as in Kafka, accepts any name."]
        "ssl.endpoint.identification.algorithm" => ssl_endpoint_identification: EndpointIdentification = "https";
        #[doc = "The versions of TLS that may be agreed on."]
        "ssl.enabled.protocols" => ssl_enabled_protocols: Vec<TlsVersion> = "TLSv1.2,TLSv1.3";
        #[doc = "How this client proves who it is (Kafka: GSSAPI, which we do not have)."]
        "sasl.mechanism" => sasl_mechanism: Option<Mechanism> = "";
        #[doc = "The name for PLAIN and SCRAM; a short form of `sasl.jaas.config`, which Java does not know."]
        "sasl.username" => sasl_username: Option<String> = "";
        #[doc = "The password for PLAIN and SCRAM, likewise."]
        "sasl.password" => sasl_password: Secret = "";
        #[doc = "Java's login line: `PlainLoginModule`, `ScramLoginModule` or `OAuthBearerLoginModule` with their options."]
        "sasl.jaas.config" => sasl_jaas_config: Secret = "";
        #[doc = "Where OAUTHBEARER finds its token: a `file:` that is read anew for each authentication. Other sources are a provider given to the builder."]
        "sasl.oauthbearer.token.endpoint.url" => sasl_oauthbearer_token_endpoint_url: Option<String> = "";
        plus {
            /// Where OAUTHBEARER gets its tokens, in place of a property.
            token_source: TokenSource;
        }
    }
}

impl CommonConfig {
    /// Has OAUTHBEARER ask `provider` for a token before each authentication.
    #[must_use]
    pub fn token_provider(mut self, provider: impl TokenProvider) -> Self {
        self.token_source = TokenSource(Some(Arc::new(provider)));
        self
    }
}

properties! {
    /// What a consumer can be told.
    pub struct ConsumerConfig includes common: CommonConfig {
        #[doc = "The group this consumer is a member of."]
        "group.id" => group_id: Option<String> = "";
        #[doc = "A name that lets a restarted member take back its place (KIP-345)."]
        "group.instance.id" => group_instance_id: Option<String> = "", nonempty;
        #[doc = "Which protocol the group is run by; `auto` (ours) is `consumer` where the broker has it."]
        "group.protocol" => group_protocol: GroupProtocol = "classic";
        #[doc = "The coordinator's assignor this member would like; refused with `group.protocol=classic`, and with `auto` for the case that it is `consumer`."]
        "group.remote.assignor" => group_remote_assignor: Option<String> = "";
        #[doc = "The assignors this member can run, most wanted first. Refused with `group.protocol=consumer`, and with `auto` for the case that it is `classic`."]
        "partition.assignment.strategy" => partition_assignment_strategy: Vec<AssignmentStrategy> = "range,cooperative-sticky";
        #[doc = "A member not heard of for this long is taken out of the group. Refused with `group.protocol=consumer`, and with `auto` for the case that it is `classic`."]
        "session.timeout.ms" => session_timeout: Duration = "45000" in 1 ..= 2_147_483_647;
        #[doc = "How often a member says that it lives. Refused with `group.protocol=consumer`, and with `auto` for the case that it is `classic`."]
        "heartbeat.interval.ms" => heartbeat_interval: Duration = "3000" in 1 ..= 2_147_483_647;
        #[doc = "An application that does not poll for this long loses its partitions."]
        "max.poll.interval.ms" => max_poll_interval: Duration = "300000" in 1 ..= 2_147_483_647;
        #[doc = "The most records one poll hands out."]
        "max.poll.records" => max_poll_records: usize = "500" in 1 ..= 2_147_483_647;
        #[doc = "Where to start when the group has no offset for a partition, or lost it."]
        "auto.offset.reset" => auto_offset_reset: OffsetReset = "latest";
        #[doc = "Whether positions are committed without being asked for."]
        "enable.auto.commit" => enable_auto_commit: bool = "true";
        #[doc = "How often positions are committed if so."]
        "auto.commit.interval.ms" => auto_commit_interval: Duration = "5000" in 0 ..= 2_147_483_647;
        #[doc = "What is seen of transactions."]
        "isolation.level" => isolation_level: IsolationLevel = "read_uncommitted";
        #[doc = "The broker answers a fetch once it has this much."]
        "fetch.min.bytes" => fetch_min_bytes: ByteSize = "1" in 0 ..= 2_147_483_647;
        #[doc = "The most one fetch returns, unless a single batch is larger."]
        "fetch.max.bytes" => fetch_max_bytes: ByteSize = "52428800" in 0 ..= 2_147_483_647;
        #[doc = "The broker answers a fetch after this long even with less."]
        "fetch.max.wait.ms" => fetch_max_wait: Duration = "500" in 0 ..= 2_147_483_647;
        #[doc = "The most one fetch returns of a partition, unless a single batch is larger."]
        "max.partition.fetch.bytes" => max_partition_fetch_bytes: ByteSize = "1048576" in 0 ..= 2_147_483_647;
        #[doc = "Whether the checksum of each batch is verified."]
        "check.crcs" => check_crcs: bool = "true";
        #[doc = "Whether a topic that is asked for and missing may be created."]
        "allow.auto.create.topics" => allow_auto_create_topics: bool = "true";
        #[doc = "Whether a pattern leaves out the broker's own topics."]
        "exclude.internal.topics" => exclude_internal_topics: bool = "true";
    }
}

properties! {
    /// What a producer can be told.
    pub struct ProducerConfig includes common: CommonConfig {
        #[doc = "Which copies of a record the answer waits for."]
        "acks" => acks: Acks = "all";
        #[doc = "Whether a retried batch is written once. It needs `acks=all` and retries: without these it is off, or refused if it was asked for."]
        "enable.idempotence" => enable_idempotence: Idempotence = "true";
        #[doc = "How long a batch waits for more records."]
        "linger.ms" => linger: Duration = "5" in 0 ..= 2_147_483_647;
        #[doc = "The size a batch is filled to, before compression."]
        "batch.size" => batch_size: ByteSize = "16384" in 0 ..= 2_147_483_647;
        #[doc = "The most that may wait to be sent; past it, send waits."]
        "buffer.memory" => buffer_memory: ByteSize = "33554432" in 1 ..= 1_099_511_627_776;
        #[doc = "How long send may wait for memory or for a topic's metadata."]
        "max.block.ms" => max_block: Duration = "60000" in 0 ..= 86_400_000;
        #[doc = "The most one request carries, and the largest record."]
        "max.request.size" => max_request_size: ByteSize = "1048576" in 1 ..= 2_147_483_647;
        #[doc = "How batches are compressed."]
        "compression.type" => compression_type: Codec = "none";
        #[doc = "The level of gzip: 1 to 9, -1 for its default."]
        "compression.gzip.level" => compression_gzip_level: i32 = "-1" in -1 ..= 9;
        #[doc = "The level of LZ4. Every level gives the same here: the encoder has one speed."]
        "compression.lz4.level" => compression_lz4_level: i32 = "9" in 1 ..= 17;
        #[doc = "The level of Zstandard."]
        "compression.zstd.level" => compression_zstd_level: i32 = "3" in -131_072 ..= 22;
        #[doc = "How long a record may take from send to its answer, all retries included. A value below `linger.ms` + `request.timeout.ms` is refused; where none is set, the default is raised to that."]
        "delivery.timeout.ms" => delivery_timeout: DeliveryTimeout = "120000" in 0 ..= 2_147_483_647;
        #[doc = "How often a batch is retried before its time is up."]
        "retries" => retries: u32 = "2147483647" in 0 ..= 2_147_483_647;
        #[doc = "How many requests may wait for an answer on one connection."]
        "max.in.flight.requests.per.connection" => max_in_flight: usize = "5" in 1 ..= 2_147_483_647;
        #[doc = "Whether the default partitioner takes no notice of keys."]
        "partitioner.ignore.keys" => partitioner_ignore_keys: bool = "false";
        #[doc = "Whether records without a key go more often where fewer batches wait."]
        "partitioner.adaptive.partitioning.enable" => partitioner_adaptive: bool = "true";
        #[doc = "How long a broker may take nothing of what is ready for it before records without a key pass over its partitions; 0 for ever. Only with adaptive partitioning."]
        "partitioner.availability.timeout.ms" => partitioner_availability_timeout: Duration = "0" in 0 ..= 9_223_372_036_854;
    }
}

properties! {
    /// What an administrator's client can be told.
    pub struct AdminConfig includes common: CommonConfig {
        #[doc = "How often a request is retried before its time is up."]
        "retries" => retries: u32 = "2147483647" in 0 ..= 2_147_483_647;
    }
}

/// Implements [`Properties`] for a role that has its own table and the common one.
macro_rules! role {
    ($name:ident, $role:literal) => {
        impl Properties for $name {
            const ROLE: &'static str = $role;

            fn table() -> impl Iterator<Item = &'static Property> {
                $name::TABLE.iter().chain(CommonConfig::TABLE)
            }

            fn set(&mut self, name: &str, value: &str) -> Result<&mut Self, ConfigError> {
                self.try_set(name, value)
                    .or_else(|| self.common.try_set(name, value))
                    .unwrap_or_else(|| Err(refuse::<Self>(name)))?;
                Ok(self)
            }

            fn get(&self, name: &str) -> Option<String> {
                self.try_get(name).or_else(|| self.common.try_get(name))
            }

            fn validate(&self) -> Result<(), ConfigError> {
                self.in_range()?;
                self.common.in_range()?;
                self.common.validate()?;
                self.validate_own()
            }
        }
    };
}
role!(ConsumerConfig, "consumer");
role!(ProducerConfig, "producer");
role!(AdminConfig, "admin client");

fn refuse<R: Properties>(name: &str) -> ConfigError {
    let owners = [
        (ConsumerConfig::ROLE, ConsumerConfig::TABLE),
        (ProducerConfig::ROLE, ProducerConfig::TABLE),
    ];
    let has = |(_, table): &&(&str, &[Property])| table.iter().any(|it| it.name == name);
    match owners.iter().find(has) {
        Some((owner, _)) => ConfigError::OtherRole { role: R::ROLE, owner, name: name.to_owned() },
        None => match instead_of(name).or_else(|| librdkafka::instead_of(name)) {
            Some(instead) => ConfigError::NotHere { name: name.to_owned(), instead },
            None => ConfigError::UnknownProperty {
                role: R::ROLE,
                name: name.to_owned(),
                nearest: nearest(name, R::table().map(|property| property.name)),
            },
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every default parses to itself and lies in its range, and every name is told apart.
    fn check_table<R: Properties>() {
        let mut seen = std::collections::BTreeSet::new();
        for property in R::table() {
            assert!(seen.insert(property.name), "`{}` is there twice", property.name);
            let mut config = R::default();
            assert_eq!(config.get(property.name).as_deref(), Some(property.default));
            if config.set(property.name, property.default).is_err() {
                assert_eq!(property.default, "", "nothing may be no value of `{}`", property.name);
            }
            assert_eq!(config.get(property.name).as_deref(), Some(property.default));
            assert!(property.doc.ends_with('.'), "`{}` is not documented", property.name);
        }
    }

    #[test]
    fn every_default_is_a_value_of_its_property() {
        check_table::<ConsumerConfig>();
        check_table::<ProducerConfig>();
        check_table::<AdminConfig>();
    }

    /// Holds the typed setters of a table to its ranges.
    fn check_ranges<R: Properties + std::fmt::Debug>(
        typed: impl Fn(R, &str, &str) -> Result<R, String>,
    ) {
        let counted = ["number", "duration", "bytes"];
        for Property { name, kind, range, .. } in R::table() {
            assert_eq!(range.is_some(), counted.contains(kind), "`{name}` is a {kind}");
            let Some((min, max)) = range else { continue };
            let set = |value: i64| {
                let mut config = R::default();
                config.set("bootstrap.servers", "a:1").unwrap();
                typed(config, name, &value.to_string())
            };
            for value in [min - 1, max + 1] {
                let Ok(config) = set(value) else {
                    assert!(value < 0, "`{name}` has no typed value {value}");
                    continue;
                };
                let of_typed = config.validate().unwrap_err().to_string();
                assert_eq!(of_typed, refused::<R>(name, &value.to_string()));
                assert!(of_typed.contains(name) && of_typed.contains(&max.to_string()));
            }
            for value in [min, max] {
                let within = set(*value).unwrap().validate();
                assert!(!matches!(within, Err(ConfigError::InvalidValue { .. })), "{within:?}");
            }
        }
    }

    #[test]
    fn typed_setters_are_held_to_the_ranges_of_the_properties() {
        macro_rules! typed {
            () => {
                |mut config, name, value| match config.clone().typed(name, value) {
                    Some(typed) => typed,
                    None => {
                        config.common = config.common.typed(name, value).unwrap()?;
                        Ok(config)
                    }
                }
            };
        }
        check_ranges::<ConsumerConfig>(typed!());
        check_ranges::<ProducerConfig>(typed!());
        check_ranges::<AdminConfig>(typed!());
    }

    #[test]
    fn a_number_larger_than_kafkas_is_above_every_range() {
        let config = ConsumerConfig::default().max_poll_records(usize::MAX);
        let refused = config.validate().unwrap_err().to_string();
        let expected = "cannot be `max.poll.records`: the range is 1 to 2147483647";
        assert!(refused.ends_with(expected), "{refused}");
    }

    fn refused<R: Properties + std::fmt::Debug>(name: &str, value: &str) -> String {
        R::default().set(name, value).unwrap_err().to_string()
    }

    #[test]
    fn refusals_name_the_property_and_what_is_wrong() {
        let cases = [
            (
                refused::<ProducerConfig>("linger", "5"),
                "unknown producer property `linger`; the nearest is `linger.ms`",
            ),
            (
                refused::<ProducerConfig>("group.id", "g"),
                "`group.id` is a property of a consumer, not of a producer",
            ),
            (
                refused::<AdminConfig>("acks", "all"),
                "`acks` is a property of a producer, not of an admin client",
            ),
            (
                refused::<ConsumerConfig>("max.poll.records", "0"),
                "`0` cannot be `max.poll.records`: the range is 1 to 2147483647",
            ),
            (
                refused::<ConsumerConfig>("session.timeout.ms", "45MB"),
                "`45MB` cannot be `session.timeout.ms`: a duration is milliseconds, or ends in \
                 ms, s, m, h or d",
            ),
            (
                refused::<ProducerConfig>("acks", "2"),
                "`2` cannot be `acks`: it is one of `all` `1` `0`",
            ),
        ];
        for (actual, expected) in cases {
            assert_eq!(actual, expected);
        }
    }

    #[test]
    fn properties_of_java_that_are_not_here_are_refused_with_what_to_do() {
        for (name, expected) in [
            ("value.serializer", "see `kohort::codec`"),
            ("transactional.id", "no transactions"),
            ("metrics.num.samples", "`Consumer::metrics` and `Producer::metrics`"),
            ("sasl.oauthbearer.scope", "`token_provider`"),
            ("ssl.keystore.password", "openssl"),
        ] {
            let reason = refused::<ProducerConfig>(name, "x");
            assert!(reason.contains(name) && reason.contains(expected), "{reason}");
            assert_eq!(refused::<ConsumerConfig>(name, "x"), reason);
        }
        assert!(refused::<ConsumerConfig>("value.serialiser", "x").contains("the nearest is"));
    }

    #[test]
    fn properties_of_librdkafka_are_refused_with_what_stands_in_their_place() {
        for (name, expected) in [
            ("metadata.broker.list", "`bootstrap.servers`"),
            ("topic.metadata.refresh.interval.ms", "`metadata.max.age.ms`"),
            ("socket.timeout.ms", "`request.timeout.ms`"),
            ("socket.keepalive.enable", "`connections.max.idle.ms`"),
            ("statistics.interval.ms", "`Producer::metrics`"),
            ("ssl.ca.location", "`ssl.truststore.location`"),
            ("ssl.certificate.location", "`ssl.keystore.location`"),
            ("ssl.key.location", "`ssl.keystore.location`"),
            ("sasl.mechanisms", "`sasl.mechanism`"),
            ("request.required.acks", "`acks`"),
            ("message.timeout.ms", "`delivery.timeout.ms`"),
            ("queue.buffering.max.ms", "`linger.ms`"),
            ("queue.buffering.max.kbytes", "`buffer.memory`"),
            ("queue.buffering.max.messages", "`buffer.memory`"),
            ("batch.num.messages", "`batch.size`"),
            ("message.max.bytes", "`max.request.size`"),
            ("message.send.max.retries", "`retries`"),
            ("compression.codec", "`compression.type`"),
            ("enable.partition.eof", "`Consumer::lag`"),
            ("enable.auto.offset.store", "`Consumer::commit_offsets_sync`"),
            ("fetch.wait.max.ms", "`fetch.max.wait.ms`"),
            ("fetch.message.max.bytes", "`max.partition.fetch.bytes`"),
            ("queued.min.messages", "`ConsumerBuilder::memory_budget`"),
        ] {
            let reason = refused::<ProducerConfig>(name, "x");
            assert!(
                reason.starts_with(&format!("there is no property `{name}` here: ")),
                "{reason}"
            );
            assert!(reason.contains(expected), "{reason}");
            assert_eq!(refused::<ConsumerConfig>(name, "x"), reason);
        }
    }

    /// A hint that names a property which is not there would lead nowhere.
    #[test]
    fn hints_name_properties_that_are_there_under_names_that_are_not() {
        let tables =
            || ConsumerConfig::table().chain(ProducerConfig::table()).map(|property| property.name);
        for (names, instead) in librdkafka::ELSEWHERE {
            for name in *names {
                assert!(tables().all(|it| it != *name), "`{name}` is a property");
                assert!(instead_of(name).is_none(), "`{name}` is Java's");
            }
            for quoted in instead.split('`').skip(1).step_by(2) {
                let name = quoted.split('=').next().unwrap_or_default();
                let is_property = name.contains('.') || ["acks", "retries"].contains(&name);
                assert!(!is_property || tables().any(|it| it == name), "`{name}`");
            }
        }
    }

    #[test]
    fn a_properties_file_has_comments_and_both_separators() {
        let text = "# who\nbootstrap.servers=a:1,b:2\n! what\n  linger.ms : 10\n\n";
        let config = ProducerConfig::from_properties(text).unwrap();
        assert_eq!(config.common.bootstrap_servers.len(), 2);
        assert_eq!(config.linger, Duration::from_millis(10));
        assert!(ProducerConfig::from_properties("linger.ms").is_err());
    }
}
