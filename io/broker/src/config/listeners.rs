//! Which listeners are served, and what clients are told of them.
//!
//! The rules, of `listeners`, `advertised.listeners`, `listener.security.protocol.map` and
//! `controller.listener.names`:
//!
//! * A controller's listener is passed over: there is no quorum to talk to.
//! * Every other listener must speak PLAINTEXT, by its name or by the map; all of them are served.
//!   One that speaks TLS or SASL is refused, rather than left out: somebody counts on it.
//! * A client is told the address advertised for the listener it came by, else that listener's own.

use super::{BrokerConfig, ConfigError};
use std::net::IpAddr;

/// A listener to be served.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ListenerConfig {
    /// Its name, in capitals.
    pub(crate) name: String,
    /// The host to listen on; empty is every address.
    pub(crate) host: String,
    pub(crate) port: u16,
    /// What clients are told instead of the address.
    pub(crate) advertised: Option<(String, u16)>,
}

/// What is to become of the configured listeners.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Listeners {
    pub(crate) served: Vec<ListenerConfig>,
    /// The names of those that are a controller's.
    pub(crate) passed_over: Vec<String>,
}

const LISTENERS: &str = "listeners";
const ADVERTISED: &str = "advertised.listeners";
const MAP: &str = "listener.security.protocol.map";

impl Listeners {
    /// Applies the rules.
    pub(crate) fn new(config: &BrokerConfig) -> Result<Self, ConfigError> {
        let is_controllers = |name: &str| {
            config.controller_listener_names.iter().any(|own| own.eq_ignore_ascii_case(name))
        };
        let mut served: Vec<ListenerConfig> = Vec::new();
        let mut passed_over = Vec::new();
        for text in &config.listeners {
            let (name, host, port) = split(LISTENERS, text)?;
            if is_controllers(&name) {
                passed_over.push(name);
                continue;
            }
            check_protocol(&name, text, &config.listener_security_protocol_map)?;
            let listener = ListenerConfig { name, host, port, advertised: None };
            if let Some(other) = served.iter().find(|other| clash(other, &listener)) {
                let reason = format!(
                    "it has the name or the port of {}://{}:{}",
                    other.name, other.host, other.port
                );
                return Err(invalid(LISTENERS, text, reason));
            }
            served.push(listener);
        }
        if served.is_empty() {
            let reason = "no listener is left to serve clients on";
            return Err(invalid(LISTENERS, &config.listeners.join(","), reason));
        }
        for text in &config.advertised_listeners {
            let (name, host, port) = split(ADVERTISED, text)?;
            if is_controllers(&name) {
                continue;
            }
            if host.is_empty() || host.parse().is_ok_and(|ip: IpAddr| ip.is_unspecified()) {
                let reason = "clients cannot connect to it: a host or address of its own is needed";
                return Err(invalid(ADVERTISED, text, reason));
            }
            if port == 0 {
                let reason = "clients cannot connect to port 0: the one they are to use is needed";
                return Err(invalid(ADVERTISED, text, reason));
            }
            let mut named = served.iter_mut().filter(|listener| listener.name == name).peekable();
            if named.peek().is_none() {
                return Err(invalid(ADVERTISED, text, "listeners has none of that name"));
            }
            named.for_each(|listener| listener.advertised = Some((host.clone(), port)));
        }
        Ok(Self { served, passed_over })
    }
}

/// Splits `NAME://HOST:PORT`.
fn split(property: &str, text: &str) -> Result<(String, String, u16), ConfigError> {
    let refused = || invalid(property, text, "expected NAME://HOST:PORT");
    let (name, address) = text.split_once("://").ok_or_else(refused)?;
    let (host, port) = address
        .rsplit_once(':')
        .ok_or_else(|| invalid(property, text, "the port is missing: expected NAME://HOST:PORT"))?;
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if name.is_empty() {
        return Err(refused());
    }
    if host.contains(char::is_whitespace) {
        return Err(invalid(property, text, "no host has a space in its name"));
    }
    let port = port.parse().map_err(|_| invalid(property, text, "the port is not 0 to 65535"))?;
    Ok((name.to_ascii_uppercase(), host.to_owned(), port))
}

