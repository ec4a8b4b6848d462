//! What is read, and what is wanted of our client.

use serde_json::{Value, json};

use super::log::{Codec, Shape};
use super::process::Figures;
use super::readers::Client;
use super::server::ServerArguments;
use super::{Rounds, median};

/// A log and the goals for reading it.
pub(super) struct Case {
    /// What `--case` finds it by.
    pub(super) word: &'static str,
    pub(super) title: &'static str,
    pub(super) server: ServerArguments,
    /// Whether clients write records of this shape, rather than read a log of them.
    pub(super) writes: bool,
    goals: &'static [Goal],
}

/// What is wanted.
#[derive(Debug, Clone, Copy)]
enum Goal {
    /// CPU per record at most so many times the floor's.
    Floors(Client, f64),
    /// CPU per record at most so many nanoseconds.
    Nanoseconds(Client, f64),
    /// At least this share of the floor's records per second.
    Rate(f64),
    /// Bytes fetched at most so many times those consumed.
    Fetched(f64),
    /// At most so many MB in memory.
    Resident(f64),
    /// At most so many milliseconds from the start to the first record, in time and in CPU.
    First(f64),
    /// CPU per record so many times less than the best of the others'.
    Rivals(f64),
}

/// Every case, in the order of the table.
pub(super) const CASES: &[Case] = &[
    Case {
        word: "100",
        title: "100 B, 12 partitions",
        server: one_node(12, 100, 140, Codec::None),
        writes: false,
        goals: &[
            Goal::Floors(Client::Batches, 1.75),
            Goal::Floors(Client::Owned, 3.0),
            Goal::Fetched(1.02),
            Goal::Resident(32.0),
            Goal::First(20.0),
        ],
    },
    Case {
        word: "1k",
        title: "1 KB, 12 partitions",
        server: one_node(12, 1024, 15, Codec::None),
        writes: false,
        goals: &[Goal::Floors(Client::Batches, 1.4), Goal::Fetched(1.02), Goal::Resident(32.0)],
    },
    Case {
        word: "lz4",
        title: "100 B, lz4, 12 partitions",
        server: one_node(12, 100, 1000, Codec::Lz4),
        writes: false,
        goals: &[
            Goal::Nanoseconds(Client::Batches, 100.0),
            Goal::Fetched(1.02),
            Goal::Resident(32.0),
        ],
    },
    Case {
        word: "zstd",
        title: "100 B, zstd, 12 partitions",
        server: one_node(12, 100, 1000, Codec::Zstd),
        writes: false,
        goals: &[
            Goal::Nanoseconds(Client::Batches, 110.0),
            Goal::Fetched(1.02),
            Goal::Resident(32.0),
        ],
    },
    Case {
        word: "idle-node",
        title: "100 B, 12 partitions on 3 nodes, one of them idle",
        server: ServerArguments { nodes: 3, idle_nodes: 1, ..one_node(12, 100, 140, Codec::None) },
        writes: false,
        goals: &[Goal::Rate(0.8), Goal::Fetched(1.02), Goal::Resident(32.0)],
    },
    Case {
        word: "300",
        title: "100 B, 300 partitions on 3 nodes",
        server: ServerArguments { nodes: 3, ..one_node(300, 100, 140, Codec::None) },
        writes: false,
        goals: &[
            Goal::Nanoseconds(Client::Batches, 200.0),
            Goal::Fetched(1.02),
            Goal::Resident(32.0),
        ],
    },
    writing("produce", "writing 100 B, 12 partitions", 100, Codec::None),
    writing("produce-1k", "writing 1 KB, 12 partitions", 1024, Codec::None),
    writing("produce-lz4", "writing 100 B, lz4, 12 partitions", 100, Codec::Lz4),
    writing("produce-1k-lz4", "writing 1 KB, lz4, 12 partitions", 1024, Codec::Lz4),
];

const fn one_node(
    partitions: i32,
    value_bytes: usize,
    batch_records: usize,
    codec: Codec,
) -> ServerArguments {
    let shape = Shape { value_bytes, batch_records, codec };
    ServerArguments { nodes: 1, idle_nodes: 0, partitions, shape }
}

const fn writing(
    word: &'static str,
    title: &'static str,
    value_bytes: usize,
    codec: Codec,
) -> Case {
    Case {
        word,
        title,
        server: one_node(12, value_bytes, 16_384 / (value_bytes + 10), codec),
        writes: true,
        goals: &[Goal::Rivals(2.0)],
    }
}

impl Case {
    /// Tells whether a client can do this: the floor reads, and has no codecs.
    pub(super) fn takes(&self, client: Client) -> bool {
        client != Client::Floor || self.server.shape.codec == Codec::None && !self.writes
    }

