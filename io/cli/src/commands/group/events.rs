//! `kohort group events`: why a group rebalanced, and what came of it.

use std::process::ExitCode;

use anyhow::Context as _;
use clap::builder::ValueParser;
use kohort::admin::{Admin, AdminError};
use kohort_protocol::ErrorCode;
use tokio::signal::unix::{SignalKind, signal};

use super::super::{Cluster, with_a_word};
use super::find::find;
use super::sources;
use super::tail::Until;
use crate::datetime::now_ms;
use crate::groups::story;
use crate::output;

/// Tell the group's rebalances in plain sentences, the oldest first.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Id of the group
    group: String,
    /// Go on telling until stopped
    #[arg(short, long)]
    follow: bool,
    /// How far back to begin: a number with s, m, h or d
    #[arg(long, default_value = "1h", value_name = "TIME", value_parser = ValueParser::new(span))]
    since: i64,
    /// Write the events as they are stored, one JSON object a line
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    cluster: Cluster,
}

pub(super) async fn run(args: Args) -> anyhow::Result<ExitCode> {
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot listen for Ctrl-C")?;
    let mut terminate = signal(SignalKind::terminate()).context("cannot listen for SIGTERM")?;
    // Whichever ends first: what was told is on stdout already.
    tokio::select! {
        told = told(&args) => match told {
            Err(error) if error.downcast_ref().is_some_and(output::is_closed_pipe) => {}
            told => told?,
        },
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(ExitCode::SUCCESS)
}

async fn told(args: &Args) -> anyhow::Result<()> {
    let admin = args.cluster.admin()?;
    if !args.follow {
        return with_a_word(tell(args, &admin, Until::Now)).await;
    }
    match with_a_word(find(&admin, &args.group)).await {
        // Its name may be mistaken, or it is about to begin.
        Err(error) if is_missing(&error) => {
            eprintln!("there is no group `{}` so far; it is waited for", args.group);
        }
        found => drop(found?),
    }
    tell(args, &admin, Until::Stopped).await
}

async fn tell(args: &Args, admin: &Admin, until: Until) -> anyhow::Result<()> {
    let since_ms = now_ms() - args.since;
    let mut told = 0;
    let json = args.json;
    sources::each(&args.cluster, admin, &args.group, since_ms, until, |event| {
        told += 1;
        let line = if json { serde_json::to_string(event)? } else { story::tell(event) };
        Ok(output::write((line + "\n").as_bytes())?)
    })
    .await?;
    if told == 0 {
        // That nothing is told of a group that there is not says nothing.
        find(admin, &args.group).await?;
        eprintln!("group `{}` has not rebalanced in the time looked at (see --since)", args.group);
    }
    Ok(())
}

fn is_missing(error: &anyhow::Error) -> bool {
    let code = error.downcast_ref().and_then(AdminError::code);
    code == Some(ErrorCode::GROUP_ID_NOT_FOUND)
}

/// Reads a span of time such as `90s`, `15m`, `1h` or `7d` as milliseconds.
fn span(text: &str) -> Result<i64, String> {
    let digits = text.trim_end_matches(char::is_alphabetic);
    let unit = match &text[digits.len()..] {
        "ms" => 1,
        "s" => 1_000,
        "m" | "min" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "" => return Err(format!("`{text}` has no unit of time; use s, m, h or d")),
        other => return Err(format!("`{other}` is no unit of time; use s, m, h or d")),
    };
    let number: i64 =
        digits.parse().map_err(|_| format!("`{text}` does not begin with a whole number"))?;
    number
        .checked_mul(unit)
        .filter(|ms| *ms >= 0)
        .ok_or_else(|| format!("`{text}` is out of range"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_have_a_unit() {
        assert_eq!(span("90s"), Ok(90_000));
        assert_eq!(span("15m"), Ok(900_000));
        assert_eq!(span("7d"), Ok(604_800_000));
        assert_eq!(span("1"), Err("`1` has no unit of time; use s, m, h or d".to_owned()));
        assert_eq!(span("h"), Err("`h` does not begin with a whole number".to_owned()));
        for wrong in ["", "1", "h", "-1h", "1y", "99999999999999999d"] {
            assert!(span(wrong).is_err(), "{wrong}");
        }
    }
}
