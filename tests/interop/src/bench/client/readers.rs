//! The clients that are compared, and how each is started.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::Result;
use clap::Args;

use super::log::Shape;
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
    /// librdkafka with larger queues.
    LibrdkafkaTuned,
    /// krafka at its defaults.
    Krafka,
    /// krafka with larger polls or batches.
    KrafkaTuned,
    /// kacrab at its defaults.
    Kacrab,
    /// kacrab with larger polls or batches.
    KacrabTuned,
}

impl Client {
    pub(super) const ALL: [Self; 13] = [
        Self::Floor,
        Self::Batches,
        Self::Owned,
        Self::Java,
        Self::JavaTuned,
        Self::FranzGo,
        Self::FranzGoPooled,
        Self::Librdkafka,
        Self::LibrdkafkaTuned,
        Self::Krafka,
        Self::KrafkaTuned,
        Self::Kacrab,
        Self::KacrabTuned,
    ];

    /// Returns its name, as a reader or a writer.
    pub(super) fn name(self, writes: bool) -> &'static str {
        match self {
            Self::Owned if writes => "kohort records",
            Self::FranzGoPooled if writes => "franz-go tuned",
            Self::Floor => "floor",
            Self::Batches => "kohort batches",
            Self::Owned => "kohort owned",
            Self::Java => "java",
            Self::JavaTuned => "java tuned",
            Self::FranzGo => "franz-go",
            Self::FranzGoPooled => "franz-go pooled",
            Self::Librdkafka => "librdkafka",
            Self::LibrdkafkaTuned => "librdkafka tuned",
            Self::Krafka => "krafka",
            Self::KrafkaTuned => "krafka tuned",
            Self::Kacrab => "kacrab",
            Self::KacrabTuned => "kacrab tuned",
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
            Self::Librdkafka | Self::LibrdkafkaTuned => places.peers.join("c/bench-reader"),
            Self::Krafka | Self::KrafkaTuned | Self::Kacrab | Self::KacrabTuned => {
                places.peers.join("rivals/rivals")
            }
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
    pub(super) fn command(self, places: &Places, bootstrap: &str, load: &Load) -> Result<Command> {
        let partitions = match load {
            Load::Writing(shape, values) => {
                return self.writing_command(places, bootstrap, *shape, values);
            }
            Load::Reading(partitions) => partitions.to_string(),
        };
        let mut command = match self {
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
            Self::Librdkafka | Self::LibrdkafkaTuned => {
                let mut librdkafka = Command::new(places.peers.join("c/bench-reader"));
                librdkafka.args([bootstrap, &partitions]);
                librdkafka
            }
            Self::Krafka | Self::KrafkaTuned | Self::Kacrab | Self::KacrabTuned => {
                let mut rival = self.rust_rival(places);
                rival.args(["reader", bootstrap, &partitions]);
                rival
            }
        };
        if !matches!(self, Self::FranzGo | Self::FranzGoPooled) {
            command.args(self.settings(false));
        }
        Ok(command)
    }
}

impl Client {
    /// Returns the command that writes the values of a file.
    fn writing_command(
        self,
        places: &Places,
        bootstrap: &str,
        shape: Shape,
        values: &Path,
    ) -> Result<Command> {
        let mut command = match self {
            Self::Floor | Self::Batches | Self::Owned => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("bench-writer");
                if self == Self::Owned {
                    command.arg("--each");
                }
                command
            }
            Self::Java | Self::JavaTuned => {
                let mut java = Command::new("java");
                java.args(["-cp", &places.class_path(), "BenchWriter"]);
                java
            }
            Self::FranzGo | Self::FranzGoPooled => {
                let mut go = Command::new(places.peers.join("go/driver"));
                go.arg("bench-writer");
                go
            }
            Self::Librdkafka | Self::LibrdkafkaTuned => {
                Command::new(places.peers.join("c/bench-writer"))
            }
            Self::Krafka | Self::KrafkaTuned | Self::Kacrab | Self::KacrabTuned => {
                let mut rival = self.rust_rival(places);
                rival.arg("writer");
                rival
            }
        };
        command.arg(bootstrap).arg(values).arg(shape.value_bytes.to_string());
        let codec = shape.codec.name();
        match self {
            Self::FranzGo => command.arg(codec),
            Self::FranzGoPooled => command.args([codec, "tuned"]),
            _ => command.arg(format!("compression.type={codec}")).args(self.settings(true)),
        };
        Ok(command)
    }
}

impl Client {
    fn rust_rival(self, places: &Places) -> Command {
        let mut command = Command::new(places.peers.join("rivals/rivals"));
        let krafka = matches!(self, Self::Krafka | Self::KrafkaTuned);
        command.arg(if krafka { "krafka" } else { "kacrab" });
        command
    }
}

/// What a client is to do.
#[derive(Debug)]
pub(super) enum Load {
    /// Read so many partitions.
    Reading(i32),
    /// Write the values in this file, which have this shape.
    Writing(Shape, PathBuf),
}

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
