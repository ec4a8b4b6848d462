//! How the file descriptors of the process are shared out.
//!
//! A broker whose connections take every descriptor could write no segment. So the log's files get
//! their part, connections get the rest, and who comes when that is used up is turned away.

use rustix::process::{Resource, getrlimit};

/// Segment and index files kept open where descriptors abound.
const FILES_MAX: usize = 512;
/// Descriptors for all else: standard streams, the runtime, the write-ahead log, a checkpoint, and
/// files that a reader still uses after they made way for others.
const OTHERS: usize = 48;
/// Connections that are accepted however few descriptors there are.
const CONNECTIONS_MIN: usize = 8;

/// What each may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shares {
    /// Segment and index files open at once.
    pub(crate) files: usize,
    /// Connections open at once.
    pub(crate) connections: usize,
}

/// Shares out what the process may have.
pub(crate) fn shares() -> Shares {
    let limit = getrlimit(Resource::Nofile).current;
    share(limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX)))
}

fn share(limit: usize) -> Shares {
    let files = FILES_MAX.min(limit / 4);
    let connections = limit.saturating_sub(files + OTHERS).max(CONNECTIONS_MIN);
    Shares { files, connections }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_and_connections_together_stay_below_the_limit() {
        for limit in [100, 256, 1024, 65_536, usize::MAX] {
            let Shares { files, connections } = share(limit);
            assert!(files >= 25 && connections >= CONNECTIONS_MIN);
            assert!(files + connections <= limit - OTHERS, "{limit}");
        }
        assert_eq!(share(1024), Shares { files: 256, connections: 720 });
    }
}
