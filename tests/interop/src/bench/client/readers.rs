//! The clients that are compared, and how each is started.

use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::server::ServerArguments;
use super::{floor, ours};
use crate::places::Places;

/// A client at some settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Client {
    /// The least a reader can do.
    Floor,
    /// Ours, its records borrowed from the batches.
    Batches,
    /// Ours, its records owned.
    Owned,
    /// Kafka's own at its defaults.
    Java,
    /// Kafka's own with larger polls.
    JavaTuned,
    /// franz-go at its defaults.
    FranzGo,
    /// franz-go with pools.
    FranzGoPooled,
    /// librdkafka, from C, at its defaults but for checksums, which are verified.
    Librdkafka,
}

impl Client {
    pub(super) const ALL: [Self; 8] = [
        Self::Floor,
        Self::Batches,
        Self::Owned,
        Self::Java,
        Self::JavaTuned,
        Self::FranzGo,
        Self::FranzGoPooled,
        Self::Librdkafka,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Floor => "floor",
            Self::Batches => "kohort batches",
            Self::Owned => "kohort owned",
            Self::Java => "java 4.3",
            Self::JavaTuned => "java 4.3 tuned",
            Self::FranzGo => "franz-go 1.22",
            Self::FranzGoPooled => "franz-go 1.22 pooled",
            Self::Librdkafka => "librdkafka 2.16",
        }
    }

    /// Tells whether this is another project's.
    pub(super) fn is_rival(self) -> bool {
        !matches!(self, Self::Floor | Self::Batches | Self::Owned)
    }

    /// Says why it cannot be run here, if it cannot.
    pub(super) fn missing(self, places: &Places) -> Option<String> {
        let needed = match self {
            Self::Floor | Self::Batches | Self::Owned => return None,
            Self::Java | Self::JavaTuned => {
                places.peers.join("java-driver/classes/BenchReader.class")
            }
            Self::FranzGo | Self::FranzGoPooled => places.peers.join("go/driver"),
            Self::Librdkafka => places.peers.join("c/bench-reader"),
        };
        (!needed.exists()).then(|| format!("{} is not there", needed.display()))
    }

    /// How long it runs before it counts: compilers and collectors must have seen the load.
    pub(super) fn warm_up(self, quick: bool) -> Duration {
        match self {
            Self::Floor | Self::Batches | Self::Owned => Duration::from_millis(500),
            _ if quick => Duration::from_secs(2),
            _ => Duration::from_secs(6),
        }
    }

    /// Returns the command that reads all partitions.
    pub(super) fn command(
        self,
        places: &Places,
        bootstrap: &str,
        server: &ServerArguments,
    ) -> Result<Command> {
        let partitions = server.partitions.to_string();
        Ok(match self {
            Self::Floor | Self::Batches | Self::Owned => {
                let mut command = Command::new(std::env::current_exe()?);
                let kind = match self {
                    Self::Floor => "floor",
                    Self::Batches => "batches",
                    _ => "owned",
                };
                command.args(["bench-reader", kind, bootstrap, &partitions]);
                command
            }
            Self::Java | Self::JavaTuned => {
                let mut java = Command::new("java");
                java.args(["-cp", &places.class_path(), "BenchReader", bootstrap, &partitions]);
                if self == Self::JavaTuned {
                    java.args(JAVA_TUNED);
                }
                java
            }
            Self::FranzGo | Self::FranzGoPooled => {
                let mut go = Command::new(places.peers.join("go/driver"));
                go.args(["bench-reader", bootstrap, &partitions]);
                if self == Self::FranzGoPooled {
                    go.arg("pooled");
                }
                go
            }
            Self::Librdkafka => {
                let mut librdkafka = Command::new(places.peers.join("c/bench-reader"));
                librdkafka.args([bootstrap, &partitions]);
                librdkafka
            }
        })
    }
}

/// What Kafka's consumer gains most from.
const JAVA_TUNED: [&str; 3] =
    ["max.poll.records=20000", "fetch.min.bytes=262144", "receive.buffer.bytes=-1"];

/// Which of our own readers to be.
#[derive(Debug, Args)]
pub(crate) struct ReaderArguments {
    #[arg(value_enum)]
    client: Client,
    bootstrap: String,
    partitions: i32,
    /// Properties of our client, as name=value.
    settings: Vec<String>,
}

/// Reads until killed.
pub(super) fn run(arguments: &ReaderArguments) -> Result<()> {
    match arguments.client {
        Client::Floor => floor::run(&arguments.bootstrap),
        client => {
            let ReaderArguments { bootstrap, partitions, settings, .. } = arguments;
            ours::run(bootstrap, *partitions, client == Client::Owned, settings)
        }
    }
}
