//! Runs whose accidents are drawn from a seed.

use std::panic::{RefUnwindSafe, catch_unwind, resume_unwind};

/// Draws numbers that follow from a seed.
pub struct Random(pub u64);

impl Random {
    /// Draws a number below `below`.
    pub fn draw(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) % below
    }

    /// Draws how far a segment's index entries are apart: small segments have none at Kafka's default.
    pub fn draw_index_interval(&mut self) -> u32 {
        [1, 300, 4096][self.draw(3) as usize]
    }
}

/// Runs so many seeds, or the one in `KOHORT_SEED`, or as many as `KOHORT_SEEDS` says; returns what came of
/// them. A seed that fails is told.
pub fn run_seeds<T>(seeds: u64, run: impl Fn(u64) -> T + RefUnwindSafe) -> Vec<T> {
    let variable = |name| std::env::var(name).ok().map(|v: String| v.parse::<u64>().unwrap());
    let seeds = match variable("KOHORT_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..variable("KOHORT_SEEDS").unwrap_or(seeds),
    };
    let told = |seed| {
        catch_unwind(|| run(seed)).unwrap_or_else(|panic| {
            eprintln!("failed with KOHORT_SEED={seed}");
            resume_unwind(panic);
        })
    };
    seeds.map(told).collect()
}
