//! Whether the broker lives and whether it serves, and if not, why.
//!
//! | path | 200 | 503 |
//! |---|---|---|
//! | `/health/live` | the process works | its data folder or a task of its own failed: it must be started again |
//! | `/health/ready`, `/health` | it serves | what keeps it from that is listed; it lives, and may get there |
//!
//! Damage to single partitions is listed, and the status then is `degraded` and 200: to take a broker out of
//! service for it takes all the others' clients away (`docs/decisions/0035`).

use crate::node::Node;
use kohort_storage::Shortage;

/// What keeps a broker from serving everything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// The data folder is being opened.
    Starting,
    /// It was told to stop.
    Stopping,
    /// So many group coordinators read their logs still.
    LoadingGroups(usize),
    /// A group coordinator's log is damaged, or loading it panicked, which says so.
    DamagedGroups(String),
    /// So many partitions are not compacted any more.
    UncleanablePartitions(usize),
    /// Producers are refused for want of space.
    DiskFull,
    /// Producers are refused for want of file handles.
    OutOfHandles,
    /// The data folder failed in a way after which nothing is accepted.
    StorageFailed(String),
    /// A task panicked that nothing goes on without.
    TaskFailed(String),
}

impl Trouble {
    /// Returns the word for it in an answer.
    fn code(&self) -> &'static str {
        match self {
            Trouble::Starting => "starting",
            Trouble::Stopping => "stopping",
            Trouble::LoadingGroups(_) => "loading-groups",
            Trouble::DamagedGroups(_) => "damaged-groups",
            Trouble::UncleanablePartitions(_) => "uncleanable-partitions",
            Trouble::DiskFull => "disk-full",
            Trouble::OutOfHandles => "out-of-file-handles",
            Trouble::StorageFailed(_) => "storage-failed",
            Trouble::TaskFailed(_) => "task-failed",
        }
    }

    /// Says it to a person, with what to do if there is something.
    fn message(&self) -> String {
        match self {
            Trouble::Starting => "the data folder is being opened".to_owned(),
            Trouble::Stopping => "the broker is stopping".to_owned(),
            Trouble::LoadingGroups(shards) => {
                format!("{shards} partitions of __consumer_offsets are being loaded")
            }
            Trouble::DamagedGroups(damage) => {
                format!("{damage}. Its groups are refused meanwhile; the others are served")
            }
            Trouble::UncleanablePartitions(partitions) => format!(
                "{partitions} partitions are not compacted until the next start, and grow; the log says \
                 which, and why"
            ),
            Trouble::DiskFull => {
                "no space is left for the log: producers are refused until there is".to_owned()
            }
            Trouble::OutOfHandles => {
                "too many files are open: producers are refused until some are \
                                      closed; raise the limit (`ulimit -n`)"
                    .to_owned()
            }
            Trouble::StorageFailed(failure) => {
                format!("{failure}: start the broker again once the disk can be trusted")
            }
            Trouble::TaskFailed(name) => {
                format!("{name} panicked: start the broker again; its log says where")
            }
        }
    }
}

/// Returns what keeps `node` from serving everything; `None` is a broker that is not there yet.
pub(crate) fn troubles(node: Option<&Node>) -> Vec<Trouble> {
    let Some(node) = node else { return vec![Trouble::Starting] };
    let mut troubles = of_the_broker(node);
    let damaged = node.metrics.groups.damaged.lock();
    troubles.extend(damaged.values().take(DAMAGED_TOLD_MAX).cloned().map(Trouble::DamagedGroups));
    let uncleanable = node.log_dir.cleaner_stats().uncleanable_partitions;
    if uncleanable > 0 {
        troubles.push(Trouble::UncleanablePartitions(uncleanable));
    }
    troubles
}

/// Tells whether clients should be sent to `node`, without a look at each of its partitions.
pub(crate) fn is_serving(node: &Node) -> bool {
    is_ready(&of_the_broker(node))
}

