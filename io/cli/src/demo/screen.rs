//! What the demo shows while it runs: a block redrawn in place on a terminal, plain lines elsewhere.

use std::io::{self, IsTerminal as _, Write as _};
use std::time::{Duration, Instant};

use crate::output::thousands;

/// The state of the demo at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct View {
    pub(crate) seconds: f64,
    pub(crate) produced: u64,
    pub(crate) total: u64,
    pub(crate) processed: u64,
    pub(crate) lag: u64,
    pub(crate) records_per_second: f64,
    pub(crate) members: Vec<MemberView>,
}

/// One member's line.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct MemberView {
    pub(crate) name: String,
    pub(crate) state: &'static str,
    pub(crate) partitions: Vec<i32>,
    pub(crate) records: u64,
}

/// Where the demo writes.
#[derive(Debug)]
pub(crate) struct Screen {
    live: bool,
    drawn: usize,
    last_line: Option<Instant>,
    started: Instant,
}

impl Screen {
    pub(crate) fn new() -> Self {
        Self {
            live: io::stdout().is_terminal(),
            drawn: 0,
            last_line: None,
            started: Instant::now(),
        }
    }

    /// Seconds since the demo began.
    pub(crate) fn seconds(&self) -> f64 {
        self.started.elapsed().as_secs_f64()
    }

    /// Says something that stays: above the live block, or as a line of its own.
    pub(crate) fn say(&mut self, text: &str) {
        self.erase();
        put(&format!("{:5.1} s  {text}\n", self.seconds()));
    }

    /// Shows the state; on a terminal in place, elsewhere as one line every two seconds.
    pub(crate) fn show(&mut self, view: &View) {
        if self.live {
            self.erase();
            let block = block(view);
            self.drawn = block.lines().count();
            put(&block);
        } else if self.last_line.is_none_or(|last| last.elapsed() >= PLAIN_INTERVAL) {
            self.last_line = Some(Instant::now());
            put(&format!("{:5.1} s  {}\n", view.seconds, line(view)));
        }
    }

    /// Writes text as it stands, after removing the live block.
    pub(crate) fn print(&mut self, text: &str) {
        self.erase();
        put(text);
    }

    fn erase(&mut self) {
        if self.drawn > 0 {
            put(&format!("\x1b[{}A\x1b[J", self.drawn));
            self.drawn = 0;
        }
    }
}

/// A line every two seconds is enough to follow a pipe, and little enough to read afterwards.
const PLAIN_INTERVAL: Duration = Duration::from_secs(2);

fn put(text: &str) {
    let mut out = io::stdout().lock();
    // A reader that went away must not stop the check at the end, whose exit status still counts.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

/// The block; no line is longer than 80 columns, since one that wraps would spoil the redrawing.
fn block(view: &View) -> String {
    let done = (view.processed as f64 / (view.total.max(1)) as f64 * 40.0) as usize;
    let fed = (view.produced as f64 / (view.total.max(1)) as f64 * 40.0) as usize;
    let bar: String = (0..40)
        .map(|at| {
            if at < done {
                '█'
            } else if at < fed {
                '▒'
            } else {
                '·'
            }
        })
        .collect();
    let mut out = format!(
        "\n  {bar}\n  {} of {} processed   {} records/s   lag {}\n\n",
        thousands(view.processed),
        thousands(view.total),
        thousands(view.records_per_second as u64),
        thousands(view.lag),
    );
    for member in &view.members {
        out.push_str(&format!(
            "  {:<10} {:<9} {:<18} {:>8} records\n",
            member.name,
            member.state,
            partitions(&member.partitions),
            thousands(member.records)
        ));
    }
    out
}

fn line(view: &View) -> String {
    let members: Vec<String> = view
        .members
        .iter()
        .filter(|m| !m.partitions.is_empty())
        .map(|m| format!("{} {}", m.name, partitions(&m.partitions)))
        .collect();
    format!(
        "produced {}  processed {}  {}/s  lag {}  | {}",
        thousands(view.produced),
        thousands(view.processed),
        thousands(view.records_per_second as u64),
        thousands(view.lag),
        members.join("  ")
    )
}

/// Partitions in brackets: `[0 1 5]`.
pub(crate) fn partitions(list: &[i32]) -> String {
    let list: Vec<String> = list.iter().map(ToString::to_string).collect();
    format!("[{}]", list.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_plain_line_names_members_that_own_something() {
        let member = |name: &str, partitions: Vec<i32>| MemberView {
            name: name.into(),
            state: "running",
            partitions,
            records: 7,
        };
        let view = View {
            produced: 1200,
            total: 20_000,
            processed: 1100,
            lag: 100,
            records_per_second: 950.4,
            members: vec![member("member-1", vec![0, 1]), member("member-2", vec![])],
            ..View::default()
        };
        assert_eq!(
            line(&view),
            "produced 1 200  processed 1 100  950/s  lag 100  | member-1 [0 1]"
        );
    }
}
