//! What the system knows of this process, under the names all Prometheus clients use.
//!
//! Read from `/proc`; where there is none these metrics are absent.

use super::page::Page;
use super::table;
use rustix::process::{Resource, getrlimit};
use std::fs;

/// What `/proc/self` says.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Process {
    cpu_seconds: f64,
    threads: u64,
    virtual_bytes: u64,
    resident_bytes: u64,
    start_seconds: f64,
}

/// Writes the metrics of the process.
pub(super) fn write(page: &mut Page) {
    if let Some(process) = read() {
        page.single(&table::PROCESS_RESIDENT, process.resident_bytes);
        page.single(&table::PROCESS_VIRTUAL, process.virtual_bytes);
        page.single(&table::PROCESS_CPU, process.cpu_seconds);
        page.single(&table::PROCESS_THREADS, process.threads);
        page.single(&table::PROCESS_START, process.start_seconds);
    }
    if let Ok(open) = fs::read_dir("/proc/self/fd") {
        // The listing has one open itself.
        page.single(&table::PROCESS_OPEN_FDS, open.count().saturating_sub(1));
    }
    if let Some(limit) = getrlimit(Resource::Nofile).current {
        page.single(&table::PROCESS_MAX_FDS, limit);
    }
}

fn read() -> Option<Process> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    let boot = fs::read_to_string("/proc/stat").ok()?;
    let boot = boot.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    let page_bytes = rustix::param::page_size() as u64;
    parse(&stat, boot, rustix::param::clock_ticks_per_second() as f64, page_bytes)
}

/// Reads `/proc/self/stat`. The second field is the program's name in brackets, with whatever
/// characters it has; fields are counted from its end.
fn parse(stat: &str, boot_seconds: f64, ticks: f64, page_bytes: u64) -> Option<Process> {
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let number = |field: usize| fields.get(field - 3)?.parse::<u64>().ok();
    Some(Process {
        cpu_seconds: (number(14)? + number(15)?) as f64 / ticks,
        threads: number(20)?,
        start_seconds: boot_seconds + number(22)? as f64 / ticks,
        virtual_bytes: number(23)?,
        resident_bytes: number(24)? * page_bytes,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_are_found_behind_a_name_with_brackets_and_blanks() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194304 100 0 0 0 150 50 0 0 20 0 9 0 3000 8192 2 18446744073709551615";
        let expected = Process {
            cpu_seconds: 2.0,
            threads: 9,
            virtual_bytes: 8192,
            resident_bytes: 8192,
            start_seconds: 1030.0,
        };
        assert_eq!(parse(stat, 1000.0, 100.0, 4096), Some(expected));
        assert_eq!(parse("7 (a", 1000.0, 100.0, 4096), None);
    }
}
