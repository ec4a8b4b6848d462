//! Keeping the metadata fresh.
//!
//! One task asks, when somebody wants to know or the picture is old; everybody else reads the
//! picture. Requests that arrive while one is under way are answered by the next, so that each
//! caller sees an answer asked for after its call. When no node can be reached, it starts again
//! from the bootstrap servers, whose names are resolved anew each time (KIP-899, KIP-1102).

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use kohort_client_core::backoff::{Backoff, Jitter};
use kohort_client_core::metadata::{Broker, MetadataView, Topics};
use kohort_protocol::ErrorCode;
use parking_lot::Mutex;
use tokio::sync::{Notify, watch};
use tokio::time::Instant;

use super::error::ClusterError;
use super::failures::{Failures, Heard, Line, Outage, Suspicion};
use super::options::ClusterOptions;
use crate::config::{CommonConfig, HostPort, RecoveryStrategy};
use crate::net::{NetError, Pool, after};
use wanted::Wanted;

/// Keeps the picture; see the module.
#[derive(Debug)]
pub(super) struct Refresher {
    pub(super) pool: Pool,
    bootstrap: Vec<HostPort>,
    recovery: RecoveryStrategy,
    trigger: Duration,
    allow_auto_create: bool,
    max_age: Duration,
    backoff: Backoff,
    view: watch::Sender<Arc<MetadataView>>,
    wanted: Mutex<Wanted>,
    wake: Notify,
    completed: watch::Sender<Completed>,
}

/// The outcome of the last attempt, and which requests it answers.
#[derive(Debug, Clone, Default)]
struct Completed {
    /// Counts the attempts; the last of all numbers once there will be no more.
    attempt: u64,
    requests: u64,
    error: Option<ClusterError>,
    /// Whether the error is told as a refusal is.
    suspect: bool,
}

/// Tells whoever waits for an answer that there will be none, if the task panics.
struct End<'a>(&'a watch::Sender<Completed>);

impl Drop for End<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("the task that keeps the metadata panicked");
            let error = Some(ClusterError::Failed);
            let (attempt, requests) = (u64::MAX, u64::MAX);
            self.0.send_replace(Completed { attempt, requests, error, suspect: false });
        }
    }
}

impl Completed {
    /// Why it was refused for good, if it was.
    fn refusal(&self) -> Option<ClusterError> {
        self.error.clone().filter(ClusterError::is_refusal)
    }

    /// The same, or what looks like one, if it was not heard yet. That there will be no more attempts is told at any time.
    fn unheard_refusal(&self, heard: &Heard) -> Option<ClusterError> {
        let suspected = || self.error.clone().filter(|_| self.suspect);
        let refusal = self.refusal().or_else(suspected)?;
        (heard.note(self.attempt) || self.attempt == u64::MAX).then_some(refusal)
    }
}

impl Refresher {
    pub(super) fn new(
        pool: Pool,
        config: &CommonConfig,
        options: &ClusterOptions,
        seed: u64,
    ) -> Self {
        let bootstrap = config.bootstrap_servers.clone();
        Self {
            pool,
            view: watch::Sender::new(Arc::new(bootstrap_view(&bootstrap))),
            bootstrap,
            recovery: config.metadata_recovery_strategy,
            trigger: config.metadata_rebootstrap_trigger,
            allow_auto_create: options.allow_auto_create_topics,
            max_age: config.metadata_max_age,
            backoff: Backoff::new(config.retry_backoff, config.retry_backoff_max),
            wanted: Mutex::new(Wanted {
                topics: Topics::Some(BTreeSet::new()),
                held: BTreeMap::new(),
                requests: FIRST_REQUEST,
                at_once: true,
                jitter: Jitter::seeded(seed.rotate_left(17)),
            }),
            wake: Notify::new(),
            completed: watch::Sender::new(Completed::default()),
        }
    }

    pub(super) fn view(&self) -> Arc<MetadataView> {
        self.view.borrow().clone()
    }

    pub(super) fn subscribe(&self) -> watch::Receiver<Arc<MetadataView>> {
        self.view.subscribe()
    }

    pub(super) fn topic_error(&self, topic: &str) -> Option<ErrorCode> {
        self.view.borrow().topic_error(topic)
    }

    /// Notes that somebody wants an answer; returns the number that answers it.
    pub(super) fn request(&self, at_once: bool) -> u64 {
        let number = {
            let mut wanted = self.wanted.lock();
            wanted.requests += 1;
            wanted.at_once |= at_once;
            wanted.requests
        };
        self.wake.notify_one();
        number
    }

    pub(super) async fn refresh(&self) -> Result<Arc<MetadataView>, ClusterError> {
        self.answer_to(self.request(true)).await
    }

    /// The picture, once a server has described the cluster.
    pub(super) async fn described(&self) -> Result<Arc<MetadataView>, ClusterError> {
        let view = self.view();
        if view.brokers().any(|broker| broker.id >= 0) {
            return Ok(view);
        }
        let first = self.completed.borrow().attempt == 0;
        self.answer_to(if first { FIRST_REQUEST } else { self.request(true) }).await
    }

    async fn answer_to(&self, number: u64) -> Result<Arc<MetadataView>, ClusterError> {
        let mut completed = self.completed.subscribe();
        let outcome = completed.wait_for(|it| it.requests >= number).await;
        match outcome.map_err(|_| NetError::DriverGone)?.error.clone() {
            Some(error) => Err(error),
            None => Ok(self.view()),
        }
    }

    /// Why no server can be reached, if none can: what the last attempt met, or what keeps us from all
    /// the brokers that a server told of.
    pub(super) fn trouble(&self) -> Option<ClusterError> {
        self.completed.borrow().error.clone().or_else(|| {
            let mut failed = Failures::default();
            self.pool.failures()?.into_iter().for_each(|error| failed.note(error));
            failed.error()
        })
    }

