//! `kohort log`: a data folder without a broker, looked at and mended.

use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Subcommand;
use kohort_broker::data_folder::{self, OpenError, Problem, Repaired, VerifyReport};

use crate::output::{ignore_closed_pipe, print, thousands};

/// Look at a data folder that no broker uses, and mend it.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Read everything and report what is damaged; status 1 if something is
    Verify {
        #[command(flatten)]
        folder: Folder,
    },
    /// Print what the folder holds: segments, batches, commits
    Dump {
        #[command(flatten)]
        folder: Folder,
        /// Print the records of __consumer_offsets instead: committed offsets, groups, members
        #[arg(long)]
        offsets: bool,
    },
    /// Take out what is damaged and keep the rest; the damaged files are copied first
    Repair {
        #[command(flatten)]
        folder: Folder,
        /// Do it; without this only say what would be done
        #[arg(long)]
        yes: bool,
    },
}

#[derive(Debug, clap::Args)]
struct Folder {
    /// The broker's data folder
    #[arg(long, default_value = "kohort-data", value_name = "DIR")]
    data: PathBuf,
}

/// Does what is asked with the folder.
pub(crate) fn run(args: Args) -> anyhow::Result<ExitCode> {
    match args.verb {
        Verb::Verify { folder } => {
            let report = data_folder::verify(&folder.data)?;
            print(&verified(&folder.data, &report))?;
            Ok(status(report.problems.is_empty()))
        }
        Verb::Dump { folder, offsets } => dump(&folder.data, offsets),
        Verb::Repair { folder, yes: false } => {
            let report = data_folder::verify(&folder.data)?;
            print(&verified(&folder.data, &report))?;
            if report.problems.is_empty() && report.set_aside.is_empty() {
                eprintln!("there is nothing to repair");
            } else if report.problems.is_empty() {
                eprintln!("nothing was changed; with --yes what was set aside is taken back");
            } else {
                eprintln!(
                    "nothing was changed; with --yes the damaged parts are taken out, after a copy \
                     of the files they are in is put into a folder `damaged-N` of {}",
                    folder.data.display()
                );
            }
            Ok(status(report.problems.is_empty()))
        }
        Verb::Repair { folder, yes: true } => {
            let report = data_folder::repair(&folder.data)?;
            if report.is_nothing() {
                eprintln!("there is nothing to repair");
            } else {
                print(&repaired(&folder.data, &report))?;
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}

fn dump(folder: &Path, offsets: bool) -> anyhow::Result<ExitCode> {
    let mut out = BufWriter::new(io::stdout().lock());
    let dumped = if offsets {
        data_folder::dump_offsets(folder, &mut out)
    } else {
        data_folder::dump(folder, &mut out)
    };
    match dumped {
        // A reader that has seen enough (`| head`) is not an error.
        Err(OpenError::Io { reason, .. }) if reason.kind() == io::ErrorKind::BrokenPipe => {}
        other => other?,
    }
    ignore_closed_pipe(out.flush())?;
    Ok(ExitCode::SUCCESS)
}

fn status(sound: bool) -> ExitCode {
    if sound { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn verified(folder: &Path, report: &VerifyReport) -> String {
    let mut text = problems(&report.problems);
    text.push_str(&format!(
        "{} is {}: {} batches in the segments of {} partitions, {} commits in the write-ahead log\n",
        folder.display(),
        if report.problems.is_empty() { "sound" } else { "damaged" },
        thousands(report.batches),
        report.partitions,
        thousands(report.commits)
    ));
    for path in &report.set_aside {
        text.push_str(&format!(
            "set aside: {}: it holds records of a partition that nobody knew; `kohort log repair` \
             makes it a topic again, and if nobody needs it, remove it\n",
            path.display()
        ));
    }
    if report.unlocked {
        text.push_str(
            "the folder cannot be written to, so it was not locked: this holds only if no broker \
             runs on it\n",
        );
    }
    if report.torn {
        text.push_str(
            "an interrupted write is at the end of the log; it was never acknowledged, and the \
             next start cuts it off\n",
        );
    }
    text
}

fn repaired(folder: &Path, report: &Repaired) -> String {
    let Repaired { log: report, metadata } = report;
    let mut text = problems(&report.problems);
    text.push_str(&format!(
        "{} is repaired: {} damaged parts taken out or set right, {} commits of the write-ahead log applied, \
         leader epoch {} begins\n",
        folder.display(),
        report.problems.len(),
        thousands(report.commits),
        report.leader_epoch
    ));
    if let Some(kept_in) = &report.kept_in {
        text.push_str(&format!("the damaged files are kept in {}\n", kept_in.display()));
    }
    for partition in &report.taken_back {
        text.push_str(&format!("{partition} had been set aside, and is there again\n"));
    }
    for topic in &metadata.topics {
        text.push_str(&format!(
            "the topic {} is made again with its records and {} partitions; its own properties are \
             lost, so set them again\n",
            topic.name, topic.partitions
        ));
    }
    if !metadata.topics.is_empty() || metadata.new_cluster_id {
        text.push_str(
            "the metadata of the cluster was damaged: properties of brokers and groups, quotas and \
             credentials of users may be lost as well\n",
        );
    }
    if metadata.new_cluster_id {
        text.push_str("the cluster's id was lost, and it has another now\n");
    }
    for path in &metadata.set_aside {
        text.push_str(&format!("set aside: {}: another topic has its name now\n", path.display()));
    }
    text
}

fn problems(problems: &[Problem]) -> String {
    problems.iter().map(|problem| format!("damaged: {problem}\n")).collect()
}
