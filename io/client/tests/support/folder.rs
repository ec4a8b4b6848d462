//! Folders of tests: they go when the test is over, and stay where it fails.

use std::ops::Deref;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use tempfile::TempDir;

/// A folder inside the build's own, which goes with the last that holds it. In a test that fails it stays,
/// and is named.
#[derive(Clone)]
pub struct Folder(Arc<Kept>);

struct Kept(TempDir);

/// Returns an empty folder.
pub fn folder() -> Folder {
    Folder(Arc::new(Kept(tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR")).unwrap())))
}

impl Deref for Folder {
    type Target = Path;

    fn deref(&self) -> &Path {
        self.0.0.path()
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.disable_cleanup(true);
            eprintln!("the test's folder is kept: {}", self.0.path().display());
        }
    }
}

/// Has a folder removed when this process ends, however it does: what all tests of a process share is
/// dropped by none of them.
pub fn goes_with_the_process(folder: &Folder) {
    // Nothing is written to it: it reads the end of its input when this process is gone.
    let remover = Command::new("sh")
        .args(["-c", "cat && rm -r \"$0\""])
        .arg(&**folder)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    std::mem::forget(remover);
}
