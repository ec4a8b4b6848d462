//! What a broker needs before it serves: its addresses and its data folder.

use crate::clock::Clock;
use crate::cluster::load;
use crate::config::{BrokerConfig, ConfigError, ListenerConfig, Settings};
use crate::descriptors;
use crate::listener;
use crate::metrics::HttpServer;
use crate::node::Listening;
use crate::partition::cleaner_config;
use crate::vital::{Failure, Vital};
use kohort_storage::{FatalError, FlushMode, LogDir, LogDirConfig, OpenError, StorageError};
use std::io;
use std::net::{Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use thiserror::Error;
use tokio::net::TcpListener;
use tracing::{info, warn};

/// Why a broker did not start.
#[derive(Debug, Error)]
#[non_exhaustive]
pub enum StartError {
    /// A property was refused.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// An address cannot be listened on, or the data folder not be reached.
    #[error("`{address}` cannot be used: {reason}")]
    Address {
        /// What was given.
        address: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The address was refused by the system.
    #[error("cannot listen on {address}: {reason}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the system said.
        reason: io::Error,
    },
    /// The data folder could not be opened.
    #[error(transparent)]
    Open(#[from] OpenError),
    /// The data folder refused.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The metadata could not be read.
    #[error(transparent)]
    Load(#[from] load::LoadError),
    /// The data folder is another broker's, or its number was changed: clients know it by that number.
    #[error(
        "{} holds the data of broker {of}, and node.id is {given}: start it with node.id={of}, or with a folder of its own",
        path.display()
    )]
    OtherNode {
        /// The data folder.
        path: PathBuf,
        /// Whose data it holds.
        of: i32,
        /// What `node.id` says.
        given: i32,
    },
}

/// Opens the listener for `/metrics` and `/health`, before the data folder, which may take long.
pub(crate) async fn http_server(address: &str) -> Result<HttpServer, StartError> {
    let refused = |reason: &str| StartError::Address {
        address: address.to_owned(),
        reason: reason.to_owned(),
    };
    let (host, port) = address.rsplit_once(':').ok_or_else(|| refused("no port is given"))?;
    let port: u16 = port.parse().map_err(|_| refused("the port is not a number"))?;
    let host = host.trim_start_matches('[').trim_end_matches(']');
    let mut found =
        tokio::net::lookup_host((host, port)).await.map_err(|error| refused(&error.to_string()))?;
    let address = found.next().ok_or_else(|| refused("the host has no address"))?;
    let failed = |reason| StartError::Listen { address, reason };
    let listener = listener::bind(address, HTTP_BACKLOG).map_err(failed)?;
    HttpServer::start(listener).map_err(failed)
}

/// Scrapers waiting to be accepted.
const HTTP_BACKLOG: u32 = 16;

pub(crate) async fn open_log_dir(
    path: &Path,
    config: &BrokerConfig,
    clock: &Arc<Clock>,
    vital: Vital,
) -> Result<Arc<LogDir>, StartError> {
    let on_fatal = move |failure: &FatalError| {
        vital.fail(match failure.panicked() {
            Some(thread) => Failure::Task(thread),
            None => Failure::Storage(failure.to_string()),
        });
    };
    let config = LogDirConfig {
        flush: match config.flush.as_str() {
            "page-cache" => FlushMode::PageCache,
            _ => FlushMode::Fsync,
        },
        producer_expiration_ms: i64::from(config.producer_id_expiration_ms),
        open_files_max: descriptors::shares().files,
        on_fatal: Some(Arc::new(on_fatal)),
        cleaner: cleaner_config(config),
        clock: kohort_storage::Clock::new({
            let clock = Arc::clone(clock);
            move || clock.wall()
        }),
        ..LogDirConfig::new(path)
    };
    if config.flush == FlushMode::PageCache {
        warn!("flush=page-cache: a power failure loses acknowledged records");
    }
    // Recovery reads the disk, so it has a thread of its own.
    let opened = tokio::task::spawn_blocking(move || LogDir::open(config)).await;
    let (log_dir, report) = opened.map_err(|error| StartError::Address {
        address: path.display().to_string(),
        reason: error.to_string(),
    })??;
    if report.created {
        // Whoever expected records there has a disk that is not mounted.
        info!(data = %path.display(), "a new data folder was made: there was none");
    }
    Ok(log_dir)
}

/// Tells what was set, in one line, and names what of it has no effect, in another.
pub(crate) fn tell_settings(settings: &Settings, listeners: &[String]) {
    let applied: Vec<String> =
        settings.applied().map(|(name, value)| format!("{name}={value}")).collect();
    if !applied.is_empty() {
        info!(settings = applied.join(", "), "settings");
    }
    let listeners = listeners.iter().map(|name| format!("listeners ({name})"));
    let names: Vec<String> = settings.inert().map(str::to_owned).chain(listeners).collect();
    if !names.is_empty() {
        warn!(properties = names.join(", "), "these properties change nothing here");
    }
}

/// Returns the data folder: the builder's, else `log.dirs`, else `log.dir`.
pub(crate) fn data_dir(
    given: Option<PathBuf>,
    config: &BrokerConfig,
) -> Result<PathBuf, StartError> {
    if let Some(path) = given {
        return Ok(path);
    }
    let (name, dirs) = match &config.log_dirs {
        Some(dirs) => ("log.dirs", dirs),
        None => ("log.dir", &config.log_dir),
    };
    let [dir] = &dirs[..] else {
        return Err(ConfigError::Invalid {
            name: name.to_owned(),
            value: dirs.join(","),
            reason: "one data folder is used".to_owned(),
        }
        .into());
    };
    Ok(PathBuf::from(dir))
}

/// Returns the path from the root on: tools are told where the data is, and they run in other folders.
pub(crate) fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

/// Takes a listener's address.
pub(crate) async fn listen(
    config: ListenerConfig,
    backlog: i32,
) -> Result<(TcpListener, Listening), StartError> {
    let ListenerConfig { name, host, port, advertised } = config;
    let refused =
        |reason: String| StartError::Address { address: format!("{name}://{host}:{port}"), reason };
    let (socket, address) = if host.is_empty() {
        // Kafka's "PLAINTEXT://:9092".
        let address = (Ipv6Addr::UNSPECIFIED, port).into();
        (listener::bind_everywhere(port, backlog as u32), address)
    } else {
        let found = tokio::net::lookup_host((host.as_str(), port)).await;
        let address = found.map_err(|error| refused(error.to_string()))?.next();
        let address = address.ok_or_else(|| refused("the host has no address".to_owned()))?;
        (listener::bind(address, backlog as u32), address)
    };
    let failed = |reason| StartError::Listen { address, reason };
    let socket = socket.map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    Ok((socket, Listening { name, address, advertised }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_data_folder_is_told_from_the_root_on() {
        let here = std::env::current_dir().expect("the tests run in a folder");
        assert_eq!(absolute(PathBuf::from("run/data")), here.join("run/data"));
        assert_eq!(absolute(PathBuf::from("/run/data")), Path::new("/run/data"));
    }
}
