//! What a reading or writing process tells the bench: on stdout, a line with the number of records so
//! far, at the first one and then every so often.

use std::io::Write;
use std::time::{Duration, Instant};

use anyhow::Result;

/// Counts records and tells.
#[derive(Debug)]
pub(super) struct Progress {
    records: u64,
    /// Their bytes: summed up so that nobody gets away without looking at them.
    bytes: u64,
    next: Option<Instant>,
}

impl Progress {
    pub(super) fn new() -> Self {
        Self { records: 0, bytes: 0, next: None }
    }

    /// Counts some records; the clock is looked at each time, so they had better be many.
    pub(super) fn add(&mut self, records: u64, bytes: u64) -> Result<()> {
        self.records += records;
        self.bytes += bytes;
        let now = Instant::now();
        if self.records > 0 && self.next.is_none_or(|next| now >= next) {
            self.next = Some(now + INTERVAL);
            let mut stdout = std::io::stdout().lock();
            writeln!(stdout, "{} {}", self.records, self.bytes)?;
            stdout.flush()?;
        }
        Ok(())
    }
}

const INTERVAL: Duration = Duration::from_millis(50);
