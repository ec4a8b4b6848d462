//! One module per verb, and what the verbs share.

pub(crate) mod broker;
pub(crate) mod consume;
pub(crate) mod group;
pub(crate) mod log;
pub(crate) mod produce;
pub(crate) mod topic;

use std::collections::BTreeMap;
use std::future::Future;
use std::path::PathBuf;
use std::pin::pin;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context as _;
use kohort::admin::{Admin, AdminError};
use kohort::config::{AdminConfig, ConfigError, Properties};

/// Where the cluster is, how it is spoken to, and how patiently it is asked.
#[derive(Debug, Clone, clap::Args)]
pub(crate) struct Cluster {
    /// Addresses of some brokers, HOST:PORT with commas between [default: localhost:9092]
    #[arg(long, env = "KOHORT_BOOTSTRAP_SERVERS", value_name = "HOST:PORT")]
    pub(crate) bootstrap_server: Option<String>,
    /// How long a request may take with all its retries: milliseconds, or with a unit (10s)
    /// [default: 30s]
    #[arg(long, value_name = "TIME")]
    pub(crate) timeout: Option<String>,
    /// Read properties of the client from a file, such as `security.protocol` and what goes with it;
    /// the other options go before it
    #[arg(long, value_name = "FILE")]
    pub(crate) command_config: Option<PathBuf>,
    /// Set a property of the client under Kafka's name; may be repeated
    #[arg(short = 'X', long = "client-property", value_name = "NAME=VALUE", value_parser = name_value)]
    pub(crate) properties: Vec<(String, String)>,
}

impl Cluster {
    /// Fills a client's configuration: our defaults first, then the file, then what the command line
    /// says.
    pub(crate) fn configure<C: Properties>(&self) -> anyhow::Result<C> {
        let mut config = C::default();
        config.set("bootstrap.servers", "localhost:9092")?;
        config.set("default.api.timeout.ms", "30s")?;
        config.set("client.id", "kohort")?;
        if let Some(path) = &self.command_config {
            config.set_from_file(path)?;
        }
        if let Some(servers) = &self.bootstrap_server {
            config.set("bootstrap.servers", servers)?;
        }
        if let Some(timeout) = &self.timeout {
            config.set("default.api.timeout.ms", timeout)?;
        }
        for (name, value) in &self.properties {
            config.set(name, value)?;
        }
        Ok(config)
    }

    /// Starts an administrator's client.
    pub(crate) fn admin(&self) -> anyhow::Result<Admin> {
        Ok(Admin::new(self.configure::<AdminConfig>()?)?)
    }

    /// Starts an administrator's client beside another one, and passes over what only that one has.
    pub(crate) fn admin_beside(&self) -> anyhow::Result<Admin> {
        let mut shared = self.clone();
        shared.properties.retain(|(name, value)| {
            let set = AdminConfig::default().set(name, value).map(drop);
            !matches!(set, Err(ConfigError::OtherRole { .. }))
        });
        shared.admin()
    }
}

/// Runs a command's future to its end on a runtime of its own.
pub(crate) fn block_on<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the runtime")?
        .block_on(future)
}

/// Runs a command that asks the cluster something.
pub(crate) fn ask<T>(future: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    block_on(with_a_word(future))
}

/// Asks the cluster something. A broker that is not there is waited for: if there is no answer for a while,
/// that is said.
pub(crate) async fn with_a_word<T>(
    future: impl Future<Output = anyhow::Result<T>>,
) -> anyhow::Result<T> {
    let mut future = pin!(future);
    // Losing the race drops nothing but the timer.
    tokio::select! {
        answer = &mut future => return answer,
        () = tokio::time::sleep(WORD_AFTER) => {}
    }
    eprintln!("kohort: no answer so far; still trying, as long as --timeout allows");
    future.await
}

/// Whoever waits this long at a prompt wants to know what for.
const WORD_AFTER: Duration = Duration::from_secs(3);

/// Splits `name=value` as given to `--set` and `--config`.
pub(crate) fn name_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.trim().is_empty() => {
            Ok((name.trim().to_owned(), value.trim().to_owned()))
        }
        _ => Err(format!("`{text}` is not NAME=VALUE")),
    }
}

/// Says for each object that it is done, or why not; the status is 1 if one was refused.
pub(crate) fn each(
    results: BTreeMap<String, Result<(), AdminError>>,
    done: impl Fn(&str),
) -> ExitCode {
    let mut status = ExitCode::SUCCESS;
    for (name, result) in results {
        match result {
            Ok(()) => done(&name),
            Err(error) => {
                eprintln!("kohort: {error}");
                status = ExitCode::FAILURE;
            }
        }
    }
    status
}
