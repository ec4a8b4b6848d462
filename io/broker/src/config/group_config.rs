//! What the settings in force mean to a group coordinator.

use super::{BrokerConfig, LiveConfig, Settings};
use kohort_coordinator::{GroupConfig, MigrationPolicy};
use std::sync::Arc;

/// Returns what the settings in force mean to a shard.
pub(crate) fn group_config(config: &LiveConfig) -> GroupConfig {
    let (settings, typed) = (config.settings(), config.typed());
    // What is not set follows from rules of the coordinator's own.
    let explicit = |name, value| settings.explicit(name).map(|_| value);
    let policy = MigrationPolicy::by_name(&typed.group_consumer_migration_policy);
    GroupConfig {
        group_min_session_timeout_ms: typed.group_min_session_timeout_ms,
        group_max_session_timeout_ms: typed.group_max_session_timeout_ms,
        group_initial_rebalance_delay_ms: typed.group_initial_rebalance_delay_ms,
        group_initial_rebalance_quiet_ms: initial_quiet_ms(&settings, &typed),
        group_max_size: typed.group_max_size as usize,
        group_disconnect_grace_ms: typed.group_disconnect_grace_ms,
        group_disconnect_grace_static: typed.group_disconnect_grace_static,
        offset_metadata_max_bytes: typed.offset_metadata_max_bytes as usize,
        offsets_retention_ms: i64::from(typed.offsets_retention_minutes) * 60_000,
        offsets_retention_check_interval_ms: typed.offsets_retention_check_interval_ms,
        consumer_session_timeout_ms: typed.group_consumer_session_timeout_ms,
        consumer_heartbeat_interval_ms: explicit(
            "group.consumer.heartbeat.interval.ms",
            typed.group_consumer_heartbeat_interval_ms,
        ),
        consumer_assignment_interval_ms: explicit(
            "group.consumer.assignment.interval.ms",
            typed.group_consumer_assignment_interval_ms,
        ),
        consumer_max_size: typed.group_consumer_max_size as usize,
        consumer_assignors: typed
            .group_consumer_assignors
            .iter()
            .map(|name| Arc::from(name.as_str()))
            .collect(),
        consumer_migration_policy: policy.unwrap_or_default(),
    }
}

/// Returns after how long without a new member an empty group begins. Who set how long it waits means
/// that, unless both are set.
fn initial_quiet_ms(settings: &Settings, typed: &BrokerConfig) -> i32 {
    let set = |name| settings.explicit(name).is_some();
    if set("group.initial.rebalance.delay.ms") && !set("group.initial.rebalance.quiet.ms") {
        return NEVER;
    }
    typed.group_initial_rebalance_quiet_ms
}

/// No quiet ends the wait.
const NEVER: i32 = -1;
