//! Apache Kafka as a cluster of three nodes on loopback, each broker and controller at once.

use std::fs;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use tempfile::TempDir;

use crate::places::{Places, free_port};

/// Three nodes with ids 1 to 3, in the racks `r1` to `r3`. They are killed when this is dropped.
#[derive(Debug)]
pub(crate) struct Nodes {
    places: Places,
    folder: TempDir,
    all: Vec<Node>,
}

#[derive(Debug)]
struct Node {
    id: i32,
    port: u16,
    process: Option<Child>,
}

impl Nodes {
    /// Starts three nodes with empty data folders, and waits until all answer.
    pub(crate) fn start(places: &Places) -> Result<Self> {
        Self::start_with(places, "")
    }

    /// Starts them with more properties, a line for each.
    pub(crate) fn start_with(places: &Places, more: &str) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("kohort-nodes-").tempdir()?;
        let mut ports = Vec::new();
        for _ in 0..NODES {
            ports.push((free_port()?, free_port()?));
        }
        let node = |(index, (port, _)): (usize, &(u16, u16))| Node {
            id: index as i32 + 1,
            port: *port,
            process: None,
        };
        let all = ports.iter().enumerate().map(node).collect();
        let mut nodes = Self { places: places.clone(), folder, all };
        let voters: Vec<String> = (1..)
            .zip(&ports)
            .map(|(id, (_, controller))| format!("{id}@127.0.0.1:{controller}"))
            .collect();
        for (index, (port, controller)) in ports.iter().enumerate() {
            let id = index as i32 + 1;
            let own = properties(id, *port, *controller, &voters.join(","), &nodes.data(id));
            let text = own + more;
            fs::write(nodes.properties(id), text)?;
            places.log(&log_name(id))?;
        }
        let formats: Vec<Child> =
            (1..=NODES).map(|id| nodes.format(id)).collect::<Result<Vec<_>>>()?;
        for mut format in formats {
            ensure!(format.wait()?.success(), "StorageTool failed: see kafka-node-*.log");
        }
        for id in 1..=NODES {
            nodes.launch(id)?;
        }
        for id in 1..=NODES {
            nodes.await_port(id)?;
        }
        Ok(nodes)
    }

    /// Returns the addresses of all nodes, as `bootstrap.servers` has them.
    pub(crate) fn servers(&self) -> String {
        let addresses: Vec<_> =
            self.all.iter().map(|node| format!("127.0.0.1:{}", node.port)).collect();
        addresses.join(",")
    }

    /// Kills a node with SIGKILL and waits until it is gone.
    pub(crate) fn kill(&mut self, id: i32) -> Result<()> {
        let mut process = self.node(id).process.take().context("the node is not running")?;
        process.kill()?;
        process.wait()?;
        Ok(())
    }

    /// Asks a node to stop, as a service manager does, and waits until it has: its partitions get
    /// other leaders first.
    pub(crate) fn stop(&mut self, id: i32) -> Result<()> {
        let mut process = self.node(id).process.take().context("the node is not running")?;
        let pid = process.id().to_string();
        let sent = Command::new("sh").args(["-c", "kill -TERM \"$0\"", &pid]).status()?;
        ensure!(sent.success(), "SIGTERM could not be sent to {pid}");
        let deadline = Instant::now() + STOP_TIMEOUT;
        while process.try_wait()?.is_none() {
            if Instant::now() > deadline {
                process.kill()?;
                process.wait()?;
                bail!("node {id} did not stop within {STOP_TIMEOUT:?} of SIGTERM");
            }
            thread::sleep(POLL_PAUSE);
        }
        Ok(())
    }

    /// Starts a node again on its port and data, and waits until it answers.
    pub(crate) fn restart(&mut self, id: i32) -> Result<()> {
        self.launch(id)?;
        self.await_port(id)
    }

    fn node(&mut self, id: i32) -> &mut Node {
        self.all.iter_mut().find(|node| node.id == id).expect("ids are those of the nodes")
    }

    fn data(&self, id: i32) -> PathBuf {
        self.folder.path().join(format!("data-{id}"))
    }

    fn properties(&self, id: i32) -> PathBuf {
        self.folder.path().join(format!("server-{id}.properties"))
    }

    fn java(&self, id: i32) -> Result<Command> {
        let log = self.places.log_on(&log_name(id))?;
        let mut java = Command::new("java");
        java.args(["-cp", &self.places.class_path()])
            .args(["-Dorg.slf4j.simpleLogger.defaultLogLevel=warn"])
            .args(JVM)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log);
        Ok(java)
    }

    fn format(&self, id: i32) -> Result<Child> {
        let mut java = self.java(id)?;
        java.args(["kafka.tools.StorageTool", "format"])
            .args(["--feature", "eligible.leader.replicas.version=0"])
            .args(["--cluster-id", "a29ob3J0LWludGVyb3AxMw", "--config"])
            .arg(self.properties(id));
        Ok(java.spawn()?)
    }

    fn launch(&mut self, id: i32) -> Result<()> {
        let mut java = self.java(id)?;
        java.arg("kafka.Kafka").arg(self.properties(id));
        self.node(id).process = Some(java.spawn()?);
        Ok(())
    }

    fn await_port(&mut self, id: i32) -> Result<()> {
        let deadline = Instant::now() + START_TIMEOUT;
        let node = self.node(id);
        let address = SocketAddr::from(([127, 0, 0, 1], node.port));
        while TcpStream::connect_timeout(&address, Duration::from_secs(1)).is_err() {
            if let Some(process) = &mut node.process
                && let Some(status) = process.try_wait()?
            {
                bail!("node {id} ended with {status} instead of serving");
            }
            ensure!(Instant::now() < deadline, "node {id} does not answer: {START_TIMEOUT:?}");
            thread::sleep(POLL_PAUSE);
        }
        Ok(())
    }
}

