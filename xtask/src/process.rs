//! Runs other programs: cargo with its output passed through, installers with their output in a log
//! file under `target/` that is shown only when they fail.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};

/// Where the workspace and its `target` folder are.
pub(crate) struct Workspace {
    pub(crate) root: PathBuf,
    pub(crate) target: PathBuf,
}

impl Workspace {
    /// Finds the workspace from the folder this program was built in.
    pub(crate) fn find() -> Result<Self> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = manifest.parent().context("xtask/ has no parent folder")?.to_path_buf();
        let target = match std::env::var_os("CARGO_TARGET_DIR") {
            Some(folder) => root.join(folder),
            None => root.join("target"),
        };
        Ok(Self { root, target })
    }

    /// Returns the folder the peers are installed in.
    pub(crate) fn peers(&self) -> PathBuf {
        self.target.join("peers")
    }

    /// Returns a cargo command in the workspace, using the cargo that started this program.
    pub(crate) fn cargo(&self, arguments: &[&str]) -> Command {
        let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
        let mut command = Command::new(cargo);
        command.current_dir(&self.root).args(arguments);
        command
    }
}

/// Runs a command with our own stdout and stderr and fails when it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let shown = show(command);
    println!("   $ {shown}");
    let status = command.status().with_context(|| format!("`{shown}` could not be started"))?;
    if !status.success() {
        bail!("`{shown}` ended with {status}");
    }
    Ok(())
}

/// Runs a command with its output in a log file; the log is printed when the command fails.
pub(crate) fn run_logged(command: &mut Command, log: &Path) -> Result<()> {
    let shown = show(command);
    let file = File::create(log).with_context(|| format!("cannot write {}", log.display()))?;
    let status = command
        .stdin(Stdio::null())
        .stdout(file.try_clone()?)
        .stderr(file)
        .status()
        .with_context(|| format!("`{shown}` could not be started"))?;
    if !status.success() {
        let output = fs::read_to_string(log).unwrap_or_default();
        println!("{output}");
        bail!("`{shown}` ended with {status}; its output is above and in {}", log.display());
    }
    Ok(())
}

/// Runs something that downloads. Registries fail now and then, so it gets [`DOWNLOAD_TRIES`].
pub(crate) fn with_retries(what: &str, mut attempt: impl FnMut() -> Result<()>) -> Result<()> {
    let mut pause = FIRST_PAUSE;
    for round in 1..DOWNLOAD_TRIES {
        match attempt() {
            Ok(()) => return Ok(()),
            Err(error) => {
                println!("   {what}: try {round} of {DOWNLOAD_TRIES} failed: {error:#}");
                println!("   trying again in {} s", pause.as_secs());
                thread::sleep(pause);
                pause *= 3;
            }
        }
    }
    attempt().with_context(|| format!("{what} failed {DOWNLOAD_TRIES} times"))
}

fn show(command: &Command) -> String {
    let mut words = vec![file_name(Path::new(command.get_program()))];
    words.extend(command.get_args().map(|word| word.to_string_lossy().into_owned()));
    words.join(" ")
}

fn file_name(path: &Path) -> String {
    path.file_name().unwrap_or(path.as_os_str()).to_string_lossy().into_owned()
}

/// How often a download is tried: a registry that fails three times in a row is down, not flaky.
const DOWNLOAD_TRIES: u32 = 3;
/// The pause after the first failure; each later one is three times as long.
const FIRST_PAUSE: Duration = Duration::from_secs(5);
