//! What a simulated disk holds, and what of it a power cut leaves.
//!
//! Names and contents are there twice: as processes see them, and as they are for sure after a power cut. A
//! sync makes the second like the first.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

/// What survives or is lost as a unit.
pub(crate) const SECTOR: usize = 512;

#[derive(Debug, Default)]
pub(crate) struct World {
    pub(crate) random: u64,
    /// Names as processes see them.
    pub(crate) names: BTreeMap<PathBuf, Node>,
    /// Names as they are after a power cut that keeps nothing.
    pub(crate) durable_names: BTreeMap<PathBuf, Node>,
    /// What happened to names since, in order.
    pub(crate) pending_names: Vec<NameChange>,
    pub(crate) files: BTreeMap<u64, FileState>,
    pub(crate) next_file: u64,
    /// Goes up with every power cut: handles from before are dead.
    pub(crate) life: u64,
    pub(crate) locked: BTreeSet<PathBuf>,
    pub(crate) stop_after: Option<u64>,
    pub(crate) stopped: bool,
    pub(crate) capacity: Option<u64>,
    pub(crate) failing_syncs: bool,
    /// Whether the process has as many files open as it may.
    pub(crate) out_of_handles: bool,
    pub(crate) operations: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Node {
    Dir,
    File(u64),
}

#[derive(Debug, Clone)]
pub(crate) enum NameChange {
    Set { path: PathBuf, node: Node },
    Remove { path: PathBuf },
    Rename { from: PathBuf, to: PathBuf, node: Node },
}

#[derive(Debug, Default)]
pub(crate) struct FileState {
    pub(crate) live: Vec<u8>,
    pub(crate) durable: Vec<u8>,
    pub(crate) dirty: BTreeSet<usize>,
}

impl World {
    pub(crate) fn draw(&mut self, below: u64) -> u64 {
        // SplitMix64.
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below.max(1)
    }

    pub(crate) fn alive(&self, life: u64) -> io::Result<()> {
        if self.stopped || self.life != life {
            return Err(io::Error::other("the power is gone"));
        }
        Ok(())
    }

    /// Counts a change; fails if the disk stops at it.
    pub(crate) fn change(&mut self, life: u64) -> io::Result<()> {
        self.alive(life)?;
        self.operations += 1;
        if let Some(left) = &mut self.stop_after {
            if *left == 0 {
                self.stopped = true;
                return Err(io::Error::other("the power is gone"));
            }
            *left -= 1;
        }
        Ok(())
    }

    pub(crate) fn used(&self) -> u64 {
        let files: BTreeSet<u64> = self
            .names
            .values()
            .filter_map(|node| match node {
                Node::File(file) => Some(*file),
                Node::Dir => None,
            })
            .collect();
        files.iter().map(|file| self.files[file].live.len() as u64).sum()
    }

    pub(crate) fn power_cut(&mut self) {
        self.life += 1;
        self.locked.clear();
        self.stop_after = None;
        self.stopped = false;
        // Of each folder's changes, the first few.
        let changes = std::mem::take(&mut self.pending_names);
        let mut kept: BTreeMap<PathBuf, u64> = BTreeMap::new();
        let mut counts: BTreeMap<PathBuf, u64> = BTreeMap::new();
        for change in &changes {
            *counts.entry(change.folder()).or_default() += 1;
        }
        for (folder, count) in counts {
            let keep = match self.draw(3) {
                0 => 0,
                1 => count,
                _ => self.draw(count + 1),
            };
            kept.insert(folder, keep);
        }
        for change in changes {
            let left = kept.get_mut(&change.folder()).expect("counted above");
            if *left > 0 {
                *left -= 1;
                change.apply(&mut self.durable_names);
            }
        }
        // What lies in a folder that is not there is not there.
        let names = std::mem::take(&mut self.durable_names);
        for (path, node) in names {
            let parent = path.parent().unwrap_or(Path::new(""));
            let reachable = parent.as_os_str().is_empty()
                || parent == Path::new("/")
                || self.durable_names.get(parent) == Some(&Node::Dir);
            if reachable {
                self.durable_names.insert(path, node);
            }
        }
        self.names = self.durable_names.clone();
        let files: Vec<u64> = self.files.keys().copied().collect();
        for number in files {
            self.lose_unsynced(number);
        }
    }

