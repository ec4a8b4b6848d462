//! Properties of groups and of subscriptions to client metrics, as Kafka 4.3 has them.
//!
//! A group's value is its own if it has one, else the broker's. Its own must lie within the broker's
//! bounds (`group.consumer.min.session.timeout.ms` and the like) when it is set. The bounds can be
//! others after a restart: then the nearest value within them is in force, and the one that was set
//! is described.
//!
//! What concerns share and streams groups is checked and kept, and changes nothing: there are none
//! here. Client metrics can be described only.

use super::{Kind, Settings, property as broker_property};
use kohort_coordinator::GroupProperties;
use std::collections::BTreeMap;

/// One property.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GroupProperty {
    pub(crate) name: &'static str,
    pub(crate) kind: Kind,
    pub(crate) default: &'static str,
    /// The broker's property that gives the default, if one does.
    pub(crate) broker: Option<&'static str>,
    pub(crate) doc: &'static str,
}

const INT: i64 = i32::MAX as i64;

const fn property(
    name: &'static str,
    kind: Kind,
    default: &'static str,
    broker: Option<&'static str>,
    doc: &'static str,
) -> GroupProperty {
    GroupProperty { name, kind, default, broker, doc }
}

/// A group's properties.
#[rustfmt::skip]
pub(crate) const GROUP_PROPERTIES: &[GroupProperty] = &[
    property("consumer.assignment.interval.ms", Kind::Int(0, INT), "1000", Some("group.consumer.assignment.interval.ms"), "How long at least lies between two assignments of a consumer group."),
    property("consumer.heartbeat.interval.ms", Kind::Int(1, INT), "5000", Some("group.consumer.heartbeat.interval.ms"), "How often a consumer group's members are to say that they live."),
    property("consumer.session.timeout.ms", Kind::Int(1, INT), "45000", Some("group.consumer.session.timeout.ms"), "After which silence a consumer group's member is put out."),
    property("share.assignment.interval.ms", Kind::Int(0, INT), "1000", Some("group.share.assignment.interval.ms"), "How long at least lies between two assignments of a share group."),
    property("share.auto.offset.reset", Kind::Text, "latest", None, "Where a share group begins that has no offset."),
    property("share.delivery.count.limit", Kind::Int(2, INT), "5", Some("group.share.delivery.count.limit"), "How often a share group is given a record at most."),
    property("share.heartbeat.interval.ms", Kind::Int(1, INT), "5000", Some("group.share.heartbeat.interval.ms"), "How often a share group's members are to say that they live."),
    property("share.isolation.level", Kind::OneOf(&["read_committed", "read_uncommitted"]), "read_uncommitted", None, "Whether a share group sees records of transactions that are not committed."),
    property("share.partition.max.record.locks", Kind::Int(100, INT), "2000", Some("group.share.partition.max.record.locks"), "How many records of a partition a share group holds at once."),
    property("share.record.lock.duration.ms", Kind::Int(1000, INT), "30000", Some("group.share.record.lock.duration.ms"), "How long a share group's member holds a record."),
    property("share.renew.acknowledge.enable", Kind::Bool, "true", None, "Whether a share group's member may hold a record for longer."),
    property("share.session.timeout.ms", Kind::Int(1, INT), "45000", Some("group.share.session.timeout.ms"), "After which silence a share group's member is put out."),
    property("streams.assignment.interval.ms", Kind::Int(0, INT), "1000", Some("group.streams.assignment.interval.ms"), "How long at least lies between two assignments of a streams group."),
    property("streams.heartbeat.interval.ms", Kind::Int(1, INT), "5000", Some("group.streams.heartbeat.interval.ms"), "How often a streams group's members are to say that they live."),
    property("streams.initial.rebalance.delay.ms", Kind::Int(0, INT), "3000", Some("group.streams.initial.rebalance.delay.ms"), "How long an empty streams group waits for more members."),
    property("streams.num.standby.replicas", Kind::Int(0, INT), "0", Some("group.streams.num.standby.replicas"), "How many idle copies of its state a streams group keeps."),
    property("streams.session.timeout.ms", Kind::Int(1, INT), "45000", Some("group.streams.session.timeout.ms"), "After which silence a streams group's member is put out."),
];

/// The properties of a subscription to client metrics.
pub(crate) const CLIENT_METRICS: &[GroupProperty] = &[
    property("interval.ms", Kind::Int(100, 3_600_000), "300000", None, "How often clients push."),
    property("match", Kind::List(&[]), "", None, "Which clients the subscription is for."),
    property("metrics", Kind::List(&[]), "", None, "Which metrics are pushed."),
];

