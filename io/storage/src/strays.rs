//! Folders among the partitions': which stay, which go, and which are set aside.
//!
//! Only a folder whose deletion is on record, in the write-ahead log or the checkpoint, is removed. One
//! that holds records and that nobody knows may be a topic whose metadata was lost: it gets a name that
//! ends in `-stray`, as in Kafka, is told of, and is left alone by every later start until `kohort log
//! repair` takes it back or somebody removes it.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kohort_protocol::Uuid;

use crate::disk::{Disk, OpenMode};
use crate::error::{OpenError, io_at};
use crate::names::PARTITIONS;
use crate::partition_id::dir_name;
use crate::partition_log::PartitionLog;
use crate::segment::SegmentName;
use crate::wal::entry::PartitionKey;

/// What the name of a folder that was set aside ends in.
const STRAY: &str = "-stray";
/// Folders of one partition that are set aside beside each other; a further one is left where it is.
/// More than one is there only if somebody brought the partition back by hand, time and again.
const STRAYS_OF_ONE_MAX: u32 = 9;
/// Lines about folders at a start; one more tells how many there are beside these.
const LINES_MAX: usize = 10;

/// What a start did with folders of partitions that are not there.
#[derive(Debug, Default)]
pub(crate) struct Sorted {
    /// Rests of deleted partitions, removed.
    pub(crate) removed: Vec<String>,
    /// What nobody knows, under its new name.
    pub(crate) set_aside: Vec<String>,
}

/// Goes through the folders of partitions at a start: `partitions` are there, `deleted` are on record as
/// deleted, and what says so is durable. What is not named as a partition's folder is somebody else's, and
/// stays.
pub(crate) fn sort_folders(
    disk: &dyn Disk,
    path: &Path,
    partitions: &BTreeMap<PartitionKey, Arc<PartitionLog>>,
    deleted: &BTreeSet<PartitionKey>,
) -> Result<Sorted, OpenError> {
    let dir = path.join(PARTITIONS);
    let known: BTreeMap<String, &PartitionLog> =
        partitions.values().map(|partition| (dir_name(partition.id()), &**partition)).collect();
    let names = disk.list(&dir).map_err(io_at(&dir))?;
    let mut sorted = Sorted::default();
    let mut foreign = Vec::new();
    for name in names.iter().filter(|name| !known.contains_key(*name)) {
        let folder = dir.join(name);
        let Some((_, key)) = parse_dir_name(name) else {
            foreign.extend(partition_of_stray(name).is_none().then_some(folder));
            continue;
        };
        if deleted.contains(&key) || !holds_records(disk, &folder).map_err(io_at(&folder))? {
            disk.remove_dir_all(&folder).map_err(io_at(&folder))?;
            tracing::info!(folder = name, "removed the rest of a deleted partition");
            sorted.removed.push(name.clone());
        } else if let Some(stray) = set_name_aside(disk, &dir, name).map_err(io_at(&folder))? {
            sorted.set_aside.push(stray);
        }
    }
    if !(sorted.removed.is_empty() && sorted.set_aside.is_empty()) {
        // From now on no checkpoint tells what was deleted.
        disk.sync_dir(&dir).map_err(io_at(&dir))?;
    }
    for path in foreign.iter().take(LINES_MAX) {
        tracing::warn!(path = %path.display(), "not a partition's folder: left as it is");
    }
    for name in sorted.set_aside.iter().take(LINES_MAX) {
        tell_stray(&dir.join(name));
    }
    let untold =
        [foreign.len(), sorted.set_aside.len()].map(|count| count.saturating_sub(LINES_MAX));
    if untold != [0, 0] {
        tracing::warn!(foreign = untold[0], set_aside = untold[1], "there are more such folders");
    }
    for (name, partition) in known {
        if !names.contains(&name) {
            note_missing(partition);
        }
    }
    Ok(sorted)
}

