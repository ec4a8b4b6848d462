//! The log on disk: a shared write-ahead log with per-partition segments behind it.
//!
//! An append is acknowledged when `fdatasync` of the write-ahead log returned; one sync serves all
//! partitions. Segments are written later, through the page cache, and made durable by checkpoints,
//! after which the log's files go round. `docs/storage-format.md` states every byte.
//!
//! ```no_run
//! use kohort_log::validator::AppendOrigin;
//! use kohort_storage::{Isolation, LogDir, LogDirConfig, PartitionId};
//! # fn batch() -> bytes::Bytes { bytes::Bytes::new() }
//! # fn now() -> i64 { 0 }
//! let (dir, report) = LogDir::open(LogDirConfig::new("/var/lib/kohort"))?;
//! println!("{report:?}");
//! let topic_id = kohort_protocol::Uuid([7; 16]);
//! let id = PartitionId { topic_id, topic: "flights".into(), index: 0 };
//! let partition = dir.create_partition(id, Default::default())?;
//! let info = partition.append(now(), batch(), AppendOrigin::Client, |result| {
//!     println!("durable: {}", result.is_ok());
//! })?;
//! let found = partition.read(info.base_offset, 1 << 20, true, Isolation::ReadUncommitted)?;
//! println!("{} bytes below {}", found.records.len(), found.high_watermark);
//! dir.shutdown()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! Back-pressure: [`PartitionLog::append`] never blocks. When too much waits for the disk it refuses
//! with [`AppendError::QueueFull`], and [`LogDir::when_room`] calls back when it is worth another try.
//! With a bounded number of requests in flight per connection a broker gets there only when the disk
//! does not keep up.

mod active_segment;
pub mod aligned;
mod append;
mod background;
mod broken;
mod buffers;
mod checkpoint;
mod clean_round;
mod cleaned_segment;
mod cleaner;
mod cleaning;
mod commit;
mod commit_frame;
mod config;
mod counters;
mod dense;
mod disk;
mod durations;
mod error;
mod failure;
mod file_cache;
mod file_disk;
mod file_records;
#[cfg(test)]
mod fixture;
mod flush;
mod found_frames;
mod inspect;
mod lending;
mod log_dir;
mod lookup;
mod lost_end;
mod mend;
mod names;
mod offline;
mod open_segment;
mod partition_dir;
mod partition_id;
mod partition_log;
mod partition_state;
mod partitions;
mod queue;
mod random;
mod read;
mod recovery;
mod remove_dirs;
mod repair;
mod replay;
mod retention;
mod segment;
mod segment_files;
mod segment_scan;
mod set_aside;
mod shared;
mod simulated_disk;
mod simulated_world;
mod snapshot;
mod stats;
mod strays;
mod take_checkpoint;
mod threads;
mod time_of;
mod unsynced;
mod wal;
mod walk;
mod whole_batches;

pub use append::AppendInfo;
pub use buffers::{BufferPool, PooledBuf};
pub use cleaning::CleanerStats;
pub use commit::CommitStep;
pub use config::{Background, CleanerConfig, Clock, FatalHook, FlushMode, LogDirConfig};
pub use disk::{DirLock, Disk, DiskFile, LockError, OpenMode, Volume, WholeVolume};
pub use durations::{DURATION_BOUNDS_US, DurationCounts, Durations};
pub use error::{AppendError, Corruption, FatalError, OpenError, ReadError, StorageError};
pub use file_disk::FileDisk;
pub use file_records::{FileRecords, Records};
pub use inspect::{VerifyReport, dump, read_topic, verify};
pub use kohort_log::PartitionConfig;
pub use kohort_log::producer_state::ActiveProducer;
pub use kohort_log::validator::{AppendOrigin, InvalidBatch, InvalidRecord};
pub use log_dir::LogDir;
pub use lookup::FoundOffset;
pub use names::{METADATA_TOPIC, METADATA_TOPIC_ID};
pub use partition_id::PartitionId;
pub use partition_log::{AdvanceListener, LogCounters, PartitionLog};
pub use read::{Isolation, ReadInfo};
pub use recovery::RecoveryReport;
pub use repair::{RepairReport, repair};
pub use retention::RetentionReport;
pub use shared::Shortage;
pub use simulated_disk::SimulatedDisk;
pub use snapshot::{Snapshot, SnapshotError, SnapshotWriter};
pub use stats::LogDirStats;
pub use time_of::RecordTime;
pub use walk::Problem;
