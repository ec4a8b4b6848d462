//! A broker under test as its own process: ours, or Apache Kafka as a single KRaft node.

use std::fs;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::places::{Places, free_port};

/// Which broker is under test.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Kind {
    /// Ours: the release binary `kohort`.
    Kohort,
    /// Apache Kafka 4.3, from its own jars.
    Kafka,
}

impl Kind {
    /// Returns the name for people and for log files.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Kohort => "kohort",
            Self::Kafka => "kafka",
        }
    }
}

/// A broker with its data folder. It is killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    kind: Kind,
    places: Places,
    jvm: &'static [&'static str],
    port: u16,
    /// Listeners beside the plain one.
    listeners: Vec<Listener>,
    /// Properties beside the defaults, by Kafka's names.
    properties: Vec<(String, String)>,
    folder: TempDir,
    process: Option<Child>,
}

/// A listener of Kafka beside the plain one.
#[derive(Debug, Clone)]
pub(crate) struct Listener {
    /// Its name, which is in its properties too.
    pub(crate) name: &'static str,
    /// What it speaks, in Kafka's words.
    pub(crate) protocol: &'static str,
    /// Its host and port.
    pub(crate) port: u16,
    /// What it tells clients its port is.
    pub(crate) advertised: u16,
}

/// Broker properties by Kafka's names.
pub(crate) type Properties = &'static [(&'static str, &'static str)];

impl Broker {
    /// Starts a broker on a free port with an empty data folder, and waits until it answers.
    pub(crate) fn start_with(kind: Kind, places: &Places, properties: Properties) -> Result<Self> {
        let mut broker = Self::prepare(kind, places, KAFKA_JVM, Vec::new(), owned(properties))?;
        broker.launch()?;
        Ok(broker)
    }

    /// Starts our broker where clients are sent to another port, that of a proxy.
    pub(crate) fn start_proxied(
        places: &Places,
        proxy: u16,
        properties: Properties,
    ) -> Result<Self> {
        let mut properties = owned(properties);
        let advertised = format!("PLAINTEXT://127.0.0.1:{proxy}");
        properties.push(("advertised.listeners".to_owned(), advertised));
        let mut broker = Self::prepare(Kind::Kohort, places, KAFKA_JVM, Vec::new(), properties)?;
        broker.launch()?;
        Ok(broker)
    }

    /// Sets a property from the next start on, or with `None` no longer.
    pub(crate) fn set(&mut self, name: &str, value: Option<String>) {
        self.properties.retain(|(set, _)| set != name);
        self.properties.extend(value.map(|value| (name.to_owned(), value)));
    }

    /// Starts Kafka with more listeners.
    pub(crate) fn start_kafka_with_listeners(
        places: &Places,
        listeners: Vec<Listener>,
        properties: Vec<(String, String)>,
    ) -> Result<Self> {
        let mut broker = Self::prepare(Kind::Kafka, places, KAFKA_JVM, listeners, properties)?;
        broker.launch()?;
        Ok(broker)
    }

    /// Starts Kafka with a second listener that advertises another port, where a proxy may be put;
    /// returns the ports of both.
    pub(crate) fn start_kafka_with_proxied_listener(
        places: &Places,
        properties: Properties,
    ) -> Result<(Self, u16, u16)> {
        let (port, proxy) = (free_port()?, free_port()?);
        let proxied = Listener { name: "PROXIED", protocol: "PLAINTEXT", port, advertised: proxy };
        let broker = Self::start_kafka_with_listeners(places, vec![proxied], owned(properties))?;
        Ok((broker, port, proxy))
    }

    /// Prepares a broker to be measured: Kafka with the heap and collector of its start script.
    pub(crate) fn prepare_full_size(
        kind: Kind,
        places: &Places,
        properties: Properties,
    ) -> Result<Self> {
        Self::prepare(kind, places, KAFKA_JVM_FULL_SIZE, Vec::new(), owned(properties))
    }

