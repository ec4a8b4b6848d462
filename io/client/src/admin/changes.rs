//! Changes of objects, each for itself, that are asked for until every object has its outcome.
//!
//! ```text
//! remaining ── an attempt asks ──► done             it was changed, or refused for good
//!     ▲                  └───────► refused for now  nothing was done, and that will pass
//!     └───── after the back-off ───────┘
//! ```
//!
//! What is done is not asked for again, since the second answer would deny the first: the topic exists
//! already, the group is not there. For the same reason REQUEST_TIMED_OUT is final for most changes: the
//! broker was told what to do, and may do it later. Where an answer was lost with its connection nobody can
//! tell, and it is asked again; a denial is then told as what it may be, the first attempt's success.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use kohort_protocol::ErrorCode;
use parking_lot::Mutex;

use super::error::unanswered;
use super::{Admin, AdminError, Session};

/// The objects of one call and what became of them.
pub(super) struct Changes<K, T> {
    rules: Rules<K>,
    state: Mutex<State<K, T>>,
}

/// What differs between kinds of changes.
pub(super) struct Rules<K> {
    /// Names an object in an error.
    pub(super) what: fn(&K) -> String,
    /// Whether an error says that nothing was done and asking again may help.
    pub(super) passes: fn(&AdminError) -> bool,
    /// What is answered to a change that was made before.
    pub(super) denial: Option<ErrorCode>,
}

struct State<K, T> {
    /// Each with why it was not done, once a broker has said so.
    remaining: BTreeMap<K, Option<AdminError>>,
    done: BTreeMap<K, Result<T, AdminError>>,
    /// Whether a broker was asked and nobody knows what came of it.
    unseen: bool,
}

impl Admin {
    /// Has objects changed. An attempt asks for the remaining ones and notes what is answered for each; that
    /// some must be asked for again is seen here.
    pub(super) async fn change<K, T, F, A>(
        &self,
        objects: impl IntoIterator<Item = K>,
        rules: Rules<K>,
        attempt: F,
    ) -> Result<BTreeMap<K, Result<T, AdminError>>, AdminError>
    where
        K: Ord + Clone + Send + 'static,
        T: Send + 'static,
        F: Fn(Session, Arc<Changes<K, T>>) -> A + Send + 'static,
        A: Future<Output = Result<(), AdminError>> + Send + 'static,
    {
        let remaining = objects.into_iter().map(|object| (object, None)).collect();
        let state = Mutex::new(State { remaining, done: BTreeMap::new(), unseen: false });
        let changes = Arc::new(Changes { rules, state });
        let noted = changes.clone();
        let outcome = self.run(move |session| {
            let changes = noted.clone();
            let asked = attempt(session.clone(), changes.clone());
            async move {
                // Metadata that named the wrong controller names it again until there is new metadata.
                if changes.controller_moved() {
                    session.cluster.refresh().await?;
                }
                asked.await.inspect_err(|error| changes.missed(error))?;
                changes.settle()
            }
        });
        let outcome = outcome.await;
        changes.end(outcome)
    }
}

impl<K: Ord + Clone, T> Changes<K, T> {
    /// Returns what is still to be asked for.
    pub(super) fn remaining(&self) -> Vec<K> {
        self.state.lock().remaining.keys().cloned().collect()
    }

    /// Takes note of what a broker answered for one object.
    pub(super) fn note(&self, object: K, result: Result<T, AdminError>) {
        let state = &mut *self.state.lock();
        match result {
            Err(error) if (self.rules.passes)(&error) => {
                if let Some(why) = state.remaining.get_mut(&object) {
                    *why = Some(error);
                }
            }
            mut result => {
                if let Err(AdminError::Refused { code, message, .. }) = &mut result
                    && state.unseen
                    && self.rules.denial == Some(*code)
                {
                    let said = message.take().map(|said| format!(": {said}")).unwrap_or_default();
                    *message = Some(format!("{PERHAPS_OURS}{said}"));
                }
                if state.remaining.remove(&object).is_some() {
                    state.done.insert(object, result);
                }
            }
        }
    }

    /// Takes note of why an attempt got no answer.
    fn missed(&self, error: &AdminError) {
        if error.lost_an_answer() {
            self.state.lock().unseen = true;
        }
    }

    fn controller_moved(&self) -> bool {
        let state = self.state.lock();
        let mut refusals = state.remaining.values().flatten();
        refusals.any(|error| error.code() == Some(ErrorCode::NOT_CONTROLLER))
    }

    /// Ends an attempt that was answered: fails if something is to be asked for again.
    fn settle(&self) -> Result<(), AdminError> {
        let state = &mut *self.state.lock();
        let silent: Vec<K> = state
            .remaining
            .iter()
            .filter(|(_, why)| why.is_none())
            .map(|it| it.0.clone())
            .collect();
        for object in silent {
            state.remaining.remove(&object);
            let error = unanswered((self.rules.what)(&object));
            state.done.insert(object, Err(error));
        }
        match state.remaining.values().flatten().next().and_then(AdminError::copied) {
            Some(error) => Err(error),
            None => Ok(()),
        }
    }

    /// Returns what became of each object. Where time was over for some, the others keep their outcome.
    fn end(
        &self,
        outcome: Result<(), AdminError>,
    ) -> Result<BTreeMap<K, Result<T, AdminError>>, AdminError> {
        let State { remaining, done, .. } = &mut *self.state.lock();
        let mut done = std::mem::take(done);
        let Err(error) = outcome else { return Ok(done) };
        if done.is_empty() {
            return Err(error);
        }
        for (object, why) in std::mem::take(remaining) {
            let error = match (why, &error) {
                (Some(why), AdminError::TimedOut { timeout, .. }) => {
                    AdminError::TimedOut { timeout: *timeout, last: Box::new(why) }
                }
                (Some(why), _) => why,
                (None, error) => {
                    error.copied().unwrap_or_else(|| unanswered((self.rules.what)(&object)))
                }
            };
            done.insert(object, Err(error));
        }
        Ok(done)
    }
}

/// Said of a denial that may be ours to answer for.
const PERHAPS_OURS: &str =
    "an earlier attempt of this call, whose answer was lost, may have done it";
