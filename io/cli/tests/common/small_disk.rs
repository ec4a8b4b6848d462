//! A real file system of a few megabytes, to be filled to the last byte.
//!
//! A process of its own holds a tmpfs in a mount namespace; `unshare -rm` makes one for root and for
//! an ordinary user alike. Everybody else reaches it through that process's `/proc/<pid>/root`.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, ErrorKind, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

/// A small disk; it is gone when this is dropped.
pub(crate) struct SmallDisk {
    holder: Child,
    folder: PathBuf,
    _mount_point: tempfile::TempDir,
}

/// Mounts, says that it is there, and keeps it until stdin ends.
const HOLD: &str = r#"mount -t tmpfs -o "size=$1" kohort "$2" && echo mounted && exec cat"#;

impl SmallDisk {
    /// Makes a disk of this size, as `mount` understands it: `24m`.
    pub(crate) fn new(size: &str) -> Self {
        let mount_point = tempfile::tempdir().unwrap();
        let mut holder = Command::new("unshare")
            .args(["--map-root-user", "--mount", "sh", "-c", HOLD, "sh", size])
            .arg(mount_point.path())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("`unshare` of util-linux makes the small disk");
        let mut said = String::new();
        BufReader::new(holder.stdout.take().unwrap()).read_line(&mut said).unwrap();
        if said.trim_end() != "mounted" {
            let mut words = String::new();
            holder.stderr.take().unwrap().read_to_string(&mut words).unwrap();
            panic!(
                "no small disk: this machine permits neither root nor a user namespace to mount a \
                 tmpfs: {words}"
            );
        }
        let root = PathBuf::from(format!("/proc/{}/root", holder.id()));
        let folder = root.join(mount_point.path().strip_prefix("/").unwrap());
        Self { holder, folder, _mount_point: mount_point }
    }

    /// Where a broker's data can be.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Takes up all the space that is left.
    pub(crate) fn fill(&self) {
        let mut filler = File::options().create(true).append(true).open(self.filler()).unwrap();
        for size in [1 << 20, 1 << 12] {
            let block = vec![1; size];
            let full = loop {
                if let Err(error) = filler.write_all(&block) {
                    break error;
                }
            };
            assert_eq!(full.kind(), ErrorKind::StorageFull, "{full}");
        }
    }

    /// Gives back what `fill` took.
    pub(crate) fn free(&self) {
        fs::remove_file(self.filler()).unwrap();
    }

    fn filler(&self) -> PathBuf {
        self.folder.join("filler")
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        drop(self.holder.stdin.take());
        let _ = self.holder.wait();
    }
}