fn check_protocol(name: &str, text: &str, map: &str) -> Result<(), ConfigError> {
    let mut pairs = super::value::split_list(map).filter_map(|pair| pair.split_once(':'));
    let protocol = pairs.find(|(listener, _)| listener.trim().eq_ignore_ascii_case(name));
    match protocol.map(|(_, protocol)| protocol.trim().to_ascii_uppercase()).as_deref() {
        Some("PLAINTEXT") => Ok(()),
        Some(protocol @ ("SSL" | "SASL_PLAINTEXT" | "SASL_SSL")) => {
            let reason = format!("it speaks {protocol}; this broker serves PLAINTEXT alone");
            Err(invalid(LISTENERS, text, reason))
        }
        Some(other) => {
            Err(invalid(MAP, map, format!("{other}, which {name} has, is not a security protocol")))
        }
        None => {
            let reason = format!("{MAP} has no security protocol for it; add {name}:PLAINTEXT");
            Err(invalid(LISTENERS, text, reason))
        }
    }
}

/// Returns whether two listeners cannot be together. One name and port may stand for an IPv4 and an
/// IPv6 address.
fn clash(a: &ListenerConfig, b: &ListenerConfig) -> bool {
    let same_port = a.port == b.port && a.port != 0;
    if same_port && let (Ok(a), Ok(b)) = (a.host.parse::<IpAddr>(), b.host.parse::<IpAddr>()) {
        return a.is_ipv4() == b.is_ipv4();
    }
    same_port || a.name == b.name
}

fn invalid(name: &str, value: &str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Invalid { name: name.to_owned(), value: value.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Settings;

    fn listeners(properties: &[(&str, &str)]) -> Result<Listeners, String> {
        let mut settings = Settings::default();
        for (name, value) in properties {
            settings.set(name, value).unwrap();
        }
        Listeners::new(&settings.typed()).map_err(|error| error.to_string())
    }

    fn listener(name: &str, host: &str, port: u16) -> ListenerConfig {
        ListenerConfig { name: name.to_owned(), host: host.to_owned(), port, advertised: None }
    }

    #[test]
    fn every_plaintext_listener_is_served_and_a_controllers_is_passed_over() {
        let found = listeners(&[
            ("listeners", "PLAINTEXT://:9092,controller://:9093,INTERNAL://[::1]:9094"),
            ("controller.listener.names", "CONTROLLER"),
            ("listener.security.protocol.map", "PLAINTEXT:PLAINTEXT, internal:plaintext"),
            ("advertised.listeners", "INTERNAL://inside:19094,CONTROLLER://localhost:9093"),
        ]);
        let advertised = Some(("inside".to_owned(), 19_094));
        let internal = ListenerConfig { advertised, ..listener("INTERNAL", "::1", 9094) };
        let served = vec![listener("PLAINTEXT", "", 9092), internal];
        assert_eq!(found, Ok(Listeners { served, passed_over: vec!["CONTROLLER".to_owned()] }));
    }

    #[test]
    fn one_name_may_stand_for_both_kinds_of_address() {
        let both = "PLAINTEXT://127.0.0.1:9092,PLAINTEXT://[::1]:9092";
        assert_eq!(listeners(&[("listeners", both)]).unwrap().served.len(), 2);
    }

    #[test]
    fn what_cannot_be_served_is_refused() {
        let check = |properties: &[(&str, &str)], expected: &str| {
            let refusal = listeners(properties).unwrap_err();
            assert!(refusal.contains(expected), "{refusal}");
        };
        check(&[("listeners", "SASL_SSL://:9094")], "it speaks SASL_SSL");
        check(&[("listeners", "PLAINTEXT://:9092,SSL://:9093")], "`SSL://:9093`: it speaks SSL");
        check(&[("listeners", "INSIDE://:9092")], "add INSIDE:PLAINTEXT");
        check(&[("listeners", "localhost:9092")], "NAME://HOST:PORT");
        check(&[("listeners", "PLAINTEXT://a:99999")], "the port");
        check(&[("listeners", "PLAINTEXT://a:1,PLAINTEXT://b:2")], "name or the port");
        check(&[("listeners", "C://:1"), ("controller.listener.names", "C")], "no listener");
        check(&[("advertised.listeners", "PLAINTEXT://0.0.0.0:9092")], "cannot connect");
        check(&[("advertised.listeners", "OTHER://a:9092")], "none of that name");
        check(&[("advertised.listeners", "PLAINTEXT://a:0")], "port 0");
        check(&[("advertised.listeners", "PLAINTEXT://a b:9092")], "a space");
        check(&[("listeners", "PLAINTEXT://a b:9092")], "a space");
        check(&[("listeners", "PLAINTEXT://127.0.0.1")], "the port is missing");
    }
}
