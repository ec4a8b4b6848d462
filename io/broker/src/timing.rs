//! How long a request took, stage by stage.

use crate::metrics::{Kind, RequestMetrics, Stage};
use tokio::time::Instant;

/// When a request passed its stages.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Timing {
    pub(crate) kind: Kind,
    pub(crate) received: Instant,
    pub(crate) started: Instant,
    pub(crate) handled: Instant,
    pub(crate) answered: Instant,
}

impl Timing {
    /// Counts a request that is over.
    pub(crate) fn count(self, metrics: &RequestMetrics, sent: Instant) {
        let Self { kind, received, started, handled, answered } = self;
        let stages = [
            (Stage::Total, sent - received),
            (Stage::RequestQueue, started - received),
            (Stage::Local, handled - started),
            (Stage::Remote, answered - handled),
            (Stage::ResponseSend, sent - answered),
        ];
        metrics.answered(kind, &stages);
    }
}