    /// Prints the case's table and returns how many goals were missed.
    pub(super) fn print(&self, found: &[Rounds]) -> usize {
        if self.writes {
            println!("\n{}", self.title);
        } else {
            println!("\n{} ({} a batch)", self.title, self.server.shape.batch_records);
        }
        println!(
            "{:<20}{:>11}{:>9}{:>11}{:>10}{:>8}{:>10}{:>9}",
            "",
            "ns/record",
            "x floor",
            "M rec/s",
            if self.writes { "sent" } else { "fetched" },
            "MB",
            "first ms",
            "CPU ms"
        );
        let floor = figure(found, Client::Floor, |it| it.nanoseconds);
        for (client, rounds) in found.iter().filter(|(_, rounds)| !rounds.is_empty()) {
            let median = |of: fn(&Figures) -> f64| median(rounds, of);
            let nanoseconds = median(|it| it.nanoseconds);
            let times = floor.map(|floor| format!("{:.2}", nanoseconds / floor));
            println!(
                "{:<20}{nanoseconds:>11.1}{:>9}{:>11.2}{:>10.3}{:>8.0}{:>10.1}{:>9.1}",
                client.name(self.writes),
                times.unwrap_or_default(),
                median(|it| it.records_per_second) / 1e6,
                median(|it| it.fetched),
                median(|it| it.resident) / 1e6,
                median(|it| it.first) * 1e3,
                median(|it| it.first_cpu) * 1e3,
            );
        }
        let mut missed = 0;
        for (what, value, goal, met) in self.goals.iter().filter_map(|goal| goal.judge(found)) {
            missed += usize::from(!met);
            println!("  {what}: {value:.2}, goal {goal}{}", if met { "" } else { "  MISSED" });
        }
        missed
    }

    /// Returns what was found for other programs.
    pub(super) fn to_json(&self, found: &[Rounds]) -> Value {
        let clients = found.iter().map(|(client, rounds)| {
            let values: Vec<_> = rounds.iter().map(|it| it.to_json()).collect();
            (client.name(self.writes).to_owned(), json!(values))
        });
        let clients: serde_json::Map<String, Value> = clients.collect();
        json!({ "case": self.word, "clients": clients })
    }
}

impl Goal {
    /// Returns what was wanted, the value found, the goal and whether it is met; `None` if what it is
    /// about was not measured.
    fn judge(self, found: &[Rounds]) -> Option<(String, f64, String, bool)> {
        let ours = |of| figure(found, Client::Batches, of);
        Some(match self {
            Self::Floors(client, most) => {
                let floor = figure(found, Client::Floor, |it| it.nanoseconds)?;
                let times = figure(found, client, |it| it.nanoseconds)? / floor;
                let what = format!("{}, CPU in floors", client.name(false));
                (what, times, format!("<= {most}"), times <= most)
            }
            Self::Nanoseconds(client, most) => {
                let value = figure(found, client, |it| it.nanoseconds)?;
                let what = format!("{}, CPU ns/record", client.name(false));
                (what, value, format!("<= {most}"), value <= most)
            }
            Self::Rivals(least) => {
                let rivals = found.iter().filter(|(client, _)| client.is_rival());
                let rivals = rivals.filter_map(|(it, _)| figure(found, *it, |it| it.nanoseconds));
                let best = rivals.min_by(f64::total_cmp)?;
                let each = figure(found, Client::Owned, |it| it.nanoseconds);
                let times = best / each.or_else(|| ours(|it| it.nanoseconds))?;
                (
                    "less CPU than the best rival, times".to_owned(),
                    times,
                    format!(">= {least}"),
                    times >= least,
                )
            }
            Self::Rate(least) => {
                let floor = figure(found, Client::Floor, |it| it.records_per_second)?;
                let share = ours(|it| it.records_per_second)? / floor;
                (
                    "rate, share of the floor's".to_owned(),
                    share,
                    format!(">= {least}"),
                    share >= least,
                )
            }
            Self::Fetched(most) => {
                let value = ours(|it| it.fetched)?;
                ("fetched / consumed".to_owned(), value, format!("<= {most}"), value <= most)
            }
            Self::Resident(most) => {
                let value = ours(|it| it.resident)? / 1e6;
                ("resident peak, MB".to_owned(), value, format!("<= {most}"), value <= most)
            }
            Self::First(most) => {
                let value = ours(|it| it.first.max(it.first_cpu))? * 1e3;
                ("start to first record, ms".to_owned(), value, format!("<= {most}"), value <= most)
            }
        })
    }
}

fn figure(found: &[Rounds], wanted: Client, of: fn(&Figures) -> f64) -> Option<f64> {
    let (_, rounds) = found.iter().find(|(client, _)| *client == wanted)?;
    Some(median(rounds, of)).filter(|median| median.is_finite())
}
