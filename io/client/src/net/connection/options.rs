//! How connections behave.

use std::sync::Arc;
use std::time::Duration;

use kohort_protocol::frame;

use super::Throttles;
use crate::net::Security;
use crate::net::frames::FramePool;
use crate::net::stream::Dialer;

/// How connections behave.
#[derive(Debug, Clone)]
pub struct ConnectionOptions {
    /// What the broker's log and metrics call this client.
    pub client_id: Arc<str>,
    /// How long a request may take unless it says otherwise.
    pub request_timeout: Duration,
    /// How long connecting to one address may take, with all that comes before the first request.
    pub setup_timeout: Duration,
    /// The longest that may take when attempts before took too long (KIP-601).
    pub setup_timeout_max: Duration,
    /// A connection nothing was asked on for this long is closed.
    pub idle_max: Duration,
    /// How many requests may be without an answer; the next one waits. Enough for every caller
    /// that pipelines, and a bound on what a stuck broker can make us hold.
    pub in_flight_max: usize,
    /// The largest answer that is taken.
    pub response_bytes_max: usize,
    /// The memory large answers are read into.
    pub frames: FramePool,
    /// Where it is counted that brokers throttle this client.
    pub throttles: Throttles,
    /// How streams are opened.
    pub dialer: Dialer,
    /// How they are secured.
    pub security: Security,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self {
            client_id: Arc::from("kohort"),
            request_timeout: Duration::from_secs(30),
            setup_timeout: Duration::from_secs(10),
            setup_timeout_max: Duration::from_secs(30),
            idle_max: Duration::from_secs(540),
            in_flight_max: 64,
            response_bytes_max: frame::DEFAULT_MAX_FRAME_BYTES,
            frames: FramePool::default(),
            throttles: Throttles::default(),
            dialer: Dialer::default(),
            security: Security::default(),
        }
    }
}
