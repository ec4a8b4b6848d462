//! Our client and command line on an Apache Kafka of 2022 (2.8, with ZooKeeper): what both sides know is
//! agreed on when a connection opens, and the rest is told as an error and not as a wrong answer.

use std::fs;
use std::io::Write as _;
use std::net::TcpStream;
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use tempfile::TempDir;

use crate::broker::{self, answers};
use crate::client::run_tests;
use crate::places::{Places, free_port};

/// Runs the integration tests of our client on it; returns whether all passed.
pub(crate) fn run(places: &Places) -> Result<bool> {
    let kafka = Older::start(places)?;
    let address = format!("127.0.0.1:{}", kafka.port);
    let variables = [("KOHORT_TEST_BOOTSTRAP", &*address), ("KOHORT_TEST_OLDER", "yes")];
    let passed = run_tests(places, "Kafka 2.8", TESTS, &[], &variables);
    drop(kafka);
    passed
}

/// The integration tests, by package.
const TESTS: &[(&str, &[&str])] = &[
    ("kohort", &["connection", "producer", "admin", "consumer", "consumer_endings", "examples"]),
    ("kohort-cli", &["commands"]),
];

/// ZooKeeper and a broker. Both are killed when this is dropped.
struct Older {
    port: u16,
    processes: Vec<Child>,
    _folder: TempDir,
}

impl Older {
    fn start(places: &Places) -> Result<Self> {
        let installed = places.peers.join("java-old/stamp").is_file();
        ensure!(installed, "Apache Kafka 2.8 is not installed: run `cargo xtask peers`");
        let folder = tempfile::Builder::new().prefix("kohort-older-").tempdir()?;
        let (port, keeper) = (free_port()?, free_port()?);
        let file = |name: &str, text: String| -> Result<String> {
            let path = folder.path().join(name);
            fs::write(&path, text)?;
            Ok(path.display().to_string())
        };
        let data = folder.path().display();
        let keeper_file = file(
            "zookeeper.properties",
            format!(
                "dataDir={data}/zookeeper\nclientPort={keeper}\nclientPortAddress=127.0.0.1\n\
                 admin.enableServer=false\nmaxClientCnxns=0\n"
            ),
        )?;
        let broker_file = file(
            "server.properties",
            format!(
                "broker.id=1\nzookeeper.connect=127.0.0.1:{keeper}\n\
                 listeners=PLAINTEXT://127.0.0.1:{port}\nlog.dirs={data}/data\n\
                 offsets.topic.replication.factor=1\n\
                 transaction.state.log.replication.factor=1\ntransaction.state.log.min.isr=1\n\
                 group.initial.rebalance.delay.ms=0\ngroup.min.session.timeout.ms=1000\n"
            ),
        )?;
        let mut older = Self { port, processes: Vec::new(), _folder: folder };
        older
            .launch(places, &["org.apache.zookeeper.server.quorum.QuorumPeerMain", &keeper_file])?;
        older.wait("ZooKeeper", || serves(keeper))?;
        older.launch(places, &["kafka.Kafka", &broker_file])?;
        older.wait("Kafka 2.8", || answers(port))?;
        Ok(older)
    }

    fn launch(&mut self, places: &Places, what: &[&str]) -> Result<()> {
        let log = places.log_on("kafka-2.8")?;
        let jars = places.peers.join("java-old/libs/*");
        let process = Command::new("java")
            .args(["-cp", &jars.display().to_string()])
            .arg("-Dorg.slf4j.simpleLogger.defaultLogLevel=warn")
            .args(broker::KAFKA_JVM)
            .args(what)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("java could not be started")?;
        self.processes.push(process);
        Ok(())
    }

    fn wait(&mut self, what: &str, ready: impl Fn() -> bool) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        while !ready() {
            for process in &mut self.processes {
                if let Some(status) = process.try_wait()? {
                    bail!("{what} ended with {status}: see kafka-2.8.log");
                }
            }
            if Instant::now() > deadline {
                bail!("{what} does not answer after {START_TIMEOUT:?}");
            }
            thread::sleep(POLL_PAUSE);
        }
        Ok(())
    }
}

impl Drop for Older {
    fn drop(&mut self) {
        // The broker before what it depends on.
        for process in self.processes.iter_mut().rev() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Whether something takes connections on the port.
fn serves(port: u16) -> bool {
    TcpStream::connect(("127.0.0.1", port))
        .is_ok_and(|mut stream| stream.write_all(b"ruok").is_ok())
}

const START_TIMEOUT: Duration = Duration::from_secs(60);
const POLL_PAUSE: Duration = Duration::from_millis(20);
