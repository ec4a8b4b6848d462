//! Runs the `kohort` binary as a user would.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]
#![allow(dead_code, reason = "each test file uses a part of this")]

pub(crate) mod small_disk;
pub(crate) mod wire;

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicU16, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

/// Nothing here takes this long unless it hangs.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// A broker to run verbs against: a `kohort broker` that is killed when dropped, or a foreign one.
pub(crate) struct Broker {
    child: Option<Child>,
    /// Its data folder, if nobody else keeps it.
    folder: Option<TempDir>,
    pub(crate) address: String,
}

impl Broker {
    /// Returns the broker at `KOHORT_TEST_BOOTSTRAP`, shared with other tests and not empty, else
    /// starts one.
    pub(crate) fn to_test_with() -> Self {
        if let Ok(address) = std::env::var("KOHORT_TEST_BOOTSTRAP") {
            return Self { child: None, folder: None, address };
        }
        let folder = tempfile::tempdir().unwrap();
        let mut broker = Self::start(folder.path(), &["group.initial.rebalance.delay.ms=0"]);
        broker.folder = Some(folder);
        broker
    }

    /// Starts a broker on a free port and waits until it serves.
    pub(crate) fn start(data: &Path, properties: &[&str]) -> Self {
        Self::spawned(broker_command(data, properties))
    }

    /// Starts a broker by a command and waits until it serves.
    pub(crate) fn spawned(mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        let Some(address) = line.trim_end().strip_prefix("kohort broker ready on ") else {
            let mut words = String::new();
            child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
            panic!("the broker said `{line}` and `{words}`");
        };
        Self { address: address.to_owned(), folder: None, child: Some(child) }
    }

    /// Sends SIGTERM and returns the exit status.
    pub(crate) fn terminate(self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.wait()
    }

    /// Sends a signal.
    pub(crate) fn signal(&self, signal: Signal) {
        let pid = self.child.as_ref().unwrap().id().cast_signed();
        kill_process(Pid::from_raw(pid).unwrap(), signal).unwrap();
    }

    /// Returns the exit status, once it ends.
    pub(crate) fn wait(mut self) -> Option<i32> {
        wait(&mut self.child.take().unwrap())
    }

    /// Kills it with SIGKILL and returns what it said on stderr.
    pub(crate) fn kill(mut self) -> String {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        let mut words = String::new();
        child.stderr.take().unwrap().read_to_string(&mut words).unwrap();
        words
    }

    /// Waits until its log says each of `words`, in this order, and kills it with SIGKILL.
    pub(crate) fn kill_once_said(mut self, words: &[&str]) {
        let child = self.child.as_mut().unwrap();
        let stderr = BufReader::new(child.stderr.take().unwrap());
        let (sender, lines) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            stderr.lines().map_while(Result::ok).try_for_each(|line| sender.send(line).ok())
        });
        for word in words {
            let mut said = String::new();
            while !said.contains(word) {
                let line = lines.recv_timeout(PATIENCE);
                said.push_str(&line.unwrap_or_else(|_| panic!("no `{word}` in {said}")));
            }
        }
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Runs `kohort` with these arguments against this broker.
    pub(crate) fn run(&self, arguments: &[&str], input: &str) -> Output {
        kohort(arguments, input, &[("KOHORT_BOOTSTRAP_SERVERS", &self.address)])
    }

    /// Runs `kohort`, which must succeed, and returns its stdout.
    pub(crate) fn stdout(&self, arguments: &[&str], input: &str) -> String {
        let output = self.run(arguments, input);
        assert!(output.status.success(), "{arguments:?}: {}", words(&output));
        String::from_utf8(output.stdout).unwrap()
    }

    /// Creates a topic with one partition and waits until the broker shows it: Kafka answers before
    /// that.
    pub(crate) fn create(&self, topic: &str) {
        self.stdout(&["topic", "create", topic, "--partitions", "1"], "");
        self.until("it is shown", || self.run(&["topic", "describe", topic], "").status.success());
    }

    /// Waits until `done` holds, with patience.
    pub(crate) fn until(&self, what: &str, mut done: impl FnMut() -> bool) {
        let deadline = Instant::now() + PATIENCE;
        while !done() {
            assert!(Instant::now() < deadline, "not in time on {}: {what}", self.address);
            std::thread::sleep(Duration::from_millis(5));
        }
    }

    /// Runs `kohort`, which must fail with status 1, and returns its stderr.
    pub(crate) fn refusal(&self, arguments: &[&str]) -> String {
        let output = self.run(arguments, "");
        assert_eq!(output.status.code(), Some(1), "{arguments:?}: {}", words(&output));
        words(&output)
    }

    /// Starts `kohort` against this broker and leaves it running.
    pub(crate) fn spawn(&self, arguments: &[&str]) -> Child {
        Command::new(env!("CARGO_BIN_EXE_kohort"))
            .args(arguments)
            .env("KOHORT_BOOTSTRAP_SERVERS", &self.address)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// Returns a name that no other test has and no earlier run had.
pub(crate) fn unique(name: &str) -> String {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    let now = std::time::UNIX_EPOCH.elapsed().unwrap().as_micros();
    format!("{name}-{now}-{}", NEXT.fetch_add(1, Ordering::Relaxed))
}

/// Returns an address for a listener that cannot tell its own. A free port of 127.0.0.1 may be given to anybody
/// before it listens; of the other addresses of this machine nobody is given a port unasked.
pub(crate) fn own_address() -> SocketAddr {
    static NEXT_PORT: AtomicU16 = AtomicU16::new(9092);
    let [_, high, middle, low] = std::process::id().to_be_bytes();
    ([127, 1 + high, middle, low], NEXT_PORT.fetch_add(1, Ordering::Relaxed)).into()
}

/// `kohort broker` on a free port, with everything piped.
pub(crate) fn broker_command(data: &Path, properties: &[&str]) -> Command {
    let mut command = command(&["broker", "--listen", "127.0.0.1:0", "--data"]);
    command.arg(data);
    for property in properties {
        command.args(["--set", property]);
    }
    command
}

/// `kohort` with these arguments, to be read from.
pub(crate) fn command(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kohort"));
    command.args(arguments);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

/// Runs `kohort` to its end.
pub(crate) fn kohort(arguments: &[&str], input: &str, environment: &[(&str, &str)]) -> Output {
    let mut child = Command::new(env!("CARGO_BIN_EXE_kohort"))
        .args(arguments)
        .envs(environment.iter().copied())
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A command that fails early may not read its input.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    child.wait_with_output().unwrap()
}

/// What a process said on stderr.
pub(crate) fn words(output: &Output) -> String {
    String::from_utf8_lossy(&output.stderr).into_owned()
}

/// Waits for a process to end, with patience; returns its exit code.
pub(crate) fn wait(child: &mut Child) -> Option<i32> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status.code();
        }
        assert!(Instant::now() < deadline, "the process did not end");
        std::thread::sleep(Duration::from_millis(5));
    }
}