    fn prepare(
        kind: Kind,
        places: &Places,
        jvm: &'static [&'static str],
        listeners: Vec<Listener>,
        properties: Vec<(String, String)>,
    ) -> Result<Self> {
        // The log file of the last run is not continued.
        places.log(kind.name())?;
        let folder = tempfile::Builder::new().prefix("kohort-interop-").tempdir()?;
        let broker = Self {
            kind,
            places: places.clone(),
            jvm,
            port: free_port()?,
            listeners,
            properties,
            folder,
            process: None,
        };
        if kind == Kind::Kafka {
            broker.format()?;
        }
        Ok(broker)
    }

    /// Returns `host:port`.
    pub(crate) fn address(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }

    /// Returns the data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// Returns the process id of the running broker.
    pub(crate) fn pid(&self) -> Result<u32> {
        Ok(self.process.as_ref().context("the broker is not running")?.id())
    }

    /// Asks the broker to stop, as a service manager does, and waits until it has.
    pub(crate) fn stop(&mut self) -> Result<ExitStatus> {
        let mut process = self.process.take().context("the broker is not running")?;
        let pid = process.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status()?;
        ensure!(sent.success(), "SIGTERM could not be sent to {pid}");
        let deadline = Instant::now() + STOP_TIMEOUT;
        loop {
            if let Some(status) = process.try_wait()? {
                return Ok(status);
            }
            if Instant::now() > deadline {
                process.kill()?;
                process.wait()?;
                bail!("{} did not stop within {STOP_TIMEOUT:?} of SIGTERM", self.kind.name());
            }
            thread::sleep(POLL_PAUSE);
        }
    }

    /// Kills the broker with SIGKILL and waits until it is gone.
    pub(crate) fn kill(&mut self) -> Result<()> {
        let mut process = self.process.take().context("the broker is not running")?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Starts the broker again on its port and data; returns how long it took to answer.
    pub(crate) fn launch(&mut self) -> Result<Duration> {
        let started = Instant::now();
        match self.kind {
            Kind::Kohort => self.launch_kohort()?,
            Kind::Kafka => self.launch_kafka()?,
        }
        self.await_answer()?;
        Ok(started.elapsed())
    }

    fn launch_kohort(&mut self) -> Result<()> {
        ensure!(
            self.places.kohort.is_file(),
            "no broker at {}: run `cargo xtask test --only build`",
            self.places.kohort.display()
        );
        let mut process = Command::new(&self.places.kohort)
            .args(["broker", "--listen", &self.address(), "--data"])
            .arg(self.data())
            .args(
                self.properties
                    .iter()
                    .flat_map(|(name, value)| ["--set".to_owned(), format!("{name}={value}")]),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(self.places.log_on(self.kind.name())?)
            .spawn()?;
        let stdout = process.stdout.take().context("stdout is piped")?;
        self.process = Some(process);
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line)?;
        let expected = format!("kohort broker ready on {}\n", self.address());
        ensure!(line == expected, "the broker said {line:?} instead of {expected:?}");
        Ok(())
    }

    fn launch_kafka(&mut self) -> Result<()> {
        let log = self.places.log_on(self.kind.name())?;
        let process = self
            .java()
            .args(self.jvm)
            .arg("kafka.Kafka")
            .arg(self.folder.path().join("server.properties"))
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()?;
        self.process = Some(process);
        Ok(())
    }

    fn java(&self) -> Command {
        let mut java = Command::new("java");
        java.args(["-cp", &self.places.class_path()]);
        java.arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn");
        java
    }

    fn format(&self) -> Result<()> {
        let controller = free_port()?;
        let properties = self.folder.path().join("server.properties");
        let mut text = kafka_properties(self.port, controller, &self.listeners, &self.data());
        for (name, value) in &self.properties {
            text.push_str(&format!("{name}={value}\n"));
        }
        fs::write(&properties, text)?;
        let log = self.places.log_on(self.kind.name())?;
        let status = self
            .java()
            .args(["kafka.tools.StorageTool", "format", "--standalone"])
            // Of Kafka's features this one is for replicas only: it would add a cluster-wide setting
            // to what every topic shows.
            .args(["--feature", "eligible.leader.replicas.version=0"])
            .args(["--cluster-id", "a29ob3J0LWludGVyb3AxMg", "--config"])
            .arg(&properties)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .status()?;
        ensure!(status.success(), "StorageTool ended with {status}: see kafka.log");
        Ok(())
    }

    /// Waits until an ApiVersions request is answered.
    fn await_answer(&mut self) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        loop {
            if answers(self.port) {
                return Ok(());
            }
            if let Some(process) = &mut self.process
                && let Some(status) = process.try_wait()?
            {
                bail!("{} ended with {status} instead of serving", self.kind.name());
            }
            if Instant::now() > deadline {
                bail!("{} does not answer after {START_TIMEOUT:?}", self.kind.name());
            }
            thread::sleep(POLL_PAUSE);
        }
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            // It may have ended by itself: then there is nothing to kill.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Returns whether something on the port answers an ApiVersions request of version 0.
pub(crate) fn answers(port: u16) -> bool {
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    let Ok(mut stream) = TcpStream::connect_timeout(&address, Duration::from_secs(1)) else {
        return false;
    };
    let mut answer = [0; 10];
    stream.set_read_timeout(Some(Duration::from_secs(1))).is_ok()
        && stream.write_all(API_VERSIONS).is_ok()
        && stream.read_exact(&mut answer).is_ok()
        && answer[8..] == [0, 0]
}

fn owned(properties: Properties) -> Vec<(String, String)> {
    properties.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn kafka_properties(port: u16, controller: u16, more: &[Listener], data: &Path) -> String {
    let at = |name: &str, port: u16| format!("{name}://127.0.0.1:{port}");
    let mut listeners = at("PLAINTEXT", port);
    let mut advertised = listeners.clone();
    let mut protocols = "PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT".to_owned();
    for Listener { name, protocol, port, advertised: told } in more {
        listeners.push_str(&format!(",{}", at(name, *port)));
        // The name certificates are for.
        let host = if protocol.ends_with("SSL") { "localhost" } else { "127.0.0.1" };
        advertised.push_str(&format!(",{name}://{host}:{told}"));
        protocols.push_str(&format!(",{name}:{protocol}"));
    }
    // One node needs replication factors of one, and a short session with its own controller: after
    // a SIGKILL it is let in again only when its last session is over.
    format!(
        "process.roles=broker,controller\n\
         node.id=1\n\
         controller.quorum.bootstrap.servers=127.0.0.1:{controller}\n\
         listeners={listeners},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners={advertised}\n\
         listener.security.protocol.map={protocols}\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={}\n\
         offsets.topic.replication.factor=1\n\
         transaction.state.log.replication.factor=1\n\
         transaction.state.log.min.isr=1\n\
         share.coordinator.state.topic.replication.factor=1\n\
         share.coordinator.state.topic.min.isr=1\n\
         broker.session.timeout.ms=2000\n\
         broker.heartbeat.interval.ms=500\n",
        data.display()
    )
}

/// ApiVersions, version 0, correlation id 1, null client id.
const API_VERSIONS: &[u8] = &[0, 0, 0, 10, 0, 18, 0, 0, 0, 0, 0, 1, 255, 255];
const POLL_PAUSE: Duration = Duration::from_millis(1);
/// Kafka replays its logs after a SIGKILL and shares two cores with its clients.
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
/// A small heap and the quick compiler: the suites are about answers, not speed.
pub(crate) const KAFKA_JVM: &[&str] = &["-Xmx512m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
/// What `kafka-server-start` gives the JVM.
const KAFKA_JVM_FULL_SIZE: &[&str] = &[
    "-Xmx1G",
    "-Xms1G",
    "-server",
    "-XX:+UseG1GC",
    "-XX:MaxGCPauseMillis=20",
    "-XX:InitiatingHeapOccupancyPercent=35",
    "-XX:+ExplicitGCInvokesConcurrent",
];