/// Tells of a folder that was set aside, and what to do about it.
pub(crate) fn tell_stray(path: &Path) {
    tracing::warn!(
        path = %path.display(),
        "set aside: it holds records of a partition that nobody knows; `kohort log repair`, while no \
         broker runs, makes it a topic again, and if nobody needs it, remove it"
    );
}

/// The folder of a partition is not there.
fn note_missing(partition: &PartitionLog) {
    let needed = {
        let mut state = partition.state.lock();
        state.has_dir &= !state.segments.is_empty();
        state.has_dir
    };
    if needed {
        partition.fail_alone(&partition.dir(), "the partition's folder is gone".to_owned());
    }
}

/// Tells whether there is a segment with anything in it.
fn holds_records(disk: &dyn Disk, folder: &Path) -> io::Result<bool> {
    for file in disk.list(folder)? {
        let is_segment = SegmentName::of_file(&file).is_some_and(|(_, suffix)| suffix == "log");
        if is_segment && !disk.open(&folder.join(&file), OpenMode::Read)?.is_empty()? {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Gives a folder a name that is left alone, and returns it. Nothing if it has as many already.
pub(crate) fn set_name_aside(
    disk: &dyn Disk,
    dir: &Path,
    name: &str,
) -> io::Result<Option<String>> {
    let taken = disk.list(dir)?;
    let names = (1..=STRAYS_OF_ONE_MAX).map(|number| match number {
        1 => format!("{name}{STRAY}"),
        _ => format!("{name}{STRAY}{number}"),
    });
    let Some(stray) = names.into_iter().find(|name| !taken.contains(name)) else {
        let path = dir.join(name);
        tracing::warn!(path = %path.display(), "nobody knows it, and too many like it are set aside: remove them");
        return Ok(None);
    };
    disk.rename(&dir.join(name), &dir.join(&stray))?;
    Ok(Some(stray))
}

/// Returns the name that a folder had before it was set aside, if it was.
pub(crate) fn partition_of_stray(name: &str) -> Option<&str> {
    let (partition, number) = name.rsplit_once(STRAY)?;
    let numbered =
        number.is_empty() || number.parse().is_ok_and(|n| (2..=STRAYS_OF_ONE_MAX).contains(&n));
    parse_dir_name(partition).filter(|_| numbered).map(|_| partition)
}

/// Returns the name that the folder at `path` had before it was set aside, if it was.
pub(crate) fn partition_of_stray_at(path: &Path) -> Option<&str> {
    partition_of_stray(path.file_name()?.to_str()?)
}

/// Lists the folders that were set aside.
pub(crate) fn list_strays(disk: &dyn Disk, folder: &Path) -> io::Result<Vec<PathBuf>> {
    let dir = folder.join(PARTITIONS);
    let names = disk.list(&dir)?;
    Ok(names.iter().filter(|n| partition_of_stray(n).is_some()).map(|n| dir.join(n)).collect())
}

/// Reads the name of a partition's folder: the topic's name, of which the end may be missing, and which
/// partition it is.
pub(crate) fn parse_dir_name(name: &str) -> Option<(&str, PartitionKey)> {
    let (partition, hex) = name.rsplit_once('.')?;
    let (topic, index) = partition.rsplit_once('-')?;
    if hex.len() != 32 || !hex.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return None;
    }
    let mut id = [0; 16];
    for (at, byte) in id.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&hex[2 * at..2 * at + 2], 16).ok()?;
    }
    Some((topic, (Uuid(id), index.parse().ok()?)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_tell_partitions_folders_from_those_set_aside_and_from_others() {
        let name = format!("or-der.s-3.{}", "0a".repeat(16));
        assert_eq!(parse_dir_name(&name), Some(("or-der.s", (Uuid([10; 16]), 3))));
        for stray in [format!("{name}-stray"), format!("{name}-stray9")] {
            assert_eq!(partition_of_stray(&stray), Some(&*name));
            assert_eq!(parse_dir_name(&stray), None);
        }
        for other in ["backup-1", "backup-stray", &name, &format!("{name}-stray10")] {
            assert_eq!(partition_of_stray(other), None, "{other}");
        }
    }
}
