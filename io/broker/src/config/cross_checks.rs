//! What Kafka checks of a server's properties beyond each one's range, at its start and when they are
//! altered: values that a range with a hole would need, and pairs that must fit each other
//! (`KafkaConfig.validateValues`, `GroupCoordinatorConfig`, `LogConfig`).
//!
//! Of our own is that segments of `__consumer_offsets` have the least size of any topic's: Kafka takes less
//! and then cannot create the topic.

use super::group_properties::{BOUNDS, SESSIONS};
use super::topic_properties::SEGMENT_BYTES_MIN;
use super::{ConfigError, Settings, broker_synonyms, property};

/// For each of the cleaner's threads there must be more than this.
const DEDUPE_BYTES: i64 = 1 << 20;

/// Checks the values in force: at start, and as they would be after a change.
pub(super) fn check(settings: &Settings) -> Result<(), ConfigError> {
    for name in ["log.retention.ms", "log.retention.minutes", "log.retention.hours"] {
        refuse(
            settings,
            name,
            |kept| kept == 0,
            "it must be -1, which is for ever, or at least 1",
        )?;
    }
    refuse(settings, "log.roll.ms", |age| age < 1, "it must be at least 1")?;
    refuse(settings, "log.roll.jitter.ms", |jitter| jitter < 0, "it must be at least 0")?;
    let threads = number(settings, "log.cleaner.threads").unwrap_or(1).max(1);
    refuse(
        settings,
        "log.cleaner.dedupe.buffer.size",
        |bytes| bytes / threads <= DEDUPE_BYTES,
        "it must be more than 1048576 for each of log.cleaner.threads",
    )?;
    refuse(
        settings,
        "offsets.topic.segment.bytes",
        |bytes| bytes < SEGMENT_BYTES_MIN,
        "it must be at least 1048576: no topic may have smaller segments",
    )?;
    let (min, max) = ("log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms");
    not_above(settings, min, max)?;
    not_above(settings, "group.min.session.timeout.ms", "group.max.session.timeout.ms")?;
    for (name, min, max) in BOUNDS {
        let name = format!("group.{name}");
        if let Some(min) = min {
            not_above(settings, min, max)?;
            not_above(settings, min, &name)?;
        }
        not_above(settings, &name, max)?;
    }
    for (session, heartbeat) in SESSIONS {
        let (session, heartbeat) = (format!("group.{session}"), format!("group.{heartbeat}"));
        let interval = number(settings, &heartbeat);
        let reason =
            format!("it must be more than {heartbeat}, which is {}", interval.unwrap_or(0));
        refuse(settings, &session, |timeout| Some(timeout) <= interval, &reason)?;
    }
    Ok(())
}

/// Refuses `low` above `high`, naming the one that was set.
fn not_above(settings: &Settings, low: &str, high: &str) -> Result<(), ConfigError> {
    let (Some(least), Some(most)) = (number(settings, low), number(settings, high)) else {
        return Ok(());
    };
    if settings.explicit(low).is_some() {
        refuse(
            settings,
            low,
            |_| least > most,
            &format!("it must not be above {high}, which is {most}"),
        )
    } else {
        refuse(
            settings,
            high,
            |_| least > most,
            &format!("it must be at least {low}, which is {least}"),
        )
    }
}

/// Refuses a value in force for `reason` if it is `wrong`. Of names for one thing in several units only
/// the one that counts is looked at.
fn refuse(
    settings: &Settings,
    name: &str,
    wrong: impl FnOnce(i64) -> bool,
    reason: &str,
) -> Result<(), ConfigError> {
    let finer = broker_synonyms(name).iter().take_while(|finer| **finer != name);
    if finer.into_iter().any(|finer| settings.explicit(finer).is_some()) {
        return Ok(());
    }
    match number(settings, name) {
        Some(value) if wrong(value) => Err(ConfigError::Invalid {
            name: name.to_owned(),
            value: value.to_string(),
            reason: reason.to_owned(),
        }),
        _ => Ok(()),
    }
}

/// Returns the value in force of a property that is a number.
fn number(settings: &Settings, name: &str) -> Option<i64> {
    settings.value(property(name)?)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(file: &str) -> Option<String> {
        let mut settings = Settings::default();
        settings.set_all(file.as_bytes()).unwrap();
        check(&settings).err().map(|error| error.to_string())
    }

    #[test]
    fn what_kafka_refuses_at_its_start_is_refused() {
        for (file, expected) in [
            ("log.retention.ms=0", "`log.retention.ms` cannot be `0`: it must be -1"),
            ("log.retention.hours=0", "`log.retention.hours` cannot be `0`"),
            ("log.roll.ms=0", "`log.roll.ms` cannot be `0`"),
            ("log.roll.ms=-5", "`log.roll.ms` cannot be `-5`"),
            ("log.roll.jitter.ms=-1", "`log.roll.jitter.ms` cannot be `-1`"),
            ("log.cleaner.dedupe.buffer.size=1", "more than 1048576"),
            ("log.cleaner.dedupe.buffer.size=2097153\nlog.cleaner.threads=2", "more than 1048576"),
            (
                "log.cleaner.min.compaction.lag.ms=5\nlog.cleaner.max.compaction.lag.ms=4",
                "`log.cleaner.min.compaction.lag.ms` cannot be `5`: it must not be above \
                 log.cleaner.max.compaction.lag.ms, which is 4",
            ),
            (
                "group.max.session.timeout.ms=5000",
                "it must be at least group.min.session.timeout.ms, which is 6000",
            ),
            (
                "group.consumer.session.timeout.ms=70000",
                "it must not be above group.consumer.max.session.timeout.ms, which is 60000",
            ),
            (
                "group.consumer.heartbeat.interval.ms=1000",
                "it must be at least group.consumer.min.heartbeat.interval.ms, which is 5000",
            ),
            (
                "group.consumer.min.session.timeout.ms=5000\ngroup.consumer.session.timeout.ms=5000",
                "it must be more than group.consumer.heartbeat.interval.ms, which is 5000",
            ),
            ("offsets.topic.segment.bytes=200000", "it must be at least 1048576"),
        ] {
            let refused = refused(file).unwrap_or_default();
            assert!(refused.contains(expected), "{file:?}: {refused:?}");
        }
    }

    #[test]
    fn what_kafka_takes_is_taken() {
        for file in [
            "",
            "log.retention.ms=-1",
            "log.retention.ms=1\nlog.retention.hours=0",
            "log.roll.ms=1\nlog.roll.jitter.ms=0",
            "log.cleaner.dedupe.buffer.size=1048577",
            "log.cleaner.min.compaction.lag.ms=5\nlog.cleaner.max.compaction.lag.ms=5",
            "group.min.session.timeout.ms=1\ngroup.max.session.timeout.ms=1",
            "group.consumer.min.heartbeat.interval.ms=1000\ngroup.consumer.heartbeat.interval.ms=1000",
            "offsets.topic.segment.bytes=1048576",
            // As in Kafka, although no client can connect with it.
            "socket.request.max.bytes=1",
        ] {
            assert_eq!(refused(file), None, "{file:?}");
        }
    }
}
