//! Answers those who call a shard that does not serve.

use super::{ShardMessage, Survey};
use crate::stopping::stopped;
use kohort_protocol::ErrorCode;
use std::pin::pin;
use tokio::sync::{mpsc, watch};

/// Waits for what a shard needs before it can serve. Meanwhile callers are told at once that it loads.
/// `None` when the broker stops.
pub(super) async fn refusing<T>(
    calls: &mut mpsc::Receiver<ShardMessage>,
    surveys: &mut mpsc::Receiver<Survey>,
    stopping: &mut watch::Receiver<bool>,
    awaited: impl Future<Output = T>,
) -> Option<T> {
    let mut awaited = pin!(awaited);
    loop {
        tokio::select! {
            output = &mut awaited => return Some(output),
            Some(call) = calls.recv() => call.refuse(ErrorCode::COORDINATOR_LOAD_IN_PROGRESS),
            // Dropped, which says that nothing is known yet.
            Some(_) = surveys.recv() => {}
            () = stopped(stopping) => return None,
        }
    }
}

/// Takes no further calls and refuses those that are there.
pub(super) fn refuse_queued(calls: &mut mpsc::Receiver<ShardMessage>) {
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
        assert_eq!(refusing(&mut calls, &mut asked, &mut stopping, load).await, Some(true));
    }

    #[tokio::test]
    async fn a_broker_that_stops_does_not_wait_for_a_load() {
        let (_calls, mut calls) = mpsc::channel(1);
        let (_surveys, mut asked) = mpsc::channel(1);
        let (stop, mut stopping) = watch::channel(false);
        stop.send(true).unwrap();
        let never = std::future::pending::<()>();
        assert_eq!(refusing(&mut calls, &mut asked, &mut stopping, never).await, None);
    }
}
