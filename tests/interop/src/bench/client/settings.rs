//! What each client is told beside the servers and the codec, and which version it is of.
//!
//! A rival runs at its defaults and, as `tuned` or `pooled`, with what it gains most from in this bench. Both
//! are printed, with versions that the programs or their lock files tell, so that a table says what was
//! compared.

use std::fs;
use std::process::Command;

use anyhow::{Context, Result};

use super::readers::Client;
use crate::places::Places;

impl Client {
    /// Returns its settings as a reader or a writer.
    pub(super) fn settings(self, writes: bool) -> &'static [&'static str] {
        match (self, writes) {
            (Self::JavaTuned, false) => {
                &["max.poll.records=20000", "fetch.min.bytes=262144", "receive.buffer.bytes=-1"]
            }
            (Self::KrafkaTuned, false) => {
                &["max.poll.records=20000", "max.buffered.records=40000", "fetch.min.bytes=262144"]
            }
            (Self::KacrabTuned, false) => &["max.poll.records=20000", "fetch.min.bytes=262144"],
            (Self::JavaTuned | Self::KrafkaTuned | Self::KacrabTuned, true) => {
                &["batch.size=262144", "linger.ms=20", "buffer.memory=134217728"]
            }
            // Said in its own terms; the program knows them.
            (Self::FranzGoPooled, false) => &["WithPools"],
            (Self::FranzGoPooled, true) => &["ProducerLinger=20ms", "MaxBufferedRecords=200000"],
            (Self::Librdkafka, false) => &["check.crcs=true"],
            (Self::LibrdkafkaTuned, false) => &[
                "check.crcs=true",
                "queued.min.messages=1000000",
                "queued.max.messages.kbytes=262144",
                "fetch.queue.backoff.ms=10",
            ],
            (Self::LibrdkafkaTuned, true) => {
                &["linger.ms=20", "queue.buffering.max.messages=1000000"]
            }
            _ => &[],
        }
    }

    /// Returns its version, as far as that can be found out.
    pub(super) fn version(self, places: &Places) -> String {
        let found = match self {
            Self::Floor | Self::Batches | Self::Owned => Ok(env!("CARGO_PKG_VERSION").to_owned()),
            Self::Java | Self::JavaTuned => jar_version(places),
            Self::FranzGo | Self::FranzGoPooled => {
                module_version(places, "github.com/twmb/franz-go v")
            }
            Self::Librdkafka | Self::LibrdkafkaTuned => library_version(places),
            Self::Krafka | Self::KrafkaTuned => crate_version(places, "krafka"),
            Self::Kacrab | Self::KacrabTuned => crate_version(places, "kacrab"),
        };
        found.unwrap_or_else(|error| format!("of unknown version ({error:#})"))
    }

    /// Returns a line that says what is compared.
    pub(super) fn described(self, writes: bool, places: &Places) -> String {
        let settings = match self.settings(writes) {
            [] => "defaults".to_owned(),
            settings => settings.join(" "),
        };
        format!("{:<20}{:<8}{settings}", self.name(writes), self.version(places))
    }
}

fn jar_version(places: &Places) -> Result<String> {
    for entry in fs::read_dir(places.peers.join("java/libs"))? {
        let name = entry?.file_name();
        let version = name.to_str().and_then(|name| name.strip_prefix("kafka-clients-"));
        if let Some(version) = version.and_then(|name| name.strip_suffix(".jar"))
            && version.starts_with(|first: char| first.is_ascii_digit())
        {
            return Ok(version.to_owned());
        }
    }
    anyhow::bail!("there is no kafka-clients.jar")
}

fn module_version(places: &Places, start: &str) -> Result<String> {
    let modules = fs::read_to_string(places.sources.join("go/go.mod"))?;
    let line = modules.lines().find_map(|line| line.trim().strip_prefix(start));
    Ok(line.context("go.mod does not name it")?.to_owned())
}

fn library_version(places: &Places) -> Result<String> {
    let told = Command::new(places.peers.join("c/bench-reader")).arg("version").output()?;
    Ok(String::from_utf8(told.stdout)?.trim().to_owned())
}

fn crate_version(places: &Places, name: &str) -> Result<String> {
    let lock = fs::read_to_string(places.sources.join("rivals/Cargo.lock"))?;
    let start = format!("name = \"{name}\"\nversion = \"");
    let (_, rest) = lock.split_once(&start).context("Cargo.lock does not name it")?;
    let (version, _) = rest.split_once('"').context("Cargo.lock is cut off")?;
    Ok(version.to_owned())
}
