//! Answers those who call a shard that does not serve.

use super::{Queued, Survey};
use crate::stopping::stopped;
use kohort_coordinator::GroupRequest;
use kohort_protocol::ErrorCode;
use kohort_protocol::messages::ListGroupsResponse;
use std::pin::pin;
use tokio::sync::{mpsc, watch};

/// Why a shard does not serve.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unready {
    /// It reads its log. *Answers*: COORDINATOR_LOAD_IN_PROGRESS, also to who lists groups: a list that
    /// lacks some looks complete.
    Loading,
    /// Its log cannot be read until somebody mends it. *Answers*: NOT_COORDINATOR, after which clients look
    /// the coordinator up again, with a back-off; who lists groups is told of none, as in Kafka: one
    /// damaged file must not hide every other group.
    Failed,
}

impl Unready {
    fn answer(self, queued: Queued) {
        let Some(call) = queued.into_call() else { return };
        match (self, &call.call.request) {
            (Self::Loading, _) => call.refuse(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
            (Self::Failed, GroupRequest::ListGroups(_)) => {
                // Whoever asked may be gone.
                let _ = call.reply.send(ListGroupsResponse::default().into());
            }
            (Self::Failed, _) => call.refuse(ErrorCode::NOT_COORDINATOR),
        }
    }
}

/// Waits for what a shard needs before it can serve. Meanwhile callers are told at once why it does not.
/// `None` when the broker stops.
pub(super) async fn refusing<T>(
    calls: &mut mpsc::Receiver<Queued>,
    surveys: &mut mpsc::Receiver<Survey>,
    stopping: &mut watch::Receiver<bool>,
    unready: Unready,
    awaited: impl Future<Output = T>,
) -> Option<T> {
    let mut awaited = pin!(awaited);
    loop {
        tokio::select! {
            output = &mut awaited => return Some(output),
            Some(call) = calls.recv() => unready.answer(call),
            // Dropped, which says that nothing is known yet.
            Some(_) = surveys.recv() => {}
            () = stopped(stopping) => return None,
        }
    }
}

/// Takes no further calls and refuses those that are there.
pub(super) fn refuse_queued(calls: &mut mpsc::Receiver<Queued>) {
    calls.close();
    while let Ok(call) = calls.try_recv() {
        call.refuse(ErrorCode::NOT_COORDINATOR);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::oneshot;

    #[tokio::test]
    async fn whoever_asks_while_a_shard_loads_hears_so_before_the_load_is_over() {
        let (_calls, mut calls) = mpsc::channel(1);
        let (surveys, mut asked) = mpsc::channel(1);
        let (_stop, mut stopping) = watch::channel(false);
        let (reply, answer) = oneshot::channel();
        surveys.send(Survey { after: None, offsets_max: 0, reply }).await.unwrap();
        let load = async { answer.await.is_err() };
        assert_eq!(
            refusing(&mut calls, &mut asked, &mut stopping, Unready::Loading, load).await,
            Some(true)
        );
    }

    #[tokio::test]
    async fn a_broker_that_stops_does_not_wait_for_a_load() {
        let (_calls, mut calls) = mpsc::channel(1);
        let (_surveys, mut asked) = mpsc::channel(1);
        let (stop, mut stopping) = watch::channel(false);
        stop.send(true).unwrap();
        let never = std::future::pending::<()>();
        assert_eq!(
            refusing(&mut calls, &mut asked, &mut stopping, Unready::Loading, never).await,
            None
        );
    }
}
