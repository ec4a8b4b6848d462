//! What the controller can be asked, and the handle to ask it.

use super::api_error::ApiError;
use super::decide::NewTopic;
use super::decide_configs::ConfigChange;
use super::record::{MetadataRecord, Resource};
use super::state::ClusterState;
use kohort_protocol::{ErrorCode, Uuid};
use std::collections::BTreeMap;
use std::ops::Range;
use tokio::sync::{mpsc, oneshot};

/// Commands waiting for the controller. Each is one request of a connection that waits for it.
const COMMANDS: usize = 128;

/// A topic that was, or with `validate_only` would have been, created.
#[derive(Debug, Clone)]
pub(crate) struct CreatedTopic {
    pub(crate) id: Uuid,
    pub(crate) partitions: i32,
    pub(crate) own_config: BTreeMap<String, String>,
}

/// A topic to be given more partitions.
#[derive(Debug, Clone)]
pub(crate) struct Growth {
    pub(crate) topic: String,
    pub(crate) count: i32,
    pub(crate) assignments: Option<Vec<Vec<i32>>>,
}

/// How a resource's properties are to change.
#[derive(Debug, Clone)]
pub(crate) enum ConfigEdit {
    /// One by one.
    Incremental(Vec<ConfigChange>),
    /// All at once: what is not named goes.
    Replace(Vec<(String, Option<String>)>),
}

pub(crate) type Results<T> = Vec<Result<T, ApiError>>;

/// Decides about several things at once: for each, the records that do it, or why not.
pub(super) type Decide = Box<dyn FnOnce(&ClusterState) -> Results<Vec<MetadataRecord>> + Send>;

/// What the controller is asked.
pub(super) enum Command {
    Create {
        topics: Vec<NewTopic>,
        validate_only: bool,
        reply: oneshot::Sender<Results<CreatedTopic>>,
    },
    Delete {
        ids: Vec<Uuid>,
        reply: oneshot::Sender<Results<()>>,
    },
    Grow {
        growths: Vec<Growth>,
        validate_only: bool,
        reply: oneshot::Sender<Results<()>>,
    },
    Configure {
        edits: Vec<(Resource, ConfigEdit)>,
        validate_only: bool,
        reply: oneshot::Sender<Results<()>>,
    },
    Decide {
        decide: Decide,
        validate_only: bool,
        reply: oneshot::Sender<Results<()>>,
    },
    ProducerIds {
        reply: oneshot::Sender<Result<Range<i64>, ApiError>>,
    },
}

/// Sends commands to the controller.
#[derive(Debug, Clone)]
pub(crate) struct ControllerHandle(mpsc::Sender<Command>);

impl ControllerHandle {
    /// Makes a handle and the end its commands arrive at.
    pub(super) fn channel() -> (Self, mpsc::Receiver<Command>) {
        let (sender, receiver) = mpsc::channel(COMMANDS);
        (Self(sender), receiver)
    }

    pub(crate) async fn create(
        &self,
        topics: Vec<NewTopic>,
        validate_only: bool,
    ) -> Results<CreatedTopic> {
        let count = topics.len();
        self.ask(|reply| Command::Create { topics, validate_only, reply })
            .await
            .unwrap_or_else(|| refused(count))
    }

    pub(crate) async fn delete(&self, ids: Vec<Uuid>) -> Results<()> {
        let count = ids.len();
        self.ask(|reply| Command::Delete { ids, reply }).await.unwrap_or_else(|| refused(count))
    }

    pub(crate) async fn grow(&self, growths: Vec<Growth>, validate_only: bool) -> Results<()> {
        let count = growths.len();
        self.ask(|reply| Command::Grow { growths, validate_only, reply })
            .await
            .unwrap_or_else(|| refused(count))
    }

    pub(crate) async fn configure(
        &self,
        edits: Vec<(Resource, ConfigEdit)>,
        validate_only: bool,
    ) -> Results<()> {
        let count = edits.len();
        self.ask(|reply| Command::Configure { edits, validate_only, reply })
            .await
            .unwrap_or_else(|| refused(count))
    }

    /// Has `count` things decided upon and done.
    pub(crate) async fn decide(
        &self,
        count: usize,
        decide: impl FnOnce(&ClusterState) -> Results<Vec<MetadataRecord>> + Send + 'static,
        validate_only: bool,
    ) -> Results<()> {
        let decide: Decide = Box::new(decide);
        self.ask(|reply| Command::Decide { decide, validate_only, reply })
            .await
            .unwrap_or_else(|| refused(count))
    }

    /// Takes a block of producer ids that nobody else will get.
    pub(crate) async fn producer_ids(&self) -> Result<Range<i64>, ApiError> {
        self.ask(|reply| Command::ProducerIds { reply }).await.unwrap_or_else(|| Err(stopping()))
    }

    async fn ask<T>(&self, command: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.0.send(command(reply)).await.ok()?;
        answer.await.ok()
    }
}

/// The broker is stopping: the client should find another, or this one started again.
fn stopping() -> ApiError {
    ErrorCode::NOT_CONTROLLER.into()
}

fn refused<T>(count: usize) -> Results<T> {
    (0..count).map(|_| Err(stopping())).collect()
}
