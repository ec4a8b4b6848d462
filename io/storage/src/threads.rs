//! The threads of a folder, none of which it can do without.
//!
//! What waits for a thread that panicked would wait for ever: an append for its commit, the log for the
//! checkpoint that frees it, a disk for what is deleted or compacted. Only a new start mends that, so a
//! panic ends the folder, as a failed disk does. A panic over one partition's records is another matter: the
//! cleaner leaves that partition alone and goes on ([`cleaner`](crate::cleaner)).

use std::fmt;
use std::io;
use std::sync::Arc;
use std::thread::{Builder, JoinHandle, panicking};

use crate::error::{FatalError, StorageError};
use crate::partition_log::Shared;

/// Starts a thread of a folder, `kohort-NAME`.
pub(crate) fn spawn(
    shared: &Arc<Shared>,
    name: &'static str,
    body: impl FnOnce() + Send + 'static,
) -> io::Result<JoinHandle<()>> {
    let fails = FailsOnPanic { name, shared: Arc::clone(shared) };
    Builder::new().name(format!("kohort-{name}")).spawn(move || {
        let _fails = fails;
        body();
    })
}

/// Ends the folder if its thread panics.
struct FailsOnPanic {
    name: &'static str,
    shared: Arc<Shared>,
}

impl Drop for FailsOnPanic {
    fn drop(&mut self) {
        if panicking() {
            let shared = &self.shared;
            let fatal = shared.fail("working", io::Error::other(Panicked(self.name)));
            shared.close_queue();
            let mut waiting = Vec::new();
            shared.queue.take(&mut waiting, false);
            for done in waiting.into_iter().filter_map(|pending| pending.done) {
                done(Err(StorageError::Fatal(Arc::clone(&fatal))));
            }
        }
    }
}

/// A thread panicked.
#[derive(Debug)]
struct Panicked(&'static str);

impl fmt::Display for Panicked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the thread kohort-{}", self.0)
    }
}

impl std::error::Error for Panicked {}

impl FatalError {
    /// Returns what panicked, if that is what happened and no failure of the disk.
    pub fn panicked(&self) -> Option<String> {
        self.reason.get_ref()?.downcast_ref::<Panicked>().map(ToString::to_string)
    }

    /// Returns what to do about it.
    pub(crate) fn next_step(&self) -> &'static str {
        if self.panicked().is_some() {
            "start the broker again"
        } else {
            "start the broker again once the disk can be trusted"
        }
    }
}

impl fmt::Display for FatalError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.panicked(), self) {
            (Some(thread), _) => write!(
                f,
                "{thread} panicked; the broker must stop, because nobody does its work any more"
            ),
            (None, FatalError { doing, reason }) => write!(
                f,
                "the disk failed while {doing}: {reason}; the broker must stop, because what the \
                 disk holds is no longer known"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_is_told_what_ended_the_folder_is_told_what_to_do_about_it() {
        let fatal = |reason| FatalError { doing: "working".to_owned(), reason };
        let panicked = fatal(io::Error::other(Panicked("cleaner")));
        assert_eq!(
            (panicked.to_string().as_str(), panicked.next_step()),
            (
                "the thread kohort-cleaner panicked; the broker must stop, because nobody does its work any more",
                "start the broker again"
            )
        );
        let failed = fatal(io::Error::other("the device is gone"));
        assert_eq!(failed.next_step(), "start the broker again once the disk can be trusted");
    }
}
