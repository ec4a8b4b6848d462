//! The demo's processes: one broker, and a process for each member of the group.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::event::{MemberEvent, unix_micros};

/// How long a process may take to start, and to end after it was asked to.
const PATIENCE: Duration = Duration::from_secs(10);

/// The broker, in a process and a folder of its own.
#[derive(Debug)]
pub(crate) struct BrokerProcess {
    child: Child,
    pub(crate) address: String,
    pub(crate) log: PathBuf,
}

impl BrokerProcess {
    /// Starts a broker on a free port and waits until it serves.
    pub(crate) async fn start(
        folder: &Path,
        properties: &[&str],
        keep: bool,
    ) -> anyhow::Result<Self> {
        let log = folder.join("broker.log");
        let stderr =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut command = this_program()?;
        command.args(["broker", "--listen", "127.0.0.1:0", "--log-format", "json", "--data"]);
        command.arg(folder.join("data"));
        for property in properties {
            command.args(["--set", property]);
        }
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(!keep)
            .spawn()
            .context("cannot start the broker's process")?;
        let stdout = child.stdout.take().context("the broker has no stdout")?;
        let mut lines = BufReader::new(stdout).lines();
        let ready = timeout(PATIENCE, lines.next_line())
            .await
            .context("the broker did not become ready in 10 s")?
            .context("cannot read the broker's stdout")?;
        let address = ready.as_deref().and_then(|l| l.strip_prefix("kohort broker ready on "));
        let Some(address) = address else {
            bail!("the broker did not start: {}", fs::read_to_string(&log).unwrap_or_default());
        };
        Ok(Self { address: address.to_owned(), child, log })
    }

    /// The process id.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Asks the broker to stop, and waits until it has.
    pub(crate) async fn stop(&mut self) -> anyhow::Result<()> {
        if let Some(pid) = self.child.id().and_then(|id| Pid::from_raw(id.cast_signed())) {
            kill_process(pid, Signal::TERM).context("cannot signal the broker")?;
        }
        let status = timeout(PATIENCE, self.child.wait())
            .await
            .context("the broker did not stop in 10 s")??;
        if !status.success() {
            bail!("the broker ended with {status}");
        }
        Ok(())
    }
}

/// What reaches the demo from a member's process.
#[derive(Debug)]
pub(crate) enum FromMember {
    /// A line of its stdout.
    Event(MemberEvent),
    /// Its stdout ended: the process is gone or going.
    Ended,
}

/// A member of the group, in a process of its own.
#[derive(Debug)]
pub(crate) struct MemberProcess {
    child: Child,
    stdin: Option<ChildStdin>,
    pub(crate) name: String,
    /// Whether the process is alive as far as the demo knows.
    pub(crate) alive: bool,
}

impl MemberProcess {
    /// Starts a member that reports to `events` under its index.
    pub(crate) fn start(
        index: usize,
        arguments: &[String],
        folder: &Path,
        keep: bool,
        events: mpsc::Sender<(usize, FromMember)>,
    ) -> anyhow::Result<Self> {
        let name = format!("member-{}", index + 1);
        let log = folder.join(format!("{name}.log"));
        let stderr =
            File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
        let mut child = this_program()?
            .arg("demo-member")
            .args(arguments)
            .args(["--name", &name])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(stderr)
            .kill_on_drop(!keep)
            .spawn()
            .with_context(|| format!("cannot start the process of {name}"))?;
        let stdin = child.stdin.take();
        let stdout = child.stdout.take().context("a member has no stdout")?;
        tokio::spawn(async move {
            let mut lines = BufReader::new(stdout).lines();
            // A line that is cut short by SIGKILL is no event.
            while let Ok(Some(line)) = lines.next_line().await {
                if let Ok(event) = serde_json::from_str(&line)
                    && events.send((index, FromMember::Event(event))).await.is_err()
                {
                    return;
                }
            }
            let _ = events.send((index, FromMember::Ended)).await;
        });
        Ok(Self { child, stdin, name, alive: true })
    }

    /// The process id.
    pub(crate) fn pid(&self) -> Option<u32> {
        self.child.id()
    }

    /// Kills the process with SIGKILL; returns the time by which it was gone.
    pub(crate) async fn kill(&mut self) -> anyhow::Result<u64> {
        self.child.kill().await.with_context(|| format!("cannot kill {}", self.name))?;
        self.alive = false;
        Ok(unix_micros())
    }

    /// Tells the member to leave the group and end.
    pub(crate) async fn leave(&mut self) {
        self.tell("leave\n").await;
    }

    /// Tells the member to stay after its parent is gone, and to stop reporting.
    pub(crate) async fn stay(&mut self) {
        self.tell("stay\n").await;
    }

    /// Waits until the process has ended.
    pub(crate) async fn wait(&mut self) -> anyhow::Result<()> {
        let status = timeout(PATIENCE, self.child.wait())
            .await
            .with_context(|| format!("{} did not end in 10 s", self.name))??;
        self.alive = false;
        if !status.success() {
            bail!("{} ended with {status}", self.name);
        }
        Ok(())
    }

    async fn tell(&mut self, word: &str) {
        if let Some(stdin) = &mut self.stdin {
            // A member that is gone already needs no telling.
            let _ = stdin.write_all(word.as_bytes()).await;
            let _ = stdin.flush().await;
        }
    }
}

fn this_program() -> anyhow::Result<Command> {
    Ok(Command::new(std::env::current_exe().context("cannot find this program's own file")?))
}