/// Properties with bounds of the broker's, in the order in which they are checked, with what gives the
/// least and the most.
#[rustfmt::skip]
pub(super) const BOUNDS: &[(&str, Option<&str>, &str)] = &[
    ("consumer.heartbeat.interval.ms", Some("group.consumer.min.heartbeat.interval.ms"), "group.consumer.max.heartbeat.interval.ms"),
    ("consumer.session.timeout.ms", Some("group.consumer.min.session.timeout.ms"), "group.consumer.max.session.timeout.ms"),
    ("consumer.assignment.interval.ms", Some("group.consumer.min.assignment.interval.ms"), "group.consumer.max.assignment.interval.ms"),
    ("share.heartbeat.interval.ms", Some("group.share.min.heartbeat.interval.ms"), "group.share.max.heartbeat.interval.ms"),
    ("share.session.timeout.ms", Some("group.share.min.session.timeout.ms"), "group.share.max.session.timeout.ms"),
    ("share.record.lock.duration.ms", Some("group.share.min.record.lock.duration.ms"), "group.share.max.record.lock.duration.ms"),
    ("share.delivery.count.limit", Some("group.share.min.delivery.count.limit"), "group.share.max.delivery.count.limit"),
    ("share.partition.max.record.locks", Some("group.share.min.partition.max.record.locks"), "group.share.max.partition.max.record.locks"),
    ("share.assignment.interval.ms", Some("group.share.min.assignment.interval.ms"), "group.share.max.assignment.interval.ms"),
    ("streams.heartbeat.interval.ms", Some("group.streams.min.heartbeat.interval.ms"), "group.streams.max.heartbeat.interval.ms"),
    ("streams.session.timeout.ms", Some("group.streams.min.session.timeout.ms"), "group.streams.max.session.timeout.ms"),
    ("streams.num.standby.replicas", None, "group.streams.max.standby.replicas"),
    ("streams.assignment.interval.ms", Some("group.streams.min.assignment.interval.ms"), "group.streams.max.assignment.interval.ms"),
];

/// In each pair the first must exceed the second.
pub(super) const SESSIONS: &[(&str, &str)] = &[
    ("consumer.session.timeout.ms", "consumer.heartbeat.interval.ms"),
    ("share.session.timeout.ms", "share.heartbeat.interval.ms"),
    ("streams.session.timeout.ms", "streams.heartbeat.interval.ms"),
];

impl GroupProperty {
    /// Returns the property of a group of that name.
    pub(crate) fn named(name: &str) -> Option<&'static Self> {
        GROUP_PROPERTIES.iter().find(|property| property.name == name)
    }

    /// Returns the value in force for groups that have none of their own.
    pub(crate) fn default(&self, settings: &Settings) -> String {
        let of_broker = self.broker.and_then(broker_property);
        let value = of_broker.and_then(|property| settings.value(property));
        value.unwrap_or(self.default).to_owned()
    }
}

/// Checks a property of a group and returns its value as it will be kept, or says what is wrong.
pub(crate) fn check_group_property(name: &str, value: &str) -> Result<String, String> {
    let property =
        GroupProperty::named(name).ok_or_else(|| format!("groups have no property `{name}`"))?;
    let invalid = |reason: String| format!("{name} cannot be `{value}`: {reason}");
    let value = property.kind.check(value).map_err(invalid)?;
    if name == "share.auto.offset.reset" && !is_reset_strategy(&value) {
        return Err(invalid(
            "it must be earliest, latest, or by_duration: and a period such as P1DT2H3M4S"
                .to_owned(),
        ));
    }
    Ok(value)
}

fn is_reset_strategy(value: &str) -> bool {
    let value = value.to_ascii_lowercase();
    match value.strip_prefix("by_duration:") {
        None => matches!(value.as_str(), "earliest" | "latest"),
        Some(duration) => is_duration(duration),
    }
}

/// Says whether this is a period of days, hours, minutes and seconds such as `p1dt2h3m4.5s`.
fn is_duration(text: &str) -> bool {
    let Some(text) = text.strip_prefix('p') else { return false };
    let (days, time) = match text.split_once('t') {
        Some((days, time)) if !time.is_empty() => (days, time),
        Some(_) => return false,
        None => (text, ""),
    };
    let parts = |text: &str, units: &str| {
        let mut units = units.chars();
        let mut number = String::new();
        for letter in text.chars() {
            if letter.is_ascii_digit() || (letter == '.' && !number.is_empty()) {
                number.push(letter);
                continue;
            }
            let whole = letter != 's';
            let is_number =
                if whole { number.parse::<u64>().is_ok() } else { number.parse::<f64>().is_ok() };
            if !is_number || !units.any(|unit| unit == letter) {
                return false;
            }
            number.clear();
        }
        number.is_empty()
    };
    !(days.is_empty() && time.is_empty()) && parts(days, "d") && parts(time, "hms")
}

/// Checks a group's own properties against the broker's bounds and each other.
pub(crate) fn check_group_values(
    own: &BTreeMap<String, String>,
    settings: &Settings,
) -> Result<(), String> {
    for (name, least, most) in BOUNDS {
        // What the group does not say is the broker's, and that is compared, too; but not how often
        // assignments are made, as Kafka has it.
        if !own.contains_key(*name) && name.ends_with(".assignment.interval.ms") {
            continue;
        }
        let value = in_force(name, own, settings);
        if let Some(least) = least
            && value < bound(least, settings)
        {
            return Err(format!("{name} must be at least {least}"));
        }
        if value > bound(most, settings) {
            return Err(format!("{name} must be at most {most}"));
        }
    }
    for (session, heartbeat) in SESSIONS {
        if in_force(session, own, settings) <= in_force(heartbeat, own, settings) {
            return Err(format!("{session} must exceed {heartbeat}"));
        }
    }
    Ok(())
}

