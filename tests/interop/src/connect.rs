//! Kafka Connect with the file connectors: lines of one file arrive in another, through a topic,
//! with the worker and the broker restarted in between; standalone, and distributed with its three
//! compacted topics and a group whose protocol is not a consumer's.

use std::fs::{self, OpenOptions};
use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::hub::{Client, DRIVER_JVM};
use crate::places::free_port;
use crate::suite::{Test, World};

/// Returns the tests.
pub(crate) fn tests() -> Vec<Test> {
    vec![
        Test::new("connect::a_standalone_worker_copies_each_line_once_through_restarts", |world| {
            Worker::new(world, Mode::Standalone)?.standalone()
        }),
        Test::new("connect::a_distributed_worker_loses_no_line_when_killed", |world| {
            Worker::new(world, Mode::Distributed)?.distributed()
        }),
    ]
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    Standalone,
    Distributed,
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Self::Standalone => "standalone",
            Self::Distributed => "distributed",
        }
    }
}

/// A worker with a source that reads one file and a sink that writes another.
struct Worker<'a> {
    world: &'a mut World,
    mode: Mode,
    folder: TempDir,
    port: u16,
    process: Option<Child>,
    lines: usize,
}

impl<'a> Worker<'a> {
    fn new(world: &'a mut World, mode: Mode) -> Result<Self> {
        world.places.log(&log_name(mode))?;
        let folder = TempDir::new()?;
        let port = free_port()?;
        let worker = Self { world, mode, folder, port, process: None, lines: 0 };
        worker.write_properties()?;
        Ok(worker)
    }

    fn standalone(mut self) -> Result<()> {
        self.append(100)?;
        self.start()?;
        self.await_lines(100).context("first lines")?;
        self.restart_broker()?;
        self.append(50)?;
        self.await_lines(150).context("after a restart of the broker")?;
        self.stop()?;
        self.append(50)?;
        self.start()?;
        self.await_lines(200).context("after a restart of the worker")?;
        self.stop()?;
        ensure!(self.copied()? == self.written(), "a line came twice");
        Ok(())
    }

    fn distributed(mut self) -> Result<()> {
        self.append(100)?;
        self.start()?;
        for (name, configs) in self.connectors() {
            self.put(&format!("/connectors/{name}/config"), &configs)?;
        }
        self.await_lines(100).context("first lines")?;
        ensure!(self.copied()? == self.written(), "a line came twice though nothing happened");
        self.check_topics_and_group()?;
        self.restart_broker()?;
        self.append(50)?;
        self.await_lines(150).context("after a restart of the broker")?;

        let mut process = self.process.take().context("the worker runs")?;
        process.kill()?;
        process.wait()?;
        self.append(50)?;
        self.start()?;
        // It finds its connectors, and where they stopped, in its topics.
        self.await_lines(200).context("after the worker was killed")?;
        self.stop()
    }

    /// Waits until all lines are there, first copies in order; a killed worker may copy some twice.
    fn await_lines(&mut self, count: usize) -> Result<()> {
        ensure!(self.lines == count, "{} lines are written", self.lines);
        let deadline = Instant::now() + PATIENCE;
        loop {
            let mut first_copies: Vec<String> = Vec::new();
            for line in self.copied()? {
                if !first_copies.contains(&line) {
                    first_copies.push(line);
                }
            }
            if first_copies == self.written() {
                return Ok(());
            }
            if let Some(process) = &mut self.process
                && let Some(status) = process.try_wait()?
            {
                bail!("the worker ended with {status}");
            }
            ensure!(
                Instant::now() < deadline,
                "{} of {count} lines came, the last {:?}",
                first_copies.len(),
                first_copies.last()
            );
            thread::sleep(PAUSE);
        }
    }

    fn written(&self) -> Vec<String> {
        (0..self.lines).map(|number| format!("line {number}")).collect()
    }

    fn copied(&self) -> Result<Vec<String>> {
        match fs::read_to_string(self.file("out.txt")) {
            Ok(text) => Ok(text.lines().map(str::to_owned).collect()),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
            Err(error) => Err(error.into()),
        }
    }

    fn append(&mut self, count: usize) -> Result<()> {
        let path = self.file("in.txt");
        let mut file = OpenOptions::new().create(true).append(true).open(path)?;
        for number in self.lines..self.lines + count {
            writeln!(file, "line {number}")?;
        }
        self.lines += count;
        Ok(())
    }

