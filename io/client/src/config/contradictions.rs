//! What no property can check alone: which values do not go together.

use std::time::Duration;

use super::table::{NOT_EMPTY, Table};
use super::{
    Acks, AdminConfig, CommonConfig, ConfigError, ConsumerConfig, GroupProtocol, Idempotence,
    ProducerConfig,
};

impl CommonConfig {
    pub(super) fn validate(&self) -> Result<(), ConfigError> {
        conflict(self.bootstrap_servers.is_empty(), || {
            "`bootstrap.servers` is missing: name at least one host:port".to_owned()
        })?;
        conflict(self.security_protocol.has_sasl() && self.sasl_mechanism.is_none(), || {
            format!(
                "`security.protocol={}` needs `sasl.mechanism`: PLAIN, SCRAM-SHA-256, \
                 SCRAM-SHA-512 or OAUTHBEARER",
                self.security_protocol
            )
        })
    }
}

impl ConsumerConfig {
    pub(super) fn validate_own(&self) -> Result<(), ConfigError> {
        conflict(self.heartbeat_interval >= self.session_timeout, || {
            format!(
                "`heartbeat.interval.ms` {} is not below `session.timeout.ms` {}",
                self.heartbeat_interval.as_millis(),
                self.session_timeout.as_millis()
            )
        })?;
        conflict(self.partition_assignment_strategy.is_empty(), || {
            "`partition.assignment.strategy` names no assignor".to_owned()
        })?;
        self.without_effect()?;
        // No text can say so, a typed value can.
        match self.group_instance_id.as_deref() {
            Some("") => Err(ConfigError::InvalidValue {
                name: "group.instance.id",
                value: String::new(),
                reason: NOT_EMPTY.to_owned(),
            }),
            _ => Ok(()),
        }
    }
}

impl ConsumerConfig {
    /// Refuses what the group's protocol has no use for and somebody set all the same, as Java does. With
    /// `auto` all of it may count.
    fn without_effect(&self) -> Result<(), ConfigError> {
        let (protocol, useless) = match self.group_protocol {
            GroupProtocol::Consumer => ("consumer", NOT_OF_CONSUMER),
            GroupProtocol::Classic => ("classic", NOT_OF_CLASSIC),
            GroupProtocol::Auto => return Ok(()),
        };
        let says = |name| self.try_get(name).is_some_and(|value| !value.is_empty());
        let set = useless.iter().find(|(name, _)| self.is_set(name) && says(name));
        set.map_or(Ok(()), |(name, instead)| {
            Err(no_effect(&format!("`{name}`"), protocol, instead))
        })
    }

    /// Refuses assignors of the application's own where nobody would ask them.
    pub(crate) fn takes_assignors(&self) -> Result<(), ConfigError> {
        match self.group_protocol {
            GroupProtocol::Consumer => Err(no_effect(
                "an assignor of one's own",
                "consumer",
                THERE_THE_COORDINATOR_DIVIDES,
            )),
            GroupProtocol::Classic | GroupProtocol::Auto => Ok(()),
        }
    }
}

/// Java's `CLASSIC_PROTOCOL_UNSUPPORTED_CONFIGS` and `CONSUMER_PROTOCOL_UNSUPPORTED_CONFIGS`: what has no
/// effect, and what does.
const NOT_OF_CONSUMER: &[(&str, &str)] = &[
    ("session.timeout.ms", "the group's `consumer.session.timeout.ms` is set on the broker"),
    ("heartbeat.interval.ms", "the group's `consumer.heartbeat.interval.ms` is set on the broker"),
    ("partition.assignment.strategy", THERE_THE_COORDINATOR_DIVIDES),
];
const NOT_OF_CLASSIC: &[(&str, &str)] = &[(
    "group.remote.assignor",
    "the members divide the partitions, by `partition.assignment.strategy`",
)];
const THERE_THE_COORDINATOR_DIVIDES: &str =
    "the coordinator divides the partitions, by `group.remote.assignor`";

fn no_effect(what: &str, protocol: &str, instead: &str) -> ConfigError {
    let other = if protocol == "classic" { "consumer" } else { "classic" };
    let reason = format!(
        "{what} has no effect with `group.protocol={protocol}`: {instead}; leave it out, or choose \
         `group.protocol={other}` or `auto`"
    );
    ConfigError::Conflict { reason }
}

