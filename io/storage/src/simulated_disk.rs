//! A disk in memory that is as cruel as a real one may be.
//!
//! At a power cut, of every file the sectors written since its last sync survive or not, each on its
//! own; so does its length; and of the names made, changed and removed in a folder since its last sync
//! only the first few survive. Which ones is drawn from a seed, so a failure can be seen again. The disk
//! can also stop at a given operation, run out of space, and fail syncs.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use parking_lot::Mutex;

use crate::disk::{DirLock, Disk, DiskFile, LockError, OpenMode, Volume, WholeVolume};
use crate::simulated_world::{FileState, NameChange, Node, SECTOR, World};

/// A disk in memory. Clones are the same disk.
#[derive(Debug, Clone)]
pub struct SimulatedDisk {
    world: Arc<Mutex<World>>,
}

impl SimulatedDisk {
    /// Makes an empty disk whose accidents follow from `seed`.
    pub fn new(seed: u64) -> SimulatedDisk {
        let world = World { random: seed, ..World::default() };
        SimulatedDisk { world: Arc::new(Mutex::new(world)) }
    }

    /// Lets the disk stop for good after this many more changes to it: everything fails from then on,
    /// until [`power_cut`](SimulatedDisk::power_cut).
    pub fn stop_after(&self, operations: u64) {
        self.world.lock().stop_after = Some(operations);
    }

    /// Tells whether the disk has stopped.
    pub fn has_stopped(&self) -> bool {
        self.world.lock().stopped
    }

    /// Cuts the power and puts it on again: what was not synced is lost in part, open handles are
    /// dead, locks are free.
    pub fn power_cut(&self) {
        self.world.lock().power_cut();
    }

    /// Kills the process but not the machine: handles are dead and locks free, nothing is lost.
    pub fn kill_process(&self) {
        let mut world = self.world.lock();
        world.life += 1;
        world.locked.clear();
        world.stop_after = None;
        world.stopped = false;
    }

    /// Sets how many bytes all files together may have.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.world.lock().capacity = bytes;
    }

    /// Returns how many bytes all files together have.
    pub fn used(&self) -> u64 {
        self.world.lock().used()
    }

    /// Lets syncs fail from now on.
    pub fn fail_syncs(&self, fail: bool) {
        self.world.lock().failing_syncs = fail;
    }

    /// Lets no file be opened from now on, as for a process that has too many open.
    pub fn refuse_opening(&self, refuse: bool) {
        self.world.lock().out_of_handles = refuse;
    }

    /// Returns how many changes were made so far.
    pub fn operations(&self) -> u64 {
        self.world.lock().operations
    }

    /// Changes bytes behind everybody's back, as rot does.
    pub fn damage(&self, path: &Path, change: impl FnOnce(&mut Vec<u8>)) {
        let mut world = self.world.lock();
        let Some(Node::File(file)) = world.names.get(path).copied() else {
            panic!("there is no file {}", path.display());
        };
        let file = world.files.get_mut(&file).expect("named files exist");
        change(&mut file.live);
        file.durable.clone_from(&file.live);
        file.dirty.clear();
    }
}

