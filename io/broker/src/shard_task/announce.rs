//! The line of the log about a group's rebalance.

use kohort_coordinator::GroupEffect;
use tracing::info;

/// Tells the operator what a group did.
pub(super) fn announce(effect: &GroupEffect) {
    if let GroupEffect::Rebalance(rebalance) = effect {
        let causes: Vec<String> =
            rebalance.causes.iter().map(|cause| cause.kind.to_string()).collect();
        let more = match rebalance.omitted_causes {
            0 => String::new(),
            omitted => format!(" and {omitted} more"),
        };
        // As strings, which are quoted: clients choose them, and a line break in one must not look like
        // a line of the log.
        let cause = format!("{}{more}", causes.join(", "));
        let what = if rebalance.is_take_over { "member replaced" } else { "group rebalanced" };
        info!(
            group = shortened(&rebalance.group),
            generation = rebalance.generation,
            members = rebalance.members_after.len(),
            unfinished = rebalance.unfinished,
            take_over = rebalance.is_take_over,
            took_ms = rebalance.ended - rebalance.started,
            cause = shortened(&cause),
            "{what}"
        );
    }
}

/// Returns as much of a client's text as a line of the log may have.
fn shortened(text: &str) -> &str {
    let end = text.char_indices().nth(LOGGED_MAX).map_or(text.len(), |(end, _)| end);
    &text[..end]
}

const LOGGED_MAX: usize = 1000;