    fn lose_unsynced(&mut self, number: u64) {
        let mut file = self.files.remove(&number).expect("listed above");
        let mood = self.draw(4);
        let length = if file.live.len() == file.durable.len() {
            file.live.len()
        } else {
            match mood {
                0 => file.durable.len(),
                1 => file.live.len(),
                _ => {
                    let (low, high) = (
                        file.live.len().min(file.durable.len()),
                        file.live.len().max(file.durable.len()),
                    );
                    low + self.draw((high - low) as u64 + 1) as usize
                }
            }
        };
        let mut now = file.durable.clone();
        now.resize(length, 0);
        for sector in std::mem::take(&mut file.dirty) {
            let survives = match mood {
                0 => false,
                1 => true,
                _ => self.draw(2) == 0,
            };
            let from = sector * SECTOR;
            let to = (from + SECTOR).min(length).min(file.live.len());
            if survives && from < to {
                now[from..to].copy_from_slice(&file.live[from..to]);
            }
        }
        file.live.clone_from(&now);
        file.durable = now;
        self.files.insert(number, file);
    }

    pub(crate) fn note(&mut self, change: NameChange) {
        change.apply(&mut self.names);
        self.pending_names.push(change);
    }
}

impl FileState {
    pub(crate) fn sync(&mut self) {
        self.durable.resize(self.live.len(), 0);
        for sector in std::mem::take(&mut self.dirty) {
            let from = sector * SECTOR;
            let to = (from + SECTOR).min(self.live.len());
            if from < to {
                self.durable[from..to].copy_from_slice(&self.live[from..to]);
            }
        }
    }
}

impl NameChange {
    pub(crate) fn folder(&self) -> PathBuf {
        let path = match self {
            NameChange::Set { path, .. } | NameChange::Remove { path } => path,
            NameChange::Rename { to, .. } => to,
        };
        path.parent().unwrap_or(Path::new("")).to_owned()
    }

    pub(crate) fn apply(&self, names: &mut BTreeMap<PathBuf, Node>) {
        match self {
            NameChange::Set { path, node } => {
                names.insert(path.clone(), *node);
            }
            NameChange::Remove { path } => {
                names.remove(path);
            }
            // A folder takes along what is in it.
            NameChange::Rename { from, to, node } => {
                let inside: Vec<PathBuf> =
                    names.keys().filter(|path| path.starts_with(from)).cloned().collect();
                for path in inside {
                    let moved = moved(&path, from, to).expect("it starts with the folder");
                    if let Some(node) = names.remove(&path) {
                        names.insert(moved, node);
                    }
                }
                names.insert(to.clone(), *node);
            }
        }
    }

    /// Follows the folder `from`, in which this changed something, to its new name.
    pub(crate) fn move_inside(&mut self, from: &Path, to: &Path) {
        if !self.folder().starts_with(from) {
            return;
        }
        match self {
            NameChange::Set { path, .. } | NameChange::Remove { path } => {
                *path = moved(path, from, to).unwrap_or_else(|| path.clone());
            }
            NameChange::Rename { from: old, to: new, .. } => {
                for path in [old, new] {
                    *path = moved(path, from, to).unwrap_or_else(|| path.clone());
                }
            }
        }
    }
}

/// Returns where a path is after the folder it is in was renamed.
fn moved(path: &Path, from: &Path, to: &Path) -> Option<PathBuf> {
    let rest = path.strip_prefix(from).ok()?;
    Some(if rest.as_os_str().is_empty() { to.to_owned() } else { to.join(rest) })
}
