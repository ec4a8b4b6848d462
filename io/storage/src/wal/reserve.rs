//! Who may write into the end of the log's last file.
//!
//! When the disk has no room for another file, what is left of the one in use is all there is. Its end is
//! kept for what makes room again or is small and must go on:
//!
//! ```text
//! ├ clients' records ──────────────────────┬ coordinators' records ──────────┬ deletions, metadata ┤
//! 0                            size - 1/4, at most 4 MiB        size - 1/16, at most 1 MiB       size
//! ```
//!
//! As long as there is another file ready, each is filled to its end.

use crate::aligned::{BLOCK, round_up};

/// How much depends on an entry being written although the disk is full, least first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// A client's records: it can wait, or is told so.
    Client,
    /// Records of the broker's coordinators. One that cannot write must unload its groups.
    Coordinator,
    /// Deletions and the cluster's metadata, without which nobody could make room from inside.
    Control,
}

/// A quarter of a file, but not more: at 4096 bytes a commit a thousand of them.
const COORDINATORS_KEEP: u64 = 4 << 20;
/// A sixteenth of a file, but not more.
const CONTROL_KEEPS: u64 = 1 << 20;

impl Urgency {
    /// From the least urgent to the most.
    pub(crate) const ALL: [Urgency; 3] = [Urgency::Client, Urgency::Coordinator, Urgency::Control];

    /// Returns how many bytes at the end of a file of `size`, if it is the last, are others'.
    pub(crate) fn leaves(self, size: u64) -> u64 {
        let bytes = match self {
            Urgency::Client => (size / 4).min(COORDINATORS_KEEP),
            Urgency::Coordinator => (size / 16).min(CONTROL_KEEPS),
            Urgency::Control => 0,
        };
        round_up(bytes as usize) as u64
    }

    /// Returns how large a file must be to have room for `bytes`, its header among them, if it is the
    /// last.
    pub(crate) fn file_for(self, bytes: u64) -> u64 {
        let kept = match self {
            Urgency::Client => (bytes / 3).min(COORDINATORS_KEEP) + 2 * BLOCK as u64,
            Urgency::Coordinator => (bytes / 15).min(CONTROL_KEEPS) + 2 * BLOCK as u64,
            Urgency::Control => 0,
        };
        round_up((bytes + kept) as usize) as u64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn file_that_is_large_enough_leaves_the_others_their_share() {
        for urgency in Urgency::ALL {
            for blocks in (1..3000).chain([1 << 14, 1 << 18]) {
                let bytes = blocks * BLOCK as u64;
                let size = urgency.file_for(bytes);
                assert!(size - urgency.leaves(size) >= bytes, "{urgency:?}, {blocks} blocks");
            }
        }
    }

    #[test]
    fn what_is_more_urgent_may_use_more() {
        for size in [8192, 16384, 1 << 20, 64 << 20] {
            let left = Urgency::ALL.map(|urgency| urgency.leaves(size));
            assert!(left[0] >= left[1] && left[1] > left[2] && left[2] == 0, "{size}: {left:?}");
        }
        assert_eq!(Urgency::Client.leaves(64 << 20), COORDINATORS_KEEP);
        assert_eq!(Urgency::Coordinator.leaves(64 << 20), CONTROL_KEEPS);
    }
}
