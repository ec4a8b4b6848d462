//! What differs between the kinds of clients of a cluster.

use crate::net::{ConnectionOptions, KEPT_BYTES};

/// What differs between the kinds of clients.
#[derive(Debug, Clone)]
pub struct ClusterOptions {
    /// Whether asking for a topic may create it.
    pub allow_auto_create_topics: bool,
    /// The largest answer to take; a consumer's fetch may be larger than the default.
    pub response_bytes_max: usize,
    /// How much memory of large answers, in use and for the next ones, is kept.
    pub answers_kept_bytes: usize,
    /// What decides the jitter of the back-off; `None` takes it from the clock.
    pub seed: Option<u64>,
}

impl Default for ClusterOptions {
    fn default() -> Self {
        Self {
            allow_auto_create_topics: false,
            response_bytes_max: ConnectionOptions::default().response_bytes_max,
            answers_kept_bytes: KEPT_BYTES,
            seed: None,
        }
    }
}
