//! How often members are to heartbeat, and how often a target assignment is made, when no property says
//! so: two pure rules (`docs/decisions/0017`).
//!
//! A member hears of a change at its next heartbeat, so the interval is what a hand-over costs. Kafka's
//! is five seconds for everybody, because that is what a thousand groups can afford. Here each answer
//! names the shortest interval that keeps all members of the broker together within a budget:
//!
//! | | heartbeats a second, all members together | shortest | longest |
//! |---|---|---|---|
//! | a member that waits, or is waited for, or with one whose connection closed | 8 000 | 100 ms | 5 s |
//! | everybody else | 2 000 | 300 ms | 5 s |
//!
//! So up to six hundred members of a broker heartbeat three times a second, a thousand twice, and from ten thousand
//! on as in Kafka.
//!
//! An assignment costs time in proportion to members and partitions, and asks every member that it moves
//! anything of for two more heartbeats. Changes that come close together should share one. Kafka waits a
//! second between two; here it is what keeps assignments below about a twentieth of a core, which for a
//! small group is no wait at all.

use crate::config::GroupConfig;
use crate::metadata::GroupProperties;

/// Returns the interval that a member is told; `members` counts all members of the broker.
pub(super) fn heartbeat_interval_ms(
    config: &GroupConfig,
    own: &GroupProperties,
    members: usize,
    urgent: bool,
) -> i32 {
    let fixed = own.consumer_heartbeat_interval_ms.or(config.consumer_heartbeat_interval_ms);
    if let Some(fixed) = fixed {
        return fixed;
    }
    let (budget, shortest) = if urgent { URGENT } else { USUAL };
    let members = i64::try_from(members).unwrap_or(i64::MAX);
    let interval = members.saturating_mul(1000) / budget;
    interval.clamp(shortest, LONGEST_MS) as i32
}

/// Returns how long lies at least between two target assignments of a group.
pub(super) fn assignment_interval_ms(
    config: &GroupConfig,
    own: &GroupProperties,
    members: usize,
    partitions: usize,
) -> i64 {
    let fixed = own.consumer_assignment_interval_ms.or(config.consumer_assignment_interval_ms);
    if let Some(fixed) = fixed {
        return fixed.into();
    }
    let size = i64::try_from(members.saturating_add(partitions)).unwrap_or(i64::MAX);
    (size / SIZE_PER_MS).min(LONGEST_ASSIGNMENT_INTERVAL_MS)
}

/// Heartbeats a second and the shortest interval for members that something depends on: those on the
/// way to their target. At 15 µs each it is an eighth of a core, for the second or two that it takes.
const URGENT: (i64, i64) = (8_000, 100);
/// The same for all others: three hundredths of a core.
const USUAL: (i64, i64) = (2_000, 300);
/// The longest interval, and Kafka's default.
const LONGEST_MS: i64 = 5_000;

/// How many members and partitions together make one millisecond of waiting. Dividing them takes some
/// two microseconds each, and writing the outcome as much again.
const SIZE_PER_MS: i64 = 20;
/// The longest wait between assignments, and Kafka's default.
const LONGEST_ASSIGNMENT_INTERVAL_MS: i64 = 1_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_interval_grows_with_the_members_of_the_broker() {
        let interval = |members, urgent| {
            let (config, own) = (GroupConfig::default(), GroupProperties::default());
            heartbeat_interval_ms(&config, &own, members, urgent)
        };
        let usual = [1, 3, 1_000, 2_000, 10_000, 1_000_000].map(|members| interval(members, false));
        assert_eq!(usual, [300, 300, 500, 1_000, 5_000, 5_000]);
        let urgent = [1, 3, 1_000, 10_000, 1_000_000].map(|members| interval(members, true));
        assert_eq!(urgent, [100, 100, 125, 1_250, 5_000]);
    }

    #[test]
    fn what_an_operator_sets_is_what_members_are_told() {
        let mut config =
            GroupConfig { consumer_heartbeat_interval_ms: Some(7_000), ..Default::default() };
        let mut own = GroupProperties::default();
        assert_eq!(heartbeat_interval_ms(&config, &own, 3, true), 7_000);
        own.consumer_heartbeat_interval_ms = Some(6_000);
        assert_eq!(heartbeat_interval_ms(&config, &own, 3, true), 6_000);
        config.consumer_assignment_interval_ms = Some(0);
        assert_eq!(assignment_interval_ms(&config, &own, 1_000, 10_000), 0);
    }

    #[test]
    fn a_small_group_is_assigned_at_once_and_a_large_one_now_and_then() {
        let interval = |members, partitions| {
            let (config, own) = (GroupConfig::default(), GroupProperties::default());
            assignment_interval_ms(&config, &own, members, partitions)
        };
        assert_eq!(interval(3, 12), 0);
        assert_eq!(interval(1_000, 1_000), 100);
        assert_eq!(interval(1_000, 10_000), 550);
        assert_eq!(interval(1_000, 1_000_000), 1_000);
    }
}