impl Drop for Nodes {
    fn drop(&mut self) {
        for process in self.all.iter_mut().filter_map(|node| node.process.as_mut()) {
            // One may have ended by itself: then there is nothing to kill.
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

fn log_name(id: i32) -> String {
    format!("kafka-node-{id}")
}

fn properties(id: i32, port: u16, controller: u16, voters: &str, data: &Path) -> String {
    format!(
        "process.roles=broker,controller\n\
         node.id={id}\n\
         controller.quorum.voters={voters}\n\
         listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}\n\
         advertised.listeners=PLAINTEXT://127.0.0.1:{port}\n\
         listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT\n\
         controller.listener.names=CONTROLLER\n\
         log.dirs={}\n\
         broker.rack=r{id}\n\
         replica.selector.class=org.apache.kafka.common.replica.RackAwareReplicaSelector\n\
         offsets.topic.replication.factor=3\n\
         offsets.topic.num.partitions=3\n\
         transaction.state.log.replication.factor=3\n\
         transaction.state.log.min.isr=1\n\
         group.initial.rebalance.delay.ms=0\n\
         group.consumer.heartbeat.interval.ms=1000\n\
         group.consumer.min.heartbeat.interval.ms=1000\n\
         auto.leader.rebalance.enable=false\n\
         auto.create.topics.enable=false\n\
         broker.session.timeout.ms=3000\n\
         broker.heartbeat.interval.ms=500\n\
         replica.lag.time.max.ms=3000\n",
        data.display()
    )
}

const NODES: i32 = 3;
/// A small heap and the quick compiler: three of them share the machine with the tests.
const JVM: [&str; 3] = ["-Xmx256m", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1"];
const POLL_PAUSE: Duration = Duration::from_millis(10);
const START_TIMEOUT: Duration = Duration::from_secs(60);
const STOP_TIMEOUT: Duration = Duration::from_secs(30);