impl Disk for SimulatedDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let mut missing: Vec<PathBuf> = dir
            .ancestors()
            .filter(|at| !at.as_os_str().is_empty() && *at != Path::new("/"))
            .take_while(|at| !world.names.contains_key(*at))
            .map(Path::to_owned)
            .collect();
        while let Some(path) = missing.pop() {
            let life = world.life;
            world.change(life)?;
            world.note(NameChange::Set { path, node: Node::Dir });
        }
        Ok(())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn DiskFile>> {
        let mut world = self.world.lock();
        let life = world.life;
        world.alive(life)?;
        if world.out_of_handles {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        let number = match world.names.get(path) {
            Some(Node::File(number)) => *number,
            Some(Node::Dir) => return Err(io::ErrorKind::IsADirectory.into()),
            None if matches!(mode, OpenMode::Read | OpenMode::Existing) => {
                return Err(io::ErrorKind::NotFound.into());
            }
            None => {
                let parent = path.parent().unwrap_or(Path::new(""));
                if world.names.get(parent) != Some(&Node::Dir) {
                    return Err(io::ErrorKind::NotFound.into());
                }
                world.change(life)?;
                let number = world.next_file;
                world.next_file += 1;
                world.files.insert(number, FileState::default());
                world.note(NameChange::Set { path: path.to_owned(), node: Node::File(number) });
                number
            }
        };
        let aligned = mode == OpenMode::Direct;
        Ok(Arc::new(SimulatedFile { world: Arc::clone(&self.world), number, life, aligned }))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let world = self.world.lock();
        world.alive(world.life)?;
        if world.names.get(dir) != Some(&Node::Dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside = world.names.keys().filter(|path| path.parent() == Some(dir));
        Ok(inside.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned())).collect())
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let life = world.life;
        world.change(life)?;
        let node = *world.names.get(from).ok_or(io::ErrorKind::NotFound)?;
        // What changed in a folder is made durable under the name it has then.
        for change in &mut world.pending_names {
            change.move_inside(from, to);
        }
        world.note(NameChange::Rename { from: from.to_owned(), to: to.to_owned(), node });
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let life = world.life;
        world.change(life)?;
        if !world.names.contains_key(path) {
            return Err(io::ErrorKind::NotFound.into());
        }
        world.note(NameChange::Remove { path: path.to_owned() });
        Ok(())
    }

    fn remove_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let life = world.life;
        if !world.names.contains_key(dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        let inside: Vec<PathBuf> =
            world.names.keys().filter(|path| path.starts_with(dir)).rev().cloned().collect();
        for path in inside {
            world.change(life)?;
            world.note(NameChange::Remove { path });
        }
        Ok(())
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut world = self.world.lock();
        let life = world.life;
        if world.out_of_handles {
            return Err(io::Error::from_raw_os_error(libc::EMFILE));
        }
        world.change(life)?;
        let changes = std::mem::take(&mut world.pending_names);
        for change in changes {
            if change.folder() == dir {
                change.apply(&mut world.durable_names);
            } else {
                world.pending_names.push(change);
            }
        }
        Ok(())
    }

    fn whole_volume(&self, _dir: &Path) -> io::Result<Option<Box<dyn WholeVolume>>> {
        let world = self.world.lock();
        let life = world.life;
        world.alive(life)?;
        Ok(Some(Box::new(SimulatedVolume { world: Arc::clone(&self.world), life })))
    }

    fn volume(&self, _dir: &Path) -> io::Result<Volume> {
        let world = self.world.lock();
        let total = world.capacity.unwrap_or(u64::MAX);
        Ok(Volume { total, usable: total.saturating_sub(world.used()) })
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn DirLock>, LockError> {
        let mut world = self.world.lock();
        world.alive(world.life).map_err(LockError::Io)?;
        if !world.locked.insert(path.to_owned()) {
            return Err(LockError::Held { owner: "another process".to_owned() });
        }
        let life = world.life;
        Ok(Box::new(SimulatedLock { world: Arc::clone(&self.world), path: path.to_owned(), life }))
    }

    fn lock_shared(&self, path: &Path) -> Result<Box<dyn DirLock>, LockError> {
        // It can always be written to.
        self.lock(path)
    }
}

#[derive(Debug)]
struct SimulatedLock {
    world: Arc<Mutex<World>>,
    path: PathBuf,
    life: u64,
}

impl DirLock for SimulatedLock {}

impl Drop for SimulatedLock {
    fn drop(&mut self) {
        let mut world = self.world.lock();
        if world.life == self.life {
            world.locked.remove(&self.path);
        }
    }
}

#[derive(Debug)]
struct SimulatedVolume {
    world: Arc<Mutex<World>>,
    life: u64,
}

impl WholeVolume for SimulatedVolume {
    fn sync(&self) -> io::Result<()> {
        let mut guard = self.world.lock();
        let world = &mut *guard;
        world.change(self.life)?;
        if world.failing_syncs {
            return Err(io::Error::other("a sector cannot be written"));
        }
        world.files.values_mut().for_each(FileState::sync);
        for change in std::mem::take(&mut world.pending_names) {
            change.apply(&mut world.durable_names);
        }
        Ok(())
    }
}

#[derive(Debug)]
struct SimulatedFile {
    world: Arc<Mutex<World>>,
    number: u64,
    life: u64,
    aligned: bool,
}

impl DiskFile for SimulatedFile {
    fn read_at(&self, buffer: &mut [u8], position: u64) -> io::Result<usize> {
        let world = self.world.lock();
        world.alive(self.life)?;
        let live = &world.files[&self.number].live;
        let from = (position as usize).min(live.len());
        let to = (from + buffer.len()).min(live.len());
        buffer[..to - from].copy_from_slice(&live[from..to]);
        Ok(to - from)
    }

