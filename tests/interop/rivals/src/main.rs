//! Other clients written in Rust, in `cargo xtask bench client`: `kohort-rivals CLIENT reader BOOTSTRAP
//! PARTITIONS SETTINGS` reads every partition of the topic `bench` from its start, `kohort-rivals CLIENT writer
//! BOOTSTRAP FILE VALUE_BYTES SETTINGS` writes the values of a file to it, over and over, as fast as it is
//! let. Both go on until they are killed, and tell how many records they have read, or had acknowledged,
//! with their bytes, at the first one and every so often. Settings are name=value, by Kafka's names.

mod kacrab_client;
mod krafka_client;

use std::time::{Duration, Instant};

pub type Outcome = Result<(), Box<dyn std::error::Error>>;

fn main() -> Outcome {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    // Each in the runtime its documentation shows.
    let mut one_thread = tokio::runtime::Builder::new_current_thread();
    let mut threads = tokio::runtime::Builder::new_multi_thread();
    match arguments[..] {
        ["krafka", "reader", bootstrap, partitions, ref settings @ ..] => threads
            .enable_all()
            .build()?
            .block_on(krafka_client::read(bootstrap, partitions.parse()?, &pairs(settings)?)),
        ["krafka", "writer", bootstrap, file, size, ref settings @ ..] => threads
            .enable_all()
            .build()?
            .block_on(krafka_client::write(bootstrap, &values(file, size)?, &pairs(settings)?)),
        ["kacrab", "reader", bootstrap, partitions, ref settings @ ..] => one_thread
            .enable_all()
            .build()?
            .block_on(kacrab_client::read(bootstrap, partitions.parse()?, &pairs(settings)?)),
        ["kacrab", "writer", bootstrap, file, size, ref settings @ ..] => one_thread
            .enable_all()
            .build()?
            .block_on(kacrab_client::write(bootstrap, &values(file, size)?, &pairs(settings)?)),
        _ => Err("which client, reader or writer, and of what?".into()),
    }
}

/// Takes settings apart.
fn pairs<'a>(settings: &[&'a str]) -> Result<Vec<(&'a str, &'a str)>, String> {
    let pair = |it: &&'a str| it.split_once('=').ok_or_else(|| format!("`{it}` has no value"));
    settings.iter().map(pair).collect()
}

/// Reads the values that are to be written.
fn values(file: &str, size: &str) -> Result<Vec<bytes::Bytes>, Box<dyn std::error::Error>> {
    let (file, size) = (bytes::Bytes::from(std::fs::read(file)?), size.parse::<usize>()?);
    Ok((0..file.len() / size).map(|at| file.slice(at * size..(at + 1) * size)).collect())
}

/// Counts records and tells.
#[derive(Default)]
pub struct Progress {
    records: u64,
    bytes: u64,
    next: Option<Instant>,
}

impl Progress {
    /// Counts some records; the clock is looked at each time.
    pub fn add(&mut self, records: u64, bytes: u64) {
        self.records += records;
        self.bytes += bytes;
        let now = Instant::now();
        if self.records > 0 && self.next.is_none_or(|next| now >= next) {
            self.next = Some(now + Duration::from_millis(50));
            println!("{} {}", self.records, self.bytes);
        }
    }
}

/// How many records are sent before anybody looks at what became of them. More are looked at than a task may
/// poll of the runtime's channels before it has to wait, so those futures are to be `unconstrained`.
pub const SENDS_BETWEEN_LOOKS: usize = 256;
