//! `kohort group`: list, describe, reset and delete consumer groups.

mod describe;
mod events;
mod find;
mod health;
mod reset;
mod sources;
mod standing;
mod tail;
mod waiting;

use std::process::ExitCode;

use clap::Subcommand;

use super::{Cluster, block_on, with_a_word};
use crate::output::{Table, or_dash, print};

/// List, describe, reset and delete consumer groups.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// List groups
    List {
        /// Write one JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        cluster: Cluster,
    },
    /// Show what a group has committed, its lag, and who owns what
    Describe(describe::Args),
    /// Tell the group's rebalances in plain sentences, the oldest first
    Events(events::Args),
    /// Move what a group has committed; shows the plan, and does it with --execute
    Reset(reset::Args),
    /// Delete groups with what they have committed
    Delete {
        /// Ids of groups
        #[arg(required = true)]
        groups: Vec<String>,
        #[command(flatten)]
        cluster: Cluster,
    },
}

/// Runs one verb.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    block_on(async move {
        match args.verb {
            Verb::List { json, cluster } => with_a_word(list(&cluster, json)).await,
            Verb::Describe(args) => with_a_word(describe::run(args)).await,
            Verb::Events(args) => events::run(args).await,
            Verb::Reset(args) => with_a_word(reset::run(args)).await,
            Verb::Delete { groups, cluster } => with_a_word(delete(&cluster, groups)).await,
        }
    })
}

async fn list(cluster: &Cluster, json: bool) -> anyhow::Result<ExitCode> {
    let groups = cluster.admin()?.list_groups().await?;
    if json {
        for group in groups {
            let line = serde_json::json!({
                "group": group.group_id,
                "type": group.group_type,
                "protocol": group.protocol_type,
                "state": group.state,
            });
            print(&format!("{line}\n"))?;
        }
    } else {
        let mut table = Table::new(&["GROUP", "TYPE", "PROTOCOL", "STATE"]);
        let text = |text: String| or_dash(Some(text).filter(|text| !text.is_empty()));
        for group in groups {
            table.row([
                group.group_id,
                text(group.group_type),
                text(group.protocol_type),
                text(group.state),
            ]);
        }
        table.print()?;
    }
    Ok(ExitCode::SUCCESS)
}

async fn delete(cluster: &Cluster, groups: Vec<String>) -> anyhow::Result<ExitCode> {
    let results = cluster.admin()?.delete_groups(groups).await?;
    Ok(super::each(results, |group| eprintln!("deleted group `{group}`")))
}
