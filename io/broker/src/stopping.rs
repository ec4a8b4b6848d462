//! The signal that ends every task of a broker.

use tokio::sync::watch;

/// Waits until `stopping` is true, or nobody is left to say so.
pub(crate) async fn stopped(stopping: &mut watch::Receiver<bool>) {
    let _ = stopping.wait_for(|stopping| *stopping).await;
}
