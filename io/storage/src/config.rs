//! How a data folder is to be kept.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kohort_log::Timestamp;

use crate::error::FatalError;
use crate::wal::frame::FRAME_PAYLOAD_MAX;

/// Settings of a data folder. Start from [`LogDirConfig::new`].
#[derive(Clone)]
pub struct LogDirConfig {
    /// The folder. It is created if it is not there.
    pub path: PathBuf,
    /// What an acknowledgement means.
    pub flush: FlushMode,
    /// Size of the first file of the write-ahead log: small, so that a new folder is ready at once.
    /// Each further file is twice the size of the one before, up to `wal_file_bytes`.
    pub wal_first_file_bytes: u64,
    /// Largest size of a file of the write-ahead log. About two to three such files exist under load.
    pub wal_file_bytes: u64,
    /// With as many bytes in files of the write-ahead log before the one in use, clients' appends wait for
    /// a checkpoint: the disk takes commits faster than it makes segments durable. A restart reads at most
    /// this and what is in the last file. An eighth of the disk, if that is less, but at least three files.
    pub wal_bytes_max: u64,
    /// Appends not yet in the write-ahead log: beyond this many bytes they are refused with
    /// [`AppendError::QueueFull`](crate::AppendError::QueueFull). Two to three commits' worth at the
    /// largest commit size, so a full queue is a disk that does not keep up.
    pub queue_bytes_max: usize,
    /// The largest batch that is taken, whatever the topic allows: it must fit one commit, which may
    /// have a gibibyte.
    pub batch_bytes_max: usize,
    /// Committed records not yet written to segments: beyond this appends are refused as well, since
    /// they are held in memory until then.
    pub unflushed_bytes_max: usize,
    /// Committed records written to segments that stay in memory for readers close behind.
    pub hot_bytes_max: usize,
    /// Buffers for writing and reading that are kept to be used again.
    pub buffer_bytes_max: usize,
    /// Committed records are written to segments when there are this many bytes of them, or after
    /// half a second.
    pub flush_bytes: usize,
    /// With as many partitions to make durable, a checkpoint syncs the whole volume once in place of each of
    /// their files: a partition takes four syncs of about a millisecond each, and clients' appends may be
    /// waiting for room in the log.
    pub sync_volume_from: usize,
    /// Files held open at once for segments and indexes.
    pub open_files_max: usize,
    /// `producer.id.expiration.ms`.
    pub producer_expiration_ms: i64,
    /// Called once when the disk failed in a way after which the process must end (a failed
    /// `fdatasync`), or a thread panicked. The folder refuses everything from then on.
    pub on_fatal: Option<FatalHook>,
    /// How compaction goes about its work.
    pub cleaner: CleanerConfig,
    /// What time it is.
    pub clock: Clock,
    /// Who does the work behind appends.
    pub background: Background,
}

/// The broker's clock: milliseconds since 1970, as told by the system unless a test says otherwise.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// Makes a clock that shows what `now` returns.
    pub fn new(now: impl Fn() -> Timestamp + Send + Sync + 'static) -> Clock {
        Clock(Arc::new(now))
    }

    /// Returns the time.
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

impl fmt::Debug for Clock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Clock({})", self.now())
    }
}

impl Default for Clock {
    fn default() -> Clock {
        Clock::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            since.as_millis() as Timestamp
        })
    }
}

/// Settings of the cleaner, which compacts partitions; see
/// [`LogDir::set_cleaner_config`](crate::LogDir::set_cleaner_config).
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CleanerConfig {
    /// `log.cleaner.enable`. Whether there is a cleaner is decided when the folder is opened.
    pub enabled: bool,
    /// `log.cleaner.backoff.ms`: how long the cleaner rests after it found nothing to do.
    pub backoff: Duration,
    /// `log.cleaner.dedupe.buffer.size`: the most memory a round uses for keys. A log with more distinct
    /// keys in its dirty part takes several rounds. Memory is taken as keys come and given back after the
    /// round, so that Kafka's large default costs nothing where it is not needed.
    pub dedupe_buffer_bytes: usize,
    /// `log.cleaner.io.max.bytes.per.second`: how much is read and written.
    pub io_bytes_per_second: f64,
}

impl Default for CleanerConfig {
    fn default() -> CleanerConfig {
        CleanerConfig {
            enabled: true,
            backoff: Duration::from_secs(15),
            dedupe_buffer_bytes: 128 << 20,
            io_bytes_per_second: f64::MAX,
        }
    }
}

/// See [`LogDirConfig::on_fatal`].
pub type FatalHook = Arc<dyn Fn(&FatalError) + Send + Sync>;

impl LogDirConfig {
    /// Returns the defaults for a folder.
    pub fn new(path: impl Into<PathBuf>) -> LogDirConfig {
        LogDirConfig {
            path: path.into(),
            flush: FlushMode::Fsync,
            wal_first_file_bytes: 1 << 20,
            wal_file_bytes: 64 << 20,
            wal_bytes_max: 512 << 20,
            queue_bytes_max: 64 << 20,
            batch_bytes_max: FRAME_PAYLOAD_MAX - 4096,
            unflushed_bytes_max: 128 << 20,
            hot_bytes_max: 16 << 20,
            buffer_bytes_max: 16 << 20,
            flush_bytes: 4 << 20,
            sync_volume_from: 64,
            open_files_max: 512,
            producer_expiration_ms: 24 * 60 * 60 * 1000,
            on_fatal: None,
            cleaner: CleanerConfig::default(),
            clock: Clock::default(),
            background: Background::Threads,
        }
    }
}

impl fmt::Debug for LogDirConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LogDirConfig")
            .field("path", &self.path)
            .field("flush", &self.flush)
            .field("background", &self.background)
            .finish_non_exhaustive()
    }
}

/// What an acknowledgement means.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FlushMode {
    /// The records are on disk: `fdatasync` returned.
    Fsync,
    /// The records are in the operating system's memory: they survive the process, not the machine.
    /// For comparison and tests; Kafka's default on one node.
    PageCache,
}

/// Who does the work behind appends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Background {
    /// Three threads: one commits, one writes segments and prepares files, one compacts; and one more
    /// while a checkpoint is taken.
    Threads,
    /// The caller, step by step, through [`LogDir::step_commit`](crate::LogDir::step_commit),
    /// [`LogDir::step_flush`](crate::LogDir::step_flush),
    /// [`LogDir::step_clean`](crate::LogDir::step_clean) and
    /// [`LogDir::checkpoint`](crate::LogDir::checkpoint): for simulations.
    Manual,
}