impl ProducerConfig {
    pub(super) fn validate_own(&self) -> Result<(), ConfigError> {
        let (timeout, least) = (self.time_to_deliver(), self.one_attempt());
        conflict(timeout < least, || {
            format!(
                "`delivery.timeout.ms` {} is below `linger.ms` + `request.timeout.ms` = {}",
                timeout.as_millis(),
                least.as_millis()
            )
        })?;
        if self.enable_idempotence == Idempotence::On
            && let Some(reason) = self.contradicts_idempotence()
        {
            let reason = format!("`enable.idempotence=true` does not go with {reason}");
            return Err(ConfigError::Conflict { reason });
        }
        let too_many = self.max_in_flight > Self::IDEMPOTENT_IN_FLIGHT_MAX;
        conflict(too_many && self.is_idempotent(), || {
            format!(
                "`max.in.flight.requests.per.connection` {} is above {}, which a broker can tell \
                 duplicates among; `enable.idempotence=false` allows it",
                self.max_in_flight,
                Self::IDEMPOTENT_IN_FLIGHT_MAX
            )
        })
    }

    /// Returns how long a record may take: `delivery.timeout.ms`, or where nobody set it, time for one
    /// attempt at the least.
    pub fn time_to_deliver(&self) -> Duration {
        self.delivery_timeout.with(self.one_attempt())
    }

    fn one_attempt(&self) -> Duration {
        self.linger.saturating_add(self.common.request_timeout)
    }

    /// Returns whether a batch that is sent again is written once: unless `enable.idempotence` is off,
    /// or was not asked for and does not go with `acks` or `retries`.
    pub fn is_idempotent(&self) -> bool {
        match self.enable_idempotence {
            Idempotence::On => true,
            Idempotence::Off => false,
            Idempotence::IfPossible => self.contradicts_idempotence().is_none(),
        }
    }

    /// What turns idempotence off although nobody asked for that.
    pub(crate) fn rules_out_idempotence(&self) -> Option<&'static str> {
        match self.enable_idempotence {
            Idempotence::IfPossible => self.contradicts_idempotence(),
            Idempotence::On | Idempotence::Off => None,
        }
    }

    fn contradicts_idempotence(&self) -> Option<&'static str> {
        match (self.acks, self.retries) {
            (Acks::Leader, _) => Some("`acks=1`"),
            (Acks::None, _) => Some("`acks=0`"),
            (Acks::All, 0) => Some("`retries=0`"),
            (Acks::All, _) => None,
        }
    }

    /// The broker remembers the last five batches of a producer, so it can tell no older duplicate.
    const IDEMPOTENT_IN_FLIGHT_MAX: usize = 5;
}

impl AdminConfig {
    #[expect(clippy::unused_self, clippy::unnecessary_wraps, reason = "the roles share one shape")]
    pub(super) fn validate_own(&self) -> Result<(), ConfigError> {
        Ok(())
    }
}

