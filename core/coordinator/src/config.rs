//! What an operator can set, under Kafka's names and with Kafka's defaults.

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
}

impl Default for GroupConfig {
    fn default() -> Self {
        Self {
            group_min_session_timeout_ms: 6_000,
            group_max_session_timeout_ms: 30 * 60_000,
            group_initial_rebalance_delay_ms: 3_000,
            group_max_size: i32::MAX as usize,
            group_disconnect_grace_ms: 500,
            group_disconnect_grace_static: false,
            offset_metadata_max_bytes: 4_096,
            offsets_retention_ms: 7 * 24 * 60 * 60_000,
            offsets_retention_check_interval_ms: 600_000,
        }
    }
}