    /// What to say where nothing went wrong so far and there is no answer either.
    pub(super) fn no_answer(&self) -> ClusterError {
        let servers: Vec<String> = self.bootstrap.iter().map(ToString::to_string).collect();
        ClusterError::NoAnswer { servers: servers.join(", ") }
    }

    pub(super) async fn refused(&self) -> ClusterError {
        let mut completed = self.completed.subscribe();
        match completed.wait_for(|it| it.refusal().is_some()).await.map(|it| it.refusal()) {
            Ok(Some(refusal)) => refusal,
            // The sender lives as long as `self`.
            Ok(None) | Err(_) => std::future::pending().await,
        }
    }

    pub(super) async fn refused_anew(&self, heard: &Heard) -> ClusterError {
        let mut completed = self.completed.subscribe();
        loop {
            let refusal = completed.borrow_and_update().unheard_refusal(heard);
            match refusal {
                Some(refusal) => return refusal,
                // The sender lives as long as `self`.
                None if completed.changed().await.is_err() => std::future::pending().await,
                None => {}
            }
        }
    }

    pub(super) fn unheard_refusal(&self, heard: &Heard) -> Option<ClusterError> {
        self.completed.borrow().unheard_refusal(heard)
    }

    pub(super) fn learn_brokers(&self, brokers: &[Broker]) {
        self.learn(|view| view.with_brokers(brokers));
    }

    pub(super) fn learn_leader(&self, topic: &str, partition: i32, leader: i32, epoch: i32) {
        self.learn(|view| view.with_leader(topic, partition, leader, epoch));
    }

    pub(super) fn deny_leader(&self, topic: &str, partition: i32, node: i32) {
        self.learn(|view| view.with_denial(topic, partition, node));
    }

    /// Takes over a newer picture that another answer than one for metadata led to.
    fn learn(&self, next: impl FnOnce(&MetadataView) -> MetadataView) {
        self.view.send_if_modified(|view| {
            let next = next(view);
            let newer = next.version > view.version;
            if newer {
                *view = Arc::new(next);
            }
            newer
        });
    }

    /// The task: answers requests, and asks on its own when the picture is old or an attempt
    /// failed.
    pub(super) async fn run(self: Arc<Self>) {
        let _end = End(&self.completed);
        let mut last = None;
        let (mut failures, mut attempt) = (0, 0);
        // Since when there was no answer, if there is none.
        let mut silent_since = None;
        let mut outage = Outage::default();
        let mut suspicion = Suspicion::default();
        loop {
            self.until_due(last, failures).await;
            let (number, topics) = {
                let mut wanted = self.wanted.lock();
                wanted.at_once = false;
                (wanted.requests, wanted.all())
            };
            let since = *silent_since.get_or_insert_with(Instant::now);
            let outcome = self.attempt(&topics, after(since, self.trigger)).await;
            if outcome.is_ok() {
                silent_since = None;
            }
            last = Some(Instant::now());
            // A topic without a leader is an answer, but one to ask about again.
            failures = if matches!(outcome, Ok(true)) { 0 } else { failures + 1 };
            let error = outcome.err();
            if let Some(error) = &error {
                tracing::debug!(%error, failures, "metadata was not refreshed");
            }
            attempt += 1;
            let suspect = suspicion.note(error.as_ref());
            self.completed.send_replace(Completed { attempt, requests: number, error, suspect });
            self.tell(&mut outage);
        }
    }

    /// Writes to the log, now and then, that no server can be reached.
    fn tell(&self, outage: &mut Outage) {
        let trouble = self.trouble();
        match (outage.note(Instant::now(), trouble.as_ref()), trouble) {
            (Some(Line::Away), Some(error)) => {
                tracing::warn!(%error, "the cluster is out of reach");
            }
            (Some(Line::Back), _) => tracing::info!("the cluster can be reached again"),
            (Some(Line::Away), None) | (None, _) => {}
        }
    }

    /// Waits until an answer is wanted and the back-off since the last attempt allows it.
    async fn until_due(&self, last: Option<Instant>, failures: u32) {
        let Some(last) = last else { return };
        let delay = self.backoff.delay(failures.max(1), &mut self.wanted.lock().jitter);
        loop {
            let now = Instant::now();
            let due = {
                let wanted = self.wanted.lock();
                let asked = wanted.requests > self.completed.borrow().requests;
                if asked && wanted.at_once && failures == 0 {
                    return;
                }
                let wait = if asked || failures > 0 { delay } else { self.max_age };
                after(last, wait)
            };
            if now >= due {
                return;
            }
            tokio::select! {
                () = tokio::time::sleep_until(due) => {}
                () = self.wake.notified() => {}
            }
        }
    }
}

/// Every client asks once on its own.
const FIRST_REQUEST: u64 = 1;

fn bootstrap_view(servers: &[HostPort]) -> MetadataView {
    MetadataView::bootstrap(servers.iter().map(|server| (server.host.clone(), server.port)))
}

mod attempts;
pub(super) mod topics;
mod wanted;

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn whoever_waits_for_metadata_is_told_that_the_task_panicked() {
        let completed = Arc::new(watch::Sender::new(Completed::default()));
        let mut waits = completed.subscribe();
        let task = tokio::spawn(async move {
            let _end = End(&completed);
            panic!("a mistake of ours");
        });
        let told = waits.wait_for(|it| it.requests >= 7).await.unwrap().clone();
        assert!(matches!(told.refusal(), Some(ClusterError::Failed)), "{told:?}");
        assert!(task.await.unwrap_err().is_panic());
    }
}
