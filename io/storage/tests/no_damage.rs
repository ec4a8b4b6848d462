//! What a crash leaves that may look like damage and is none: an operator who looks is told of nothing.
#![allow(clippy::unwrap_used, reason = "a failed unwrap is a failed test")]

mod support;

use kohort_storage::{Disk, verify};
use support::folder::{Folder, two_partitions};

#[test]
fn files_of_a_partition_that_the_log_deletes_may_be_gone() {
    let folder = Folder::new();
    let dir = folder.open().unwrap();
    let [deleted, _kept] = two_partitions(&dir);
    dir.checkpoint().unwrap();
    dir.delete_partition(deleted.id().topic_id, deleted.id().index, drop).unwrap();
    dir.step_commit();
    dir.step_flush().unwrap();
    drop(deleted);
    folder.kill(dir);
    assert_eq!(folder.disk.list(&folder.config.path.join("partitions")).unwrap().len(), 1);
    assert_eq!(verify(&folder.disk(), &folder.config.path).unwrap().problems, []);
    assert_eq!(folder.open().unwrap().partitions().len(), 1);
}