/// Returns what keeps `node` from serving, whichever partition is asked for.
fn of_the_broker(node: &Node) -> Vec<Trouble> {
    let mut troubles = Vec::new();
    // A thread of it that panicked is a task that failed.
    if let Some(failure) = node.log_dir.fatal().filter(|failure| failure.panicked().is_none()) {
        troubles.push(Trouble::StorageFailed(failure.to_string()));
    }
    if let Some(name) = node.vital.failed_task() {
        troubles.push(Trouble::TaskFailed(name));
    }
    if *node.stopping.borrow() {
        troubles.push(Trouble::Stopping);
    }
    match node.log_dir.shortage() {
        Some(Shortage::Space) => troubles.push(Trouble::DiskFull),
        Some(Shortage::Handles) => troubles.push(Trouble::OutOfHandles),
        None => {}
    }
    let loading = node.metrics.groups.loading.count();
    if loading > 0 {
        troubles.push(Trouble::LoadingGroups(loading));
    }
    troubles
}

/// How many damaged partitions are told one by one. The log has all of them, and the metrics their number.
const DAMAGED_TOLD_MAX: usize = 16;

/// Tells whether a broker in that trouble should be left running.
pub(crate) fn is_alive(troubles: &[Trouble]) -> bool {
    let is_end =
        |trouble: &Trouble| matches!(trouble, Trouble::StorageFailed(_) | Trouble::TaskFailed(_));
    !troubles.iter().any(is_end)
}

/// Tells whether clients should be sent to a broker in that trouble: whether it concerns single partitions
/// at most.
pub(crate) fn is_ready(troubles: &[Trouble]) -> bool {
    let is_partial = |trouble: &Trouble| {
        matches!(trouble, Trouble::DamagedGroups(_) | Trouble::UncleanablePartitions(_))
    };
    troubles.iter().all(is_partial)
}

/// Writes an answer as JSON.
pub(crate) fn json(healthy: bool, troubles: &[Trouble]) -> String {
    let status = match (healthy, troubles) {
        (true, []) => "ok",
        (true, _) => "degraded",
        (false, _) => "unavailable",
    };
    let reasons: Vec<String> = troubles
        .iter()
        .map(|trouble| {
            let message = escaped(&trouble.message());
            format!("{{\"code\":\"{}\",\"message\":\"{message}\"}}", trouble.code())
        })
        .collect();
    format!("{{\"status\":\"{status}\",\"reasons\":[{}]}}\n", reasons.join(","))
}

fn escaped(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '"' | '\\' => out.extend(['\\', character]),
            control if control.is_control() => out.push(' '),
            other => out.push(other),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_are_words_for_programs_and_sentences_for_people() {
        assert_eq!(json(true, &[]), "{\"status\":\"ok\",\"reasons\":[]}\n");
        let troubles = [Trouble::StorageFailed("`a\\b`\n\"c\"".to_owned()), Trouble::DiskFull];
        assert_eq!(
            json(false, &troubles),
            "{\"status\":\"unavailable\",\"reasons\":[{\"code\":\"storage-failed\",\"message\":\
             \"`a\\\\b` \\\"c\\\": start the broker again once the disk can be trusted\"},\
             {\"code\":\"disk-full\",\"message\":\"no space is left for the log: producers are \
             refused until there is\"}]}\n"
        );
    }

    #[test]
    fn damage_to_single_partitions_is_told_and_leaves_the_broker_in_service() {
        let damaged = Trouble::DamagedGroups(String::new());
        let troubles = [damaged, Trouble::UncleanablePartitions(2)];
        assert!(is_ready(&troubles) && is_ready(&[]));
        assert_eq!(
            json(true, &troubles[1..]),
            "{\"status\":\"degraded\",\"reasons\":[{\"code\":\"uncleanable-partitions\",\"message\":\
             \"2 partitions are not compacted until the next start, and grow; the log says which, and \
             why\"}]}\n"
        );
        for whole in [Trouble::Starting, Trouble::DiskFull, Trouble::LoadingGroups(1)] {
            assert!(!is_ready(&[troubles[1].clone(), whole]));
        }
    }

    #[test]
    fn only_a_failed_data_folder_or_task_asks_for_a_new_start() {
        assert!(is_alive(&[Trouble::DamagedGroups(String::new())]));
        assert!(is_alive(&[Trouble::Starting, Trouble::DiskFull, Trouble::LoadingGroups(3)]));
        assert!(!is_alive(&[Trouble::StorageFailed(String::new())]));
        assert!(!is_alive(&[Trouble::DiskFull, Trouble::TaskFailed(String::new())]));
        assert_eq!(troubles(None), [Trouble::Starting]);
    }
}
