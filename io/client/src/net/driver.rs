//! The client's own thread.

use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use std::{future::Future, pin::Pin, thread};

use tokio::runtime::{Builder, Handle};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::NetError;
use super::timers::{Timers, after};

/// A thread with a current-thread runtime that everything of one client runs on.
///
/// Clones share the thread. It ends when the last clone is dropped or [`Driver::stop`] is called,
/// whatever still runs on it; dropping never blocks. A task that must outlive the client, such as
/// the goodbye to a group, holds a clone until it is done.
#[derive(Debug, Clone)]
pub struct Driver {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    runtime: Handle,
    timers: Timers,
    stop: watch::Sender<bool>,
}

impl Driver {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system has no thread, or the runtime no descriptors.
    pub fn start(name: &str) -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let handle = runtime.handle().clone();
        let timers = Timers::default();
        // Spawned here, so that nobody waits for a clock that is not there yet.
        runtime.spawn(timers.keep());
        let (stop, mut stopped) = watch::channel(false);
        thread::Builder::new().name(name.to_owned()).spawn(move || {
            // An error says that the last handle is gone, which is the other way to stop.
            let _ = runtime.block_on(stopped.wait_for(|stop| *stop));
            // A name lookup that hangs in the system must not keep the thread.
            runtime.shutdown_background();
        })?;
        Ok(Self { shared: Arc::new(Shared { runtime: handle, timers, stop }) })
    }

    /// Runs `future` on the thread and returns its result to any runtime. Dropping the returned
    /// future cancels `future` at its next await.
    ///
    /// # Errors
    /// [`NetError::DriverGone`] if the thread ends first.
    pub fn run<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
        &self,
        future: F,
    ) -> impl Future<Output = Result<T, NetError>> + Send + use<T, F> {
        Run(self.shared.runtime.spawn(future))
    }

    /// Waits by the thread's own clock: the caller's runtime, if there is one, may have no timers.
    ///
    /// # Errors
    /// [`NetError::DriverGone`] if the thread ends first.
    pub fn sleep_until(&self, at: Instant) -> impl Future<Output = Result<(), NetError>> + use<> {
        let deadline = self.shared.timers.until(at);
        async move { deadline.await.map_err(|_| NetError::DriverGone) }
    }

    /// Waits for a while; see [`sleep_until`](Self::sleep_until).
    ///
    /// # Errors
    /// As `sleep_until`.
    pub fn sleep(&self, time: Duration) -> impl Future<Output = Result<(), NetError>> + use<> {
        self.sleep_until(after(Instant::now(), time))
    }

    /// Starts a task on the thread that nobody needs to await.
    pub fn spawn<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> JoinHandle<T> {
        self.shared.runtime.spawn(future)
    }

    /// Ends the thread and all that runs on it.
    pub fn stop(&self) {
        self.shared.stop.send_replace(true);
    }
}

struct Run<T>(JoinHandle<T>);

impl<T> Future for Run<T> {
    type Output = Result<T, NetError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        Pin::new(&mut self.0).poll(cx).map(|result| match result {
            Ok(value) => Ok(value),
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(_cancelled) => Err(NetError::DriverGone),
            },
        })
    }
}

impl<T> Drop for Run<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Polls a future without any runtime around it.
    fn block_on<F: Future>(future: F) -> F::Output {
        struct Unpark(thread::Thread);
        impl std::task::Wake for Unpark {
            fn wake(self: Arc<Self>) {
                self.0.unpark();
            }
        }
        let waker = Arc::new(Unpark(thread::current())).into();
        let mut cx = Context::from_waker(&waker);
        let mut future = std::pin::pin!(future);
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut cx) {
                return value;
            }
            thread::park();
        }
    }

    #[test]
    fn work_runs_on_the_drivers_thread_and_returns_without_a_runtime() {
        let driver = Driver::start("a-driver").unwrap();
        let name = block_on(driver.run(async { thread::current().name().map(str::to_owned) }));
        assert_eq!(name.unwrap().as_deref(), Some("a-driver"));
    }

    #[test]
    fn a_runtime_without_timers_can_wait_all_the_same() {
        let driver = Driver::start("a-driver").unwrap();
        let timerless = Builder::new_current_thread().build().unwrap();
        let waited = timerless.block_on(async { driver.sleep(Duration::from_millis(1)).await });
        assert!(waited.is_ok());
        let until = timerless.block_on(async { driver.sleep_until(Instant::now()).await });
        assert!(until.is_ok());
    }

    #[test]
    fn work_on_a_stopped_driver_is_told_so() {
        let driver = Driver::start("a-driver").unwrap();
        let waiting = driver.run(std::future::pending::<()>());
        driver.stop();
        assert!(matches!(block_on(waiting), Err(NetError::DriverGone)));
        assert!(matches!(block_on(driver.run(async {})), Err(NetError::DriverGone)));
        let sleeping = driver.sleep(Duration::from_secs(60));
        assert!(matches!(block_on(sleeping), Err(NetError::DriverGone)));
    }
}
