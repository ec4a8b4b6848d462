//! What Kafka checks of a broker's properties when they are altered while it runs, beyond each one's
//! type and range: pools of threads change by half or double at a time, and some values depend on
//! others.
//!
//! Most of these properties change nothing here. A value that Kafka would refuse is refused all the
//! same: whoever tries a change here first would otherwise find out there.

use super::api_error::ApiError;
use crate::config::{self, Settings, split_list};
use kohort_protocol::ErrorCode;
use std::collections::BTreeMap;

/// Pools whose size may be at most doubled or halved by one change.
const POOLS: [&str; 10] = [
    "background.threads",
    "log.cleaner.threads",
    "num.io.threads",
    "num.network.threads",
    "num.recovery.threads.per.data.dir",
    "num.replica.fetchers",
    "remote.log.manager.copier.thread.pool.size",
    "remote.log.manager.expiration.thread.pool.size",
    "remote.log.manager.follower.thread.pool.size",
    "remote.log.reader.threads",
];
const CORDONED: &str = "cordoned.log.dirs";
/// Stands for all folders among those that are cordoned.
const EVERY_FOLDER: &str = "*";

/// Checks the properties altered for one broker or `for_all`, once they are `own`, against those in
/// force.
pub(super) fn check(
    own: &BTreeMap<String, String>,
    for_all: bool,
    settings: &Settings,
) -> Result<(), ApiError> {
    let mut next = settings.clone();
    next.replace_dynamic(for_all, own.clone());
    for name in POOLS {
        check_pool(name, number(settings, name), number(&next, name))?;
    }
    // What the file says is not judged by a change of something else.
    let wrong =
        |settings: &Settings| settings.check_together().err().map(|error| error.to_string());
    if let Some(reason) = wrong(&next).filter(|reason| wrong(settings).as_ref() != Some(reason)) {
        return Err(refused(reason));
    }
    let changes = |name| value(settings, name) != value(&next, name);
    if changes(CORDONED) {
        let typed = next.typed();
        let folders = typed.log_dirs.as_ref().unwrap_or(&typed.log_dir);
        let cordoned = value(&next, CORDONED).unwrap_or_default();
        let known = |folder: &&str| folders.iter().any(|known| known == folder);
        let foreign = split_list(cordoned).find(|folder| *folder != EVERY_FOLDER && !known(folder));
        if let Some(folder) = foreign {
            return Err(refused(format!("{CORDONED} names `{folder}`, which is not in log.dirs")));
        }
    }
    Ok(())
}

fn check_pool(name: &str, now: i64, next: i64) -> Result<(), ApiError> {
    if next == now {
        return Ok(());
    }
    let bound = if next < 1 {
        "it must be at least 1".to_owned()
    } else if next < now / 2 {
        format!("it must be at least half of what it is, {now}")
    } else if next > now * 2 {
        format!("it must be at most double of what it is, {now}")
    } else {
        return Ok(());
    };
    Err(refused(format!("{name} cannot become {next}: {bound}")))
}

fn value<'a>(settings: &'a Settings, name: &str) -> Option<&'a str> {
    config::property(name).and_then(|property| settings.value(property))
}

fn number(settings: &Settings, name: &str) -> i64 {
    value(settings, name).and_then(|text| text.parse().ok()).unwrap_or_default()
}

/// What is wrong with a broker's property is an invalid request, as in Kafka (KAFKA-13609).
fn refused(message: String) -> ApiError {
    ApiError::new(ErrorCode::INVALID_REQUEST, message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(settings: &Settings, changes: &[(&str, &str)]) -> Result<(), ErrorCode> {
        let own = changes.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned()));
        check(&own.collect(), false, settings).map_err(|error| error.code)
    }

    const REFUSED: Result<(), ErrorCode> = Err(ErrorCode::INVALID_REQUEST);

    #[test]
    fn every_pool_is_a_property_that_can_be_altered() {
        for name in POOLS {
            assert!(config::property(name).unwrap().effect.is_dynamic(), "{name}");
        }
    }

    #[test]
    fn pools_are_at_most_halved_or_doubled_by_one_change() {
        let mut settings = Settings::default();
        settings.set("num.io.threads", "9").unwrap();
        for (threads, expected) in
            [("3", REFUSED), ("4", Ok(())), ("9", Ok(())), ("18", Ok(())), ("19", REFUSED)]
        {
            assert_eq!(after(&settings, &[("num.io.threads", threads)]), expected, "{threads}");
        }
        let copiers = "remote.log.manager.copier.thread.pool.size";
        assert_eq!(after(&settings, &[(copiers, "3")]), REFUSED);
        // Once it is 18 it may be 36; and taking that back would be more than half.
        let altered = |threads: &str| BTreeMap::from([("num.io.threads".into(), threads.into())]);
        settings.replace_dynamic(false, altered("18"));
        assert_eq!(after(&settings, &[("num.io.threads", "36")]), Ok(()));
        settings.replace_dynamic(false, altered("36"));
        assert_eq!(after(&settings, &[]), REFUSED);
    }

    #[test]
    fn values_that_must_fit_each_other_are_judged_as_at_start() {
        let (buffer, threads) = ("log.cleaner.dedupe.buffer.size", "log.cleaner.threads");
        let (min, max) = ("log.cleaner.min.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms");
        let settings = Settings::default();
        assert_eq!(after(&settings, &[(buffer, "1048576")]), REFUSED);
        assert_eq!(after(&settings, &[(buffer, "1048577")]), Ok(()));
        assert_eq!(after(&settings, &[(buffer, "2097153"), (threads, "2")]), REFUSED);
        assert_eq!(after(&settings, &[("log.retention.ms", "0")]), REFUSED);
        assert_eq!(after(&settings, &[(min, "5"), (max, "4")]), REFUSED);
        assert_eq!(after(&settings, &[(min, "5"), (max, "5")]), Ok(()));
        // What the file says is not judged by a change of something else.
        let mut settings = Settings::default();
        settings.set(buffer, "100").unwrap();
        assert_eq!(after(&settings, &[("num.io.threads", "9")]), Ok(()));
        assert_eq!(after(&settings, &[(buffer, "99")]), REFUSED);
    }

    #[test]
    fn only_the_brokers_own_folders_can_be_cordoned() {
        let mut settings = Settings::default();
        settings.set("log.dirs", "/a").unwrap();
        for (folders, expected) in [("/a", Ok(())), ("*", Ok(())), ("", Ok(())), ("/a,x", REFUSED)]
        {
            assert_eq!(after(&settings, &[(CORDONED, folders)]), expected, "{folders}");
        }
    }
}
