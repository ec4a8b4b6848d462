//! What a broker cannot do without: its disk, and the tasks that live as long as it does.
//!
//! A task that panics takes with it what it owns: the controller's every change of the metadata, a
//! shard's all of its groups, and whoever asks gets an answer for ever that says to try again. Only a new
//! start mends that, and what was acknowledged is in the log, so a panic there ends the broker as a failed
//! disk does: `/health/live` tells, and so does [`Broker::failed`](crate::Broker::failed), after which the
//! process ends.
//!
//! A connection's task is none of them: its connection goes with it, and nothing else.

use std::fmt::Display;
use std::sync::Arc;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tracing::error;

/// Whether anything failed that the broker cannot do without. A clone tells the same.
#[derive(Debug, Clone)]
pub(crate) struct Vital(Arc<watch::Sender<Option<Failure>>>);

/// What failed first, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Failure {
    /// The data folder, of whose disk nothing can be trusted.
    Storage(String),
    /// A task, or a thread of the data folder, by its name.
    Task(String),
}

impl Vital {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(None)))
    }

    /// Returns what failed, and what is to come.
    pub(crate) fn watch(&self) -> watch::Receiver<Option<Failure>> {
        self.0.subscribe()
    }

    /// Returns the task that failed, if one did.
    pub(crate) fn failed_task(&self) -> Option<String> {
        match &*self.0.borrow() {
            Some(Failure::Task(name)) => Some(name.clone()),
            _ => None,
        }
    }

    /// Notes a failure; only the first one counts.
    pub(crate) fn fail(&self, failure: Failure) {
        self.0.send_if_modified(|first| {
            let is_first = first.is_none();
            first.get_or_insert(failure);
            is_first
        });
    }

    /// Starts a task the broker cannot do without.
    pub(crate) fn spawn(
        &self,
        name: impl Display + Send + 'static,
        task: impl Future<Output = ()> + Send + 'static,
    ) -> JoinHandle<()> {
        let vital = self.clone();
        tokio::spawn(async move {
            let _guard = vital.guard(name);
            task.await;
        })
    }

    /// Guards work of such a task that somebody else does: if that panics while the guard is there, the task
    /// has failed.
    pub(crate) fn guard<N: Display>(&self, name: N) -> FailsOnPanic<'_, N> {
        FailsOnPanic { name, vital: self }
    }
}

impl Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Failure::Storage(failure) => f.write_str(failure),
            Failure::Task(name) => write!(
                f,
                "{name} panicked; the broker must stop, because nobody does its work any more"
            ),
        }
    }
}

/// Tells when it is dropped by a panic.
#[derive(Debug)]
pub(crate) struct FailsOnPanic<'a, N: Display> {
    name: N,
    vital: &'a Vital,
}

impl<N: Display> Drop for FailsOnPanic<'_, N> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let failure = Failure::Task(self.name.to_string());
            // First: nothing that becomes of a line of the log may keep the process from ending.
            self.vital.fail(failure.clone());
            error!(error = %failure, "a task of the broker failed: start the broker again");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn first(vital: &Vital) -> Failure {
        let mut failures = vital.watch();
        failures.wait_for(Option::is_some).await.unwrap().clone().unwrap()
    }

    #[tokio::test]
    async fn a_task_that_panics_is_told_by_name_and_the_first_counts() {
        let vital = Vital::new();
        let shard = vital.spawn("the coordinator of partition 7", async {
            tokio::task::yield_now().await;
            panic!("a task panics, as this test wants");
        });
        assert!(shard.await.unwrap_err().is_panic());
        vital.fail(Failure::Storage("the disk failed".to_owned()));
        assert_eq!(first(&vital).await, Failure::Task("the coordinator of partition 7".to_owned()));
        assert_eq!(vital.failed_task().as_deref(), Some("the coordinator of partition 7"));
    }

    #[tokio::test]
    async fn a_task_that_ends_or_is_dropped_has_not_failed() {
        let vital = Vital::new();
        vital.spawn("one that ends", async {}).await.unwrap();
        let dropped = vital.spawn("one that is dropped", std::future::pending());
        dropped.abort();
        assert!(dropped.await.unwrap_err().is_cancelled());
        drop(vital.guard("what somebody else does"));
        assert_eq!(*vital.watch().borrow(), None);
    }

    #[tokio::test]
    async fn a_panic_of_somebody_else_at_a_tasks_work_is_the_tasks() {
        let vital = Vital::new();
        let of_connection = vital.clone();
        let connection = tokio::spawn(async move {
            let _guard = of_connection.guard("the coordinator of partition 8");
            panic!("a connection panics, as this test wants");
        });
        assert!(connection.await.unwrap_err().is_panic());
        assert_eq!(vital.failed_task().as_deref(), Some("the coordinator of partition 8"));
    }
}
