//! Where things are: the installed peers, the binary under test, and the folder for logs.

use std::fs::{self, File};
use std::net::TcpListener;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

/// The folders and programs a run needs.
#[derive(Debug, Clone)]
pub(crate) struct Places {
    /// What `cargo xtask peers` installed.
    pub(crate) peers: PathBuf,
    /// The driver sources that run from source.
    pub(crate) sources: PathBuf,
    /// Our broker's binary.
    pub(crate) kohort: PathBuf,
    /// Where brokers and drivers write what they have to say.
    pub(crate) logs: PathBuf,
}

impl Places {
    /// Finds them, from the environment that `cargo xtask` sets or else below the workspace.
    pub(crate) fn find() -> Result<Self> {
        Self::find_with(&["java", "java-driver", "python", "go"])
    }

    /// Finds them for a run that needs no client, only Kafka itself.
    pub(crate) fn find_kafka() -> Result<Self> {
        Self::find_with(&["java"])
    }

    /// Finds them for a run that needs our broker alone.
    pub(crate) fn find_broker() -> Result<Self> {
        Self::find_with(&[])
    }

    /// Returns our own binary.
    pub(crate) fn binary(&self) -> &Path {
        &self.kohort
    }

    fn find_with(peers: &[&str]) -> Result<Self> {
        let sources = Path::new(env!("CARGO_MANIFEST_DIR")).to_path_buf();
        let root = sources.ancestors().nth(2).context("no workspace above tests/interop")?;
        let target = root.join("target");
        let from_environment = |name: &str, otherwise: PathBuf| {
            std::env::var_os(name).map_or(otherwise, PathBuf::from)
        };
        let places = Self {
            peers: from_environment("KOHORT_PEERS", target.join("peers")),
            kohort: from_environment("KOHORT_BINARY", target.join("release/kohort")),
            logs: target.join("interop"),
            sources,
        };
        for peer in peers {
            if !places.peers.join(peer).join("stamp").is_file() {
                bail!(
                    "the peer `{peer}` is not installed in {}: run `cargo xtask peers`",
                    places.peers.display()
                );
            }
        }
        fs::create_dir_all(&places.logs)?;
        Ok(places)
    }

    /// Opens a fresh log file.
    pub(crate) fn log(&self, name: &str) -> Result<File> {
        let path = self.logs.join(format!("{name}.log"));
        File::create(&path).with_context(|| format!("cannot write {}", path.display()))
    }

    /// Opens a log file to write on from its end.
    pub(crate) fn log_on(&self, name: &str) -> Result<File> {
        let path = self.logs.join(format!("{name}.log"));
        let file = File::options().create(true).append(true).open(&path);
        file.with_context(|| format!("cannot write {}", path.display()))
    }

    /// Returns Java's class path: Kafka's jars and our driver.
    pub(crate) fn class_path(&self) -> String {
        let jars = self.peers.join("java/libs/*");
        let driver = self.peers.join("java-driver/classes");
        format!("{}:{}", jars.display(), driver.display())
    }
}

/// Returns a free port below the range that the system hands out to outgoing connections: a broker
/// that is killed and started again must find its port free.
pub(crate) fn free_port() -> Result<u16> {
    let spread = u16::try_from(std::process::id() % 4_000).context("a remainder fits")?;
    for step in 0..PORTS_TRIED {
        let port = FIRST_PORT + (spread + step * 7) % PORT_RANGE;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() && !is_handed_out(port) {
            return Ok(port);
        }
    }
    bail!("no free port from {FIRST_PORT} on")
}

/// Remembers the ports of this run, since a broker binds its port only some time after it has it.
fn is_handed_out(port: u16) -> bool {
    static HANDED_OUT: std::sync::Mutex<Vec<u16>> = std::sync::Mutex::new(Vec::new());
    let mut ports = HANDED_OUT.lock().expect("nobody panics while holding the list");
    let seen = ports.contains(&port);
    ports.push(port);
    seen
}

const FIRST_PORT: u16 = 20_000;
const PORT_RANGE: u16 = 12_000;
const PORTS_TRIED: u16 = 200;