/// Returns what a group's own properties mean to the coordinator, within the broker's bounds.
pub(crate) fn group_properties(
    own: &BTreeMap<String, String>,
    settings: &Settings,
) -> GroupProperties {
    let value = |name: &str| {
        let value: i64 = own.get(name)?.parse().ok()?;
        let (_, least, most) = BOUNDS.iter().find(|(bounded, _, _)| *bounded == name)?;
        let least = least.map_or(0, |least| bound(least, settings));
        Some(value.min(bound(most, settings)).max(least) as i32)
    };
    GroupProperties {
        consumer_session_timeout_ms: value("consumer.session.timeout.ms"),
        consumer_heartbeat_interval_ms: value("consumer.heartbeat.interval.ms"),
        consumer_assignment_interval_ms: value("consumer.assignment.interval.ms"),
    }
}

fn in_force(name: &str, own: &BTreeMap<String, String>, settings: &Settings) -> i64 {
    let value = own
        .get(name)
        .cloned()
        .or_else(|| GroupProperty::named(name).map(|property| property.default(settings)));
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}

fn bound(name: &str, settings: &Settings) -> i64 {
    let value = broker_property(name).and_then(|property| settings.value(property));
    value.and_then(|value| value.parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn own(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
    }

    #[test]
    fn every_bound_and_every_default_is_a_property_of_the_broker() {
        for (name, least, most) in BOUNDS {
            assert!(GroupProperty::named(name).is_some(), "{name}");
            assert!(least.is_none_or(|least| broker_property(least).is_some()), "{name}");
            assert!(broker_property(most).is_some(), "{name}");
        }
        for property in GROUP_PROPERTIES {
            assert!(property.broker.is_none_or(|name| broker_property(name).is_some()));
            let kept = check_group_property(property.name, property.default);
            assert_eq!(kept.as_deref(), Ok(property.default));
        }
        assert_eq!(check_group_values(&BTreeMap::new(), &Settings::default()), Ok(()));
    }

    #[test]
    fn a_value_beyond_the_broker_s_bounds_is_refused() {
        let mut settings = Settings::default();
        settings.set("group.consumer.min.heartbeat.interval.ms", "1000").unwrap();
        let check = |name: &str, value: &str| check_group_values(&own(&[(name, value)]), &settings);
        assert_eq!(check("consumer.heartbeat.interval.ms", "1000"), Ok(()));
        assert_eq!(
            check("consumer.heartbeat.interval.ms", "999").unwrap_err(),
            "consumer.heartbeat.interval.ms must be at least group.consumer.min.heartbeat.interval.ms"
        );
        assert_eq!(
            check("consumer.session.timeout.ms", "60001").unwrap_err(),
            "consumer.session.timeout.ms must be at most group.consumer.max.session.timeout.ms"
        );
        assert_eq!(check("consumer.assignment.interval.ms", "15000"), Ok(()));
        assert!(check("streams.num.standby.replicas", "3").is_err());
    }

    #[test]
    fn a_session_must_outlast_a_heartbeat() {
        let mut settings = Settings::default();
        settings.set("group.consumer.min.session.timeout.ms", "1").unwrap();
        let own = own(&[("consumer.session.timeout.ms", "5000")]);
        assert_eq!(
            check_group_values(&own, &settings).unwrap_err(),
            "consumer.session.timeout.ms must exceed consumer.heartbeat.interval.ms"
        );
    }

    #[test]
    fn what_was_set_under_other_bounds_is_brought_within_them() {
        let own = own(&[
            ("consumer.session.timeout.ms", "7"),
            ("consumer.heartbeat.interval.ms", "9000"),
        ]);
        let properties = group_properties(&own, &Settings::default());
        assert_eq!(properties.consumer_session_timeout_ms, Some(45_000));
        assert_eq!(properties.consumer_heartbeat_interval_ms, Some(9000));
        assert_eq!(properties.consumer_assignment_interval_ms, None);
    }

    #[test]
    fn where_a_share_group_begins_is_a_word_or_a_period() {
        for good in
            ["earliest", "latest", "by_duration:P1D", "by_duration:PT1H30M", "BY_DURATION:pt0.5s"]
        {
            assert!(check_group_property("share.auto.offset.reset", good).is_ok(), "{good}");
        }
        for bad in [
            "none",
            "",
            "by_duration:",
            "by_duration:P",
            "by_duration:PT",
            "by_duration:-PT1H",
            "by_duration:PT1X",
            "by_duration:PT1",
            "by_duration:PT1S2H",
        ] {
            assert!(check_group_property("share.auto.offset.reset", bad).is_err(), "{bad}");
        }
    }
}
