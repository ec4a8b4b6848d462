//! Members' processes: paused as a collector of garbage does, and known by their sockets.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use rustix::process::{Pid, Signal, kill_process};

/// Stops a process where it is.
pub(crate) fn pause(pid: u32) -> Result<()> {
    signal(pid, Signal::STOP)
}

/// Has a process go on.
pub(crate) fn resume(pid: u32) -> Result<()> {
    signal(pid, Signal::CONT)
}

fn signal(pid: u32, signal: Signal) -> Result<()> {
    let pid = Pid::from_raw(pid.try_into()?).context("a process has a number")?;
    Ok(kill_process(pid, signal)?)
}

/// Returns the local ports of a process's TCP connections.
pub(crate) fn ports(pid: u32) -> Result<BTreeSet<u16>> {
    let mut sockets = BTreeSet::new();
    for entry in fs::read_dir(format!("/proc/{pid}/fd"))? {
        // A descriptor may be closed meanwhile.
        let Ok(target) = fs::read_link(entry?.path()) else { continue };
        sockets.extend(inode(&target));
    }
    let mut ports = BTreeSet::new();
    for table in ["tcp", "tcp6"] {
        // A system without IPv6 has no table of it.
        let table = fs::read_to_string(format!("/proc/{pid}/net/{table}")).unwrap_or_default();
        ports.extend(table.lines().skip(1).filter_map(|line| {
            let fields: Vec<&str> = line.split_whitespace().collect();
            let (_, port) = fields.get(1)?.rsplit_once(':')?;
            let inode: u64 = fields.get(9)?.parse().ok()?;
            let port = u16::from_str_radix(port, 16).ok()?;
            sockets.contains(&inode).then_some(port)
        }));
    }
    Ok(ports)
}

/// Returns the number in `socket:[123]`.
fn inode(target: &Path) -> Option<u64> {
    target.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}