    fn write_at(&self, data: &[u8], position: u64) -> io::Result<()> {
        use crate::aligned::BLOCK;
        if self.aligned {
            let whole = position.is_multiple_of(BLOCK as u64) && data.len().is_multiple_of(BLOCK);
            assert!(whole, "direct writes are whole blocks");
            assert_eq!(data.as_ptr().align_offset(BLOCK), 0, "direct writes are aligned");
        }
        let mut world = self.world.lock();
        world.alive(self.life)?;
        let end = position as usize + data.len();
        let grown = end.saturating_sub(world.files[&self.number].live.len()) as u64;
        if grown > 0 && world.capacity.is_some_and(|capacity| world.used() + grown > capacity) {
            return Err(io::ErrorKind::StorageFull.into());
        }
        // A write at which the power goes may still leave some of its sectors.
        let cut = world.change(self.life);
        let file = world.files.get_mut(&self.number).expect("open files exist");
        if file.live.len() < end {
            file.live.resize(end, 0);
        }
        file.live[position as usize..end].copy_from_slice(data);
        file.dirty.extend(position as usize / SECTOR..end.div_ceil(SECTOR));
        cut
    }

    fn sync(&self) -> io::Result<()> {
        let mut world = self.world.lock();
        world.change(self.life)?;
        if world.failing_syncs {
            return Err(io::Error::other("a sector cannot be written"));
        }
        world.files.get_mut(&self.number).expect("open files exist").sync();
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        let world = self.world.lock();
        world.alive(self.life)?;
        Ok(world.files[&self.number].live.len() as u64)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        let mut world = self.world.lock();
        world.change(self.life)?;
        let file = world.files.get_mut(&self.number).expect("open files exist");
        let (old, new) = (file.live.len(), length as usize);
        file.live.resize(new, 0);
        // What is cut off and written again later is new.
        file.dirty.extend(new.min(old) / SECTOR..new.max(old).div_ceil(SECTOR));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn power_cut_keeps_what_was_synced_and_only_that_for_sure() {
        let mut outcomes = BTreeSet::new();
        for seed in 0..50 {
            let disk = SimulatedDisk::new(seed);
            disk.create_dir_all(Path::new("/d")).unwrap();
            disk.sync_dir(Path::new("/")).unwrap();
            let file = disk.open(Path::new("/d/f"), OpenMode::Write).unwrap();
            file.write_at(&[1; 2 * SECTOR], 0).unwrap();
            file.sync().unwrap();
            disk.sync_dir(Path::new("/d")).unwrap();
            file.write_at(&[2; 2 * SECTOR], 0).unwrap();
            let unnamed = disk.open(Path::new("/d/g"), OpenMode::Write).unwrap();
            unnamed.sync().unwrap();
            disk.power_cut();
            assert!(file.read_at(&mut [0], 0).is_err(), "handles are dead");
            let file = disk.open(Path::new("/d/f"), OpenMode::Read).unwrap();
            let mut bytes = [0; 2 * SECTOR];
            assert_eq!(file.read_at(&mut bytes, 0).unwrap(), bytes.len());
            assert!(
                bytes.chunks(SECTOR).all(|sector| sector == [1; SECTOR] || sector == [2; SECTOR])
            );
            outcomes.insert((bytes[0], bytes[SECTOR], disk.list(Path::new("/d")).unwrap().len()));
        }
        assert_eq!(outcomes.len(), 8, "every combination comes up: {outcomes:?}");
    }

    #[test]
    fn whole_volume_once_synced_loses_nothing() {
        for seed in 0..20 {
            let disk = SimulatedDisk::new(seed);
            let dir = Path::new("/d");
            disk.create_dir_all(dir).unwrap();
            for name in ["f", "g"] {
                let file = disk.open(&dir.join(name), OpenMode::Write).unwrap();
                file.write_at(&[1; 2 * SECTOR], 0).unwrap();
            }
            disk.remove_file(&dir.join("g")).unwrap();
            let volume = disk.whole_volume(dir).unwrap().unwrap();
            disk.fail_syncs(true);
            assert!(volume.sync().is_err());
            disk.fail_syncs(false);
            volume.sync().unwrap();
            disk.power_cut();
            assert!(volume.sync().is_err(), "handles are dead");
            assert_eq!(disk.list(dir).unwrap(), ["f"]);
            let mut bytes = [0; 3 * SECTOR];
            let file = disk.open(&dir.join("f"), OpenMode::Read).unwrap();
            assert_eq!(file.read_at(&mut bytes, 0).unwrap(), 2 * SECTOR);
            assert_eq!(bytes[..2 * SECTOR], [1; 2 * SECTOR]);
        }
    }
}
