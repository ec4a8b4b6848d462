//! The signal that ends every task of a broker, and the wait until they have.

use std::pin::pin;
use std::time::Duration;
use tokio::sync::watch;
use tokio::time::timeout;
use tracing::info;

/// Waits until `stopping` is true, or nobody is left to say so.
pub(crate) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}

/// How often somebody who waits for the end hears what it waits for.
const TELL_EVERY: Duration = Duration::from_secs(5);

/// Waits for `work`, and tells now and then that the stop waits for `what`.
pub(crate) async fn waiting_for<T>(what: &str, work: impl Future<Output = T>) -> T {
    let mut waited = Duration::ZERO;
    telling(TELL_EVERY, work, || {
        waited += TELL_EVERY;
        info!(waits_for = what, seconds = waited.as_secs(), "the broker is still stopping");
    })
    .await
}

async fn telling<T>(every: Duration, work: impl Future<Output = T>, mut tell: impl FnMut()) -> T {
    let mut work = pin!(work);
    loop {
        match timeout(every, &mut work).await {
            Ok(done) => return done,
            Err(_) => tell(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::sync::Semaphore;

    #[tokio::test]
    async fn who_waits_long_for_the_end_is_told_again_and_again() {
        let told = Semaphore::new(0);
        let work = async { told.acquire_many(3).await.is_ok() };
        assert!(telling(Duration::from_millis(1), work, || told.add_permits(1)).await);
    }
}