    fn file(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn restart_broker(&mut self) -> Result<()> {
        self.world.broker.stop()?;
        self.world.broker.launch()?;
        Ok(())
    }

    fn connectors(&self) -> [(&'static str, Value); 2] {
        let topic = format!("connect-{}-lines", self.mode.name());
        [
            (
                "reader",
                json!({
                    "connector.class": "FileStreamSource",
                    "tasks.max": "1",
                    "file": self.file("in.txt").display().to_string(),
                    "topic": topic,
                }),
            ),
            (
                "writer",
                json!({
                    "connector.class": "FileStreamSink",
                    "tasks.max": "1",
                    "file": self.file("out.txt").display().to_string(),
                    "topics": topic,
                }),
            ),
        ]
    }

    fn write_properties(&self) -> Result<()> {
        let mut text = format!(
            "bootstrap.servers={}\n\
             listeners=HTTP://127.0.0.1:{}\n\
             key.converter=org.apache.kafka.connect.storage.StringConverter\n\
             value.converter=org.apache.kafka.connect.storage.StringConverter\n\
             plugin.discovery=service_load\n\
             offset.flush.interval.ms=500\n",
            self.world.broker.address(),
            self.port
        );
        match self.mode {
            Mode::Standalone => {
                let offsets = self.file("offsets");
                text += &format!("offset.storage.file.filename={}\n", offsets.display());
                for (name, configs) in self.connectors() {
                    let mut lines = format!("name={name}\n");
                    for (key, value) in configs.as_object().into_iter().flatten() {
                        lines += &format!("{key}={}\n", value.as_str().unwrap_or_default());
                    }
                    fs::write(self.file(&format!("{name}.properties")), lines)?;
                }
            }
            Mode::Distributed => text += DISTRIBUTED,
        }
        fs::write(self.file("worker.properties"), text)?;
        Ok(())
    }

    fn start(&mut self) -> Result<()> {
        let log = self.world.places.log_on(&log_name(self.mode))?;
        let mut java = Command::new("java");
        java.args(DRIVER_JVM).args(["-cp", &self.world.places.class_path()]);
        java.arg(match self.mode {
            Mode::Standalone => "org.apache.kafka.connect.cli.ConnectStandalone",
            Mode::Distributed => "org.apache.kafka.connect.cli.ConnectDistributed",
        });
        java.arg(self.file("worker.properties"));
        if self.mode == Mode::Standalone {
            java.args(["reader.properties", "writer.properties"].map(|name| self.file(name)));
        }
        let process = java.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        self.process = Some(process);
        Ok(())
    }

    /// Asks the worker to stop, which flushes what it did, and waits until it has.
    fn stop(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the worker does not run")?;
        let pid = process.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status()?;
        ensure!(sent.success(), "SIGTERM could not be sent to {pid}");
        let deadline = Instant::now() + PATIENCE;
        while process.try_wait()?.is_none() {
            if Instant::now() > deadline {
                process.kill()?;
                bail!("the worker did not stop");
            }
            thread::sleep(PAUSE);
        }
        Ok(())
    }

    /// Sends a document to the worker until it is taken: a worker answers before it is ready.
    fn put(&self, path: &str, body: &Value) -> Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let answer = self.request(path, &body.to_string()).unwrap_or_default();
            if answer.starts_with("HTTP/1.1 20") {
                return Ok(());
            }
            ensure!(Instant::now() < deadline, "{path} is answered with {answer:?}");
            thread::sleep(PAUSE);
        }
    }

    fn request(&self, path: &str, body: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        write!(
            stream,
            "PUT {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        )?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    }

    fn check_topics_and_group(&mut self) -> Result<()> {
        let driver = self.world.hub.driver(Client::Java)?;
        for topic in ["connect-configs", "connect-offsets", "connect-status"] {
            let command =
                json!({ "cmd": "configs.describe", "topic": topic, "key": "cleanup.policy" });
            let found = self.world.hub.call(driver, command)?;
            ensure!(found["value"] == "compact", "{topic} has {found}");
        }
        let address = self.world.broker.address();
        let command = json!({
            "cmd": "tool",
            "class": "org.apache.kafka.tools.GroupsCommand",
            "args": ["--bootstrap-server", address, "--list", "--protocol", "connect"],
        });
        let listed = self.world.hub.call(driver, command)?;
        let text = listed["stdout"].as_str().unwrap_or_default();
        let groups: Vec<Vec<&str>> =
            text.lines().skip(1).map(|line| line.split_whitespace().collect()).collect();
        ensure!(groups == [["connect-workers", "Classic", "connect"]], "groups: {text}");
        Ok(())
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended by itself: then there is nothing to kill.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn log_name(mode: Mode) -> String {
    format!("connect-{}", mode.name())
}

/// A short session: the worker that takes over waits for its end.
const DISTRIBUTED: &str = "\
group.id=connect-workers
config.storage.topic=connect-configs
offset.storage.topic=connect-offsets
offset.storage.partitions=5
status.storage.topic=connect-status
status.storage.partitions=2
config.storage.replication.factor=1
offset.storage.replication.factor=1
status.storage.replication.factor=1
session.timeout.ms=6000
heartbeat.interval.ms=1000
scheduled.rebalance.max.delay.ms=0
consumer.session.timeout.ms=6000
";
const PATIENCE: Duration = Duration::from_secs(60);
const PAUSE: Duration = Duration::from_millis(100);
