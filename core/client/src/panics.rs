//! What is the application's and runs on a client's thread (an assignor, a callback, a source of tokens)
//! may panic. That ends what it was to do, and not the client.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// Runs what is the application's; if it panics, returns what it said. What it leaves half done is its
/// own: nothing of ours may be changed inside.
///
/// ```
/// use kohort_client_core::panics::caught;
///
/// assert_eq!(caught(|| 7), Ok(7));
/// assert_eq!(caught(|| panic!("no {}", 8)), Err::<(), _>("no 8".to_owned()));
/// ```
pub fn caught<T>(run: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(run)).map_err(|panic| said(&*panic))
}

fn said(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().map(|text| (*text).to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned()).unwrap_or_else(|| "a panic".to_owned())
}