fn conflict(is: bool, reason: impl FnOnce() -> String) -> Result<(), ConfigError> {
    if is { Err(ConfigError::Conflict { reason: reason() }) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Properties;

    #[test]
    fn contradictions_are_refused() {
        let server = ("bootstrap.servers", "localhost:9092");
        let producer =
            |pair| ProducerConfig::from_pairs([server, pair]).unwrap().validate().is_ok();
        assert!(producer(("acks", "all")));
        assert!(!producer(("max.in.flight.requests.per.connection", "6")));
        assert!(!producer(("delivery.timeout.ms", "1s")));
        let consumer =
            |pair| ConsumerConfig::from_pairs([server, pair]).unwrap().validate().is_ok();
        assert!(consumer(("heartbeat.interval.ms", "1s")));
        assert!(!consumer(("heartbeat.interval.ms", "45s")));
        assert!(AdminConfig::default().validate().is_err(), "no servers");
    }

    /// A producer's configuration with these properties, if it is one.
    fn producer(pairs: &[(&str, &str)]) -> Result<ProducerConfig, String> {
        let mut config = ProducerConfig::from_pairs([("bootstrap.servers", "a:1")]).unwrap();
        for (name, value) in pairs {
            config.set(name, value).unwrap();
        }
        config.validate().map(|()| config).map_err(|error| error.to_string())
    }

    #[test]
    fn idempotence_gives_way_to_fewer_acks_unless_it_was_asked_for() {
        let asked = ("enable.idempotence", "true");
        for pair @ (name, value) in [("acks", "1"), ("acks", "0"), ("retries", "0")] {
            let quietly = producer(&[pair]).unwrap();
            assert!(!quietly.is_idempotent(), "{pair:?}");
            assert!(quietly.rules_out_idempotence().unwrap().contains(value));
            let refused = producer(&[asked, pair]).unwrap_err();
            assert!(refused.contains(&format!("`{name}={value}`")), "{refused}");
        }
        assert!(producer(&[]).unwrap().is_idempotent());
        assert!(producer(&[asked]).unwrap().is_idempotent());
        let off = producer(&[("enable.idempotence", "false"), ("acks", "1")]).unwrap();
        assert!(!off.is_idempotent() && off.rules_out_idempotence().is_none());
    }

    /// A consumer's configuration with these properties, or why it is none.
    fn consumer(pairs: &[(&str, &str)]) -> Result<ConsumerConfig, String> {
        let mut config = ConsumerConfig::from_pairs([("bootstrap.servers", "a:1")]).unwrap();
        for (name, value) in pairs {
            config.set(name, value).unwrap();
        }
        config.validate().map(|()| config).map_err(|error| error.to_string())
    }

    #[test]
    fn what_has_no_effect_with_the_protocol_of_the_group_is_refused_where_it_was_set() {
        let of_consumer = [
            ("session.timeout.ms", "45000"),
            ("heartbeat.interval.ms", "200"),
            ("partition.assignment.strategy", "range"),
        ];
        let cases = of_consumer.map(|pair| ("consumer", "classic", pair));
        let classic = ("classic", "consumer", ("group.remote.assignor", "uniform"));
        for (protocol, other, pair @ (name, _)) in cases.into_iter().chain([classic]) {
            let with = |protocol| consumer(&[pair, ("group.protocol", protocol)]);
            let refused = with(protocol).unwrap_err();
            let expected = format!("`{name}` has no effect with `group.protocol={protocol}`: ");
            assert!(refused.starts_with(&expected), "{refused}");
            assert!(refused.ends_with(&format!("`group.protocol={other}` or `auto`")), "{refused}");
            with(other).unwrap();
            with("auto").unwrap();
        }
        consumer(&[("group.remote.assignor", "")]).unwrap();
    }

    #[test]
    fn typed_settings_without_effect_are_refused_and_defaults_are_not() {
        let config = consumer(&[("group.protocol", "consumer")]).unwrap();
        let default = ConsumerConfig::default().session_timeout;
        let set = config.clone().session_timeout(default);
        assert_eq!(set, config, "they are the same but for who said so");
        assert!(set.validate().unwrap_err().to_string().contains("`session.timeout.ms`"));
        let mut written = config.clone();
        written.heartbeat_interval = Duration::from_secs(1);
        assert!(written.validate().unwrap_err().to_string().contains("`heartbeat.interval.ms`"));
        let assignor = config.takes_assignors().unwrap_err().to_string();
        assert!(assignor.contains("`group.remote.assignor`"), "{assignor}");
        config.group_protocol(GroupProtocol::Auto).takes_assignors().unwrap();
    }

    /// As in Kafka from 4.0 on.
    #[test]
    fn six_requests_in_flight_need_idempotence_to_be_off() {
        let six = ("max.in.flight.requests.per.connection", "6");
        assert!(producer(&[six]).unwrap_err().contains("`enable.idempotence=false` allows it"));
        for off in [("enable.idempotence", "false"), ("acks", "1")] {
            assert!(!producer(&[six, off]).unwrap().is_idempotent());
        }
    }

    #[test]
    fn an_instance_id_has_at_least_one_character() {
        let set = |value| {
            let refused = ConsumerConfig::default().set("group.instance.id", value).map(drop);
            refused.unwrap_err().to_string()
        };
        let expected = format!("`` cannot be `group.instance.id`: {NOT_EMPTY}");
        assert_eq!(set(""), expected);
        assert_eq!(set(" "), expected.replace("``", "` `"));
        let mut typed = ConsumerConfig::from_pairs([("bootstrap.servers", "a:1")]).unwrap();
        typed.validate().unwrap();
        typed.group_instance_id = Some(String::new());
        assert_eq!(typed.validate().unwrap_err().to_string(), expected);
    }

    #[test]
    fn for_ever_is_not_too_long() {
        let mut config = producer(&[]).unwrap();
        config.common.request_timeout = Duration::MAX;
        config.validate().unwrap();
        config.delivery_timeout = Duration::MAX.into();
        config.validate().unwrap();
        config.max_block = Duration::from_secs(u64::MAX);
        assert!(config.validate().unwrap_err().to_string().contains("max.block.ms"));
    }

    #[test]
    fn time_for_one_attempt_is_made_unless_the_time_to_deliver_was_set() {
        let seconds = |pairs: &[_]| producer(pairs).map(|it| it.time_to_deliver().as_secs());
        assert_eq!(seconds(&[]), Ok(120));
        assert_eq!(seconds(&[("linger.ms", "1h")]), Ok(3_630));
        assert_eq!(seconds(&[("linger.ms", "1s"), ("request.timeout.ms", "120000")]), Ok(121));
        assert_eq!(seconds(&[("delivery.timeout.ms", "1h")]), Ok(3_600));
        let set = ("delivery.timeout.ms", "120000");
        let refused = seconds(&[set, ("request.timeout.ms", "120000"), ("linger.ms", "1s")]);
        let expected =
            "`delivery.timeout.ms` 120000 is below `linger.ms` + `request.timeout.ms` = 121000";
        assert_eq!(refused, Err(expected.to_owned()));
    }
}
