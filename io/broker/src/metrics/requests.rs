//! What is counted of requests: how many, how large, and how long each stage took.

use crate::counters::{Counter, Sharded};
use kohort_protocol::{ApiKey, ErrorCode};
use kohort_storage::{DurationCounts, Durations};
use parking_lot::Mutex;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;

/// No API has more versions than this; the test below holds it.
const VERSIONS_MAX: usize = 24;
/// No API has a greater number; the same.
const APIS_MAX: usize = 128;
/// Stages that are measured.
const STAGES: usize = 5;

/// A part of the time a request takes, in Kafka's terms.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stage {
    /// From its last byte received to the response's last byte sent.
    Total,
    /// Waiting for earlier requests of its connection.
    RequestQueue,
    /// In its handler.
    Local,
    /// Waiting for what it needs.
    Remote,
    /// Being sent.
    ResponseSend,
}

/// Which API and version a request is of.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) api: ApiKey,
    pub(crate) version: i16,
}

/// The requests of a broker.
#[derive(Debug, Default)]
pub(crate) struct RequestMetrics {
    apis: Sharded<PerApi>,
    /// Only errors come here, so one lock does.
    errors: Mutex<BTreeMap<(i16, ErrorCode), u64>>,
}

/// By the number of the API. Most are never asked for.
#[derive(Debug)]
struct PerApi([OnceLock<Box<ApiMetrics>>; APIS_MAX]);

impl Default for PerApi {
    fn default() -> Self {
        Self([const { OnceLock::new() }; APIS_MAX])
    }
}

impl PerApi {
    fn of(&self, api: ApiKey) -> &ApiMetrics {
        self.0[api as usize].get_or_init(Box::default)
    }
}

#[derive(Debug, Default)]
struct ApiMetrics {
    by_version: [Counter; VERSIONS_MAX],
    bytes: Counter,
    stages: [Durations; STAGES],
}

/// What was counted of one API.
#[derive(Debug, Clone)]
pub(crate) struct ApiCounts {
    pub(crate) key: ApiKey,
    pub(crate) by_version: [u64; VERSIONS_MAX],
    pub(crate) bytes: u64,
    stages: [DurationCounts; STAGES],
}

impl RequestMetrics {
    /// Counts a request that was received.
    pub(crate) fn received(&self, kind: Kind, bytes: usize) {
        let api = self.apis.mine().of(kind.api);
        if let Some(counter) = api.by_version.get(kind.version as usize) {
            counter.add(1);
        }
        api.bytes.add(bytes as u64);
    }

    /// Counts the durations of a request that was answered. Those of nothing are left out here and
    /// made up for in [`counts`](Self::counts): most requests pass some stages in no time.
    pub(crate) fn answered(&self, kind: Kind, stages: &[(Stage, Duration)]) {
        let api = self.apis.mine().of(kind.api);
        for (stage, duration) in stages {
            if !duration.is_zero() || *stage == Stage::Total {
                api.stages[*stage as usize].record(*duration);
            }
        }
    }

    /// Counts the errors that a response tells.
    pub(crate) fn errors(&self, key: ApiKey, errors: &[ErrorCode]) {
        let mut counts = self.errors.lock();
        for error in errors {
            *counts.entry((key as i16, *error)).or_default() += 1;
        }
    }

    /// Returns the error codes told so far: by API and code.
    pub(crate) fn error_counts(&self) -> Vec<((i16, ErrorCode), u64)> {
        self.errors.lock().iter().map(|(key, count)| (*key, *count)).collect()
    }

    /// Returns what was counted of the APIs that were asked for.
    pub(crate) fn counts(&self) -> Vec<ApiCounts> {
        let sum = |key: ApiKey| {
            let mut counts = ApiCounts {
                key,
                by_version: [0; VERSIONS_MAX],
                bytes: 0,
                stages: std::array::from_fn(|_| DurationCounts::default()),
            };
            for shard in self.apis.all().filter_map(|shard| shard.0[key as usize].get()) {
                for (sum, counter) in counts.by_version.iter_mut().zip(&shard.by_version) {
                    *sum += counter.get();
                }
                counts.bytes += shard.bytes.get();
                for (sum, durations) in counts.stages.iter_mut().zip(&shard.stages) {
                    sum.add(durations);
                }
            }
            let answered = counts.stages[Stage::Total as usize].count();
            for stage in &mut counts.stages {
                stage.buckets[0] += answered.saturating_sub(stage.count());
            }
            counts
        };
        ApiKey::ALL
            .iter()
            .map(|key| sum(*key))
            .filter(|counts| counts.by_version.iter().any(|count| *count > 0))
            .collect()
    }
}

impl ApiCounts {
    pub(crate) fn stage(&self, stage: Stage) -> &DurationCounts {
        &self.stages[stage as usize]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_version_of_every_api_has_a_counter() {
        for api in crate::dispatch::APIS {
            assert!((api.advertised.max as usize) < VERSIONS_MAX, "{:?}", api.key);
        }
        assert!(ApiKey::ALL.iter().all(|api| (*api as usize) < APIS_MAX));
    }

    #[test]
    fn a_stage_that_takes_no_time_counts_as_passed_at_once() {
        let metrics = RequestMetrics::default();
        let kind = Kind { api: ApiKey::Produce, version: 3 };
        metrics.received(kind, 100);
        let ms = Duration::from_millis;
        metrics.answered(kind, &[(Stage::Total, ms(2)), (Stage::Remote, Duration::ZERO)]);
        let counts = metrics.counts();
        assert_eq!(counts.len(), 1);
        assert_eq!((counts[0].by_version[3], counts[0].bytes), (1, 100));
        assert_eq!(counts[0].stage(Stage::Remote).buckets[0], 1);
        assert_eq!(counts[0].stage(Stage::Total).buckets[5], 1);
    }
}
