//! What keeps a client from its cluster, and when that is worth a line in the log.
//!
//! Nobody is told by an error while a cluster is merely away: a consumer's polls give nothing and a
//! producer waits. So the cause is kept for whoever asks, and a line says it: with the third failure in
//! a row, since one alone is a broker that restarts, and then once a minute, however often it is tried.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use kohort_protocol::ErrorCode;
use tokio::time::Instant;

use super::error::ClusterError;
use crate::net::NetError;

/// What went wrong with each of several nodes, as one error.
#[derive(Default)]
pub(super) struct Failures {
    tried: usize,
    last: Option<NetError>,
    pub(super) refused: Option<ErrorCode>,
}

impl Failures {
    /// Takes note of a failure. A refusal outlasts others: it is what somebody must change.
    pub(super) fn note(&mut self, error: NetError) {
        self.tried += 1;
        if !self.last.as_ref().is_some_and(NetError::is_refusal) {
            self.last = Some(error);
        }
    }

    /// Returns them as one, if there were any.
    pub(super) fn error(self) -> Option<ClusterError> {
        match (self.last, self.refused) {
            (None, None) => None,
            (None, Some(code)) => {
                let what = "the cluster's metadata".to_owned();
                Some(ClusterError::Refused { what, code, message: None })
            }
            (Some(last), _) => Some(ClusterError::Unreachable { tried: self.tried, last }),
        }
    }
}

/// How long a cluster has been out of reach.
#[derive(Debug, Default)]
pub(super) struct Outage {
    failures: u32,
    told: Option<Instant>,
}

/// A line for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Line {
    /// It cannot be reached.
    Away,
    /// It can again.
    Back,
}

impl Outage {
    /// Takes note of an attempt; says what to tell.
    pub(super) fn note(&mut self, now: Instant, trouble: Option<&ClusterError>) -> Option<Line> {
        let Some(error) = trouble else {
            let told = std::mem::take(self).told;
            return told.map(|_| Line::Back);
        };
        self.failures = self.failures.saturating_add(1);
        let due = match self.told {
            // Trying again will not change a refusal.
            None => self.failures >= TOLD_FROM || error.is_refusal(),
            Some(told) => now.saturating_duration_since(told) >= TOLD_EVERY,
        };
        due.then(|| {
            self.told = Some(now);
            Line::Away
        })
    }
}

/// Whether servers that close connections at their beginning speak another protocol than we do: with TLS and
/// without, the other side cannot always say so. Once anything has been answered they do not.
#[derive(Debug, Default)]
pub(super) struct Suspicion {
    closed: u32,
    answered: bool,
}

impl Suspicion {
    /// Takes note of an attempt; returns whether whoever waits should be told what it met.
    pub(super) fn note(&mut self, error: Option<&ClusterError>) -> bool {
        let closed = error.is_some_and(|error| {
            let (ClusterError::Net(last) | ClusterError::Unreachable { last, .. }) = error else {
                return false;
            };
            matches!(last, NetError::ClosedInHandshake { .. })
        });
        self.answered |= error.is_none();
        self.closed = if closed { self.closed.saturating_add(1) } else { 0 };
        !self.answered && self.closed >= TOLD_FROM
    }
}

/// Which attempts somebody has been told of, so that a refusal that lasts is told once for each of them:
/// attempts have a back-off between them, and loops that log an error and go on have none.
#[derive(Debug, Default)]
pub(crate) struct Heard(AtomicU64);

impl Heard {
    /// Takes note of an attempt, by its number; returns whether it is news.
    pub(super) fn note(&self, attempt: u64) -> bool {
        self.0.fetch_max(attempt, Ordering::Relaxed) < attempt
    }
}

/// The failure in a row that is told first.
const TOLD_FROM: u32 = 3;
/// How often it is told while it lasts: enough for whoever looks at the log then.
const TOLD_EVERY: Duration = Duration::from_secs(60);

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn unreachable(last: NetError) -> ClusterError {
        ClusterError::Unreachable { tried: 1, last }
    }

    #[test]
    fn a_cluster_out_of_reach_is_told_at_the_third_failure_and_then_once_a_minute() {
        let gone = unreachable(NetError::ClosedByPeer { address: Arc::from("a:1") });
        let start = Instant::now();
        let mut outage = Outage::default();
        let mut told = Vec::new();
        for second in 0..150 {
            let line = outage.note(start + Duration::from_secs(second), Some(&gone));
            told.extend(line.map(|line| (second, line)));
        }
        assert_eq!(told, [(2, Line::Away), (62, Line::Away), (122, Line::Away)]);
        assert_eq!(outage.note(start, None), Some(Line::Back));
        assert_eq!(outage.note(start, None), None);
    }

    #[test]
    fn servers_that_close_at_once_are_suspect_from_the_third_time_unless_one_ever_answered() {
        let address: Arc<str> = Arc::from("a:1");
        let hint = "a listener with TLS does that";
        let during = "the first request";
        let closed =
            unreachable(NetError::ClosedInHandshake { address: address.clone(), during, hint });
        let gone = unreachable(NetError::ClosedByPeer { address });
        let mut suspicion = Suspicion::default();
        let told = [&closed, &closed, &gone, &closed, &closed, &closed, &closed]
            .map(|error| suspicion.note(Some(error)));
        assert_eq!(told, [false, false, false, false, false, true, true], "three in a row");
        let told = [None, Some(&closed), Some(&closed), Some(&closed)];
        assert_eq!(told.map(|it| suspicion.note(it)), [false; 4], "it is restarting");
    }

    #[test]
    fn a_broker_that_restarts_is_not_told_and_a_refusal_at_once() {
        let gone = unreachable(NetError::ClosedByPeer { address: Arc::from("a:1") });
        let refused = unreachable(NetError::WantsTls { address: Arc::from("a:1") });
        let (now, mut outage) = (Instant::now(), Outage::default());
        assert_eq!([Some(&gone), None].map(|it| outage.note(now, it)), [None, None]);
        let lines = [Some(&refused), None].map(|it| outage.note(now, it));
        assert_eq!(lines, [Some(Line::Away), Some(Line::Back)]);
    }
}
