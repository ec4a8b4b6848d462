//! Other clients written in Rust, in `cargo xtask bench client`: `kohort-rivals CLIENT reader BOOTSTRAP
//! PARTITIONS` reads every partition of the topic `bench` from its start, `kohort-rivals CLIENT writer
//! BOOTSTRAP FILE VALUE_BYTES CODEC` writes the values of a file to it, over and over, as fast as it is
//! let. Both go on until they are killed, and tell how many records they have read, or had acknowledged,
//! with their bytes, at the first one and every so often.

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
        ["krafka", "reader", bootstrap, partitions] => threads
            .enable_all()
            .build()?
            .block_on(krafka_client::read(bootstrap, partitions.parse()?)),
        ["krafka", "writer", bootstrap, file, size, codec] => threads
            .enable_all()
            .build()?
            .block_on(krafka_client::write(bootstrap, &values(file, size)?, codec)),
        ["kacrab", "reader", bootstrap, partitions] => one_thread
            .enable_all()
            .build()?
            .block_on(kacrab_client::read(bootstrap, partitions.parse()?)),
        ["kacrab", "writer", bootstrap, file, size, codec] => one_thread
            .enable_all()
            .build()?
            .block_on(kacrab_client::write(bootstrap, &values(file, size)?, codec)),
        _ => Err("which client, reader or writer, and of what?".into()),
    }
}

/// Reads the values that are to be written.
fn values(file: &str, size: &str) -> Result<Vec<bytes::Bytes>, Box<dyn std::error::Error>> {
    let (file, size) = (bytes::Bytes::from(std::fs::read(file)?), size.parse()?);
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

/// How many records are sent before anybody looks at what became of them.
pub const SENDS_BETWEEN_LOOKS: usize = 256;
