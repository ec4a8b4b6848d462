//! A partition's folder, and the file in it that tells whose it is.

use std::path::Path;
use std::sync::Arc;

use kohort_protocol::Uuid;

use crate::disk::{DiskFile, OpenMode, read_file};
use crate::failure::FlushError;
use crate::failure::named;
use crate::names::PARTITION_FILE;
use crate::partition_id::PartitionId;
use crate::partition_log::PartitionLog;

/// Creates a partition's folder with the file that tells whose it is. Nothing of it is durable: as long
/// as no checkpoint says that there is a folder, it is made anew. A file that tells it already, and may be
/// durable, is left as it is: cut short by a crash it would look like damage.
pub(crate) fn create_dir(
    partition: &PartitionLog,
    dir: &Path,
) -> Result<Arc<dyn DiskFile>, FlushError> {
    let disk = &partition.shared.disk;
    let write = || {
        disk.create_dir_all(dir)?;
        let path = dir.join(PARTITION_FILE);
        let content = partition_file(partition.id());
        let file = disk.open(&path, OpenMode::Write)?;
        if read_file(&**disk, &path)? != content.as_bytes() {
            file.set_len(0)?;
            file.write_at(content.as_bytes(), 0)?;
        }
        Ok(file)
    };
    write().map_err(|error| named(dir, error).into())
}

/// Returns what the file in a partition's folder says.
pub(crate) fn partition_file(id: &PartitionId) -> String {
    let PartitionId { topic, index, topic_id } = id;
    format!("kohort-partition 1\ntopic {topic}\nindex {index}\ntopic-id {topic_id}\n")
}

/// Reads such a file.
pub(crate) fn parse_partition_file(content: &str) -> Option<PartitionId> {
    let mut lines = content.lines();
    if lines.next()? != "kohort-partition 1" {
        return None;
    }
    let topic: &str = lines.next()?.strip_prefix("topic ")?;
    let index = lines.next()?.strip_prefix("index ")?.parse().ok()?;
    let topic_id: Uuid = lines.next()?.strip_prefix("topic-id ")?.parse().ok()?;
    Some(PartitionId { topic_id, topic: Arc::from(topic), index })
}
