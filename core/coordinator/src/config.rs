//! What an operator can set, under Kafka's names and with Kafka's defaults.

use std::sync::Arc;

/// The group coordinator's settings. Times are milliseconds, as they are on the wire and in
/// [`Timestamp`](crate::Timestamp)s.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupConfig {
    /// `group.min.session.timeout.ms`: the shortest session a classic member may ask for.
    pub group_min_session_timeout_ms: i32,
    /// `group.max.session.timeout.ms`: the longest session a classic member may ask for.
    pub group_max_session_timeout_ms: i32,
    /// `group.initial.rebalance.delay.ms`: how long an empty group waits for more members before
    /// its first assignment.
    pub group_initial_rebalance_delay_ms: i32,
    /// `group.initial.rebalance.quiet.ms`: after how long without a new member that wait ends early;
    /// negative: never.
    pub group_initial_rebalance_quiet_ms: i32,
    /// `group.max.size`: how many members a classic group may have.
    pub group_max_size: usize,
    /// `group.disconnect.grace.ms`: how long a member may be missing after its connection closed
    /// without a leave; negative: as long as its session.
    pub group_disconnect_grace_ms: i32,
    /// `group.disconnect.grace.static`: whether that goes for static members, too.
    pub group_disconnect_grace_static: bool,
    /// `offset.metadata.max.bytes`: the longest text a client may store with a committed offset.
    pub offset_metadata_max_bytes: usize,
    /// `offsets.retention.minutes`, in milliseconds: how long committed offsets outlive their use.
    pub offsets_retention_ms: i64,
    /// `offsets.retention.check.interval.ms`: how often to look for expired offsets.
    pub offsets_retention_check_interval_ms: i64,
    /// `group.consumer.session.timeout.ms`: how long a member of a consumer group may be silent.
    pub consumer_session_timeout_ms: i32,
    /// `group.consumer.heartbeat.interval.ms`: how often such members are told to heartbeat; unless
    /// set, as often as the broker can afford.
    pub consumer_heartbeat_interval_ms: Option<i32>,
    /// `group.consumer.assignment.interval.ms`: how long lies at least between two target assignments
    /// of a group; unless set, what its size asks for.
    pub consumer_assignment_interval_ms: Option<i32>,
    /// `group.consumer.max.size`: how many members a consumer group may have.
    pub consumer_max_size: usize,
    /// `group.consumer.assignors`: the assignors that members may ask for, the default first.
    pub consumer_assignors: Vec<Arc<str>>,
    /// `group.consumer.migration.policy`: which groups may change their protocol while they run.
    pub consumer_migration_policy: MigrationPolicy,
}

/// Which groups may change their protocol while they run.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum MigrationPolicy {
    /// None.
    Disabled,
    /// Classic groups may become consumer groups.
    Upgrade,
    /// Consumer groups may become classic groups.
    Downgrade,
    /// All.
    #[default]
    Bidirectional,
}

impl MigrationPolicy {
    /// Returns the policy that Kafka gives this name, whatever its case.
    pub fn by_name(name: &str) -> Option<Self> {
        Some(match name.to_ascii_lowercase().as_str() {
            "disabled" => Self::Disabled,
            "upgrade" => Self::Upgrade,
            "downgrade" => Self::Downgrade,
            "bidirectional" => Self::Bidirectional,
            _ => return None,
        })
    }

    /// Tells whether classic groups may become consumer groups.
    pub fn allows_upgrade(self) -> bool {
        matches!(self, Self::Upgrade | Self::Bidirectional)
    }

    /// Tells whether consumer groups may become classic groups.
    pub fn allows_downgrade(self) -> bool {
        matches!(self, Self::Downgrade | Self::Bidirectional)
    }
}

impl GroupConfig {
    /// Returns the server-side assignor of members that do not ask for one.
    pub fn default_assignor(&self) -> &str {
        self.consumer_assignors.first().map_or("", |name| name)
    }
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            group_min_session_timeout_ms: 6_000,
            group_max_session_timeout_ms: 30 * 60_000,
            group_initial_rebalance_delay_ms: 3_000,
            group_initial_rebalance_quiet_ms: -1,
            group_max_size: i32::MAX as usize,
            group_disconnect_grace_ms: 500,
            group_disconnect_grace_static: false,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60_000,
            offsets_retention_check_interval_ms: 600_000,
            consumer_session_timeout_ms: 45_000,
            consumer_heartbeat_interval_ms: None,
            consumer_assignment_interval_ms: None,
            consumer_max_size: i32::MAX as usize,
            consumer_assignors: vec!["uniform".into(), "range".into()],
            consumer_migration_policy: MigrationPolicy::default(),
        }
    }
}
